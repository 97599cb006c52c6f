//! Loading an agency's own lists.

use agreements::time::Instant;
use integration::pair::{Pair, Terms};

use super::READ;

const SVS: &str = include_str!("../../../../node/tests/fixtures/hotlists/svs.tbl");
const NCIC: &str = include_str!("../../../../node/tests/fixtures/hotlists/VEHEXTRT.txt");

#[actix_web::test]
async fn s28_records_of_type_n_are_counted_and_dropped() {
    let pair = Pair::under(Terms::default()).await;
    let alder = &pair.alder;
    let plate = |line: &str| line[27..37].trim().to_owned();
    let loaded: Vec<String> = NCIC.lines().skip(1).filter(|line| !line.starts_with('N')).map(plate).collect();
    let of_n: Vec<String> = NCIC
        .lines()
        .skip(1)
        .filter(|line| line.starts_with('N'))
        .map(plate)
        .filter(|it| !loaded.contains(it))
        .collect();
    assert!(of_n.len() > 3);
    let source = alder.source("VEHEXTRT.txt", NCIC);
    let done = alder.loads(&source, "ncic", |_| {}).await.unwrap();
    assert_eq!((done.records, done.dropped, done.rejected, done.entries), (60, 8, 0, 52));
    let (_, message) = alder.newest();
    assert_eq!((&message["dropped"], &message["entries"]), (&8.into(), &52.into()));
    assert_eq!(alder.known_lists().own[0].dropped, 8);
    for plate in &of_n {
        assert_eq!(alder.files_with(plate), [] as [std::path::PathBuf; 0], "a plate of type N is kept");
        alder.sees(plate).await;
        assert!(alder.hits(plate).is_empty());
        alder.clock.forward(Instant::SECOND);
    }
    alder.sees(&loaded[0]).await;
    assert_eq!(alder.hits(&loaded[0]).len(), 1);
}

#[actix_web::test]
async fn s28_a_source_that_is_not_whole_changes_nothing_of_what_was_there() {
    let pair = Pair::under(Terms::default()).await;
    let alder = &pair.alder;
    let source = alder.source("svs.tbl", SVS);
    alder.loads(&source, "stolen", |_| {}).await.unwrap();
    let (before, size) = (alder.known_lists().own, alder.trail_size());
    let dated = |date: &str| SVS.replace("11/22/2026", date);
    for (text, says) in [
        (SVS.replace("00000040", "00000041"), "says TOTAL RECORD 41, but has 40"),
        (SVS.replace("TOTAL RECORDS 00000040\n", ""), "cut off"),
        (
            SVS.lines().take(30).fold(String::new(), |text, line| text + line + "\n") + "TOTAL RECORDS 00000029\n",
            "--accept-shrink",
        ),
        (dated("11/21/2026"), "it is an older file"),
        (dated("11/24/2026"), "in the future"),
        (SVS.replace("SVS 11", "SFR 11"), "layout svs"),
    ] {
        let refused = alder.loads(&alder.source("bad.tbl", text), "stolen", |_| {}).await.unwrap_err().to_string();
        assert!(refused.contains(says), "{refused}");
    }
    let old = alder.source("old.tbl", dated("11/01/2026"));
    let refused = alder.loads(&old, "other", |_| {}).await.unwrap_err().to_string();
    assert!(refused.contains("over 72 hours ago") && refused.contains("--accept-date"), "{refused}");
    assert_eq!((alder.known_lists().own, alder.trail_size()), (before, size), "nothing changed");
    let plate = &SVS.lines().nth(1).unwrap()[..7];
    alder.sees(plate).await;
    assert_eq!(alder.hits(plate).len(), 1, "what was there still matches");
    alder.loads(&old, "stolen", |load| load.accept_date = true).await.unwrap();
    let (_, message) = alder.newest();
    assert_eq!(message["accepted_date"], true, "and that is on the record");
}

#[actix_web::test]
async fn s28_a_dry_run_shows_what_changes_and_writes_nothing() {
    let pair = Pair::under(Terms::default()).await;
    let alder = &pair.alder;
    alder.loads(&alder.source("svs.tbl", SVS), "stolen", |_| {}).await.unwrap();
    let changed = SVS.replace(&SVS.lines().nth(1).unwrap()[..7], "9ZZZ998");
    let source = alder.source("svs.tbl", changed);
    let (before, size) = (alder.known_lists().own, alder.trail_size());
    let shown = alder.loads(&source, "stolen", |load| load.dry_run = true).await.unwrap();
    assert_eq!((shown.added, shown.removed, shown.unchanged, shown.before, shown.version), (1, 1, 39, 1, 1));
    let changes: Vec<_> = shown.first.iter().map(|change| (change.change, change.plate.as_str().to_owned())).collect();
    assert_eq!(changes, [("removed", "1VSN050".to_owned()), ("added", "9ZZZ998".to_owned())]);
    assert_eq!((alder.known_lists().own, alder.trail_size()), (before, size));
    let done = alder.loads(&source, "stolen", |_| {}).await.unwrap();
    assert_eq!((done.added, done.removed, done.version), (1, 1, 2));
    alder.sees("9ZZZ998").await;
    alder.sees("1VSN050").await;
    assert_eq!((alder.hits("9ZZZ998").len(), alder.hits("1VSN050").len()), (1, 0));
}

#[actix_web::test]
async fn s28_a_file_without_entries_begins_no_list_and_empties_one_only_when_told_to() {
    let pair = Pair::under(Terms::default()).await;
    let alder = &pair.alder;
    let header = "plate,state,category,reason,case_number,entered_by,contact,expires_at\n";
    let size = alder.trail_size();
    let refused = alder.loads(&alder.source("empty.csv", header), "own", |_| {}).await.unwrap_err().to_string();
    assert!(refused.contains("no entries") && refused.contains("own"), "{refused}");
    assert_eq!(
        (alder.known_lists().own.len(), alder.trail_size()),
        (0, size),
        "nothing is said of a list that is none"
    );
    alder.lists("own", &[READ]).await;
    let refused = alder.loads(&alder.source("empty.csv", header), "own", |_| {}).await.unwrap_err().to_string();
    assert!(refused.contains("--accept-shrink"), "{refused}");
    alder.sees(READ).await;
    assert_eq!(alder.hits(READ).len(), 1);
    let emptied =
        alder.loads(&alder.source("empty.csv", header), "own", |load| load.accept_shrink = true).await.unwrap();
    assert_eq!((emptied.removed, emptied.entries), (1, 0));
}

#[actix_web::test]
async fn a_custom_list_needs_a_supervisor_who_is_another_person() {
    let pair = Pair::under(Terms::default()).await;
    let alder = &pair.alder;
    alder.lists("own", &[READ]).await;
    let source = alder.source("again.csv", std::fs::read(alder.source("x", "").with_file_name("own.csv")).unwrap());
    for (by, approved_by, says) in [
        ("admin", None, "--approved-by"),
        ("admin", Some("admin"), "nobody approves"),
        ("supervisor", Some("supervisor"), "nobody approves"),
        ("admin", Some("investigator"), "does not allow"),
        ("auditor", Some("supervisor"), "does not allow"),
    ] {
        let refused = alder
            .loads(&source, "own", |load| {
                load.by = alder.fiction.person(by);
                load.approved_by = approved_by.map(|person| alder.fiction.person(person));
            })
            .await
            .unwrap_err()
            .to_string();
        assert!(refused.contains(says), "{refused}");
    }
}
