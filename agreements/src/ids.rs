//! Identifiers. Each is its own type, so that one cannot stand where another belongs.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::time::Instant;

/// An originating agency identifier: nine characters, state(2) county(3) agency(2) suffix(2).
///
/// Only California's exist here: Civ. Code 1798.90.5(f) lets ALPR information go to public agencies of the state, and
/// Government Code 7284.6 keeps it from federal immigration authorities (V-01, V-03, V-20).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ori([u8; 9]);

/// What the ninth character of an ORI says about the agency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriClass {
    /// `0`-`9`: a law enforcement agency.
    LawEnforcement,
    /// `A`: a prosecutor.
    Prosecutor,
    /// `B`: pretrial services.
    Pretrial,
    /// `C`: corrections.
    Corrections,
    /// `E`: campus or rail police.
    CampusOrRail,
    /// `G`: probation.
    Probation,
    /// `J`: a court.
    Court,
}

/// Why a text is no ORI that Concordat can name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OriError {
    /// Not nine upper-case letters and digits.
    #[error(
        "an ORI is nine upper-case letters and digits, such as CA0190000; this has another form. A body without one (who hosts or tows for an agency) can be no party and hold no grant"
    )]
    Form,
    /// Not the ORI of a California public agency: another state's, or a federal one (letters for the county).
    #[error(
        "`{0}` is not a California agency: Civ. Code 1798.90.5(f) and 1798.90.55(b) limit ALPR sharing to the state's public agencies; federal and out-of-state ORIs cannot be enrolled"
    )]
    NotCalifornia(String),
    /// The ninth character is of no class that exists.
    #[error("`{0}` ends in `{1}`, which is no class of agency (0-9, A, B, C, E, G or J)")]
    Class(String, char),
}

impl Ori {
    /// The nine characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The class of agency.
    #[must_use]
    pub fn class(&self) -> OriClass {
        match self.0[8] {
            b'A' => OriClass::Prosecutor,
            b'B' => OriClass::Pretrial,
            b'C' => OriClass::Corrections,
            b'E' => OriClass::CampusOrRail,
            b'G' => OriClass::Probation,
            b'J' => OriClass::Court,
            _ => OriClass::LawEnforcement,
        }
    }
}

impl FromStr for Ori {
    type Err = OriError;

    fn from_str(text: &str) -> Result<Self, OriError> {
        let bytes: [u8; 9] = text.as_bytes().try_into().map_err(|_| OriError::Form)?;
        if !bytes.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) {
            return Err(OriError::Form);
        }
        // Federal agencies have ORIs of their state too, with letters where a county's number stands (CAFBI..., CAICE...).
        let [_, _, county @ .., _, _, _, _] = &bytes;
        if !text.starts_with("CA") || !county.iter().all(u8::is_ascii_digit) {
            return Err(OriError::NotCalifornia(text.to_owned()));
        }
        match bytes[8] {
            b'0'..=b'9' | b'A' | b'B' | b'C' | b'E' | b'G' | b'J' => Ok(Self(bytes)),
            other => Err(OriError::Class(text.to_owned(), char::from(other))),
        }
    }
}

impl fmt::Display for Ori {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Ori {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A SHA-256, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// A text that is no SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 is 64 lower-case hexadecimal digits")]
pub struct DigestError;

impl Digest {
    /// The SHA-256 of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The SHA-256 of all `parts`, one after the other.
    #[must_use]
    pub fn of_all(parts: &[&[u8]]) -> Self {
        Self(parts.iter().fold(Sha256::new(), Sha256::chain_update).finalize().into())
    }

    /// The SHA-256 of `salt` followed by `bytes`: a commitment that says nothing about `bytes` once `salt` is gone.
    #[must_use]
    pub fn salted(salt: &Salt, bytes: &[u8]) -> Self {
        Self::of_all(&[&salt.0, bytes])
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        /// What a byte is worth as a digit; more than 15 for what is none.
        fn worth(byte: u8) -> u8 {
            match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                _ => 0xff,
            }
        }
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(DigestError) };
        let pairs: &[[u8; 2]; 32] = pairs.try_into().map_err(|_| DigestError)?;
        let mut all = 0;
        let out = pairs.map(|[high, low]| {
            let (high, low) = (worth(high), worth(low));
            all |= high | low;
            high << 4 | low & 15
        });
        if all > 15 {
            return Err(DigestError);
        }
        Ok(Self(out))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not byte by byte through `{:02x}`: an answer has a dozen of these.
        let mut hex = String::with_capacity(64);
        for byte in self.0 {
            for nibble in [byte >> 4, byte & 15] {
                hex.push(char::from(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }));
            }
        }
        f.write_str(&hex)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Thirty-two random bytes, written in base64url without padding. Never shown by `Debug`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Salt(pub [u8; 32]);

impl FromStr for Salt {
    type Err = SaltError;

    fn from_str(text: &str) -> Result<Self, SaltError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| SaltError)?;
        Ok(Self(bytes.try_into().map_err(|_| SaltError)?))
    }
}

/// A text that is no salt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a salt is 32 bytes in base64url without padding")]
pub struct SaltError;

impl fmt::Display for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(..)")
    }
}

macro_rules! uuid_v7 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id: version 7 of RFC 9562, from `now` (millisecond resolution) and ten random bytes.
            #[must_use]
            pub fn new(now: Instant, random: [u8; 10]) -> Self {
                let millis = u64::try_from(now.micros() / 1000).unwrap_or_default();
                Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
            }

            /// The sixteen bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// From sixteen bytes that a store gave back.
            ///
            /// # Errors
            /// Not sixteen bytes, or not a UUID of version 7.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, IdError> {
                Uuid::from_slice(bytes).map_err(|_| IdError).and_then(Self::checked)
            }

            fn checked(uuid: Uuid) -> Result<Self, IdError> {
                if uuid.get_version_num() == 7 { Ok(Self(uuid)) } else { Err(IdError) }
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let uuid = Uuid::parse_str(text).map_err(|_| IdError)?;
                if uuid.as_hyphenated().to_string() == text { Self::checked(uuid) } else { Err(IdError) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

/// A text that is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an id is a lower-case hyphenated UUID of version 7")]
pub struct IdError;

uuid_v7! {
    /// The id of a trail entry, and so of a question, an answer, an event.
    RequestId
}
uuid_v7! {
    /// The id of an agreement document; a renewal is another document with another id.
    AgreementId
}
uuid_v7! {
    /// The id of a read.
    ReadId
}

/// Serialises through `Display` and back through `FromStr`.
macro_rules! as_text {
    ($($name:ident)*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
as_text!(Ori Digest Salt RequestId AgreementId ReadId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_california_oris_exist() {
        assert_eq!("CA0190000".parse::<Ori>().unwrap().class(), OriClass::LawEnforcement);
        assert_eq!("CA019013J".parse::<Ori>().unwrap().class(), OriClass::Court);
        assert!(matches!("NV0020100".parse::<Ori>(), Err(OriError::NotCalifornia(_))));
        assert!(matches!("DCICE0900".parse::<Ori>(), Err(OriError::NotCalifornia(_))));
        for federal in ["CAFBILA00", "CAICE0900", "CADEA0100", "CA0INS000"] {
            assert!(matches!(federal.parse::<Ori>(), Err(OriError::NotCalifornia(_))), "{federal}");
        }
        assert!(matches!("CA019000Z".parse::<Ori>(), Err(OriError::Class(_, 'Z'))));
        assert_eq!("CA01900".parse::<Ori>(), Err(OriError::Form));
        assert_eq!("ca0190000".parse::<Ori>(), Err(OriError::Form));
        assert_eq!("CA01900é".parse::<Ori>(), Err(OriError::Form));
    }

    #[test]
    fn texts_go_round() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"); // FIPS 180-4
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert!(digest.to_string().to_uppercase().parse::<Digest>().is_err());
        let salt = Salt([7; 32]);
        assert_eq!(salt.to_string().parse::<Salt>().unwrap(), salt);
        let id = RequestId::new("2026-11-23T20:17:00Z".parse().unwrap(), [0xff; 10]);
        assert_eq!(id.to_string().parse::<RequestId>().unwrap(), id);
        assert!("67e55044-10b1-426f-9247-bb680e5fe0c8".parse::<RequestId>().is_err(), "version 4");
    }
}
