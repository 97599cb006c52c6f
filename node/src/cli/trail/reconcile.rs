//! `concordat trail reconcile`: holding days of exchange to partners' own trails.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agreements::ids::Ori;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::civil::Date;
use serde::Serialize;

use crate::cli::exit::Exit;
use crate::cli::ingest::interrupted;
use crate::cli::place::{As, Place};
use crate::cli::{Output, Problem, local};
use crate::db::Conn;
use crate::node::Node;
use crate::reconciling::run::{self, NotDone};
use crate::reconciling::{self, days, last_settled};
use crate::registry::discrepancies::{self, Reconciled};

/// Arguments of `trail reconcile`.
#[derive(Debug, Args)]
pub struct Reconcile {
    /// The partner
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    peer: Option<Ori>,
    /// Every partner
    #[arg(long)]
    all: bool,
    /// This day of UTC; those that are due, if absent
    #[arg(long, value_name = "DAY", value_parser = local::date, conflicts_with = "since")]
    day: Option<Date>,
    /// Every day of UTC from this one on, done before or not
    #[arg(long, value_name = "DAY", value_parser = local::date)]
    since: Option<Date>,
    #[command(flatten)]
    person: As,
}

/// What came of a day.
#[derive(Serialize)]
struct Line {
    partner: Ori,
    day: Date,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<Reconciled>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why_not: Option<String>,
    opened: usize,
}

pub(super) async fn run(place: &Place, args: Reconcile, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let node = place.node()?;
    let wanted = wanted(&node, &args)?;
    let bar = ProgressBar::new(wanted.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} days {eta} {msg}") {
        bar.set_style(style);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let watch = actix_web::rt::spawn(interrupted(Arc::clone(&stop)));
    let (desk, mut lines, mut failed) = (node.desk(), Vec::new(), None);
    // Who does not answer is asked once, and not for each of its days.
    let mut away: BTreeMap<Ori, String> = BTreeMap::new();
    for (partner, day) in wanted {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        bar.set_message(partner.to_string());
        if let Some(why) = away.get(&partner) {
            lines.push(Line { partner, day, found: None, why_not: Some(why.clone()), opened: 0 });
            continue;
        }
        let came = run::reconcile(&node, &desk, partner, day, Some(&args.person.user)).await;
        bar.inc(1);
        let (found, opened, why_not) = match came {
            Ok(done) => (Some(done.found), done.opened.len(), None),
            Err(error @ (NotDone::Failure(_) | NotDone::Person(_) | NotDone::Stranger(_) | NotDone::NoDay)) => {
                failed = Some(error);
                break;
            }
            Err(error) => {
                if matches!(error, NotDone::Away(_) | NotDone::Forked(_)) {
                    away.insert(partner, error.to_string());
                }
                (None, 0, Some(error.to_string()))
            }
        };
        lines.push(Line { partner, day, found, why_not, opened });
    }
    watch.abort();
    bar.finish_and_clear();
    shown(&lines, out)?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    exit(&mut node.registry().reader()?, &lines, args.peer, stop.load(Ordering::SeqCst))
}

/// Which days with whom, oldest first.
fn wanted(node: &Node, args: &Reconcile) -> Result<Vec<(Ori, Date)>, Problem> {
    let partners: Vec<Ori> = match args.peer {
        Some(peer) => vec![peer],
        None => node.partners().all().map(|partner| partner.ori()).collect(),
    };
    let last = last_settled(node.now());
    let days_of = |from: Date, to: Date| -> Vec<(Ori, Date)> {
        partners.iter().flat_map(|ori| days(from, to).map(|day| (*ori, day))).collect()
    };
    match (args.day, args.since) {
        (Some(day), _) => Ok(days_of(day, day)),
        (None, Some(since)) => Ok(days_of(since, last)),
        (None, None) => {
            let due = reconciling::due(&mut node.registry().reader()?, &node.partners(), node.now())?;
            let hint = Some("run `concordat trail verify`".to_owned());
            let due = due.map_err(|what| Problem::failure(what, hint))?;
            let of_wanted = due.into_iter().filter(|(ori, _)| partners.contains(ori));
            Ok(of_wanted.flat_map(|(ori, days)| days.into_iter().map(move |day| (ori, day))).collect())
        }
    }
}

fn shown(lines: &[Line], out: &mut Output<'_>) -> Result<(), Problem> {
    let headers = ["partner", "day", "listed", "matched", "never heard", "not received", "differs", "why not"];
    Ok(out.list(&headers, lines, |line| {
        let count = |of: fn(&Reconciled) -> u64| line.found.as_ref().map(|found| of(found).to_string());
        let counts = [
            count(|found| found.counts.listed),
            count(|found| found.counts.matched),
            count(|found| found.counts.unheard),
            count(|found| found.counts.not_received),
            count(|found| found.differs),
            line.why_not.clone(),
        ];
        let rest = counts.into_iter().map(Option::unwrap_or_default);
        [line.partner.to_string(), line.day.to_string()].into_iter().chain(rest).collect()
    })?)
}

/// Refused while there are open cases with whom this was about; a failure when a day was not reconciled.
fn exit(conn: &mut Conn, lines: &[Line], peer: Option<Ori>, stopped: bool) -> Result<Exit, Problem> {
    let hint = Some("run `concordat trail verify`".to_owned());
    let cases = discrepancies::all(conn)?.map_err(|what| Problem::failure(what, hint))?;
    let open = discrepancies::open(&cases);
    if open.iter().any(|ori| peer.is_none_or(|peer| peer == *ori)) {
        return Ok(Exit::Refused);
    }
    let undone = stopped || lines.iter().any(|line| line.why_not.is_some());
    Ok(if undone { Exit::Failure } else { Exit::Done })
}
