//! What an agreement says, in plain words. Pure: both forms are drawn from this text and add nothing to it.

use agreements::agreement::{
    Agreement, Authorization, Commitments, Framework, Grant, HitsGrant, HotlistGrant, QueryGrant, Renewal, Witnesses,
};
use agreements::ids::{Digest, Ori};
use agreements::party::Party;
use agreements::status::Status;

use super::words::{all_of, area, count, day, purpose, time, visible, yes};
use super::{Block, Found, Notice, Readable, Standing, Table, parties};

/// The text of an agreement. Nothing of the document is left out.
#[must_use]
pub fn readable(found: &Found) -> Readable {
    let mut text = Text(Vec::new());
    let Agreement {
        format,
        id,
        revision,
        supersedes,
        parties,
        grants,
        commitments,
        framework,
        witnesses,
        effective_on,
        sunset_on,
        renewal,
    } = &found.agreement;
    let names = Names(parties);

    text.heading("In short");
    let mut short = vec![format!(
        "From 00:00 in Los Angeles at the start of {} it can be in force; at 00:00 at the start of {} it ends by itself, \
         whatever else happens. Nothing renews it but a new agreement that both sign.",
        day(*effective_on),
        day(*sunset_on)
    )];
    short.extend(grants.iter().map(|grant| allowed(&names, grant)));
    short.extend(nothing_granted(&names, grants));
    text.list(short);

    text.heading("What each may get");
    for grant in grants {
        text.table(grant_table(&names, grant));
    }

    text.heading("What is not allowed");
    text.list(forbidden(&names, grants));

    text.heading("What both promise");
    text.list(promises(commitments));

    for party in parties {
        parties::party(&mut text, party);
    }

    text.heading("Signatures");
    parties::signatures(&mut text, found);

    parties::history(&mut text, found);

    if let Some(framework) = framework {
        adopted(&mut text, framework, found.framework.as_deref());
    }

    text.heading("This document");
    let mut rows = vec![
        row("Document (SHA-256 of its canonical bytes)", &found.sha256.to_string()),
        row("Agreement", &id.to_string()),
        row("Format", format),
        row("Revision", &revision.to_string()),
        row("Renews the document", &digest_or(supersedes.as_ref(), "none: this is the first")),
        row("In force from the start of", &day(*effective_on)),
        row("Sunset at the start of", &day(*sunset_on)),
    ];
    if let Some(Witnesses { policy_sha256 }) = witnesses {
        rows.push(row("Witness policy (SHA-256)", &policy_sha256.to_string()));
    }
    if let Some(Renewal { packet_sha256, review_sha256, ag_check_sha256 }) = renewal {
        rows.push(row("Compliance packet that the renewal stands on (SHA-256)", &packet_sha256.to_string()));
        rows.push(row("Review that the renewal stands on (SHA-256)", &review_sha256.to_string()));
        rows.push(row(
            "Check of the Attorney General's sources that the renewal stands on (SHA-256)",
            &ag_check_sha256.to_string(),
        ));
    }
    text.facts("The document that is signed", rows);
    text.paragraph(
        "What is signed is the canonical document with the hash above; this text only explains it. Where the two differ, \
         the document counts.",
    );

    let [first, second] = parties;
    let title = format!(
        "Agreement between {} and {} on sharing licence plate reads",
        visible(&first.legal_name),
        visible(&second.legal_name)
    );
    let notice = notice(found);
    let standing = match found.standing {
        Standing::Known(Status::InForce { .. }) => "in force",
        Standing::Known(Status::UnderReview { .. }) => "IN FORCE ONLY IN PART",
        _ => "NOT IN FORCE",
    };
    let foot = format!("Document {} – {standing} at {}", found.sha256, time(found.at));
    Readable { title, notice, blocks: text.0, foot, at: found.at }
}

/// The text while it is written. Every string passes [`visible`] on its way in.
pub(super) struct Text(Vec<Block>);

impl Text {
    pub(super) fn heading(&mut self, text: &str) {
        self.0.push(Block::Heading(visible(text)));
    }

    pub(super) fn subheading(&mut self, text: &str) {
        self.0.push(Block::Subheading(visible(text)));
    }

    pub(super) fn paragraph(&mut self, text: &str) {
        self.0.push(Block::Paragraph(visible(text)));
    }

    pub(super) fn list(&mut self, items: Vec<String>) {
        self.0.push(Block::List(items.iter().map(|item| visible(item)).collect()));
    }

    pub(super) fn table(&mut self, table: Table) {
        let seen = |cells: Vec<String>| cells.iter().map(|cell| visible(cell)).collect::<Vec<_>>();
        self.0.push(Block::Table(Table {
            caption: visible(&table.caption),
            columns: seen(table.columns),
            rows: table.rows.into_iter().map(seen).collect(),
        }));
    }

    /// A table of what is what.
    pub(super) fn facts(&mut self, caption: &str, rows: Vec<Vec<String>>) {
        let columns = vec!["What".to_owned(), "Says".to_owned()];
        self.table(Table { caption: caption.to_owned(), columns, rows });
    }
}

/// A row of [`Text::facts`]. An empty cell would be read as nothing at all.
pub(super) fn row(what: &str, says: &str) -> Vec<String> {
    let says = if says.trim().is_empty() { "not given" } else { says };
    vec![what.to_owned(), says.to_owned()]
}

pub(super) fn digest_or(digest: Option<&Digest>, none: &str) -> String {
    digest.map_or_else(|| none.to_owned(), ToString::to_string)
}

/// The parties by name.
struct Names<'a>(&'a [Party; 2]);

impl Names<'_> {
    fn of(&self, ori: Ori) -> String {
        match self.0.iter().find(|party| party.ori == ori) {
            Some(party) => format!("{} ({ori})", party.legal_name),
            None => ori.to_string(),
        }
    }

    /// Each direction, as (owner, recipient).
    fn directions(&self) -> [(Ori, Ori); 2] {
        let [first, second] = self.0;
        [(first.ori, second.ori), (second.ori, first.ori)]
    }
}

fn notice(found: &Found) -> Notice {
    let at = time(found.at);
    let (in_force, text) = match &found.standing {
        Standing::Known(Status::InForce { until }) => (
            true,
            format!("IN FORCE at {at}, the time of this rendering. Unless something changes, until {}.", time(*until)),
        ),
        Standing::Known(status @ Status::UnderReview { .. }) => {
            (false, format!("IN FORCE ONLY IN PART at {at}, the time of this rendering: {}.", status.says()))
        }
        Standing::Known(status) => {
            (false, format!("NOT IN FORCE at {at}, the time of this rendering: {}.", status.says()))
        }
        Standing::Changed(why) => (
            false,
            format!(
                "NOT IN FORCE, AND NOT TO BE RELIED ON: at {at} the rows of this node's registry were not what the \
                 parties swore ({why}). No signature is shown, because none counts."
            ),
        ),
        Standing::Draft => (false, format!("NOT IN FORCE: a draft that nobody had offered or signed at {at}.")),
    };
    Notice { in_force, text: visible(&text) }
}

fn allowed(names: &Names<'_>, grant: &Grant) -> String {
    match grant {
        Grant::Query(grant) => {
            let purposes: Vec<String> = grant.purposes.iter().map(|it| purpose(*it)).collect();
            let each = match grant.authorization {
                Authorization::Standing => "The custodian has authorized this in advance.",
                Authorization::PerRequest => "The custodian authorizes each request.",
            };
            format!(
                "{} may ask {} for reads of the last {}, for {}. {each}",
                names.of(grant.recipient),
                names.of(grant.owner),
                count(grant.lookback_days, "day", "days"),
                all_of(&purposes)
            )
        }
        Grant::Hotlist(grant) => format!(
            "{} may get from {} the hotlist “{}”: its entries of {}.",
            names.of(grant.recipient),
            names.of(grant.owner),
            grant.list,
            all_of(&grant.categories)
        ),
        Grant::Hits(grant) => format!(
            "{} is told when a reader of {} sees a plate of its hotlist “{}”.",
            names.of(grant.recipient),
            names.of(grant.owner),
            grant.list
        ),
    }
}

/// The text that more than two agencies adopted.
fn adopted(text: &mut Text, framework: &Framework, kept: Option<&str>) {
    let Framework { title, sha256 } = framework;
    text.heading(&format!("Framework: {title}"));
    text.paragraph(
        "More than two agencies adopted this text. It grants nothing by itself: what may be shared between these two is \
         what this agreement says.",
    );
    text.facts("The framework", vec![row("Title", title), row("SHA-256 of its text", &sha256.to_string())]);
    match kept {
        Some(kept) => {
            text.subheading("Its text");
            for paragraph in kept.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty()) {
                text.paragraph(&paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
            }
        }
        None => {
            text.paragraph(
                "This node does not keep its text. Whoever has it can show by the hash that it is the same.",
            );
        }
    }
}

/// What a reader could take for granted, and is not.
fn nothing_granted(names: &Names<'_>, grants: &[Grant]) -> Vec<String> {
    let asks = |owner: Ori| grants.iter().any(|grant| matches!(grant, Grant::Query(it) if it.owner == owner));
    names
        .directions()
        .into_iter()
        .filter(|(owner, _)| !asks(*owner))
        .map(|(owner, recipient)| format!("{} may not ask {} for any read.", names.of(recipient), names.of(owner)))
        .collect()
}

fn grant_table(names: &Names<'_>, grant: &Grant) -> Table {
    let (caption, rows) = match grant {
        Grant::Query(grant) => query_rows(names, grant),
        Grant::Hotlist(HotlistGrant { owner, recipient, list, categories }) => (
            format!("{} gets a hotlist of {}", names.of(*recipient), names.of(*owner)),
            vec![
                row("Owner of the list", &names.of(*owner)),
                row("Who gets it", &names.of(*recipient)),
                row("List", list),
                row("Only these categories", &categories.join(", ")),
            ],
        ),
        Grant::Hits(HitsGrant { owner, recipient, list }) => (
            format!("{} is told of hits of {}", names.of(*recipient), names.of(*owner)),
            vec![
                row("Owner of the readers", &names.of(*owner)),
                row("Who is told", &names.of(*recipient)),
                row("On its list", list),
            ],
        ),
    };
    Table { caption, columns: vec!["What".to_owned(), "Says".to_owned()], rows }
}

fn query_rows(names: &Names<'_>, grant: &QueryGrant) -> (String, Vec<Vec<String>>) {
    let QueryGrant {
        owner,
        recipient,
        purposes,
        lookback_days,
        max_rows,
        daily_quota,
        area: within,
        partial,
        fuzzy,
        images,
        without_plate,
        authorization,
    } = grant;
    let purposes: Vec<String> = purposes.iter().map(|it| purpose(*it)).collect();
    let within = within.map_or_else(|| "anywhere that the owner reads plates".to_owned(), area);
    let authorization = match authorization {
        Authorization::Standing => "standing: the custodian authorizes exactly this in writing, by signing (V-16)",
        Authorization::PerRequest => "each request waits for the custodian (XI-05)",
    };
    let rows = vec![
        row("Owner of the reads", &names.of(*owner)),
        row("Who may ask", &names.of(*recipient)),
        row("For these purposes only", &purposes.join(", ")),
        row("How far back", &count(*lookback_days, "day of 24 hours", "days of 24 hours")),
        row("Reads in one answer, at most", &max_rows.to_string()),
        row("Questions a day, at most", &daily_quota.to_string()),
        row("Where", &within),
        row("By part of a plate", &yes(*partial)),
        row("By plates that readers confuse", &yes(*fuzzy)),
        row("Images", &yes(*images)),
        row("Without a plate, by place and time", &yes(*without_plate)),
        row("Authorization", authorization),
    ];
    (format!("{} asks {}", names.of(*recipient), names.of(*owner)), rows)
}

fn forbidden(names: &Names<'_>, grants: &[Grant]) -> Vec<String> {
    let mut items = vec![
        "Whatever is not granted above. No right follows from another, and silence grants nothing.".to_owned(),
        "Civil immigration enforcement: it is not a purpose, and no grant can make it one (V-20).".to_owned(),
        "Passing on what was received, to anybody (V-19).".to_owned(),
        "Sharing with federal, out-of-state or private bodies: none can be a party (Civ. Code 1798.90.5(f), \
         1798.90.55(b))."
            .to_owned(),
        "A question without a purpose, a reference and a reason, or one that cannot be recorded before it is answered."
            .to_owned(),
    ];
    for grant in grants {
        let Grant::Query(grant) = grant else { continue };
        let not: Vec<String> = [
            (grant.partial, "by part of a plate"),
            (grant.fuzzy, "by plates that readers confuse"),
            (grant.without_plate, "without a plate"),
            (grant.images, "for images"),
            (grant.area.is_none(), "for reads outside the area"),
        ]
        .into_iter()
        .filter(|(granted, _)| !granted)
        .map(|(_, what)| what.to_owned())
        .collect();
        if let [most @ .., last] = not.as_slice() {
            let what = if most.is_empty() { last.clone() } else { format!("{} or {last}", most.join(", ")) };
            items.push(format!("{} may not ask {} {what}.", names.of(grant.recipient), names.of(grant.owner)));
        }
    }
    items.extend(nothing_granted(names, grants));
    items
}

fn promises(commitments: &Commitments) -> Vec<String> {
    let Commitments {
        lawful_use,
        authorized_users_only,
        trained_users,
        accuracy,
        hotlist_max_age_hours,
        no_onward_transfer,
        received_retention_days,
    } = commitments;
    let promised = |kept: &bool, what: &str, clause: &str| {
        format!("{what} ({clause}){}", if *kept { "." } else { ": NOT PROMISED." })
    };
    vec![
        promised(lawful_use, "To gather, access, use and disclose according to law", "V-23"),
        promised(authorized_users_only, "To let only authorized users in", "V-24"),
        promised(trained_users, "To let only trained users in", "VII-11 to VII-15"),
        promised(accuracy, "To make reasonable efforts to ensure accuracy", "V-25"),
        promised(no_onward_transfer, "Not to pass on what was received", "V-19"),
        format!(
            "Not to use an entry of a shared hotlist longer than {} after its owner last asserted it (V-26).",
            count(*hotlist_max_age_hours, "hour", "hours")
        ),
        format!("To keep what was received for at most {}.", count(*received_retention_days, "day", "days")),
    ]
}
