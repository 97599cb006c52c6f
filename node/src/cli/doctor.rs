//! `concordat doctor` and `concordat check-config`: what is wrong, and what to do about it, on one screen.

use agreements::ids::Ori;
use clap::Args;
use futures_util::future::join_all;
use indicatif::ProgressBar;
use serde::Serialize;

use super::exit::Exit;
use super::place::Place;
use super::{Form, Output, Problem};
use crate::config::FILE_NAME;
use crate::doctor::{self, Finding, Verdict, any_failed};

/// How many partners are looked at at once.
const AT_ONCE: usize = 16;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  concordat doctor\n  concordat doctor CA0990100\n  concordat --json doctor --all\n\nWithout a partner: this node's configuration, keys, certificates, stores, trail, clock, room and ports. With one: the way to it, step by step as a question would go, the agreements as both sides see them, and its trail. Nothing is changed, and no data is asked for.\n\nExit codes: 0 nothing fails (there may be warnings), 2 usage, 3 something fails: see its fix."
)]
pub struct DoctorArgs {
    /// The partner to look at
    #[arg(value_name = "PEER", conflicts_with = "all")]
    peer: Option<Ori>,
    /// Look at every enrolled partner
    #[arg(long)]
    all: bool,
}

#[derive(Serialize)]
struct Looked<'f> {
    /// Whether nothing fails.
    sound: bool,
    findings: &'f [Finding],
}

pub(super) async fn run(place: &Place, args: DoctorArgs, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let folder = std::path::absolute(&place.dir)?;
    let (config, mut findings) = doctor::own(&folder, &place.clock).await;
    if args.peer.is_some() || args.all {
        // What is wrong here comes first: the partner's side cannot be better than this one's.
        if !args.all {
            findings.retain(|finding| finding.verdict != Verdict::Ok);
        }
        let node = match config {
            // To look is not to change: whoever opens a node brings its schemas up to date.
            Some(config) if doctor::would_change(&config) => {
                Err(Problem::refused("a store is not as this version has it; see above".to_owned(), None))
            }
            Some(_) => place.node(),
            None => Err(Problem::usage(format!("{FILE_NAME} is not as it should be"), None)),
        };
        match node {
            Ok(node) => findings.extend(partners(&node, args.peer, out.form()).await),
            Err(problem) => findings.push(Finding {
                of: args.peer.map_or_else(|| "partners".to_owned(), |ori| ori.to_string()),
                check: "enrolment",
                verdict: Verdict::NotTried,
                says: problem.message,
                fix: problem.hint,
            }),
        }
    }
    shown(&findings, out)
}

async fn partners(node: &crate::node::Node, peer: Option<Ori>, form: Form) -> Vec<Finding> {
    let mut oris: Vec<Ori> = node.partners().all().map(|partner| partner.ori()).collect();
    oris.sort_unstable();
    let oris = peer.map_or(oris, |ori| vec![ori]);
    let bar = match form {
        Form::Json => ProgressBar::hidden(),
        Form::Terminal(_) | Form::Plain => ProgressBar::new(oris.len() as u64),
    };
    let mut findings = Vec::new();
    for some in oris.chunks(AT_ONCE) {
        let looking = some.iter().map(|ori| async {
            let found = doctor::partner(node, *ori).await;
            bar.inc(1);
            found
        });
        findings.extend(join_all(looking).await.into_iter().flatten());
    }
    bar.finish_and_clear();
    findings
}

/// `check-config`: the files alone.
pub(super) fn check(place: &Place, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let folder = std::path::absolute(&place.dir)?;
    let survey = doctor::survey(&folder, place.now());
    let exit = shown(&survey.findings, out)?;
    // A configuration that cannot be used is a usage error, as it is for every other command.
    let unusable = |finding: &Finding| finding.verdict == Verdict::Fail && finding.check == "configuration";
    Ok(if survey.findings.iter().any(unusable) { Exit::Usage } else { exit })
}

fn shown(findings: &[Finding], out: &mut Output<'_>) -> Result<Exit, Problem> {
    let sound = !any_failed(findings);
    if out.is_for_people() {
        let several = findings.iter().any(|finding| finding.of != "this node");
        let headers: &[&str] = if several {
            &["of", "check", "", "found, and what to do"]
        } else {
            &["check", "", "found, and what to do"]
        };
        out.list(headers, findings, |finding| {
            let stop = if finding.says.ends_with(['.', '?']) { "" } else { "." };
            let fix = finding.fix.as_ref().map(|fix| format!("{stop} {}", sentence(fix))).unwrap_or_default();
            let mut cells =
                vec![finding.check.to_owned(), finding.verdict.word().to_owned(), format!("{}{fix}", finding.says)];
            if several {
                cells.insert(0, finding.of.clone());
            }
            cells
        })?;
        let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
        let (fails, warns) = (count(Verdict::Fail), count(Verdict::Warn));
        writeln!(out.writer(), "{}", total(fails, warns))?;
    } else {
        out.one(&Looked { sound, findings }, |_| String::new())?;
    }
    Ok(if sound { Exit::Done } else { Exit::Failure })
}

fn total(fails: usize, warns: usize) -> String {
    match (fails, warns) {
        (0, 0) => "All of it is as it should be.".to_owned(),
        (0, warns) => format!("Nothing fails; {warns} to be looked after."),
        (fails, warns) => format!("{fails} not as it must be, {warns} to be looked after."),
    }
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let starts_a_word = |first: char| first.is_lowercase();
    match letters.next() {
        Some(first) if starts_a_word(first) => first.to_uppercase().chain(letters).collect(),
        _ => text.to_owned(),
    }
}
