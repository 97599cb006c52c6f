//! Renewal: nothing extends an agreement by a day but an application, a review, approvals and both signatures; and every step
//! can be cut off and done again.

use agreements::agreement::{Agreement, Renewal};
use agreements::entry::Kind;
use agreements::ids::{AgreementId, Digest};
use agreements::message::{PROTOCOL, PacketSent, To};
use agreements::packet::Audit;
use agreements::register::Trigger;
use agreements::review::{Item, Verdict};
use agreements::status::Status;
use agreements::time::Instant;
use certs::jws;
use concordat::changes::{self, Command};
use concordat::clock::Clock as _;
use concordat::exchange::ask::Gave;
use concordat::exchange::lifecycle::{self, Act, ActError, Delivery};
use concordat::exchange::wire::Bulk;
use concordat::renewal::packet::Answers;
use concordat::renewal::renew::Options;
use concordat::renewal::{PACKET_TYP, calendar, held, sending};
use concordat::rotation::KeyKind;
use concordat::tampering::Table;
use concordat::trail::search::Filter;
use integration::federation::start;
use integration::node::{SIGNING, TestNode};
use integration::pair::{Pair, Terms, agree, agreement_id, days_from_start};
use integration::renewal::answers;

const PLATE: &str = "7RNW808";

/// From the start of the day so many days after the first.
fn effective(days: i64) -> Options {
    Options { effective_on: Some(days_from_start(days)), ..Options::default() }
}

fn day(days: i64) -> Instant {
    Instant::start_of(days_from_start(days)).unwrap()
}

/// Why it was refused, in one text.
pub(super) fn why<T: std::fmt::Debug>(result: Result<T, ActError>) -> String {
    match result {
        Err(ActError::Refused(why)) => why.join("\n"),
        other => panic!("not refused: {other:?}"),
    }
}

pub(super) fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not said: {text}");
    }
}

/// Both make their packets and send them.
async fn both_apply(pair: &Pair) {
    pair.alder.makes_packet().await;
    pair.birch.makes_packet().await;
}

/// The document that renews an agreement, as somebody writes it by hand.
fn written_by_hand(pair: &Pair, renewal: Renewal) -> Agreement {
    let terms = Terms { effective_on: days_from_start(0), sunset_on: days_from_start(300), ..Terms::default() };
    let all = lifecycle::list(&mut pair.alder.conn(), pair.alder.clock_now()).unwrap();
    let old = &all.iter().find(|(found, _)| found.agreement.id == pair.id).unwrap().0;
    Agreement {
        id: agreement_id(),
        revision: 2,
        supersedes: Some(Digest::of(&old.document)),
        renewal: Some(renewal),
        ..terms.between(&pair.alder.node().party(), &pair.birch.node().party())
    }
}

pub(super) async fn offers(node: &TestNode, document: &Agreement) -> AgreementId {
    let by = node.fiction.person("agreements");
    lifecycle::propose(node.node(), document.to_bytes().unwrap(), &by).await.unwrap().0
}

async fn withdraws(node: &TestNode, id: AgreementId) {
    node.acts(id, Act::Withdraw { reason: "it cannot be signed".to_owned() }).await.unwrap();
}

#[actix_web::test]
async fn s08_renewal_without_application_without_review_or_signed_by_one_side_only_extends_nothing_by_a_day() {
    let pair = Pair::in_force().await;
    let (alder, birch) = (&pair.alder, &pair.birch);
    pair.birch_saw(PLATE).await;

    // Without an application.
    let refused = why(alder.renews(pair.id, effective(0)).await);
    says(&refused, &["CA0990100 has not applied for renewal", "this agency has no compliance packet", "packet make"]);
    birch.makes_packet().await;
    // Without a review, or with one that found something.
    let refused = why(alder.renews(pair.id, effective(0)).await);
    says(&refused, &["of CA0990100 was not reviewed (V-30)", "agreement review start", "packet make"]);
    let found = Some((Item::Audit, Verdict::NotOk, "half of the sample named no case"));
    assert!(!alder.reviews(birch, found).await.unwrap().all_ok);
    says(
        &why(alder.renews(pair.id, effective(0)).await),
        &["audit (half of the sample named no case)", "--again CA0990100"],
    );

    // Written by hand around all that: it can be offered, and neither side can sign it.
    let made_up = || Renewal {
        packet_sha256: Digest::of(b"packet"),
        review_sha256: Digest::of(b"review"),
        ag_check_sha256: Digest::of(b"check"),
    };
    let forged = offers(alder, &written_by_hand(&pair, made_up())).await;
    let refused = why(alder.acts(forged, Act::Sign).await);
    says(&refused, &["which is neither one that CA0990100 sent", "none of this agency's of that packet", "the check"]);
    says(&why(birch.acts(forged, Act::Sign).await), &["CA0990000 has not applied for renewal", "which is neither one"]);
    withdraws(alder, forged).await;
    // Nor is another first agreement a way round it.
    let terms = Terms { sunset_on: days_from_start(300), ..Terms::default() };
    let first = offers(alder, &terms.between(&alder.node().party(), &birch.node().party())).await;
    says(&why(alder.acts(first, Act::Sign).await), &["audit (half of the sample named no case)"]);
    says(&why(birch.acts(first, Act::Sign).await), &["CA0990000 has not applied for renewal"]);
    withdraws(alder, first).await;

    // Settled with the partner, reviewed again, drafted and signed: by one side.
    alder.makes_packet().await;
    assert!(alder.reviews(birch, None).await.unwrap().all_ok);
    let new = alder.renews(pair.id, effective(0)).await.unwrap().id;
    alder.acts(new, Act::Sign).await.unwrap();
    says(&why(birch.acts(new, Act::Sign).await), &["of CA0990000 was not reviewed (V-30)"]);

    pair.set_clocks(day(30).plus(-1));
    assert!(matches!(alder.queries(birch, PLATE).await, Gave::Denied { .. } | Gave::Reads { .. }));
    for node in [alder, birch] {
        assert!(matches!(node.status(pair.id), Status::InForce { until } if until == day(30)));
    }
    pair.set_clocks(day(30));
    let text = pair.question_text(PLATE).await;
    for node in [alder, birch] {
        assert_eq!(node.status(pair.id), Status::Sunset { at: day(30) });
        assert_eq!(node.status(new), Status::Unsigned { missing: vec![birch.ori()] });
    }
    assert!(matches!(alder.queries(birch, PLATE).await, Gave::NotAsked { .. }));
    let reply = alder.posts_query(birch, &text).await;
    assert_eq!(reply.message()["outcome"]["status"]["status"], "sunset", "{}", reply.text());

    // The other signature, and only that, opens it again.
    birch.reviews(alder, None).await.unwrap();
    birch.acts(new, Act::Sign).await.unwrap();
    for node in [alder, birch] {
        assert!(matches!(node.status(new), Status::InForce { .. }), "{:?}", node.status(new));
    }
    assert!(matches!(alder.queries(birch, PLATE).await, Gave::Reads { .. }));
}

#[actix_web::test]
async fn the_old_agreement_serves_until_the_new_one_takes_effect_and_not_an_instant_longer() {
    let mut terms = Terms::default();
    terms.query.daily_quota = 2;
    let pair = Pair::under(terms).await;
    let (alder, birch) = (&pair.alder, &pair.birch);
    both_apply(&pair).await;
    alder.reviews(birch, None).await.unwrap();
    birch.reviews(alder, None).await.unwrap();
    let renewed = alder.renews(pair.id, effective(10)).await.unwrap();
    assert!(matches!(renewed.delivery, Delivery::Delivered { .. }), "{:?}", renewed.delivery);
    assert_eq!(renewed.sunset_on, "2027-12-03".parse().unwrap(), "the anniversary");
    let new = renewed.id;
    for node in [alder, birch] {
        assert!(matches!(node.status(pair.id), Status::InForce { until } if until == day(30)), "signed by nobody yet");
        node.acts(new, Act::Sign).await.unwrap();
    }
    let all = lifecycle::list(&mut birch.conn(), birch.clock_now()).unwrap();
    let offered = &all.iter().find(|(found, _)| found.agreement.id == new).unwrap().0.agreement;
    assert_eq!((offered.revision, offered.supersedes.is_some()), (2, true));
    for node in [alder, birch] {
        assert_eq!(node.status(pair.id), Status::InForce { until: day(10) });
        assert_eq!(node.status(new), Status::NotYet { effective: day(10) });
    }
    // The last day of the old one: its quota, and no more.
    pair.set_clocks(day(10).plus(-Instant::HOUR));
    birch.ingests(PLATE, birch.clock_now().plus(-Instant::HOUR)).await;
    let asks = || async { matches!(alder.queries(birch, PLATE).await, Gave::Reads { .. }) };
    assert_eq!([asks().await, asks().await, asks().await], [true, true, false]);
    pair.set_clocks(day(10).plus(-1));
    for node in [alder, birch] {
        assert_eq!(node.status(pair.id), Status::InForce { until: day(10) });
    }
    pair.set_clocks(day(10));
    for node in [alder, birch] {
        assert_eq!(node.status(pair.id), Status::Superseded { by: new, at: day(10) });
        assert!(matches!(node.status(new), Status::InForce { .. }));
    }
    // The day begins with the new one: its quota once, not that of both.
    assert_eq!([asks().await, asks().await, asks().await], [true, true, false]);
    // What names the old one is not answered.
    let text = pair.question_text(PLATE).await;
    assert_eq!(alder.posts_query(birch, &text).await.message()["outcome"]["status"]["status"], "superseded");
    // The old one cannot be renewed a second time.
    says(&why(birch.renews(pair.id, effective(10)).await), &["both signed that"]);
}

/// How many entries of a kind a trail has.
fn count(node: &TestNode, kind: Kind) -> usize {
    node.entries(&Filter { kind: Some(kind), ..Filter::default() }).len()
}

#[actix_web::test]
async fn a_crash_between_any_two_steps_of_a_renewal_leaves_what_a_repeat_completes() {
    let mut pair = Pair::in_force().await;
    // Sealed, and cut off before it is sent.
    let first = pair.alder.makes_packet_of(answers(&pair.alder)).await.unwrap();
    pair.alder.restart();
    let again = pair.alder.makes_packet_of(answers(&pair.alder)).await.unwrap();
    assert_eq!((first.already, again.already, again.held.id), (false, true, first.held.id));
    // Recorded as sent, and the partner was not there.
    pair.birch.stop();
    let sent = sending::send_all(pair.alder.node()).await.unwrap();
    assert!(sent.len() == 1 && sent[0].pending.is_some(), "{sent:?}");
    pair.birch.try_start().unwrap();
    pair.alder.restart();
    let sent = sending::send_all(pair.alder.node()).await.unwrap();
    assert!(sent.len() == 1 && sent[0].pending.is_none(), "{sent:?}");
    assert_eq!((count(&pair.alder, Kind::PacketSent), pair.birch.packets_of(&pair.alder)), (1, 1));
    // Kept there, and cut off here before the acknowledgement was: it gives the same one.
    let store = pair.alder.registry_store();
    store.run("DELETE FROM receipt WHERE kept_at = (SELECT max(kept_at) FROM receipt) AND of IN (SELECT rid FROM leaf WHERE kind = 'packet.sent')");
    let size = pair.birch.trail_size();
    pair.alder.restart();
    let sent = sending::send_all(pair.alder.node()).await.unwrap();
    assert!(sent.len() == 1 && sent[0].pending.is_none(), "{sent:?}");
    assert_eq!((pair.birch.trail_size(), count(&pair.alder, Kind::PacketSent)), (size, 1));
    assert!(sending::send_all(pair.alder.node()).await.unwrap().is_empty(), "nothing is owed");

    // The partner's goes by its job, without anybody's command.
    pair.birch.makes_packet_of(answers(&pair.birch)).await.unwrap();
    pair.birch.clock.forward(20 * Instant::MINUTE);
    pair.alder.clock.forward(20 * Instant::MINUTE);
    pair.birch.works_it_off().await;
    assert_eq!(pair.alder.packets_of(&pair.birch), 1);

    // Reviewed, on both sides.
    let review = pair.alder.reviews(&pair.birch, None).await.unwrap();
    pair.alder.restart();
    let again = pair.alder.reviews(&pair.birch, None).await.unwrap();
    assert_eq!((review.already, again.already, again.review), (false, true, review.review));
    assert_eq!(count(&pair.alder, Kind::RenewalReviewed), 1);
    pair.birch.reviews(&pair.alder, None).await.unwrap();

    // Offered, and the partner was not there; drafted once.
    pair.birch.stop();
    let renewed = pair.alder.renews(pair.id, effective(0)).await.unwrap();
    assert!(matches!(renewed.delivery, Delivery::Pending { .. }) && !renewed.already, "{renewed:?}");
    pair.birch.try_start().unwrap();
    pair.alder.restart();
    let again = pair.alder.renews(pair.id, effective(0)).await.unwrap();
    assert!(matches!(again.delivery, Delivery::Delivered { .. }) && again.already, "{again:?}");
    assert_eq!((again.id, count(&pair.alder, Kind::AgreementOffered)), (renewed.id, 2));
    let new = renewed.id;
    says(&why(pair.birch.renews(pair.id, effective(0)).await), &["has offered agreement", "sign or decline"]);

    // Approved and signed by the official.
    pair.alder.has_approved(new).await;
    let given = count(&pair.alder, Kind::ApprovalGiven);
    pair.alder.restart();
    pair.alder.has_approved(new).await;
    assert_eq!(count(&pair.alder, Kind::ApprovalGiven), given, "each once");

    // Proposed, cut off, approved; signed, and the partner was not there.
    let change = pair.alder.proposes(Command::Sign { agreement: new }, SIGNING).await.unwrap();
    pair.alder.restart();
    says(&why(pair.alder.proposes(Command::Sign { agreement: new }, SIGNING).await), &["was proposed already"]);
    pair.birch.stop();
    let approved = pair.alder.approves(change).await.unwrap();
    assert!(matches!(approved.delivery, Some(Delivery::Pending { .. })), "{approved:?}");
    pair.birch.try_start().unwrap();
    pair.alder.restart();
    assert!(matches!(lifecycle::deliver(pair.alder.node(), new).await, Delivery::Delivered { .. }));
    assert_eq!(pair.birch.status(new), Status::Unsigned { missing: vec![pair.birch.ori()] });
    // The other signs, and the first was not there.
    pair.alder.stop();
    let delivery = pair.birch.acts(new, Act::Sign).await.unwrap();
    assert!(matches!(delivery, Delivery::Pending { .. }), "{delivery:?}");
    assert!(matches!(pair.birch.status(new), Status::InForce { .. }), "it knows both signatures");
    pair.alder.try_start().unwrap();
    assert_eq!(pair.alder.status(new), Status::Unsigned { missing: vec![pair.birch.ori()] });
    assert!(matches!(pair.alder.status(pair.id), Status::InForce { .. }), "the old one serves here");
    pair.birch.restart();
    assert!(matches!(lifecycle::deliver(pair.birch.node(), new).await, Delivery::Delivered { .. }));
    for node in [&pair.alder, &pair.birch] {
        assert!(matches!(node.status(new), Status::InForce { .. }));
        assert!(matches!(node.status(pair.id), Status::Superseded { by, .. } if by == new));
        assert_eq!(node.trail_problems(), []);
    }
}

#[actix_web::test]
async fn a_packet_is_taken_only_sealed_by_its_own_agency_about_itself_and_as_it_was_named() {
    let pair = Pair::in_force().await;
    let (alder, birch) = (&pair.alder, &pair.birch);
    let made = alder.makes_packet_of(answers(alder)).await.unwrap();
    let honest = made.held.packet.clone();
    let payload = honest.to_bytes().unwrap();
    let seal = |payload: &[u8], typ: &str, key: &certs::key::SigningKey| {
        String::from_utf8(jws::flatten(payload, &jws::sign(payload, typ, key, None).unwrap()).unwrap()).unwrap()
    };
    let others = {
        let mut packet = honest.clone();
        packet.ori = birch.ori();
        packet.to_bytes().unwrap()
    };
    let tomorrow = {
        let mut packet = honest.clone();
        packet.made_at = packet.made_at.plus(Instant::DAY);
        packet.to_bytes().unwrap()
    };
    let old_audit = {
        let mut packet = honest.clone();
        packet.audit.on = days_from_start(-400);
        packet.to_bytes().unwrap()
    };
    let (own, foreign) = (alder.seal_key(), birch.seal_key());
    let path = format!("/peer/v1/agreements/{}/renewal", pair.id);
    let elsewhere = format!("/peer/v1/agreements/{}/renewal", agreement_id());
    let caller = alder.calls(birch);
    let size = birch.trail_size();
    for (what, path, named, document, expected) in [
        ("another's seal", &path, &payload, seal(&payload, PACKET_TYP, &foreign), "not required here"),
        ("another type", &path, &payload, seal(&payload, "concordat-review+jws", &own), "another type"),
        ("another hash", &path, &others, seal(&payload, PACKET_TYP, &own), "by its SHA-256"),
        ("about another agency", &path, &others, seal(&others, PACKET_TYP, &own), "another agency's"),
        ("of tomorrow", &path, &tomorrow, seal(&tomorrow, PACKET_TYP, &own), "still to come"),
        ("an audit too old", &path, &old_audit, seal(&old_audit, PACKET_TYP, &own), "IX-01"),
        ("another path", &elsewhere, &payload, seal(&payload, PACKET_TYP, &own), "another agreement"),
    ] {
        let to = vec![To { ori: birch.ori(), agreement: pair.id }];
        let message = PacketSent { v: PROTOCOL, to, packet: Digest::of(named) };
        let message = agreements::json::canonical(&message).unwrap();
        let (_, text) = alder.forger().swears_bytes(Kind::PacketSent, None, message, Bulk::Document(&document)).await;
        let detail = caller.post(path, text).await.problem(422, "unacceptable");
        assert!(detail.contains(expected), "{what}: {detail}");
        assert_eq!(birch.trail_size(), size, "{what}: nothing was recorded");
        assert_eq!(birch.packets_of(alder), 0, "{what}");
    }
    let message =
        PacketSent { v: PROTOCOL, to: vec![To { ori: birch.ori(), agreement: pair.id }], packet: made.held.id };
    let (_, bare) = alder.forger().swears(Kind::PacketSent, None, &message).await;
    assert!(caller.post(&path, bare).await.problem(422, "unacceptable").contains("missing"));
    // The honest one; who attests what the registry contradicts is told so before anything is sealed.
    assert!(sending::send_all(alder.node()).await.unwrap().iter().all(|sent| sent.pending.is_none()));
    assert_eq!(birch.packets_of(alder), 1);
    alder.clock.forward(400 * Instant::DAY);
    says(&why(alder.makes_packet_of(answers(alder)).await), &["attestations.trained_users", "who may query"]);
}

#[actix_web::test]
async fn a_packet_that_an_older_key_sealed_is_sealed_again_before_it_is_sent() {
    let pair = Pair::in_force().await;
    let first = pair.alder.makes_packet_of(answers(&pair.alder)).await.unwrap();
    pair.alder.prepares(&pair.federation, &KeyKind::ALL);
    pair.alder.rotates().await;
    let sent = sending::send_all(pair.alder.node()).await.unwrap();
    assert!(sent[0].pending.as_ref().unwrap().contains("not required here"), "{sent:?}");
    assert_eq!(pair.birch.packets_of(&pair.alder), 0);
    pair.alder.clock.forward(Instant::SECOND);
    let again = pair.alder.makes_packet().await;
    assert_eq!((again.already, again.held.id == first.held.id), (false, false));
    assert_eq!(pair.birch.packets_of(&pair.alder), 1);
    pair.birch.reviews(&pair.alder, None).await.unwrap();
}

#[actix_web::test]
async fn a_reviewer_is_shown_what_changed_since_the_last_time_and_nothing_else() {
    let mut pair = Pair::in_force().await;
    both_apply(&pair).await;
    let round = pair.alder.round(&[]);
    let [due] = round.due.as_slice() else { panic!("{round:?}") };
    assert!(due.reviewed_at.is_none() && due.changes.len() > 20 && !due.is_unchanged(), "the first time: everything");
    let note = Some((Item::People, Verdict::Note, "one who left is to be closed"));
    assert!(pair.alder.reviews(&pair.birch, note).await.unwrap().all_ok, "a note does not block");
    assert_eq!(pair.alder.round(&[]).done, [(pair.birch.ori(), true)]);

    // The next year's packet with the same content.
    pair.set_clocks(day(20));
    pair.birch.makes_packet().await;
    let round = pair.alder.round(&[]);
    let [due] = round.due.as_slice() else { panic!("{round:?}") };
    let fields: Vec<&str> = due.changes.iter().map(|it| it.field.as_str()).collect();
    assert_eq!(
        (fields, due.is_unchanged()),
        (vec!["people.trainings_recorded"], true),
        "a figure goes with the others"
    );
    pair.alder.reviews(&pair.birch, None).await.unwrap();

    // And one with another policy, a finding, and something that it does not attest any more.
    pair.birch.restart_with(|config| config.policy.sha256 = Some(Digest::of(b"another policy")));
    let mut other = answers(&pair.birch);
    other.audit.findings = vec!["two reasons were too short".to_owned()];
    other.attestations.accuracy = false;
    pair.birch.makes_packet_of(other).await.unwrap();
    sending::send_all(pair.birch.node()).await.unwrap();
    let round = pair.alder.round(&[]);
    let [due] = round.due.as_slice() else { panic!("{round:?}") };
    let fields: Vec<&str> = due.changes.iter().map(|it| it.field.as_str()).collect();
    assert_eq!(fields, ["attestations.accuracy", "audit.findings[0]", "policy.sha256"]);
    assert_eq!(due.remarks, ["it does not attest accuracy"]);
    assert!(!due.is_unchanged());
    // A review of the packet before is not one of this.
    let old = held::received(&mut pair.alder.conn()).unwrap()[&pair.birch.ori()][1].1;
    says(&why(pair.alder.reviews_packet(&pair.birch, old, None).await), &["is not its newest"]);
    says(&why(pair.alder.renews(pair.id, effective(21)).await), &["was not reviewed"]);
}

#[actix_web::test]
async fn a_paper_that_is_edited_or_taken_away_by_hand_counts_as_missing_and_alarms() {
    let pair = Pair::in_force().await;
    both_apply(&pair).await;
    pair.alder.reviews(&pair.birch, None).await.unwrap();
    let store = pair.alder.registry_store();
    for (what, sql) in [
        ("taken away", "DELETE FROM paper WHERE typ = 'concordat-review+jws'"),
        (
            "one in another's place",
            "UPDATE paper SET body = (SELECT body FROM paper WHERE typ LIKE '%packet%' LIMIT 1)",
        ),
        ("of another type", "UPDATE paper SET typ = 'concordat-packet+jws'"),
    ] {
        store.run(&format!("CREATE TABLE kept AS SELECT * FROM paper; {sql}"));
        pair.alder.looks().await;
        let tables: Vec<Table> = pair.alder.node().changed().iter().map(|changed| changed.table).collect();
        assert!(!tables.is_empty() && tables.iter().all(|table| *table == Table::Paper), "{what}: {tables:?}");
        says(&why(pair.alder.renews(pair.id, effective(0)).await), &["is missing or was changed by other hands"]);
        store.run("DELETE FROM paper; INSERT INTO paper SELECT * FROM kept; DROP TABLE kept");
        pair.alder.looks().await;
        assert!(pair.alder.node().changed().is_empty(), "as it was: {what}");
    }
    pair.alder.renews(pair.id, effective(0)).await.unwrap();
}

#[actix_web::test]
async fn a_renewal_that_waited_too_long_says_what_became_too_old() {
    let pair = Pair::under(Terms { sunset_on: days_from_start(300), ..Terms::default() }).await;
    both_apply(&pair).await;
    pair.alder.reviews(&pair.birch, None).await.unwrap();
    pair.birch.reviews(&pair.alder, None).await.unwrap();
    let new = pair.alder.renews(pair.id, effective(40)).await.unwrap().id;
    // The check that it names is over 30 days old, though there is a newer one.
    pair.set_clocks(day(35));
    for node in [&pair.alder, &pair.birch] {
        node.checks_sources().await;
    }
    says(&why(pair.alder.acts(new, Act::Sign).await), &["was made at", "over 30 days ago", "agreement renew"]);
    withdraws(&pair.alder, new).await;
    let new = pair.alder.renews(pair.id, effective(40)).await.unwrap().id;
    pair.alder.acts(new, Act::Sign).await.unwrap();
    // Nobody renews on a packet of the year before last.
    pair.set_clocks(day(400));
    says(&why(pair.birch.acts(new, Act::Sign).await), &["over a year ago (V-29)"]);
}

#[actix_web::test]
async fn an_own_packet_that_was_not_the_newest_is_refused_at_signing() {
    let pair = Pair::in_force().await;
    let (alder, birch) = (&pair.alder, &pair.birch);
    both_apply(&pair).await;
    alder.reviews(birch, None).await.unwrap();
    birch.reviews(alder, None).await.unwrap();
    // Alder has a newer one, which has not reached Birch when that renews.
    pair.set_clocks(start().plus(Instant::HOUR));
    let first = answers(alder);
    let newer = Answers { audit: Audit { queries: first.audit.queries + 1, ..first.audit.clone() }, ..first };
    let newest = alder.makes_packet_of(newer).await.unwrap().held.id;
    pair.set_clocks(start().plus(2 * Instant::HOUR));
    let new = birch.renews(pair.id, effective(0)).await.unwrap().id;
    birch.acts(new, Act::Sign).await.unwrap();
    let refused = why(alder.acts(new, Act::Sign).await);
    says(&refused, &["was not its newest when CA0990100 offered", &newest.to_string(), "agreement packet list"]);
    assert_eq!(alder.status(new), Status::Unsigned { missing: vec![alder.ori()] });

    // It gets the newest, and renews on that.
    alder.acts(new, Act::Decline { reason: "it stands on last month's packet".to_owned() }).await.unwrap();
    sending::send_all(alder.node()).await.unwrap();
    birch.reviews(alder, None).await.unwrap();
    let again = birch.renews(pair.id, effective(0)).await.unwrap().id;
    for node in [alder, birch] {
        node.acts(again, Act::Sign).await.unwrap();
    }
    assert!(matches!(alder.status(again), Status::InForce { .. }), "{:?}", alder.status(again));
}

/// The days of Alder's calendar, each with what tells it from the others.
fn days(pair: &Pair) -> Vec<(String, String)> {
    let days = calendar::days(&mut pair.alder.conn(), pair.alder.ori(), pair.alder.clock_now()).unwrap();
    days.into_iter().map(|day| (day.on.to_string(), day.uid)).collect()
}

#[actix_web::test]
async fn the_calendar_has_what_waits_for_somebody_until_it_does_not() {
    let pair = Pair::in_force().await;
    let alder = &pair.alder;
    let on = |uid: &str| days(&pair).into_iter().find(|(_, found)| found == uid).map(|(on, _)| on);
    let said = |days: i64| Some(days_from_start(days).to_string());
    both_apply(&pair).await;
    alder.reviews(&pair.birch, None).await.unwrap();
    pair.birch.reviews(alder, None).await.unwrap();

    // A renewal that is not signed, on the day from which it would serve.
    let new = alder.renews(pair.id, effective(12)).await.unwrap().id;
    let sign = format!("{new}-sign");
    assert_eq!(on(&sign), said(12));
    alder.acts(new, Act::Sign).await.unwrap();
    assert_eq!(on(&sign), said(12), "one of two");
    pair.birch.acts(new, Act::Sign).await.unwrap();
    assert_eq!(on(&sign), None);

    // An early review, on the day from which it holds; one that never holds is no day.
    let audit = alder.opens_review(pair.birch.ori(), Trigger::AuditFailed).await.unwrap();
    let concern = alder.opens_review(pair.birch.ori(), Trigger::Concern).await.unwrap();
    assert_eq!((on(&format!("{audit}-review")), on(&format!("{concern}-review"))), (said(14), None));

    // A change that waits for a second person, and one that was approved for later.
    let close = alder.proposes(alder.closing(audit).await, SIGNING).await.unwrap();
    let (lapses, effect) = (format!("{close}-lapses"), format!("{close}-effect"));
    assert_eq!((on(&lapses), on(&effect)), (said(30), None));
    changes::withdraw(alder.node(), close, &alder.fiction.person("agreements")).await.unwrap();
    assert_eq!(on(&lapses), None);
    alder.suspends(pair.id).await;
    let later = Some(start().plus(7 * Instant::DAY));
    let (resume, by) = (Command::Resume { agreement: pair.id }, alder.fiction.person("agreements"));
    let resumed = changes::propose_from(alder.node(), resume, &by, SIGNING, later).await.unwrap().id;
    assert_eq!(on(&format!("{resumed}-lapses")), said(30));
    alder.approves(resumed).await.unwrap();
    assert_eq!((on(&format!("{resumed}-lapses")), on(&format!("{resumed}-effect"))), (None, said(7)));

    alder.closes_review(audit, "agreements", "custodian").await.unwrap();
    assert_eq!(on(&format!("{audit}-review")), None);
}

#[actix_web::test]
async fn the_calendar_has_each_sunset_once_and_follows_a_renewal() {
    let pair = Pair::in_force().await;
    let sunset = (days_from_start(30).to_string(), format!("{}-sunset", pair.id));
    assert!(days(&pair).contains(&sunset), "{:?}", days(&pair));
    both_apply(&pair).await;
    pair.alder.reviews(&pair.birch, None).await.unwrap();
    pair.birch.reviews(&pair.alder, None).await.unwrap();
    let new = pair.alder.renews(pair.id, effective(0)).await.unwrap().id;
    for node in [&pair.alder, &pair.birch] {
        node.acts(new, Act::Sign).await.unwrap();
    }
    let after = days(&pair);
    assert!(!after.contains(&sunset) && after.iter().any(|(_, uid)| *uid == format!("{new}-sunset")), "{after:?}");
    assert!(after.iter().any(|(_, uid)| uid == "packet") && after.iter().any(|(_, uid)| uid == "ag-check"));
}

#[actix_web::test]
async fn after_an_agreement_was_ended_another_one_is_signed_on_a_review_and_not_without() {
    let pair = Pair::in_force().await;
    pair.set_clocks(pair.alder.clock.now().plus(Instant::HOUR));
    pair.alder.acts(pair.id, Act::Terminate { reason: "the county board ended it".to_owned() }).await.unwrap();
    let document = Terms::default().between(&pair.alder.node().party(), &pair.birch.node().party());
    let by = pair.alder.fiction.person("agreements");
    lifecycle::propose(pair.alder.node(), document.to_bytes().unwrap(), &by).await.unwrap();
    let without = pair.birch.acts(document.id, Act::Sign).await.unwrap_err().to_string();
    assert!(without.contains("packet"), "{without}");
    let id = agree(&pair.alder, &pair.birch, &Terms::default()).await.unwrap();
    assert!(matches!(pair.birch.status(id), Status::InForce { .. }));
}
