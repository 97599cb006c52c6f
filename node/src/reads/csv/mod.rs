//! A CSV of reads: a header, then one read a row. What a vendor calls its columns, and how it writes times, is in the
//! configuration; nothing of it is guessed.
//!
//! A CSV has no id of a read, so one is derived from what makes it known again: source, camera, plate and time.

mod header;
mod records;
mod row;

use std::io::{self, BufRead};
use std::path::Path;

use agreements::time::Instant;

use super::beside::Folder;
use super::field::LineError;
use super::ingest::Options;
use super::source::{Line, Record, Source};
use crate::config;

pub use header::HeaderError;
use header::Places;
use records::Records;
use row::Rows;

/// The longest row, in bytes: it carries no image, so a longer one is a quote that was never closed.
const ROW_LIMIT: usize = 64 << 10;

/// The rows of a CSV.
pub struct Csv<R> {
    records: Records<R>,
    rows: Rows,
}

impl<R: BufRead + Send> Csv<R> {
    /// The rows of `reader`, which are written as `layout` says and come from the source `name`. Images are in or below
    /// `folder`, if there is one. Reads the header.
    ///
    /// # Errors
    /// There is no header, or it lacks columns.
    pub fn open(
        reader: R,
        layout: &config::Csv,
        name: &str,
        folder: Option<&Path>,
        options: &Options,
    ) -> Result<Self, HeaderError> {
        let mut records = Records::new(reader, layout.delimiter.byte(), options.line_limit.min(ROW_LIMIT));
        let header = records.next()?.ok_or(HeaderError::Empty)?;
        header.sound?;
        let names: Vec<String> = records.fields().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect();
        let places = Places::of(&names, &layout.columns)?;
        records.expect(names.len());
        let folder = folder.map(Folder::at).transpose()?;
        let rows = Rows::new(places, layout, name, folder, options.image_limit);
        Ok(Self { records, rows })
    }
}

impl<R: BufRead + Send> Source for Csv<R> {
    fn next(&mut self, now: Instant) -> io::Result<Option<Record>> {
        let Some(mut raw) = self.records.next()? else { return Ok(None) };
        let said: Result<Option<Line>, LineError> = raw.sound.and_then(|()| {
            let fields: Vec<&[u8]> = self.records.fields().collect();
            Ok(Some(Line::Reads(vec![self.rows.read(&fields, now)?])))
        });
        if said.is_err() {
            self.records.give_back(&mut raw);
        }
        Ok(Some(Record { line: raw.line, bytes: raw.bytes, taken: raw.taken, said }))
    }
}

#[cfg(test)]
mod tests;
