//! Published dialogues with witnesses (`testdata/tlog/README.md` says whose they are), replayed.

use std::path::Path;

use certs::key::SigningKey;
use diesel::prelude::*;
use diesel_migrations::MigrationHarness as _;
use serde_json::Value;

use super::*;
use crate::trail::cosignature::SignedText;

fn file() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/tlog/witness.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}

#[test]
fn dialogues_of_another_witness_have_the_same_outcome_here() {
    let file = file();
    let dialogues = file["dialogues"].as_array().unwrap();
    assert_eq!(dialogues.len(), 3);
    for dialogue in dialogues {
        let mut conn = SqliteConnection::establish(":memory:").unwrap();
        conn.run_pending_migrations(migrations::WITNESS_SQLITE).unwrap();
        let mut conn = Conn::Sqlite(conn);
        let cosigner = Cosigner::new("witness.test/w", SigningKey::generate_ed25519().unwrap()).unwrap();
        let log: Vkey = text(dialogue, "log").parse().unwrap();
        for request in dialogue["requests"].as_array().unwrap() {
            let known = |origin: &str| if origin == log.name() { vec![log.clone()] } else { Vec::new() };
            let done = match verified(text(request, "body").as_bytes(), known) {
                Err(refusal) => Done::Refused(refusal),
                Ok(asked) => {
                    add_checkpoint(&mut conn, &cosigner, &asked, "2026-11-23T20:17:00Z".parse().unwrap()).unwrap()
                }
            };
            let status = match &done {
                Done::Refused(refusal) => refusal.status(),
                Done::Cosigned(line) => {
                    let (_, checkpoint) = text(request, "body").split_once("\n\n").unwrap();
                    let signed = SignedText::parse(checkpoint).unwrap().with(line).unwrap();
                    assert!(cosigner.public().cosigned(&SignedText::parse(&signed).unwrap()).is_some());
                    200
                }
            };
            assert_eq!(u64::from(status), request["status"], "{}: {}", text(dialogue, "file"), text(request, "what"));
        }
        let kept = newest(&mut conn, log.name()).unwrap().unwrap();
        assert_eq!(kept.size, dialogue["size"], "{}", text(dialogue, "file"));
    }
}

#[test]
fn the_example_of_the_specification_is_read_as_it_is_written() {
    let example = &file()["example"];
    let body = text(example, "request");
    let shown = Shown::parse(body.as_bytes()).unwrap();
    assert_eq!((shown.old, shown.size, shown.proof.len() as u64), (20_852_014, 20_852_163, 4));
    assert_eq!(shown.origin, "example.com/behind-the-sofa");
    assert_eq!(Shown::body(shown.old, &shown.proof, &shown.checkpoint), body, "and written so");
    let answered = shown.note.clone().with(text(example, "response")).unwrap();
    assert_eq!(answered.matches("\n\u{2014} witness.example/w").count(), 3, "its lines are lines of that note");
}
