//! Screens over free text: what is sensitive, and what is no reason.
//!
//! Texts are compared after folding: compatibility forms, look-alike letters of other scripts, case and accents make no
//! difference, nor does odd spacing.

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

use crate::plate::Plate;

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

/// Terms of one word that count wherever they stand, and terms of several words that count in their order.
const TERMS: [(Topic, &[&str]); 3] = [
    (
        Topic::Immigration,
        &[
            "immigration",
            "immigrant",
            "immigrants",
            "migra",
            "deport",
            "deported",
            "deportation",
            "deportable",
            "hsi",
            "homeland security investigations",
            "customs enforcement",
            "cbp",
            "border patrol",
            "customs and border",
            "undocumented",
            "illegal alien",
            "illegal aliens",
            "noncitizen",
            "noncitizens",
            "removal order",
            "administrative warrant",
            "civil detainer",
            "ice detainer",
            "ice hold",
            "ice agent",
            "ice agents",
            "ice ero",
            "ice assist",
            "assist ice",
            "for ice",
            "ice request",
            "ice custody",
            "ice warrant",
            "ero",
            "visa overstay",
            "citizenship status",
            "287g",
        ],
    ),
    (
        Topic::Care,
        &[
            "abortion",
            "abortions",
            "abortifacient",
            "planned parenthood",
            "reproductive",
            "mifepristone",
            "misoprostol",
            "miscarriage",
            "gender affirming",
            "transgender",
            "puberty blocker",
            "puberty blockers",
            "hormone therapy",
        ],
    ),
    (
        Topic::Expression,
        &[
            "protest",
            "protests",
            "protester",
            "protesters",
            "protestor",
            "protestors",
            "demonstrator",
            "demonstrators",
            "political rally",
            "political meeting",
            "activist",
            "activists",
            "antifa",
            "mosque",
            "synagogue",
            "church service",
            "place of worship",
            "union organizer",
            "black lives matter",
            "no kings",
            "picket line",
        ],
    ),
];

/// Abbreviations that are also words: they count only where the text writes them in capitals.
const CAPITALS: [(Topic, &str); 2] = [(Topic::Immigration, "ICE"), (Topic::Immigration, "DHS")];

/// Words that by themselves say nothing about why.
const VAGUE: [&str; 51] = [
    "inv",
    "invest",
    "investigation",
    "investigations",
    "investigative",
    "investigating",
    "ongoing",
    "test",
    "testing",
    "case",
    "query",
    "search",
    "searching",
    "lookup",
    "look",
    "check",
    "checking",
    "police",
    "work",
    "official",
    "business",
    "law",
    "enforcement",
    "crime",
    "criminal",
    "none",
    "plate",
    "vehicle",
    "misc",
    "other",
    "follow",
    "info",
    "information",
    "the",
    "and",
    "for",
    "per",
    "see",
    "report",
    "need",
    "needed",
    "reason",
    "purpose",
    "lead",
    "leads",
    "active",
    "pending",
    "general",
    "various",
    "active case",
    "asap",
];

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

fn topics_of(text: &str) -> Vec<Topic> {
    let words = words(text);
    let joined = join_single_letters(&words);
    let squeezed: String = words.concat();
    let listed = TERMS.iter().flat_map(|(topic, terms)| terms.iter().map(move |term| (*topic, *term)));
    let mut topics: Vec<Topic> = listed
        .filter(|(_, term)| {
            let term = self::words(term);
            contains(&words, &term)
                || contains(&joined, &term)
                || (term.concat().len() >= 9 && squeezed.contains(&term.concat()))
        })
        .map(|(topic, _)| topic)
        .collect();
    let capitals: Vec<String> =
        text.nfkc().collect::<String>().split(|c: char| !c.is_alphanumeric()).map(shape).collect();
    let shouted = !text.chars().any(char::is_lowercase) && capitals.len() > 2;
    topics.extend(
        CAPITALS
            .iter()
            .filter(|(_, term)| !shouted && capitals.iter().any(|word| word == &shape(term)))
            .map(|(topic, _)| *topic),
    );
    topics
}

/// A word with look-alikes of other scripts made one, in its own case.
fn shape(word: &str) -> String {
    unicode_security::skeleton(word).collect()
}

/// One form for all that looks alike: look-alikes are resolved in the text's own case and again in lower case, since a
/// capital and its small letter resemble different letters; then what still differs only in stroke is made one.
fn fold(text: &str) -> String {
    let plain = |text: &str| text.nfkd().filter(|c| !is_combining_mark(*c)).collect::<String>();
    let capitals: String = unicode_security::skeleton(&plain(text)).collect();
    let small: String = unicode_security::skeleton(&capitals.to_lowercase()).collect();
    plain(&small.to_lowercase()).chars().map(|c| if c == 'l' { 'i' } else { c }).collect()
}

fn words(text: &str) -> Vec<String> {
    fold(text).split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// `h s i assist` as `hsi assist`.
fn join_single_letters(words: &[String]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut open = false;
    for word in words {
        let single = word.chars().count() == 1;
        match out.last_mut() {
            Some(last) if single && open => last.push_str(word),
            _ => out.push(word.clone()),
        }
        open = single;
    }
    out
}

fn contains(words: &[String], term: &[String]) -> bool {
    !term.is_empty() && words.windows(term.len()).any(|window| window == term)
}

/// Whether a reason says why: at least two words that are not vague, at most [`MAX_REASON`] characters, and no plate
/// alone (V-13, VIII-08).
#[must_use]
pub fn substantive(reason: &str) -> bool {
    let trimmed = reason.trim();
    if trimmed.chars().count() > MAX_REASON || plate_shaped(trimmed) {
        return false;
    }
    meaningful(trimmed).count() >= 2
}

/// Whether a text tells a story: at least eight words that are not vague (I-05).
#[must_use]
pub fn narrative(reason: &str) -> bool {
    meaningful(reason).count() >= 8
}

fn meaningful(text: &str) -> impl Iterator<Item = String> {
    let mut seen = Vec::new();
    text.to_lowercase()
        .split(|c: char| !c.is_alphabetic())
        .map(str::to_owned)
        .filter(|word| word.chars().count() >= 3 && !VAGUE.contains(&word.as_str()))
        .filter(move |word| {
            let new = !seen.contains(word);
            seen.push(word.clone());
            new
        })
        .collect::<Vec<_>>()
        .into_iter()
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
