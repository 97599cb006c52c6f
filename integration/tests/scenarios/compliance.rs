//! The Attorney General's findings and checks, early reviews, and registers between agencies.

use agreements::entry::Kind;
use agreements::ids::Digest;
use agreements::message::{Change, Changed, Outcome, PROTOCOL, StreamEvent, To};
use agreements::party::{Elements, Keys, Party};
use agreements::register::{FindingKind, Trigger};
use agreements::status::Status;
use agreements::stream::Event;
use agreements::time::Instant;
use certs::jws;
use concordat::changes::{self, ChangeError, ChangeId, Command};
use concordat::clock::Clock as _;
use concordat::compliance::bundle::{self, BundleError, Received, Vouched};
use concordat::compliance::{self, CHECK_TYP, FINDING_TYP};
use concordat::demo::agency::{ALDER, BIRCH, CEDAR};
use concordat::exchange::ask::Gave;
use concordat::exchange::descriptor;
use concordat::exchange::lifecycle::{self, Act, ActError};
use concordat::exchange::standing::{AGREEMENT_TYP, CHANGE_TYP, OFFICIAL_TYP};
use concordat::people::PeopleError;
use concordat::registry::{ag, agreements as documents};
use concordat::trail::search::Filter;
use integration::compliance::written;
use integration::pair::{Pair, Terms, days_from_start};
use integration::{Federation, TestNode};

pub(super) const PLATE: &str = "7AGC207";

/// As long as it can be.
fn long() -> Terms {
    Terms { sunset_on: days_from_start(300), ..Terms::default() }
}

pub(super) fn refused<T: std::fmt::Debug>(result: Result<T, PeopleError>) -> String {
    match result {
        Err(PeopleError::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

/// Why a change is not proposed or not approved.
pub(super) fn no_change<T: std::fmt::Debug>(result: Result<T, ChangeError>) -> String {
    match result {
        Err(ChangeError::Refused(why)) => why.join("\n"),
        other => panic!("not refused: {other:?}"),
    }
}

/// What a change was shown to do.
pub(super) fn shown(node: &TestNode, change: ChangeId) -> Vec<String> {
    let all = changes::all(&mut node.conn()).unwrap().unwrap();
    all.into_iter().find(|known| known.id == change).unwrap().proposed.shows
}

/// What Birch answers to a question of Alder that the trail of Alder swore.
pub(super) async fn answered(pair: &Pair) -> Status {
    let text = pair.question_text(PLATE).await;
    let touched = pair.birch.touches();
    let reply = pair.alder.posts_query(&pair.birch, &text).await;
    assert_eq!(pair.birch.touches(), touched, "the read store was not touched: {}", reply.text());
    match serde_json::from_value(reply.message()["outcome"].clone()).unwrap() {
        Outcome::Denied { status: Some(status), .. } => status,
        other => panic!("{other:?}"),
    }
}

async fn flows(pair: &Pair) {
    let gave = pair.alder.queries(&pair.birch, PLATE).await;
    assert!(matches!(&gave, Gave::Reads { reads, .. } if !reads.is_empty()), "{gave:?}");
}

#[actix_web::test]
async fn s02_an_agreement_with_any_policy_element_missing_cannot_be_activated_and_the_refusal_names_which() {
    let federation = Federation::found();
    let alder = TestNode::found(&federation, ALDER).await;
    let mut birch = TestNode::found(&federation, BIRCH).await;
    birch.restart_with(|config| {
        let whole = config.policy.elements.clone();
        config.policy.elements = concordat::config::Elements { d: String::new(), g: " ".to_owned(), ..whole };
    });
    alder.enrols(&birch).await;
    birch.enrols(&alder).await;
    let document = Terms::default().between(&alder.node().party(), &birch.node().party()).to_bytes().unwrap();
    let (id, _) =
        lifecycle::propose(alder.node(), document.clone(), &alder.fiction.person("agreements")).await.unwrap();
    for node in [&alder, &birch] {
        match node.acts(id, Act::Sign).await {
            Err(ActError::Refused(why)) => {
                let why = why.join("\n");
                for letter in ["D", "G"] {
                    assert!(
                        why.contains(&format!("the policy of CA0990100 lacks element {letter} of Civ. Code")),
                        "{why}"
                    );
                }
                assert!(!why.contains("element A"), "{why}");
            }
            other => panic!("{other:?}"),
        }
    }
    // Each of the seven by itself: what is asked at the signature and at every question.
    for letter in 'A'..='G' {
        let mut party = Party::clone(&birch.node().party());
        let said = |element: char| (element != letter).then(|| "section".to_owned());
        party.policy.elements = Elements {
            a: said('A'),
            b: said('B'),
            c: said('C'),
            d: said('D'),
            e: said('E'),
            f: said('F'),
            g: said('G'),
        };
        let agreement = Terms::default().between(&alder.node().party(), &party);
        let register = ag::register(&mut alder.conn()).unwrap();
        let problems = agreements::status::activation_problems(&agreement, &register, alder.clock.now());
        assert_eq!(problems.len(), 1, "{letter}: {problems:?}");
        assert!(problems[0].contains(&format!("lacks element {letter}")), "{problems:?}");
    }
    // A partner whose node signs all the same puts nothing in force.
    for (from, to) in [(&alder, &birch), (&birch, &alder)] {
        let seal = jws::sign(&document, AGREEMENT_TYP, &from.seal_key(), None).unwrap();
        let hand = std::fs::read(from.settings().keys.folder.join("official.key")).unwrap();
        let hand = certs::key::SigningKey::from_pem(&hand).unwrap();
        let official = Some(jws::sign(&document, OFFICIAL_TYP, &hand, None).unwrap());
        let event = StreamEvent {
            v: PROTOCOL,
            to: vec![To { ori: to.ori(), agreement: id }],
            document: Digest::of(&document),
            n: 1,
            seen: None,
            event: Event::Signed { seal, official },
        };
        let (_, text) = from.forger().swears(Kind::AgreementEvent, None, &event).await;
        let reply = from.calls(to).post(&format!("/peer/v1/agreements/{id}/events"), text).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(matches!(to.status(id), Status::Unsigned { .. }), "its own node did not sign: {:?}", to.status(id));
    }
}

#[actix_web::test]
async fn s02_a_check_older_than_thirty_days_activates_nothing_whoever_signs_second() {
    let (federation, alder, birch) = Pair::enrolled().await;
    let document = long().between(&alder.node().party(), &birch.node().party()).to_bytes().unwrap();
    let (id, _) = lifecycle::propose(alder.node(), document, &alder.fiction.person("agreements")).await.unwrap();
    let pair = Pair { alder, birch, id, federation };
    pair.birch.acts(id, Act::Sign).await.unwrap();

    let late = pair.alder.clock.now().plus(30 * Instant::DAY + Instant::HOUR);
    pair.set_clocks(late);
    pair.birch_saw(PLATE).await;
    match pair.alder.acts(id, Act::Sign).await {
        Err(ActError::Refused(why)) => {
            let why = why.join("\n");
            assert!(why.contains("over 30 days old") && why.contains("concordat ag check"), "{why}");
        }
        other => panic!("{other:?}"),
    }
    // Alder looks, and may sign; Birch, which signed a month ago, has looked into nothing since.
    pair.alder.checks().await;
    pair.alder.acts(id, Act::Sign).await.unwrap();
    assert!(matches!(pair.alder.status(id), Status::InForce { .. }), "{:?}", pair.alder.status(id));
    let expected = |status: &Status| matches!(status, Status::NotActivated { checked_at: Some(_), .. });
    assert!(expected(&pair.birch.status(id)), "{:?}", pair.birch.status(id));
    let status = answered(&pair).await;
    assert!(expected(&status), "{status:?}");
    assert!(matches!(pair.birch.queries(&pair.alder, PLATE).await, Gave::NotAsked { .. }), "nor does it ask");
    // Days do not mend it, a look does.
    pair.set_clocks(late.plus(5 * Instant::DAY));
    assert!(expected(&pair.birch.status(id)));
    pair.birch.checks().await;
    pair.birch_saw(PLATE).await;
    flows(&pair).await;
}

#[actix_web::test]
async fn s07_an_adverse_finding_denies_the_very_next_request_and_clearing_it_waits_for_the_early_review() {
    let mut pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    flows(&pair).await;
    let alder = pair.alder.ori();
    pair.birch.finds_named(alder).await;
    let adverse = Status::AdverseFinding { parties: vec![alder] };
    assert_eq!(answered(&pair).await, adverse);
    assert!(matches!(pair.birch.queries(&pair.alder, PLATE).await, Gave::NotAsked { .. }), "in both directions");
    let review = pair.birch.open_reviews().remove(0);
    assert_eq!((review.opened.ori, review.opened.trigger), (alder, Trigger::AgFinding));
    let held = review.opened_at;

    // Neither the review nor the finding goes by one person, and the review not before the finding.
    let why = no_change(pair.birch.closes_review(review.id, "agreements", "custodian").await);
    assert!(why.contains("a finding stands against"), "{why}");
    for (by, second, says) in [
        ("agreements", "agreements", "nobody approves their own change"),
        ("agreements", "investigator", "does not allow this"),
        ("auditor", "custodian", "does not allow this"),
    ] {
        let why = no_change(pair.birch.clears(alder, by, second).await);
        assert!(why.contains(says), "{why}");
    }
    let bare = Command::ClearFinding { ori: alder, written: written("dismissal", Vec::new()) };
    assert!(no_change(pair.birch.proposes_as("agreements", bare).await).contains("--evidence"));
    assert_eq!(answered(&pair).await, adverse);

    pair.set_clocks(held.plus(Instant::MINUTE));
    // Proposed is not cleared; what is shown is what comes back, and what does not.
    let change = pair.birch.proposes_clearing(alder, "agreements").await.unwrap();
    assert_eq!(answered(&pair).await, adverse, "proposed, and not approved");
    let shown = shown(&pair.birch, change);
    let comes_back =
        |line: &&String| line.starts_with("opens: ") && line.contains(BIRCH.ori) && line.contains(ALDER.ori);
    assert_eq!(shown.iter().filter(comes_back).count(), 1, "what Birch may ask, not what it grants: {shown:?}");
    assert!(shown.iter().any(|line| line.contains(&format!("review show {}", review.id))), "{shown:?}");
    pair.birch.approves(change).await.unwrap();
    let under_review = Status::UnderReview { by: pair.birch.ori(), trigger: Trigger::AgFinding, since: held };
    assert_eq!(answered(&pair).await, under_review, "cleared, and not resumed");
    pair.birch.restart();
    assert_eq!(answered(&pair).await, under_review, "nor by starting again");
    // What Alder grants is not held: Birch may ask.
    let gave = pair.birch.queries(&pair.alder, PLATE).await;
    assert!(matches!(&gave, Gave::Reads { reads, .. } if reads.is_empty()), "{gave:?}");

    let why = no_change(pair.birch.closes_review(review.id, "custodian", "custodian").await);
    assert!(why.contains("nobody approves their own change"), "{why}");
    assert_eq!(answered(&pair).await, under_review);
    let change = pair.birch.proposes_as("agreements", pair.birch.closing(review.id).await).await.unwrap();
    assert_eq!(answered(&pair).await, under_review, "proposed, and not approved");
    assert!(self::shown(&pair.birch, change).iter().any(|line| line.starts_with("opens: ")));
    pair.birch.approves(change).await.unwrap();
    flows(&pair).await;
    let why = no_change(pair.birch.closes_review(review.id, "agreements", "custodian").await);
    assert!(why.contains("was closed"), "{why}");

    // What was so when: for whoever asks later.
    let register = |at| ag::register_at(&mut pair.birch.conn(), at).unwrap().unwrap();
    for (at, adverse, reviews) in [(held.plus(-1), 0, 0), (held, 1, 1), (held.plus(Instant::MINUTE), 0, 0)] {
        let was = register(at);
        assert_eq!((was.adverse.len(), was.reviews.len()), (adverse, reviews), "at {at}");
    }
    assert_eq!(pair.birch.trail_problems(), []);
}

#[actix_web::test]
async fn a_disputed_finding_counts_until_it_is_cleared() {
    let pair = Pair::in_force().await;
    let alder = pair.alder.ori();
    pair.birch.finds_named(alder).await;
    let letter = vec![pair.birch.keeps("Alder disputes it").await];
    let disputed = compliance::finding(alder, FindingKind::Disputed, written("letter of Alder County", letter));
    pair.birch.finds(disputed).await;
    assert_eq!(answered(&pair).await, Status::AdverseFinding { parties: vec![alder] });
    assert_eq!(pair.birch.open_reviews().len(), 1, "one review, not two");
    pair.birch.clears(alder, "agreements", "custodian").await.unwrap();
    assert!(matches!(answered(&pair).await, Status::UnderReview { .. }));
}

#[actix_web::test]
async fn a_review_with_days_to_cure_suspends_by_itself_on_the_day_and_both_agencies_are_told() {
    let pair = Pair::under(long()).await;
    pair.birch_saw(PLATE).await;
    let alder = pair.alder.ori();
    let id = pair.birch.opens_review(alder, Trigger::AuditFailed).await.unwrap();
    let why = refused(pair.birch.opens_review(alder, Trigger::AuditFailed).await);
    assert!(why.contains("open already") && why.contains(&id.to_string()), "{why}");
    pair.birch.opens_review(alder, Trigger::Concern).await.unwrap();
    flows(&pair).await;
    let told: Vec<String> = pair.birch.mails().into_iter().map(|mail| mail.recipient).collect();
    let to = |who: &str| told.iter().filter(|address| address.contains(who)).count();
    // The concern is told here alone.
    assert_eq!((to("birch.test"), to("alder.test")), (2, 1), "{told:?}");

    let opened = pair.birch.clock.now();
    let due = opened.plus(14 * Instant::DAY);
    pair.set_clocks(due.plus(-Instant::MINUTE));
    pair.birch_saw(PLATE).await;
    flows(&pair).await;
    pair.set_clocks(due);
    let held = Status::UnderReview { by: pair.birch.ori(), trigger: Trigger::AuditFailed, since: due };
    assert_eq!(answered(&pair).await, held, "no job ran");
    match pair.alder.queries(&pair.birch, PLATE).await {
        Gave::Denied { .. } => {}
        other => panic!("{other:?}"),
    }
    pair.birch.closes_review(id, "agreements", "custodian").await.unwrap();
    flows(&pair).await;
    // Somebody who may not keep the register opens none.
    let unknown = refused(pair.birch.opens_review("CA0990900".parse().unwrap(), Trigger::Breach).await);
    assert!(unknown.contains("not enrolled"), "{unknown}");
}

#[actix_web::test]
async fn a_partners_compromised_key_opens_a_review_in_the_moment_in_which_it_is_heard() {
    for compromised in [false, true] {
        let pair = Pair::in_force().await;
        pair.birch_saw(PLATE).await;
        let document = documents::find(&mut pair.birch.conn(), pair.id).unwrap().unwrap().0;
        let digest = Digest::of(&document);
        let path = format!("/peer/v1/agreements/{}/events", pair.id);
        let rekeys = async |n: u32, by: &certs::key::SigningKey, to: &certs::key::SigningKey| {
            let keys = Keys { seal_key: to.public().to_string(), ..pair.alder.node().party().node.keys() };
            let reason = "a laptop was stolen".to_owned();
            let changed = Changed::Rekeyed { keys: keys.clone(), compromised };
            let statement = Change::new(pair.alder.ori(), pair.id, digest, n, &reason, changed);
            let statement = agreements::json::canonical(&statement).unwrap();
            let seal = jws::sign(&statement, CHANGE_TYP, by, None).unwrap();
            let event = StreamEvent {
                v: PROTOCOL,
                to: vec![To { ori: pair.birch.ori(), agreement: pair.id }],
                document: digest,
                n,
                seen: None,
                event: Event::Rekeyed { keys, compromised, reason, seal },
            };
            let (_, text) = pair.alder.forger().swears(Kind::AgreementEvent, None, &event).await;
            for _ in 0..2 {
                let reply = pair.alder.calls(&pair.birch).post(&path, &text).await;
                assert_eq!(reply.status, 200, "{}", reply.text());
            }
        };
        let [new, newer] = [(); 2].map(|()| certs::key::SigningKey::generate_p256().unwrap());
        rekeys(2, &pair.alder.seal_key(), &new).await;
        let open: Vec<Trigger> = pair.birch.open_reviews().iter().map(|review| review.opened.trigger).collect();
        if compromised {
            assert_eq!(open, [Trigger::KeyCompromise]);
            assert!(matches!(answered(&pair).await, Status::UnderReview { trigger: Trigger::KeyCompromise, .. }));
            // The next key is stolen as well: another incident, with a review of its own.
            rekeys(3, &new, &newer).await;
            assert_eq!(pair.birch.open_reviews().len(), 2);
        } else {
            assert_eq!(open, []);
            flows(&pair).await;
        }
    }
}

/// A register that Birch exports: Cedar was named, and cleared, and Dogwood was named.
async fn exported(birch: &TestNode) -> Vec<u8> {
    let by = birch.fiction.person("agreements");
    birch.finds_named(CEDAR.ori.parse().unwrap()).await;
    birch.clears(CEDAR.ori.parse().unwrap(), "agreements", "custodian").await.unwrap();
    let letter = vec![birch.keeps("a letter about Dogwood").await];
    let dogwood = "CA0990300".parse().unwrap();
    let found = compliance::finding(dogwood, FindingKind::LetterReported, written("letter about Dogwood", letter));
    birch.finds(found).await;
    let (db, now) = (birch.node().registry(), birch.clock.now());
    bundle::export(db, &birch.keeper(), &birch.evidence(), now, &by).await.unwrap().file
}

fn received(node: &TestNode, file: &[u8], vouched: Option<Vouched<'_>>) -> Result<Received, BundleError> {
    let partners = node.node().partners();
    bundle::read(file, node.ori(), |ori| partners.find(ori).cloned(), vouched)
}

#[actix_web::test]
async fn another_agencys_register_is_verified_shown_and_never_clears_anything_here() {
    let (_federation, alder, birch) = Pair::enrolled().await;
    let (cedar, dogwood) = (CEDAR.ori.parse().unwrap(), "CA0990300".parse().unwrap());
    // Cedar stands named here for a reason of Alder's own.
    let own = vec![alder.keeps("Cedar told us").await];
    alder.finds(compliance::finding(cedar, FindingKind::SelfDisclosed, written("its letter to us", own))).await;
    let file = exported(&birch).await;
    let before = (ag::register(&mut alder.conn()).unwrap(), alder.trail_size());

    let changes = received(&alder, &file, None).unwrap().changes(&mut alder.conn()).unwrap().unwrap();
    let adverse: Vec<_> = changes.adverse.iter().map(|finding| (finding.ori, finding.from)).collect();
    assert_eq!(adverse, [(cedar, Some(birch.ori())), (dogwood, Some(birch.ori()))]);
    assert_eq!(changes.proposals.len(), 1, "{changes:?}");
    assert_eq!((changes.proposals[0].ori, changes.proposals[0].kind), (cedar, FindingKind::Cleared));
    assert_eq!((ag::register(&mut alder.conn()).unwrap(), alder.trail_size()), before, "shown, and no more");

    // Every byte counts, whoever changed it.
    let text = String::from_utf8(file.clone()).unwrap();
    for at in [text.len() / 4, text.len() / 2, text.len() - 12] {
        let mut other = text.clone().into_bytes();
        other[at] = if other[at] == b'A' { b'B' } else { b'A' };
        assert!(received(&alder, &other, None).is_err(), "byte {at}");
    }
    assert!(matches!(received(&birch, &file, None), Err(BundleError::Own)));

    let import = async |file: &[u8]| {
        let (db, by) = (alder.node().registry(), alder.fiction.person("agreements"));
        let got = received(&alder, file, None).unwrap();
        bundle::import(db, &alder.keeper(), &alder.evidence(), got, &by).await.unwrap()
    };
    assert_eq!(import(&file).await, changes);
    let after = ag::register(&mut alder.conn()).unwrap();
    assert_eq!(after.adverse, [cedar, dogwood]);
    assert_eq!(after.checked_at, before.0.checked_at, "their look is no look of ours");
    assert_eq!(alder.evidence().read(Digest::of(b"a letter about Dogwood")).await.unwrap(), "a letter about Dogwood");
    let imported = alder.entries(&Filter { kind: Some(Kind::RegisterImported), ..Filter::default() });
    assert_eq!(imported.len(), 1);

    // Once more changes nothing, also after Alder has cleared it by itself.
    assert_eq!(import(&file).await.adverse, []);
    alder.clears(dogwood, "agreements", "custodian").await.unwrap();
    assert_eq!(import(&file).await.adverse, []);
    assert_eq!(ag::register(&mut alder.conn()).unwrap().adverse, [cedar]);
    assert_eq!(alder.trail_problems(), []);
}

#[actix_web::test]
async fn the_register_of_an_agency_that_is_not_enrolled_needs_its_descriptor() {
    let federation = Federation::found();
    let alder = TestNode::found(&federation, ALDER).await;
    let birch = TestNode::found(&federation, BIRCH).await;
    let file = exported(&birch).await;
    assert!(matches!(received(&alder, &file, None), Err(BundleError::Stranger(ori)) if ori == birch.ori()));
    let descriptor = birch.descriptor();
    let (_, fingerprint) = descriptor::read(&descriptor).unwrap();
    let spoken = descriptor::spoken(fingerprint);
    let wrong = descriptor::spoken(Digest::of(b"another"));
    for (fingerprint, good) in [(&wrong, false), (&spoken, true)] {
        let got = received(&alder, &file, Some(Vouched { file: &descriptor, fingerprint }));
        assert_eq!(got.is_ok(), good, "{got:?}");
    }
    // Somebody else's descriptor vouches for nobody.
    let own = alder.descriptor();
    let (_, mine) = descriptor::read(&own).unwrap();
    let mine = descriptor::spoken(mine);
    assert!(received(&alder, &file, Some(Vouched { file: &own, fingerprint: &mine })).is_err());

    // It only stops exchanges: one person, who may keep the register.
    for (role, good) in [("auditor", false), ("agreements", true)] {
        let got = received(&alder, &file, Some(Vouched { file: &descriptor, fingerprint: &spoken })).unwrap();
        let (db, by) = (alder.node().registry(), alder.fiction.person(role));
        let done = bundle::import(db, &alder.keeper(), &alder.evidence(), got, &by).await;
        assert_eq!(done.is_ok(), good, "{done:?}");
    }
}

#[actix_web::test]
async fn findings_and_checks_are_sealed_documents_that_stand_by_themselves() {
    let pair = Pair::in_force().await;
    pair.birch.finds_named(pair.alder.ori()).await;
    let mut conn = pair.birch.conn();
    let key = certs::key::PublicKey::clone(pair.birch.node().seal().public());
    for (documents, typ) in
        [(ag::finding_documents(&mut conn).unwrap(), FINDING_TYP), (ag::check_documents(&mut conn).unwrap(), CHECK_TYP)]
    {
        assert_eq!(documents.len(), 1);
        let (body, seal) = (documents[0].body.clone(), documents[0].seal.clone().unwrap());
        let file = jws::flatten(&body, &seal).unwrap();
        let opened = jws::open_flattened(&file, typ, &key).unwrap();
        assert_eq!(opened.payload(), body);
        assert!(jws::open_flattened(&file, AGREEMENT_TYP, &key).is_err(), "and are nothing else");
    }
    let found = documents::ids(&mut conn, None).unwrap();
    assert_eq!(found, [pair.id]);
}
