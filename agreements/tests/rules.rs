//! One question for each rule that fails exactly that rule, and the rules' citations.

use agreements::agreement::Authorization;
use agreements::decide::{Searches, Sensitive, Standing, Usage, decide};
use agreements::message::{Question, RuleSaid, Search};
use agreements::purpose::{Purpose, Reference, ReferenceKind};
use agreements::rule::Rule;
use jiff::civil::date;

use crate::common::*;

/// Changes a question that is permitted, and what it stands on, until it fails exactly `rule`.
fn spoil(rule: Rule, question: &mut Question, standing: &mut Standing, usage: &mut Usage) {
    match rule {
        Rule::Identity => question.asker.agency = ori("CA0030000"),
        Rule::AgreementInForce => standing.agreement = None,
        Rule::GrantExists => standing.agreement.as_mut().unwrap().grants.clear(),
        Rule::PurposeGranted => grant_of(standing).purposes = vec![Purpose::Lifesaving],
        Rule::PurposeOfOwner => standing.rules.purposes = vec![Purpose::Lifesaving],
        Rule::ReferencePresent => question.reference = None,
        Rule::ReferenceNotPlate => {
            question.reference = Some(Reference { kind: ReferenceKind::Case, number: "8XYZ-999".to_owned() });
        }
        Rule::ReasonSubstantive => question.reason = "inv".to_owned(),
        Rule::NarrativeAndSupervisor => {
            question.purpose = Purpose::CrimePrevention;
            question.supervisor = None;
        }
        Rule::WhyAll => question.why_all = Some("test".to_owned()),
        Rule::OnBehalfOf => question.on_behalf_of.agency = ori("CA0030000"),
        Rule::AskerApproved => question.asker.approved = false,
        Rule::AskerTrained => question.asker.trained_on = Some(date(2025, 11, 23)),
        Rule::SensitiveTerms => question.asker.affiliation = "HSI assist".to_owned(),
        Rule::Lookback => question.until = question.from,
        Rule::Area => {
            grant_of(standing).area = Some(area(34, -119, 35, -118));
            question.area = Some(area(36, -119, 37, -118));
        }
        Rule::Rows => question.max_rows = 0,
        Rule::SearchGranted => {
            grant_of(standing).fuzzy = false;
            question.search = Search::Fuzzy { plate: "7ABC123".parse().unwrap() };
        }
        Rule::SearchOfOwner => {
            standing.rules.searches = Searches::Exact;
            question.search = Search::Fuzzy { plate: "7ABC123".parse().unwrap() };
        }
        Rule::Quota => usage.today = grant_of(standing).daily_quota,
        Rule::Rate => usage.over_rate = true,
        Rule::StandingAuthorization => grant_of(standing).authorization = Authorization::PerRequest,
    }
}

#[test]
fn the_question_that_the_others_start_from_is_permitted() {
    for purpose in Purpose::ALL {
        assert_eq!(decided(&Question { purpose, ..question() }, &standing()), "permit", "{purpose}");
    }
}

#[test]
fn each_rule_alone_keeps_a_question_from_being_permitted() {
    for rule in Rule::ALL {
        let (mut question, mut standing, mut usage) = (question(), standing(), Usage::default());
        spoil(rule, &mut question, &mut standing, &mut usage);
        let word = if matches!(rule, Rule::SensitiveTerms | Rule::StandingAuthorization) { "refer" } else { "deny" };
        assert_eq!(line(&decide(&question, &standing, usage, now())), format!("{word} {}", rule.as_str()));
    }
}

#[test]
fn an_owner_may_deny_what_is_sensitive() {
    let (mut question, mut standing, mut usage) = (question(), standing(), Usage::default());
    spoil(Rule::SensitiveTerms, &mut question, &mut standing, &mut usage);
    standing.rules.sensitive = Sensitive::Deny;
    assert_eq!(decided(&question, &standing), "deny sensitive_terms");
}

#[test]
fn what_is_sensitive_is_named_beside_every_other_denial() {
    let gates = [Rule::Identity, Rule::AgreementInForce, Rule::GrantExists];
    for rule in Rule::ALL.into_iter().filter(|rule| !gates.contains(rule) && *rule != Rule::ReasonSubstantive) {
        let (mut question, mut standing, mut usage) = (question(), standing(), Usage::default());
        spoil(rule, &mut question, &mut standing, &mut usage);
        question.reason = format!("{} HSI assist", question.reason);
        let line = line(&decide(&question, &standing, usage, now()));
        assert!(line.contains("sensitive_terms"), "{line}");
    }
}

#[test]
fn rules_stand_in_their_order_and_cite_clauses_that_exist() {
    let clauses: Vec<&str> = include_str!("golden/clauses.txt").lines().collect();
    assert_eq!(clauses.len(), 149);
    assert!(Rule::ALL.is_sorted());
    for rule in Rule::ALL {
        let said = RuleSaid::from(rule);
        assert!(!said.clauses.is_empty() && said.says.ends_with('.'), "{said:?}");
        assert!(said.clauses.iter().all(|clause| clauses.contains(&clause.as_str())), "{said:?}");
        assert_eq!(serde_json::to_string(&rule).unwrap(), format!("\"{}\"", rule.as_str()));
    }
    for purpose in Purpose::ALL {
        assert!(clauses.contains(&purpose.clause()), "{purpose}");
    }
}
