use std::collections::BTreeMap;

use certs::key::SigningKey;
use diesel::prelude::*;
use diesel_migrations::MigrationHarness as _;
use tlog_tiles::Hash;

use super::*;
use crate::trail::cosignature::SignedText;
use crate::trail::note::{Checkpoint, LogSigner as _};
use crate::trail::testing::TestKey;

const LOG: &str = "alder.example/trail";

/// A tree in memory.
#[derive(Default)]
struct Leaves(Vec<Hash>);

impl tlog_tiles::HashReader for Leaves {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|index| self.0[usize::try_from(*index).unwrap()]).collect())
    }
}

impl Leaves {
    fn of(count: u64, word: &str) -> Self {
        let mut leaves = Self::default();
        for n in 0..count {
            let leaf = tlog_tiles::record_hash(if n < 5 { format!("{n}") } else { format!("{word}{n}") }.as_bytes());
            let made = tlog_tiles::stored_hashes_for_record_hash(n, leaf, &leaves).unwrap();
            leaves.0.extend(made);
        }
        leaves
    }
}

struct Log {
    key: TestKey,
    leaves: Leaves,
}

impl Log {
    fn named(name: &str, word: &str) -> Self {
        Self { key: TestKey::new(name), leaves: Leaves::of(40, word) }
    }

    fn head(&self, size: u64) -> String {
        let root = Digest(tlog_tiles::tree_hash(size, &self.leaves).unwrap().0);
        Checkpoint { origin: self.key.vkey().name().to_owned(), size, root }.sign(&self.key).unwrap()
    }

    fn proof(&self, old: u64, new: u64) -> Vec<Hash> {
        if old == 0 || old == new { Vec::new() } else { tlog_tiles::prove_tree(new, old, &self.leaves).unwrap() }
    }

    fn shows(&self, old: u64, new: u64) -> String {
        Shown::body(old, &self.proof(old, new), &self.head(new))
    }
}

struct Desk {
    conn: Conn,
    cosigner: Cosigner,
    now: Instant,
    keys: BTreeMap<String, Vec<Vkey>>,
}

impl Desk {
    fn for_logs(logs: &[&Log]) -> Self {
        let mut conn = SqliteConnection::establish(":memory:").unwrap();
        conn.run_pending_migrations(migrations::WITNESS_SQLITE).unwrap();
        let mut keys: BTreeMap<String, Vec<Vkey>> = BTreeMap::new();
        for log in logs {
            keys.entry(log.key.vkey().name().to_owned()).or_default().push(log.key.vkey().clone());
        }
        Self {
            conn: Conn::Sqlite(conn),
            cosigner: Cosigner::new("auditor.example/w", SigningKey::generate_ed25519().unwrap()).unwrap(),
            now: "2026-11-23T20:17:00Z".parse().unwrap(),
            keys,
        }
    }

    fn hears(&mut self, body: &str) -> Done {
        let keys = &self.keys;
        match verified(body.as_bytes(), |origin| keys.get(origin).cloned().unwrap_or_default()) {
            Err(refusal) => Done::Refused(refusal),
            Ok(asked) => add_checkpoint(&mut self.conn, &self.cosigner, &asked, self.now).unwrap(),
        }
    }

    fn refuses(&mut self, body: &str) -> u16 {
        match self.hears(body) {
            Done::Refused(refusal) => refusal.status(),
            Done::Cosigned(_) => 200,
        }
    }

    fn newest(&mut self) -> u64 {
        newest(&mut self.conn, LOG).unwrap().map_or(0, |newest| newest.size)
    }
}

#[test]
fn each_head_that_extends_the_last_is_cosigned_and_kept_first() {
    let log = Log::named(LOG, "a");
    let mut desk = Desk::for_logs(&[&log]);
    for (old, new) in [(0, 1), (1, 7), (7, 7), (7, 8), (8, 40)] {
        let Done::Cosigned(line) = desk.hears(&log.shows(old, new)) else { panic!("{old} to {new}") };
        let text = SignedText::parse(&log.head(new)).unwrap().with(&line).unwrap();
        assert_eq!(desk.cosigner.public().cosigned(&SignedText::parse(&text).unwrap()), Some(desk.now));
        let kept = newest(&mut desk.conn, LOG).unwrap().unwrap();
        assert_eq!((kept.size, kept.checkpoint), (new, text));
    }
    let by_hash = newest_by_hash(&mut desk.conn, Digest::of(LOG.as_bytes())).unwrap();
    assert_eq!(by_hash.map(|head| head.size), Some(40));
    assert_eq!(newest_by_hash(&mut desk.conn, Digest::of(b"other")).unwrap(), None);
}

#[test]
fn each_refusal_has_its_status_and_changes_nothing() {
    let (log, stranger, namesake) =
        (Log::named(LOG, "a"), Log::named("birch.example/trail", "a"), Log::named(LOG, "a"));
    let mut desk = Desk::for_logs(&[&log]);
    desk.hears(&log.shows(0, 9));
    for (what, body, status) in [
        ("another log", stranger.shows(9, 20), 404),
        ("another key", namesake.shows(9, 20), 403),
        ("backwards", Shown::body(21, &[], &log.head(20)), 400),
        ("no note", "old 9\n\nalder.example/trail\n20\n".to_owned(), 400),
        ("no old size", log.shows(9, 20)[4..].to_owned(), 400),
        ("zeros", log.shows(9, 20).replacen("old 9", "old 09", 1), 400),
        ("a long proof", Shown::body(9, &[Hash([0; 32]); 64], &log.head(20)), 400),
        ("an older head", log.shows(8, 20), 409),
        ("from nothing", log.shows(0, 20), 409),
        ("smaller", log.shows(9, 9).replacen("old 9", "old 8", 1), 409),
        ("no proof", Shown::body(9, &[], &log.head(20)), 422),
        ("half a proof", Shown::body(9, &log.proof(9, 20)[1..], &log.head(20)), 422),
        ("more than a proof", Shown::body(9, &[log.proof(9, 20), vec![Hash([0; 32])]].concat(), &log.head(20)), 422),
        ("the same head with a proof", Shown::body(9, &log.proof(8, 9), &log.head(9)), 422),
    ] {
        assert_eq!((desk.refuses(&body), desk.newest()), (status, 9), "{what}");
    }
    assert_eq!(desk.hears(&log.shows(3, 20)), Done::Refused(Refusal::Conflict(9)), "it says which head it has");
    let mut fresh = Desk::for_logs(&[&log]);
    assert_eq!(fresh.refuses(&Shown::body(0, &log.proof(1, 9), &log.head(9))), 422, "from nothing there is no proof");
    assert_eq!(evidence::all(&mut desk.conn).unwrap(), []);
}

#[test]
fn a_head_of_the_same_size_with_another_root_is_kept_as_evidence_that_convicts_offline() {
    let log = Log::named(LOG, "a");
    let mut desk = Desk::for_logs(&[&log]);
    desk.hears(&log.shows(0, 20));
    let forked = Log { leaves: Leaves::of(40, "b"), key: log.key };
    for _ in 0..2 {
        assert_eq!(desk.hears(&forked.shows(20, 20)), Done::Refused(Refusal::Forked(20)));
        assert_eq!(desk.refuses(&forked.shows(20, 20)), 422, "the specification's v1.1.0; 409 before");
        let elsewhere = desk.hears(&forked.shows(4, 20));
        assert_eq!(elsewhere, Done::Refused(Refusal::Conflict(20)), "the old size comes first, and says what is known");
    }
    assert_eq!(desk.refuses(&forked.shows(20, 30)), 422, "a proof from another beginning is none");
    let kept = evidence::all(&mut desk.conn).unwrap();
    assert_eq!(kept.len(), 1, "once");
    let (held, shown) = kept[0].1.convicts(forked.key.vkey()).unwrap();
    assert_eq!((held.size, shown.size), (20, 20));
    assert_ne!(held.root, shown.root);
    assert_eq!(kept[0].1.convicts(TestKey::new(LOG).vkey()), Err(evidence::NoFork), "of another key it says nothing");
}

#[test]
fn heads_of_two_sizes_convict_by_what_the_larger_one_begins_with() {
    let log = Log::named(LOG, "a");
    let (held, leaves) = (log.head(20), Leaves::of(40, "b"));
    let forked = Log { leaves, key: log.key };
    let root = Digest(tlog_tiles::tree_hash(20, &forked.leaves).unwrap().0);
    let prefix = Some(evidence::Prefix::new(root, &forked.proof(20, 30)));
    let evidence = Fork { origin: LOG.to_owned(), held, shown: forked.head(30), prefix };
    assert!(evidence.convicts(forked.key.vkey()).is_ok());
    // The same of a log that is honest, and of proofs that prove nothing.
    let honest = Fork { held: forked.head(20), ..evidence.clone() };
    let unproven =
        Fork { prefix: Some(evidence::Prefix::new(Digest([1; 32]), &forked.proof(20, 30))), ..evidence.clone() };
    let without = Fork { prefix: None, ..evidence.clone() };
    let swapped = Fork { held: evidence.shown.clone(), shown: evidence.held.clone(), ..evidence.clone() };
    for none in [honest, unproven, without, swapped] {
        assert_eq!(none.convicts(forked.key.vkey()), Err(evidence::NoFork));
    }
}

#[test]
fn two_that_ask_at_once_do_not_roll_a_head_back() {
    let log = Log::named(LOG, "a");
    let mut desk = Desk::for_logs(&[&log]);
    desk.hears(&log.shows(0, 9));
    let before = newest(&mut desk.conn, LOG).unwrap();
    desk.hears(&log.shows(9, 30));
    // What another process checked against the head of before comes to be kept only now.
    let root = Digest(tlog_tiles::tree_hash(20, &log.leaves).unwrap().0);
    let late = Witnessed { origin: LOG.to_owned(), size: 20, root, checkpoint: log.head(20), at: desk.now };
    assert!(!late.replace(&mut desk.conn, before.as_ref()).unwrap());
    assert!(!late.replace(&mut desk.conn, None).unwrap());
    assert_eq!(desk.newest(), 30);
}

#[test]
fn a_clock_set_back_makes_no_statement_earlier() {
    let log = Log::named(LOG, "a");
    let mut desk = Desk::for_logs(&[&log]);
    desk.hears(&log.shows(0, 9));
    let first = desk.now;
    desk.now = first.plus(-Instant::DAY);
    desk.hears(&log.shows(9, 10));
    assert_eq!(newest(&mut desk.conn, LOG).unwrap().unwrap().at, first);
}
