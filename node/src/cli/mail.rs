//! `concordat mail`: the outbox, and whether mail leaves at all.

use clap::{Args, Subcommand};
use serde_json::json;

use super::exit::Exit;
use super::place::Place;
use super::{Output, Problem, local};
use crate::config::{Config, MailAddress};
use crate::mail::{Attempt, Letter, MAX_AGE, Mailer};
use crate::node::fresh_rid;
use crate::registry::outbox::{self, Queued, State};

/// See the outbox, try a mail again, test the mail server.
#[derive(Debug, Subcommand)]
pub enum MailCommand {
    /// Show mails, newest first: what was sent, what waits and why
    #[command(
        after_help = "Example:\n  concordat --dir alder mail list\n\nStates: waiting, claimed and handed_over (being sent), unknown (handed over without a reply; sent again with the same Message-ID), sent, given_up."
    )]
    List(List),
    /// Try a mail again that waits or was given up; the node sends it within a minute
    #[command(after_help = "Example:\n  concordat --dir alder mail retry 019ab3c4-7d1e-7f00-8000-2b5c9e6a1f43")]
    Retry(Retry),
    /// Send a mail now, past the outbox, to see whether the settings in [mail] work
    #[command(after_help = "Example:\n  concordat --dir alder mail test operator@agency.example")]
    Test(Test),
}

/// Arguments of `mail list`.
#[derive(Debug, Args)]
pub struct List {
    /// At most so many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..=100_000))]
    limit: i64,
}

/// Arguments of `mail retry`.
#[derive(Debug, Args)]
pub struct Retry {
    /// The mail; `concordat mail list` shows it
    id: String,
}

/// Arguments of `mail test`.
#[derive(Debug, Args)]
pub struct Test {
    /// To whom
    address: MailAddress,
}

pub(super) async fn run(place: &Place, command: MailCommand, out: &mut Output<'_>) -> Result<Exit, Problem> {
    match command {
        MailCommand::List(List { limit }) => list(place, limit, out)?,
        MailCommand::Retry(Retry { id }) => retry(place, id, out).await?,
        MailCommand::Test(Test { address }) => test(place, &address, out).await?,
    }
    Ok(Exit::Done)
}

fn list(place: &Place, limit: i64, out: &mut Output<'_>) -> Result<(), Problem> {
    let mails = outbox::newest(&mut place.registry()?.reader()?, limit)?;
    Ok(out.list(&["mail", "to", "subject", "state", "queued", "attempts", "next or sent", "why"], &mails, cells)?)
}

fn cells(mail: &Queued) -> Vec<String> {
    let when = match mail.state {
        State::Sent => mail.sent_at.map(local::shown).unwrap_or_default(),
        State::GivenUp => String::new(),
        _ => local::shown(mail.next_attempt),
    };
    let doubt = match (mail.state, mail.doubtful) {
        (_, 0) => "",
        (State::Sent, _) => "perhaps sent more than once, with one Message-ID",
        _ => "perhaps sent already",
    };
    let why = [mail.last_error.as_deref().unwrap_or_default(), doubt];
    vec![
        mail.id.clone(),
        mail.recipient.clone(),
        mail.subject.clone(),
        mail.state.to_string(),
        local::shown(mail.created_at),
        mail.attempts.to_string(),
        when,
        why.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; "),
    ]
}

async fn retry(place: &Place, id: String, out: &mut Output<'_>) -> Result<(), Problem> {
    let db = place.registry()?;
    let (now, mail) = (place.now(), id.clone());
    let again = db.write("retry a mail", move |conn| outbox::retry(conn, &mail, now, now.plus(MAX_AGE))).await?;
    if !again {
        let hint = Some("`concordat mail list` shows the mails and where each stands".to_owned());
        return Err(match outbox::find(&mut db.reader()?, &id)? {
            Some(mail) => Problem::refused(format!("mail {id} is {}: there is nothing to try again", mail.state), hint),
            None => Problem::refused(format!("there is no mail {id}"), hint),
        });
    }
    Ok(out.one(&json!({"retried": id}), |_| {
        format!("Mail {id} is due now. A serving node sends it within a minute; `concordat jobs run mail` at once.")
    })?)
}

async fn test(place: &Place, address: &MailAddress, out: &mut Output<'_>) -> Result<(), Problem> {
    let config: Config = place.config()?;
    let mailer = Mailer::new(config.mail.clone(), config.peer.url.host().to_owned());
    if !mailer.is_on() {
        let hint = Some("set mail.backend, mail.host and mail.from in concordat.toml".to_owned());
        return Err(Problem::refused("mail is off", hint));
    }
    let now = place.now();
    let letter = Letter {
        id: fresh_rid(now)?.to_string(),
        recipient: address.to_string(),
        subject: format!("Test of {}'s Concordat node", config.agency.legal_name),
        body: format!("This node ({}) can send mail.\n", config.agency.ori),
        at: now,
    };
    match mailer.send(&letter, async || Ok(())).await {
        Attempt::Sent => Ok(out.one(&json!({"sent": address.to_string()}), |_| {
            format!("The mail to {address} was taken. Whether it arrives, its inbox shows.")
        })?),
        Attempt::NotSent { why, .. } => {
            Err(Problem::failure(format!("not sent: {why}"), Some("check [mail] in concordat.toml".to_owned())))
        }
        Attempt::Unknown { why } => Err(Problem::failure(
            format!("perhaps sent: {why}"),
            Some("look into the inbox, then try again".to_owned()),
        )),
    }
}
