//! Partners' published policies: fetched again each month, compared as text with the one that was accepted, and reviewed
//! early when they say something else or cannot be reached (Civ. Code 1798.90.51(b)(1), V-28).

mod fetch;
mod text;

use agreements::entry::Kind;
use agreements::ids::{Digest, Ori, RequestId};
use agreements::party::Party;
use agreements::register::Trigger;
use serde::Serialize;

pub use fetch::FetchError;
pub use text::TextError;

use super::Keeper;
use super::reviews::{self, Closing, NewReview};
use crate::changes::Approved;
use crate::db::{Conn, DbError, RecordError, Tx};
use crate::evidence::{Evidence, EvidenceError};
use crate::node::Node;
use crate::people::{PeopleError, Refusable, record, record_by_node, settled};
use crate::registry::accounts::{Action, operator};
use crate::registry::agencies;
use crate::registry::policies::{self, Outcome, PolicyChecked, Standing, TRIES};
use crate::registry::reviews as kept_reviews;
use crate::trail::Facts;

/// Why a policy was not looked at or not accepted.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// What was read cannot be kept.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// Refused, or not recorded.
    #[error(transparent)]
    People(#[from] PeopleError),
    /// The registry cannot be read.
    #[error("the registry: {0}")]
    Registry(#[from] diesel::result::Error),
    /// The registry cannot be opened.
    #[error("the registry: {0}")]
    Open(#[from] DbError),
}

impl From<RecordError> for PolicyError {
    fn from(error: RecordError) -> Self {
        Self::People(error.into())
    }
}

/// What came of a look at a partner's policy.
#[derive(Debug, Clone, Serialize)]
pub struct Looked {
    /// Whose.
    pub ori: Ori,
    /// Where.
    pub url: String,
    /// What.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The early review that this opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub review: Option<RequestId>,
}

/// What is read at a URL, or why nothing is.
enum Read {
    Text { bytes: Digest, text: Digest },
    Not(String),
}

/// Fetches the policy of `party` again, keeps what it found as evidence, records it, and opens an early review when it is
/// another text, or could not be reached on three days in a row. `by` is who asks for it; nobody where the node does.
///
/// # Errors
/// What was read cannot be kept or recorded. That it cannot be reached is no error.
pub async fn check(node: &Node, party: &Party, by: Option<&str>) -> Result<Looked, PolicyError> {
    let evidence = Evidence::of(node.config())?;
    let read = read(node, &evidence, &party.policy.url).await?;
    let (ori, url, named) = (party.ori, party.policy.url.clone(), party.policy.sha256);
    let (keeper, by) = (Keeper::of_node(node), by.map(str::to_owned));
    let job = move |tx: &mut Tx<'_>| -> diesel::QueryResult<Refusable<Looked>> {
        if let Some(by) = &by
            && let Err(why) = operator(tx.conn(), by, Action::KeepRegister)?
        {
            return Ok(Err(why));
        }
        let standing = policies::standings(tx.conn())?.remove(&ori).unwrap_or_default();
        let outcome = match read {
            Read::Text { bytes, text } => standing.judge(named, bytes, text),
            Read::Not(why) => Outcome::Unreachable { why },
        };
        let checked = PolicyChecked { ori, outcome: outcome.clone(), url: url.clone(), v: 1 };
        let facts = Facts { partner: Some(ori), decision: Some(outcome.name().to_owned()), ..Facts::default() };
        match &by {
            Some(by) => record(tx, Kind::PolicyChecked, &checked, by, facts)?,
            None => record_by_node(tx, Kind::PolicyChecked, &checked, facts).map(drop)?,
        }
        let after = policies::standings(tx.conn())?.remove(&ori).unwrap_or_default();
        let review = open_if(tx, &keeper, ori, &after, &outcome)?;
        Ok(Ok(Looked { ori, url, outcome, review }))
    };
    Ok(settled(node.registry().record(job).await?)?)
}

async fn read(node: &Node, evidence: &Evidence, url: &str) -> Result<Read, PolicyError> {
    let page = match fetch::fetch(url, &node.config().policy_checks, node.clock().clone()).await {
        Ok(page) => page,
        Err(error) => return Ok(Read::Not(error.to_string())),
    };
    let text = match text::text_of(page.bytes.clone(), &page.content_type).await {
        Ok(text) => text,
        Err(error) => return Ok(Read::Not(error.to_string())),
    };
    Ok(Read::Text { bytes: evidence.keep(page.bytes).await?, text: evidence.keep(text).await? })
}

/// Opens the review that follows from where a policy stands, unless it is open.
fn open_if(
    tx: &mut Tx<'_>,
    keeper: &Keeper,
    ori: Ori,
    standing: &Standing,
    outcome: &Outcome,
) -> diesel::QueryResult<Option<RequestId>> {
    let (trigger, reason, evidence) = match outcome {
        Outcome::Changed { bytes, text } => {
            let reason = "the published policy says something else than the text that was accepted".to_owned();
            (Trigger::PolicyChanged, reason, vec![*bytes, *text])
        }
        Outcome::Unreachable { why } if standing.unreachable >= TRIES => {
            let reason = format!("the published policy could not be read on {TRIES} days in a row: {why}");
            (Trigger::PolicyUnreachable, reason, Vec::new())
        }
        _ => return Ok(None),
    };
    if reviews::is_open(tx.conn(), ori, trigger)? {
        return Ok(None);
    }
    reviews::open_in(tx, keeper, NewReview { ori, trigger, reason, evidence }, None).map(Some)
}

/// A text that is published and not accepted, with how it differs from the one that is.
#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    /// Whose policy.
    pub ori: Ori,
    /// The accepted text; absent when none was yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Digest>,
    /// The published one.
    pub published: Digest,
    /// Sentences that went (`-`) and came (`+`).
    pub lines: Vec<String>,
}

/// How the published text of `ori` differs from the accepted one; `None` when there is nothing to accept.
///
/// # Errors
/// A text is not kept any more, or the registry cannot be read.
pub async fn difference(node: &Node, ori: Ori) -> Result<Option<Difference>, PolicyError> {
    let standing = policies::standings(&mut node.registry().reader()?)?.remove(&ori).unwrap_or_default();
    let Some(published) = standing.changed else { return Ok(None) };
    let evidence = Evidence::of(node.config())?;
    let text = async |digest: Option<Digest>| match digest {
        Some(digest) => Ok(String::from_utf8_lossy(&evidence.read(digest).await?).into_owned()),
        None => Ok::<_, EvidenceError>(String::new()),
    };
    let lines = text::difference(&text(standing.accepted).await?, &text(Some(published)).await?);
    Ok(Some(Difference { ori, accepted: standing.accepted, published, lines }))
}

/// What accepting a text stands on.
#[derive(Debug, Serialize)]
pub(crate) struct Acceptable {
    /// The text that was accepted before.
    pub(crate) accepted: Option<Digest>,
    /// The published one.
    pub(crate) text: Digest,
    /// The reviews that end with it.
    pub(crate) reviews: Vec<kept_reviews::Review>,
}

/// What accepting `text`, as the text that `ori` publishes, stands on; or why it cannot be accepted. When another one was
/// read meanwhile, people look again.
pub(crate) fn acceptable(conn: &mut Conn, ori: Ori, text: Digest) -> diesel::QueryResult<Refusable<Acceptable>> {
    if agencies::find(conn, ori)?.is_none() {
        return Ok(Err(format!("{ori} is not enrolled")));
    }
    let standing = policies::standings(conn)?.remove(&ori).unwrap_or_default();
    match standing.changed {
        None => return Ok(Err(format!("{ori} publishes the text that was accepted; there is nothing to accept"))),
        Some(published) if published != text => {
            return Ok(Err(format!(
                "{ori} publishes another text by now: look again with `concordat policy accept {ori}`"
            )));
        }
        Some(_) => {}
    }
    let mut reviews = match kept_reviews::all(conn)? {
        Ok(all) => all,
        Err(what) => return Ok(Err(what)),
    };
    reviews.retain(|review| {
        review.closed.is_none() && review.opened.ori == ori && review.opened.trigger == Trigger::PolicyChanged
    });
    if !reviews.is_empty()
        && let Err(why) = reviews::no_finding(conn, ori)?
    {
        return Ok(Err(why));
    }
    Ok(Ok(Acceptable { accepted: standing.accepted, text, reviews }))
}

/// Accepts the text that `ori` publishes, as two people decided who both saw the difference, and closes the early review of it.
pub(crate) fn apply_acceptance(
    tx: &mut Tx<'_>,
    ori: Ori,
    text: Digest,
    approved: &Approved<'_>,
) -> diesel::QueryResult<Refusable<()>> {
    let Acceptable { accepted, text, reviews } = match acceptable(tx.conn(), ori, text)? {
        Ok(found) => found,
        Err(why) => return Ok(Err(why)),
    };
    let Some(party) = agencies::find(tx.conn(), ori)? else { return Ok(Err(format!("{ori} is not enrolled"))) };
    for review in &reviews {
        let closing = Closing {
            review: review.id,
            looked_at: "the difference between the accepted text and the published one".to_owned(),
            evidence: accepted.into_iter().chain([text]).collect(),
        };
        let outcome = format!("the published text was accepted: {}", approved.change().proposed.reason);
        reviews::append_closing(tx, review, &closing, &outcome, approved)?;
    }
    let (by, approved_by) = (approved.proposed_by(), approved.approved_by().to_owned());
    let outcome = Outcome::Accepted { approved_by, by: by.to_owned(), text };
    let facts = Facts { partner: Some(ori), decision: Some(outcome.name().to_owned()), ..Facts::default() };
    let checked = PolicyChecked { ori, outcome, url: party.policy.url, v: 1 };
    record(tx, Kind::PolicyChecked, &checked, by, facts)?;
    Ok(Ok(()))
}
