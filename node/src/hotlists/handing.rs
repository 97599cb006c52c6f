//! Handing out the bulk of an assertion. Whether it may leave is looked at when a page leaves, not when it was read: who
//! reads slowly gets nothing after the end of what was permitted.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use agreements::hotlist::{HotlistPermit, decide_pull};
use agreements::ids::Ori;
use bytes::Bytes;
use certs::leaf::Identity;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::timeout;

use super::bulk::Lines;
use crate::exchange::Failure;
use crate::node::{Desk, Node};
use crate::trail;

/// How long a page waits to be taken: then the thread and the connection that read it are let go.
const PATIENCE: Duration = Duration::from_secs(60);

/// The bulk of an assertion that is recorded. Only [`super::asserting::answer`] makes one.
#[derive(Debug)]
pub struct Follows {
    pub(super) lines: Lines,
    pub(super) permit: HotlistPermit,
    pub(super) partner: Ori,
}

impl Follows {
    /// Its pages, for the caller with this certificate, read on a thread of their own as fast as they are taken. `desk` is
    /// of the thread that takes them.
    #[must_use]
    pub fn pages(self, node: &Arc<Node>, desk: Rc<Desk>, caller: Arc<Identity>) -> Pages {
        let Self { lines, permit, partner } = self;
        let (send, coming) = channel(1);
        let (reading, runtime) = (Arc::clone(node), Handle::current());
        tokio::task::spawn_blocking(move || {
            let taken = |page| {
                runtime.block_on(async { timeout(PATIENCE, send.send(page)).await.is_ok_and(|sent| sent.is_ok()) })
            };
            if let Err(error) = read(&reading, &lines, taken) {
                tracing::error!(%error, "the bulk of a hotlist cannot be read");
            }
        });
        let (node, epoch) = (Arc::clone(node), permit.epoch());
        Pages { node, desk, caller, permit, partner, epoch, coming, ended: false }
    }
}

/// Gives each page to `taken` while it takes them, and after the last one nothing: so the end is told from a failure.
fn read(node: &Node, lines: &Lines, taken: impl Fn(Option<Bytes>) -> bool) -> Result<(), Failure> {
    let mut conn = node.registry().reader()?;
    let mut wanted = true;
    lines.write(&mut conn, &mut |bytes| {
        wanted = taken(Some(bytes.into()));
        wanted
    })?;
    if wanted {
        taken(None);
    }
    Ok(())
}

/// The pages of a bulk that leaves.
pub struct Pages {
    node: Arc<Node>,
    desk: Rc<Desk>,
    caller: Arc<Identity>,
    permit: HotlistPermit,
    partner: Ori,
    /// The epoch under which the permit was last found to hold.
    epoch: i64,
    coming: Receiver<Option<Bytes>>,
    ended: bool,
}

impl Pages {
    /// The next bytes; `None` at the end. They end early, with an error, when what was permitted is not any more: what came
    /// by then is not what was asserted.
    pub async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.ended {
            return None;
        }
        let why = match self.coming.recv().await {
            Some(Some(page)) => match self.objection() {
                Ok(None) => return Some(Ok(page)),
                Ok(Some(why)) => why,
                Err(error) => error.to_string(),
            },
            Some(None) => {
                self.ended = true;
                return None;
            }
            None => "it could not be read, or was not taken in time".to_owned(),
        };
        self.ended = true;
        self.coming.close();
        tracing::warn!(partner = %self.partner, why, "the bulk of a hotlist was cut off");
        Some(Err(io::Error::other(why)))
    }

    /// Why what was permitted is not any more: decided again when the standing moved.
    fn objection(&mut self) -> Result<Option<String>, Failure> {
        let Self { node, desk, permit, partner, .. } = self;
        let (epoch, now) = desk.registry(|conn| Ok((trail::head::epoch(conn)?, node.registry().present(conn)?)))?;
        if let Some(why) = node.trust().objection(&self.caller, now) {
            return Ok(Some(format!("the partner's certificate does not count any more: {why}")));
        }
        if node.partners().recognise(self.caller.ori, self.caller.spki).is_none() {
            return Ok(Some("the partner's node has another key now".to_owned()));
        }
        let ended = || Ok(Some("the agreement is not in force any more".to_owned()));
        if epoch != self.epoch {
            let (owner, agreement) = (node.owner(), permit.agreement());
            let standing =
                desk.registry(|conn| node.standings().standing_under(conn, epoch, owner, *partner, agreement, now))?;
            if !decide_pull(permit.list(), &standing, now).is_ok_and(|fresh| fresh.same(permit)) {
                return ended();
            }
            self.epoch = epoch;
        }
        if permit.dead(now) { ended() } else { Ok(None) }
    }
}
