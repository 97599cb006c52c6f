//! The layouts in which hotlists come: one line at a time, nothing guessed.

mod custom;
mod doj;
mod ncic;
mod states;

use std::fmt;
use std::str::FromStr;

use agreements::hotlist::{Category, Entry};
use agreements::plate::PlateError;
use agreements::time::Instant;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

static LOS_ANGELES: TimeZone = jiff::tz::get!("America/Los_Angeles");

/// In which layout a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// California DOJ, `svs.tbl`: stolen vehicles.
    Svs,
    /// California DOJ, `sfr.tbl`: felony vehicles.
    Sfr,
    /// California DOJ, `slr.tbl`: stolen plates.
    Slr,
    /// NCIC plate extract, `VEHEXTRT.txt`.
    Ncic,
    /// The agency's own CSV.
    Custom,
}

impl Layout {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Svs, Self::Sfr, Self::Slr, Self::Ncic, Self::Custom];

    /// The written name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Svs => "svs",
            Self::Sfr => "sfr",
            Self::Slr => "slr",
            Self::Ncic => "ncic",
            Self::Custom => "custom",
        }
    }

    /// The layout that a first line belongs to, if it says.
    #[must_use]
    pub fn of_header(line: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|layout| layout.header(line, Instant::from_micros(0)).is_ok())
    }

    /// Reads the first line: when the source was made. A custom list says no date, so it is of `now`.
    ///
    /// # Errors
    /// It is no header of this layout.
    pub fn header(self, line: &[u8], now: Instant) -> Result<Instant, HeaderError> {
        match self {
            Self::Svs | Self::Sfr | Self::Slr => doj::header(self, line),
            Self::Ncic => ncic::header(line),
            Self::Custom => custom::header(line).map(|()| now),
        }
        .ok_or(HeaderError(self))
    }

    /// The count of a last line that ends a source of this layout; `None` for every other line.
    #[must_use]
    pub fn trailer(self, line: &[u8]) -> Option<Result<u64, LineError>> {
        match self {
            Self::Svs | Self::Sfr | Self::Slr => doj::trailer(line),
            Self::Ncic | Self::Custom => None,
        }
    }

    /// Whether a source must end with a count.
    #[must_use]
    pub fn counted(self) -> bool {
        matches!(self, Self::Svs | Self::Sfr | Self::Slr)
    }

    /// Reads a line between header and trailer.
    ///
    /// # Errors
    /// Why the line is no record; nothing in it is guessed.
    pub fn record(self, line: &[u8], now: Instant) -> Result<Record, LineError> {
        match self {
            Self::Svs => doj::record(line, Category::StolenVehicle, now),
            Self::Sfr => doj::record(line, Category::FelonyVehicle, now),
            Self::Slr => doj::record(line, Category::StolenPlate, now),
            Self::Ncic => ncic::record(line, now),
            Self::Custom => custom::record(line, now),
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Layout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|layout| layout.as_str() == text);
        found.ok_or_else(|| format!("the layouts are {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

/// What a line is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// An entry.
    Entry(Box<Entry>),
    /// A record of type N (immigration violator): counted, never looked into, never loaded.
    Dropped,
}

/// A first line that is no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderError(pub Layout);

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted = match self.0 {
            Layout::Svs => "SVS MM/DD/YYYY HH:MM",
            Layout::Sfr => "SFR MM/DD/YYYY HH:MM",
            Layout::Slr => "SLR MM/DD/YYYY HH:MM",
            Layout::Ncic => "NCIC LPR EXTRACT YYYYMMDD HHMM",
            Layout::Custom => "plate,state,category,reason,case_number,entered_by,contact,expires_at",
        };
        write!(f, "its first line is not the header of the layout {}, such as `{wanted}`", self.0)
    }
}

impl std::error::Error for HeaderError {}

/// Why a line is refused. Each names the field, and none what it says: the report must not hold plates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Over the longest line.
    #[error("the line is longer than {0} bytes")]
    Long(usize),
    /// Another length than the layout's.
    #[error("the line has {found} characters, and a record has {wanted}: it may be shifted")]
    Length {
        /// What it has.
        found: usize,
        /// What it should have.
        wanted: usize,
    },
    /// Characters that the layout does not have.
    #[error("the line has characters that are not printable ASCII")]
    Characters,
    /// The plate.
    #[error("plate: {0}")]
    Plate(#[from] PlateError),
    /// The plate does not begin where it should.
    #[error("plate: it begins with a space or has one inside: the line may be shifted")]
    PlateShifted,
    /// The state.
    #[error("state: not the code of a state or province: the line may be shifted")]
    State,
    /// The county.
    #[error("county: not 01 to 58, nor blank: the line may be shifted")]
    County,
    /// A date.
    #[error("date: not YYYYMMDD of the calendar since 1950 and no later than tomorrow: the line may be shifted")]
    Date,
    /// The type of a record.
    #[error("record type: not one of A B C F H K L M P R T V W X")]
    Type,
    /// The number of a record.
    #[error("number: not nine letters and digits")]
    Number,
    /// A count that is none.
    #[error("TOTAL RECORD without a count")]
    Count,
    /// A field that a custom list needs.
    #[error("{0}: it is blank; every entry of a custom list needs all eight fields")]
    Blank(&'static str),
    /// The number of fields.
    #[error("{0} fields instead of eight; a field with a comma stands in double quotes")]
    Fields(usize),
    /// Quotes.
    #[error("a double quote is not closed, or stands inside a field that is not quoted")]
    Quotes,
    /// A text over [`agreements::hotlist::MAX_TEXT`].
    #[error("a field is longer than {} characters", agreements::hotlist::MAX_TEXT)]
    Text,
    /// A category that does not exist.
    #[error("category: {0}")]
    Category(#[from] agreements::hotlist::CategoryError),
    /// The expiry.
    #[error("expires_at: not a time of RFC 3339 with a zone, such as 2026-12-20T00:00:00Z")]
    Expiry,
    /// An expiry in the past.
    #[error("expires_at: it has passed")]
    Expired,
    /// A reason that tells nothing.
    #[error("reason: say in a few words of your own what this vehicle has to do with what happened")]
    Reason,
    /// A text that touches what a hotlist is not for.
    #[error(
        "a field touches civil immigration enforcement, protected care, or protest and religion: no hotlist is for that (V-20)"
    )]
    Sensitive,
    /// The line is not text.
    #[error("the line is not UTF-8")]
    Utf8,
}

/// The fixed field `from..to` of a line whose length was checked.
fn field(line: &[u8], from: usize, to: usize) -> &str {
    line.get(from..to).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
}

/// A local time of California as an instant.
fn local(time: DateTime) -> Option<Instant> {
    let zoned = time.to_zoned_datetime(LOS_ANGELES.clone()).ok()?;
    Some(Instant::from_micros(zoned.timestamp().as_microsecond()))
}

/// `YYYYMMDD`, from 1950 to tomorrow.
fn date(text: &str, now: Instant) -> Result<jiff::civil::Date, LineError> {
    let bad = LineError::Date;
    if text.len() != 8 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad);
    }
    let number = |range| text.get(range).and_then(|digits: &str| digits.parse::<i16>().ok());
    let (Some(year), Some(month), Some(day)) = (number(0..4), number(4..6), number(6..8)) else { return Err(bad) };
    let small = |n: i16| i8::try_from(n).unwrap_or(0);
    let date = jiff::civil::Date::new(year, small(month), small(day)).map_err(|_| LineError::Date)?;
    let tomorrow = now.plus(Instant::DAY).date();
    if year < 1950 || tomorrow.is_some_and(|tomorrow| date > tomorrow) {
        return Err(bad);
    }
    Ok(date)
}

/// The plate of a fixed field, which begins at its first character and has no space inside.
fn plate(text: &str) -> Result<agreements::plate::Plate, LineError> {
    let plate = text.trim_end_matches(' ');
    if plate.contains(' ') {
        return Err(LineError::PlateShifted);
    }
    Ok(plate.parse()?)
}

/// Whether a line is printable ASCII of exactly `wanted` characters.
fn fixed(line: &[u8], wanted: usize) -> Result<(), LineError> {
    if !line.iter().all(|b| (b' '..=b'~').contains(b)) {
        return Err(LineError::Characters);
    }
    if line.len() == wanted { Ok(()) } else { Err(LineError::Length { found: line.len(), wanted }) }
}

#[cfg(test)]
mod tests;
