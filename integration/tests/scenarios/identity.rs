//! Who is let in at the peer port: certificates that are none, that are of others, or that do not count any more.

use agreements::time::Instant;
use integration::pair::Pair;
use integration::pki::Credentials;
use integration::{Caller, Reply};

/// What a caller with these credentials gets at Birch: a reply, or nothing but a refused handshake.
async fn at_birch(pair: &Pair, credentials: Option<&Credentials>) -> std::io::Result<Reply> {
    let config = pair.federation.pki.client(credentials, &pair.birch.clock);
    Caller::new(config, &pair.birch.fiction.host(), pair.birch.peer()).send("GET", "/peer/v1/node", None).await
}

fn is_refused_handshake(result: std::io::Result<Reply>, alert: &str) {
    let error = result.expect_err("a handshake that should have been refused").to_string();
    assert!(error.contains(alert), "{error}");
}

fn is_silence(reply: &Reply) {
    assert_eq!((reply.status, reply.body.len()), (404, 0), "{}", reply.text());
    assert_eq!(reply.header("connection"), Some("close"));
}

#[actix_web::test]
async fn mtls_no_certificate_a_foreign_authoritys_and_an_expired_one_end_in_the_handshake() {
    let pair = Pair::in_force().await;
    let pki = &pair.federation.pki;
    is_refused_handshake(at_birch(&pair, None).await, "CertificateRequired");
    // Even with the ORI of a partner.
    let foreign = pki.foreign("Other Counties CA", "CA0990000");
    is_refused_handshake(at_birch(&pair, Some(&foreign)).await, "UnknownCA");
    let impostor = pki.foreign("Fictional Counties CA", "CA0990000");
    is_refused_handshake(at_birch(&pair, Some(&impostor)).await, "DecryptError");
    let short = pki.issue_for("CA0770000", Instant::HOUR);
    is_silence(&at_birch(&pair, Some(&short)).await.unwrap());
    pair.birch.clock.forward(Instant::HOUR + 2 * Instant::SECOND);
    is_refused_handshake(at_birch(&pair, Some(&short)).await, "CertificateExpired");
}

#[actix_web::test]
async fn mtls_without_an_ori_with_another_agencys_or_with_a_federal_one_is_a_stranger() {
    let pair = Pair::in_force().await;
    let pki = &pair.federation.pki;
    let partner = pair.alder.calls(&pair.birch);
    assert_eq!(partner.get("/peer/v1/node").await.status, 200, "the partner itself is heard");
    for credentials in [
        pki.issue_with_uri("https://alder.test"),
        pki.issue_with_uri("urn:ori:"),
        pki.issue_with_uri("urn:ori:DCICE0900"),
        // A partner's ORI on a key that is not the pinned one.
        pki.issue_with_uri("urn:ori:CA0990000"),
        pki.issue("CA0990000"),
        // The node's own.
        pki.issue("CA0990100"),
    ] {
        is_silence(&at_birch(&pair, Some(&credentials)).await.unwrap());
    }
}

#[actix_web::test]
async fn mtls_revoked_while_connected_ends_at_the_next_request_of_the_open_connection() {
    let pair = Pair::in_force().await;
    let partner = pair.alder.calls(&pair.birch);
    let mut line = partner.connect().await.unwrap();
    for _ in 0..2 {
        assert_eq!(line.send("GET", "/peer/v1/node", None).await.unwrap().status, 200);
    }
    pair.federation.pki.revoke(pair.alder.ori(), pair.birch.clock_now());
    // A running node looks every second.
    let mut waited = 0;
    while pair
        .birch
        .node()
        .trust()
        .objection(pair.alder.node().dialer().own().current().identity(), pair.birch.clock_now())
        .is_none()
    {
        waited += 1;
        assert!(waited < 100, "the node does not read the new list");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let reply = line.send("GET", "/peer/v1/node", None).await.unwrap();
    is_silence(&reply);
    assert!(line.is_closed().await);
    is_refused_handshake(partner.send("GET", "/peer/v1/node", None).await, "CertificateRevoked");
    // Neither does the revoked one trust itself, which looks in its own second.
    let mut ready = integration::wire::plain_get(pair.alder.console(), "/readyz").await;
    for _ in 0..200 {
        if ready.status == 503 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        ready = integration::wire::plain_get(pair.alder.console(), "/readyz").await;
    }
    assert_eq!(ready.status, 503, "{}", ready.text());
}

#[actix_web::test]
async fn mtls_a_list_past_its_next_update_lets_nobody_in() {
    let pair = Pair::in_force().await;
    assert_eq!(pair.alder.calls(&pair.birch).get("/peer/v1/node").await.status, 200);
    pair.set_clocks(integration::federation::start().plus(integration::pki::LONG + Instant::HOUR));
    let refused = pair.alder.calls(&pair.birch).send("GET", "/peer/v1/node", None).await;
    assert!(refused.is_err(), "{refused:?}");
}
