//! S40: the messages of each release, recorded once and understood for ever; and what is of no version that is spoken.
//!
//! See `integration/recorded/README.md`. `cargo test -p integration --test scenarios record_the_messages -- --ignored`
//! records the sets of a new protocol version; it never touches one that is there.

mod pulling;
mod record;
mod refuse;
mod renewed;
mod understand;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use agreements::agreement::Agreement;
use agreements::entry::{Kind, Leaf};
use agreements::hotlist::{self, Asserted, Assertion};
use agreements::ids::{Digest, Ori};
use agreements::message::{Message, Offer, Question};
use agreements::protocol::Spoken;
use concordat::exchange::descriptor;
use concordat::exchange::partner::Partner;
use concordat::exchange::sworn::{self, Sworn};
use concordat::exchange::wire::Envelope;
use concordat::trail::proof::CheckpointCache;
use integration::pair::Terms;
use serde::{Deserialize, Serialize};

/// The hotlist that the recorded agreement grants, and of which categories.
const LIST: &str = "wanted";
const CATEGORIES: [&str; 2] = ["felony_vehicle", "stolen_vehicle"];

/// The usual terms, with a hotlist.
fn terms() -> Terms {
    Terms { lists: vec![(LIST, CATEGORIES.to_vec())], ..Terms::default() }
}

fn folder(version: u16) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("recorded/v{version}"))
}

/// The folder of what is said about renewals, keys and places.
fn renewed(version: u16) -> PathBuf {
    folder(version).with_file_name(format!("v{version}-renewal"))
}

/// What one file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case", deny_unknown_fields)]
enum Is {
    /// A descriptor file.
    Descriptor,
    /// What a node says of itself.
    Description,
    /// A sworn entry of this kind, from one agency to another.
    Entry { kind: Kind, from: Ori, to: Ori },
    /// What a node says of an agreement, with its events.
    View { from: Ori, to: Ori },
    /// Which hotlists a node offers.
    Offers { from: Ori, to: Ori },
    /// What a node's trail has for the other on the day on which it was recorded.
    Day { from: Ori, to: Ori },
    /// A problem document with this status, of this kind.
    Problem { status: u16, slug: String },
}

/// A line of `index.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    file: String,
    #[serde(flatten)]
    is: Is,
}

/// A recorded set.
struct Set {
    lines: Vec<Line>,
    bodies: BTreeMap<String, Vec<u8>>,
    partners: BTreeMap<Ori, Partner>,
}

/// The sets of all versions that this release speaks.
fn sets() -> Vec<(u16, Set)> {
    Spoken::OURS.versions().into_iter().map(|version| (version, Set::read(&folder(version)))).collect()
}

/// The sets of what is said about renewals, keys and places, of all versions that this release speaks.
fn renewals() -> Vec<(u16, Set)> {
    Spoken::OURS.versions().into_iter().map(|version| (version, Set::read(&renewed(version)))).collect()
}

impl Set {
    fn read(folder: &Path) -> Self {
        let lines: Vec<Line> = serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
        let body = |line: &Line| (line.file.clone(), fs::read(folder.join(&line.file)).unwrap());
        let bodies: BTreeMap<String, Vec<u8>> = lines.iter().map(body).collect();
        let descriptors = lines.iter().filter(|line| line.is == Is::Descriptor);
        let partner = |line: &Line| {
            let (party, _) = descriptor::read(&bodies[&line.file]).unwrap();
            (party.ori, Partner::new(party).unwrap())
        };
        let partners = descriptors.map(partner).collect();
        Self { lines, bodies, partners }
    }

    fn body(&self, file: &str) -> &[u8] {
        &self.bodies[file]
    }

    /// The sworn line of a file, and what follows it.
    fn parted(&self, file: &str) -> (&[u8], &[u8]) {
        let body = self.body(file);
        if !file.ends_with(".ndjson") {
            return (body, b"");
        }
        let ends = body.iter().position(|byte| *byte == b'\n').unwrap();
        (&body[..ends], &body[ends + 1..])
    }

    fn envelope(&self, file: &str) -> Envelope<'_> {
        Envelope::parse(self.parted(file).0).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    fn entries(&self) -> impl Iterator<Item = (&str, Kind, Ori, Ori)> {
        self.lines.iter().filter_map(|line| match line.is {
            Is::Entry { kind, from, to } => Some((line.file.as_str(), kind, from, to)),
            _ => None,
        })
    }

    /// The entry in this file, verified as the door for its kind does.
    fn sworn<T: Message>(&self, file: &str, kind: Kind, from: Ori, to: Ori) -> Sworn<T> {
        let cache = CheckpointCache::default();
        sworn::verify(&self.envelope(file), kind, &self.partners[&from], to, &cache)
            .unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    /// The same, with what the index says that it is.
    fn listed<T: Message>(&self, file: &str) -> Sworn<T> {
        let (_, kind, from, to) = self.entries().find(|(name, ..)| *name == file).unwrap();
        self.sworn(file, kind, from, to)
    }

    fn question(&self, file: &str) -> Sworn<Question> {
        self.listed(file)
    }

    /// The recorded agreement, with its canonical bytes.
    fn agreement(&self) -> (Agreement, Vec<u8>) {
        let (file, kind, from, to) = self.entries().find(|(_, kind, ..)| *kind == Kind::AgreementOffered).unwrap();
        let offer: Sworn<Offer> = self.sworn(file, kind, from, to);
        let document = self.envelope(file).document.unwrap().get().as_bytes().to_vec();
        assert_eq!(offer.message().document, Digest::of(&document));
        let agreement = Agreement::from_bytes(&document).unwrap();
        assert_eq!(agreement.id, offer.agreement());
        (agreement, document)
    }

    /// The leaf hash of every entry, by file.
    fn leaf_hashes(&self) -> BTreeMap<String, Digest> {
        let hash = |file: &str| Leaf::hash_of(self.envelope(file).entry.leaf.get().as_bytes());
        self.entries().map(|(file, ..)| (file.to_owned(), hash(file))).collect()
    }

    /// The assertions in the order in which they were made.
    fn assertions(&self) -> impl Iterator<Item = (&str, Assertion)> {
        let files = self.entries().filter(|(_, kind, ..)| *kind == Kind::HotlistAsserted);
        files.map(|(file, kind, from, to)| (file, self.sworn::<Assertion>(file, kind, from, to).into_parts().0))
    }
}

/// What is asserted, unless it was denied.
fn asserted(assertion: &Assertion) -> Option<&Asserted> {
    match &assertion.outcome {
        hotlist::Outcome::Asserted(asserted) => Some(asserted),
        hotlist::Outcome::Denied { .. } => None,
    }
}
