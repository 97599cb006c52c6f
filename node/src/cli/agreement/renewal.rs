//! `concordat agreement renew`, `approve`, `tosign` and `calendar`: from a review to a signature.

use std::fs;
use std::path::PathBuf;

use agreements::approval::ApprovalKind;
use agreements::ids::AgreementId;
use certs::jws;
use clap::Args;
use jiff::civil::Date;
use serde::Serialize;
use serde_json::json;

use super::exit;
use crate::cli::exit::Exit;
use crate::cli::official::private_key;
use crate::cli::place::{As, Place};
use crate::cli::{Output, Problem, local};
use crate::config::Config;
use crate::exchange::lifecycle::{ActError, Delivery};
use crate::exchange::standing::OFFICIAL_TYP;
use crate::keyfile;
use crate::registry::accounts::{self, Action};
use crate::renewal::approvals::{self, Approval, Signs};
use crate::renewal::calendar;
use crate::renewal::renew::{self, Options, Renewed};

/// Arguments of `agreement renew`.
#[derive(Debug, Args)]
pub struct Renew {
    /// The agreement to renew
    #[arg(required_unless_present = "all_due", conflicts_with = "all_due")]
    id: Option<AgreementId>,
    /// Renew every agreement that ends within 90 days and that nothing renews yet
    #[arg(long)]
    all_due: bool,
    /// From the start of which day; two weeks before the old one's sunset otherwise, or today when that has passed
    #[arg(long, value_parser = local::date, value_name = "DATE", conflicts_with = "all_due")]
    effective_on: Option<Date>,
    /// Until the start of which day; the anniversary of the effective date otherwise, and never later
    #[arg(long, value_parser = local::date, value_name = "DATE", conflicts_with_all = ["all_due", "spread"])]
    sunset_on: Option<Date>,
    /// Choose the sunset, half a year to a year ahead, in the week in which the fewest agreements end
    #[arg(long)]
    spread: bool,
    #[command(flatten)]
    person: As,
}

/// What came of one renewal.
#[derive(Serialize)]
#[serde(untagged)]
enum Outcome {
    Offered(Renewed),
    Refused { renews: AgreementId, missing: Vec<String> },
}

pub(super) async fn renew(place: &Place, args: Renew, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let node = place.node()?;
    let options = Options { effective_on: args.effective_on, sunset_on: args.sunset_on, spread: args.spread };
    let by = args.person.user;
    if let Some(id) = args.id {
        let renewed = renew::renew(&node, id, options, &by).await?;
        out.one(&renewed, said)?;
        return Ok(exit(&renewed.delivery));
    }
    // Who may not is told so on a day on which nothing is due as well.
    accounts::operator(&mut node.registry().reader()?, &by, Action::ManageAgreements)?
        .map_err(|why| Problem::refused(why, None))?;
    let due = renew::due(&mut node.registry().reader()?, node.ori(), node.now())?;
    let mut outcomes = Vec::new();
    for renews in due {
        outcomes.push(match renew::renew(&node, renews, options, &by).await {
            Ok(renewed) => Outcome::Offered(renewed),
            Err(ActError::Refused(missing)) => Outcome::Refused { renews, missing },
            // What failed for one fails for all.
            Err(error) => return Err(error.into()),
        });
    }
    out.list(&["renews", "agreement", "partner", "effective", "sunset", "what"], &outcomes, |outcome| match outcome {
        Outcome::Offered(it) => vec![
            it.renews.to_string(),
            it.id.to_string(),
            it.partner.to_string(),
            it.effective_on.to_string(),
            it.sunset_on.to_string(),
            delivered(it).to_owned(),
        ],
        Outcome::Refused { renews, missing } => {
            let mut cells = vec![renews.to_string()];
            cells.resize(5, String::new());
            cells.push(missing.join("; "));
            cells
        }
    })?;
    let refused = outcomes.iter().any(|outcome| match outcome {
        Outcome::Offered(it) => exit(&it.delivery) == Exit::Refused,
        Outcome::Refused { .. } => true,
    });
    Ok(if refused { Exit::Refused } else { Exit::Done })
}

fn delivered(renewed: &Renewed) -> &'static str {
    match (&renewed.delivery, renewed.already) {
        (Delivery::Pending { .. }, _) => "recorded; the partner does not have it yet",
        (Delivery::Refused { .. }, _) => "recorded; the partner refuses it",
        (_, true) => "was offered before, and the partner has it",
        (_, false) => "offered",
    }
}

fn said(it: &Renewed) -> String {
    let id = it.id;
    let pending = it.delivery.lacking(id).map_or_else(String::new, |lacking| format!("\n{lacking}"));
    format!(
        "Agreement {id} renews {} with {}, from {} until {}: {}.{pending}\nNext, for both agencies: concordat agreement \
         approve {id} --kind counsel .., then concordat agreement sign {id}",
        it.renews,
        it.partner,
        it.effective_on,
        it.sunset_on,
        delivered(it)
    )
}

/// Arguments of `agreement approve`.
#[derive(Debug, Args)]
pub struct Approve {
    /// The agreement's id; what is approved is this document and no other
    id: AgreementId,
    /// counsel, `public_meeting` (Civ. Code 1798.90.55(a)) or `signing_authority`
    #[arg(long)]
    kind: ApprovalKind,
    /// Whose approval it is: a body or a title
    #[arg(long)]
    by: String,
    /// Where it stands written
    #[arg(long)]
    reference: String,
    /// The day on which it was given
    #[arg(long, value_parser = local::date)]
    date: Date,
    #[command(flatten)]
    person: As,
}

pub(super) async fn approve(place: &Place, args: Approve, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let config = place.config()?;
    let db = place.registry_of(&config)?;
    let Approve { id, kind, by, reference, date, person } = args;
    let approval = Approval { kind, by, reference, on: date };
    let new = approvals::approve(&db, config.agency.ori, id, approval, &person.user).await?;
    out.one(&json!({"agreement": id, "kind": kind, "new": new}), |_| {
        let was = if new { "Recorded" } else { "It was recorded before" };
        format!("{was}: {kind} for agreement {id}. Next: the other approvals, then concordat agreement sign {id}")
    })?;
    Ok(Exit::Done)
}

/// Arguments of `agreement tosign`.
#[derive(Debug, Args)]
pub struct ToSign {
    /// The agreement's id
    id: AgreementId,
    /// Where to write what the smart card signs
    #[arg(long)]
    out: PathBuf,
}

pub(super) fn to_sign(place: &Place, args: ToSign, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let Signs { document, key } = signs(place, &place.config()?, args.id)?;
    let input = jws::to_sign(&document, OFFICIAL_TYP, &key).map_err(refused)?;
    keyfile::write_public(&args.out, &input)?;
    let (id, file) = (args.id, args.out.display().to_string());
    out.one(&json!({"agreement": id, "file": args.out}), |_| {
        format!(
            "Wrote {file}: what the official signs of agreement {id} (ECDSA with SHA-256). With a card:\n  pkcs11-tool --sign \
             --mechanism ECDSA-SHA256 --id 02 --input-file {file} --output-file {file}.sig\nWith OpenSSL: openssl dgst \
             -sha256 -sign official.key -out {file}.sig {file}\nThen: concordat agreement sign {id} --official-signature \
             {file}.sig"
        )
    })?;
    Ok(Exit::Done)
}

fn signs(place: &Place, config: &Config, id: AgreementId) -> Result<Signs, Problem> {
    let mut conn = place.registry_of(config)?.reader()?;
    approvals::to_sign(&mut conn, config.agency.ori, id)?.map_err(|why| Problem::refused(why, None))
}

fn refused(error: jws::JwsError) -> Problem {
    Problem::refused(format!("the official's signature: {error}"), None)
}

/// How the official signs.
#[derive(Debug, Args)]
pub struct ByOfficial {
    /// The official's key file; its passphrase is asked for
    #[arg(long, value_name = "FILE", conflicts_with = "official_signature")]
    official_key: Option<PathBuf>,
    /// A file, readable by its owner alone, with that passphrase
    #[arg(long, value_name = "FILE", requires = "official_key")]
    passphrase_file: Option<PathBuf>,
    /// The signature that a smart card made over the file of `agreement tosign`: 64 bytes, or DER
    #[arg(long, value_name = "FILE")]
    official_signature: Option<PathBuf>,
}

/// Records the official's own signature, if one was given: by key file, or made by a smart card. Whether one was: what is
/// refused after that says that it is kept.
pub(super) async fn official_signs(place: &Place, id: AgreementId, how: ByOfficial, by: &str) -> Result<bool, Problem> {
    let ByOfficial { official_key, passphrase_file, official_signature } = how;
    if official_key.is_none() && official_signature.is_none() {
        return Ok(false);
    }
    let config = place.config_alone()?;
    let Signs { document, key } = signs(place, &config, id)?;
    let seal = if let Some(path) = official_key {
        let private = private_key(&path, passphrase_file.as_deref())?;
        if *private.public() != key {
            let hint = "it must be the key that the agreement names; draft a new one after another was enrolled";
            return Err(Problem::refused(format!("{} is another key", path.display()), Some(hint.to_owned())));
        }
        jws::sign(&document, OFFICIAL_TYP, &private, None).map_err(refused)?
    } else {
        let path = official_signature.unwrap_or_default();
        let bytes = fs::read(&path)
            .map_err(|error| Problem::failure(format!("cannot read {}: {error}", path.display()), None))?;
        jws::signed_elsewhere(&document, OFFICIAL_TYP, &key, &bytes).map_err(refused)?
    };
    let db = place.registry_of(&config)?;
    approvals::signed_by_official(&db, config.agency.ori, id, seal, by).await?;
    Ok(true)
}

/// Arguments of `agreement calendar`.
#[derive(Debug, Args)]
pub struct CalendarArgs {
    /// Where to write the calendar; an earlier one is replaced. Standard output when absent
    #[arg(long)]
    out: Option<PathBuf>,
}

pub(super) fn calendar(place: &Place, args: CalendarArgs, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let config = place.config()?;
    let now = place.now();
    let days = calendar::days(&mut place.registry_of(&config)?.reader()?, config.agency.ori, now)?;
    let text = calendar::text(&days, config.peer.url.host(), now);
    match args.out {
        Some(path) => {
            keyfile::replace(&path, text.as_bytes())?;
            let count = days.len();
            out.one(&json!({"file": path, "days": count}), |_| format!("Wrote {}: {count} days.", path.display()))?;
        }
        None => out.one(&json!({"calendar": text}), |_| text.clone())?,
    }
    Ok(Exit::Done)
}
