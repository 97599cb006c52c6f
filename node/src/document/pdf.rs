//! The text as a PDF for everybody: tagged, in PDF/UA-1 (ISO 14289-1), with its fonts inside.
//!
//! A character that the fonts lack is drawn as its number, such as `[U+4E2D]`; whoever copies the text or hears it read
//! gets the character itself.

mod face;
mod layout;

use std::num::NonZeroU16;

use agreements::time::Instant;
use krilla::Document;
use krilla::SerializeSettings;
use krilla::color::rgb;
use krilla::configure::{Configuration, Validator};
use krilla::destination::XyzDestination;
use krilla::error::KrillaError;
use krilla::geom::{PathBuilder, Point, Rect};
use krilla::metadata::{DateTime, Metadata};
use krilla::outline::{Outline, OutlineNode};
use krilla::page::PageSettings;
use krilla::paint::Fill;
use krilla::surface::Surface;
use krilla::tagging::{
    ArtifactType, ContentTag, Identifier, ListNumbering, Node, SpanTag, TableHeaderScope, Tag, TagGroup, TagKind,
    TagTree,
};

use self::face::{Faces, Unit};
use self::layout::{Laid, Mark, Piece, Style};
use super::{Block, Readable, Table};

/// The language of the text (RFC 5646).
const LANGUAGE: &str = "en-US";

/// Why there is no PDF.
#[derive(Debug, thiserror::Error)]
pub enum PdfError {
    /// The fonts in the program cannot be read.
    #[error("a font of this program cannot be read; install it anew")]
    Font,
    /// A page has no size.
    #[error("a page has no size")]
    Page,
    /// It would not be PDF/UA-1, or could not be written.
    #[error("the PDF cannot be made: {0:?}; render it as HTML (--html), and report this")]
    Krilla(KrillaError),
}

/// The PDF. The same text gives the same bytes.
///
/// # Errors
/// [`PdfError`]; none depends on what the parties wrote.
pub fn render(text: &Readable) -> Result<Vec<u8>, PdfError> {
    let faces = Faces::load()?;
    let laid = layout::lay(text, &faces);
    let settings = SerializeSettings {
        configuration: Configuration::new_with_validator(Validator::UA1),
        enable_tagging: true,
        ..SerializeSettings::default()
    };
    let mut document = Document::new_with(settings);
    let mut marks = Marks::new(text.lines().len());
    for page in &laid.pages {
        let size = PageSettings::from_wh(layout::WIDTH, layout::HEIGHT).ok_or(PdfError::Page)?;
        let mut sheet = document.start_page_with(size);
        let mut surface = sheet.surface();
        surface.set_fill(Some(Fill { paint: rgb::Color::black().into(), ..Fill::default() }));
        for piece in page {
            draw(&mut surface, piece, &faces, &mut marks);
        }
        surface.finish();
        sheet.finish();
    }
    document.set_outline(outline(&laid));
    document.set_tag_tree(tree(text, marks));
    document.set_metadata(metadata(text));
    document.finish().map_err(PdfError::Krilla)
}

/// The pieces that each line was drawn in.
struct Marks {
    lines: Vec<Vec<Identifier>>,
    bullets: Vec<Vec<Identifier>>,
}

impl Marks {
    fn new(count: usize) -> Self {
        Self { lines: vec![Vec::new(); count], bullets: vec![Vec::new(); count] }
    }

    fn keep(&mut self, mark: Mark, identifier: Identifier) {
        let kept = match mark {
            Mark::Line(n) => self.lines.get_mut(n),
            Mark::Bullet(n) => self.bullets.get_mut(n),
            Mark::Repeated | Mark::Foot => None,
        };
        if let Some(kept) = kept {
            kept.push(identifier);
        }
    }
}

fn draw(surface: &mut Surface<'_>, piece: &Piece, faces: &Faces, marks: &mut Marks) {
    match piece {
        Piece::Text { x, y, style, units, mark } => {
            text(surface, Point::from_xy(*x, *y), *style, units, *mark, faces, marks);
        }
        Piece::Fill { x, y, width, height } => {
            let mut path = PathBuilder::new();
            if let Some(rect) = Rect::from_xywh(*x, *y, *width, *height) {
                path.push_rect(rect);
            }
            if let Some(path) = path.finish() {
                surface.start_tagged(ContentTag::Artifact(ArtifactType::Other));
                surface.draw_path(&path);
                surface.end_tagged();
            }
        }
    }
}

fn text(
    surface: &mut Surface<'_>,
    at: Point,
    style: Style,
    units: &[Unit],
    mark: Mark,
    faces: &Faces,
    marks: &mut Marks,
) {
    let face = if style.bold { &faces.bold } else { &faces.regular };
    let drawn: String = units.iter().map(|unit| unit.drawn.as_str()).collect();
    let said: String = units.iter().map(|unit| unit.said).collect();
    let tag = match mark {
        Mark::Line(_) | Mark::Bullet(_) => {
            ContentTag::Span(SpanTag::empty().with_actual_text((said != drawn).then_some(said.as_str())))
        }
        Mark::Repeated => ContentTag::Artifact(ArtifactType::Other),
        Mark::Foot => ContentTag::Artifact(ArtifactType::Footer),
    };
    let identifier = surface.start_tagged(tag);
    surface.draw_glyphs(at, &face.glyphs(&drawn), face.font.clone(), &drawn, style.size, false);
    surface.end_tagged();
    marks.keep(mark, identifier);
}

fn outline(laid: &Laid) -> Outline {
    let mut outline = Outline::new();
    for place in &laid.headings {
        let destination = XyzDestination::new(place.page, Point::from_xy(0.0, place.y));
        outline.push_child(OutlineNode::new(place.text.clone(), destination));
    }
    outline
}

/// What each piece is: the same order in which [`Readable::lines`] goes.
fn tree(text: &Readable, marks: Marks) -> TagTree {
    let mut leaves = Leaves { lines: marks.lines.into_iter(), bullets: marks.bullets.into_iter() };
    let mut tree = TagTree::new().with_lang(Some(LANGUAGE.to_owned()));
    tree.push(leaves.group(heading(1, text.title())));
    tree.push(leaves.group(Tag::P));
    for block in text.blocks() {
        let node = match block {
            Block::Heading(title) => leaves.group(heading(2, title)),
            Block::Subheading(title) => leaves.group(heading(3, title)),
            Block::Paragraph(_) => leaves.group(Tag::P),
            Block::List(items) => {
                let items = items.iter().map(|_| leaves.item()).collect();
                TagGroup::with_children(Tag::L(ListNumbering::Disc), items)
            }
            Block::Table(table) => leaves.table(table),
        };
        tree.push(node);
    }
    tree
}

fn heading(level: u16, title: &str) -> TagKind {
    Tag::Hn(NonZeroU16::new(level).unwrap_or(NonZeroU16::MIN), Some(title.to_owned())).into()
}

struct Leaves {
    lines: std::vec::IntoIter<Vec<Identifier>>,
    bullets: std::vec::IntoIter<Vec<Identifier>>,
}

impl Leaves {
    /// The next line's bullet and pieces.
    fn next(&mut self) -> (Vec<Node>, Vec<Node>) {
        let nodes = |ids: Option<Vec<Identifier>>| ids.unwrap_or_default().into_iter().map(Node::from).collect();
        (nodes(self.bullets.next()), nodes(self.lines.next()))
    }

    fn group(&mut self, tag: impl Into<TagKind>) -> TagGroup {
        TagGroup::with_children(tag, self.next().1)
    }

    fn item(&mut self) -> Node {
        let (bullet, text) = self.next();
        let parts =
            vec![TagGroup::with_children(Tag::Lbl, bullet).into(), TagGroup::with_children(Tag::LBody, text).into()];
        TagGroup::with_children(Tag::LI, parts).into()
    }

    fn table(&mut self, table: &Table) -> TagGroup {
        let mut group = TagGroup::new(Tag::Table.with_summary(Some(table.caption.clone())));
        group.push(self.group(Tag::Caption));
        let head = table.columns.iter().map(|_| self.group(Tag::TH(TableHeaderScope::Column)).into()).collect();
        group.push(TagGroup::with_children(Tag::THead, vec![TagGroup::with_children(Tag::TR, head).into()]));
        let mut body = TagGroup::new(Tag::TBody);
        for row in &table.rows {
            let mut cells = TagGroup::new(Tag::TR);
            for n in 0..row.len() {
                let cell = if n == 0 { TagKind::from(Tag::TH(TableHeaderScope::Row)) } else { Tag::TD.into() };
                cells.push(self.group(cell));
            }
            body.push(cells);
        }
        group.push(body);
        group
    }
}

fn metadata(text: &Readable) -> Metadata {
    let metadata = Metadata::new()
        .title(text.title().to_owned())
        .language(LANGUAGE.to_owned())
        .creator(concat!("Concordat ", env!("CARGO_PKG_VERSION")).to_owned())
        .description(text.notice().text.clone());
    match date(text.at()) {
        Some(date) => metadata.creation_date(date),
        None => metadata,
    }
}

fn date(at: Instant) -> Option<DateTime> {
    let at = jiff::Timestamp::from_microsecond(at.micros()).ok()?.to_zoned_datetime(jiff::tz::TimeZone::UTC);
    let part = |n: i8| u8::try_from(n).unwrap_or_default();
    let date = DateTime::new(u16::try_from(at.year()).ok()?).month(part(at.month())).day(part(at.day()));
    let date = date.hour(part(at.hour())).minute(part(at.minute())).second(part(at.second()));
    Some(date.utc_offset_hour(0).utc_offset_minute(0))
}
