//! A report of a query as people read it: the reads, newest first, then one line for each partner.

use agreements::message::{Cap, RuleSaid};
use agreements::time::Instant;
use serde::Serialize;

use crate::cli::{Output, Problem, local};
use crate::exchange::ask::{Gave, Line, Report};
use crate::reads::Read;

/// A read and whose it is.
#[derive(Serialize)]
struct Row<'a> {
    agency: &'a str,
    read: &'a Read,
}

pub(super) fn report(report: &Report, (from, until): (Instant, Instant), out: &mut Output<'_>) -> Result<(), Problem> {
    if !out.is_for_people() {
        return Ok(out.one(report, |_| String::new())?);
    }
    let mut rows: Vec<Row<'_>> = report.lines.iter().flat_map(rows).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.read.seen_at));
    if !rows.is_empty() {
        let headers = ["seen", "plate", "camera", "agency", "confidence", "position"];
        out.list(&headers, &rows, |row| {
            vec![
                local::shown(row.read.seen_at),
                row.read.plate.as_str().to_owned(),
                row.read.camera.clone(),
                row.agency.to_owned(),
                row.read.confidence.map(percent).unwrap_or_default(),
                position(row.read),
            ]
        })?;
    }
    let outcomes: Vec<String> = report.lines.iter().map(outcome).collect();
    Ok(out.one(report, |report| {
        let question = report
            .question
            .map(|rid| format!("\nQuestion {rid}; receipts: concordat trail receipts --of {rid} --as AUDITOR"));
        let window = format!("\nAsked for what was seen from {} to {}.", local::shown(from), local::shown(until));
        outcomes.join("\n") + &window + &question.unwrap_or_default()
    })?)
}

fn rows(line: &Line) -> Vec<Row<'_>> {
    let agency = line.name.as_deref().unwrap_or(line.ori.as_str());
    match &line.gave {
        Gave::Reads { reads, .. } => reads.iter().map(|read| Row { agency, read }).collect(),
        _ => Vec::new(),
    }
}

fn outcome(line: &Line) -> String {
    let name = line.name.as_ref().map(|name| format!("{name} ")).unwrap_or_default();
    let (gave, receipt) = match &line.gave {
        Gave::Reads { reads, capped, receipt } => {
            let count = match reads.len() {
                0 => "no reads".to_owned(),
                1 => "1 read".to_owned(),
                count => format!("{count} reads"),
            };
            let parts: Vec<String> = std::iter::once(count).chain(capped.iter().map(limit)).collect();
            (parts.join("; "), Some(receipt))
        }
        Gave::Denied { rules, status, receipt } => {
            let status = status.as_ref().map(|status| format!(" ({})", status.says())).unwrap_or_default();
            (format!("denied{status}: {}", said(rules)), Some(receipt))
        }
        Gave::Referred { ticket, rules, receipt } => {
            (format!("referred to its custodian, ticket {ticket}: {}", said(rules)), Some(receipt))
        }
        Gave::Withheld { status, receipt } => {
            (format!("withheld, the agreement no longer stands: {}", status.says()), Some(receipt))
        }
        Gave::NotAsked { why } => (format!("not asked: {why}"), None),
        Gave::Unreachable { why } => (format!("unreachable: {why}"), None),
        Gave::Invalid { why } => (format!("its reply proves nothing and does not count: {why}"), None),
    };
    let receipt = receipt.map(|hash| format!(" [receipt {hash}]")).unwrap_or_default();
    format!("{name}{}: {gave}{receipt}", line.ori)
}

fn said(rules: &[RuleSaid]) -> String {
    let one = |rule: &RuleSaid| format!("{} [{}] {}", rule.rule.as_str(), rule.clauses.join(", "), rule.says);
    rules.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn limit(cap: &Cap) -> String {
    match cap {
        Cap::Lookback { from } => format!("reads before {} are not shared", local::shown(*from)),
        Cap::Area { .. } => "only the area that the agreement names was searched".to_owned(),
        Cap::Rows { max } => format!("at most {max} reads are given"),
        Cap::More {} => "there are older reads in the window: ask with an earlier --to".to_owned(),
        Cap::Images {} => "images are not released".to_owned(),
    }
}

/// Thousandths of a percent as a percentage.
fn percent(confidence: i32) -> String {
    format!("{:.1} %", f64::from(confidence) / 1000.0)
}

fn position(read: &Read) -> String {
    let degrees = |micro: i32| format!("{:.6}", f64::from(micro) / 1_000_000.0);
    match (read.lat, read.lon) {
        (Some(lat), Some(lon)) => format!("{}, {}", degrees(lat), degrees(lon)),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use agreements::ids::{Digest, ReadId};
    use agreements::rule::Rule;
    use agreements::time::Instant;

    use super::*;
    use crate::cli::Form;

    fn read(at: &str, plate: &str) -> Read {
        let seen_at: Instant = at.parse().unwrap();
        Read {
            id: ReadId::new(seen_at, [1; 10]),
            plate: plate.parse().unwrap(),
            state: None,
            seen_at,
            camera: "202".to_owned(),
            lat: Some(34_740_000),
            lon: Some(-118_160_000),
            confidence: Some(97_147),
            direction: None,
            vehicle: None,
            image: None,
        }
    }

    #[test]
    fn reads_of_all_partners_newest_first_then_a_line_for_each() {
        let receipt = Digest::of(b"answer");
        let line = |ori: &str, gave| Line { ori: ori.parse().unwrap(), name: Some(format!("Agency {ori}")), gave };
        let first = vec![read("2026-11-23T20:17:00Z", "7ABC123"), read("2026-11-20T20:17:00Z", "7ABC123")];
        let capped = vec![Cap::Lookback { from: "2026-11-02T08:00:00Z".parse().unwrap() }, Cap::More {}];
        let lines = vec![
            line("CA0990000", Gave::Reads { reads: first, capped, receipt }),
            line(
                "CA0990100",
                Gave::Reads { reads: vec![read("2026-11-22T20:17:00Z", "7ABC123")], capped: Vec::new(), receipt },
            ),
            line("CA0990200", Gave::Denied { rules: vec![Rule::ReasonSubstantive.into()], status: None, receipt }),
            line("CA0990300", Gave::Unreachable { why: "no reply within 10 s".to_owned() }),
        ];
        let mut to = Vec::new();
        let window = (Instant::from_micros(0), Instant::from_micros(0));
        report(&Report { question: None, lines }, window, &mut Output::new(Form::Plain, &mut to)).unwrap();
        let text = String::from_utf8(to).unwrap();
        let seen: Vec<&str> = text.lines().skip(1).take(3).map(|line| &line[..10]).collect();
        assert_eq!(seen, ["2026-11-23", "2026-11-22", "2026-11-20"], "{text}");
        for says in [
            "12:17:00 PST\t7ABC123\t202\tAgency CA0990000\t97.1 %\t34.740000, -118.160000",
            "CA0990000: 2 reads; reads before 2026-11-02 00:00:00 PST are not shared; there are older reads",
            "CA0990200: denied: reason_substantive [V-13, VII-07, VIII-08] Say why",
            "CA0990300: unreachable: no reply within 10 s",
            &receipt.to_string(),
        ] {
            assert!(text.contains(says), "{says}\n{text}");
        }
    }
}
