//! The records of a CSV, each bounded, and what is wrong with one kept from spoiling the next.
//!
//! A quote that is never closed would make one record of the rest of the file. So of a record that spans several lines and
//! is not what it should be only the first line is refused, and the lines behind that are read again.

use std::collections::VecDeque;
use std::io::{self, BufRead};

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::super::field::LineError;
use super::super::lines::{Taken, take};
use super::super::source::MARK;

/// The most lines of one record.
const MOST_LINES: usize = 20;

/// One record; its fields are in [`Records::fields`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Raw {
    /// The line on which it begins, from 1.
    pub(super) line: u64,
    /// Its length without the last line's end.
    pub(super) bytes: u64,
    /// What was taken from the source for it, blank lines before it included.
    pub(super) taken: u64,
    /// Whether it has fields.
    pub(super) sound: Result<(), LineError>,
}

/// A line of the file.
struct Physical {
    number: u64,
    /// Its text; `None` when it is over the limit.
    text: Option<Vec<u8>>,
    bytes: u64,
}

/// What a line did to the record.
enum Fed {
    Ends,
    GoesOn,
    CarriageReturn,
}

pub(super) struct Records<R> {
    reader: R,
    core: Reader,
    limit: usize,
    width: Option<usize>,
    number: u64,
    again: VecDeque<Physical>,
    /// The lines of the last record behind its first.
    behind: Vec<Physical>,
    bytes: Vec<u8>,
    used: usize,
    ends: Vec<usize>,
    count: usize,
}

impl<R: BufRead> Records<R> {
    pub(super) fn new(reader: R, delimiter: u8, limit: usize) -> Self {
        let core = ReaderBuilder::new().delimiter(delimiter).build();
        let (again, behind, bytes, ends) = Default::default();
        Self { reader, core, limit, width: None, number: 0, again, behind, bytes, used: 0, ends, count: 0 }
    }

    /// From here on, a record has so many fields.
    pub(super) fn expect(&mut self, width: usize) {
        self.width = Some(width);
    }

    /// The fields of the last record.
    pub(super) fn fields(&self) -> impl Iterator<Item = &[u8]> {
        let ends = self.ends.iter().take(self.count).copied();
        ends.scan(0, |start, end| {
            let field = self.bytes.get(*start..end);
            *start = end;
            field
        })
    }

    /// The next record; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Raw>> {
        self.forget();
        let mut held: Vec<Physical> = Vec::new();
        let mut skipped = 0;
        let mut bytes = 0;
        loop {
            let Some(line) = self.line()? else {
                return Ok(self.give_up(held, None, skipped));
            };
            let blank = line.text.as_ref().is_some_and(|text| text.iter().all(u8::is_ascii_whitespace));
            if held.is_empty() && blank {
                skipped += line.bytes + 1;
                continue;
            }
            let Some(text) = &line.text else {
                if held.is_empty() {
                    return Ok(Some(raw(&[line], skipped, Err(LineError::Long(self.limit)))));
                }
                return Ok(self.give_up(held, Some(line), skipped));
            };
            bytes += text.len();
            if held.len() == MOST_LINES || bytes > self.limit {
                return Ok(self.give_up(held, Some(line), skipped));
            }
            let fed = self.feed(text);
            let several = !held.is_empty();
            let (expected, found) = (self.width.unwrap_or(self.count), self.count);
            match fed {
                Fed::GoesOn => held.push(line),
                Fed::Ends if found == expected => {
                    held.push(line);
                    let whole = raw(&held, skipped, Ok(()));
                    self.behind = held.split_off(1);
                    return Ok(Some(whole));
                }
                _ if several => return Ok(self.give_up(held, Some(line), skipped)),
                Fed::Ends => return Ok(Some(raw(&[line], skipped, Err(LineError::Width { found, expected })))),
                Fed::CarriageReturn => return Ok(Some(raw(&[line], skipped, Err(LineError::CarriageReturn)))),
            }
        }
    }

    /// Refuses the first of the lines that are held, and has the others read again; `None` if there is none.
    fn give_up(&mut self, held: Vec<Physical>, last: Option<Physical>, skipped: u64) -> Option<Raw> {
        let mut lines = held.into_iter().chain(last);
        let first = lines.next()?;
        lines.rev().for_each(|line| self.again.push_front(line));
        Some(raw(&[first], skipped, Err(LineError::OpenQuote)))
    }

    /// Takes back the lines of the last record behind its first, which alone is then refused.
    pub(super) fn give_back(&mut self, whole: &mut Raw) {
        let lines = std::mem::take(&mut self.behind);
        let taken: u64 = lines.iter().map(|line| line.bytes + 1).sum();
        whole.taken = whole.taken.saturating_sub(taken);
        whole.bytes = whole.bytes.saturating_sub(taken);
        lines.into_iter().rev().for_each(|line| self.again.push_front(line));
    }

    fn forget(&mut self) {
        self.behind.clear();
        self.core.reset();
        self.used = 0;
        self.count = 0;
    }

    fn line(&mut self) -> io::Result<Option<Physical>> {
        if let Some(line) = self.again.pop_front() {
            return Ok(Some(line));
        }
        let mut text = Vec::new();
        let taken = take(&mut self.reader, &mut text, self.limit)?;
        self.number += 1;
        let number = self.number;
        let (text, bytes) = match taken {
            Taken::End => return Ok(None),
            Taken::TooLong { bytes } => (None, bytes),
            Taken::Whole => {
                let bytes = text.len() as u64;
                if number == 1 && text.starts_with(MARK) {
                    text.drain(..MARK.len());
                }
                (Some(text), bytes)
            }
        };
        Ok(Some(Physical { number, text, bytes }))
    }

    /// Parses one more line of the record.
    fn feed(&mut self, text: &[u8]) -> Fed {
        let line = [text, b"\n"].concat();
        // As much as the line can come to, so that the parser never asks for more.
        self.bytes.resize(self.used + line.len() + 1, 0);
        self.ends.resize(self.count + line.len() + 1, 0);
        let (Some(bytes), Some(ends)) = (self.bytes.get_mut(self.used..), self.ends.get_mut(self.count..)) else {
            return Fed::CarriageReturn;
        };
        let (result, read, written, ended) = self.core.read_record(&line, bytes, ends);
        self.used += written;
        self.count += ended;
        let rest = line.get(read..).unwrap_or_default();
        match result {
            ReadRecordResult::Record if rest.is_empty() || rest == b"\n" => Fed::Ends,
            ReadRecordResult::InputEmpty => Fed::GoesOn,
            _ => Fed::CarriageReturn,
        }
    }
}

fn raw(lines: &[Physical], skipped: u64, sound: Result<(), LineError>) -> Raw {
    let taken: u64 = lines.iter().map(|line| line.bytes + 1).sum();
    let line = lines.first().map_or(0, |line| line.number);
    Raw { line, bytes: taken.saturating_sub(1), taken: taken + skipped, sound }
}
