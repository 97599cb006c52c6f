use std::io::BufReader;

use proptest::prelude::*;

use super::*;
use crate::reads::field::{Problem, wrong};
use crate::reads::read::NewRead;

const HEADER: &str = "plate,seen_at,camera,state,lat,lon,confidence,direction\n";
const ROW: &str = "7ABC123,2026-11-23T12:17:00-08:00,Main St NB,ca,34.61,-118.31,82.4,360\n";

fn now() -> Instant {
    "2026-11-24T00:00:00Z".parse().unwrap()
}

fn layout(toml: &str) -> config::Csv {
    toml::from_str(toml).unwrap()
}

fn opened<'s>(text: &'s [u8], layout: &config::Csv) -> Result<Csv<BufReader<&'s [u8]>>, HeaderError> {
    let options = Options::reporting_to("unused".into());
    Csv::open(BufReader::with_capacity(7, text), layout, "acme", None, &options)
}

/// The line of each record, with its read or why there is none.
fn all(text: &[u8], layout: &config::Csv) -> Vec<(u64, Result<NewRead, LineError>)> {
    let mut csv = opened(text, layout).unwrap();
    let mut found = Vec::new();
    while let Some(record) = csv.next(now()).unwrap() {
        let one = record.said.map(|said| match said {
            Some(Line::Reads(mut reads)) if reads.len() == 1 => reads.remove(0),
            other => panic!("{other:?}"),
        });
        found.push((record.line, one));
    }
    found
}

fn plain(rows: &str) -> Vec<(u64, Result<NewRead, LineError>)> {
    all(format!("{HEADER}{rows}").as_bytes(), &config::Csv::default())
}

fn one(rows: &str) -> Result<NewRead, LineError> {
    let mut found = plain(rows);
    assert_eq!(found.len(), 1, "{rows}");
    found.remove(0).1
}

#[test]
fn a_row_is_a_read() {
    let read = one(ROW).unwrap();
    assert_eq!((read.plate.as_str(), read.camera.as_str()), ("7ABC123", "Main St NB"));
    assert_eq!(read.seen_at, "2026-11-23T20:17:00Z".parse().unwrap());
    assert_eq!((read.state.as_deref(), read.agent.as_deref()), (Some("CA"), Some("acme")));
    assert_eq!((read.lat, read.lon), (Some(34_610_000), Some(-118_310_000)));
    assert_eq!((read.confidence, read.direction), (Some(82_400), Some(0)));
    assert!(read.uuid.starts_with("csv:") && read.uuid.len() == 68 && !read.uuid.contains("7ABC123"));
    let bare = one("7abc-123,1795465020000,Main St NB,,,,,\n").unwrap();
    assert_eq!((bare.state, bare.lat, bare.confidence, bare.image), (None, None, None, None));
    assert_eq!(bare.uuid, read.uuid, "the same read, however it is written");
    for other in [ROW.replace("7ABC123", "7ABC124"), ROW.replace("17:00", "17:01"), ROW.replace("NB", "SB")] {
        assert_ne!(one(&other).unwrap().uuid, read.uuid);
    }
    let options = Options::reporting_to("unused".into());
    let text = format!("{HEADER}{ROW}");
    let mut other = Csv::open(text.as_bytes(), &config::Csv::default(), "bolt", None, &options).unwrap();
    let Some(Line::Reads(reads)) = other.next(now()).unwrap().unwrap().said.unwrap() else { panic!("no read") };
    assert_ne!(reads[0].uuid, read.uuid, "another source's read");
}

#[test]
fn a_vendors_columns_delimiter_and_local_times() {
    let layout = layout(
        "delimiter = ';'\nseen_at_format = '%m/%d/%Y %I:%M:%S %p'\ntime_zone = 'America/Los_Angeles'\n\
         [columns]\nplate = 'Plate No'\nseen_at = 'Read Time'\ncamera = 'Device'\n",
    );
    let text = "\u{feff}Id;PLATE NO ;Read Time;Device\r\n1;7ABC123;11/23/2026 12:17:00 PM;Main; \r\n\
                2;7ABC123;11/23/2026 12:17:00 PM;\"Main; north\r\nlane\"\r\n3;7ABC123;11/01/2026 01:30:00 AM;Main\r\n\
                4;7ABC123;03/08/2026 02:30:00 AM;Main\r\n5;7ABC123;13/23/2026 12:17:00 PM;Main\r\n\
                6;7ABC123;2026-11-23T12:17:00Z;Main\r\n7;7ABC124;11/23/2026 12:17:00 PM;Main";
    let found = all(text.as_bytes(), &layout);
    let lines: Vec<u64> = found.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [2, 3, 4, 5, 6, 7, 8, 9]);
    // Line 4 belongs to a row that is refused, so it is read again, and is none.
    let results: Vec<_> = found.into_iter().filter(|(line, _)| *line != 4).map(|(_, read)| read).collect();
    assert_eq!(results[0], Err(LineError::Width { found: 5, expected: 4 }));
    assert_eq!(results[1], Err(wrong("camera", Problem::Not("a name of at most 128 printable characters"))));
    assert_eq!(results[2], Err(wrong("seen_at", Problem::Changing)), "that hour is twice");
    assert_eq!(results[3], Err(wrong("seen_at", Problem::Changing)), "that hour is not there");
    assert!(matches!(results[4], Err(LineError::Field { field: "seen_at", problem: Problem::Not(_) })));
    assert!(matches!(results[5], Err(LineError::Field { field: "seen_at", problem: Problem::Not(_) })));
    assert_eq!(results[6].as_ref().unwrap().seen_at, "2026-11-23T20:17:00Z".parse().unwrap());
}

#[test]
fn times_are_never_guessed() {
    let seen = |text: &str| one(&format!("7ABC123,{text},c,,,,,\n")).map(|read| read.seen_at);
    assert_eq!(seen("2026-11-23T20:17:00.25Z"), Ok("2026-11-23T20:17:00.25Z".parse().unwrap()));
    assert_eq!(seen("1795465020250"), seen("2026-11-23T20:17:00.25Z"));
    assert_eq!(seen("1795465020"), Err(wrong("seen_at", Problem::Early)), "seconds are no milliseconds");
    assert_eq!(seen("2026-11-25T00:00:00.001Z"), Err(wrong("seen_at", Problem::Future)));
    assert!(seen("2026-11-25T00:00:00Z").is_ok(), "a day ahead is still believed, as in the Rekor layout");
    assert_eq!(seen("1969-12-31T00:00:00Z"), Err(wrong("seen_at", Problem::Negative)));
    assert_eq!(seen("1999-12-31T00:00:00Z"), Err(wrong("seen_at", Problem::Early)));
    assert_eq!(seen(""), Err(wrong("seen_at", Problem::Missing)));
    for text in ["2026-11-23T12:17:00", "2026-11-23 12:17", "11/23/2026", "now", "99999999999999999999", "-5"] {
        let found = seen(text);
        assert!(matches!(found, Err(LineError::Field { field: "seen_at", problem: Problem::Not(_) })), "{text}");
    }
    let zoned = layout("time_zone = 'America/Los_Angeles'");
    let text = "plate,seen_at,camera\nA,2026-11-23T12:17:00,c\nA,2026-11-23 12:17:00,c\nA,2026-11-23T20:17:00Z,c\nA,2026-11-23,c\n";
    let found = all(text.as_bytes(), &zoned);
    for (line, read) in &found[..3] {
        assert_eq!(read.as_ref().unwrap().seen_at, "2026-11-23T20:17:00Z".parse().unwrap(), "line {line}");
    }
    assert!(found[3].1.is_err(), "a day is no time");
}

#[test]
fn every_field_is_refused_by_its_name() {
    let good = ROW.trim_end();
    for (from, to, field, says) in [
        ("7ABC123", "7AB*", "plate", "wildcards"),
        ("7ABC123", "", "plate", "missing"),
        ("Main St NB", " ", "camera", "missing"),
        (",ca,", ",Calif,", "state", "two letters"),
        (",ca,", ",34.61,", "state", "two letters"),
        ("34.61", "90.5", "lat", "-90 to 90"),
        ("34.61", "NaN", "lat", "-90 to 90"),
        ("34.61", "inf", "lat", "-90 to 90"),
        ("34.61", "", "lat", "missing"),
        ("-118.31", "", "lon", "missing"),
        ("-118.31", "-180.1", "lon", "-180 to 180"),
        ("82.4", "100.1", "confidence", "0 to 100"),
        ("82.4", "82%", "confidence", "decimal point"),
        (",360", ",361", "direction", "0 to 360"),
        (",360", ",north", "direction", "decimal point"),
    ] {
        let error = one(&good.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(&format!("`{field}`")) && error.contains(says), "{from} as {to}: {error}");
        assert!(!error.contains("7AB"), "{error}");
    }
    let latin = [HEADER.as_bytes(), b"7ABC123,1795465020000,Caf\xe9,,,,,\n"].concat();
    assert_eq!(all(&latin, &config::Csv::default())[0].1, Err(wrong("camera", Problem::Not("UTF-8"))));
}

#[test]
fn a_shifted_row_is_refused_and_the_next_is_kept() {
    let found = plain(&format!("x,{ROW}7ABC123,1795465020000\n\n \n{ROW}"));
    let lines: Vec<u64> = found.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [2, 3, 6]);
    assert_eq!(found[0].1, Err(LineError::Width { found: 9, expected: 8 }));
    assert_eq!(found[1].1, Err(LineError::Width { found: 2, expected: 8 }));
    assert!(found[2].1.is_ok());
}

#[test]
fn a_quote_that_is_not_closed_costs_its_own_line_alone() {
    let rows = format!("{ROW}7ABC123,\"1795465020000,c,,,,,\n{}", ROW.repeat(50));
    let found = plain(&rows);
    assert_eq!(found.len(), 52);
    assert_eq!(found[1], (3, Err(LineError::OpenQuote)));
    assert_eq!(found.iter().filter(|(_, read)| read.is_ok()).count(), 51);
    // Two of them: the second closes what the first has opened.
    let two = format!("\"{ROW}\"{ROW}{ROW}");
    let found = plain(&two);
    assert_eq!(
        found.iter().map(|(line, read)| (*line, read.is_ok())).collect::<Vec<_>>(),
        [(2, false), (3, false), (4, true)]
    );
    let long = plain(&format!("{}\n{ROW}", "x".repeat(ROW_LIMIT + 1)));
    assert_eq!(long[0], (2, Err(LineError::Long(ROW_LIMIT))));
    assert!(long[1].1.is_ok());
    let inside = plain(&format!("\"a\n{}\n{ROW}", "x".repeat(ROW_LIMIT + 1)));
    assert_eq!(inside.iter().map(|(_, read)| read.is_ok()).collect::<Vec<_>>(), [false, false, true]);
    let old = all(format!("{HEADER}a,b\rc,d\n{ROW}").as_bytes(), &config::Csv::default());
    assert_eq!(old[0].1, Err(LineError::CarriageReturn));
    assert!(old[1].1.is_ok());
}

#[test]
fn a_header_without_what_is_needed_says_what_it_has_and_what_to_write() {
    let error = |text: &str, layout: &config::Csv| opened(text.as_bytes(), layout).err().unwrap().to_string();
    let plain = config::Csv::default();
    let said = error("PlateNo,seen_at,Device\nx\n", &plain);
    for part in ["plate (`plate`)", "camera (`camera`)", "`PlateNo`, `seen_at`, `Device`", "[ingest.csv.NAME.columns]"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.contains("plate = \"") && said.contains("--source NAME") && !said.contains("seen_at = \""), "{said}");
    assert!(error("plate;seen_at;camera\n", &plain).contains("delimiter"));
    assert!(error("plate,Plate,seen_at,camera\n", &plain).contains("twice"));
    let mapped = layout("[columns]\nlat = 'Latitude'");
    assert!(error("plate,seen_at,camera\n", &mapped).contains("lat (`Latitude`)"), "it was promised");
    for empty in ["", "\n\n", "\u{feff}"] {
        assert!(matches!(opened(empty.as_bytes(), &plain), Err(HeaderError::Empty)), "{empty:?}");
    }
    assert!(error("plate,seen_at,camera\rA,1795465020000,c\r", &plain).contains("carriage return"));
    assert!(error("\"plate,seen_at,camera\nA,1795465020000,c\n", &plain).contains("quote"));
}

#[test]
fn what_comes_through_a_pipe_has_no_images() {
    let found =
        all(b"plate,seen_at,camera,image_path\nA,1795465020000,c,a.jpg\nA,1795465020000,c,\n", &config::Csv::default());
    assert_eq!(found[0].1, Err(wrong("image_path", Problem::NoFolder)));
    assert!(found[1].1.is_ok());
}

/// A row, good or bad, that is one record whatever surrounds it.
fn record() -> impl Strategy<Value = (String, bool)> {
    let good = (1_700_000_000_000_i64..1_795_000_000_000, "[A-Z0-9]{1,7}", "[a-z ;']{0,9}[a-z]")
        .prop_map(|(ms, plate, camera)| (format!("{plate},{ms},{camera},,,,,"), true));
    let quoted = (1_700_000_000_000_i64..1_795_000_000_000, "[A-Z0-9]{1,7}")
        .prop_map(|(ms, plate)| (format!("\"{plate}\",{ms},\"a, \"\"b\"\"\",CA,,,,\r"), true));
    let narrow = "[a-z0-9]{1,9}(,[a-z0-9]{0,9}){0,5}".prop_map(|row| (row, false));
    let wide = "[a-z0-9]{1,9}(,[a-z0-9]{0,9}){8,12}".prop_map(|row| (row, false));
    let wrong = "[a-z*]{1,9},[a-z]{1,9},[a-z]{1,9},,,,,".prop_map(|row| (row, false));
    prop_oneof![good, quoted, narrow, wide, wrong]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn kept_and_rejected_are_all_records(rows in prop::collection::vec(record(), 0..30), last in any::<bool>()) {
        let text: Vec<&str> = rows.iter().map(|(row, _)| row.as_str()).collect();
        let text = format!("{HEADER}{}{}", text.join("\n"), if last { "\n" } else { "" });
        let found = all(text.as_bytes(), &config::Csv::default());
        let expected: Vec<(u64, bool)> = rows.iter().zip(2..).map(|((_, good), line)| (line, *good)).collect();
        prop_assert_eq!(found.iter().map(|(line, read)| (*line, read.is_ok())).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_every_byte_is_taken(
        bytes in prop::collection::vec(prop_oneof![Just(b'"'), Just(b'\n'), Just(b'\r'), Just(b','), any::<u8>()], 0..400)
    ) {
        let text = [HEADER.as_bytes(), &bytes].concat();
        let mut csv = opened(&text, &config::Csv::default()).unwrap();
        let (mut taken, mut line) = (HEADER.len() as u64, 1);
        while let Some(record) = csv.next(now()).unwrap() {
            prop_assert!(record.line > line, "records come in the order of their lines");
            prop_assert!(record.taken > 0);
            line = record.line;
            taken += record.taken;
            if let Err(error) = record.said {
                prop_assert!(!error.to_string().is_empty());
            }
        }
        prop_assert!(taken <= text.len() as u64 + 1);
    }
}
