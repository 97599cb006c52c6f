//! The parties and their signatures, in plain words.

use agreements::ids::Digest;
use agreements::party::{
    Approvals, Determination, Elements, NodeAddress, Official, Party, Policy, PolicyPurpose, Processor, PublicMeeting,
    Service, State,
};
use agreements::stream::{Event, Seal, Stream};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::summary::{Text, row};
use super::words::{all_of, day, kind, purpose, time, yes};
use super::{Found, Standing, Table};
use crate::exchange::descriptor::spoken;

/// A section about one party.
pub(super) fn party(text: &mut Text, party: &Party) {
    let Party {
        ori,
        legal_name,
        kind: of,
        state: State::CA,
        county,
        hub,
        custodian_title,
        official: Official { name, title, key },
        identity_key,
        policy,
        node,
        contacts,
        processors,
        approvals,
        determination,
    } = party;
    text.heading(&format!("Party: {legal_name} ({ori})"));
    let mut rows = vec![
        row("Legal name", legal_name),
        row("ORI", ori.as_str()),
        row("Kind", kind(*of)),
        row("County", &format!("{county}, California")),
        row("Asks for others (a hub)", &yes(*hub)),
        row("Custodian of records", custodian_title),
        row("Signs for it", &format!("{name}, {title}")),
        row("Own key of who signs: fingerprint", &key.as_deref().map(fingerprint).unwrap_or_default()),
        row("Told of sunsets and suspensions", &contacts.join(", ")),
    ];
    let Approvals { counsel, public_meeting: PublicMeeting { date, url }, signing_authority } = approvals;
    rows.push(row("Counsel's approval", counsel));
    rows.push(row("Public meeting (Civ. Code 1798.90.55(a))", &format!("{}, {url}", day(*date))));
    rows.push(row("Authority to sign", signing_authority));
    if let Some(Determination { sha256, expires_on }) = determination {
        rows.push(row("Determination that it is a public agency (SHA-256)", &sha256.to_string()));
        rows.push(row("The determination counts until the start of", &day(*expires_on)));
    }
    text.facts(&format!("Who {legal_name} is"), rows);
    if !processors.is_empty() {
        let service = |service: &Service| match service {
            Service::Hosting => "hosts data for it",
            Service::Towing => "tows vehicles for it",
        };
        text.table(Table {
            caption: format!("Who works for {legal_name}, and is no party (V-05)"),
            columns: vec!["Name".to_owned(), "Service".to_owned()],
            rows: processors.iter().map(|Processor { name, service: it }| row(name, service(it))).collect(),
        });
    }
    policy_of(text, legal_name, policy);
    node_of(text, legal_name, identity_key, node);
}

fn policy_of(text: &mut Text, legal_name: &str, policy: &Policy) {
    let Policy { url, sha256, checked_on, checked_by, elements, purposes } = policy;
    text.subheading(&format!("Published policy of {legal_name}"));
    let mut rows = vec![
        row("Published at", url),
        row("SHA-256 of its text", &sha256.to_string()),
        row("Compared with the text on", &day(*checked_on)),
        row("Compared by", checked_by),
    ];
    let Elements { a, b, c, d, e, f, g } = elements;
    for (says, letter, about) in [
        (a, 'A', "authorized purposes"),
        (b, 'B', "who may use it, and training"),
        (c, 'C', "how use is monitored"),
        (d, 'D', "sharing"),
        (e, 'E', "custodian"),
        (f, 'F', "accuracy and correction"),
        (g, 'G', "retention and destruction"),
    ] {
        let missing = "MISSING: the agreement cannot be in force without it";
        let says = says.as_deref().filter(|says| !says.trim().is_empty()).unwrap_or(missing);
        rows.push(row(&format!("Element {letter}, {about} (Civ. Code 1798.90.51(b)(2)({letter}))"), says));
    }
    text.facts(&format!("What the policy of {legal_name} says, and where"), rows);
    text.table(Table {
        caption: format!("Purposes of {legal_name} in its own words"),
        columns: vec!["In its own words".to_owned(), "Of the seven purposes".to_owned()],
        rows: purposes.iter().map(|PolicyPurpose { name, purpose: of }| row(name, &purpose(*of))).collect(),
    });
}

fn node_of(text: &mut Text, legal_name: &str, identity_key: &str, node: &NodeAddress) {
    let NodeAddress { url, tls_spki, seal_key, log_origin, log_vkey, witness_vkey } = node;
    text.subheading(&format!("Node and keys of {legal_name}"));
    text.facts(
        &format!("Where the node of {legal_name} is, and which keys are its own"),
        vec![
            row("Address", url),
            row("Identity key, kept offline: fingerprint", &fingerprint(identity_key)),
            row("Seal key: fingerprint", &fingerprint(seal_key)),
            row("TLS key (SHA-256)", &tls_spki.to_string()),
            row("Trail", log_origin),
            row("Trail's key", log_vkey),
            row("Witness key", witness_vkey),
        ],
    );
}

/// The fingerprint of a key as it is read out, or the key itself where it is none.
fn fingerprint(key: &str) -> String {
    match BASE64_URL_SAFE_NO_PAD.decode(key) {
        Ok(der) => spoken(Digest::of(&der)),
        Err(_) => format!("not a key: {key}"),
    }
}

/// Who signed, when, with which key.
pub(super) fn signatures(text: &mut Text, found: &Found) {
    for (party, stream) in found.agreement.parties.iter().zip(&found.streams.parties) {
        let mut rows = vec![
            row("For", &format!("{} ({})", party.legal_name, party.ori)),
            row("By", &party.official.name),
            row("Title", &party.official.title),
        ];
        rows.extend(signed(&found.standing, party, stream));
        text.facts(&format!("Signature of {}", party.legal_name), rows);
    }
}

fn signed(standing: &Standing, party: &Party, stream: &Stream) -> Vec<Vec<String>> {
    let signature = stream.events().iter().zip(0..).find_map(|(said, before)| match &said.event {
        Event::Signed { seal, official } => Some((said.at, before, seal, official)),
        _ => None,
    });
    match signature {
        Some((at, before, Seal { protected, signature }, official)) => {
            let mut rows = vec![
                row("Signed", &format!("{}, by the clock of its own trail", time(at))),
                row("Seal's key: fingerprint", &fingerprint(&stream.address(&party.node, before).seal_key)),
                row("Seal's header", &header(protected)),
                row("Seal", signature),
            ];
            if let Some(Seal { protected, signature }) = official {
                rows.push(row("Own signature of who signed: header", &header(protected)));
                rows.push(row("Own signature of who signed", signature));
            }
            rows
        }
        None if matches!(standing, Standing::Changed(_)) => {
            vec![row("Signed", "not shown: the rows of this node's registry were changed by other hands")]
        }
        None => vec![
            row("Signed", "NOT SIGNED"),
            row("Key that may sign: fingerprint", &fingerprint(&stream.address(&party.node, stream.len()).seal_key)),
        ],
    }
}

/// What both said of the agreement, in the order in which each said it.
pub(super) fn history(text: &mut Text, found: &Found) {
    let mut rows = Vec::new();
    for (party, stream) in found.agreement.parties.iter().zip(&found.streams.parties) {
        for (said, n) in stream.events().iter().zip(1..) {
            rows.push(vec![format!("{}, {n}", party.ori), time(said.at), event(&said.event)]);
        }
    }
    if !rows.is_empty() {
        text.heading("What each party said of it");
        let columns = ["Party and number", "When", "What"].map(str::to_owned).to_vec();
        text.table(Table { caption: "All events, as sworn by each party".to_owned(), columns, rows });
    }
}

fn event(event: &Event) -> String {
    match event {
        Event::Signed { seal: _, official: None } => "signed".to_owned(),
        Event::Signed { seal: _, official: Some(_) } => "signed, with the official's own signature".to_owned(),
        Event::Declined { reason } => format!("declined: {reason}"),
        Event::Withdrawn { reason } => format!("withdrew: {reason}"),
        Event::Suspended { reason } => format!("suspended: {reason}"),
        Event::Resumed { reason, seal: _ } => format!("resumed: {reason}"),
        Event::Terminated { reason } => format!("terminated: {reason}"),
        Event::Rekeyed { keys, compromised, reason, seal: _ } => format!(
            "has other keys (seal key: {}){}: {reason}",
            fingerprint(&keys.seal_key),
            if *compromised { "; an old one may be in other hands" } else { "" }
        ),
        Event::Moved { url, contacts, reason, seal: _ } => {
            format!("is at {url} and to be told at {}: {reason}", all_of(contacts))
        }
    }
}

/// The protected header of a seal as JSON.
fn header(protected: &str) -> String {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(protected).ok();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_else(|| protected.to_owned())
}
