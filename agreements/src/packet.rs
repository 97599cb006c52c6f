//! The yearly compliance packet of an agency (V-29): what it attests, counts and admits, once for all its renewals.
//!
//! In scope: its content, what is wrong with one, and what another one changes. Out of scope: its seal and how it travels.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{Digest, Ori};
use crate::json::{self, MAX_TEXT, StrictError};
use crate::party::Processor;
use crate::time::Instant;

/// The format name that every packet carries.
pub const FORMAT: &str = "concordat-packet/1";
/// A renewal stands on a packet at most this old, in microseconds: it is a yearly one, and comes a little early or late.
pub const PACKET_AGE: i64 = 366 * Instant::DAY;
/// The most findings, violations or processors that one packet lists.
pub const MAX_LISTED: usize = 200;

/// What one agency says of a year.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packet {
    /// [`FORMAT`].
    pub format: String,
    /// Whose.
    pub ori: Ori,
    /// Its legal name.
    pub legal_name: String,
    /// When it was made.
    pub made_at: Instant,
    /// The first day that it is about.
    pub from: Date,
    /// The last day that it is about.
    pub until: Date,
    /// The published policy.
    pub policy: PolicySaid,
    /// What the agency attests; each must hold.
    pub attestations: Attestations,
    /// How many people, counted by its node.
    pub people: People,
    /// The last audit (IX-01).
    pub audit: Audit,
    /// Violations of the policy in that time, and what was done.
    pub violations: Vec<Violation>,
    /// Sharing with anybody outside California (V-02, V-03).
    pub out_of_state: OutOfState,
    /// Who hosts or tows for it (V-05).
    pub processors: Vec<Processor>,
}

/// Which policy was published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySaid {
    /// Where.
    pub url: String,
    /// SHA-256 of its text.
    pub sha256: Digest,
    /// When it was last compared.
    pub checked_on: Date,
}

/// What an agency attests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a statement of its own in the document that is sealed")]
pub struct Attestations {
    /// Everything was gathered, accessed, used and disclosed according to law (V-23).
    pub lawful_use: bool,
    /// Only authorized users had access (V-24).
    pub authorized_users_only: bool,
    /// Every user was trained within the year (VII-11 to VII-15).
    pub trained_users: bool,
    /// Reasonable efforts were made to ensure accuracy (V-25).
    pub accuracy: bool,
    /// No shared hotlist was used longer than 24 hours without refresh (V-26).
    pub hotlists_refreshed: bool,
    /// Nothing that was received was passed on (V-19).
    pub no_onward_transfer: bool,
    /// Nothing was used or disclosed for civil immigration enforcement, unless the law expressly requires it (V-21).
    pub no_immigration_enforcement: bool,
    /// An audit trail is kept for at least two years (V-14).
    pub audit_trail_kept: bool,
}

impl Attestations {
    /// Each with its name.
    #[must_use]
    pub fn named(&self) -> [(&'static str, bool); 8] {
        [
            ("lawful_use", self.lawful_use),
            ("authorized_users_only", self.authorized_users_only),
            ("trained_users", self.trained_users),
            ("accuracy", self.accuracy),
            ("hotlists_refreshed", self.hotlists_refreshed),
            ("no_onward_transfer", self.no_onward_transfer),
            ("no_immigration_enforcement", self.no_immigration_enforcement),
            ("audit_trail_kept", self.audit_trail_kept),
        ]
    }
}

/// How many people there are, as the node's own accounts and trainings say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct People {
    /// Open accounts.
    pub accounts: u32,
    /// Those that may query.
    pub may_query: u32,
    /// Those of these whose training is of the last year.
    pub may_query_trained: u32,
    /// Trainings that were recorded in the time of the packet.
    pub trainings_recorded: u32,
}

/// An audit (IX-01).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// When it ended.
    pub on: Date,
    /// Who made it: a unit or a title.
    pub by: String,
    /// How many queries it looked at.
    pub queries: u32,
    /// What it found.
    pub findings: Vec<String>,
}

/// A violation of the policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Violation {
    /// When.
    pub on: Date,
    /// What; no person's name.
    pub what: String,
    /// What was done about it.
    pub done: String,
}

/// Sharing beyond California.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutOfState {
    /// Whether there was any.
    pub shared: bool,
    /// In words: with whom and on what basis, or that there was none.
    pub statement: String,
}

/// Why bytes are no packet.
#[derive(Debug, thiserror::Error)]
pub enum PacketError {
    /// Not strict JSON of this shape.
    #[error("the packet: {0}")]
    Json(#[from] StrictError),
    /// Other bytes than the canonical ones.
    #[error("the packet is not in canonical form (RFC 8785)")]
    NotCanonical,
    /// Sound in form, wrong in content: every problem is named.
    #[error("the packet: {}", .0.join("; "))]
    Problems(Vec<String>),
}

impl Packet {
    /// Reads a packet from bytes that must be its canonical ones, and checks its content.
    ///
    /// # Errors
    /// See [`PacketError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PacketError> {
        let packet: Self = json::parse(bytes)?;
        if json::canonical(&packet)? != bytes {
            return Err(PacketError::NotCanonical);
        }
        let problems = packet.problems();
        if problems.is_empty() { Ok(packet) } else { Err(PacketError::Problems(problems)) }
    }

    /// The canonical bytes; the packet's hash is their SHA-256.
    ///
    /// # Errors
    /// None for a packet that [`Packet::from_bytes`] gave.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StrictError> {
        json::canonical(self)
    }

    /// Whether a renewal at `now` may stand on it.
    #[must_use]
    pub fn current(&self, now: Instant) -> bool {
        now.since(self.made_at) <= PACKET_AGE
    }

    /// Everything wrong with its form, each as a sentence that says what to supply. What an agency admits is not wrong in
    /// form: that is for the partner's reviewer.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut need = |good: bool, what: &str| {
            if !good {
                problems.push(what.to_owned());
            }
        };
        let said = |text: &str| !text.trim().is_empty() && text.chars().count() <= MAX_TEXT;
        need(self.format == FORMAT, "format must be concordat-packet/1");
        need(said(&self.legal_name), "legal_name is blank or too long");
        need(self.policy.url.starts_with("https://") && said(&self.policy.url), "policy.url must begin with https://");
        need(self.from <= self.until, "until must not be before from");
        let made_on = self.made_at.date();
        need(
            made_on.is_some_and(|made| self.until <= made && self.audit.on <= made && self.policy.checked_on <= made),
            "until, audit.on and policy.checked_on must not be after the day on which the packet is made",
        );
        need(
            made_on
                .and_then(|made| made.checked_sub(jiff::Span::new().years(1)).ok())
                .is_some_and(|y| self.audit.on >= y),
            "audit.on is over a year before the packet: an audit is due at least annually (IX-01)",
        );
        need(said(&self.audit.by), "audit.by is blank or too long: name the unit or the title that made the audit");
        need(self.audit.queries > 0, "audit.queries is 0: an audit looks at a sample of queries (IX-02)");
        need(self.audit.findings.iter().all(|text| said(text)), "an audit finding is blank or too long");
        need(
            self.violations.iter().all(|it| said(&it.what) && said(&it.done)),
            "each violation says what happened and what was done",
        );
        need(
            said(&self.out_of_state.statement),
            "out_of_state.statement is blank: say with whom and on what basis, or that there was none",
        );
        need(self.processors.iter().all(|it| said(&it.name)), "a processor's name is blank or too long");
        let few = |count: usize| count <= MAX_LISTED;
        need(
            few(self.audit.findings.len()) && few(self.violations.len()) && few(self.processors.len()),
            &format!("findings, violations and processors are at most {MAX_LISTED} each"),
        );
        need(
            self.people.may_query <= self.people.accounts && self.people.may_query_trained <= self.people.may_query,
            "the counts of people contradict each other",
        );
        problems
    }
}

/// A field that is another in the newer of two documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Changed {
    /// Where, such as `audit.findings[0]`.
    pub field: String,
    /// What stood there; absent where nothing did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What stands there; absent where nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// What `new` says otherwise than `old`, field by field, in the order of the fields' names. Without an `old` everything is new.
///
/// # Errors
/// One of them has no strict JSON form.
pub fn changes<T: Serialize>(old: Option<&T>, new: &T) -> Result<Vec<Changed>, StrictError> {
    let value = |it: &T| -> Result<Value, StrictError> { json::parse(&json::canonical(it)?) };
    let old = old.map(value).transpose()?;
    let mut changed = Vec::new();
    compare("", old.as_ref(), Some(&value(new)?), &mut changed);
    Ok(changed)
}

fn compare(path: &str, old: Option<&Value>, new: Option<&Value>, into: &mut Vec<Changed>) {
    if old == new {
        return;
    }
    match (old, new) {
        (None | Some(Value::Object(_)), None | Some(Value::Object(_))) => {
            let members = |side: Option<&Value>| side.and_then(Value::as_object).cloned().unwrap_or_default();
            let (old, new) = (members(old), members(new));
            let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names {
                let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                compare(&inner, old.get(name), new.get(name), into);
            }
        }
        (None | Some(Value::Array(_)), None | Some(Value::Array(_))) => {
            let items = |side: Option<&Value>| side.and_then(Value::as_array).cloned().unwrap_or_default();
            let (old, new) = (items(old), items(new));
            for at in 0..old.len().max(new.len()) {
                compare(&format!("{path}[{at}]"), old.get(at), new.get(at), into);
            }
        }
        (old, new) => {
            let text = |side: Option<&Value>| {
                side.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            };
            into.push(Changed { field: path.to_owned(), before: text(old), after: text(new) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Case = (fn(&mut Packet), &'static str);
    use jiff::civil::date;

    fn packet() -> Packet {
        Packet {
            format: FORMAT.to_owned(),
            ori: "CA0010000".parse().unwrap(),
            legal_name: "Alder County Sheriff".to_owned(),
            made_at: "2026-11-23T20:17:00Z".parse().unwrap(),
            from: date(2025, 11, 1),
            until: date(2026, 10, 31),
            policy: PolicySaid {
                url: "https://alder.example/alpr".to_owned(),
                sha256: Digest::of(b"policy"),
                checked_on: date(2026, 11, 1),
            },
            attestations: Attestations {
                lawful_use: true,
                authorized_users_only: true,
                trained_users: true,
                accuracy: true,
                hotlists_refreshed: true,
                no_onward_transfer: true,
                no_immigration_enforcement: true,
                audit_trail_kept: true,
            },
            people: People { accounts: 12, may_query: 9, may_query_trained: 9, trainings_recorded: 12 },
            audit: Audit {
                on: date(2026, 10, 15),
                by: "Inspection unit".to_owned(),
                queries: 120,
                findings: vec!["one reason was too short".to_owned()],
            },
            violations: Vec::new(),
            out_of_state: OutOfState { shared: false, statement: "none".to_owned() },
            processors: Vec::new(),
        }
    }

    #[test]
    fn a_packet_goes_round_and_only_in_its_canonical_bytes() {
        let bytes = packet().to_bytes().unwrap();
        assert_eq!(Packet::from_bytes(&bytes).unwrap(), packet());
        let spaced = [&b" "[..], &bytes].concat();
        assert!(matches!(Packet::from_bytes(&spaced), Err(PacketError::NotCanonical)));
        let text = String::from_utf8(bytes).unwrap();
        for (from, to) in [
            ("\"accuracy\":true,", ""),
            ("\"accounts\":12", "\"accounts\":12,\"more\":1"),
            ("\"accounts\":12", "\"accounts\":12,\"accounts\":13"),
            ("CA0010000", "NV0010000"),
        ] {
            let other = text.replace(from, to);
            assert!(other != text && matches!(Packet::from_bytes(other.as_bytes()), Err(PacketError::Json(_))), "{to}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let cases: [Case; 8] = [
            (|it| it.audit.on = date(2025, 11, 22), "IX-01"),
            (|it| it.audit.on = date(2026, 11, 24), "must not be after"),
            (|it| it.until = date(2025, 10, 1), "before from"),
            (|it| it.audit.queries = 0, "sample"),
            (|it| it.out_of_state.statement = " ".to_owned(), "out_of_state.statement"),
            (|it| it.people.may_query = 13, "contradict"),
            (|it| it.policy.url = "http://alder.example".to_owned(), "https://"),
            (|it| it.audit.findings = vec![String::new()], "finding"),
        ];
        assert_eq!(packet().problems(), Vec::<String>::new());
        for (change, says) in cases {
            let mut it = packet();
            change(&mut it);
            let problems = it.problems();
            assert!(problems.len() == 1 && problems[0].contains(says), "{says}: {problems:?}");
        }
        // What it admits is no fault of its form.
        let mut admits = packet();
        admits.attestations.trained_users = false;
        admits.out_of_state.shared = true;
        assert!(admits.problems().is_empty());
    }

    #[test]
    fn changes_are_those_fields_and_no_others() {
        let old = packet();
        let mut new = packet();
        assert_eq!(changes(Some(&old), &new).unwrap(), []);
        new.people.accounts = 14;
        new.audit.findings.push("a login was shared".to_owned());
        new.attestations.trained_users = false;
        let said: Vec<(String, Option<String>, Option<String>)> =
            changes(Some(&old), &new).unwrap().into_iter().map(|it| (it.field, it.before, it.after)).collect();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            said,
            [
                ("attestations.trained_users".to_owned(), text("true"), text("false")),
                ("audit.findings[1]".to_owned(), None, text("a login was shared")),
                ("people.accounts".to_owned(), text("12"), text("14")),
            ]
        );
        let all = changes(None, &new).unwrap();
        assert!(all.len() > 20 && all.iter().all(|it| it.before.is_none()), "{all:?}");
    }

    #[test]
    fn a_packet_counts_for_a_year() {
        let it = packet();
        assert!(it.current(it.made_at) && it.current(it.made_at.plus(PACKET_AGE)));
        assert!(!it.current(it.made_at.plus(PACKET_AGE + 1)));
    }
}
