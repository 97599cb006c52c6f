//! Sunsets and due dates as a calendar file (RFC 5545) for whatever program people keep their days in.

use agreements::ids::Ori;
use agreements::register::AG_CHECK_IN_FORCE;
use agreements::time::Instant;
use icalendar::{Calendar, Component as _, Event, Property};
use jiff::ToSpan as _;
use jiff::civil::Date;

use super::held::{self, HeldError};
use super::renew::DUE_FROM;
use super::review;
use crate::db::Conn;

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
    days.retain(|day| now.date().is_none_or(|today| day.on >= today));
    days.sort_by(|one, other| (one.on, &one.uid).cmp(&(other.on, &other.uid)));
    Ok(days)
}

/// The days as a calendar: whole days, with the same UIDs each time, so that a program which reads the file again moves what
/// moved and doubles nothing. `host` makes the UIDs this agency's own.
#[must_use]
pub fn text(days: &[Day], host: &str, now: Instant) -> String {
    let mut calendar = Calendar::new();
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
    use icalendar::{CalendarComponent, EventLike as _};

    fn day(uid: &str, on: &str) -> Day {
        Day {
            uid: uid.to_owned(),
            on: on.parse().unwrap(),
            summary: "The agreement with Birch, City; Police has ended".to_owned(),
            description: "one\ntwo".to_owned(),
        }
    }

    #[test]
    fn the_file_reads_back_as_whole_days_with_the_same_ids_each_time() {
        let now: Instant = "2026-11-23T20:17:00Z".parse().unwrap();
        let days = [day("a-sunset", "2026-12-23"), day("b-sunset", "2026-12-31")];
        let file = text(&days, "alder.test", now);
        assert_eq!(file, text(&days, "alder.test", now));
        assert!(file.lines().all(|line| line.len() <= 75), "RFC 5545, section 3.1: {file}");
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
