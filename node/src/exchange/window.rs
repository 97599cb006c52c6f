//! The window of time of a question: a slip in a date is said to the person who made it, not by three hundred owners.

use agreements::time::Instant;

/// Why nothing can have been seen in a window, and what to type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// It ends before it begins, or at once.
    #[error("the window ends before it begins: give --from a time before {until}, or --to one after {from}")]
    Inverted {
        /// Where it begins.
        from: Instant,
        /// Where it ends.
        until: Instant,
    },
    /// It begins after now.
    #[error(
        "the window begins at {from}, and it is only {now}: nothing was seen then yet; give --from an earlier time"
    )]
    ToCome {
        /// Where it begins.
        from: Instant,
        /// The time.
        now: Instant,
    },
}

/// Whether anything can have been seen in the window by `now`. It may reach into the future.
///
/// # Errors
/// Nothing can.
pub fn check(from: Instant, until: Instant, now: Instant) -> Result<(), WindowError> {
    if from >= until {
        return Err(WindowError::Inverted { from, until });
    }
    if from > now {
        return Err(WindowError::ToCome { from, now });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_in_which_nothing_can_have_been_seen_is_refused() {
        let at = |minute| Instant::from_micros(minute * Instant::MINUTE);
        let refused = |from, until| check(at(from), at(until), at(15)).map_err(|error| error.to_string()).err();
        assert_eq!([refused(10, 20), refused(15, 16)], [None, None], "it may reach into the future");
        for (from, until, says) in [(10, 10, "--from"), (12, 10, "--to"), (16, 20, "--from an earlier time")] {
            let said = refused(from, until).unwrap();
            assert!(said.contains(says), "{said}");
        }
    }
}
