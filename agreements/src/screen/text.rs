//! A text as it is compared: its letters in one form without gaps, and where its words begin and end.

use super::fold::{Class, glyphs};

const BEGINS: u8 = 1;
const ENDS: u8 = 2;

/// A folded text.
pub(super) struct Folded {
    bytes: Vec<u8>,
    /// For each byte, and for the end, whether a word may begin or end there.
    marks: Vec<u8>,
}

impl Folded {
    pub(super) fn of(text: &str) -> Self {
        let room = text.len() + text.len() / 4 + 1;
        let mut this = Self { bytes: Vec::with_capacity(room), marks: Vec::with_capacity(room) };
        let mut before = [Class::Gap; 2];
        glyphs(text, |glyph| {
            if glyph.class != Class::Gap {
                this.marks.push(between(before, glyph.class));
                this.bytes.extend_from_slice(glyph.folded.as_bytes());
                this.marks.resize(this.bytes.len(), 0);
            }
            before = [before[1], glyph.class];
        });
        this.marks.push(BEGINS | ENDS);
        this
    }

    /// Every place in it.
    pub(super) fn spots(&self) -> impl Iterator<Item = Spot<'_>> {
        (0..self.bytes.len()).map(|at| Spot { text: self, at })
    }

    fn marked(&self, at: usize, mark: u8) -> bool {
        self.marks.get(at).is_some_and(|marks| marks & mark != 0)
    }
}

/// What a place between two characters may be, with the one before them. Besides gaps, capitals and digits part words:
/// `HSIassist`, `assistHSI`, `HSI20260113`. Capitals before small letters end a word and begin none, so that `Rice` is no
/// `ice`; one capital alone does not even end one, so that the initials of `C. B. Palmer` are no `CBP`. A digit before
/// letters begins none, since a plate is written so.
fn between(before: [Class; 2], this: Class) -> u8 {
    match (before, this) {
        ([_, Class::Gap], _) | ([_, Class::Lower], Class::Upper) => BEGINS | ENDS,
        ([Class::Upper, Class::Upper], Class::Lower) | ([_, Class::Upper | Class::Lower], Class::Digit) => ENDS,
        _ => 0,
    }
}

/// A place in a text.
pub(super) struct Spot<'a> {
    text: &'a Folded,
    at: usize,
}

impl<'a> Spot<'a> {
    /// What comes from here on.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.text.bytes.get(self.at..).unwrap_or_default()
    }

    pub(super) fn begins_word(&self) -> bool {
        self.text.marked(self.at, BEGINS)
    }

    /// Whether `term` comes here.
    pub(super) fn has(&self, term: &str) -> bool {
        self.rest().starts_with(term.as_bytes())
    }

    /// Whether `term` comes here and a word ends with it.
    pub(super) fn has_word(&self, term: &str) -> bool {
        self.has(term) && self.text.marked(self.at + term.len(), ENDS)
    }

    /// Whether `words` come before, from the beginning of one.
    pub(super) fn follows_words(&self, words: &str) -> bool {
        let Some(begins) = self.at.checked_sub(words.len()) else { return false };
        self.text.bytes.get(begins..self.at) == Some(words.as_bytes()) && self.text.marked(begins, BEGINS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_parted_by_gaps_and_by_capitals_and_digits_as_a_reader_parts_them() {
        for (text, word, found) in [
            ("the HSI office", "hsi", true),
            ("h-s-i", "hsi", true),
            ("requestHSI", "hsi", true),
            ("HSIrequest", "hsi", true),
            ("HSI20260113", "hsi", true),
            ("hsirequest", "hsi", false),
            ("HSIREQUEST", "hsi", false),
            ("Rice", "ice", false),
            ("PRICE", "ice", false),
            ("Det. C. B. Palmer", "cbp", false),
            ("8DHS123", "dhs", false),
        ] {
            let folded = Folded::of(text);
            let is = folded.spots().any(|spot| spot.begins_word() && spot.has_word(word));
            assert_eq!(is, found, "{text}");
        }
    }
}
