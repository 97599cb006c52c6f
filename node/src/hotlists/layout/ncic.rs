//! The NCIC plate extract, `VEHEXTRT.txt`: records of 61 characters.
//!
//! 0 record type, 1-9 number, 10-18 ORI, 19-26 date, 27-36 plate, 37-38 state, 39-42 plate year, 43-44 plate type, 45-48
//! vehicle year, 49-52 make, 53-55 model, 56-57 style, 58-60 colour. The first line is a header such as
//! `NCIC LPR EXTRACT 20261122 0400`. Reference fields write the letter O as zero; the plate does not.

use agreements::hotlist::{Category, Entry};
use agreements::time::Instant;
use jiff::civil::DateTime;

use super::{LineError, Record, date, field, fixed, local, plate, states};

const LENGTH: usize = 61;

pub(super) fn header(line: &[u8]) -> Option<Instant> {
    let text = std::str::from_utf8(line).ok()?;
    let rest = text.trim_end().strip_prefix("NCIC LPR EXTRACT ")?;
    local(DateTime::strptime("%Y%m%d %H%M", rest.trim()).ok()?)
}

pub(super) fn record(line: &[u8], now: Instant) -> Result<Record, LineError> {
    // Before anything else about the line: of such a record nothing is read, not even whether it is well formed.
    if line.first() == Some(&b'N') {
        return Ok(Record::Dropped);
    }
    fixed(line, LENGTH)?;
    let category = category(field(line, 0, 1)).ok_or(LineError::Type)?;
    let number = field(line, 1, 10);
    if !number.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(LineError::Number);
    }
    let dated = date(field(line, 19, 27), now)?;
    let state = field(line, 37, 39).replace('0', "O");
    if !states::known(&state) {
        return Err(LineError::State);
    }
    let mut entry = Entry::new(plate(field(line, 27, 37))?, category);
    entry.state = Some(state);
    entry.case_number = Some(number.to_owned());
    entry.entered_by = Some(field(line, 10, 19).trim().to_owned()).filter(|ori| !ori.is_empty());
    entry.dated = Some(dated);
    entry.vehicle = vehicle(line);
    Ok(Record::Entry(Box::new(entry)))
}

/// The types that are loaded. N (immigration violator) is not one of them, and has no category.
fn category(kind: &str) -> Option<Category> {
    Some(match kind {
        "A" => Category::AmberAlert,
        "B" => Category::StolenBoat,
        "C" => Category::SupervisedRelease,
        "F" => Category::FelonyVehicle,
        "H" => Category::ProtectionOrder,
        "K" => Category::ProtectiveInterest,
        "L" => Category::ViolentPerson,
        "M" => Category::MissingPerson,
        "P" => Category::StolenPlate,
        "R" => Category::CanadianStolenVehicle,
        "T" => Category::GangOrTerrorist,
        "V" => Category::StolenVehicle,
        "W" => Category::WantedPerson,
        "X" => Category::SexOffender,
        _ => return None,
    })
}

/// Year, make, model, style and colour, as far as the record has them.
fn vehicle(line: &[u8]) -> Option<String> {
    let year = Some(field(line, 45, 49).trim().to_owned());
    let coded = [(49, 53), (53, 56), (56, 58), (58, 61)].map(|(from, to)| letters(field(line, from, to).trim()));
    let parts: Vec<String> = year.into_iter().chain(coded).filter(|part| !part.is_empty()).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// A code whose zeros are letters: it has letters and no digit but zeros. `F0RD` is `FORD`; `300` and `C10` stay.
fn letters(code: &str) -> String {
    let word = code.bytes().any(|b| b.is_ascii_alphabetic()) && code.bytes().all(|b| !matches!(b, b'1'..=b'9'));
    if word { code.replace('0', "O") } else { code.to_owned() }
}
