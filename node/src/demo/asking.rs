//! How the demo's people ask: through their own node, and past it.

use agreements::entry::Kind;
use agreements::ids::{AgreementId, Ori};
use agreements::json;
use agreements::message::{Answer, Asker, OnBehalfOf, Outcome, PROTOCOL, Question, RuleSaid, Search, To};
use agreements::plate::Plate;
use agreements::purpose::Purpose;
use agreements::time::Instant;
use anyhow::Context as _;
use diesel::result::Error;
use jiff::civil::Date;

use super::page::Page;
use super::stage::Site;
use crate::db::Tx;
use crate::exchange::ask::{Ask, Gave, Report, Whom};
use crate::exchange::sworn::{self, Sworn};
use crate::exchange::wire::{self, Bulk, Envelope};
use crate::node::fresh_rid;
use crate::reads::Read;
use crate::registry::accounts;
use crate::trail::{Draft, Facts};

/// The file that every question of the demo belongs to.
pub(super) const CASE: &str = "case:2026-004821";
/// A reason that says why.
pub(super) const REASON: &str = "catalytic converter theft, car seen leaving the yard";

/// A question as a person puts it.
pub(super) struct Asking<'a> {
    pub(super) plate: &'a Plate,
    pub(super) whom: Ori,
    pub(super) reason: &'a str,
    /// How far back it looks, in days.
    pub(super) days: i64,
}

impl Asking<'_> {
    /// The first date that it looks at.
    fn since(&self, now: Instant) -> anyhow::Result<Date> {
        now.plus(-self.days * Instant::DAY).date().context("a date")
    }

    /// For the asker's own node.
    pub(super) fn ask(&self, asker: &Site) -> anyhow::Result<Ask> {
        let now = asker.node.now();
        Ok(Ask {
            username: asker.fiction.person("investigator"),
            whom: Whom::These(vec![self.whom]),
            plate: self.plate.clone(),
            from: Instant::start_of(self.since(now)?).context("a date")?,
            until: now,
            purpose: Purpose::CriminalInvestigation,
            reference: Some(CASE.parse()?),
            reason: self.reason.to_owned(),
            on_behalf_of: None,
            supervisor: None,
            area: None,
            max_rows: 100,
            images: true,
        })
    }

    /// The command that asks the same, with the folder of the asker's node under `dir`.
    pub(super) fn command(&self, asker: &Site, dir: &str) -> anyhow::Result<String> {
        let (word, plate, reason, whom) = (asker.fiction.word, self.plate.as_str(), self.reason, self.whom);
        let (from, person) = (self.since(asker.node.now())?, asker.fiction.person("investigator"));
        Ok(format!(
            "concordat --dir {dir}/{word} query {plate} --purpose criminal_investigation --ref {CASE} \
             --reason \"{reason}\" --peer {whom} --from {from} --images --as {person}"
        ))
    }

    /// The message that the asker's node would have sent.
    fn question(&self, asker: &Site, agreement: AgreementId) -> anyhow::Result<Question> {
        let ask = self.ask(asker)?;
        let account = accounts::find(&mut asker.registry()?, &ask.username)?.context("the investigator's account")?;
        Ok(Question {
            v: PROTOCOL,
            to: vec![To { ori: self.whom, agreement }],
            asker: Asker {
                agency: asker.ori(),
                username: account.username,
                name: account.name,
                affiliation: account.affiliation,
                approved: true,
                trained_on: account.trained_on,
            },
            on_behalf_of: OnBehalfOf { agency: asker.ori(), end_user: ask.username },
            purpose: ask.purpose,
            reference: ask.reference,
            reason: ask.reason,
            supervisor: None,
            why_all: None,
            search: Search::Exact { plate: ask.plate },
            from: ask.from,
            until: ask.until,
            area: None,
            max_rows: ask.max_rows,
            images: ask.images,
        })
    }

    /// Asks past the checks of the asker's node: the question is sworn by its trail, as it must be, and sent. What the
    /// owner says, with the status code, once its answer is verified.
    pub(super) async fn swear(&self, asker: &Site, agreement: AgreementId) -> anyhow::Result<(u16, Outcome)> {
        let message = json::canonical(&self.question(asker, agreement)?)?;
        let job = move |tx: &mut Tx<'_>| {
            let rid = fresh_rid(tx.now())?;
            let note = b"{}".to_vec();
            let slot = tx.append(Draft { kind: Kind::QueryAsked, rid, message, note, facts: Facts::default() })?;
            tx.leaf_hash(slot).map(|hash| (slot, hash)).ok_or(Error::NotFound)
        };
        let recorded = asker.node.registry().record(job).await?;
        let (slot, hash) = *recorded;
        let text = wire::write(recorded.entry(slot).context("the question's entry")?, Bulk::None)?;
        let partner = asker.node.partners().find(self.whom).cloned().context("the partner is not enrolled")?;
        let reply = asker.node.dialer().post(&partner, "queries", text).await?;
        let envelope = Envelope::parse(&reply.body).with_context(|| format!("status {}", reply.status))?;
        let kind = Kind::QueryAnswered;
        let answer: Sworn<Answer> = sworn::verify(&envelope, kind, &partner, asker.ori(), asker.node.checkpoints())?;
        anyhow::ensure!(answer.message().question == hash, "the answer is to another question");
        anyhow::ensure!(envelope.results.is_none(), "reads came with the answer");
        Ok((reply.status, answer.into_parts().0.outcome))
    }
}

/// Shows what each partner gave.
pub(super) fn show(page: &mut Page<'_>, report: &Report) -> anyhow::Result<()> {
    for line in &report.lines {
        let who = line.name.as_ref().map_or_else(|| line.ori.to_string(), |name| format!("{name} ({})", line.ori));
        match &line.gave {
            Gave::Reads { reads, .. } => {
                page.say(&format!("{who}: {} reads", reads.len()))?;
                show_reads(page, reads)?;
            }
            Gave::Denied { rules, .. } => page.say(&format!("{who}: denied. {}", said(rules)))?,
            Gave::Referred { ticket, rules, .. } => {
                page.say(&format!("{who}: referred to its custodian, ticket {ticket}. {}", said(rules)))?;
            }
            Gave::Withheld { status, .. } => page.say(&format!("{who}: withheld; {}", status.says()))?,
            Gave::NotAsked { why } => page.say(&format!("{who}: not asked; {why}"))?,
            Gave::Unreachable { why } => page.say(&format!("{who}: unreachable; {why}"))?,
            Gave::Invalid { why } => page.say(&format!("{who}: the answer proves nothing; {why}"))?,
        }
    }
    Ok(())
}

/// Rules with their clauses and what they say.
pub(super) fn said(rules: &[RuleSaid]) -> String {
    let line = |said: &RuleSaid| format!("{} [{}]: {}", said.rule.as_str(), said.clauses.join(", "), said.says);
    rules.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn show_reads(page: &mut Page<'_>, reads: &[Read]) -> anyhow::Result<()> {
    let row = |read: &Read| {
        let place = read
            .lat
            .zip(read.lon)
            .map_or_else(String::new, |(lat, lon)| format!("{:.3}, {:.3}", f64::from(lat) / 1e6, f64::from(lon) / 1e6));
        let seen: String = read.seen_at.to_string().chars().take(19).collect();
        let vehicle = read.vehicle.as_ref().map(|vehicle| {
            [&vehicle.color, &vehicle.model].into_iter().flatten().cloned().collect::<Vec<_>>().join(" ")
        });
        [
            read.plate.as_str().to_owned(),
            seen.replace('T', " "),
            read.camera.clone(),
            place,
            vehicle.unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = reads.iter().map(row).collect();
    Ok(page.table(["plate", "seen (UTC)", "camera", "place", "vehicle"], &rows)?)
}
