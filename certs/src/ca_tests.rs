use super::*;
use crate::csr;
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyParam;
use openssl::x509::{X509PurposeId, X509StoreContext, X509StoreContextRef};

fn begin() -> Instant {
    "2026-11-23T00:00:00Z".parse().unwrap()
}

fn new_authority() -> Authority {
    Authority::create("Fictional Counties CA", begin(), begin().plus(MAX_AUTHORITY_LIFE)).unwrap()
}

fn node<'a>(public: &'a PublicKey, hosts: &'a [Host]) -> NodeRequest<'a> {
    NodeRequest {
        ori: "CA0190000".parse().unwrap(),
        public,
        hosts,
        not_before: begin(),
        not_after: begin().plus(397 * Instant::DAY),
        serial: Serial::new([9; 16]),
    }
}

/// Whether OpenSSL builds a chain from `leaf` to the authority for this purpose, a day after the begin.
fn chain_holds(authority: &Authority, leaf: &[u8], purpose: X509PurposeId) -> bool {
    let mut store = X509StoreBuilder::new().unwrap();
    store.add_cert(authority.certificate.clone()).unwrap();
    store.set_purpose(purpose).unwrap();
    let mut parameters = X509VerifyParam::new().unwrap();
    parameters.set_time((begin().micros() + Instant::DAY) / Instant::SECOND);
    parameters.set_flags(openssl::x509::verify::X509VerifyFlags::X509_STRICT).unwrap();
    store.set_param(&parameters).unwrap();
    let (store, leaf, chain) = (store.build(), X509::from_pem(leaf).unwrap(), Stack::new().unwrap());
    X509StoreContext::new().unwrap().init(&store, &leaf, &chain, X509StoreContextRef::verify_cert).unwrap()
}

#[test]
fn a_node_certificate_serves_both_ends_of_tls_and_a_seal_neither() {
    let (authority, key) = (new_authority(), SigningKey::generate_p256().unwrap());
    let hosts = ["alder.example".parse().unwrap(), "127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
    let request = node(key.public(), &hosts);
    let pem = authority.issue_node(&request).unwrap();
    let leaf = X509::from_pem(&pem).unwrap();
    let identity = Identity::from_der(&leaf.to_der().unwrap()).unwrap();
    assert_eq!((identity.not_before, identity.not_after), (request.not_before, request.not_after));
    let names = leaf.subject_alt_names().unwrap();
    let dns: Vec<_> = names.iter().filter_map(|n| n.dnsname()).collect();
    let ips: Vec<_> = names.iter().filter_map(|n| n.ipaddress()).collect();
    assert_eq!(dns, ["alder.example"]);
    assert_eq!(ips, [&[127, 0, 0, 1][..], &std::net::Ipv6Addr::LOCALHOST.octets()]);
    assert_eq!(leaf.authority_key_id().unwrap().as_slice(), authority.certificate.subject_key_id().unwrap().as_slice());
    for purpose in [X509PurposeId::SSL_SERVER, X509PurposeId::SSL_CLIENT] {
        assert!(chain_holds(&authority, &pem, purpose));
        assert!(!chain_holds(&new_authority(), &pem, purpose), "another authority");
    }
    let NodeRequest { ori, public, not_before, not_after, serial, .. } = request;
    let seal = authority.issue_seal(&SealRequest { ori, public, not_before, not_after, serial }).unwrap();
    assert!(!chain_holds(&authority, &seal, X509PurposeId::SSL_CLIENT));
    assert!(chain_holds(&authority, &seal, X509PurposeId::ANY));
    let seal = X509::from_pem(&seal).unwrap().to_der().unwrap();
    assert_eq!(Identity::seal_from_der(&seal).unwrap().spki, key.public().id());
    assert_eq!(Identity::from_der(&seal), Err(IdentityError::NotForNodes));
    let ed25519 = SigningKey::generate_ed25519().unwrap();
    let refused = SealRequest { ori, public: ed25519.public(), not_before, not_after, serial };
    assert!(matches!(authority.issue_seal(&refused), Err(CaError::SealKey)));
}

#[test]
fn a_request_is_linted_before_it_is_signed() {
    let (authority, key) = (new_authority(), SigningKey::generate_p256().unwrap());
    let hosts = ["alder.example".parse().unwrap()];
    let good = node(key.public(), &hosts);
    let issue = |change: &dyn Fn(&mut NodeRequest<'_>)| {
        let mut request = good.clone();
        change(&mut request);
        authority.issue_node(&request).map(|_| ())
    };
    assert!(issue(&|r| r.not_after = r.not_before.plus(MAX_LEAF_LIFE)).is_ok());
    assert!(matches!(issue(&|r| r.not_after = r.not_before), Err(CaError::Empty { .. })));
    assert!(matches!(
        issue(&|r| r.not_after = begin().plus(MAX_LEAF_LIFE + 1)),
        Err(CaError::TooLong { max_days: 398 })
    ));
    assert!(matches!(issue(&|r| r.hosts = &[]), Err(CaError::NoHost)));
    assert!(matches!(issue(&|r| r.not_before = begin().plus(-1)), Err(CaError::BeforeAuthority(_))));
    let late = begin().plus(MAX_AUTHORITY_LIFE - Instant::DAY);
    let outlives = issue(&|r| (r.not_before, r.not_after) = (late, late.plus(2 * Instant::DAY)));
    assert!(matches!(outlives, Err(CaError::OutlivesAuthority(_))));
    assert!(matches!(
        Authority::create("CA", begin(), begin().plus(MAX_AUTHORITY_LIFE + 1)),
        Err(CaError::TooLong { max_days: 3653 })
    ));
    for bad in ["", " CA", "C\nA", &"x".repeat(65)] {
        assert!(matches!(Authority::create(bad, begin(), begin().plus(Instant::DAY)), Err(CaError::Name)));
    }
}

#[test]
fn an_authority_goes_round_and_is_no_leaf() {
    let (authority, key) = (new_authority(), SigningKey::generate_p256().unwrap());
    let certificate = authority.certificate_pem().unwrap();
    let again = Authority::from_pem(&certificate, &authority.key_pem().unwrap()).unwrap();
    let hosts = ["alder.example".parse().unwrap()];
    let request = csr::csr(&key, "CA0190000".parse().unwrap(), &hosts).unwrap();
    let leaf = again.issue_node(&node(&csr::proven_key(&request).unwrap(), &hosts)).unwrap();
    assert!(chain_holds(&authority, &leaf, X509PurposeId::SSL_CLIENT));
    assert!(matches!(Authority::from_pem(&certificate, &key.to_pem().unwrap()), Err(CaError::KeyMismatch)));
    assert!(matches!(Authority::from_pem(&leaf, &key.to_pem().unwrap()), Err(CaError::NotAuthority)));
    assert!(!format!("{authority:?}").contains("PRIVATE"));
}
