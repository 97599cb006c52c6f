//! `concordat doctor PEER`: each fault on the way to a partner yields its finding by name, and what needs it is not tried.

use agreements::time::Instant;
use concordat::ca_folder::{CaFolder, Order};
use concordat::demo::agency::CEDAR;
use concordat::doctor::{Finding, Verdict, any_failed};
use concordat::exchange::ask::Gave;
use concordat::exchange::lifecycle::{Act, Delivery};
use concordat::keyfile;
use integration::TestNode;
use integration::federation::start;
use integration::pair::{Pair, Terms, days_from_start};
use integration::proxy::FaultProxy;

use crate::renewal::offers;

const PLATE: &str = "7DOC516";

async fn looks(at: &TestNode, partner: &TestNode) -> Vec<Finding> {
    concordat::doctor::partner(at.node(), partner.ori()).await
}

#[track_caller]
fn says(found: &[Finding], check: &str, verdict: Verdict, words: &str) {
    let of: Vec<&Finding> = found.iter().filter(|finding| finding.check == check).collect();
    let good = of.iter().any(|finding| finding.verdict == verdict && finding.says.contains(words));
    assert!(good, "{check}: {verdict:?} with `{words}` is not in {of:?}");
    for finding in found {
        let needs_fix = matches!(finding.verdict, Verdict::Fail | Verdict::Warn);
        assert_eq!(needs_fix, finding.fix.is_some(), "{finding:?}");
    }
}

/// Which checks fail.
fn failing(found: &[Finding]) -> Vec<&'static str> {
    found.iter().filter(|finding| finding.verdict == Verdict::Fail).map(|finding| finding.check).collect()
}

#[actix_web::test]
async fn doctor_finds_nothing_where_nothing_is_wrong() {
    let pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    assert!(matches!(pair.alder.queries(&pair.birch, PLATE).await, Gave::Reads { .. }));
    let (sizes, touches) = ([pair.alder.trail_size(), pair.birch.trail_size()], pair.birch.touches());
    let found = looks(&pair.alder, &pair.birch).await;
    assert!(found.iter().all(|finding| finding.verdict == Verdict::Ok), "{found:#?}");
    for (check, words) in [
        ("enrolment", "Birch City Police"),
        ("dns", "peer.hosts"),
        ("tcp", "takes connections"),
        ("tls", "TLSv1.3"),
        ("key-exchange", "X25519MLKEM768"),
        ("certificate", "CA0990100"),
        ("names", "urn:ori:CA0990100, birch.test"),
        ("pinned-key", "known as its own"),
        ("chain", "not revoked"),
        ("answer", "knows this node"),
        ("clock", "0 s"),
        ("protocol", "version 1"),
        ("description", "as it was enrolled"),
        ("agreement", "on both sides"),
        ("trail-head", "0 more than were seen before"),
    ] {
        says(&found, check, Verdict::Ok, words);
    }
    assert_eq!([pair.alder.trail_size(), pair.birch.trail_size()], sizes, "a look is no entry");
    assert_eq!(pair.birch.touches(), touches, "and no data was asked for");
}

#[actix_web::test]
async fn doctor_names_what_is_unknown_refused_or_somebody_elses() {
    let mut pair = Pair::in_force().await;
    let cedar = TestNode::found(&pair.federation, CEDAR).await;
    says(&looks(&pair.alder, &cedar).await, "enrolment", Verdict::Fail, "not enrolled");

    pair.alder.restart_with(|config| _ = config.peer.hosts.remove("birch.test"));
    let found = looks(&pair.alder, &pair.birch).await;
    assert_eq!(failing(&found), ["dns"]);
    says(&found, "dns", Verdict::Fail, "birch.test");
    for check in ["tcp", "certificate", "answer", "trail-head"] {
        says(&found, check, Verdict::NotTried, "");
    }

    // Another node at Birch's address: with a sound certificate of the same authority.
    let elsewhere = cedar.peer();
    pair.alder.restart_with(|config| _ = config.peer.hosts.insert("birch.test".to_owned(), elsewhere));
    let found = looks(&pair.alder, &pair.birch).await;
    assert_eq!(failing(&found), ["names", "pinned-key"]);
    says(&found, "names", Verdict::Fail, "urn:ori:CA0990200");
    says(&found, "answer", Verdict::NotTried, "");

    let birch = pair.birch.peer();
    pair.alder.restart_with(|config| _ = config.peer.hosts.insert("birch.test".to_owned(), birch));
    pair.birch.stop();
    let found = looks(&pair.alder, &pair.birch).await;
    assert_eq!(failing(&found), ["tcp"]);
    says(&found, "tcp", Verdict::Fail, "refused");
    says(&found, "tls", Verdict::NotTried, "");

    // Something there speaks no TLS.
    let deaf = std::net::TcpListener::bind(birch).unwrap();
    let speaking = std::thread::spawn(move || {
        use std::io::Write as _;
        let (mut tcp, _) = deaf.accept().unwrap();
        let _ = tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let found = looks(&pair.alder, &pair.birch).await;
    assert_eq!(failing(&found), ["tls"]);
    speaking.join().unwrap();
}

#[actix_web::test]
async fn doctor_names_an_expired_and_a_revoked_certificate_and_a_stranger() {
    let mut pair = Pair::in_force().await;
    let ca = CaFolder::open(&pair.federation.pki.ca.folder).unwrap();
    let key = concordat::node::read_key(&pair.birch.settings().keys.tls_key()).unwrap();
    let hosts = ["birch.test".parse().unwrap()];
    let short = ca.issue(pair.birch.ori(), key.public(), &Order::Node(&hosts), start(), Instant::HOUR).unwrap();
    drop(ca);
    let path = pair.birch.settings().keys.tls_cert();
    let good = std::fs::read(&path).unwrap();
    keyfile::replace(&path, &short.pem).unwrap();
    pair.birch.restart();
    says(&looks(&pair.alder, &pair.birch).await, "certificate", Verdict::Warn, "it ends at");
    pair.set_clocks(start().plus(2 * Instant::HOUR));
    let found = looks(&pair.alder, &pair.birch).await;
    assert_eq!(failing(&found), ["certificate"]);
    says(&found, "certificate", Verdict::Fail, "it expired at");
    says(&found, "chain", Verdict::NotTried, "");
    says(&found, "answer", Verdict::NotTried, "");

    keyfile::replace(&path, &good).unwrap();
    pair.birch.restart();
    pair.federation.pki.revoke(pair.birch.ori(), pair.alder.clock_now());
    pair.alder.restart();
    let found = looks(&pair.alder, &pair.birch).await;
    assert_eq!(failing(&found), ["chain"]);
    says(&found, "chain", Verdict::Fail, "revoked");

    // Cedar enrolled Alder's partner, but not the other way round.
    let pair = Pair::in_force().await;
    let cedar = TestNode::found(&pair.federation, CEDAR).await;
    cedar.enrols(&pair.birch).await;
    let found = looks(&cedar, &pair.birch).await;
    assert_eq!(failing(&found), ["answer"]);
    says(&found, "answer", Verdict::Fail, "stranger");
    says(&found, "agreement", Verdict::NotTried, "");
}

#[actix_web::test]
async fn doctor_names_a_clock_that_is_wrong_and_an_agreement_that_is_not_in_force() {
    let mut pair = Pair::in_force().await;
    // Certificates begin five minutes before they are issued: a clock that is further back finds them none yet.
    pair.set_clocks(start().plus(Instant::DAY));
    pair.birch.clock.forward(2 * Instant::MINUTE);
    says(&looks(&pair.alder, &pair.birch).await, "clock", Verdict::Warn, "120 s ahead of");
    pair.birch.clock.forward(-12 * Instant::MINUTE);
    let found = looks(&pair.alder, &pair.birch).await;
    assert_eq!(failing(&found), ["clock"]);
    says(&found, "clock", Verdict::Fail, "600 s behind");
    pair.birch.clock.set(pair.alder.clock_now());

    pair.birch.suspends(pair.id).await;
    let found = looks(&pair.alder, &pair.birch).await;
    assert!(!any_failed(&found), "{found:#?}");
    says(&found, "agreement", Verdict::Warn, "suspended by CA0990100, on both sides");
    // Lifted while Alder was away: the two see different things.
    pair.alder.stop();
    pair.birch.acts(pair.id, Act::Resume { reason: "it was a mistake".to_owned() }).await.unwrap();
    pair.alder.try_start().unwrap();
    let found = looks(&pair.alder, &pair.birch).await;
    assert_eq!(failing(&found), ["agreement"]);
    says(&found, "agreement", Verdict::Fail, "here suspended");
    let fix = found.iter().find(|finding| finding.check == "agreement").unwrap().fix.clone().unwrap();
    assert!(fix.contains(&format!("concordat agreement sync {}", pair.id)), "{fix}");
}

#[actix_web::test]
async fn doctor_names_a_trail_that_was_rolled_back_or_shows_its_entries_elsewhere() {
    let mut pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    let backup = pair.federation.folder().join("backup.db");
    integration::tamper::copy(&pair.birch.registry_file(), &backup);
    for _ in 0..2 {
        assert!(matches!(pair.alder.queries(&pair.birch, PLATE).await, Gave::Reads { .. }));
    }
    says(&looks(&pair.alder, &pair.birch).await, "trail-head", Verdict::Ok, "");
    pair.birch.stop();
    let file = pair.birch.registry_file();
    for ending in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{ending}", file.display()));
    }
    std::fs::copy(&backup, &file).unwrap();
    pair.birch.try_start().unwrap();
    let found = looks(&pair.alder, &pair.birch).await;
    assert_eq!(failing(&found), ["trail-head"]);
    says(&found, "trail-head", Verdict::Fail, "rolled back");
}

#[actix_web::test]
async fn doctor_names_a_protocol_without_a_version_in_common_and_a_question_is_not_sent() {
    let mut pair = Pair::in_force().await;
    let later = |path: &str, body: String| {
        match path {
        "/peer/v1/node" => body.replace("\"protocols\":[1]", "\"protocols\":[3,2]"),
        "/peer/v1/queries" => {
            r#"{"type":"urn:concordat:problem:version","title":"t","status":400,"detail":"speak 3 or 2","versions":[3,2]}"#
                .to_owned()
        }
        _ => body,
    }
    };
    let proxy = FaultProxy::standing(&pair.birch, &pair.alder, &pair.birch.clock.clone(), later).await;
    let address = proxy.address;
    pair.alder.restart_with(|config| _ = config.peer.hosts.insert("birch.test".to_owned(), address));
    // Nothing is known yet, so the question goes out and is refused with the versions; the next is not sent.
    let first = pair.alder.queries(&pair.birch, PLATE).await;
    assert!(matches!(&first, Gave::Invalid { why } if why.contains("speak 3 or 2")), "{first:?}");
    let size = pair.alder.trail_size();
    let second = pair.alder.queries(&pair.birch, PLATE).await;
    let Gave::NotAsked { why } = second else { panic!("{second:?}") };
    assert!(why.contains("protocol version 3 and 2, this node 1") && why.contains("up to date"), "{why}");
    assert_eq!(pair.alder.trail_size(), size, "what nobody is asked is no entry");
    let found = looks(&pair.alder, &pair.birch).await;
    assert_eq!(failing(&found), ["protocol"]);
    says(&found, "protocol", Verdict::Fail, "it speaks version 3 and 2, this node 1");
    drop(proxy);
    // The partner was set back to the version that both speak: it is asked again, and then the question goes out.
    let birch = pair.birch.peer();
    let through = FaultProxy::standing(&pair.birch, &pair.alder, &pair.birch.clock.clone(), |_: &str, body| body).await;
    assert_ne!(through.address, birch);
    pair.birch_saw(PLATE).await;
    pair.alder.node().versions().learn(pair.birch.ori(), vec![3, 2]);
    let back = through.address;
    pair.alder.restart_with(|config| _ = config.peer.hosts.insert("birch.test".to_owned(), back));
    pair.alder.node().versions().learn(pair.birch.ori(), vec![3, 2]);
    let third = pair.alder.queries(&pair.birch, PLATE).await;
    assert!(matches!(third, Gave::Reads { .. }), "{third:?}");
}

#[actix_web::test]
async fn doctor_warns_of_agreements_that_live_and_not_for_ever_of_those_that_somebody_ended() {
    let pair = Pair::in_force().await;
    let declined = {
        let terms = Terms { effective_on: days_from_start(1), ..Terms::default() };
        let document = terms.between(&pair.alder.node().party(), &pair.birch.node().party());
        let id = offers(&pair.alder, &document).await;
        pair.birch.acts(id, Act::Decline { reason: "one is enough".to_owned() }).await.unwrap();
        id
    };
    let found = looks(&pair.alder, &pair.birch).await;
    assert!(found.iter().all(|finding| finding.verdict == Verdict::Ok), "{found:#?}");
    assert!(!found.iter().any(|finding| finding.says.contains(&declined.to_string())), "{found:#?}");

    // The last one ended: that is said, and is no warning; the trail is still looked at.
    pair.alder.acts(pair.id, Act::Terminate { reason: "no longer needed".to_owned() }).await.unwrap();
    let found = looks(&pair.alder, &pair.birch).await;
    assert!(found.iter().all(|finding| finding.verdict == Verdict::Ok), "{found:#?}");
    says(&found, "agreement", Verdict::Ok, "none lives");
    says(&found, "trail-head", Verdict::Ok, "were seen before");
}

#[actix_web::test]
async fn doctor_warns_of_an_end_that_the_partner_does_not_know_and_of_a_sunset_that_nothing_follows() {
    let mut pair = Pair::in_force().await;
    pair.birch.stop();
    let ended = pair.alder.acts(pair.id, Act::Terminate { reason: "no longer needed".to_owned() }).await.unwrap();
    assert!(matches!(ended, Delivery::Pending { .. }), "{ended:?}");
    pair.alder.closes_its_doors();
    pair.birch.try_start().unwrap();
    let found = looks(&pair.alder, &pair.birch).await;
    says(&found, "agreement", Verdict::Fail, "here terminated by CA0990000");

    let pair = Pair::in_force().await;
    pair.set_clocks(Instant::start_of(days_from_start(30)).unwrap());
    says(&looks(&pair.alder, &pair.birch).await, "agreement", Verdict::Warn, "none lives");
}
