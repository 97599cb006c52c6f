//! The configuration and the files that it names, each looked at by itself, so that all that is wrong is said at once.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use agreements::party::Party;
use agreements::time::Instant;
use certs::key::{Algorithm, SigningKey};
use certs::leaf::Identity;
use rustix::fs::Access;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::{Finding, Findings, ports};
use crate::agency;
use crate::config::{Config, DatabaseUrl, FILE_NAME, MailBackend};
use crate::node::read_key;
use crate::seal::Seal;
use crate::tls::{OwnStore, TlsError, TrustFiles, TrustStore};
use crate::upkeep::{CERTIFICATE_WARNING, LIST_WARNING, ends_soon};

/// How this node's certificate is renewed.
pub(super) const RENEW: &str = "have it issued for the key that there is (`concordat ca issue --csr keys/tls.csr --out tls.pem`) and put it at keys/tls.pem";

/// What the files say.
#[derive(Debug)]
pub struct Survey {
    /// The configuration, with defaults in the place of what is wrong in it.
    pub config: Option<Config>,
    /// Whether nothing in it is wrong.
    pub whole: bool,
    /// What was found.
    pub findings: Vec<Finding>,
    /// This node's certificate and key, when they can be used.
    pub own: Option<OwnStore>,
    /// Whom it trusts, when that can be used.
    pub trust: Option<TrustStore>,
}

/// Looks at the configuration in `folder` and all that it names, as they are at `now`. Nothing is opened that would be
/// changed by it.
#[must_use]
pub fn survey(folder: &Path, now: Instant) -> Survey {
    let mut found = Findings::of_this_node();
    let Some(mut config) = configuration(&mut found, &folder.join(FILE_NAME)) else {
        return Survey { config: None, whole: false, findings: found.into_vec(), own: None, trust: None };
    };
    let whole = !found.has_failed("configuration");
    config.resolve(folder);
    let elsewhere = secrets(&mut found, &mut config);
    keys(&mut found, &config);
    let own = certificate(&mut found, &config, now);
    seal(&mut found, &config, now);
    let trust = authorities(&mut found, &config, now);
    chain(&mut found, &config, own.as_ref().zip(trust.as_ref()), now);
    description(&mut found, &config, own.as_ref(), now);
    folders(&mut found, &config);
    ports::free(&mut found, &config);
    Survey { config: Some(config), whole: whole && elsewhere, findings: found.into_vec(), own, trust }
}

fn configuration(found: &mut Findings, path: &Path) -> Option<Config> {
    let what = "configuration";
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            found.fail(
                what,
                format!("cannot read {}: {error}", path.display()),
                "name the node's folder with --dir; `concordat init` makes a new one",
            );
            return None;
        }
    };
    let Ok(text) = std::str::from_utf8(&bytes) else {
        found.fail(what, format!("{} is not UTF-8", path.display()), "save the file as UTF-8");
        return None;
    };
    let (config, problems) = Config::survey(text);
    if problems.is_empty() {
        found.ok(what, format!("{}: every key is known and every value can be", path.display()));
    }
    for problem in problems {
        for line in problem.to_string().lines() {
            found.fail(what, line, format!("edit {}", path.display()));
        }
    }
    if config.is_none() && !found.has_failed(what) {
        found.fail(what, "the file cannot be understood", "compare it with one that `concordat init` writes");
    }
    config
}

/// Whether every secret that is kept elsewhere is there. One that is not leaves its store's default.
fn secrets(found: &mut Findings, config: &mut Config) -> bool {
    let mut all = true;
    for (key, url) in [("store.registry", &mut config.store.registry), ("store.reads", &mut config.store.reads)] {
        let DatabaseUrl::Elsewhere(place) = url.clone() else { continue };
        match url.reveal() {
            Ok(()) => found.ok("secrets", format!("{key}: {place:?} holds it")),
            Err(error) => {
                all = false;
                found.fail(
                    "secrets",
                    format!("{key}: {error}"),
                    format!("put it there, or name another place in {key}"),
                );
            }
        }
    }
    if config.mail.backend == MailBackend::Smtp
        && !config.mail.username.is_empty()
        && let Err(error) = config.mail.password.read()
    {
        found.fail(
            "secrets",
            format!("mail.password: {error}"),
            "put it there, or name another place in mail.password",
        );
    }
    for (name, folder) in &config.ingest.folder {
        if !folder.path.is_dir() {
            let says = format!("ingest.folder.{name}: there is no folder {}", folder.path.display());
            found.fail("folders", says, "make it, or name another in ingest.folder");
        }
    }
    all
}

fn keys(found: &mut Findings, config: &Config) {
    let what = "keys";
    let all = [
        (config.keys.tls_key(), Algorithm::Es256),
        (config.keys.seal_key(), Algorithm::Es256),
        (config.keys.log_key(), Algorithm::EdDsa),
        (config.keys.witness_key(), Algorithm::EdDsa),
    ];
    let mut good = 0;
    for (path, algorithm) in &all {
        match read_key(path) {
            Ok(key) if key.algorithm() == *algorithm => good += 1,
            Ok(key) => found.fail(
                what,
                format!("{} is a key for {}, not for {}", path.display(), key.algorithm().name(), algorithm.name()),
                "put the key that `concordat init` made there back",
            ),
            Err(error) => found.fail(what, error.to_string(), "put the key back, with `chmod 600`; see keys.folder"),
        }
    }
    if good == all.len() {
        found.ok(what, format!("{} private keys in {}, read by their owner alone", good, config.keys.folder.display()));
    }
    let mode = fs::metadata(&config.keys.folder).map(|about| about.permissions().mode() & 0o777);
    if let Ok(mode) = mode
        && mode & 0o077 != 0
    {
        let folder = config.keys.folder.display();
        found.warn(what, format!("others may enter {folder} (mode {mode:03o})"), format!("run `chmod 700 {folder}`"));
    }
    identity(found, config);
}

fn identity(found: &mut Findings, config: &Config) {
    let (public, key) = (config.keys.identity_public(), config.keys.identity_key());
    match fs::read_to_string(&public) {
        Err(error) => found.fail(
            "identity",
            format!("cannot read {}: {error}", public.display()),
            "put back the file that `concordat init` made; it stays when identity.key goes offline",
        ),
        Ok(_) if key.exists() => found.warn(
            "identity",
            format!("{} is still on this machine, and it vouches for all the other keys", key.display()),
            "once every partner has enrolled this node, move it to a medium that is kept offline",
        ),
        Ok(text) if read_public(&text) => found.ok("identity", "identity.pub is here and identity.key is not"),
        Ok(_) => found.fail(
            "identity",
            format!("{} holds no key", public.display()),
            "put back the file that `concordat init` made",
        ),
    }
}

fn read_public(text: &str) -> bool {
    text.trim().parse::<certs::key::PublicKey>().is_ok()
}

fn certificate(found: &mut Findings, config: &Config, now: Instant) -> Option<OwnStore> {
    let what = "certificate";
    let own = match OwnStore::open(&config.keys.tls_cert(), &config.keys.tls_key()) {
        Ok(own) => own,
        Err(error) => {
            found.fail(what, error.to_string(), RENEW);
            return None;
        }
    };
    let held = own.current();
    let identity = held.identity();
    if identity.ori != config.agency.ori {
        found.fail(what, format!("it is of {}, but concordat.toml is of {}", identity.ori, config.agency.ori), RENEW);
    }
    lifetime(found, what, identity, now);
    let names = held.chain().first().map(|leaf| names(leaf)).unwrap_or_default();
    let host = config.peer.url.host();
    if names.iter().any(|name| name.eq_ignore_ascii_case(host.trim_matches(['[', ']']))) {
        found.ok("names", format!("the certificate names {}", names.join(", ")));
    } else {
        found.fail(
            "names",
            format!("the certificate names {}, but peer.url is of {host}", list(&names)),
            format!("have it issued with `concordat ca issue --host {host}`, or correct peer.url"),
        );
    }
    Some(own)
}

/// Whether a certificate counts at `now`, and for how long.
pub(super) fn lifetime(found: &mut Findings, check: &'static str, identity: &Identity, now: Instant) {
    let (begin, end) = (identity.not_before, identity.not_after);
    if now < begin {
        found.fail(check, format!("it counts from {begin} on, and it is {now}"), "set the clock right, or wait");
    } else if !identity.valid_at(now) {
        found.fail(check, format!("it expired at {end}"), RENEW);
    } else if ends_soon(end, now, CERTIFICATE_WARNING) {
        found.warn(check, format!("it ends at {end}"), RENEW);
    } else {
        found.ok(check, format!("of {}, until {end}", identity.ori));
    }
}

/// The host names and addresses that a certificate has.
pub(super) fn names(leaf: &CertificateDer<'_>) -> Vec<String> {
    let Ok(leaf) = openssl::x509::X509::from_der(leaf) else { return Vec::new() };
    let address = |bytes: &[u8]| match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|four| std::net::IpAddr::from(four).to_string()),
        _ => <[u8; 16]>::try_from(bytes).ok().map(|sixteen| std::net::IpAddr::from(sixteen).to_string()),
    };
    let all = leaf.subject_alt_names();
    let name = |name: &openssl::x509::GeneralNameRef| {
        name.dnsname().map(str::to_owned).or_else(|| name.ipaddress().and_then(address))
    };
    all.iter().flatten().filter_map(name).collect()
}

/// Names for a sentence.
pub(super) fn list(names: &[String]) -> String {
    if names.is_empty() { "no host".to_owned() } else { names.join(", ") }
}

fn seal(found: &mut Findings, config: &Config, now: Instant) {
    let what = "seal";
    let path = config.keys.seal_cert();
    if let Err(error) = Seal::read(config) {
        found.fail(
            what,
            error.to_string(),
            "have it issued for keys/seal.csr (`concordat ca issue --seal`), or take it away",
        );
        return;
    }
    let read = fs::read(&path).ok().and_then(|pem| CertificateDer::from_pem_slice(&pem).ok());
    match read.and_then(|der| Identity::seal_from_der(&der).ok()) {
        None => found.ok(what, "the key signs; no authority has certified it, which is no fault"),
        Some(identity) if !identity.valid_at(now) => found.warn(
            what,
            format!("seal.pem ended at {}; agreements pin the key, so seals still count", identity.not_after),
            "have it issued again for keys/seal.csr (`concordat ca issue --seal`)",
        ),
        Some(identity) => found.ok(what, format!("certified until {}", identity.not_after)),
    }
}

fn authorities(found: &mut Findings, config: &Config, now: Instant) -> Option<TrustStore> {
    let files = TrustFiles { ca: config.peer.ca.clone(), crl: config.peer.crl.clone() };
    let mut readable = true;
    for (what, key, path) in (files.ca.iter().map(|path| ("authorities", "peer.ca", path)))
        .chain(files.crl.iter().map(|path| ("revocation-lists", "peer.crl", path)))
    {
        if let Err(error) = fs::read(path) {
            readable = false;
            found.fail(
                what,
                format!("cannot read {}: {error}", path.display()),
                format!("name the right file in {key}"),
            );
        }
    }
    let trust = match TrustStore::open(files) {
        Ok(trust) => trust,
        Err(error) => {
            if readable {
                let of_lists =
                    matches!(error, TlsError::NoCrl | TlsError::OldCrl(_) | TlsError::Content(_, "revocation list", _));
                let what = if of_lists { "revocation-lists" } else { "authorities" };
                found.fail(what, error.to_string(), "see peer.ca and peer.crl; `concordat ca crl` makes a new list");
            }
            if !found.has_failed("revocation-lists") {
                found.not_tried(&["revocation-lists"], "it needs the authorities");
            }
            return None;
        }
    };
    found.ok("authorities", format!("{} files in peer.ca", config.peer.ca.len()));
    let fix =
        "fetch the authority's next one (`concordat ca crl` makes it) to the file in peer.crl; no restart is needed";
    match trust.next_update() {
        Some(end) if end <= now => found.fail("revocation-lists", format!("void since {end}: nobody is let in"), fix),
        Some(end) if ends_soon(end, now, LIST_WARNING) => {
            found.warn("revocation-lists", format!("the first ends at {end}; nobody is let in after that"), fix);
        }
        Some(end) => found.ok("revocation-lists", format!("good until {end}")),
        None => found.fail("revocation-lists", "there is none", fix),
    }
    Some(trust)
}

/// Whether partners, who trust the same authorities, accept this node's certificate.
fn chain(found: &mut Findings, config: &Config, both: Option<(&OwnStore, &TrustStore)>, now: Instant) {
    let Some((own, trust)) = both else {
        found.not_tried(&["chain"], "it needs the certificate and the authorities");
        return;
    };
    match trust.vouches(own.current().chain(), config.peer.url.host(), now) {
        Ok(()) => found.ok("chain", "an authority of peer.ca issued the certificate and has not revoked it"),
        Err(error) => found.fail("chain", format!("partners would refuse the certificate: {error}"), RENEW),
    }
}

/// Whether the agency is described well enough to be enrolled, and to sign.
fn description(found: &mut Findings, config: &Config, own: Option<&OwnStore>, now: Instant) {
    let what = "agency";
    let fix = "fill in [agency], [policy] and [approvals] of concordat.toml";
    let before = found.found.len();
    for (missing, key) in [
        (config.policy.sha256.is_none(), "policy.sha256"),
        (config.policy.checked_on.is_none(), "policy.checked_on"),
        (config.approvals.public_meeting_date.is_none(), "approvals.public_meeting_date"),
    ] {
        if missing {
            found.fail(what, format!("{key} is not set, and without it the node does not serve"), fix);
        }
    }
    for (key, url) in
        [("policy.url", &config.policy.url), ("approvals.public_meeting_url", &config.approvals.public_meeting_url)]
    {
        if !url.is_empty() && reqwest::Url::parse(url).is_err() {
            found.fail(what, format!("{key} is no URL"), "write it as https://HOST/PATH");
        }
    }
    let spki = own
        .map(OwnStore::spki)
        .or_else(|| read_key(&config.keys.tls_key()).ok().map(|key| SigningKey::public(&key).id()));
    if found.found.len() == before
        && let Some(spki) = spki
    {
        match agency::party(config, spki, now) {
            Err(error) => found.fail(what, error.to_string(), fix),
            Ok(party) => {
                for problem in party.problems() {
                    found.warn(what, format!("{problem}; until then partners cannot enrol this agency"), fix);
                }
                let missing = missing_elements(&party);
                if !missing.is_empty() {
                    let says = format!(
                        "the policy lacks {missing} of Civ. Code 1798.90.51(b)(2), so no agreement can be signed"
                    );
                    found.warn(what, says, "fill in [policy.elements]");
                }
                signing(found, &party);
            }
        }
    }
    if found.found.len() == before {
        found.ok(what, "described completely");
    }
}

/// What an agreement needs of a party besides, before anybody can sign it.
fn signing(found: &mut Findings, party: &Party) {
    for (missing, says, fix) in [
        (
            party.contacts.is_empty(),
            "agency.contacts names no mailbox that partners' reminders go to",
            "name one of a role, such as agency.contacts = [\"records@agency.example\"]",
        ),
        (
            party.official.key.is_none(),
            "agency.official_key names no key with which the official signs",
            "`concordat official enroll --out FILE` makes one, with the official present, and says what to put there; a smart card's public key does as well",
        ),
        (
            party.policy.checked_by.trim().is_empty(),
            "policy.checked_by names nobody who compared the published policy",
            "write the title of who did, such as policy.checked_by = \"Records manager\"",
        ),
    ] {
        if missing {
            found.warn("agency", format!("{says}, so no agreement can be signed"), fix);
        }
    }
}

fn missing_elements(party: &Party) -> String {
    let elements = &party.policy.elements;
    let all = [&elements.a, &elements.b, &elements.c, &elements.d, &elements.e, &elements.f, &elements.g];
    all.iter().zip('A'..='G').filter(|(text, _)| text.is_none()).map(|(_, letter)| letter).collect()
}

/// Whether what the node writes can be written where it is to be.
fn folders(found: &mut Findings, config: &Config) {
    let before = found.found.len();
    let mut look = |key: &str, path: &Path| {
        if let Err(error) = rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK) {
            let fix = format!("make it, and give it to the user that runs concordat: see {key}");
            found.fail("folders", format!("cannot write into {}: {error}", path.display()), fix);
        }
    };
    let mut parents: Vec<(&str, PathBuf)> = Vec::new();
    for (key, url) in [("store.registry", &config.store.registry), ("store.reads", &config.store.reads)] {
        if let DatabaseUrl::Sqlite(path) = url {
            parents.push((key, path.parent().unwrap_or(Path::new(".")).to_owned()));
        }
    }
    // The folder of images is made when the first comes.
    let images = config.store.images.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    parents.push(("store.images", images.to_owned()));
    parents.dedup_by(|one, other| one.1 == other.1);
    for (key, path) in &parents {
        look(key, path);
    }
    for url in [&config.store.registry, &config.store.reads] {
        if let DatabaseUrl::Sqlite(path) = url
            && let Ok(about) = fs::metadata(path)
            && about.permissions().mode() & 0o077 != 0
        {
            let path = path.display();
            found.warn("folders", format!("others can read {path}"), format!("run `chmod 600 {path}`"));
        }
    }
    if found.found.len() == before {
        found.ok("folders", "the stores' folders can be written");
    }
}
