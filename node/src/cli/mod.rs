//! The command line. Each command opens what it needs, calls one service and prints its result.

mod ag;
mod agent;
mod agreement;
mod authorization;
pub mod ca;
mod change;
mod completions;
mod demo;
mod discrepancy;
mod doctor;
mod exit;
mod explain;
mod hit;
mod hold;
mod hotlist;
mod ingest;
mod init;
mod jobs;
mod key;
mod local;
mod mail;
mod official;
mod output;
mod passphrase;
mod peer;
mod place;
mod policy;
mod query;
mod request;
mod retention;
mod review;
mod serve;
mod trail;
mod user;
mod witness;

use std::ffi::OsString;
use std::future::Future;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};

use crate::clock::Clock;
use crate::db::OnFatal;
use place::Place;

pub use exit::{Exit, Explain, Problem};
pub use init::{InitArgs, InitError};
pub use output::{Form, Output, form_of_stdout, printable};
pub use place::As;

/// Share licence plate reads between California public agencies, under agreements in force and on the record.
#[derive(Debug, Parser)]
#[command(name = "concordat", version, propagate_version = true, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 refused by a rule, 2 usage or configuration, 3 failure.\n\nExample:\n  concordat --dir alder init --ori CA0010000 --legal-name \"Alder County Sheriff\" --kind county \\\n      --county Alder --url https://alpr.alder.example:7443"
)]
pub struct Cli {
    /// The node's folder, in which `concordat.toml` is; for `ca`, the authority's folder; for `demo`,
    /// an empty one to play in [default: this folder]
    #[arg(long, global = true, value_name = "DIR", env = "CONCORDAT_DIR", hide_env_values = true)]
    pub dir: Option<PathBuf>,
    /// Print JSON, errors too
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// See it work: three fictional agencies on this machine, from the CA to a row edited in a database and caught
    Demo(demo::DemoArgs),
    /// Make a new node: its folder, a commented configuration file, its keys
    Init(InitArgs),
    /// Say everything that is wrong with the configuration and the files that it names, and the fix of each
    #[command(
        name = "check-config",
        after_help = "Example:\n  concordat --dir alder check-config\n\nLooks at every key of concordat.toml, and at each file, permission, certificate, list, folder and port that it names. Nothing is started or changed.\n\nExit codes: 0 nothing fails (there may be warnings), 2 concordat.toml cannot be used, 3 something else fails."
    )]
    CheckConfig,
    /// Say what is wrong with this node, or on the way to a partner, and what to do about it
    Doctor(doctor::DoctorArgs),
    /// Run a certificate authority for a group of agencies, in a folder of its own
    #[command(subcommand, after_help = "Example:\n  concordat --dir ca ca init --name \"Alder and Birch Counties CA\"")]
    Ca(ca::CaCommand),
    /// Serve: partners at the peer port, this agency's people at the console, metrics for the operator
    #[command(
        after_help = "Example:\n  concordat --dir alder serve\n\nCtrl-C or SIGTERM: requests in work are finished, then it ends. A certificate or revocation list that is renewed on disk is used within a second or so; SIGHUP looks at once."
    )]
    Serve,
    /// Enrol partners from their descriptor files
    #[command(subcommand, after_help = "Example:\n  concordat peer list")]
    Peer(peer::PeerCommand),
    /// Replace this node's keys, or tell partners that it moved
    #[command(
        subcommand,
        after_help = "Example:\n  concordat key rotate --reason \"yearly change of keys\" --as alder.admin"
    )]
    Key(key::KeyCommand),
    /// Keep this agency's accounts
    #[command(subcommand, after_help = "Example:\n  concordat user list")]
    User(user::UserCommand),
    /// Record completed training
    #[command(
        subcommand,
        after_help = "Example:\n  concordat training record indigo --on 2026-11-23 --sb34 --sb54 --policy --as avery"
    )]
    Training(user::TrainingCommand),
    /// Keep the register of the Attorney General's findings
    #[command(subcommand, after_help = "Example:\n  concordat ag list")]
    Ag(ag::AgCommand),
    /// Review partners before their renewal is due
    #[command(subcommand, after_help = "Example:\n  concordat review list")]
    Review(review::ReviewCommand),
    /// Read partners' published policies again, and compare them
    #[command(subcommand, after_help = "Example:\n  concordat policy list")]
    Policy(policy::PolicyCommand),
    /// Draft, sign, suspend and end agreements
    #[command(subcommand, after_help = "Example:\n  concordat agreement draft --template > draft.toml")]
    Agreement(agreement::AgreementCommand),
    /// Decide, by two people, what opens or widens sharing
    #[command(subcommand, after_help = "Example:\n  concordat change list")]
    Change(change::ChangeCommand),
    /// See, give and take back the custodian's standing authorizations
    #[command(subcommand, after_help = "Example:\n  concordat authorization list")]
    Authorization(authorization::AuthorizationCommand),
    /// Enrol the key with which the official signs agreements
    #[command(subcommand, after_help = "Example:\n  concordat official enroll --out official.key")]
    Official(official::OfficialCommand),
    /// Let readers' agents post what they read, and stop them
    #[command(subcommand, after_help = "Example:\n  concordat agent list")]
    Agent(agent::AgentCommand),
    /// Take in plate reads from a file or from standard input: JSON lines, or a CSV
    Ingest(ingest::IngestArgs),
    /// Load, share and accept hotlists
    #[command(subcommand, after_help = "Example:\n  concordat hotlist list")]
    Hotlist(hotlist::HotlistCommand),
    /// See reads that matched a hotlist, and verify them
    #[command(subcommand, after_help = "Example:\n  concordat hit list --as indigo")]
    Hit(hit::HitCommand),
    /// Ask partners for their reads of a plate
    Query(Box<query::QueryArgs>),
    /// Search, verify and prove the trail
    #[command(subcommand, after_help = "Example:\n  concordat trail verify")]
    Trail(trail::TrailCommand),
    /// See where this trail and a partner's differ, and close such cases
    #[command(subcommand, after_help = "Example:\n  concordat discrepancy list")]
    Discrepancy(discrepancy::DiscrepancyCommand),
    /// Keep records beyond their retention, and release them
    #[command(subcommand, after_help = "Example:\n  concordat hold list --as alder.custodian")]
    Hold(hold::HoldCommand),
    /// See how long the trail keeps what its entries say, and delete what is due
    #[command(subcommand, after_help = "Example:\n  concordat retention show")]
    Retention(retention::RetentionCommand),
    /// Be a witness alone, as a county auditor: cosign the heads of agencies' trails, and keep what convicts a forked one
    #[command(
        subcommand,
        after_help = "Example:\n  concordat --dir witness witness init --name auditor.alder.example/witness"
    )]
    Witness(witness::WitnessCommand),
    /// See what waits for the custodian
    #[command(subcommand, after_help = "Example:\n  concordat request list --as birch.custodian")]
    Request(request::RequestCommand),
    /// Print what a shell needs to complete this command line
    Completions(completions::CompletionsArgs),
    /// See and run what the node does by itself: reminders, warnings, mail
    #[command(subcommand, after_help = "Example:\n  concordat jobs list")]
    Jobs(jobs::JobsCommand),
    /// See the outbox, try a mail again, test the mail server
    #[command(subcommand, after_help = "Example:\n  concordat mail list")]
    Mail(mail::MailCommand),
}

/// The whole program: reads the command line, runs it, prints what is wrong once, on standard error. `on_fatal` ends the
/// process when it must not record any more.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>, clock: Arc<dyn Clock>, on_fatal: OnFatal) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return unparsed(&error, arguments.iter().any(|argument| argument == "--json")),
    };
    let json = cli.json;
    let place = Place { dir: cli.dir.clone().unwrap_or_else(|| ".".into()), clock, on_fatal };
    let mut stdout = io::stdout().lock();
    let result = run(cli.command, cli.dir, &place, &mut Output::new(form_of_stdout(json), &mut stdout));
    match result.and_then(|exit| Ok(stdout.flush().map(|()| exit)?)) {
        Ok(exit) => exit.into(),
        // Whoever read the output has seen enough of it.
        Err(problem) if problem.pipe => Exit::Done.into(),
        Err(problem) => report(&problem, json),
    }
}

fn run(command: Command, named: Option<PathBuf>, place: &Place, out: &mut Output<'_>) -> Result<Exit, Problem> {
    match command {
        Command::Demo(args) => block_on(demo::run(named, args, out)),
        Command::Init(args) => init::run(&place.dir, args, out),
        Command::CheckConfig => doctor::check(place, out),
        Command::Doctor(args) => block_on(doctor::run(place, args, out)),
        Command::Ca(command) => ca::run(&place.dir, command, place.now(), out),
        Command::Serve => block_on(serve::run(place, out)),
        Command::Peer(command) => block_on(peer::run(place, command, out)),
        Command::Key(command) => block_on(key::run(place, command, out)),
        Command::User(command) => block_on(user::run(place, command, out)),
        Command::Training(command) => block_on(user::run_training(place, command, out)),
        Command::Ag(command) => block_on(ag::run(place, command, out)),
        Command::Review(command) => block_on(review::run(place, command, out)),
        Command::Policy(command) => block_on(policy::run(place, command, out)),
        Command::Agreement(command) => block_on(agreement::run(place, command, out)),
        Command::Change(command) => block_on(change::run(place, command, out)),
        Command::Authorization(command) => block_on(authorization::run(place, command, out)),
        Command::Official(command) => official::run(place, command, out),
        Command::Agent(command) => block_on(agent::run(place, command, out)),
        Command::Ingest(args) => block_on(ingest::run(place, args, out)),
        Command::Hotlist(command) => block_on(hotlist::run(place, command, out)),
        Command::Hit(command) => block_on(hit::run(place, command, out)),
        Command::Query(args) => block_on(query::run(place, *args, out)),
        Command::Trail(command) => block_on(trail::run(place, command, out)),
        Command::Discrepancy(command) => block_on(discrepancy::run(place, command, out)),
        Command::Hold(command) => block_on(hold::run(place, command, out)),
        Command::Retention(command) => block_on(retention::run(place, command, out)),
        Command::Witness(command) => block_on(witness::run(place, command, out)),
        Command::Request(command) => block_on(request::run(place, command, out)),
        Command::Completions(args) => completions::run(args, out),
        Command::Jobs(command) => block_on(jobs::run(place, command, out)),
        Command::Mail(command) => block_on(mail::run(place, command, out)),
    }
}

/// Runs a command inside this process's one actix system.
fn block_on<T>(command: impl Future<Output = T>) -> T {
    actix_web::rt::System::new().block_on(command)
}

/// Prints `problem` on standard error.
fn report(problem: &Problem, json: bool) -> ExitCode {
    let text = match serde_json::to_string(problem) {
        Ok(object) if json => object + "\n",
        _ => problem.text(),
    };
    // There is nowhere left to say that standard error is gone; the exit code still says how it ended.
    let _ = io::stderr().write_all(text.as_bytes());
    problem.exit.into()
}

/// Help and versions go to standard output with code 0; anything else is a usage error.
fn unparsed(error: &clap::Error, json: bool) -> ExitCode {
    if error.use_stderr() && json {
        let text = error.render().to_string();
        let message = text.trim().trim_start_matches("error: ").to_owned();
        return report(&Problem { message, hint: None, exit: Exit::Usage, pipe: false }, true);
    }
    let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
    let _ = error.print(); // As in `report`.
    exit.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_anywhere_and_values_are_checked() {
        let line = "concordat init --dir alder --ori CA0010000 --legal-name A --kind city_and_county --county A \
                    --url https://a.example --json";
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        assert_eq!((cli.dir, cli.json), (Some(PathBuf::from("alder")), true));
        for (from, to, says) in [
            ("CA0010000", "NV0010000", "not a California agency"),
            ("https://", "http://", "https://HOST"),
            ("city_and_county", "federal", "subdivision"),
        ] {
            let error = Cli::try_parse_from(line.replace(from, to).split_whitespace()).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(error.exit_code(), Exit::Usage as i32);
        }
    }

    #[test]
    fn a_folder_without_a_node_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let line = ["concordat", "--dir", dir.path().to_str().unwrap(), "init", "--ori", "CA0010000"];
        let rest = ["--legal-name", "A", "--kind", "city", "--county", "A", "--url", "https://a.example"];
        let cli = Cli::try_parse_from(line.into_iter().chain(rest)).unwrap();
        let place = Place {
            dir: cli.dir.unwrap(),
            clock: Arc::new(crate::clock::SystemClock),
            on_fatal: Arc::new(|_| panic!("fatal")),
        };
        let problem = place.config().unwrap_err();
        assert_eq!(problem.exit, Exit::Usage);
        assert!(problem.message.contains("concordat init"), "{}", problem.message);
    }
}
