//! Reconciling: each day's exchange is held to both trails, and what differs is a case for both custodians.

use agreements::discrepancy::Differs;
use agreements::entry::Kind;
use agreements::ids::{Digest, Ori};
use agreements::time::Instant;
use concordat::clock::Clock as _;
use concordat::demo::agency::CEDAR;
use concordat::exchange::ask::{Gave, Whom};
use concordat::hotlists::pulling::Pulled;
use concordat::reconciling::listing::{DayList, day_of};
use concordat::reconciling::run::NotDone;
use concordat::reconciling::{LATE, OLDEST};
use concordat::trail::search::{Filter, Row};
use concordat::witness::evidence;
use integration::cut::{Cut, CutLine, Lost};
use integration::pair::{Pair, Terms, agree};
use integration::witnesses::Watched;
use integration::{Backend, TestNode};
use jiff::civil::Date;

pub(super) const PLATE: &str = "7RCN001";
const LIST: &str = "stolen";
pub(super) const CUSTODIAN: &str = "custodian@alder.example";

integration::nodes_on_both!(
    a_day_of_answers_denials_referrals_a_pull_and_a_question_without_answer_is_equal_on_both_sides
);

/// The day on which scenarios begin, of UTC.
pub(super) fn today() -> Date {
    day_of(integration::federation::start())
}

/// The newest entry of a kind.
pub(super) fn newest(node: &TestNode, kind: Kind) -> Row {
    node.entries(&Filter { kind: Some(kind), limit: 1, ..Filter::default() }).remove(0)
}

pub(super) fn hash(row: &Row) -> Digest {
    agreements::entry::Leaf::hash_of(&row.leaf)
}

/// Alder asked Birch and was answered; by now it is the next night.
pub(super) async fn asked_and_answered() -> Pair {
    let pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    assert!(matches!(pair.alder.queries(&pair.birch, PLATE).await, Gave::Reads { .. }));
    pair.nights_later(1);
    pair
}

/// A line to `owner` for what `asker` sends, which is cut when it is armed.
async fn cut_line(asker: &mut TestNode, owner: &TestNode, lost: Lost) -> (CutLine, std::sync::Arc<Cut>) {
    let cut = Cut::of_path(lost, "/peer/v1/queries");
    let line = CutLine::between(asker, owner, &cut).await;
    let (host, address) = (owner.fiction.host(), line.address);
    asker.restart_with(|config| {
        config.peer.hosts.insert(host, address);
    });
    (line, cut)
}

async fn a_day_of_answers_denials_referrals_a_pull_and_a_question_without_answer_is_equal_on_both_sides(
    backend: Backend,
) {
    let terms = Terms { lists: vec![(LIST, vec!["stolen_vehicle"])], ..Terms::default() };
    let mut pair = match backend {
        Backend::Sqlite => Pair::under(terms).await,
        Backend::Postgres => Pair::in_force_on(backend).await,
    };
    pair.birch_saw(PLATE).await;
    let mut asked = 3;
    assert!(matches!(pair.alder.queries(&pair.birch, PLATE).await, Gave::Reads { .. }));
    let mut ask = pair.alder.asking(&pair.birch, PLATE);
    ask.purpose = agreements::purpose::Purpose::InvestigatoryLeads;
    let denied = pair.alder.asks(ask).await.unwrap().lines.remove(0).gave;
    assert!(matches!(denied, Gave::Denied { .. }), "{denied:?}");
    let mut ask = pair.alder.asking(&pair.birch, PLATE);
    ask.reason = "HSI assist with a vehicle of a burglary suspect".to_owned();
    let referred = pair.alder.asks(ask).await.unwrap().lines.remove(0).gave;
    assert!(matches!(referred, Gave::Referred { .. }), "{referred:?}");
    if backend == Backend::Sqlite {
        pair.birch.lists(LIST, &[PLATE]).await;
        pair.alder.accepts(&pair.birch, LIST).await;
        assert!(matches!(pair.alder.pulls().await.unwrap(), Pulled::Held { .. }));
        asked += 1;
    }
    pair.birch.stop();
    let silent = pair.alder.queries(&pair.birch, PLATE).await;
    assert!(matches!(silent, Gave::Unreachable { .. }), "{silent:?}");
    pair.birch.try_start().unwrap();
    let early = pair.alder.reconciles(&pair.birch, today()).await;
    assert!(matches!(early, Err(NotDone::NotYet(_))), "{early:?}");

    pair.nights_later(1);
    let alder = pair.alder.agrees_with(&pair.birch, today()).await.found.counts;
    let birch = pair.birch.agrees_with(&pair.alder, today()).await.found.counts;
    assert_eq!((alder.asked, alder.answered), (asked + 1, asked), "the one to which nobody answered is no discrepancy");
    assert_eq!((alder.listed, alder.unheard, alder.not_received), (alder.matched, 0, 0));
    assert_eq!((birch.listed, birch.unheard), (birch.matched + 1, 1), "nor is it on the other side: {birch:?}");
    // It is on the record of each that it was done, once, and not again when it finds the same.
    for (node, other) in [(&pair.alder, &pair.birch), (&pair.birch, &pair.alder)] {
        // Whatever else the node does by itself of a night.
        let runs = || node.entries(&Filter { kind: Some(Kind::TrailReconciled), ..Filter::default() }).len();
        let (done, run) = (runs(), newest(node, Kind::TrailReconciled));
        assert_eq!((run.facts.partner, run.facts.decision.as_deref()), (Some(other.ori()), Some("equal")));
        node.agrees_with(other, today()).await;
        assert_eq!(runs(), done);
        assert_eq!(node.trail_problems(), []);
    }
}

#[actix_web::test]
async fn an_answer_that_was_lost_on_its_way_is_explained_and_counts_as_disclosed() {
    let mut pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    let (_line, cut) = cut_line(&mut pair.alder, &pair.birch, Lost::Reply).await;
    cut.cuts_all();
    let lost = pair.alder.queries(&pair.birch, PLATE).await;
    assert!(matches!(lost, Gave::Unreachable { .. }) && cut.happened(), "{lost:?}");
    pair.nights_later(1);
    let done = pair.alder.agrees_with(&pair.birch, today()).await;
    let answer = newest(&pair.birch, Kind::QueryAnswered);
    assert_eq!((done.found.counts.asked, done.found.counts.answered, done.found.counts.not_received), (1, 1, 1));
    let [named] = done.found.not_received.as_slice() else { panic!("{:?}", done.found) };
    assert_eq!((named.leaf, named.rid), (hash(&answer), answer.rid), "by which Birch gives it again");
    assert_eq!(named.of, hash(&newest(&pair.alder, Kind::QueryAsked)));
    pair.birch.agrees_with(&pair.alder, today()).await;
}

#[actix_web::test]
async fn an_owner_that_leaves_an_answer_out_of_its_list_is_found_and_both_custodians_have_a_case() {
    let mut pair = Pair::in_force().await;
    pair.alder.mails_to(&[], &[CUSTODIAN]);
    pair.birch.mails_to(&[], &["custodian@birch.example"]);
    pair.birch_saw(PLATE).await;
    pair.alder.queries(&pair.birch, PLATE).await;
    let answer = newest(&pair.birch, Kind::QueryAnswered);
    // By which the answer is found as one to Alder.
    let hide = |to: &str| format!("UPDATE fact SET partner = {to} WHERE idx = {}", answer.index);
    pair.birch.registry_store().run(&hide("NULL"));
    pair.nights_later(1);
    let done = pair.alder.reconciles(&pair.birch, today()).await.unwrap();
    assert_eq!((done.found.differs, done.opened.len()), (1, 1));
    let case = pair.alder.cases().remove(0);
    assert_eq!((case.opened.differs, case.opened.about), (Differs::LeftOut, hash(&answer)));
    assert_eq!((case.opened.rid, case.opened.kind), (Some(answer.rid), Some(Kind::QueryAnswered)));
    assert!(case.opened.says.contains("Birch") && case.opened.says.contains("its log has it"), "{}", case.opened.says);
    assert_eq!(pair.alder.mails_about_discrepancies().len(), 1);
    assert_eq!(newest(&pair.alder, Kind::TrailReconciled).facts.decision.as_deref(), Some("differs"));

    // Found again, on the same night or a later one, it is the same case, and nobody is mailed again.
    for _ in 0..2 {
        assert_eq!(pair.alder.reconciles(&pair.birch, today()).await.unwrap().opened, []);
        pair.nights_later(1);
    }
    assert_eq!((pair.alder.cases().len(), pair.alder.mails_about_discrepancies().len()), (1, 1));

    // Birch, which sees nothing itself, is told with the list of the day on which Alder found it.
    pair.birch.agrees_with(&pair.alder, today()).await;
    let found_on = day_of(case.opened_at);
    let told = pair.birch.reconciles(&pair.alder, found_on).await.unwrap();
    assert_eq!((told.found.differs, told.opened.len()), (0, 1));
    let theirs = pair.birch.cases().remove(0);
    assert_eq!((theirs.opened.differs, theirs.opened.other), (Differs::Told, Some(hash(&answer))));
    assert!(theirs.opened.says.contains("left_out"), "{}", theirs.opened.says);
    assert_eq!((theirs.opened.day, pair.birch.mails_about_discrepancies().len()), (today(), 1));
    // Which is not told back.
    pair.nights_later(1);
    let next = day_of(theirs.opened_at);
    assert_eq!(pair.alder.reconciles(&pair.birch, next).await.unwrap().opened, []);

    // Only the custodian closes it, once, and says what it was.
    for role in ["auditor", "agreements", "investigator", "admin"] {
        let refused = pair.alder.closes(case.id, role).await.unwrap_err().to_string();
        assert!(refused.contains("custodian may"), "{role}: {refused}");
    }
    pair.alder.closes(case.id, "custodian").await.unwrap();
    assert!(pair.alder.closes(case.id, "custodian").await.unwrap_err().to_string().contains("was closed"));
    assert!(pair.birch.cases()[0].closed.is_none(), "each closes its own");
    assert_eq!(pair.alder.reconciles(&pair.birch, today()).await.unwrap().opened, [], "it is not opened again");
    pair.birch.registry_store().run(&hide(&format!("'{}'", pair.alder.ori())));
    assert_eq!(pair.alder.reconciles(&pair.birch, today()).await.unwrap().found.differs, 0);
}

#[actix_web::test]
async fn an_owner_whose_rows_were_deleted_or_edited_by_hand_is_found() {
    for (sql, expected) in [
        ("DELETE FROM detail WHERE idx = ", vec![Differs::LeftOut]),
        ("DELETE FROM leaf WHERE idx = ", vec![Differs::LeftOut]),
        ("UPDATE leaf SET kind = 'query.refused' WHERE idx = ", vec![Differs::LeftOut]),
    ] {
        let pair = asked_and_answered().await;
        let answer = newest(&pair.birch, Kind::QueryAnswered);
        pair.birch.registry_store().run(&format!("{sql}{}", answer.index));
        pair.alder.reconciles(&pair.birch, today()).await.unwrap();
        assert_eq!(pair.alder.differs(), expected, "{sql}");
    }
    // One that says that it was another time is listed under its id, and is not in its log.
    let pair = asked_and_answered().await;
    let answer = newest(&pair.birch, Kind::QueryAnswered);
    let store = pair.birch.registry_store();
    let body = store.replaced("body", "2026-11-23T20:17", "2026-11-23T20:18");
    store.run(&format!("UPDATE leaf SET body = {body} WHERE idx = {}", answer.index));
    pair.alder.reconciles(&pair.birch, today()).await.unwrap();
    assert_eq!(pair.alder.differs(), [Differs::Altered, Differs::Invented]);
}

#[actix_web::test]
async fn an_asker_that_denies_a_question_is_found_by_the_owner() {
    let pair = asked_and_answered().await;
    let question = newest(&pair.alder, Kind::QueryAsked);
    pair.alder.registry_store().run(&format!("DELETE FROM detail WHERE idx = {}", question.index));
    pair.birch.reconciles(&pair.alder, today()).await.unwrap();
    let case = pair.birch.cases().remove(0);
    assert_eq!((case.opened.differs, case.opened.about), (Differs::LeftOut, hash(&question)));
    assert_eq!(case.opened.kind, Some(Kind::QueryAsked));
}

#[actix_web::test]
async fn an_event_or_an_acknowledgement_that_its_sender_has_not_any_more_is_found() {
    let pair = Pair::in_force().await;
    pair.birch.suspends(pair.id).await;
    pair.nights_later(1);
    pair.alder.agrees_with(&pair.birch, today()).await;
    // Of an event Alder has its own acknowledgement, which names it; of an acknowledgement the entry with its proof.
    for (n, kind) in [Kind::AgreementEvent, Kind::AgreementAcknowledged].into_iter().enumerate() {
        let said = newest(&pair.birch, kind);
        pair.birch.registry_store().run(&format!("DELETE FROM detail WHERE idx = {}", said.index));
        pair.alder.reconciles(&pair.birch, today()).await.unwrap();
        let case = pair.alder.cases().remove(n);
        assert_eq!((case.opened.differs, case.opened.about), (Differs::LeftOut, hash(&said)), "{kind}");
        assert_eq!(pair.alder.cases().len(), n + 1);
    }
}

#[actix_web::test]
async fn an_answer_to_a_question_that_this_trail_does_not_have_is_found() {
    let mut pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    let (_line, cut) = cut_line(&mut pair.alder, &pair.birch, Lost::Reply).await;
    cut.cuts_all();
    let lost = pair.alder.queries(&pair.birch, PLATE).await;
    assert!(matches!(lost, Gave::Unreachable { .. }) && cut.happened(), "{lost:?}");
    let question = newest(&pair.alder, Kind::QueryAsked);
    pair.alder.registry_store().run(&format!("DELETE FROM detail WHERE idx = {}", question.index));
    pair.nights_later(1);
    pair.alder.reconciles(&pair.birch, today()).await.unwrap();
    let case = pair.alder.cases().remove(0);
    assert_eq!((case.opened.differs, case.opened.other), (Differs::Unasked, Some(hash(&question))));
    let kept = concordat::evidence::Evidence::of(pair.alder.settings()).unwrap().read(case.opened.evidence[0]).await;
    let kept = String::from_utf8(kept.unwrap().to_vec()).unwrap();
    assert!(kept.contains("query.answered") && kept.contains("tlog-proof"), "{kept}");
}

#[actix_web::test]
async fn what_is_held_here_counts_as_far_as_it_verifies() {
    // The row of the answer that Alder's own trail names: gone, or edited.
    for sql in ["DELETE FROM receipt", "UPDATE receipt SET proof = 'none'", "UPDATE receipt SET origin = 'CA0990300'"] {
        let pair = asked_and_answered().await;
        let answer = newest(&pair.birch, Kind::QueryAnswered);
        let of = pair.alder.registry_store().bytes(&hash(&answer).0);
        pair.alder.registry_store().run(&format!("{sql} WHERE leaf_hash = {of}"));
        pair.alder.reconciles(&pair.birch, today()).await.unwrap();
        let case = pair.alder.cases().remove(0);
        assert_eq!((case.opened.differs, case.opened.about), (Differs::Unproven, hash(&answer)), "{sql}");
        assert!(case.opened.says.contains("in this agency's registry"), "it accuses nobody else: {}", case.opened.says);
        assert_eq!(pair.alder.cases().len(), 1);
    }
}

#[actix_web::test]
async fn a_log_that_was_set_back_has_lost_what_it_gave() {
    let mut pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    let (file, kept) = (pair.birch.registry_file(), pair.federation.folder().join("kept.db"));
    integration::tamper::copy(&file, &kept);
    pair.alder.queries(&pair.birch, PLATE).await;
    pair.birch.stop();
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", file.display()));
    }
    std::fs::copy(&kept, &file).unwrap();
    pair.nights_later(1);
    pair.birch.try_start().unwrap();
    let came = pair.alder.reconciles(&pair.birch, today()).await;
    // As long as it is shorter than what it gave; once it is as long, it is convicted of two trails.
    match came {
        Ok(_) => assert_eq!(pair.alder.differs(), [Differs::Gone]),
        Err(NotDone::Forked(_)) => assert_eq!(pair.alder.differs(), [Differs::Forked]),
        Err(other) => panic!("{other}"),
    }
}

#[actix_web::test]
async fn a_forked_log_is_a_case_and_no_list_of_it_counts() {
    let watched = Watched::in_force().await;
    watched.alder.ingests(PLATE, watched.alder.clock.now().plus(-Instant::HOUR)).await;
    watched.birch.ingests(PLATE, watched.birch.clock.now().plus(-Instant::HOUR)).await;
    watched.publish().await;
    let forger = watched.alder.fork(watched.federation.folder());
    let text = forger.asks(&watched.alder.question(&watched.birch, watched.id, PLATE)).await;
    let own = watched.alder.node().watch().text().unwrap();
    let asked = format!("{},\"cosigned\":{}}}", &text[..text.len() - 1], serde_json::json!(own));
    assert_eq!(watched.alder.posts_query(&watched.birch, &asked).await.status, 200);
    for _ in 0..3 {
        watched.alder.writes_an_entry().await;
    }
    watched.set_clocks(watched.birch.clock.now().plus(8 * Instant::HOUR));
    watched.publish().await;
    for _ in 0..2 {
        let refused = watched.birch.reconciles(&watched.alder, today()).await;
        assert!(matches!(refused, Err(NotDone::Forked(_))), "{refused:?}");
    }
    let kept = evidence::all(&mut watched.birch.conn()).unwrap();
    let case = watched.birch.cases().remove(0);
    assert_eq!((case.opened.differs, case.opened.about), (Differs::Forked, kept[0].0));
    assert_eq!(watched.birch.cases().len(), 1);
}

#[actix_web::test]
async fn lists_are_held_to_the_head_that_a_quorum_of_witnesses_vouches_for() {
    let mut watched = Watched::in_force().await;
    watched.birch.ingests(PLATE, watched.birch.clock.now().plus(-Instant::HOUR)).await;
    watched.publish().await;
    assert!(matches!(watched.alder.queries(&watched.birch, PLATE).await, Gave::Reads { .. }));
    // Birch's head with the answer is shown to nobody: Cedar is away, and Birch does not count as its own witness.
    watched.cedar.stop();
    watched.set_clocks(watched.birch.clock.now().plus(8 * Instant::HOUR));
    let early = watched.alder.reconciles(&watched.birch, today()).await;
    assert!(matches!(&early, Err(NotDone::NotYet(why)) if why.contains("quorum")), "{early:?}");
    assert_eq!(watched.alder.cases(), []);
    watched.cedar.try_start().unwrap();
    watched.cedar.clock.set(watched.birch.clock.now());
    watched.publish().await;
    watched.alder.agrees_with(&watched.birch, today()).await;
}

#[actix_web::test]
async fn each_night_catches_up_with_what_could_not_be_reconciled_and_days_of_silence_are_told() {
    let mut pair = Pair::in_force().await;
    pair.alder.mails_to(&[], &[CUSTODIAN]);
    pair.birch_saw(PLATE).await;
    pair.alder.queries(&pair.birch, PLATE).await;
    pair.birch.stop();
    let about = |node: &TestNode| {
        let of = |subject: &str| subject.contains("is not reconciled since");
        node.mails().into_iter().filter(|mail| of(&mail.subject)).count()
    };
    for night in 1..=7 {
        pair.nights_later(1);
        // Also past the hour at which people are told.
        pair.alder.rings().await;
        pair.set_clocks(pair.alder.clock.now().plus(6 * Instant::HOUR));
        pair.alder.rings().await;
        let told = usize::from(night > LATE);
        assert_eq!(about(&pair.alder), told, "night {night}: told once");
        let metric = pair.alder.counted("concordat_unreconciled_partners");
        assert_eq!(metric, u64::from(night > LATE), "night {night}");
    }
    assert_eq!(pair.alder.entries(&Filter { kind: Some(Kind::TrailReconciled), ..Filter::default() }).len(), 0);
    pair.birch.try_start().unwrap();
    pair.nights_later(1);
    pair.alder.rings().await;
    let done = pair.alder.entries(&Filter { kind: Some(Kind::TrailReconciled), ..Filter::default() });
    assert_eq!(done.len(), 8, "each day once");
    assert!(done.iter().all(|run| run.facts.decision.as_deref() == Some("equal")));
    assert_eq!(pair.alder.counted("concordat_unreconciled_partners"), 0);
    pair.nights_later(1);
    pair.alder.rings().await;
    assert_eq!(pair.alder.entries(&Filter { kind: Some(Kind::TrailReconciled), ..Filter::default() }).len(), 9);
    // By hand what is older can be done as well, and nothing beyond what is kept.
    let before = today().checked_sub(jiff::ToSpan::days(OLDEST)).unwrap();
    assert!(matches!(pair.alder.reconciles(&pair.birch, before).await, Err(NotDone::NoDay)));
    pair.alder.agrees_with(&pair.birch, today().yesterday().unwrap()).await;
}

/// What `asker` is told of a day, all pages.
async fn list(asker: &TestNode, owner: &TestNode, day: Date) -> DayList {
    let caller = asker.calls(owner);
    let mut whole: Option<DayList> = None;
    loop {
        let behind = whole.as_ref().and_then(|list| list.next).map(|next| format!("?after={next}")).unwrap_or_default();
        let reply = caller.get(&format!("/peer/v1/log/day/{day}{behind}")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let page: DayList = serde_json::from_slice(&reply.body).unwrap();
        let next = page.next;
        match &mut whole {
            None => whole = Some(page),
            Some(list) => {
                list.entries.extend(page.entries);
                list.next = page.next;
            }
        }
        if next.is_none() {
            return whole.unwrap();
        }
    }
}

#[actix_web::test]
async fn a_partner_is_told_of_its_own_entries_and_of_no_others_and_a_question_to_several_is_on_the_list_of_each() {
    let pair = Pair::in_force().await;
    let cedar = TestNode::found(&pair.federation, CEDAR).await;
    cedar.enrols(&pair.alder).await;
    pair.alder.enrols(&cedar).await;
    pair.birch.enrols(&cedar).await;
    cedar.enrols(&pair.birch).await;
    agree(&pair.alder, &cedar, &Terms::default()).await.unwrap();
    pair.birch_saw(PLATE).await;
    pair.alder.queries(&pair.birch, PLATE).await;
    let alone = newest(&pair.alder, Kind::QueryAsked).rid;
    let mut ask = pair.alder.asking(&pair.birch, PLATE);
    ask.whom = Whom::These(vec![pair.birch.ori(), cedar.ori()]);
    assert_eq!(pair.alder.asks(ask).await.unwrap().lines.len(), 2);
    let both = newest(&pair.alder, Kind::QueryAsked).rid;

    // One of which no column says whom it is for.
    pair.alder.forger().asks(&pair.alder.question(&pair.birch, pair.id, PLATE)).await;
    let unfiled = newest(&pair.alder, Kind::QueryAsked);
    assert_eq!(unfiled.facts.partner, None);

    let size = pair.alder.trail_size();
    let (for_birch, for_cedar) =
        (list(&pair.birch, &pair.alder, today()).await, list(&cedar, &pair.alder, today()).await);
    assert_eq!(pair.alder.trail_size(), size, "hashes are no disclosure");
    let has = |list: &DayList, rid| list.entries.iter().any(|entry| entry.rid == rid);
    assert!(has(&for_birch, alone) && has(&for_birch, both) && has(&for_birch, unfiled.rid));
    assert!(!has(&for_cedar, alone) && has(&for_cedar, both) && !has(&for_cedar, unfiled.rid));
    for (asker, list) in [(&pair.birch, &for_birch), (&cedar, &for_cedar)] {
        let caller = asker.calls(&pair.alder);
        for entry in &list.entries {
            // All that is listed is for whom it is listed, and nothing else of it is said.
            assert_eq!(caller.get(&format!("/peer/v1/log/entry/{}", entry.rid)).await.status, 200);
        }
        let text = serde_json::to_string(list).unwrap();
        assert!(!text.contains(PLATE) && !text.contains("indigo") && !text.contains("burglary"), "{text}");
    }
    assert_eq!(list(&cedar, &pair.birch, today()).await.entries, [], "Birch has nothing for Cedar");
    for day in ["2026-11-31", "today", "2026-11-23?after=x", "2026-11-23?before=1", "2026-1-2"] {
        let reply = cedar.calls(&pair.alder).get(&format!("/peer/v1/log/day/{day}")).await;
        reply.problem(404, "not-in-log");
    }
    pair.nights_later(1);
    cedar.clock.set(pair.alder.clock.now());
    for (one, other) in [(&pair.alder, &cedar), (&cedar, &pair.alder), (&pair.alder, &pair.birch)] {
        one.agrees_with(other, today()).await;
    }
    let stranger: Ori = "CA0770000".parse().unwrap();
    let day = today();
    let (node, desk) = (pair.alder.node(), pair.alder.node().desk());
    let refused = concordat::reconciling::run::reconcile(node, &desk, stranger, day, None).await;
    assert!(matches!(refused, Err(NotDone::Stranger(_))));
}

#[actix_web::test]
async fn a_day_of_many_pages_is_read_whole() {
    let mut pair = Pair::in_force().await;
    pair.birch.stop();
    for _ in 0..520 {
        assert!(matches!(pair.alder.queries(&pair.birch, PLATE).await, Gave::Unreachable { .. }));
    }
    pair.birch.try_start().unwrap();
    pair.nights_later(1);
    let found = pair.birch.agrees_with(&pair.alder, today()).await.found;
    assert_eq!(found.counts.unheard, 520);
    assert_eq!(list(&pair.birch, &pair.alder, today()).await.entries.len() as u64, found.counts.listed);
}

#[actix_web::test]
async fn what_a_person_asks_for_is_recorded_with_the_person_and_not_everybody_may() {
    let pair = asked_and_answered().await;
    let (alder, desk) = (pair.alder.node(), pair.alder.node().desk());
    let by = async |role: &str| {
        let by = pair.alder.fiction.person(role);
        concordat::reconciling::run::reconcile(alder, &desk, pair.birch.ori(), today(), Some(&by)).await
    };
    assert!(matches!(by("investigator").await, Err(NotDone::Person(_))));
    by("auditor").await.unwrap();
    let run = newest(&pair.alder, Kind::TrailReconciled);
    assert_eq!(run.facts.username, Some(pair.alder.fiction.person("auditor")));
}
