//! What is asked, and what is answered.

use agreements::entry::{Kind, Leaf};
use agreements::ids::Digest;
use agreements::json;
use agreements::message::{Answer, Question};
use agreements::purpose::Purpose;
use agreements::rule::Rule;
use concordat::exchange::ask::{AskError, Gave};
use concordat::trail::proof;
use concordat::trail::search::Filter;
use integration::node::CASE;
use integration::pair::Pair;
use integration::proxy::FaultProxy;
use serde_json::json;

const PLATE: &str = "7QRY011";

#[actix_web::test]
async fn a_permitted_query_gives_reads_and_a_receipt_that_verifies_offline() {
    let pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    let report = pair.alder.asks(pair.alder.asking(&pair.birch, PLATE)).await.unwrap();
    let Gave::Reads { reads, receipt, .. } = &report.lines[0].gave else { panic!("{report:?}") };
    assert_eq!(reads[0].plate.as_str(), PLATE);
    assert!(reads[0].image.is_some());

    let kept = pair.alder.receipts(report.question.unwrap());
    let [kept] = kept.as_slice() else { panic!("one receipt") };
    assert_eq!(kept.leaf_hash, *receipt);
    // From here on nothing but the receipt and the key that the descriptor pinned.
    let vkey = pair.birch.node().party().node.log_vkey.parse().unwrap();
    proof::verify(&kept.proof, &kept.leaf, &vkey).unwrap();
    let leaf = Leaf::from_bytes(&kept.leaf).unwrap();
    assert_eq!(leaf.message, Digest::salted(&kept.salt, &kept.message));
    assert_eq!(leaf.kind, Kind::QueryAnswered);
    let answer: Answer = json::parse(&kept.message).unwrap();
    assert_eq!(answer.outcome.name(), "permitted");
    let others = pair.alder.node().party().node.log_vkey.parse().unwrap();
    assert!(proof::verify(&kept.proof, &kept.leaf, &others).is_err(), "another log's key must not verify it");
    let mut edited = kept.leaf.clone();
    edited[10] ^= 1;
    assert!(proof::verify(&kept.proof, &edited, &vkey).is_err());

    // Both logs agree: the asker's entry names the owner's, which names the asker's.
    let (_, received) = pair.alder.newest();
    assert_eq!(received["answers"], json!([{"ori": "CA0990100", "answer": receipt, "outcome": "permitted"}]));
    assert_eq!(json!(answer.question), received["question"]);
    for node in [&pair.alder, &pair.birch] {
        assert_eq!(node.trail_problems(), []);
    }
}

/// What a test changes of a question, and which rule must then deny it.
type Change = (&'static str, fn(&mut Question), Rule);

#[actix_web::test]
async fn s11_denied_before_the_store_is_touched_sworn_recorded_and_told_why() {
    let pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    let changes: [Change; 5] = [
        ("a purpose outside the grant", |q| q.purpose = Purpose::CrimeAnalysis, Rule::PurposeGranted),
        ("no reference", |q| q.reference = None, Rule::ReferencePresent),
        ("the reason inv", |q| q.reason = "inv".to_owned(), Rule::ReasonSubstantive),
        (
            "the plate as the case's number",
            |q| q.reference.as_mut().unwrap().number = PLATE.to_owned(),
            Rule::ReferenceNotPlate,
        ),
        (
            "another plate as the case's number",
            |q| q.reference.as_mut().unwrap().number = "8ABC123".to_owned(),
            Rule::ReferenceNotPlate,
        ),
    ];
    let touched = pair.birch.touches();
    for (what, change, rule) in changes {
        let mut question = pair.alder.question(&pair.birch, pair.id, PLATE);
        change(&mut question);
        let before = pair.birch.trail_size();
        let text = pair.alder.forger().asks(&question).await;
        let reply = pair.alder.posts_query(&pair.birch, &text).await;
        assert_eq!(reply.status, 403, "{what}: {}", reply.text());
        let outcome = reply.message()["outcome"].clone();
        assert_eq!(outcome["decision"], "denied", "{what}");
        assert_eq!(outcome["rules"][0]["rule"], rule.as_str(), "{what}: {outcome}");
        assert_eq!(outcome["rules"][0]["clauses"], json!(rule.clauses()), "{what}");
        assert_eq!(outcome["rules"][0]["says"], rule.says(), "{what}");
        assert_eq!(outcome.get("status"), None, "{what}: the agreement is not why");

        assert_eq!(pair.birch.trail_size(), before + 1, "{what}: one entry");
        let (row, message) = pair.birch.newest();
        assert_eq!((row.kind, &message), (Kind::QueryAnswered, &reply.message()), "{what}: what was said is on record");
        assert_eq!(row.facts.rule.as_deref(), Some(rule.as_str()), "{what}");
        let vkey = pair.birch.node().party().node.log_vkey.parse().unwrap();
        let sworn = reply.json()["proof"].as_str().unwrap().to_owned();
        proof::verify(&sworn, reply.raw("leaf").as_bytes(), &vkey).unwrap();
    }
    // Outside the seven there is no question at all: the words of the list are all that the type can hold.
    let question = pair.alder.question(&pair.birch, pair.id, PLATE);
    let other = String::from_utf8(json::canonical(&question).unwrap()).unwrap();
    let other = other.replace("criminal_investigation", "immigration_enforcement");
    let (_, text) = pair
        .alder
        .forger()
        .swears_bytes(Kind::QueryAsked, None, other.into_bytes(), concordat::exchange::wire::Bulk::None)
        .await;
    let before = pair.birch.trail_size();
    let detail = pair.alder.posts_query(&pair.birch, &text).await.problem(400, "unsworn");
    assert!(detail.contains("immigration_enforcement") && detail.contains("lifesaving"), "{detail}");
    assert_eq!(pair.birch.trail_size(), before);
    assert_eq!(pair.birch.touches(), touched, "the store was touched");
}

#[actix_web::test]
async fn s11_the_askers_own_node_refuses_first_and_records_that_it_was_tried() {
    let pair = Pair::in_force().await;
    let mut vague = pair.alder.asking(&pair.birch, PLATE);
    vague.reason = "inv".to_owned();
    let owners = pair.birch.trail_size();
    match pair.alder.asks(vague).await {
        Err(AskError::Screened(rules)) => assert_eq!(rules, [Rule::ReasonSubstantive]),
        other => panic!("{other:?}"),
    }
    let (row, _) = pair.alder.newest();
    assert_eq!((row.kind, row.facts.rule.as_deref()), (Kind::QueryRefused, Some("reason_substantive")));
    assert_eq!(pair.birch.trail_size(), owners, "nothing left the node");
}

#[actix_web::test]
async fn no_question_leaves_that_is_not_on_record_first() {
    let pair = Pair::in_force().await;
    let filter = Filter { kind: Some(Kind::QueryAsked), ..Filter::default() };
    pair.set_clocks(pair.alder.clock_now().plus(agreements::time::Instant::HOUR));
    assert!(matches!(pair.alder.queries(&pair.birch, PLATE).await, Gave::Reads { .. }));
    // The asker's clock falls behind its trail: it can record nothing, so it asks nothing.
    pair.alder.clock.forward(-agreements::time::Instant::MINUTE);
    let owners = pair.birch.trail_size();
    assert!(pair.alder.asks(pair.alder.asking(&pair.birch, PLATE)).await.is_err());
    assert_eq!(pair.birch.trail_size(), owners);
    assert_eq!(pair.alder.entries(&filter).len(), 1, "the first");
}

#[actix_web::test]
async fn reads_that_were_changed_on_the_way_count_for_nothing() {
    for (what, from, to, says) in [
        ("a read's plate", PLATE, "7QRY012", "not those that it recorded"),
        ("the outcome", "\"decision\":\"permitted\"", "\"decision\":\"permitteD\"", "does not commit"),
        ("the bulk", ",\"results\":[", ",\"results\":[ ", "not those that it recorded"),
    ] {
        let mut pair = Pair::in_force().await;
        pair.birch_saw(PLATE).await;
        let change = move |body: String| {
            assert!(body.contains(from), "{body}");
            body.replace(from, to)
        };
        let proxy = FaultProxy::before(&pair.birch, &pair.alder, &pair.alder.clock, change).await;
        let host = pair.birch.fiction.host();
        let address = proxy.address;
        pair.alder.restart_with(|config| {
            config.peer.hosts.insert(host, address);
        });
        match pair.alder.queries(&pair.birch, PLATE).await {
            Gave::Invalid { why } => assert!(why.contains(says), "{what}: {why}"),
            other => panic!("{what}: {other:?}"),
        }
        let (_, received) = pair.alder.newest();
        assert_eq!(received["answers"], json!([{"ori": "CA0990100", "outcome": "invalid"}]), "{what}");
    }
}

#[actix_web::test]
async fn logs_never_show_a_plate_a_name_or_a_case() {
    let pair = Pair::in_force().await;
    let plate = "7LOG337";
    pair.birch_saw(plate).await;
    pair.alder.queries(&pair.birch, plate).await;
    let mut touching = pair.alder.asking(&pair.birch, plate);
    touching.reason = "assist HSI with a civil immigration matter downtown".to_owned();
    let referred = pair.alder.asks(touching).await.unwrap();
    assert!(matches!(referred.lines[0].gave, Gave::Referred { .. }), "{referred:?}");
    let text = pair.question_text(plate).await;
    for broken in
        [text.replace("\"v\":1", "\"v\":9"), text.replace(plate, "7LOG338"), text[..text.len() / 2].to_owned()]
    {
        assert_eq!(pair.alder.posts_query(&pair.birch, &broken).await.status, 400);
    }
    pair.birch.suspends(pair.id).await;
    assert_eq!(pair.alder.posts_query(&pair.birch, &text).await.status, 403);
    pair.birch.clock.forward(-agreements::time::Instant::DAY);
    pair.alder.queries(&pair.birch, plate).await;
    let logged = integration::logs::captured().text();
    assert!(logged.contains("serving"), "nothing was captured");
    for secret in [plate, CASE, "118842", "Indigo", "hardware store", "civil immigration matter", "PRIVATE KEY"] {
        assert!(!logged.contains(secret), "{secret} is in the logs");
    }
}
