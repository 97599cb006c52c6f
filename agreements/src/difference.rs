//! What another document changes: per party, grant and field, in words, and whether it opens or closes anything.
//!
//! Every field is taken by name (no `..`), so a new field does not compile until it is said here what its change means.
//! The order of parties, grants, purposes and categories means nothing, and is no difference.

mod grants;
mod parties;

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use serde::Serialize;

use self::grants::{all_grants, grant_is};
use self::parties::{party, party_is};
use crate::agreement::{Agreement, Commitments, Framework, Renewal, Witnesses};

/// What a change does to what may be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It opens or widens sharing, or takes a safeguard away: what dual control is for.
    Wider,
    /// It narrows or ends sharing, or adds a safeguard.
    Narrower,
    /// It is a change, and neither.
    Neutral,
}

impl Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Wider => "WIDER",
            Self::Narrower => "NARROWER",
            Self::Neutral => "changed",
        })
    }
}

/// One thing that is different.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Which field, for programs: `parties[CA0010000].policy.url`, `grants[query CA0010000 CA0020000].lookback_days`.
    pub path: String,
    /// Whose or which, for people: `CA0020000 queries CA0010000`. Empty for what is of the agreement itself.
    pub subject: String,
    /// Which field, for people: `lookback`.
    pub field: String,
    /// What it was; absent when there was nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What it is; absent when there is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// What it does.
    pub effect: Effect,
}

impl Display for Difference {
    /// `CA0020000 queries CA0010000: lookback 7 days -> 30 days: WIDER`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.subject.is_empty() {
            write!(f, "{}: ", self.subject)?;
        }
        let said = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        write!(f, "{} {} -> {}: {}", self.field, said(&self.before), said(&self.after), self.effect)
    }
}

/// Everything in which `new` differs from `old`; without `old`, everything that `new` opens: its parties, its grants, its
/// dates, and what is promised less than it could be.
#[must_use]
pub fn differences(old: Option<&Agreement>, new: &Agreement) -> Vec<Difference> {
    let mut found = Found(Vec::new());
    match old {
        Some(old) => agreement(&mut found, old, new),
        None => opened(&mut found, new),
    }
    found.0
}

/// Whether any of these opens or widens sharing, or takes a safeguard away.
#[must_use]
pub fn widens(differences: &[Difference]) -> bool {
    differences.iter().any(|difference| difference.effect == Effect::Wider)
}

/// Where a change is: the path's beginning for programs, and the subject for people.
#[derive(Clone)]
struct At {
    path: String,
    subject: String,
}

impl At {
    fn new(path: &str, subject: &str) -> Self {
        Self { path: path.to_owned(), subject: subject.to_owned() }
    }
}

struct Found(Vec<Difference>);

impl Found {
    fn add(&mut self, at: &At, key: &str, field: &str, before: Option<String>, after: Option<String>, effect: Effect) {
        let path = match (at.path.is_empty(), key.is_empty()) {
            (true, _) => key.to_owned(),
            (false, true) => at.path.clone(),
            (false, false) => format!("{}.{key}", at.path),
        };
        self.0.push(Difference { path, subject: at.subject.clone(), field: field.to_owned(), before, after, effect });
    }

    /// A field whose change neither opens nor closes anything.
    fn plain<T: PartialEq + Display>(&mut self, at: &At, key: &str, field: &str, before: &T, after: &T) {
        if before != after {
            self.add(at, key, field, Some(before.to_string()), Some(after.to_string()), Effect::Neutral);
        }
    }

    /// A field that may be absent, whose change neither opens nor closes anything.
    fn perhaps<T: PartialEq + Display>(
        &mut self,
        at: &At,
        key: &str,
        field: &str,
        before: Option<&T>,
        after: Option<&T>,
    ) {
        if before != after {
            let said = |value: Option<&T>| value.map(ToString::to_string);
            self.add(at, key, field, said(before), said(after), Effect::Neutral);
        }
    }

    /// A field of which more is wider.
    fn more<T: PartialOrd + Display>(&mut self, at: &At, key: &str, field: &str, before: &T, after: &T, unit: &str) {
        if before != after {
            let effect = if after > before { Effect::Wider } else { Effect::Narrower };
            self.add(at, key, field, Some(format!("{before}{unit}")), Some(format!("{after}{unit}")), effect);
        }
    }

    /// A field of which less, or earlier, is wider.
    fn less<T: PartialOrd + Display>(&mut self, at: &At, key: &str, field: &str, before: &T, after: &T) {
        if before != after {
            let effect = if after < before { Effect::Wider } else { Effect::Narrower };
            self.add(at, key, field, Some(before.to_string()), Some(after.to_string()), effect);
        }
    }

    /// A right that is there or not.
    fn right(&mut self, at: &At, key: &str, field: &str, before: bool, after: bool) {
        let said = |is: bool| if is { "yes" } else { "no" };
        self.more(at, key, field, &Said(before, said(before)), &Said(after, said(after)), "");
    }

    /// Something that is in a list or not, by its name.
    fn listed(&mut self, at: &At, key: &str, field: &str, name: &str, is: bool, effect: Effect) {
        let (before, after) = if is { (None, Some(name.to_owned())) } else { (Some(name.to_owned()), None) };
        self.add(at, &format!("{key}[{name}]"), field, before, after, effect);
    }

    /// A list: what to take a member away does, and what to add one does.
    fn set(&mut self, at: &At, key: &str, field: &str, before: &[String], after: &[String], does: [Effect; 2]) {
        let [removed, added] = does;
        for name in before.iter().filter(|name| !after.contains(name)) {
            self.listed(at, key, field, name, false, removed);
        }
        for name in after.iter().filter(|name| !before.contains(name)) {
            self.listed(at, key, field, name, true, added);
        }
    }
}

/// Of a list whose members open something.
const OPENING: [Effect; 2] = [Effect::Narrower, Effect::Wider];

/// A truth with the word for it.
struct Said(bool, &'static str);

impl PartialEq for Said {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl PartialOrd for Said {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.0.partial_cmp(&other.0)
    }
}

impl Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.1)
    }
}

/// Members by their key; of several with the same one, each by its number too.
fn keyed<T>(items: &[T], key: impl Fn(&T) -> String) -> BTreeMap<(String, usize), &T> {
    let mut all = BTreeMap::new();
    for item in items {
        let key = key(item);
        let n = (0..items.len()).find(|n| !all.contains_key(&(key.clone(), *n))).unwrap_or_default();
        all.insert((key, n), item);
    }
    all
}

fn opened(found: &mut Found, new: &Agreement) {
    let top = At::new("", "");
    for party in &new.parties {
        party_is(found, party, true);
    }
    for grant in &new.grants {
        grant_is(found, grant, true);
    }
    found.add(&top, "effective_on", "effective on", None, Some(new.effective_on.to_string()), Effect::Wider);
    found.add(&top, "sunset_on", "sunset on", None, Some(new.sunset_on.to_string()), Effect::Wider);
    let kept = Commitments {
        lawful_use: true,
        authorized_users_only: true,
        trained_users: true,
        accuracy: true,
        no_onward_transfer: true,
        ..new.commitments.clone()
    };
    commitments(found, &kept, &new.commitments);
}

fn agreement(found: &mut Found, old: &Agreement, new: &Agreement) {
    let Agreement {
        format,
        id,
        revision,
        supersedes,
        parties,
        grants,
        commitments: promised,
        framework,
        witnesses,
        effective_on,
        sunset_on,
        renewal,
    } = new;
    let top = At::new("", "");
    found.plain(&top, "format", "format", &old.format, format);
    found.plain(&top, "id", "id", &old.id, id);
    found.plain(&top, "revision", "revision", &old.revision, revision);
    found.perhaps(&top, "supersedes", "supersedes", old.supersedes.as_ref(), supersedes.as_ref());
    let (before, after) =
        (keyed(&old.parties, |party| party.ori.to_string()), keyed(parties, |party| party.ori.to_string()));
    for (key, was) in &before {
        match after.get(key) {
            Some(is) => party(found, was, is),
            None => party_is(found, was, false),
        }
    }
    for (_, is) in after.iter().filter(|(key, _)| !before.contains_key(*key)) {
        party_is(found, is, true);
    }
    all_grants(found, &old.grants, grants);
    commitments(found, &old.commitments, promised);
    let parts = |it: &Option<Framework>| match it {
        Some(Framework { title, sha256 }) => (Some(title.clone()), Some(*sha256)),
        None => (None, None),
    };
    let ((old_title, old_sha256), (title, sha256)) = (parts(&old.framework), parts(framework));
    found.perhaps(&top, "framework.title", "framework", old_title.as_ref(), title.as_ref());
    found.perhaps(&top, "framework.sha256", "framework's text", old_sha256.as_ref(), sha256.as_ref());
    let policy = |it: &Option<Witnesses>| it.as_ref().map(|Witnesses { policy_sha256 }| policy_sha256.to_string());
    safeguard(found, "witnesses.policy_sha256", "witness policy", policy(&old.witnesses), policy(witnesses));
    found.less(&top, "effective_on", "effective on", &old.effective_on, effective_on);
    found.more(&top, "sunset_on", "sunset on", &old.sunset_on, sunset_on, "");
    renewals(found, old.renewal.as_ref(), renewal.as_ref());
}

/// Something that guards: to take it away is wider, to add it narrower.
fn safeguard(found: &mut Found, key: &str, field: &str, before: Option<String>, after: Option<String>) {
    let effect = match (&before, &after) {
        (Some(_), None) => Effect::Wider,
        (None, Some(_)) => Effect::Narrower,
        _ => Effect::Neutral,
    };
    if before != after {
        found.add(&At::new("", ""), key, field, before, after, effect);
    }
}

fn renewals(found: &mut Found, before: Option<&Renewal>, after: Option<&Renewal>) {
    let parts = |it: Option<&Renewal>| match it {
        Some(Renewal { packet_sha256, review_sha256, ag_check_sha256 }) => {
            [Some(*packet_sha256), Some(*review_sha256), Some(*ag_check_sha256)]
        }
        None => [None; 3],
    };
    let top = At::new("", "");
    let names = [
        ("renewal.packet_sha256", "compliance packet"),
        ("renewal.review_sha256", "review"),
        ("renewal.ag_check_sha256", "check of the Attorney General's sources"),
    ];
    for ((key, field), (before, after)) in names.into_iter().zip(parts(before).into_iter().zip(parts(after))) {
        found.perhaps(&top, key, field, before.as_ref(), after.as_ref());
    }
}

fn commitments(found: &mut Found, old: &Commitments, new: &Commitments) {
    let Commitments {
        lawful_use,
        authorized_users_only,
        trained_users,
        accuracy,
        hotlist_max_age_hours,
        no_onward_transfer,
        received_retention_days,
    } = new;
    let at = At::new("commitments", "both");
    for (key, field, before, after) in [
        ("lawful_use", "promise of lawful use", old.lawful_use, *lawful_use),
        (
            "authorized_users_only",
            "promise of authorized users only",
            old.authorized_users_only,
            *authorized_users_only,
        ),
        ("trained_users", "promise of trained users only", old.trained_users, *trained_users),
        ("accuracy", "promise of accuracy", old.accuracy, *accuracy),
        ("no_onward_transfer", "promise not to pass on", old.no_onward_transfer, *no_onward_transfer),
    ] {
        let said = |kept: bool| Said(kept, if kept { "given" } else { "not given" });
        found.less(&at, key, field, &said(before), &said(after));
    }
    let hours = &old.hotlist_max_age_hours;
    found.more(&at, "hotlist_max_age_hours", "use of a hotlist's entry", hours, hotlist_max_age_hours, " hours");
    let days = &old.received_retention_days;
    found.more(&at, "received_retention_days", "keeping what was received", days, received_retention_days, " days");
}
