//! Draws the crop of a plate, for synthetic reads.

use fastrand::Rng;
use font8x8::legacy::BASIC_LEGACY;
use jpeg_encoder::{ColorType, Encoder, EncodingError};

/// Pixels of the picture to one of the font.
const SCALE: usize = 2;
/// Pixels around the text.
const MARGIN: usize = 10;
/// Pixels of one character, both ways.
const GLYPH: usize = 8 * SCALE;

/// A grey JPEG of `text` (ASCII) on a light plate in a dark frame, its light and its grain by lot.
///
/// # Errors
/// The encoder's, for a picture that is too large; not with a plate's text.
pub(super) fn jpeg(text: &str, rng: &mut Rng) -> Result<Vec<u8>, EncodingError> {
    let width = text.len() * GLYPH + 2 * MARGIN;
    let height = GLYPH + 2 * MARGIN;
    let light = rng.u8(190..=235);
    let mut pixels = Vec::with_capacity(width * height);
    for y in 0..height {
        for x in 0..width {
            let frame = x < 2 || y < 2 || x + 2 >= width || y + 2 >= height;
            let shade = if frame || ink(text, x, y) { 40 } else { light };
            pixels.push(shade + rng.u8(0..16));
        }
    }
    let size = |pixels: usize| u16::try_from(pixels).unwrap_or(u16::MAX);
    let mut jpeg = Vec::new();
    Encoder::new(&mut jpeg, 60).encode(&pixels, size(width), size(height), ColorType::Luma)?;
    Ok(jpeg)
}

/// Whether a glyph of `text` covers the pixel. A font row's lowest bit is its leftmost pixel.
fn ink(text: &str, x: usize, y: usize) -> bool {
    let (Some(x), Some(y)) = (x.checked_sub(MARGIN), y.checked_sub(MARGIN)) else { return false };
    let glyph = text.as_bytes().get(x / GLYPH).and_then(|c| BASIC_LEGACY.get(usize::from(*c)));
    let row = glyph.and_then(|rows| rows.get(y / SCALE));
    row.is_some_and(|bits| bits >> (x % GLYPH / SCALE) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_stand_upright_and_read_from_the_left() {
        // An L: ink along the left and at the bottom, none at the top right.
        let row = |y: usize| (0..GLYPH).filter(|x| ink("L", MARGIN + x, MARGIN + y)).collect::<Vec<_>>();
        let (top, bottom) = (row(0), row(6 * SCALE));
        assert!(!top.is_empty() && top.iter().all(|x| *x < GLYPH / 2), "{top:?}");
        assert!(bottom.iter().any(|x| *x >= GLYPH / 2), "{bottom:?}");
        assert!((0..GLYPH).all(|x| !ink("L", MARGIN + GLYPH + x, MARGIN)), "nothing after the text");
    }
}
