//! Screens over free text: what is sensitive, and what is no reason.
//!
//! What is sensitive stands in `screen/terms.txt`, a list with a version for those who keep it. Texts are compared after
//! folding: compatibility forms, look-alike letters of other scripts, case and accents make no difference, nor do odd
//! spacing, punctuation between letters and digits for letters.

mod fold;
mod list;
mod text;
mod vague;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::plate::Plate;
use fold::fold;
use list::LIST;
use vague::VAGUE;

/// What a sensitive term is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// Civil immigration enforcement (V-20, III-11; Gov. Code 7284.6).
    Immigration,
    /// Reproductive or gender-affirming care (Pen. Code 13778.2; Civ. Code 1798.300 and following).
    Care,
    /// Religious, political or social views or activities (III-02, III-03).
    Expression,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Immigration, Self::Care, Self::Expression];

    /// The written name, such as `immigration`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Immigration => "immigration",
            Self::Care => "care",
            Self::Expression => "expression",
        }
    }
}

/// The longest reason, in characters.
pub const MAX_REASON: usize = 500;

/// The version of the list of sensitive terms, such as `2026-11.2`. It goes into the note of every decision, so that an
/// auditor knows what a question was screened for.
#[must_use]
pub fn version() -> &'static str {
    LIST.version
}

/// The sensitive terms as the list has them, with what each is about.
#[must_use]
pub fn terms() -> impl ExactSizeIterator<Item = (Topic, &'static str)> {
    LIST.terms.iter().map(|term| (term.topic, term.written))
}

/// The topics that any of `texts` touches, each once.
#[must_use]
pub fn sensitive<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<Topic> {
    let mut topics = Vec::new();
    texts.into_iter().for_each(|text| LIST.find(text, &mut topics));
    topics.sort_unstable();
    topics.dedup();
    topics
}

/// Whether a text has a letter or digit that a reader sees, and no control character but line ends and tabs: a name of
/// zero-width characters names nobody, an escape sequence rewrites the screen of whoever reads the trail, and a text with
/// its direction overridden is read otherwise than it is screened.
#[must_use]
pub fn legible(text: &str) -> bool {
    let overridden = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().all(|c| !(c.is_control() || overridden(c)) || matches!(c, '\n' | '\r' | '\t'))
        && (text.bytes().any(|byte| byte.is_ascii_alphanumeric())
            || unicode_security::skeleton(text).any(char::is_alphanumeric))
}

/// Whether a reason says why: at least two words that are not vague, at most [`MAX_REASON`] characters, and no plate
/// alone (V-13, VIII-08).
#[must_use]
pub fn substantive(reason: &str) -> bool {
    reason.chars().count() <= MAX_REASON && legible(reason) && !plate_shaped(reason.trim()) && meaningful(reason) >= 2
}

/// Whether a text tells a story: at least eight words that are not vague (I-05).
#[must_use]
pub fn narrative(reason: &str) -> bool {
    meaningful(reason) >= 8
}

/// How many different words say something: three letters or more, not one letter repeated, no digit (a plate is no
/// word), and not vague in any dress.
fn meaningful(text: &str) -> usize {
    static FOLDED: LazyLock<Vec<String>> = LazyLock::new(|| VAGUE.map(fold).to_vec());
    let words: BTreeSet<String> = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.chars().count() >= 3 && word.chars().all(char::is_alphabetic))
        .map(fold)
        .filter(|word| word.chars().any(|c| !word.starts_with(c)) && !FOLDED.contains(word))
        .collect();
    words.len()
}

/// Whether a text has the form of a California plate: `9AAA999`, `AAA999`, `999AAA`, `9A99999` or `4AA9999`.
#[must_use]
pub fn plate_shaped(text: &str) -> bool {
    let Ok(plate) = text.parse::<Plate>() else { return false };
    let shape: String = plate.as_str().chars().map(|c| if c.is_ascii_digit() { '9' } else { 'A' }).collect();
    matches!(shape.as_str(), "9AAA999" | "AAA999" | "999AAA" | "9A99999" | "9AA9999")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_reason() {
        for reason in [
            "",
            " ",
            ".",
            "inv",
            "test",
            "Investigation",
            "criminal investigation",
            "12345",
            "7ABC123",
            "case 2026-1",
            "robbery",
            "robbery robbery",
            "7ABC123 8XYZ999",
            "aaa bbb",
            "\u{456}nvestigation ong\u{43e}ing",
            "stolen \u{1b}[2Jtruck recovery",
            "stolen truck \u{202e}ISH\u{202c} recovery",
            &format!("stolen truck{}", " ".repeat(500)),
            &"word and story ".repeat(60),
        ] {
            assert!(!substantive(reason), "{reason}");
        }
        for reason in ["Robbery suspect vehicle", "stolen truck recovery", "at-risk missing adult"] {
            assert!(substantive(reason), "{reason}");
        }
    }

    #[test]
    fn plates_are_recognised_by_their_form() {
        for text in ["7ABC123", "7abc-123", "ABC123", "123ABC", "5A12345", "4AA1234"] {
            assert!(plate_shaped(text), "{text}");
        }
        for text in ["2026-118842", "26-0012", "A1", "DR 2026 118842", "robbery"] {
            assert!(!plate_shaped(text), "{text}");
        }
    }
}
