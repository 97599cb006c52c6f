//! Mail that the node sends: queued with what caused it, delivered by a job, never from the path of a request.
//!
//! In scope: what is queued and for whom, one mail's way to the server, when it is tried again. Out of scope: when the
//! outbox is looked at (see [`crate::jobs`]), and what the mails say (the jobs that queue them).
//!
//! What is promised: a mail that was queued is sent or given up with an error in the log, whatever fails meanwhile, and
//! it is not sent twice, with one exception that no sender of mail can avoid. When a mail was handed over and neither a
//! yes nor a no came back (the connection broke, or this process died, between the end of the text and the server's
//! reply), nobody here knows whether the server took it. It is then marked `unknown` and sent again once, an hour later,
//! with the same Message-ID, by which servers and mail programs recognise it: a reminder that comes twice is better than
//! one that never came. When that second time ends in the same doubt, it is given up.

mod letter;
mod smtp;

use std::sync::{Arc, Mutex, PoisonError};

use agreements::time::Instant;
use diesel::result::QueryResult;
use lettre::transport::file;
use lettre::{AsyncFileTransport, AsyncTransport as _, Tokio1Executor};
use serde::Serialize;

use crate::config::{Mail, MailAddress, MailBackend};
use crate::db::Conn;
use crate::node::fresh_rid;
use crate::registry::outbox::{self, New, Queued, State};

pub use letter::{Letter, LetterError};

/// How long a mail is tried before it is given up, in microseconds.
pub const MAX_AGE: i64 = 14 * Instant::DAY;
/// How long a process may take over one mail before it counts as dead, in microseconds. Longer than any dialogue.
pub const CLAIM: i64 = 15 * Instant::MINUTE;
/// How long a mail waits that may have been taken, in microseconds.
const DOUBT: i64 = Instant::HOUR;
/// The longest wait between two attempts, in microseconds.
const LONGEST_WAIT: i64 = 2 * Instant::HOUR;

/// Whose business a mail is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Agreements administrators and the custodian.
    Agreements,
    /// The custodian alone; where none is named, agreements administrators.
    Custodian,
    /// System administrators.
    Operators,
    /// These, and nobody else.
    Mailboxes(Vec<MailAddress>),
}

/// What is said in a mail, to everybody whose business it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What is said: each address gets it once.
    pub dedup: String,
    /// Whose business it is.
    pub audience: Audience,
    /// One line.
    pub subject: String,
    /// Plain text. No plate, no person, no case.
    pub body: String,
}

/// The configured addresses of an audience; none for mailboxes, which are named already.
#[must_use]
pub fn recipients(config: &Mail, audience: Audience) -> Vec<&MailAddress> {
    match audience {
        Audience::Custodian if !config.custodians.is_empty() => config.custodians.iter().collect(),
        Audience::Agreements | Audience::Custodian => config.administrators.iter().chain(&config.custodians).collect(),
        Audience::Operators => config.operators.iter().collect(),
        Audience::Mailboxes(_) => Vec::new(),
    }
}

/// Queues a notice in the transaction of what caused it. How many mails that made: none for an address that got it
/// before.
pub fn queue(conn: &mut Conn, to: &[MailAddress], notice: &Notice, now: Instant) -> QueryResult<usize> {
    let mut queued = 0;
    for address in to {
        let new = New {
            id: fresh_rid(now)?.to_string(),
            dedup: key(notice, address),
            recipient: address.to_string(),
            subject: notice.subject.clone(),
            body: notice.body.clone(),
            give_up_at: now.plus(MAX_AGE),
        };
        queued += usize::from(outbox::queue(conn, &new, now)?);
    }
    Ok(queued)
}

/// By what the mail of a notice to an address is known.
#[must_use]
pub fn key(notice: &Notice, address: &MailAddress) -> String {
    format!("{} to {address}", notice.dedup)
}

/// When a mail that was not sent is tried again: after one minute, two, four, ... up to two hours, less up to a fifth, so
/// that mails which failed together are not all tried together.
#[must_use]
pub fn next_attempt(id: &str, attempts: i64, now: Instant) -> Instant {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(0).min(20);
    let wait = Instant::MINUTE.saturating_mul(1 << doublings).min(LONGEST_WAIT);
    let random = agreements::ids::Digest::of(format!("{id} {attempts}").as_bytes()).0;
    let fraction = random.first().map_or(0, |byte| i64::from(*byte));
    now.plus(wait - wait / 5 * fraction / 255)
}

/// When a mail that may have been taken is sent again.
#[must_use]
pub fn after_doubt(now: Instant) -> Instant {
    now.plus(DOUBT)
}

/// How an attempt to send a mail ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The server took it.
    Sent,
    /// Nothing was sent.
    NotSent {
        /// Why.
        why: String,
        /// How much that says about the next attempt.
        fault: Fault,
    },
    /// It was handed over, and no reply came.
    Unknown {
        /// Why.
        why: String,
    },
}

/// What a failure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The way to the server, or the login there: other mails would fail as well.
    Server,
    /// This mail, for now.
    Mail,
    /// This mail, for good.
    Forever,
}

/// Sends mail as the configuration says.
#[derive(Debug)]
pub struct Mailer {
    config: Mail,
    host: String,
    custodian: Arc<[MailAddress]>,
    memory: Mutex<Vec<Sent>>,
}

/// A mail in the memory of the backend `memory`.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Its address.
    pub recipient: String,
    /// The whole message.
    pub text: Vec<u8>,
}

impl Mailer {
    /// A mailer that tells servers that it is `host`. Nothing is read or opened yet.
    #[must_use]
    pub fn new(config: Mail, host: String) -> Self {
        let custodian = recipients(&config, Audience::Custodian).into_iter().cloned().collect();
        Self { config, host, custodian, memory: Mutex::default() }
    }

    /// Whether mail leaves at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.config.backend != MailBackend::Off
    }

    /// The addresses of [`Audience::Custodian`], for the path of a request.
    #[must_use]
    pub fn custodian(&self) -> Arc<[MailAddress]> {
        Arc::clone(&self.custodian)
    }

    /// Sends one letter. `hand_over` is called, once, when everything is ready and only the text remains to be sent: if
    /// it says no, nothing is sent. Until then every failure is certain.
    pub async fn send(&self, letter: &Letter, hand_over: impl AsyncFnOnce() -> Result<(), String>) -> Attempt {
        let not_sent = |why: String, fault| Attempt::NotSent { why, fault };
        let Some(from) = &self.config.from else {
            return not_sent("mail.from is not set in concordat.toml".to_owned(), Fault::Server);
        };
        let message = match letter.message(from) {
            Ok(message) => message,
            Err(error) => return not_sent(error.to_string(), Fault::Forever),
        };
        match self.config.backend {
            MailBackend::Off => not_sent("mail is off: set mail.backend in concordat.toml".to_owned(), Fault::Server),
            MailBackend::Smtp => smtp::send(&self.config, &self.host, &message, hand_over).await,
            MailBackend::File => {
                if let Err(why) = hand_over().await {
                    return not_sent(why, Fault::Mail);
                }
                match self.file(&message).await {
                    Ok(()) => Attempt::Sent,
                    Err(error) => not_sent(format!("{}: {error}", self.config.folder.display()), Fault::Server),
                }
            }
            MailBackend::Memory => {
                if let Err(why) = hand_over().await {
                    return not_sent(why, Fault::Mail);
                }
                let sent = Sent { recipient: letter.recipient.clone(), text: message.formatted() };
                self.memory.lock().unwrap_or_else(PoisonError::into_inner).push(sent);
                Attempt::Sent
            }
        }
    }

    async fn file(&self, message: &lettre::Message) -> Result<(), file::Error> {
        // An error shows when the file is written.
        drop(std::fs::create_dir_all(&self.config.folder));
        AsyncFileTransport::<Tokio1Executor>::new(&self.config.folder).send(message.clone()).await.map(drop)
    }

    /// What the backend `memory` has sent.
    #[must_use]
    pub fn memory(&self) -> Vec<Sent> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How it stands with mail, for whoever asks about the node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Whether mail leaves at all.
    pub on: bool,
    /// How many mails are not sent yet.
    pub waiting: i64,
    /// How many may have been taken, and are sent again.
    pub unknown: i64,
    /// How many were given up.
    pub given_up: i64,
}

impl Standing {
    /// In one sentence, with what to do.
    #[must_use]
    pub fn says(&self) -> String {
        let Self { on, waiting, unknown, given_up } = self;
        let said = match (on, waiting + unknown) {
            (true, 0) => "on, and nothing waits".to_owned(),
            (true, count) => format!("on; {count} not sent yet"),
            (false, 0) => "off; set mail.backend to send reminders".to_owned(),
            (false, count) => format!("off, and {count} waiting; set mail.backend to send them"),
        };
        if *given_up == 0 { said } else { format!("{said}; {given_up} given up, `concordat mail list` shows why") }
    }
}

/// How it stands with mail.
pub fn standing(conn: &mut Conn, on: bool) -> QueryResult<Standing> {
    let mut standing = Standing { on, ..Standing::default() };
    for (state, count) in outbox::counts(conn)? {
        match state {
            State::Waiting | State::Claimed => standing.waiting += count,
            State::HandedOver | State::Unknown => standing.unknown += count,
            State::GivenUp => standing.given_up += count,
            State::Sent => {}
        }
    }
    Ok(standing)
}

impl From<&Queued> for Letter {
    fn from(mail: &Queued) -> Self {
        Self {
            id: mail.id.clone(),
            recipient: mail.recipient.clone(),
            subject: mail.subject.clone(),
            body: mail.body.clone(),
            at: mail.created_at,
        }
    }
}

#[cfg(test)]
mod tests;
