//! Epochs of a log. One whose registry was restored from a backup goes on under a new name, so that no two heads of one name
//! exclude each other: `NAME/epoch-2`, `NAME/epoch-3` and so on, where `NAME` is the origin of the configuration. The key may
//! be the same.

/// The last epoch that is read: what a witness keeps of one log is bounded.
pub const LAST: u32 = 999;

const PART: &str = "/epoch-";

fn split(origin: &str) -> (&str, u32) {
    let parsed = origin.rsplit_once(PART).and_then(|(base, number)| {
        let epoch: u32 = number.parse().ok().filter(|epoch| (2..=LAST).contains(epoch))?;
        (epoch.to_string() == number && !base.is_empty()).then_some((base, epoch))
    });
    parsed.unwrap_or((origin, 1))
}

/// The name of the log without its epoch.
#[must_use]
pub fn base(origin: &str) -> &str {
    split(origin).0
}

/// Which epoch an origin names; the first has no number in its name.
#[must_use]
pub fn number(origin: &str) -> u32 {
    split(origin).1
}

/// The origin of epoch `number` of the log of which `origin` names an epoch.
#[must_use]
pub fn named(origin: &str, number: u32) -> String {
    let base = base(origin);
    if number <= 1 { base.to_owned() } else { format!("{base}{PART}{number}") }
}

/// Where an entry stands among all of a log's epochs: later epochs come after all of the earlier ones, though each may begin
/// with fewer entries than the one before it ended with.
#[must_use]
pub fn place(origin: &str, index: u64) -> u64 {
    u64::from(number(origin).saturating_sub(1)) << 48 | index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_named_one_way() {
        for (origin, is) in [
            ("a.test/trail", ("a.test/trail", 1)),
            ("a.test/trail/epoch-2", ("a.test/trail", 2)),
            ("a.test/trail/epoch-999", ("a.test/trail", 999)),
            ("a.test/trail/epoch-1000", ("a.test/trail/epoch-1000", 1)),
            ("a.test/trail/epoch-1", ("a.test/trail/epoch-1", 1)),
            ("a.test/trail/epoch-02", ("a.test/trail/epoch-02", 1)),
            ("a.test/trail/epoch-2/witness", ("a.test/trail/epoch-2/witness", 1)),
            ("/epoch-2", ("/epoch-2", 1)),
        ] {
            assert_eq!((base(origin), number(origin)), is, "{origin}");
            assert_eq!(named(origin, number(origin)), origin);
        }
        assert_eq!(named("a.test/trail/epoch-2", 3), "a.test/trail/epoch-3");
        assert!(place("a/epoch-2", 5) > place("a", 1 << 40) && place("a", 6) > place("a", 5));
    }
}
