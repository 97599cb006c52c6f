//! What clearing a finding, closing an early review or accepting a policy would open again, and what that is decided on.

use agreements::access::{Access, diff};
use agreements::ids::{Digest, Ori};
use agreements::register::{Finding, OpenReview};
use agreements::stream::Stream;
use agreements::time::Instant;
use diesel::result::QueryResult;

use super::preview::{Case, Shown, World, case, digest, shapes};
use super::{Command, Positions, Refusable, no};
use crate::compliance::{self, Written, policies, reviews};
use crate::db::Conn;
use crate::exchange::answer::canonical;
use crate::exchange::standing;
use crate::registry::agreements as documents;
use crate::registry::reviews::Review;

/// What one of these commands is about.
struct About {
    /// Whom.
    ori: Ori,
    /// What is decided on, as it now is, in canonical form.
    stands_on: Vec<u8>,
    /// Whether nothing stands against the agency any more.
    clears: bool,
    /// The reviews that end.
    closes: Vec<OpenReview>,
    /// What it does, in words.
    lines: Vec<String>,
}

/// What `command` would open again at `effective_at`; or why it would be refused, whoever approved it.
pub(super) fn of(
    conn: &mut Conn,
    mut world: World,
    command: &Command,
    effective_at: Instant,
    now: Instant,
) -> QueryResult<Refusable<Shown>> {
    let About { ori, stands_on, clears, closes, mut lines } = match about(conn, command, now)? {
        Ok(about) => about,
        Err(why) => return no(why),
    };
    let partner = (ori != world.us).then_some(ori);
    let cases = match partner {
        Some(partner) => standing::family(conn, partner)?.into_iter().map(case).collect(),
        None => whole(conn)?,
    };
    let at = now.max(effective_at);
    if at > now {
        world.register.checked_at = world.register.checked_at.map(|_| at);
    }
    let before = world.access(&cases, at);
    if clears {
        world.register.adverse.retain(|one| *one != ori);
    }
    world.register.reviews.retain(|one| !closes.iter().any(|closed| closed.id == one.id));
    let after = world.access(&cases, at);
    lines.extend(closes.iter().filter_map(|review| cured(review, at)));
    lines.extend(world.register.reviews.iter().filter(|review| review.ori == ori).map(OpenReview::says));
    lines.extend(says(&before, &after));
    let positions = cases.iter().map(|case| (case.agreement.id, case.document, lengths(case))).collect::<Vec<_>>();
    let shown = digest(&(String::from_utf8_lossy(&stands_on), positions, shapes(&before), shapes(&after)))?;
    Ok(Ok(Shown { positions: Positions { agreement: None, shown }, lines, before, after, partner }))
}

/// Every agreement: a finding about this agency itself stops all of them.
fn whole(conn: &mut Conn) -> QueryResult<Vec<Case>> {
    let mut cases = Vec::new();
    for id in documents::ids(conn, None)? {
        cases.extend(standing::verified(conn, id)?.map(case));
    }
    Ok(cases)
}

fn says(before: &[Access], after: &[Access]) -> Vec<String> {
    let lines = diff(before, after);
    if lines.is_empty() { vec!["nothing changes in who can get what".to_owned()] } else { lines }
}

fn lengths(case: &Case) -> Vec<u32> {
    case.streams.parties.iter().map(Stream::len).collect()
}

/// What closing a review spares the partner that holds nothing yet.
fn cured(review: &OpenReview, at: Instant) -> Option<String> {
    let from = review.holds_from().filter(|from| *from > at)?;
    Some(format!("without it, what this agency grants {} is suspended from {from} on", review.ori))
}

fn about(conn: &mut Conn, command: &Command, now: Instant) -> QueryResult<Result<About, String>> {
    Ok(match command {
        Command::ClearFinding { ori, written } => match compliance::clearable(conn, *ori, written, now)? {
            Ok(clearing) => Ok(About {
                ori: *ori,
                stands_on: canonical(&clearing)?,
                clears: clearing.leaves.is_empty(),
                closes: Vec::new(),
                lines: clearing_says(written, &clearing.clears, &clearing.leaves),
            }),
            Err(why) => Err(why),
        },
        Command::CloseReview { closing } => match reviews::closable(conn, closing)? {
            Ok(review) => Ok(About {
                ori: review.opened.ori,
                stands_on: canonical(&review)?,
                clears: false,
                lines: [review_says(&review), format!("looked at: {}", closing.looked_at.trim())]
                    .into_iter()
                    .chain(shown_by(&closing.evidence))
                    .collect(),
                closes: vec![review.standing()],
            }),
            Err(why) => Err(why),
        },
        Command::AcceptPolicy { ori, text } => match policies::acceptable(conn, *ori, *text)? {
            Ok(found) => {
                let accepted = format!(
                    "the policy that {ori} publishes is the one that counts: {text}; `concordat policy accept {ori}` shows in \
                     what it differs from the one before"
                );
                Ok(About {
                    ori: *ori,
                    stands_on: canonical(&found)?,
                    clears: false,
                    closes: found.reviews.iter().map(Review::standing).collect(),
                    lines: [accepted].into_iter().chain(found.reviews.iter().map(review_says)).collect(),
                })
            }
            Err(why) => Err(why),
        },
        Command::Sign { .. }
        | Command::Resume { .. }
        | Command::Authorize { .. }
        | Command::WidenRules { .. }
        | Command::AcceptClock { .. }
        | Command::OpenEpoch { .. } => Err("that clears nothing".to_owned()),
    })
}

fn clearing_says(written: &Written, clears: &Finding, leaves: &[Finding]) -> Vec<String> {
    let one = |what: &str, finding: &Finding| {
        format!("{what}: {} of {}, {}", finding.kind.as_str(), finding.on, finding.citation.trim())
    };
    let mut lines = vec![one("cleared", clears), format!("by: {}, of {}", written.citation.trim(), written.on)];
    lines.extend(shown_by(&written.evidence));
    lines.extend(leaves.iter().map(|finding| one("still stands", finding)));
    lines
}

/// The files that show it, for whoever is to approve it.
fn shown_by(evidence: &[Digest]) -> Vec<String> {
    evidence.iter().map(|file| format!("shown by: {file} (concordat ag evidence show {file})")).collect()
}

fn review_says(review: &Review) -> String {
    format!("closed: the review {} ({}): {}", review.id, review.opened.trigger, review.opened.reason)
}
