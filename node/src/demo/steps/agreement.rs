//! Step 3: Alder and Birch agree.

use agreements::agreement::{Agreement, Authorization, Commitments, FORMAT, Grant, HotlistGrant, QueryGrant};
use agreements::approval::ApprovalKind;
use agreements::ids::AgreementId;
use agreements::party::Party;
use agreements::purpose::Purpose;
use agreements::status::Status;
use agreements::time::Instant;
use anyhow::Context as _;
use jiff::ToSpan as _;

use super::founding::LOOKBACK_DAYS;
use super::hotlist;
use crate::changes::{self, Command};
use crate::demo::agency;
use crate::demo::page::Page;
use crate::demo::stage::{Site, Stage};
use crate::exchange::lifecycle::{self, Delivery};
use crate::exchange::standing;
use crate::registry::accounts::Action;

/// How long it is in force, in days: certificates, revocation list, training and check outlive it.
const DAYS: i64 = 60;
/// Why it is signed.
const REASON: &str = "the board approved sharing with this partner";

pub(super) async fn step(stage: &mut Stage, page: &mut Page<'_>) -> anyhow::Result<String> {
    let sites = stage.sites()?;
    let (alder, birch) = (&sites.alder, &sites.birch);
    let draft = draft(alder, birch, stage.clock.now())?;
    let (id, document) = (draft.id, draft.to_bytes()?);
    page.say(&format!(
        "A draft from {} to {}: each may query the other's reads of the last {LOOKBACK_DAYS} days, for {}; Alder gets Birch's hotlist {}.",
        draft.effective_on,
        draft.sunset_on,
        [Purpose::CriminalInvestigation, Purpose::WantedPersons, Purpose::Lifesaving].map(Purpose::as_str).join(", "),
        hotlist::LIST,
    ))?;
    std::fs::write(alder.folder.join("agreement.json"), &document)?;
    let by = alder.person("agreements", Action::ManageAgreements)?;
    page.typed(&format!("concordat --dir $D/alder agreement propose $D/alder/agreement.json --as {by}"))?;
    let (_, delivery) = lifecycle::propose(&alder.node, document, &by).await?;
    arrived(&delivery, page)?;
    for site in [alder, birch] {
        let by = site.person("agreements", Action::ManageAgreements)?;
        let word = site.fiction.word;
        let today = site.node.now().date().context("a date")?;
        for kind in ApprovalKind::ALL {
            page.typed(&format!(
                "concordat --dir $D/{word} agreement approve {id} --kind {kind} --by \"{}, {kind}\" --reference \"minutes, item 4\" --date {today} --as {}",
                site.fiction.legal_name,
                site.fiction.person("custodian"),
            ))?;
        }
        agency::approve(site.node.registry(), &site.node.config().keys.folder, &site.fiction, id, today).await?;
        page.typed(&format!(
            "concordat --dir $D/{word} agreement sign {id} --official-key $D/{word}/{} --reason \"{REASON}\" --as {by}",
            agency::OFFICIAL_KEY
        ))?;
        let change = changes::propose_from(&site.node, Command::Sign { agreement: id }, &by, REASON, None).await?;
        for line in &change.proposed.shows {
            page.say(line)?;
        }
        let by = site.person("custodian", Action::ApproveSharing)?;
        page.typed(&format!("concordat --dir $D/{word} change approve {} --as {by}", change.id))?;
        let approval = changes::approve(&site.node, change.id, &by).await?;
        arrived(&approval.delivery.context("nothing was sent")?, page)?;
    }
    for site in [alder, birch] {
        let now = site.node.now();
        let status = standing::status(&mut site.registry()?, id, now)?;
        page.typed(&format!("concordat --dir $D/{} agreement show {id}", site.fiction.word))?;
        page.say(&status.says())?;
        let until = draft.sunset();
        anyhow::ensure!(status == Status::InForce { until }, "at {} it is {}", site.fiction.word, status.says());
    }
    stage.agreement = Some(id);
    Ok(format!("proposed and approved by two people on each side; in force on both sides until {}", draft.sunset()))
}

fn arrived(delivery: &Delivery, page: &mut Page<'_>) -> anyhow::Result<()> {
    match delivery {
        Delivery::Delivered { there: Some(status) } => {
            Ok(page.say(&format!("delivered; there it is now: {}", status.says()))?)
        }
        Delivery::Delivered { there: None } => anyhow::bail!("there was nothing to deliver"),
        Delivery::Pending { why } | Delivery::Refused { why } => anyhow::bail!("not delivered: {why}"),
    }
}

fn draft(alder: &Site, birch: &Site, now: Instant) -> anyhow::Result<Agreement> {
    let today = now.date().context("a date")?;
    let mut random = [0; 10];
    openssl::rand::rand_bytes(&mut random)?;
    let grant = |owner: &Site, recipient: &Site| {
        Grant::Query(QueryGrant {
            owner: owner.ori(),
            recipient: recipient.ori(),
            purposes: vec![Purpose::CriminalInvestigation, Purpose::WantedPersons, Purpose::Lifesaving],
            lookback_days: LOOKBACK_DAYS,
            max_rows: 100,
            daily_quota: 500,
            area: None,
            partial: false,
            fuzzy: false,
            images: true,
            without_plate: false,
            authorization: Authorization::Standing,
        })
    };
    let list = Grant::Hotlist(HotlistGrant {
        owner: birch.ori(),
        recipient: alder.ori(),
        list: hotlist::LIST.to_owned(),
        categories: hotlist::CATEGORIES.map(str::to_owned).to_vec(),
    });
    Ok(Agreement {
        format: FORMAT.to_owned(),
        id: AgreementId::new(now, random),
        revision: 1,
        supersedes: None,
        parties: [Party::clone(&alder.node.party()), Party::clone(&birch.node.party())],
        grants: vec![grant(alder, birch), grant(birch, alder), list],
        commitments: Commitments {
            lawful_use: true,
            authorized_users_only: true,
            trained_users: true,
            accuracy: true,
            hotlist_max_age_hours: 24,
            no_onward_transfer: true,
            received_retention_days: 365,
        },
        framework: None,
        witnesses: None,
        effective_on: today,
        sunset_on: today.checked_add(DAYS.days())?,
        renewal: None,
    })
}
