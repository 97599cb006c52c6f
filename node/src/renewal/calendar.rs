//! Sunsets and due dates as a calendar file (RFC 5545) for whatever program people keep their days in.

use agreements::ids::Ori;
use agreements::register::{AG_CHECK_IN_FORCE, OpenReview};
use agreements::time::Instant;
use icalendar::{Calendar, Component as _, Event, Property};
use jiff::ToSpan as _;
use jiff::civil::Date;

use super::held::{self, HeldError};
use super::renew::DUE_FROM;
use super::review;
use crate::changes::{self, Change, State};
use crate::db::Conn;
use crate::exchange::known;
use crate::exchange::standing::Verified;
use crate::registry::ag;

/// What made the file, as a formal public identifier (RFC 5545, section 3.7.3).
const PRODID: &str = "-//Concordat//Agreements//EN";

/// A day that matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Day {
    /// What tells it from all others, whenever the file is made anew.
    pub uid: String,
    /// When, in `America/Los_Angeles`.
    pub on: Date,
    /// One line.
    pub summary: String,
    /// What to do.
    pub description: String,
}

/// The days that matter from `now` on, in their order.
///
/// # Errors
/// See [`HeldError`].
pub fn days(conn: &mut Conn, us: Ori, now: Instant) -> Result<Vec<Day>, HeldError> {
    let mut days = Vec::new();
    for (partner, found) in review::renewable(conn, us, None)? {
        let (id, sunset_on) = (found.agreement.id, found.agreement.sunset_on);
        let name = found.agreement.party(partner).map(|party| party.legal_name.clone()).unwrap_or_default();
        days.push(Day {
            uid: format!("{id}-sunset"),
            on: sunset_on,
            summary: format!("The agreement with {name} ({partner}) has ended"),
            description: format!(
                "From 00:00 (Los Angeles) on this day nothing flows under agreement {id}. There is no grace period."
            ),
        });
        if let Ok(on) = sunset_on.checked_sub(DUE_FROM.days()) {
            days.push(Day {
                uid: format!("{id}-renewal"),
                on,
                summary: format!("Begin to renew the agreement with {name} ({partner})"),
                description: format!("It ends on {sunset_on}: concordat agreement renew {id}"),
            });
        }
    }
    if let Some((at, _)) = held::ag_checks(conn)?.last()
        && let Some(on) = at.plus(AG_CHECK_IN_FORCE).date()
    {
        days.push(Day {
            uid: "ag-check".to_owned(),
            on,
            summary: "The check of the Attorney General's sources is too old".to_owned(),
            description: "From this day on no agreement is in force until: concordat ag check".to_owned(),
        });
    }
    if let Some(held) = held::newest_own(conn)?
        && let Some(made) = held.packet.made_at.date()
        && let Ok(on) = made.checked_add(1.year())
    {
        days.push(Day {
            uid: "packet".to_owned(),
            on,
            summary: "The yearly compliance packet is due".to_owned(),
            description: "concordat agreement packet make".to_owned(),
        });
    }
    days.extend(unsigned(conn, us)?);
    days.extend(reviews(conn)?);
    days.extend(pending(conn, now)?);
    days.retain(|day| now.date().is_none_or(|today| day.on >= today));
    days.sort_by(|one, other| (one.on, &one.uid).cmp(&(other.on, &other.uid)));
    Ok(days)
}

/// By when renewals are to be signed that wait for it: from their effective date on they would serve.
fn unsigned(conn: &mut Conn, us: Ori) -> Result<Vec<Day>, HeldError> {
    let waits = |found: &Verified| {
        let ended = found.streams.parties.iter().any(|stream| stream.ended().is_some());
        !ended
            && found.agreement.supersedes.is_some()
            && found.streams.parties.iter().any(|stream| stream.signed_at().is_none())
    };
    let day = |found: Verified| {
        let partner = found.agreement.other(us)?;
        let (id, name, ori) = (found.agreement.id, &partner.legal_name, partner.ori);
        Some(Day {
            uid: format!("{id}-sign"),
            on: found.agreement.effective_on,
            summary: format!("The renewal with {name} ({ori}) is not signed by both"),
            description: format!(
                "It was to take effect on this day, and does so only once both have signed: concordat agreement show {id}"
            ),
        })
    };
    Ok(known::all(conn)?.into_iter().filter(waits).filter_map(day).collect())
}

/// When early reviews begin to hold what this agency grants.
fn reviews(conn: &mut Conn) -> Result<Vec<Day>, HeldError> {
    let day = |review: OpenReview| {
        let OpenReview { id, ori, trigger, .. } = review;
        Some(Day {
            uid: format!("{id}-review"),
            on: review.holds_from()?.date()?,
            summary: format!("The early review of {ori} holds what is granted it"),
            description: format!("It is open ({trigger}). To see and to close it: concordat review show {id}"),
        })
    };
    Ok(ag::register(conn)?.reviews.into_iter().filter_map(day).collect())
}

/// When changes lapse that wait for a second person, and when approved ones take effect.
fn pending(conn: &mut Conn, now: Instant) -> Result<Vec<Day>, HeldError> {
    let day = |change: Change| {
        let id = change.id;
        let (uid, at, what) = match change.state(now) {
            State::Pending { lapses_at } => ("lapses", lapses_at, "lapses unless a second person approves it"),
            State::Approved { .. } => ("effect", change.proposed.effective_at, "takes effect"),
            _ => return None,
        };
        Some(Day {
            uid: format!("{id}-{uid}"),
            on: at.date()?,
            summary: format!("A change {what}"),
            description: format!("To {}: concordat change show {id}", change.proposed.command),
        })
    };
    let all = changes::all(conn)?.map_err(HeldError::Changed)?;
    Ok(all.into_iter().filter_map(day).collect())
}

/// The days as a calendar: whole days, with the same UIDs each time, so that a program which reads the file again moves what
/// moved and doubles nothing. `host` makes the UIDs this agency's own.
#[must_use]
pub fn text(days: &[Day], host: &str, now: Instant) -> String {
    let mut calendar = Calendar::empty();
    for (name, value) in [("VERSION", "2.0"), ("PRODID", PRODID), ("CALSCALE", "GREGORIAN")] {
        calendar.append_property(Property::new(name, value));
    }
    calendar.name("ALPR agreements").timezone("America/Los_Angeles");
    let stamp = jiff::Timestamp::from_microsecond(now.micros()).unwrap_or_default();
    let stamp = stamp.strftime("%Y%m%dT%H%M%SZ").to_string();
    for Day { uid, on, summary, description } in days {
        let date = |name: &str, date: Date| {
            Property::new(name, date.strftime("%Y%m%d").to_string()).add_parameter("VALUE", "DATE").done()
        };
        let mut event = Event::new();
        event.uid(&format!("{uid}@{host}")).summary(summary).description(description);
        event.append_property(Property::new("DTSTAMP", &stamp).done());
        event.append_property(date("DTSTART", *on));
        event.append_property(date("DTEND", on.tomorrow().unwrap_or(*on)));
        event.append_property(Property::new("TRANSP", "TRANSPARENT").done());
        calendar.push(event.done());
    }
    calendar.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use icalendar::CalendarComponent;

    fn day(uid: &str, on: &str) -> Day {
        Day {
            uid: uid.to_owned(),
            on: on.parse().unwrap(),
            summary: "The agreement with Birch, City; Police has ended".to_owned(),
            description: format!("one\ntwo {}", "dé".repeat(80)),
        }
    }

    #[test]
    fn the_file_reads_back_as_whole_days_with_the_same_ids_each_time() {
        let now: Instant = "2026-11-23T20:17:00Z".parse().unwrap();
        let days = [day("a-sunset", "2026-12-23"), day("b-sunset", "2026-12-31")];
        let file = text(&days, "alder.test", now);
        assert_eq!(file, text(&days, "alder.test", now));
        assert!(file.ends_with("END:VCALENDAR\r\n"), "{file}");
        assert!(
            file.split_terminator("\r\n").all(|line| line.len() <= 75 && !line.contains('\n')),
            "section 3.1: {file}"
        );
        for once in ["VERSION:2.0\r\n", "PRODID:-//Concordat//Agreements//EN\r\n"] {
            assert_eq!(file.matches(once).count(), 1, "RFC 5545, section 3.6: {file}");
        }
        let calendar: Calendar = file.parse().unwrap();
        assert_eq!(calendar.property_value("X-WR-TIMEZONE"), Some("America/Los_Angeles"));
        let events: Vec<&Event> = calendar
            .components
            .iter()
            .map(|component| match component {
                CalendarComponent::Event(event) => event,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(events.len(), 2);
        let said = |event: &Event, name: &str| event.property_value(name).unwrap().to_owned();
        assert_eq!(events[0].get_uid(), Some("a-sunset@alder.test"));
        assert_eq!(events[0].get_summary(), Some("The agreement with Birch, City; Police has ended"));
        assert_eq!((said(events[0], "DTSTART"), said(events[0], "DTEND")), ("20261223".into(), "20261224".into()));
        assert_eq!(said(events[1], "DTEND"), "20270101", "the end is the next day, over the year's end too");
        assert_eq!(said(events[0], "DTSTAMP"), "20261123T201700Z");
        let start = events[0].properties().get("DTSTART").unwrap();
        assert_eq!(start.params().get("VALUE").unwrap().value(), "DATE");
    }
}
