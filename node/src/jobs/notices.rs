//! The shape of jobs that say something in time: what is due to be said, less what was said before.

use std::collections::BTreeSet;

use agreements::time::Instant;

use super::work::{Applied, JobError, Work};
use crate::config::{Mail, MailAddress};
use crate::mail::{self, Audience, Notice};
use crate::node::Node;
use crate::registry::outbox;

/// Where notices come from.
pub(super) trait Source {
    /// What the notices are made from.
    type World;
    /// With what the `dedup` of all its notices begins.
    const PREFIX: &'static str;

    /// Looks at the world.
    fn look(&self, node: &Node) -> Result<Self::World, JobError>;
    /// All that is to be said at `now`, whether or not it was said before. Pure.
    fn due(world: &Self::World, now: Instant) -> Vec<Due>;
}

/// A notice, and why it is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) notice: Notice,
    pub(super) reason: String,
}

/// Queues what a source has to say, in one transaction for each notice.
pub(super) struct Notices<S>(pub(super) S);

/// What the plan is made from.
pub(super) struct World<W> {
    source: W,
    mail: Mail,
    said: BTreeSet<String>,
}

/// A notice to those who did not get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Say {
    due: Due,
    to: Vec<MailAddress>,
}

impl<S: Source> Work for Notices<S> {
    type World = World<S::World>;
    type Op = Say;

    async fn look(&self, node: &Node) -> Result<Self::World, JobError> {
        let mut conn = node.registry().reader()?;
        Ok(World {
            source: self.0.look(node)?,
            mail: node.config().mail.clone(),
            said: outbox::known(&mut conn, S::PREFIX)?.into_iter().collect(),
        })
    }

    fn plan(&self, world: &Self::World, now: Instant) -> Vec<Say> {
        let say = |due: Due| {
            let all = match &due.notice.audience {
                Audience::Mailboxes(these) => these.iter().collect(),
                audience => mail::recipients(&world.mail, audience.clone()),
            };
            let lacks = |address: &&&MailAddress| !world.said.contains(&mail::key(&due.notice, address));
            let to: Vec<MailAddress> = all.iter().filter(lacks).copied().cloned().collect();
            (all.is_empty() || !to.is_empty()).then_some(Say { due, to })
        };
        S::due(&world.source, now).into_iter().filter_map(say).collect()
    }

    fn says(&self, op: &Say) -> String {
        op.due.reason.clone()
    }

    async fn apply(&mut self, node: &Node, op: &Say) -> Result<Applied, JobError> {
        tracing::warn!(what = op.due.reason, mails = op.to.len(), "somebody has to act");
        if op.to.is_empty() {
            let whom = match &op.due.notice.audience {
                Audience::Agreements | Audience::Custodian => "mail.administrators and mail.custodians",
                Audience::Operators => "mail.operators",
                Audience::Mailboxes(_) => "agency.contacts",
            };
            return Ok(Applied::Later(format!("nobody gets mail about it: name addresses in {whom}")));
        }
        let (clock, say) = (node.clock().clone(), op.clone());
        let queue = move |conn: &mut _| mail::queue(conn, &say.to, &say.due.notice, clock.now());
        node.registry().write("queue a notice", queue).await?;
        node.bell().ring_for(super::MAIL);
        Ok(Applied::Done)
    }
}
