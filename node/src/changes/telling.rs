//! Whoever may approve a change is told by mail that it waits: once, in the transaction that proposes it. So they are when one
//! that was approved for a later date could not be carried out.

use diesel::result::QueryResult;

use super::{Change, LAPSES};
use crate::config::MailAddress;
use crate::db::Tx;
use crate::mail::{self, Audience, Notice};
use crate::node::Node;

/// Who is told, and of which agency.
pub(super) struct Told {
    name: String,
    to: Vec<MailAddress>,
}

impl Told {
    /// Administrators of agreements and the custodian: of the two who decide, one is.
    pub(super) fn of(node: &Node) -> Self {
        let to = mail::recipients(&node.config().mail, Audience::Agreements).into_iter().cloned().collect();
        Self { name: node.config().agency.legal_name.clone(), to }
    }
}

/// Queues the mails that an approved change was not carried out when its date came, and why.
pub(super) fn overtaken(tx: &mut Tx<'_>, told: &Told, change: &Change, why: &[String]) -> QueryResult<()> {
    let Change { id, proposed, .. } = change;
    let what = &proposed.command;
    let notice = Notice {
        dedup: format!("change:{id}:overtaken"),
        audience: Audience::Agreements,
        subject: format!("An approved change was not carried out: {what}"),
        body: format!(
            "At {} two people had decided to {what} from {} on. It could not be done, and nothing was changed:\n\n{}\n\n\
             Look at it: concordat change show {id}\n\
             If it is still wanted, propose it anew.\n",
            told.name,
            proposed.effective_at,
            why.join("\n")
        ),
    };
    let now = tx.now();
    mail::queue(tx.conn(), &told.to, &notice, now).map(drop)
}

/// Queues the mails. They say what waits, and not who proposed it or why: a reason may name people.
pub(super) fn waits(tx: &mut Tx<'_>, told: &Told, change: &Change) -> QueryResult<()> {
    let Change { id, at, proposed, .. } = change;
    let what = &proposed.command;
    let notice = Notice {
        dedup: format!("change:{id}"),
        audience: Audience::Agreements,
        subject: format!("A change waits for a second person: {what}"),
        body: format!(
            "At {} somebody proposed to {what}. Nothing changes until a second person approves it; of the two, one is the \
             custodian. It lapses at {}.\n\n\
             Look at what it does: concordat change show {id}\n\
             Then: concordat change approve {id} --as USER\n\
             or: concordat change refuse {id} --reason WHY --as USER\n",
            told.name,
            at.plus(LAPSES)
        ),
    };
    let now = tx.now();
    mail::queue(tx.conn(), &told.to, &notice, now).map(drop)
}
