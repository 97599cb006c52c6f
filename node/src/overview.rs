//! What the console shows of a node, gathered so that asking often costs little.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use agreements::register::{OpenReview, Register};
use agreements::status::Status;
use agreements::time::Instant;
use diesel::result::QueryResult;

use crate::console::{self, Readiness, ReadsStatus, StatusSource, TrailStatus, WitnessesStatus};
use crate::db::Conn;
use crate::desk::Desk;
use crate::exchange::Failure;
use crate::exchange::standing::{StandingCache, Verified};
use crate::node::Node;
use crate::publishing::{Last, Said};
use crate::reads::store::Reader;
use crate::registry::ag;
use crate::witness::evidence;
use crate::{mail, trail, upkeep};

/// How long a count of the reads stands, in microseconds, with what this process kept since added to it: counting them all
/// takes long when there are many.
const COUNT_LIFE: i64 = Instant::MINUTE;

/// What is kept between two looks.
pub(crate) struct Overview {
    desk: Mutex<Desk>,
    /// Another one, so that readiness does not wait for a count.
    counting: Mutex<Desk>,
    agreements: Mutex<Option<Arc<Agreements>>>,
    reads: Mutex<Option<Counted>>,
}

/// The agreements under one epoch: where they stand changes with the time, but not what was signed.
struct Agreements {
    epoch: i64,
    verified: Arc<Vec<Verified>>,
    register: Register,
}

#[derive(Clone)]
struct Counted {
    at: Instant,
    /// How many reads this process had kept by then.
    kept: u64,
    status: ReadsStatus,
}

impl Overview {
    /// Over two desks of the node.
    pub(crate) fn new([desk, counting]: [Desk; 2]) -> Self {
        Self {
            desk: Mutex::new(desk),
            counting: Mutex::new(counting),
            agreements: Mutex::default(),
            reads: Mutex::default(),
        }
    }

    /// Forgets what was verified.
    pub(crate) fn forget(&self) {
        *self.agreements.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Runs a query of the registry on the connection that is kept for looking.
    fn look<T>(&self, query: impl FnMut(&mut Conn) -> QueryResult<T>) -> Result<T, Failure> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner).registry(query)
    }

    fn agreements(&self, standings: &StandingCache) -> Result<Arc<Agreements>, Failure> {
        let epoch = self.look(trail::head::epoch)?;
        let known = self.agreements.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(|known| known.epoch == epoch) {
            return Ok(known);
        }
        let (register, verified) = self.look(|conn| Ok((ag::register(conn)?, standings.all(conn)?)))?;
        let fresh = Arc::new(Agreements { epoch, verified, register });
        *self.agreements.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&fresh));
        Ok(fresh)
    }

    /// How many agreements are in each status.
    fn by_status(&self, standings: &StandingCache, now: Instant) -> Result<Vec<(&'static str, u64)>, Failure> {
        let known = self.agreements(standings)?;
        let mut by_status: Vec<(&'static str, u64)> = Vec::new();
        for found in known.verified.iter() {
            let status = Status::at(&found.agreement, &found.streams, &known.register, now);
            match by_status.iter_mut().find(|(name, _)| *name == status.name()) {
                Some((_, count)) => *count += 1,
                None => by_status.push((status.name(), 1)),
            }
        }
        Ok(by_status)
    }

    /// The early reviews that are open, each in a sentence that says what to do.
    fn reviews(&self, standings: &StandingCache) -> Vec<String> {
        // What cannot be read is shown as nothing; the readiness says why.
        let reviews = self.agreements(standings).map(|known| known.register.reviews.clone()).unwrap_or_default();
        reviews.iter().map(OpenReview::says).collect()
    }

    fn reads(&self, kept: u64, now: Instant) -> Result<ReadsStatus, Failure> {
        let known = self.reads.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(|known| (0..COUNT_LIFE).contains(&now.since(known.at))) {
            let since = kept.saturating_sub(known.kept);
            return Ok(ReadsStatus { count: known.status.count.saturating_add(since), ..known.status });
        }
        let desk = self.counting.lock().unwrap_or_else(PoisonError::into_inner);
        let status = ReadsStatus { count: desk.reads(Reader::count)?, newest: desk.reads(Reader::newest)? };
        drop(desk);
        let counted = Counted { at: now, kept, status: status.clone() };
        *self.reads.lock().unwrap_or_else(PoisonError::into_inner) = Some(counted);
        Ok(status)
    }
}

impl fmt::Debug for Overview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Overview(..)")
    }
}

/// What witnesses say of this node's trail: what is kept, and what each of them did the last time that it was asked.
fn witnesses(node: &Node) -> WitnessesStatus {
    let Ok(standing) = node.overview().look(|conn| node.witnessed(conn)) else { return WitnessesStatus::default() };
    let last = node.watch().last();
    let one = |it: &Last| {
        let did = match last.get(&it.witness) {
            Some(Said::Ahead { size }) => format!("; ALARM: it knows a larger head, of {size} entries"),
            Some(Said::Forked { size }) => format!("; ALARM: it knows another trail, of {size} entries"),
            Some(Said::Failed(why)) => format!("; now: {why}"),
            Some(Said::Cosigned { .. }) | None => String::new(),
        };
        let word = it.cosigned.map_or_else(|| "nothing yet".to_owned(), |(size, at)| format!("{size} entries at {at}"));
        (it.witness.clone(), format!("{word}{did}"))
    };
    WitnessesStatus {
        says: standing.says(),
        last: standing.last.iter().map(one).collect(),
        weaknesses: standing.weaknesses,
    }
}

impl StatusSource for Node {
    fn readiness(&self) -> Readiness {
        let unready = self.overview().look(|conn| self.unready(conn));
        let one_line = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut unready =
            unready.unwrap_or_else(|error| vec![one_line(format!("the registry cannot be read: {error}"))]);
        if let Err(unwitnessed) = self.watch().may_disclose(self.now()) {
            unready
                .push(format!("{unwitnessed}: have witnesses of the policy reached (`concordat doctor` says which)"));
        }
        let mut alarms: Vec<String> = self.changed().iter().map(ToString::to_string).collect();
        // What cannot be read is said above.
        let forks = self.overview().look(evidence::all).unwrap_or_default();
        alarms.extend(forks.iter().map(|(sha256, fork, at)| {
            format!("the log {} showed two trails, found at {at}: `concordat trail forks --of {sha256}`", fork.origin)
        }));
        alarms.extend(self.checking().now().alarm());
        alarms.extend(self.overview().look(|conn| self.witnessed(conn)).ok().and_then(|it| it.alarm(self.now())));
        let ready = if unready.is_empty() { Ok(()) } else { Err(unready) };
        Readiness { ready, alarms, unchecked: self.unchecked() }
    }

    fn status(&self) -> console::Status {
        let now = self.now();
        let overview = self.overview();
        let Readiness { ready, alarms, .. } = self.readiness();
        // What cannot be read is shown as nothing; the readiness says why.
        let size = overview.look(trail::head::extent).map_or(0, |(size, _)| size);
        let reads = overview.reads(self.reads().kept(), now).unwrap_or(ReadsStatus { count: 0, newest: None });
        console::Status {
            agency: self.party().legal_name.clone(),
            ori: self.ori(),
            version: env!("CARGO_PKG_VERSION"),
            at: now,
            ready,
            alarms,
            notices: upkeep::notices(self, now).into_iter().chain(overview.reviews(self.standings())).collect(),
            trail: TrailStatus {
                origin: self.party().node.log_origin.clone(),
                size,
                check: self.checking().now().says(),
            },
            witnesses: witnesses(self),
            partners: self.partners().all().count() as u64,
            agreements: overview.by_status(self.standings(), now).unwrap_or_default(),
            reads,
            mail: overview.look(|conn| mail::standing(conn, self.mailer().is_on())).unwrap_or_default(),
        }
    }
}
