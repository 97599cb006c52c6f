//! Sealed documents and another implementation of JWS (RFC 7515): Python's `jwcrypto` opens ours, we open its.
//!
//! `CONCORDAT_PYTHON` names an interpreter that has `jwcrypto` (otherwise `python3`). Without it the test says loudly
//! that it was skipped; with `CONCORDAT_CI=1` it fails.

use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use certs::jws;
use certs::key::{PublicKey, SigningKey};

const TYP: &str = "concordat-agreement+jws";
const HOW: &str = "install it with `pip install jwcrypto`, in a venv that CONCORDAT_PYTHON points into if you like";

/// Opens the documents of a folder with the keys there, tries each with one changed byte, and signs the payload anew.
const SCRIPT: &str = r#"
import json, sys
from pathlib import Path
from jwcrypto import jwk, jws
from jwcrypto.common import base64url_decode, base64url_encode

folder = Path(sys.argv[1])
payload = (folder / "payload").read_bytes()
keys = {alg: jwk.JWK.from_pem((folder / f"{alg}.pem").read_bytes()) for alg in ("ES256", "EdDSA")}

def opens(text, alg):
    token = jws.JWS()
    token.deserialize(text)
    try:
        token.verify(keys[alg], alg=alg)
    except jws.InvalidJWSSignature:
        return False
    assert token.payload == payload
    return True

def changed(text, part):
    document = json.loads(text)
    for holder in [document] if part in document else document["signatures"]:
        raw = bytearray(base64url_decode(holder[part]))
        raw[-1] ^= 1
        holder[part] = base64url_encode(bytes(raw))
    return json.dumps(document)

for name, alg in (("general", "ES256"), ("general", "EdDSA"), ("flat.ES256", "ES256"), ("flat.EdDSA", "EdDSA")):
    text = (folder / name).read_text()
    assert opens(text, alg), f"{name} does not open with {alg}"
    for part in ("payload", "signature"):
        assert not opens(changed(text, part), alg), f"{name} opens with {alg} and a changed {part}"

token = jws.JWS(payload)
for alg, key in keys.items():
    header = (folder / f"{alg}.header").read_text()
    token.add_signature(key, protected=header)
    one = jws.JWS(payload)
    one.add_signature(key, protected=header)
    (folder / f"theirs.{alg}").write_text(one.serialize())
(folder / "theirs").write_text(token.serialize())
print("done")
"#;

fn write_ours(folder: &Path, payload: &[u8], keys: &[&SigningKey; 2]) -> Result<(), Box<dyn Error>> {
    fs::write(folder.join("payload"), payload)?;
    let mut signatures = Vec::new();
    for key in keys {
        let name = key.algorithm().name();
        let signature = jws::sign(payload, TYP, key, Some(agreements::ids::Digest::of(b"certificate")))?;
        fs::write(folder.join(format!("{name}.pem")), key.to_pem()?)?;
        let header = URL_SAFE_NO_PAD.decode(&signature.protected)?;
        fs::write(folder.join(format!("{name}.header")), header)?;
        fs::write(folder.join(format!("flat.{name}")), jws::flatten(payload, &signature)?)?;
        signatures.push(signature);
    }
    fs::write(folder.join("general"), jws::assemble(payload, &signatures)?)?;
    Ok(())
}

#[test]
fn jwcrypto_opens_ours_and_we_open_its() {
    let python = std::env::var("CONCORDAT_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has_it = Command::new(&python).args(["-c", "import jwcrypto"]).output().is_ok_and(|o| o.status.success());
    if !has_it {
        assert_ne!(std::env::var("CONCORDAT_CI").as_deref(), Ok("1"), "{python} cannot import jwcrypto; {HOW}");
        // Not by a macro: the test runner would keep what those print to itself.
        let said = format!(
            "\n*** SKIPPED: sealed documents were not checked by another implementation: {python} cannot import jwcrypto; {HOW} ***\n"
        );
        std::io::stderr().write_all(said.as_bytes()).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (seal, identity) = (SigningKey::generate_p256().unwrap(), SigningKey::generate_ed25519().unwrap());
    let payload =
        agreements::json::canonical(&serde_json::json!({"z": [1, -2, "é\u{1f600}"], "a": {"": null, "b": true}}))
            .unwrap();
    write_ours(folder.path(), &payload, &[&seal, &identity]).unwrap();
    let run = Command::new(&python).args(["-c", SCRIPT]).arg(folder.path()).output().unwrap();
    assert!(run.status.success() && run.stdout.starts_with(b"done"), "{}", String::from_utf8_lossy(&run.stderr));

    let theirs = |name: &str| fs::read(folder.path().join(name)).unwrap();
    let keys: [&PublicKey; 2] = [seal.public(), identity.public()];
    assert_eq!(jws::open_general(&theirs("theirs"), TYP, &keys).unwrap().payload(), payload);
    for key in keys {
        let document = jws::open_flattened(&theirs(&format!("theirs.{}", key.algorithm().name())), TYP, key).unwrap();
        assert_eq!(document.payload(), payload);
    }
}
