//! Transactions of the kinds that diesel has no word for, over either database.

use diesel::Connection;
use diesel::QueryResult;
use diesel::connection::{AnsiTransactionManager, TransactionManager};
use diesel::result::Error;

use super::Conn;

type Manager = <Conn as Connection>::TransactionManager;

/// Begins a transaction that writes. SQLite takes its write lock at once: a deferred transaction that read before it
/// writes fails without waiting when another process wrote in between.
pub(super) fn begin(conn: &mut Conn) -> QueryResult<()> {
    match conn {
        Conn::Sqlite(c) => AnsiTransactionManager::begin_transaction_sql(c, "BEGIN IMMEDIATE"),
        // Named, because a server's default may be another level, under which writers that queue at the head's lock fail.
        Conn::Pg(c) => {
            AnsiTransactionManager::begin_transaction_sql(c, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
        }
    }
}

/// Begins a savepoint within a transaction.
pub(super) fn savepoint(conn: &mut Conn) -> QueryResult<()> {
    Manager::begin_transaction(conn)
}

/// Ends the innermost savepoint or transaction, keeping what it did.
pub(super) fn commit(conn: &mut Conn) -> QueryResult<()> {
    Manager::commit_transaction(conn)
}

/// Ends the innermost savepoint or transaction, undoing what it did.
pub(super) fn rollback(conn: &mut Conn) -> QueryResult<()> {
    Manager::rollback_transaction(conn)
}

/// How many transactions and savepoints are open; `None` when the connection does not know any more.
pub(super) fn depth(conn: &mut Conn) -> Option<u32> {
    let depth = match conn {
        Conn::Sqlite(c) => AnsiTransactionManager::transaction_manager_status_mut(c).transaction_depth(),
        Conn::Pg(c) => AnsiTransactionManager::transaction_manager_status_mut(c).transaction_depth(),
    };
    Some(depth.ok()?.map_or(0, std::num::NonZeroU32::get))
}

/// Like [`snapshot`], or as the transaction sees it that is open already.
pub(crate) fn steady<T, E: From<Error>>(conn: &mut Conn, read: impl FnOnce(&mut Conn) -> Result<T, E>) -> Result<T, E> {
    if depth(conn) == Some(0) { snapshot(conn, read) } else { read(conn) }
}

/// Does what `write` does in one transaction that takes its write lock at once, or nothing of it.
pub(crate) fn immediate<T, E: From<Error>>(
    conn: &mut Conn,
    write: impl FnOnce(&mut Conn) -> Result<T, E>,
) -> Result<T, E> {
    begin(conn)?;
    match write(conn) {
        Ok(value) => {
            commit(conn)?;
            Ok(value)
        }
        Err(error) => {
            rollback(conn)?;
            Err(error)
        }
    }
}

/// Reads one state of the database in all the statements of `read`, whatever others write meanwhile.
pub(crate) fn snapshot<T, E: From<Error>>(
    conn: &mut Conn,
    read: impl FnOnce(&mut Conn) -> Result<T, E>,
) -> Result<T, E> {
    match conn {
        Conn::Sqlite(c) => AnsiTransactionManager::begin_transaction_sql(c, "BEGIN")?,
        Conn::Pg(c) => {
            AnsiTransactionManager::begin_transaction_sql(c, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
        }
    }
    let found = read(conn);
    let ended = rollback(conn);
    let found = found?;
    ended?;
    Ok(found)
}
