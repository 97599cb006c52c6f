//! What another document changes of a party.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use super::{At, Effect, Found, keyed};
use crate::party::{
    Approvals, Determination, Elements, NodeAddress, Official, Party, Policy, PolicyPurpose, Processor, PublicMeeting,
    Service, State,
};

fn party_at(ori: impl Display) -> At {
    At::new(&format!("parties[{ori}]"), &ori.to_string())
}

pub(super) fn party_is(found: &mut Found, party: &Party, is: bool) {
    let name = Some(party.legal_name.clone());
    let (before, after, effect) = if is { (None, name, Effect::Wider) } else { (name, None, Effect::Narrower) };
    found.add(&party_at(party.ori), "", "party", before, after, effect);
}

pub(super) fn party(found: &mut Found, old: &Party, new: &Party) {
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
