//! The fonts that are embedded, and texts as the glyphs that they have.

use krilla::text::{Font, GlyphId, KrillaGlyph};
use skrifa::charmap::Charmap;
use skrifa::instance::{LocationRef, Size};
use skrifa::metrics::GlyphMetrics;
use skrifa::{FontRef, MetadataProvider as _};

use super::PdfError;
use crate::document::words::numbered;

const REGULAR: &[u8] = include_bytes!("../../../fonts/OpenSans-Regular.ttf");
const BOLD: &[u8] = include_bytes!("../../../fonts/OpenSans-Bold.ttf");

/// The two faces.
pub(super) struct Faces {
    pub(super) regular: Face,
    pub(super) bold: Face,
}

impl Faces {
    pub(super) fn load() -> Result<Self, PdfError> {
        Ok(Self { regular: Face::load(REGULAR)?, bold: Face::load(BOLD)? })
    }
}

/// One face.
pub(super) struct Face {
    pub(super) font: Font,
    map: Charmap<'static>,
    metrics: GlyphMetrics<'static>,
    /// Units of its design in an em.
    em: f32,
}

/// A character of a text and what is drawn for it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Unit {
    pub(super) said: char,
    /// The character, or its number where the face lacks it.
    pub(super) drawn: String,
    /// Its width, in ems.
    pub(super) width: f32,
}

impl Face {
    fn load(bytes: &'static [u8]) -> Result<Self, PdfError> {
        let font = Font::new(bytes.into(), 0).ok_or(PdfError::Font)?;
        let face = FontRef::new(bytes).map_err(|_| PdfError::Font)?;
        let metrics = face.glyph_metrics(Size::unscaled(), LocationRef::default());
        Ok(Self { em: font.units_per_em(), font, map: face.charmap(), metrics })
    }

    /// The glyph of a character and its width in ems. `None` for what the face lacks, and for what cannot be drawn one
    /// character after the other: scripts from right to left, and marks that stand above others.
    fn glyph(&self, c: char) -> Option<(u32, f32)> {
        if matches!(c, '\u{300}'..='\u{36f}' | '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{feff}' | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
        {
            return None;
        }
        let glyph = self.map.map(c).filter(|glyph| glyph.to_u32() != 0)?;
        let width = self.metrics.advance_width(glyph)?;
        Some((glyph.to_u32(), width / self.em))
    }

    /// A text as it is drawn.
    pub(super) fn units(&self, text: &str) -> Vec<Unit> {
        let width = |drawn: &str| drawn.chars().filter_map(|c| self.glyph(c)).map(|(_, width)| width).sum();
        text.chars()
            .map(|said| {
                let drawn = if self.glyph(said).is_some() { said.to_string() } else { numbered(said) };
                Unit { said, width: width(&drawn), drawn }
            })
            .collect()
    }

    /// The glyphs of what is drawn; their ranges are those of `drawn`.
    pub(super) fn glyphs(&self, drawn: &str) -> Vec<KrillaGlyph> {
        let glyph = |(at, c): (usize, char)| {
            let (id, width) = self.glyph(c)?;
            let range = at..at + c.len_utf8();
            Some(KrillaGlyph::new(GlyphId::new(id), width, 0.0, 0.0, 0.0, range, None))
        };
        drawn.char_indices().filter_map(glyph).collect()
    }
}

/// Lines of at most `width` ems, broken behind spaces, and within a word only where the word alone is wider. Nothing is
/// left out: the lines after each other are the text.
pub(super) fn lines(units: &[Unit], width: f32) -> Vec<Vec<Unit>> {
    let mut lines: Vec<Vec<Unit>> = Vec::new();
    let (mut line, mut used) = (Vec::new(), 0.0);
    for word in units.split_inclusive(|unit| unit.said == ' ') {
        // A space at a line's end takes no room.
        let wide = |units: &[Unit]| units.iter().filter(|unit| unit.said != ' ').map(|unit| unit.width).sum::<f32>();
        if used + wide(word) > width && !line.is_empty() {
            lines.push(std::mem::take(&mut line));
            used = 0.0;
        }
        for unit in word {
            if used + unit.width > width && unit.said != ' ' && !line.is_empty() {
                lines.push(std::mem::take(&mut line));
                used = 0.0;
            }
            used += unit.width;
            line.push(unit.clone());
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}
