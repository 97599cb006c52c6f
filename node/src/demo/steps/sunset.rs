//! Step 9: the last minute of the agreement, and the instant of its sunset, on copies of both nodes under a clock that
//! is set.

use std::sync::Arc;

use agreements::decide::training_ends;
use agreements::message::Outcome;
use agreements::plate::Plate;
use agreements::register::AG_CHECK_IN_FORCE;
use agreements::rule::Rule;
use agreements::status::Status;
use agreements::time::Instant;
use anyhow::Context as _;

use super::query::outcomes;
use crate::clock::{Clock as _, SetClock};
use crate::demo::agency::{ALDER, BIRCH};
use crate::demo::asking::{Asking, REASON, said, show};
use crate::demo::page::Page;
use crate::demo::stage::{Ports, Site, Stage, amend, shared_plate, stop};
use crate::exchange::ask::{self, Gave, Line};
use crate::exchange::standing;
use crate::registry::{accounts, ag};

/// The copies, and what they play.
struct Play<'a> {
    alder: &'a Site,
    birch: &'a Site,
    clock: &'a SetClock,
    sunset: Instant,
    agreement: agreements::ids::AgreementId,
    plate: Plate,
}

pub(super) async fn step(stage: &mut Stage, page: &mut Page<'_>) -> anyhow::Result<String> {
    let sites = stage.sites()?;
    let agreement = stage.agreement()?;
    let found = standing::verified(&mut sites.alder.registry()?, agreement)?.context("the agreement")?;
    let sunset = found.agreement.sunset();
    let folder = stage.root.join("sunset");
    let ports = Ports::reserve(&[ALDER, BIRCH])?;
    let hosts = ports.hosts()?;
    let clock = SetClock::at(sunset.plus(-Instant::MINUTE));
    let mut copies = Vec::new();
    for site in [&sites.alder, &sites.birch] {
        let folder = folder.join(site.fiction.word);
        site.copy(&folder)?;
        let listen = *hosts.get(&site.fiction.host()).context("a port")?;
        amend(&folder, |config| {
            config.peer.listen = listen;
            config.peer.hosts.clone_from(&hosts);
        })?;
        copies.push(Site::open(site.fiction.clone(), folder, Arc::new(clock.clone()))?);
    }
    let Ok([mut alder, mut birch]) = <[Site; 2]>::try_from(copies) else { anyhow::bail!("two copies") };
    drop(ports);
    let plate = shared_plate()?;
    let mut played = alder.serve().and_then(|()| birch.serve()).map(|()| String::new());
    if played.is_ok() {
        let play = Play { alder: &alder, birch: &birch, clock: &clock, sunset, agreement, plate };
        played = play.play(page).await;
    }
    stop([alder, birch]).await;
    played
}

impl Play<'_> {
    async fn play(&self, page: &mut Page<'_>) -> anyhow::Result<String> {
        let Self { alder, birch, clock, sunset, .. } = *self;
        page.say(&format!("Copies of Alder and Birch, whose clock says {}: one minute before.", clock.now()))?;
        let asking = Asking { plate: &self.plate, whom: alder.ori(), reason: REASON, days: 75 };
        page.typed(&asking.command(birch, "$D/sunset")?)?;
        let before = ask::ask(&birch.node, &birch.node.desk(), asking.ask(birch)?).await?;
        show(page, &before)?;
        let permitted =
            matches!(before.lines.as_slice(), [Line { gave: Gave::Reads { reads, .. }, .. }] if !reads.is_empty());
        anyhow::ensure!(permitted, "one minute before its sunset: {}", outcomes(&before));

        clock.set(sunset);
        let touches = alder.node.reads().touches();
        page.say(&format!("The clock says {}.", clock.now()))?;
        page.typed(&asking.command(birch, "$D/sunset")?)?;
        let after = ask::ask(&birch.node, &birch.node.desk(), asking.ask(birch)?).await?;
        show(page, &after)?;
        let silent = matches!(after.lines.as_slice(), [Line { gave: Gave::NotAsked { .. }, .. }]);
        anyhow::ensure!(silent && after.question.is_none(), "at its sunset Birch asked: {}", outcomes(&after));
        page.say("The same question, sworn by Birch's trail at that instant and sent all the same:")?;
        let (status, outcome) = asking.swear(birch, self.agreement).await?;
        let Outcome::Denied { rules, status: Some(standing) } = &outcome else {
            anyhow::bail!("at its sunset Alder's answer is {} ({status})", outcome.name());
        };
        page.say(&format!("{}: denied ({status}); {}. {}", alder.titled(), standing.says(), said(rules)))?;
        let wall = rules.iter().map(|said| said.rule).eq([Rule::AgreementInForce]);
        anyhow::ensure!(
            status == 403 && wall && *standing == Status::Sunset { at: sunset },
            "denied for another reason"
        );
        anyhow::ensure!(alder.node.reads().touches() == touches, "Alder looked into its reads after the sunset");
        for site in [alder, birch] {
            outlives(site, sunset)?;
        }
        page.say(
            "Certificates, revocation list, check of the Attorney General's sources and training all outlive it.",
        )?;
        Ok(format!("permitted at {}; nothing at {sunset}, on either side", sunset.plus(-Instant::MINUTE)))
    }
}

/// Checks that nothing but the sunset stands between the parties at `at`.
fn outlives(site: &Site, at: Instant) -> anyhow::Result<()> {
    let mut conn = site.registry()?;
    let unready = site.node.unready(&mut conn)?;
    anyhow::ensure!(unready.is_empty(), "{}: {}", site.fiction.word, unready.join("; "));
    let checked = ag::register(&mut conn)?.checked_at;
    let fresh = checked.is_some_and(|checked| at.since(checked) < AG_CHECK_IN_FORCE);
    let person = accounts::find(&mut conn, &site.fiction.person("investigator"))?;
    let trained = person.and_then(|person| training_ends(person.trained_on?)).is_some_and(|end| at < end);
    anyhow::ensure!(fresh && trained, "{}: its check or its training ended before", site.fiction.word);
    Ok(())
}
