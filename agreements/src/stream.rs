//! What each party says about an agreement: two streams of numbered events, each written by one party only.

use serde::{Deserialize, Serialize};

use crate::agreement::Agreement;
use crate::ids::{AgreementId, Digest, Ori};
use crate::json::MAX_TEXT;
use crate::party::{Keys, NodeAddress};
use crate::time::Instant;

/// What a party may say about an agreement, in its own numbered stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// It signed the document: its seal over the canonical bytes.
    Signed {
        /// Protected header and signature of the seal, as in JWS (RFC 7515) general form.
        seal: Seal,
        /// The same of the official who signs for it, by the key that the document names for that person.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        official: Option<Seal>,
    },
    /// It will not sign.
    Declined {
        /// Why.
        #[serde(deserialize_with = "crate::json::text")]
        reason: String,
    },
    /// It takes its offer or signature back before the other signed.
    Withdrawn {
        /// Why.
        #[serde(deserialize_with = "crate::json::text")]
        reason: String,
    },
    /// Nothing flows until it resumes.
    Suspended {
        /// Why.
        #[serde(deserialize_with = "crate::json::text")]
        reason: String,
    },
    /// It lifts its own suspension.
    Resumed {
        /// Why.
        #[serde(deserialize_with = "crate::json::text")]
        reason: String,
        /// Its seal over the statement that it resumes.
        seal: Seal,
    },
    /// It ends the agreement for good.
    Terminated {
        /// Why.
        #[serde(deserialize_with = "crate::json::text")]
        reason: String,
    },
    /// Its node's keys are others from here on; what the old ones sign afterwards counts for nothing.
    Rekeyed {
        /// The new keys of the day.
        keys: Keys,
        /// Whether an old key is known or feared to be in other hands: a reason for an early review (V-28).
        compromised: bool,
        /// Why.
        #[serde(deserialize_with = "crate::json::text")]
        reason: String,
        /// The seal over the statement of it: by the old seal key, or by the identity key.
        seal: Seal,
    },
    /// Its node is elsewhere, or other people are to be told, from here on.
    Moved {
        /// The URL of its peer port.
        #[serde(deserialize_with = "crate::json::text")]
        url: String,
        /// Mailboxes of roles there.
        #[serde(deserialize_with = "crate::json::texts")]
        contacts: Vec<String>,
        /// Why.
        #[serde(deserialize_with = "crate::json::text")]
        reason: String,
        /// The seal over the statement of it: by the seal key, or by the identity key.
        seal: Seal,
    },
}

impl Event {
    /// The written name, such as `suspended`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Signed { .. } => "signed",
            Self::Declined { .. } => "declined",
            Self::Withdrawn { .. } => "withdrawn",
            Self::Suspended { .. } => "suspended",
            Self::Resumed { .. } => "resumed",
            Self::Terminated { .. } => "terminated",
            Self::Rekeyed { .. } => "rekeyed",
            Self::Moved { .. } => "moved",
        }
    }

    fn reason(&self) -> Option<&str> {
        match self {
            Self::Signed { .. } => None,
            Self::Declined { reason }
            | Self::Withdrawn { reason }
            | Self::Suspended { reason }
            | Self::Resumed { reason, .. }
            | Self::Terminated { reason }
            | Self::Rekeyed { reason, .. }
            | Self::Moved { reason, .. } => Some(reason),
        }
    }
}

/// One signature of a sealed document: the two members of a JWS signature object (RFC 7515, section 7.2.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// base64url of the protected header.
    #[serde(deserialize_with = "crate::json::text")]
    pub protected: String,
    /// base64url of the signature.
    #[serde(deserialize_with = "crate::json::text")]
    pub signature: String,
}

/// An event, and the instant at which its party said so: that of the entry of its trail which the event stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// What.
    pub event: Event,
    /// When.
    pub at: Instant,
}

/// One party's events under one agreement, in the order of their numbers (1, 2, ...).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream(Vec<Said>);

/// Why an event is not taken into a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// It bears another number than the next.
    OutOfOrder {
        /// Which it bears.
        found: u32,
        /// Which is next.
        expected: u32,
    },
    /// Its party cannot say that where it is now; the sentence says why.
    Unacceptable(String),
}

impl Stream {
    /// From events in the order of their numbers.
    #[must_use]
    pub fn new(events: Vec<Said>) -> Self {
        Self(events)
    }

    /// The number that the next event will bear.
    #[must_use]
    pub fn next_number(&self) -> u32 {
        self.len().saturating_add(1)
    }

    /// How many events there are.
    #[must_use]
    pub fn len(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// Whether nothing was said yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The events, the first numbered 1.
    #[must_use]
    pub fn events(&self) -> &[Said] {
        &self.0
    }

    /// The first `n` events: the stream as it was, or as somebody knew it who had so many.
    #[must_use]
    pub fn first(&self, n: u32) -> Self {
        Self(self.0.iter().take(usize::try_from(n).unwrap_or(usize::MAX)).cloned().collect())
    }

    /// What was said up to and including `at`.
    #[must_use]
    pub fn until(&self, at: Instant) -> Self {
        Self(self.0.iter().take_while(|said| said.at <= at).cloned().collect())
    }

    /// Takes what arrived as event `n`, when it is the next one and its party may say it now. Lost, repeated and
    /// reordered events therefore leave a stream that is a beginning of the party's own.
    ///
    /// # Errors
    /// [`NotTaken`]; the stream is as it was.
    pub fn take(&mut self, n: u32, said: Said) -> Result<(), NotTaken> {
        let expected = self.next_number();
        if n != expected {
            return Err(NotTaken::OutOfOrder { found: n, expected });
        }
        if self.0.last().is_some_and(|last| said.at < last.at) {
            return Err(NotTaken::Unacceptable("it is said to be older than the event before it".to_owned()));
        }
        self.admits(&said.event).map_err(NotTaken::Unacceptable)?;
        self.0.push(said);
        Ok(())
    }

    /// When the party signed.
    #[must_use]
    pub fn signed_at(&self) -> Option<Instant> {
        self.0.iter().find(|said| matches!(said.event, Event::Signed { .. })).map(|said| said.at)
    }

    pub(crate) fn signed(&self) -> bool {
        self.signed_at().is_some()
    }

    pub(crate) fn suspended(&self) -> bool {
        self.0.iter().rev().find_map(|said| match said.event {
            Event::Suspended { .. } => Some(true),
            Event::Resumed { .. } => Some(false),
            _ => None,
        }) == Some(true)
    }

    /// The event that ended the party's part for good, if there is one.
    #[must_use]
    pub fn ended(&self) -> Option<&Said> {
        self.0.iter().find(|said| {
            matches!(said.event, Event::Declined { .. } | Event::Withdrawn { .. } | Event::Terminated { .. })
        })
    }

    /// The party's node after the first `n` events, from what the document pins for it: the values of the day.
    #[must_use]
    pub fn address(&self, pinned: &NodeAddress, n: u32) -> NodeAddress {
        let mut address = pinned.clone();
        for said in self.0.iter().take(usize::try_from(n).unwrap_or(usize::MAX)) {
            match &said.event {
                Event::Rekeyed { keys, .. } => address = address.with_keys(keys.clone()),
                Event::Moved { url, .. } => address.url.clone_from(url),
                _ => {}
            }
        }
        address
    }

    /// Whether this party may now say `event`: an absorbing event ends the stream, nobody signs twice, and only what
    /// is suspended is resumed. A reason that no reader of the event would accept is not said either.
    ///
    /// # Errors
    /// A sentence that says why not.
    pub fn admits(&self, event: &Event) -> Result<(), String> {
        if event.reason().is_some_and(|reason| reason.chars().count() > MAX_TEXT) {
            return Err(format!("the reason is over {MAX_TEXT} characters: shorten it"));
        }
        if let Some(end) = self.ended() {
            return Err(format!(
                "this party's part in the agreement ended: {}; nothing follows that",
                end.event.name()
            ));
        }
        let refuse = |good: bool, why: &str| if good { Ok(()) } else { Err(why.to_owned()) };
        match event {
            Event::Signed { .. } => refuse(!self.signed(), "this party has signed already"),
            Event::Declined { .. } => refuse(!self.signed(), "this party has signed; terminate or withdraw instead"),
            Event::Withdrawn { .. } => Ok(()),
            Event::Suspended { .. } => {
                refuse(self.signed() && !self.suspended(), "only what is signed and not suspended can be suspended")
            }
            Event::Resumed { .. } => refuse(self.suspended(), "this party has not suspended the agreement"),
            Event::Terminated { .. } => refuse(self.signed(), "this party has not signed; decline instead"),
            Event::Rekeyed { keys, .. } => keys.complete().map_err(|error| error.to_string()),
            Event::Moved { url, .. } => refuse(url.starts_with("https://"), "the URL of a node begins with https://"),
        }
    }
}

/// Both parties' streams under one agreement, and the agreements that take its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    /// The streams, in the order of [`Agreement::parties`].
    pub parties: [Stream; 2],
    /// What supersedes it: see [`heirs`].
    pub heirs: Vec<Heir>,
    /// The parties that said more than is known here, which it may be that they suspended it: each counts as suspending until
    /// what they said is known again.
    pub lost: Vec<Ori>,
}

/// An agreement that takes another one's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Heir {
    /// From this instant on, for good.
    pub takes_effect: Instant,
    /// Its id.
    pub id: AgreementId,
}

impl Streams {
    /// Both streams of an agreement that nothing supersedes.
    #[must_use]
    pub fn of(parties: [Stream; 2]) -> Self {
        Self { parties, heirs: Vec::new(), lost: Vec::new() }
    }

    /// The stream of a party.
    #[must_use]
    pub fn party(&self, agreement: &Agreement, ori: Ori) -> Option<&Stream> {
        agreement.parties.iter().zip(&self.parties).find(|(party, _)| party.ori == ori).map(|(_, stream)| stream)
    }

    /// The first of the agreements that take this one's place.
    #[must_use]
    pub fn heir(&self) -> Option<Heir> {
        self.heirs.iter().min().copied()
    }

    /// From when on an agreement with these streams can be in force: its effective date, or when the second party signed,
    /// if that is later. `None` until both signed.
    #[must_use]
    pub fn begins(&self, agreement: &Agreement) -> Option<Instant> {
        let [first, second] = &self.parties;
        Some(agreement.effective().max(first.signed_at()?).max(second.signed_at()?))
    }

    /// When an agreement with these streams takes effect, or took it, whatever came afterwards: see [`Self::begins`].
    /// `None` where it never does: a party did not sign, took its signature back, or ended it before. It needs only what
    /// both parties know, so both compute the same.
    #[must_use]
    pub fn takes_effect(&self, agreement: &Agreement) -> Option<Instant> {
        let at = self.begins(agreement)?;
        // What ended later was in force, and what it took the place of does not come back.
        let never = self.parties.iter().filter_map(Stream::ended).any(|end| end.at <= at);
        (!never && at < agreement.sunset()).then_some(at)
    }
}

/// The agreements among `others` that take the place of the one with this `document` hash: those that name it as the one
/// they renew and, of crossed renewals (which name the same one as it does), those with a lower id.
pub fn heirs<'a>(
    agreement: &Agreement,
    document: Digest,
    others: impl IntoIterator<Item = (&'a Agreement, &'a Streams)>,
) -> Vec<Heir> {
    let mut heirs: Vec<Heir> = others
        .into_iter()
        .filter(|(other, _)| {
            let renews = other.supersedes == Some(document);
            let crossed = agreement.supersedes.is_some() && other.supersedes == agreement.supersedes;
            other.id != agreement.id && (renews || (crossed && other.id < agreement.id))
        })
        .filter_map(|(other, streams)| Some(Heir { takes_effect: streams.takes_effect(other)?, id: other.id }))
        .collect();
    heirs.sort_unstable();
    heirs
}
