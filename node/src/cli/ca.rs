//! `concordat ca`: a certificate authority for a group of agencies, in a folder.

use std::fs;
use std::path::{Path, PathBuf};

use agreements::ids::Ori;
use agreements::time::Instant;
use anyhow::Context as _;
use certs::crl::Reason;
use certs::csr;
use certs::host::Host;
use certs::key::SigningKey;
use certs::serial::Serial;
use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use super::exit::{Exit, Explain as _};
use super::{Output, Problem};
use crate::ca_folder::{CaFolder, CaFolderError, Order, Published};
use crate::config::FILE_NAME;
use crate::keyfile;

/// How long a list is good by default, in days.
const LIST_DAYS: i64 = 7;

/// Run a certificate authority: nodes show its certificates to one another.
#[derive(Debug, Subcommand)]
pub enum CaCommand {
    /// Make a new authority in a folder.
    #[command(after_help = "Example:\n  concordat ca init --dir ca --name \"Alder and Birch Counties CA\"")]
    Init(Init),
    /// Issue a certificate to an agency's node or seal. The names are yours to give: none is taken from a request.
    #[command(
        after_help = "Examples:\n  concordat ca issue --dir ca --ori CA0190000 --host alpr.alder.example \\\n      --csr alder.csr --out alder.pem\n  concordat ca issue --dir ca --ori CA0190000 --seal --key-out seal.key --out seal.pem"
    )]
    Issue(Issue),
    /// Revoke a certificate, for good, and publish a new list at once.
    #[command(
        after_help = "Example:\n  concordat ca revoke --dir ca 5f0c9a3be1d24478a6c07f1d2b3e4a59 --reason key-compromise\n\nReasons: unspecified, key-compromise, affiliation-changed, superseded, cessation-of-operation, privilege-withdrawn. The new list is crl.pem in the folder: send it to every node."
    )]
    Revoke(Revoke),
    /// Publish a new revocation list before the last one becomes void.
    #[command(after_help = "Example:\n  concordat ca crl --dir ca --days 7")]
    Crl(Crl),
}

/// Arguments of `ca init`.
#[derive(Debug, Args)]
pub struct Init {
    /// The authority's name. A successor needs another.
    #[arg(long)]
    name: String,
    /// How many years it is to last.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(i64).range(1..=10))]
    years: i64,
}

/// Arguments of `ca issue`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("key").required(true).args(["csr", "key_out"])))]
pub struct Issue {
    /// The agency's ORI, as you know it.
    #[arg(long)]
    ori: Ori,
    /// A DNS name or IP address by which partners reach the node; may be repeated.
    #[arg(long = "host", required_unless_present = "seal", conflicts_with = "seal")]
    hosts: Vec<Host>,
    /// The certificate request of an agency that made its own key.
    #[arg(long)]
    csr: Option<PathBuf>,
    /// Make the key as well, and write it here.
    #[arg(long)]
    key_out: Option<PathBuf>,
    /// Where to write the certificate.
    #[arg(long)]
    out: PathBuf,
    /// How many days it is to last.
    #[arg(long, default_value_t = 397, value_parser = clap::value_parser!(i64).range(1..=397))]
    days: i64,
    /// A certificate for sealing documents rather than for a node.
    #[arg(long)]
    seal: bool,
}

/// Arguments of `ca revoke`.
#[derive(Debug, Args)]
pub struct Revoke {
    /// The certificate's serial number: 32 hexadecimal digits.
    serial: Serial,
    /// Why.
    #[arg(long)]
    reason: Reason,
}

/// Arguments of `ca crl`.
#[derive(Debug, Args)]
pub struct Crl {
    /// For how many days the list is good.
    #[arg(long, default_value_t = LIST_DAYS, value_parser = clap::value_parser!(i64).range(1..=90))]
    days: i64,
}

/// Runs one command on the authority in `dir` and prints what it did.
///
/// # Errors
/// What the authority or the file system refused, with what to do.
pub fn run(dir: &Path, command: CaCommand, now: Instant, out: &mut Output<'_>) -> Result<Exit, Problem> {
    if dir.join(FILE_NAME).exists() {
        return Err(Problem::usage(
            format!("{} is a node's folder, and an authority's key does not belong there", dir.display()),
            Some("name the authority's own folder with --dir".to_owned()),
        ));
    }
    let (object, text) = done(dir, command, now).map_err(problem)?;
    out.one(&object, |_| text)?;
    Ok(Exit::Done)
}

fn done(dir: &Path, command: CaCommand, now: Instant) -> anyhow::Result<(Value, String)> {
    match command {
        CaCommand::Init(args) => init(dir, &args, now),
        CaCommand::Issue(args) => issue(dir, &args, now),
        CaCommand::Revoke(args) => {
            let ca = CaFolder::open(dir)?;
            let list = ca.revoke(args.serial, args.reason, now, LIST_DAYS * Instant::DAY)?;
            let (object, text) = of_list(&ca, &list);
            Ok((object, format!("Revoked {} ({}).\n{text}", args.serial, args.reason)))
        }
        CaCommand::Crl(args) => {
            let ca = CaFolder::open(dir)?;
            Ok(of_list(&ca, &ca.publish(now, args.days * Instant::DAY)?))
        }
    }
}

fn problem(error: anyhow::Error) -> Problem {
    let (exit, hint) = match error.downcast_ref::<CaFolderError>() {
        Some(error) => (error.exit(), error.hint()),
        None => (Exit::Failure, None),
    };
    Problem { message: format!("{error:#}"), hint, exit, pipe: false }
}

fn init(dir: &Path, args: &Init, now: Instant) -> anyhow::Result<(Value, String)> {
    let life = args.years * 365 * Instant::DAY;
    let ca = CaFolder::create(dir, &args.name, now, life, LIST_DAYS * Instant::DAY)?;
    let (certificate, list) = (ca.certificate(), ca.list());
    Ok((
        json!({"certificate": certificate, "crl": list}),
        format!(
            "The authority is in {}. Give {} and {} to every node; keep ca.key offline.",
            dir.display(),
            certificate.display(),
            list.display()
        ),
    ))
}

fn issue(dir: &Path, args: &Issue, now: Instant) -> anyhow::Result<(Value, String)> {
    // Looked at before anything is recorded; the writes below would refuse as well.
    for path in args.key_out.iter().chain([&args.out]) {
        anyhow::ensure!(!path.exists(), "{} exists already and is not overwritten", path.display());
    }
    anyhow::ensure!(args.key_out.as_ref() != Some(&args.out), "--out and --key-out name the same file");
    let ca = CaFolder::open(dir)?;
    let (public, made) = match (&args.csr, &args.key_out) {
        (Some(path), _) => {
            let request = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            (csr::proven_key(&request).with_context(|| path.display().to_string())?, None)
        }
        (None, Some(path)) => {
            let key = SigningKey::generate_p256()?;
            (key.public().clone(), Some((path, key.to_pem()?)))
        }
        (None, None) => anyhow::bail!("give --csr or --key-out"),
    };
    let order = if args.seal { Order::Seal } else { Order::Node(&args.hosts) };
    let issued = ca.issue(args.ori, &public, &order, now, args.days * Instant::DAY)?;
    let line = issued.line;
    let key_written = made.map_or(Ok(()), |(path, pem)| keyfile::write_secret(path, &pem));
    key_written
        .and_then(|()| keyfile::write_public(&args.out, &issued.pem))
        .with_context(|| format!("certificate {} was recorded but not handed out; revoke it", line.serial))?;
    let object = json!({"serial": line.serial.to_string(), "ori": line.ori, "kind": line.kind.as_str(),
        "issued": line.issued, "expires": line.expires, "spki": public.id(), "out": args.out});
    let text = format!(
        "Issued {} for {} ({}) to {}, until {}.",
        line.serial,
        line.ori,
        line.kind.as_str(),
        args.out.display(),
        line.expires
    );
    Ok((object, text))
}

fn of_list(ca: &CaFolder, list: &Published) -> (Value, String) {
    let path = ca.list();
    (
        json!({"crl": path, "number": list.number, "revoked": list.revoked, "next_update": list.next_update}),
        format!(
            "List {} names {} certificate(s) and is good until {}: {}",
            list.number,
            list.revoked,
            list.next_update,
            path.display()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    use crate::cli::Form;

    #[derive(Debug, Parser)]
    struct Line {
        #[arg(long, global = true, default_value = ".")]
        dir: PathBuf,
        #[command(subcommand)]
        command: CaCommand,
    }

    fn ran(arguments: &[&str]) -> anyhow::Result<()> {
        let now = "2026-11-23T20:00:00Z".parse()?;
        let line = Line::try_parse_from([&["ca"], arguments].concat())?;
        let mut to = Vec::new();
        run(&line.dir, line.command, now, &mut Output::new(Form::Json, &mut to))
            .map_err(|problem| anyhow::anyhow!(problem.text()))?;
        serde_json::from_slice::<Value>(&to)?;
        Ok(())
    }

    #[test]
    fn a_life_from_the_command_line() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
        let (dir, out, key, request) = (path("ca"), path("renewed.pem"), path("node.key"), path("node.csr"));
        ran(&["init", "--dir", &dir, "--name", "Fictional CA"]).unwrap();
        let node = ["issue", "--dir", &dir, "--ori", "CA0190000", "--host", "alder.example"];
        ran(&[&node[..], &["--key-out", &key, "--out", &path("node.pem")]].concat()).unwrap();
        let made = SigningKey::from_pem(&keyfile::read_secret(Path::new(&key)).unwrap()).unwrap();
        // An applicant that asks to be another agency gets the operator's name for it.
        let other = csr::csr(&made, "CA0190100".parse().unwrap(), &["evil.example".parse().unwrap()]).unwrap();
        fs::write(&request, other).unwrap();
        ran(&[&node[..], &["--csr", &request, "--out", &out]].concat()).unwrap();
        let leaf = openssl::x509::X509::from_pem(&fs::read(&out).unwrap()).unwrap();
        let identity = certs::leaf::Identity::from_der(&leaf.to_der().unwrap()).unwrap();
        assert_eq!((identity.ori.as_str(), identity.spki), ("CA0190000", made.public().id()));
        let names = leaf.subject_alt_names().unwrap();
        assert!(names.iter().all(|name| name.dnsname() != Some("evil.example")));
        let seal =
            ["issue", "--dir", &dir, "--ori", "CA0190000", "--seal", "--out", &path("seal.pem")].map(str::to_owned);
        let seal: Vec<&str> = seal.iter().map(String::as_str).collect();
        ran(&[&seal[..], &["--key-out", &path("seal.key")]].concat()).unwrap();
        let serial = CaFolder::open(Path::new(&dir)).unwrap().lines().unwrap()[0].serial.to_string();
        ran(&["revoke", "--dir", &dir, &serial, "--reason", "key-compromise"]).unwrap();
        ran(&["crl", "--dir", &dir, "--days", "3"]).unwrap();
        assert_eq!(fs::read_to_string(path("ca/crl.number")).unwrap(), "3\n");
        let ledger = || CaFolder::open(Path::new(&dir)).unwrap().lines().unwrap();
        let (new, before) = (path("new"), ledger());
        for (key_out, out) in [(&key, &new), (&new, &out), (&new, &new)] {
            assert!(ran(&[&node[..], &["--key-out", key_out, "--out", out]].concat()).is_err());
        }
        assert!(!Path::new(&new).exists());
        assert_eq!(ledger(), before, "nothing is recorded when a file is in the way");
    }

    #[test]
    fn wrong_usage_says_what_is_wrong() {
        let base = ["issue", "--dir", "ca", "--out", "o"];
        for (more, says) in [
            (&["--ori", "NV0020100", "--host", "a.example", "--csr", "c"][..], "not a California agency"),
            (&["--ori", "CA0190000", "--host", "https://a", "--csr", "c"], "neither a DNS name"),
            (&["--ori", "CA0190000", "--host", "a.example"], "--csr"),
            (&["--ori", "CA0190000", "--host", "a.example", "--csr", "c", "--key-out", "k"], "cannot be used with"),
            (&["--ori", "CA0190000", "--csr", "c"], "--host"),
            (&["--ori", "CA0190000", "--csr", "c", "--host", "a.example", "--seal"], "cannot be used with"),
            (&["--ori", "CA0190000", "--csr", "c", "--host", "a.example", "--days", "399"], "399"),
        ] {
            let error = ran(&[&base[..], more].concat()).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        let error = ran(&["revoke", "--dir", "ca", "12", "--reason", "because"]).unwrap_err().to_string();
        assert!(error.contains("serial number"), "{error}");
    }
}
