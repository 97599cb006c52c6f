//! What the witnesses of this node's trail said last, and logs that showed two trails.

use agreements::time::Instant;

use super::Findings;
use crate::agency;
use crate::config::Config;
use crate::db::Conn;
use crate::publishing::{self, Last, Standing, behind};
use crate::registry::agencies;
use crate::witness::evidence;

pub(super) const CHECKS: [&str; 3] = ["witnesses", "forks", "backup"];

pub(super) fn look(found: &mut Findings, conn: &mut Conn, config: &Config, now: Instant) {
    let [witnesses, forks, backup] = CHECKS;
    match behind::read(conn) {
        Ok(None) => found.ok(backup, "no witness was found to know more of this trail than the registry"),
        Ok(Some(behind)) => found.fail(backup, behind.says(), "concordat trail epoch show"),
        Err(error) => found.fail(backup, error.to_string(), "see store.registry"),
    }
    match publishing::policy_of(config) {
        Ok(policy) => {
            // The way to the key is said by another check.
            let own = agency::witness_key(config).ok().flatten();
            let standing = agencies::all(conn).and_then(|all| {
                let keys: Vec<_> = all.iter().filter_map(|it| it.party.node.witness_vkey.parse().ok()).collect();
                Standing::read(conn, policy.as_ref(), own.as_ref(), &keys)
            });
            match standing {
                Ok(standing) => say(found, &standing, now),
                Err(error) => found.fail(witnesses, error.to_string(), "see store.registry"),
            }
        }
        Err(error) => found.fail(witnesses, error.to_string(), "c2sp.org/tlog-policy has the form of the file"),
    }
    match evidence::all(conn) {
        Ok(all) if all.is_empty() => found.ok(forks, "no log showed this node two trails"),
        Ok(all) => {
            for (sha256, fork, at) in all {
                found.warn(
                    forks,
                    format!("{} showed two trails, found at {at}", fork.origin),
                    format!("`concordat trail forks --of {sha256} --out FILE` writes the evidence: give it to the other agencies"),
                );
            }
        }
        Err(error) => found.fail(forks, error.to_string(), "see store.registry"),
    }
}

fn say(found: &mut Findings, standing: &Standing, now: Instant) {
    let [check, ..] = CHECKS;
    let one = |last: &Last| match last.cosigned {
        Some((size, at)) => format!("{}: {size} entries at {at}", last.witness),
        None => format!("{}: nothing yet", last.witness),
    };
    let each: Vec<String> = standing.last.iter().map(one).collect();
    let said = if each.is_empty() { String::new() } else { format!("; {}", each.join("; ")) };
    let says = format!("{}{said}", standing.says());
    match standing.alarm(now) {
        Some(alarm) => found.warn(check, says, alarm),
        None => found.ok(check, says),
    }
    for weakness in &standing.weaknesses {
        found.warn(check, weakness.clone(), "change the federation's policy with everybody who names it");
    }
}
