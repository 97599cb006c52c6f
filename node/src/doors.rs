//! Every door of a node, and what of it is recorded: one table, from which the doors themselves are built.
//!
//! In scope: which paths there are on which port, and for each the kinds of entries that it records or why it records none; the
//! same for the program's commands (see [`commands`]); what `README.md` says of both. Out of scope: what a door does, which its
//! own module says.
//!
//! A path that is not in a table cannot be opened: an application is made here and nowhere else (`clippy.toml` refuses the
//! other ways), so that whoever adds a door has to say what it records.

pub mod commands;
mod shown;

use std::fmt;

use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::{App, Error, Route, guard, web};
use agreements::entry::Kind;

pub use shown::readme;

/// What of a request, or of a command, is in the trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// An entry of one of these kinds, committed before the first byte of the answer leaves; a request that is refused by a
    /// rule has one as well.
    First(&'static [Kind]),
    /// It is counted, and an entry of one of these kinds says how much came, within a minute.
    Counted(&'static [Kind]),
    /// Nothing, and why.
    Not(&'static str),
}

impl Recorded {
    /// The kinds of entries that say it.
    #[must_use]
    pub fn kinds(self) -> &'static [Kind] {
        match self {
            Self::First(kinds) | Self::Counted(kinds) => kinds,
            Self::Not(_) => &[],
        }
    }
}

/// How a door is knocked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `GET`.
    Get,
    /// `GET` or `HEAD`: a page.
    Page,
    /// `POST`.
    Post,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get | Self::Page => "GET",
            Self::Post => "POST",
        })
    }
}

/// One door.
pub struct Door {
    /// How it is knocked at.
    pub verb: Verb,
    /// Where, such as `/peer/v1/agreements/{id}`.
    pub path: &'static str,
    /// What is recorded of it.
    pub recorded: Recorded,
    /// Who answers.
    pub(crate) answers: fn() -> Route,
}

/// The doors of one port, and who answers at all other paths and methods: they record nothing.
pub(crate) struct Table {
    pub(crate) doors: &'static [Door],
    pub(crate) no_such_path: fn() -> Route,
    pub(crate) no_such_method: fn() -> Route,
}

/// What listens somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Port {
    /// For partners.
    Peer,
    /// For the agency's own people.
    Console,
    /// For the operator.
    Ops,
    /// For readers' agents.
    Agents,
    /// Of a witness alone.
    Witness,
}

impl Port {
    /// All ports.
    pub const ALL: [Self; 5] = [Self::Peer, Self::Console, Self::Ops, Self::Agents, Self::Witness];

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Peer => "peer port",
            Self::Console => "console",
            Self::Ops => "ops port",
            Self::Agents => "agents' port",
            Self::Witness => "witness alone",
        }
    }

    fn table(self) -> &'static Table {
        match self {
            Self::Peer => &crate::peer::DOORS,
            Self::Console => &crate::console::DOORS,
            Self::Ops => &crate::ops::DOORS,
            Self::Agents => &crate::webhook::DOORS,
            Self::Witness => &crate::witness::door::DOORS,
        }
    }

    /// Its doors.
    #[must_use]
    pub fn doors(self) -> &'static [Door] {
        self.table().doors
    }
}

/// An application with all doors of a port, and no others.
#[expect(clippy::disallowed_methods, reason = "the one place that opens paths, each with what it records")]
pub(crate) fn app(
    port: Port,
) -> App<impl ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse, Error = Error, InitError = ()>> {
    let Table { doors, no_such_path, no_such_method } = port.table();
    App::new().configure(|config| {
        for door in *doors {
            let route = (door.answers)();
            let route = match door.verb {
                Verb::Get => route.guard(guard::Get()),
                Verb::Page => route.guard(guard::Any(guard::Get()).or(guard::Head())),
                Verb::Post => route.guard(guard::Post()),
            };
            config.service(web::resource(door.path).route(route).default_service(no_such_method()));
        }
        config.default_service(no_such_path());
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_door_says_what_it_records_or_why_not_and_is_there_once() {
        assert_eq!(Port::ALL.len(), Port::Witness as usize + 1, "a port is missing in the list of all");
        for port in Port::ALL {
            let mut paths = BTreeSet::new();
            for door in port.doors() {
                assert!(paths.insert(door.path), "{}: {} has one door: give it another path", port.name(), door.path);
                match door.recorded {
                    Recorded::First(kinds) | Recorded::Counted(kinds) => assert!(!kinds.is_empty(), "{}", door.path),
                    Recorded::Not(why) => assert!(why.len() > 20, "{}: say why", door.path),
                }
            }
        }
    }

    #[test]
    fn a_path_is_opened_here_and_nowhere_else() {
        // Clippy holds the code to it; this holds clippy's list to what it is for.
        let listed = include_str!("../../clippy.toml");
        for way in [
            "App::new",
            "App::service",
            "App::route",
            "App::default_service",
            "Scope::service",
            "ServiceConfig::service",
        ] {
            assert!(listed.contains(&format!("::{way}\"")), "clippy.toml does not refuse {way}");
        }
    }
}
