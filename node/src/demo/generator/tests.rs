use super::*;
use crate::reads::rekor::{Line, parse};

fn until() -> Instant {
    "2026-11-23T20:00:00.123456Z".parse().unwrap()
}

fn alder() -> Agency {
    Agency::scattered("ALDER", 101, 3, 7)
}

fn birch() -> Agency {
    Agency::scattered("BIRCH", 201, 2, 7)
}

fn all(agency: &Agency, seed: u64, count: usize) -> Vec<String> {
    lines(agency, seed, count, until()).collect::<Result<_, _>>().unwrap()
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    assert_eq!(all(&alder(), 7, 20), all(&alder(), 7, 20));
    assert_ne!(all(&alder(), 7, 20), all(&alder(), 8, 20));
    assert_ne!(alder().cameras, Agency::scattered("ALDER", 101, 3, 8).cameras);
}

#[test]
fn every_line_is_a_read_with_its_crop_that_says_what_was_seen() {
    let seen: Vec<Sighting> = sightings(&alder(), 7, 300, until()).collect();
    let lines = all(&alder(), 7, 300);
    assert_eq!((seen.len(), lines.len()), (300, 300));
    for (line, seen) in lines.iter().zip(&seen) {
        let Ok(Line::Reads(reads)) = parse(line.as_bytes(), until(), 1 << 20) else { panic!("{line}") };
        let [read] = &reads[..] else { panic!("one read") };
        assert_eq!((&read.plate, read.seen_at), (&seen.plate, seen.seen_at));
        assert_eq!(read.camera, seen.camera.id.to_string());
        assert_eq!((read.lat, read.lon), (Some(seen.camera.lat), Some(seen.camera.lon)));
        assert_eq!(read.agent.as_deref(), Some("ALDER"));
        assert!(read.image.as_ref().is_some_and(|jpeg| jpeg.ends_with(&[0xff, 0xd9])));
        assert!(read.vehicle.as_ref().is_some_and(|v| v.make.is_some() && v.year.is_some()));
    }
    assert!(seen.is_sorted_by(|a, b| a.seen_at < b.seen_at), "each has a time of its own");
    assert!(seen.iter().all(|s| s.seen_at < until() && s.seen_at >= until().plus(-SPAN - 1000)));
}

#[test]
fn two_agencies_share_some_plates_and_not_others() {
    let plates = |agency: &Agency| -> HashSet<Plate> { sightings(agency, 7, 400, until()).map(|s| s.plate).collect() };
    let (alder, birch) = (plates(&alder()), plates(&birch()));
    assert!(shared_plates(7).iter().all(|plate| alder.contains(plate) && birch.contains(plate)));
    assert!(alder.len() > 200 && alder.intersection(&birch).count() < 70);
    let one = sightings(&self::birch(), 7, 1, until()).next().unwrap();
    assert_eq!(Some(&one.plate), shared_plates(7).first());
}

#[test]
fn the_crop_shows_the_plate() {
    let draw = |text: &str| crop::jpeg(text, &mut Rng::with_seed(1)).unwrap();
    assert_ne!(draw("7ABC123"), draw("7ABC128"));
    // JFIF: the frame header (FF C0) has the height and width at bytes 5 to 8.
    let jpeg = draw("7ABC123");
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    assert_eq!(jpeg[frame + 5..frame + 9], [0, 36, 0, 132]);
}
