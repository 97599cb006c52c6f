//! What became of looks at partners' published policies, as the trail's `policy.checked` entries tell it. There is no table
//! of them.

use std::collections::BTreeMap;

use agreements::entry::Kind;
use agreements::ids::{Digest, Ori};
use agreements::json;
use agreements::time::Instant;
use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use super::parsed;
use crate::db::Conn;
use crate::trail::told::{self, Told, Which};

/// A policy that was read is read again after so long, in microseconds.
pub const AGAIN: i64 = 30 * Instant::DAY;
/// One that could not be reached is tried again after so long, in microseconds: the next day's run of the job, whenever in
/// its hour that is.
pub const RETRY: i64 = 20 * Instant::HOUR;
/// So many days in a row make a policy unreachable.
pub const TRIES: u32 = 3;

/// The message of a `policy.checked` entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyChecked {
    /// Whose policy.
    pub ori: Ori,
    /// What came of it.
    pub outcome: Outcome,
    /// Where it was looked for.
    pub url: String,
    /// The version of this message.
    pub v: u16,
}

/// What came of a look at a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// It says what was accepted before or, at the first look, what the partner's descriptor names by its hash.
    Same {
        /// SHA-256 of the bytes, which are kept as evidence.
        bytes: Digest,
        /// SHA-256 of the text in it, which is kept too.
        text: Digest,
    },
    /// It says something else.
    Changed {
        /// SHA-256 of the bytes, which are kept as evidence.
        bytes: Digest,
        /// SHA-256 of the text in it, which is kept too.
        text: Digest,
    },
    /// It cannot be read.
    Unreachable {
        /// Why.
        why: String,
    },
    /// Two people accepted a text that differs.
    Accepted {
        /// The second of them.
        approved_by: String,
        /// The first.
        by: String,
        /// SHA-256 of the text.
        text: Digest,
    },
}

impl Outcome {
    /// The written name, such as `same`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Same { .. } => "same",
            Self::Changed { .. } => "changed",
            Self::Unreachable { .. } => "unreachable",
            Self::Accepted { .. } => "accepted",
        }
    }
}

/// Where a partner's policy stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The text that counts.
    pub accepted: Option<Digest>,
    /// The text that was read last and is another one.
    pub changed: Option<Digest>,
    /// When it was read last.
    pub read_at: Option<Instant>,
    /// When it was tried last.
    pub tried_at: Option<Instant>,
    /// On how many days in a row it could not be reached.
    pub unreachable: u32,
    /// What came of the last look.
    pub last: Option<Outcome>,
}

impl Standing {
    /// Whether the text that is published is another than the one that counts.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.changed.is_some()
    }

    /// Whether it is to be looked at.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        let since = |at: Option<Instant>| at.map_or(i64::MAX, |at| now.since(at));
        since(self.tried_at) >= RETRY && (self.unreachable > 0 || since(self.read_at) >= AGAIN)
    }

    /// What a text is, compared with the one that counts; at the first look, with the hash that the descriptor names, which
    /// may be of the published bytes or of the text in them.
    #[must_use]
    pub fn judge(&self, named: Digest, bytes: Digest, text: Digest) -> Outcome {
        let same = match self.accepted {
            Some(accepted) => accepted == text,
            None => named == bytes || named == text,
        };
        if same { Outcome::Same { bytes, text } } else { Outcome::Changed { bytes, text } }
    }

    fn take(&mut self, at: Instant, outcome: Outcome) {
        match &outcome {
            Outcome::Same { text, .. } => {
                (self.accepted, self.changed) = (Some(*text), None);
                (self.read_at, self.tried_at, self.unreachable) = (Some(at), Some(at), 0);
            }
            Outcome::Changed { text, .. } => {
                self.changed = Some(*text);
                (self.read_at, self.tried_at, self.unreachable) = (Some(at), Some(at), 0);
            }
            Outcome::Unreachable { .. } => {
                // Somebody who tries by hand all day does not make it three days.
                let another_day = self.tried_at.is_none_or(|before| at.since(before) >= RETRY);
                self.unreachable += u32::from(self.unreachable == 0 || another_day);
                self.tried_at = Some(at);
            }
            Outcome::Accepted { text, .. } => (self.accepted, self.changed) = (Some(*text), None),
        }
        self.last = Some(outcome);
    }
}

/// Where each partner's policy stands that was ever looked at.
pub fn standings(conn: &mut Conn) -> QueryResult<BTreeMap<Ori, Standing>> {
    let told = parsed("leaf", told::told(conn, Kind::PolicyChecked, Which::All)?)?;
    let mut standings: BTreeMap<Ori, Standing> = BTreeMap::new();
    for Told { at, message, .. } in told {
        let PolicyChecked { ori, outcome, .. } = parsed("detail", json::parse(&message))?;
        standings.entry(ori).or_default().take(at, outcome);
    }
    Ok(standings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Instant {
        "2026-11-23T20:17:00Z".parse::<Instant>().unwrap().plus(hours * Instant::HOUR)
    }

    #[test]
    fn a_policy_is_read_each_month_and_tried_each_day_and_three_days_make_it_unreachable() {
        let (page, text, other) = (Digest::of(b"page"), Digest::of(b"text"), Digest::of(b"other"));
        let mut standing = Standing::default();
        assert!(standing.is_due(at(0)));
        assert_eq!(standing.judge(page, page, text), Outcome::Same { bytes: page, text });
        assert_eq!(standing.judge(text, page, text), Outcome::Same { bytes: page, text });
        assert_eq!(standing.judge(other, page, text), Outcome::Changed { bytes: page, text });
        standing.take(at(0), Outcome::Same { bytes: page, text });
        assert_eq!(standing.judge(page, page, other), Outcome::Changed { bytes: page, text: other }, "the text counts");
        assert!(!standing.is_due(at(30 * 24 - 1)) && standing.is_due(at(30 * 24)));

        let lost = || Outcome::Unreachable { why: "no reply".to_owned() };
        for (hours, days) in [(720, 1), (721, 1), (725, 1), (748, 2), (772, 3)] {
            standing.take(at(hours), lost());
            assert_eq!(standing.unreachable, days, "{hours}");
            assert!(!standing.is_due(at(hours + 19)) && standing.is_due(at(hours + 20)));
        }
        standing.take(at(800), Outcome::Changed { bytes: page, text: other });
        assert!(standing.is_changed() && standing.unreachable == 0 && standing.accepted == Some(text));
        let accepted = Outcome::Accepted { approved_by: "b".to_owned(), by: "a".to_owned(), text: other };
        standing.take(at(801), accepted);
        assert!(!standing.is_changed() && standing.accepted == Some(other) && !standing.is_due(at(802)));
    }
}
