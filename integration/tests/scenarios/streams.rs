//! Two streams of events, each written by one party: crossed, lost, repeated, reordered, and late by a week. Both sides end
//! with the same, and while they differ nothing flows that either forbids.

use std::time::{Duration, Instant as Watch};

use agreements::entry::Kind;
use agreements::ids::AgreementId;
use agreements::message::{PROTOCOL, StreamEvent, To};
use agreements::status::Status;
use agreements::stream::Event;
use agreements::time::Instant;
use concordat::clock::Clock as _;
use concordat::demo::agency::CEDAR;
use concordat::exchange::ask::Gave;
use concordat::exchange::lifecycle::{Act, Delivery, PAGE};
use concordat::exchange::standing::{self, RESUMPTION_TYP};
use concordat::trail::search::Filter;
use integration::TestNode;
use integration::pair::{Pair, Terms, agree, days_from_start};
use integration::renewal::reviewed_if_not_the_first;
use integration::unruly::{Fault, UnrulyLine};

const PLATE: &str = "7STR606";
const FAULTS: [Fault; 4] = [Fault::None, Fault::Cut, Fault::LosesReplies, Fault::Repeats];

fn in_force() -> Status {
    Status::InForce { until: Instant::start_of(days_from_start(30)).unwrap() }
}

fn suspended(by: &TestNode) -> Status {
    Status::Suspended { by: vec![by.ori()] }
}

/// Five minutes go by on both sides, and somebody rings.
async fn time_passes(pair: &Pair) {
    for node in [&pair.alder, &pair.birch] {
        node.clock.forward(5 * Instant::MINUTE);
        node.rings().await;
    }
}

/// That neither gets a read of the other, asked in every way: through its own node, and past it.
async fn nothing_flows(pair: &Pair, forbids: &TestNode, id: AgreementId, what: &str) {
    for (asker, owner) in [(&pair.alder, &pair.birch), (&pair.birch, &pair.alder)] {
        let gave = asker.queries(owner, PLATE).await;
        assert!(!matches!(gave, Gave::Reads { .. }), "{what}, asked by {}: {gave:?}", asker.fiction.word);
    }
    let asker = if forbids.ori() == pair.alder.ori() { &pair.birch } else { &pair.alder };
    let touched = forbids.touches();
    let text = asker.forger().asks(&asker.question(forbids, id, PLATE)).await;
    let reply = asker.posts_query(forbids, &text).await;
    assert_eq!(reply.status, 403, "{what}: {}", reply.text());
    assert_eq!(forbids.touches(), touched, "{what}");
}

/// Everything that both said, once more: nothing changes by it.
async fn repeated(pair: &Pair, ids: &[AgreementId], what: &str) {
    let sizes = (pair.alder.trail_size(), pair.birch.trail_size());
    for (from, to) in [(&pair.alder, &pair.birch), (&pair.birch, &pair.alder)] {
        for id in ids {
            // The last one first.
            for text in from.event_texts(*id).await.iter().rev() {
                let reply = from.posts_event(to, *id, text).await;
                assert_eq!(reply.status, 200, "{what}: {}", reply.text());
            }
        }
    }
    assert_eq!((pair.alder.trail_size(), pair.birch.trail_size()), sizes, "{what}");
}

#[actix_web::test]
async fn s06_one_suspends_while_the_other_renews_and_both_come_to_the_same() {
    for fault in FAULTS {
        let what = format!("{fault:?}");
        let mut pair = Pair::in_force().await;
        for node in [&pair.alder, &pair.birch] {
            node.ingests(PLATE, node.clock.now().plus(-Instant::HOUR)).await;
        }
        reviewed_if_not_the_first(&pair.alder, &pair.birch).await;
        let lines = pair.over_unruly_lines().await;
        lines.become_(fault);
        let renews = async {
            let new = pair.alder.renews_today(pair.id).await.unwrap();
            pair.alder.signs(new).await;
            new
        };
        let (new, _) = tokio::join!(renews, pair.birch.suspends(pair.id));
        assert_eq!(pair.birch.status(pair.id), suspended(&pair.birch), "{what}: at once where it was said");
        nothing_flows(&pair, &pair.birch, pair.id, &what).await;

        lines.become_(Fault::None);
        time_passes(&pair).await;
        pair.come_to(pair.id, &suspended(&pair.birch)).await;
        pair.come_to(new, &Status::Unsigned { missing: vec![pair.birch.ori()] }).await;
        assert!(pair.same_streams(pair.id) && pair.same_streams(new), "{what}");
        nothing_flows(&pair, &pair.birch, pair.id, &what).await;
        nothing_flows(&pair, &pair.birch, new, &what).await;
        repeated(&pair, &[pair.id, new], &what).await;

        // What was suspended is over when Birch, too, signs what takes its place.
        pair.birch.signs(new).await;
        let at = pair.birch.clock.now();
        pair.come_into_force(new).await;
        pair.come_to(pair.id, &Status::Superseded { by: new, at }).await;
        assert!(matches!(pair.alder.queries(&pair.birch, PLATE).await, Gave::Reads { .. }), "{what}");
    }
}

#[actix_web::test]
async fn s06_a_suspension_holds_the_renewal_too_whose_other_signature_is_on_its_way() {
    for fault in FAULTS {
        let what = format!("{fault:?}");
        let mut pair = Pair::in_force().await;
        for node in [&pair.alder, &pair.birch] {
            node.ingests(PLATE, node.clock.now().plus(-Instant::HOUR)).await;
        }
        reviewed_if_not_the_first(&pair.alder, &pair.birch).await;
        let lines = pair.over_unruly_lines().await;
        let new = pair.alder.renews_today(pair.id).await.unwrap();
        pair.birch.signs(new).await;
        lines.become_(fault);
        tokio::join!(pair.alder.signs(new), pair.birch.suspends(pair.id));
        nothing_flows(&pair, &pair.birch, pair.id, &what).await;
        nothing_flows(&pair, &pair.birch, new, &what).await;

        lines.become_(Fault::None);
        time_passes(&pair).await;
        pair.come_to(new, &suspended(&pair.birch)).await;
        for node in [&pair.alder, &pair.birch] {
            assert!(matches!(node.status(pair.id), Status::Superseded { by, .. } if by == new), "{what}");
        }
        nothing_flows(&pair, &pair.birch, new, &what).await;
        pair.birch.resumes(new).await;
        pair.come_into_force(new).await;
    }
}

#[actix_web::test]
async fn s37_withdrawn_by_one_while_the_others_signature_is_on_its_way_is_never_in_force() {
    for fault in FAULTS {
        let what = format!("{fault:?}");
        let mut pair = Pair::in_force().await;
        for node in [&pair.alder, &pair.birch] {
            node.ingests(PLATE, node.clock.now().plus(-Instant::HOUR)).await;
        }
        reviewed_if_not_the_first(&pair.alder, &pair.birch).await;
        let lines = pair.over_unruly_lines().await;
        let new = pair.alder.renews_today(pair.id).await.unwrap();
        pair.alder.signs(new).await;
        lines.become_(fault);
        tokio::join!(pair.alder.takes_back(new), async {
            // Where the withdrawal arrived already there is nothing left to sign.
            let signed = pair.birch.tries_to_sign(new).await;
            let ended = matches!(pair.birch.status(new), Status::Ended { .. });
            assert!(signed.is_ok() || ended, "{what}: {signed:?}");
        });
        let ended = Status::Ended { by: pair.alder.ori(), how: "withdrawn".to_owned() };
        assert_eq!(pair.alder.status(new), ended, "{what}");
        let text = pair.birch.forger().asks(&pair.birch.question(&pair.alder, new, PLATE)).await;
        let reply = pair.birch.posts_query(&pair.alder, &text).await;
        assert_eq!(reply.message()["outcome"]["status"]["status"], "ended", "{what}: {}", reply.text());

        lines.become_(Fault::None);
        time_passes(&pair).await;
        pair.come_to(new, &ended).await;
        // What it would have renewed goes on, on both sides.
        pair.come_to(pair.id, &in_force()).await;
        assert!(pair.same_streams(new), "{what}");
        repeated(&pair, &[pair.id, new], &what).await;
        assert!(matches!(pair.alder.queries(&pair.birch, PLATE).await, Gave::Reads { .. }), "{what}");
    }
}

#[actix_web::test]
async fn s37_of_crossed_renewals_the_same_one_wins_on_both_sides() {
    for fault in FAULTS {
        let what = format!("{fault:?}");
        let mut pair = Pair::in_force().await;
        pair.birch_saw(PLATE).await;
        reviewed_if_not_the_first(&pair.alder, &pair.birch).await;
        let lines = pair.over_unruly_lines().await;
        lines.become_(fault);
        let (one, other) = tokio::join!(pair.alder.renews_today(pair.id), pair.birch.renews_today(pair.id));
        let (Ok(one), Ok(other)) = (one, other) else {
            assert!(matches!(fault, Fault::None | Fault::Repeats), "{what}: they cross for certain");
            continue;
        };
        tokio::join!(pair.alder.signs(one), pair.birch.signs(other));
        lines.become_(Fault::None);
        time_passes(&pair).await;
        pair.come_to(one, &Status::Unsigned { missing: vec![pair.birch.ori()] }).await;
        pair.come_to(other, &Status::Unsigned { missing: vec![pair.alder.ori()] }).await;
        assert_eq!((pair.alder.status(pair.id), pair.birch.status(pair.id)), (in_force(), in_force()), "{what}");

        // Each signs the other's, and that crosses too.
        lines.become_(fault);
        tokio::join!(pair.alder.signs(other), pair.birch.signs(one));
        lines.become_(Fault::None);
        time_passes(&pair).await;
        let (wins, loses) = (one.min(other), one.max(other));
        pair.come_into_force(wins).await;
        for node in [&pair.alder, &pair.birch] {
            for id in [pair.id, loses] {
                assert!(matches!(node.status(id), Status::Superseded { by, .. } if by == wins), "{what}: {id}");
            }
        }
        assert_eq!(pair.alder.status(loses), pair.birch.status(loses), "{what}");
        assert_eq!(pair.alder.status(pair.id), pair.birch.status(pair.id), "{what}");
        assert!(pair.same_streams(one) && pair.same_streams(other), "{what}");
        assert!(matches!(pair.alder.queries(&pair.birch, PLATE).await, Gave::Reads { .. }), "{what}");
    }
}

#[actix_web::test]
async fn crossed_suspensions_and_resumptions_end_the_same_on_both_sides() {
    for fault in FAULTS {
        let mut pair = Pair::in_force().await;
        let lines = pair.over_unruly_lines().await;
        lines.become_(fault);
        tokio::join!(pair.alder.suspends(pair.id), pair.birch.suspends(pair.id));
        tokio::join!(pair.alder.resumes(pair.id), pair.birch.resumes(pair.id));
        pair.birch.suspends(pair.id).await;
        lines.become_(Fault::None);
        time_passes(&pair).await;
        pair.come_to(pair.id, &suspended(&pair.birch)).await;
        assert_eq!(pair.alder.streams(pair.id).map(|stream| stream.len()), [3, 4], "{fault:?}");
        assert!(pair.same_streams(pair.id), "{fault:?}");
    }
}

#[actix_web::test]
async fn events_that_arrive_out_of_order_wait_for_those_before_them() {
    let mut pair = Pair::in_force().await;
    let lines = pair.over_unruly_lines().await;
    lines.become_(Fault::Cut);
    pair.alder.suspends(pair.id).await;
    pair.alder.resumes(pair.id).await;
    pair.alder.suspends(pair.id).await;
    let texts = pair.alder.event_texts(pair.id).await;
    let statuses: Vec<u16> = {
        let mut statuses = Vec::new();
        for n in [3, 2, 1, 3, 1, 2, 3, 0] {
            statuses.push(pair.alder.posts_event(&pair.birch, pair.id, &texts[n]).await.status);
        }
        statuses
    };
    assert_eq!(statuses, [409, 409, 200, 409, 200, 200, 200, 200]);
    assert!(pair.same_streams(pair.id));
    assert_eq!(pair.birch.status(pair.id), suspended(&pair.alder));
}

#[actix_web::test]
async fn a_partner_that_was_down_for_a_week_has_everything_when_it_starts_and_nobody_does_anything() {
    let mut pair = Pair::in_force().await;
    reviewed_if_not_the_first(&pair.alder, &pair.birch).await;
    pair.birch.stop();
    assert!(matches!(pair.alder.suspends(pair.id).await, Delivery::Pending { .. }));
    let new = pair.alder.renews_today(pair.id).await.unwrap();
    pair.alder.signs(new).await;
    let mut tries = 0;
    for _ in 0..7 * 24 * 12 {
        pair.alder.clock.forward(5 * Instant::MINUTE);
        let reports = pair.alder.rings().await;
        let tried = |report: &&concordat::jobs::Report| report.job == "deliveries" && report.said.is_some();
        tries += reports.iter().filter(tried).count();
    }
    assert!((24 * 6..24 * 7 + 12).contains(&tries), "about one an hour: {tries}");

    pair.birch.clock.set(pair.alder.clock.now());
    pair.birch.try_start().unwrap();
    pair.birch.comes_to(pair.id, &suspended(&pair.alder)).await;
    pair.birch.comes_to(new, &Status::Unsigned { missing: vec![pair.birch.ori()] }).await;
    assert_eq!(pair.alder.status(pair.id), pair.birch.status(pair.id));
    // And the acknowledgements are there: nothing is sent once more.
    pair.alder.has_all_acknowledged().await;
}

#[actix_web::test]
async fn what_a_node_did_not_hear_while_it_was_down_it_hears_when_it_starts() {
    let mut pair = Pair::in_force().await;
    let lines = pair.over_unruly_lines().await;
    pair.birch.stop();
    pair.alder.suspends(pair.id).await;
    // Alder does not reach Birch: only Birch's own look brings it.
    lines.to_birch.becomes(Fault::Cut);
    pair.birch.try_start().unwrap();
    pair.birch.comes_to(pair.id, &suspended(&pair.alder)).await;
}

#[actix_web::test]
async fn a_partner_that_is_heard_from_again_is_sent_at_once_what_it_lacks() {
    let mut pair = Pair::in_force().await;
    let lines = pair.over_unruly_lines().await;
    lines.become_(Fault::Cut);
    assert!(matches!(pair.alder.suspends(pair.id).await, Delivery::Pending { .. }));
    for _ in 0..30 {
        pair.alder.clock.forward(5 * Instant::MINUTE);
        pair.alder.rings().await;
    }
    assert_eq!(pair.birch.status(pair.id), in_force(), "nothing gets through");
    let resting = lines.to_birch.requests();
    pair.alder.rings().await;
    assert_eq!(lines.to_birch.requests(), resting, "it is left alone now");
    lines.to_birch.becomes(Fault::None);
    // Any request of Birch will do; its own line to Alder stays cut.
    assert_eq!(pair.birch.calls(&pair.alder).get("/peer/v1/node").await.status, 200);
    pair.birch.comes_to(pair.id, &suspended(&pair.alder)).await;
}

#[actix_web::test]
async fn what_another_process_of_the_node_said_and_could_not_send_is_sent_by_the_running_one() {
    let mut pair = Pair::in_force().await;
    let lines = pair.over_unruly_lines().await;
    let second = pair.alder.second();
    lines.to_birch.becomes(Fault::Cut);
    let by = pair.alder.fiction.person("custodian");
    let act = Act::Suspend { reason: "the partner's audit is open".to_owned() };
    let delivery = concordat::exchange::lifecycle::act(&second, pair.id, act, &by).await.unwrap();
    assert!(matches!(delivery, Delivery::Pending { .. }), "{delivery:?}");
    drop(second);
    lines.to_birch.becomes(Fault::None);
    // On a busy machine the running node has tried already, over the line that was cut, and rests.
    pair.set_clocks(pair.alder.clock.now().plus(6 * Instant::MINUTE));
    pair.birch.comes_to(pair.id, &suspended(&pair.alder)).await;
}

#[actix_web::test]
async fn a_partner_that_hangs_keeps_no_other_one_waiting() {
    let pair = Pair::in_force().await;
    let Pair { mut alder, birch, id, federation } = pair;
    let cedar = TestNode::found(&federation, CEDAR).await;
    alder.enrols(&cedar).await;
    cedar.enrols(&alder).await;
    let with_cedar = agree(&alder, &cedar, &Terms::default()).await.unwrap();
    let (to_birch, to_cedar) = (UnrulyLine::between(&alder, &birch).await, UnrulyLine::between(&alder, &cedar).await);
    alder.restart_with(|config| {
        config.peer.hosts.insert(birch.fiction.host(), to_birch.address);
        config.peer.hosts.insert(cedar.fiction.host(), to_cedar.address);
        config.peer.deadline_ms = std::num::NonZeroU64::new(8000).unwrap();
    });
    for line in [&to_birch, &to_cedar] {
        line.becomes(Fault::Cut);
    }
    alder.suspends(id).await;
    alder.suspends(with_cedar).await;
    to_birch.becomes(Fault::HoldsRequests);
    to_cedar.becomes(Fault::None);
    alder.clock.forward(5 * Instant::MINUTE);
    #[expect(clippy::disallowed_methods, reason = "it waits for real time")]
    let begun = Watch::now();
    let heard = async {
        cedar.comes_to(with_cedar, &suspended(&alder)).await;
        begun.elapsed()
    };
    let (took, _) = tokio::join!(heard, alder.rings());
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert_eq!(birch.status(id), in_force());
}

#[actix_web::test]
async fn a_long_stream_arrives_page_by_page() {
    let mut pair = Pair::in_force().await;
    let lines = pair.over_unruly_lines().await;
    lines.to_birch.becomes(Fault::Cut);
    for _ in 0..PAGE + 2 {
        pair.alder.suspends(pair.id).await;
        pair.alder.resumes(pair.id).await;
    }
    let all = u32::try_from(2 * PAGE + 5).unwrap();
    let caller = pair.birch.calls(&pair.alder);
    for (after, events) in [(0, PAGE), (7, PAGE), (all - 2, 2), (all, 0), (u32::MAX, 0)] {
        let view = caller.get(&format!("/peer/v1/agreements/{}?after={after}", pair.id)).await.json();
        assert_eq!((view["events"].as_array().unwrap().len(), view["said"].as_u64()), (events, Some(all.into())));
    }
    let odd = caller.get(&format!("/peer/v1/agreements/{}?after=x", pair.id)).await.problem(422, "unacceptable");
    assert!(odd.contains("after=3"), "{odd}");
    // Birch takes them by itself, from Alder's door.
    pair.birch.restart();
    for _ in 0..1000 {
        if pair.birch.streams(pair.id)[1].len() == all {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(pair.same_streams(pair.id));
    assert_eq!(pair.birch.status(pair.id), in_force());
}

#[actix_web::test]
async fn an_answer_that_arrives_after_the_askers_own_suspension_is_recorded_and_not_shown() {
    let mut pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    let lines = pair.over_unruly_lines().await;
    // Both have looked at each other after the start.
    pair.come_to(pair.id, &in_force()).await;
    let size = pair.birch.trail_size();
    lines.to_birch.becomes(Fault::HoldsReplies);
    let suspends = async {
        while pair.birch.trail_size() == size {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        pair.alder.suspends(pair.id).await
    };
    let releases = async {
        pair.alder.comes_to(pair.id, &suspended(&pair.alder)).await;
        lines.to_birch.becomes(Fault::None);
    };
    let (gave, _, ()) = tokio::join!(pair.alder.queries(&pair.birch, PLATE), suspends, releases);
    let Gave::Withheld { status, receipt } = gave else { panic!("{gave:?}") };
    assert_eq!(status, suspended(&pair.alder));
    let filter = Filter { kind: Some(Kind::QueryReceived), limit: 1, ..Filter::default() };
    let row = pair.alder.entries(&filter).remove(0);
    let received: serde_json::Value = serde_json::from_slice(&row.detail.unwrap().message).unwrap();
    assert_eq!(received["answers"][0]["outcome"], "withheld");
    assert_eq!(received["answers"][0]["answer"], serde_json::to_value(receipt).unwrap(), "with the receipt of it");
}

#[actix_web::test]
async fn who_says_to_have_seen_more_than_was_said_opens_nothing_and_closes_all_the_same() {
    let pair = Pair::in_force().await;
    let document = pair.alder.document_hash(pair.id);
    let says = |n: u32, seen: u32, event: Event| StreamEvent {
        v: PROTOCOL,
        to: vec![To { ori: pair.birch.ori(), agreement: pair.id }],
        document,
        n,
        seen: Some(seen),
        event,
    };
    let posts = async |said: StreamEvent| {
        let (_, text) = pair.alder.forger().swears(Kind::AgreementEvent, None, &said).await;
        pair.alder.posts_event(&pair.birch, pair.id, &text).await
    };
    let resumed = |n| {
        let reason = "the audit is closed".to_owned();
        let found = standing::verified(&mut pair.birch.conn(), pair.id).unwrap().unwrap();
        let statement = standing::resumption(&found.agreement, &found.document, pair.alder.ori(), n, &reason).unwrap();
        Event::Resumed { seal: pair.alder.node().seal().sign(&statement, RESUMPTION_TYP).unwrap(), reason }
    };
    let closes = says(2, 9, Event::Suspended { reason: "the audit is open".to_owned() });
    assert_eq!(posts(closes).await.status, 200);
    assert_eq!(pair.birch.status(pair.id), suspended(&pair.alder));
    let detail = posts(says(3, 9, resumed(3))).await.problem(422, "unacceptable");
    assert!(detail.contains("decided on 9 events of this agency, which has said 1"), "{detail}");
    assert_eq!(pair.birch.status(pair.id), suspended(&pair.alder));
    assert_eq!(posts(says(3, 1, resumed(3))).await.status, 200);
    assert_eq!(pair.birch.status(pair.id), in_force());
}

#[actix_web::test]
async fn a_partner_that_was_set_back_to_before_the_offer_is_offered_it_again_and_alarms() {
    let (federation, alder, mut birch) = Pair::enrolled().await;
    let before = federation.folder().join("before.db");
    integration::tamper::copy(&birch.registry_file(), &before);
    let id = agree(&alder, &birch, &Terms::default()).await.unwrap();
    birch.stop();
    let file = birch.registry_file();
    for suffix in ["-wal", "-shm"] {
        // They are there only while somebody has the file open.
        let _ = std::fs::remove_file(format!("{}{suffix}", file.display()));
    }
    std::fs::copy(&before, &file).unwrap();
    birch.try_start().unwrap();
    // Birch looks at nothing, as it knows of nothing; Alder hears from it when it does anything at all.
    alder.clock.forward(10 * Instant::MINUTE);
    assert_eq!(birch.calls(&alder).get("/peer/v1/node").await.status, 200);
    birch.comes_to(id, &Status::Unsigned { missing: vec![birch.ori()] }).await;
    let alarms = || {
        let log = integration::logs::captured().text();
        log.lines()
            .any(|line| line.contains("ALARM") && line.contains("registry was set back") && line.contains("CA0990000"))
    };
    birch.restart();
    for _ in 0..1000 {
        if alarms() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("Alder has a signature of Birch that Birch has not, and Birch does not say so");
}
