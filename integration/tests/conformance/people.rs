//! Accounts, enrolments, findings and checks: through the services that record them.

use agreements::ids::Ori;
use agreements::register::{CheckResult, Finding, FindingKind, Trigger};
use concordat::clock::Clock as _;
use concordat::compliance::{self, Sweep};
use concordat::db::Db;
use concordat::demo::agency::{self, ALDER};
use concordat::people::{self, NewAccount, PeopleError, Training};
use concordat::registry::accounts::{self, Action, Role};
use concordat::registry::ag;
use integration::database::Backend;
use integration::federation::start;
use integration::on_both;
use integration::pair::days_from_start;
use integration::registry::{TestRegistry, block_on, keeper};

on_both!(
    accounts_are_opened_trained_and_closed,
    accounts_are_listed_in_the_order_of_their_bytes,
    findings_and_checks_are_kept_in_their_order,
);

fn staffed(backend: Backend) -> (TestRegistry, Db) {
    let registry = TestRegistry::on(backend);
    let db = registry.open();
    block_on(agency::people_of(&db, &keeper(), &ALDER, start().date().unwrap())).unwrap();
    (registry, db)
}

fn new(username: &str) -> NewAccount {
    NewAccount {
        username: username.to_owned(),
        name: "Noor New".to_owned(),
        affiliation: "Patrol".to_owned(),
        role: Role::Investigator,
    }
}

fn accounts_are_opened_trained_and_closed(backend: Backend) {
    let (registry, db) = staffed(backend);
    let mut reader = db.reader().unwrap();
    let may = |reader: &mut _, action| accounts::operator(reader, "alder.investigator", action).unwrap();
    let account = may(&mut reader, Action::Query).unwrap();
    assert_eq!((account.role, account.trained_on), (Role::Investigator, start().date()));
    assert_eq!((account.opened_at, account.opened_by.as_str()), (registry.clock.now(), "alder.admin"));
    assert!(may(&mut reader, Action::SignAgreements).unwrap_err().contains("does not allow this"));
    block_on(async {
        let taken = people::open_account(&db, new("alder.investigator"), "alder.admin").await;
        assert!(matches!(taken, Err(PeopleError::Refused(_))), "{taken:?}");
        let training = Training { sb34: true, sb54: true, policy: true };
        let earlier = days_from_start(-3);
        people::record_training(&db, "alder.investigator", earlier, training, "alder.admin").await.unwrap();
        assert_eq!(may(&mut reader, Action::Query).unwrap().trained_on, Some(earlier));
        people::close_account(&db, "alder.investigator", "alder.admin").await.unwrap();
        assert!(may(&mut reader, Action::Query).unwrap_err().contains("closed"));
        let again = people::close_account(&db, "alder.investigator", "alder.admin").await;
        assert!(matches!(again, Err(PeopleError::Refused(_))), "{again:?}");
    });
    let closed = accounts::find(&mut reader, "alder.investigator").unwrap().unwrap();
    assert_eq!(closed.disabled_at, Some(registry.clock.now()));
    assert!(accounts::find(&mut reader, "ALDER.investigator").unwrap().is_none(), "names compare to the byte");
}

fn accounts_are_listed_in_the_order_of_their_bytes(backend: Backend) {
    let (_registry, db) = staffed(backend);
    // A server's language would put the dot, the hyphen and the underscore elsewhere, or nowhere.
    let names = ["a.b", "a-b", "a_b", "ab", "a1", "a.c", "aa"];
    block_on(async {
        for name in names {
            people::open_account(&db, new(name), "alder.admin").await.unwrap();
        }
    });
    let listed: Vec<String> =
        accounts::all(&mut db.reader().unwrap()).unwrap().into_iter().map(|account| account.username).collect();
    let mut sorted = listed.clone();
    sorted.sort();
    assert_eq!(listed, sorted);
    assert_eq!(listed[..7], ["a-b", "a.b", "a.c", "a1", "a_b", "aa", "ab"]);
}

fn findings_and_checks_are_kept_in_their_order(backend: Backend) {
    let (registry, db) = staffed(backend);
    let birch: Ori = "CA0990100".parse().unwrap();
    let finding = |kind| Finding {
        ori: birch,
        kind,
        citation: "People v. Birch, complaint of 20 November 2026".to_owned(),
        document: None,
        evidence: Vec::new(),
        from: None,
        on: days_from_start(-3),
        entered_by: String::new(),
        approved_by: None,
    };
    let mut reader = db.reader().unwrap();
    let mut expect = |adverse: Vec<Ori>, opened: usize| {
        let found = ag::register(&mut reader).unwrap();
        assert_eq!((found.adverse, found.checked_at), (adverse, Some(registry.clock.now())));
        // Each finding has a review of its own.
        let reviews: Vec<_> = found.reviews.iter().map(|review| (review.ori, review.trigger)).collect();
        assert_eq!(reviews, vec![(birch, Trigger::AgFinding); opened]);
    };
    block_on(async {
        expect(vec![], 0);
        let check = async |result| {
            let sources = vec!["oag.ca.gov".to_owned()];
            let sweep = Sweep { sources, result, note: Some("nothing new".to_owned()), evidence: Vec::new() };
            compliance::enter_check(&db, &keeper(), sweep, "alder.custodian").await
        };
        let named = check(CheckResult::Named).await;
        assert!(matches!(&named, Err(PeopleError::Refused(why)) if why.contains("ag find")), "{named:?}");
        for (n, kind) in [FindingKind::NamedInSuit, FindingKind::SelfDisclosed].into_iter().enumerate() {
            compliance::enter_finding(&db, &keeper(), finding(kind), "alder.agreements").await.unwrap();
            expect(vec![birch], n + 1);
        }
        let cleared =
            compliance::enter_finding(&db, &keeper(), finding(FindingKind::Cleared), "alder.agreements").await;
        assert!(matches!(&cleared, Err(PeopleError::Refused(why)) if why.contains("two people")), "{cleared:?}");
        registry.clock.set(start().plus(5));
        check(CheckResult::Named).await.unwrap();
        expect(vec![birch], 2);
    });
    let kinds: Vec<FindingKind> = ag::findings(&mut reader).unwrap().into_iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [FindingKind::NamedInSuit, FindingKind::SelfDisclosed]);
    let checks = ag::checks(&mut reader).unwrap();
    assert_eq!((checks.len(), checks[0].by.as_str(), checks[0].at), (2, "alder.custodian", start().plus(5)));
}
