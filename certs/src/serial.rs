//! Certificate serial numbers.

use std::fmt;
use std::str::FromStr;

use openssl::asn1::Asn1Integer;
use openssl::bn::BigNum;
use openssl::error::ErrorStack;

/// A serial number of ours: sixteen bytes, positive, never with a leading zero (RFC 5280, section 4.1.2.2), so that
/// every serial has one text of 32 hexadecimal digits. 126 of its bits are random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial([u8; 16]);

impl Serial {
    /// From sixteen random bytes, of which two bits are overwritten.
    #[must_use]
    pub const fn new(mut random: [u8; 16]) -> Self {
        random[0] = random[0] & 0x7f | 0x40;
        Self(random)
    }

    /// From OpenSSL's randomness.
    ///
    /// # Errors
    /// OpenSSL has none.
    pub fn random() -> Result<Self, ErrorStack> {
        let mut bytes = [0; 16];
        openssl::rand::rand_bytes(&mut bytes)?;
        Ok(Self::new(bytes))
    }

    /// Big endian, without leading zeros: the form of [`crate::leaf::Identity::serial`].
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    pub(crate) fn asn1(&self) -> Result<Asn1Integer, ErrorStack> {
        BigNum::from_slice(&self.0)?.to_asn1_integer()
    }
}

/// A text that is no serial number of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a serial number is 32 lower-case hexadecimal digits, the first from 4 to 7; `concordat ca issue` printed it")]
pub struct SerialError;

impl FromStr for Serial {
    type Err = SerialError;

    fn from_str(text: &str) -> Result<Self, SerialError> {
        let number = u128::from_str_radix(text, 16).map_err(|_| SerialError)?;
        let serial = Self::new(number.to_be_bytes());
        if serial.to_string() == text { Ok(serial) } else { Err(SerialError) }
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positive_sixteen_bytes_and_one_text() {
        for bytes in [[0; 16], [0xff; 16]] {
            let serial = Serial::new(bytes);
            assert!((0x40..0x80).contains(&serial.as_bytes()[0]));
            assert_eq!(serial.to_string().parse(), Ok(serial));
        }
        assert_ne!(Serial::random().unwrap(), Serial::random().unwrap());
        for text in ["", "40", "+4000000000000000000000000000000", "0000000000000000000000000000000f"] {
            assert_eq!(text.parse::<Serial>(), Err(SerialError), "{text}");
        }
        assert!(Serial::new([0xab; 16]).to_string().to_uppercase().parse::<Serial>().is_err());
    }
}
