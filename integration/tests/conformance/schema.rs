//! Schemas: up and down, by whichever way, whoever starts at once, and never over what is not known.

use concordat::db::{Conn, DbError};
use concordat::reads::store::{ReadsDb, StoreError};
use diesel::prelude::*;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _};
use integration::database::{Backend, Store};
use integration::on_both;
use integration::registry::TestRegistry;

on_both!(
    after_down_all_is_gone_and_up_again_it_is_the_same,
    a_newer_schema_is_refused_with_what_to_do,
    both_stores_in_one_database_are_refused,
    openers_at_once_all_find_the_schema,
);

#[derive(Clone, Copy, Debug)]
enum Kind {
    Registry,
    Reads,
}

fn steps(kind: Kind, backend: Backend) -> EmbeddedMigrations {
    match (kind, backend) {
        (Kind::Registry, Backend::Sqlite) => migrations::REGISTRY_SQLITE,
        (Kind::Registry, Backend::Postgres) => migrations::REGISTRY_POSTGRES,
        (Kind::Reads, Backend::Sqlite) => migrations::READS_SQLITE,
        (Kind::Reads, Backend::Postgres) => migrations::READS_POSTGRES,
    }
}

/// Opens a store as the product does.
fn opened(kind: Kind, store: &Store, registry: &TestRegistry) -> Result<(), String> {
    match kind {
        Kind::Registry => registry.try_open_at(&store.url).map(drop).map_err(|error| error.to_string()),
        Kind::Reads => ReadsDb::open(&store.url).map(drop).map_err(|error| error.to_string()),
    }
}

/// Everything that is in a database, but diesel's own table.
fn everything(store: &Store) -> Vec<Option<String>> {
    store.cells(if store.is_postgres() {
        "SELECT x AS cell FROM ( \
           SELECT 'column ' || table_name || ' ' || ordinal_position || ' ' || column_name || ' ' || data_type || ' ' || \
             is_nullable || ' ' || coalesce(collation_name, '') AS x, table_name AS t \
             FROM information_schema.columns WHERE table_schema = 'public' \
           UNION ALL SELECT 'index ' || indexdef, tablename FROM pg_indexes WHERE schemaname = 'public' \
           UNION ALL SELECT 'constraint ' || conrelid::regclass || ' ' || pg_get_constraintdef(oid), conrelid::regclass::text \
             FROM pg_constraint WHERE connamespace = 'public'::regnamespace) AS all_of_it \
         WHERE t NOT LIKE '%diesel%' ORDER BY x COLLATE \"C\""
    } else {
        "SELECT type || ' ' || name || ' ' || coalesce(sql, '') AS cell FROM sqlite_master \
         WHERE tbl_name NOT LIKE '%diesel%' ORDER BY 1"
    })
}

fn after_down_all_is_gone_and_up_again_it_is_the_same(backend: Backend) {
    let registry = TestRegistry::on(backend);
    for kind in [Kind::Registry, Kind::Reads] {
        let by_start = backend.database();
        opened(kind, &by_start, &registry).unwrap();
        let expected = everything(&by_start);
        assert!(expected.len() >= 2, "{kind:?}");

        let by_hand = backend.database();
        let mut conn = by_hand.conn();
        let mut harness = |what: &str| match (&mut conn, what) {
            (Conn::Sqlite(c), "one up") => c.run_next_migration(steps(kind, backend)).map(drop),
            (Conn::Pg(c), "one up") => c.run_next_migration(steps(kind, backend)).map(drop),
            (Conn::Sqlite(c), "up") => c.run_pending_migrations(steps(kind, backend)).map(drop),
            (Conn::Pg(c), "up") => c.run_pending_migrations(steps(kind, backend)).map(drop),
            (Conn::Sqlite(c), _) => c.revert_all_migrations(steps(kind, backend)).map(drop),
            (Conn::Pg(c), _) => c.revert_all_migrations(steps(kind, backend)).map(drop),
        };
        while harness("one up").is_ok() {}
        assert_eq!(everything(&by_hand), expected, "{kind:?}, step by step");
        harness("down").unwrap();
        assert_eq!(everything(&by_hand), [], "{kind:?}, after down");
        harness("up").unwrap();
        assert_eq!(everything(&by_hand), expected, "{kind:?}, up again");
        opened(kind, &by_hand, &registry).unwrap();
    }
}

fn a_newer_schema_is_refused_with_what_to_do(backend: Backend) {
    let registry = TestRegistry::on(backend);
    for kind in [Kind::Registry, Kind::Reads] {
        let store = backend.database();
        opened(kind, &store, &registry).unwrap();
        let before = everything(&store);
        store.run("INSERT INTO __diesel_schema_migrations (version) VALUES ('9999')");
        let refused = opened(kind, &store, &registry).unwrap_err();
        assert!(refused.contains("9999") && refused.contains("newer"), "{kind:?}: {refused}");
        assert_eq!(everything(&store), before);
    }
}

fn both_stores_in_one_database_are_refused(backend: Backend) {
    let registry = TestRegistry::on(backend);
    for (first, second, says) in [
        (Kind::Registry, Kind::Reads, "holds the registry; give the reads one of their own under [store]"),
        (Kind::Reads, Kind::Registry, "holds the read store; give the registry one of its own under [store]"),
    ] {
        let store = backend.database();
        opened(first, &store, &registry).unwrap();
        let before = everything(&store);
        let refused = opened(second, &store, &registry).unwrap_err();
        assert!(refused.contains(says), "{first:?} first: {refused}");
        assert_eq!(everything(&store), before, "nothing was made");
        opened(first, &store, &registry).unwrap();
    }
    // By type as well, for whoever handles it.
    let store = backend.database();
    drop(ReadsDb::open(&store.url).unwrap());
    assert!(matches!(registry.try_open_at(&store.url), Err(DbError::Shared)));
    drop(registry.try_open().unwrap());
    assert!(matches!(ReadsDb::open(&registry.database.url), Err(StoreError::Shared)));
}

fn openers_at_once_all_find_the_schema(backend: Backend) {
    for _ in 0..3 {
        let registry = TestRegistry::on(backend);
        let reads = backend.database();
        std::thread::scope(|scope| {
            let openers: Vec<_> = (0..6)
                .map(|n| {
                    let (registry, reads) = (&registry, &reads);
                    scope.spawn(move || match n % 2 {
                        0 => registry.try_open().map(drop).map_err(|error| error.to_string()),
                        _ => ReadsDb::open(&reads.url).map(drop).map_err(|error| error.to_string()),
                    })
                })
                .collect();
            for opener in openers {
                opener.join().unwrap().unwrap();
            }
        });
    }
}

#[derive(QueryableByName, Debug, PartialEq, Eq)]
struct Column {
    #[diesel(sql_type = diesel::sql_types::Text)]
    place: String,
    #[diesel(sql_type = diesel::sql_types::Text)]
    kind: String,
    #[diesel(sql_type = diesel::sql_types::Bool)]
    required: bool,
}

fn columns(store: &Store) -> Vec<Column> {
    let sql = if store.is_postgres() {
        "SELECT table_name || '.' || column_name AS place, CASE WHEN data_type IN ('bigint', 'integer') THEN 'INTEGER' \
           WHEN data_type = 'bytea' THEN 'BLOB' ELSE upper(data_type) END AS kind, is_nullable = 'NO' AS required \
         FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE '%diesel%' \
         ORDER BY table_name COLLATE \"C\", ordinal_position"
    } else {
        "SELECT t.name || '.' || c.name AS place, CASE c.type WHEN 'BIGINT' THEN 'INTEGER' ELSE c.type END AS kind, \
           c.\"notnull\" OR c.pk > 0 AS required \
         FROM sqlite_master t, pragma_table_info(t.name) c WHERE t.type = 'table' AND t.name NOT LIKE '%diesel%' \
         ORDER BY t.name, c.cid"
    };
    diesel::sql_query(sql).load(&mut store.conn()).unwrap()
}

#[test]
fn both_databases_have_the_same_steps_and_columns_and_compare_texts_by_bytes() {
    let names = |steps: EmbeddedMigrations| -> Vec<String> {
        use diesel::migration::{Migration, MigrationSource};
        let steps: Vec<Box<dyn Migration<diesel::sqlite::Sqlite>>> = steps.migrations().unwrap();
        steps.iter().map(|step| step.name().to_string()).collect()
    };
    for kind in [Kind::Registry, Kind::Reads] {
        assert_eq!(names(steps(kind, Backend::Sqlite)), names(steps(kind, Backend::Postgres)), "{kind:?}");
    }
    if !Backend::Postgres.is_there() {
        return;
    }
    let registry = TestRegistry::on(Backend::Postgres);
    for kind in [Kind::Registry, Kind::Reads] {
        let [sqlite, postgres] = [Backend::Sqlite, Backend::Postgres].map(Backend::database);
        for store in [&sqlite, &postgres] {
            opened(kind, store, &registry).unwrap();
        }
        let (one, other) = (columns(&sqlite), columns(&postgres));
        assert!(one.len() > 10, "{kind:?}");
        assert_eq!(one, other, "{kind:?}");
        let by_language = postgres.cells(
            "SELECT table_name || '.' || column_name AS cell FROM information_schema.columns WHERE table_schema = 'public' \
             AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C' AND table_name NOT LIKE '%diesel%'",
        );
        assert_eq!(by_language, [], "{kind:?}: write TEXT COLLATE \"C\"");
    }
}
