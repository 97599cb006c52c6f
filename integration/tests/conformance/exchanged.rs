//! What was exchanged: partners, agreements, streams, entries heard, counts of the day, receipts, partners' heads.

use std::collections::BTreeMap;

use agreements::ids::{AgreementId, Digest, Ori, RequestId, Salt};
use agreements::time::Instant;
use concordat::clock::Clock as _;
use concordat::db::Db;
use concordat::node::fresh_rid;
use concordat::registry::agencies::{self, Enrolled};
use concordat::registry::agreements::{self as documents, Kept};
use concordat::registry::exchanged::{self, Heard, Receipt};
use concordat::registry::heads;
use concordat::trail::note::Checkpoint;
use diesel::QueryResult;
use diesel::result::Error;
use integration::database::Backend;
use integration::on_both;
use integration::pair::{Terms, agreement_id, days_from_start};
use integration::permit::party;
use integration::registry::{TestRegistry, block_on};

on_both!(
    an_agreement_needs_its_partner_and_is_found_as_it_was_kept,
    a_stream_is_read_in_its_order_and_no_number_is_taken_twice,
    an_entry_is_heard_once_by_origin_and_id,
    questions_are_counted_by_agreement_and_day,
    a_receipt_is_kept_once_and_given_in_order,
    heads_of_a_partner_are_remembered_until_they_are_found,
);

const PARTNER: &str = "CA0990100";

fn ori() -> Ori {
    PARTNER.parse().unwrap()
}

fn enrolled(backend: Backend) -> (TestRegistry, Db) {
    let registry = TestRegistry::on(backend);
    let db = registry.open();
    // In another order than that of their ORIs.
    for ori in ["CA0990200", PARTNER] {
        let enrolled = Enrolled {
            party: party(ori),
            enrolled_at: registry.clock.now(),
            enrolled_by: "alder.agreements".to_owned(),
            confirmed_by: "alder.custodian".to_owned(),
        };
        write(&db, move |conn| agencies::insert(conn, &enrolled, b"file")).unwrap();
    }
    (registry, db)
}

fn write<T: Send + 'static>(
    db: &Db,
    job: impl FnOnce(&mut concordat::db::Conn) -> QueryResult<T> + Send + 'static,
) -> Result<T, concordat::db::RecordError> {
    block_on(db.write("test", job))
}

fn rid() -> RequestId {
    fresh_rid(integration::federation::start()).unwrap()
}

fn keep(db: &Db, id: AgreementId) -> Vec<u8> {
    let mut agreement = Terms::default().between(&party("CA0990000"), &party(PARTNER));
    agreement.id = id;
    let document = agreement.to_bytes().unwrap();
    let bytes = document.clone();
    let now = integration::federation::start();
    write(db, move |conn| documents::insert(conn, id, ori(), &bytes, Some(rid()), now)).unwrap();
    document
}

fn an_agreement_needs_its_partner_and_is_found_as_it_was_kept(backend: Backend) {
    let (_registry, db) = enrolled(backend);
    let mut reader = db.reader().unwrap();
    let partners: Vec<Ori> = agencies::all(&mut reader).unwrap().into_iter().map(|it| it.party.ori).collect();
    assert_eq!(partners, [ori(), "CA0990200".parse().unwrap()]);
    assert_eq!(agencies::find(&mut reader, ori()).unwrap(), Some(party(PARTNER)));
    assert_eq!(agencies::find(&mut reader, "CA0990300".parse().unwrap()).unwrap(), None);

    let ids = [agreement_id(), agreement_id()];
    let document = keep(&db, ids[0]);
    keep(&db, ids[1]);
    let (bytes, agreement) = documents::find(&mut reader, ids[0]).unwrap().unwrap();
    assert_eq!((bytes, agreement.id), (document, ids[0]));
    let mut sorted = ids.to_vec();
    sorted.sort_by_key(ToString::to_string);
    assert_eq!(documents::ids(&mut reader, Some(ori())).unwrap(), sorted);
    assert_eq!(documents::ids(&mut reader, Some("CA0990200".parse().unwrap())).unwrap(), []);
    assert!(documents::offer(&mut reader, ids[0]).unwrap().is_some());

    let (stranger, now) = ("CA0990300".parse().unwrap(), integration::federation::start());
    let refused = write(&db, move |conn| documents::insert(conn, agreement_id(), stranger, b"{}", None, now));
    assert!(matches!(refused, Err(concordat::db::RecordError::Job(Error::DatabaseError(..)))), "{refused:?}");
}

fn a_stream_is_read_in_its_order_and_no_number_is_taken_twice(backend: Backend) {
    let (_registry, db) = enrolled(backend);
    let id = agreement_id();
    keep(&db, id);
    let kept = |n: u32| Kept {
        rid: rid(),
        leaf: format!("leaf {n}").into_bytes(),
        message: vec![0, 255, u8::try_from(n).unwrap()],
        salt: Salt([7; 32]),
        proof: n.is_multiple_of(2).then(|| "proof ✓".to_owned()),
    };
    for n in [2, 10, 1, 3] {
        let event = kept(n);
        write(&db, move |conn| documents::append(conn, id, ori(), n, &event)).unwrap();
    }
    let taken = kept(3);
    let twice = write(&db, move |conn| documents::append(conn, id, ori(), 3, &taken));
    assert!(matches!(twice, Err(concordat::db::RecordError::Job(Error::DatabaseError(..)))), "{twice:?}");
    let mut reader = db.reader().unwrap();
    let stream = documents::stream(&mut reader, id, ori()).unwrap();
    assert_eq!(stream.iter().map(|kept| kept.message[2]).collect::<Vec<_>>(), [1, 2, 3, 10]);
    assert_eq!(stream[1].proof.as_deref(), Some("proof ✓"));
    assert_eq!((stream[0].salt.0, stream[0].leaf.as_slice()), ([7; 32], b"leaf 1".as_slice()));
    assert_eq!(documents::events(&mut reader, ori(), ori()).unwrap(), 4);
    assert_eq!(documents::events(&mut reader, ori(), "CA0990000".parse().unwrap()).unwrap(), 0);
}

fn an_entry_is_heard_once_by_origin_and_id(backend: Backend) {
    let (_registry, db) = enrolled(backend);
    let (id, other) = (rid(), rid());
    let what = Heard { leaf: Digest::of(b"leaf"), answer: rid() };
    assert!(write(&db, move |conn| exchanged::hear(conn, ori(), id, what)).unwrap());
    assert!(!write(&db, move |conn| exchanged::hear(conn, ori(), id, what)).unwrap());
    write(&db, move |conn| exchanged::hear(conn, "CA0990200".parse().unwrap(), id, what)).unwrap();
    let mut reader = db.reader().unwrap();
    assert_eq!(exchanged::heard(&mut reader, ori(), id).unwrap(), Some(what));
    assert_eq!(exchanged::heard(&mut reader, ori(), other).unwrap(), None);
}

fn questions_are_counted_by_agreement_and_day(backend: Backend) {
    let (_registry, db) = enrolled(backend);
    let (one, other) = (agreement_id(), agreement_id());
    let (today, yesterday) = (days_from_start(0), days_from_start(-1));
    for (agreement, day, times) in [(one, today, 3), (one, yesterday, 1), (other, today, 2)] {
        for used in 0..times {
            write(&db, move |conn| exchanged::count(conn, agreement, day, used)).unwrap();
        }
    }
    let mut reader = db.reader().unwrap();
    for (agreement, day, expected) in [(one, today, 3), (one, yesterday, 1), (other, today, 2), (other, yesterday, 0)] {
        assert_eq!(exchanged::used(&mut reader, agreement, day).unwrap(), expected);
    }
}

fn a_receipt_is_kept_once_and_given_in_order(backend: Backend) {
    let (registry, db) = enrolled(backend);
    let now = registry.clock.now();
    let of = rid();
    let receipt = |n: u8, of| Receipt {
        origin: ori(),
        of,
        leaf_hash: Digest([n; 32]),
        leaf: vec![n],
        message: b"{}".to_vec(),
        salt: Salt([n; 32]),
        proof: format!("proof {n}"),
    };
    // The later one first, two of one instant, one again with something else in it.
    let again = Receipt { proof: "another".to_owned(), ..receipt(3, of) };
    for (kept, at) in
        [(receipt(1, of), 5), (receipt(3, of), 0), (receipt(2, of), 0), (again, 9), (receipt(9, rid()), 1)]
    {
        let at: Instant = now.plus(at);
        write(&db, move |conn| exchanged::keep(conn, &kept, at)).unwrap();
    }
    let mut reader = db.reader().unwrap();
    let numbers = |of, limit, reader: &mut _| -> Vec<u8> {
        exchanged::receipts(reader, of, limit).unwrap().iter().map(|receipt| receipt.leaf_hash.0[0]).collect()
    };
    assert_eq!(numbers(Some(of), 100, &mut reader), [2, 3, 1]);
    assert_eq!(numbers(Some(of), 2, &mut reader), [2, 3]);
    assert_eq!(numbers(None, 100, &mut reader), [2, 3, 9, 1]);
    let kept = exchanged::receipts(&mut reader, Some(of), 100).unwrap();
    assert_eq!((kept[1].proof.as_str(), kept[1].leaf.as_slice(), kept[1].salt.0), ("proof 3", [3].as_slice(), [3; 32]));
}

fn heads_of_a_partner_are_remembered_until_they_are_found(backend: Backend) {
    let (registry, db) = enrolled(backend);
    let now = registry.clock.now();
    for size in [5, 9, 7, 9] {
        let head =
            Checkpoint { origin: "birch.test/trail".to_owned(), size, root: Digest([u8::try_from(size).unwrap(); 32]) };
        write(&db, move |conn| heads::see(conn, ori(), &head, "as its log signed it", now)).unwrap();
    }
    let of = |sql: &str| registry.database.cells(sql).into_iter().flatten().collect::<Vec<_>>();
    let kept = "SELECT CAST(size AS TEXT) AS cell FROM seen_head ORDER BY size";
    assert_eq!(of(kept), ["5", "7", "9"], "until each is found in a later one");
    write(&db, move |conn| heads::found(conn, ori(), &[5, 7], now)).unwrap();
    assert_eq!(of(kept), ["9"]);
    let mut conn = db.reader().unwrap();
    assert_eq!(heads::newest(&mut conn, ori()).unwrap().map(|(head, _)| head.size), Some(9));
    assert_eq!(heads::waiting(&mut conn, now.plus(1)).unwrap(), BTreeMap::from([(ori(), Some(9))]));
    write(&db, move |conn| heads::found(conn, ori(), &[9], now)).unwrap();
    assert_eq!(heads::waiting(&mut conn, now.plus(1)).unwrap(), BTreeMap::new());
    assert_eq!(of(kept), ["9"], "the newest stays");
}
