//! What an ingest reads from: records of one format, one after the other.

use std::io::{self, BufRead};

use agreements::time::Instant;

use super::field::LineError;
use super::ingest::Options;
use super::lines::{Taken, take};
use super::read::NewRead;
use super::rekor;

/// A byte-order mark, which some exporters put before the first line.
pub(super) const MARK: &[u8] = b"\xef\xbb\xbf";

/// What one record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// Reads: one of an `alpr_group` or of a row, none or several of an `alpr_results`.
    Reads(Vec<NewRead>),
    /// A reader that says that it lives.
    Heartbeat {
        /// Which, when it says so.
        agent: Option<String>,
    },
}

/// One record: a line of JSON, or a row of a CSV, which may span several lines.
#[derive(Debug)]
pub struct Record {
    /// The line on which it begins, counted from 1.
    pub line: u64,
    /// Its length, without the end of its last line.
    pub bytes: u64,
    /// What was taken from the source to have it, in bytes.
    pub taken: u64,
    /// What it says; `None` when it is blank.
    pub said: Result<Option<Line>, LineError>,
}

/// Where records come from. No more than one of them is in memory.
pub trait Source: Send {
    /// The next record, by a clock that says `now`; `None` at the end.
    ///
    /// # Errors
    /// The source failed. A record that is wrong is no error.
    fn next(&mut self, now: Instant) -> io::Result<Option<Record>>;
}

/// Lines of JSON in the layout of [`rekor`].
pub struct JsonLines<R> {
    reader: R,
    line: Vec<u8>,
    number: u64,
    line_limit: usize,
    image_limit: usize,
}

impl<R: BufRead + Send> JsonLines<R> {
    /// The lines of `reader`.
    pub fn new(reader: R, options: &Options) -> Self {
        let Options { line_limit, image_limit, .. } = *options;
        Self { reader, line: Vec::new(), number: 0, line_limit, image_limit }
    }

    fn parse(&self, now: Instant) -> Result<Option<Line>, LineError> {
        let line = self.line.as_slice();
        let line = if self.number == 1 { line.strip_prefix(MARK).unwrap_or(line) } else { line };
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        rekor::parse(line, now, self.image_limit).map(Some)
    }
}

impl<R: BufRead + Send> Source for JsonLines<R> {
    fn next(&mut self, now: Instant) -> io::Result<Option<Record>> {
        let taken = take(&mut self.reader, &mut self.line, self.line_limit)?;
        self.number += 1;
        let (bytes, said) = match taken {
            Taken::End => return Ok(None),
            Taken::Whole => (self.line.len() as u64, self.parse(now)),
            Taken::TooLong { bytes } => (bytes, Err(LineError::Long(self.line_limit))),
        };
        Ok(Some(Record { line: self.number, bytes, taken: bytes + 1, said }))
    }
}
