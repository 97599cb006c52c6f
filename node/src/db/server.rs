//! PostgreSQL as both stores use it: connections that keep what they commit, and errors that show no password.

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Integer, Text};

/// The oldest release that this program is tested with, as `server_version_num` has it.
const OLDEST: i32 = 150_000;

/// Why a PostgreSQL database is not used.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// No connection.
    #[error("{0} does not answer{1}; start the server, or correct its address under [store] in concordat.toml")]
    Unreachable(String, String),
    /// It can lose what it says that it has committed, or text.
    #[error("{0} {1}")]
    Unsafe(String, Unsafe),
    /// A statement failed.
    #[error(transparent)]
    Query(#[from] diesel::result::Error),
}

/// A setting of a server that cannot be trusted with records. Each says what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsafe {
    /// `fsync`.
    #[error(
        "runs with fsync=off: a power cut loses what was committed. Set fsync = on in postgresql.conf and reload it"
    )]
    Fsync,
    /// `full_page_writes`.
    #[error(
        "runs with full_page_writes=off: a power cut can tear pages. Set full_page_writes = on in postgresql.conf and reload it"
    )]
    FullPageWrites,
    /// The encoding of the database.
    #[error("has the encoding {0}: make the database again with ENCODING 'UTF8' TEMPLATE template0")]
    Encoding(String),
    /// The server's release.
    #[error("is on PostgreSQL {}: use release 15 or a later one", .0 / 10_000)]
    Old(i32),
    /// A server that takes no writes.
    #[error("is on a standby, which takes no writes: give the address of the primary")]
    Standby,
}

#[derive(QueryableByName)]
struct Settings {
    #[diesel(sql_type = Text)]
    fsync: String,
    #[diesel(sql_type = Text)]
    full_page_writes: String,
    #[diesel(sql_type = Text)]
    encoding: String,
    #[diesel(sql_type = Integer)]
    version: i32,
    #[diesel(sql_type = Bool)]
    standby: bool,
}

/// Commits wait for the disk in this session, whatever the server's default is; a stricter default stays.
const SYNCHRONOUS: &str = "SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit') \
     WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false)";
const SETTINGS: &str = "SELECT current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes, \
     current_setting('server_encoding') AS encoding, current_setting('server_version_num')::integer AS version, \
     pg_is_in_recovery() AS standby";

impl Settings {
    fn judged(self) -> Result<(), Unsafe> {
        match self {
            Self { version, .. } if version < OLDEST => Err(Unsafe::Old(version)),
            Self { standby: true, .. } => Err(Unsafe::Standby),
            Self { fsync, .. } if fsync != "on" => Err(Unsafe::Fsync),
            Self { full_page_writes, .. } if full_page_writes != "on" => Err(Unsafe::FullPageWrites),
            Self { encoding, .. } if encoding != "UTF8" => Err(Unsafe::Encoding(encoding)),
            _ => Ok(()),
        }
    }
}

/// A connection whose commits are durable when they return.
pub(crate) fn writer(url: &str) -> Result<PgConnection, ServerError> {
    let mut conn = connect(url)?;
    conn.batch_execute(SYNCHRONOUS)?;
    let settings: Settings = diesel::sql_query(SETTINGS).get_result(&mut conn)?;
    settings.judged().map_err(|why| ServerError::Unsafe(spoken(url), why))?;
    Ok(conn)
}

/// A connection that cannot write.
pub(crate) fn reader(url: &str) -> Result<PgConnection, ServerError> {
    let mut conn = connect(url)?;
    conn.batch_execute("SET default_transaction_read_only = on")?;
    Ok(conn)
}

/// A connection as the server sets it up, which may not be waited for without end.
pub(crate) fn connect(url: &str) -> Result<PgConnection, ServerError> {
    PgConnection::establish(&bounded(url))
        .map_err(|error| ServerError::Unreachable(spoken(url), reason(url, &error.to_string())))
}

/// The address with limits on how long a silent host is waited for, where it names none: libpq would wait for ever to
/// connect, and a quarter of an hour for an answer.
fn bounded(url: &str) -> String {
    let mut bounded = url.to_owned();
    for (name, limit) in [("connect_timeout", "10"), ("tcp_user_timeout", "30000")] {
        if !url.contains(&format!("{name}=")) {
            let joint = if bounded.contains('?') { '&' } else { '?' };
            bounded = format!("{bounded}{joint}{name}={limit}");
        }
    }
    bounded
}

/// The parts of an address in its plain form, `postgres://[USER[:PASSWORD]@]HOST[/NAME][?…]`; `None` for any other, of
/// which nobody knows where a password ends.
fn parts(url: &str) -> Option<(Option<&str>, String)> {
    let (_, rest) = url.split_once("://")?;
    let (plain, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, name) = plain.split_once('/').unwrap_or((plain, ""));
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = user.split_once(':').map_or((user, None), |(user, password)| (user, Some(password)));
    let simple = |text: &str, also: &str| {
        text.chars().all(|c| c.is_ascii_alphanumeric() || "%._-".contains(c) || also.contains(c))
    };
    let port = |port: &str| port.ends_with(']') || port.bytes().all(|b| b.is_ascii_digit());
    let ports = host.split(',').all(|host| host.rsplit_once(':').is_none_or(|(_, after)| port(after)));
    let plain = simple(user, "") && simple(host, ":,[]") && ports && simple(name, "") && !query.contains("password");
    let at = if user.is_empty() { "" } else { "@" };
    plain.then(|| (password, format!("the database postgres://{user}{at}{host}/{name}")))
}

/// The address as a log may show it.
fn spoken(url: &str) -> String {
    parts(url).map_or_else(|| "the PostgreSQL database".to_owned(), |(_, spoken)| spoken)
}

/// What the client library says of a failure, if no password can be in it.
fn reason(url: &str, said: &str) -> String {
    let Some((password, _)) = parts(url) else { return String::new() };
    let said: Vec<&str> = said.split_whitespace().collect();
    let said = said.join(" ");
    let secret = |password: &str| said.contains(password) || said.contains(&decoded(password));
    if password.is_some_and(secret) { String::new() } else { format!(" ({said})") }
}

/// A text with its `%XX` taken for the bytes that they stand for.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail
            .get(..2)
            .and_then(|two| std::str::from_utf8(two).ok())
            .and_then(|two| u8::from_str_radix(two, 16).ok());
        match escaped {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn safe() -> Settings {
        let on = || "on".to_owned();
        Settings { fsync: on(), full_page_writes: on(), encoding: "UTF8".to_owned(), version: 150_004, standby: false }
    }

    #[test]
    fn unsafe_settings_are_refused_with_what_to_change() {
        assert_eq!(safe().judged(), Ok(()));
        let off = || "off".to_owned();
        for (settings, why, says) in [
            (Settings { fsync: off(), ..safe() }, Unsafe::Fsync, "fsync = on"),
            (Settings { full_page_writes: off(), ..safe() }, Unsafe::FullPageWrites, "full_page_writes = on"),
            (Settings { encoding: "LATIN1".into(), ..safe() }, Unsafe::Encoding("LATIN1".into()), "ENCODING 'UTF8'"),
            (Settings { version: 149_999, ..safe() }, Unsafe::Old(149_999), "PostgreSQL 14: use release 15"),
            (Settings { standby: true, ..safe() }, Unsafe::Standby, "primary"),
        ] {
            assert!(why.to_string().contains(says), "{why}");
            assert_eq!(settings.judged(), Err(why));
        }
    }

    #[test]
    fn a_dead_server_is_named_with_what_to_do_and_without_its_password() {
        for url in [
            "postgres://node:s3cr%65t@127.0.0.1:1/registry",
            "postgres://node:s3cr%65t@127.0.0.1:s3cret/registry",
            "postgres://node:s3c/s3cret@127.0.0.1:1/registry",
            "postgres://127.0.0.1:1/registry?user=node&password=s3cret",
            "postgres://node:s3cret@[::1/registry",
            "postgres://node:s3cret@127.0.0.1:1/registry?s3cret",
        ] {
            let error = writer(url).err().map(|error| error.to_string()).unwrap();
            assert!(!error.contains("s3c"), "{error}");
            assert!(error.contains("does not answer") && error.contains("[store] in concordat.toml"), "{error}");
        }
        let error = writer("postgres://node:s3cret@127.0.0.1:1/registry").err().unwrap().to_string();
        assert!(error.contains("postgres://node@127.0.0.1:1/registry") && error.contains("refused"), "{error}");
    }

    #[test]
    fn a_silent_host_is_not_waited_for_without_end() {
        for (url, expected) in [
            ("postgres://h/d", "postgres://h/d?connect_timeout=10&tcp_user_timeout=30000"),
            ("postgres://h/d?a=b", "postgres://h/d?a=b&connect_timeout=10&tcp_user_timeout=30000"),
            ("postgres://h/d?connect_timeout=3", "postgres://h/d?connect_timeout=3&tcp_user_timeout=30000"),
        ] {
            assert_eq!(bounded(url), expected);
        }
    }
}
