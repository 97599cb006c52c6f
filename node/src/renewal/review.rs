//! The review of partners (V-30): who is to be reviewed, what changed since the last time, and what was decided.

use std::collections::BTreeMap;

use agreements::entry::Kind;
use agreements::ids::{AgreementId, Digest, Ori};
use agreements::json;
use agreements::packet::{Changed, Packet, changes};
use agreements::party::Party;
use agreements::review::{Decided, FORMAT, Review};
use agreements::time::Instant;
use certs::jws;
use diesel::result::{Error, QueryResult};
use jiff::civil::Date;
use serde::Serialize;

use super::held::{self, HeldError, HeldReview, REVIEW_TYP, RenewalReviewed};
use crate::db::{Conn, Tx};
use crate::exchange::Failure;
use crate::exchange::lifecycle::ActError;
use crate::exchange::standing::{self, Verified};
use crate::node::Node;
use crate::people::record;
use crate::registry::accounts::{Action, operator};
use crate::registry::{ag, agencies, agreements as documents, papers};
use crate::trail::Facts;

/// A partner whose packet is to be reviewed.
#[derive(Clone, Debug, Serialize)]
pub struct Due {
    /// Whose.
    pub partner: Ori,
    /// Its name.
    pub name: String,
    /// The agreement that is to be renewed.
    pub agreement: AgreementId,
    /// When that ends.
    pub sunset_on: Date,
    /// SHA-256 of the packet.
    pub packet: Digest,
    /// When it was last reviewed; absent the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reviewed_at: Option<Instant>,
    /// What is another since then. The first time that is everything.
    pub changes: Vec<Changed>,
    /// What a reviewer has to look at whether or not it changed: what the packet does not attest, what it admits.
    pub remarks: Vec<String>,
}

impl Due {
    /// Whether nothing but figures changed since the last review, in which everything was in order.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        let figure = |field: &str| field.starts_with("people.") || field == "audit.queries";
        self.reviewed_at.is_some() && self.remarks.is_empty() && self.changes.iter().all(|it| figure(&it.field))
    }
}

/// A partner under agreement that cannot be reviewed yet.
#[derive(Clone, Debug, Serialize)]
pub struct Waiting {
    /// Which.
    pub partner: Ori,
    /// Its name.
    pub name: String,
    /// When its agreement ends.
    pub sunset_on: Date,
    /// Why not.
    pub why: String,
}

/// Who is to be reviewed, and who cannot be yet; each list soonest sunset first.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Round {
    /// With a packet that was not reviewed, or not all ok where it was asked for `again`.
    pub due: Vec<Due>,
    /// Without a packet of the last year.
    pub waiting: Vec<Waiting>,
    /// Reviewed: the partner, and whether all was ok.
    pub done: Vec<(Ori, bool)>,
}

/// Fields that are another in every year's packet.
const YEARLY: [&str; 5] = ["made_at", "from", "until", "policy.checked_on", "audit.on"];
/// What a partner's description may have anew without a review: events change it, and each is sealed.
const BY_EVENTS: [&str; 3] = ["node.", "contacts", "policy.checked_on"];

/// The partners to be reviewed at `now`; those in `again` even if their packet was.
///
/// # Errors
/// See [`HeldError`].
pub fn round(conn: &mut Conn, us: Ori, again: &[Ori], now: Instant) -> Result<Round, HeldError> {
    let mut received = held::received(conn)?;
    let mut reviewed = held::reviewed(conn)?;
    let register = ag::register(conn)?;
    let mut round = Round::default();
    for (partner, found) in reviewable(conn, us, None)? {
        let Some(as_agreed) = found.agreement.party(partner) else { continue };
        let (name, sunset_on) = (as_agreed.legal_name.clone(), found.agreement.sunset_on);
        let of = received.remove(&partner).unwrap_or_default();
        let packet = held::newest_of(conn, &of)?;
        let Some(packet) = packet.filter(|held| held.packet.current(now)) else {
            let why = if of.is_empty() { "no packet came from it yet" } else { "its packet is over a year old" };
            round.waiting.push(Waiting { partner, name, sunset_on, why: why.to_owned() });
            continue;
        };
        let earlier = reviewed.remove(&partner).unwrap_or_default();
        let last = held::newest_review(conn, &earlier)?;
        if let Some(last) = last.as_ref().filter(|last| last.review.packet == packet.id)
            && !again.contains(&partner)
        {
            round.done.push((partner, last.review.not_ok().is_empty()));
            continue;
        }
        let today = agencies::find(conn, partner)?;
        let adverse = register.adverse.contains(&partner);
        let changes = changed(conn, last.as_ref(), &packet.packet, (as_agreed, today.as_ref()), adverse)?;
        round.due.push(Due {
            partner,
            name,
            agreement: found.agreement.id,
            sunset_on,
            packet: packet.id,
            reviewed_at: last.as_ref().map(|last| last.review.at),
            changes,
            remarks: remarks(&packet.packet, last.as_ref(), adverse),
        });
    }
    round.due.sort_by_key(|due| (due.sunset_on, due.partner));
    round.waiting.sort_by_key(|waiting| (waiting.sunset_on, waiting.partner));
    Ok(round)
}

/// The newest agreement with each partner, or with this one, that both signed, nobody ended and no other renews that both
/// signed.
pub(crate) fn renewable(conn: &mut Conn, us: Ori, only: Option<Ori>) -> QueryResult<Vec<(Ori, Verified)>> {
    Ok(latest(conn, us, only)?.into_iter().filter_map(|(partner, of)| Some((partner, of.renewable?))).collect())
}

/// Those, and where there is none the last one that was in force and was ended, if another one waits to be signed: that is no
/// first agreement either.
fn reviewable(conn: &mut Conn, us: Ori, only: Option<Ori>) -> QueryResult<Vec<(Ori, Verified)>> {
    let all = latest(conn, us, only)?.into_iter();
    Ok(all
        .filter_map(|(partner, of)| {
            let Newest { renewable, ended, offered } = of;
            Some((partner, renewable.or_else(|| ended.filter(|_| offered))?))
        })
        .collect())
}

/// The newest agreements with a partner.
#[derive(Default)]
struct Newest {
    renewable: Option<Verified>,
    /// That was in force, and that somebody ended.
    ended: Option<Verified>,
    /// Whether one waits to be signed.
    offered: bool,
}

fn latest(conn: &mut Conn, us: Ori, only: Option<Ori>) -> QueryResult<BTreeMap<Ori, Newest>> {
    let order = |it: &Verified| (it.agreement.revision, it.agreement.effective_on, it.agreement.id);
    let mut all: BTreeMap<Ori, Newest> = BTreeMap::new();
    for id in documents::ids(conn, only)? {
        let Some(found) = standing::verified(conn, id)? else { continue };
        let Some(partner) = found.agreement.other(us).map(|party| party.ori) else { continue };
        let of = all.entry(partner).or_default();
        let ended = found.streams.parties.iter().any(|stream| stream.ended().is_some());
        let place = match found.streams.takes_effect(&found.agreement) {
            None => {
                of.offered |= !ended;
                continue;
            }
            Some(_) if ended => &mut of.ended,
            Some(_) if found.streams.heir().is_some() => continue,
            Some(_) => &mut of.renewable,
        };
        if place.as_ref().is_none_or(|known| order(known) < order(&found)) {
            *place = Some(found);
        }
    }
    Ok(all)
}

/// What is another than at the last review: in the packet, in the partner's description, in the register.
fn changed(
    conn: &mut Conn,
    last: Option<&HeldReview>,
    packet: &Packet,
    (agreed, today): (&Party, Option<&Party>),
    adverse: bool,
) -> Result<Vec<Changed>, HeldError> {
    let before = match last {
        Some(last) => Some(held::packet(conn, last.review.packet)?),
        None => None,
    };
    let form = |error: json::StrictError| HeldError::Store(Error::SerializationError(error.into()));
    let mut all = changes(before.as_ref(), packet).map_err(form)?;
    all.retain(|it| !YEARLY.contains(&it.field.as_str()));
    if let Some(today) = today {
        let mut party = changes(Some(agreed), today).map_err(form)?;
        party.retain(|it| !BY_EVENTS.iter().any(|field| it.field.starts_with(field)));
        all.extend(party.into_iter().map(|it| Changed { field: format!("agency.{}", it.field), ..it }));
    }
    let named = last.is_some_and(|last| last.review.adverse);
    if named != adverse {
        let text = |named: bool| if named { "a finding stands against it" } else { "no finding" }.to_owned();
        let (before, after) = (Some(text(named)), Some(text(adverse)));
        all.push(Changed { field: "register".to_owned(), before, after });
    }
    Ok(all)
}

/// What has to be looked at each time.
fn remarks(packet: &Packet, last: Option<&HeldReview>, adverse: bool) -> Vec<String> {
    let mut remarks: Vec<String> = packet
        .attestations
        .named()
        .into_iter()
        .filter(|(_, attested)| !attested)
        .map(|(name, _)| format!("it does not attest {name}"))
        .collect();
    if packet.out_of_state.shared {
        remarks.push("it shares outside California".to_owned());
    }
    if adverse {
        remarks.push("a finding stands against it (V-31)".to_owned());
    }
    let untrained = packet.people.may_query.saturating_sub(packet.people.may_query_trained);
    if untrained > 0 {
        remarks.push(format!("{untrained} who may query are not trained"));
    }
    for it in last.map(|last| last.review.not_ok()).unwrap_or_default() {
        remarks.push(format!("not ok the last time: {} ({})", it.item, it.note));
    }
    remarks
}

/// What a reviewer decided about one partner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whom.
    pub partner: Ori,
    /// The packet that was shown.
    pub packet: Digest,
    /// Every item.
    pub items: Vec<Decided>,
}

/// A review that was recorded.
#[derive(Clone, Debug, Serialize)]
pub struct Submitted {
    /// Whom it is about.
    pub partner: Ori,
    /// SHA-256 of it.
    pub review: Digest,
    /// Whether all is ok, so that a renewal can be signed.
    pub all_ok: bool,
    /// Whether the same one was there already.
    pub already: bool,
}

/// Seals and records a review. The same decision about the same packet is recorded once.
///
/// # Errors
/// `by` may not, an item is not decided, or the packet is not the partner's newest any more.
pub async fn submit(node: &Node, decision: Decision, by: &str) -> Result<Submitted, ActError> {
    let (us, seal, by) = (node.ori(), node.seal(), by.to_owned());
    let job = move |tx: &mut Tx<'_>| {
        if let Err(why) = operator(tx.conn(), &by, Action::ManageAgreements)? {
            return Ok(Err(vec![why]));
        }
        let now = tx.now();
        let (review, last) = match written(tx.conn(), us, &decision, &by, now)? {
            Ok(found) => found,
            Err(why) => return Ok(Err(why)),
        };
        let all_ok = review.not_ok().is_empty();
        if let Some(last) = last.filter(|last| same(&last.review, &review)) {
            return Ok(Ok(Submitted { partner: decision.partner, review: last.id, all_ok, already: true }));
        }
        let payload = review.to_bytes().map_err(|error| Error::SerializationError(error.into()))?;
        let sealed = match seal.sign(&payload, REVIEW_TYP).and_then(|signature| jws::flatten(&payload, &signature)) {
            Ok(sealed) => sealed,
            Err(error) => return Ok(Err(vec![format!("the seal key does not sign: {error}")])),
        };
        let id = Digest::of(&payload);
        papers::keep(tx.conn(), id, REVIEW_TYP, &sealed, now)?;
        let (agreement, packet, partner) = (review.agreement, review.packet, decision.partner);
        let message = RenewalReviewed { agreement, by: by.clone(), packet, partner, review: id, v: 1 };
        let verdict = if all_ok { "ok" } else { "not ok" };
        let facts = Facts { partner: Some(partner), decision: Some(verdict.to_owned()), ..Facts::default() };
        record(tx, Kind::RenewalReviewed, &message, &by, facts)?;
        Ok(Ok(Submitted { partner, review: id, all_ok, already: false }))
    };
    let recorded = node.registry().record(job).await.map_err(Failure::from)?;
    recorded.into_inner().map_err(ActError::Refused)
}

/// Whether two reviews decide the same about the same.
fn same(one: &Review, other: &Review) -> bool {
    (one.packet, one.agreement, one.adverse, &one.items) == (other.packet, other.agreement, other.adverse, &other.items)
}

type Written = Result<(Review, Option<HeldReview>), Vec<String>>;

/// The review of a decision, and the one before it; or why there is none.
fn written(conn: &mut Conn, us: Ori, decision: &Decision, by: &str, now: Instant) -> QueryResult<Written> {
    let partner = decision.partner;
    let no = |why: String| Ok(Err(vec![why]));
    let Some((_, found)) = reviewable(conn, us, Some(partner))?.pop() else {
        return no(format!(
            "there is no agreement with {partner} that could be renewed or followed by another one; `concordat agreement list`"
        ));
    };
    let look = |conn: &mut Conn| -> Result<_, HeldError> {
        let received = held::received_of(conn, partner)?;
        let newest = held::newest_of(conn, &received)?.map(|held| held.id);
        let reviewed = held::reviewed_of(conn, partner)?;
        Ok((newest, held::newest_review(conn, &reviewed)?))
    };
    let (newest, last) = match held::settled(look(conn))? {
        Ok(found) => found,
        Err(why) => return Ok(Err(why)),
    };
    if newest != Some(decision.packet) {
        return no(format!(
            "{partner}: the packet that was reviewed is not its newest: `concordat agreement review start FOLDER` shows that"
        ));
    }
    let today = agencies::find(conn, partner)?;
    let party = json::canonical(&today).map_err(|error| Error::SerializationError(error.into()))?;
    let review = Review {
        format: FORMAT.to_owned(),
        reviewer: us,
        by: by.to_owned(),
        at: now,
        partner,
        agreement: found.agreement.id,
        document: Digest::of(&found.document),
        packet: decision.packet,
        party: Digest::of(&party),
        adverse: ag::register(conn)?.adverse.contains(&partner),
        previous: last.as_ref().map(|last| last.id),
        items: decision.items.clone(),
    };
    let problems: Vec<String> = review.problems().into_iter().map(|problem| format!("{partner}: {problem}")).collect();
    Ok(if problems.is_empty() { Ok((review, last)) } else { Err(problems) })
}

/// The newest review of a partner.
///
/// # Errors
/// See [`HeldError`].
pub fn newest(conn: &mut Conn, partner: Ori) -> Result<Option<HeldReview>, HeldError> {
    let reviewed = held::reviewed_of(conn, partner)?;
    held::newest_review(conn, &reviewed)
}
