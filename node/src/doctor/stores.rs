//! The stores as they are: whether they open, which schema they have, whether the trail's head is signed, how much room
//! is left. They are only read.

use std::path::Path;

use agreements::time::Instant;

use super::{Findings, witnesses};
use crate::changes::rules;
use crate::config::{Config, DatabaseUrl};
use crate::db::look::{self, Look};
use crate::node::{log_vkey, owner_rules};
use crate::registry::agencies;
use crate::trail::head;

/// What is looked at here.
pub(super) const CHECKS: [&str; 9] =
    ["registry", "trail-head", "clock", "partners", "rules", "witnesses", "forks", "reads", "disk"];
/// What needs a trail that is as its head says.
const OF_THE_TRAIL: [&str; 5] = ["clock", "partners", "rules", "witnesses", "forks"];

/// Less room than this (bytes) stops ingest before long.
const LITTLE: u64 = 1 << 30;
/// With less than this nothing can be recorded soon.
const NEXT_TO_NONE: u64 = 64 << 20;

pub(super) fn look(found: &mut Findings, config: &Config, now: Instant) {
    registry(found, config, now);
    let reads = config.store.reads.to_string();
    schema(
        found,
        "reads",
        "store.reads",
        look::schema_of(&reads, &migrations::READS_SQLITE, &migrations::READS_POSTGRES),
    );
    room(found, config);
}

/// Whether opening a store that is there would change its schema.
#[must_use]
pub fn would_change(config: &Config) -> bool {
    let registry = config.store.registry.to_string();
    let reads = config.store.reads.to_string();
    let looked = [
        look::schema_of(&registry, &migrations::REGISTRY_SQLITE, &migrations::REGISTRY_POSTGRES),
        look::schema_of(&reads, &migrations::READS_SQLITE, &migrations::READS_POSTGRES),
    ];
    looked.iter().any(|look| matches!(look, Ok(Look::Schema { pending: 1.., .. })))
}

/// What was found out about one store's schema. Whether there is one to look into.
fn schema(found: &mut Findings, check: &'static str, key: &str, looked: Result<Look, look::LookError>) -> bool {
    match looked {
        Ok(Look::Absent) => {
            found.ok(check, "not there yet: the first command that needs it makes it");
            false
        }
        Ok(Look::Schema { newest, pending: 0 }) => {
            found.ok(check, format!("opens; schema {newest}"));
            true
        }
        Ok(Look::Schema { newest, pending }) => {
            let says = format!("schema {newest}: {pending} changes of this version are not made yet");
            found.warn(check, says, "the next start makes them; take a backup first");
            true
        }
        Err(error) => {
            found.fail(check, error.to_string(), format!("see {key} in concordat.toml"));
            false
        }
    }
}

fn registry(found: &mut Findings, config: &Config, now: Instant) {
    let url = config.store.registry.to_string();
    let looked = look::schema_of(&url, &migrations::REGISTRY_SQLITE, &migrations::REGISTRY_POSTGRES);
    if !schema(found, "registry", "store.registry", looked) {
        found.not_tried(&["trail-head"], "there is no registry");
        found.not_tried(&OF_THE_TRAIL, "there is no registry");
        return;
    }
    let vkey = match log_vkey(config) {
        Ok(vkey) => vkey,
        Err(error) => {
            found.not_tried(&["trail-head"], &error.to_string());
            found.not_tried(&OF_THE_TRAIL, &error.to_string());
            return;
        }
    };
    let (mut conn, size) = match look::checked_trail(&url, &vkey) {
        Ok(checked) => checked,
        Err(error) => {
            found.fail("trail-head", error.to_string(), "run `concordat trail verify` to see what was changed");
            found.not_tried(&OF_THE_TRAIL, "the trail is not what its head says");
            return;
        }
    };
    found.ok("trail-head", format!("{size} entries, signed by this log's key"));
    match head::extent(&mut conn) {
        Ok((_, mark)) if now < mark => found.fail(
            "clock",
            format!("it is {now} here, but the trail already recorded {mark}"),
            "set the machine's clock right (`timedatectl`); nothing is recorded until then",
        ),
        Ok(_) => found.ok("clock", format!("{now}, after all that was recorded")),
        Err(error) => found.fail("clock", error.to_string(), "see store.registry"),
    }
    match agencies::all(&mut conn) {
        Ok(all) if all.is_empty() => {
            found.warn("partners", "nobody is enrolled", "import a partner's descriptor with `concordat peer add`");
        }
        Ok(all) => found.ok("partners", format!("{} enrolled; `concordat doctor --all` looks at each", all.len())),
        Err(error) => found.fail("partners", error.to_string(), "see store.registry"),
    }
    match rules::waiting(&mut conn, &owner_rules(config)) {
        Ok(wider) if wider.is_empty() => found.ok("rules", "the owner's rules count as concordat.toml has them"),
        Ok(wider) => found.warn(
            "rules",
            format!("wider in concordat.toml than two people decided, and not counting so far: {}", wider.join("; ")),
            "`concordat change widen --reason WHY --as USER` proposes it, and somebody else approves it",
        ),
        Err(error) => found.fail("rules", error.to_string(), "see store.registry"),
    }
    match look::schema_of(&url, &migrations::REGISTRY_SQLITE, &migrations::REGISTRY_POSTGRES) {
        Ok(Look::Schema { pending: 0, .. }) => witnesses::look(found, &mut conn, config, now),
        _ => found.not_tried(&witnesses::CHECKS, "the schema is an earlier one"),
    }
}

fn room(found: &mut Findings, config: &Config) {
    let mut paths: Vec<&Path> = Vec::new();
    for url in [&config.store.registry, &config.store.reads] {
        if let DatabaseUrl::Sqlite(path) = url {
            paths.extend(path.parent());
        }
    }
    paths.extend(config.store.images.ancestors().find(|path| path.exists()));
    let left = paths.into_iter().filter_map(|path| Some((room_in(path)?, path))).min();
    let Some((left, path)) = left else {
        found.ok("disk", "the stores are not on this machine");
        return;
    };
    let says = format!("{} MiB are left for {}", left >> 20, path.display());
    match left {
        left if left < NEXT_TO_NONE => {
            found.fail("disk", says, "make room: without it nothing is recorded, so nothing is answered");
        }
        left if left < LITTLE => found.warn("disk", says, "make room before it is used up"),
        _ => found.ok("disk", says),
    }
}

/// How many bytes this user can still write there.
fn room_in(path: &Path) -> Option<u64> {
    let about = rustix::fs::statvfs(path).ok()?;
    about.f_bavail.checked_mul(about.f_frsize)
}
