//! One day with one partner: get its list, hold it to its log and to what is held here, open a case for what differs, and record
//! that it was done.

use std::collections::{BTreeMap, BTreeSet};

use agreements::discrepancy::{Differs, Discrepancy};
use agreements::entry::Kind;
use agreements::ids::{AgreementId, Digest, Ori, RequestId};
use agreements::message::{PROTOCOL, To};
use diesel::result::{Error, QueryResult};
use jiff::civil::Date;

use super::compare::{Compared, Difference, Sides, compare};
use super::fallen::Span;
use super::fetching::{self, Whole};
use super::holding::{self, Ours};
use super::listing::{Listed, day_of};
use super::{OLDEST, cases};
use crate::config::MailAddress;
use crate::db::{Conn, RecordError, Tx};
use crate::evidence::Evidence;
use crate::exchange::Failure;
use crate::exchange::following;
use crate::exchange::partner::Partner;
use crate::exchange::sworn::{self, Sworn};
use crate::exchange::tiles::Trouble;
use crate::exchange::wire::Envelope;
use crate::mail::{self, Audience};
use crate::node::{Desk, Node};
use crate::people;
use crate::registry::accounts::{Action, operator};
use crate::registry::agreements as documents;
use crate::registry::discrepancies::{self, Reconciled};
use crate::trail::Facts;
use crate::trail::note::Checkpoint;
use crate::trail::told::{self, Which};

/// So many cases are opened of one day; how many things differed is recorded with the day.
const CASES: usize = 20;
/// So many replies that never came are named with the day.
const NAMED: usize = 100;

/// A day that was reconciled.
#[derive(Debug, Clone)]
pub struct Done {
    /// What was found.
    pub found: Reconciled,
    /// The cases that were opened.
    pub opened: Vec<RequestId>,
}

/// Why a day was not reconciled.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    /// Whom it would be with is not enrolled.
    #[error("{0} is not enrolled; `concordat peer list` shows the partners")]
    Stranger(Ori),
    /// There is no such day, or what was said on it may be deleted.
    #[error("that day cannot be reconciled: days of the last two years can, as long as their entries are kept")]
    NoDay,
    /// It is too early.
    #[error("not yet: {0}; try it again later")]
    NotYet(String),
    /// The partner does not give what it takes.
    #[error("the partner does not give what it takes: {0}")]
    Away(String),
    /// Its log has two trails: no list of it counts.
    #[error("the partner's log has two trails (evidence {0}); see `concordat trail forks`")]
    Forked(Digest),
    /// The person may not.
    #[error("{0}")]
    Person(String),
    /// It failed here.
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl From<RecordError> for NotDone {
    fn from(error: RecordError) -> Self {
        Self::Failure(error.into())
    }
}

impl From<Trouble> for NotDone {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Failure(error) => Self::Failure(error),
            Trouble::Partner(why) => Self::Away(why),
        }
    }
}

/// What a case or a record of this partner needs besides what was found.
#[derive(Clone)]
struct With {
    partner: Ori,
    /// Its name and ORI.
    them: String,
    /// Under which agreement it is told; nobody is, where there is none.
    agreement: Option<AgreementId>,
    custodians: Vec<MailAddress>,
    by: Option<String>,
}

/// Reconciles a day of UTC with a partner, for a person or, at night, for nobody. What is found is recorded, and each
/// discrepancy is a case: once, however often it is found.
///
/// # Errors
/// See [`NotDone`]. Nothing was recorded then, but the case of a log that has two trails.
pub async fn reconcile(node: &Node, desk: &Desk, partner: Ori, day: Date, by: Option<&str>) -> Result<Done, NotDone> {
    let now = node.now();
    if let Some(by) = by {
        desk.registry(|conn| operator(conn, by, Action::ReadTrail))?.map_err(NotDone::Person)?;
    }
    if !fetching::settled(day, now) {
        return Err(NotDone::NotYet(format!("it is {now}, and {day} (a day of UTC) is not over by an hour")));
    }
    let oldest = day_of(now.plus(-OLDEST * agreements::time::Instant::DAY));
    if day <= oldest {
        return Err(NotDone::NoDay);
    }
    let known = node.partners().find(partner).cloned().ok_or(NotDone::Stranger(partner))?;
    let with = with(node, desk, &known, by)?;
    let before = desk.registry(|conn| Before::read(conn, partner))?;
    unforked(node, &with, &before, &known, day).await?;
    let list = fetching::list(node, &known, day).await?;
    let head = following::hold(node, &known).await?;
    // What was found on the way may convict its log.
    let known = node.partners().find(partner).cloned().ok_or(NotDone::Stranger(partner))?;
    unforked(node, &with, &before, &known, day).await?;
    let ours = desk.registry(|conn| holding::read(conn, &known, day))?;
    let log = log(node, &known, &head, &list, &ours).await?;
    let mut compared = compared(desk, partner, day, &list.entries, &log, &ours)?;
    compared.counts.of_earlier_log = ours.of_earlier_log;
    // What is not in its log is no word of the partner's, but invented: that is a difference.
    let in_log = |listed: &&Listed| log.get(&listed.index) == Some(&listed.leaf);
    let says: Vec<&Listed> =
        list.entries.iter().filter(|listed| listed.kind == Kind::DiscrepancyOpened).filter(in_log).collect();
    let New { cases, unopened } = new(node, &known, &with, &before, day, (&compared.differences, &says)).await?;
    let reconciled = Reconciled {
        counts: compared.counts,
        day,
        differs: compared.differences.len() as u64,
        partner,
        root: head.root,
        size: head.size,
        not_received: compared.not_received.into_iter().take(NAMED).collect(),
        unopened: unopened.into_iter().take(NAMED).collect(),
        v: 1,
    };
    let opened = record(node, with, before, cases, Some(reconciled.clone())).await?;
    Ok(Done { found: reconciled, opened })
}

/// The cases with a partner that there were when it was looked, without holding up who records.
#[derive(Clone)]
struct Before {
    known: BTreeSet<(Differs, Digest)>,
    /// What was opened from this position of the trail on is perhaps not among them.
    until: u64,
}

impl Before {
    fn read(conn: &mut Conn, partner: Ori) -> QueryResult<Self> {
        let until = told::last(conn, Kind::DiscrepancyOpened)?.saturating_add(1).cast_unsigned();
        let known = sound(discrepancies::opened(conn, Which::About(partner))?)?;
        Ok(Self { known: known.iter().map(|case| (case.differs, case.about)).collect(), until })
    }
}

/// What has no case yet.
struct New {
    cases: Vec<Discrepancy>,
    /// What gets none in this run.
    unopened: Vec<Digest>,
}

/// Makes cases of what differs and of what the partner says, but for what has one: so many each that what is left out gets its
/// case when it is looked again, whatever was put in front of it.
async fn new(
    node: &Node,
    partner: &Partner,
    with: &With,
    before: &Before,
    day: Date,
    (differences, says): (&[Difference], &[&Listed]),
) -> Result<New, NotDone> {
    let mut known = before.known.clone();
    let differences = differences.iter().filter(|difference| known.insert((difference.differs, difference.leaf)));
    let differences: Vec<&Difference> = differences.collect();
    let says: Vec<&&Listed> = says.iter().filter(|listed| known.insert((Differs::Told, listed.leaf))).collect();
    let (mut cases, mut unopened) = (Vec::new(), Vec::new());
    for difference in differences.iter().take(CASES) {
        cases.push(discrepancy(node, partner, with, day, difference).await?);
    }
    unopened.extend(differences.iter().skip(CASES).map(|difference| difference.leaf));
    for listed in says.iter().take(CASES) {
        match said(node, partner, with, day, listed).await {
            Some(case) => cases.push(case),
            None => unopened.push(listed.leaf),
        }
    }
    unopened.extend(says.iter().skip(CASES).map(|listed| listed.leaf));
    Ok(New { cases, unopened })
}

fn with(node: &Node, desk: &Desk, partner: &Partner, by: Option<&str>) -> Result<With, Failure> {
    let ori = partner.ori();
    let agreement = desk.registry(|conn| Ok(documents::ids(conn, Some(ori))?.pop()))?;
    let custodians = mail::recipients(&node.config().mail, Audience::Custodian).into_iter().cloned().collect();
    let them = format!("{} ({ori})", partner.party().legal_name);
    Ok(With { partner: ori, them, agreement, custodians, by: by.map(str::to_owned) })
}

/// Opens the case of days that were never compared with a partner: its custodian is told as well.
///
/// # Errors
/// See [`NotDone`].
pub async fn not_compared(node: &Node, desk: &Desk, partner: Ori, span: &Span) -> Result<Vec<RequestId>, NotDone> {
    let known = node.partners().find(partner).cloned().ok_or(NotDone::Stranger(partner))?;
    let with = with(node, desk, &known, None)?;
    let before = desk.registry(|conn| Before::read(conn, partner))?;
    let about = Digest::of(span.first.to_string().as_bytes());
    let says = cases::not_compared(span, partner, &with.them);
    let case = Discrepancy { until: Some(span.last), says, ..case(&with, span.first, Differs::NotCompared, about) };
    record(node, with, before, vec![case], None).await
}

/// Opens the case of a log that has two trails.
async fn unforked(node: &Node, with: &With, before: &Before, partner: &Partner, day: Date) -> Result<(), NotDone> {
    let Some(evidence) = partner.forked() else { return Ok(()) };
    let case = case(with, day, Differs::Forked, evidence);
    record(node, with.clone(), before.clone(), vec![case], None).await?;
    Err(NotDone::Forked(evidence))
}

/// What the partner's log has where its list and what is held here say that something is.
async fn log(
    node: &Node,
    partner: &Partner,
    head: &Checkpoint,
    list: &Whole,
    ours: &Ours,
) -> Result<BTreeMap<u64, Digest>, NotDone> {
    let listed = list.entries.iter().map(|listed| listed.index);
    let kept = ours.held.iter().filter_map(|held| held.index);
    // Beyond the head that it signs today there is nothing, by its own word.
    let indexes: BTreeSet<u64> = listed.chain(kept).filter(|index| *index < list.head.size).collect();
    fetching::log(node, partner, head, indexes).await
}

fn compared(
    desk: &Desk,
    partner: Ori,
    day: Date,
    listed: &[Listed],
    log: &BTreeMap<u64, Digest>,
    ours: &Ours,
) -> Result<Compared, Failure> {
    // What was said long ago and is answered on this day is looked up once.
    let mut said: BTreeSet<Digest> = ours.said.keys().copied().collect();
    for of in listed.iter().filter_map(|listed| listed.of) {
        if !said.contains(&of) && desk.registry(|conn| holding::said_ever(conn, partner, of))? {
            said.insert(of);
        }
    }
    let asks =
        |listed: &&Listed| matches!(listed.kind, Kind::QueryAsked | Kind::HotlistPulled) && day_of(listed.at) == day;
    let asked: BTreeSet<Digest> = ours.said.values().filter(asks).map(|listed| listed.leaf).collect();
    let has = |hash: Digest| said.contains(&hash);
    Ok(compare(&Sides { listed, log, held: &ours.held, named: &ours.named, asked: &asked, said: &has }))
}

fn case(with: &With, day: Date, differs: Differs, about: Digest) -> Discrepancy {
    Discrepancy {
        v: PROTOCOL,
        to: with.agreement.map(|agreement| To { ori: with.partner, agreement }).into_iter().collect(),
        partner: with.partner,
        day,
        until: None,
        differs,
        about,
        rid: None,
        kind: None,
        other: None,
        evidence: Vec::new(),
        says: cases::says(differs, None, &with.them),
    }
}

/// A difference as a case, with what proves the entry that the partner lists where nothing of it is held here yet.
async fn discrepancy(
    node: &Node,
    partner: &Partner,
    with: &With,
    day: Date,
    difference: &Difference,
) -> Result<Discrepancy, NotDone> {
    let Difference { differs, leaf, rid, kind, other } = difference.clone();
    let mut evidence = Vec::new();
    if let (Differs::Unasked | Differs::Invented, Some(rid)) = (differs, rid)
        && let Some(entry) = fetching::whole(node, partner, rid).await.as_deref().and_then(fetching::evidence)
    {
        let kept = async { Evidence::of(node.config())?.keep(entry).await };
        match kept.await {
            Ok(digest) => evidence.push(digest),
            // The case stands without it: the partner's log has the entry.
            Err(error) => tracing::error!(%error, "the entry that a partner lists is not kept as evidence"),
        }
    }
    let says = cases::says(differs, kind, &with.them);
    Ok(Discrepancy { rid, kind, other, evidence, says, ..case(with, day, differs, leaf) })
}

/// What the partner found, as a case of our own: for nobody, so that it is not told back. `None` where it does not give the
/// signed entry that it lists. What it says there in words is not repeated: it could be anything.
async fn said(node: &Node, partner: &Partner, with: &With, day: Date, listed: &Listed) -> Option<Discrepancy> {
    let text = fetching::whole(node, partner, listed.rid).await?;
    let sworn = Envelope::parse(&text).map_err(|error| error.to_string()).and_then(|envelope| {
        let sworn: Result<Sworn<Discrepancy>, _> =
            sworn::verify(&envelope, Kind::DiscrepancyOpened, partner, node.ori(), node.checkpoints());
        sworn.map_err(|error| error.to_string())
    });
    let theirs = match &sworn {
        Ok(sworn) if sworn.evidence().leaf_hash != listed.leaf => {
            tracing::warn!(partner = %listed.rid, "a partner gives another discrepancy than it lists");
            return None;
        }
        Ok(sworn) => sworn.message(),
        Err(why) => {
            tracing::warn!(why, "what a partner says of a discrepancy does not verify");
            return None;
        }
    };
    Some(Discrepancy {
        to: Vec::new(),
        rid: Some(listed.rid),
        kind: Some(listed.kind),
        other: Some(theirs.about),
        says: cases::told(&with.them, theirs),
        // It cannot have found what is of a later day.
        ..case(with, theirs.day.min(day), Differs::Told, listed.leaf)
    })
}

/// Opens the cases that are new, and records what was found of the day if that was not recorded so. The new cases.
async fn record(
    node: &Node,
    with: With,
    before: Before,
    found: Vec<Discrepancy>,
    day: Option<Reconciled>,
) -> Result<Vec<RequestId>, NotDone> {
    let job = move |tx: &mut Tx<'_>| {
        let opened = open_new(tx, &with, &before, found)?;
        let first_day = opened.first().map(|(_, case)| case.day);
        if let Some(day) = day {
            append_day(tx, &with, &day)?;
        }
        let now = tx.now();
        let notice = first_day.and_then(|day| cases::notice(&with.them, day, &opened));
        if let Some(notice) = notice {
            mail::queue(tx.conn(), &with.custodians, &notice, now)?;
        }
        Ok(opened.into_iter().map(|(id, _)| id).collect::<Vec<RequestId>>())
    };
    let opened = node.registry().record(job).await?.into_inner();
    if !opened.is_empty() {
        tracing::error!(cases = opened.len(), "ALARM: this trail and a partner's differ; the custodian has a case");
        node.bell().ring_for(crate::jobs::MAIL);
    }
    Ok(opened)
}

fn open_new(
    tx: &mut Tx<'_>,
    with: &With,
    before: &Before,
    found: Vec<Discrepancy>,
) -> QueryResult<Vec<(RequestId, Discrepancy)>> {
    let mut opened: Vec<(RequestId, Discrepancy)> = Vec::new();
    if found.is_empty() {
        return Ok(opened);
    }
    // Another run may have opened some since it was looked.
    let since = sound(discrepancies::opened(tx.conn(), Which::From(before.until))?)?;
    for case in found {
        let mut others = since.iter().chain(opened.iter().map(|(_, case)| case));
        if before.known.contains(&(case.differs, case.about)) || others.any(|other| other.is(&case)) {
            continue;
        }
        let decision = Some(case.differs.as_str().to_owned());
        let facts = Facts { partner: Some(with.partner), decision, ..Facts::default() };
        let id = people::record_by_node(tx, Kind::DiscrepancyOpened, &case, facts)?;
        opened.push((id, case));
    }
    Ok(opened)
}

fn append_day(tx: &mut Tx<'_>, with: &With, found: &Reconciled) -> QueryResult<()> {
    let since = super::listing::bounds(found.day).map_or(tx.now(), |(since, _)| since);
    let before = sound(discrepancies::reconciled(tx.conn(), since)?)?;
    let before = before.get(&with.partner).and_then(|days| days.get(&found.day));
    if before.is_some_and(|before| before.found_the_same(found)) {
        return Ok(());
    }
    let decision = if found.is_equal() { "equal" } else { "differs" };
    let facts = Facts { partner: Some(with.partner), decision: Some(decision.to_owned()), ..Facts::default() };
    match &with.by {
        Some(by) => people::record(tx, Kind::TrailReconciled, found, by, facts),
        None => people::record_by_node(tx, Kind::TrailReconciled, found, facts).map(drop),
    }
}

fn sound<T>(told: Result<T, String>) -> QueryResult<T> {
    told.map_err(|what| Error::DeserializationError(what.into()))
}
