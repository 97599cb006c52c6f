//! The ledger: a line of tab-separated fields for each certificate, readable in any spreadsheet.

use std::fmt::Write as _;
use std::str::FromStr;

use agreements::ids::Ori;
use agreements::time::Instant;
use certs::crl::Reason;
use certs::serial::Serial;

const HEADER: &str = "serial\tori\tkind\tissued\texpires\trevoked_at\treason";

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A node's handshake.
    Node,
    /// Sealing documents.
    Seal,
}

impl Kind {
    /// The written form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Seal => "seal",
        }
    }
}

/// One certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Its serial number.
    pub serial: Serial,
    /// Its agency.
    pub ori: Ori,
    /// What it is for.
    pub kind: Kind,
    /// When it was issued.
    pub issued: Instant,
    /// The end of its validity.
    pub expires: Instant,
    /// Since when and why it is revoked.
    pub revoked: Option<(Instant, Reason)>,
}

/// A ledger that does not read as one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("issued.tsv, line {0}, is damaged; restore it from a backup: revocations are in it")]
pub struct LedgerError(pub usize);

pub(super) fn render(lines: &[Line]) -> String {
    let mut text = format!("{HEADER}\n");
    for Line { serial, ori, kind, issued, expires, revoked } in lines {
        let (at, reason) = revoked.map_or_else(Default::default, |(at, r)| (at.to_string(), r.to_string()));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{serial}\t{ori}\t{}\t{issued}\t{expires}\t{at}\t{reason}", kind.as_str());
    }
    text
}

pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Line>, LedgerError> {
    let text = std::str::from_utf8(bytes).map_err(|_| LedgerError(1))?;
    let mut lines = text.lines();
    // A file cut short has lost its last line break, or its header.
    if lines.next() != Some(HEADER) || !text.ends_with('\n') {
        return Err(LedgerError(1));
    }
    lines.enumerate().map(|(at, text)| line(text).ok_or(LedgerError(at + 2))).collect()
}

fn line(text: &str) -> Option<Line> {
    let fields: Vec<&str> = text.split('\t').collect();
    let [serial, ori, kind, issued, expires, at, reason] = fields[..] else { return None };
    let revoked = match (at, reason) {
        ("", "") => None,
        _ => Some((read(at)?, read(reason)?)),
    };
    let kind = [Kind::Node, Kind::Seal].into_iter().find(|known| known.as_str() == kind)?;
    Some(Line { serial: read(serial)?, ori: read(ori)?, kind, issued: read(issued)?, expires: read(expires)?, revoked })
}

fn read<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_round_and_damage_is_named() {
        let now: Instant = "2026-11-23T00:00:00Z".parse().unwrap();
        let good = Line {
            serial: Serial::new([1; 16]),
            ori: "CA0190000".parse().unwrap(),
            kind: Kind::Node,
            issued: now,
            expires: now.plus(Instant::DAY),
            revoked: None,
        };
        let revoked =
            Line { serial: Serial::new([2; 16]), kind: Kind::Seal, revoked: Some((now, Reason::Superseded)), ..good };
        let text = render(&[good, revoked]);
        assert_eq!(parse(text.as_bytes()), Ok(vec![good, revoked]));
        assert_eq!(parse(render(&[]).as_bytes()), Ok(vec![]));
        assert_eq!(parse(&text.as_bytes()[..text.len() - 1]), Err(LedgerError(1)));
        assert_eq!(parse(b""), Err(LedgerError(1)));
        for (from, to) in [("superseded", "because"), ("\tsuperseded", ""), ("\tsuperseded", "\t"), ("seal", "sea")] {
            assert_eq!(parse(text.replace(from, to).as_bytes()), Err(LedgerError(3)), "{from}");
        }
    }
}
