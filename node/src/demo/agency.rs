//! Fictional agencies, complete: folder, configuration, keys, certificate, people, training, a check of the Attorney
//! General's sources. The demo makes three of them; tests make as many as they need.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use agreements::approval::ApprovalKind;
use agreements::ids::{AgreementId, Digest, Ori};
use agreements::party::AgencyKind;
use agreements::register::CheckResult;
use agreements::time::Instant;
use anyhow::Context as _;
use certs::csr;
use certs::jws;
use certs::key::SigningKey;
use jiff::civil::Date;

use crate::ca_folder::{CaFolder, Order};
use crate::compliance::{self, Keeper, Sweep};
use crate::config::{Config, Elements, FILE_NAME, Founding, LoopbackAddr};
use crate::db::Db;
use crate::exchange::standing::OFFICIAL_TYP;
use crate::people::{self, NewAccount, Training};
use crate::registry::accounts::Role;
use crate::renewal::approvals::{self, Approval};
use crate::{keyfile, keys};

/// Where a fictional official's key is, below the node's folder.
pub const OFFICIAL_KEY: &str = "keys/official.key";

/// How long certificates live, in microseconds: the longest that the authority issues.
const CERTIFICATE_LIFE: i64 = 397 * Instant::DAY;

/// Who a fictional agency is.
#[derive(Debug, Clone)]
pub struct Fiction {
    /// Its name in one word: its folder, its host name and its people's.
    pub word: &'static str,
    /// Its ORI.
    pub ori: &'static str,
    /// Its legal name.
    pub legal_name: &'static str,
    /// What kind of agency it is.
    pub kind: AgencyKind,
    /// The county that it is in.
    pub county: &'static str,
}

/// Alder County Sheriff.
pub const ALDER: Fiction = Fiction {
    word: "alder",
    ori: "CA0990000",
    legal_name: "Alder County Sheriff",
    kind: AgencyKind::County,
    county: "Alder",
};
/// Birch City Police.
pub const BIRCH: Fiction = Fiction {
    word: "birch",
    ori: "CA0990100",
    legal_name: "Birch City Police",
    kind: AgencyKind::City,
    county: "Alder",
};
/// Cedar Transit District.
pub const CEDAR: Fiction = Fiction {
    word: "cedar",
    ori: "CA0990200",
    legal_name: "Cedar Transit District",
    kind: AgencyKind::Subdivision,
    county: "Cedar",
};

/// The people of every fictional agency, by role. Each username is `word.role`, such as `birch.investigator`.
const PEOPLE: [(&str, &str, Role); 6] = [
    ("admin", "Avery Admin", Role::SystemAdministrator),
    ("supervisor", "Sasha Supervisor", Role::Supervisor),
    ("investigator", "Indigo Investigator", Role::Investigator),
    ("agreements", "Ariel Agreements", Role::AgreementsAdministrator),
    ("custodian", "Casey Custodian", Role::Custodian),
    ("auditor", "Aubrey Auditor", Role::Auditor),
];

impl Fiction {
    /// Its host name.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.test", self.word)
    }

    /// The username of the person with this role, such as `investigator`.
    #[must_use]
    pub fn person(&self, role: &str) -> String {
        format!("{}.{role}", self.word)
    }
}

/// The authority that all fictional agencies trust, and where it is.
#[derive(Debug, Clone)]
pub struct FictionalCa {
    /// Its folder.
    pub folder: PathBuf,
}

impl FictionalCa {
    /// Makes the authority, with a revocation list that is good for `list_life` microseconds.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn create(folder: PathBuf, now: Instant, list_life: i64) -> anyhow::Result<Self> {
        CaFolder::create(&folder, "Fictional Counties CA", now, 5 * 365 * Instant::DAY, list_life)?;
        Ok(Self { folder })
    }

    /// The file of its certificate.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// The file of its revocation list.
    #[must_use]
    pub fn list(&self) -> PathBuf {
        self.folder.join("crl.pem")
    }
}

/// Founds an agency in `folder`: a configuration that says everything, keys, and a certificate of `ca`. Its ports are
/// free ones of loopback, taken when it serves; `hosts` tells where partners are.
///
/// # Errors
/// Something cannot be written.
pub fn found(
    folder: &Path,
    fiction: &Fiction,
    ca: &FictionalCa,
    peer: SocketAddr,
    now: Instant,
) -> anyhow::Result<Config> {
    let today = now.date().context("a date")?;
    let ori: Ori = fiction.ori.parse()?;
    let mut config = Config::new(Founding {
        ori,
        legal_name: fiction.legal_name.to_owned(),
        kind: fiction.kind,
        county: fiction.county.to_owned(),
        url: format!("https://{}", fiction.host()).parse()?,
    });
    config.keys.log_origin = format!("{}/trail", fiction.host());
    config.peer.listen = peer;
    config.peer.ca = vec![ca.certificate()];
    config.peer.crl = vec![ca.list()];
    config.console.listen = ([127, 0, 0, 1], 0).into();
    config.ops.listen = LoopbackAddr::with_port(0);
    // Nobody publishes the policies of fictional agencies.
    config.policy_checks.automatic = false;
    complete(&mut config, fiction, today);
    std::fs::create_dir_all(folder.join("keys"))?;
    // In earnest it is on the official's card, or locked by a passphrase.
    let official = SigningKey::generate_p256()?;
    keyfile::write_secret(&folder.join(OFFICIAL_KEY), &official.to_pem()?)?;
    config.agency.official_key = official.public().to_string();
    let path = folder.join(FILE_NAME);
    std::fs::write(&path, config.to_toml())?;
    let config = Config::load(&path)?;
    keys::make(&config)?;
    let request = std::fs::read(config.keys.folder.join("tls.csr"))?;
    let hosts = [fiction.host().parse()?];
    let issued = CaFolder::open(&ca.folder)?.issue(
        ori,
        &csr::proven_key(&request)?,
        &Order::Node(&hosts),
        now,
        CERTIFICATE_LIFE,
    )?;
    keyfile::write_public(&config.keys.tls_cert(), &issued.pem)?;
    Ok(config)
}

fn complete(config: &mut Config, fiction: &Fiction, today: Date) {
    let said = |what: &str| format!("{} ({what})", fiction.legal_name);
    config.agency.custodian_title = "Custodian of ALPR Records".to_owned();
    config.agency.official_name = "Oakley Official".to_owned();
    config.agency.official_title = "Chief Executive".to_owned();
    config.agency.contacts = vec![format!("alpr-agreements@{}", fiction.host())];
    config.policy.checked_by = "Custodian of ALPR Records".to_owned();
    config.policy.url = format!("https://{}/alpr-policy", fiction.host());
    config.policy.sha256 = Some(Digest::of(fiction.legal_name.as_bytes()));
    config.policy.checked_on = Some(today);
    config.policy.purposes = config.rules.purposes.iter().map(ToString::to_string).collect();
    let section = |n: u8| format!("section {n}");
    config.policy.elements = Elements {
        a: section(1),
        b: section(2),
        c: section(3),
        d: section(4),
        e: section(5),
        f: section(6),
        g: section(7),
    };
    config.approvals.counsel = said("counsel");
    config.approvals.public_meeting_date = Some(today);
    config.approvals.public_meeting_url = format!("https://{}/meetings", fiction.host());
    config.approvals.signing_authority = said("resolution 1");
}

/// Opens the accounts of an agency, records everyone's training on `trained_on`, and checks the Attorney General's
/// sources.
///
/// # Errors
/// The registry refuses.
pub async fn people_of(db: &Db, keeper: &Keeper, fiction: &Fiction, trained_on: Date) -> anyhow::Result<()> {
    let admin = fiction.person("admin");
    for (role_word, name, role) in PEOPLE {
        let new = NewAccount {
            username: fiction.person(role_word),
            name: name.to_owned(),
            affiliation: format!("{} headquarters", fiction.legal_name),
            role,
        };
        people::open_account(db, new, &admin).await?;
    }
    let training = Training { sb34: true, sb54: true, policy: true };
    for (role_word, ..) in PEOPLE.iter().filter(|(word, ..)| *word != "admin") {
        people::record_training(db, &fiction.person(role_word), trained_on, training, &admin).await?;
    }
    let sources = vec!["oag.ca.gov press releases".to_owned(), "oag.ca.gov SB 34 letters".to_owned()];
    let sweep = Sweep { sources, result: CheckResult::NoneNamed, note: None, evidence: Vec::new() };
    compliance::enter_check(db, keeper, sweep, &fiction.person("agreements")).await?;
    Ok(())
}

/// Enters what must approve the signing of `id`, and has the fictional official sign it with the key in `keys`.
///
/// # Errors
/// The registry refuses.
pub async fn approve(db: &Db, keys: &Path, fiction: &Fiction, id: AgreementId, on: Date) -> anyhow::Result<()> {
    let (us, by): (Ori, _) = (fiction.ori.parse()?, fiction.person("custodian"));
    for kind in ApprovalKind::ALL {
        let whose = format!("{}, {kind}", fiction.legal_name);
        let approval = Approval { kind, by: whose, reference: "minutes, item 4".to_owned(), on };
        approvals::approve(db, us, id, approval, &by).await?;
    }
    let signs = approvals::to_sign(&mut db.reader()?, us, id)?.map_err(anyhow::Error::msg)?;
    let path = keys.join("official.key");
    let key = SigningKey::from_pem(&keyfile::read_secret(&path)?)?;
    let seal = jws::sign(&signs.document, OFFICIAL_TYP, &key, None)?;
    approvals::signed_by_official(db, us, id, seal, &by).await?;
    Ok(())
}
