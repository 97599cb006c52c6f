//! One agency's registry on a database of its own, with a log key and a clock: the services without a node.

use std::sync::{Arc, Mutex};

use agreements::entry::Kind;
use agreements::json;
use certs::key::SigningKey;
use concordat::clock::SetClock;
use concordat::compliance::Keeper;
use concordat::db::{Conn, Db, DbError, RecordError, Recorded};
use concordat::node::fresh_rid;
use concordat::seal::Seal;
use concordat::trail::note::{LogSigner, SignError, Vkey};
use concordat::trail::{Draft, Facts, Said};

use crate::database::{Backend, TestDatabase};
use crate::federation::start;

/// Who keeps the register of an agency without a node.
pub fn keeper() -> Keeper {
    Keeper {
        ours: "CA0990000".parse().unwrap(),
        name: "Alder County Sheriff".to_owned(),
        seal: Arc::new(Seal::of(SigningKey::generate_p256().unwrap())),
        contacts: Vec::new(),
    }
}

/// An Ed25519 key with the name of a log.
pub struct LogKey {
    key: SigningKey,
    vkey: Vkey,
}

impl LogKey {
    pub fn new(name: &str) -> Self {
        let key = SigningKey::generate_ed25519().unwrap();
        let vkey = Vkey::new(name, key.public().ed25519_bytes().unwrap()).unwrap();
        Self { key, vkey }
    }
}

impl LogSigner for LogKey {
    fn vkey(&self) -> &Vkey {
        &self.vkey
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        self.key.sign(message).ok().and_then(|signature| signature.try_into().ok()).ok_or(SignError)
    }
}

/// A registry that a test opens as often as it wants.
pub struct TestRegistry {
    pub database: TestDatabase,
    pub key: Arc<LogKey>,
    pub clock: SetClock,
    /// Why a writer stopped, if one did.
    pub fatal: Arc<Mutex<Vec<String>>>,
}

impl TestRegistry {
    pub fn on(backend: Backend) -> Self {
        Self::of(backend.database())
    }

    pub fn of(database: TestDatabase) -> Self {
        let key = Arc::new(LogKey::new("alder.test/trail"));
        Self { database, key, clock: SetClock::at(start()), fatal: Arc::default() }
    }

    pub fn try_open(&self) -> Result<Db, DbError> {
        self.try_open_at(&self.database.url)
    }

    pub fn try_open_at(&self, url: &str) -> Result<Db, DbError> {
        let fatal = Arc::clone(&self.fatal);
        let on_fatal = Arc::new(move |reason: &str| fatal.lock().unwrap().push(reason.to_owned()));
        Db::open(url, self.key.clone(), Arc::new(self.clock.clone()), on_fatal)
    }

    pub fn open(&self) -> Db {
        self.try_open().unwrap()
    }

    pub fn conn(&self) -> Conn {
        self.database.conn()
    }

    pub fn fatal(&self) -> Vec<String> {
        self.fatal.lock().unwrap().clone()
    }
}

/// A draft with a fresh id and `number` in its message.
pub fn draft(now: agreements::time::Instant, number: u64) -> Draft {
    Draft {
        kind: Kind::QueryAnswered,
        rid: fresh_rid(now).unwrap(),
        message: json::canonical(&serde_json::json!({ "number": number })).unwrap(),
        note: b"{}".to_vec(),
        facts: Facts { username: Some(format!("user{}", number % 3)), ..Facts::default() },
    }
}

/// Appends `count` entries in one job.
pub async fn append(db: &Db, count: u64) -> Result<Recorded<()>, RecordError> {
    db.record(move |tx| {
        for number in 0..count {
            tx.append(draft(tx.now(), number))?;
        }
        Ok(())
    })
    .await
}

/// A runtime for one test.
pub fn block_on<T>(what: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(what)
}

/// An answer as a busy node's trail has it: of 50 users, 5,000 cases, 1,000 plates.
pub fn said(number: usize) -> Said {
    let message = json::canonical(&serde_json::json!({
        "outcome": {"decision": "permitted", "reads": ["01936b5e-0000-7000-8000-000000000001"], "capped": []},
        "question": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "to": [{"agreement": "01936b5e-0000-7000-8000-000000000002", "ori": "CA0990000"}], "v": 1,
    }));
    let facts = Facts {
        partner: Some("CA0990000".parse().unwrap()),
        username: Some(format!("alder.user{}", number % 50)),
        purpose: Some("criminal_investigation".to_owned()),
        reference: Some(format!("case:2026-{}", number % 5000)),
        plate: Some(format!("7BEN{:03}", number % 1000)),
        decision: Some("permitted".to_owned()),
        rule: None,
    };
    Said::new(Kind::QueryAnswered, message.unwrap(), br#"{"from":"192.0.2.1:4711"}"#, facts).unwrap()
}
