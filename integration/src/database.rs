//! Databases of either kind for a test, and changing them behind everybody's back.

use std::fmt::Write as _;
use std::path::PathBuf;

use concordat::db::Conn;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};
use diesel::{PgConnection, SqliteConnection};
use tempfile::TempDir;

use crate::postgres;

/// On which kind of database a test runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// A database by its address, as whoever can reach it sees it.
#[derive(Clone, Debug)]
pub struct Store {
    pub url: String,
}

/// An empty database that nobody else has.
pub struct TestDatabase {
    pub backend: Backend,
    store: Store,
    folder: Option<TempDir>,
}

impl Backend {
    /// Whether it can be had here. It is said on stderr when not.
    pub fn is_there(self) -> bool {
        self == Self::Sqlite || postgres::shared().is_some()
    }

    pub fn database(self) -> TestDatabase {
        match self {
            Self::Sqlite => {
                let folder = tempfile::tempdir().unwrap();
                let url = format!("sqlite:{}", folder.path().join("store.db").display());
                TestDatabase { backend: self, store: Store { url }, folder: Some(folder) }
            }
            Self::Postgres => {
                let url = postgres::shared().expect("PostgreSQL").database();
                TestDatabase { backend: self, store: Store { url }, folder: None }
            }
        }
    }
}

impl TestDatabase {
    /// Where the file is, if it is one.
    pub fn file(&self) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.path().join("store.db"))
    }
}

impl std::ops::Deref for TestDatabase {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

#[derive(QueryableByName)]
struct Cell {
    #[diesel(sql_type = Nullable<Text>)]
    cell: Option<String>,
}

impl Store {
    /// A connection that may do everything, without the product's settings.
    pub fn conn(&self) -> Conn {
        if let Some(path) = self.url.strip_prefix("sqlite:") {
            let mut conn = SqliteConnection::establish(path).unwrap();
            conn.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = OFF;").unwrap();
            return Conn::Sqlite(conn);
        }
        let mut conn = PgConnection::establish(&self.url).unwrap();
        // As who edits by hand would turn the checks off.
        conn.batch_execute("SET session_replication_role = replica").unwrap();
        Conn::Pg(conn)
    }

    /// Runs statements by hand.
    pub fn run(&self, sql: &str) {
        self.conn().batch_execute(sql).unwrap();
    }

    /// The texts that a query gives in its column `cell`.
    pub fn cells(&self, sql: &str) -> Vec<Option<String>> {
        let rows: Vec<Cell> = diesel::sql_query(sql).load(&mut self.conn()).unwrap();
        rows.into_iter().map(|row| row.cell).collect()
    }

    /// The one text of a query.
    pub fn cell(&self, sql: &str) -> String {
        self.cells(sql).remove(0).unwrap()
    }

    pub fn is_postgres(&self) -> bool {
        !self.url.starts_with("sqlite:")
    }

    /// Bytes as SQL writes them here.
    pub fn bytes(&self, bytes: &[u8]) -> String {
        let mut hex = String::new();
        for byte in bytes {
            write!(hex, "{byte:02x}").unwrap();
        }
        if self.is_postgres() { format!("'\\x{hex}'::bytea") } else { format!("x'{hex}'") }
    }

    /// An expression for the bytes of `column` with one text in them replaced by another.
    pub fn replaced(&self, column: &str, from: &str, to: &str) -> String {
        if self.is_postgres() {
            format!("convert_to(replace(convert_from({column}, 'UTF8'), '{from}', '{to}'), 'UTF8')")
        } else {
            format!("CAST(replace(CAST({column} AS TEXT), '{from}', '{to}') AS BLOB)")
        }
    }
}

/// Runs each test body on both databases: `name::sqlite`, and `name::postgres` where there is one.
#[macro_export]
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            #[test]
            fn sqlite() {
                super::$name($crate::database::Backend::Sqlite);
            }

            #[test]
            fn postgres() {
                if $crate::database::Backend::Postgres.is_there() {
                    super::$name($crate::database::Backend::Postgres);
                }
            }
        })+
    };
}

/// The same for bodies that wait for the network.
#[macro_export]
macro_rules! nodes_on_both {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            #[actix_web::test]
            async fn sqlite() {
                super::$name($crate::database::Backend::Sqlite).await;
            }

            #[actix_web::test]
            async fn postgres() {
                if $crate::database::Backend::Postgres.is_there() {
                    super::$name($crate::database::Backend::Postgres).await;
                }
            }
        })+
    };
}
