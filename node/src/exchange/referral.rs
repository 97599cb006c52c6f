//! A question that waits for the custodian: the mail that says so, queued in the transaction that records the referral.

use std::sync::Arc;

use agreements::ids::{Ori, RequestId};
use agreements::message::{Outcome, RuleSaid};
use agreements::rule::Rule;
use agreements::screen::Topic;
use agreements::time::Instant;
use diesel::result::QueryResult;

use super::partner::Partner;
use crate::config::MailAddress;
use crate::db::Conn;
use crate::jobs;
use crate::mail::{self, Audience, Notice};
use crate::node::Node;
use crate::registry::outbox;

/// How many questions of a partner a day get a mail each. From then on one an hour says that there are more: who asks
/// hundreds of them fills no mailbox.
const SINGLY: usize = 10;

/// Who is told of a partner's questions that wait.
pub(super) struct Letterhead {
    to: Arc<[MailAddress]>,
    partner: Ori,
    name: String,
}

impl Letterhead {
    pub(super) fn new(node: &Node, partner: &Partner) -> Self {
        Self { to: node.mailer().custodian(), partner: partner.ori(), name: partner.party().legal_name.clone() }
    }

    /// Queues a mail about `outcome` if it is a referral. It names no plate, no person and no case.
    pub(super) fn queue(&self, conn: &mut Conn, outcome: &Outcome, topics: &[Topic], now: Instant) -> QueryResult<()> {
        let Outcome::Referred { ticket, rules } = outcome else { return Ok(()) };
        let day = now.date().unwrap_or(jiff::civil::Date::MAX);
        let today = format!("referred:{}:{day}:", self.partner);
        let singly = outbox::known(conn, &today)?.len() < SINGLY * self.to.len();
        let dedup = if singly { ticket.to_string() } else { format!("from hour {}", now.micros() / Instant::HOUR) };
        let notice = Notice {
            dedup: format!("{today}{dedup}"),
            audience: Audience::Custodian,
            subject: format!("{} asked what only you can decide", self.named()),
            body: self.body(*ticket, rules, topics, singly, now),
        };
        mail::queue(conn, &self.to, &notice, now)?;
        Ok(())
    }

    fn named(&self) -> String {
        format!("{} ({})", self.name, self.partner)
    }

    fn body(&self, ticket: RequestId, rules: &[RuleSaid], topics: &[Topic], singly: bool, now: Instant) -> String {
        let why = rules.iter().map(|said| match said.rule {
            Rule::SensitiveTerms => {
                let topics: Vec<&str> = topics.iter().map(|topic| topic.as_str()).collect();
                format!("sensitive_terms: its words touch {}", topics.join(", "))
            }
            rule => rule.as_str().to_owned(),
        });
        let more = if singly {
            ""
        } else {
            "More than ten of its questions wait today. From here on a mail like this comes once an hour; the list has them all.\n"
        };
        format!(
            "{} asked something at {now} that this node does not answer by itself. It was answered nothing, and it waits for you.\n\n\
             Because of: {}\nTicket:     {ticket}\n{more}\n\
             To see it:  concordat request list --as YOUR_USERNAME\n\
             The look is recorded. This mail names no plate, no person and no case.\n",
            self.named(),
            why.collect::<Vec<_>>().join("; ")
        )
    }
}

/// Has the mail about a referral sent now, not within the minute.
pub(super) fn ring(node: &Node, outcome: &Outcome) {
    if matches!(outcome, Outcome::Referred { .. }) {
        node.bell().ring_for(jobs::MAIL);
    }
}
