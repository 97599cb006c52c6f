//! Screens over free text: what is sensitive, and what is no reason.
//!
//! Texts are compared after folding: compatibility forms, look-alike letters of other scripts, case and accents make no
//! difference, nor does odd spacing.

mod lists;

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

use crate::plate::Plate;
use lists::{AFTER_ICE, BEFORE_ICE, CAPITALS, TERMS, VAGUE};

/// The version of the lists below. It goes into the note of every decision.
pub const SCREEN_VERSION: &str = "2026-11";

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

/// The longest reason, in characters.
pub const MAX_REASON: usize = 500;

/// The topics that any of `texts` touches, each once.
#[must_use]
pub fn sensitive<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<Topic> {
    let mut topics: Vec<Topic> = texts.into_iter().flat_map(topics_of).collect();
    topics.sort_unstable();
    topics.dedup();
    topics
}

/// The lists above as they are compared. Folding them takes longer than a whole decision, so it is done once.
struct Folded {
    /// The terms without their spaces, by their first character: a word can only begin those that begin like it.
    terms: HashMap<char, Vec<(Topic, String)>>,
    /// Terms of one long word.
    inside: Vec<(Topic, String)>,
    /// Topic, the term with look-alikes made one.
    capitals: Vec<(Topic, String)>,
    ice: String,
    after_ice: Vec<String>,
    before_ice: Vec<String>,
    vague: Vec<String>,
}

static FOLDED: LazyLock<Folded> = LazyLock::new(|| {
    let all = TERMS.iter().flat_map(|(topic, terms)| terms.iter().map(move |term| (*topic, *term)));
    let folded = all.clone().map(|(topic, term)| (topic, words(term).concat()));
    let mut terms: HashMap<char, Vec<(Topic, String)>> = HashMap::new();
    for (topic, term) in folded {
        terms.entry(term.chars().next().unwrap_or_default()).or_default().push((topic, term));
    }
    let one = all.filter(|(_, term)| !term.contains(' ')).map(|(topic, term)| (topic, words(term).concat()));
    Folded {
        terms,
        inside: one.filter(|(_, term)| term.len() >= INSIDE).collect(),
        capitals: CAPITALS.iter().map(|(topic, term)| (*topic, shape(term))).collect(),
        ice: fold("ice"),
        after_ice: AFTER_ICE.map(fold).to_vec(),
        before_ice: BEFORE_ICE.map(fold).to_vec(),
        vague: VAGUE.map(fold).to_vec(),
    }
});

/// A term of one word counts also inside of others when it has so many bytes.
const INSIDE: usize = 9;

fn topics_of(text: &str) -> Vec<Topic> {
    let lists = &*FOLDED;
    let words = without_frozen_water(words(text), String::clone);
    let squeezed: String = words.concat();
    // A long word counts also inside of others; several words do not, lest `police request` be `ice request`.
    let within = lists.inside.iter().filter(|(_, term)| squeezed.contains(term.as_str())).map(|(topic, _)| *topic);
    let mut topics: Vec<Topic> = within.collect();
    for (start, word) in words.iter().enumerate() {
        let Some(terms) = word.chars().next().and_then(|first| lists.terms.get(&first)) else { continue };
        topics.extend(terms.iter().filter(|(_, term)| begins(&words, start, term)).map(|(topic, _)| *topic));
    }
    let capitals = split(&plain(text)).map(shape).collect();
    let capitals = without_frozen_water(capitals, |word| fold(word));
    topics.extend(lists.capitals.iter().filter(|(_, term)| spells(&capitals, term)).map(|(topic, _)| *topic));
    topics
}

/// The same words with `ice` taken out where its neighbour says that it is frozen water.
fn without_frozen_water(words: Vec<String>, folded: impl Fn(&String) -> String) -> Vec<String> {
    let lists = &*FOLDED;
    let plain: Vec<String> = words.iter().map(folded).collect();
    let neighbour =
        |at: Option<usize>, known: &[String]| at.and_then(|at| plain.get(at)).is_some_and(|w| known.contains(w));
    words
        .into_iter()
        .enumerate()
        .map(|(at, word)| {
            let frozen = plain.get(at).is_some_and(|word| *word == lists.ice)
                && (neighbour(at.checked_add(1), &lists.after_ice) || neighbour(at.checked_sub(1), &lists.before_ice));
            if frozen { "\u{2744}".to_owned() } else { word }
        })
        .collect()
}

/// A word with look-alikes of other scripts made one, in its own case.
fn shape(word: &str) -> String {
    static ASCII: LazyLock<Ascii> = LazyLock::new(|| Ascii::of(shape_any));
    ASCII.apply(word).unwrap_or_else(|| shape_any(word))
}

fn shape_any(word: &str) -> String {
    unicode_security::skeleton(word).collect()
}

/// Without compatibility forms and accents.
fn plain(text: &str) -> String {
    if text.is_ascii() {
        return text.to_owned();
    }
    text.nfkd().filter(|c| !is_combining_mark(*c)).collect()
}

/// One form for all that looks alike.
fn fold(text: &str) -> String {
    static ASCII: LazyLock<Ascii> = LazyLock::new(|| Ascii::of(fold_any));
    ASCII.apply(text).unwrap_or_else(|| fold_any(text))
}

/// What each ASCII character becomes. Most texts are ASCII, where every character folds by itself.
struct Ascii(Vec<String>);

impl Ascii {
    fn of(change: impl Fn(&str) -> String) -> Self {
        Self((0..=127_u8).map(|byte| change(char::from(byte).encode_utf8(&mut [0; 4]))).collect())
    }

    /// `None` for a text that is not ASCII.
    fn apply(&self, text: &str) -> Option<String> {
        let mut changed = String::with_capacity(text.len() + text.len() / 4);
        for byte in text.bytes() {
            changed.push_str(self.0.get(usize::from(byte))?);
        }
        Some(changed)
    }
}

/// Look-alikes are resolved in the text's own case and again in lower case, since a capital and its small letter resemble
/// different letters; then what still differs only in stroke is made one.
fn fold_any(text: &str) -> String {
    let capitals = shape_any(&plain(text));
    let small = shape_any(&capitals.to_lowercase());
    plain(&small.to_lowercase()).chars().map(|c| if c == 'l' { 'i' } else { c }).collect()
}

fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

fn words(text: &str) -> Vec<String> {
    split(&fold(text)).map(str::to_owned).collect()
}

/// Whether some words in a row are `term` once the spaces are gone: `h s i`, `hs i` and `hsi` all are `hsi`.
fn spells(words: &[String], term: &str) -> bool {
    (0..words.len()).any(|start| begins(words, start, term))
}

/// Whether the words from `start` on begin with `term` once the spaces are gone.
fn begins(words: &[String], start: usize, term: &str) -> bool {
    let mut rest = term;
    for word in words.iter().skip(start) {
        match rest.strip_prefix(word.as_str()) {
            Some("") => return true,
            Some(after) => rest = after,
            None => return false,
        }
    }
    false
}

/// Whether a text has a letter or digit that a reader sees, and no control character but line ends and tabs: a name of
/// zero-width characters names nobody, and an escape sequence rewrites the screen of whoever reads the trail.
#[must_use]
pub fn legible(text: &str) -> bool {
    text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'))
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
    let words: BTreeSet<String> = split(text)
        .filter(|word| word.chars().count() >= 3 && word.chars().all(char::is_alphabetic))
        .map(fold)
        .filter(|word| word.chars().any(|c| !word.starts_with(c)) && !FOLDED.vague.contains(word))
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
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn ascii_texts_fold_as_any_text_does(text in "[\\x00-\\x7f]{0,60}") {
            prop_assert_eq!(fold(&text), fold_any(&text));
            prop_assert_eq!(shape(&text), shape_any(&text));
            let decomposed: String = text.nfkd().filter(|c| !is_combining_mark(*c)).collect();
            prop_assert_eq!(plain(&text), decomposed);
        }
    }

    #[test]
    fn sensitive_terms_in_any_dress() {
        for text in [
            "HSI assist",
            "hsi assist",
            "H S I assist",
            "h.s.i. assist",
            "Н\u{405}I assist",
            "ＨＳＩ assist",
            "hs\u{456} request",
            "assist I.C.E. with ICE ERO",
            "immi gration",
            "IMMIGRATION hold",
            "immígration",
            "transport for ICE",
            "border-patrol request",
            "HS I assist",
            "de\u{200b}port family",
            "de\u{ad}portation",
            "de port family",
            "assisting I.C.E. with a pickup",
            "VEHICLE WANTED BY ICE",
            "ASSISTING ICE WITH PICKUP",
            "ASSISTING \u{406}\u{421}\u{415} TODAY",
            "dhs request",
            "287(g) program",
            "non-citizen family",
        ] {
            assert_eq!(sensitive([text]), [Topic::Immigration], "{text}");
        }
        assert_eq!(sensitive(["leaving Planned  Parenthood", "near the mosque"]), [Topic::Care, Topic::Expression]);
    }

    #[test]
    fn near_misses_pass() {
        for text in [
            "ice cream truck robbery",
            "Rice Ave burglary",
            "black ice collision on Route 2",
            "stolen device recovered",
            "officer injured in hit and run",
            "hero award vehicle theft",
            "contested will, elder abuse",
            "Birch City Police request for assistance",
            "taken into police custody",
            "outside police assist",
            "ICE CREAM TRUCK ROBBERY",
            "BLACK ICE COLLISION ON ROUTE 2",
            "collision with ice cream truck",
        ] {
            assert!(sensitive([text]).is_empty(), "{text}");
        }
    }

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
