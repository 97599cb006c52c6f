//! Properties of the decision: nothing outside the grant, monotone in every limit, total.

use agreements::agreement::{Area, Authorization, QueryGrant};
use agreements::decide::{
    Decision, MAX_LOOKBACK_DAYS, OwnerRules, Permit, Searches, Sensitive, Standing, Usage, decide,
};
use agreements::message::{Cap, Question, Search};
use agreements::party::Determination;
use agreements::purpose::{Purpose, Reference, ReferenceKind};
use agreements::register::AG_CHECK_IN_FORCE;
use agreements::rule::Rule;
use agreements::status::Status;
use agreements::time::Instant;
use jiff::civil::Date;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::common::*;

const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/decide_properties.proptest-regressions");

#[derive(Clone, Debug)]
struct Case {
    question: Question,
    standing: Standing,
    usage: Usage,
    now: Instant,
}

impl Case {
    fn decide(&self) -> Decision {
        decide(&self.question, &self.standing, self.usage, self.now)
    }

    fn permit(&self) -> Option<Permit> {
        match self.decide() {
            Decision::Permit(permit) => Some(permit),
            Decision::Refer(_) | Decision::Deny(_) => None,
        }
    }

    fn grant(&self) -> QueryGrant {
        grant_of(&mut self.standing.clone()).clone()
    }
}

fn boxes() -> impl Strategy<Value = Area> {
    (-3..3, -3..3, 0..4, 0..4).prop_map(|(south, west, high, wide)| area(south, west, south + high, west + wide))
}

fn maybe_box() -> impl Strategy<Value = Option<Area>> {
    prop::option::weighted(0.4, boxes())
}

fn purposes() -> impl Strategy<Value = Vec<Purpose>> {
    prop_oneof![3 => Just(Purpose::ALL.to_vec()), 1 => subsequence(Purpose::ALL.to_vec(), 0..=7)]
}

pub fn grants() -> impl Strategy<Value = QueryGrant> {
    let authorization = prop_oneof![9 => Just(Authorization::Standing), 1 => Just(Authorization::PerRequest)];
    let rights = prop::array::uniform4(prop::bool::weighted(0.7));
    (purposes(), 0..800u32, 0..12u32, 0..4u32, maybe_box(), rights, authorization).prop_map(
        |(
            purposes,
            lookback_days,
            max_rows,
            daily_quota,
            area,
            [partial, fuzzy, images, without_plate],
            authorization,
        )| {
            let base = query_grant();
            QueryGrant {
                purposes,
                lookback_days,
                max_rows,
                daily_quota,
                area,
                partial,
                fuzzy,
                images,
                without_plate,
                authorization,
                ..base
            }
        },
    )
}

pub fn owners() -> impl Strategy<Value = OwnerRules> {
    let searches = prop_oneof![3 => Just(Searches::All), 1 => Just(Searches::Exact)];
    let sensitive = select(vec![Sensitive::Refer, Sensitive::Deny]);
    (purposes(), 0..800u32, 0..12u32, searches, sensitive).prop_map(
        |(purposes, max_lookback_days, max_rows, searches, sensitive)| OwnerRules {
            purposes,
            max_lookback_days,
            max_rows,
            rate_per_minute: 1000,
            searches,
            sensitive,
        },
    )
}

fn searches() -> impl Strategy<Value = Search> {
    let plate = || "7ABC123".parse().unwrap();
    prop_oneof![
        3 => Just(Search::Exact { plate: plate() }),
        1 => Just(Search::Fuzzy { plate: plate() }),
        1 => Just(Search::Partial { pattern: "7AB*".to_owned() }),
        1 => Just(Search::WithoutPlate {}),
    ]
}

/// Instants at and around the edges of the agreement of [`agreement`], and in the midst of it.
pub fn instants() -> impl Strategy<Value = Instant> {
    let (agreement, checked) = (agreement(), register().checked_at.unwrap());
    let edges = vec![agreement.effective(), agreement.sunset(), checked.plus(AG_CHECK_IN_FORCE), checked];
    prop_oneof![
        4 => (0..80 * Instant::DAY).prop_map(|later| now().plus(later)),
        1 => (select(edges), -2..=2i64).prop_map(|(edge, off)| edge.plus(off)),
    ]
}

/// Questions that are permitted often enough to say something about permits.
fn cases_of() -> impl Strategy<Value = Case> {
    let window = (-760..2i64, -2..=2i64, 1..400i64);
    let asked = (select(Purpose::ALL.to_vec()), searches(), window, maybe_box(), 0..15u32, any::<bool>());
    let usage = (0..3u32, prop::bool::weighted(0.05)).prop_map(|(today, over_rate)| Usage { today, over_rate });
    let ends =
        prop::option::weighted(0.2, (0..200i64).prop_map(|days| now().plus(days * Instant::DAY).date().unwrap()));
    (asked, grants(), owners(), usage, instants(), ends).prop_map(|(asked, grant, rules, usage, now, ends)| {
        let (purpose, search, (day, off, days), area, max_rows, images) = asked;
        let mut question = Question { purpose, search, area, max_rows, images, ..question() };
        question.from = now.plus(day * Instant::DAY + off);
        question.until = question.from.plus(days * Instant::DAY);
        question.asker.trained_on = now.plus(-30 * Instant::DAY).date();
        let mut standing = standing();
        *grant_of(&mut standing) = grant;
        standing.rules = rules;
        standing.agreement.as_mut().unwrap().parties[1].determination =
            ends.map(|expires_on| Determination { sha256: agreements::ids::Digest::of(b"determination"), expires_on });
        Case { question, standing, usage, now }
    })
}

/// The same, each with every limit wide, so that a permit is the rule.
fn permitted() -> impl Strategy<Value = Case> {
    cases_of().prop_map(|mut case| {
        *grant_of(&mut case.standing) = QueryGrant { daily_quota: 9, ..query_grant() };
        case.standing.rules = OwnerRules { sensitive: case.standing.rules.sensitive, ..owner_rules() };
        case.standing.agreement.as_mut().unwrap().parties[1].determination = None;
        let Case { question, usage, now, .. } = &mut case;
        (*usage, *now) = (Usage::default(), crate::common::now());
        (question.from, question.until) = (now.plus(-Instant::DAY), *now);
        question.area = Some(area(0, 0, 1, 1));
        question.max_rows = question.max_rows.max(1);
        question.asker.trained_on = now.plus(-30 * Instant::DAY).date();
        case
    })
}

/// Whether `outer` holds all of `inner`; no area is all there is.
fn holds(outer: Option<Area>, inner: Option<Area>) -> bool {
    match (outer, inner) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(outer), Some(inner)) => {
            outer.south <= inner.south
                && outer.west <= inner.west
                && outer.north >= inner.north
                && outer.east >= inner.east
        }
    }
}

/// One limit, wider by `by`.
#[derive(Clone, Copy, Debug)]
enum Wider {
    Lookback,
    Rows,
    Quota,
    Area,
    NoArea,
    Purpose(Purpose),
    Partial,
    Fuzzy,
    Images,
    WithoutPlate,
    Standing,
    OwnLookback,
    OwnRows,
    OwnPurpose(Purpose),
    OwnSearches,
}

fn wider() -> impl Strategy<Value = (Wider, u32)> {
    let plain = select(vec![
        Wider::Lookback,
        Wider::Rows,
        Wider::Quota,
        Wider::Area,
        Wider::NoArea,
        Wider::Partial,
        Wider::Fuzzy,
        Wider::Images,
        Wider::WithoutPlate,
        Wider::Standing,
        Wider::OwnLookback,
        Wider::OwnRows,
        Wider::OwnSearches,
    ]);
    let purpose = || select(Purpose::ALL.to_vec());
    let which =
        prop_oneof![8 => plain, 1 => purpose().prop_map(Wider::Purpose), 1 => purpose().prop_map(Wider::OwnPurpose)];
    (which, prop_oneof![0..900u32, Just(u32::MAX)])
}

fn add(purposes: &mut Vec<Purpose>, purpose: Purpose) {
    if !purposes.contains(&purpose) {
        purposes.push(purpose);
    }
}

fn widen(case: &Case, (which, by): (Wider, u32)) -> Case {
    let mut wide = case.clone();
    let mut rules = wide.standing.rules.clone();
    let grant = grant_of(&mut wide.standing);
    let more = |limit: &mut u32| *limit = limit.saturating_add(by);
    let grow = i32::try_from(by % 5).unwrap();
    match which {
        Wider::Lookback => more(&mut grant.lookback_days),
        Wider::Rows => more(&mut grant.max_rows),
        Wider::Quota => more(&mut grant.daily_quota),
        Wider::Area => {
            grant.area = grant.area.map(|a| area(a.south - grow, a.west - grow, a.north + grow, a.east + grow));
        }
        Wider::NoArea => grant.area = None,
        Wider::Purpose(purpose) => add(&mut grant.purposes, purpose),
        Wider::Partial => grant.partial = true,
        Wider::Fuzzy => grant.fuzzy = true,
        Wider::Images => grant.images = true,
        Wider::WithoutPlate => grant.without_plate = true,
        Wider::Standing => grant.authorization = Authorization::Standing,
        Wider::OwnLookback => more(&mut rules.max_lookback_days),
        Wider::OwnRows => more(&mut rules.max_rows),
        Wider::OwnPurpose(purpose) => add(&mut rules.purposes, purpose),
        Wider::OwnSearches => rules.searches = Searches::All,
    }
    wide.standing.rules = rules;
    wide
}

fn after_each(term: &str, mark: &str) -> String {
    term.chars().flat_map(|c| std::iter::once(c).chain(mark.chars())).collect()
}

/// A sensitive term, dressed up.
fn dressed() -> impl Strategy<Value = String> {
    let terms =
        vec!["HSI", "deportation", "border patrol", "Planned Parenthood", "abortion", "protest", "mosque", "CBP"];
    (select(terms), 0..8usize).prop_map(|(term, dress)| match dress {
        0 => term.to_uppercase(),
        1 => term.to_lowercase(),
        2 => after_each(term, " "),
        3 => after_each(term, "."),
        4 => after_each(term, "\u{200b}"),
        5 => term.replace(' ', "\u{a0}\u{2003} "),
        6 => term
            .chars()
            .map(|c| if c.is_ascii_graphic() { char::from_u32(u32::from(c) + 0xfee0).unwrap() } else { c })
            .collect(),
        _ => term
            .replace(['a', 'A'], "\u{430}")
            .replace(['o', 'O'], "\u{43e}")
            .replace(['e', 'E'], "\u{435}")
            .replace('I', "\u{406}"),
    })
}

fn any_instant() -> impl Strategy<Value = Instant> {
    let edges = vec![i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX, now().micros()];
    prop_oneof![select(edges), any::<i64>()].prop_map(Instant::from_micros)
}

fn any_date() -> impl Strategy<Value = Date> {
    let edges = select(vec![Date::MIN, Date::MAX, Date::ZERO, jiff::civil::date(2024, 2, 29)]);
    let dates = (-9999..=9999i16, 1..=12i8, 1..=31i8).prop_filter_map("no date", |(y, m, d)| Date::new(y, m, d).ok());
    prop_oneof![1 => edges, 3 => dates]
}

fn any_area() -> impl Strategy<Value = Option<Area>> {
    any::<Option<[i32; 4]>>().prop_map(|edges| edges.map(|[south, west, north, east]| area(south, west, north, east)))
}

/// Anything that the types can hold, through the gates or not.
fn anything() -> impl Strategy<Value = Case> {
    let texts = prop::collection::vec(any::<String>(), 9);
    let search = prop_oneof![searches(), any::<String>().prop_map(|pattern| Search::Partial { pattern })];
    let numbers = any::<[u32; 7]>();
    let dates = (any_date(), any_date(), any_date(), any::<bool>());
    let instants = (any_instant(), any_instant(), any_instant(), any_instant());
    (texts, search, numbers, dates, instants, any_area(), any_area()).prop_map(
        |(texts, search, numbers, dates, (from, until, now, checked), asked, granted)| {
            let mut texts = texts.into_iter();
            let mut text = || texts.next().unwrap();
            let mut question =
                Question { reason: text(), search, from, until, area: asked, max_rows: numbers[0], ..question() };
            question.reference = Some(Reference { kind: ReferenceKind::Case, number: text() });
            (question.supervisor, question.why_all) = (Some(text()), Some(text()));
            (question.asker.username, question.asker.name, question.asker.affiliation) = (text(), text(), text());
            question.on_behalf_of.end_user = text();
            let mut standing = standing();
            let grant = grant_of(&mut standing);
            (grant.lookback_days, grant.max_rows, grant.daily_quota, grant.area) =
                (numbers[1], numbers[2], numbers[3], granted);
            (standing.rules.max_lookback_days, standing.rules.max_rows) = (numbers[4], numbers[5]);
            question.asker.trained_on = Some(dates.2);
            standing.register.checked_at = Some(checked);
            if dates.3 {
                let agreement = standing.agreement.as_mut().unwrap();
                (agreement.effective_on, agreement.sunset_on) = (dates.0, dates.1);
                agreement.parties[0].legal_name = text();
            }
            Case { question, standing, usage: Usage { today: numbers[6], over_rate: false }, now }
        },
    )
}

proptest! {
    #![proptest_config(cases(1500, REGRESSIONS))]

    #[test]
    fn no_permit_outside_the_grant(case in cases_of()) {
        let Some(permit) = case.permit() else { return Ok(()) };
        let (grant, rules, asked) = (case.grant(), &case.standing.rules, &case.question);
        let Status::InForce { until: dies } = case.standing.status(case.now) else { panic!("a permit out of force") };
        prop_assert!(!permit.dead(case.now) && !permit.dead(dies.plus(-1)) && permit.dead(dies) && permit.dead(dies.plus(1)));
        let agreement = case.standing.agreement.as_ref().unwrap();
        prop_assert!(dies <= agreement.sunset() && agreement.effective() <= case.now);
        prop_assert!(dies <= case.standing.register.checked_at.unwrap().plus(AG_CHECK_IN_FORCE));
        prop_assert!(agreement.determinations_end().is_none_or(|end| dies <= end));

        prop_assert_eq!(grant.authorization, Authorization::Standing);
        prop_assert!(grant.purposes.contains(&asked.purpose) && rules.purposes.contains(&asked.purpose));
        prop_assert!(case.usage.today < grant.daily_quota && !case.usage.over_rate);
        prop_assert_eq!(permit.search(), &asked.search);
        let granted = match permit.search() {
            Search::Exact { .. } => true,
            Search::Fuzzy { .. } => grant.fuzzy && rules.searches == Searches::All,
            Search::Partial { .. } => grant.partial && rules.searches == Searches::All,
            Search::WithoutPlate {} => grant.without_plate && rules.searches == Searches::All && asked.area.is_some(),
        };
        prop_assert!(granted);

        let days = grant.lookback_days.min(rules.max_lookback_days).min(MAX_LOOKBACK_DAYS);
        prop_assert!(permit.from() >= asked.from && case.now.since(permit.from()) <= i64::from(days) * Instant::DAY);
        prop_assert!(permit.from() < permit.until() && permit.until() <= asked.until);
        prop_assert!(holds(grant.area, permit.area()) && holds(asked.area, permit.area()));
        prop_assert!((1..=grant.max_rows.min(rules.max_rows).min(asked.max_rows)).contains(&permit.max_rows()));
        prop_assert!(!permit.images() || (grant.images && asked.images));
        prop_assert_eq!((permit.agreement(), permit.epoch()), (agreement.id, case.standing.epoch));
    }

    #[test]
    fn what_was_cut_is_said_and_nothing_else(case in cases_of()) {
        let Some(permit) = case.permit() else { return Ok(()) };
        let asked = &case.question;
        let mut cut = Vec::new();
        cut.extend((permit.from() != asked.from).then_some(Cap::Lookback { from: permit.from() }));
        cut.extend(permit.area().filter(|_| permit.area() != asked.area).map(|area| Cap::Area { area }));
        cut.extend((permit.max_rows() != asked.max_rows).then_some(Cap::Rows { max: permit.max_rows() }));
        cut.extend((permit.images() != asked.images).then_some(Cap::Images {}));
        prop_assert_eq!(permit.capped(), cut);
    }

    #[test]
    fn wider_limits_never_take_away(case in prop_oneof![cases_of(), permitted()], wider in wider()) {
        let Some(narrow) = case.permit() else { return Ok(()) };
        let wide = widen(&case, wider);
        let Some(wide) = wide.permit() else { panic!("{wider:?} took the permit: {}", line(&wide.decide())) };
        prop_assert!(wide.from() <= narrow.from() && wide.until() >= narrow.until());
        prop_assert!(wide.max_rows() >= narrow.max_rows() && wide.images() >= narrow.images());
        prop_assert!(holds(wide.area(), narrow.area()));
        prop_assert!(wide.capped().len() <= narrow.capped().len());
    }

    #[test]
    fn narrower_limits_never_give(case in cases_of(), wider in prop::collection::vec(wider(), 1..6)) {
        // Every step of the ladder is narrower than the next: from the top down, no denial turns into a permit.
        let mut ladder = vec![case];
        for step in wider {
            let next = widen(ladder.last().unwrap(), step);
            ladder.push(next);
        }
        let permits: Vec<bool> = ladder.iter().map(|case| case.permit().is_some()).collect();
        prop_assert!(permits.is_sorted(), "{permits:?}");
    }

    #[test]
    fn what_starts_permitted_is_permitted(case in permitted()) {
        prop_assert_eq!(line(&case.decide()), "permit");
    }

    #[test]
    fn total_and_the_same_each_time(case in anything()) {
        let decision = case.decide();
        let again = case.clone().decide();
        prop_assert_eq!(format!("{decision:?}"), format!("{again:?}"));
        let rules = match decision {
            Decision::Permit(permit) => {
                prop_assert!(!permit.dead(case.now) && permit.from() < permit.until());
                return Ok(());
            }
            Decision::Refer(rules) => rules,
            Decision::Deny(denial) => {
                prop_assert_eq!(denial.status.is_some(), denial.rules == [Rule::AgreementInForce]);
                denial.rules
            }
        };
        let mut unique = rules.clone();
        unique.sort_unstable();
        unique.dedup();
        prop_assert!(!rules.is_empty() && unique.len() == rules.len());
    }

    #[test]
    fn what_is_sensitive_is_never_permitted(
        case in permitted(),
        term in dressed(),
        before in "[a-z]{0,8}",
        field in 0..7usize,
    ) {
        let mut case = case;
        let text = format!("{before} {term} assist");
        let question = &mut case.question;
        match field {
            0 => question.reason = format!("{} {text}", question.reason),
            1 => question.why_all = Some(format!("robbery series across counties {text}")),
            2 => question.supervisor = Some(text),
            3 => question.on_behalf_of.end_user = text,
            4 => question.asker.username = text,
            5 => question.asker.name = text,
            _ => question.asker.affiliation = text,
        }
        let word = match case.standing.rules.sensitive {
            Sensitive::Refer => "refer sensitive_terms",
            Sensitive::Deny => "deny sensitive_terms",
        };
        prop_assert_eq!(line(&case.decide()), word);
    }

    #[test]
    fn what_needs_the_custodian_each_time_is_never_permitted(case in prop_oneof![cases_of(), permitted()]) {
        let mut case = case;
        grant_of(&mut case.standing).authorization = Authorization::PerRequest;
        prop_assert!(case.permit().is_none());
        prop_assert!(!line(&case.decide()).is_empty());
    }
}

#[test]
fn the_cases_hold_permits_and_denials() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let permits = (0..500).filter(|_| cases_of().new_tree(&mut runner).unwrap().current().permit().is_some()).count();
    assert!((25..475).contains(&permits), "{permits} of 500 cases are permits");
}
