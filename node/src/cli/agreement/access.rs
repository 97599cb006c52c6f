//! Who can get what, now or at an instant of the past.

use agreements::access::Access;
use agreements::time::Instant;
use clap::Args;

use crate::access;
use crate::cli::exit::Exit;
use crate::cli::local;
use crate::cli::place::Place;
use crate::cli::{Output, Problem};

/// Arguments of `agreement access`.
#[derive(Debug, Args)]
pub struct AccessArgs {
    /// A date, which means its first instant, or a time with its zone; now, if absent
    #[arg(long, value_name = "WHEN", value_parser = local::instant)]
    as_of: Option<Instant>,
}

pub(super) fn run(place: &Place, args: AccessArgs, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let config = place.config()?;
    let us = config.agency.ori;
    let now = place.now();
    let at = args.as_of.unwrap_or(now);
    if at > now {
        let next = "leave --as-of out, or give a time of the past".to_owned();
        return Err(Problem::refused(format!("{} is still to come", local::shown(at)), Some(next)));
    }
    let db = place.registry_of(&config)?;
    let hint = || Some("run `concordat trail verify`".to_owned());
    let recorded = access::recorded(&mut db.reader()?, us)?.map_err(|what| Problem::failure(what, hint()))?;
    for what in &recorded.missing {
        tracing::error!(what, "ALARM: what the trail names is not kept; this answer lacks it");
    }
    let items: Vec<Access> = recorded.history.at(at);
    out.list(&["owner", "recipient", "what", "agreement", "until"], &items, |item| {
        vec![
            item.owner.to_string(),
            item.recipient.to_string(),
            item.says(),
            item.under.to_string(),
            local::shown(item.until),
        ]
    })?;
    Ok(if recorded.missing.is_empty() { Exit::Done } else { Exit::Failure })
}
