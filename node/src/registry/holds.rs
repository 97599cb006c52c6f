//! Holds (VI-06 to VI-16), as the trail's `hold.*` entries tell them. There is no table of them.

use agreements::entry::Kind;
use agreements::hold::Covers;
use agreements::ids::RequestId;
use agreements::json;
use agreements::time::Instant;
use diesel::result::QueryResult;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::db::{Conn, steady};
use crate::trail::told::{self, Told, Which};

/// The message of a `hold.requested` entry; the entry's id is the hold's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requested {
    /// Who asks for it.
    pub by: String,
    /// The case (VI-07).
    pub case_number: String,
    /// How the investigator is reached (VI-09).
    pub contact: String,
    /// What is held.
    pub covers: Covers,
    /// Why it is held (VI-08).
    pub reason: String,
    /// The version of this message.
    pub v: u16,
}

/// The message of a `hold.approved` or a `hold.released` entry: a second person agreed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agreed {
    /// Who.
    pub by: String,
    /// The hold.
    pub hold: RequestId,
    /// The version of this message.
    pub v: u16,
}

/// The message of a `hold.release_asked` or a `hold.refused` entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// Who.
    pub by: String,
    /// The hold.
    pub hold: RequestId,
    /// Why.
    pub reason: String,
    /// The version of this message.
    pub v: u16,
}

/// What happened to a hold, when, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// When.
    pub at: Instant,
    /// Who.
    pub by: String,
    /// Why, where that is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Where a hold stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for a second person, and protects meanwhile.
    Requested,
    /// It is in force.
    InForce,
    /// It is in force, and its release waits for a second person.
    ReleaseAsked,
    /// It was refused.
    Refused,
    /// It was released.
    Released,
}

impl State {
    /// Whether nothing that it covers may be deleted.
    #[must_use]
    pub fn protects(self) -> bool {
        match self {
            Self::Requested | Self::InForce | Self::ReleaseAsked => true,
            Self::Refused | Self::Released => false,
        }
    }

    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "waits for a second person, and protects meanwhile",
            Self::InForce => "in force",
            Self::ReleaseAsked => "in force; its release waits for a second person",
            Self::Refused => "refused",
            Self::Released => "released",
        }
    }
}

/// A hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// The entry that requested it.
    pub id: RequestId,
    /// When that was.
    pub requested_at: Instant,
    /// What it says.
    #[serde(flatten)]
    pub requested: Requested,
    /// Where it stands.
    pub state: State,
    /// Who approved it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved: Option<Step>,
    /// Who refused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Step>,
    /// Who asked for its release, while that waits or was granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release_asked: Option<Step>,
    /// Who released it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub released: Option<Step>,
}

/// The kinds that make holds.
const KINDS: [Kind; 5] =
    [Kind::HoldRequested, Kind::HoldApproved, Kind::HoldRefused, Kind::HoldReleaseAsked, Kind::HoldReleased];

/// Every hold, oldest first; the inner error says which entry is not as it was recorded, and then nothing may be deleted.
pub fn all(conn: &mut Conn) -> QueryResult<Result<Vec<Hold>, String>> {
    let told = steady(conn, |conn| {
        let mut all = Vec::new();
        for kind in KINDS {
            match told::told(conn, kind, Which::All)? {
                Ok(told) => all.extend(told.into_iter().map(|told| (kind, told))),
                Err(what) => return Ok(Err(what)),
            }
        }
        Ok::<_, diesel::result::Error>(Ok(all))
    })?;
    Ok(told.and_then(|mut told| {
        told.sort_by_key(|(_, told)| told.index);
        folded(&told)
    }))
}

/// What is protected, by all the holds that protect.
pub fn protecting(conn: &mut Conn) -> QueryResult<Result<Vec<Covers>, String>> {
    let held = |holds: Vec<Hold>| {
        holds.into_iter().filter(|hold| hold.state.protects()).map(|hold| hold.requested.covers).collect()
    };
    Ok(all(conn)?.map(held))
}

fn folded(told: &[(Kind, Told)]) -> Result<Vec<Hold>, String> {
    let mut holds: Vec<Hold> = Vec::new();
    for (kind, Told { index, rid, at, message }) in told {
        if *kind == Kind::HoldRequested {
            let requested = parsed(message)?;
            holds.push(Hold {
                id: *rid,
                requested_at: *at,
                requested,
                state: State::Requested,
                approved: None,
                refused: None,
                release_asked: None,
                released: None,
            });
            continue;
        }
        let (id, step) = match kind {
            Kind::HoldApproved | Kind::HoldReleased => {
                let Agreed { by, hold, .. } = parsed(message)?;
                (hold, Step { at: *at, by, reason: None })
            }
            _ => {
                let Said { by, hold, reason, .. } = parsed(message)?;
                (hold, Step { at: *at, by, reason: Some(reason) })
            }
        };
        let hold = holds.iter_mut().find(|hold| hold.id == id);
        let hold = hold.ok_or_else(|| format!("entry {index} is about a hold that nobody requested: {id}"))?;
        hold.take(*kind, step).map_err(|why| format!("entry {index} of the trail: {why}"))?;
    }
    Ok(holds)
}

fn parsed<M: DeserializeOwned>(message: &[u8]) -> Result<M, String> {
    json::parse(message).map_err(|error| format!("an entry of a hold cannot be read: {error}"))
}

impl Hold {
    /// Who waits for a second person: whoever that is must be another one (S32).
    #[must_use]
    pub fn first_person(&self) -> Option<&str> {
        match self.state {
            State::Requested => Some(&self.requested.by),
            State::ReleaseAsked => self.release_asked.as_ref().map(|step| step.by.as_str()),
            State::InForce | State::Refused | State::Released => None,
        }
    }

    fn take(&mut self, kind: Kind, step: Step) -> Result<(), String> {
        if matches!(kind, Kind::HoldApproved | Kind::HoldRefused | Kind::HoldReleased)
            && self.first_person() == Some(step.by.as_str())
        {
            return Err(format!("{} decided alone about the hold {}", step.by, self.id));
        }
        match (kind, self.state) {
            (Kind::HoldApproved, State::Requested) => (self.state, self.approved) = (State::InForce, Some(step)),
            (Kind::HoldRefused, State::Requested) => (self.state, self.refused) = (State::Refused, Some(step)),
            (Kind::HoldReleaseAsked, State::InForce) => {
                (self.state, self.release_asked) = (State::ReleaseAsked, Some(step));
            }
            (Kind::HoldRefused, State::ReleaseAsked) => (self.state, self.release_asked) = (State::InForce, None),
            (Kind::HoldReleased, State::ReleaseAsked) => (self.state, self.released) = (State::Released, Some(step)),
            (kind, state) => return Err(format!("{kind} of the hold {}, which is {}", self.id, state.as_str())),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64) -> Instant {
        "2026-11-23T20:17:00Z".parse::<Instant>().unwrap().plus(hour * Instant::HOUR)
    }

    fn rid(n: u8) -> RequestId {
        RequestId::new(at(0), [n; 10])
    }

    fn told(kind: Kind, hour: u8, message: &impl Serialize) -> (Kind, Told) {
        let message = json::canonical(message).unwrap();
        (kind, Told { index: u64::from(hour), rid: rid(hour), at: at(i64::from(hour)), message })
    }

    fn requested() -> (Kind, Told) {
        let covers = Covers { plate: Some("7ABC123".to_owned()), ..Covers::default() };
        let (by, case_number, contact) = ("indigo".to_owned(), "2026-1".to_owned(), "desk 5".to_owned());
        let reason = "trial in spring".to_owned();
        told(Kind::HoldRequested, 1, &Requested { by, case_number, contact, covers, reason, v: 1 })
    }

    fn agreed(kind: Kind, hour: u8, by: &str) -> (Kind, Told) {
        told(kind, hour, &Agreed { by: by.to_owned(), hold: rid(1), v: 1 })
    }

    fn said(kind: Kind, hour: u8, by: &str) -> (Kind, Told) {
        told(kind, hour, &Said { by: by.to_owned(), hold: rid(1), reason: "it is over".to_owned(), v: 1 })
    }

    #[test]
    fn a_hold_protects_from_its_request_until_two_people_release_it_or_a_second_refuses_it() {
        use Kind::{HoldApproved, HoldRefused, HoldReleaseAsked, HoldReleased};
        let state = |entries: &[(Kind, Told)]| folded(entries).map(|holds| holds[0].state);
        let life = || {
            vec![
                requested(),
                agreed(HoldApproved, 2, "sasha"),
                said(HoldReleaseAsked, 3, "indigo"),
                said(HoldRefused, 4, "casey"),
                said(HoldReleaseAsked, 5, "sasha"),
                agreed(HoldReleased, 6, "casey"),
            ]
        };
        let states = [
            State::Requested,
            State::InForce,
            State::ReleaseAsked,
            State::InForce,
            State::ReleaseAsked,
            State::Released,
        ];
        for (count, expected) in (1..).zip(states) {
            assert_eq!(state(&life()[..count]).unwrap(), expected);
            assert_eq!(expected.protects(), count < 6);
        }
        assert_eq!(state(&[requested(), said(HoldRefused, 2, "sasha")]).unwrap(), State::Refused);
        for wrong in [
            vec![requested(), agreed(HoldApproved, 2, "indigo")],
            vec![requested(), said(HoldRefused, 2, "indigo")],
            vec![requested(), agreed(HoldReleased, 2, "sasha")],
            vec![requested(), said(HoldReleaseAsked, 2, "sasha")],
            vec![requested(), agreed(HoldApproved, 2, "sasha"), agreed(HoldReleased, 3, "casey")],
            vec![requested(), agreed(HoldApproved, 2, "sasha"), agreed(HoldApproved, 3, "casey")],
            vec![agreed(HoldApproved, 2, "sasha")],
        ] {
            assert!(folded(&wrong).is_err(), "{:?}", wrong.iter().map(|(kind, _)| kind).collect::<Vec<_>>());
        }
        let mut alone = life();
        alone[5] = agreed(HoldReleased, 6, "sasha");
        assert!(folded(&alone).unwrap_err().contains("alone"));
    }
}
