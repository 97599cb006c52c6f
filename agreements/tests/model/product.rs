//! The bridge to the product: what a node of the model knows, as the product's own types, and the product's answers.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, RwLock};

use agreements::agreement::{Agreement, Grant, QueryGrant};
use agreements::commit::under;
use agreements::decide::{Decision, Permit, Standing, Usage, decide};
use agreements::ids::{AgreementId, Digest, Ori, RequestId};
use agreements::message::Question;
use agreements::register::{OpenReview, Register, Trigger};
use agreements::status::{Status, activation_problems};
use agreements::stream::{Event, Said, Stream, Streams, heirs};
use agreements::time::Instant;
use jiff::civil::Date;

use crate::common::{self, OWNER, PARTNER, agreement, ori, owner_rules, party, query_grant, question, register};

/// The most agreements of a scope.
pub const AGREEMENTS: usize = 3;
/// The most events of a stream.
pub const EVENTS: u32 = 4;

/// What a party says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Says {
    Signed,
    Declined,
    Withdrawn,
    Suspended,
    Resumed,
    Terminated,
    Rekeyed,
}

impl Says {
    const ALL: [Self; 7] = [
        Self::Signed,
        Self::Declined,
        Self::Withdrawn,
        Self::Suspended,
        Self::Resumed,
        Self::Terminated,
        Self::Rekeyed,
    ];

    pub fn absorbs(self) -> bool {
        matches!(self, Self::Declined | Self::Withdrawn | Self::Terminated)
    }

    fn event(self) -> Event {
        let reason = String::new();
        match self {
            Self::Signed => common::signed(),
            Self::Declined => Event::Declined { reason },
            Self::Withdrawn => Event::Withdrawn { reason },
            Self::Suspended => Event::Suspended { reason },
            Self::Resumed => Event::Resumed { reason, seal: common::seal() },
            Self::Terminated => Event::Terminated { reason },
            Self::Rekeyed => {
                let keys = party(OWNER).node.keys();
                Event::Rekeyed { keys, compromised: false, reason, seal: common::seal() }
            }
        }
    }
}

/// An instant of a scope, by its number.
pub type Tick = u8;

/// A stream in one word: a byte for each event, what was said and when.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Line(u32);

impl Line {
    pub fn of(events: &[(Says, Tick)]) -> Self {
        events.iter().fold(Self::default(), |line, (says, at)| line.and(*says, *at))
    }

    pub fn len(self) -> u32 {
        (32 - self.0.leading_zeros()).div_ceil(8)
    }

    pub fn and(self, says: Says, at: Tick) -> Self {
        assert!(at < 8 && self.len() < EVENTS);
        Self(self.0 | (1 + ((says as u32) << 3 | u32::from(at))) << (8 * self.len()))
    }

    pub fn iter(self) -> impl Iterator<Item = (Says, Tick)> {
        self.0.to_le_bytes().into_iter().filter(|byte| *byte != 0).map(|byte| {
            let byte = byte - 1;
            (Says::ALL[usize::from(byte >> 3)], byte & 7)
        })
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// All that a node knows that a decision stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// Both parties' streams under each agreement.
    pub lines: [[Line; 2]; AGREEMENTS],
    /// Of which agreements it has the document.
    pub known: [bool; AGREEMENTS],
    /// Whether the partner is named in its register of findings.
    pub adverse: bool,
    /// Since when it reviews the partner early.
    pub review: Option<Tick>,
    /// When it checked the sources last.
    pub checked: Tick,
}

/// Where an agreement stands, as far as the model asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stands {
    InForce,
    Superseded,
    Over,
    Otherwise,
}

/// What the product says of a view at an instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Where each agreement that it knows stands.
    pub stands: [Stands; AGREEMENTS],
    /// Under which agreement it may ask the partner, and until when.
    pub asking: Option<(usize, Instant)>,
}

type Key = (View, usize, Tick);

/// The product's functions over a scope's agreements. They are pure, so what they said once is remembered.
pub struct Product {
    pub instants: Vec<Instant>,
    agreements: Vec<(Agreement, Digest)>,
    said: RwLock<HashMap<Key, Arc<Told>>>,
    permits: RwLock<HashMap<Key, Option<Arc<Permit>>>>,
    settled: RwLock<HashMap<View, bool>>,
}

/// An agreement of a scope: its dates, and whether it renews the first one.
pub struct Paper {
    pub effective: Date,
    pub sunset: Date,
    pub renews: bool,
}

/// The parties, in their order: the owner, and the partner that asks it.
pub fn oris() -> [Ori; 2] {
    [ori(OWNER), ori(PARTNER)]
}

impl Product {
    pub fn new(papers: &[Paper], instants: Vec<Instant>) -> Self {
        let agreements = (1..)
            .zip(papers)
            .map(|(n, paper)| {
                let mut agreement = agreement();
                agreement.id = common::id(n);
                (agreement.effective_on, agreement.sunset_on) = (paper.effective, paper.sunset);
                agreement.supersedes = paper.renews.then(|| Digest::of(&[1]));
                agreement.grants = vec![Grant::Query(QueryGrant { lookback_days: 730, ..query_grant() })];
                (agreement, Digest::of(&[n]))
            })
            .collect();
        Self { instants, agreements, said: RwLock::default(), permits: RwLock::default(), settled: RwLock::default() }
    }

    pub fn count(&self) -> usize {
        self.agreements.len()
    }

    pub fn at(&self, tick: Tick) -> Instant {
        self.instants[usize::from(tick)]
    }

    fn id(&self, n: usize) -> AgreementId {
        self.agreements[n].0.id
    }

    fn said_of(&self, (says, at): (Says, Tick)) -> Said {
        Said { event: says.event(), at: self.at(at) }
    }

    pub fn stream(&self, line: Line) -> Stream {
        Stream::new(line.iter().map(|one| self.said_of(one)).collect())
    }

    /// Takes event `n` of a party whose whole stream is `line`, when `heard` of it came before: what the hearer has then.
    pub fn take(&self, heard: Line, line: Line, n: u32) -> Option<Line> {
        let one = line.iter().nth(n as usize - 1)?;
        let mut stream = self.stream(heard);
        let taken = stream.take(n, self.said_of(one));
        taken.is_ok().then(|| {
            assert_eq!(stream.len(), heard.len() + 1);
            heard.and(one.0, one.1)
        })
    }

    /// Whether a party may say so now, as its node asks when a person acts.
    pub fn may_say(&self, view: &View, who: usize, paper: usize, says: Says, now: Tick) -> bool {
        let own = self.stream(view.lines[paper][who]);
        let register = self.register(view, who);
        own.admits(&says.event()).is_ok()
            && (says != Says::Signed
                || activation_problems(&self.agreements[paper].0, &register, self.at(now)).is_empty())
    }

    fn register(&self, view: &View, who: usize) -> Register {
        let partner = oris()[1 - who];
        let reviews = view.review.map(|since| {
            let opened_at = self.at(since);
            let id = RequestId::new(opened_at, [7; 10]);
            OpenReview { id, ori: partner, trigger: Trigger::Breach, opened_at }
        });
        Register {
            adverse: view.adverse.then_some(partner).into_iter().collect(),
            checked_at: Some(self.at(view.checked)),
            reviews: reviews.into_iter().collect(),
        }
    }

    /// Every agreement that a view knows, with its streams and heirs; found in this or the other order.
    fn family(&self, view: &View, backwards: bool) -> Vec<(usize, Streams)> {
        let mut known: Vec<usize> = (0..self.count()).filter(|n| view.known[*n]).collect();
        if backwards {
            known.reverse();
        }
        let bare: Vec<(usize, Streams)> =
            known.iter().map(|n| (*n, Streams::of(view.lines[*n].map(|line| self.stream(line))))).collect();
        let with_heirs = |(n, streams): &(usize, Streams)| {
            let (agreement, document) = &self.agreements[*n];
            let others = bare.iter().filter(|(other, _)| other != n);
            let others = others.map(|(other, streams)| (&self.agreements[*other].0, streams));
            (*n, Streams { heirs: heirs(agreement, *document, others), ..streams.clone() })
        };
        bare.iter().map(with_heirs).collect()
    }

    /// What `who` says at `now`, from what it knows.
    pub fn says(&self, view: &View, who: usize, now: Tick) -> Arc<Told> {
        let key = (*view, who, now);
        if let Some(said) = self.said.read().unwrap().get(&key) {
            return Arc::clone(said);
        }
        let (register, at) = (self.register(view, who), self.at(now));
        let mut family = self.family(view, false);
        family.sort_by_key(|(n, _)| *n);
        let mut stands = [Stands::Otherwise; AGREEMENTS];
        for (n, streams) in &family {
            stands[*n] = match Status::at(&self.agreements[*n].0, streams, &register, at) {
                Status::InForce { .. } => Stands::InForce,
                Status::Superseded { .. } => Stands::Superseded,
                Status::Ended { .. } | Status::Sunset { .. } => Stands::Over,
                _ => Stands::Otherwise,
            };
        }
        let agreements = family.iter().map(|(n, streams)| (&self.agreements[*n].0, streams));
        let [owner, asker] = oris();
        let asking = (who == 1).then(|| under(asker, owner, agreements, &register, at)).and_then(Result::ok);
        let number = |id| (0..self.count()).find(|n| self.id(*n) == id).unwrap();
        let said = Arc::new(Told { stands, asking: asking.map(|(id, until)| (number(id), until)) });
        self.said.write().unwrap().insert(key, Arc::clone(&said));
        said
    }

    /// Whether an agreement is in force for `who`, as its node looks when an answer arrives.
    pub fn holds(&self, view: &View, who: usize, paper: usize, now: Tick) -> bool {
        let family = self.family(view, false);
        let streams = &family.iter().find(|(n, _)| *n == paper).unwrap().1;
        let register = self.register(view, who);
        let status = Status::at(&self.agreements[paper].0, streams, &register, self.at(now));
        matches!(status, Status::InForce { .. })
    }

    pub fn question(&self) -> Question {
        let first = self.instants[0];
        let mut question = question();
        (question.from, question.until) = (first.plus(-Instant::DAY), first.plus(-Instant::HOUR));
        question.asker.trained_on = first.plus(-30 * Instant::DAY).date();
        question
    }

    pub fn standing(&self, view: &View, paper: usize, epoch: i64) -> Standing {
        let family = self.family(view, false);
        let streams = family.into_iter().find(|(n, _)| *n == paper).map(|(_, streams)| streams);
        Standing {
            owner: oris()[0],
            partner: oris()[1],
            agreement: view.known[paper].then(|| self.agreements[paper].0.clone()),
            streams: streams.unwrap_or_default(),
            register: self.register(view, 0),
            rules: owner_rules(),
            authorized_until: Some(self.agreements[paper].0.sunset()),
            under_agreement: BTreeSet::from([oris()[1]]),
            epoch,
        }
    }

    /// What the owner decides about the question.
    pub fn permit(&self, view: &View, paper: usize, now: Tick) -> Option<Arc<Permit>> {
        let key = (*view, paper, now);
        if let Some(permit) = self.permits.read().unwrap().get(&key) {
            return permit.clone();
        }
        let decision = decide(&self.question(), &self.standing(view, paper, 0), Usage::default(), self.at(now));
        let permit = match decision {
            Decision::Permit(permit) => Some(Arc::new(permit)),
            Decision::Refer(_) | Decision::Deny(_) => None,
        };
        self.permits.write().unwrap().insert(key, permit.clone());
        permit
    }

    /// Whether what both parties said, delivered whole, makes both nodes see the same: each takes every event of the
    /// other, in its order, and then, with equal registers, each agreement stands alike at every instant, however the
    /// nodes found their rows.
    pub fn settles(&self, whole: &View, heard: [&View; 2]) -> bool {
        for (who, view) in heard.into_iter().enumerate() {
            for (mine, all) in view.lines.iter().zip(&whole.lines) {
                let (mut have, all) = (mine[1 - who], all[1 - who]);
                while have.len() < all.len() {
                    let Some(more) = self.take(have, all, have.len() + 1) else { return false };
                    have = more;
                }
                if have != all {
                    return false;
                }
            }
        }
        if let Some(settled) = self.settled.read().unwrap().get(whole) {
            return *settled;
        }
        let register = Register { checked_at: Some(self.instants[0]), ..register() };
        let statuses = |backwards: bool| {
            let mut family = self.family(whole, backwards);
            family.sort_by_key(|(n, _)| *n);
            let at = |at: &Instant| {
                let status =
                    |(n, streams): &(usize, Streams)| Status::at(&self.agreements[*n].0, streams, &register, *at);
                family.iter().map(status).collect::<Vec<_>>()
            };
            self.instants.iter().map(at).collect::<Vec<_>>()
        };
        let settled = statuses(false) == statuses(true);
        self.settled.write().unwrap().insert(*whole, settled);
        settled
    }
}
