//! What another document changes: per party, grant and field, in words, and whether it opens or closes anything.
//!
//! Every field is taken by name (no `..`), so a new field does not compile until it is said here what its change means.
//! The order of parties, grants, purposes and categories means nothing, and is no difference.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};

use serde::Serialize;

use crate::agreement::{
    Agreement, Area, Authorization, Commitments, Framework, Grant, HitsGrant, HotlistGrant, QueryGrant, Renewal,
    Witnesses,
};
use crate::party::{
    Approvals, Determination, Elements, NodeAddress, Official, Party, Policy, PolicyPurpose, Processor, PublicMeeting,
    Service, State,
};

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
    fn add(
        &mut self,
        at: &At,
        key: &str,
        field: &str,
        before: Option<String>,
        after: Option<String>,
        effect: Effect,
    ) {
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
        let n = (0..).find(|n| !all.contains_key(&(key.clone(), *n))).unwrap_or_default();
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

fn party_at(ori: impl Display) -> At {
    At::new(&format!("parties[{ori}]"), &ori.to_string())
}

fn party_is(found: &mut Found, party: &Party, is: bool) {
    let name = Some(party.legal_name.clone());
    let (before, after, effect) = if is { (None, name, Effect::Wider) } else { (name, None, Effect::Narrower) };
    found.add(&party_at(party.ori), "", "party", before, after, effect);
}

fn party(found: &mut Found, old: &Party, new: &Party) {
    let Party {
        ori,
        legal_name,
        kind,
        // There is one state only.
        state: State::CA,
        county,
        hub,
        custodian_title,
        official: Official { name, title, key },
        identity_key,
        policy: published,
        node: NodeAddress { url, tls_spki, seal_key, log_origin, log_vkey, witness_vkey },
        contacts,
        processors: working,
        approvals: Approvals { counsel, public_meeting: PublicMeeting { date, url: meeting }, signing_authority },
        determination,
    } = new;
    let at = party_at(ori);
    found.plain(&at, "legal_name", "legal name", &old.legal_name, legal_name);
    found.plain(&at, "kind", "kind", &old.kind.as_str(), &kind.as_str());
    found.plain(&at, "county", "county", &old.county, county);
    found.right(&at, "hub", "asks for others", old.hub, *hub);
    found.plain(&at, "custodian_title", "custodian", &old.custodian_title, custodian_title);
    found.plain(&at, "official.name", "official", &old.official.name, name);
    found.plain(&at, "official.title", "official's title", &old.official.title, title);
    found.perhaps(&at, "official.key", "official's key", old.official.key.as_ref(), key.as_ref());
    found.plain(&at, "identity_key", "identity key", &old.identity_key, identity_key);
    policy(found, &at, &old.policy, published);
    let was = &old.node;
    found.plain(&at, "node.url", "node's address", &was.url, url);
    found.plain(&at, "node.tls_spki", "TLS key", &was.tls_spki, tls_spki);
    found.plain(&at, "node.seal_key", "seal key", &was.seal_key, seal_key);
    found.plain(&at, "node.log_origin", "trail", &was.log_origin, log_origin);
    found.plain(&at, "node.log_vkey", "trail's key", &was.log_vkey, log_vkey);
    found.plain(&at, "node.witness_vkey", "witness key", &was.witness_vkey, witness_vkey);
    found.set(&at, "contacts", "contact", &old.contacts, contacts, [Effect::Neutral; 2]);
    processors(found, &at, &old.processors, working);
    let was = &old.approvals;
    found.plain(&at, "approvals.counsel", "counsel's approval", &was.counsel, counsel);
    found.plain(&at, "approvals.public_meeting.date", "public meeting on", &was.public_meeting.date, date);
    found.plain(&at, "approvals.public_meeting.url", "public meeting's record", &was.public_meeting.url, meeting);
    let authority = &was.signing_authority;
    found.plain(&at, "approvals.signing_authority", "authority to sign", authority, signing_authority);
    determined(found, &at, old.determination.as_ref(), determination.as_ref());
}

fn policy(found: &mut Found, at: &At, old: &Policy, new: &Policy) {
    let Policy { url, sha256, checked_on, checked_by, elements, purposes } = new;
    found.plain(at, "policy.url", "policy published at", &old.url, url);
    found.plain(at, "policy.sha256", "policy's text", &old.sha256, sha256);
    found.plain(at, "policy.checked_on", "policy compared on", &old.checked_on, checked_on);
    found.plain(at, "policy.checked_by", "policy compared by", &old.checked_by, checked_by);
    let Elements { a, b, c, d, e, f, g } = elements;
    let was = &old.elements;
    for (letter, before, after) in [
        ("A", &was.a, a),
        ("B", &was.b, b),
        ("C", &was.c, c),
        ("D", &was.d, d),
        ("E", &was.e, e),
        ("F", &was.f, f),
        ("G", &was.g, g),
    ] {
        // Without an element the agreement is not in force, with it it can be.
        let effect = match (before, after) {
            (None, Some(_)) => Effect::Wider,
            (Some(_), None) => Effect::Narrower,
            _ => Effect::Neutral,
        };
        if before != after {
            let key = format!("policy.elements.{letter}");
            found.add(at, &key, &format!("policy element {letter}"), before.clone(), after.clone(), effect);
        }
    }
    named(
        found,
        at,
        ("policy.purposes", "policy's purpose"),
        &old.purposes,
        purposes,
        |PolicyPurpose { name, purpose }| (name.clone(), purpose.to_string()),
    );
}

/// Members that have a name and say something: those that come and go, and those that say something else.
fn named<T>(
    found: &mut Found,
    at: &At,
    (key, field): (&str, &str),
    old: &[T],
    new: &[T],
    parts: impl Fn(&T) -> (String, String),
) {
    let (before, after) = (keyed(old, |it| parts(it).0), keyed(new, |it| parts(it).0));
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    for name in names {
        let says = |members: &BTreeMap<_, &T>| members.get(name).map(|it| parts(it).1);
        let (before, after) = (says(&before), says(&after));
        let effect = match (&before, &after) {
            (None, Some(_)) => Effect::Wider,
            (Some(_), None) => Effect::Narrower,
            _ => Effect::Neutral,
        };
        if before != after {
            found.add(at, &format!("{key}[{}]", name.0), &format!("{field} {}", name.0), before, after, effect);
        }
    }
}

/// Another body that gets at the data is wider, though it is no party (V-05).
fn processors(found: &mut Found, at: &At, old: &[Processor], new: &[Processor]) {
    named(found, at, ("processors", "processor"), old, new, |Processor { name, service }| {
        let service = match service {
            Service::Hosting => "hosting",
            Service::Towing => "towing",
        };
        (name.clone(), service.to_owned())
    });
}

fn determined(found: &mut Found, at: &At, old: Option<&Determination>, new: Option<&Determination>) {
    let key = "determination";
    match (old, new) {
        (None, None) => {}
        // What a determination allows, no other document does.
        (None, Some(is)) => found.add(at, key, key, None, Some(is.sha256.to_string()), Effect::Wider),
        (Some(was), None) => found.add(at, key, key, Some(was.sha256.to_string()), None, Effect::Narrower),
        (Some(was), Some(is)) => {
            let Determination { sha256, expires_on } = is;
            found.plain(at, "determination.sha256", key, &was.sha256, sha256);
            found.more(at, "determination.expires_on", "determination expires on", &was.expires_on, expires_on, "");
        }
    }
}

fn grant_at(grant: &Grant) -> At {
    match grant {
        Grant::Query(QueryGrant { owner, recipient, .. }) => {
            At::new(&format!("grants[query {owner} {recipient}]"), &format!("{recipient} queries {owner}"))
        }
        Grant::Hotlist(HotlistGrant { owner, recipient, list, .. }) => At::new(
            &format!("grants[hotlist {owner} {recipient} {list}]"),
            &format!("{recipient} gets the hotlist {list} of {owner}"),
        ),
        Grant::Hits(HitsGrant { owner, recipient, list }) => At::new(
            &format!("grants[hits {owner} {recipient} {list}]"),
            &format!("{recipient} is told of hits of {owner} on {list}"),
        ),
    }
}

fn grant_is(found: &mut Found, grant: &Grant, is: bool) {
    let granted = Some("granted".to_owned());
    let (before, after, effect) = if is { (None, granted, Effect::Wider) } else { (granted, None, Effect::Narrower) };
    found.add(&grant_at(grant), "", "grant", before, after, effect);
}

fn all_grants(found: &mut Found, old: &[Grant], new: &[Grant]) {
    let (before, after) = (keyed(old, |it| grant_at(it).path), keyed(new, |it| grant_at(it).path));
    for (key, was) in &before {
        match (was, after.get(key)) {
            (_, None) => grant_is(found, was, false),
            (Grant::Query(was), Some(Grant::Query(is))) => query(found, was, is),
            (Grant::Hotlist(was), Some(Grant::Hotlist(is))) => hotlist(found, was, is),
            // The key says everything that a grant of hits says.
            (_, Some(_)) => {}
        }
    }
    for (_, is) in after.iter().filter(|(key, _)| !before.contains_key(*key)) {
        grant_is(found, is, true);
    }
}

fn query(found: &mut Found, old: &QueryGrant, new: &QueryGrant) {
    let QueryGrant {
        owner: _,
        recipient: _,
        purposes,
        lookback_days,
        max_rows,
        daily_quota,
        area,
        partial,
        fuzzy,
        images,
        without_plate,
        authorization,
    } = new;
    let at = grant_at(&Grant::Query(new.clone()));
    let names = |all: &[crate::purpose::Purpose]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    found.set(&at, "purposes", "purpose", &names(&old.purposes), &names(purposes), OPENING);
    found.more(&at, "lookback_days", "lookback", &old.lookback_days, lookback_days, " days");
    found.more(&at, "max_rows", "reads in an answer", &old.max_rows, max_rows, "");
    found.more(&at, "daily_quota", "questions a day", &old.daily_quota, daily_quota, "");
    within(found, &at, old.area, *area);
    found.right(&at, "partial", "by part of a plate", old.partial, *partial);
    found.right(&at, "fuzzy", "by plates that readers confuse", old.fuzzy, *fuzzy);
    found.right(&at, "images", "images", old.images, *images);
    found.right(&at, "without_plate", "without a plate", old.without_plate, *without_plate);
    let said = |it: Authorization| match it {
        Authorization::PerRequest => Said(false, "per request"),
        Authorization::Standing => Said(true, "standing"),
    };
    found.more(&at, "authorization", "authorization", &said(old.authorization), &said(*authorization), "");
}

/// Ground that was not covered before makes it wider, however much is lost elsewhere.
fn within(found: &mut Found, at: &At, old: Option<Area>, new: Option<Area>) {
    let effect = match (old, new) {
        (None, Some(_)) => Effect::Narrower,
        (Some(_), None) => Effect::Wider,
        (Some(was), Some(is)) if was.intersection(is) == Some(is) => Effect::Narrower,
        _ => Effect::Wider,
    };
    let said = |area: Option<Area>| {
        area.map_or_else(
            || "anywhere".to_owned(),
            |Area { south, west, north, east }| format!("{south},{west} to {north},{east} (south,west to north,east)"),
        )
    };
    if old != new {
        found.add(at, "area", "area", Some(said(old)), Some(said(new)), effect);
    }
}

fn hotlist(found: &mut Found, old: &HotlistGrant, new: &HotlistGrant) {
    let HotlistGrant { owner: _, recipient: _, list: _, categories } = new;
    let at = grant_at(&Grant::Hotlist(new.clone()));
    found.set(&at, "categories", "category", &old.categories, categories, OPENING);
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
