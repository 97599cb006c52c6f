//! `concordat query`: partners' reads of a plate, under agreements in force and on the record.

mod shown;

use agreements::ids::Ori;
use agreements::message::OnBehalfOf;
use agreements::plate::Plate;
use agreements::purpose::{Purpose, Reference};
use agreements::time::Instant;
use clap::{ArgGroup, Args};

use super::exit::Exit;
use super::place::{As, Place};
use super::{Output, Problem, local};
use crate::exchange::ask::{self, Ask, Gave, Line, Whom};

/// How far back a question without `--from` looks, in microseconds.
const WINDOW: i64 = 7 * Instant::DAY;

/// Arguments of `query`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("whom").required(true).args(["peers", "all"])))]
#[command(
    after_help = "Example:\n  concordat query 7ABC123 --purpose criminal_investigation --ref case:2026-118842 \\\n      --reason \"vehicle fled an armed robbery on Main Street\" --peer CA0990100 \\\n      --as alder.investigator\n\nPurposes: criminal_investigation, wanted_persons, sanctions_orders, crime_prevention, crime_analysis, investigatory_leads, lifesaving.\n\nExit codes: 0 somebody answered, 1 nobody may answer and why, 2 usage, 3 nobody could be reached."
)]
pub struct QueryArgs {
    /// The plate
    #[arg(value_parser = plate)]
    plate: Plate,
    /// What for
    #[arg(long)]
    purpose: Purpose,
    /// The file that it belongs to: KIND:NUMBER, such as case:2026-118842
    #[arg(long = "ref", value_name = "KIND:NUM")]
    reference: Option<Reference>,
    /// What happened, and what this vehicle has to do with it
    #[arg(long)]
    reason: String,
    /// For whom: `own`, or the agency and the person there as ORI:NAME
    #[arg(long, value_name = "ORI:NAME", default_value = "own", value_parser = behalf)]
    on_behalf_of: Behalf,
    /// The supervisor who knows of it; needed for crime prevention
    #[arg(long)]
    supervisor: Option<String>,
    /// A partner to ask; may be repeated
    #[arg(long = "peer", value_name = "ORI", num_args = 1..)]
    peers: Vec<Ori>,
    /// Ask every partner whose agreement grants it
    #[arg(long, requires = "why_all")]
    all: bool,
    /// Why every partner is asked
    #[arg(long, requires = "all")]
    why_all: Option<String>,
    /// Reads from this date (midnight in Los Angeles) or time on; 7 days before --to when absent
    #[arg(long, value_parser = local::instant)]
    from: Option<Instant>,
    /// Reads before this date (midnight in Los Angeles) or time; now when absent
    #[arg(long, value_parser = local::instant)]
    to: Option<Instant>,
    /// At most this many reads from each partner
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    max_rows: u32,
    /// Ask for the digests of images too
    #[arg(long)]
    images: bool,
    #[command(flatten)]
    person: As,
}

/// For whom a question is asked.
#[derive(Clone)]
enum Behalf {
    Own,
    Other(OnBehalfOf),
}

impl std::fmt::Debug for Behalf {
    /// Without the name.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Own => f.write_str("Own"),
            Self::Other(other) => write!(f, "{other:?}"),
        }
    }
}

fn behalf(text: &str) -> Result<Behalf, String> {
    if text == "own" {
        return Ok(Behalf::Own);
    }
    let (ori, name) = text.split_once(':').ok_or("write own, or ORI:NAME, such as CA019013J:\"Judge Doe\"")?;
    let agency = ori.parse().map_err(|error: agreements::ids::OriError| error.to_string())?;
    Ok(Behalf::Other(OnBehalfOf { agency, end_user: name.trim().to_owned() }))
}

fn plate(text: &str) -> Result<Plate, String> {
    text.parse().map_err(|error: agreements::plate::PlateError| error.to_string())
}

impl QueryArgs {
    fn ask(self, now: Instant) -> Ask {
        let until = self.to.unwrap_or(now);
        Ask {
            username: self.person.user,
            whom: match self.why_all {
                Some(why) => Whom::All { why },
                None => Whom::These(self.peers),
            },
            plate: self.plate,
            from: self.from.unwrap_or(until.plus(-WINDOW)),
            until,
            purpose: self.purpose,
            reference: self.reference,
            reason: self.reason,
            on_behalf_of: match self.on_behalf_of {
                Behalf::Own => None,
                Behalf::Other(other) => Some(other),
            },
            supervisor: self.supervisor,
            area: None,
            max_rows: self.max_rows,
            images: self.images,
        }
    }
}

pub(super) async fn run(place: &Place, args: QueryArgs, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let node = place.node()?;
    let ask = args.ask(place.now());
    let window = (ask.from, ask.until);
    let report = ask::ask(&node, &node.desk(), ask).await?;
    shown::report(&report, window, out)?;
    Ok(exit(&report.lines))
}

/// Whoever got an answer is done; a rule's no outweighs a partner that could not be reached.
fn exit(lines: &[Line]) -> Exit {
    let any = |test: fn(&Gave) -> bool| lines.iter().any(|line| test(&line.gave));
    let refused = |gave: &Gave| matches!(gave, Gave::Denied { .. } | Gave::Withheld { .. } | Gave::NotAsked { .. });
    let unanswered = |gave: &Gave| matches!(gave, Gave::Unreachable { .. } | Gave::Invalid { .. });
    if any(|gave| matches!(gave, Gave::Reads { .. })) {
        Exit::Done
    } else if any(refused) {
        Exit::Refused
    } else if lines.iter().all(|line| unanswered(&line.gave)) {
        Exit::Failure
    } else {
        Exit::Done
    }
}

#[cfg(test)]
mod tests {
    use agreements::ids::{Digest, RequestId};

    use super::*;

    fn line(gave: Gave) -> Line {
        Line { ori: "CA0990100".parse().unwrap(), name: None, gave }
    }

    #[test]
    fn how_it_ends_follows_from_what_the_partners_gave() {
        let receipt = Digest::of(b"answer");
        let reads = || line(Gave::Reads { reads: Vec::new(), capped: Vec::new(), receipt });
        let denied = || line(Gave::Denied { rules: Vec::new(), status: None, receipt });
        let ticket = RequestId::new("2026-11-23T20:00:00Z".parse().unwrap(), [1; 10]);
        let referred = || line(Gave::Referred { ticket, rules: Vec::new(), receipt });
        let unreachable = || line(Gave::Unreachable { why: String::new() });
        let not_asked = || line(Gave::NotAsked { why: String::new() });
        for (lines, expected) in [
            (vec![reads(), denied(), unreachable()], Exit::Done),
            (vec![denied(), unreachable()], Exit::Refused),
            (vec![not_asked()], Exit::Refused),
            (vec![denied(), referred()], Exit::Refused),
            (vec![referred(), unreachable()], Exit::Done),
            (vec![unreachable(), unreachable()], Exit::Failure),
        ] {
            assert_eq!(exit(&lines), expected);
        }
    }

    #[test]
    fn for_whom_is_an_agency_of_california_and_a_name_that_is_not_logged() {
        assert!(matches!(behalf("own"), Ok(Behalf::Own)));
        let other = behalf("CA019013J: Judge Doe").unwrap();
        assert!(matches!(&other, Behalf::Other(other) if other.end_user == "Judge Doe"));
        assert!(!format!("{other:?}").contains("Doe"));
        assert!(behalf("NV0020100:Doe").unwrap_err().contains("not a California agency"));
        assert!(behalf("Doe").unwrap_err().contains("ORI:NAME"));
    }
}
