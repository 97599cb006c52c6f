//! How it stands with the witnesses of a node's trail, for people: what they said last, since when a quorum vouches, and what
//! a federation should mend in its policy.

use agreements::ids::Digest;
use agreements::time::Instant;
use diesel::result::QueryResult;

use super::{newest_cosigned, store};
use crate::db::Conn;
use crate::trail::cosignature::CosignerKey;
use crate::trail::policy::{Policy, Witness};

/// No quorum for longer than this, in microseconds, is told to people.
pub const SILENCE: i64 = Instant::HOUR;

/// How it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// SHA-256 of the policy, where there is one.
    pub policy: Option<Digest>,
    /// Since when a quorum vouches for a head of this node; nothing while none does.
    pub since: Option<Instant>,
    /// When the oldest head was first shown that no later one with a quorum has taken the place of.
    pub shown: Option<Instant>,
    /// What each witness said last. The node's own, which does not count, is not among them.
    pub last: Vec<Last>,
    /// What a federation should mend in its policy, one sentence each.
    pub weaknesses: Vec<String>,
}

/// What a witness said last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Last {
    /// The name of its key.
    pub witness: String,
    /// How large the head was, and when the witness says that it signed; nothing before the first time.
    pub cosigned: Option<(u64, Instant)>,
}

impl Standing {
    /// What the registry has. `agencies` are the keys of witnesses of agencies that exchange here, `own` is this node's.
    ///
    /// # Errors
    /// The registry cannot be read.
    pub fn read(
        conn: &mut Conn,
        policy: Option<&Policy>,
        own: Option<&CosignerKey>,
        agencies: &[CosignerKey],
    ) -> QueryResult<Self> {
        let others = |witness: &Witness| Some(&witness.key) != own;
        let cosigned = newest_cosigned(conn, |note| policy?.witnessed(note, others))?;
        let said = store::last(conn)?;
        let of = |name: &str| Last { witness: name.to_owned(), cosigned: said.get(name).copied() };
        let last = match policy {
            Some(policy) => policy.witnesses().iter().filter(|it| others(it)).map(|it| of(it.key.name())).collect(),
            None => said.keys().map(|name| of(name)).collect(),
        };
        let mut weaknesses = policy.map(Policy::weaknesses).unwrap_or_default();
        let exchanges =
            |witness: &Witness| !others(witness) || agencies.iter().any(|key| key.key() == witness.key.key());
        if policy.is_some_and(|policy| policy.witnesses().iter().all(exchanges)) {
            weaknesses.push(
                "no third party witnesses this trail: every witness is an agency that exchanges; name one that is none, such \
                 as a county auditor"
                    .to_owned(),
            );
        }
        Ok(Self {
            policy: policy.map(Policy::sha256),
            since: cosigned.since,
            shown: store::first_shown(conn)?,
            last,
            weaknesses,
        })
    }

    /// In one sentence.
    #[must_use]
    pub fn says(&self) -> String {
        match (self.policy, self.since) {
            (None, _) => {
                let witnesses = self.last.len();
                format!(
                    "no third party witnesses this trail: there is no witness policy, and {witnesses} partners cosigned it"
                )
            }
            (Some(policy), Some(since)) if since.micros() == i64::MAX => {
                format!("policy {policy} asks for no witness: nothing is enforced")
            }
            (Some(policy), Some(since)) => format!("a quorum of policy {policy} vouches for this trail since {since}"),
            (Some(policy), None) => format!("no quorum of policy {policy} has cosigned this trail yet"),
        }
    }

    /// Since when no quorum vouches, where that is longer ago than it should be at `now`.
    #[must_use]
    pub fn silent(&self, now: Instant) -> Option<Instant> {
        self.policy?;
        let since = self.since.or(self.shown)?;
        (now.since(since) > SILENCE).then_some(since)
    }

    /// What somebody has to do about it at `now`.
    #[must_use]
    pub fn alarm(&self, now: Instant) -> Option<String> {
        self.silent(now).map(|since| {
            format!(
                "no quorum of witnesses has cosigned this trail since {since}: see which of them do not answer \
                 (`concordat doctor`), and have them reached before disclosure stops (trail.max_unwitnessed_hours)"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(policy: bool, since: Option<&str>, shown: Option<&str>) -> Standing {
        let at = |text: Option<&str>| text.map(|text| text.parse().unwrap());
        Standing { policy: policy.then(|| Digest::of(b"")), since: at(since), shown: at(shown), ..Standing::default() }
    }

    #[test]
    fn silence_counts_from_the_last_word_of_a_quorum_or_from_the_first_head_that_was_shown() {
        let now: Instant = "2026-11-23T20:17:00Z".parse().unwrap();
        let (within, before) = (Some("2026-11-23T19:17:00Z"), Some("2026-11-23T19:16:59Z"));
        for (standing, silent) in [
            (standing(true, within, before), false),
            (standing(true, before, within), true),
            (standing(true, None, before), true),
            (standing(true, None, within), false),
            (standing(true, None, None), false),
            (standing(false, None, before), false),
        ] {
            assert_eq!(standing.silent(now).is_some(), silent, "{standing:?}");
            assert_eq!(standing.alarm(now).is_some(), silent);
        }
        assert!(standing(false, None, None).says().contains("no third party witnesses this trail"));
    }
}
