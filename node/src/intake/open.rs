//! Opening what is to be taken in: which format it has is told, by word or by its name, and else must show at its first
//! byte. It is never guessed.

use std::io::{self, BufRead};
use std::path::Path;

use crate::config::{self, SourceName};
use crate::reads::csv::{Csv, HeaderError};
use crate::reads::ingest::Options;
use crate::reads::source::{JsonLines, Source};

/// The source that a CSV without a layout of its own comes from.
const PLAIN: &str = "csv";

/// A format of reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Lines of JSON as Rekor/OpenALPR agents send them.
    Rekor,
    /// Rows under a header.
    Csv,
}

/// What was told about a source.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Its format.
    pub format: Option<Format>,
    /// The layout of its CSV, by the name in `[ingest.csv]`.
    pub source: Option<SourceName>,
}

/// Why a source is not taken in at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be read.
    #[error("cannot read it: {0}")]
    Source(#[from] io::Error),
    /// Its format cannot be known.
    #[error(
        "it cannot be told what this is: say --format rekor or --format csv, or name the file .jsonl or .csv as it is"
    )]
    Unknown,
    /// It is lines of JSON, though it is called a CSV.
    #[error("it is called a CSV, but begins with a brace, as lines of JSON do: say --format rekor if it is some")]
    NotCsv,
    /// No such layout.
    #[error("there is no layout [ingest.csv.{name}] in concordat.toml; there is {}", listed(.known))]
    NoLayout {
        /// The one that was asked for.
        name: SourceName,
        /// Those that there are.
        known: Vec<SourceName>,
    },
    /// A layout for what is no CSV.
    #[error("--source names the layout of a CSV, and this is lines of JSON")]
    LayoutOfJson,
    /// Its header.
    #[error(transparent)]
    Header(#[from] HeaderError),
}

fn listed(names: &[SourceName]) -> String {
    match names {
        [] => "none yet: write one, with its columns in [ingest.csv.NAME.columns]".to_owned(),
        names => names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

impl Format {
    /// The format that a file's name tells.
    #[must_use]
    pub fn by_name(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" | "tsv" => Some(Self::Csv),
            "jsonl" | "ndjson" | "json" => Some(Self::Rekor),
            _ => None,
        }
    }
}

/// The records of `reader`, which is the file at `path`, or a pipe when there is none.
///
/// # Errors
/// See [`OpenError`]. Nothing was taken.
pub fn open(
    mut reader: Box<dyn BufRead + Send>,
    path: Option<&Path>,
    told: &Told,
    config: &config::Ingest,
    options: &Options,
) -> Result<Box<dyn Source>, OpenError> {
    match format(&mut reader, path, told)? {
        Format::Rekor if told.source.is_some() => Err(OpenError::LayoutOfJson),
        Format::Rekor => Ok(Box::new(JsonLines::new(reader, options))),
        Format::Csv => {
            let plain = config::Csv::default();
            let (layout, name) = match &told.source {
                None => (&plain, PLAIN),
                Some(name) => {
                    let no = || OpenError::NoLayout { name: name.clone(), known: config.csv.keys().cloned().collect() };
                    (config.csv.get(name).ok_or_else(no)?, name.as_str())
                }
            };
            let folder = path.map(|path| path.parent().unwrap_or(Path::new("")));
            Ok(Box::new(Csv::open(reader, layout, name, folder, options)?))
        }
    }
}

fn format(reader: &mut impl BufRead, path: Option<&Path>, told: &Told) -> Result<Format, OpenError> {
    if let Some(format) = told.format {
        return Ok(format);
    }
    let first = first_byte(reader)?;
    let named = match (path.and_then(Format::by_name), &told.source) {
        (None, Some(_)) => Some(Format::Csv),
        (named, _) => named,
    };
    match (named, first) {
        (Some(Format::Csv), Some(b'{')) => Err(OpenError::NotCsv),
        (Some(format), _) => Ok(format),
        (None, Some(b'{') | None) => Ok(Format::Rekor),
        (None, Some(_)) => Err(OpenError::Unknown),
    }
}

/// The first byte that is neither space nor byte-order mark, left in the reader; `None` if what can be seen has none.
fn first_byte(reader: &mut impl BufRead) -> io::Result<Option<u8>> {
    let seen = loop {
        match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            seen => break seen?,
        }
    };
    let seen = seen.strip_prefix(b"\xef\xbb\xbf").unwrap_or(seen);
    Ok(seen.iter().copied().find(|byte| !byte.is_ascii_whitespace()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(text: &'static str, path: Option<&str>, format: Option<Format>, source: Option<&str>) -> String {
        let mut config = config::Ingest::default();
        config.csv.insert("acme".parse().unwrap(), config::Csv::default());
        let options = Options::reporting_to("unused".into());
        let told = Told { format, source: source.map(|name| name.parse().unwrap()) };
        match open(Box::new(text.as_bytes()), path.map(Path::new), &told, &config, &options) {
            Err(error) => error.to_string(),
            Ok(mut source) => match source.next("2026-11-24T00:00:00Z".parse().unwrap()).unwrap() {
                None => "nothing".to_owned(),
                Some(record) => match record.said {
                    Ok(_) => "sound".to_owned(),
                    Err(error) => error.to_string(),
                },
            },
        }
    }

    #[test]
    fn a_format_is_told_or_shows_and_is_never_guessed() {
        const CSV: &str = "plate,seen_at,camera\nA,1795465020000,c\n";
        const JSON: &str = "\u{feff} {\"data_type\":\"heartbeat\"}\n";
        assert_eq!(opened(CSV, Some("a.CSV"), None, None), "sound");
        assert_eq!(opened(JSON, Some("a.jsonl"), None, None), "sound");
        assert_eq!(opened(JSON, Some("a.txt"), None, None), "sound");
        assert_eq!(opened(JSON, None, None, None), "sound");
        assert_eq!(opened("", None, None, None), "nothing");
        assert_eq!(opened(CSV, None, Some(Format::Csv), None), "sound");
        assert_eq!(opened(CSV, None, None, Some("acme")), "sound");
        assert!(opened(CSV, None, None, None).contains("--format csv"));
        assert!(opened(CSV, Some("a.txt"), None, None).contains("--format csv"));
        assert!(opened(JSON, Some("a.csv"), None, None).contains("--format rekor"));
        assert!(opened(CSV, Some("a.jsonl"), None, None).contains("not JSON"));
        assert!(opened(JSON, None, Some(Format::Csv), None).contains("no column for plate"));
        assert!(opened(CSV, Some("a.csv"), None, Some("bolt")).contains("there is acme"));
        assert!(opened(JSON, Some("a.jsonl"), None, Some("acme")).contains("--source"));
    }
}
