//! Trails that swear whatever a test wants: the owner's side without the asker's own screen in front of it.

use std::path::Path;
use std::sync::Arc;

use agreements::entry::Kind;
use agreements::ids::{AgreementId, RequestId};
use agreements::json;
use agreements::message::{Asker, OnBehalfOf, PROTOCOL, Question, Search, To};
use agreements::purpose::Purpose;
use agreements::time::Instant;
use concordat::clock::Clock as _;
use concordat::db::Db;
use concordat::exchange::wire::{self, Bulk};
use concordat::node::{fresh_rid, open_registry};
use concordat::trail::{Draft, Facts};
use serde::Serialize;

use crate::clock::TestClock;
use crate::node::{CASE, REASON, TestNode};

/// A trail in a test's hand.
pub struct Forger {
    db: Db,
    /// The clock by which it dates entries.
    pub clock: TestClock,
}

impl Forger {
    /// Over a trail that was opened somewhere.
    pub fn over(db: Db, clock: TestClock) -> Self {
        Self { db, clock }
    }

    /// Its registry.
    pub(crate) fn db(&self) -> &Db {
        &self.db
    }

    /// An entry of any kind with this message: its id, and the text that carries it.
    pub async fn swears(&self, kind: Kind, rid: Option<RequestId>, message: &impl Serialize) -> (RequestId, String) {
        self.swears_bytes(kind, rid, json::canonical(message).unwrap(), Bulk::None).await
    }

    /// The same with bytes that need be no message, and bulk.
    pub async fn swears_bytes(
        &self,
        kind: Kind,
        rid: Option<RequestId>,
        message: Vec<u8>,
        bulk: Bulk<'_>,
    ) -> (RequestId, String) {
        let rid = rid.unwrap_or_else(|| fresh_rid(self.clock.now()).unwrap());
        let draft = Draft { kind, rid, message, note: b"{}".to_vec(), facts: Facts::default() };
        let recorded = self.db.record(move |tx| tx.append(draft)).await.unwrap();
        (rid, wire::write(recorded.entry(*recorded).unwrap(), bulk).unwrap())
    }

    /// A question, as a text for the wire.
    pub async fn asks(&self, question: &Question) -> String {
        self.swears(Kind::QueryAsked, None, question).await.1
    }
}

impl TestNode {
    /// This node's own trail, in the test's hand.
    pub fn forger(&self) -> Forger {
        Forger { db: self.node().registry().clone(), clock: self.clock.clone() }
    }

    /// A fork of this node's trail as it is now: a copy with the same key, whose entries the node itself never sees. It
    /// has a clock of its own.
    pub fn fork(&self, folder: &Path) -> Forger {
        let file = folder.join("fork.db");
        crate::tamper::copy(&self.registry_file(), &file);
        let mut config = self.settings().clone();
        config.store.registry = format!("sqlite:{}", file.display()).parse().unwrap();
        let clock = TestClock::at(self.clock.now());
        let db = open_registry(&config, Arc::new(clock.clone()), Arc::new(|_: &str| {})).unwrap();
        Forger { db, clock }
    }

    /// A question that every rule of an owner lets pass.
    pub fn question(&self, owner: &Self, agreement: AgreementId, plate: &str) -> Question {
        let now = self.clock.now();
        Question {
            v: PROTOCOL,
            to: vec![To { ori: owner.ori(), agreement }],
            asker: Asker {
                agency: self.ori(),
                username: self.fiction.person("investigator"),
                name: "Indigo Investigator".to_owned(),
                affiliation: "Detectives".to_owned(),
                approved: true,
                trained_on: now.date(),
            },
            on_behalf_of: OnBehalfOf { agency: self.ori(), end_user: self.fiction.person("investigator") },
            purpose: Purpose::CriminalInvestigation,
            reference: Some(format!("case:{CASE}").parse().unwrap()),
            reason: REASON.to_owned(),
            supervisor: None,
            why_all: None,
            search: Search::Exact { plate: plate.parse().unwrap() },
            from: now.plus(-7 * Instant::DAY),
            until: now.plus(Instant::MINUTE),
            area: None,
            max_rows: 50,
            images: true,
        }
    }
}
