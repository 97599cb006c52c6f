use agreements::plate::PlateError;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const ALDER: &str = include_str!("../../../tests/fixtures/alder.alpr_group.jsonl");
const BIRCH: &str = include_str!("../../../tests/fixtures/birch.alpr_group.jsonl");
const LIMIT: usize = 2 << 20;
const YEAR_2000_MS: i64 = 946_684_800_000;

fn now() -> Instant {
    "2026-11-23T20:00:00Z".parse().unwrap()
}

fn parsed(value: &Value) -> Result<Vec<NewRead>, LineError> {
    match parse(value.to_string().as_bytes(), now(), LIMIT)? {
        Line::Reads(reads) => Ok(reads),
        Line::Heartbeat { .. } => panic!("a heartbeat"),
    }
}

fn group_line() -> Value {
    serde_json::from_str(ALDER.lines().next().unwrap()).unwrap()
}

fn frame_line() -> Value {
    json!({"data_type": "alpr_results", "version": 2, "epoch_time": 1_795_046_455_928_i64, "uuid": "AGENT-7-1795046455928",
        "results": [
            {"plate": "6RRT593", "confidence": 82.3964, "region": "us-ca",
             "candidates": [{"plate": "6RRT593"}, {"plate": "6RRT5?3"}, {"plate": "GRRT593"}], "plate_crop_jpeg": "/9j/2Q=="},
            {"plate": "8abc 123", "confidence": 0, "region": "ca-on", "plate_crop_jpeg": ""}]})
}

#[test]
fn a_group_of_the_real_layout() {
    let [read] = &parsed(&group_line()).unwrap()[..] else { panic!("one read") };
    assert_eq!(read.plate.as_str(), "6RRT593");
    assert_eq!(read.uuid, format!("{}-101-1795046455928", "A".repeat(40)));
    assert_eq!(read.agent, Some("A".repeat(40)));
    assert_eq!(read.state.as_deref(), Some("CA"));
    assert_eq!(read.seen_at.micros(), 1_795_046_455_028_000);
    assert_eq!(read.camera, "101");
    assert_eq!((read.lat, read.lon), (Some(34_610_000), Some(-118_310_000)));
    assert_eq!((read.confidence, read.direction), (Some(82_396), Some(12_765)));
    let name = |text: &str| Some(text.to_owned());
    let vehicle = Vehicle {
        color: name("black"),
        make: name("toyota"),
        model: name("tesla_model-3"),
        body: name("truck-standard"),
        year: name("2010-2014"),
    };
    assert_eq!(read.vehicle, Some(vehicle));
    assert!(read.image.as_ref().unwrap().starts_with(&[0xff, 0xd8, 0xff]));
    assert!(!format!("{read:?}").contains("6RRT593"));
    for line in ALDER.lines().chain(BIRCH.lines()) {
        assert!(matches!(parse(line.as_bytes(), now(), LIMIT), Ok(Line::Reads(reads)) if reads.len() == 1));
    }
}

#[test]
fn a_frame_of_several_plates_with_agent_and_camera_from_its_uuid() {
    let reads = parsed(&frame_line()).unwrap();
    let [first, second] = &reads[..] else { panic!("two reads") };
    assert_eq!(first.plate.as_str(), "6RRT593");
    assert_eq!(first.image.as_deref(), Some(&[0xff, 0xd8, 0xff, 0xd9][..]));
    assert_eq!(second.plate.as_str(), "8ABC123");
    assert_eq!((second.state.as_deref(), second.confidence, &second.image), (None, Some(0), &None));
    for read in &reads {
        assert_eq!((read.agent.as_deref(), read.camera.as_str()), (Some("AGENT"), "7"));
        assert_eq!((read.lat, read.lon, read.direction), (None, None, None));
    }
    let mut empty = frame_line();
    empty["results"] = json!([]);
    assert_eq!(parsed(&empty).unwrap(), []);
}

#[test]
fn the_most_confident_name_wins_and_heartbeats_are_heartbeats() {
    let mut line = group_line();
    line["vehicle"] = json!({"color": [{"name": "red", "confidence": 10.5}, {"name": "blue", "confidence": 88}]});
    let expected = Vehicle { color: Some("blue".into()), ..Vehicle::default() };
    assert_eq!(parsed(&line).unwrap()[0].vehicle, Some(expected));
    line["vehicle"] = json!({});
    assert_eq!(parsed(&line).unwrap()[0].vehicle, None);
    assert_eq!(parse(br#"{"data_type":"heartbeat","x":[]}"#, now(), LIMIT), Ok(Line::Heartbeat { agent: None }));
    let named = br#"{"data_type":"heartbeat","agent_uid":"AGENT","video_streams":[{}]}"#;
    assert_eq!(parse(named, now(), LIMIT), Ok(Line::Heartbeat { agent: Some("AGENT".to_owned()) }));
}

#[test]
fn unknown_fields_are_ignored_whatever_they_hold() {
    let plain = parsed(&group_line()).unwrap();
    let mut line = group_line();
    line["newer"] = json!({"a": [1.5e300, {"b": null}]});
    line["best_plate"]["newer"] = json!("x");
    assert_eq!(parsed(&line).unwrap(), plain);
}

/// `pointer` set to `value` must be refused by the name `field` with `problem`.
fn refused(line: &Value, pointer: &str, value: &Value, field: &'static str, problem: Problem) {
    let mut line = line.clone();
    *line.pointer_mut(pointer).unwrap() = value.clone();
    assert_eq!(parsed(&line), Err(wrong(field, problem)), "{pointer} = {value}");
}

#[test]
fn every_used_field_is_refused_by_its_name() {
    let line = group_line();
    let day_ahead = now().micros() / 1000 + 86_400_000;
    for (pointer, value, field, problem) in [
        ("/data_type", json!(null), "data_type", Problem::Missing),
        ("/data_type", json!("alpr"), "data_type", Problem::Not("alpr_group, alpr_results or heartbeat")),
        ("/best_plate_number", json!(7), "best_plate_number", Problem::Not("a text")),
        ("/best_plate_number", json!(""), "best_plate_number", Problem::Plate(PlateError::Empty)),
        ("/best_plate_number", json!("A".repeat(200)), "best_plate_number", Problem::Plate(PlateError::Long)),
        ("/best_plate_number", json!("7AB*"), "best_plate_number", Problem::Plate(PlateError::Character)),
        ("/epoch_start", json!(null), "epoch_start", Problem::Missing),
        ("/epoch_start", json!(-1), "epoch_start", Problem::Negative),
        ("/epoch_start", json!(1.5), "epoch_start", Problem::Not("a whole number")),
        ("/epoch_start", json!("2026"), "epoch_start", Problem::Not("a whole number")),
        ("/epoch_start", json!(YEAR_2000_MS - 1), "epoch_start", Problem::Early),
        ("/epoch_start", json!(day_ahead + 1), "epoch_start", Problem::Future),
        ("/epoch_start", json!(i64::MAX), "epoch_start", Problem::Future),
        ("/best_uuid", json!(null), "best_uuid", Problem::Missing),
        ("/best_uuid", json!("a b"), "best_uuid", Problem::Not("1 to 128 visible ASCII characters")),
        ("/camera_id", json!(-1), "camera_id", Problem::Negative),
        ("/camera_id", json!("1"), "camera_id", Problem::Not("a whole number")),
        ("/gps_latitude", json!(90.001), "gps_latitude", Problem::Outside("-90 to 90")),
        ("/gps_latitude", json!(null), "gps_latitude", Problem::Missing),
        ("/gps_longitude", json!(-180.1), "gps_longitude", Problem::Outside("-180 to 180")),
        ("/gps_longitude", json!(null), "gps_longitude", Problem::Missing),
        ("/gps_longitude", json!("-118"), "gps_longitude", Problem::Not("a number")),
        ("/best_confidence", json!(100.01), "best_confidence", Problem::Outside("0 to 100")),
        ("/best_confidence", json!(-0.5), "best_confidence", Problem::Outside("0 to 100")),
        ("/best_region", json!(5), "best_region", Problem::Not("a text")),
        ("/travel_direction", json!(361), "travel_direction", Problem::Outside("0 to 360")),
        ("/vehicle/color", json!({}), "vehicle.color", Problem::Not("an array")),
        ("/vehicle/color/0", json!([]), "vehicle.color", Problem::Not("an object")),
        ("/vehicle/color", json!(vec![json!({}); 257]), "vehicle.color", Problem::Many(256)),
        ("/vehicle", json!([]), "vehicle", Problem::Not("an object")),
        ("/vehicle/make/0/confidence", json!(101), "vehicle.make", Problem::Outside("0 to 100")),
        (
            "/vehicle/make/0/name",
            json!("\n"),
            "vehicle.make",
            Problem::Not("a name of at most 64 printable characters"),
        ),
        ("/best_plate", json!(1), "best_plate", Problem::Not("an object")),
        ("/best_plate/plate_crop_jpeg", json!("/9j*"), "best_plate.plate_crop_jpeg", Problem::Base64),
        ("/best_plate/plate_crop_jpeg", json!("iVBORw0K"), "best_plate.plate_crop_jpeg", Problem::Jpeg),
    ] {
        refused(&line, pointer, &value, field, problem);
    }
    let frame = frame_line();
    refused(&frame, "/results", &json!(null), "results", Problem::Missing);
    refused(&frame, "/results/1", &json!(null), "results", Problem::Not("an object"));
    refused(&frame, "/results/1/plate", &json!(null), "results.plate", Problem::Missing);
    refused(&frame, "/results/0/confidence", &json!(101), "results.confidence", Problem::Outside("0 to 100"));
    let plates = |n: usize| json!(vec![json!({"plate": "A"}); n]);
    refused(&frame, "/results", &plates(257), "results", Problem::Many(256));
    refused(&frame, "/results", &plates(300_000), "results", Problem::Many(256));
    let mut most = frame.clone();
    most["results"] = plates(256);
    assert_eq!(parsed(&most).unwrap().len(), 256);
    refused(&frame, "/uuid", &json!("no-camera"), "camera_id", Problem::Missing);
    refused(&frame, "/epoch_time", &json!(0), "epoch_time", Problem::Early);
}

#[test]
fn the_edges_of_every_range_are_inside() {
    let mut line = group_line();
    line["epoch_start"] = json!(now().micros() / 1000 + 86_400_000);
    line["gps_latitude"] = json!(-90);
    line["gps_longitude"] = json!(180.0);
    line["best_confidence"] = json!(100);
    line["travel_direction"] = json!(360);
    let read = &parsed(&line).unwrap()[0];
    assert_eq!((read.lat, read.lon), (Some(-90_000_000), Some(180_000_000)));
    assert_eq!((read.confidence, read.direction), (Some(100_000), Some(0)));
    line["epoch_start"] = json!(YEAR_2000_MS);
    assert!(parsed(&line).is_ok());
}

#[test]
fn images_are_bounded_after_decoding() {
    let mut jpeg = vec![0_u8; 1000];
    jpeg[..2].copy_from_slice(&[0xff, 0xd8]);
    let mut line = group_line();
    for (length, limit, fits) in [(1000, 1000, true), (1000, 999, false), (999, 999, true), (1000, 2, false)] {
        line["best_plate"]["plate_crop_jpeg"] = json!(STANDARD.encode(&jpeg[..length]));
        let found = parse(line.to_string().as_bytes(), now(), limit);
        assert_eq!(found.is_ok(), fits, "{length} of {limit}");
        if !fits {
            assert_eq!(found, Err(wrong("best_plate.plate_crop_jpeg", Problem::Large(limit))));
        }
    }
}

#[test]
fn what_is_no_object_says_so_and_repeats_nothing() {
    for (line, expected) in [
        (&b"\xff"[..], LineError::NotUtf8),
        (b"[\"7ABC123\"]", LineError::NotObject),
        (b"\"7ABC123\"", LineError::NotObject),
        (br#"{"data_type":"alpr_group","data_type":"heartbeat"}"#, LineError::Twice),
        (br#"{"data_type":"heartbeat""#, LineError::NotJson { column: 24 }),
        (b"{} {}", LineError::NotJson { column: 4 }),
    ] {
        assert_eq!(parse(line, now(), LIMIT), Err(expected));
    }
    let deep = format!("{{\"data_type\":\"heartbeat\",\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(parse(deep.as_bytes(), now(), LIMIT), Ok(Line::Heartbeat { agent: None }));
}

fn pointers(value: &Value, at: &str, out: &mut Vec<String>) {
    out.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| pointers(value, &format!("{at}/{key}"), out)),
        Value::Array(all) => all.iter().enumerate().for_each(|(i, value)| pointers(value, &format!("{at}/{i}"), out)),
        _ => {}
    }
}

fn anything() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::collection::vec(any::<i8>(), 0..3).prop_map(Value::from),
        Just(json!({"name": "x", "plate": "SECRET99", "confidence": 5})),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_lines_never_panic_and_errors_never_quote(
        which in 0..3_usize, at in any::<prop::sample::Index>(), value in anything(), cut in any::<prop::sample::Index>()
    ) {
        let mut line = [group_line(), frame_line(), json!({"data_type": "heartbeat"})][which].clone();
        let mut all = Vec::new();
        pointers(&line, "", &mut all);
        *line.pointer_mut(at.get(&all[..]).as_str()).unwrap() = value;
        let text = line.to_string();
        for bytes in [text.as_bytes(), &text.as_bytes()[..cut.index(text.len())]] {
            if let Err(error) = parse(bytes, now(), LIMIT) {
                let said = error.to_string();
                prop_assert!(!said.contains("6RRT593") && !said.contains("SECRET99"), "{}", said);
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _: Result<Line, LineError> = parse(&bytes, now(), LIMIT);
    }
}
