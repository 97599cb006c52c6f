//! The comparison of a day, pure: what the partner lists, held to what its log proves, to what this side holds of it, and to
//! what this side said.

use std::collections::{BTreeMap, BTreeSet};

use agreements::discrepancy::Differs;
use agreements::entry::Kind;
use agreements::ids::{Digest, RequestId};
use agreements::time::Instant;

use super::listing::Listed;
use crate::registry::discrepancies::{Counts, NotReceived};

/// An entry of the partner that this side holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// Its leaf hash.
    pub(super) leaf: Digest,
    /// Its id.
    pub(super) rid: RequestId,
    /// What it records, where its leaf is held.
    pub(super) kind: Option<Kind>,
    /// When it was appended; where only our answer to it is held, when that was.
    pub(super) at: Instant,
    /// Its position in the partner's log, where its proof is held.
    pub(super) index: Option<u64>,
    /// Whether it is of an earlier day and came on this one.
    pub(super) late: bool,
}

/// An entry of the partner that one of our own names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// The partner's entry.
    pub(super) leaf: Digest,
    /// What it replies to; absent where we reply to it.
    pub(super) of: Option<Digest>,
    /// Our entry that names it.
    pub(super) by: Digest,
    /// Whether its proof is held.
    pub(super) proven: bool,
}

/// Both sides of a day.
pub(super) struct Sides<'a> {
    /// What the partner lists.
    pub(super) listed: &'a [Listed],
    /// What is at these positions in the partner's log.
    pub(super) log: &'a BTreeMap<u64, Digest>,
    /// What this side holds of the partner's.
    pub(super) held: &'a [Held],
    /// What our own entries name.
    pub(super) named: &'a [Named],
    /// What we said to the partner on that day: the leaf hashes of our questions and pulls.
    pub(super) asked: &'a BTreeSet<Digest>,
    /// Whether an entry of ours has this leaf hash.
    pub(super) said: &'a dyn Fn(Digest) -> bool,
}

/// Something that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) differs: Differs,
    /// The partner's entry.
    pub(super) leaf: Digest,
    pub(super) rid: Option<RequestId>,
    pub(super) kind: Option<Kind>,
    /// The other entry concerned.
    pub(super) other: Option<Digest>,
}

/// What came of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Compared {
    pub(super) counts: Counts,
    pub(super) not_received: Vec<NotReceived>,
    pub(super) differences: Vec<Difference>,
}

/// Compares. Every entry that the partner lists, that we hold and that ours name is accounted for.
pub(super) fn compare(sides: &Sides<'_>) -> Compared {
    let mut compared = Compared::default();
    let by_leaf: BTreeMap<Digest, &Listed> = sides.listed.iter().map(|listed| (listed.leaf, listed)).collect();
    let by_rid: BTreeMap<RequestId, &Listed> = sides.listed.iter().map(|listed| (listed.rid, listed)).collect();
    for held in sides.held {
        compared.differences.extend(of_held(sides, held, &by_leaf, &by_rid));
    }
    for named in sides.named.iter().filter(|named| !named.proven) {
        let listed = by_leaf.get(&named.leaf);
        compared.differences.push(Difference {
            differs: Differs::Unproven,
            leaf: named.leaf,
            rid: listed.map(|listed| listed.rid),
            kind: listed.map(|listed| listed.kind),
            other: Some(named.by),
        });
    }
    let known: BTreeSet<Digest> =
        sides.held.iter().map(|held| held.leaf).chain(sides.named.iter().map(|named| named.leaf)).collect();
    let mut answered = BTreeSet::new();
    for listed in sides.listed {
        if sides.log.get(&listed.index) != Some(&listed.leaf) {
            compared.differences.push(difference(Differs::Invented, listed, None));
            continue;
        }
        compared.counts.listed += 1;
        answered.extend(listed.of.filter(|of| sides.asked.contains(of)));
        match listed.of {
            _ if known.contains(&listed.leaf) => compared.counts.matched += 1,
            None if replies(listed.kind) => compared.differences.push(difference(Differs::Unasked, listed, None)),
            None => compared.counts.unheard += u64::from(listed.kind != Kind::DiscrepancyOpened),
            Some(of) if (sides.said)(of) => {
                compared.counts.not_received += 1;
                compared.not_received.push(NotReceived { leaf: listed.leaf, of, rid: listed.rid });
            }
            Some(of) => compared.differences.push(difference(Differs::Unasked, listed, Some(of))),
        }
    }
    compared.counts.asked = sides.asked.len() as u64;
    compared.counts.answered = answered.len() as u64;
    compared
}

/// What is wrong with the partner's list or log, by an entry of it that we hold.
fn of_held(
    sides: &Sides<'_>,
    held: &Held,
    by_leaf: &BTreeMap<Digest, &Listed>,
    by_rid: &BTreeMap<RequestId, &Listed>,
) -> Option<Difference> {
    let differs = |differs, other| {
        let Held { leaf, rid, kind, .. } = held;
        Some(Difference { differs, leaf: *leaf, rid: Some(*rid), kind: *kind, other })
    };
    let in_log = held.index.is_none_or(|index| sides.log.get(&index) == Some(&held.leaf));
    if !in_log {
        return differs(Differs::Gone, by_rid.get(&held.rid).map(|listed| listed.leaf));
    }
    if held.late {
        return None;
    }
    match by_leaf.get(&held.leaf) {
        Some(listed) => {
            let same = listed.rid == held.rid
                && held.kind.is_none_or(|kind| kind == listed.kind)
                && held.index.is_none_or(|index| index == listed.index);
            if same { None } else { differs(Differs::Altered, None) }
        }
        None => match by_rid.get(&held.rid) {
            Some(listed) => differs(Differs::Altered, Some(listed.leaf)),
            None => differs(Differs::LeftOut, None),
        },
    }
}

/// Whether what is recorded by this kind of entry replies to another one.
fn replies(kind: Kind) -> bool {
    matches!(kind, Kind::QueryAnswered | Kind::HotlistAsserted | Kind::AgreementAcknowledged | Kind::PacketReceived)
}

fn difference(differs: Differs, listed: &Listed, other: Option<Digest>) -> Difference {
    Difference { differs, leaf: listed.leaf, rid: Some(listed.rid), kind: Some(listed.kind), other }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Instant {
        "2026-11-23T20:17:00Z".parse::<Instant>().unwrap().plus(seconds * Instant::SECOND)
    }

    fn listed(n: u8, kind: Kind, of: Option<&[u8]>) -> Listed {
        let rid = RequestId::new(at(i64::from(n)), [n; 10]);
        let leaf = Digest::of(&[n]);
        Listed { at: at(i64::from(n)), index: u64::from(n), kind, leaf, of: of.map(Digest::of), rid }
    }

    fn held(entry: &Listed) -> Held {
        let Listed { at, index, kind, leaf, rid, .. } = entry.clone();
        Held { leaf, rid, kind: Some(kind), at, index: Some(index), late: false }
    }

    /// What differs, for one entry that is listed, held and in the log but for what `change` does.
    fn of(change: impl FnOnce(&mut Vec<Listed>, &mut BTreeMap<u64, Digest>, &mut Vec<Held>)) -> Vec<Differs> {
        let mut list = vec![listed(1, Kind::QueryAnswered, Some(b"question"))];
        let mut log: BTreeMap<u64, Digest> = list.iter().map(|entry| (entry.index, entry.leaf)).collect();
        let mut kept: Vec<Held> = list.iter().map(held).collect();
        change(&mut list, &mut log, &mut kept);
        let said = |hash| hash == Digest::of(b"question");
        let none = BTreeSet::new();
        let sides = Sides { listed: &list, log: &log, held: &kept, named: &[], asked: &none, said: &said };
        compare(&sides).differences.into_iter().map(|difference| difference.differs).collect()
    }

    #[test]
    fn whatever_differs_has_its_name() {
        assert_eq!(of(|_, _, _| {}), []);
        assert_eq!(of(|list, _, _| list.clear()), [Differs::LeftOut]);
        // In the log is what counts, wherever it is missing besides.
        assert_eq!(of(|list, log, _| (list.clear(), log.clear()).1), [Differs::Gone]);
        assert_eq!(of(|_, log, _| log.clear()), [Differs::Gone, Differs::Invented]);
        assert_eq!(
            of(|_, log, _| *log.get_mut(&1).unwrap() = Digest::of(b"other")),
            [Differs::Gone, Differs::Invented]
        );
        // Under its id is another entry, be it in the log or not.
        let other = |list: &mut [Listed]| list[0].leaf = Digest::of(b"other");
        assert_eq!(of(|list, _, _| other(list)), [Differs::Altered, Differs::Invented]);
        // In another place than its proof says, or of another kind.
        let moved = |list: &mut Vec<Listed>, log: &mut BTreeMap<u64, Digest>| {
            list[0].index = 2;
            log.insert(2, Digest::of(&[1]));
        };
        assert_eq!(of(|list, log, _| moved(list, log)), [Differs::Altered]);
        let kind = |list: &mut [Listed]| list[0].kind = Kind::AgreementAcknowledged;
        assert_eq!(of(|list, _, _| kind(list)), [Differs::Altered]);
        let unknown = |list: &mut Vec<Listed>, held: &mut Vec<Held>| {
            held.clear();
            list[0].of = Some(Digest::of(b"never asked"));
        };
        assert_eq!(of(|list, _, held| unknown(list, held)), [Differs::Unasked]);
        let to_nothing = |list: &mut Vec<Listed>, held: &mut Vec<Held>| {
            held.clear();
            list[0].of = None;
        };
        assert_eq!(of(|list, _, held| to_nothing(list, held)), [Differs::Unasked]);
        // What came late is on another day's list, and in the log all the same.
        let late = |list: &mut Vec<Listed>, held: &mut Vec<Held>| {
            list.clear();
            held[0].late = true;
        };
        assert_eq!(of(|list, _, held| late(list, held)), []);
        assert_eq!(of(|list, log, held| (late(list, held), log.clear()).1), [Differs::Gone]);
        // Of an event only our acknowledgement may be held.
        let unproven = |held: &mut [Held]| (held[0].index, held[0].kind) = (None, None);
        assert_eq!(of(|_, _, held| unproven(held)), []);
        assert_eq!(of(|list, _, held| (list.clear(), unproven(held)).1), [Differs::LeftOut]);
    }

    #[test]
    fn every_entry_is_counted_once() {
        let list = [
            listed(1, Kind::QueryAsked, None),
            listed(2, Kind::QueryAsked, None),
            listed(3, Kind::QueryAnswered, Some(b"one")),
            listed(4, Kind::QueryAnswered, Some(b"two")),
            listed(5, Kind::DiscrepancyOpened, None),
        ];
        let log: BTreeMap<u64, Digest> = list.iter().map(|entry| (entry.index, entry.leaf)).collect();
        let kept = [held(&list[0]), held(&list[2])];
        let asked = BTreeSet::from([Digest::of(b"one"), Digest::of(b"two"), Digest::of(b"three")]);
        let said = |hash| asked.contains(&hash);
        let sides = Sides { listed: &list, log: &log, held: &kept, named: &[], asked: &asked, said: &said };
        let compared = compare(&sides);
        let counts =
            Counts { listed: 5, matched: 2, unheard: 1, not_received: 1, asked: 3, answered: 2, of_earlier_log: 0 };
        assert_eq!((compared.counts, compared.differences), (counts, vec![]));
        assert_eq!(compared.not_received[0].rid, list[3].rid);
        // What our own trail names is known, and whether its proof is here still is another matter.
        let named = [Named { leaf: list[3].leaf, of: None, by: Digest::of(b"ours"), proven: false }];
        let compared = compare(&Sides { named: &named, ..sides });
        assert_eq!(compared.differences.len(), 1);
        assert_eq!((compared.differences[0].differs, compared.counts.not_received), (Differs::Unproven, 0));
    }
}
