//! What the sensitive-term screen costs a decision: `cargo bench -p agreements --bench screen`.
//!
//! One line for each kind of text: nanoseconds for the texts of one question, the median of the rounds.

#![expect(clippy::disallowed_methods, reason = "what is measured is the time that passes")]

use std::hint::black_box;
use std::time::Instant;

use agreements::screen;

/// The text fields of one question.
type Texts = [&'static str; 8];

const PLAIN: Texts = [
    "burglary at a hardware store, the vehicle left the scene northbound with two occupants",
    "2026-118842",
    "the vehicle is on its way through several counties",
    "Sgt. Quill",
    "birch.investigator",
    "birch.investigator",
    "Indigo Investigator",
    "Detectives, Robbery Unit",
];
/// With words of digits and letters.
const DIGITS: Texts = [
    "2nd burglary at the 4th Street store, plate 7ABC123 seen at 3rd and Main, see DR-26-4418B",
    "DR 26-118842B",
    "vehicle is on its way through several counties",
    "Sgt. Quill #4417",
    "binvestigator2",
    "binvestigator2",
    "Indigo Investigator 3rd",
    "Unit 4B",
];
const TOUCHING: Texts = [
    "HSI assist with a pickup on Friday morning at the usual place, two vehicles",
    "2026-118842",
    "the vehicle is on its way through several counties",
    "Sgt. Quill",
    "birch.investigator",
    "birch.investigator",
    "Indigo Investigator",
    "Detectives, Robbery Unit",
];
const ACCENTED: Texts = [
    "burglary at Café Olé, the vehicle left the scene northbound with two occupants",
    "2026-118842",
    "the vehicle is on its way through several counties",
    "Sgt. Quill",
    "birch.investigator",
    "birch.investigator",
    "Íñigo Investigator",
    "Detectives, Robbery Unit",
];

const ROUNDS: usize = 200;
const TIMES: u32 = 500;

fn main() {
    for (what, texts) in [("plain", PLAIN), ("digits", DIGITS), ("touching", TOUCHING), ("accented", ACCENTED)] {
        let mut rounds: Vec<u128> = (0..ROUNDS).map(|_| round(texts)).collect();
        rounds.sort_unstable();
        println!("{what:>9}: {:>7} ns", rounds.get(ROUNDS / 2).copied().unwrap_or_default());
    }
}

fn round(texts: Texts) -> u128 {
    let begun = Instant::now();
    for _ in 0..TIMES {
        black_box(screen::sensitive(black_box(texts)));
    }
    begun.elapsed().as_nanos() / u128::from(TIMES)
}
