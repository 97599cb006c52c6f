//! Delivery of the outbox, one mail after the other.

use agreements::time::Instant;

use super::work::{Applied, JobError, Work};
use crate::mail::{self, Attempt, CLAIM, Fault, Letter};
use crate::node::Node;
use crate::registry::outbox::{self, Ending, Queued, State};

/// How many mails one run looks at.
const BATCH: i64 = 200;
/// How often a mail is sent again by itself that may have been taken.
const MOST_DOUBTS: i64 = 1;

/// Delivers what is due.
#[derive(Default)]
pub(super) struct Post {
    /// Why no mail goes at present: after one failed on the way to the server, the others wait for the next run.
    stuck: Option<String>,
}

/// The outbox as it is due now.
pub(super) struct World {
    on: bool,
    due: Vec<Queued>,
}

/// What is to be done with a mail, as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// Send it.
    Send(Box<Queued>),
    /// Give it up.
    GiveUp(Box<Queued>),
}

impl Work for Post {
    type World = World;
    type Op = Op;

    async fn look(&self, node: &Node) -> Result<World, JobError> {
        let on = node.mailer().is_on();
        let mut conn = node.registry().reader()?;
        let due = if on { outbox::due(&mut conn, node.now(), BATCH)? } else { Vec::new() };
        Ok(World { on, due })
    }

    fn plan(&self, world: &World, now: Instant) -> Vec<Op> {
        let op = |mail: &Queued| {
            let mail = Box::new(mail.clone());
            if mail.give_up_at <= now || mail.state == State::HandedOver && mail.doubts() > MOST_DOUBTS {
                Op::GiveUp(mail)
            } else {
                Op::Send(mail)
            }
        };
        if world.on { world.due.iter().map(op).collect() } else { Vec::new() }
    }

    fn says(&self, op: &Op) -> String {
        match op {
            Op::Send(mail) => match mail.state {
                State::Claimed => format!("send mail {}, which a process that died had claimed", mail.id),
                State::HandedOver => format!("send mail {}, which a process that died was handing over", mail.id),
                State::Unknown => format!("send mail {} again, which may have been taken", mail.id),
                _ => format!("send mail {}, attempt {}", mail.id, mail.attempts + 1),
            },
            Op::GiveUp(mail) if mail.doubts() > MOST_DOUBTS => {
                format!("give up mail {}, which may have been taken {} times", mail.id, mail.doubts())
            }
            Op::GiveUp(mail) => format!("give up mail {}, which is too old", mail.id),
        }
    }

    async fn apply(&mut self, node: &Node, op: &Op) -> Result<Applied, JobError> {
        let (Op::Send(mail) | Op::GiveUp(mail)) = op;
        if let (Op::Send(_), Some(why)) = (op, &self.stuck) {
            return Ok(Applied::Later(why.clone()));
        }
        let holder = format!("{}-{:016x}", std::process::id(), fastrand::u64(..));
        if !claim(node, mail, &holder).await? {
            return Ok(Applied::Later("another process has it".to_owned()));
        }
        let ending = match op {
            Op::GiveUp(_) => given_up(mail, node.now()),
            Op::Send(_) => self.ending(node, mail, send(node, mail, &holder).await),
        };
        end(node, mail, holder, ending).await
    }
}

impl Post {
    /// What an attempt means for the mail, and for those behind it.
    fn ending(&mut self, node: &Node, mail: &Queued, attempt: Attempt) -> Ending {
        let now = node.now();
        match attempt {
            Attempt::Sent => Ending::Sent,
            Attempt::Unknown { why } => {
                // Whoever was silent to this mail makes each of the others wait as long.
                self.stuck = Some(why.clone());
                if mail.doubts() >= MOST_DOUBTS {
                    return Ending::GivenUp { why: taken_perhaps(mail.doubts() + 1, &why), in_doubt: true };
                }
                Ending::Unknown { why, next_attempt: mail::after_doubt(now) }
            }
            Attempt::NotSent { why, fault: Fault::Forever } => Ending::GivenUp { why, in_doubt: false },
            Attempt::NotSent { why, fault } => {
                if fault == Fault::Server {
                    self.stuck = Some(why.clone());
                }
                Ending::Again { why, next_attempt: mail::next_attempt(&mail.id, mail.attempts + 1, now) }
            }
        }
    }
}

fn given_up(mail: &Queued, now: Instant) -> Ending {
    let last = mail.last_error.as_deref().unwrap_or("it was not tried");
    let why = if mail.give_up_at <= now {
        format!("not sent until {}; last: {last}", mail.give_up_at)
    } else {
        taken_perhaps(mail.doubts(), "the process that handed it over died")
    };
    Ending::GivenUp { why, in_doubt: false }
}

fn taken_perhaps(times: i64, last: &str) -> String {
    format!(
        "handed over {times} times, and not known to be taken: ask its recipient before trying it again; last: {last}"
    )
}

async fn claim(node: &Node, mail: &Queued, holder: &str) -> Result<bool, JobError> {
    let (clock, mail, holder) = (node.clock().clone(), mail.clone(), holder.to_owned());
    let claim = move |conn: &mut _| outbox::claim(conn, &mail, &holder, clock.now().plus(CLAIM));
    Ok(node.registry().write("claim a mail", claim).await?)
}

/// One attempt. That the text is about to be handed over is durably written first: what died before that was not sent.
async fn send(node: &Node, mail: &Queued, holder: &str) -> Attempt {
    let hand_over = async || {
        let (clock, id, holder) = (node.clock().clone(), mail.id.clone(), holder.to_owned());
        let hand_over = move |conn: &mut _| outbox::hand_over(conn, &id, &holder, clock.now().plus(CLAIM));
        match node.registry().write("hand a mail over", hand_over).await {
            Ok(true) => Ok(()),
            Ok(false) => Err("another process took it over".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    };
    node.mailer().send(&Letter::from(mail), hand_over).await
}

async fn end(node: &Node, mail: &Queued, holder: String, ending: Ending) -> Result<Applied, JobError> {
    match &ending {
        Ending::Sent => tracing::info!(mail = mail.id, attempts = mail.attempts + 1, "mail sent"),
        Ending::Again { why, next_attempt } => {
            tracing::warn!(mail = mail.id, why, %next_attempt, "mail not sent; it is tried again");
        }
        Ending::Unknown { why, next_attempt } => {
            tracing::warn!(mail = mail.id, why, %next_attempt, "mail perhaps sent; it is sent again, with the same Message-ID");
        }
        Ending::GivenUp { why, .. } => {
            tracing::error!(mail = mail.id, why, "mail given up; `concordat mail retry` tries it again");
        }
    }
    let later = match &ending {
        Ending::Again { why, .. } | Ending::Unknown { why, .. } => Some(why.clone()),
        Ending::Sent | Ending::GivenUp { .. } => None,
    };
    let (clock, id) = (node.clock().clone(), mail.id.clone());
    let write = move |conn: &mut _| outbox::end(conn, &id, &holder, &ending, clock.now());
    if !node.registry().write("end a mail's attempt", write).await? {
        tracing::warn!(mail = mail.id, "another process took this mail over before its attempt ended");
    }
    Ok(later.map_or(Applied::Done, Applied::Later))
}
