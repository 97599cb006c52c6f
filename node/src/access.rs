//! Effective access: who can get what now, as the doors have it and as the trail has it, and who could at any instant of the
//! past.
//!
//! In scope: reading the history from the trail alone, asking the doors, comparing the two. Out of scope: what access is (the
//! crate `agreements`), and when it is compared (see [`crate::jobs`]).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use agreements::access::{Access, Held, What, effective};
use agreements::agreement::Agreement;
use agreements::entry::{Kind, Leaf};
use agreements::history::{History, Past};
use agreements::ids::{AgreementId, Digest, Ori, RequestId};
use agreements::json;
use agreements::message::{Acknowledgement, StreamEvent};
use agreements::probe::probe;
use agreements::register::{Finding, OpenReview, Trigger};
use agreements::stream::{Said, Streams};
use agreements::time::Instant;
use diesel::result::{Error, QueryResult};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::changes::{authorizing, rules};
use crate::db::{Conn, steady};
use crate::exchange::failure::Failure;
use crate::exchange::known;
use crate::exchange::standing::{OFFER_RECEIVED, Owner};
use crate::node::Node;
use crate::registry::{ag, agreements as documents};
use crate::trail;
use crate::trail::search::{self, Filter};
use crate::trail::told::{self, Told, Which};

/// What the trail says of who could get what.
#[derive(Debug)]
pub struct Recorded {
    /// All of it.
    pub history: History,
    /// Documents and partners' events that the trail names by their hash and that are not kept as they were: one line each.
    pub missing: Vec<String>,
}

/// Why the trail does not tell.
enum Untold {
    Store(Error),
    Changed(String),
}

impl From<Error> for Untold {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// Reads the history from the trail. Documents and partners' events stand in it by their hashes; their bytes are taken from
/// where they are kept, and count only if they have these. The inner error says which entry is not as it was recorded.
pub fn recorded(conn: &mut Conn, us: Ori) -> QueryResult<Result<Recorded, String>> {
    match steady(conn, |conn| read(conn, us)) {
        Ok(recorded) => Ok(Ok(recorded)),
        Err(Untold::Changed(what)) => Ok(Err(what)),
        Err(Untold::Store(error)) => Err(error),
    }
}

fn entries(conn: &mut Conn, kind: Kind) -> Result<Vec<Told>, Untold> {
    told::told(conn, kind, Which::All)?.map_err(Untold::Changed)
}

fn said<M: DeserializeOwned>(conn: &mut Conn, kind: Kind) -> Result<Vec<(Told, M)>, Untold> {
    let read = |told: Told| {
        let message = json::parse(&told.message);
        message.map(|message| (told, message)).map_err(|error| Untold::Changed(format!("an entry of {kind}: {error}")))
    };
    entries(conn, kind)?.into_iter().map(read).collect()
}

fn read(conn: &mut Conn, us: Ori) -> Result<Recorded, Untold> {
    let mut missing = Vec::new();
    let mut agreements = ours(conn, us, &mut missing)?;
    theirs(conn, us, &mut agreements, &mut missing)?;
    let findings =
        said::<Finding>(conn, Kind::AgFinding)?.into_iter().map(|(told, finding)| (told.at, finding)).collect();
    let checks = entries(conn, Kind::AgCheck)?.into_iter().map(|told| told.at).collect();
    let history = History {
        us,
        agreements: agreements.into_values().collect(),
        findings,
        checks,
        reviews: reviews(conn)?,
        authorizations: authorizing::history(conn)?.map_err(Untold::Changed)?,
        rules: rules::history(conn)?.map_err(Untold::Changed)?,
    };
    Ok(Recorded { history, missing })
}

/// The agreements of which this agency said something, with what it said.
fn ours(conn: &mut Conn, us: Ori, missing: &mut Vec<String>) -> Result<BTreeMap<AgreementId, Past>, Untold> {
    let texts: BTreeMap<Digest, Vec<u8>> =
        documents::texts(conn)?.into_iter().map(|text| (Digest::of(&text), text)).collect();
    let mut all: BTreeMap<AgreementId, Past> = BTreeMap::new();
    let mut without = BTreeSet::new();
    for (told, event) in said::<StreamEvent>(conn, Kind::AgreementEvent)? {
        let Some(id) = event.to.first().map(|to| to.agreement) else { continue };
        let past = match all.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let text = texts.get(&event.document).and_then(|text| Agreement::from_bytes(text).ok());
                let Some(agreement) = text.filter(|agreement| agreement.id == id && agreement.party(us).is_some())
                else {
                    if without.insert(id) {
                        missing
                            .push(format!("agreement {id}: its document is not kept as this agency's events name it"));
                    }
                    continue;
                };
                unknown.insert(Past { agreement, document: event.document, events: [Vec::new(), Vec::new()] })
            }
        };
        stream_of(past, us).push((told.at, Said { event: event.event, at: told.at }));
    }
    Ok(all)
}

/// The stream of `party` in an agreement that it is a party to.
fn stream_of(past: &mut Past, party: Ori) -> &mut Vec<(Instant, Said)> {
    let [first, second] = &mut past.events;
    if past.agreement.parties.first().is_some_and(|known| known.ori == party) { first } else { second }
}

/// What partners said, each from when this agency acknowledged it.
fn theirs(
    conn: &mut Conn,
    us: Ori,
    all: &mut BTreeMap<AgreementId, Past>,
    missing: &mut Vec<String>,
) -> Result<(), Untold> {
    let kept: BTreeMap<Digest, documents::Kept> =
        documents::events_of_others(conn, us)?.into_iter().map(|kept| (Leaf::hash_of(&kept.leaf), kept)).collect();
    let offers = offers_heard(conn)?;
    for (told, heard) in said::<Acknowledgement>(conn, Kind::AgreementAcknowledged)? {
        let Some(id) = heard.to.first().map(|to| to.agreement) else { continue };
        let Some(past) = all.get_mut(&id).filter(|_| !offers.contains(&told.rid)) else { continue };
        let Some(partner) = past.agreement.other(us).map(|party| party.ori) else { continue };
        let event = kept.get(&heard.of).and_then(event_of);
        match event {
            Some((event, at)) if event.document == past.document => {
                stream_of(past, partner).push((told.at, Said { event: event.event, at }));
            }
            _ => missing.push(format!("agreement {id}: an event of {partner} is not kept as it was acknowledged")),
        }
    }
    Ok(())
}

fn event_of(kept: &documents::Kept) -> Option<(StreamEvent, Instant)> {
    let leaf = Leaf::from_bytes(&kept.leaf).ok()?;
    let sound = leaf.kind == Kind::AgreementEvent && Digest::salted(&kept.salt, &kept.message) == leaf.message;
    sound.then(|| json::parse(&kept.message).ok()).flatten().map(|event| (event, leaf.at))
}

/// Which acknowledgements are of offers, not of events.
fn offers_heard(conn: &mut Conn) -> QueryResult<BTreeSet<RequestId>> {
    let mut filter = Filter {
        kind: Some(Kind::AgreementAcknowledged),
        decision: Some(OFFER_RECEIVED.to_owned()),
        ..Filter::default()
    };
    let mut all = BTreeSet::new();
    loop {
        let page = search::search(conn, &filter)?;
        let Some(last) = page.last() else { return Ok(all) };
        filter.before_index = Some(last.index);
        all.extend(page.iter().map(|row| row.rid));
    }
}

/// The early reviews, each with when it was closed.
fn reviews(conn: &mut Conn) -> Result<Vec<(OpenReview, Option<Instant>)>, Untold> {
    #[derive(Deserialize)]
    struct Opened {
        ori: Ori,
        trigger: Trigger,
    }
    #[derive(Deserialize)]
    struct Closed {
        review: RequestId,
    }
    let closed: Vec<(Told, Closed)> = said(conn, Kind::ReviewClosed)?;
    let ended = |id| closed.iter().find(|(_, closed)| closed.review == id).map(|(told, _)| told.at);
    let review = |(told, Opened { ori, trigger }): (Told, Opened)| {
        (OpenReview { id: told.rid, ori, trigger, opened_at: told.at }, ended(told.rid))
    };
    Ok(said::<Opened>(conn, Kind::ReviewOpened)?.into_iter().map(review).collect())
}

/// Who can get what at `now`, as agreements and register are kept.
pub fn present(conn: &mut Conn, owner: &Owner, now: Instant) -> QueryResult<Vec<Access>> {
    let register = ag::register(conn)?;
    let rules = rules::counting(conn, &owner.rules)?;
    let given = authorizing::all(conn)?;
    let all = known::all(conn)?;
    let held: Vec<(Digest, &Agreement, &Streams)> =
        all.iter().map(|found| (Digest::of(&found.document), &found.agreement, &found.streams)).collect();
    let held: Vec<Held<'_>> =
        held.into_iter().map(|(document, agreement, streams)| Held { agreement, document, streams }).collect();
    Ok(effective(owner.ori, &held, &register, &rules, &given, now))
}

/// What the doors have: what partners may get here, and whom this agency may ask under which agreement.
#[derive(Debug, Default, PartialEq, Eq)]
struct Doors {
    given: Vec<Access>,
    asked: BTreeMap<Ori, AgreementId>,
}

/// Asks the doors, through the standings that they use.
fn doors(node: &Node, conn: &mut Conn, now: Instant) -> QueryResult<Doors> {
    let mut doors = Doors::default();
    for partner in node.partners().all() {
        for id in documents::ids(conn, Some(partner.ori()))? {
            let standing = node.standings().standing(conn, node.owner(), partner.ori(), id, now)?;
            doors.given.extend(probe(&standing, now));
        }
        if let Ok(asking) = node.standings().asking(conn, node.ori(), partner.ori(), now)? {
            doors.asked.insert(partner.ori(), asking.agreement);
        }
    }
    Ok(doors)
}

/// The doors and the trail, compared.
#[derive(Debug)]
pub struct Compared {
    /// What partners may get here, as the doors have it.
    pub given: Vec<Access>,
    /// Of how many agreements the trail knows.
    pub agreements: usize,
    /// In what the two differ, one line each; empty when they agree.
    pub differences: Vec<String>,
}

/// Compares what the doors have with what follows from the trail. What is changed meanwhile is compared again.
///
/// # Errors
/// The registry cannot be read.
pub fn compare(node: &Node) -> Result<Compared, Failure> {
    let mut conn = node.registry().reader()?;
    for _ in 0..10 {
        let now = node.now();
        let epoch = trail::head::epoch(&mut conn)?;
        node.refresh_partners(&mut conn)?;
        let doors = doors(node, &mut conn, now)?;
        let recorded = recorded(&mut conn, node.ori())?;
        if trail::head::epoch(&mut conn)? == epoch {
            let differences = match &recorded {
                Ok(recorded) => differences(node.owner(), &doors, recorded, now),
                Err(what) => vec![format!("the trail does not tell who may get what: {what}")],
            };
            let agreements = recorded.map_or(0, |recorded| recorded.history.agreements.len());
            return Ok(Compared { given: doors.given, agreements, differences });
        }
    }
    Err(Failure::Overtaken)
}

fn differences(owner: &Owner, doors: &Doors, recorded: &Recorded, now: Instant) -> Vec<String> {
    let us = owner.ori;
    let mut history = recorded.history.clone();
    // This process was started with a configuration, and gives no more than that allows.
    let counting = history.rules.last().map(|(_, rules)| (now, owner.rules.narrower(rules)));
    history.rules.extend(counting);
    let follows = history.at(now);
    // Hits are told to nobody yet.
    let ours = |one: &&Access| one.owner == us && !matches!(one.what, What::Hits { .. });
    let due: Vec<&Access> = follows.iter().filter(ours).collect();
    let line =
        |what: &str, one: &Access| format!("{what}: {} (agreement {}, until {})", one.says(), one.under, one.until);
    let mut lines = recorded.missing.clone();
    for given in doors.given.iter().filter(|given| !due.contains(given)) {
        lines.push(line("this node gives what does not follow from the trail", given));
    }
    for due in due.iter().filter(|due| !doors.given.contains(due)) {
        lines.push(line("this node does not give what follows from the trail", due));
    }
    let mut may_ask: BTreeMap<Ori, Vec<AgreementId>> = BTreeMap::new();
    for one in follows.iter().filter(|one| one.owner != us && matches!(one.what, What::Query(_))) {
        may_ask.entry(one.owner).or_default().push(one.under);
    }
    for (owner, under) in &doors.asked {
        if !may_ask.remove(owner).is_some_and(|all| all.contains(under)) {
            lines.push(format!("this node asks {owner} under agreement {under}, which does not follow from the trail"));
        }
    }
    lines.extend(may_ask.into_keys().map(|owner| format!("this node does not ask {owner}, which it may by the trail")));
    lines
}
