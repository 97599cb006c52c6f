//! Software that none of us wrote verifies the trail.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use agreements::time::Instant;
use concordat::clock::Clock as _;
use concordat::exporting::ExportError;
use concordat::exporting::static_log::{self, Written};
use concordat::node::log_vkey;
use concordat::trail::static_log::{Of, Resource, resources};
use futures_util::future::join_all;
use integration::node::TestNode;
use integration::pair::Pair;
use integration::tamper;
use integration::verifiers::Verifier;

const PLATE: &str = "7IND900";

/// A pair whose asker has asked several hundred questions.
async fn busy() -> Pair {
    let pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    for _ in 0..17 {
        join_all((0..16).map(|_| pair.alder.queries(&pair.birch, PLATE))).await;
        // The next minute: an owner's rate is none of this.
        pair.set_clocks(pair.alder.clock.now().plus(Instant::MINUTE));
    }
    assert!(pair.alder.trail_size() > 512, "two full tiles");
    pair
}

fn export(node: &TestNode, folder: &Path) -> Result<Written, ExportError> {
    let vkey = log_vkey(node.settings()).unwrap();
    static_log::write(&mut node.conn(), &vkey, folder, &mut |_, _| {}, &AtomicBool::new(false))
}

/// Changes one bit of a file while `then` runs.
fn with_a_bit_flipped<T>(file: &Path, byte: usize, then: impl FnOnce() -> T) -> T {
    let bytes = fs::read(file).unwrap();
    let mut flipped = bytes.clone();
    flipped[byte] ^= 1;
    fs::write(file, flipped).unwrap();
    let result = then();
    fs::write(file, bytes).unwrap();
    result
}

/// The first or the last resource of its kind.
fn path_of(log: &Path, size: u64, of: Of, last: bool) -> PathBuf {
    let mut all: Vec<Resource> = resources(size).filter(|it| it.of == of).collect();
    let found = if last { all.pop() } else { Some(all.remove(0)) };
    static_log::path_of(log, found.unwrap())
}

#[actix_web::test]
async fn an_exported_log_of_a_busy_run_is_verified_by_programs_that_are_not_ours_and_a_flipped_bit_by_none() {
    let pair = busy().await;
    let folder = tempfile::tempdir().unwrap();
    let (log, key) = (folder.path().join("log"), folder.path().join("log.vkey"));
    let written = export(&pair.alder, &log).unwrap();
    let size = written.head.size;
    assert_eq!((size, written.bundles), (pair.alder.trail_size(), size.div_ceil(256)));
    fs::write(&key, pair.alder.node().party().node.log_vkey.clone() + "\n").unwrap();
    let other_key = folder.path().join("other.vkey");
    fs::write(&other_key, pair.birch.node().party().node.log_vkey.clone() + "\n").unwrap();

    let checkpoint = log.join("checkpoint");
    let text = fs::read_to_string(&checkpoint).unwrap();
    let lines: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
    let damages = [
        ("a full tile", path_of(&log, size, Of::Hashes(0), false), 4000),
        ("the last tile", path_of(&log, size, Of::Hashes(0), true), 9),
        ("a tile of tiles", path_of(&log, size, Of::Hashes(1), false), 40),
        ("an entry", path_of(&log, size, Of::Entries, false), 50),
        ("a length in the last bundle", path_of(&log, size, Of::Entries, true), 1),
        ("the checkpoint's origin", checkpoint.clone(), 1),
        ("the checkpoint's size", checkpoint.clone(), lines[1] - 1),
        ("the checkpoint's root", checkpoint.clone(), lines[1] + 3),
        ("the checkpoint's signature", checkpoint.clone(), lines[4] - 20),
    ];
    for verifier in Verifier::all(folder.path()) {
        let verify = |key: &Path| verifier.verifies(&log, key);
        assert_eq!(verify(&key), Ok(size), "{}", verifier.name);
        assert!(verify(&other_key).is_err(), "{}: another log's key", verifier.name);
        for (what, file, byte) in &damages {
            let damaged = with_a_bit_flipped(file, *byte, || verify(&key));
            assert!(damaged.is_err(), "{} did not see a bit flipped in {what}", verifier.name);
        }
        assert_eq!(verify(&key), Ok(size), "{}: whole again", verifier.name);
    }
}

#[actix_web::test]
async fn an_export_is_brought_up_to_date_and_never_made_of_a_changed_trail() {
    let pair = Pair::in_force().await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let first = export(&pair.birch, &log).unwrap();
    pair.birch_saw(PLATE).await;
    pair.alder.queries(&pair.birch, PLATE).await;
    let second = export(&pair.birch, &log).unwrap();
    assert!(second.head.size > first.head.size);
    for resource in resources(first.head.size) {
        assert!(static_log::path_of(&log, resource).is_file(), "what an earlier checkpoint needs stays: {resource}");
    }
    let foreign = export(&pair.alder, &log);
    assert!(matches!(foreign, Err(ExportError::Foreign(_))), "another log's folder: {foreign:?}");
    fs::write(folder.path().join("a.txt"), "mine").unwrap();
    let mixed = export(&pair.birch, folder.path());
    assert!(matches!(mixed, Err(ExportError::Foreign(_))), "a folder with something else: {mixed:?}");

    let before = fs::read(log.join("checkpoint")).unwrap();
    let changes = [
        "UPDATE leaf SET body = replace(CAST(body AS TEXT), 'query.answered', 'query.received') WHERE kind = 'query.answered'",
        "UPDATE tile SET data = zeroblob(length(data)) WHERE level = 0",
        "DELETE FROM leaf WHERE idx = 3",
    ];
    let file = pair.birch.registry_file();
    for sql in changes {
        let kept = folder.path().join("kept.db");
        tamper::copy(&file, &kept);
        tamper::run(&kept, &format!("PRAGMA foreign_keys = OFF; {sql}"));
        let vkey = log_vkey(pair.birch.settings()).unwrap();
        let mut conn = tamper::open(&kept);
        let changed = static_log::write(&mut conn, &vkey, &log, &mut |_, _| {}, &AtomicBool::new(false));
        assert!(matches!(changed, Err(ExportError::Changed(_) | ExportError::Trail(_))), "{sql}: {changed:?}");
        assert_eq!(fs::read(log.join("checkpoint")).unwrap(), before, "{sql}: no new head");
        fs::remove_file(&kept).unwrap();
    }
    let stopped = static_log::write(
        &mut pair.birch.conn(),
        &log_vkey(pair.birch.settings()).unwrap(),
        &log,
        &mut |_, _| {},
        &true.into(),
    );
    assert!(matches!(stopped, Err(ExportError::Stopped)));
}
