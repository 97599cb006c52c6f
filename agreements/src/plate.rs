//! Licence plates as they are compared.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

/// The longest plate that the NCIC layout carries, in characters.
pub const MAX_PLATE: usize = 10;

/// A plate in upper case, letters and digits only, 1 to [`MAX_PLATE`] characters.
///
/// It has no `Debug` or `Display` that shows it: a plate is never logged. [`Plate::as_str`] is how it is read.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Plate(String);

/// A plate with each class of characters that readers confuse folded to its digit: one index serves exact and fuzzy.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlateKey(String);

/// Why a text is no plate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlateError {
    /// Nothing is left after normalising.
    #[error("the plate is empty; give its letters and digits")]
    Empty,
    /// Over [`MAX_PLATE`] characters.
    #[error("the plate is longer than {MAX_PLATE} letters and digits")]
    Long,
    /// Something else than letters, digits, spaces, hyphens and dots.
    #[error("the plate has a character other than A-Z, 0-9, space, hyphen or dot; wildcards are not plates")]
    Character,
}

impl Plate {
    /// The normalised characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folded key: `0 O D Q` as 0, `1 I` as 1, `2 Z` as 2, `5 S` as 5, `8 B` as 8, `6 G` as 6.
    #[must_use]
    pub fn key(&self) -> PlateKey {
        let fold = |c| match c {
            'O' | 'D' | 'Q' => '0',
            'I' => '1',
            'Z' => '2',
            'S' => '5',
            'B' => '8',
            'G' => '6',
            other => other,
        };
        PlateKey(self.0.chars().map(fold).collect())
    }

    /// In how many characters the other plate differs, if they differ only by characters that readers confuse: 0 for the
    /// same plate, `None` when they are no misreading of each other.
    #[must_use]
    pub fn substitutions(&self, other: &Self) -> Option<u32> {
        let confusable = self.key() == other.key();
        let differing = self.0.chars().zip(other.0.chars()).filter(|(a, b)| a != b).count();
        confusable.then(|| u32::try_from(differing).unwrap_or(u32::MAX))
    }
}

impl PlateKey {
    /// The folded characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Plate {
    type Err = PlateError;

    fn from_str(text: &str) -> Result<Self, PlateError> {
        let mut plate = String::new();
        for c in text.chars() {
            match c {
                ' ' | '-' | '.' => {}
                _ if !c.is_ascii_alphanumeric() => return Err(PlateError::Character),
                _ if plate.len() == MAX_PLATE => return Err(PlateError::Long),
                _ => plate.push(c.to_ascii_uppercase()),
            }
        }
        if plate.is_empty() { Err(PlateError::Empty) } else { Ok(Self(plate)) }
    }
}

impl fmt::Debug for Plate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plate(..)")
    }
}

impl fmt::Debug for PlateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlateKey(..)")
    }
}

impl<'de> Deserialize<'de> for Plate {
    /// Only an already normalised plate, so that equal plates are equal bytes.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let plate: Self = text.parse().map_err(serde::de::Error::custom)?;
        if plate.0 != text {
            return Err(serde::de::Error::custom("a plate is written in upper case, letters and digits only"));
        }
        Ok(plate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalised_and_folded() {
        let plate: Plate = "8obz-g1 s".parse().unwrap();
        assert_eq!(plate.as_str(), "8OBZG1S");
        assert_eq!(plate.key().as_str(), "8082615");
        assert_eq!(format!("{plate:?}"), "Plate(..)");
    }

    #[test]
    fn misreadings_are_counted() {
        let count = |a: &str, b: &str| a.parse::<Plate>().unwrap().substitutions(&b.parse().unwrap());
        assert_eq!(count("8ABC123", "8ABC123"), Some(0));
        assert_eq!(count("8ABC123", "BABC123"), Some(1));
        assert_eq!(count("8ABC123", "BABCIZ3"), Some(3));
        assert_eq!(count("8ABC123", "9ABC123"), None);
        assert_eq!(count("8ABC123", "8ABC12"), None);
    }

    #[test]
    fn bad_plates_say_why() {
        assert_eq!("- .".parse::<Plate>(), Err(PlateError::Empty));
        assert_eq!("A".repeat(200).parse::<Plate>(), Err(PlateError::Long));
        assert_eq!("7AB*".parse::<Plate>(), Err(PlateError::Character));
        assert!(serde_json::from_str::<Plate>("\"7abc123\"").is_err());
    }
}
