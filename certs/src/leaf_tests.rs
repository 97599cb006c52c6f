use super::*;
use crate::key::SigningKey;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::x509::X509;
use openssl::x509::extension::{ExtendedKeyUsage, SubjectAlternativeName};

/// A certificate such as another authority's software might issue.
fn certificate(uris: &[&str], client: bool) -> Vec<u8> {
    let key = SigningKey::generate_p256().unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&BigNum::from_u32(0x00ff_0001).unwrap().to_asn1_integer().unwrap()).unwrap();
    builder.set_pubkey(key.public().openssl()).unwrap();
    builder.set_not_before(&Asn1Time::from_unix(1_000).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::from_unix(2_000).unwrap()).unwrap();
    let mut usage = ExtendedKeyUsage::new();
    usage.server_auth();
    if client {
        usage.client_auth();
    }
    builder.append_extension(usage.build().unwrap()).unwrap();
    let mut names = SubjectAlternativeName::new();
    names.dns("alder.example").uri("https://alder.example/");
    for uri in uris {
        names.uri(uri);
    }
    let names = names.build(&builder.x509v3_context(None, None)).unwrap();
    builder.append_extension(names).unwrap();
    builder.sign(key.openssl(), key.algorithm().digest()).unwrap();
    builder.build().to_der().unwrap()
}

#[test]
fn a_node_is_who_its_one_ori_says() {
    let identity = Identity::from_der(&certificate(&["urn:ori:CA0190000"], true)).unwrap();
    assert_eq!(identity.ori.as_str(), "CA0190000");
    assert_eq!(identity.serial, [0xff, 0x00, 0x01], "without the zero that DER puts before a high bit");
    let second = |n: i64| Instant::from_micros(n * Instant::SECOND);
    assert_eq!((identity.not_before, identity.not_after), (second(1_000), second(2_000)));
    assert!(identity.valid_at(second(1_000)) && identity.valid_at(second(2_001).plus(-1)));
    assert!(!identity.valid_at(second(1_000).plus(-1)) && !identity.valid_at(second(2_001)));
    assert_eq!(Identity::from_der(&certificate(&["URN:ORI:CA0190000"], true)).unwrap().ori, identity.ori);
}

#[test]
fn each_fault_has_its_own_answer() {
    let from = |uris: &[&str], client| Identity::from_der(&certificate(uris, client)).unwrap_err();
    assert_eq!(from(&[], true), IdentityError::NoOri);
    assert_eq!(from(&["urn:uuid:x"], true), IdentityError::NoOri);
    assert_eq!(from(&["urn:ori:CA0190000", "urn:ori:CA0190100"], true), IdentityError::SeveralOris);
    assert_eq!(from(&["urn:ori:CA0190000", "URN:ori:CA0190000"], true), IdentityError::SeveralOris);
    assert!(matches!(from(&["urn:ori:NV0020100"], true), IdentityError::Ori(OriError::NotCalifornia(_))));
    assert!(matches!(from(&["urn:ori:"], true), IdentityError::Ori(OriError::Form)));
    assert_eq!(from(&["urn:ori:CA0190000"], false), IdentityError::NotForNodes);
    let good = certificate(&["urn:ori:CA0190000"], true);
    assert_eq!(Identity::seal_from_der(&good), Err(IdentityError::NotForSeals));
    assert_eq!(Identity::from_der(&[&good[..], &[0]].concat()), Err(IdentityError::Malformed));
    for cut in 0..good.len() {
        assert_eq!(Identity::from_der(&good[..cut]), Err(IdentityError::Malformed));
    }
}
