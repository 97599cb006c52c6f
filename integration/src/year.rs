//! A year of many agreements, day by day, in one node: what its jobs say and when, and where each agreement stands. The
//! scenario has some of them and the bench as many as a large agency has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use agreements::agreement::Agreement;
use agreements::ids::Digest;
use agreements::stream::Event;
use agreements::time::Instant;
use concordat::config::MailBackend;
use concordat::demo::agency::{ALDER, BIRCH};
use concordat::exchange::lifecycle::{self, Act};
use concordat::jobs::{self, Driver};
use concordat::registry::job_runs::Outcome;

use crate::counterparties::{Counterparties, Counterparty};
use crate::federation::start;
use crate::pair::{agreement_id, days_from_start};
use crate::{Federation, Terms, TestNode};

/// How many days.
const DAYS: i64 = 366;
/// Every so many days the sources are checked ...
const CHECKED_EVERY: i64 = 25;
/// ... until this day, and then not before the second, so that in between the check grows stale.
const UNCHECKED: (i64, i64) = (260, 345);
/// Every so many days effective access is compared.
const COMPARED_EVERY: i64 = 183;
/// So many days before its sunset a renewal is signed, and so many before it takes effect.
const RENEWED: (i64, i64) = (20, 5);

/// What becomes of an agreement. Days are those after the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Renewed,
    Lapses,
    Terminated(i64),
    /// By this agency, for ten days.
    Suspended(i64),
    /// By the partner, for good.
    SuspendedThere(i64),
    /// A finding, cleared after twenty days; renewed later.
    Found(i64),
    /// By this agency.
    Declined(i64),
    /// By the partner, which had signed.
    Withdrawn(i64),
}

/// One document and what its script says.
struct Paper {
    who: Counterparty,
    agreement: Agreement,
    life: Life,
    signed: i64,
    effective: i64,
    sunset: i64,
    /// On which day one that renews it is signed, and when that takes its place.
    renewed: Option<(i64, i64)>,
}

impl Paper {
    fn ended(&self) -> Option<(i64, &'static str)> {
        match self.life {
            Life::Terminated(day) => Some((day, "terminated")),
            Life::Declined(day) => Some((day, "declined")),
            Life::Withdrawn(day) => Some((day, "withdrawn")),
            _ => None,
        }
    }

    /// Whether both signed it.
    fn is_signed(&self) -> bool {
        !matches!(self.life, Life::Declined(_) | Life::Withdrawn(_))
    }

    /// Where it stands at noon of a day, by its script.
    fn stands(&self, day: i64) -> &'static str {
        let from_to = |from: i64, to: i64| (from..to).contains(&day);
        if self.ended().is_some_and(|(end, _)| end <= day) {
            "ended"
        } else if day >= self.sunset {
            "sunset"
        } else if self.renewed.is_some_and(|(_, from)| day >= from) {
            "superseded"
        } else if !self.is_signed() {
            "unsigned"
        } else if matches!(self.life, Life::Suspended(at) if from_to(at, at + 10))
            || matches!(self.life, Life::SuspendedThere(at) if at <= day)
        {
            "suspended"
        } else if matches!(self.life, Life::Found(at) if from_to(at, at + 20)) {
            "adverse_finding"
        } else if from_to(last_check() + 90, UNCHECKED.1) {
            "ag_check_stale"
        } else if day < self.effective {
            "not_yet"
        } else {
            "in_force"
        }
    }

    /// Whether it is one of those that end and have to be renewed.
    fn ends_unrenewed(&self, day: i64) -> bool {
        let signed = self.is_signed() && self.signed <= day && self.ended().is_none_or(|(end, _)| end > day);
        signed && day < self.sunset && self.renewed.is_none_or(|(on, _)| on > day)
    }
}

/// The last day before the gap on which the sources were checked.
fn last_check() -> i64 {
    (UNCHECKED.0 - 1) / CHECKED_EVERY * CHECKED_EVERY
}

fn is_checked(day: i64) -> bool {
    (day % CHECKED_EVERY == 0 && day < UNCHECKED.0) || day == UNCHECKED.1
}

fn life(n: usize, sunset: i64) -> Life {
    match n % 10 {
        0..=4 => Life::Renewed,
        5 => Life::Lapses,
        6 => Life::Terminated(sunset / 2),
        7 => Life::Suspended(sunset / 3),
        8 => Life::SuspendedThere(sunset / 2),
        _ if n % 20 == 9 => Life::Found(2),
        _ if n % 40 == 19 => Life::Declined(3),
        _ => Life::Withdrawn(2),
    }
}

fn why() -> String {
    "as the script says".to_owned()
}

/// The node, its partners, and all documents.
struct Year {
    alder: TestNode,
    partners: Counterparties,
    papers: Vec<Paper>,
    _federation: Federation,
}

impl Year {
    /// Partners, enrolled; their agreements offered by them and signed by them.
    async fn begins(count: usize) -> Self {
        let federation = Federation::found_in_memory();
        let mut alder = TestNode::found(&federation, ALDER).await;
        alder.restart_with(|config| {
            config.mail.backend = MailBackend::Memory;
            config.mail.from = Some("alpr@alder.example".parse().unwrap());
            config.mail.administrators = vec!["one@alder.example".parse().unwrap()];
            config.mail.operators = vec!["operator@alder.example".parse().unwrap()];
        });
        let birch = TestNode::found(&federation, BIRCH).await;
        let partners = Counterparties::after(birch, federation.folder()).await;
        let mut papers = Vec::new();
        for n in 0..count {
            let who = partners.nth(n + 1);
            partners.enrolled_by(&alder, &who).await;
            let sunset = 40 + (i64::try_from(n).unwrap() * 7) % 240;
            let life = life(n, sunset);
            let terms = Terms { sunset_on: days_from_start(sunset), ..Terms::default() };
            let agreement = terms.between(&alder.node().party(), &who.party);
            let renewed = matches!(life, Life::Renewed | Life::Found(_));
            let renewed = renewed.then_some((sunset - RENEWED.0, sunset - RENEWED.1));
            papers.push(Paper { who, agreement, life, signed: 0, effective: 0, sunset, renewed });
        }
        alder.node().desk().registry(|conn| alder.node().refresh_partners(conn)).unwrap();
        alder.closes_its_doors();
        let this = Self { alder, partners, papers, _federation: federation };
        for paper in &this.papers {
            this.partners.offers(&this.alder, &paper.who, &paper.agreement).await;
            this.signed_there(paper).await;
            if paper.is_signed() {
                this.acts(paper, Act::Sign).await;
            }
        }
        this
    }

    /// The partner's signature arrives.
    async fn signed_there(&self, paper: &Paper) {
        let signed = self.partners.signed(&paper.agreement);
        self.partners.says(&self.alder, &paper.who, &paper.agreement, 1, signed).await;
    }

    /// This agency acts, and the partner acknowledges it.
    async fn acts(&self, paper: &Paper, act: Act) {
        self.alder.acts(paper.agreement.id, act).await.unwrap();
        let status = self.alder.status(paper.agreement.id);
        self.partners.acknowledges(&self.alder, &paper.who, paper.agreement.id, &status).await;
    }

    /// The document that renews one, as the partner offers it.
    async fn renewal(&self, old: &Paper) -> Paper {
        let effective = old.sunset - RENEWED.1;
        let terms = Terms {
            effective_on: days_from_start(effective),
            sunset_on: days_from_start(effective + 365),
            ..Terms::default()
        };
        let agreement = Agreement {
            id: agreement_id(),
            revision: 2,
            supersedes: Some(Digest::of(&old.agreement.to_bytes().unwrap())),
            renewal: Some(self.partners.applies(&self.alder, &old.who, old.agreement.id).await),
            ..terms.between(&self.alder.node().party(), &old.who.party)
        };
        let signed = old.sunset - RENEWED.0;
        let (who, life) = (old.who.clone(), Life::Lapses);
        Paper { who, agreement, life, signed, effective, sunset: effective + 365, renewed: None }
    }

    /// Two people clear what was found, and close the review that it opened.
    async fn cleared(&self, paper: &Paper) {
        let ori = paper.who.party.ori;
        self.alder.clears(ori, "agreements", "custodian").await.unwrap();
        for review in self.alder.open_reviews().into_iter().filter(|review| review.opened.ori == ori) {
            self.alder.closes_review(review.id, "agreements", "custodian").await.unwrap();
        }
    }

    /// What the script of one document has for a day.
    async fn plays(&self, paper: &Paper, day: i64) -> Option<Paper> {
        let says = |n, event| self.partners.says(&self.alder, &paper.who, &paper.agreement, n, event);
        match paper.life {
            Life::Terminated(on) if on == day => says(2, Event::Terminated { reason: why() }).await,
            Life::Withdrawn(on) if on == day => says(2, Event::Withdrawn { reason: why() }).await,
            Life::SuspendedThere(on) if on == day => says(2, Event::Suspended { reason: why() }).await,
            Life::Declined(on) if on == day => self.acts(paper, Act::Decline { reason: why() }).await,
            Life::Suspended(on) if on == day => self.acts(paper, Act::Suspend { reason: why() }).await,
            Life::Suspended(on) if on + 10 == day => self.acts(paper, Act::Resume { reason: why() }).await,
            Life::Found(on) if on == day => self.alder.finds_named(paper.who.party.ori).await,
            Life::Found(on) if on + 20 == day => self.cleared(paper).await,
            _ => {}
        }
        if paper.renewed.is_none_or(|(on, _)| on != day) {
            return None;
        }
        let renewal = self.renewal(paper).await;
        self.partners.offers(&self.alder, &renewal.who, &renewal.agreement).await;
        self.signed_there(&renewal).await;
        self.acts(&renewal, Act::Sign).await;
        Some(renewal)
    }

    /// One day: the clock, what people and partners do, and the jobs that are due.
    async fn day(&mut self, day: i64) {
        let now = start().plus(day * Instant::DAY);
        self.alder.clock.set(now);
        self.partners.clock().set(now);
        if is_checked(day) && day > 0 {
            self.alder.checks().await;
        }
        let mut new = Vec::new();
        for paper in &self.papers {
            new.extend(self.plays(paper, day).await);
        }
        self.papers.extend(new);
        for report in self.driver(day).ring(&BTreeSet::new()).await.unwrap() {
            let left = report.said.is_some() && report.job != jobs::MAIL;
            assert!(report.outcome == Outcome::Done && !left, "day {day}: {report:?}");
        }
        // Each day those that are about to end, or just did; all of them once a month, and at the end.
        let near = |paper: &&Paper| (day - paper.sunset).abs() <= 1 || paper.renewed.is_some_and(|(_, on)| on == day);
        for paper in self.papers.iter().filter(near) {
            let status = self.alder.status(paper.agreement.id);
            assert_eq!(status.name(), paper.stands(day), "day {day}: {:?} {status:?}", paper.life);
        }
        if day % 61 == 0 || (UNCHECKED.1 - 5..=UNCHECKED.1).contains(&day) {
            self.looks_at_all(day);
        }
    }

    /// The node's driver with its table of jobs, but the comparison of effective access only every so many days: it reads
    /// all that was ever recorded, each time.
    fn driver(&self, day: i64) -> Driver {
        let node = self.alder.node();
        // Nobody is at home at the partners' addresses: no day can be compared with theirs.
        let table = jobs::TABLE.iter().filter(|job| !["reconcile", "unreconciled"].contains(&job.name));
        let table = table.filter(|job| job.name != "access" || day % COMPARED_EVERY == 0);
        Driver::new(node.registry().clone(), Arc::clone(node), table.copied().collect())
    }

    fn looks_at_all(&self, day: i64) {
        let list = lifecycle::list(&mut self.alder.conn(), self.alder.clock_now()).unwrap();
        let found: BTreeMap<_, _> = list.iter().map(|(found, status)| (found.agreement.id, status.name())).collect();
        let expected = self.papers.iter().map(|paper| (paper.agreement.id, paper.stands(day)));
        assert_eq!(found, expected.collect(), "day {day}");
    }

    /// What should have been said about agreements that end, by the scripts alone.
    fn reminders(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for day in 1..DAYS {
            let left = |paper: &Paper| paper.sunset - day;
            let ending = || self.papers.iter().filter(|paper| paper.ends_unrenewed(day));
            let week = days_from_start(day).iso_week_date();
            let week = format!("{}-W{:02}", week.year(), week.week());
            for paper in ending().filter(|paper| (8..=90).contains(&left(paper))) {
                all.insert(format!("renewals:{week}"));
                all.insert(format!("renewals:{}:{week}", paper.who.party.ori));
            }
            for paper in ending().filter(|paper| [1, 3, 7].contains(&left(paper))) {
                all.insert(format!("renewal:{}:{}", paper.agreement.id, left(paper)));
            }
        }
        all
    }
}

#[expect(clippy::disallowed_methods, reason = "how long it takes is the machine's time")]
fn stopwatch() -> impl Fn() -> Duration {
    let began = std::time::Instant::now();
    move || began.elapsed()
}

/// What a year came to.
pub struct Figures {
    /// How many agreements it began with.
    pub agreements: usize,
    /// How many documents there were in the end, renewals among them.
    pub documents: usize,
    /// How many entries the trail had.
    pub entries: u64,
    /// How many mails were queued.
    pub mails: usize,
    /// How long it took until all were signed.
    pub set_up: Duration,
    /// How long it took in all.
    pub took: Duration,
}

/// A year of `count` agreements, held to their scripts.
pub async fn goes_by(count: usize) -> Figures {
    let watch = stopwatch();
    let mut year = Year::begins(count).await;
    let set_up = watch();
    for day in 1..DAYS {
        year.day(day).await;
    }
    let took = watch();
    year.looks_at_all(DAYS - 1);

    let mails = year.alder.mails();
    let keys: BTreeSet<(&str, &str)> =
        mails.iter().map(|mail| (mail.dedup.as_str(), mail.recipient.as_str())).collect();
    assert_eq!(keys.len(), mails.len(), "nothing was said twice");
    let said: BTreeSet<String> = mails.iter().map(|mail| mail.dedup.split(" to ").next().unwrap().to_owned()).collect();
    let reminders = said.iter().filter(|key| key.starts_with("renewal")).cloned().collect::<BTreeSet<_>>();
    assert_eq!(reminders, year.reminders(), "and nothing was forgotten");
    let stale = said.iter().filter(|key| key.starts_with("ends:ag-check")).count();
    assert_eq!(stale, 5, "the check that grew stale was warned of at 30, 14, 7 and 1 days, and when it had");
    for job in jobs::TABLE.iter().filter(|job| job.name == "reminders") {
        assert_eq!(year.alder.runs(job.name).len(), usize::try_from(DAYS).unwrap(), "once a day");
    }
    Figures {
        agreements: count,
        documents: year.papers.len(),
        entries: year.alder.trail_size(),
        mails: mails.len(),
        set_up,
        took,
    }
}
