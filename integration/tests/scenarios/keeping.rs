//! S25: what entries say is deleted after two years, never under a hold; and whatever else is missing was taken away.

mod confirming;
mod holding;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agreements::entry::Kind;
use agreements::hold::Covers;
use agreements::ids::RequestId;
use agreements::retention::kept_until;
use agreements::time::Instant;
use concordat::config::{Config, FILE_NAME};
use concordat::db::Conn;
use concordat::demo::agency::{ALDER, BIRCH};
use concordat::exchange::own_entry;
use concordat::exporting::shown::Shown;
use concordat::exporting::static_log;
use concordat::holds::{self as service, NewHold, Waiting};
use concordat::jobs;
use concordat::node::log_vkey;
use concordat::people::PeopleError;
use concordat::publishing::Cosigned;
use concordat::receipts::{self, Demands, Parts};
use concordat::registry::exchanged;
use concordat::registry::holds::{self, State};
use concordat::registry::job_runs::Outcome;
use concordat::retention::{self, Progress, RetentionError, Summary};
use concordat::tampering::Table;
use concordat::trail::deleted::{self, Certified, MISSING};
use concordat::trail::search::{self, Filter};
use concordat::trail::{proof, verify};
use integration::database::Backend;
use integration::federation::{Federation, start};
use integration::node::CASE;
use integration::pair::Pair;
use integration::process::program;
use integration::registry::draft;
use integration::{TestNode, nodes_on_both, tamper};

const PLATE: &str = "7RET025";
const OTHER: &str = "7RET026";
const HIT: &str = "8RETO27";
const LISTED: &str = "8RET027";

nodes_on_both!(
    s25_details_are_deleted_two_years_later_and_not_a_day_before_while_the_tree_and_the_receipts_verify,
    s25_what_other_hands_took_away_or_brought_back_is_found,
);

/// Closes the doors of the node that is to delete, and with them its own driver of jobs: nobody deletes there but the test. Its
/// partner confirms its clock, and deletes nothing itself: nobody can be reached to confirm the partner's.
fn nobody_else_deletes(deleting: &mut TestNode) {
    deleting.closes_its_doors();
}

/// Deletes what is due, as the custodian.
async fn deletes(node: &TestNode) -> Result<Summary, RetentionError> {
    let by = node.fiction.person("custodian");
    retention::run(node.node(), Some(&by), |_| {}, Arc::new(AtomicBool::new(false))).await
}

/// The entries of a kind, oldest first.
fn of_kind(node: &TestNode, kind: Kind) -> Vec<search::Row> {
    let mut rows = node.entries(&Filter { kind: Some(kind), ..Filter::default() });
    rows.reverse();
    rows
}

/// The only entry of a kind.
fn only(node: &TestNode, kind: Kind) -> search::Row {
    let mut rows = of_kind(node, kind);
    assert_eq!(rows.len(), 1, "{kind}");
    rows.remove(0)
}

fn says(node: &TestNode, rid: RequestId) -> bool {
    search::by_rid(&mut node.conn(), rid).unwrap().unwrap().detail.is_some()
}

/// Whether a word stands anywhere in the registry's file or its log.
fn stands_in_files(node: &TestNode, word: &str) -> bool {
    if node.registry_store().is_postgres() {
        return false;
    }
    let file = node.registry_file();
    let log = file.with_file_name(format!("{}-wal", file.file_name().unwrap().to_str().unwrap()));
    let stands = |path: &Path| std::fs::read(path).is_ok_and(|bytes| memmem(&bytes, word.as_bytes()));
    stands(&file) || stands(&log)
}

fn memmem(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

/// The positions of entries that say nothing any more.
fn silent(node: &TestNode) -> BTreeSet<u64> {
    let rows = node.entries(&Filter::default());
    rows.into_iter().filter(|row| row.detail.is_none()).map(|row| row.index).collect()
}

/// What certificates say was deleted.
fn certified(conn: &mut Conn) -> BTreeSet<u64> {
    let all = deleted::newest(conn, 1000).unwrap();
    all.iter().flat_map(|one| &one.deleted.entries).flat_map(|(first, last)| *first..=*last).collect()
}

fn problems(node: &TestNode) -> Vec<(Option<u64>, &'static str)> {
    node.trail_problems().into_iter().map(|problem| (problem.index, problem.what)).collect()
}

async fn s25_details_are_deleted_two_years_later_and_not_a_day_before_while_the_tree_and_the_receipts_verify(
    backend: Backend,
) {
    let mut pair = Pair::in_force_on(backend).await;
    pair.birch_saw(PLATE).await;
    // What was read is not quite what is on the list, so that it stands nowhere else.
    pair.birch.lists("wanted", &[LISTED]).await;
    pair.birch_saw(HIT).await;
    assert_eq!(pair.birch.hits(HIT).len(), 1);
    pair.alder.queries(&pair.birch, PLATE).await;
    nobody_else_deletes(&mut pair.birch);
    let (asked, answered) = (only(&pair.alder, Kind::QueryAsked), only(&pair.birch, Kind::QueryAnswered));
    let files = tempfile::tempdir().unwrap();
    let vkey = log_vkey(pair.birch.settings()).unwrap();
    let never = AtomicBool::new(false);
    let export = |node: &TestNode| {
        receipts::export(
            &mut node.conn(),
            (node.ori(), &vkey),
            &Cosigned::default(),
            None,
            files.path(),
            &mut |_| {},
            &never,
        )
        .unwrap()
    };
    assert!(export(&pair.birch).receipts > 0);
    // Each word of the exchange, wherever it stands in the files.
    let words = [CASE, PLATE, "alder.investigator", HIT];
    let standing = || words.into_iter().filter(|word| stands_in_files(&pair.birch, word)).collect::<Vec<_>>();
    assert!(backend == Backend::Postgres || standing() == words);
    let until = kept_until(answered.at, 2).unwrap();
    let size = pair.birch.trail_size();

    for early in [until.plus(-Instant::DAY), until.plus(-1)] {
        pair.set_clocks(early);
        assert_eq!(deletes(&pair.birch).await.unwrap(), Summary::default(), "{early}");
        assert!(says(&pair.birch, answered.rid) && pair.birch.trail_size() == size);
    }
    // Only the custodian orders it.
    for role in ["supervisor", "auditor", "admin"] {
        let by = pair.birch.fiction.person(role);
        let refused = retention::run(pair.birch.node(), Some(&by), |_| {}, Arc::default()).await;
        assert!(matches!(refused, Err(RetentionError::Refused(_))), "{role}: {refused:?}");
    }

    pair.years_go_by(until);
    let done = deletes(&pair.birch).await.unwrap();
    assert_eq!(standing(), [] as [&str; 0], "erased means erased");
    let expired: Vec<search::Row> =
        pair.birch.entries(&Filter::default()).into_iter().filter(|row| row.kind.expires()).collect();
    assert_eq!((done.deleted, done.certificates, done.held), (expired.len() as u64, 1, 0));
    assert_eq!(done.receipts, 1, "the partner's question goes with the answer to it");
    assert!(expired.iter().all(|row| row.detail.is_none() && row.facts.plate.is_none() && row.facts.partner.is_none()));
    assert_eq!(silent(&pair.birch), expired.iter().map(|row| row.index).collect(), "and nothing else");
    assert_eq!(pair.birch.trail_size(), size + 1);
    assert_eq!(pair.birch.receipts(answered.rid).len(), 0);
    assert_eq!(pair.birch.hits(HIT).len(), 0, "a hit goes with the entry that recorded it");
    assert!(exchanged::receipts(&mut pair.birch.conn(), None, 100).unwrap().iter().all(|kept| kept.of != answered.rid));
    assert!(pair.birch.entries(&Filter { plate: Some(PLATE.to_owned()), ..Filter::default() }).is_empty());

    // The certificate names exactly what is gone, and the tree verifies.
    let mut conn = pair.birch.conn();
    let certificate = deleted::newest(&mut conn, 10).unwrap().remove(0);
    assert_eq!(certified(&mut conn), silent(&pair.birch));
    assert!(deleted::names_its_leaves(&mut conn, &certificate.deleted).unwrap());
    assert_eq!(certificate.deleted.by.as_deref(), Some("birch.custodian"));
    assert_eq!(certificate.deleted.clauses, ["V-14", "IX-05"]);
    assert_eq!(problems(&pair.birch), []);
    let text = search::prove(&mut conn, answered.rid).unwrap().unwrap();
    assert_eq!(proof::verify(&text, &answered.leaf, &vkey).unwrap().index, answered.index);
    let row = search::by_rid(&mut conn, answered.rid).unwrap().unwrap();
    let shown = Shown::of(row, &Certified::load(&mut conn).unwrap()).details().unwrap();
    assert!(shown.contains("details deleted on 2028-11-23") && shown.contains(&certificate.id.to_string()), "{shown}");

    // As files for other tools: hash tiles and entry bundles, which have leaves and nothing else.
    let (log, mut conn) = (tempfile::tempdir().unwrap(), pair.birch.conn());
    let written = static_log::write(&mut conn, &vkey, log.path(), &mut |_, _| {}, &never).unwrap();
    assert_eq!(written.head.size, size + 1);

    // What was deleted cannot be said again; what was taken out before stands for ever.
    assert_eq!(own_entry::for_partner(&mut conn, answered.rid, pair.alder.ori(), &Cosigned::default()).unwrap(), None);
    for file in receipts::proofs(&[files.path().to_owned()]).unwrap() {
        Parts::read(&file).unwrap().verify(&Demands::default()).unwrap();
    }
    // What the node stands on is all there.
    pair.birch.looks().await;
    assert_eq!(*pair.birch.node().changed(), []);
    // The partner's node has its own retention.
    assert!(says(&pair.alder, asked.rid));
    assert_eq!(export(&pair.alder).refused, [], "its receipt of the answer verifies as before");
    assert_eq!(deletes(&pair.birch).await.unwrap(), Summary::default(), "once");
    assert_eq!(pair.birch.trail_size(), size + 1);
}

#[actix_web::test]
async fn s25_the_nights_job_deletes_what_is_due_and_a_search_for_it_says_so() {
    let mut pair = Pair::in_force().await;
    pair.alder.queries(&pair.birch, PLATE).await;
    nobody_else_deletes(&mut pair.birch);
    let job = jobs::TABLE.iter().find(|job| job.name == "retention").unwrap();
    let run = async || jobs::driver(pair.birch.node()).run_now(job).await.unwrap();
    assert_eq!(run().await.applied, 0);
    assert_eq!(silent(&pair.birch), BTreeSet::new());
    pair.years_go_by(kept_until(start(), 2).unwrap().plus(Instant::HOUR));
    let report = run().await;
    assert_eq!((report.outcome, report.applied), (Outcome::Done, 1), "{:?}", report.said);
    assert!(!silent(&pair.birch).is_empty());
    assert_eq!(deleted::newest(&mut pair.birch.conn(), 1).unwrap()[0].deleted.by, None);
    assert_eq!(problems(&pair.birch), []);
}

/// A hold on what `covers` says, asked for by the investigator.
async fn asks_to_hold(node: &TestNode, covers: Covers) -> RequestId {
    let new = NewHold {
        case_number: CASE.to_owned(),
        reason: "the trial is set for spring".to_owned(),
        contact: "desk 5".to_owned(),
        covers,
    };
    service::request(node.node().registry(), new, &node.fiction.person("investigator")).await.unwrap()
}

fn state(node: &TestNode, id: RequestId) -> State {
    holds::all(&mut node.conn()).unwrap().unwrap().into_iter().find(|hold| hold.id == id).unwrap().state
}

#[actix_web::test]
async fn s25_a_held_record_is_never_deleted_until_two_people_release_it() {
    let mut pair = Pair::in_force().await;
    let mut other = pair.alder.asking(&pair.birch, OTHER);
    other.reference = Some("case:2026-777".parse().unwrap());
    pair.alder.asks(other).await.unwrap();
    pair.alder.queries(&pair.birch, PLATE).await;
    nobody_else_deletes(&mut pair.alder);
    let (asked, received) = (of_kind(&pair.alder, Kind::QueryAsked), of_kind(&pair.alder, Kind::QueryReceived));
    let exchange = [&asked[1], &received[1]];
    let (db, people) = (pair.alder.node().registry(), |role| pair.alder.fiction.person(role));
    let covers = Covers { reference: Some(format!("case:{CASE}")), ..Covers::default() };
    let hold = asks_to_hold(&pair.alder, covers).await;
    let stands = async |expected| {
        assert_eq!(state(&pair.alder, hold), expected);
        assert!(deletes(&pair.alder).await.unwrap().held >= 2);
        assert!(exchange.iter().all(|row| says(&pair.alder, row.rid)), "what is held, and what came of it");
        assert_eq!(pair.alder.receipts(asked[1].rid).len(), 1);
        assert_eq!(problems(&pair.alder), []);
    };
    let why = || "final disposition was reached".to_owned();

    // Nobody decided yet, and it protects.
    let until = kept_until(start(), 2).unwrap().plus(Instant::HOUR);
    pair.years_go_by(until);
    stands(State::Requested).await;
    assert!(!says(&pair.alder, asked[0].rid) && !says(&pair.alder, received[0].rid), "the other is not held");
    assert_eq!(pair.alder.receipts(asked[0].rid).len(), 0);
    // S32: nobody approves their own, and not everybody may.
    for role in ["investigator", "admin", "auditor"] {
        let refused = service::approve(db, hold, Waiting::Request, &people(role)).await;
        assert!(matches!(refused, Err(PeopleError::Refused(_))), "{role}");
        let refused = service::refuse(db, hold, Waiting::Request, why(), &people(role)).await;
        assert!(matches!(refused, Err(PeopleError::Refused(_))), "{role}");
    }
    service::approve(db, hold, Waiting::Request, &people("supervisor")).await.unwrap();
    stands(State::InForce).await;
    // Three years later it is what it was.
    pair.years_go_by(until.plus(366 * Instant::DAY));
    stands(State::InForce).await;
    service::release(db, hold, why(), &people("supervisor")).await.unwrap();
    stands(State::ReleaseAsked).await;
    let alone = service::approve(db, hold, Waiting::Release, &people("supervisor")).await;
    assert!(matches!(alone, Err(PeopleError::Refused(why)) if why.contains("another person")));
    stands(State::ReleaseAsked).await;
    service::approve(db, hold, Waiting::Release, &people("custodian")).await.unwrap();
    assert_eq!(state(&pair.alder, hold), State::Released);
    assert_eq!(deletes(&pair.alder).await.unwrap().held, 0);
    assert!(exchange.iter().all(|row| !says(&pair.alder, row.rid)));
    assert_eq!(pair.alder.receipts(asked[1].rid).len(), 0);
    assert_eq!(problems(&pair.alder), []);
}

#[actix_web::test]
async fn s25_a_hold_covers_by_plate_partner_person_time_and_single_entries_and_hiding_it_deletes_nothing() {
    let mut pair = Pair::in_force().await;
    pair.alder.queries(&pair.birch, PLATE).await;
    nobody_else_deletes(&mut pair.alder);
    let (asked, received) = (only(&pair.alder, Kind::QueryAsked), only(&pair.alder, Kind::QueryReceived));
    let by = pair.alder.fiction.person("supervisor");
    let db = pair.alder.node().registry();
    pair.years_go_by(kept_until(start(), 2).unwrap().plus(Instant::HOUR));
    for (covers, count) in [
        (Covers { plate: Some(PLATE.to_owned()), ..Covers::default() }, 1),
        (Covers { partner: Some(pair.birch.ori()), ..Covers::default() }, 2),
        (Covers { username: Some(pair.alder.fiction.person("investigator")), ..Covers::default() }, 1),
        (Covers { since: Some(asked.at), until: Some(asked.at.plus(1)), ..Covers::default() }, 2),
        (Covers { entries: vec![asked.rid], ..Covers::default() }, 1),
        // What came of it says of itself that it came of it.
        (Covers { entries: vec![received.rid], ..Covers::default() }, 1),
        // Named twice, counted once.
        (Covers { entries: vec![asked.rid], plate: Some(PLATE.to_owned()), ..Covers::default() }, 1),
    ] {
        let hold = asks_to_hold(&pair.alder, covers.clone()).await;
        assert!(deletes(&pair.alder).await.unwrap().held >= 2, "{covers:?}");
        assert!(says(&pair.alder, asked.rid) && says(&pair.alder, received.rid), "{covers:?}");
        assert_eq!(pair.alder.receipts(asked.rid).len(), 1, "{covers:?}");
        assert_eq!(service::covered(&mut pair.alder.conn(), hold).unwrap(), Some(count), "{covers:?}");
        let why = "there is no such case".to_owned();
        service::refuse(db, hold, Waiting::Request, why, &by).await.unwrap();
    }
    // Somebody hides the hold, or that it covers this, from whoever looks.
    let covers = Covers { plate: Some(PLATE.to_owned()), ..Covers::default() };
    let hold = asks_to_hold(&pair.alder, covers).await;
    let index = search::by_rid(&mut pair.alder.conn(), hold).unwrap().unwrap().index;
    let store = pair.alder.registry_store();
    for (hide, back) in [
        (
            format!("UPDATE leaf SET kind = 'hit.listed' WHERE idx = {index}"),
            format!("UPDATE leaf SET kind = 'hold.requested' WHERE idx = {index}"),
        ),
        (
            format!("UPDATE fact SET plate = '7XXX999' WHERE idx = {}", asked.index),
            format!("UPDATE fact SET plate = '{PLATE}' WHERE idx = {}", asked.index),
        ),
        (
            format!(
                "UPDATE detail SET message = replace(CAST(message AS TEXT), '{PLATE}', '7XXX999') WHERE idx = {index}"
            ),
            format!(
                "UPDATE detail SET message = replace(CAST(message AS TEXT), '7XXX999', '{PLATE}') WHERE idx = {index}"
            ),
        ),
    ] {
        store.run(&hide);
        match deletes(&pair.alder).await {
            // The index is not asked what an entry is about.
            Ok(done) => assert!(hide.contains("fact") && done.deleted == 0 && done.held >= 2, "{hide}: {done:?}"),
            Err(RetentionError::Refused(why)) => assert!(why.contains("trail verify"), "{hide}: {why}"),
            Err(other) => panic!("{hide}: {other}"),
        }
        assert!(says(&pair.alder, asked.rid), "{hide}");
        store.run(&back);
    }
    assert!(deletes(&pair.alder).await.unwrap().held >= 2);
    assert!(says(&pair.alder, asked.rid));
}

async fn s25_what_other_hands_took_away_or_brought_back_is_found(backend: Backend) {
    let mut pair = Pair::in_force_on(backend).await;
    pair.birch_saw(PLATE).await;
    pair.alder.queries(&pair.birch, PLATE).await;
    pair.birch.clock.forward(Instant::DAY);
    pair.alder.clock.forward(Instant::DAY);
    pair.alder.queries(&pair.birch, OTHER).await;
    nobody_else_deletes(&mut pair.birch);
    let answers = of_kind(&pair.birch, Kind::QueryAnswered);
    let (old, young) = (answers[0].index, answers[1].index);
    let birch = pair.birch.registry_store();
    let nothing =
        "partner = NULL, username = NULL, purpose = NULL, reference = NULL, plate = NULL, decision = NULL, rule = NULL";
    let taken = |idx: u64| format!("DELETE FROM detail WHERE idx = {idx}; UPDATE fact SET {nothing} WHERE idx = {idx}");
    birch.run(&format!(
        "CREATE TABLE kept AS SELECT * FROM detail; CREATE TABLE found AS SELECT * FROM fact WHERE idx = {young}"
    ));
    let back = |idx: u64| {
        format!(
            "INSERT INTO detail SELECT * FROM kept WHERE idx = {idx}; DELETE FROM fact WHERE idx = {idx}; \
             INSERT INTO fact SELECT * FROM found WHERE idx = {idx}"
        )
    };

    // By hand, with all that a deletion does, but without a certificate.
    birch.run(&taken(young));
    assert_eq!(problems(&pair.birch), [(Some(young), MISSING)]);
    birch.run(&back(young));
    assert_eq!(problems(&pair.birch), []);
    // What something stands on, hidden from whoever looks by what it is about, too: found within a minute.
    let event = only(&pair.birch, Kind::AgreementEvent).index;
    birch.run(&format!("INSERT INTO found SELECT * FROM fact WHERE idx = {event}"));
    birch.run(&taken(event));
    pair.birch.looks().await;
    assert!(pair.birch.node().changed().iter().any(|changed| changed.table == Table::Leaf));
    assert!(pair.birch.node().hides_entries());
    assert_eq!(problems(&pair.birch), [(Some(event), MISSING)]);
    birch.run(&back(event));
    pair.birch.looks().await;
    assert_eq!(*pair.birch.node().changed(), []);

    // Beside what a certificate names: what is young yet.
    pair.years_go_by(kept_until(answers[0].at, 2).unwrap());
    let done = deletes(&pair.birch).await.unwrap();
    assert!(done.deleted > 0 && silent(&pair.birch).contains(&old) && !silent(&pair.birch).contains(&young));
    assert_eq!(problems(&pair.birch), []);
    birch.run(&taken(young));
    assert_eq!(problems(&pair.birch), [(Some(young), MISSING)]);
    birch.run(&back(young));
    // The certificate itself, hidden or changed.
    let certificate = only(&pair.birch, Kind::RetentionDeleted).index;
    let missing: Vec<_> = silent(&pair.birch).into_iter().map(|index| (Some(index), MISSING)).collect();
    birch.run(&format!("INSERT INTO kept SELECT * FROM detail WHERE idx = {certificate}"));
    birch.run(&format!("INSERT INTO found SELECT * FROM fact WHERE idx = {certificate}"));
    birch.run(&taken(certificate));
    let found = problems(&pair.birch);
    assert!(
        missing.iter().all(|one| found.contains(one)) && found.contains(&(Some(certificate), MISSING)),
        "{found:?}"
    );
    birch.run(&back(certificate));
    assert_eq!(problems(&pair.birch), []);
    // What was deleted, from a copy that somebody made before.
    birch.run(&format!("INSERT INTO detail SELECT * FROM kept WHERE idx = {old}"));
    let found = problems(&pair.birch);
    assert!(found.contains(&(Some(old), "what a certificate says was deleted is there")), "{found:?}");
    assert!(matches!(deletes(&pair.birch).await, Ok(Summary { deleted: 0, .. }) | Err(RetentionError::Refused(_))));
}

#[actix_web::test]
async fn s25_and_s36_nothing_is_deleted_by_a_clock_that_jumped_or_was_set_back() {
    let mut pair = Pair::in_force().await;
    pair.alder.queries(&pair.birch, PLATE).await;
    nobody_else_deletes(&mut pair.birch);
    let now = pair.birch.clock_now();
    pair.birch.clock.jumps(kept_until(now, 3).unwrap());
    let jumped = deletes(&pair.birch).await;
    assert!(matches!(jumped, Err(RetentionError::Unready(_))), "{jumped:?}");
    assert_eq!(silent(&pair.birch), BTreeSet::new());
    pair.birch.clock.jumps(now);
    assert_eq!(deletes(&pair.birch).await.unwrap(), Summary::default());
    pair.birch.clock.set(now.plus(-Instant::DAY));
    let back = deletes(&pair.birch).await;
    assert!(matches!(&back, Err(RetentionError::Refused(why)) if why.contains("clock")), "{back:?}");
}

/// Fills a trail with so many answers that are as old as it is.
async fn fill(node: &TestNode, count: u64) {
    for some in 0..count / 500 {
        let job = move |tx: &mut concordat::db::Tx<'_>| {
            for number in 0..500 {
                tx.append(draft(tx.now(), some * 500 + number))?;
            }
            Ok(())
        };
        node.node().registry().record(job).await.unwrap();
    }
}

/// What a trail that was interrupted has to be: everything is there, or is gone with its certificate.
fn nothing_is_half(conn: &mut Conn, config: &Config, before: usize) -> usize {
    let report = verify::verify(conn, &log_vkey(config).unwrap(), &mut |_, _| {}, &AtomicBool::new(false)).unwrap();
    assert_eq!(report.problems, []);
    assert_eq!(report.without_detail, certified(conn).len() as u64);
    let gone = certified(conn).len();
    assert!(gone >= before, "nothing comes back");
    gone
}

#[actix_web::test]
async fn s25_a_deletion_that_is_stopped_between_two_batches_goes_on_later() {
    let mut pair = Pair::in_force().await;
    fill(&pair.birch, 2500).await;
    nobody_else_deletes(&mut pair.birch);
    pair.years_go_by(kept_until(start(), 2).unwrap().plus(Instant::HOUR));
    let stop = Arc::new(AtomicBool::new(false));
    let stopping = Arc::clone(&stop);
    let progress = move |now: Progress| {
        if let Progress::Deleted(_) = now {
            stopping.store(true, Ordering::SeqCst);
        }
    };
    let first = retention::run(pair.birch.node(), None, progress, stop).await.unwrap();
    assert!(first.stopped && first.certificates == 1 && (900..=1000).contains(&first.deleted), "{first:?}");
    assert_eq!(nothing_is_half(&mut pair.birch.conn(), pair.birch.settings(), 0) as u64, first.deleted);
    let rest = deletes(&pair.birch).await.unwrap();
    assert!(!rest.stopped && rest.certificates == 2 && rest.deleted >= 1500, "{rest:?}");
    nothing_is_half(&mut pair.birch.conn(), pair.birch.settings(), 2500);
}

/// Waits until a process has recorded one more certificate, or has ended.
fn wait_for_certificates(child: &mut Child, file: &Path, known: usize) -> Option<ExitStatus> {
    let mut conn = tamper::open(file);
    for _ in 0..60_000 {
        if deleted::newest(&mut conn, 1000).unwrap().len() > known {
            return None;
        }
        if let Some(ended) = child.try_wait().unwrap() {
            return Some(ended);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("it neither deletes nor ends");
}

/// The built program, killed at random instants while it deletes what is two years old by the machine's own clock.
#[actix_web::test]
async fn s25_a_deletion_that_is_killed_leaves_nothing_half() {
    let seed = fastrand::u64(..);
    eprintln!("s25: seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let begins = integration::process::now().plus(-(2 * 366 + 30) * Instant::DAY);
    let federation = Federation::found_at(Backend::Sqlite, begins);
    let alder = TestNode::found(&federation, ALDER).await;
    let mut birch = TestNode::found(&federation, BIRCH).await;
    alder.enrols(&birch).await;
    birch.enrols(&alder).await;
    fill(&birch, 8000).await;
    let file = birch.registry_file();
    let folder = is_left_to_processes(&federation, &alder, &mut birch);
    let mut conn = tamper::open(&file);
    let before = nothing_is_half(&mut conn, birch.settings(), 0);
    assert_eq!(before, 0);
    let (mut kills, mut gone, mut certificates) = (0, before, 0);
    loop {
        // It is the partner that the clock is compared with.
        alder.clock.set(integration::process::now());
        let mut command = Command::new(program());
        command.args(["retention", "run", "--json", "--as", "birch.custodian", "--dir"]).arg(&folder);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let ended = wait_for_certificates(&mut child, &file, certificates);
        std::thread::sleep(Duration::from_micros(random.u64(..20_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        gone = nothing_is_half(&mut conn, birch.settings(), gone);
        certificates = deleted::newest(&mut conn, 1000).unwrap().len();
        if let Some(ended) = ended {
            assert!(ended.success(), "{ended}");
            break;
        }
        kills += 1;
    }
    assert!(kills >= 2, "it was killed in the middle");
    assert_eq!(gone, 8000);
    birch.clock.set(integration::process::now());
    birch.try_start().unwrap();
    assert_eq!(problems(&birch), []);
}

/// Years went by, and the programs find `birch` as it is now, by the machine's clock. Its folder.
fn is_left_to_processes(federation: &Federation, alder: &TestNode, birch: &mut TestNode) -> PathBuf {
    let now = integration::process::now();
    birch.stop();
    std::fs::write(birch.settings().keys.tls_cert(), federation.pki.again(birch, now)).unwrap();
    alder.clock.set(now);
    federation.pki.renews_all(&[alder], now);
    let folder = birch.registry_file().parent().unwrap().to_owned();
    std::fs::write(folder.join(FILE_NAME), birch.settings().to_toml()).unwrap();
    folder
}
