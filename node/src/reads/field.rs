//! Fields of a reader's JSON, each taken as one type or refused by its name; and why records of any format are refused.
//! No error repeats what the record says: it may be a plate.

use std::borrow::Cow;
use std::fmt;

use agreements::plate::PlateError;
use serde::Deserialize;
use serde::de::{Deserializer as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::check::Scale;

/// A field as it stands in the line; `None` when it is absent or `null`.
pub(super) type Raw<'a> = Option<&'a RawValue>;

/// The most items of an array: a camera sees no more plates at once, and one message must not become a million reads.
const MANY: usize = 256;

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not there, or `null`.
    #[error("is missing")]
    Missing,
    /// Of another type or form than the one named.
    #[error("is not {0}")]
    Not(&'static str),
    /// More items than one message may have.
    #[error("has more than {0} items; send them in several messages")]
    Many(usize),
    /// A key that this node uses stands twice in the object.
    #[error("has a key twice, or is cut short")]
    Twice,
    /// A number outside the range named.
    #[error("is outside {0}")]
    Outside(&'static str),
    /// A negative time.
    #[error("is negative")]
    Negative,
    /// A time before the year 2000: a reader whose clock was never set.
    #[error("is before the year 2000; set the reader's clock")]
    Early,
    /// A time over a day ahead.
    #[error("is more than a day in the future; set the reader's clock")]
    Future,
    /// Not a plate.
    #[error("is no plate: {0}")]
    Plate(PlateError),
    /// Not base64.
    #[error("is not base64")]
    Base64,
    /// Not a JPEG.
    #[error("is not a JPEG: it does not begin with FF D8")]
    Jpeg,
    /// Over the image limit.
    #[error("is an image of more than {0} bytes")]
    Large(usize),
    /// A local time that its zone has twice, or skips.
    #[error("stands twice in its time zone, or not at all, when summer time changes; export it with a zone or in UTC")]
    Changing,
    /// A path that leaves the folder of its file.
    #[error("must name a file in or below the folder of the CSV, without `..`, links or a leading `/`")]
    Outward,
    /// A path of no file.
    #[error("names no file that can be read beside the CSV")]
    NoFile,
    /// A path in what came through a pipe.
    #[error("cannot be followed: what comes through a pipe has no folder; ingest the file itself")]
    NoFolder,
}

/// Why a line was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Bytes that are no UTF-8.
    #[error("the line is not UTF-8")]
    NotUtf8,
    /// Not JSON.
    #[error("the line is not JSON (column {column})")]
    NotJson {
        /// Where, counted from 1.
        column: usize,
    },
    /// JSON, but no object.
    #[error("the line is not a JSON object")]
    NotObject,
    /// A key that this node uses stands twice.
    #[error("the line has a key twice that must stand once")]
    Twice,
    /// One field is wrong.
    #[error("`{field}` {problem}")]
    Field {
        /// The field's name in the format, with dots into objects.
        field: &'static str,
        /// What is wrong with it.
        problem: Problem,
    },
    /// Over the line limit.
    #[error("the line is longer than {0} bytes")]
    Long(usize),
    /// A record with more or fewer fields than its header has.
    #[error("the line has {found} fields and the header {expected}: a column is shifted, or a quote is missing")]
    Width {
        /// Its fields.
        found: usize,
        /// The header's.
        expected: usize,
    },
    /// A quote that is not closed.
    #[error("a quote that begins on this line is not closed")]
    OpenQuote,
    /// A carriage return that ends no line.
    #[error("the line has a carriage return within; end lines with LF or CRLF")]
    CarriageReturn,
}

pub(super) fn wrong(field: &'static str, problem: Problem) -> LineError {
    LineError::Field { field, problem }
}

pub(super) fn required<T>(field: &'static str, value: Option<T>) -> Result<T, LineError> {
    value.ok_or(wrong(field, Problem::Missing))
}

#[derive(Deserialize)]
struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);

/// A text.
pub(super) fn text<'a>(field: &'static str, raw: Raw<'a>) -> Result<Option<Cow<'a, str>>, LineError> {
    let Some(raw) = raw else { return Ok(None) };
    match serde_json::from_str::<Borrowed<'a>>(raw.get()) {
        Ok(Borrowed(text)) => Ok(Some(text)),
        Err(_) => Err(wrong(field, Problem::Not("a text"))),
    }
}

/// A text of 1 to 128 visible ASCII characters: an id that another system made.
pub(super) fn identifier(field: &'static str, raw: Raw<'_>) -> Result<Option<String>, LineError> {
    let Some(text) = text(field, raw)? else { return Ok(None) };
    if text.is_empty() || text.len() > 128 || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(wrong(field, Problem::Not("1 to 128 visible ASCII characters")));
    }
    Ok(Some(text.into_owned()))
}

/// A whole number.
pub(super) fn whole(field: &'static str, raw: Raw<'_>) -> Result<Option<i64>, LineError> {
    let Some(raw) = raw else { return Ok(None) };
    serde_json::from_str(raw.get()).map(Some).map_err(|_| wrong(field, Problem::Not("a whole number")))
}

/// A decimal number as a whole number of the scale's units.
pub(super) fn decimal(field: &'static str, raw: Raw<'_>, scale: &Scale) -> Result<Option<i32>, LineError> {
    let Some(raw) = raw else { return Ok(None) };
    let number: f64 = serde_json::from_str(raw.get()).map_err(|_| wrong(field, Problem::Not("a number")))?;
    scale.of(field, number).map(Some)
}

/// An object with the keys of `T`, others ignored.
pub(super) fn object<'a, T: Deserialize<'a>>(field: &'static str, raw: Raw<'a>) -> Result<Option<T>, LineError> {
    let Some(raw) = raw else { return Ok(None) };
    if !raw.get().starts_with('{') {
        return Err(wrong(field, Problem::Not("an object")));
    }
    serde_json::from_str(raw.get()).map(Some).map_err(|_| wrong(field, Problem::Twice))
}

/// An array's items; none when it is absent. More than [`MANY`] are counted, not held.
pub(super) fn array<'a>(field: &'static str, raw: Raw<'a>) -> Result<Vec<&'a RawValue>, LineError> {
    let Some(raw) = raw else { return Ok(Vec::new()) };
    let items = serde_json::Deserializer::from_str(raw.get()).deserialize_seq(Items);
    items.map_err(|_| wrong(field, Problem::Not("an array")))?.ok_or(wrong(field, Problem::Many(MANY)))
}

/// The items of an array, or `None` of too many.
struct Items;

impl<'a> Visitor<'a> for Items {
    type Value = Option<Vec<&'a RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut held = Vec::new();
        while let Some(item) = items.next_element()? {
            if held.len() == MANY {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(None);
            }
            held.push(item);
        }
        Ok(Some(held))
    }
}
