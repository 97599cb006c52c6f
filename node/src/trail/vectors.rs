//! The formats' published test vectors (`testdata/tlog/README.md` says whose they are).

use std::path::Path;

use agreements::time::Instant;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tlog_tiles::Hash;

use super::cosignature::{CosignerKey, SignedText};
use super::note::{Checkpoint, Vkey};

fn file(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/tlog").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn vectors<'a>(file: &'a Value, name: &str) -> &'a [Value] {
    let vectors = file[name].as_array().unwrap();
    assert!(!vectors.is_empty());
    vectors
}

fn text<'a>(vector: &'a Value, name: &str) -> &'a str {
    vector[name].as_str().unwrap()
}

fn number(vector: &Value, name: &str) -> u64 {
    vector[name].as_u64().unwrap()
}

/// What is no hash of 32 bytes is none in any proof: for this code it fails before the mathematics.
fn hash(text: &str) -> Option<Hash> {
    STANDARD.decode(text).ok()?.try_into().ok().map(Hash)
}

fn hashes(vector: &Value) -> Option<Vec<Hash>> {
    vector["proof"].as_array().unwrap().iter().map(|text| hash(text.as_str().unwrap())).collect()
}

#[test]
fn inclusion_proofs_of_others_verify_and_their_wrong_ones_do_not() {
    for vector in vectors(&file("merkle.json"), "inclusion") {
        let verified = || {
            let (root, leaf) = (hash(text(vector, "root"))?, hash(text(vector, "leafHash"))?);
            let (size, index) = (number(vector, "treeSize"), number(vector, "leafIdx"));
            tlog_tiles::check_record(&hashes(vector)?, size, root, index, leaf).ok()
        };
        assert_eq!(verified().is_none(), vector["wantErr"], "{vector}");
    }
}

#[test]
fn consistency_proofs_of_others_verify_and_their_wrong_ones_do_not() {
    for vector in vectors(&file("merkle.json"), "consistency") {
        let verified = || {
            let (before, after) = (hash(text(vector, "root1"))?, hash(text(vector, "root2"))?);
            let (from, to) = (number(vector, "size1"), number(vector, "size2"));
            tlog_tiles::check_tree(&hashes(vector)?, to, after, from, before).ok()
        };
        assert_eq!(verified().is_none(), vector["wantErr"], "{vector}");
    }
}

#[test]
fn notes_that_others_signed_verify_with_their_keys_alone() {
    let file = file("notes.json");
    let notes = vectors(&file, "notes");
    for vector in notes {
        let vkey: Vkey = text(vector, "vkey").parse().unwrap();
        assert_eq!(vkey.to_string(), text(vector, "vkey"));
        assert!(vkey.signed(text(vector, "note")), "{vector}");
        assert!(!vkey.signed(&text(vector, "note").replacen("cryptography", "photography", 1)), "{vector}");
    }
    let [first, second] = notes else { panic!("two notes") };
    let enoch: Vkey = text(second, "vkey").parse().unwrap();
    assert!(!enoch.signed(text(first, "note")), "it signed the second alone");
    for vector in vectors(&file, "no_vkeys") {
        assert!(text(vector, "vkey").parse::<Vkey>().is_err(), "{vector}");
    }
}

#[test]
fn a_cosignature_that_another_implementation_made_verifies_with_its_time() {
    let file = file("notes.json");
    for vector in vectors(&file, "witness_keys") {
        assert_eq!(text(vector, "vkey").parse::<CosignerKey>().unwrap().to_string(), text(vector, "vkey"));
    }
    for vector in vectors(&file, "cosigned") {
        let (vkey, note) = (text(vector, "vkey").parse().unwrap(), text(vector, "note"));
        assert_eq!(Checkpoint::verify(note, &vkey).unwrap().size, 20_852_163);
        let witness: CosignerKey = text(vector, "witness").parse().unwrap();
        let seconds = i64::try_from(number(vector, "seconds")).unwrap();
        let at = witness.cosigned(&SignedText::parse(note).unwrap());
        assert_eq!(at, Some(Instant::from_micros(seconds * Instant::SECOND)));
        let larger = note.replacen("20852163", "20852164", 1);
        assert_eq!(witness.cosigned(&SignedText::parse(&larger).unwrap()), None);
    }
}
