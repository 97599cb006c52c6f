//! A node's own certificate, renewed on disk while it serves, and what must not take its place.

use std::fs;
use std::path::Path;
use std::time::Duration;

use agreements::time::Instant;
use certs::key::SigningKey;
use concordat::ca_folder::{CaFolder, Order};
use concordat::exchange::ask::Gave;
use concordat::keyfile;
use concordat::upkeep;
use integration::TestNode;
use integration::federation::start;
use integration::pair::Pair;
use integration::pki::LONG;

const PLATE: &str = "7CRT516";

/// Puts a certificate of the federation's authority for this ORI, key and host where `node` has its own.
fn issue(pair: &Pair, node: &TestNode, ori: &str, key: &SigningKey, host: &str, life: i64) {
    let ca = CaFolder::open(&pair.federation.pki.ca.folder).unwrap();
    let hosts = [host.parse().unwrap()];
    let issued = ca.issue(ori.parse().unwrap(), key.public(), &Order::Node(&hosts), node.clock_now(), life).unwrap();
    keyfile::replace(&node.settings().keys.tls_cert(), &issued.pem).unwrap();
}

fn key_of(node: &TestNode) -> SigningKey {
    concordat::node::read_key(&node.settings().keys.tls_key()).unwrap()
}

/// Waits until a running node has looked at its files: at most some seconds.
async fn until(what: &str, is: impl Fn() -> bool) {
    for _ in 0..100 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}: not within five seconds");
}

/// How often the log has a line with all of these words.
fn logged(words: &[&str]) -> usize {
    let text = integration::logs::captured().text();
    text.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
}

async fn answers(from: &TestNode, to: &TestNode) {
    let gave = from.queries(to, PLATE).await;
    assert!(matches!(gave, Gave::Reads { .. }), "{gave:?}");
}

#[actix_web::test]
async fn a_renewed_certificate_is_shown_without_a_restart_and_open_connections_go_on() {
    let pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    let partner = pair.alder.calls(&pair.birch);
    let before = partner.shown().await.unwrap();
    let mut line = partner.connect().await.unwrap();
    assert_eq!(line.send("GET", "/peer/v1/node", None).await.unwrap().status, 200);

    issue(&pair, &pair.birch, pair.birch.fiction.ori, &key_of(&pair.birch), "birch.test", LONG);
    let own = pair.birch.node().dialer().own();
    until("the new one is taken", || own.current().identity().serial != before.serial).await;
    let after = partner.shown().await.unwrap();
    assert_ne!(after.serial, before.serial, "the partner sees the new one");
    assert_eq!((after.spki, after.ori), (before.spki, before.ori));
    assert_eq!(after.serial, own.current().identity().serial);
    assert_eq!(own.trouble(), None);
    assert_eq!(line.send("GET", "/peer/v1/node", None).await.unwrap().status, 200, "the open connection goes on");
    answers(&pair.alder, &pair.birch).await;

    // As a client, too: Alder shows its new one to Birch, through the connection settings that it has already made.
    let old = pair.alder.node().dialer().own().current().identity().serial.clone();
    issue(&pair, &pair.alder, pair.alder.fiction.ori, &key_of(&pair.alder), "alder.test", LONG);
    let own = pair.alder.node().dialer().own();
    until("the new one is taken", || own.current().identity().serial != old).await;
    let folder = CaFolder::open(&pair.federation.pki.ca.folder).unwrap();
    let line = folder.lines().unwrap().into_iter().find(|line| line.serial.as_bytes().as_slice() == old.as_slice());
    let line = line.expect("the old one is in the ledger");
    folder.revoke(line.serial, certs::crl::Reason::Superseded, pair.alder.clock_now(), LONG).unwrap();
    drop(folder);
    let revoked = || {
        let list = fs::read(pair.federation.pki.ca.list()).unwrap();
        let ca = fs::read(pair.federation.pki.ca.certificate()).unwrap();
        certs::revocation::RevocationSet::from_pem(&list, &ca).unwrap()
    };
    assert!(revoked().issuers().any(|issuer| revoked().is_revoked(issuer, &old)));
    tokio::time::sleep(Duration::from_millis(2500)).await;
    answers(&pair.alder, &pair.birch).await;
}

#[actix_web::test]
async fn what_partners_would_refuse_does_not_take_the_place_of_the_last_good_certificate() {
    let pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    let birch = &pair.birch;
    let (cert, key) = (birch.settings().keys.tls_cert(), birch.settings().keys.tls_key());
    let good = fs::read(&cert).unwrap();
    let (own, held) = (birch.node().dialer().own(), birch.node().dialer().own().current());
    let other = SigningKey::generate_p256().unwrap();
    let mine = key_of(birch);
    let ori = birch.fiction.ori;
    let swap_keys = |with: &SigningKey| {
        fs::remove_file(&key).unwrap();
        keyfile::write_secret(&key, &with.to_pem().unwrap()).unwrap();
    };
    let foreign = |path: &Path| {
        let folder = pair.federation.folder().join("other-ca");
        let ca = CaFolder::create(&folder, "Other Counties CA", start(), 2 * LONG, LONG).unwrap();
        let hosts = ["birch.test".parse().unwrap()];
        let issued = ca.issue(ori.parse().unwrap(), mine.public(), &Order::Node(&hosts), start(), LONG).unwrap();
        keyfile::replace(path, &issued.pem).unwrap();
    };
    let cases: [(&str, &dyn Fn()); 7] = [
        ("certificate", &|| fs::write(&cert, "-----BEGIN CERTIFICATE-----\nhalf of i").unwrap()),
        ("cannot read", &|| fs::remove_file(&cert).unwrap()),
        ("is not the certificate of the key", &|| issue(&pair, birch, ori, &other, "birch.test", LONG)),
        ("it is of CA0990200", &|| issue(&pair, birch, "CA0990200", &mine, "birch.test", LONG)),
        ("not valid for name", &|| issue(&pair, birch, ori, &mine, "elsewhere.test", LONG)),
        ("partners would refuse it", &|| foreign(&cert)),
        ("partners have pinned", &|| {
            swap_keys(&other);
            issue(&pair, birch, ori, &other, "birch.test", LONG);
        }),
    ];
    for (says, change) in cases {
        change();
        until(says, || own.trouble().is_some_and(|why| why.contains(says))).await;
        assert_eq!(own.current().identity(), held.identity(), "{says}: the last good one is still shown");
        let shown = pair.alder.calls(birch).shown().await.unwrap();
        assert_eq!(shown.serial, held.identity().serial, "{says}");
        let notices = upkeep::notices(birch.node(), birch.clock_now());
        assert!(notices.iter().any(|notice| notice.contains(says)), "{says}: {notices:?}");
    }
    answers(&pair.alder, birch).await;
    let page = integration::wire::plain_get(birch.console(), "/").await;
    assert!(page.text().contains("partners have pinned"), "the console says it: {}", page.text());
    // Said once as an error, although it was looked at again and again.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let path = cert.display().to_string();
    assert_eq!(logged(&["ERROR", "the changed certificate is not used", "cannot read", &path]), 1);

    swap_keys(&mine);
    fs::write(&cert, &good).unwrap();
    until("the good one is back", || own.trouble().is_none()).await;
    assert_eq!(upkeep::notices(birch.node(), birch.clock_now()), Vec::<String>::new());
    answers(&pair.alder, birch).await;
}

#[actix_web::test]
async fn an_expired_certificate_does_not_take_the_place_of_one_that_counts() {
    let pair = Pair::in_force().await;
    let birch = &pair.birch;
    let ca = CaFolder::open(&pair.federation.pki.ca.folder).unwrap();
    let hosts = ["birch.test".parse().unwrap()];
    let ori = birch.ori();
    let short = ca.issue(ori, key_of(birch).public(), &Order::Node(&hosts), start(), Instant::HOUR).unwrap();
    drop(ca);
    pair.set_clocks(start().plus(2 * Instant::HOUR));
    keyfile::replace(&birch.settings().keys.tls_cert(), &short.pem).unwrap();
    let own = birch.node().dialer().own();
    until("it is refused", || own.trouble().is_some_and(|why| why.contains("expired"))).await;
    assert_ne!(own.current().identity().serial, short.line.serial.as_bytes());
}

#[actix_web::test]
async fn what_ends_soon_is_said_on_the_console_in_the_metrics_and_in_the_log() {
    let pair = Pair::in_force().await;
    let birch = &pair.birch;
    assert_eq!(upkeep::notices(birch.node(), birch.clock_now()), Vec::<String>::new());
    let ca = CaFolder::open(&pair.federation.pki.ca.folder).unwrap();
    let end = ca.publish(birch.clock_now(), 3 * Instant::DAY).unwrap().next_update;
    drop(ca);
    until("the list is read", || birch.node().trust().next_update().is_some_and(|at| at <= end)).await;
    assert_eq!(upkeep::notices(birch.node(), birch.clock_now()), Vec::<String>::new(), "three days are enough");
    pair.set_clocks(start().plus(Instant::DAY + Instant::HOUR));
    let notices = upkeep::notices(birch.node(), birch.clock_now());
    assert!(notices.len() == 1 && notices[0].contains("a revocation list ends at"), "{notices:?}");
    let page = integration::wire::plain_get(birch.console(), "/").await;
    assert!(page.text().contains("To be looked after"), "{}", page.text());
    assert_eq!(integration::wire::plain_get(birch.console(), "/readyz").await.status, 200, "it still exchanges");
    let until_end = format!("ends at {}", birch.node().trust().next_update().unwrap());
    until("it is logged", || logged(&["WARN", "a revocation list", &until_end]) > 0).await;
    let metrics = birch.node().metrics().text().unwrap();
    let seconds = birch.node().trust().next_update().unwrap().micros() / Instant::SECOND;
    assert!(metrics.contains(&format!("concordat_revocation_list_end_time_seconds {seconds}.0\n")), "{metrics}");

    // The certificate: for the same key, for a week.
    issue(&pair, birch, birch.fiction.ori, &key_of(birch), "birch.test", 7 * Instant::DAY);
    let ends = birch.clock_now().plus(8 * Instant::DAY);
    let own = birch.node().dialer().own();
    until("it is taken", || own.current().identity().not_after < ends).await;
    let notices = upkeep::notices(birch.node(), birch.clock_now());
    assert!(notices.iter().any(|notice| notice.contains("this node's certificate ends at")), "{notices:?}");
}
