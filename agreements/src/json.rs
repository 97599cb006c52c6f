//! Strict JSON in, canonical JSON (RFC 8785, JCS) out.
//!
//! What is signed or hashed must mean one thing to every reader. Ordinary parsers keep the last of two equal keys and
//! round large integers, so two readers can see two documents in the same bytes. [`parse`] refuses such bytes before
//! any type is filled; [`canonical`] writes the one form that is hashed.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The largest integer that every JSON implementation reads exactly: 2^53 - 1 (RFC 8785, appendix D).
pub const MAX_INTEGER: u64 = (1 << 53) - 1;
/// How deep arrays and objects may nest.
pub const MAX_DEPTH: usize = 32;

/// Why bytes are not the strict JSON of the type that was asked for. The text names line and column.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StrictError(#[from] serde_json::Error);

/// Parses `bytes` as `T`, refusing what two readers could read differently.
///
/// # Errors
/// Not UTF-8 or not JSON; a key twice in one object; a number with a fraction or exponent, or beyond ±(2^53 - 1);
/// nesting over [`MAX_DEPTH`]; trailing bytes; or not a `T` (an unknown field where `T` denies them).
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StrictError> {
    check(bytes)?;
    Ok(serde_json::from_slice(bytes)?)
}

/// Checks that `bytes` are strict JSON, whatever they say. See [`parse`].
pub fn check(bytes: &[u8]) -> Result<(), StrictError> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    Strict { depth: 0 }.deserialize(&mut reader)?;
    Ok(reader.end()?)
}

/// The canonical bytes of `value` (RFC 8785).
///
/// # Errors
/// The value has no strict form: a non-string key, a fraction, an integer beyond ±(2^53 - 1).
pub fn canonical<T: Serialize>(value: &T) -> Result<Vec<u8>, StrictError> {
    let bytes = serde_json_canonicalizer::to_vec(value)?;
    check(&bytes)?;
    Ok(bytes)
}

/// The longest text of a message, in characters. Rules say what is too long for a reason or a name; this only bounds
/// what one entry can make a partner's trail keep.
pub const MAX_TEXT: usize = 1000;

/// Deserialises a text of at most [`MAX_TEXT`] characters.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.chars().count() > MAX_TEXT {
        return Err(D::Error::custom(format_args!("a text of over {MAX_TEXT} characters: shorten it")));
    }
    Ok(text)
}

/// A text that [`text`] read.
#[derive(Deserialize)]
struct Bounded(#[serde(deserialize_with = "text")] String);

/// Deserialises a text of at most [`MAX_TEXT`] characters, or none.
pub(crate) fn optional_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<Bounded>::deserialize(deserializer)?.map(|Bounded(text)| text))
}

/// Deserialises texts of at most [`MAX_TEXT`] characters each.
pub(crate) fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Vec::<Bounded>::deserialize(deserializer)?.into_iter().map(|Bounded(text)| text).collect())
}

struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(&self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {MAX_DEPTH}")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("strict JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        if value > MAX_INTEGER {
            return Err(E::custom("an integer beyond 2^53 - 1"));
        }
        Ok(())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.visit_u64(value.unsigned_abs())
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        Err(E::custom("a number with a fraction or an exponent; use an integer in a smaller unit"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self.deeper()?)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut seen = Keys::default();
        while let Some(Key(key)) = entries.next_key()? {
            if let Err(key) = seen.add(key) {
                return Err(A::Error::custom(format_args!("the key `{key}` stands twice in one object")));
            }
            entries.next_value_seed(self.deeper()?)?;
        }
        Ok(())
    }
}

/// A key, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// The keys of one object. Most objects have a few, which are compared faster than hashed.
#[derive(Default)]
struct Keys<'a> {
    first: Vec<Cow<'a, str>>,
    others: HashSet<Cow<'a, str>>,
}

impl<'a> Keys<'a> {
    const FEW: usize = 16;

    /// Adds a key; an error gives back one that was there.
    fn add(&mut self, key: Cow<'a, str>) -> Result<(), Cow<'a, str>> {
        if self.first.contains(&key) || self.others.contains(&key) {
            return Err(key);
        }
        if self.first.len() < Self::FEW {
            self.first.push(key);
        } else {
            self.others.insert(key);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for (bytes, why) in [
            (&br#"{"a":1,"a":2}"#[..], "twice"),
            (br#"{"a":{"b":1,"\u0062":2}}"#, "twice"),
            (br"[9007199254740992]", "2^53"),
            (br"[-9007199254740992]", "2^53"),
            (br"[1.0]", "fraction"),
            (br"[1e3]", "fraction"),
            (br"{} {}", "trailing"),
            (b"\"\xff\"", "unicode"),
        ] {
            let error = check(bytes).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let deep = [vec![b'['; 40], vec![b']'; 40]].concat();
        assert!(check(&deep).unwrap_err().to_string().contains("nested"));
        assert!(check(br#"{"a":[9007199254740991,-9007199254740991,null,true,"x"]}"#).is_ok());
    }

    #[test]
    fn canonical_form_is_that_of_rfc_8785() {
        // RFC 8785, section 3.2.3: keys sort by UTF-16 code units, so U+1F600 comes before U+FB33.
        let value = json!({"\u{20ac}":"Euro Sign","\r":"Carriage Return","\u{fb33}":"Hebrew Letter Dalet With Dagesh",
            "1":"One","\u{1f600}":"Emoji: Grinning Face","\u{80}":"Control","\u{f6}":"Latin Small Letter O With Diaeresis"});
        let text = String::from_utf8(canonical(&value).unwrap()).unwrap();
        let order: Vec<&str> = ["Carriage", "One", "Control", "Latin", "Euro", "Emoji", "Hebrew"].into();
        let found: Vec<usize> = order.iter().map(|word| text.find(word).unwrap()).collect();
        assert!(found.is_sorted(), "{text}");
        assert_eq!(canonical(&json!({"b":"\u{8}\u{1f}/\"\\","a":[]})).unwrap(), br#"{"a":[],"b":"\b\u001f/\"\\"}"#);
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-9_007_199_254_740_991i64..=9_007_199_254_740_991).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn canonical_says_the_same_and_is_a_fixed_point(value in tree()) {
            let bytes = canonical(&value).unwrap();
            let again: Value = parse(&bytes).unwrap();
            prop_assert_eq!(&again, &value);
            prop_assert_eq!(canonical(&again).unwrap(), bytes);
        }

        #[test]
        fn the_strict_parser_never_panics_and_is_no_laxer_than_serde(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if check(&bytes).is_ok() {
                prop_assert!(serde_json::from_slice::<Value>(&bytes).is_ok());
            }
        }

        #[test]
        fn a_key_repeated_anywhere_is_refused(value in tree(), key in "[a-z]{1,4}", others in 1..40) {
            let inner = String::from_utf8(canonical(&value).unwrap()).unwrap();
            let key = serde_json::to_string(&key).unwrap();
            let others = (0..others).map(|n| format!("\"other key {n}\":0,")).collect::<Vec<_>>().concat();
            let once = format!("[{{{key}:{inner},{others}\"last\":0}}]");
            prop_assert!(check(once.as_bytes()).is_ok());
            for twice in [format!("[{{{key}:{inner},{others}{key}:{inner}}}]"), format!("[{{{others}{key}:{inner},{key}:0}}]")] {
                prop_assert!(check(twice.as_bytes()).is_err());
            }
        }
    }
}
