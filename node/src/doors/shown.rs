//! What `README.md` says of doors and commands: which are not recorded, and by what the others are.

use std::fmt::Write as _;

use super::commands;
use super::{Port, Recorded};

/// The part of the file between its two marks.
#[must_use]
pub fn readme() -> String {
    let mut not = String::new();
    let mut by = String::new();
    let doors = Port::ALL.into_iter().flat_map(|port| port.doors().iter().map(move |door| (port, door)));
    let doors = doors.map(|(port, door)| (port.name(), format!("`{} {}`", door.verb, door.path), door.recorded));
    let commands = commands::ALL.iter().map(|(name, recorded)| ("command", format!("`{name}`"), *recorded));
    for (place, name, recorded) in doors.chain(commands) {
        // Writing to a String does not fail.
        let _ = match recorded {
            Recorded::Not(why) => writeln!(not, "| {place} | {name} | {why} |"),
            Recorded::First(_) => writeln!(by, "| {place} | {name} | {} |", kinds(recorded)),
            Recorded::Counted(_) => writeln!(by, "| {place} | {name} | {}, counted each minute |", kinds(recorded)),
        };
    }
    format!(
        "Not recorded:\n\n| where | what | why |\n|---|---|---|\n{not}\nRecorded, each by an entry of one of these kinds:\n\n\
         | where | what | by |\n|---|---|---|\n{by}"
    )
}

fn kinds(recorded: Recorded) -> String {
    recorded.kinds().iter().map(|kind| format!("`{kind}`")).collect::<Vec<_>>().join(", ")
}
