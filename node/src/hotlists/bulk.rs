//! What follows an assertion: a line of JSON for each entry that goes or comes, and the digest over a list's entries.
//!
//! An owner makes the same bytes twice: once to hash them for the assertion, and once to send them after it was recorded.
//! Neither side holds more than a page of them.

use agreements::hotlist::Category;
use agreements::ids::Digest;
use diesel::result::QueryResult;
use openssl::sha::Sha256;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::db::Conn;
use crate::registry::hotlists::{self, Part};

/// Entries of one page.
const PAGE: i64 = 1000;

/// The longest line, in bytes.
pub(super) const MAX_LINE: usize = 16 << 10;

/// A line as it arrives. What is hashed are the entry's bytes as they are.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line<'a> {
    /// This entry goes.
    Remove(Digest),
    /// This entry comes.
    #[serde(borrow)]
    Add(&'a RawValue),
}

/// Which lines are meant: all of a version, or what leads from an earlier one to it.
#[derive(Debug, Clone)]
pub struct Lines {
    /// The list.
    pub list: String,
    /// From which version; all of `to` when absent.
    pub since: Option<i64>,
    /// To which version.
    pub to: i64,
    /// Only these categories.
    pub categories: Vec<Category>,
}

/// What the lines of a bulk come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Summed {
    pub(super) added: u64,
    pub(super) removed: u64,
    pub(super) digest: Digest,
}

impl Lines {
    /// Gives the bytes to `each`, a page of whole lines at a time, for as long as it wants more.
    pub(super) fn write(&self, conn: &mut Conn, each: &mut dyn FnMut(Vec<u8>) -> bool) -> QueryResult<()> {
        if let Some(since) = self.since {
            let gone = |digest: Digest, _: &str| format!("{{\"remove\":\"{digest}\"}}\n");
            if !self.pages(conn, Part::Removed(since, self.to), &gone, each)? {
                return Ok(());
            }
        }
        let part = self.since.map_or(Part::At(self.to), |since| Part::Added(since, self.to));
        self.pages(conn, part, &|_, body: &str| format!("{{\"add\":{body}}}\n"), each)?;
        Ok(())
    }

    fn pages(
        &self,
        conn: &mut Conn,
        part: Part,
        line: &dyn Fn(Digest, &str) -> String,
        each: &mut dyn FnMut(Vec<u8>) -> bool,
    ) -> QueryResult<bool> {
        let mut after = None;
        loop {
            let page = hotlists::page(conn, &self.list, part, Some(&self.categories), after, PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(true) };
            after = Some(*last);
            let text: String = page.iter().map(|(digest, body)| line(*digest, body)).collect();
            if !each(text.into_bytes()) {
                return Ok(false);
            }
        }
    }

    /// What the bytes come to.
    pub(super) fn sum(&self, conn: &mut Conn) -> QueryResult<Summed> {
        let mut sha = Sha256::new();
        let (mut lines, mut added) = (0_u64, 0_u64);
        self.write(conn, &mut |bytes| {
            for line in bytes.split_inclusive(|b| *b == b'\n') {
                lines += 1;
                added += u64::from(line.starts_with(b"{\"add\""));
            }
            sha.update(&bytes);
            true
        })?;
        Ok(Summed { added, removed: lines - added, digest: Digest(sha.finish()) })
    }
}

/// How many entries of these categories a version has, and the digest over theirs, in ascending order.
pub(super) fn contents(
    conn: &mut Conn,
    list: &str,
    version: i64,
    categories: &[Category],
) -> QueryResult<(u64, Digest)> {
    let (mut sha, mut entries, mut after) = (Sha256::new(), 0_u64, None);
    loop {
        let page = hotlists::page(conn, list, Part::At(version), Some(categories), after, PAGE)?;
        let Some((newest, _)) = page.last() else { return Ok((entries, Digest(sha.finish()))) };
        after = Some(*newest);
        for (digest, _) in page {
            entries += 1;
            sha.update(&digest.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_of_two() {
        let add: Line<'_> = serde_json::from_str(r#"{"add":{"plate":"7ABC123","category":"local"}}"#).unwrap();
        assert!(matches!(add, Line::Add(raw) if raw.get() == r#"{"plate":"7ABC123","category":"local"}"#));
        let digest = Digest::of(b"x");
        let text = format!(r#"{{"remove":"{digest}"}}"#);
        let remove: Line<'_> = serde_json::from_str(&text).unwrap();
        assert!(matches!(remove, Line::Remove(found) if found == digest));
        assert!(serde_json::from_str::<Line<'_>>(r#"{"keep":{}}"#).is_err());
    }
}
