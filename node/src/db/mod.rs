//! Connections, transactions and the single writer.

mod conn;

pub use conn::Conn;

/// Runs one statement on whichever database `$conn` is: for the few that diesel's `MultiConnection` does not cover
/// (`on_conflict`, batch inserts, `returning(as_returning())`).
macro_rules! each {
    ($conn:expr, $c:ident => $body:expr) => {
        match $conn {
            $crate::db::Conn::Sqlite($c) => $body,
            $crate::db::Conn::Pg($c) => $body,
        }
    };
}
pub(crate) use each;
