//! Cases of discrepancies: what is said of each, and how the custodian closes one.

use agreements::discrepancy::{Differs, Discrepancy};
use agreements::entry::Kind;
use agreements::ids::{Ori, RequestId};
use agreements::json::MAX_TEXT;
use jiff::civil::Date;

use super::fallen::Span;
use crate::db::{Db, Tx};
use crate::mail::{Audience, Notice};
use crate::people::{self, PeopleError};
use crate::registry::accounts::{Action, operator};
use crate::registry::discrepancies::{self, Closed};
use crate::trail::Facts;

/// What a custodian is told of a discrepancy with `them`: what differs, what it can mean, and how to show it.
pub(super) fn says(differs: Differs, kind: Option<Kind>, them: &str) -> String {
    let entry = kind.map_or("an entry".to_owned(), |kind| format!("an entry `{kind}`"));
    match differs {
        Differs::LeftOut => format!(
            "{them} gave this agency {entry}, and lists none such for that day, though its log has it: its search index or \
             its table of details was changed, or it hides it. This agency holds the signed entry."
        ),
        Differs::Gone => format!(
            "{them} gave this agency {entry}, and its log does not have it any more: its trail was rewritten, or it went on \
             with an old copy. This agency holds the signed entry."
        ),
        Differs::Altered => format!(
            "{them} gave this agency {entry}, and lists another one under its id or in another place. This agency holds the \
             signed entry."
        ),
        Differs::Invented => {
            format!("{them} lists {entry} that is not in its log: what it lists was not recorded when it says.")
        }
        Differs::Unasked => format!(
            "{them} lists {entry} as its reply to something that this agency's trail does not have: somebody asked in this \
             agency's name, entries of this trail were removed, or {them} invents it."
        ),
        Differs::Unproven => format!(
            "This agency's trail names {entry} of {them}, and the signed entry that was kept with it is gone or was changed \
             in this agency's registry."
        ),
        Differs::Forked => format!(
            "The log of {them} showed two trails; nothing is exchanged with it. `concordat trail forks` has the evidence."
        ),
        Differs::Told => format!("{them} found that the two trails differ, and told this agency."),
        Differs::NotCompared => format!(
            "Days of the exchange with {them} were never compared, and are no longer caught up with: nobody knows whether the \
             two trails agree on them."
        ),
    }
}

/// What a custodian is told of days that were never compared with `them`.
pub(super) fn not_compared(span: &Span, partner: Ori, them: &str) -> String {
    let Span { first, last, count } = span;
    let days = if count == &1 { "day" } else { "days" };
    format!(
        "{count} {days} of the exchange with {them} were never compared, from {first} to {last}, and are no longer caught up \
         with: nobody knows whether the two trails agree on them. If it gives its lists again, compare them by hand: \
         concordat trail reconcile {partner} --since {first} --as USER"
    )
}

/// What a custodian is told of what `them` found: in words of this program, with nothing of theirs but names and hashes.
pub(super) fn told(them: &str, theirs: &Discrepancy) -> String {
    let Discrepancy { day, differs, about, .. } = theirs;
    let kind = theirs.kind.map(|kind| format!(" of kind `{kind}`")).unwrap_or_default();
    let days = theirs.until.map(|until| format!(" to {until}")).unwrap_or_default();
    format!(
        "{them} found that the two trails differ, for {day}{days}: {differs}, about the entry {about}{kind}. Its signed entry \
         says more: ask its custodian."
    )
}

/// The mail about new cases of a day.
pub(super) fn notice(them: &str, day: Date, cases: &[(RequestId, Discrepancy)]) -> Option<Notice> {
    let (first, first_case) = cases.first()?;
    let subject = match first_case.until {
        None => format!("The trails of this agency and {them} differ on {day}"),
        Some(until) => format!("The trails of this agency and {them} were not compared from {day} to {until}"),
    };
    let lines: Vec<String> =
        cases.iter().map(|(id, case)| format!("{} ({id}):\n  {}", case.differs, case.says)).collect();
    let body = format!(
        "{subject} (a day of UTC).\n\n{}\n\nNext: concordat discrepancy show {first}, and ask the custodian there. What came \
         of it is recorded when you close the case:\n  concordat discrepancy close {first} --explanation WHAT --reason WHY\n",
        lines.join("\n\n")
    );
    Some(Notice { dedup: format!("discrepancy:{first}"), audience: Audience::Custodian, subject, body })
}

/// Closes a case: the custodian, with how it came about and why it can be closed.
///
/// # Errors
/// See [`PeopleError`].
pub async fn close(
    db: &Db,
    discrepancy: RequestId,
    explanation: &str,
    reason: &str,
    by: &str,
) -> Result<(), PeopleError> {
    let (explanation, reason, by) = (explanation.to_owned(), reason.to_owned(), by.to_owned());
    let job = move |tx: &mut Tx<'_>| {
        if let Err(why) = operator(tx.conn(), &by, Action::CloseDiscrepancies)? {
            return Ok(Err(why));
        }
        for (text, option) in [(&explanation, "--explanation"), (&reason, "--reason")] {
            if !crate::compliance::said(text) || text.split_whitespace().count() < 2 {
                return Ok(Err(format!("say it ({option}) in two words or more and at most {MAX_TEXT} characters")));
            }
        }
        let all = match discrepancies::all(tx.conn())? {
            Ok(all) => all,
            Err(what) => return Ok(Err(what)),
        };
        let Some(case) = all.into_iter().find(|case| case.id == discrepancy) else {
            let list = "`concordat discrepancy list` shows those that are open";
            return Ok(Err(format!("there is no discrepancy {discrepancy}; {list}")));
        };
        if let Some(closed) = case.closed {
            return Ok(Err(format!("the discrepancy {discrepancy} was closed at {}", closed.at)));
        }
        let partner = case.opened.partner;
        let record = Closed { by: by.clone(), discrepancy, explanation, partner, reason, v: 1 };
        let decision = Some(case.opened.differs.as_str().to_owned());
        let facts = Facts { partner: Some(partner), decision, ..Facts::default() };
        people::record(tx, Kind::DiscrepancyClosed, &record, &by, facts)?;
        Ok(Ok(()))
    };
    people::settled(db.record(job).await?)
}
