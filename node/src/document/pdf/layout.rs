//! Where everything goes on the pages.

use super::face::{Face, Faces, Unit, lines};
use crate::document::{Block, Readable, Table};

/// A page of US Letter, in points.
pub(super) const WIDTH: f32 = 612.0;
/// Its height, in points.
pub(super) const HEIGHT: f32 = 792.0;
const MARGIN: f32 = 54.0;
const TOP: f32 = 60.0;
const BOTTOM: f32 = HEIGHT - 66.0;
const FOOT: f32 = HEIGHT - 44.0;
const INNER: f32 = WIDTH - 2.0 * MARGIN;
/// Room within a cell, in points.
const PADDING: f32 = 4.0;

/// How a text looks: size and line height in points.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub(super) size: f32,
    pub(super) height: f32,
    pub(super) bold: bool,
}

impl Style {
    /// The height of so many lines.
    fn of(self, lines: usize) -> f32 {
        self.height * number(lines)
    }
}

/// No page has more lines, and no table more columns, than this can count.
fn number(count: usize) -> f32 {
    u16::try_from(count).map_or(f32::MAX, f32::from)
}

const TITLE: Style = Style { size: 18.0, height: 24.0, bold: true };
const HEADING: Style = Style { size: 14.0, height: 19.0, bold: true };
const SUBHEADING: Style = Style { size: 12.0, height: 16.0, bold: true };
const BODY: Style = Style { size: 10.5, height: 14.5, bold: false };
const STRONG: Style = Style { size: 10.5, height: 14.5, bold: true };
const SMALL: Style = Style { size: 8.0, height: 11.0, bold: false };

/// What a piece of text is for somebody who does not see the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// Part of the line with this index of [`Readable::lines`].
    Line(usize),
    /// The bullet of such a line.
    Bullet(usize),
    /// Repeated for those who see the page.
    Repeated,
    /// The foot of the page.
    Foot,
}

/// Something on a page.
pub(super) enum Piece {
    /// A line of text, with its start on the baseline.
    Text { x: f32, y: f32, style: Style, units: Vec<Unit>, mark: Mark },
    /// A filled box: a rule or a bar.
    Fill { x: f32, y: f32, width: f32, height: f32 },
}

/// Where a heading is, for the outline.
pub(super) struct Place {
    pub(super) text: String,
    pub(super) page: usize,
    pub(super) y: f32,
}

/// All pages.
pub(super) struct Laid {
    pub(super) pages: Vec<Vec<Piece>>,
    pub(super) headings: Vec<Place>,
}

/// Lays the whole text out.
pub(super) fn lay(text: &Readable, faces: &Faces) -> Laid {
    let mut flow = Flow { faces, pages: Vec::new(), page: Vec::new(), y: TOP, next: 0, headings: Vec::new() };
    flow.heading(text.title(), TITLE, 0.0);
    flow.notice(&text.notice().text);
    for block in text.blocks() {
        match block {
            Block::Heading(heading) => flow.heading(heading, HEADING, 18.0),
            Block::Subheading(heading) => flow.heading(heading, SUBHEADING, 10.0),
            Block::Paragraph(paragraph) => flow.paragraph(paragraph),
            Block::List(items) => items.iter().for_each(|item| flow.item(item)),
            Block::Table(table) => flow.table(table),
        }
    }
    flow.turn();
    let Flow { mut pages, headings, .. } = flow;
    let count = pages.len();
    for (page, n) in pages.iter_mut().zip(1..) {
        page.push(Piece::Fill { x: MARGIN, y: FOOT - 12.0, width: INNER, height: 0.5 });
        let foot = faces.regular.units(&format!("{} – page {n} of {count}", text.foot()));
        let mut y = FOOT;
        for units in lines(&foot, INNER / SMALL.size) {
            page.push(Piece::Text { x: MARGIN, y, style: SMALL, units, mark: Mark::Foot });
            y += SMALL.height;
        }
    }
    Laid { pages, headings }
}

struct Flow<'f> {
    faces: &'f Faces,
    pages: Vec<Vec<Piece>>,
    page: Vec<Piece>,
    /// The upper edge of what comes next.
    y: f32,
    /// The index of the line that comes next.
    next: usize,
    headings: Vec<Place>,
}

impl Flow<'_> {
    fn face(&self, style: Style) -> &Face {
        if style.bold { &self.faces.bold } else { &self.faces.regular }
    }

    fn lines(&self, text: &str, style: Style, width: f32) -> Vec<Vec<Unit>> {
        lines(&self.face(style).units(text), width / style.size)
    }

    fn line(&mut self) -> Mark {
        self.next += 1;
        Mark::Line(self.next - 1)
    }

    fn turn(&mut self) {
        self.pages.push(std::mem::take(&mut self.page));
        self.y = TOP;
    }

    /// Turns the page when less than `height` is left, unless nothing is on it.
    fn need(&mut self, height: f32) {
        if self.y + height > BOTTOM && !self.page.is_empty() {
            self.turn();
        }
    }

    fn put(&mut self, x: f32, y: f32, style: Style, units: Vec<Unit>, mark: Mark) {
        let y = y + style.height * 0.75;
        self.page.push(Piece::Text { x, y, style, units, mark });
    }

    /// Lines below each other, over as many pages as they take.
    fn text(&mut self, text: &str, style: Style, x: f32) {
        let mark = self.line();
        for units in self.lines(text, style, WIDTH - MARGIN - x) {
            self.need(style.height);
            self.put(x, self.y, style, units, mark);
            self.y += style.height;
        }
    }

    fn heading(&mut self, text: &str, style: Style, before: f32) {
        self.y += before;
        // A heading stays with the beginning of what it is about.
        let height = style.of(self.lines(text, style, INNER).len());
        self.need(height + 4.0 * BODY.height);
        if style.size == HEADING.size {
            self.page.push(Piece::Fill { x: MARGIN, y: self.y - 4.0, width: INNER, height: 0.75 });
        }
        self.headings.push(Place { text: text.to_owned(), page: self.pages.len(), y: self.y });
        self.text(text, style, MARGIN);
        self.y += 4.0;
    }

    fn notice(&mut self, text: &str) {
        self.y += 4.0;
        let lines = self.lines(text, STRONG, INNER - 16.0);
        let page = self.pages.len();
        let top = self.y;
        let fits = STRONG.of(lines.len()) < BOTTOM - top;
        self.text(text, STRONG, MARGIN + 16.0);
        if fits && page == self.pages.len() {
            self.page.push(Piece::Fill { x: MARGIN, y: top, width: 6.0, height: self.y - top });
        }
        self.y += 8.0;
    }

    fn paragraph(&mut self, text: &str) {
        self.text(text, BODY, MARGIN);
        self.y += 6.0;
    }

    fn item(&mut self, text: &str) {
        self.need(BODY.height);
        let bullet = self.faces.regular.units("•");
        self.put(MARGIN + 4.0, self.y, BODY, bullet, Mark::Bullet(self.next));
        self.text(text, BODY, MARGIN + 16.0);
        self.y += 3.0;
    }

    fn table(&mut self, table: &Table) {
        self.y += 6.0;
        let caption = STRONG.of(self.lines(&table.caption, STRONG, INNER).len());
        self.need(caption + 4.0 * (BODY.height + 2.0 * PADDING));
        self.text(&table.caption, STRONG, MARGIN);
        let widths = widths(table.columns.len());
        let head: Vec<(Style, Mark)> = table.columns.iter().map(|_| (STRONG, self.line())).collect();
        self.row(&table.columns, &widths, &head, None);
        for row in &table.rows {
            let cells: Vec<(Style, Mark)> =
                (0..row.len()).map(|n| (if n == 0 { STRONG } else { BODY }, self.line())).collect();
            self.row(row, &widths, &cells, Some(&table.columns));
        }
        self.y += 8.0;
    }

    /// A row, whole on a page where it fits on one. `head` is drawn again where the row goes on to another page.
    fn row(&mut self, texts: &[String], widths: &[f32], cells: &[(Style, Mark)], head: Option<&[String]>) {
        let broken: Vec<Vec<Vec<Unit>>> = texts
            .iter()
            .zip(widths)
            .zip(cells)
            .map(|((text, width), (style, _))| self.lines(text, *style, width - 2.0 * PADDING))
            .collect();
        let count = broken.iter().map(Vec::len).max().unwrap_or(0);
        let height = BODY.of(count) + 2.0 * PADDING;
        let again = |flow: &mut Self| {
            flow.turn();
            if let Some(texts) = head {
                flow.row(texts, widths, &vec![(STRONG, Mark::Repeated); texts.len()], None);
            }
        };
        if self.y + height > BOTTOM && (height < (BOTTOM - TOP) / 2.0 || self.y + 4.0 * BODY.height > BOTTOM) {
            again(self);
        }
        self.y += PADDING;
        for n in 0..count {
            if self.y + BODY.height > BOTTOM {
                again(self);
                self.y += PADDING;
            }
            let mut x = MARGIN;
            for ((cell, width), (style, mark)) in broken.iter().zip(widths).zip(cells) {
                if let Some(units) = cell.get(n) {
                    self.put(x + PADDING, self.y, *style, units.clone(), *mark);
                }
                x += width;
            }
            self.y += BODY.height;
        }
        self.y += PADDING;
        self.page.push(Piece::Fill { x: MARGIN, y: self.y - 0.5, width: INNER, height: 0.5 });
    }
}

/// The widths of so many columns: the first is for short texts.
fn widths(columns: usize) -> Vec<f32> {
    let rest = number(columns.saturating_sub(1).max(1));
    (0..columns).map(|n| if n == 0 { INNER * 0.35 } else { INNER * 0.65 / rest }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::tests::text;

    #[test]
    fn nothing_goes_over_the_edge_of_a_page_or_over_something_else() {
        let faces = Faces::load().unwrap();
        for name in ["Birch", &"Birch City ".repeat(190), &"W".repeat(2000), &"警".repeat(700)] {
            let laid = lay(&text(name), &faces);
            let mut lines = 0;
            for page in &laid.pages {
                let mut taken: Vec<(f32, f32, f32)> = Vec::new();
                for piece in page {
                    let Piece::Text { x, y, style, units, mark } = piece else { continue };
                    let drawn = units.len() - units.iter().rev().take_while(|unit| unit.said == ' ').count();
                    let end = x + style.size * units[..drawn].iter().map(|unit| unit.width).sum::<f32>();
                    assert!(*x >= MARGIN && end <= WIDTH - MARGIN + 0.1, "{end}");
                    let limit = if *mark == Mark::Foot { HEIGHT - 24.0 } else { BOTTOM };
                    assert!(*y >= TOP && *y <= limit, "{y}");
                    let over = taken
                        .iter()
                        .find(|(from, to, at)| *from < end - 0.1 && *x < to - 0.1 && (at - y).abs() < style.size * 0.9);
                    assert_eq!(over, None, "two texts in one place");
                    taken.push((*x, end, *y));
                    lines += 1;
                }
            }
            assert!(lines > 150);
        }
    }
}
