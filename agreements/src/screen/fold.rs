//! One form for all that looks alike: compatibility forms, look-alikes of other scripts, case and accents.

use std::sync::LazyLock;

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// What a character is to whoever reads a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// A capital.
    Upper,
    /// Any other letter, and what looks like one.
    Lower,
    /// A digit.
    Digit,
    /// What parts words: everything that does not look like a letter or digit.
    Gap,
}

/// A character: what it is, and its letters and digits in the one form.
pub(super) struct Glyph {
    pub(super) class: Class,
    pub(super) folded: String,
}

impl Glyph {
    fn of(c: char) -> Self {
        let mut folded = fold_any(c.encode_utf8(&mut [0; 4]));
        folded.retain(char::is_alphanumeric);
        let class = if folded.is_empty() {
            Class::Gap
        } else if c.is_numeric() {
            Class::Digit
        } else if c.is_uppercase() {
            Class::Upper
        } else {
            Class::Lower
        };
        Self { class, folded }
    }
}

/// Most texts are ASCII, and folding a character takes longer than all else.
static ASCII: LazyLock<Vec<Glyph>> = LazyLock::new(|| (0..=127_u8).map(|byte| Glyph::of(char::from(byte))).collect());

/// Calls `each` for every character of `text` as it is compared.
pub(super) fn glyphs(text: &str, mut each: impl FnMut(&Glyph)) {
    let ascii = &*ASCII;
    if text.is_ascii() {
        text.bytes().filter_map(|byte| ascii.get(usize::from(byte))).for_each(each);
        return;
    }
    for c in plain(text) {
        match u8::try_from(c).ok().and_then(|byte| ascii.get(usize::from(byte))) {
            Some(glyph) => each(glyph),
            None => each(&Glyph::of(c)),
        }
    }
}

/// The letters and digits of `text` in the one form.
pub(super) fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len() + text.len() / 4);
    glyphs(text, |glyph| folded.push_str(&glyph.folded));
    folded
}

/// Without compatibility forms, accents and soft hyphens, which a reader does not see; letters in boxes as letters.
fn plain(text: &str) -> impl Iterator<Item = char> {
    text.nfkd().filter(|c| !is_combining_mark(*c) && *c != '\u{ad}').map(unboxed)
}

/// Letters that Unicode draws in boxes, circles or flags and does not decompose.
fn unboxed(c: char) -> char {
    let first = match c {
        '\u{1f150}'..='\u{1f169}' => 0x1f150,
        '\u{1f170}'..='\u{1f189}' => 0x1f170,
        '\u{1f1e6}'..='\u{1f1ff}' => 0x1f1e6,
        _ => return c,
    };
    char::from_u32(u32::from('A') + u32::from(c) - first).unwrap_or(c)
}

/// Small capitals, in the order of the alphabet without `x`, for which Unicode has no look-alike in every case.
const SMALL_CAPITALS: &str = "\u{1d00}\u{299}\u{1d04}\u{1d05}\u{1d07}\u{a730}\u{262}\u{29c}\u{26a}\u{1d0a}\u{1d0b}\u{29f}\u{1d0d}\u{274}\u{1d0f}\u{1d18}\u{a7af}\u{280}\u{a731}\u{1d1b}\u{1d1c}\u{1d20}\u{1d21}\u{28f}\u{1d22}";
const THEIR_LETTERS: &str = "abcdefghijklmnopqrstuvwyz";

fn small(c: char) -> char {
    SMALL_CAPITALS
        .chars()
        .zip(THEIR_LETTERS.chars())
        .find_map(|(small, letter)| (small == c).then_some(letter))
        .unwrap_or(c)
}

/// Look-alikes are resolved in the text's own case and again in lower case, since a capital and its small letter resemble
/// different letters; then what still differs only in stroke is made one.
fn fold_any(text: &str) -> String {
    let capitals: String = skeleton(&plain(text).map(small).collect::<String>()).chars().map(small).collect();
    let lower: String = skeleton(&capitals.to_lowercase()).chars().map(small).collect();
    let one = |c: char| if c == 'l' { 'i' } else { c };
    // What a small capital or a look-alike became may itself look like two letters (`m` like `rn`).
    skeleton(&plain(&lower.to_lowercase()).collect::<String>()).to_lowercase().chars().map(one).collect()
}

fn skeleton(text: &str) -> String {
    unicode_security::skeleton(text).collect()
}

/// The letters that digits and signs stand for, where a word has more of letters and signs than of digits.
fn letter(c: char) -> Option<char> {
    Some(match c {
        '0' => 'o',
        '1' | '!' | '|' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        '8' => 'b',
        _ => return None,
    })
}

/// `text` with letters for the digits and signs in words that have fewer digits than other characters; `None` when there
/// is no such word. A plate, a number of a case and a flat keep their digits: half of it, or more, is digits.
pub(super) fn spelled(text: &str) -> Option<String> {
    let candidate = |byte: u8| letter(char::from(byte)).is_some();
    if !text.bytes().any(candidate) || !text.split(parts).any(is_spelled) {
        return None;
    }
    let mut changed = String::with_capacity(text.len());
    for piece in text.split_inclusive(parts) {
        if is_spelled(piece.strip_suffix(parts).unwrap_or(piece)) {
            changed.extend(piece.chars().map(|c| letter(c).unwrap_or(c)));
        } else {
            changed.push_str(piece);
        }
    }
    Some(changed)
}

/// Whether a character parts words that may be written with signs for letters.
fn parts(c: char) -> bool {
    !c.is_alphanumeric() && letter(c).is_none()
}

fn is_spelled(word: &str) -> bool {
    let (mut letters, mut signs, mut digits) = (0_u32, 0_u32, 0_u32);
    for c in word.chars() {
        let count = match c {
            _ if c.is_alphabetic() => &mut letters,
            _ if c.is_numeric() => &mut digits,
            _ => &mut signs,
        };
        *count += 1;
    }
    letters > 0 && signs + digits > 0 && letters + signs > digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn ascii_texts_fold_as_any_text_does(text in "[\\x00-\\x7f]{0,60}") {
            let mut any = fold_any(&text);
            any.retain(char::is_alphanumeric);
            prop_assert_eq!(fold(&text), any);
        }

        #[test]
        fn no_text_is_too_strange_to_fold(text in "\\PC{0,40}") {
            prop_assert!(fold(&text).chars().all(char::is_alphanumeric));
            if let Some(spelled) = spelled(&text) {
                prop_assert_eq!(spelled.chars().count(), text.chars().count());
            }
        }
    }

    #[test]
    fn letters_in_any_dress_are_one() {
        for alike in [
            "hsi",
            "HSI",
            "\u{41d}\u{405}\u{406}",
            "\u{43d}\u{455}\u{456}",
            "\u{ff28}\u{ff33}\u{ff29}",
            "\u{1d407}\u{1d412}\u{1d408}",
            "\u{1f177}\u{1f182}\u{1f178}",
            "\u{1f1ed}\u{1f1f8}\u{1f1ee}",
            "\u{29c}\u{a731}\u{26a}",
            "h\u{301}s\u{327}\u{ef}",
            "HS1",
            "H\u{ad}SI",
            "hs|",
        ] {
            assert_eq!(fold(alike), "hsi", "{alike}");
        }
        let alphabet: String = ('a'..='z').filter(|letter| *letter != 'x').collect();
        assert_eq!(fold(SMALL_CAPITALS), fold(&alphabet));
    }

    #[test]
    fn digits_are_letters_only_where_letters_outnumber_them() {
        for (text, is) in [
            ("1mm1gr4t10n hold", Some("immigration hold")),
            ("call H5I, unit H51", Some("call HsI, unit H51")),
            ("d3p0rt@tion", Some("deportation")),
            ("plate 7ABC123, DHS123 and 4AA1234", None),
            ("case 2026-118842 at 5th St", Some("case 2026-118842 at sth St")),
            ("nothing here!", Some("nothing herei")),
            ("!ce, 3ro and 1c3", Some("ice, ero and 1c3")),
            ("nothing here", None),
        ] {
            assert_eq!(spelled(text).as_deref(), is, "{text}");
        }
    }
}
