//! Lines of a stream, each bounded: one that is too long is passed over, never held.

use std::io::{self, BufRead};

/// One line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The line is in the buffer.
    Whole,
    /// The line was longer than the limit; it is not in the buffer.
    TooLong {
        /// Its length.
        bytes: u64,
    },
    /// No more lines.
    End,
}

/// Takes the next line (up to `\n`, which is not part of it) into `line`, which is cleared first.
pub(crate) fn take(reader: &mut impl BufRead, line: &mut Vec<u8>, limit: usize) -> io::Result<Taken> {
    line.clear();
    let mut bytes = 0_u64;
    let mut started = false;
    loop {
        let available = match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if available.is_empty() {
            return Ok(if started { ended(bytes, limit) } else { Taken::End });
        }
        started = true;
        let mut parts = available.splitn(2, |b| *b == b'\n');
        let part = parts.next().unwrap_or_default();
        let whole = parts.next().is_some();
        let used = part.len() + usize::from(whole);
        bytes += part.len() as u64;
        if fits(bytes, limit) {
            line.extend_from_slice(part);
        } else {
            line.clear();
        }
        reader.consume(used);
        if whole {
            return Ok(ended(bytes, limit));
        }
    }
}

fn fits(bytes: u64, limit: usize) -> bool {
    usize::try_from(bytes).is_ok_and(|n| n <= limit)
}

fn ended(bytes: u64, limit: usize) -> Taken {
    if fits(bytes, limit) { Taken::Whole } else { Taken::TooLong { bytes } }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn all(bytes: &[u8], capacity: usize) -> Vec<(Taken, Vec<u8>)> {
        let mut reader = BufReader::with_capacity(capacity, bytes);
        let mut line = Vec::new();
        let mut out = Vec::new();
        loop {
            match take(&mut reader, &mut line, 4).unwrap() {
                Taken::End => return out,
                taken => out.push((taken, line.clone())),
            }
        }
    }

    #[test]
    fn lines_are_the_same_whatever_the_buffer() {
        for capacity in 1..12 {
            let found = all(b"ab\n\n1234\n12345\nlast", capacity);
            let expected = [
                (Taken::Whole, b"ab".to_vec()),
                (Taken::Whole, vec![]),
                (Taken::Whole, b"1234".to_vec()),
                (Taken::TooLong { bytes: 5 }, vec![]),
                (Taken::Whole, b"last".to_vec()),
            ];
            assert_eq!(found, expected, "capacity {capacity}");
            assert_eq!(all(b"", capacity), []);
            assert_eq!(all(b"\n", capacity), [(Taken::Whole, vec![])]);
        }
    }

    #[test]
    fn a_long_line_is_never_held() {
        let bytes = vec![b'x'; 1 << 20];
        let mut reader = BufReader::with_capacity(4096, &bytes[..]);
        let mut line = Vec::new();
        assert_eq!(take(&mut reader, &mut line, 100).unwrap(), Taken::TooLong { bytes: 1 << 20 });
        assert!(line.capacity() <= 8192, "{}", line.capacity());
    }
}
