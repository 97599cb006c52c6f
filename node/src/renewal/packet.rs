//! This agency's own yearly compliance packet (V-29): what a person answers, what the node counts, sealed once.

use agreements::entry::Kind;
use agreements::ids::Digest;
use agreements::json;
use agreements::packet::{Attestations, Audit, FORMAT, OutOfState, Packet, People, PolicySaid, Violation};
use agreements::party::Party;
use agreements::time::Instant;
use certs::jws;
use certs::key::PublicKey;
use diesel::result::{Error, QueryResult};
use jiff::civil::Date;
use serde::Deserialize;

use super::held::{self, HeldError, HeldPacket, PACKET_TYP, PacketSealed};
use crate::db::{Conn, Tx};
use crate::exchange::Failure;
use crate::exchange::lifecycle::ActError;
use crate::node::Node;
use crate::people::record;
use crate::registry::accounts::{Action, operator};
use crate::registry::{papers, roster};
use crate::trail::Facts;
use crate::trail::told::{self, Which};

/// The file to answer, commented.
pub const TEMPLATE: &str = include_str!("packet.toml");

/// What a person answers; the rest the node knows.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answers {
    /// The first day that the packet is about.
    pub from: Date,
    /// The last day.
    pub until: Date,
    /// What is attested.
    pub attestations: Attestations,
    /// The last audit.
    pub audit: Audit,
    /// Violations of the policy.
    #[serde(default)]
    pub violations: Vec<Violation>,
    /// Sharing outside California.
    pub out_of_state: OutOfState,
}

impl Answers {
    /// Reads a file.
    ///
    /// # Errors
    /// Not TOML of this form: the line and the key are named.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }
}

/// A packet that was sealed.
#[derive(Debug)]
pub struct Made {
    /// It.
    pub held: HeldPacket,
    /// Whether the same one was there already.
    pub already: bool,
}

/// Seals this agency's packet from a person's answers and the registry's counts, and records it. One that says the same as
/// the newest is not sealed a second time.
///
/// # Errors
/// `by` may not, or the answers are incomplete or contradict the registry.
pub async fn make(node: &Node, answers: Answers, by: &str) -> Result<Made, ActError> {
    let (party, seal, by) = (node.party(), node.seal(), by.to_owned());
    let job = move |tx: &mut Tx<'_>| {
        if let Err(why) = operator(tx.conn(), &by, Action::ManageAgreements)? {
            return Ok(Err(vec![why]));
        }
        let now = tx.now();
        let packet = match built(tx.conn(), &party, answers, now)? {
            Ok(packet) => packet,
            Err(problems) => return Ok(Err(problems)),
        };
        match held::settled(held::newest_own(tx.conn()))? {
            Err(why) => return Ok(Err(why)),
            Ok(Some(held))
                if (Packet { made_at: now, ..held.packet.clone() }) == packet
                    && opens_today(tx.conn(), held.id, &party)? =>
            {
                return Ok(Ok(Made { held, already: true }));
            }
            Ok(_) => {}
        }
        let payload = packet.to_bytes().map_err(|error| Error::SerializationError(error.into()))?;
        let sealed = match seal.sign(&payload, PACKET_TYP).and_then(|signature| jws::flatten(&payload, &signature)) {
            Ok(sealed) => sealed,
            Err(error) => return Ok(Err(vec![format!("the seal key does not sign: {error}")])),
        };
        let id = Digest::of(&payload);
        papers::keep(tx.conn(), id, PACKET_TYP, &sealed, now)?;
        record(tx, Kind::PacketSealed, &PacketSealed { by: by.clone(), packet: id, v: 1 }, &by, Facts::default())?;
        Ok(Ok(Made { held: HeldPacket { id, packet, at: now }, already: false }))
    };
    let recorded = node.registry().record(job).await.map_err(Failure::from)?;
    recorded.into_inner().map_err(ActError::Refused)
}

/// Whether a packet is sealed by the key of today: partners that lack it take no other.
fn opens_today(conn: &mut Conn, id: Digest, party: &Party) -> QueryResult<bool> {
    let paper = papers::find(conn, id, PACKET_TYP)?;
    let key = party.node.seal_key.parse::<PublicKey>();
    Ok(paper.zip(key.ok()).is_some_and(|(paper, key)| jws::open_flattened(&paper.sealed, PACKET_TYP, &key).is_ok()))
}

/// The packet of these answers, or everything that is wrong with them.
fn built(conn: &mut Conn, party: &Party, answers: Answers, now: Instant) -> QueryResult<Result<Packet, Vec<String>>> {
    let people = match counted(conn, answers.from, answers.until, now) {
        Ok(people) => people,
        Err(HeldError::Store(error)) => return Err(error),
        Err(error) => return Ok(Err(vec![error.to_string()])),
    };
    let Answers { from, until, attestations, audit, violations, out_of_state } = answers;
    let packet = Packet {
        format: FORMAT.to_owned(),
        ori: party.ori,
        legal_name: party.legal_name.clone(),
        made_at: now,
        from,
        until,
        policy: PolicySaid {
            url: party.policy.url.clone(),
            sha256: party.policy.sha256,
            checked_on: party.policy.checked_on,
        },
        attestations,
        people,
        audit,
        violations,
        out_of_state,
        processors: party.processors.clone(),
    };
    let mut problems = packet.problems();
    let untrained = people.may_query.saturating_sub(people.may_query_trained);
    if attestations.trained_users && untrained > 0 {
        problems.push(format!(
            "attestations.trained_users: {untrained} of the {} who may query were not trained within a year; train them \
             (`concordat training record`), close their accounts, or attest false",
            people.may_query
        ));
    }
    Ok(if problems.is_empty() { Ok(packet) } else { Err(problems) })
}

/// How many people there are, as the trail has their accounts and trainings.
fn counted(conn: &mut Conn, from: Date, until: Date, now: Instant) -> Result<People, HeldError> {
    #[derive(Deserialize)]
    struct Trained {
        on: Date,
    }
    let roster = roster::read(conn)?.map_err(HeldError::Changed)?;
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let open: Vec<_> = roster.values().filter(|account| account.disabled_at.is_none()).collect();
    let asking: Vec<_> = open.iter().filter(|account| account.role.may(Action::Query)).collect();
    let trained = |date: Date| agreements::decide::training_ends(date).is_some_and(|end| now < end);
    let trainings = told::told(conn, Kind::TrainingRecorded, Which::All)?.map_err(HeldError::Changed)?;
    let within = trainings.iter().filter(|told| {
        json::parse::<serde_json::Value>(&told.message)
            .ok()
            .and_then(|value| serde_json::from_value::<Trained>(value).ok())
            .is_some_and(|trained| (from..=until).contains(&trained.on))
    });
    Ok(People {
        accounts: count(open.len()),
        may_query: count(asking.len()),
        may_query_trained: count(asking.iter().filter(|account| account.trained_on.is_some_and(trained)).count()),
        trainings_recorded: count(within.count()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_parses_once_its_blanks_are_filled_and_a_typo_is_named_with_its_line() {
        let answers = Answers::parse(TEMPLATE).unwrap();
        assert!(!answers.attestations.lawful_use, "nobody attests by leaving the file as it is");
        for (from, to, says) in [
            ("trained_users", "trained", "trained"),
            ("queries = 0", "queries = \"many\"", "queries"),
            ("[out_of_state]", "[outofstate]", "outofstate"),
        ] {
            let error = Answers::parse(&TEMPLATE.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("line"), "{error}");
        }
    }
}
