//! Registers between agencies: a sealed file of findings, checks and their evidence, that another agency verifies, compares
//! and takes in. What counts against an agency is taken over; what clears one is only shown: nobody's word but that of this
//! agency's own people clears anything here.

use agreements::entry::Kind;
use agreements::ids::{Digest, Ori};
use agreements::json;
use agreements::register::{AgCheck, Finding};
use agreements::time::Instant;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use certs::jws::{self, JwsError};
use certs::key::PublicKey;
use diesel::result::QueryResult;
use serde::{Deserialize, Serialize};

use super::{CHECK_TYP, FINDING_TYP, Keeper, keep_adverse};
use crate::db::{Conn, Db, DbError, RecordError, Tx};
use crate::evidence::{Evidence, EvidenceError};
use crate::exchange::descriptor::{self, DescriptorError};
use crate::exchange::partner::{Partner, PartnerError, seal_key};
use crate::people::{PeopleError, Refusable, record, settled};
use crate::registry::accounts::{Action, operator};
use crate::registry::ag::{self, Document};
use crate::trail::Facts;

/// The `typ` of a sealed bundle.
pub const TYP: &str = "concordat-register+jws";
/// The format name that every bundle carries.
pub const FORMAT: &str = "concordat-register/1";
/// The longest bundle, in bytes.
pub const MAX_BUNDLE: u64 = 128 << 20;

/// What a bundle says. Its findings and checks are sealed documents themselves: each stands by itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bundle {
    format: String,
    /// Whose register it is.
    from: Ori,
    made_at: Instant,
    /// Flattened JWS of each finding, in the order in which they were entered there.
    findings: Vec<String>,
    /// Of each check.
    checks: Vec<String>,
    /// The files, in base64url.
    evidence: Vec<String>,
}

/// Why a bundle is not made or not taken.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Not a bundle.
    #[error("the file is no register that another agency exported: {0}")]
    Form(String),
    /// Its seal is not that of whom it says.
    #[error("the register is not sealed by {0}: {1}")]
    Seal(Ori, JwsError),
    /// Whoever it is from is not enrolled, and nobody vouches for its key.
    #[error(
        "{0} is not enrolled here: give its descriptor with --descriptor FILE --fingerprint F, as that agency read it out \
         on a number known from elsewhere"
    )]
    Stranger(Ori),
    /// It is this agency's own.
    #[error("this is this agency's own register; import another agency's")]
    Own,
    /// The descriptor.
    #[error(transparent)]
    Descriptor(#[from] DescriptorError),
    /// A key that is none.
    #[error(transparent)]
    Key(#[from] PartnerError),
    /// Evidence.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// Refused, or not recorded.
    #[error(transparent)]
    People(#[from] PeopleError),
    /// The registry cannot be read.
    #[error("the registry: {0}")]
    Registry(#[from] diesel::result::Error),
    /// The registry cannot be opened.
    #[error("the registry: {0}")]
    Open(#[from] DbError),
}

impl From<RecordError> for BundleError {
    fn from(error: RecordError) -> Self {
        Self::People(error.into())
    }
}

/// What an export holds.
#[derive(Debug, Clone, Serialize)]
pub struct Exported {
    /// The sealed file.
    #[serde(skip)]
    pub file: Vec<u8>,
    /// How many findings.
    pub findings: usize,
    /// How many checks.
    pub checks: usize,
    /// How many files of evidence.
    pub evidence: usize,
}

/// This agency's register as a sealed file, with the evidence. `by` may keep the register.
///
/// # Errors
/// See [`BundleError`].
pub async fn export(
    db: &Db,
    keeper: &Keeper,
    evidence: &Evidence,
    now: Instant,
    by: &str,
) -> Result<Exported, BundleError> {
    let mut conn = db.reader()?;
    operator(&mut conn, by, Action::KeepRegister)?.map_err(PeopleError::Refused)?;
    if let Err(what) = ag::sworn(&mut conn, crate::trail::told::Which::All)? {
        return Err(PeopleError::Refused(format!("the register is not what the trail recorded: {what}")).into());
    }
    let (findings, checks) = (ag::findings(&mut conn)?, ag::checks(&mut conn)?);
    let files = findings.iter().flat_map(|it| &it.evidence).chain(checks.iter().flat_map(|it| &it.evidence));
    let mut digests: Vec<Digest> = files.copied().collect();
    digests.sort_unstable();
    digests.dedup();
    let mut kept = Vec::with_capacity(digests.len());
    for digest in &digests {
        kept.push(URL_SAFE_NO_PAD.encode(evidence.read(*digest).await?));
    }
    let form = |error: &dyn std::fmt::Display| BundleError::Form(error.to_string());
    let sealed = |documents: Vec<Document>, typ| {
        documents.into_iter().map(|document| standalone(keeper, document, typ)).collect::<Result<Vec<_>, _>>()
    };
    let bundle = Bundle {
        format: FORMAT.to_owned(),
        from: keeper.ours,
        made_at: now,
        findings: sealed(ag::finding_documents(&mut conn)?, FINDING_TYP).map_err(|error| form(&error))?,
        checks: sealed(ag::check_documents(&mut conn)?, CHECK_TYP).map_err(|error| form(&error))?,
        evidence: kept,
    };
    let payload = json::canonical(&bundle).map_err(|error| form(&error))?;
    let seal = keeper.seal.sign(&payload, TYP).map_err(|error| form(&error))?;
    let file = jws::flatten(&payload, &seal).map_err(|error| form(&error))?;
    if file.len() as u64 > MAX_BUNDLE {
        let why = format!("the register and its evidence come to over {} MiB", MAX_BUNDLE >> 20);
        return Err(PeopleError::Refused(why).into());
    }
    Ok(Exported { file, findings: findings.len(), checks: checks.len(), evidence: digests.len() })
}

/// A document that stands by itself: with the seal that it got when it was entered, or, where that was of an earlier key,
/// with the present one.
fn standalone(keeper: &Keeper, Document { body, seal }: Document, typ: &str) -> Result<String, JwsError> {
    let sound = seal.filter(|seal| jws::verify_one(&body, typ, seal, keeper.seal.public()).is_ok());
    let seal = match sound {
        Some(seal) => seal,
        None => keeper.seal.sign(&body, typ)?,
    };
    Ok(String::from_utf8_lossy(&jws::flatten(&body, &seal)?).into_owned())
}

/// A bundle whose seals were verified.
#[derive(Debug)]
pub struct Received {
    /// Whose register it is.
    pub from: Ori,
    /// When it was made.
    pub made_at: Instant,
    /// The bundle's id.
    document: Digest,
    /// The key that sealed it.
    signer: Digest,
    findings: Vec<Finding>,
    checks: Vec<AgCheck>,
    evidence: Vec<Vec<u8>>,
}

/// A descriptor by which somebody who is not enrolled is known: the file, and the fingerprint as it was read out.
pub struct Vouched<'a> {
    /// The descriptor file.
    pub file: &'a [u8],
    /// What was read out over the telephone.
    pub fingerprint: &'a str,
}

/// Reads a bundle and verifies every seal: by the key of an enrolled partner, or that of a descriptor that was compared.
/// `partner` finds an enrolled one.
///
/// # Errors
/// See [`BundleError`].
pub fn read<P: AsRef<Partner>>(
    file: &[u8],
    ours: Ori,
    partner: impl FnOnce(Ori) -> Option<P>,
    vouched: Option<Vouched<'_>>,
) -> Result<Received, BundleError> {
    let form = |error: &dyn std::fmt::Display| BundleError::Form(error.to_string());
    let mut named = None;
    let mut stranger = None;
    // The bundle names whose it is; which key that agency has is known from elsewhere, never from the bundle.
    let key_of = |payload: &[u8]| {
        #[derive(Deserialize)]
        struct From {
            from: Ori,
        }
        let from = serde_json::from_slice::<From>(payload).ok()?.from;
        named = Some(from);
        match known_key(from, partner(from).as_ref().map(AsRef::as_ref), vouched) {
            Ok(key) => Some(key),
            Err(error) => {
                stranger = Some(error);
                None
            }
        }
    };
    let opened = jws::open_self_sealed(file, TYP, key_of);
    if named == Some(ours) {
        return Err(BundleError::Own);
    }
    if let Some(error) = stranger {
        return Err(error);
    }
    let (document, key) = opened.map_err(|error| match named {
        Some(from) => BundleError::Seal(from, error),
        None => form(&error),
    })?;
    let bundle: Bundle = json::parse(document.payload()).map_err(|error| form(&error))?;
    if bundle.format != FORMAT {
        return Err(BundleError::Form(format!("its format is not {FORMAT}")));
    }
    let from = bundle.from;
    let findings = bundle.findings.iter().map(|text| sealed::<Finding>(text, FINDING_TYP, &key, from));
    let checks = bundle.checks.iter().map(|text| sealed::<AgCheck>(text, CHECK_TYP, &key, from));
    let evidence = bundle.evidence.iter().map(|text| URL_SAFE_NO_PAD.decode(text).map_err(|error| form(&error)));
    Ok(Received {
        from,
        made_at: bundle.made_at,
        document: document.id(),
        signer: key.id(),
        findings: findings.collect::<Result<_, _>>()?,
        checks: checks.collect::<Result<_, _>>()?,
        evidence: evidence.collect::<Result<_, _>>()?,
    })
}

fn known_key(from: Ori, partner: Option<&Partner>, vouched: Option<Vouched<'_>>) -> Result<PublicKey, BundleError> {
    match (partner, vouched) {
        (Some(partner), _) => Ok(seal_key(partner.party())?),
        (None, Some(Vouched { file, fingerprint })) => {
            let (party, found) = descriptor::read(file)?;
            descriptor::compare(fingerprint, found)?;
            if party.ori != from {
                return Err(BundleError::Form(format!("it is of {from}, but the descriptor is of {}", party.ori)));
            }
            Ok(seal_key(&party)?)
        }
        (None, None) => Err(BundleError::Stranger(from)),
    }
}

fn sealed<T: serde::de::DeserializeOwned>(text: &str, typ: &str, key: &PublicKey, from: Ori) -> Result<T, BundleError> {
    let document = jws::open_flattened(text.as_bytes(), typ, key).map_err(|error| BundleError::Seal(from, error))?;
    json::parse(document.payload()).map_err(|error| BundleError::Form(error.to_string()))
}

/// What a bundle would change here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Whose register it is.
    pub from: Ori,
    /// When it was made.
    pub made_at: Instant,
    /// Findings that are new here and count against an agency: they are taken over.
    pub adverse: Vec<Finding>,
    /// Clearings of what stands here: only shown. Somebody here looks into each and enters it as an own one.
    pub proposals: Vec<Finding>,
    /// How many of its findings are known here, or clear what nothing stands against.
    pub known: usize,
    /// Its checks, for information: this agency looks for itself.
    pub checks: Vec<AgCheck>,
    /// The files that come with it.
    pub evidence: Vec<Digest>,
}

impl Received {
    /// What it would change in the register as it is now.
    pub fn changes(&self, conn: &mut Conn) -> QueryResult<Refusable<Changes>> {
        let register = match ag::sworn(conn, crate::trail::told::Which::Last)? {
            Ok(register) => register,
            Err(what) => return Ok(Err(what)),
        };
        let here = ag::findings(conn)?;
        let new = |finding: &&Finding| !here.iter().any(|known| known.same_as(finding));
        let mut adverse: Vec<Finding> = Vec::new();
        for finding in self.findings.iter().filter(|finding| finding.is_adverse()).filter(new) {
            if !adverse.iter().any(|other| other.same_as(finding)) {
                adverse.push(Finding { from: Some(self.from), approved_by: None, ..finding.clone() });
            }
        }
        let stands = |finding: &&Finding| {
            register.adverse.contains(&finding.ori) || adverse.iter().any(|other| other.ori == finding.ori)
        };
        let proposals: Vec<Finding> =
            self.findings.iter().filter(|finding| !finding.is_adverse()).filter(new).filter(stands).cloned().collect();
        Ok(Ok(Changes {
            from: self.from,
            made_at: self.made_at,
            known: self.findings.len().saturating_sub(adverse.len()).saturating_sub(proposals.len()),
            adverse,
            proposals,
            checks: self.checks.clone(),
            evidence: self.evidence.iter().map(|bytes| Digest::of(bytes)).collect(),
        }))
    }
}

/// The message of a `register.imported` entry.
#[derive(Serialize)]
struct Imported {
    /// The bundle's id.
    bundle: Digest,
    /// The files that came with it.
    evidence: Vec<Digest>,
    /// How many findings were taken over.
    findings: usize,
    from: Ori,
    /// How many clearings were only shown.
    proposals: usize,
    /// The key that sealed it.
    signer: Digest,
    v: u16,
}

/// Takes over what counts against an agency, and records the import. That only stops exchanges, so it takes one person, even
/// where a stranger's fingerprint was compared. Nothing that is here is cleared, weakened or made to look fresher by it.
///
/// # Errors
/// See [`BundleError`].
pub async fn import(
    db: &Db,
    keeper: &Keeper,
    evidence: &Evidence,
    received: Received,
    by: &str,
) -> Result<Changes, BundleError> {
    // On the disk before the entry that names them.
    for bytes in &received.evidence {
        evidence.keep(bytes.clone()).await?;
    }
    let (keeper, by) = (keeper.clone(), by.to_owned());
    let job = move |tx: &mut Tx<'_>| -> QueryResult<Refusable<Changes>> {
        if let Err(why) = operator(tx.conn(), &by, Action::KeepRegister)? {
            return Ok(Err(why));
        }
        let changes = match received.changes(tx.conn())? {
            Ok(changes) => changes,
            Err(what) => return Ok(Err(what)),
        };
        let message = Imported {
            bundle: received.document,
            evidence: changes.evidence.clone(),
            findings: changes.adverse.len(),
            from: changes.from,
            proposals: changes.proposals.len(),
            signer: received.signer,
            v: 1,
        };
        let facts = Facts { partner: Some(changes.from), ..Facts::default() };
        record(tx, Kind::RegisterImported, &message, &by, facts)?;
        for finding in &changes.adverse {
            let finding = Finding { entered_by: by.clone(), ..finding.clone() };
            keep_adverse(tx, &keeper, &finding, &by)?;
        }
        Ok(Ok(changes))
    };
    Ok(settled(db.record(job).await?)?)
}
