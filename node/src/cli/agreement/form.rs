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
use crate::config::Config;
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
    let mut home = Home { place, config: None };
    let mut found = find(&mut home, &args.which)?;
    if let Some(framework) = &found.agreement.framework {
        found.framework = kept::read(&home.config()?.store.documents, framework.sha256)?;
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

/// The node's configuration, read when it is needed first: documents in files need none.
struct Home<'p> {
    place: &'p Place,
    config: Option<Config>,
}

impl Home<'_> {
    fn config(&mut self) -> Result<&Config, Problem> {
        match &mut self.config {
            Some(config) => Ok(config),
            none => Ok(none.insert(self.place.config()?)),
        }
    }
}

fn find(home: &mut Home<'_>, which: &Which) -> Result<Found, Problem> {
    let place = home.place;
    match which {
        Which::Kept(id) => {
            let config = home.config()?;
            let db = place.registry_of(config)?;
            let found = document::read(&mut db.reader()?, config.agency.ori, *id, place.now());
            found.map_err(|error| unreadable(*id, error))?.ok_or_else(|| none(*id))
        }
        Which::File(path) => {
            let (agreement, sha256) = in_file(path)?;
            Ok(Found::without_streams(agreement, sha256, Standing::Draft, place.now()))
        }
    }
}

/// A document that is no document any more; what else is wrong with an agreement's rows stands in the rendering.
fn unreadable(id: AgreementId, error: diesel::result::Error) -> Problem {
    match error {
        diesel::result::Error::DeserializationError(error) => Problem::failure(
            format!("the row of agreement {id} was changed by other hands and cannot be read: {error}"),
            Some("restore the registry from a backup; the partner and the signed copies have the document".to_owned()),
        ),
        other => other.into(),
    }
}

/// An agreement as it stands in what is compared.
fn compared(home: &mut Home<'_>, which: &Which) -> Result<Agreement, Problem> {
    let found = find(home, which)?;
    match found.standing {
        Standing::Changed(why) => Err(Problem::failure(
            format!(
                "the rows of agreement {} were changed by other hands and count for nothing: {why}",
                found.agreement.id
            ),
            Some("compare the files that were offered or signed".to_owned()),
        )),
        Standing::Known(_) | Standing::Draft => Ok(found.agreement),
    }
}

pub(super) fn none(id: AgreementId) -> Problem {
    let hint = "`concordat agreement list` shows those that there are".to_owned();
    Problem::refused(format!("there is no agreement {id}"), Some(hint))
}

fn in_file(path: &Path) -> Result<(Agreement, Digest), Problem> {
    let bytes = read(&path.to_owned())?;
    let bytes = bytes.trim_ascii_end();
    is_document(path, bytes)?;
    let agreement =
        Agreement::from_bytes(bytes).map_err(|error| Problem::usage(format!("{}: {error}", path.display()), None))?;
    Ok((agreement, Digest::of(bytes)))
}

pub(super) fn diff(place: &Place, args: Diff, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let mut home = Home { place, config: None };
    let (old, new) = (compared(&mut home, &args.old)?, compared(&mut home, &args.new)?);
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
        let mut lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        lines.push(format!("{wider} wider, {narrower} narrower, {other} otherwise changed."));
        lines.join("\n")
    })?;
    Ok(Exit::Done)
}
