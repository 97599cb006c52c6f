//! What the asker's side holds a partner's reads to: nothing that was not asked for comes in.

use agreements::agreement::Area;
use agreements::message::Question;

use crate::reads::Read;

/// Whether reads are within what was asked for: of that plate, in that time and area, and no more of them. What was not
/// asked for must not be had (III-06).
pub(super) fn asked_for(question: &Question, reads: &[Read]) -> bool {
    let within = |area: Area, read: &Read| {
        read.lat.is_some_and(|lat| (area.south..=area.north).contains(&lat))
            && read.lon.is_some_and(|lon| (area.west..=area.east).contains(&lon))
    };
    reads.len() as u64 <= u64::from(question.max_rows)
        && reads.iter().all(|read| {
            Some(read.plate.as_str()) == question.search.text()
                && (question.from..question.until).contains(&read.seen_at)
                && question.area.is_none_or(|area| within(area, read))
                && (question.images || read.image.is_none())
        })
}

#[cfg(test)]
mod tests {
    use agreements::ids::{Digest, Ori, ReadId};
    use agreements::message::{Asker, OnBehalfOf, PROTOCOL, Search};
    use agreements::purpose::Purpose;
    use agreements::time::Instant;

    use super::*;

    fn at(minute: i64) -> Instant {
        "2026-11-23T00:00:00Z".parse::<Instant>().unwrap().plus(minute * Instant::MINUTE)
    }

    fn question() -> Question {
        let agency: Ori = "CA0990000".parse().unwrap();
        Question {
            v: PROTOCOL,
            to: Vec::new(),
            asker: Asker {
                agency,
                username: String::new(),
                name: String::new(),
                affiliation: String::new(),
                approved: true,
                trained_on: None,
            },
            on_behalf_of: OnBehalfOf { agency, end_user: String::new() },
            purpose: Purpose::Lifesaving,
            reference: None,
            reason: String::new(),
            supervisor: None,
            why_all: None,
            search: Search::Exact { plate: "7ABC123".parse().unwrap() },
            from: at(10),
            until: at(20),
            area: Some(Area { south: 0, west: 0, north: 10, east: 10 }),
            max_rows: 1,
            images: false,
        }
    }

    fn read() -> Read {
        Read {
            id: ReadId::new(at(0), [1; 10]),
            plate: "7ABC123".parse().unwrap(),
            state: None,
            seen_at: at(10),
            camera: "1".to_owned(),
            lat: Some(10),
            lon: Some(0),
            confidence: None,
            direction: None,
            vehicle: None,
            image: None,
        }
    }

    #[test]
    fn reads_that_were_not_asked_for_are_none() {
        assert!(asked_for(&question(), &[]) && asked_for(&question(), &[read()]));
        let wrong: [fn(&mut Read); 6] = [
            |read| read.plate = "7ABC124".parse().unwrap(),
            |read| read.seen_at = at(10).plus(-1),
            |read| read.seen_at = at(20),
            |read| read.lat = Some(11),
            |read| read.lon = None,
            |read| read.image = Some(Digest([0; 32])),
        ];
        for change in wrong {
            let mut other = read();
            change(&mut other);
            assert!(!asked_for(&question(), &[other.clone()]), "{other:?}");
        }
        assert!(!asked_for(&question(), &[read(), read()]), "more than asked");
    }
}
