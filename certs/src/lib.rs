//! Concordat's keys and certificates: bytes in, bytes out.
//!
//! In scope: signing keys; the certificate authority, its certificates and revocation lists (RFC 5280); the identity
//! that a leaf certificate proves; sealed documents (RFC 7515).
//! Out of scope: any file, any socket, any clock (times are arguments), the handshake itself (rustls does it in
//! `node`), and the trail's checkpoints (they use the raw Ed25519 keys from here).

mod asn1;
pub mod ca;
pub mod crl;
pub mod csr;
pub mod host;
pub mod jws;
pub mod key;
pub mod leaf;
pub mod revocation;
pub mod serial;
