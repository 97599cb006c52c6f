//! `concordat official`: the key with which the official signs agreements, besides the node's seal.

use std::fs;
use std::path::{Path, PathBuf};

use certs::key::{Algorithm, KeyError, PublicKey, SigningKey};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::exit::Exit;
use super::place::Place;
use super::{Output, Problem, passphrase};
use crate::keyfile;

/// Enrol the key with which the official signs agreements.
#[derive(Debug, Subcommand)]
pub enum OfficialCommand {
    /// Make the official's key, locked by a passphrase, or take the public key of a smart card
    #[command(
        after_help = "Examples:\n  concordat official enroll --out official.key\n  concordat official enroll --public card.pem\n\nThe key belongs to the official, not to the node: keep the file where only that person can use it. With a smart card, read its public key first: pkcs11-tool --read-object --type pubkey --id 02 --output-file card.der, then openssl pkey -pubin -inform DER -in card.der -out card.pem."
    )]
    Enroll(Enroll),
}

/// Arguments of `official enroll`.
#[derive(Debug, Args)]
pub struct Enroll {
    /// Where to write the new private key; never over another file
    #[arg(long, required_unless_present = "public", conflicts_with = "public")]
    out: Option<PathBuf>,
    /// The public key of a smart card: PEM, P-256
    #[arg(long)]
    public: Option<PathBuf>,
    /// A file, readable by its owner alone, with the passphrase; it is asked for otherwise
    #[arg(long, requires = "out")]
    passphrase_file: Option<PathBuf>,
}

#[derive(Serialize)]
struct Enrolled {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    official_key: String,
}

pub(super) fn run(place: &Place, command: OfficialCommand, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let OfficialCommand::Enroll(Enroll { out: file, public, passphrase_file }) = command;
    let public = match (&file, public) {
        (Some(path), _) => {
            let key = SigningKey::generate_p256()?;
            let passphrase = passphrase::ask_new(passphrase_file.as_deref())?;
            keyfile::write_secret(path, &key.to_locked_pem(&passphrase)?)?;
            key.public().clone()
        }
        (None, Some(path)) => public_key(&path)?,
        (None, None) => return Err(Problem::usage("name --out or --public", None)),
    };
    let enrolled = Enrolled { file, official_key: public.to_string() };
    out.one(&enrolled, |enrolled| {
        let wrote = enrolled.file.as_ref().map(|file| format!("Wrote {}.\n", file.display())).unwrap_or_default();
        format!(
            "{wrote}Set it under [agency] in {}:\n\n  official_key = \"{}\"\n\nThen send partners the new descriptor \
             (concordat peer export): agreements that are drafted from then on name the key.",
            place.dir.join(crate::config::FILE_NAME).display(),
            enrolled.official_key
        )
    })?;
    Ok(Exit::Done)
}

fn public_key(path: &Path) -> Result<PublicKey, Problem> {
    let pem =
        fs::read(path).map_err(|error| Problem::failure(format!("cannot read {}: {error}", path.display()), None))?;
    let key = PublicKey::from_pem(&pem)?;
    if key.algorithm() != Algorithm::Es256 {
        return Err(Problem::usage(
            format!("{} is no P-256 key, and officials sign with P-256", path.display()),
            Some("make the card's key on the curve P-256 (prime256v1)".to_owned()),
        ));
    }
    Ok(key)
}

/// The official's private key of a file; the passphrase is asked for when one locks it.
pub(super) fn private_key(path: &Path, passphrase_file: Option<&Path>) -> Result<SigningKey, Problem> {
    let pem = keyfile::read_secret(path)?;
    match SigningKey::from_pem(&pem) {
        Err(KeyError::Pem) => Ok(SigningKey::from_locked_pem(&pem, &passphrase::ask(passphrase_file)?)?),
        key => Ok(key?),
    }
}
