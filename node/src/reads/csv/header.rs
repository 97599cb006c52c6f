//! The header of a CSV: where each column is.

use std::io;

use crate::config::Columns;
use crate::reads::LineError;

/// The most columns of a header that are repeated to the person who reads the error, and the longest name.
const SHOWN: (usize, usize) = (60, 40);

/// Why a CSV is refused before its first row. Nothing of it was taken.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// Nothing is in it.
    #[error("there is no header: the first line names the columns, at least plate, seen_at and camera")]
    Empty,
    /// The first line is no row of names.
    #[error("the header: {0}")]
    Line(#[from] LineError),
    /// Columns that must be there are not, or not by the names that the configuration gives them.
    #[error("{}", lacking(.missing, .found))]
    Missing {
        /// Our name of each, and what it is called in such a file.
        missing: Vec<(&'static str, String)>,
        /// What the header has.
        found: Vec<String>,
    },
    /// One column that is used stands twice.
    #[error("the header has the column `{0}` twice, and it cannot be told which one counts; delete one")]
    Twice(String),
    /// It cannot be read.
    #[error("cannot read it: {0}")]
    Source(#[from] io::Error),
}

fn lacking(missing: &[(&'static str, String)], found: &[String]) -> String {
    let wanted: Vec<String> = missing.iter().map(|(own, name)| format!("{own} (`{name}`)")).collect();
    let shown: Vec<String> = found.iter().take(SHOWN.0).map(|name| format!("`{}`", printable(name))).collect();
    let more = if found.len() > SHOWN.0 { ", and more" } else { "" };
    let lines: Vec<String> = missing.iter().map(|(own, _)| format!("{own} = \"ITS NAME IN THE HEADER\"")).collect();
    format!(
        "the header has no column for {}; it has {}{more}. Say in concordat.toml which is which:\n[ingest.csv.NAME.columns]\n{}\n\
         and read the file with that name: --source NAME. If the columns are not parted by the layout's delimiter, set it in \
         [ingest.csv.NAME]",
        wanted.join(", "),
        shown.join(", "),
        lines.join("\n"),
    )
}

fn printable(name: &str) -> String {
    name.chars().take(SHOWN.1).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Where each column is in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) plate: usize,
    pub(super) seen_at: usize,
    pub(super) camera: usize,
    pub(super) state: Option<usize>,
    pub(super) lat: Option<usize>,
    pub(super) lon: Option<usize>,
    pub(super) confidence: Option<usize>,
    pub(super) direction: Option<usize>,
    pub(super) image_path: Option<usize>,
}

impl Places {
    /// The places of `columns` in a header of `names`. A column must be there if a read cannot be without it, and if the
    /// configuration gives it a name of its own.
    pub(super) fn of(names: &[String], columns: &Columns) -> Result<Self, HeaderError> {
        let mut missing = Vec::new();
        let mut column = |own: &'static str, name: &str| {
            let mut at = names.iter().enumerate().filter(|(_, found)| same(found, name)).map(|(at, _)| at);
            let found = at.next();
            if at.next().is_some() {
                return Err(HeaderError::Twice(printable(name)));
            }
            let needed = matches!(own, "plate" | "seen_at" | "camera") || !same(own, name);
            if found.is_none() && needed {
                missing.push((own, name.to_owned()));
            }
            Ok(found)
        };
        let [plate, seen_at, camera, state, lat, lon, confidence, direction, image_path] =
            columns.named().map(|(own, name)| column(own, name));
        let (plate, seen_at, camera) = (plate?, seen_at?, camera?);
        let (state, lat, lon, confidence) = (state?, lat?, lon?, confidence?);
        let (direction, image_path) = (direction?, image_path?);
        match (plate, seen_at, camera) {
            (Some(plate), Some(seen_at), Some(camera)) if missing.is_empty() => {
                Ok(Self { plate, seen_at, camera, state, lat, lon, confidence, direction, image_path })
            }
            _ => Err(HeaderError::Missing { missing, found: names.to_vec() }),
        }
    }
}

fn same(one: &str, other: &str) -> bool {
    one.trim().to_lowercase() == other.trim().to_lowercase()
}
