//! Making a node's keys, once, in the folder of its configuration.

use std::path::PathBuf;

use certs::host::Host;
use certs::key::{KeyError, SigningKey};
use certs::{csr, csr::CsrError};

use crate::config::Config;
use crate::keyfile::{self, KeyFileError};

/// Why keys are not made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// A key cannot be made.
    #[error("cannot make a key: {0}")]
    Key(#[from] KeyError),
    /// A file cannot be written, or is there already.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The request for the TLS certificate cannot be made.
    #[error("cannot make the request for the TLS certificate: {0}")]
    Request(#[from] CsrError),
    /// The URL names no host that a certificate can name.
    #[error("peer.url names no host that a certificate can name: {0}")]
    Host(#[from] certs::host::HostError),
}

/// Makes every key that needs no authority: `tls.key` and `seal.key` (P-256) with their requests
/// `tls.csr` and `seal.csr`, `identity.key` with
/// `identity.pub`, `log.key` and `witness.key` (Ed25519). Secrets are readable by their owner alone, and nothing is
/// overwritten. Returns the files; what was made before a failure is removed again.
///
/// # Errors
/// See [`MakeError`].
pub fn make(config: &Config) -> Result<Vec<PathBuf>, MakeError> {
    let mut made = Vec::new();
    let result = make_all(config, &mut made);
    if result.is_err() {
        for path in &made {
            if let Err(error) = std::fs::remove_file(path) {
                tracing::warn!(path = %path.display(), %error, "a key file that is not needed could not be removed");
            }
        }
    }
    result.map(|()| made)
}

fn make_all(config: &Config, made: &mut Vec<PathBuf>) -> Result<(), MakeError> {
    let keys = &config.keys;
    let (tls, seal) = (SigningKey::generate_p256()?, SigningKey::generate_p256()?);
    let host: Host = config.peer.url.host().parse()?;
    let identity = SigningKey::generate_ed25519()?;
    let secrets = [
        (keys.tls_key(), tls.clone()),
        (keys.seal_key(), seal.clone()),
        (keys.identity_key(), identity.clone()),
        (keys.log_key(), SigningKey::generate_ed25519()?),
        (keys.witness_key(), SigningKey::generate_ed25519()?),
    ];
    for (path, key) in secrets {
        keyfile::write_secret(&path, &key.to_pem()?)?;
        made.push(path);
    }
    let public = format!("{}\n", identity.public());
    let requests = [
        (csr::csr(&tls, config.agency.ori, &[host])?, "tls.csr"),
        (csr::csr(&seal, config.agency.ori, &[])?, "seal.csr"),
    ];
    let requests = requests.map(|(request, name)| (keys.folder.join(name), request));
    for (path, bytes) in requests.into_iter().chain([(keys.identity_public(), public.into_bytes())]) {
        keyfile::write_public(&path, &bytes)?;
        made.push(path);
    }
    Ok(())
}
