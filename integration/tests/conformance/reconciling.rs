//! What is looked up when a day is reconciled: receipts by when they were kept, and what was acted on by the time in its id.

use agreements::ids::{Digest, Ori, RequestId, Salt};
use agreements::time::Instant;
use concordat::clock::Clock as _;
use concordat::registry::exchanged::{self, Heard, Receipt};
use concordat::trail::search;
use integration::database::Backend;
use integration::on_both;
use integration::registry::{TestRegistry, block_on};

on_both!(what_was_kept_and_heard_on_a_day_is_found_to_the_millisecond);

fn ori(text: &str) -> Ori {
    text.parse().unwrap()
}

fn what_was_kept_and_heard_on_a_day_is_found_to_the_millisecond(backend: Backend) {
    let registry = TestRegistry::on(backend);
    let db = registry.open();
    let midnight = Instant::from_micros(registry.clock.now().micros().div_euclid(Instant::DAY) * Instant::DAY);
    let next = midnight.plus(Instant::DAY);
    // The last and the first millisecond of days, whatever is random in an id.
    let at = [midnight.plus(-1), midnight, next.plus(-1), next];
    let (us, other) = (ori("CA0990100"), ori("CA0990200"));
    block_on(db.write("test", move |conn| {
        for (n, at) in at.into_iter().enumerate() {
            let leaf = Digest::of(&[u8::try_from(n).unwrap()]);
            for (origin, random) in [(us, [0; 10]), (us, [255; 10]), (other, [7; 10])] {
                let rid = RequestId::new(at, random);
                exchanged::hear(conn, origin, rid, Heard { leaf, answer: rid })?;
            }
            let (of, salt, proof) = (RequestId::new(at, [1; 10]), Salt([0; 32]), String::new());
            let kept = Receipt { origin: us, of, leaf_hash: leaf, leaf: vec![], message: vec![], salt, proof };
            exchanged::keep(conn, &kept, at)?;
            let elsewhere = Receipt { origin: other, leaf_hash: Digest::of(&leaf.0), ..kept };
            exchanged::keep(conn, &elsewhere, at)?;
        }
        Ok(())
    }))
    .unwrap();
    let mut conn = db.reader().unwrap();
    let of = |n: u8| Digest::of(&[n]);
    let heard = exchanged::heard_between(&mut conn, us, midnight, next).unwrap();
    assert_eq!(heard.iter().map(|(_, heard)| heard.leaf).collect::<Vec<_>>(), [of(1), of(1), of(2), of(2)]);
    assert_eq!(exchanged::kept_between(&mut conn, us, midnight, next).unwrap(), [of(1), of(2)]);
    assert_eq!(exchanged::receipt(&mut conn, of(3)).unwrap().unwrap().origin, us);
    assert!(exchanged::receipt(&mut conn, of(9)).unwrap().is_none());
    assert_eq!(search::first_about(&mut conn, us).unwrap(), None, "rows beside the trail are not the trail");
}
