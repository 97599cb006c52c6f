//! Step 1: an authority, three agencies, and the two of them that know each other.

use std::sync::Arc;

use agreements::time::Instant;
use anyhow::Context as _;

use crate::demo::agency::{self, ALDER, BIRCH, CEDAR, Fiction, FictionalCa};
use crate::demo::page::Page;
use crate::demo::stage::{Ports, Site, Sites, Stage, amend};
use crate::exchange::descriptor;
use crate::node::read_key;
use crate::people;
use crate::registry::accounts::Action;

/// How long the revocation list is good: past the sunset of every agreement that could be made.
const LIST_LIFE: i64 = 400 * Instant::DAY;
/// How far back the owners let partners look, in days: past the sunset, so that a permit just before it finds something.
pub(super) const LOOKBACK_DAYS: u32 = 90;

pub(super) async fn step(stage: &mut Stage, page: &mut Page<'_>) -> anyhow::Result<String> {
    let now = stage.clock.now();
    let today = now.date().context("a date")?;
    page.typed("concordat --dir $D/ca ca init --name \"Fictional Counties CA\"")?;
    let ca = FictionalCa::create(stage.root.join("ca"), now, LIST_LIFE)?;
    let fictions = [ALDER, BIRCH, CEDAR];
    let ports = Ports::reserve(&fictions)?;
    let hosts = ports.hosts()?;
    let mut sites = Vec::new();
    for fiction in fictions {
        let peer = *hosts.get(&fiction.host()).context("a port")?;
        page.typed(&init(&fiction))?;
        page.typed(&issue(&fiction))?;
        let folder = stage.root.join(fiction.word);
        agency::found(&folder, &fiction, &ca, peer, now)?;
        amend(&folder, |config| {
            config.peer.hosts = hosts.clone();
            config.rules.max_lookback_days = config.rules.max_lookback_days.max(lookback());
        })?;
        let site = Site::open(fiction, folder, Arc::clone(&stage.clock))?;
        agency::people_of(site.node.registry(), &site.fiction, today).await?;
        sites.push(site);
    }
    let Ok([alder, birch, cedar]) = <[Site; 3]>::try_from(sites) else { anyhow::bail!("three agencies") };
    page.say("Each has its keys, a certificate of that authority, six people with their roles and training, and a check of the Attorney General's sources.")?;
    enrol(&alder, &birch, page).await?;
    enrol(&birch, &alder, page).await?;
    page.say("Cedar holds a certificate of the same authority, but nobody has enrolled it.")?;
    drop(ports);
    let Sites { alder, birch, cedar } = stage.sites.insert(Sites { alder, birch, cedar });
    for site in [&mut *alder, &mut *birch, &mut *cedar] {
        site.serve()?;
        let at = site.running.as_ref().map(|running| running.peer).context("a port")?;
        anyhow::ensure!(hosts.get(&site.fiction.host()) == Some(&at), "{} serves elsewhere", site.fiction.word);
        page.say(&format!("{} serves at {at} (mutual TLS)", site.titled()))?;
    }
    let enrolled = [alder, birch, cedar].map(|site| site.node.partners().all().count());
    anyhow::ensure!(enrolled == [1, 1, 0], "enrolled partners are {enrolled:?}, not [1, 1, 0]");
    Ok("three agencies serve; Alder and Birch have enrolled each other, nobody Cedar".to_owned())
}

fn init(fiction: &Fiction) -> String {
    let Fiction { word, ori, legal_name, kind, county } = fiction;
    let (kind, host) = (kind.as_str(), fiction.host());
    format!(
        "concordat --dir $D/{word} init --ori {ori} --legal-name \"{legal_name}\" --kind {kind} --county {county} --url https://{host}"
    )
}

fn issue(fiction: &Fiction) -> String {
    let Fiction { word, ori, .. } = fiction;
    let (host, keys) = (fiction.host(), format!("$D/{word}/keys"));
    format!("concordat --dir $D/ca ca issue --ori {ori} --host {host} --csr {keys}/tls.csr --out {keys}/tls.pem")
}

fn lookback() -> std::num::NonZeroU32 {
    std::num::NonZeroU32::new(LOOKBACK_DAYS).unwrap_or(std::num::NonZeroU32::MIN)
}

/// `partner` gives its descriptor file and reads its fingerprint out; two people of `site` take both.
async fn enrol(site: &Site, partner: &Site, page: &mut Page<'_>) -> anyhow::Result<()> {
    let Fiction { word, .. } = partner.fiction;
    let identity = read_key(&partner.node.config().keys.identity_key())?;
    let file = partner.folder.join("descriptor.json");
    std::fs::write(&file, descriptor::write(&partner.node.party(), &identity)?)?;
    let spoken = descriptor::spoken(identity.public().id());
    let by = site.person("agreements", Action::EnrolPartners)?;
    let confirmed_by = site.person("custodian", Action::EnrolPartners)?;
    page.typed(&format!("concordat --dir $D/{word} peer export --out $D/{word}/descriptor.json"))?;
    page.typed(&format!(
        "concordat --dir $D/{} peer add $D/{word}/descriptor.json --fingerprint \"{spoken}\" --as {by} --confirmed-by {confirmed_by}",
        site.fiction.word
    ))?;
    people::enrol(site.node.registry(), std::fs::read(&file)?, &spoken, &by, &confirmed_by).await?;
    site.node.refresh_partners(&mut site.registry()?)?;
    Ok(())
}
