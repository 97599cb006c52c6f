//! What the trail's tests share: a log key, and a node's database in a temporary folder.

use std::sync::{Arc, Mutex};

use agreements::entry::Kind;
use agreements::ids::RequestId;
use agreements::json;
use agreements::time::Instant;
use diesel::prelude::*;
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;

use super::append::{Draft, Facts};
use super::note::{LogSigner, SignError, Vkey};
use crate::clock::SetClock;
use crate::db::{Conn, Db, DbError};

/// An Ed25519 key with a name.
pub(crate) struct TestKey {
    key: PKey<Private>,
    vkey: Vkey,
}

impl TestKey {
    pub(crate) fn new(name: &str) -> Self {
        let key = PKey::generate_ed25519().unwrap();
        let public = key.raw_public_key().unwrap().try_into().unwrap();
        Self { key, vkey: Vkey::new(name, public).unwrap() }
    }
}

impl LogSigner for TestKey {
    fn vkey(&self) -> &Vkey {
        &self.vkey
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        let mut signer = Signer::new_without_digest(&self.key).unwrap();
        Ok(signer.sign_oneshot_to_vec(message).unwrap().try_into().unwrap())
    }
}

/// One agency's registry in a folder of its own.
pub(crate) struct TestTrail {
    folder: tempfile::TempDir,
    pub(crate) key: Arc<TestKey>,
    pub(crate) clock: SetClock,
    pub(crate) fatal: Arc<Mutex<Vec<String>>>,
}

impl TestTrail {
    pub(crate) fn new() -> Self {
        Self::with(Arc::new(TestKey::new("alder.example/trail")))
    }

    pub(crate) fn with(key: Arc<TestKey>) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            key,
            clock: SetClock::at("2026-11-23T20:17:00.000001Z".parse().unwrap()),
            fatal: Arc::default(),
        }
    }

    pub(crate) fn path(&self) -> String {
        self.folder.path().join("registry.db").display().to_string()
    }

    pub(crate) fn open(&self) -> Db {
        self.try_open().unwrap()
    }

    pub(crate) fn try_open(&self) -> Result<Db, DbError> {
        let fatal = self.fatal.clone();
        let on_fatal = Arc::new(move |reason: &str| fatal.lock().unwrap().push(reason.to_owned()));
        Db::open(&format!("sqlite:{}", self.path()), self.key.clone(), Arc::new(self.clock.clone()), on_fatal)
    }

    /// Changes the database behind everybody's back.
    pub(crate) fn tamper(&self, sql: &str) {
        use diesel::connection::SimpleConnection as _;
        let mut conn = SqliteConnection::establish(&self.path()).unwrap();
        conn.batch_execute(&format!("PRAGMA busy_timeout = 5000; {sql}")).unwrap();
    }

    pub(crate) fn connect(&self) -> Conn {
        Conn::Sqlite(SqliteConnection::establish(&self.path()).unwrap())
    }
}

/// A draft with a fresh id and `number` in its message.
pub(crate) fn draft(now: Instant, number: u64) -> Draft {
    let mut random = [0; 10];
    openssl::rand::rand_bytes(&mut random).unwrap();
    Draft {
        kind: Kind::QueryAnswered,
        rid: RequestId::new(now, random),
        message: json::canonical(&serde_json::json!({ "number": number })).unwrap(),
        note: json::canonical(&serde_json::json!({ "source": "192.0.2.1" })).unwrap(),
        facts: Facts { username: Some(format!("user{}", number % 3)), ..Facts::default() },
    }
}
