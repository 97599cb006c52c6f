//! What a node does by itself: once, whoever does it, and not lost by a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agreements::status::Status;
use agreements::time::Instant;
use concordat::clock::Clock as _;
use concordat::exchange::lifecycle::Delivery;
use concordat::jobs::{self, TABLE};
use concordat::node::Node;
use concordat::registry::job_runs::{self, LEASE, Outcome, Run};
use integration::{Federation, Pair, TestNode};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Waits until each job's newest run is of its newest slot, and has ended.
async fn caught_up(node: &TestNode) -> BTreeMap<&'static str, Vec<Run>> {
    for _ in 0..1000 {
        let runs: BTreeMap<_, _> = TABLE.iter().map(|job| (job.name, node.runs(job.name))).collect();
        let newest = |job: &jobs::Job| {
            let last = runs[job.name].last();
            last.is_some_and(|run| run.slot >= job.schedule.latest(node.clock_now()) && run.finished_at.is_some())
        };
        if TABLE.iter().all(newest) {
            return runs;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the node of {} does not catch up", node.fiction.word);
}

#[actix_web::test]
async fn a_node_makes_up_for_what_it_missed_when_it_starts_and_does_nothing_twice() {
    let federation = Federation::found();
    let mut alder = TestNode::found(&federation, concordat::demo::agency::ALDER).await;
    let before = caught_up(&alder).await;
    alder.restart();
    alder.rings().await;
    assert_eq!(caught_up(&alder).await, before, "a restart at the same minute has nothing to do");

    alder.stop();
    alder.clock.forward(5 * Instant::DAY);
    alder.try_start().unwrap();
    let after = caught_up(&alder).await;
    for job in TABLE {
        let new = &after[job.name][before[job.name].len()..];
        assert_eq!(new.len(), 1, "{}: one run for all that was missed: {new:?}", job.name);
        assert_eq!(new[0].slot, job.schedule.latest(alder.clock_now()), "{}", job.name);
        assert_eq!((new[0].outcome, new[0].attempt), (Some(Outcome::Done), 1), "{}: {new:?}", job.name);
    }
}

#[actix_web::test]
async fn two_nodes_on_one_registry_run_each_slot_once() {
    let federation = Federation::found();
    let alder = TestNode::found(&federation, concordat::demo::agency::ALDER).await;
    caught_up(&alder).await;
    let second = Node::open(alder.settings().clone(), Arc::new(alder.clock.clone()), Arc::new(|_: &str| {})).unwrap();
    let (one, two) = (jobs::driver(alder.node()), jobs::driver(&second));
    let begin = alder.clock_now();
    let mut reports = 0;
    for _ in 0..30 {
        alder.clock.forward(Instant::MINUTE);
        let nothing = BTreeSet::default();
        let (a, b) = tokio::join!(one.ring(&nothing), two.ring(&nothing));
        reports += a.unwrap().len() + b.unwrap().len();
    }
    let mut runs = 0;
    for job in TABLE {
        let since: Vec<Instant> =
            alder.runs(job.name).iter().filter(|run| run.slot > begin).map(|run| run.slot).collect();
        let mut expected = Vec::new();
        let mut slot = job.schedule.next(begin);
        while slot <= alder.clock_now() {
            expected.push(slot);
            slot = job.schedule.next(slot);
        }
        assert_eq!(since, expected, "{}", job.name);
        runs += since.len();
    }
    assert_eq!(runs, reports);
    assert!(runs >= 36, "30 of mail, 6 of deliveries: {runs}");
}

#[actix_web::test]
async fn a_run_of_a_process_that_died_is_run_again_when_its_lease_is_over() {
    let federation = Federation::found();
    let mut alder = TestNode::found(&federation, concordat::demo::agency::ALDER).await;
    caught_up(&alder).await;
    let job = TABLE.iter().find(|job| job.name == "prune").unwrap();
    let slot = job.schedule.next(alder.clock_now());
    alder.clock.set(slot);
    let dies = move |conn: &mut _| job_runs::claim(conn, "prune", slot, Some(1), "a process that died", slot);
    alder.node().registry().write("a test", dies).await.unwrap().unwrap();
    // The next process starts within the lease: it cannot know.
    alder.restart();
    alder.rings().await;
    alder.clock.set(slot.plus(LEASE - 1));
    alder.rings().await;
    assert_eq!(alder.runs("prune").last().unwrap().finished_at, None);
    alder.clock.set(slot.plus(LEASE));
    alder.rings().await;
    let runs = alder.runs("prune").split_off(1);
    let came_of = |run: &Run| (run.slot, run.attempt, run.outcome);
    assert_eq!(
        runs.iter().map(came_of).collect::<Vec<_>>(),
        [(slot, 1, Some(Outcome::Abandoned)), (slot, 2, Some(Outcome::Done)),]
    );
}

#[actix_web::test]
async fn what_a_partner_missed_is_sent_when_it_is_back_and_an_acknowledgement_that_was_lost_is_got() {
    let mut pair = Pair::in_force().await;
    pair.birch.stop();
    assert!(matches!(pair.alder.suspends(pair.id).await, Delivery::Pending { .. }));
    pair.alder.clock.forward(5 * Instant::MINUTE);
    pair.alder.rings().await;
    let failed = pair.alder.runs("deliveries").pop().unwrap();
    assert_eq!((failed.outcome, failed.applied), (Some(Outcome::Done), 0), "that it is down is no fault of ours");
    assert!(failed.error.unwrap().contains("left for later"));

    // It looks when it starts, and Alder, which hears from it then, sends what it lacks: no job is waited for.
    pair.birch.try_start().unwrap();
    pair.birch.comes_to(pair.id, &Status::Suspended { by: vec![pair.alder.ori()] }).await;
    pair.alder.has_all_acknowledged().await;

    // Nothing is left, and nothing is sent again.
    let sizes = (pair.alder.trail_size(), pair.birch.trail_size());
    pair.alder.clock.forward(5 * Instant::MINUTE);
    pair.alder.rings().await;
    assert_eq!(pair.alder.runs("deliveries").pop().unwrap().applied, 0);
    assert_eq!((pair.alder.trail_size(), pair.birch.trail_size()), sizes);

    // Birch has the event, but its acknowledgement never came: it gives the same one again.
    let receipts = "DELETE FROM receipt WHERE kept_at = (SELECT MAX(kept_at) FROM receipt)";
    integration::tamper::run(&pair.alder.registry_file(), receipts);
    pair.alder.clock.forward(5 * Instant::MINUTE);
    pair.alder.rings().await;
    assert_eq!(pair.alder.runs("deliveries").pop().unwrap().applied, 1);
    assert_eq!(pair.birch.trail_size(), sizes.1, "it swears nothing new");
}

#[actix_web::test]
async fn what_ends_is_warned_of_in_time_once_at_each_step() {
    let mut pair = Pair::in_force().await;
    pair.alder.restart_with(|config| {
        config.mail.backend = concordat::config::MailBackend::Memory;
        config.mail.from = Some("alpr@alder.example".parse().unwrap());
        config.mail.custodians = vec!["custodian@alder.example".parse().unwrap()];
        config.mail.operators = vec!["operator@alder.example".parse().unwrap()];
    });
    // The sources of the Attorney General were checked at the start; that counts for 90 days.
    for day in 0..95 {
        pair.alder.clock.forward(if day == 0 { 0 } else { Instant::DAY });
        pair.alder.works_it_off().await;
    }
    let mails = pair.alder.mails();
    let of = |to: &str, beginning: &str| -> Vec<String> {
        let mine = mails.iter().filter(|mail| mail.recipient == to && mail.dedup.starts_with(beginning));
        mine.map(|mail| mail.dedup.split(" to ").next().unwrap().rsplit(':').next().unwrap().to_owned()).collect()
    };
    assert_eq!(of("custodian@alder.example", "ends:ag-check"), ["30", "14", "7", "1", "0"]);
    assert!(of("operator@alder.example", "ends:ag-check").is_empty(), "not an operator's business");
    let tls_ends = pair.alder.node().dialer().own().current().identity().not_after;
    let left = tls_ends.since(pair.alder.clock.now()) / Instant::DAY;
    assert_eq!(of("operator@alder.example", "ends:tls").is_empty(), left > 30, "{left} days");
}

#[actix_web::test]
async fn the_peer_port_speaks_no_tls_1_2_although_the_mail_library_brings_it() {
    let federation = Federation::found();
    let alder = TestNode::found(&federation, concordat::demo::agency::ALDER).await;
    // A certificate that the port accepts: the version alone decides.
    let keys = &alder.settings().keys;
    let chain: Vec<_> = CertificateDer::pem_file_iter(keys.tls_cert()).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(keys.tls_key()).unwrap();
    let versions = [&rustls::version::TLS12, &rustls::version::TLS13];
    for version in versions {
        let mut roots = rustls::RootCertStore::empty();
        let pem = std::fs::read(federation.pki.ca.certificate()).unwrap();
        let ca = openssl::x509::X509::from_pem(&pem).unwrap().to_der().unwrap();
        roots.add(ca.into()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let time = Arc::new(concordat::clock::TlsTime(Arc::new(alder.clock.clone())));
        let config = rustls::ClientConfig::builder_with_details(provider, time)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .unwrap();
        let tcp = tokio::net::TcpStream::connect(alder.peer()).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from(alder.fiction.host()).unwrap();
        let shaken = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
        assert_eq!(shaken.is_ok(), version.version == rustls::ProtocolVersion::TLSv1_3, "{version:?}: {shaken:?}");
    }
}
