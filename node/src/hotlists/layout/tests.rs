use std::io::Cursor;
use std::sync::atomic::AtomicBool;

use agreements::hotlist::{Category, Entry};
use agreements::time::Instant;
use proptest::prelude::*;

use super::super::reading::{self, Contents, Found, ReadingError, Watch};
use super::*;

const SVS: &[u8] = include_bytes!("../../../tests/fixtures/hotlists/svs.tbl");
const SFR: &[u8] = include_bytes!("../../../tests/fixtures/hotlists/sfr.tbl");
const SLR: &[u8] = include_bytes!("../../../tests/fixtures/hotlists/slr.tbl");
const NCIC: &[u8] = include_bytes!("../../../tests/fixtures/hotlists/VEHEXTRT.txt");
const CUSTOM: &[u8] = include_bytes!("../../../tests/fixtures/hotlists/custom.csv");

fn now() -> Instant {
    "2026-11-23T20:00:00Z".parse().unwrap()
}

fn read(bytes: &[u8], layout: Option<Layout>) -> Result<(Contents, Vec<Entry>), ReadingError> {
    let mut entries = Vec::new();
    let stop = AtomicBool::new(false);
    let mut watch = Watch { progress: &mut |_| {}, stop: &stop };
    let contents = reading::lines(&mut Cursor::new(bytes), layout, now(), None, &mut watch, &mut |found: Found| {
        entries.push(*found.entry);
        Ok(true)
    })?;
    Ok((contents, entries))
}

#[test]
fn each_fixture_is_known_by_its_first_line_and_read_whole() {
    for (bytes, layout, kept, dropped) in [
        (SVS, Layout::Svs, 40, 0),
        (SFR, Layout::Sfr, 10, 0),
        (SLR, Layout::Slr, 20, 0),
        (NCIC, Layout::Ncic, 52, 8),
        (CUSTOM, Layout::Custom, 2, 0),
    ] {
        let (contents, entries) = read(bytes, None).unwrap();
        assert_eq!((contents.layout, contents.kept, contents.dropped, contents.rejected), (layout, kept, dropped, 0));
        assert_eq!(entries.len() as u64, kept);
    }
    let (contents, entries) = read(SVS, None).unwrap();
    assert_eq!(contents.source_at.to_string(), "2026-11-22T12:00:00.000000Z", "04:00 in Los Angeles");
    let first = &entries[0];
    assert_eq!(
        (first.plate.as_str(), first.state.as_deref(), first.category),
        ("1VSN050", Some("CA"), Category::StolenVehicle)
    );
    assert_eq!((first.county.as_deref(), first.dated), (Some("37"), Some(jiff::civil::date(2026, 1, 23))));
}

#[test]
fn the_letter_o_is_mended_in_reference_fields_and_never_in_the_plate() {
    let line = b"V100000002CA0190000202601261AZ0238   0R2027PC2025T0YTCAM4DBLK";
    let Ok(Record::Entry(entry)) = Layout::Ncic.record(line, now()) else { panic!() };
    assert_eq!((entry.plate.as_str(), entry.state.as_deref()), ("1AZ0238", Some("OR")));
    assert_eq!(entry.vehicle.as_deref(), Some("2025 TOYT CAM 4D BLK"));
    let line = b"W100000002CA0190000202601261AZ0238   C02027PC2025CHRY3004D0RG";
    let Ok(Record::Entry(entry)) = Layout::Ncic.record(line, now()) else { panic!() };
    assert_eq!((entry.category, entry.state.as_deref()), (Category::WantedPerson, Some("CO")));
    assert_eq!(entry.vehicle.as_deref(), Some("2025 CHRY 300 4D ORG"));
}

#[test]
fn records_of_type_n_are_dropped_whatever_else_they_say() {
    for line in [&b"N100000002CA0190000202601261AZE238   CA2027PC2025T0YTCAM4DBLK"[..], b"N", b"N\xff", b"N?!"] {
        assert_eq!(Layout::Ncic.record(line, now()), Ok(Record::Dropped));
    }
    let (_, entries) = read(NCIC, None).unwrap();
    let text = String::from_utf8(NCIC.to_vec()).unwrap();
    let dropped: Vec<&str> =
        text.lines().filter(|line| line.starts_with('N') && line.len() == 61).map(|line| line[27..37].trim()).collect();
    assert_eq!(dropped.len(), 8);
    let loaded: Vec<String> =
        text.lines().filter(|line| !line.starts_with('N')).map(|line| line[27..37].trim().to_owned()).collect();
    assert_eq!(loaded, entries.iter().map(|entry| entry.plate.as_str().to_owned()).collect::<Vec<_>>());
}

#[test]
fn shifted_and_wrong_lines_are_rejected_with_their_reason() {
    for (line, says) in [
        (&b"1VSN050 CA3720260123"[..], ""),
        (b" 1VSN050CA3720260123", "begins with a space"),
        (b" 1VSN050 CA372026012", "state"),
        (b"1VSN050 A372026012  ", "state"),
        (b"1VSN050CA3720260123 ", "state"),
        (b"1VSN050 CA3720260123X", "21 characters"),
        (b"1VSN050 CA372026012", "19 characters"),
        (b"1VSN050 XX3720260123", "state"),
        (b"1VSN050 CA9920260123", "county"),
        (b"1VSN050 CA3720260231", "date"),
        (b"1VSN050 CA3720270131", "date"),
        (b"        CA3720260123", "plate: the plate is empty"),
        (b"1VS?050 CA3720260123", "plate"),
        (b"1VS\xffN50 CA3720260123", "printable"),
    ] {
        let found = Layout::Svs.record(line, now());
        match found {
            Ok(_) => assert_eq!(says, "", "{}", String::from_utf8_lossy(line)),
            Err(error) => assert!(!says.is_empty() && error.to_string().contains(says), "{error}: {says}"),
        }
    }
    let ncic = |line: &str| Layout::Ncic.record(line.as_bytes(), now()).unwrap_err().to_string();
    assert!(ncic("V10000000?CA0190000202601261AZE238   CA2027PC2025T0YTCAM4DBLK").contains("number"));
    assert!(ncic("Q100000002CA0190000202601261AZE238   CA2027PC2025T0YTCAM4DBLK").contains("record type"));
    assert!(ncic("V100000002CA0190000202601261AZE238   1A2027PC2025T0YTCAM4DBLK").contains("state"));
}

#[test]
fn an_entry_of_a_custom_list_needs_every_field_and_a_sound_reason() {
    let good =
        r#"7ABC123,CA,local,"Robbery suspect vehicle, blue",2026-118901,det204,(555) 010-0142,2026-12-01T00:00:00Z"#;
    let Ok(Record::Entry(entry)) = Layout::Custom.record(good.as_bytes(), now()) else { panic!() };
    assert_eq!(entry.reason.as_deref(), Some("Robbery suspect vehicle, blue"));
    for (from, to, says) in [
        ("7ABC123", "", "plate: it is blank"),
        ("det204", " ", "entered_by: it is blank"),
        ("2026-12-01T00:00:00Z", "2026-12-01", "RFC 3339"),
        ("2026-12-01", "2026-11-01", "passed"),
        (",local,", ",immigration_violator,", "no such category"),
        (",local,", ",N,", "no such category"),
        (",CA,", ",ca,", "state"),
        ("Robbery suspect vehicle, blue", "test", "reason"),
        ("Robbery suspect vehicle", "HSI assist, suspect vehicle", "V-20"),
        (",det204", "", "7 fields"),
        ("\"Robbery", "Rob\"bery", "double quote"),
        ("blue\"", "blue", "double quote"),
    ] {
        assert!(good.contains(from));
        let error = Layout::Custom.record(good.replace(from, to).as_bytes(), now()).unwrap_err().to_string();
        assert!(error.contains(says), "{error}: {says}");
        assert!(!error.contains("7ABC123"), "a reason never says the plate");
    }
}

#[test]
fn a_source_that_is_not_whole_is_refused() {
    let text = String::from_utf8(SVS.to_vec()).unwrap();
    let refused = |text: &str| read(text.as_bytes(), None).unwrap_err().to_string();
    assert!(refused(&text.replace("00000040", "00000041")).contains("says TOTAL RECORD 41, but has 40"));
    assert!(refused(&text.replace("TOTAL RECORDS 00000040\n", "")).contains("cut off"));
    assert!(refused(&text.replace("00000040", "x")).contains("without a count"));
    assert!(refused(&format!("{text}1VSN050 CA3720260123\n")).contains("follows the line TOTAL RECORD"));
    assert!(refused("").contains("empty"));
    assert!(refused("1VSN050 CA3720260123\n").contains("--layout"));
    assert!(read(text.as_bytes(), Some(Layout::Sfr)).unwrap_err().to_string().contains("SFR MM/DD/YYYY"));
    // A count is of all records, those that are rejected too.
    let shifted = text.replace("1VSN050 CA", " 1VSN050CA");
    let (contents, _) = read(shifted.as_bytes(), None).unwrap();
    assert_eq!((contents.kept, contents.rejected), (39, 1));
    let none = text.replace(" CA", " 1A");
    assert!(refused(&none).contains("not one of its 40 lines"));
}

#[test]
fn dos_line_ends_a_mark_and_blank_lines_change_nothing() {
    let text = String::from_utf8(SVS.to_vec()).unwrap();
    let (_, plain) = read(SVS, None).unwrap();
    let (_, dos) = read(format!("\u{feff}{}\r\n\r\n", text.replace('\n', "\r\n")).as_bytes(), None).unwrap();
    assert_eq!(plain, dos);
}

fn header(layout: Layout) -> &'static str {
    match layout {
        Layout::Svs => "SVS 11/22/2026 04:00\n",
        Layout::Sfr => "SFR 11/22/2026 04:00\n",
        Layout::Slr => "SLR 11/22/2026 04:00\n",
        Layout::Ncic => "NCIC LPR EXTRACT 20261122 0400\n",
        Layout::Custom => "plate,state,category,reason,case_number,entered_by,contact,expires_at\n",
    }
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let near = |line: &'static str| {
        (0..line.len() + 1, any::<u8>(), 0..3_usize).prop_map(move |(at, byte, how)| {
            let mut bytes = line.as_bytes().to_vec();
            match how {
                0 => bytes.insert(at, byte),
                1 => drop(bytes.splice(at..(at + 1).min(bytes.len()), [byte])),
                _ => bytes.truncate(at),
            }
            bytes
        })
    };
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..80),
        near("1VSN050 CA3720260123"),
        near("V100000002CA0190000202601261AZE238   0R2027PC2025T0YTCAM4DBLK"),
        near("N100000002CA0190000202601261AZE238   0R2027PC2025T0YTCAM4DBLK"),
        near("7ABC123,CA,local,\"Robbery suspect vehicle\",2026-1,det204,(555) 010-0142,2026-12-01T00:00:00Z"),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_line_makes_a_layout_panic_and_each_is_kept_dropped_or_rejected(
        lines in proptest::collection::vec(line(), 0..40),
        which in 0..Layout::ALL.len(),
    ) {
        let layout = Layout::ALL[which];
        let body: Vec<u8> = lines.join(&b'\n');
        let records = body
            .split(|b| *b == b'\n')
            .filter(|line| !line.iter().all(u8::is_ascii_whitespace) && layout.trailer(line).is_none())
            .count() as u64;
        let bytes = [header(layout).as_bytes(), &body, b"\n"].concat();
        let whole = if layout.counted() {
            [bytes.as_slice(), format!("TOTAL RECORDS {records:08}\n").as_bytes()].concat()
        } else {
            bytes
        };
        match read(&whole, Some(layout)) {
            Ok((contents, entries)) => {
                prop_assert_eq!(contents.kept + contents.dropped + contents.rejected, contents.records);
                prop_assert_eq!(contents.records, records);
                prop_assert_eq!(entries.len() as u64, contents.kept);
                for entry in entries {
                    let bytes = agreements::json::canonical(&entry).unwrap();
                    prop_assert_eq!(agreements::json::parse::<Entry>(&bytes).unwrap(), entry);
                }
            }
            Err(ReadingError::NoRecord(lines)) => prop_assert_eq!(lines, records),
            // A line that says TOTAL RECORD itself.
            Err(ReadingError::After(_) | ReadingError::Trailer(_) | ReadingError::Count { .. }) => {}
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn whatever_a_file_is_it_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        for layout in [None, Some(Layout::Svs), Some(Layout::Ncic), Some(Layout::Custom)] {
            drop(read(&bytes, layout));
        }
    }
}
