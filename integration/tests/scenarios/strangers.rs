//! Whoever is not enrolled, and whoever is enrolled and has no agreement in force.

use agreements::entry::Kind;
use concordat::demo::agency::CEDAR;
use concordat::trail::search::Filter;
use integration::pair::{Pair, agreement_id};
use integration::{Caller, Reply, TestNode};
use serde_json::json;

const THERE: &str = "7STR112";
const ABSENT: &str = "7STR113";

const PATHS: [&str; 22] = [
    "/",
    "/peer/v1",
    "/peer/v1/",
    "/peer/v1/node",
    "/peer/v1/queries",
    "/peer/v1/agreements",
    "/peer/v1/agreements/019ab0f0-0000-7000-8000-000000000000",
    "/peer/v1/agreements/019ab0f0-0000-7000-8000-000000000000/events",
    "/peer/v1/agreements/019ab0f0-0000-7000-8000-000000000000/rekeyed",
    "/peer/v1/agreements/no-id/rekeyed",
    "/peer/v1/agreements/019ab0f0-0000-7000-8000-000000000000/renewal",
    "/peer/v1/agreements/no-id",
    "/peer/v1/log/day/2026-11-23",
    "/peer/v2/queries",
    "/livez",
    "/readyz",
    "/metrics",
    "/favicon.ico",
    "/..%2f..%2fetc/passwd",
    "/peer/v1/queries?plate=7STR112",
    "//peer//v1//queries",
    "/%ff%00",
];
const METHODS: [&str; 10] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW", "PROPFIND"];

/// One reply for every path and method, with and without a body.
async fn all_replies(caller: &Caller, body: &str) -> Vec<(String, Reply)> {
    let mut replies = Vec::new();
    for path in PATHS {
        for method in METHODS {
            for body in [None, Some(body.as_bytes())] {
                let what = format!("{method} {path} {}", body.map_or("without", |_| "with a body"));
                let mut line = caller.connect().await.unwrap();
                let reply = line.send(method, path, body).await.unwrap_or_else(|error| panic!("{what}: {error}"));
                // With a body that it does not read, a node waits a second before it closes: once is enough.
                if body.is_none() || path == "/peer/v1/queries" && method == "POST" {
                    assert!(line.is_closed().await, "{what}: the connection stays open");
                }
                replies.push((what, reply));
            }
        }
    }
    replies
}

#[actix_web::test]
async fn s12_a_stranger_gets_one_status_body_and_headers_on_every_path_and_method() {
    let pair = Pair::in_force().await;
    pair.birch_saw(THERE).await;
    // A certificate of the same authority, a body that would be a sound question of a partner.
    let credentials = pair.federation.pki.issue("CA0770000");
    let config = pair.federation.pki.client(Some(&credentials), &pair.birch.clock);
    let stranger = Caller::new(config, &pair.birch.fiction.host(), pair.birch.peer());
    let body = pair.question_text(THERE).await;
    pair.birch.node().record_refused().await.unwrap();
    let (trail, touched) = (pair.birch.trail_size(), pair.birch.touches());

    let replies = all_replies(&stranger, &body).await;
    let (_, first) = &replies[0];
    assert_eq!((first.status, first.body.len()), (404, 0));
    assert_eq!(first.header("connection"), Some("close"));
    for (what, reply) in &replies {
        assert_eq!(reply.undated(), first.undated(), "{what}");
        assert_eq!(reply.header_names(), first.header_names(), "{what}");
    }
    assert_eq!(pair.birch.touches(), touched, "a stranger touched the store");
    assert_eq!(pair.birch.trail_size(), trail, "a stranger wrote into the trail");

    // All of them together are one entry.
    pair.birch.node().record_refused().await.unwrap();
    assert_eq!(pair.birch.trail_size(), trail + 1);
    let (row, message) = pair.birch.newest();
    assert_eq!(row.kind, Kind::RefusedCounted);
    assert_eq!(message, json!({"limited": 0, "strangers": replies.len(), "unsworn": 0, "v": 1}));
    pair.birch.node().record_refused().await.unwrap();
    assert_eq!(pair.birch.trail_size(), trail + 1, "nothing new, no entry");
}

#[actix_web::test]
async fn s12_a_stranger_who_writes_requests_oddly_gets_the_same() {
    let pair = Pair::in_force().await;
    let credentials = pair.federation.pki.issue("CA0770000");
    let config = pair.federation.pki.client(Some(&credentials), &pair.birch.clock);
    let stranger = Caller::new(config, &pair.birch.fiction.host(), pair.birch.peer());
    let usual = stranger.get("/").await;
    let long = format!("GET /{} HTTP/1.1\r\nhost: birch.test\r\n\r\n", "a".repeat(8000));
    let requests = [
        (
            "a body that waits",
            "POST /peer/v1/queries HTTP/1.1\r\nhost: birch.test\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n",
        ),
        (
            "a body in chunks",
            "POST /peer/v1/queries HTTP/1.1\r\nhost: birch.test\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        ),
        ("all paths", "OPTIONS * HTTP/1.1\r\nhost: birch.test\r\n\r\n"),
        ("a whole URL", "GET https://birch.test/peer/v1/node HTTP/1.1\r\nhost: birch.test\r\n\r\n"),
        ("a tunnel", "CONNECT alder.test:443 HTTP/1.1\r\nhost: birch.test\r\n\r\n"),
        ("another host", "GET /peer/v1/node HTTP/1.1\r\nhost: alder.test\r\n\r\n"),
        (
            "a protocol to change to",
            "GET / HTTP/1.1\r\nhost: birch.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        ),
        ("compressed, please", "GET / HTTP/1.1\r\nhost: birch.test\r\naccept-encoding: gzip\r\n\r\n"),
        (
            "two at once",
            "GET / HTTP/1.1\r\nhost: birch.test\r\n\r\nGET /peer/v1/node HTTP/1.1\r\nhost: birch.test\r\n\r\n",
        ),
        ("a long path", &long),
    ];
    for (what, request) in requests {
        let mut line = stranger.connect().await.unwrap();
        let sent = line.send_bytes(request.as_bytes(), "GET").await;
        let mut reply = sent.unwrap_or_else(|error| panic!("{what}: {error}"));
        if what == "a body that waits" {
            // The HTTP layer says this to everybody who asks for it, on every path, before anybody is recognised: it
            // cannot be told otherwise. What is answered then is the same.
            assert_eq!(reply.head, "HTTP/1.1 100 Continue\r\n\r\n");
            reply = line.next_reply("POST").await.unwrap();
        }
        assert_eq!(reply.undated(), usual.undated(), "{what}");
    }
}

/// What a reply says, apart from what differs in every reply: hashes, ids, times, the proof.
fn shape(reply: &Reply) -> (u16, Vec<String>, serde_json::Value) {
    let mut message = reply.message();
    assert!(message["question"].take().is_string());
    let whole = reply.json();
    let members = whole.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    (reply.status, reply.header_names().into_iter().map(str::to_owned).collect(), json!([members, message]))
}

#[actix_web::test]
async fn s12_who_is_enrolled_without_agreement_learns_the_status_and_nothing_about_data() {
    let pair = Pair::in_force().await;
    let cedar = TestNode::found(&pair.federation, CEDAR).await;
    cedar.enrols(&pair.birch).await;
    pair.birch.enrols(&cedar).await;
    pair.birch_saw(THERE).await;
    let touched = pair.birch.touches();

    // Under an id that is nobody's, under that of an agreement between others, and under one that is not in force.
    let terms = integration::Terms { effective_on: integration::pair::days_from_start(2), ..Default::default() };
    let later = integration::pair::agree(&cedar, &pair.birch, &terms).await.unwrap();
    for (id, status) in [(agreement_id(), "no_agreement"), (pair.id, "no_agreement"), (later, "not_yet")] {
        let mut replies = Vec::new();
        for plate in [THERE, ABSENT] {
            let text = cedar.forger().asks(&cedar.question(&pair.birch, id, plate)).await;
            let reply = cedar.posts_query(&pair.birch, &text).await;
            assert_eq!(reply.status, 403, "{}", reply.text());
            let outcome = &reply.message()["outcome"];
            assert_eq!(outcome["status"]["status"], status, "{outcome}");
            assert_eq!(outcome["rules"].as_array().unwrap().len(), 1, "{outcome}");
            assert_eq!(outcome["rules"][0]["rule"], "agreement_in_force");
            assert!(!reply.text().contains(THERE));
            replies.push(reply);
        }
        assert_eq!(shape(&replies[0]), shape(&replies[1]), "{status}");
        let [leaf, message] = ["leaf", "message"].map(|member| [0, 1].map(|i| replies[i].raw(member).len()));
        assert_eq!((leaf[0], message[0]), (leaf[1], message[1]), "{status}: not even the lengths differ");
    }
    assert_eq!(pair.birch.touches(), touched, "the store was touched");

    // Of an agreement between two others it is not told that there is one.
    let caller = cedar.calls(&pair.birch);
    let others = caller.get(&format!("/peer/v1/agreements/{}", pair.id)).await;
    let nobodys = caller.get(&format!("/peer/v1/agreements/{}", agreement_id())).await;
    assert_eq!(others.undated(), nobodys.undated());
    let detail = others.problem(403, "no-agreement");
    assert!(detail.contains("no such agreement"), "{detail}");
    let filter = Filter { partner: Some(cedar.ori()), kind: Some(Kind::QueryAnswered), ..Filter::default() };
    assert_eq!(pair.birch.entries(&filter).len(), 6, "every denial is on record");
}
