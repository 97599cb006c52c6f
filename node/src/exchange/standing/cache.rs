//! What was read and verified, kept for the standing epoch that it was read under.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use agreements::commit;
use agreements::decide::Standing;
use agreements::entry::Kind;
use agreements::ids::{AgreementId, Digest, Ori};
use agreements::register::Register;
use agreements::time::Instant;
use diesel::result::QueryResult;

use super::{Decided, Known, Owner, Verified, in_force, load_with};
use crate::db::Conn;
use crate::exchange::known::counting;
use crate::registry::ag;
use crate::trail;

/// Standings by partner and agreement, each good for its epoch and until something changes by itself.
#[derive(Debug, Default)]
pub struct StandingCache {
    standings: Mutex<HashMap<(Ori, AgreementId), Cached>>,
    /// What [`in_force`] gave under an epoch: verifying every agreement anew for every partner would take minutes.
    in_force: Mutex<Option<InForce>>,
    /// What two people decided, under an epoch: it is the same for every partner.
    decided: Mutex<Option<(i64, Arc<Decided>)>>,
    /// Under which agreement each partner may be asked.
    asking: Mutex<HashMap<Ori, Asking>>,
    /// Every agreement as it was verified last.
    known: Known,
    /// All of them.
    all: Mutex<Option<All>>,
}

/// Every agreement, as it was read.
#[derive(Debug, Clone)]
struct All {
    /// The epoch under which.
    epoch: i64,
    /// How long the trail was; `None` where the rows of some counted for nothing, which may be put right without an entry.
    size: Option<u64>,
    found: Arc<Vec<Verified>>,
}

/// What says something of agreements: whoever such an entry since is about, all agreements with it are read again.
/// An epoch is about all of them.
const KINDS: [Kind; 6] = [
    Kind::PeerEnrolled,
    Kind::AgreementOffered,
    Kind::AgreementEvent,
    Kind::AgreementAcknowledged,
    Kind::EpochOpened,
    Kind::EventRecovered,
];

/// The agreement in force under which a partner may be asked.
#[derive(Debug, Clone, Copy)]
pub struct Asking {
    /// It.
    pub agreement: AgreementId,
    /// SHA-256 of the witness policy that it names.
    pub witnesses: Option<Digest>,
    /// When that was looked up.
    pub since: Instant,
    /// The first instant at which it stops being in force by itself.
    pub until: Instant,
    /// The epoch under which it is in force.
    pub epoch: i64,
}

#[derive(Debug, Clone)]
struct InForce {
    epoch: i64,
    partners: BTreeSet<Ori>,
    good: Range<Instant>,
}

/// A standing, from when it was read to when something about it changes by itself: what a clock that was set back asks for
/// is read again.
type Cached = (Arc<Standing>, Range<Instant>);

impl StandingCache {
    /// Partners name agreements; what they name must not fill the memory.
    const CAPACITY: usize = 4096;

    /// The standing, from memory when it is of the present epoch.
    pub fn standing(
        &self,
        conn: &mut Conn,
        owner: &Owner,
        partner: Ori,
        agreement: AgreementId,
        now: Instant,
    ) -> QueryResult<Arc<Standing>> {
        let epoch = trail::head::epoch(conn)?;
        self.standing_under(conn, epoch, owner, partner, agreement, now)
    }

    /// The standing, from memory when it is of `epoch`, which the caller has read before.
    pub fn standing_under(
        &self,
        conn: &mut Conn,
        epoch: i64,
        owner: &Owner,
        partner: Ori,
        agreement: AgreementId,
        now: Instant,
    ) -> QueryResult<Arc<Standing>> {
        let key = (partner, agreement);
        if let Some((standing, good)) = self.standings.lock().unwrap_or_else(PoisonError::into_inner).get(&key)
            && standing.epoch == epoch
            && good.contains(&now)
        {
            return Ok(Arc::clone(standing));
        }
        let all = |conn: &mut Conn, register: &Register| self.in_force(conn, owner.ori, register, epoch, now);
        let decided = self.decided(conn, owner, epoch)?;
        let (standing, changes) = load_with(conn, owner, partner, agreement, epoch, (&decided, &self.known), all)?;
        let standing = Arc::new(standing);
        let mut known = self.standings.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= Self::CAPACITY {
            known.clear();
        }
        known.insert(key, (Arc::clone(&standing), now..changes));
        Ok(standing)
    }

    /// Every agreement, verified: see [`Known::all`]. Those with partners about whom the trail recorded nothing since are as
    /// they were read last: changes by other hands, of which it records nothing, are for [`crate::tampering`] to find.
    pub fn all(&self, conn: &mut Conn) -> QueryResult<Arc<Vec<Verified>>> {
        // Both are read first: what is read after them can only be newer, and is read again then.
        let (epoch, (size, _)) = (trail::head::epoch(conn)?, trail::head::extent(conn)?);
        let before = {
            let mut kept = self.all.lock().unwrap_or_else(PoisonError::into_inner);
            match kept.take() {
                Some(all) if all.epoch == epoch => return Ok(Arc::clone(&kept.insert(all).found)),
                before => before,
            }
        };
        let about = match before.as_ref().and_then(|all| all.size) {
            Some(size) => trail::news::about(conn, &KINDS, size)?,
            None => None,
        };
        let (found, sound) = match (before, about) {
            (Some(before), Some(about)) => self.with_new(conn, Arc::unwrap_or_clone(before.found), &about)?,
            _ => self.known.all_or_less(conn)?,
        };
        let found = Arc::new(found);
        let all = All { epoch, size: sound.then_some(size), found: Arc::clone(&found) };
        *self.all.lock().unwrap_or_else(PoisonError::into_inner) = Some(all);
        Ok(found)
    }

    /// `all`, but that those with some partners are read again; and whether all of these count.
    fn with_new(
        &self,
        conn: &mut Conn,
        mut all: Vec<Verified>,
        about: &BTreeSet<Ori>,
    ) -> QueryResult<(Vec<Verified>, bool)> {
        all.retain(|found| !found.agreement.parties.iter().any(|party| about.contains(&party.ori)));
        let mut sound = true;
        for partner in about {
            let family = self.known.family(conn, *partner)?;
            sound &= family.is_ok();
            all.extend(counting(partner.as_str(), family));
        }
        all.sort_by_key(|found| found.agreement.id);
        Ok((all, sound))
    }

    /// Forgets everything, so that the rows are read and verified again.
    pub fn forget(&self) {
        self.known.forget();
        *self.all.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.standings.lock().unwrap_or_else(PoisonError::into_inner).clear();
        *self.in_force.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.decided.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.asking.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn decided(&self, conn: &mut Conn, owner: &Owner, epoch: i64) -> QueryResult<Arc<Decided>> {
        let known = self.decided.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, decided)) = known.filter(|(of, _)| *of == epoch) {
            return Ok(decided);
        }
        let fresh = Arc::new(Decided::read(conn, owner)?);
        *self.decided.lock().unwrap_or_else(PoisonError::into_inner) = Some((epoch, Arc::clone(&fresh)));
        Ok(fresh)
    }

    fn in_force(
        &self,
        conn: &mut Conn,
        us: Ori,
        register: &Register,
        epoch: i64,
        now: Instant,
    ) -> QueryResult<(BTreeSet<Ori>, Instant)> {
        let known = self.in_force.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(InForce { partners, good, .. }) = known.filter(|it| it.epoch == epoch && it.good.contains(&now)) {
            return Ok((partners, good.end));
        }
        let (partners, changes) = in_force(&self.all(conn)?, us, register, now);
        let fresh = InForce { epoch, partners: partners.clone(), good: now..changes };
        *self.in_force.lock().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
        Ok((partners, changes))
    }

    /// The agreement in force under which `us` may query `owner`; or why there is none.
    pub fn asking(&self, conn: &mut Conn, us: Ori, owner: Ori, now: Instant) -> QueryResult<Result<Asking, String>> {
        // The epoch is read first: what is read after it can only be newer, and then the commit sees that it moved.
        let epoch = trail::head::epoch(conn)?;
        let known = self.asking.lock().unwrap_or_else(PoisonError::into_inner).get(&owner).copied();
        if let Some(known) = known.filter(|known| known.epoch == epoch && (known.since..known.until).contains(&now)) {
            return Ok(Ok(known));
        }
        let found = under(conn, &self.known, us, owner, now)?.map(|(agreement, witnesses, until)| Asking {
            agreement,
            witnesses,
            since: now,
            until,
            epoch,
        });
        if let Ok(found) = &found {
            self.asking.lock().unwrap_or_else(PoisonError::into_inner).insert(owner, *found);
        }
        Ok(found)
    }
}

/// An agreement, the witness policy that it names, and until when it is in force.
type Under = (AgreementId, Option<Digest>, Instant);

/// The agreement in force under which `us` may query `owner`, the newest one, with the witness policy that it names, and until
/// when: another one may begin before it ends. Or why there is none.
fn under(conn: &mut Conn, known: &Known, us: Ori, owner: Ori, now: Instant) -> QueryResult<Result<Under, String>> {
    let register = ag::register(conn)?;
    let all = known.sound(conn, owner)?;
    let agreements = all.iter().map(|found| (&found.agreement, &found.streams));
    let none = || "no agreement with it; draft one with `concordat agreement draft`".to_owned();
    let found = commit::under(us, owner, agreements, &register, now).map_err(|why| why.unwrap_or_else(none));
    Ok(found.map(|(id, until)| {
        let named = all.iter().find(|found| found.agreement.id == id);
        (id, named.and_then(|found| found.agreement.witness_policy()), until)
    }))
}
