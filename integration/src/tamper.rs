//! Changing a database behind everybody's back.

use std::path::Path;

use concordat::db::Conn;
use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};

fn connect(file: &Path) -> SqliteConnection {
    let mut conn = SqliteConnection::establish(&file.display().to_string()).unwrap();
    conn.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = OFF;").unwrap();
    conn
}

/// Runs `sql` on the file.
pub fn run(file: &Path, sql: &str) {
    connect(file).batch_execute(sql).unwrap();
}

/// Copies a database, whether or not it is in use.
pub fn copy(file: &Path, to: &Path) {
    connect(file).batch_execute(&format!("VACUUM INTO '{}'", to.display())).unwrap();
}

/// A connection to the file, as it is.
pub fn open(file: &Path) -> Conn {
    Conn::Sqlite(connect(file))
}
