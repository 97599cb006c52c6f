//! `concordat agreement render` and `diff`: an agreement as a document for people, and what another one changes.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use agreements::agreement::Agreement;
use agreements::difference::{Effect, differences};
use agreements::ids::{AgreementId, Digest};
use clap::Args;
use serde::Serialize;

use super::{is_document, read};
use crate::cli::exit::Exit;
use crate::cli::place::Place;
use crate::cli::{Output, Problem};
use crate::document::{self, Found, Standing, html, kept, pdf, summary};
use crate::keyfile;

/// An agreement of this node, or a document in a file.
#[derive(Debug, Clone)]
pub(super) enum Which {
    Kept(AgreementId),
    File(PathBuf),
}

impl FromStr for Which {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.parse().map_or_else(|_| Self::File(text.into()), Self::Kept))
    }
}

/// Arguments of `agreement render`.
#[derive(Debug, Args)]
pub struct Render {
    /// The agreement's id, or a document that `agreement draft` wrote
    #[arg(value_name = "ID|FILE")]
    which: Which,
    /// Write a page of HTML [default: as the name of --out says]
    #[arg(long, conflicts_with = "pdf")]
    html: bool,
    /// Write a tagged PDF (PDF/UA-1) [default: as the name of --out says]
    #[arg(long)]
    pdf: bool,
    /// Where to write it; a file that is there is not overwritten
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Arguments of `agreement diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// The earlier one: an agreement's id, or a document that `agreement draft` wrote
    #[arg(value_name = "OLD")]
    old: Which,
    /// The later one
    #[arg(value_name = "NEW")]
    new: Which,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Form {
    Html,
    Pdf,
}

#[derive(Serialize)]
struct Rendered {
    agreement: AgreementId,
    sha256: Digest,
    form: Form,
    file: PathBuf,
    in_force: bool,
    notice: String,
}

pub(super) fn render(place: &Place, args: Render, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let form = form_of(&args)?;
    let mut found = find(place, &args.which)?;
    if let Some(framework) = &found.agreement.framework {
        found.framework = kept::read(&place.config()?.store.documents, framework.sha256)?;
    }
    let text = summary::readable(&found);
    let bytes = match form {
        Form::Html => html::render(&text)?.into_bytes(),
        Form::Pdf => pdf::render(&text)?,
    };
    keyfile::write_public(&args.out, &bytes)?;
    let rendered = Rendered {
        agreement: found.agreement.id,
        sha256: found.sha256,
        form,
        file: args.out,
        in_force: text.notice().in_force,
        notice: text.notice().text.clone(),
    };
    out.one(&rendered, |rendered| format!("Wrote {}.\n{}", rendered.file.display(), rendered.notice))?;
    Ok(Exit::Done)
}

fn form_of(args: &Render) -> Result<Form, Problem> {
    let named = args.out.extension().and_then(|name| name.to_str()).map(str::to_ascii_lowercase);
    match (args.html, args.pdf, named.as_deref()) {
        (true, _, _) | (false, false, Some("html" | "htm")) => Ok(Form::Html),
        (_, true, _) | (false, false, Some("pdf")) => Ok(Form::Pdf),
        _ => Err(Problem::usage(
            format!("{} could be anything", args.out.display()),
            Some("say --html or --pdf, or end its name in .html or .pdf".to_owned()),
        )),
    }
}

fn find(place: &Place, which: &Which) -> Result<Found, Problem> {
    match which {
        Which::Kept(id) => {
            let config = place.config()?;
            let db = place.registry_of(&config)?;
            document::read(&mut db.reader()?, config.agency.ori, *id, place.now())?.ok_or_else(|| none(*id))
        }
        Which::File(path) => {
            let (agreement, sha256) = in_file(path)?;
            Ok(Found::without_streams(agreement, sha256, Standing::Draft, place.now()))
        }
    }
}

fn none(id: AgreementId) -> Problem {
    let hint = "`concordat agreement list` shows those that there are".to_owned();
    Problem::refused(format!("there is no agreement {id}"), Some(hint))
}

fn in_file(path: &Path) -> Result<(Agreement, Digest), Problem> {
    let bytes = read(&path.to_owned())?;
    let bytes = bytes.trim_ascii_end();
    is_document(path, bytes)?;
    let agreement = Agreement::from_bytes(bytes)
        .map_err(|error| Problem::usage(format!("{}: {error}", path.display()), None))?;
    Ok((agreement, Digest::of(bytes)))
}

pub(super) fn diff(place: &Place, args: Diff, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let (old, new) = (find(place, &args.old)?.agreement, find(place, &args.new)?.agreement);
    let found = differences(Some(&old), &new);
    if found.is_empty() && out.is_for_people() {
        out.one(&(), |()| "The two say the same.".to_owned())?;
        return Ok(Exit::Done);
    }
    if !out.is_for_people() {
        out.list(&[], &found, |_| Vec::new())?;
        return Ok(Exit::Done);
    }
    let count = |effect: Effect| found.iter().filter(|it| it.effect == effect).count();
    let (wider, narrower, other) = (count(Effect::Wider), count(Effect::Narrower), count(Effect::Neutral));
    out.one(&found, |found| {
        let lines: String = found.iter().map(|it| format!("{it}\n")).collect();
        format!("{lines}{wider} wider, {narrower} narrower, {other} otherwise changed.")
    })?;
    Ok(Exit::Done)
}
