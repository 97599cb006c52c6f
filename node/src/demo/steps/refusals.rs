//! Steps 5 and 6: a reason that says nothing, and a term that a custodian has to see.

use agreements::message::Outcome;
use agreements::plate::Plate;
use agreements::rule::Rule;

use super::query::outcomes;
use crate::demo::asking::{Asking, said, show};
use crate::demo::page::Page;
use crate::demo::stage::{Stage, shared_plate};
use crate::exchange::ask::{self, AskError, Gave, Line};

/// Says nothing.
const VAGUE: &str = "inv";
/// Names an immigration agency.
const SENSITIVE: &str = "HSI assist with a vehicle stop";
/// A plate that the generator cannot draw: it gives no passenger car an O in the first place.
const UNSEEN: &str = "1OOO000";

/// The asker's own node refuses first; and the owner's refuses when that did not.
pub(super) async fn vague(stage: &mut Stage, page: &mut Page<'_>) -> anyhow::Result<String> {
    let sites = stage.sites()?;
    let (alder, birch) = (&sites.alder, &sites.birch);
    let agreement = stage.agreement()?;
    let plate = shared_plate()?;
    let asking = Asking { plate: &plate, whom: alder.ori(), reason: VAGUE, days: 30 };
    let (entries, touches) = (alder.entries()?, alder.node.reads().touches());
    page.typed(&asking.command(birch, "$D")?)?;
    let refused = ask::ask(&birch.node, &birch.node.desk(), asking.ask(birch)?).await;
    let Err(AskError::Screened(rules)) = refused else { anyhow::bail!("Birch's own node let it pass") };
    page.say(&format!("refused by Birch's own node\n{}", AskError::Screened(rules.clone())))?;
    anyhow::ensure!(rules == [Rule::ReasonSubstantive], "Birch refused it by {rules:?}");
    anyhow::ensure!(alder.entries()? == entries, "Alder heard of it");
    page.say("And if Birch's node did not check? The same question, sworn by Birch's trail and sent past the check:")?;
    let (status, outcome) = asking.swear(birch, agreement).await?;
    let Outcome::Denied { rules, status: None } = &outcome else {
        anyhow::bail!("Alder's answer is {} ({status})", outcome.name());
    };
    page.say(&format!("{}: denied ({status}). {}", alder.titled(), said(rules)))?;
    let by: Vec<Rule> = rules.iter().map(|said| said.rule).collect();
    anyhow::ensure!(status == 403 && by == [Rule::ReasonSubstantive], "Alder denied it by {by:?} ({status})");
    anyhow::ensure!(alder.node.reads().touches() == touches, "Alder looked into its reads");
    anyhow::ensure!(alder.entries()? == entries + 1, "Alder recorded no denial, or more than one");
    Ok("refused by Birch before it left, and denied by Alder, which recorded that and looked nothing up".to_owned())
}

/// It is referred, and the same way whether there are reads or not.
pub(super) async fn sensitive(stage: &mut Stage, page: &mut Page<'_>) -> anyhow::Result<String> {
    let sites = stage.sites()?;
    let (alder, birch) = (&sites.alder, &sites.birch);
    let agreement = stage.agreement()?;
    let touches = alder.node.reads().touches();
    let plate = shared_plate()?;
    let asking = Asking { plate: &plate, whom: alder.ori(), reason: SENSITIVE, days: 30 };
    page.typed(&asking.command(birch, "$D")?)?;
    let report = ask::ask(&birch.node, &birch.node.desk(), asking.ask(birch)?).await?;
    show(page, &report)?;
    let [Line { gave: Gave::Referred { rules, ticket, .. }, .. }] = report.lines.as_slice() else {
        anyhow::bail!("it was not referred: {}", outcomes(&report));
    };
    anyhow::ensure!(report.question == Some(*ticket), "the ticket is not the question's id");
    let unseen: Plate = UNSEEN.parse()?;
    let (status, outcome) = Asking { plate: &unseen, ..asking }.swear(birch, agreement).await?;
    let Outcome::Referred { rules: others, .. } = outcome else {
        anyhow::bail!("of a plate that Alder never saw, the answer is {} ({status})", outcome.name());
    };
    page.say(&format!("Asked about a plate that Alder never saw, its answer is the same ({status})."))?;
    let same = *rules == others && others.iter().map(|said| said.rule).eq([Rule::SensitiveTerms]);
    anyhow::ensure!(status == 202 && same, "the answer tells whether there are reads ({status})");
    anyhow::ensure!(alder.node.reads().touches() == touches, "Alder looked into its reads");
    Ok("referred to Alder's custodian under a ticket; the answer does not depend on what exists".to_owned())
}
