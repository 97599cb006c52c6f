//! Entries of the trail as CSV, XLSX or JSON, page by page.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use agreements::ids::Digest;
use openssl::sha::Sha256;
use rust_xlsxwriter::{Format, Workbook};
use tempfile::NamedTempFile;

use super::ExportError;
use super::cells::inert;
use super::shown::{COLUMNS, Shown};
use crate::db::Conn;
use crate::trail::deleted::Certified;
use crate::trail::search::{self, Filter, MAX_PAGE};

/// The most rows of a sheet, with its header.
const MAX_ROWS: u32 = 1_048_576;
/// The most UTF-16 units that are put into a cell of a sheet; a little under what a cell can hold, which leaves room to say
/// so.
const MAX_CELL: usize = 32_000;

/// In which form a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Comma-separated values (RFC 4180), every cell in quotes.
    Csv,
    /// A workbook.
    Xlsx,
    /// One array of objects.
    Json,
}

impl Form {
    /// The form that a file's name says.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let ending = path.extension().and_then(OsStr::to_str)?.to_ascii_lowercase();
        [Self::Csv, Self::Xlsx, Self::Json].into_iter().find(|form| form.as_str() == ending)
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Xlsx => "xlsx",
            Self::Json => "json",
        }
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// How many entries.
    pub entries: u64,
    /// How many cells were too long for a sheet and end with a word about it.
    pub cut: u64,
    /// SHA-256 of the file.
    pub sha256: Digest,
}

/// Writes the entries that `filter` lets through of the first `size`, newest first, to a new file at `path`. It is there when
/// it is whole, and not before. `progress` is called with how far back in the trail this is, and how far it goes.
///
/// # Errors
/// See [`ExportError`]; nothing is left behind.
pub fn write(
    conn: &mut Conn,
    filter: &Filter,
    size: u64,
    (form, path): (Form, &Path),
    progress: &mut dyn FnMut(u64, u64),
    stop: &AtomicBool,
) -> Result<Written, ExportError> {
    if path.symlink_metadata().is_ok() {
        return Err(ExportError::There(path.to_owned()));
    }
    let cannot = |error: io::Error| ExportError::File(path.to_owned(), error);
    let folder = folder_of(path);
    let file = NamedTempFile::new_in(&folder).map_err(cannot)?;
    let mut sheet = Sheet::begin(form, file.reopen().map_err(cannot)?, &folder, path)?;
    let mut entries = 0;
    let mut before = filter.before_index.map_or(size, |before| before.min(size));
    progress(0, size);
    let certified = Certified::load(conn)?;
    loop {
        let page = Filter { before_index: Some(before), limit: MAX_PAGE, ..filter.clone() };
        let rows = search::search(conn, &page)?;
        if stop.load(Ordering::SeqCst) {
            return Err(ExportError::Stopped);
        }
        let Some(last) = rows.last().map(|row| row.index) else { break };
        before = last;
        for row in rows {
            sheet.row(Shown::of(row, &certified))?;
            entries += 1;
        }
        progress(size.saturating_sub(before), size);
    }
    let (mut written, cut) = sheet.end()?;
    written.sync_all().map_err(cannot)?;
    let sha256 = digest(&mut written).map_err(cannot)?;
    file.persist_noclobber(path).map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => ExportError::There(path.to_owned()),
        _ => cannot(error.error),
    })?;
    progress(size, size);
    Ok(Written { entries, cut, sha256 })
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent.as_os_str() != "" => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn digest(file: &mut File) -> io::Result<Digest> {
    file.seek(SeekFrom::Start(0))?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 64 * 1024]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest(hash.finish())),
            length => hash.update(buffer.get(..length).unwrap_or_default()),
        }
    }
}

/// A table that grows.
struct Sheet {
    path: PathBuf,
    into: Into,
    cut: u64,
}

enum Into {
    Csv(Box<csv::Writer<File>>),
    Json { to: BufWriter<File>, any: bool },
    Xlsx { book: Box<Workbook>, to: File, sheets: usize, row: u32 },
}

impl Sheet {
    fn begin(form: Form, to: File, folder: &Path, path: &Path) -> Result<Self, ExportError> {
        let into = match form {
            Form::Csv => {
                let mut builder = csv::WriterBuilder::new();
                builder.quote_style(csv::QuoteStyle::Always).terminator(csv::Terminator::CRLF);
                Into::Csv(Box::new(builder.from_writer(to)))
            }
            Form::Json => Into::Json { to: BufWriter::new(to), any: false },
            Form::Xlsx => {
                let mut book = Box::new(Workbook::new());
                // Rows wait on disk for the end, beside the file that they go into.
                book.set_tempdir(folder)?;
                Into::Xlsx { book, to, sheets: 0, row: MAX_ROWS }
            }
        };
        let mut sheet = Self { path: path.to_owned(), into, cut: 0 };
        if let Into::Csv(to) = &mut sheet.into {
            let header = to.write_record(COLUMNS);
            header.map_err(|error| sheet.cannot(error.into()))?;
        }
        Ok(sheet)
    }

    fn cannot(&self, error: io::Error) -> ExportError {
        ExportError::File(self.path.clone(), error)
    }

    fn row(&mut self, shown: Shown) -> Result<(), ExportError> {
        let written = match &mut self.into {
            Into::Csv(to) => {
                let cells = shown.cells();
                to.write_record(cells.iter().map(|cell| inert(cell).into_owned())).map_err(io::Error::from)
            }
            Into::Json { to, any } => {
                let parted = to.write_all(if *any { b",\n" } else { b"[\n" });
                *any = true;
                serde_json::to_writer(&mut *to, &shown)?;
                parted
            }
            Into::Xlsx { book, sheets, row, .. } => {
                if *row == MAX_ROWS {
                    *sheets += 1;
                    header(book, *sheets)?;
                    *row = 1;
                }
                self.cut += cells(book, *sheets - 1, *row, &shown)?;
                *row += 1;
                Ok(())
            }
        };
        written.map_err(|error| self.cannot(error))
    }

    /// Everything in the file, and how many cells were cut.
    fn end(self) -> Result<(File, u64), ExportError> {
        let Self { path, into, cut } = self;
        let cannot = |error| ExportError::File(path.clone(), error);
        let file = match into {
            Into::Csv(to) => to.into_inner().map_err(|error| cannot(io::Error::other(error.to_string())))?,
            Into::Json { mut to, any } => {
                to.write_all(if any { b"\n]\n" } else { b"[]\n" }).map_err(cannot)?;
                to.into_inner().map_err(|error| cannot(error.into_error()))?
            }
            Into::Xlsx { mut book, to, sheets, .. } => {
                if sheets == 0 {
                    header(&mut book, 1)?;
                }
                book.save_to_writer(to.try_clone().map_err(cannot)?)?;
                to
            }
        };
        Ok((file, cut))
    }
}

/// A sheet with its header.
fn header(book: &mut Workbook, number: usize) -> Result<(), ExportError> {
    let bold = Format::new().set_bold();
    let sheet = book.add_worksheet_with_constant_memory()?;
    sheet.set_name(if number == 1 { "Entries".to_owned() } else { format!("Entries {number}") })?;
    sheet.set_freeze_panes(1, 0)?;
    for (column, name) in (0..).zip(COLUMNS) {
        sheet.write_string_with_format(0, column, name, &bold)?;
    }
    Ok(())
}

/// Writes a row: the position as a number, everything else as text and nothing as a formula. How many cells were cut.
fn cells(book: &mut Workbook, sheet: usize, row: u32, shown: &Shown) -> Result<u64, ExportError> {
    let sheet = book.worksheet_from_index(sheet)?;
    #[expect(clippy::cast_precision_loss, reason = "positions are below 2^53")]
    sheet.write_number(row, 0, shown.index as f64)?;
    let mut cut = 0;
    for (column, cell) in (0..).zip(shown.cells()).skip(1) {
        let cell = inert(&cell);
        match short(&cell) {
            None => sheet.write_string(row, column, &*cell)?,
            Some(short) => {
                cut += 1;
                sheet.write_string(row, column, short)?
            }
        };
    }
    Ok(cut)
}

/// The beginning of what does not fit into a cell.
fn short(cell: &str) -> Option<String> {
    let mut units = 0;
    let (end, _) = cell.char_indices().find(|(_, c)| {
        units += c.len_utf16();
        units > MAX_CELL
    })?;
    let kept = cell.get(..end).unwrap_or_default();
    Some(format!("{kept} [cut here, {} bytes in all: export as JSON or CSV for the whole]", cell.len()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::trail::testing::{TestTrail, draft};
    use crate::trail::{Draft, Facts};

    /// A trail of `count` entries, of which the third has what a spreadsheet would compute.
    fn trail(count: u64) -> TestTrail {
        let trail = TestTrail::new();
        let db = trail.open();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let job = db.record(move |tx| {
            (0..count).try_for_each(|number| {
                let entry = draft(tx.now(), number);
                let reference = (number == 2).then(|| "case:=HYPERLINK".to_owned());
                let username = if number == 2 { "=1+1" } else { "ana" };
                let facts = Facts { username: Some(username.to_owned()), reference, ..Facts::default() };
                let long = format!("{{\"long\":\"{}\"}}", "x".repeat(40_000));
                let message = if number == 1 { long.into_bytes() } else { entry.message.clone() };
                tx.append(Draft { message, facts, ..entry }).map(|_| ())
            })
        });
        runtime.block_on(job).unwrap();
        trail
    }

    fn export(trail: &TestTrail, path: &Path, filter: &Filter, size: u64) -> Result<Written, ExportError> {
        let form = Form::of(path).unwrap();
        write(&mut trail.connect(), filter, size, (form, path), &mut |_, _| {}, &AtomicBool::new(false))
    }

    #[test]
    fn all_pages_are_in_a_csv_that_another_reader_reads() {
        let (trail, folder) = (trail(2500), tempfile::tempdir().unwrap());
        let path = folder.path().join("all.csv");
        let written = export(&trail, &path, &Filter::default(), 2500).unwrap();
        assert_eq!((written.entries, written.cut), (2500, 0));
        assert_eq!(written.sha256, Digest::of(&fs::read(&path).unwrap()));
        let mut reader = csv::Reader::from_path(&path).unwrap();
        assert_eq!(reader.headers().unwrap(), COLUMNS.as_slice());
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert!(
            rows.iter().map(|row| row[0].parse::<u64>().unwrap()).eq((0..2500u64).rev()),
            "each once, newest first"
        );
        assert_eq!((&rows[2497][4], &rows[2496][4]), ("'=1+1", "ana"));
        assert!(fs::read_to_string(&path).unwrap().lines().all(|line| line.starts_with('"')), "every cell in quotes");

        let some = folder.path().join("some.csv");
        let filter = Filter { username: Some("=1+1".to_owned()), ..Filter::default() };
        assert_eq!(export(&trail, &some, &filter, 2500).unwrap().entries, 1);
        let earlier = folder.path().join("earlier.csv");
        assert_eq!(export(&trail, &earlier, &Filter::default(), 7).unwrap().entries, 7, "what came later is not in it");
    }

    #[test]
    fn json_is_one_array_of_entries_as_they_are() {
        let (trail, folder) = (trail(1200), tempfile::tempdir().unwrap());
        let path = folder.path().join("all.json");
        export(&trail, &path, &Filter::default(), 1200).unwrap();
        let all: Vec<serde_json::Value> = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!((all.len(), all[1197]["username"].as_str()), (1200, Some("=1+1")));
        assert_eq!(all[1199]["message"]["number"], 0);
        let none = folder.path().join("none.json");
        let filter = Filter { plate: Some("7ABC123".to_owned()), ..Filter::default() };
        assert_eq!(export(&trail, &none, &filter, 1200).unwrap().entries, 0);
        assert_eq!(fs::read_to_string(&none).unwrap().trim(), "[]");
    }

    #[test]
    fn a_workbook_has_texts_and_no_formula_and_says_what_it_cut() {
        let (trail, folder) = (trail(20), tempfile::tempdir().unwrap());
        let path = folder.path().join("all.xlsx");
        let written = export(&trail, &path, &Filter::default(), 20).unwrap();
        assert_eq!((written.entries, written.cut), (20, 1));
        let sheet = unzipped(&fs::read(&path).unwrap(), "xl/worksheets/sheet1.xml");
        assert!(!sheet.contains("<f>") && !sheet.contains("<f "), "no formula");
        assert!(sheet.contains("<t>'=1+1</t>") && sheet.contains("<v>19</v>"));
        assert!(sheet.contains("[cut here, 40011 bytes in all"), "what does not fit says so");
        assert_eq!(sheet.matches("<row ").count(), 21);
        let none = folder.path().join("none.xlsx");
        let filter = Filter { plate: Some("7ABC123".to_owned()), ..Filter::default() };
        assert_eq!(export(&trail, &none, &filter, 20).unwrap().entries, 0);
        assert!(unzipped(&fs::read(&none).unwrap(), "xl/worksheets/sheet1.xml").contains("index"));
    }

    /// One file of a zip, by its local header: enough for what a workbook's writer writes.
    fn unzipped(zip: &[u8], name: &str) -> String {
        let at = zip.windows(name.len()).position(|bytes| bytes == name.as_bytes()).unwrap();
        let extra = usize::from(u16::from_le_bytes([zip[at - 2], zip[at - 1]]));
        let mut text = String::new();
        let packed = &zip[at + name.len() + extra..];
        flate2::read::DeflateDecoder::new(packed).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_is_left_behind() {
        let (trail, folder) = (trail(3), tempfile::tempdir().unwrap());
        for name in ["a.csv", "a.xlsx", "a.json"] {
            let path = folder.path().join(name);
            fs::write(&path, "mine").unwrap();
            assert!(matches!(export(&trail, &path, &Filter::default(), 3), Err(ExportError::There(_))), "{name}");
            assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
            fs::remove_file(&path).unwrap();
            let form = Form::of(&path).unwrap();
            let stopped = write(
                &mut trail.connect(),
                &Filter::default(),
                3,
                (form, &path),
                &mut |_, _| {},
                &AtomicBool::new(true),
            );
            assert!(matches!(stopped, Err(ExportError::Stopped)));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(
            (Form::of(Path::new("a.CSV")), Form::of(Path::new("a.xls")), Form::of(Path::new("csv"))),
            (Some(Form::Csv), None, None)
        );
        let nowhere = export(&trail, &folder.path().join("no/a.csv"), &Filter::default(), 3);
        assert!(matches!(nowhere, Err(ExportError::File(..))));
    }
}
