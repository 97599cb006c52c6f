//! What a database must be set to before it is trusted with records.

use concordat::db::Conn;
use concordat::reads::store::ReadsDb;
use diesel::prelude::*;
use diesel::sql_types::Text;
use integration::database::Backend;
use integration::postgres::{self, ThrowawayCluster};
use integration::registry::{TestRegistry, append, block_on};

const SYNCHRONOUS: &str = "SELECT current_setting('synchronous_commit') AS setting";
const ISOLATION: &str = "SELECT current_setting('transaction_isolation') AS setting";

/// Why neither store opens at `url`.
fn refusals(url: &str) -> [String; 2] {
    let registry = TestRegistry::on(Backend::Sqlite);
    [
        registry.try_open_at(url).map(drop).unwrap_err().to_string(),
        ReadsDb::open(url).map(drop).unwrap_err().to_string(),
    ]
}

#[derive(QueryableByName)]
struct Setting {
    #[diesel(sql_type = Text)]
    setting: String,
}

/// A setting of the writer of a registry, which may be elsewhere than the registry's own database.
fn of_writer(registry: &TestRegistry, url: &str, sql: &'static str) -> String {
    let db = registry.try_open_at(url).unwrap();
    let job = move |conn: &mut Conn| diesel::sql_query(sql).get_result::<Setting>(conn);
    block_on(db.write("setting", job)).unwrap().setting
}

#[test]
fn a_server_that_can_lose_commits_is_refused_with_what_to_change() {
    let Some(server) = ThrowawayCluster::start(&[]) else { return };
    let url = server.database();
    for (setting, says) in [("fsync=off", "fsync = on"), ("full_page_writes=off", "full_page_writes = on")] {
        server.restart(&[setting]);
        for refused in refusals(&url) {
            assert!(
                refused.contains(setting) && refused.contains(says) && refused.contains("postgresql.conf"),
                "{refused}"
            );
        }
    }
    server.restart(&[]);
    let registry = TestRegistry::on(Backend::Sqlite);
    block_on(append(&registry.try_open_at(&url).unwrap(), 1)).unwrap();
}

#[test]
fn a_database_that_cannot_hold_every_text_is_refused() {
    let Some(server) = postgres::shared() else { return };
    let url = server.database_with("ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C'");
    for refused in refusals(&url) {
        assert!(refused.contains("SQL_ASCII") && refused.contains("ENCODING 'UTF8'"), "{refused}");
    }
}

#[test]
fn a_session_does_not_depend_on_the_servers_defaults() {
    let defaults = [
        "synchronous_commit=off",
        "default_transaction_isolation=serializable",
        "default_transaction_read_only=on",
        "default_transaction_deferrable=on",
    ];
    let Some(server) = ThrowawayCluster::start(&[]) else { return };
    let [url, reads] = [server.database(), server.database()];
    server.restart(&defaults);
    let registry = TestRegistry::on(Backend::Sqlite);
    assert_eq!(of_writer(&registry, &url, SYNCHRONOUS), "on");
    assert_eq!(of_writer(&registry, &url, ISOLATION), "read committed");
    let both = [registry.try_open_at(&url).unwrap(), registry.try_open_at(&url).unwrap()];
    block_on(async {
        let all = (0..20).map(|n| append(&both[n % 2], 1));
        for recorded in futures_util::future::join_all(all).await {
            recorded.unwrap();
        }
    });
    drop(ReadsDb::open(&reads).unwrap());
    // Stricter than what is asked for stays.
    server.restart(&["synchronous_commit=remote_apply"]);
    assert_eq!(of_writer(&registry, &url, SYNCHRONOUS), "remote_apply");
}

#[test]
fn a_dead_server_is_told_with_what_to_do_and_without_the_password() {
    for refused in refusals("postgres://node:s3cret@127.0.0.1:1/registry") {
        assert!(refused.contains("postgres://node@127.0.0.1:1/registry does not answer"), "{refused}");
        assert!(refused.contains("start the server, or correct its address under [store]"), "{refused}");
        assert!(!refused.contains("s3cret"), "{refused}");
    }
}

#[test]
fn sqlite_took_what_makes_commits_durable() {
    let registry = TestRegistry::on(Backend::Sqlite);
    let url = registry.database.url.clone();
    for (sql, expected) in [
        ("SELECT journal_mode AS setting FROM pragma_journal_mode", "wal"),
        ("SELECT CAST(synchronous AS TEXT) AS setting FROM pragma_synchronous", "2"),
        ("SELECT CAST(foreign_keys AS TEXT) AS setting FROM pragma_foreign_keys", "1"),
        ("SELECT CAST(secure_delete AS TEXT) AS setting FROM pragma_secure_delete", "1"),
    ] {
        assert_eq!(of_writer(&registry, &url, sql), expected, "{sql}");
    }
}
