//! Reminders of agreements that end: one digest a week from 90 days before sunset, each by itself in the last 7 days
//! (V-27: there is no grace period). They go to this agency's administrators and contacts, and to each partner's contacts
//! about its own agreements alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use agreements::ids::{AgreementId, Digest, Ori};
use agreements::party::Party;
use agreements::status::Status;
use agreements::stream::Event;
use agreements::time::Instant;
use jiff::civil::Date;

use super::notices::{Due, Source};
use super::work::JobError;
use crate::config::MailAddress;
use crate::exchange::standing::Verified;
use crate::mail::{Audience, Notice};
use crate::node::Node;
use crate::registry::ag;

/// From how many days before sunset an agreement is in the weekly digest.
const DIGEST_FROM: i64 = 90;
/// At how many days before sunset an agreement gets a mail of its own.
const SINGLY: [i64; 3] = [7, 3, 1];

/// An agreement that both signed and nobody ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    id: AgreementId,
    /// This agency's name and ORI.
    us: String,
    /// The partner.
    ori: Ori,
    /// Its name and ORI.
    partner: String,
    sunset_on: Date,
    /// Where it stands, in words.
    status: String,
    /// Whether one that renews it is signed by both.
    renewed: bool,
    /// What waits to be signed, where a renewal was offered.
    offered: Option<AgreementId>,
    /// This agency's mailboxes, as it says today.
    ours: Vec<MailAddress>,
    /// The partner's, as it said last.
    theirs: Vec<MailAddress>,
}

/// The source of these reminders.
pub(super) struct Reminders;

impl Source for Reminders {
    type World = Vec<Standing>;
    const PREFIX: &'static str = "renewal";

    fn look(&self, node: &Node) -> Result<Vec<Standing>, JobError> {
        let now = node.now();
        let (all, register) = node.desk().registry(|conn| Ok((node.standings().all(conn)?, ag::register(conn)?)))?;
        let with_status = |found: &Verified| Status::at(&found.agreement, &found.streams, &register, now);
        let all: Vec<(&Verified, Status)> = all.iter().map(|found| (found, with_status(found))).collect();
        // A successor counts from the moment at which both signed it, whatever keeps it from being in force today.
        let signed = |status: &Status| {
            !matches!(
                status,
                Status::NoAgreement {} | Status::Unsigned { .. } | Status::Ended { .. } | Status::Sunset { .. }
            )
        };
        let renewed: Vec<Digest> = all
            .iter()
            .filter(|(_, status)| signed(status))
            .filter_map(|(found, _)| found.agreement.supersedes)
            .collect();
        let alive = |(found, status): &&(&Verified, Status)| {
            matches!(status, Status::Unsigned { .. }) && found.agreement.supersedes.is_some()
        };
        let offered: BTreeMap<Digest, AgreementId> = all
            .iter()
            .filter(alive)
            .filter_map(|(found, _)| Some((found.agreement.supersedes?, found.agreement.id)))
            .collect();
        let ours = mailboxes(node.ori(), &node.config().agency.contacts);
        let standing = |(found, status): &(&Verified, Status)| {
            let other = found.agreement.other(node.ori())?;
            let document = Digest::of(&found.document);
            Some(Standing {
                id: found.agreement.id,
                us: named(&node.party().legal_name, node.ori()),
                ori: other.ori,
                partner: named(&other.legal_name, other.ori),
                sunset_on: found.agreement.sunset_on,
                status: status.says(),
                renewed: renewed.contains(&document),
                offered: offered.get(&document).copied(),
                ours: ours.clone(),
                theirs: mailboxes(other.ori, &contacts(found, other)),
            })
        };
        Ok(all.iter().filter(|(_, status)| signed(status)).filter_map(standing).collect())
    }

    fn due(agreements: &Vec<Standing>, now: Instant) -> Vec<Due> {
        let Some(today) = now.date() else { return Vec::new() };
        let days = |standing: &Standing| today.duration_until(standing.sunset_on).as_hours() / 24;
        let mut ending: Vec<(i64, &Standing)> =
            agreements.iter().filter(|standing| !standing.renewed).map(|standing| (days(standing), standing)).collect();
        ending.retain(|(days, _)| (1..=DIGEST_FROM).contains(days));
        ending.sort_by_key(|(days, standing)| (*days, standing.id));
        let singly = ending.iter().flat_map(|(days, standing)| single(*days, standing));
        let digested: Vec<_> = ending.iter().copied().filter(|(days, _)| *days > SINGLY[0]).collect();
        singly.chain(digests(today, &digested)).collect()
    }
}

/// The partner's contacts: those of the document, or those that it named when it moved.
fn contacts(found: &Verified, other: &Party) -> Vec<String> {
    let moved = found.streams.party(&found.agreement, other.ori).and_then(|stream| {
        stream.events().iter().rev().find_map(|said| match &said.event {
            Event::Moved { contacts, .. } => Some(contacts.clone()),
            _ => None,
        })
    });
    moved.unwrap_or_else(|| other.contacts.clone())
}

/// Those that are addresses that mail can be sent to.
fn mailboxes(of: Ori, texts: &[String]) -> Vec<MailAddress> {
    let parse = |text: &String| {
        let parsed = text.parse();
        if parsed.is_err() {
            tracing::warn!(agency = %of, "a contact is no mail address; nothing is sent to it");
        }
        parsed.ok()
    };
    texts.iter().filter_map(parse).collect()
}

fn named(name: &str, ori: Ori) -> String {
    format!("{name} ({ori})")
}

fn in_days(days: i64) -> String {
    if days == 1 { "tomorrow".to_owned() } else { format!("in {days} days") }
}

/// What to do, for one agreement.
fn next_commands(standing: &Standing) -> String {
    let Standing { id, offered, .. } = standing;
    let renew = match offered {
        Some(new) => format!("A renewal is offered and not signed by both: concordat agreement show {new}\n"),
        None => format!("To renew it:  concordat agreement renew {id}\n"),
    };
    format!("To see it:    concordat agreement show {id}\n{renew}")
}

const WALL: &str = "From 00:00 (Los Angeles) at the start of that day nothing flows under it, in either direction, and \
                    there is no grace period. A renewal is a new agreement that both agencies sign.";

/// The mails about one agreement: to the administrators, and to both agencies' contacts.
fn single(days: i64, standing: &Standing) -> Vec<Due> {
    let Some(threshold) = SINGLY.into_iter().rev().find(|threshold| days <= *threshold) else { return Vec::new() };
    let Standing { id, partner, sunset_on, status, .. } = standing;
    let when = in_days(days);
    let mailboxes: Vec<MailAddress> = standing.ours.iter().chain(&standing.theirs).cloned().collect();
    let to = |audience| Due {
        notice: Notice {
            dedup: format!("renewal:{id}:{threshold}"),
            audience,
            subject: format!("The agreement with {partner} ends {when}, on {sunset_on}"),
            body: format!(
                "The agreement of {} with {partner} ends {when}, on {sunset_on}.\n{WALL}\n\nToday: {status}\n\n{}",
                standing.us,
                next_commands(standing)
            ),
        },
        reason: format!("agreement {id} ends {when} and is not renewed"),
    };
    let contacts = (!mailboxes.is_empty()).then(|| to(Audience::Mailboxes(mailboxes)));
    [to(Audience::Agreements)].into_iter().chain(contacts).collect()
}

/// The week's digests: one of all agreements to this agency, and one to each partner of its own.
fn digests(today: Date, ending: &[(i64, &Standing)]) -> Vec<Due> {
    let Some((_, first)) = ending.first() else { return Vec::new() };
    let mut due = vec![digest(today, "renewals", Audience::Agreements, ending)];
    if !first.ours.is_empty() {
        due.push(digest(today, "renewals", Audience::Mailboxes(first.ours.clone()), ending));
    }
    let mut partners: BTreeMap<Ori, Vec<(i64, &Standing)>> = BTreeMap::new();
    for (days, standing) in ending {
        partners.entry(standing.ori).or_default().push((*days, *standing));
    }
    for (ori, own) in partners {
        let theirs: Vec<MailAddress> = own.iter().flat_map(|(_, standing)| standing.theirs.clone()).collect();
        if !theirs.is_empty() {
            due.push(digest(today, &format!("renewals:{ori}"), Audience::Mailboxes(theirs), &own));
        }
    }
    due
}

fn digest(today: Date, key: &str, audience: Audience, ending: &[(i64, &Standing)]) -> Due {
    let week = today.iso_week_date();
    let us = ending.first().map_or("", |(_, standing)| standing.us.as_str());
    let mut body = format!("Agreements of {us} that end within {DIGEST_FROM} days and are not renewed.\n{WALL}\n");
    for (days, Standing { id, partner, sunset_on, status, offered, .. }) in ending {
        let offered = offered.map(|new| format!("            renewal offered: {new}\n")).unwrap_or_default();
        // Writing to a text does not fail.
        let _ = write!(
            body,
            "\n{sunset_on}  {partner}, {}\n            {status}\n{offered}            concordat agreement show {id}\n",
            in_days(*days)
        );
    }
    body += "\nTo renew all that are reviewed: concordat agreement renew --all-due --spread\n";
    let count = ending.len();
    let agreements = if count == 1 { "1 agreement ends".to_owned() } else { format!("{count} agreements end") };
    let notice = Notice {
        dedup: format!("{key}:{}-W{:02}", week.year(), week.week()),
        audience,
        subject: format!("{agreements} within {DIGEST_FROM} days and need renewal"),
        body,
    };
    Due { notice, reason: format!("{agreements} within {DIGEST_FROM} days, not renewed") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(n: u8, sunset_on: &str, renewed: bool) -> Standing {
        Standing {
            id: AgreementId::from_slice(&[n; 16]).unwrap_or_else(|_| {
                let mut bytes = [n; 16];
                (bytes[6], bytes[8]) = (0x70, 0x80);
                AgreementId::from_slice(&bytes).unwrap()
            }),
            us: "Alder (CA0990000)".to_owned(),
            ori: format!("CA09901{n:02}").parse().unwrap(),
            partner: format!("Partner {n}"),
            sunset_on: sunset_on.parse().unwrap(),
            status: "in force".to_owned(),
            renewed,
            offered: None,
            ours: Vec::new(),
            theirs: Vec::new(),
        }
    }

    /// Noon in Los Angeles on this day.
    fn noon(date: &str) -> Instant {
        Instant::start_of(date.parse().unwrap()).unwrap().plus(12 * Instant::HOUR)
    }

    fn keys(agreements: &Vec<Standing>, now: Instant) -> Vec<String> {
        Reminders::due(agreements, now).into_iter().map(|due| due.notice.dedup).collect()
    }

    #[test]
    fn a_year_of_days_gives_one_digest_a_week_and_three_mails_and_nothing_else() {
        let one = vec![standing(1, "2027-06-30", false)];
        let (mut said, mut by_day) = (std::collections::BTreeSet::new(), Vec::new());
        let mut day: Date = "2026-12-01".parse().unwrap();
        while day < "2027-08-01".parse().unwrap() {
            for key in keys(&one, noon(&day.to_string())) {
                if said.insert(key.clone()) {
                    by_day.push((day.to_string(), key));
                }
            }
            day = day.tomorrow().unwrap();
        }
        let id = one[0].id;
        // 90 days before is 2027-04-01, a Thursday; the last day of the digest is 8 days before, 2027-06-22.
        assert_eq!(by_day[0], ("2027-04-01".to_owned(), "renewals:2027-W13".to_owned()));
        assert_eq!(by_day[1], ("2027-04-05".to_owned(), "renewals:2027-W14".to_owned()));
        assert_eq!(by_day[12], ("2027-06-21".to_owned(), "renewals:2027-W25".to_owned()));
        assert_eq!(
            by_day[13..],
            [
                ("2027-06-23".to_owned(), format!("renewal:{id}:7")),
                ("2027-06-27".to_owned(), format!("renewal:{id}:3")),
                ("2027-06-29".to_owned(), format!("renewal:{id}:1")),
            ]
        );
    }

    #[test]
    fn days_are_those_of_los_angeles_and_missed_ones_are_made_up_for_once() {
        let one = vec![standing(1, "2027-06-30", false)];
        let id = one[0].id;
        let sunset = Instant::start_of("2027-06-30".parse().unwrap()).unwrap();
        assert_eq!(keys(&one, sunset.plus(-1)), [format!("renewal:{id}:1")]);
        assert!(keys(&one, sunset).is_empty());
        let week_before = Instant::start_of("2027-06-23".parse().unwrap()).unwrap();
        assert_eq!(keys(&one, week_before), [format!("renewal:{id}:7")]);
        assert_eq!(keys(&one, week_before.plus(-1)), ["renewals:2027-W25"]);
        // A node that was down for days says what holds today, not what it missed.
        let due = Reminders::due(&one, noon("2027-06-25"));
        assert_eq!(due[0].notice.dedup, format!("renewal:{id}:7"));
        assert!(due[0].notice.subject.contains("in 5 days, on 2027-06-30"), "{}", due[0].notice.subject);
        assert!(due[0].notice.body.contains(&format!("concordat agreement show {id}")));
    }

    #[test]
    fn what_is_renewed_is_left_out_and_the_digest_has_the_rest_soonest_first() {
        let all = vec![
            standing(1, "2027-06-30", true),
            standing(2, "2027-07-20", false),
            standing(3, "2027-07-10", false),
            standing(4, "2027-12-31", false),
            standing(5, "2027-06-24", false),
        ];
        let due = Reminders::due(&all, noon("2027-06-23"));
        assert_eq!(
            due.iter().map(|due| due.notice.dedup.as_str()).collect::<Vec<_>>(),
            [format!("renewal:{}:1", all[4].id).as_str(), "renewals:2027-W25"]
        );
        let body = &due[1].notice.body;
        assert!(body.find("Partner 3").unwrap() < body.find("Partner 2").unwrap(), "{body}");
        for absent in ["Partner 1", "Partner 4", "Partner 5"] {
            assert!(!body.contains(absent), "{body}");
        }
        assert!(due[1].notice.subject.starts_with("2 agreements end"));
        assert!(keys(&vec![standing(1, "2027-06-25", true)], noon("2027-06-24")).is_empty());
    }

    #[test]
    fn both_agencies_contacts_are_told_and_each_partner_of_its_own_agreements_alone() {
        let address = |text: &str| -> MailAddress { text.parse().unwrap() };
        let of = |n: u8, sunset_on: &str| Standing {
            ours: vec![address("alpr@alder.test")],
            theirs: vec![address(&format!("alpr@partner{n}.test"))],
            ..standing(n, sunset_on, false)
        };
        let all = vec![of(1, "2027-07-10"), of(2, "2027-07-20"), of(3, "2027-06-24")];
        let due = Reminders::due(&all, noon("2027-06-23"));
        let to = |due: &Due| match &due.notice.audience {
            Audience::Mailboxes(to) => to.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            other => format!("{other:?}"),
        };
        let said: Vec<(String, String)> = due.iter().map(|due| (due.notice.dedup.clone(), to(due))).collect();
        let single = format!("renewal:{}:1", all[2].id);
        let pairs = |key: &str, to: &str| (key.to_owned(), to.to_owned());
        assert_eq!(
            said,
            [
                pairs(&single, "Agreements"),
                pairs(&single, "alpr@alder.test alpr@partner3.test"),
                pairs("renewals:2027-W25", "Agreements"),
                pairs("renewals:2027-W25", "alpr@alder.test"),
                pairs("renewals:CA0990101:2027-W25", "alpr@partner1.test"),
                pairs("renewals:CA0990102:2027-W25", "alpr@partner2.test"),
            ]
        );
        assert!(!due[4].notice.body.contains("Partner 2") && due[4].notice.body.contains("Partner 1"));
    }
}
