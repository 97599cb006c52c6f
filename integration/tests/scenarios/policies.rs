//! Partners' published policies: read again over https, and compared.

use agreements::ids::Ori;
use agreements::register::Trigger;
use agreements::status::Status;
use agreements::time::Instant;
use concordat::changes::Command;
use concordat::clock::Clock as _;
use concordat::compliance::policies::{self, Looked};
use concordat::config::Config;
use concordat::exchange::ask::Gave;
use concordat::registry::policies::{self as kept, Outcome, Standing};
use integration::TestNode;
use integration::pair::{Pair, Terms, days_from_start};
use integration::web::{Page, Site, pdf};

const PLATE: &str = "7POL104";
pub(super) const PATH: &str = "/alpr-policy";
/// What the descriptor of Alder names by its hash.
const TEXT: &str = "Alder County Sheriff";

/// Birch reads Alder's policy at a site of its own.
pub(super) async fn published() -> (Pair, Site) {
    let mut pair = Pair::under(Terms { sunset_on: days_from_start(300), ..Terms::default() }).await;
    let site = Site::open(&pair.federation, "alder.test");
    let (ca, address) = (pair.federation.pki.ca.certificate(), site.address);
    pair.birch.restart_with(|config: &mut Config| {
        config.policy_checks.automatic = true;
        config.policy_checks.ca = vec![ca];
        config.policy_checks.hosts.insert("alder.test".to_owned(), address);
    });
    site.publishes(PATH, Page::of("text/plain", TEXT.as_bytes().to_vec()));
    (pair, site)
}

fn standing(node: &TestNode, of: Ori) -> Standing {
    kept::standings(&mut node.conn()).unwrap().remove(&of).unwrap_or_default()
}

/// A day's run of the job, so many days after the start.
pub(super) async fn day(pair: &Pair, day: i64) -> Standing {
    pair.set_clocks(integration::federation::start().plus(day * Instant::DAY));
    pair.birch.works_it_off().await;
    standing(&pair.birch, pair.alder.ori())
}

async fn look(pair: &Pair) -> Looked {
    let partners = pair.birch.node().partners();
    let party = partners.find(pair.alder.ori()).unwrap().party().clone();
    policies::check(pair.birch.node(), &party, Some("birch.agreements")).await.unwrap()
}

#[actix_web::test]
async fn a_policy_is_read_each_month_and_other_markup_changes_nothing() {
    let (pair, site) = published().await;
    let first = day(&pair, 1).await;
    assert!(matches!(first.last, Some(Outcome::Same { .. })), "{first:?}");
    assert_eq!(day(&pair, 2).await.read_at, first.read_at, "not every day");
    site.publishes(PATH, Page::html("<html><body><nav></nav><h1>Alder <em>County</em></h1><p>Sheriff</body>"));
    let second = day(&pair, 31).await;
    assert_ne!(second.read_at, first.read_at);
    assert!(matches!(second.last, Some(Outcome::Same { .. })), "{second:?}");
    // The same in a PDF, and after a redirection within the host.
    site.publishes("/files/policy.pdf", Page::of("application/pdf", pdf(TEXT)));
    site.publishes(PATH, Page::redirect("/files/policy.pdf"));
    let third = day(&pair, 61).await;
    assert!(matches!(third.last, Some(Outcome::Same { .. })), "{third:?}");
    assert_eq!(site.asked(), [PATH, PATH, PATH, "/files/policy.pdf"]);
    assert_eq!(pair.birch.open_reviews(), []);
}

#[actix_web::test]
async fn a_text_that_changed_opens_a_review_that_two_people_close_by_accepting_what_they_saw() {
    let (pair, site) = published().await;
    let alder = pair.alder.ori();
    day(&pair, 1).await;
    site.publishes(PATH, Page::html("<p>Alder County Sheriff</p><p>Reads are now sold.</p>"));
    let changed = day(&pair, 31).await;
    assert!(changed.is_changed(), "{changed:?}");
    let review = pair.birch.open_reviews().remove(0);
    assert_eq!((review.opened.ori, review.opened.trigger, review.opened.by), (alder, Trigger::PolicyChanged, None));
    pair.alder.checks().await;
    pair.birch.checks().await;
    pair.birch_saw(PLATE).await;
    assert!(matches!(pair.alder.queries(&pair.birch, PLATE).await, Gave::Reads { .. }), "thirty days to cure");

    day(&pair, 61).await;
    let text = pair.question_text(PLATE).await;
    let reply = pair.alder.posts_query(&pair.birch, &text).await;
    let status: Status = serde_json::from_value(reply.message()["outcome"]["status"].clone()).unwrap();
    assert!(matches!(status, Status::UnderReview { trigger: Trigger::PolicyChanged, .. }), "{status:?}");
    assert_eq!(pair.birch.open_reviews().len(), 1, "one review, however often it is read");

    let difference = policies::difference(pair.birch.node(), alder).await.unwrap().unwrap();
    assert_eq!(difference.lines, ["- Alder County Sheriff", "+ Alder County Sheriff Reads are now sold."]);
    let refused = pair.birch.closes_review(review.id, "agreements", "custodian").await.unwrap_err().to_string();
    assert!(refused.contains("policy accept"), "{refused}");
    let accept = async |text, by: &str, second: &str| pair.birch.accepts_policy(alder, text, by, second).await;
    let seen = difference.published;
    for (text, by, second, says) in [
        (seen, "agreements", "agreements", "nobody approves their own change"),
        (seen, "agreements", "auditor", "does not allow this"),
        (difference.accepted.unwrap(), "agreements", "custodian", "look again"),
    ] {
        let error = accept(text, by, second).await.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    assert_eq!(pair.birch.open_reviews().len(), 1);
    // Proposed, and meanwhile another text is read: whoever approves has not seen that one.
    let change = pair.birch.proposes_as("agreements", Command::AcceptPolicy { ori: alder, text: seen }).await.unwrap();
    site.publishes(PATH, Page::html("<p>Alder County Sheriff</p><p>Reads are now given away.</p>"));
    look(&pair).await;
    let moved = pair.birch.approves(change).await.unwrap_err().to_string();
    assert!(moved.contains("look again"), "{moved}");
    assert_eq!(pair.birch.open_reviews().len(), 1);
    let seen = policies::difference(pair.birch.node(), alder).await.unwrap().unwrap().published;
    accept(seen, "agreements", "custodian").await.unwrap();
    assert_eq!(pair.birch.open_reviews(), []);
    pair.birch_saw(PLATE).await;
    assert!(matches!(pair.alder.queries(&pair.birch, PLATE).await, Gave::Reads { .. }));
    assert!(matches!(look(&pair).await.outcome, Outcome::Same { .. }));
    assert_eq!(pair.birch.trail_problems(), []);
}

#[actix_web::test]
async fn a_policy_that_cannot_be_read_on_three_days_opens_a_review_and_no_sooner() {
    let (pair, site) = published().await;
    day(&pair, 1).await;
    site.publishes(PATH, Page::status(404));
    for (on, tries) in [(31, 1), (32, 2)] {
        assert_eq!(day(&pair, on).await.unreachable, tries);
        look(&pair).await;
        assert_eq!(standing(&pair.birch, pair.alder.ori()).unreachable, tries, "trying by hand makes no days");
        assert_eq!(pair.birch.open_reviews(), []);
    }
    assert_eq!(day(&pair, 33).await.unreachable, 3);
    let open: Vec<Trigger> = pair.birch.open_reviews().iter().map(|review| review.opened.trigger).collect();
    assert_eq!(open, [Trigger::PolicyUnreachable]);
    day(&pair, 34).await;
    assert_eq!(pair.birch.open_reviews().len(), 1);
    let review = pair.birch.open_reviews().remove(0).id;
    let refused = pair.birch.closes_review(review, "agreements", "custodian").await.unwrap_err().to_string();
    assert!(refused.contains("was not read since") && refused.contains("policy check"), "{refused}");
    // Read again, it is there; people close the review.
    site.publishes(PATH, Page::html(TEXT));
    assert!(matches!(day(&pair, 35).await.last, Some(Outcome::Same { .. })));
    // Nor is it enough that it was there once since, when it is gone again.
    site.publishes(PATH, Page::status(404));
    look(&pair).await;
    let refused = pair.birch.closes_review(review, "agreements", "custodian").await.unwrap_err().to_string();
    assert!(refused.contains("was not read since"), "{refused}");
    site.publishes(PATH, Page::html(TEXT));
    look(&pair).await;
    pair.birch.closes_review(review, "agreements", "custodian").await.unwrap();
}

#[actix_web::test]
async fn what_is_not_fetched_and_why() {
    let (pair, site) = published().await;
    let unreachable = async |says: &str| match look(&pair).await.outcome {
        Outcome::Unreachable { why } => assert!(why.contains(says), "{why}, not: {says}"),
        other => panic!("{other:?}, not: {says}"),
    };
    site.publishes(PATH, Page::redirect("https://elsewhere.test/policy"));
    unreachable("redirects to another host (elsewhere.test)").await;
    site.publishes(PATH, Page::redirect("http://alder.test/policy"));
    unreachable("redirects to another host").await;
    site.publishes(PATH, Page::redirect(PATH));
    unreachable("redirects too often").await;
    site.publishes(PATH, Page::status(500));
    unreachable("answers 500").await;
    site.publishes(PATH, Page::html(""));
    unreachable("the page is empty").await;
    site.publishes(PATH, Page::html("<script>document.write('policy')</script>"));
    unreachable("there is no text").await;
    site.publishes(PATH, Page::of("application/pdf", b"%PDF-1.7 nonsense".to_vec()));
    unreachable("PDF").await;
    site.publishes(PATH, Page::html(&"x ".repeat(11 << 20)));
    unreachable("longer than 20971520 bytes").await;

    // The same host at an address of its own network, which nobody named; and a certificate that nobody vouches for.
    let mut pair = pair;
    let ca = pair.federation.pki.ca.certificate();
    pair.birch.restart_with(|config| config.policy_checks.hosts.clear());
    let unresolved = look(&pair).await.outcome;
    assert!(matches!(unresolved, Outcome::Unreachable { .. }), "{unresolved:?}");
    let address = site.address;
    pair.birch.restart_with(|config| {
        config.policy_checks.hosts.insert("alder.test".to_owned(), address);
        config.policy_checks.ca = vec![ca.with_file_name("other.pem")];
    });
    let foreign = pair.federation.pki.foreign("other", "CA0990900");
    drop(foreign);
    std::fs::copy(ca.with_file_name("other").join("ca.pem"), ca.with_file_name("other.pem")).unwrap();
    match look(&pair).await.outcome {
        Outcome::Unreachable { why } => assert!(why.contains("certificate"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert!(pair.birch.clock.now() >= integration::federation::start());
}
