//! Certificate requests (PKCS#10, RFC 2986): how a node that made its own key asks for a certificate.

use agreements::ids::Ori;
use openssl::error::ErrorStack;
use openssl::stack::Stack;
use openssl::x509::X509Req;

use crate::ca;
use crate::host::Host;
use crate::key::{KeyError, PublicKey, SigningKey};

/// Why a request was refused or not made.
#[derive(Debug, thiserror::Error)]
pub enum CsrError {
    /// Not a request at all.
    #[error("not a certificate request in PEM (it begins with -----BEGIN CERTIFICATE REQUEST-----)")]
    Form,
    /// The applicant did not show that it holds the key.
    #[error("the request is not signed by the key that it names: the file was damaged, or the key is not theirs")]
    Unproven,
    /// A key of another kind.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// OpenSSL failed.
    #[error("OpenSSL: {0}")]
    OpenSsl(#[from] ErrorStack),
}

/// A request in PEM, signed by `key`, that asks for these names.
///
/// # Errors
/// OpenSSL failed.
pub fn csr(key: &SigningKey, ori: Ori, hosts: &[Host]) -> Result<Vec<u8>, CsrError> {
    let mut builder = X509Req::builder()?;
    builder.set_version(0)?;
    let subject = ca::name(ori.as_str())?;
    builder.set_subject_name(&subject)?;
    builder.set_pubkey(key.public().openssl())?;
    let names = ca::alternative_names(ori, hosts).build(&builder.x509v3_context(None))?;
    let mut extensions = Stack::new()?;
    extensions.push(names)?;
    builder.add_extensions(&extensions)?;
    builder.sign(key.openssl(), key.algorithm().digest())?;
    Ok(builder.build().to_pem()?)
}

/// The one thing that is taken from a request: the key that signed it.
///
/// The names in it are only what the applicant would like to be. The authority's operator, who knows the agency, gives
/// the names in [`ca::NodeRequest`]; copying them from the request would let an applicant name itself another agency.
///
/// # Errors
/// See [`CsrError`].
pub fn proven_key(csr_pem: &[u8]) -> Result<PublicKey, CsrError> {
    let request = X509Req::from_pem(csr_pem).map_err(|_| CsrError::Form)?;
    let key = request.public_key()?;
    let public = PublicKey::from_spki_der(&key.public_key_to_der()?)?;
    // An error means a signature that cannot even be read.
    if request.verify(&key).unwrap_or(false) { Ok(public) } else { Err(CsrError::Unproven) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_that_signed_is_taken() {
        let ori = "CA0190000".parse().unwrap();
        let hosts = ["alder.example".parse().unwrap(), "127.0.0.1".parse().unwrap()];
        for key in [SigningKey::generate_p256().unwrap(), SigningKey::generate_ed25519().unwrap()] {
            let pem = csr(&key, ori, &hosts).unwrap();
            assert_eq!(&proven_key(&pem).unwrap(), key.public());
            let mut damaged = X509Req::from_pem(&pem).unwrap().to_der().unwrap();
            let last = damaged.len() - 1;
            damaged[last] ^= 1;
            let damaged = X509Req::from_der(&damaged).unwrap().to_pem().unwrap();
            assert!(matches!(proven_key(&damaged), Err(CsrError::Unproven)));
        }
        assert!(matches!(proven_key(b"-----BEGIN NOTHING-----"), Err(CsrError::Form)));
    }
}
