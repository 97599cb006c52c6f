use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;

const TYP: &str = "concordat-agreement+jws";

/// Keys made once: a seal's and an identity's.
static KEYS: LazyLock<[SigningKey; 2]> =
    LazyLock::new(|| [SigningKey::generate_p256().unwrap(), SigningKey::generate_ed25519().unwrap()]);

fn keys() -> [&'static PublicKey; 2] {
    [KEYS[0].public(), KEYS[1].public()]
}

fn payload() -> Vec<u8> {
    json::canonical(&json!({"format": "concordat-agreement/1", "revision": 3, "terms": ["a", "ü", ""]})).unwrap()
}

fn both(payload: &[u8]) -> [Signature; 2] {
    [
        sign(payload, TYP, &KEYS[0], Some(Digest::of(b"a certificate"))).unwrap(),
        sign(payload, TYP, &KEYS[1], None).unwrap(),
    ]
}

/// A signature by `key` over a header of any text.
fn with_header(header: &str, key: &SigningKey) -> Signature {
    let protected = URL_SAFE_NO_PAD.encode(header);
    let signature = URL_SAFE_NO_PAD.encode(key.sign(&signing_input(&protected, &payload())).unwrap());
    Signature { protected, signature }
}

#[test]
fn documents_open_with_exactly_their_signers() {
    let (bytes, [first, second]) = (payload(), both(&payload()));
    let general = assemble(&bytes, &[first.clone(), second.clone()]).unwrap();
    let document = open_general(&general, TYP, &keys()).unwrap();
    assert_eq!((document.payload(), document.id()), (&bytes[..], Digest::of(&bytes)));
    assert_eq!(document.signatures()[0].x5t(), Some(Digest::of(b"a certificate")));
    assert_eq!(document.signatures()[1], verify_one(&bytes, TYP, &second, keys()[1]).unwrap());
    let reversed = assemble(&bytes, &[second.clone(), first.clone()]).unwrap();
    assert_eq!(open_general(&reversed, TYP, &keys()).unwrap().id(), document.id());
    for (signature, key) in [&first, &second].into_iter().zip(keys()) {
        let flattened = flatten(&bytes, signature).unwrap();
        assert_eq!(open_flattened(&flattened, TYP, key).unwrap().payload(), bytes);
        assert!(matches!(open_flattened(&flattened, "other+jws", key), Err(JwsError::Type { .. })));
        assert!(matches!(open_flattened(&general, TYP, key), Err(JwsError::Form(_))));
        assert!(matches!(open_general(&flattened, TYP, &keys()), Err(JwsError::Form(_))));
    }
}

#[test]
fn dropped_repeated_swapped_and_additional_signatures_are_refused() {
    let (bytes, [first, second]) = (payload(), both(&payload()));
    let open = |signatures: &[Signature], keys: &[&PublicKey]| {
        let general = General { payload: URL_SAFE_NO_PAD.encode(&bytes), signatures: signatures.to_vec() };
        open_general(&serde_json::to_vec(&general).unwrap(), TYP, keys).unwrap_err()
    };
    let [seal, identity] = keys();
    let third = SigningKey::generate_p256().unwrap();
    let three = [first.clone(), second.clone(), sign(&bytes, TYP, &third, None).unwrap()];
    assert!(matches!(open(&three[..1], &keys()), JwsError::TooFew));
    assert!(matches!(open(&[], &keys()), JwsError::TooFew));
    assert!(matches!(open(&three[..2], &[seal]), JwsError::TooFew));
    assert!(matches!(open(&three[..2], &[]), JwsError::TooFew));
    assert!(matches!(open(&three[..2], &[seal, seal]), JwsError::RepeatedSigner(id) if id == seal.id()));
    assert!(matches!(open(&[first.clone(), first.clone()], &keys()), JwsError::RepeatedSigner(id) if id == seal.id()));
    assert!(matches!(open(&three, &keys()), JwsError::UnknownSigner(id) if id == third.public().id()));
    let required = [seal, identity, third.public()];
    assert!(matches!(open(&three[..2], &required), JwsError::MissingSigner(id) if id == third.public().id()));
    // The second signature bad while the first is good: what a lax library accepts.
    let swapped = [
        Signature { signature: second.signature.clone(), ..first.clone() },
        Signature { signature: first.signature.clone(), ..second.clone() },
    ];
    assert!(matches!(open(&swapped, &keys()), JwsError::Signature(_)));
    assert!(matches!(open(&[first, swapped[1].clone()], &keys()), JwsError::Signature(id) if id == identity.id()));
}

#[test]
fn a_header_says_only_what_it_may() {
    let [seal, identity] = keys();
    let (kid, other) = (seal.id(), identity.id());
    let check = |header: String| verify_one(&payload(), TYP, &with_header(&header, &KEYS[0]), seal).map(|_| ());
    let good = format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"{TYP}"}}"#);
    assert!(check(good.clone()).is_ok());
    for member in [r#""crit":["exp"]"#, r#""jku":"https://x""#, r#""jwk":{}"#, r#""b64":false"#, r#""alg":"ES256""#] {
        let more = good.replacen('{', &format!("{{{member},"), 1);
        assert!(matches!(check(more), Err(JwsError::Header(_))), "{member}");
    }
    let thumb = |text: &str| good.replace('}', &format!(r#","x5t#S256":{text}}}"#));
    assert!(check(thumb(&format!("\"{}\"", "A".repeat(43)))).is_ok());
    assert!(matches!(check(thumb("\"AAAA\"")), Err(JwsError::HeaderForm)));
    assert!(matches!(check(thumb("null")), Err(JwsError::HeaderForm)));
    assert!(matches!(check(thumb(&format!("\"{}B\"", "A".repeat(42)))), Err(JwsError::Base64("x5t#S256"))));
    assert!(matches!(check(good.replace(':', ": ")), Err(JwsError::HeaderForm)));
    for alg in ["EdDSA", "none", "HS256", "ES384"] {
        assert!(matches!(check(good.replace("ES256", alg)), Err(JwsError::Algorithm { expected: "ES256" })));
    }
    assert!(matches!(check(good.replace(&kid.to_string(), &other.to_string())), Err(JwsError::UnknownSigner(_))));
    let confused = format!(r#"{{"alg":"ES256","kid":"{other}","typ":"{TYP}"}}"#);
    let confused = verify_one(&payload(), TYP, &with_header(&confused, &KEYS[1]), identity);
    assert!(matches!(confused, Err(JwsError::Algorithm { expected: "EdDSA" })));
}

#[test]
fn the_outer_form_is_strict() {
    let (bytes, [first, _]) = (payload(), both(&payload()));
    let text = String::from_utf8(flatten(&bytes, &first).unwrap()).unwrap();
    let open = |text: &str| open_flattened(text.as_bytes(), TYP, keys()[0]).map(|_| ());
    assert!(open(&text).is_ok());
    assert!(matches!(open(&text.replacen('{', r#"{"header":{"kid":"x"},"#, 1)), Err(JwsError::Form(_))));
    assert!(matches!(open(&text.replacen('{', r#"{"payload":"e30","#, 1)), Err(JwsError::Form(_))));
    assert!(matches!(open(&format!("{text} {{}}")), Err(JwsError::Form(_))));
    let value: Value = serde_json::from_str(&text).unwrap();
    for (part, change) in [("payload", "="), ("protected", "="), ("signature", "="), ("signature", "+")] {
        let mut changed = value.clone();
        changed[part] = json!(format!("{}{change}", value[part].as_str().unwrap()));
        assert!(matches!(open(&changed.to_string()), Err(JwsError::Base64(p)) if p == part));
    }
    // 64 bytes leave four stray bits in the last character.
    let signature = first.signature.clone();
    let stray = signature.char_indices().last().map(|(at, last)| {
        let next = char::from(u8::try_from(u32::from(last)).unwrap() + 1);
        format!("{}{next}", &signature[..at])
    });
    let stray = Signature { signature: stray.unwrap(), ..first };
    assert!(matches!(verify_one(&bytes, TYP, &stray, keys()[0]), Err(JwsError::Base64("signature"))));
}

#[test]
fn only_canonical_payloads_are_signed_or_opened() {
    for (bytes, strict) in
        [(&br#"{"b":1,"a":2}"#[..], true), (br#"{"a": 1}"#, true), (br#"{"a":1,"a":1}"#, false), (br"[1.5]", false)]
    {
        let error = sign(bytes, TYP, &KEYS[0], None).unwrap_err();
        assert_eq!(matches!(error, JwsError::NotCanonical), strict);
        // Signed by other software all the same.
        let header = format!(r#"{{"alg":"ES256","kid":"{}","typ":"{TYP}"}}"#, keys()[0].id());
        let protected = URL_SAFE_NO_PAD.encode(header);
        let signature = URL_SAFE_NO_PAD.encode(KEYS[0].sign(&signing_input(&protected, bytes)).unwrap());
        let whole = Flattened { payload: URL_SAFE_NO_PAD.encode(bytes), protected, signature };
        let error = open_flattened(&serde_json::to_vec(&whole).unwrap(), TYP, keys()[0]).unwrap_err();
        assert!(matches!(error, JwsError::NotCanonical | JwsError::Payload(_)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn any_flipped_bit_is_refused(at in any::<prop::sample::Index>(), bit in 0..8u32) {
        let mut bytes = assemble(&payload(), &both(&payload())).unwrap();
        prop_assert!(open_general(&bytes, TYP, &keys()).is_ok());
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(open_general(&bytes, TYP, &keys()).is_err(), "byte {at}, bit {bit}");
    }

    #[test]
    fn any_flipped_bit_inside_a_part_is_refused(part in 0..3usize, at in any::<prop::sample::Index>(), bit in 0..8u32, which in 0..2usize) {
        // Behind the base64, so that what is refused is the content and not the writing.
        let signature = both(&payload())[which].clone();
        let parts = [payload(), decode("protected", &signature.protected).unwrap(), decode("signature", &signature.signature).unwrap()];
        let mut changed = parts.clone();
        let at = at.index(changed[part].len());
        changed[part][at] ^= 1 << bit;
        let [bytes, protected, raw] = changed.map(|p| URL_SAFE_NO_PAD.encode(p));
        let whole = serde_json::to_vec(&Flattened { payload: bytes, protected, signature: raw }).unwrap();
        prop_assert!(open_flattened(&whole, TYP, keys()[which]).is_err());
    }

    #[test]
    fn the_reader_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), text in ".{0,80}") {
        let _ = open_general(&bytes, TYP, &keys());
        prop_assert!(open_flattened(&bytes, TYP, keys()[0]).is_err());
        let signature = Signature { protected: text.clone(), signature: text };
        prop_assert!(verify_one(&payload(), TYP, &signature, keys()[1]).is_err());
    }
}
