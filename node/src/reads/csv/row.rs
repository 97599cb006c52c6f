//! A row of a CSV, read into a [`NewRead`] or refused by its field.

use agreements::ids::Digest;
use agreements::plate::Plate;
use agreements::time::Instant;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime;

use super::super::beside::Folder;
use super::super::check::{self, CONFIDENCE, DIRECTION, LATITUDE, LONGITUDE, Scale};
use super::super::field::{LineError, Problem, required, wrong};
use super::super::read::NewRead;
use super::header::Places;
use crate::config::{self, SeenFormat, TimeZoneName};

/// The longest name of a camera, in characters.
const MAX_CAMERA: usize = 128;

/// How the rows of one file are read.
pub(super) struct Rows {
    places: Places,
    format: Option<SeenFormat>,
    zone: Option<TimeZoneName>,
    source: String,
    folder: Option<Folder>,
    image_limit: usize,
}

impl Rows {
    pub(super) fn new(
        places: Places,
        layout: &config::Csv,
        source: &str,
        folder: Option<Folder>,
        image_limit: usize,
    ) -> Self {
        let (format, zone) = (layout.seen_at_format.clone(), layout.time_zone);
        Self { places, format, zone, source: source.to_owned(), folder, image_limit }
    }

    /// The read of a row; `now` bounds the times that are believed.
    pub(super) fn read(&self, fields: &[&[u8]], now: Instant) -> Result<NewRead, LineError> {
        let Places { plate, seen_at, camera, state, lat, lon, confidence, direction, image_path } = self.places;
        let needed = |field, place| required(field, text(field, fields, Some(place))?);
        let plate = check::plate("plate", needed("plate", plate)?)?;
        let seen_at = check::seen_at("seen_at", self.seen_at(needed("seen_at", seen_at)?)?, now)?;
        let camera = camera_of(needed("camera", camera)?)?;
        let lat = decimal("lat", fields, lat, &LATITUDE)?;
        let lon = decimal("lon", fields, lon, &LONGITUDE)?;
        check::place(["lat", "lon"], lat, lon)?;
        Ok(NewRead {
            uuid: identity(&self.source, &camera, &plate, seen_at),
            state: text("state", fields, state)?.map(state_of).transpose()?,
            confidence: decimal("confidence", fields, confidence, &CONFIDENCE)?,
            direction: decimal("direction", fields, direction, &DIRECTION)?.map(check::direction),
            // Last, because it reads a file.
            image: text("image_path", fields, image_path)?.map(|path| self.image(path)).transpose()?,
            plate,
            seen_at,
            camera,
            lat,
            lon,
            vehicle: None,
            agent: Some(self.source.clone()),
        })
    }

    /// A time as the layout says it is written. Without a form of its own: RFC 3339, or milliseconds since 1970, which
    /// nothing of the former looks like.
    fn seen_at(&self, text: &str) -> Result<Instant, LineError> {
        if let Some(format) = &self.format {
            let no = |_| wrong("seen_at", Problem::Not("a time in the form of seen_at_format"));
            let read = strtime::parse(format.as_str(), text).map_err(no)?;
            let local = read.to_datetime().map_err(no)?;
            return match read.offset() {
                Some(offset) => offset.to_timestamp(local).map(instant).map_err(no),
                None => self.local(local),
            };
        }
        if text.bytes().all(|b| b.is_ascii_digit()) {
            let no = |_| wrong("seen_at", Problem::Not("a time: it has too many digits"));
            return Ok(Instant::from_micros(text.parse::<i64>().map_err(no)?.saturating_mul(1000)));
        }
        if let Ok(at) = text.parse() {
            return Ok(at);
        }
        let what = "a time: RFC 3339 with its zone, or milliseconds since 1970; see seen_at_format and time_zone";
        let no = wrong("seen_at", Problem::Not(what));
        match text.parse::<DateTime>() {
            Ok(local) if self.zone.is_some() && text.len() > "2026-11-23".len() => self.local(local),
            _ => Err(no),
        }
    }

    /// A local time in the layout's zone, if the zone has it exactly once: what cannot be known is not guessed.
    fn local(&self, local: DateTime) -> Result<Instant, LineError> {
        let zone = self.zone.ok_or(wrong("seen_at", Problem::Not("a time with its zone; see time_zone")))?;
        let at = zone.zone().to_ambiguous_timestamp(local).unambiguous();
        at.map(instant).map_err(|_| wrong("seen_at", Problem::Changing))
    }

    fn image(&self, path: &str) -> Result<Vec<u8>, LineError> {
        let no = |problem| wrong("image_path", problem);
        let folder = self.folder.as_ref().ok_or(no(Problem::NoFolder))?;
        check::jpeg("image_path", folder.read(path, self.image_limit).map_err(no)?, self.image_limit)
    }
}

fn instant(stamp: Timestamp) -> Instant {
    Instant::from_micros(stamp.as_microsecond())
}

/// A field's text without spaces around it; `None` when it is blank or there is no such column.
fn text<'f>(field: &'static str, fields: &[&'f [u8]], place: Option<usize>) -> Result<Option<&'f str>, LineError> {
    let Some(bytes) = place.and_then(|place| fields.get(place)) else { return Ok(None) };
    let text = std::str::from_utf8(bytes).map_err(|_| wrong(field, Problem::Not("UTF-8")))?.trim();
    Ok((!text.is_empty()).then_some(text))
}

fn decimal(
    field: &'static str,
    fields: &[&[u8]],
    place: Option<usize>,
    scale: &Scale,
) -> Result<Option<i32>, LineError> {
    let Some(text) = text(field, fields, place)? else { return Ok(None) };
    let number = text.parse().map_err(|_| wrong(field, Problem::Not("a number with a decimal point")))?;
    scale.of(field, number).map(Some)
}

fn camera_of(text: &str) -> Result<String, LineError> {
    if text.chars().count() > MAX_CAMERA || text.chars().any(char::is_control) {
        return Err(wrong("camera", Problem::Not("a name of at most 128 printable characters")));
    }
    Ok(text.to_owned())
}

/// `CA`, `ca` or `us-ca`. Anything else is more likely a shifted column than a state.
fn state_of(text: &str) -> Result<String, LineError> {
    let letters = text.get(..3).filter(|prefix| prefix.eq_ignore_ascii_case("us-")).and_then(|_| text.get(3..));
    let letters = letters.unwrap_or(text);
    if letters.len() == 2 && letters.bytes().all(|b| b.is_ascii_alphabetic()) {
        return Ok(letters.to_ascii_uppercase());
    }
    Err(wrong("state", Problem::Not("two letters, such as CA; leave it blank where it is not known")))
}

/// The id of a read that has none: the same for the same read, however often and in whichever file it comes. No part can
/// run into the next, because none has a NUL.
fn identity(source: &str, camera: &str, plate: &Plate, seen_at: Instant) -> String {
    let known = format!("{source}\0{camera}\0{}\0{}", plate.as_str(), seen_at.micros());
    format!("csv:{}", Digest::of(known.as_bytes()))
}
