//! What is still missing before this agency may sign: approvals, its official's hand, and for a renewal the partner's
//! packet, a review of it that is all ok, and a fresh check of the Attorney General's sources (V-29 to V-31).

use agreements::agreement::{Agreement, Renewal};
use agreements::approval::{self, ApprovalGiven, ApprovalKind};
use agreements::ids::{AgreementId, Digest, Ori};
use agreements::register::AG_CHECK_ACTIVATION;
use agreements::stream::Seal;
use agreements::time::Instant;
use diesel::result::QueryResult;

use super::held::{self, HeldError, HeldPacket};
use crate::db::Conn;
use crate::exchange::standing::{self, Verified};
use crate::registry::agreements as documents;

/// What a renewal with a partner stands on, all of it current.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Basis {
    /// The partner's newest packet.
    pub packet: Digest,
    /// Our review of it, all ok.
    pub review: Digest,
    /// The newest check of the Attorney General's sources.
    pub ag_check: Digest,
}

/// What a renewal with `partner` at `now` can stand on; or everything that is missing, each with how to supply it.
///
/// # Errors
/// See [`HeldError`].
pub fn basis(conn: &mut Conn, partner: Ori, now: Instant) -> Result<Result<Basis, Vec<String>>, HeldError> {
    let mut problems = Vec::new();
    let packet = packet_of(conn, partner, now, &mut problems)?;
    let review = match &packet {
        Some(packet) => review_of(conn, partner, packet.id, &mut problems)?,
        None => None,
    };
    let ag_check = held::ag_checks(conn)?.pop().filter(|(at, _)| now.since(*at) <= AG_CHECK_ACTIVATION);
    if ag_check.is_none() {
        problems.push(
            "the last check of the Attorney General's sources is over 30 days old or missing: run `concordat ag check`"
                .to_owned(),
        );
    }
    Ok(match (packet, review, ag_check) {
        (Some(packet), Some(review), Some((_, ag_check))) if problems.is_empty() => {
            Ok(Basis { packet: packet.id, review, ag_check })
        }
        _ => Err(problems),
    })
}

fn packet_of(
    conn: &mut Conn,
    partner: Ori,
    now: Instant,
    problems: &mut Vec<String>,
) -> Result<Option<HeldPacket>, HeldError> {
    let received = held::received_of(conn, partner)?;
    let newest = held::newest_of(conn, &received)?;
    match &newest {
        None => problems.push(format!(
            "{partner} has not applied for renewal: its compliance packet is missing (V-29). Ask it to run `concordat \
             agreement packet make`, which sends it"
        )),
        Some(held) if !held.packet.current(now) => problems.push(format!(
            "the compliance packet of {partner} was made on {}, over a year ago (V-29): ask it for this year's",
            held.packet.made_at
        )),
        Some(_) => {}
    }
    Ok(newest)
}

/// Our newest review of this packet, if it is all ok.
fn review_of(
    conn: &mut Conn,
    partner: Ori,
    packet: Digest,
    problems: &mut Vec<String>,
) -> Result<Option<Digest>, HeldError> {
    let mut reviews = held::reviewed_of(conn, partner)?;
    reviews.retain(|it| it.packet == packet);
    let Some(held) = held::newest_review(conn, &reviews)? else {
        problems.push(format!(
            "the packet {packet} of {partner} was not reviewed (V-30): `concordat agreement review start FOLDER`, decide, \
             then `concordat agreement review submit FOLDER --as USER`"
        ));
        return Ok(None);
    };
    let not_ok = held.review.not_ok();
    if not_ok.is_empty() {
        return Ok(Some(held.id));
    }
    let items: Vec<String> = not_ok.iter().map(|it| format!("{} ({})", it.item, it.note)).collect();
    problems.push(format!(
        "the review of {partner} of {} found not ok (V-30): {}. Settle it with the partner, then review again: `concordat \
         agreement review start FOLDER --again {partner}`",
        held.review.at,
        items.join("; ")
    ));
    Ok(None)
}

/// Everything that is missing before `us` may sign what was `found`, each with how to supply it; empty when nothing is.
///
/// # Errors
/// See [`HeldError`].
pub fn problems(conn: &mut Conn, us: Ori, found: &Verified, now: Instant) -> Result<Vec<String>, HeldError> {
    let mut problems = unapproved(conn, us, found)?;
    let Some(partner) = found.agreement.other(us).map(|party| party.ori) else { return Ok(problems) };
    let renews = found.agreement.renewal.is_some();
    // Another first agreement would be a renewal without an application and without a review.
    if renews || had_one(conn, found, partner)? {
        problems.extend(basis(conn, partner, now)?.err().into_iter().flatten());
    }
    if let Some(renewal) = &found.agreement.renewal {
        problems.extend(named(conn, partner, found.agreement.id, renewal, now)?);
        problems.extend(succession(conn, &found.agreement, partner)?);
    }
    Ok(problems)
}

/// What was given for documents with the partner of an agreement.
fn given(conn: &mut Conn, us: Ori, agreement: &Agreement) -> Result<Vec<ApprovalGiven>, HeldError> {
    let Some(partner) = agreement.other(us).map(|party| party.ori) else { return Ok(Vec::new()) };
    Ok(held::given(conn, partner)?.into_iter().map(|(_, given)| given).collect())
}

fn unapproved(conn: &mut Conn, us: Ori, found: &Verified) -> Result<Vec<String>, HeldError> {
    let (id, document) = (found.agreement.id, Digest::of(&found.document));
    let given = given(conn, us, &found.agreement)?;
    let what = |kind: ApprovalKind| match kind {
        ApprovalKind::Counsel => "counsel has not approved this document",
        ApprovalKind::PublicMeeting => "the public meeting of Civ. Code 1798.90.55(a) is not entered for this document",
        ApprovalKind::SigningAuthority => "what empowers the official to sign this document is not entered",
    };
    let mut problems: Vec<String> = approval::missing(&given, document)
        .into_iter()
        .map(|kind| {
            format!(
                "{}: `concordat agreement approve {id} --kind {kind} --by .. --reference .. --date .. --as USER`",
                what(kind)
            )
        })
        .collect();
    let has_key = found.agreement.party(us).is_some_and(|party| party.official.key.is_some());
    if has_key && approval::signature(&given, document).is_none() {
        problems.push(format!(
            "the official's own signature is missing: `concordat agreement sign {id} --official-key FILE`, or with a \
             smart card `concordat agreement tosign {id} --out FILE` first"
        ));
    }
    Ok(problems)
}

/// Whether an agreement between the same two took effect before.
fn had_one(conn: &mut Conn, found: &Verified, partner: Ori) -> QueryResult<bool> {
    for id in documents::ids(conn, Some(partner))? {
        if id == found.agreement.id {
            continue;
        }
        if let Some(other) = standing::verified(conn, id)?
            && other.streams.takes_effect(&other.agreement).is_some()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether what the renewal names is what its drafter had: our partner's packet, our review of it and our check where we
/// drafted it; where the partner did, our packet of the day on which it offered the renewal.
fn named(
    conn: &mut Conn,
    partner: Ori,
    id: AgreementId,
    renewal: &Renewal,
    now: Instant,
) -> Result<Vec<String>, HeldError> {
    let Renewal { packet_sha256, review_sha256, ag_check_sha256 } = renewal;
    let own = held::own_packets(conn)?;
    if own.iter().any(|(_, id)| id == packet_sha256) {
        let offered = held::offered_at(conn, partner, id)?.unwrap_or(now);
        let of_that_day = own.iter().rev().find(|(sealed_at, _)| *sealed_at <= offered);
        return our_packet(conn, partner, *packet_sha256, of_that_day, offered);
    }
    let mut problems = Vec::new();
    let again = "withdraw it, then `concordat agreement renew` again";
    let received = held::received_of(conn, partner)?;
    if received.iter().all(|(_, id)| id != packet_sha256) {
        problems.push(format!(
            "the renewal names the packet {packet_sha256}, which is neither one that {partner} sent nor one of this \
             agency's: {again}"
        ));
    }
    let reviews = held::reviewed_of(conn, partner)?;
    if !reviews.iter().any(|it| it.review == *review_sha256 && it.packet == *packet_sha256) {
        problems.push(format!(
            "the renewal names the review {review_sha256}, which is none of this agency's of that packet: {again}"
        ));
    }
    let checks = held::ag_checks(conn)?;
    match checks.iter().find(|(_, id)| id == ag_check_sha256) {
        Some((at, _)) if now.since(*at) <= AG_CHECK_ACTIVATION => {}
        Some((at, _)) => problems.push(format!(
            "the check of the Attorney General's sources that the renewal names was made at {at}, over 30 days ago: run \
             `concordat ag check`, {again}"
        )),
        None => problems.push(format!(
            "the renewal names the check {ag_check_sha256}, which is none of this agency's: {again}"
        )),
    }
    Ok(problems)
}

/// Whether the packet of ours that a partner's renewal names is the one that was our newest when it offered it, and of the
/// year before that.
fn our_packet(
    conn: &mut Conn,
    partner: Ori,
    named: Digest,
    of_that_day: Option<&(Instant, Digest)>,
    offered: Instant,
) -> Result<Vec<String>, HeldError> {
    let again = format!(
        "decline it, see that {partner} has the newest (`concordat agreement packet list`), and ask it to renew again"
    );
    match of_that_day {
        Some((_, newest)) if *newest == named => {}
        Some((sealed_at, newest)) => {
            return Ok(vec![format!(
                "the renewal names this agency's packet {named}, which was not its newest when {partner} offered the renewal \
                 at {offered}: that was {newest}, sealed at {sealed_at}; {again}"
            )]);
        }
        None => {
            return Ok(vec![format!(
                "the renewal was offered at {offered}, before this agency sealed the packet {named} that it names; {again}"
            )]);
        }
    }
    let packet = held::packet(conn, named)?;
    Ok(if packet.current(offered) {
        Vec::new()
    } else {
        vec![format!(
            "the renewal names this agency's packet {named} of {}, which was over a year old when {partner} offered it: seal \
             this year's (`concordat agreement packet make`); {again}",
            packet.made_at
        )]
    })
}

/// Whether what it supersedes is an agreement between the same two, and the one before it.
fn succession(conn: &mut Conn, agreement: &Agreement, partner: Ori) -> QueryResult<Vec<String>> {
    let Some(supersedes) = agreement.supersedes else { return Ok(Vec::new()) };
    for id in documents::ids(conn, Some(partner))? {
        let Some((document, old)) = documents::find(conn, id)? else { continue };
        if Digest::of(&document) == supersedes {
            let next = old.revision.saturating_add(1);
            let wrong =
                format!("it renews revision {} as revision {}: draft it again", old.revision, agreement.revision);
            return Ok(if agreement.revision == next { Vec::new() } else { vec![wrong] });
        }
    }
    Ok(vec![format!(
        "the agreement that it renews ({supersedes}) is not known here: `concordat agreement list` shows those that are"
    )])
}

/// The official's signature of a document, as it was entered.
///
/// # Errors
/// See [`HeldError`].
pub fn official_signature(conn: &mut Conn, us: Ori, found: &Verified) -> Result<Option<Seal>, HeldError> {
    Ok(approval::signature(&given(conn, us, &found.agreement)?, Digest::of(&found.document)).cloned())
}
