//! Steps 9 and 10: every trail recomputed, and one that somebody edited.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use agreements::entry::Kind;
use anyhow::Context as _;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use crate::db::Conn;
use crate::demo::asking::CASE;
use crate::demo::page::Page;
use crate::demo::stage::{Sites, Stage, copy_database, text};
use crate::node::log_vkey;
use crate::trail::note::Vkey;
use crate::trail::search::{self, Filter};
use crate::trail::verify::{Problem, Report, verify};

/// Every node's trail is what its head states.
pub(super) fn sound(stage: &Stage, page: &mut Page<'_>) -> anyhow::Result<String> {
    let Sites { alder, birch, cedar } = stage.sites()?;
    let mut rows = Vec::new();
    for site in [alder, birch, cedar] {
        page.typed(&format!("concordat --dir $D/{} trail verify", site.fiction.word))?;
        let report = recomputed(&mut site.registry()?, &log_vkey(site.node.config())?)?;
        anyhow::ensure!(report.is_sound(), "{}: {}", site.fiction.word, problems(&report));
        anyhow::ensure!(report.entries > 0, "{}: the trail is empty", site.fiction.word);
        let root = report.root.to_string().chars().take(32).collect::<String>() + "...";
        rows.push([site.fiction.legal_name.to_owned(), report.entries.to_string(), root]);
    }
    page.table(["trail of", "entries", "root"], &rows)?;
    let entries: Vec<&str> = rows.iter().map(|[_, entries, _]| entries.as_str()).collect();
    Ok(format!("the trails of Alder, Birch and Cedar are sound: {} entries", entries.join(", ")))
}

/// Somebody with the file in hand moves a query to another case.
pub(super) fn edited(stage: &Stage, page: &mut Page<'_>) -> anyhow::Result<String> {
    let birch = &stage.sites()?.birch;
    let folder = stage.root.join("edited");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("registry.db");
    copy_database(&birch.node.config().store.registry, &path)?;
    let vkey = log_vkey(birch.node.config())?;
    let mut conn = Conn::Sqlite(SqliteConnection::establish(&text(&path)?)?);
    anyhow::ensure!(recomputed(&mut conn, &vkey)?.is_sound(), "the copy is damaged before anybody edited it");
    let asked = Filter { kind: Some(Kind::QueryAsked), ..Filter::default() };
    let entry = search::search(&mut conn, &asked)?.pop().context("Birch's trail has no question")?.index;
    let case = CASE.split_once(':').map_or(CASE, |(_, number)| number);
    let other = case.replace('1', "7");
    page.typed(&format!(
        "sqlite3 $D/edited/registry.db \"UPDATE detail SET message = CAST(replace(CAST(message AS TEXT), '{case}', '{other}') AS BLOB) WHERE idx = {entry}\""
    ))?;
    edit(&path, case, &other, entry)?;
    let report = recomputed(&mut conn, &vkey)?;
    page.say(&format!("Recomputed: {}", problems(&report)))?;
    let expected = Problem { index: Some(entry), what: "the message is not the one that the leaf commits to" };
    anyhow::ensure!(report.problems == [expected], "trail verify says: {}", problems(&report));
    Ok(format!("one character of entry {entry} of Birch's trail was changed in a copy, and trail verify names it"))
}

fn recomputed(conn: &mut Conn, vkey: &Vkey) -> anyhow::Result<Report> {
    Ok(verify(conn, vkey, &mut |_, _| {}, &AtomicBool::new(false))?)
}

fn problems(report: &Report) -> String {
    if report.is_sound() {
        return "nothing is wrong".to_owned();
    }
    let said = |problem: &Problem| match problem.index {
        Some(index) => format!("entry {index}: {}", problem.what),
        None => problem.what.to_owned(),
    };
    report.problems.iter().map(said).collect::<Vec<_>>().join("; ")
}

/// Replaces `from` by `to` in the message of one entry, behind everybody's back.
fn edit(path: &Path, from: &str, to: &str, entry: u64) -> anyhow::Result<()> {
    let mut conn = SqliteConnection::establish(&text(path)?)?;
    let edited = diesel::sql_query(format!(
        "UPDATE detail SET message = CAST(replace(CAST(message AS TEXT), '{from}', '{to}') AS BLOB) \
         WHERE idx = ? AND instr(CAST(message AS TEXT), '{from}')"
    ))
    .bind::<BigInt, _>(i64::try_from(entry)?)
    .execute(&mut conn)?;
    anyhow::ensure!(edited == 1, "{edited} rows were edited, not one");
    Ok(())
}
