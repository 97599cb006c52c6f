//! An agency's own hotlist, as CSV (RFC 4180, one record a line). Every entry needs every field.

use agreements::hotlist::Entry;
use agreements::screen;
use agreements::time::Instant;

use super::{LineError, Record, states};

const COLUMNS: [&str; 8] =
    ["plate", "state", "category", "reason", "case_number", "entered_by", "contact", "expires_at"];

pub(super) fn header(line: &[u8]) -> Option<()> {
    let found = fields(std::str::from_utf8(line).ok()?).ok()?;
    found.iter().map(|name| name.trim()).eq(COLUMNS).then_some(())
}

pub(super) fn record(line: &[u8], now: Instant) -> Result<Record, LineError> {
    let line = std::str::from_utf8(line).map_err(|_| LineError::Utf8)?;
    let found = fields(line)?;
    let [plate, state, category, reason, case_number, entered_by, contact, expires_at] = <[String; 8]>::try_from(found)
        .map_err(|found| LineError::Fields(found.len()))?
        .map(|text| text.trim().to_owned());
    let values = [&plate, &state, &category, &reason, &case_number, &entered_by, &contact, &expires_at];
    if let Some((name, _)) = COLUMNS.into_iter().zip(values).find(|(_, value)| value.is_empty()) {
        return Err(LineError::Blank(name));
    }
    if values.iter().any(|value| value.contains(char::is_control)) {
        return Err(LineError::Characters);
    }
    let mut entry = Entry::new(plate.parse()?, category.parse()?);
    if !states::known(&state) {
        return Err(LineError::State);
    }
    if !screen::substantive(&reason) {
        return Err(LineError::Reason);
    }
    if !screen::sensitive([reason.as_str(), &case_number, &entered_by, &contact]).is_empty() {
        return Err(LineError::Sensitive);
    }
    let expires: Instant = expires_at.parse().map_err(|_| LineError::Expiry)?;
    if expires <= now {
        return Err(LineError::Expired);
    }
    entry.state = Some(state);
    entry.reason = Some(reason);
    entry.case_number = Some(case_number);
    entry.entered_by = Some(entered_by);
    entry.contact = Some(contact);
    entry.expires_at = Some(expires);
    if !entry.bounded() {
        return Err(LineError::Text);
    }
    Ok(Record::Entry(Box::new(entry)))
}

/// The fields of one record.
fn fields(line: &str) -> Result<Vec<String>, LineError> {
    let mut fields = Vec::new();
    let mut rest = line.chars().peekable();
    loop {
        let mut field = String::new();
        if rest.next_if_eq(&'"').is_some() {
            loop {
                match rest.next() {
                    Some('"') if rest.next_if_eq(&'"').is_some() => field.push('"'),
                    Some('"') => break,
                    Some(c) => field.push(c),
                    None => return Err(LineError::Quotes),
                }
            }
        } else {
            while let Some(c) = rest.next_if(|c| *c != ',') {
                if c == '"' {
                    return Err(LineError::Quotes);
                }
                field.push(c);
            }
        }
        fields.push(field);
        match rest.next() {
            None => return Ok(fields),
            Some(',') => {}
            Some(_) => return Err(LineError::Quotes),
        }
    }
}
