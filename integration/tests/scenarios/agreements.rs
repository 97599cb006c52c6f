//! Who can be a party, and the life of an agreement over the wire.

use agreements::agreement::Agreement;
use agreements::entry::Kind;
use agreements::ids::{Digest, Ori, OriError};
use agreements::json;
use agreements::message::{Offer, PROTOCOL, StreamEvent, To};
use agreements::party::{AgencyKind, Party};
use agreements::register::{Finding, FindingKind};
use agreements::status::Status;
use agreements::stream::Event;
use certs::jws;
use clap::Parser as _;
use concordat::cli::Cli;
use concordat::exchange::ask::Gave;
use concordat::exchange::descriptor;
use concordat::exchange::lifecycle::{self, Act, ActError, Delivery};
use concordat::exchange::standing::AGREEMENT_TYP;
use concordat::exchange::wire::Bulk;
use concordat::people::PeopleError;
use concordat::registry::agreements as documents;
use integration::pair::{Pair, Terms, days_from_start};

const PLATE: &str = "7AGR106";

/// What a body outside the law's definition would write of itself: a member of a party, and what we say.
const INELIGIBLE: [(&str, &str, &str, &str); 6] = [
    ("a federal agency", "\"ori\":\"CA0990000\"", "\"ori\":\"DCICE0900\"", "1798.90.5(f)"),
    ("a federal agency in California", "\"ori\":\"CA0990000\"", "\"ori\":\"CAICE0900\"", "1798.90.5(f)"),
    ("an agency of Nevada", "\"ori\":\"CA0990000\"", "\"ori\":\"NV0020100\"", "1798.90.5(f)"),
    ("an agency that says it is of Nevada", "\"state\":\"CA\"", "\"state\":\"NV\"", "NV"),
    ("a private body", "\"kind\":\"county\"", "\"kind\":\"private\"", "private"),
    ("a federal kind", "\"kind\":\"county\"", "\"kind\":\"federal\"", "federal"),
];

fn text_of(party: &Party) -> String {
    String::from_utf8(json::canonical(party).unwrap()).unwrap()
}

#[actix_web::test]
async fn s01_a_federal_out_of_state_or_private_body_cannot_be_named_by_type_or_command_line() {
    for ori in ["DCICE0900", "CAICE0900", "CAFBILA00", "NV0020100"] {
        assert!(matches!(ori.parse::<Ori>(), Err(OriError::NotCalifornia(_))), "{ori}");
    }
    for kind in ["federal", "private", "tribal", "other"] {
        let error = kind.parse::<AgencyKind>().unwrap_err().to_string();
        assert!(error.contains("1798.90.5(f)"), "{error}");
    }
    let line = "concordat init --ori CA0990000 --legal-name A --kind county --county A --url https://a.test";
    assert!(Cli::try_parse_from(line.split_whitespace()).is_ok());
    for (from, to, says) in [
        ("CA0990000", "DCICE0900", "1798.90.5(f)"),
        ("CA0990000", "NV0020100", "1798.90.5(f)"),
        ("county --county", "private --county", "1798.90.5(f)"),
        ("county --county", "federal --county", "1798.90.5(f)"),
    ] {
        let error = Cli::try_parse_from(line.replace(from, to).split_whitespace()).unwrap_err().to_string();
        assert!(error.contains(says), "{to}: {error}");
    }
}

#[actix_web::test]
async fn s01_a_federal_out_of_state_or_private_body_cannot_be_enrolled() {
    let (_federation, alder, birch) = Pair::enrolled().await;
    let honest = text_of(&alder.node().party());
    let size = birch.trail_size();
    for (what, from, to, says) in INELIGIBLE {
        // Soundly sealed by its own identity key, and the fingerprint compared: still no.
        let payload = honest.replacen(from, to, 1);
        assert_ne!(payload, honest, "{what}");
        let key = alder.identity_key();
        let seal = jws::sign(payload.as_bytes(), descriptor::TYP, &key, None).unwrap();
        let file = jws::flatten(payload.as_bytes(), &seal).unwrap();
        let refused = birch.enrols_file(file, &descriptor::spoken(key.public().id())).await;
        match refused {
            Err(PeopleError::Descriptor(error)) => assert!(error.to_string().contains(says), "{what}: {error}"),
            other => panic!("{what}: {other:?}"),
        }
    }
    assert_eq!(birch.trail_size(), size, "nothing was recorded");
    assert_eq!(birch.node().partners().all().count(), 1);
}

#[actix_web::test]
async fn s01_a_federal_out_of_state_or_private_body_cannot_be_a_party_to_an_agreement() {
    let (_federation, alder, birch) = Pair::enrolled().await;
    let agreement = Terms::default().between(&alder.node().party(), &birch.node().party());
    let honest = String::from_utf8(agreement.to_bytes().unwrap()).unwrap();
    let size = birch.trail_size();
    for (what, from, to, says) in INELIGIBLE {
        // In every place where the document names the party.
        let document = honest.replace(from, to).replace(
            if from.contains("ori") { "CA0990000" } else { "\u{0}" },
            to.trim_start_matches("\"ori\":\"").trim_end_matches('"'),
        );
        assert_ne!(document, honest, "{what}");
        let error = Agreement::from_bytes(document.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(says), "{what}: {error}");

        let by = alder.fiction.person("agreements");
        let proposed = lifecycle::propose(alder.node(), document.clone().into_bytes(), &by).await;
        assert!(matches!(proposed, Err(ActError::Refused(_))), "{what}: {proposed:?}");

        // Over the wire, sworn by a trail that does not care.
        let offer = Offer {
            v: PROTOCOL,
            to: vec![To { ori: birch.ori(), agreement: agreement.id }],
            document: Digest::of(document.as_bytes()),
        };
        let message = json::canonical(&offer).unwrap();
        let bulk = Bulk::Document(&document);
        let (_, text) = alder.forger().swears_bytes(Kind::AgreementOffered, None, message, bulk).await;
        let detail = alder.calls(&birch).post("/peer/v1/agreements", text).await.problem(422, "unacceptable");
        assert!(detail.contains(says), "{what}: {detail}");
    }
    assert_eq!(birch.trail_size(), size, "nothing was recorded");
    assert_eq!(birch.status(agreement.id), Status::NoAgreement {});
}

#[actix_web::test]
async fn suspended_resumed_and_terminated_over_the_wire_reach_both_sides() {
    let pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    let both = |expected: Status| {
        for node in [&pair.alder, &pair.birch] {
            assert_eq!(node.status(pair.id), expected, "at {}", node.fiction.word);
        }
    };
    let suspended = Status::Suspended { by: vec![pair.birch.ori()] };
    let delivery = pair.birch.suspends(pair.id).await;
    assert_eq!(delivery, Delivery::Delivered { there: Some(suspended.clone()) });
    both(suspended);
    assert!(matches!(pair.alder.queries(&pair.birch, PLATE).await, Gave::NotAsked { .. }));
    // The other side cannot lift it.
    let reason = || "the audit is closed".to_owned();
    let lifted = pair.alder.acts(pair.id, Act::Resume { reason: reason() }).await;
    assert!(matches!(lifted, Err(ActError::Refused(_))), "{lifted:?}");

    pair.birch.acts(pair.id, Act::Resume { reason: reason() }).await.unwrap();
    both(Status::InForce { until: agreements::time::Instant::start_of(days_from_start(30)).unwrap() });
    assert!(matches!(pair.alder.queries(&pair.birch, PLATE).await, Gave::Reads { .. }));

    pair.alder.acts(pair.id, Act::Terminate { reason: "no longer needed".to_owned() }).await.unwrap();
    both(Status::Ended { by: pair.alder.ori(), how: "terminated".to_owned() });
    let again = pair.alder.acts(pair.id, Act::Sign).await;
    assert!(matches!(again, Err(ActError::Refused(_))), "for good: {again:?}");
    let text = pair.question_text(PLATE).await;
    assert_eq!(pair.alder.posts_query(&pair.birch, &text).await.message()["outcome"]["status"]["status"], "ended");
}

#[actix_web::test]
async fn an_event_lost_while_the_partner_was_down_is_delivered_by_sync() {
    for puller in ["the one who said it", "the one who missed it"] {
        let mut pair = Pair::in_force().await;
        pair.birch_saw(PLATE).await;
        pair.birch.stop();
        let delivery = pair.alder.suspends(pair.id).await;
        assert!(matches!(delivery, Delivery::Pending { .. }), "{delivery:?}");
        let suspended = Status::Suspended { by: vec![pair.alder.ori()] };
        assert_eq!(pair.alder.status(pair.id), suspended, "it counts at once where it was said");
        pair.birch.try_start().unwrap();
        assert!(matches!(pair.birch.status(pair.id), Status::InForce { .. }), "not heard yet");
        let node = if puller.ends_with("said it") { &pair.alder } else { &pair.birch };
        assert_eq!(lifecycle::sync(node.node(), pair.id).await, Ok(suspended.clone()), "{puller}");
        assert_eq!(pair.birch.status(pair.id), suspended, "{puller}");
        // Once more changes nothing.
        let size = pair.birch.trail_size();
        assert_eq!(lifecycle::sync(pair.birch.node(), pair.id).await, Ok(suspended.clone()), "{puller}");
        assert_eq!(pair.birch.trail_size(), size, "{puller}");
        // And back again.
        pair.alder.acts(pair.id, Act::Resume { reason: "it was a mistake".to_owned() }).await.unwrap();
        assert!(matches!(pair.birch.status(pair.id), Status::InForce { .. }), "{puller}");
    }
}

#[actix_web::test]
async fn an_offer_lost_while_the_partner_was_down_is_delivered_by_sync() {
    let (_federation, alder, mut birch) = Pair::enrolled().await;
    let document = Terms::default().between(&alder.node().party(), &birch.node().party());
    birch.stop();
    let by = alder.fiction.person("agreements");
    let (id, delivery) = lifecycle::propose(alder.node(), document.to_bytes().unwrap(), &by).await.unwrap();
    assert!(matches!(delivery, Delivery::Pending { .. }), "{delivery:?}");
    let delivery = alder.acts(id, Act::Sign).await.unwrap();
    assert!(matches!(delivery, Delivery::Pending { .. }), "{delivery:?}");
    birch.try_start().unwrap();
    let missing = Status::Unsigned { missing: vec![birch.ori()] };
    assert_eq!(lifecycle::sync(alder.node(), id).await, Ok(missing.clone()));
    assert_eq!(birch.status(id), missing);
    birch.acts(id, Act::Sign).await.unwrap();
    for node in [&alder, &birch] {
        assert!(matches!(node.status(id), Status::InForce { .. }));
    }
}

#[actix_web::test]
async fn events_out_of_order_about_another_document_or_without_their_seal_change_nothing() {
    let pair = Pair::in_force().await;
    let document = {
        let mut conn = pair.birch.conn();
        documents::find(&mut conn, pair.id).unwrap().unwrap().0
    };
    let sound = StreamEvent {
        v: PROTOCOL,
        to: vec![To { ori: pair.birch.ori(), agreement: pair.id }],
        document: Digest::of(&document),
        n: 2,
        seen: None,
        event: Event::Suspended { reason: "the audit is open".to_owned() },
    };
    // A seal of Alder's TLS certificate's owner who does not have the seal key.
    let stolen = certs::key::SigningKey::generate_p256().unwrap();
    let seal = jws::sign(&document, AGREEMENT_TYP, &stolen, None).unwrap();
    let resumed = Event::Resumed { reason: "the audit is closed".to_owned(), seal: seal.clone() };
    let own = format!("/peer/v1/agreements/{}/events", pair.id);
    let other = format!("/peer/v1/agreements/{}/events", integration::pair::agreement_id());
    let changed = |change: fn(&mut StreamEvent)| {
        let mut event = sound.clone();
        change(&mut event);
        event
    };
    let cases = [
        ("a gap", &own, changed(|said| said.n = 3), 409, "out-of-order", "event 2"),
        ("a number that is taken", &own, changed(|said| said.n = 1), 409, "out-of-order", "event 2"),
        (
            "another document",
            &own,
            changed(|said| said.document = Digest::of(b"")),
            422,
            "unacceptable",
            "another document",
        ),
        ("another path", &other, sound.clone(), 422, "unacceptable", "another agreement"),
        (
            "for another",
            &own,
            changed(|said| said.to[0].ori = "CA0990200".parse().unwrap()),
            403,
            "not-for-us",
            "whom it names",
        ),
        (
            "what is not suspended resumed",
            &own,
            StreamEvent { event: resumed.clone(), ..sound.clone() },
            422,
            "unacceptable",
            "not suspended",
        ),
        (
            "signed twice",
            &own,
            StreamEvent { event: Event::Signed { seal, official: None }, ..sound.clone() },
            422,
            "unacceptable",
            "signed already",
        ),
    ];
    let size = pair.birch.trail_size();
    let caller = pair.alder.calls(&pair.birch);
    for (what, path, event, status, slug, says) in cases {
        let (_, text) = pair.alder.forger().swears(Kind::AgreementEvent, None, &event).await;
        let detail = caller.post(path, text).await.problem(status, slug);
        assert!(detail.contains(says), "{what}: {detail}");
        assert_eq!(pair.birch.trail_size(), size, "{what}");
        assert!(matches!(pair.birch.status(pair.id), Status::InForce { .. }), "{what}");
    }
    // A real suspension, twice; then a resumption that another key sealed.
    let (_, text) = pair.alder.forger().swears(Kind::AgreementEvent, None, &sound).await;
    for _ in 0..2 {
        assert_eq!(caller.post(&own, &text).await.status, 200);
        assert_eq!(pair.birch.trail_size(), size + 1, "acknowledged once");
    }
    let forged = StreamEvent { n: 3, event: resumed, ..sound };
    let (_, text) = pair.alder.forger().swears(Kind::AgreementEvent, None, &forged).await;
    let detail = caller.post(&own, text).await.problem(422, "unacceptable");
    assert!(detail.contains("the seal of CA0990000"), "{detail}");
    assert_eq!(pair.birch.status(pair.id), Status::Suspended { by: vec![pair.alder.ori()] });
}

#[actix_web::test]
async fn an_agreements_row_edited_by_hand_counts_for_nothing() {
    let pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    let text = pair.question_text(PLATE).await;
    let sql =
        "UPDATE agreement SET document = replace(CAST(document AS TEXT), '\"lookback_days\":7', '\"lookback_days\":9')";
    integration::tamper::run(&pair.birch.registry_file(), sql);
    let touched = pair.birch.touches();
    assert_eq!(pair.birch.status(pair.id), Status::NoAgreement {});
    let reply = pair.alder.posts_query(&pair.birch, &text).await;
    assert_eq!(reply.status, 403, "{}", reply.text());
    assert_eq!(reply.message()["outcome"]["status"]["status"], "no_agreement");
    assert_eq!(pair.birch.touches(), touched);
}

#[actix_web::test]
async fn an_adverse_finding_denies_the_very_next_request() {
    let pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    let text = pair.question_text(PLATE).await;
    pair.birch
        .finds(Finding {
            ori: pair.alder.ori(),
            kind: FindingKind::NamedInSuit,
            citation: "People v. Alder County, complaint of 20 November 2026".to_owned(),
            document: None,
            on: days_from_start(-3),
            entered_by: String::new(),
        })
        .await;
    let touched = pair.birch.touches();
    let reply = pair.alder.posts_query(&pair.birch, &text).await;
    assert_eq!(reply.message()["outcome"]["status"]["status"], "adverse_finding", "{}", reply.text());
    assert_eq!(pair.birch.touches(), touched);
}
