//! Step 2: synthetic reads with drawn plate crops, through the ingest that every agency uses.

use std::io::{BufReader, BufWriter, Write as _};
use std::sync::Arc;

use agreements::ids::Ori;

use crate::demo::generator::{self, Agency};
use crate::demo::page::Page;
use crate::demo::stage::{SEED, Site, Stage};
use crate::intake::{self, By, Feed, Stores};
use crate::reads::ingest::{Options, Summary};
use crate::reads::rejects;
use crate::reads::source::JsonLines;
use crate::registry::accounts::Action;

/// Reads of each agency that has any.
const COUNT: u64 = 400;

pub(super) async fn step(stage: &mut Stage, page: &mut Page<'_>) -> anyhow::Result<String> {
    let sites = stage.sites()?;
    for (site, first_camera) in [(&sites.alder, 101), (&sites.birch, 201)] {
        let summary = take(site, first_camera, page).await?;
        let Summary { lines, kept, images, rejected, .. } = summary;
        page.say(&format!("{}: {lines} lines, {kept} reads kept, {images} images, {rejected} refused", site.titled()))?;
        let there = site.node.desk().reads(crate::reads::store::Reader::count)?;
        anyhow::ensure!(
            (kept, images, rejected, there) == (COUNT, COUNT, 0, COUNT),
            "{} kept {kept} reads and {images} images of {COUNT}",
            site.fiction.word
        );
    }
    Ok(format!("Alder and Birch each took {COUNT} reads with their images"))
}

/// Draws an agency's reads into a file, and ingests that.
async fn take(site: &Site, first_camera: u32, page: &mut Page<'_>) -> anyhow::Result<Summary> {
    let agency = Agency::scattered(&agent(site.ori()), first_camera, 8, SEED);
    let path = site.folder.join("reads.jsonl");
    let mut file = BufWriter::new(std::fs::File::create(&path)?);
    for line in generator::lines(&agency, SEED, usize::try_from(COUNT)?, site.node.now()) {
        writeln!(file, "{}", line?)?;
    }
    file.into_inner()?;
    let by = site.person("admin", Action::Ingest)?;
    let word = site.fiction.word;
    page.typed(&format!("concordat --dir $D/{word} ingest $D/{word}/reads.jsonl --as {by}"))?;
    let node = &site.node;
    let options = Options::reporting_to(rejects::beside(&path));
    let feed = Feed {
        source: Box::new(JsonLines::new(BufReader::new(std::fs::File::open(&path)?), &options)),
        progress: Box::new(|_| {}),
        stop: Arc::default(),
    };
    Ok(intake::take(node.registry(), Stores::of(node)?, options, feed, &By::Person(by)).await?)
}

/// How an agency's agent names itself.
fn agent(ori: Ori) -> String {
    format!("{}-ALPRD", ori.as_str())
}
