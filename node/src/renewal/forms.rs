//! The forms that a reviewer fills in: a file for each partner about whom something changed, and one file with a line for
//! each of the others, so that hundreds of partners are a day's work.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use agreements::ids::{Digest, Ori};
use agreements::packet::Changed;
use agreements::review::{Decided, Item, Verdict};
use serde::Deserialize;

use super::review::{Decision, Due};
use crate::evidence;
use crate::keyfile::{self, KeyFileError};

/// The file of those about whom nothing changed.
pub const UNCHANGED: &str = "unchanged.toml";
/// The longest form that is read, in bytes.
const MAX_FORM: u64 = 1 << 20;

/// Why forms are not written or read.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// A folder or a file cannot be read or made.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A form that says what cannot be taken; the sentence names where.
    #[error("{}: {why}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to write instead.
        why: String,
    },
}

fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> FormError + 'a {
    move |source| FormError::Io { action, path: path.to_owned(), source }
}

/// What writing the forms made.
#[derive(Debug, Default)]
pub struct Written {
    /// The new files.
    pub files: Vec<PathBuf>,
    /// Files that were there before, and were left alone.
    pub kept: Vec<PathBuf>,
    /// How many partners stand in [`UNCHANGED`].
    pub unchanged: usize,
}

/// Writes the forms of all who are `due` into `folder`. A form that is there already is left as it is, so that doing it again
/// loses nothing that was decided.
///
/// # Errors
/// See [`FormError`].
pub fn write(folder: &Path, due: &[Due]) -> Result<Written, FormError> {
    fs::create_dir_all(folder).map_err(io("make the folder", folder))?;
    let mut written = Written::default();
    let (unchanged, changed): (Vec<&Due>, Vec<&Due>) = due.iter().partition(|due| due.is_unchanged());
    written.unchanged = unchanged.len();
    let mut forms: Vec<(PathBuf, String)> =
        changed.into_iter().map(|due| (folder.join(format!("{}.toml", due.partner)), form(due))).collect();
    if !unchanged.is_empty() {
        forms.push((folder.join(UNCHANGED), list(&unchanged)));
    }
    for (path, text) in forms {
        match keyfile::write_public(&path, text.as_bytes()) {
            Ok(()) => written.files.push(path),
            Err(KeyFileError::Exists(_)) => written.kept.push(path),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(written)
}

/// A partner's text as it may stand in a comment: on one line, and nothing that moves a terminal's cursor or turns its
/// writing round.
fn one_line(text: &str) -> String {
    let harmful = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if harmful(c) { ' ' } else { c }).collect()
}

fn heading(due: &Due) -> String {
    let mut text = format!(
        "# {} ({}), agreement {}, which ends on {}\n",
        one_line(&due.name),
        due.partner,
        due.agreement,
        due.sunset_on
    );
    // Writing to a text does not fail.
    for remark in &due.remarks {
        let _ = writeln!(text, "#   ! {}", one_line(remark));
    }
    for Changed { field, before, after } in &due.changes {
        let shown = |side: &Option<String>| side.as_deref().map_or_else(|| "(nothing)".to_owned(), one_line);
        let _ = match (&due.reviewed_at, before) {
            (None, None) => writeln!(text, "#   {}: {}", one_line(field), shown(after)),
            _ => writeln!(text, "#   {}: {} -> {}", one_line(field), shown(before), shown(after)),
        };
    }
    text
}

fn form(due: &Due) -> String {
    let since = due.reviewed_at.map_or_else(
        || "# It was never reviewed: everything that it says is new.\n".to_owned(),
        |at| format!("# What changed since the review of {at}:\n"),
    );
    let mut text = format!(
        "# Review of one partner (V-30). Decide each item: \"ok\", \"not ok: why\" or \"note: what\". An item that is not ok\n\
         # keeps the renewal from being signed. Blank items stay open.\n\n{since}{}\npartner = \"{}\"\npacket = \"{}\"\n\n[items]\n",
        heading(due),
        due.partner,
        due.packet
    );
    for item in Item::ALL {
        let _ = writeln!(text, "{:14} = \"\"  # {}", item.as_str(), item.asks());
    }
    text += "\n# What was looked at, where it is kept: a file beside this one, or its SHA-256.\n[evidence]\n# audit = \"audit-report.pdf\"\n";
    text
}

fn list(unchanged: &[&Due]) -> String {
    let mut text = "# Partners about whom nothing but figures changed since they were last reviewed, and all was in order (V-30).\n\
                    # decision = \"ok\" decides every item as ok. For anything else: `concordat agreement review start FOLDER --apart ORI`\n\
                    # writes that partner's own form, and its line here stays blank.\n"
        .to_owned();
    for due in unchanged {
        let _ = write!(
            text,
            "\n{}[[partner]]\nori = \"{}\"\npacket = \"{}\"\ndecision = \"\"\n",
            heading(due),
            due.partner,
            due.packet
        );
    }
    text
}

/// Writes the partner's own form, whether or not something changed.
///
/// # Errors
/// See [`FormError`].
pub fn write_apart(folder: &Path, due: &Due) -> Result<PathBuf, FormError> {
    fs::create_dir_all(folder).map_err(io("make the folder", folder))?;
    let path = folder.join(format!("{}.toml", due.partner));
    keyfile::write_public(&path, form(due).as_bytes())?;
    Ok(path)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    partner: Ori,
    packet: Digest,
    items: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    evidence: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default)]
    partner: Vec<Line>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    ori: Ori,
    packet: Digest,
    decision: String,
}

/// What the forms in a folder say.
#[derive(Debug, Default)]
pub struct Read {
    /// What was decided.
    pub decided: Vec<Decision>,
    /// Partners with items that are still blank, and which.
    pub open: Vec<(Ori, Vec<String>)>,
    /// Forms that cannot be taken; the others are.
    pub problems: Vec<FormError>,
    /// The files that they name as evidence: what is decided has their hashes.
    pub evidence: Vec<PathBuf>,
}

/// Reads every form in a folder.
///
/// # Errors
/// The folder cannot be read.
pub fn read(folder: &Path) -> Result<Read, FormError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(io("read the folder", folder))? {
        let path = entry.map_err(io("read the folder", folder))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut all = Read::default();
    for path in paths {
        let taken = if path.file_name().is_some_and(|name| name == UNCHANGED) {
            read_list(&path, &mut all)
        } else {
            read_form(&path, &mut all)
        };
        all.problems.extend(taken.err());
    }
    Ok(all)
}

fn text(path: &Path) -> Result<String, FormError> {
    let size = fs::metadata(path).map_err(io("read", path))?.len();
    if size > MAX_FORM {
        return Err(FormError::Form { path: path.to_owned(), why: "a form is at most 1 MiB".to_owned() });
    }
    fs::read_to_string(path).map_err(io("read", path))
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, FormError> {
    toml::from_str(&text(path)?).map_err(|error| FormError::Form { path: path.to_owned(), why: error.to_string() })
}

fn read_form(path: &Path, all: &mut Read) -> Result<(), FormError> {
    let wrong = |why: String| FormError::Form { path: path.to_owned(), why };
    let form: Form = parse(path)?;
    for name in form.items.keys().chain(form.evidence.keys()) {
        name.parse::<Item>().map_err(|error| wrong(format!("{name}: {error}")))?;
    }
    let (mut items, mut open, mut files) = (Vec::new(), Vec::new(), Vec::new());
    for item in Item::ALL {
        let said = form.items.get(item.as_str()).map_or("", |said| said.trim());
        let Some((verdict, note)) = verdict(said).map_err(|why| wrong(format!("{item}: {why}")))? else {
            open.push(item.to_string());
            continue;
        };
        let evidence = form.evidence.get(item.as_str()).filter(|named| !named.trim().is_empty());
        let evidence = evidence.map(|named| hash_of(path, named, &mut files)).transpose()?;
        items.push(Decided { item, verdict, note, evidence });
    }
    if open.is_empty() {
        all.evidence.extend(files);
        all.decided.push(Decision { partner: form.partner, packet: form.packet, items });
    } else {
        all.open.push((form.partner, open));
    }
    Ok(())
}

/// `ok`, `not ok: why`, `note: what`; `None` while it is blank.
fn verdict(said: &str) -> Result<Option<(Verdict, String)>, String> {
    let (word, note) = said.split_once(':').map_or((said, ""), |(word, note)| (word.trim(), note.trim()));
    let verdict = match word {
        "" if note.is_empty() => return Ok(None),
        "ok" if note.is_empty() => Verdict::Ok,
        "not ok" if !note.is_empty() => Verdict::NotOk,
        "note" if !note.is_empty() => Verdict::Note,
        _ => return Err(format!("`{}`: write \"ok\", \"not ok: why\" or \"note: what\"", one_line(said))),
    };
    Ok(Some((verdict, note.to_owned())))
}

/// The hash that is named, or that of the file that is, which is put to `files`.
fn hash_of(form: &Path, named: &str, files: &mut Vec<PathBuf>) -> Result<Digest, FormError> {
    if let Ok(digest) = named.parse() {
        return Ok(digest);
    }
    let path = form.parent().unwrap_or_else(|| Path::new(".")).join(named);
    let size = fs::metadata(&path).map_err(io("read the evidence", &path))?.len();
    if size > evidence::MAX_FILE {
        let why = format!(
            "evidence is at most {} MiB; give its SHA-256 instead (`sha256sum FILE`)",
            evidence::MAX_FILE >> 20
        );
        return Err(FormError::Form { path, why });
    }
    let digest = Digest::of(&fs::read(&path).map_err(io("read the evidence", &path))?);
    files.push(path);
    Ok(digest)
}

fn read_list(path: &Path, all: &mut Read) -> Result<(), FormError> {
    let list: List = parse(path)?;
    for Line { ori, packet, decision } in list.partner {
        match decision.trim() {
            "" => all.open.push((ori, vec!["decision".to_owned()])),
            "ok" => {
                let ok = |item| Decided { item, verdict: Verdict::Ok, note: String::new(), evidence: None };
                all.decided.push(Decision { partner: ori, packet, items: Item::ALL.map(ok).to_vec() });
            }
            other => all.problems.push(FormError::Form {
                path: path.to_owned(),
                why: format!(
                    "{ori}: `{}`: write \"ok\" or leave it blank; for anything else take its own form (`review start FOLDER --apart {ori}`)",
                    one_line(other)
                ),
            }),
        }
    }
    // A partner that is decided apart need not be decided here.
    let decided: Vec<Ori> = all.decided.iter().map(|it| it.partner).collect();
    all.open.retain(|(ori, what)| what.as_slice() != ["decision"] || !decided.contains(ori));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(ori: &str, reviewed: bool) -> Due {
        let at = "2026-11-23T20:17:00Z".parse().unwrap();
        Due {
            partner: ori.parse().unwrap(),
            name: "Birch\nCity # Police".to_owned(),
            agreement: agreements::ids::AgreementId::new(at, [1; 10]),
            sunset_on: "2026-12-23".parse().unwrap(),
            packet: Digest::of(ori.as_bytes()),
            reviewed_at: reviewed.then_some(at),
            changes: vec![Changed {
                field: "people.accounts".to_owned(),
                before: reviewed.then(|| "12".to_owned()),
                after: Some("14".to_owned()),
            }],
            remarks: Vec::new(),
        }
    }

    #[test]
    fn forms_go_round_and_what_was_decided_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let all = [due("CA0990100", false), due("CA0990200", true), due("CA0990300", true)];
        let written = write(folder.path(), &all).unwrap();
        assert_eq!((written.files.len(), written.unchanged), (2, 2));
        let read_back = read(folder.path()).unwrap();
        assert!(read_back.decided.is_empty() && read_back.problems.is_empty(), "{read_back:?}");
        assert_eq!(read_back.open.len(), 3, "all is blank: {read_back:?}");

        let list = folder.path().join(UNCHANGED);
        let text = fs::read_to_string(&list).unwrap();
        assert!(text.contains("people.accounts: 12 -> 14"), "{text}");
        fs::write(&list, text.replacen("decision = \"\"", "decision = \"ok\"", 1)).unwrap();
        let form = folder.path().join("CA0990100.toml");
        let text = fs::read_to_string(&form).unwrap();
        assert!(
            text.contains("# Birch City # Police (CA0990100)") && text.contains("#   people.accounts: 14"),
            "{text}"
        );
        fs::write(folder.path().join("report.pdf"), b"found").unwrap();
        let filled = text
            .replace("= \"\"  #", "= \"ok\"  #")
            .replace("audit          = \"ok\"", "audit          = \"not ok: two logins: shared\"")
            .replace("# audit = \"audit-report.pdf\"", "audit = \"report.pdf\"");
        fs::write(&form, &filled).unwrap();
        let again = write(folder.path(), &all).unwrap();
        assert_eq!((again.files.len(), again.kept.len()), (0, 2));

        let Read { decided, open, problems, evidence } = read(folder.path()).unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(open, [("CA0990300".parse().unwrap(), vec!["decision".to_owned()])]);
        let first = decided.iter().find(|it| it.partner.as_str() == "CA0990100").unwrap();
        let audit = first.items.iter().find(|it| it.item == Item::Audit).unwrap();
        assert_eq!((audit.verdict, audit.note.as_str()), (Verdict::NotOk, "two logins: shared"));
        assert_eq!(audit.evidence, Some(Digest::of(b"found")));
        assert_eq!(evidence, [folder.path().join("report.pdf")], "the file itself is to be kept");
        assert_eq!(decided.len(), 2);

        for (from, to, says) in [
            ("not ok: two logins: shared", "perhaps", "write \"ok\", \"not ok: why\""),
            ("not ok: two logins: shared", "not ok", "write \"ok\", \"not ok: why\""),
            ("[items]", "[items]\nmood = \"ok\"", "no such item"),
            ("partner = \"CA0990100\"", "partner = \"NV0020100\"", "1798.90.5"),
            ("report.pdf", "none.pdf", "none.pdf"),
        ] {
            fs::write(&form, filled.replace(from, to)).unwrap();
            let Read { decided, problems, .. } = read(folder.path()).unwrap();
            assert!(problems.len() == 1 && problems[0].to_string().contains(says), "{says}: {problems:?}");
            assert_eq!(decided.len(), 1, "the others are taken: {says}");
        }
    }
}
