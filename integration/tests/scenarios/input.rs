//! Bad input at the peer port: a specific problem, what to do, nothing written, and the node goes on.

use agreements::entry::Kind;
use agreements::json;
use concordat::exchange::wire::Bulk;
use integration::pair::Pair;

const PLATE: &str = "7BAD400";
const LONG_PLATE: &str = concat!(
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
);

/// A bad body, and what is said about it: status, problem, words of its detail.
type Case = (&'static str, Vec<u8>, u16, &'static str, &'static [&'static str]);

#[actix_web::test]
async fn bad_bodies_get_specific_problems_write_nothing_and_leave_the_node_serving() {
    let pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    let good = pair.question_text(PLATE).await;
    let changed = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1).into_bytes()
    };
    let mut not_utf8 = changed("\"salt\":\"", "\"salt\":\"??");
    let at = not_utf8.windows(2).position(|two| two == b"??").unwrap();
    not_utf8[at] = 0xff;
    let cases: Vec<Case> = vec![
        ("nothing", Vec::new(), 400, "malformed", &["EOF"]),
        ("no JSON", b"plate=7BAD400".to_vec(), 400, "malformed", &["line 1"]),
        ("half of it", good.as_bytes()[..good.len() / 2].to_vec(), 400, "malformed", &["EOF"]),
        ("an array", b"[]".to_vec(), 400, "malformed", &["no sworn entry"]),
        ("something after it", [good.as_bytes(), b"{}"].concat(), 400, "malformed", &["trailing"]),
        (
            "an unknown member",
            changed("{\"entry\"", "{\"urgent\":true,\"entry\""),
            400,
            "malformed",
            &["urgent", "unknown field"],
        ),
        (
            "a member twice",
            changed("{\"entry\"", "{\"proof\":\"\",\"entry\""),
            400,
            "malformed",
            &["duplicate field", "proof"],
        ),
        ("not UTF-8", not_utf8, 400, "malformed", &["line 1 column"]),
        ("no proof", changed("\"proof\":\"c2sp.org", "\"proof\":\"c3sp.org"), 400, "unsworn", &["your own log"]),
        (
            "another leaf",
            changed("\"kind\":\"query.asked\"", "\"kind\":\"query.received\""),
            400,
            "unsworn",
            &["your own log"],
        ),
        (
            "an unknown kind",
            changed("\"kind\":\"query.asked\"", "\"kind\":\"query.guessed\""),
            400,
            "unsworn",
            &["query.guessed"],
        ),
        ("another message", changed(PLATE, "7BAD401"), 400, "unsworn", &["does not commit"]),
        ("over a MiB", vec![b' '; (1 << 20) + 1], 413, "too-long", &["1048576 bytes", "send less"]),
    ];
    let (size, touched) = (pair.birch.trail_size(), pair.birch.touches());
    let caller = pair.alder.calls(&pair.birch);
    for (what, body, status, slug, words) in cases {
        let detail = caller.post("/peer/v1/queries", body).await.problem(status, slug);
        for word in words {
            assert!(detail.contains(word), "{what}: {detail}");
        }
        assert!(!detail.contains(PLATE), "{what}: {detail}");
        assert_eq!(pair.birch.trail_size(), size, "{what}: something was written");
        assert_eq!(caller.get("/peer/v1/node").await.status, 200, "{what}: the node does not serve any more");
    }
    assert_eq!(pair.birch.touches(), touched);
    // The id that all of these named is still good.
    assert_eq!(caller.post("/peer/v1/queries", good).await.status, 200);
}

#[actix_web::test]
async fn sworn_messages_that_are_no_questions_are_told_what_is_wrong() {
    let pair = Pair::in_force().await;
    let question = json::canonical(&pair.alder.question(&pair.birch, pair.id, PLATE)).unwrap();
    let question = String::from_utf8(question).unwrap();
    let from = format!("\"from\":\"{}\"", pair.alder.clock_now().plus(-7 * agreements::time::Instant::DAY));
    let long = format!("\"plate\":\"{LONG_PLATE}\"");
    let cases: [(&str, &str, &str, &str, &[&str]); 12] = [
        ("an unknown field", "{\"asker\"", "{\"also\":1,\"asker\"", "unsworn", &["also", "unknown field"]),
        ("a key twice", "\"images\":true", "\"images\":true,\"images\":false", "unsworn", &["twice", "images"]),
        (
            "a date without microseconds",
            &from,
            "\"from\":\"2026-11-16T20:17:00Z\"",
            "unsworn",
            &["2026-11-16T20:17:00.000000Z"],
        ),
        ("a date as Americans write it", &from, "\"from\":\"11/16/2026\"", "unsworn", &["RFC 3339"]),
        ("30 February", &from, "\"from\":\"2026-02-30T00:00:00.000000Z\"", "unsworn", &["RFC 3339"]),
        ("a plate of 200 characters", "\"plate\":\"7BAD400\"", &long, "unsworn", &["longer than 10"]),
        (
            "a plate with a wildcard",
            "\"plate\":\"7BAD400\"",
            "\"plate\":\"7BAD4*\"",
            "unsworn",
            &["wildcards are not plates"],
        ),
        ("rows as a fraction", "\"max_rows\":50", "\"max_rows\":50.5", "unsworn", &["fraction", "integer"]),
        ("rows below zero", "\"max_rows\":50", "\"max_rows\":-1", "unsworn", &["-1"]),
        (
            "a federal asker",
            "\"agency\":\"CA0990000\",\"approved\"",
            "\"agency\":\"DCICE0900\",\"approved\"",
            "unsworn",
            &["1798.90.5(f)"],
        ),
        ("a newer protocol", "\"v\":1", "\"v\":2", "version", &["version 2", "speaks 1"]),
        ("a protocol before the first", "\"v\":1", "\"v\":0", "version", &["version 0", "speaks 1"]),
    ];
    pair.birch.node().record_refused().await.unwrap();
    let size = pair.birch.trail_size();
    for (what, from, to, slug, words) in cases {
        assert!(question.contains(from), "{what}: {question}");
        let message = question.replacen(from, to, 1).into_bytes();
        let (_, text) = pair.alder.forger().swears_bytes(Kind::QueryAsked, None, message, Bulk::None).await;
        let reply = pair.alder.posts_query(&pair.birch, &text).await;
        let detail = reply.problem(400, slug);
        for word in words {
            assert!(detail.contains(word), "{what}: {detail}");
        }
        assert_eq!(reply.json().get("versions").is_some(), slug == "version", "{what}");
        if slug == "version" {
            assert_eq!(reply.json()["versions"], serde_json::json!([1]));
        }
        assert_eq!(pair.birch.trail_size(), size, "{what}: something was written");
    }
    assert_eq!(pair.birch.touches(), 0);
    assert_eq!(pair.alder.calls(&pair.birch).get("/peer/v1/node").await.status, 200);
    // All of them are counted in one entry.
    pair.birch.node().record_refused().await.unwrap();
    assert_eq!(pair.birch.newest().1["unsworn"], cases.len());
}

#[actix_web::test]
async fn a_partner_is_told_which_paths_and_methods_there_are() {
    let pair = Pair::in_force().await;
    let caller = pair.alder.calls(&pair.birch);
    let detail = caller.get("/peer/v9/nothing").await.problem(404, "no-such-path");
    assert!(detail.contains("/peer/v1/"), "{detail}");
    caller.get("/peer/v1/queries").await.problem(405, "no-such-method");
    let detail = caller.get("/peer/v1/agreements/7").await.problem(400, "no-such-id");
    assert!(detail.contains("UUID"), "{detail}");
}
