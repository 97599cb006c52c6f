//! Step 4: a query that the agreement permits, and its receipt, verified without asking anybody.

use agreements::entry::Leaf;
use agreements::ids::{Digest, ReadId};
use agreements::json;
use agreements::message::{Answer, Outcome};
use anyhow::Context as _;

use crate::demo::asking::{Asking, REASON, show};
use crate::demo::page::Page;
use crate::demo::stage::{Site, Stage, shared_plate};
use crate::exchange::ask::{self, Gave, Line, Report};
use crate::registry::exchanged::{self, Receipt};
use crate::trail::proof;

pub(super) async fn step(stage: &mut Stage, page: &mut Page<'_>) -> anyhow::Result<String> {
    let sites = stage.sites()?;
    let (alder, birch) = (&sites.alder, &sites.birch);
    let plate = shared_plate()?;
    let asking = Asking { plate: &plate, whom: alder.ori(), reason: REASON, days: 30 };
    page.typed(&asking.command(birch, "$D")?)?;
    let report = ask::ask(&birch.node, &birch.node.desk(), asking.ask(birch)?).await?;
    show(page, &report)?;
    let [Line { gave: Gave::Reads { reads, receipt, .. }, .. }] = report.lines.as_slice() else {
        anyhow::bail!("Alder did not permit it: {}", outcomes(&report));
    };
    anyhow::ensure!(!reads.is_empty(), "Alder permitted it and gave no reads");
    anyhow::ensure!(reads.iter().all(|read| read.plate == plate), "reads of another plate came");
    let question = report.question.context("the question's id")?;
    let kept = exchanged::receipts(&mut birch.registry()?, Some(question), 10)?;
    let kept = kept.iter().find(|kept| kept.leaf_hash == *receipt).context("the receipt was not kept")?;
    let ids: Vec<ReadId> = reads.iter().map(|read| read.id).collect();
    let size = verified(kept, alder, &ids)?;
    page.say(&format!("receipt {receipt}"))?;
    page.say(&format!(
        "It is entry {} of the {} in Alder's trail: checked with nothing but Alder's log key, {}.",
        size.0,
        size.1,
        alder.node.party().node.log_vkey
    ))?;
    Ok(format!("{} reads of Alder came; the receipt verifies offline, and no longer when a byte changes", reads.len()))
}

/// What each partner gave, in a word.
pub(super) fn outcomes(report: &Report) -> String {
    report.lines.iter().map(|line| format!("{} {}", line.ori, line.gave.name())).collect::<Vec<_>>().join(", ")
}

/// Checks a receipt as anybody could, years later: by the owner's log key alone. Its position, and the log's size.
fn verified(kept: &Receipt, owner: &Site, ids: &[ReadId]) -> anyhow::Result<(u64, u64)> {
    let vkey = owner.node.party().node.log_vkey.parse()?;
    let included = proof::verify(&kept.proof, &kept.leaf, &vkey)?;
    let leaf = Leaf::from_bytes(&kept.leaf)?;
    anyhow::ensure!(Digest::salted(&kept.salt, &kept.message) == leaf.message, "the leaf commits to another message");
    let answer: Answer = json::parse(&kept.message)?;
    let Outcome::Permitted { reads, .. } = answer.outcome else { anyhow::bail!("the receipt records no permit") };
    anyhow::ensure!(reads == ids, "the receipt lists other reads than came");
    let mut changed = kept.leaf.clone();
    if let Some(byte) = changed.last_mut() {
        *byte ^= 1;
    }
    anyhow::ensure!(proof::verify(&kept.proof, &changed, &vkey).is_err(), "the proof holds for a changed leaf too");
    Ok((included.index, included.checkpoint.size))
}
