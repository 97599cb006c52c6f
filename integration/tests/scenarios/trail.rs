//! Nobody can quietly rewrite the trail.

use std::path::PathBuf;

use concordat::publishing;
use concordat::trail::head;
use diesel::prelude::*;
use diesel::sql_types::Text;
use integration::node::{problems_of, refused_for_its_trail};
use integration::pair::Pair;
use integration::tamper;
use integration::witnesses::Watched;

const PLATE: &str = "7TRL220";

#[derive(QueryableByName)]
struct Cell {
    #[diesel(sql_type = Text)]
    value: String,
}

/// One value of the head's row, as SQL writes it.
fn quoted(file: &std::path::Path, column: &str) -> String {
    let mut conn = tamper::open(file);
    let sql = format!("SELECT quote({column}) AS value FROM head");
    diesel::sql_query(sql).get_result::<Cell>(&mut conn).unwrap().value
}

/// A pair whose owner has answered some questions, stopped; the head as it was before the last of them.
async fn answered() -> (Pair, String, PathBuf) {
    let mut pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    for _ in 0..3 {
        pair.alder.queries(&pair.birch, PLATE).await;
        pair.birch.clock.forward(1000);
        pair.alder.clock.forward(1000);
    }
    let file = pair.birch.registry_file();
    let earlier = ["size", "root", "checkpoint", "epoch", "time_mark"]
        .map(|column| format!("{column} = {}", quoted(&file, column)))
        .join(", ");
    pair.alder.queries(&pair.birch, PLATE).await;
    assert_eq!(pair.birch.trail_problems(), []);
    pair.birch.stop();
    let kept = file.with_file_name("kept.db");
    tamper::copy(&file, &kept);
    (pair, earlier, kept)
}

#[actix_web::test]
async fn s22_an_entry_edited_dropped_reordered_or_the_head_rolled_back_is_found() {
    let (mut pair, earlier, kept) = answered().await;
    let file = pair.birch.registry_file();
    let (size, _) = head::extent(&mut tamper::open(&kept)).unwrap();
    let (last, before) = (size - 1, size - 2);
    // What was done to the file, whether a start finds it (it looks at the edge), and what the recomputation says.
    let cases: Vec<(&str, String, bool, &str)> = vec![
        ("nothing", String::new(), false, ""),
        (
            "an answer's leaf edited",
            format!(
                "UPDATE leaf SET body = replace(CAST(body AS TEXT), 'query.answered', 'query.received') WHERE idx = {before}"
            ),
            false,
            "the leaf is not the one that its tile has",
        ),
        (
            "what an answer says edited",
            format!(
                "UPDATE detail SET message = replace(CAST(message AS TEXT), 'permitted', 'denied') WHERE idx = {before}"
            ),
            false,
            "the message is not the one that the leaf commits to",
        ),
        (
            "where a question came from edited",
            format!("UPDATE detail SET note = '{{}}' WHERE idx = {before}"),
            false,
            "the note is not the one that the leaf commits to",
        ),
        (
            "an entry dropped from the middle",
            format!(
                "DELETE FROM detail WHERE idx = {before}; DELETE FROM fact WHERE idx = {before}; DELETE FROM leaf WHERE idx = {before}"
            ),
            false,
            "the leaf is missing",
        ),
        (
            "the last entry dropped",
            format!(
                "DELETE FROM detail WHERE idx = {last}; DELETE FROM fact WHERE idx = {last}; DELETE FROM leaf WHERE idx = {last}"
            ),
            true,
            "the leaf is missing",
        ),
        (
            "two entries reordered",
            format!(
                "UPDATE leaf SET idx = -9 WHERE idx = {before}; UPDATE leaf SET idx = {before} WHERE idx = 3; UPDATE leaf SET idx = 3 WHERE idx = -9"
            ),
            false,
            "the leaf is not the one that its tile has",
        ),
        (
            "the head rolled back to one that was signed",
            format!("UPDATE head SET {earlier}"),
            true,
            "the leaf and all after it are beyond the head",
        ),
        (
            "the head's size alone",
            "UPDATE head SET size = size - 1".to_owned(),
            true,
            "the checkpoint states another head than its row",
        ),
        (
            "the head's root",
            "UPDATE head SET root = zeroblob(32)".to_owned(),
            true,
            "the checkpoint states another head than its row",
        ),
        (
            "a checkpoint with another signature",
            "UPDATE head SET checkpoint = substr(checkpoint, 1, length(checkpoint) - 12) || 'AAAAAAAAAAA' || char(10)"
                .to_owned(),
            true,
            "the checkpoint is not one that this log's key signed",
        ),
    ];
    for (what, sql, at_start, says) in cases {
        pair.birch.stop();
        for end in ["", "-wal", "-shm"] {
            // Absent after a clean stop, mostly.
            let _ = std::fs::remove_file(format!("{}{end}", file.display()));
        }
        std::fs::copy(&kept, &file).unwrap();
        tamper::run(&file, &sql);
        let found = problems_of(&mut tamper::open(&file), pair.birch.settings());
        assert_eq!(found.is_empty(), says.is_empty(), "{what}: {found:?}");
        assert!(says.is_empty() || found.iter().any(|problem| problem.what == says), "{what}: {found:?}");
        let started = pair.birch.try_start();
        assert_eq!(refused_for_its_trail(started), at_start, "{what}");
    }
}

#[actix_web::test]
async fn s22_a_head_rolled_back_under_a_running_node_ends_its_recording_before_it_answers() {
    let (mut pair, earlier, _) = answered().await;
    pair.birch.try_start().unwrap();
    let file = pair.birch.registry_file();
    let text = pair.question_text(PLATE).await;
    let first = pair.alder.posts_query(&pair.birch, &text).await;
    assert_eq!(first.status, 200, "{}", first.text());
    tamper::run(&file, &format!("UPDATE head SET {earlier}"));
    for _ in 0..2 {
        let text = pair.question_text(PLATE).await;
        let reply = pair.alder.posts_query(&pair.birch, &text).await;
        reply.problem(503, "unavailable");
        assert!(!reply.text().contains(PLATE));
    }
    // Whoever answered 503 first, the writer or somebody who saw that the log was set back: nothing is recorded any more.
    let recording = pair.birch.node().registry().record(|_| Ok(())).await;
    assert!(recording.is_err());
    let fatal = pair.birch.fatal.lock().unwrap().clone();
    assert_eq!(fatal.len(), 1, "{fatal:?}");
}

#[actix_web::test]
async fn no_record_no_answer_while_the_registry_takes_none() {
    let pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    let text = pair.question_text(PLATE).await;
    let file = pair.birch.registry_file();
    // The table that every answer must go into is gone for a while: nothing can be recorded, so nothing is said.
    tamper::run(&file, "ALTER TABLE detail RENAME TO detail_away");
    let reply = pair.alder.posts_query(&pair.birch, &text).await;
    let detail = reply.problem(503, "unavailable");
    assert!(detail.contains("cannot record"), "{detail}");
    assert!(!reply.text().contains(PLATE));
    tamper::run(&file, "ALTER TABLE detail_away RENAME TO detail");
    let reply = pair.alder.posts_query(&pair.birch, &text).await;
    assert_eq!(reply.status, 200, "it returns by itself, and the id was not burned: {}", reply.text());
    assert_eq!(pair.birch.trail_problems(), []);
}

#[actix_web::test]
async fn s22_a_trail_that_was_cut_off_consistently_is_found_by_the_partners_who_witness_it() {
    let mut watched = Watched::in_force().await;
    let (file, kept) = (watched.birch.registry_file(), watched.federation.folder().join("kept.db"));
    tamper::copy(&file, &kept);
    let cut = watched.birch.trail_size();
    for _ in 0..3 {
        watched.birch.writes_an_entry().await;
    }
    watched.publish().await;
    watched.birch.stop();
    // The newest entries are gone, with their tiles, and the head is one that the log's own key signed.
    tamper::run(
        &file,
        &format!(
            "ATTACH '{}' AS kept; DELETE FROM detail WHERE idx >= {cut}; DELETE FROM fact WHERE idx >= {cut}; \
             DELETE FROM leaf WHERE idx >= {cut}; DELETE FROM tile; INSERT INTO tile SELECT * FROM kept.tile; \
             DELETE FROM head; INSERT INTO head SELECT * FROM kept.head;",
            kept.display()
        ),
    );
    assert_eq!(problems_of(&mut tamper::open(&file), watched.birch.settings()), [], "the file alone shows nothing");
    watched.birch.try_start().unwrap();
    let said = publishing::settled(watched.birch.node()).await.unwrap_err().to_string();
    assert!(said.contains("witness") && said.contains("epoch"), "{said}");
    let behind = watched.birch.node().watch().behind().unwrap();
    assert_eq!((behind.here, behind.head.size), (cut, cut + 3));
}
