//! Which protocol versions partners speak, and which one a message to them is written in.
//!
//! A node says at `GET /peer/v1/node` which versions it speaks, and a problem document about a version says it too. What
//! was learned is kept in memory: a partner that was brought up to date is asked again when it seems to share no version.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use agreements::ids::Ori;
use agreements::party::Party;
use agreements::protocol::{Spoken, said};
use agreements::time::Instant;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::partner::Partner;
use crate::node::Node;

/// What a node says of itself to whom it has enrolled.
#[derive(Debug, Serialize)]
pub struct Description<'a> {
    /// The versions it speaks, newest first.
    pub protocols: Vec<u16>,
    /// What time it is there.
    pub at: Instant,
    /// The agency, as its descriptor describes it.
    pub party: &'a Party,
}

/// What a partner's node says of itself. Members that another version added are passed over: this is read before the two
/// have a version in common.
#[derive(Debug, Deserialize)]
pub struct Described {
    /// The versions it speaks.
    pub protocols: Vec<u16>,
    /// What time it is there.
    #[serde(default)]
    pub at: Option<Instant>,
    /// The agency.
    #[serde(default)]
    pub party: Option<Box<RawValue>>,
}

/// What is known of partners' versions.
#[derive(Debug)]
pub struct Versions {
    ours: Spoken,
    theirs: Mutex<HashMap<Ori, Vec<u16>>>,
}

impl Default for Versions {
    fn default() -> Self {
        Self::of(Spoken::OURS)
    }
}

/// The version of one message to several partners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The highest that the most of them speak.
    pub v: u16,
    /// Those that do not speak it, with why the message does not go to them.
    pub left_out: Vec<(Ori, String)>,
}

impl Versions {
    /// Nothing is known of anybody, and this node speaks `ours`.
    #[must_use]
    pub fn of(ours: Spoken) -> Self {
        Self { ours, theirs: Mutex::default() }
    }

    /// Keeps what a partner said that it speaks.
    pub fn learn(&self, partner: Ori, theirs: Vec<u16>) {
        self.theirs.lock().unwrap_or_else(PoisonError::into_inner).insert(partner, theirs);
    }

    /// Keeps what a problem document about a version says, if `body` is one.
    pub fn learn_from_problem(&self, partner: Ori, body: &[u8]) {
        #[derive(Deserialize)]
        struct Problem {
            versions: Vec<u16>,
        }
        if let Ok(Problem { versions }) = serde_json::from_slice(body) {
            self.learn(partner, versions);
        }
    }

    fn known(&self, partner: Ori) -> Option<Vec<u16>> {
        self.theirs.lock().unwrap_or_else(PoisonError::into_inner).get(&partner).cloned()
    }

    /// Whether a partner has to be asked before a version for it can be chosen: where there is nothing to choose, only
    /// if it seemed to share none.
    fn must_ask(&self, partner: Ori) -> bool {
        self.known(partner).map_or(!self.ours.is_one(), |theirs| self.ours.common(&theirs).is_none())
    }

    /// The version of one message to all of `partners`, by what is known of them. Of whom nothing is known counts as
    /// speaking whatever this node speaks: it says so if not.
    #[must_use]
    pub fn choose(&self, partners: &[Ori]) -> Choice {
        let known: Vec<(Ori, Option<Vec<u16>>)> = partners.iter().map(|ori| (*ori, self.known(*ori))).collect();
        let speaks = |theirs: &Option<Vec<u16>>, v: u16| theirs.as_ref().is_none_or(|theirs| theirs.contains(&v));
        let count = |v: u16| known.iter().filter(|(_, theirs)| speaks(theirs, v)).count();
        let v = (self.ours.oldest..=self.ours.newest).max_by_key(|v| (count(*v), *v)).unwrap_or(self.ours.newest);
        let left_out = known
            .into_iter()
            .filter(|(_, theirs)| !speaks(theirs, v))
            .map(|(ori, theirs)| (ori, self.apart(v, &theirs.unwrap_or_default())))
            .collect();
        Choice { v, left_out }
    }

    fn apart(&self, v: u16, theirs: &[u16]) -> String {
        let (ours, spoken) = (self.ours, said(theirs));
        match ours.common(theirs) {
            Some(_) => {
                format!("it speaks protocol version {spoken}, and the others asked with it {v}: ask it by itself")
            }
            None if theirs.iter().any(|their| *their > ours.newest) => {
                format!("it speaks protocol version {spoken}, this node {ours}: bring this node up to date")
            }
            None => format!("it speaks protocol version {spoken}, this node {ours}: it has to be brought up to date"),
        }
    }
}

/// The version of one message to all of `partners`, after those were asked of whom it must be known.
pub async fn agree(node: &Node, partners: &[Arc<Partner>]) -> Choice {
    let versions = node.versions();
    let asking = partners.iter().filter(|partner| versions.must_ask(partner.ori()));
    join_all(asking.map(|partner| ask(node, partner))).await;
    let oris: Vec<Ori> = partners.iter().map(|partner| partner.ori()).collect();
    versions.choose(&oris)
}

/// Asks one partner. Who does not answer is as unknown as before: the message itself will tell.
async fn ask(node: &Node, partner: &Partner) {
    let Ok(reply) = node.dialer().get(partner, "node").await else { return };
    if let Ok(described) = serde_json::from_slice::<Described>(&reply.body) {
        node.versions().learn(partner.ori(), described.protocols);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ori(text: &str) -> Ori {
        text.parse().unwrap()
    }

    #[test]
    fn the_version_is_the_highest_that_all_speak_and_who_speaks_none_is_left_out_with_what_to_do() {
        let (birch, cedar, dogwood) = (ori("CA0990100"), ori("CA0990200"), ori("CA0990300"));
        let versions = Versions::of(Spoken { newest: 3, oldest: 2 });
        assert!(versions.must_ask(birch), "there is a choice, and nothing is known");
        assert_eq!(versions.choose(&[birch, cedar]), Choice { v: 3, left_out: Vec::new() });
        versions.learn(birch, vec![2, 1]);
        assert!(!versions.must_ask(birch));
        assert_eq!(versions.choose(&[birch, cedar]), Choice { v: 2, left_out: Vec::new() });
        versions.learn(cedar, vec![3, 2]);
        assert_eq!((versions.choose(&[birch, cedar]).v, versions.choose(&[cedar]).v), (2, 3));
        // One that moved on too far, and one that stayed behind.
        versions.learn(cedar, vec![5, 4]);
        assert!(versions.must_ask(cedar), "it may have been set back");
        versions.learn_from_problem(dogwood, br#"{"type":"urn:concordat:problem:version","versions":[1]}"#);
        let Choice { v, left_out } = versions.choose(&[birch, cedar, dogwood]);
        assert_eq!((v, left_out.len()), (2, 2));
        assert_eq!(left_out[0].0, cedar);
        assert!(left_out[0].1.contains("5 and 4") && left_out[0].1.contains("bring this node up to date"));
        assert!(left_out[1].1.contains("it has to be brought up to date"), "{}", left_out[1].1);
        // Two that share no version with each other, though both do with us.
        versions.learn(cedar, vec![4, 3]);
        let Choice { v, left_out } = versions.choose(&[birch, cedar]);
        assert_eq!((v, left_out[0].0), (3, birch));
        assert!(left_out[0].1.contains("ask it by itself"), "{}", left_out[0].1);
    }

    #[test]
    fn who_speaks_one_version_asks_nobody_until_somebody_refuses_it() {
        let birch = ori("CA0990100");
        let versions = Versions::default();
        assert!(!versions.must_ask(birch));
        versions.learn_from_problem(birch, b"no problem document");
        assert!(!versions.must_ask(birch));
        versions.learn_from_problem(birch, br#"{"versions":[3,2]}"#);
        assert!(versions.must_ask(birch));
        assert!(versions.choose(&[birch]).left_out[0].1.contains("this node 1"));
    }
}
