//! Nothing is deleted by one clock alone.

use std::collections::BTreeSet;

use agreements::retention::kept_until;
use agreements::status::Status;
use agreements::time::Instant;
use concordat::confirming::Unconfirmed;
use concordat::jobs;
use concordat::publishing;
use concordat::registry::job_runs::Outcome;
use concordat::retention::RetentionError;
use concordat::trail::policy::Policy;
use integration::TestNode;
use integration::federation::start;
use integration::pair::{Pair, Terms, agree};
use integration::witnesses::Watched;

use super::{PLATE, deletes, fill, nobody_else_deletes, problems, silent};

/// The machine was off, and says another time when it starts again: nothing in it knows better.
fn starts_with(node: &mut TestNode, now: Instant) {
    node.stop();
    node.clock.jumps(now);
    node.clock.reboots();
    node.try_start().unwrap();
    node.closes_its_doors();
    assert!(node.node().clock().jump().is_none());
}

#[actix_web::test]
async fn s25_and_s36_a_machine_that_starts_with_a_clock_years_ahead_deletes_nothing_unless_a_partner_confirms_it() {
    let mut pair = Pair::in_force().await;
    pair.alder.queries(&pair.birch, PLATE).await;
    let until = kept_until(start(), 2).unwrap().plus(Instant::HOUR);
    // Nobody can be reached: by this clock nobody's certificate counts.
    starts_with(&mut pair.birch, until);
    let refused = deletes(&pair.birch).await.unwrap_err();
    assert!(matches!(refused, RetentionError::Unconfirmed(Unconfirmed::Nobody { asked: 1, .. })), "{refused:?}");
    assert!(refused.to_string().starts_with("nothing deleted: nobody confirms the clock"), "{refused}");
    let job = jobs::TABLE.iter().find(|job| job.name == "retention").unwrap();
    let report = jobs::driver(pair.birch.node()).run_now(job).await.unwrap();
    assert_eq!((report.outcome, report.applied), (Outcome::Failed, 0));
    assert!(format!("{:?}", report.said).contains("nothing deleted: nobody confirms the clock"), "{:?}", report.said);
    assert_eq!(silent(&pair.birch), BTreeSet::new());

    // A partner can be reached, and its clock says otherwise.
    for there in
        [until.plus(-40 * Instant::DAY), until.plus(-5 * Instant::MINUTE - 1), until.plus(5 * Instant::MINUTE + 1)]
    {
        pair.alder.clock.set(there);
        pair.federation.pki.renews_all(&[&pair.alder, &pair.birch], until.plus(-41 * Instant::DAY));
        let refused = deletes(&pair.birch).await.unwrap_err();
        let partner = pair.alder.ori();
        assert!(
            matches!(&refused, RetentionError::Unconfirmed(Unconfirmed::Differs { partner: found, there: at, .. })
                if *found == partner && *at == there),
            "{refused:?}"
        );
        assert_eq!(silent(&pair.birch), BTreeSet::new());
        assert_eq!(pair.birch.node().now(), until, "a partner moves no clock");
    }
    pair.alder.clock.set(until.plus(-5 * Instant::MINUTE));
    assert!(deletes(&pair.birch).await.unwrap().deleted > 0);
    assert_eq!(problems(&pair.birch), []);
}

#[actix_web::test]
async fn s25_where_an_agreement_names_a_witness_policy_a_node_without_one_deletes_nothing() {
    let (federation, mut alder, mut birch) = Pair::enrolled().await;
    fill(&birch, 500).await;
    let until = kept_until(start(), 2).unwrap().plus(Instant::HOUR);
    for node in [&alder, &birch] {
        node.clock.set(until);
        node.checks_sources().await;
    }
    federation.pki.renews_all(&[&alder, &birch], until);
    // It asks for no witness.
    let (path, text) = (federation.folder().join("federation.policy"), "quorum none\n");
    std::fs::write(&path, text).unwrap();
    for node in [&mut alder, &mut birch] {
        node.restart_with(|config| config.trail.witness_policy = Some(path.display().to_string()));
    }
    let policy = Policy::parse(text.as_bytes()).unwrap();
    let mut terms = Terms { witnesses: Some(policy.sha256()), ..Terms::default() };
    (terms.effective_on, terms.sunset_on) = (until.date().unwrap(), until.plus(30 * Instant::DAY).date().unwrap());
    let id = agree(&alder, &birch, &terms).await.unwrap();
    assert!(matches!(birch.status(id), Status::InForce { .. }), "{:?}", birch.status(id));
    nobody_else_deletes(&mut birch);
    alder.clock.set(until.plus(Instant::HOUR));
    let refused = deletes(&birch).await.unwrap_err();
    let differs = matches!(refused, RetentionError::Unconfirmed(Unconfirmed::Differs { .. }));
    assert!(differs, "what asks for no witness vouches for no time: {refused:?}");
    alder.clock.set(until);
    birch.stop();
    birch.settings_mut().trail.witness_policy = None;
    birch.try_start().unwrap();
    nobody_else_deletes(&mut birch);
    let refused = deletes(&birch).await.unwrap_err();
    assert!(matches!(refused, RetentionError::Unconfirmed(Unconfirmed::NoPolicy(found)) if found == id), "{refused:?}");
    assert_eq!(silent(&birch), BTreeSet::new());
    // Its sunset ends what was promised under it.
    for node in [&alder, &birch] {
        node.clock.set(until.plus(31 * Instant::DAY));
    }
    assert!(deletes(&birch).await.unwrap().deleted > 0);
}

#[actix_web::test]
async fn s25_where_a_quorum_of_witnesses_vouches_for_the_time_no_partner_is_asked() {
    let mut watched = Watched::in_force().await;
    fill(&watched.birch, 500).await;
    let until = kept_until(start(), 2).unwrap().plus(Instant::HOUR);
    watched.set_clocks(until);
    watched.federation.pki.renews_all(&[&watched.alder, &watched.birch, &watched.cedar], until);
    nobody_else_deletes(&mut watched.birch);
    publishing::publish(watched.birch.node()).await.unwrap();
    watched.alder.clock.set(until.plus(Instant::HOUR));
    assert!(deletes(&watched.birch).await.unwrap().deleted >= 500);
    assert_eq!(problems(&watched.birch), []);
}
