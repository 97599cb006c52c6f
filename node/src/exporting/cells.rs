//! Cells that a spreadsheet shows and never computes: what an asker wrote must not run where an auditor reads it.

use std::borrow::Cow;

/// What a spreadsheet takes for the beginning of a formula, in its narrow and its wide form.
fn begins_formula(c: char) -> bool {
    matches!(c, '=' | '+' | '-' | '@' | '\u{ff1d}' | '\u{ff0b}' | '\u{ff0d}' | '\u{ff20}')
}

/// What may stand before a formula without making it a text: spaces of all kinds, quotes, and what is not seen.
fn passes(c: char) -> bool {
    let quote = matches!(c, '"' | '\'' | '`' | '\u{2018}'..='\u{201f}' | '\u{ff02}' | '\u{ff07}');
    let unseen = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    quote || unseen || c.is_whitespace() || c.is_control()
}

/// Where a cell begins anew for a program that parts cells by something else than commas.
fn parts(c: char) -> bool {
    matches!(c, '\t' | '\r' | '\n' | ';')
}

/// `text` with an apostrophe before whatever could be computed: at its beginning, and behind what some programs take for the
/// end of a cell. Everything else is as it was.
#[must_use]
pub fn inert(text: &str) -> Cow<'_, str> {
    let control =
        text.chars().find(|c| !matches!(c, ' ' | '"' | '\'')).is_some_and(|c| matches!(c, '\t' | '\r' | '\n'));
    let mut out = String::new();
    if control {
        out.push('\'');
    }
    let (mut begins, mut copied) = (true, 0);
    for (at, c) in text.char_indices() {
        if begins && begins_formula(c) {
            out.push_str(text.get(copied..at).unwrap_or_default());
            out.push('\'');
            copied = at;
        }
        begins = parts(c) || begins && passes(c);
    }
    if out.is_empty() {
        return Cow::Borrowed(text);
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_could_be_computed_is_text_and_the_rest_is_as_it_was() {
        for (text, expected) in [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t'=1"),
            ("\rx", "'\rx"),
            ("\nx", "'\nx"),
            (" =1", " '=1"),
            ("\u{a0}\u{feff}=1", "\u{a0}\u{feff}'=1"),
            ("\"=1", "\"'=1"),
            ("\" '=1", "\" ''=1"),
            ("'=1", "''=1"),
            ("\u{ff1d}1", "'\u{ff1d}1"),
            ("a;=1", "a;'=1"),
            ("a; \"-1", "a; \"'-1"),
            ("a\n=1", "a\n'=1"),
            ("=HYPERLINK(\"http://x\",\"y\")", "'=HYPERLINK(\"http://x\",\"y\")"),
            ("", ""),
            ("7ABC123", "7ABC123"),
            ("a=b, c-d", "a=b, c-d"),
            ("{\"a\":-1,\"b\":[\"=\"]}", "{\"a\":-1,\"b\":[\"=\"]}"),
            ("2026-11-23T20:17:00.000001Z", "2026-11-23T20:17:00.000001Z"),
            ("Gr\u{fc}n \u{2014} d'Arc", "Gr\u{fc}n \u{2014} d'Arc"),
        ] {
            assert_eq!(inert(text), expected, "{text:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_cell_begins_a_formula_and_nothing_is_lost(text in "[ =+@;\"'\t\r\na-c\u{feff}\u{ff1d}-]{0,12}") {
            let cell = inert(&text).into_owned();
            for piece in cell.split(parts) {
                let first = piece.chars().find(|c| !matches!(c, ' ' | '"' | '\u{feff}'));
                prop_assert!(!first.is_some_and(begins_formula), "{:?} from {:?}", cell, text);
            }
            let mut rest = cell.chars();
            prop_assert!(text.chars().all(|c| rest.any(|found| found == c)), "{:?} from {:?}", cell, text);
        }
    }
}
