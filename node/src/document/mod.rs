//! Agreements as people read them: one text, made once, and its two forms, HTML and PDF, which cannot say different things.
//!
//! [`read`] finds what there is to say, [`summary::readable`] says it (purely), [`html`] and [`pdf`] only draw it.

pub mod html;
pub mod kept;
mod parties;
pub mod pdf;
pub mod summary;
mod words;

#[cfg(test)]
mod tests;

use agreements::agreement::Agreement;
use agreements::ids::{AgreementId, Digest, Ori};
use agreements::status::Status;
use agreements::stream::Streams;
use agreements::time::Instant;
use diesel::result::QueryResult;

use crate::db::Conn;
use crate::exchange::standing::{self, Verified};
use crate::registry::{ag, agreements as documents};

/// Everything that there is to say of an agreement at an instant.
#[derive(Debug, Clone)]
pub struct Found {
    /// The agreement.
    pub agreement: Agreement,
    /// SHA-256 of its canonical bytes.
    pub sha256: Digest,
    /// Where it stands.
    pub standing: Standing,
    /// What both parties said of it, every seal verified. What was not verified is not here.
    pub streams: Streams,
    /// The text of its framework, where it names one and this node keeps it.
    pub framework: Option<String>,
    /// The instant at which all this is so.
    pub at: Instant,
}

/// Where an agreement stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// At this node.
    Known(Status),
    /// The rows of this node's registry were changed by other hands: why they count for nothing.
    Changed(String),
    /// A document in a file, which nobody has offered.
    Draft,
}

/// Reads the agreement `id` as `us` knows it; `None` when there is none by that id. What was tampered with is found, and
/// is said to be; only a document that can no longer be read at all is an error. The framework's text is not read here.
pub fn read(conn: &mut Conn, us: Ori, id: AgreementId, now: Instant) -> QueryResult<Option<Found>> {
    let Some((bytes, agreement)) = documents::find(conn, id)? else { return Ok(None) };
    let sha256 = Digest::of(&bytes);
    let Some(Verified { agreement: verified, streams, .. }) = standing::verified(conn, id)? else {
        let why = standing::objection(conn, id)?.unwrap_or_else(|| "its rows changed while they were read".to_owned());
        return Ok(Some(Found::without_streams(agreement, sha256, Standing::Changed(why), now)));
    };
    let status = Status::of_grants(us, &verified, &streams, &ag::register(conn)?, now);
    let standing = Standing::Known(status);
    Ok(Some(Found { agreement: verified, sha256, standing, streams, framework: None, at: now }))
}

impl Found {
    /// An agreement of which nothing that its parties said is known.
    #[must_use]
    pub fn without_streams(agreement: Agreement, sha256: Digest, standing: Standing, at: Instant) -> Self {
        Self { agreement, sha256, standing, streams: Streams::default(), framework: None, at }
    }
}

/// A text for people: a title, a notice, and blocks in the order in which they are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readable {
    title: String,
    notice: Notice,
    blocks: Vec<Block>,
    /// What each printed page bears, so that it cannot be taken for one of another document.
    foot: String,
    at: Instant,
}

/// What stands above everything else: whether the agreement is in force, or why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Whether it is.
    pub in_force: bool,
    /// In words.
    pub text: String,
}

/// A part of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    /// The heading of a section.
    Heading(String),
    /// The heading of a part of a section.
    Subheading(String),
    /// A paragraph.
    Paragraph(String),
    /// A list of sentences.
    List(Vec<String>),
    /// A table.
    Table(Table),
}

/// A table. The first cell of each row is the row's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// What it is about.
    pub caption: String,
    /// The columns' headers.
    pub columns: Vec<String>,
    /// The rows, each with as many cells as there are columns.
    pub rows: Vec<Vec<String>>,
}

impl Readable {
    /// The title.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The notice under the title.
    #[must_use]
    pub fn notice(&self) -> &Notice {
        &self.notice
    }

    /// What stands at the foot of each page of the printed form.
    #[must_use]
    pub fn foot(&self) -> &str {
        &self.foot
    }

    /// The instant of which it speaks.
    #[must_use]
    pub fn at(&self) -> Instant {
        self.at
    }

    /// The parts, in the order in which they are read.
    #[must_use]
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Every text in the order in which it is read. Both forms hold exactly these, in this order.
    #[must_use]
    pub fn lines(&self) -> Vec<&str> {
        let mut lines = vec![self.title.as_str(), self.notice.text.as_str()];
        for block in &self.blocks {
            match block {
                Block::Heading(text) | Block::Subheading(text) | Block::Paragraph(text) => lines.push(text),
                Block::List(items) => lines.extend(items.iter().map(String::as_str)),
                Block::Table(table) => {
                    lines.push(&table.caption);
                    lines.extend(table.columns.iter().chain(table.rows.iter().flatten()).map(String::as_str));
                }
            }
        }
        lines
    }
}
