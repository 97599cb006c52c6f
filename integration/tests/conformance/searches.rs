//! Searching a long trail: by an index, from the newest down, no further than the page.

use std::sync::{Arc, Mutex};

use agreements::entry::Kind;
use concordat::db::Conn;
use concordat::trail::search::{self, Filter};
use diesel::connection::{Instrumentation, InstrumentationEvent};
use diesel::prelude::*;
use diesel::sql_types::Text;
use integration::database::{Backend, Store};
use integration::on_both;
use integration::registry::TestRegistry;

on_both!(each_search_goes_by_an_index_and_is_neither_sorted_nor_read_through, pages_of_any_search_follow_each_other);

const ENTRIES: u32 = 40_000;

/// A trail of many entries without its log: what searching reads of it.
fn long_trail(backend: Backend) -> TestRegistry {
    let trail = TestRegistry::on(backend);
    drop(trail.open());
    let (numbers, id, digits) = if trail.database.is_postgres() {
        (
            format!("WITH n(n) AS (SELECT generate_series(0, {ENTRIES} - 1))"),
            "decode(lpad(to_hex(n), 12, '0') || '70008' || lpad(to_hex(n), 15, '0'), 'hex')",
            "n::text",
        )
    } else {
        (
            format!("WITH RECURSIVE n(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < {ENTRIES} - 1)"),
            "unhex(printf('%012x70008%015x', n, n))",
            "CAST(n AS TEXT)",
        )
    };
    let blob = trail.database.bytes(b"{}");
    let kind = "CASE WHEN n % 1000 = 7 THEN 'user.changed' WHEN n % 3 = 0 THEN 'query.asked' ELSE 'query.answered' END";
    trail.database.run(&format!(
        "{numbers} INSERT INTO leaf (idx, rid, kind, at, hash, body) SELECT n, {id}, {kind}, n * 1000, {blob}, {blob} FROM n"
    ));
    trail.database.run(&format!(
        "{numbers} INSERT INTO fact (idx, partner, username, purpose, reference, plate, decision, rule) \
         SELECT n, 'CA0990' || (n % 9 + 1) || '00', 'user' || (n % 50), CASE WHEN n % 7 = 0 THEN 'lifesaving' ELSE 'theft' END, \
         'case:' || {digits}, '7ABC' || (n % 997), CASE WHEN n % 10 = 3 THEN 'denied' ELSE 'permitted' END, \
         CASE WHEN n % 10 = 3 THEN 'purpose_granted' END FROM n"
    ));
    trail.database.run(&format!(
        "{numbers} INSERT INTO detail (idx, message, message_salt, note, note_salt) SELECT n, {blob}, {blob}, {blob}, {blob} FROM n"
    ));
    if trail.database.is_postgres() {
        // As its own housekeeping does.
        trail.database.run("ANALYZE leaf; ANALYZE fact; ANALYZE detail");
    }
    trail
}

/// What people search for, each thing alone and what they put together, and by which index it must be found.
fn filters() -> Vec<(&'static str, &'static str, Filter)> {
    let text = |text: &str| Some(text.to_owned());
    let any = Filter { limit: 100, ..Filter::default() };
    let at = |n: i64| Some(agreements::time::Instant::from_micros(n * 1000));
    let late = Filter { since: at(30_000), until: at(31_000), ..any.clone() };
    let of = |partner: &str| Filter { partner: partner.parse().ok(), ..any.clone() };
    let plate = Filter { plate: text("7ABC33"), ..any.clone() };
    let user = Filter { username: text("user7"), ..any.clone() };
    let denied = Filter { decision: text("denied"), ..any.clone() };
    let kind = |kind: Kind| Filter { kind: Some(kind), ..any.clone() };
    let during = |filter: Filter| Filter { since: late.since, until: late.until, ..filter };
    let partner = of("CA0990300");
    vec![
        ("nothing", "", any.clone()),
        ("a later page", "", Filter { before_index: Some(20_000), ..any.clone() }),
        ("time", "", late.clone()),
        ("partner", "fact_partner", partner.clone()),
        ("user", "fact_username", user.clone()),
        ("purpose", "fact_purpose", Filter { purpose: text("lifesaving"), ..any.clone() }),
        ("reference", "fact_reference", Filter { reference: text("case:777"), ..any.clone() }),
        ("plate", "fact_plate", plate.clone()),
        ("denied", "fact_decision", denied.clone()),
        ("permitted", "fact_decision", Filter { decision: text("permitted"), ..any.clone() }),
        ("rule", "fact_rule", Filter { rule: text("purpose_granted"), ..any.clone() }),
        ("kind", "leaf_kind", kind(Kind::UserChanged)),
        ("partner and time", "fact_partner", during(partner.clone())),
        ("plate and time", "fact_plate", during(plate.clone())),
        ("user and time", "fact_username", during(user)),
        ("kind and time", "leaf_kind", during(kind(Kind::QueryAsked))),
        ("plate and partner", "fact_plate", Filter { partner: partner.partner, ..plate }),
        ("partner and denied", "fact_partner", Filter { decision: text("denied"), ..partner }),
        ("kind and denied", "fact_decision", Filter { kind: Some(Kind::QueryAnswered), ..denied }),
        ("kind and permitted", "leaf_kind", Filter { decision: text("permitted"), ..kind(Kind::UserChanged) }),
        ("partner, kind and time", "fact_partner", Filter { kind: Some(Kind::QueryAsked), ..during(of("CA0990400")) }),
    ]
}

#[derive(QueryableByName)]
struct SqliteStep {
    #[diesel(sql_type = Text)]
    detail: String,
}

#[derive(QueryableByName)]
struct PostgresStep {
    #[diesel(sql_type = Text, column_name = "QUERY PLAN")]
    step: String,
}

/// Keeps the statements that a connection runs.
fn listen(conn: &mut Conn) -> Arc<Mutex<Vec<String>>> {
    let said = Arc::<Mutex<Vec<String>>>::default();
    let keep = Arc::clone(&said);
    let listener = move |event: InstrumentationEvent<'_>| {
        if let InstrumentationEvent::StartQuery { query, .. } = event {
            let text = query.to_string();
            keep.lock().unwrap().push(text.split(" -- binds").next().unwrap().to_owned());
        }
    };
    let listener: Box<dyn Instrumentation> = Box::new(listener);
    match conn {
        Conn::Sqlite(c) => c.set_instrumentation(listener),
        Conn::Pg(c) => c.set_instrumentation(listener),
    }
    said
}

/// How the database goes about a statement, whatever is asked for.
fn plan(store: &Store, statement: &str) -> Vec<String> {
    match &mut store.conn() {
        Conn::Sqlite(c) => {
            let steps: Vec<SqliteStep> = diesel::sql_query(format!("EXPLAIN QUERY PLAN {statement}")).load(c).unwrap();
            steps.into_iter().map(|step| step.detail).collect()
        }
        Conn::Pg(c) => {
            let arguments = (1..100).take_while(|n| statement.contains(&format!("${n}"))).count();
            diesel::sql_query(format!("PREPARE p AS {statement}")).execute(c).unwrap();
            diesel::sql_query("SET plan_cache_mode = force_generic_plan").execute(c).unwrap();
            let explain = format!("EXPLAIN EXECUTE p({})", vec!["NULL"; arguments].join(", "));
            let steps: Vec<PostgresStep> = diesel::sql_query(explain).load(c).unwrap();
            steps.into_iter().map(|step| step.step).collect()
        }
    }
}

fn each_search_goes_by_an_index_and_is_neither_sorted_nor_read_through(backend: Backend) {
    let trail = long_trail(backend);
    for (what, index, filter) in filters() {
        let mut conn = trail.conn();
        let said = listen(&mut conn);
        let found = search::search(&mut conn, &filter).unwrap();
        assert!(!found.is_empty(), "{what}: the plan is of a search that finds something");
        let statements = said.lock().unwrap().clone();
        assert!(statements.len() >= 2, "{what}: {statements:?}");
        let page =
            statements.iter().find(|statement| statement.contains("LIMIT") && statement.contains("DESC")).unwrap();
        for statement in &statements {
            let steps = plan(&trail.database, statement);
            let through = |step: &String| step.contains("Seq Scan") || step.contains("SCAN ");
            assert!(!steps.iter().any(through), "{what}: {statement}\n{}", steps.join("\n"));
            let sorted = |step: &String| step.contains("Sort") || step.contains("TEMP B-TREE");
            let by_it = |step: &String| step.contains(index);
            assert!(statement != page || steps.iter().any(by_it), "{what}: {statement}\n{}", steps.join("\n"));
            assert!(statement != page || !steps.iter().any(sorted), "{what}: {statement}\n{}", steps.join("\n"));
        }
    }
}

fn pages_of_any_search_follow_each_other(backend: Backend) {
    let trail = long_trail(backend);
    let mut conn = trail.conn();
    for (what, _, filter) in filters() {
        let mut seen: Vec<u64> = Vec::new();
        let mut before = filter.before_index;
        for _ in 0..7 {
            let page =
                search::search(&mut conn, &Filter { before_index: before, limit: 13, ..filter.clone() }).unwrap();
            let Some(last) = page.last() else { break };
            before = Some(last.index);
            seen.extend(page.iter().map(|row| row.index));
        }
        let whole = search::search(&mut conn, &Filter { limit: 91, ..filter.clone() }).unwrap();
        let whole: Vec<u64> = whole.iter().map(|row| row.index).collect();
        assert_eq!(seen, whole, "{what}");
        assert!(whole.is_sorted_by(|a, b| a > b), "{what}: the newest first");
    }
}
