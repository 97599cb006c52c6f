//! Step 8: Birch shares a hotlist with Alder, a read matches it, and a day without Birch ends that, on a copy of Alder's
//! node under a clock that is set.

use std::path::Path;
use std::sync::Arc;

use agreements::time::Instant;
use anyhow::Context as _;

use crate::clock::SetClock;
use crate::demo::generator::{self, Agency};
use crate::demo::page::Page;
use crate::demo::stage::{SEED, Site, Stage, copy_database};
use crate::hotlists::load::{self, Load, Watcher};
use crate::hotlists::people::{self, Looked, Seen};
use crate::hotlists::pulling::Pulled;
use crate::hotlists::refresh;
use crate::hotlists::shared;
use crate::intake::{self, By, Feed, Stores};
use crate::reads::images::Images;
use crate::reads::ingest::Options;
use crate::reads::rejects;
use crate::reads::source::JsonLines;
use crate::registry::accounts::Action;
use crate::registry::hits::HitStatus;

/// The list, as the agreement grants it.
pub(super) const LIST: &str = "wanted";
/// Its categories that the agreement grants.
pub(super) const CATEGORIES: [&str; 2] = ["felony_vehicle", "stolen_vehicle"];
const PLATE: &str = "8DEM337";
/// What the camera makes of it.
const MISREAD: &str = "BDEM337";
/// A text of the entry that nothing else has.
const CONTACT: &str = "(555) 010-0142";

pub(super) async fn step(stage: &mut Stage, page: &mut Page<'_>) -> anyhow::Result<String> {
    let sites = stage.sites()?;
    let (alder, birch) = (&sites.alder, &sites.birch);
    load(birch, page).await?;
    let by = alder.person("supervisor", Action::ApproveHotlists)?;
    page.typed(&format!("concordat --dir $D/alder hotlist accept {} {LIST} --as {by}", birch.ori()))?;
    people::accept(alder.node.registry(), birch.ori(), LIST, &by).await?;
    page.typed(&format!("concordat --dir $D/alder hotlist refresh {}", birch.ori()))?;
    let refreshed = refresh::refresh(&alder.node, Some(birch.ori())).await?.pop().context("nothing was pulled")?;
    let Pulled::Held { entries, until, .. } = refreshed.came? else { anyhow::bail!("Birch denied its list") };
    anyhow::ensure!(entries == 1, "the list has {entries} entries, not 1");
    page.say(&format!("{entries} entry, asserted by Birch's trail; used until {until} unless Birch asserts it again"))?;
    let now = alder.node.now();
    see(alder, PLATE, now, page).await?;
    see(alder, MISREAD, now.plus(Instant::SECOND), page).await?;
    let seen = hits(alder).await?;
    let [misread, exact] = seen.as_slice() else { anyhow::bail!("{} hits, not 2", seen.len()) };
    anyhow::ensure!(
        (exact.hit.substitutions, misread.hit.substitutions) == (0, 1),
        "the hits are not labelled as exact and not exact"
    );
    page.say("Two hits: one exact, one labelled NOT EXACT (B for 8). Neither is actionable before a person looked.")?;
    verify(alder, exact, page).await?;
    let gone = a_day_later(stage, alder, until, page).await?;
    Ok(format!("matched while Birch's assertion lived; {gone}"))
}

/// Birch loads its own list, which a supervisor approved.
async fn load(birch: &Site, page: &mut Page<'_>) -> anyhow::Result<()> {
    let path = birch.folder.join("wanted.csv");
    let expires = birch.node.now().plus(30 * Instant::DAY);
    let header = "plate,state,category,reason,case_number,entered_by,contact,expires_at";
    let entry = format!(
        "{PLATE},CA,felony_vehicle,Robbery suspect vehicle left the scene,2026-118901,det204,{CONTACT},{expires}"
    );
    std::fs::write(&path, format!("{header}\n{entry}\n"))?;
    let by = birch.person("admin", Action::LoadHotlists)?;
    let approved_by = birch.person("supervisor", Action::ApproveHotlists)?;
    page.typed(&format!(
        "concordat --dir $D/birch hotlist load $D/birch/wanted.csv --list {LIST} --as {by} --approved-by {approved_by}"
    ))?;
    let load = Load {
        report: rejects::beside(&path),
        path,
        list: LIST.to_owned(),
        layout: None,
        by,
        approved_by: Some(approved_by),
        dry_run: false,
        accept_shrink: false,
        accept_date: false,
        max_age: Instant::DAY,
    };
    let watcher = Watcher { progress: Box::new(|_| {}), stop: Arc::default() };
    let loaded = load::load(birch.node.registry(), load, watcher).await?;
    anyhow::ensure!((loaded.entries, loaded.version) == (1, 1), "Birch's list has {} entries", loaded.entries);
    Ok(())
}

/// A vehicle passes one of the site's cameras.
async fn see(site: &Site, plate: &str, at: Instant, page: &mut Page<'_>) -> anyhow::Result<()> {
    let agency = Agency::scattered("HOTLIST-DEMO", 101, 1, SEED);
    let line = generator::lines(&agency, SEED, 1, at).next().context("a line")??;
    let mut line: serde_json::Value = serde_json::from_str(&line)?;
    let milliseconds = at.micros() / 1000;
    let members = line.as_object_mut().context("an object")?;
    members.insert("best_plate_number".to_owned(), plate.into());
    members.insert("best_uuid".to_owned(), format!("HOTLIST-DEMO-101-{milliseconds}").into());
    members.insert("epoch_start".to_owned(), milliseconds.into());
    let path = site.folder.join("one-read.jsonl");
    std::fs::write(&path, format!("{line}\n"))?;
    let by = site.person("admin", Action::Ingest)?;
    page.typed(&format!("concordat --dir $D/{} ingest one-read.jsonl --as {by}   # {plate}", site.fiction.word))?;
    let node = &site.node;
    let stores = Stores {
        reads: Arc::clone(node.reads()),
        images: Images::in_folder(&node.config().store.images)?,
        metrics: None,
    };
    let options = Options::reporting_to(rejects::beside(&path));
    let feed = Feed {
        source: Box::new(JsonLines::new(std::io::Cursor::new(std::fs::read(&path)?), &options)),
        progress: Box::new(|_| {}),
        stop: Arc::default(),
    };
    let summary = intake::take(node.registry(), stores, options, feed, &By::Person(by)).await?;
    anyhow::ensure!(summary.kept == 1, "the read was not kept: {summary:?}");
    Ok(())
}

async fn hits(site: &Site) -> anyhow::Result<Vec<Seen>> {
    let by = site.person("investigator", Action::VerifyHits)?;
    Ok(people::hits(site.node.registry(), site.node.shared_lists(), site.ori(), None, &by).await?)
}

async fn verify(alder: &Site, exact: &Seen, page: &mut Page<'_>) -> anyhow::Result<()> {
    let by = alder.person("investigator", Action::VerifyHits)?;
    page.typed(&format!(
        "concordat --dir $D/alder hit verify {} --confirmed --image --status --as {by}",
        exact.hit.id
    ))?;
    anyhow::ensure!(!exact.hit.status.actionable(), "a hit was actionable before anybody looked");
    let looked = Looked { image: true, status: true };
    let (db, shared) = (alder.node.registry(), alder.node.shared_lists());
    people::verify(db, shared, alder.ori(), exact.hit.id, HitStatus::Confirmed, looked, &by).await?;
    Ok(())
}

/// The instant at which the lease of what Alder holds ends, on a copy of its node to which nobody speaks.
async fn a_day_later(stage: &Stage, alder: &Site, until: Instant, page: &mut Page<'_>) -> anyhow::Result<String> {
    let folder = stage.root.join("a-day-later").join(alder.fiction.word);
    alder.copy(&folder)?;
    let registry = folder.join("registry.db");
    // A backup would leave it out; here it shows what happens to it.
    let held = format!("sqlite:{}", alder.folder.join(shared::FILE_NAME).display()).parse()?;
    copy_database(&held, &registry.with_file_name(shared::FILE_NAME))?;
    anyhow::ensure!(stands_in(&folder), "the entry is not in the file of partners' lists");
    let copy = Site::open(alder.fiction.clone(), folder.clone(), Arc::new(SetClock::at(until)))?;
    page.say(&format!("A copy of Alder, to which nobody speaks, whose clock says {until}."))?;
    let before = hits(&copy).await?.len();
    see(&copy, PLATE, until, page).await?;
    anyhow::ensure!(hits(&copy).await?.len() == before, "an entry matched after its lease had ended");
    let erased = refresh::erase_due(&copy.node).await?;
    anyhow::ensure!(erased == 1 && !stands_in(&folder), "the entry still stands in the file of partners' lists");
    Ok(format!("24 hours later it matches nothing and no byte of it is in {}", shared::FILE_NAME))
}

/// Whether the entry's contact stands in the bytes of the file of partners' lists, or of its log.
fn stands_in(folder: &Path) -> bool {
    ["", "-wal", "-shm"].into_iter().any(|suffix| {
        // A log that is empty may not be there.
        let bytes = std::fs::read(folder.join(format!("{}{suffix}", shared::FILE_NAME))).unwrap_or_default();
        bytes.windows(CONTACT.len()).any(|window| window == CONTACT.as_bytes())
    })
}
