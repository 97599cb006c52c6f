//! The commented file that `concordat init` writes, from one table of meanings and a [`Config`].

use std::fmt::Write as _;

use super::{Config, Secret};

/// The width of the file's lines.
const WIDTH: usize = 100;

const HEADING: &str = "The configuration of this Concordat node. Paths are relative to this file's folder. A key that does not exist is refused, so a typo cannot switch anything off. The node reads this file when it starts; certificates and revocation lists that are renewed on disk are followed while it runs. `concordat check-config` says all that is wrong.";

/// Every section and key, in the order of the file, with its meaning. A test holds it to [`Config`].
const MEANINGS: &[(&str, &str)] = &[
    ("agency", "This agency, as partners and agreements name it."),
    ("agency.ori", "Its originating agency identifier: nine characters, California only (Civ. Code 1798.90.5(f))."),
    ("agency.legal_name", "Its legal name."),
    ("agency.kind", "What kind of public agency: state, county, city, city_and_county or subdivision."),
    ("agency.county", "The county that it is in."),
    (
        "agency.custodian_title",
        "Title of the custodian of its ALPR system (Civ. Code 1798.90.51(b)(2)(E)). Fill in before drafting an agreement.",
    ),
    ("agency.official_name", "Name of the official who signs agreements."),
    ("agency.official_title", "Title of that official."),
    (
        "agency.official_key",
        "That official's own P-256 signing key, the public half: SPKI DER in base64url. An agreement needs the official's signature besides this node's seal.",
    ),
    (
        "agency.contacts",
        "Mailboxes of roles here (no person's) that partners' nodes write to about agreements: sunsets, suspensions. At least one.",
    ),
    (
        "agency.processors",
        "Who hosts data or tows vehicles for this agency, such as \"Valley Hosting = hosting\". They are no parties and can hold no grant (Civ. Code 1798.90.55(b)).",
    ),
    (
        "agency.hub",
        "Whether it asks for others (a fusion centre, a shared service): it then names end agency and end user.",
    ),
    (
        "agency.determination_sha256",
        "For a hub, campus or rail police: SHA-256 of the written determination that it is a public agency under Civ. Code 1798.90.5(f).",
    ),
    ("agency.determination_expires_on", "The first day on which that determination no longer counts."),
    (
        "policy",
        "The published ALPR usage and privacy policy (Civ. Code 1798.90.51(b)). Until it is complete no agreement can be activated.",
    ),
    ("policy.url", "Where it is published."),
    ("policy.sha256", "SHA-256 of its published text, 64 lower-case hexadecimal digits (`sha256sum FILE`)."),
    (
        "policy.checked_on",
        "The day on which somebody last compared it with the published text, such as \"2026-11-23\".",
    ),
    ("policy.checked_by", "The title of the person who compared it."),
    (
        "policy.purposes",
        "The purposes that it allows: one of the seven names in `rules.purposes`, or the policy's own words for it, such as \"Solving crimes = criminal_investigation\".",
    ),
    (
        "policy.elements",
        "Where the policy has each element of Civ. Code 1798.90.51(b)(2): a section or page. Blank means that it has not.",
    ),
    ("policy.elements.A", "The authorized purposes for using the system and collecting information."),
    (
        "policy.elements.B",
        "The job titles or designations of those authorized to use it, and the training that they need.",
    ),
    ("policy.elements.C", "How the system is monitored for security and for compliance with privacy laws."),
    ("policy.elements.D", "The purposes of, process for and restrictions on sale, sharing or transfer."),
    ("policy.elements.E", "The title of the official custodian or owner of the system."),
    ("policy.elements.F", "The measures that ensure accuracy and correct errors."),
    ("policy.elements.G", "How long information is kept, and how it is decided whether and when to destroy it."),
    ("approvals", "What allows this agency to sign agreements."),
    ("approvals.counsel", "Counsel's approval: who and when."),
    (
        "approvals.public_meeting_date",
        "The day of the public meeting of Civ. Code 1798.90.55(a), such as \"2026-10-06\".",
    ),
    ("approvals.public_meeting_url", "Where that meeting's record is published."),
    ("approvals.signing_authority", "What empowers the official to sign, such as a resolution's number."),
    (
        "store",
        "Where the data is: `sqlite:FILE` or `postgres://USER@HOST/DATABASE`. A URL with a password is better kept elsewhere: { env = \"NAME\" } names an environment variable that holds it, { file = \"PATH\" } a file that only this node reads.",
    ),
    ("store.registry", "Agreements, people, and the trail."),
    ("store.reads", "Plate reads, and the index of their images."),
    ("store.images", "The folder of images."),
    (
        "store.documents",
        "The folder of texts that agreements name by their hash: frameworks that several agencies adopt.",
    ),
    ("keys", "The node's keys."),
    (
        "keys.folder",
        "The folder of tls.pem, tls.key, seal.pem, seal.key, log.key, witness.key and identity.key. Key files must be readable by their owner alone. Keep identity.key offline once partners have enrolled this node.",
    ),
    (
        "keys.log_origin",
        "The name of this agency's trail, the first line of its checkpoints. Partners pin it: it never changes while the trail lives.",
    ),
    ("peer", "The door for partners (mutual TLS), and how this node dials them."),
    ("peer.listen", "The address and port on which partners reach this node."),
    ("peer.url", "What partners dial: https://HOST or https://HOST:PORT. The node's certificate must name this host."),
    ("peer.ca", "PEM files of the CAs whose node certificates are accepted. Without one, nobody can connect."),
    ("peer.crl", "PEM files of those CAs' revocation lists. A CA without a current list is not trusted."),
    ("peer.max_body_bytes", "The longest body that is read, bytes."),
    ("peer.rate_per_second", "Requests a second from one partner, counted before a body is read; more get 429."),
    ("peer.in_flight", "Requests of one partner that may be in work at once; more get 429."),
    ("peer.deadline_ms", "How long one partner may take to answer this node's question, milliseconds."),
    (
        "peer.hosts",
        "Addresses of partners' hosts that DNS does not know, such as \"alpr.birch.example\" = \"10.1.2.3:7443\". That port counts, whatever port the partner's URL names.",
    ),
    ("console", "The door for this agency's own people."),
    ("console.listen", "Where it listens. It speaks plain HTTP: leave it on loopback, behind the agency's own proxy."),
    ("ops", "The door for this machine's operator: /metrics (OpenMetrics)."),
    ("ops.listen", "Where it listens; an address that is not loopback is refused, because this door has no login."),
    ("log", "Logs, on standard error. Plates, names, case numbers and keys are never in them."),
    ("log.format", "human or json."),
    ("log.level", "error, warn, info, debug or trace; the environment variable CONCORDAT_LOG overrides it."),
    ("ingest", "How reads come in. What exceeds these limits goes to the error report."),
    ("ingest.max_line_bytes", "The longest line of input, bytes; a line carries its images in base64."),
    ("ingest.max_image_bytes", "The largest image, bytes."),
    ("hotlists", "Hotlists: loading this agency's own, refreshing partners', matching reads against them."),
    (
        "hotlists.substitutions",
        "In how many characters that readers confuse (0 O D Q, 1 I, 2 Z, 5 S, 8 B, 6 G) a read may differ from an entry: 0, 1 or 2. A match that is not exact is labelled so everywhere.",
    ),
    ("hotlists.max_source_age_hours", "How old a source may be that is loaded without --accept-date, hours."),
    (
        "hotlists.look_seconds",
        "How often partners are asked whether an accepted list moved, seconds. At most 60 takes an entry that was removed out of use within a minute.",
    ),
    (
        "hotlists.refresh_minutes",
        "How old a partner's assertion gets before it is renewed, minutes. Its entries are used for at most 24 hours (1440) after it.",
    ),
    ("hotlists.late_after_minutes", "From which age on a read that matches is called late, minutes."),
    (
        "ingest.webhook",
        "The door for readers' agents that post what they read (Rekor/OpenALPR): POST /rekor with a token of `concordat agent add`.",
    ),
    ("ingest.webhook.listen", "Where it listens, such as \"10.1.2.3:7482\"; \"\" opens no such door."),
    (
        "ingest.webhook.tls",
        "Whether it speaks TLS 1.3, with the node's own certificate; agents must trust its authority, and need no certificate. Without it only loopback is allowed, for a proxy on this machine.",
    ),
    (
        "ingest.webhook.max_body_bytes",
        "The longest body, bytes, also after it is decompressed; a body carries its images in base64.",
    ),
    ("ingest.webhook.queue", "How many bodies may wait to be kept; to those beyond, agents get 429 and send again."),
    ("ingest.webhook.max_waiting_bytes", "How many bytes of bodies may be in memory at once; beyond, 429 too."),
    (
        "ingest.csv",
        "Layouts of CSV files, each a section with a name of its own: `concordat ingest FILE --source NAME` reads one. A file whose columns have the plain names below needs none. For example:",
    ),
    ("ingest.csv.NAME", "How the source of this name writes its CSV files. Its name is part of each read's identity."),
    ("ingest.csv.NAME.delimiter", "What parts the columns, such as \",\", \";\" or \"\\t\"."),
    (
        "ingest.csv.NAME.seen_at_format",
        "How times are written, in strftime's directives; \"\" is RFC 3339, or milliseconds since 1970.",
    ),
    (
        "ingest.csv.NAME.time_zone",
        "The zone of times that are written without one: America/Los_Angeles or UTC; \"\" refuses such times.",
    ),
    (
        "ingest.csv.NAME.columns",
        "What its columns are called; capitals make no difference. The first three must be there.",
    ),
    ("ingest.csv.NAME.columns.plate", "The plate."),
    ("ingest.csv.NAME.columns.seen_at", "When the vehicle was seen."),
    ("ingest.csv.NAME.columns.camera", "The camera's name or number."),
    ("ingest.csv.NAME.columns.state", "The issuing state, two letters."),
    ("ingest.csv.NAME.columns.lat", "Latitude, degrees."),
    ("ingest.csv.NAME.columns.lon", "Longitude, degrees."),
    ("ingest.csv.NAME.columns.confidence", "Confidence in the plate, percent (0 to 100)."),
    ("ingest.csv.NAME.columns.direction", "Direction of travel, degrees clockwise from north."),
    ("ingest.csv.NAME.columns.image_path", "The JPEG of the plate: a path in or below the folder of the CSV."),
    (
        "ingest.folder",
        "Folders that a running node takes files from, each a section with a name of its own. A file that was taken is in its folder's done, one that cannot be in failed, with a report. For example:",
    ),
    ("ingest.folder.NAME", "A folder; its files are taken in the order of their names."),
    ("ingest.folder.NAME.path", "Where it is. Whoever may write there brings in reads."),
    ("ingest.folder.NAME.csv", "The layout of its CSV files: the NAME of an [ingest.csv.NAME]; \"\" is the plain one."),
    (
        "ingest.folder.NAME.settle_seconds",
        "A file is whole once its size and time stood still for so long, seconds. Names that begin with a dot or end in .tmp, .part, .partial or .filepart are left alone.",
    ),
    (
        "policy_checks",
        "Reading partners' published policies again, each month: what they say now is compared with what was accepted.",
    ),
    (
        "policy_checks.automatic",
        "Whether the node does so by itself; `concordat policy check` does it by hand. It needs a way out to the partners' sites by https.",
    ),
    ("policy_checks.max_bytes", "The longest page or file that is read, bytes."),
    (
        "policy_checks.ca",
        "PEM files of CAs that a site's certificate may come from, instead of those that this machine trusts.",
    ),
    (
        "policy_checks.hosts",
        "Addresses of sites that DNS does not know, such as \"www.birch.example\" = \"10.1.2.4:443\". No other private address is dialled.",
    ),
    (
        "trail",
        "Who witnesses this agency's trail, so that nobody can quietly rewrite who asked what; and for how long it keeps what its entries say.",
    ),
    (
        "trail.witness_policy",
        "The federation's witness policy, a file as c2sp.org/tlog-policy has it; agreements name its SHA-256. Without one partners witness each other, and reports say that no third party does.",
    ),
    (
        "trail.witness_ca",
        "PEM files of the CAs of witnesses that are no partners; without one those that this machine trusts.",
    ),
    (
        "trail.max_unwitnessed_hours",
        "With a policy: for how long this node still discloses, and takes what partners disclose, once no quorum of witnesses cosigned the head, hours.",
    ),
    (
        "trail.details_kept_years",
        "For how many years of the calendar the trail keeps what its entries say: two at least (V-14, IX-05). After that the night's job deletes it, with a certificate, but for what is held.",
    ),
    (
        "rules",
        "This agency's own limits on partners' queries, whatever an agreement grants. Quotas are the agreement's.",
    ),
    ("rules.purposes", "The purposes for which a partner may query at all."),
    ("rules.max_lookback_days", "How far back a query may look, days."),
    ("rules.max_rows", "How many reads one answer may hold."),
    ("rules.rate_per_minute", "Queries a minute from one partner."),
    (
        "rules.sensitive",
        "What happens to a query with a sensitive term (immigration enforcement, reproductive or gender-affirming care, protest or religion): refer (it waits for the custodian) or deny.",
    ),
    (
        "mail",
        "Mail: reminders of renewals, warnings of what expires. It names no plate, no person and no case. Without it, reminders wait in the outbox and are seen with `concordat mail list` alone.",
    ),
    (
        "mail.backend",
        "off, smtp (over a mail server), file (one .eml file each in mail.folder) or memory (for demonstrations). Try it with `concordat mail test ADDRESS`.",
    ),
    ("mail.host", "The mail server: a name, or an address."),
    ("mail.port", "Its port: 587 for starttls, 465 for tls."),
    ("mail.tls", "starttls, tls, or none; none only to a server on loopback."),
    ("mail.ca", "PEM files of CAs that the mail server's certificate may come from, besides the system's."),
    ("mail.username", "The account on the mail server; blank if it wants none."),
    (
        "mail.password",
        "Where its password is: { env = \"NAME\" } or { file = \"PATH\" }; the file must be readable by its owner alone. Never the password itself.",
    ),
    ("mail.from", "The sender's address, such as alpr@agency.example."),
    ("mail.folder", "The folder of the backend file."),
    (
        "mail.administrators",
        "Addresses that get what agreements administrators must know: renewals, checks, partners that ask unusually.",
    ),
    (
        "mail.custodians",
        "Addresses that get what the custodian must know: renewals, checks, and at once each question that waits for a decision. Without any, mail.administrators get that.",
    ),
    ("mail.operators", "Addresses that get what system administrators must know: certificates, revocation lists."),
];

/// The sections whose names are the file's own, with what a file without one shows.
const NAMED: [(&str, &str); 2] = [
    (
        "ingest.csv",
        "[ingest.csv.acme]\ndelimiter = \";\"\nseen_at_format = \"%m/%d/%Y %H:%M:%S\"\ntime_zone = \"America/Los_Angeles\"\n\
         [ingest.csv.acme.columns]\nplate = \"Plate Number\"\nseen_at = \"Read Time\"\ncamera = \"Device\"\n",
    ),
    ("ingest.folder", "[ingest.folder.acme]\npath = \"incoming/acme\"\ncsv = \"acme\"\nsettle_seconds = 5\n"),
];

pub(super) fn render(config: &Config) -> String {
    let mut out = comment(HEADING);
    // A `Config` has string keys and no values that TOML lacks, so this cannot fail; the round-trip tests hold it.
    let table = toml::Table::try_from(config).unwrap_or_default();
    for (path, meaning) in MEANINGS {
        if let Some((_, example)) = NAMED.iter().find(|(named, _)| named == path) {
            let _ = write!(out, "\n{}", comment(meaning));
            example.lines().for_each(|line| _ = writeln!(out, "#   {line}"));
            if let Some(toml::Value::Table(sections)) = find(&table, path) {
                sections.keys().for_each(|name| named(&mut out, &table, path, name));
            }
        } else if !path.contains(".NAME") {
            item(&mut out, &table, path, path, meaning);
        }
    }
    out
}

/// One section with a name of its own, and all below it.
fn named(out: &mut String, table: &toml::Table, parent: &str, name: &str) {
    let general = format!("{parent}.NAME");
    for (path, meaning) in MEANINGS.iter().filter(|(path, _)| path.starts_with(&general)) {
        item(out, table, path, &path.replacen("NAME", name, 1), meaning);
    }
}

/// One section's head, or one key with its value, if the configuration has it.
fn item(out: &mut String, table: &toml::Table, path: &str, own: &str, meaning: &str) {
    match find(table, own) {
        Some(value @ toml::Value::Table(section)) if !Secret::is_one(value) => {
            let _ = write!(out, "\n{}[{own}]\n", comment(meaning));
            if path == "peer.hosts" {
                for (name, address) in section {
                    let _ = writeln!(out, "{} = {address}", toml::Value::from(name.as_str()));
                }
            }
        }
        Some(value) => {
            let name = own.rsplit_once('.').map_or(own, |(_, name)| name);
            let _ = writeln!(out, "{}{name} = {}", comment(meaning), written(value));
        }
        None => {}
    }
}

fn find<'t>(table: &'t toml::Table, path: &str) -> Option<&'t toml::Value> {
    match path.split_once('.') {
        Some((section, rest)) => find(table.get(section)?.as_table()?, rest),
        None => table.get(path),
    }
}

/// A value; a list that would be too long gets one line for each item.
fn written(value: &toml::Value) -> String {
    let line = value.to_string();
    match value.as_array() {
        Some(items) if line.len() > WIDTH - 20 => {
            let items: Vec<String> = items.iter().map(|item| format!("    {item},\n")).collect();
            format!("[\n{}]", items.concat())
        }
        _ => line,
    }
}

/// `text` as comment lines of at most [`WIDTH`] columns.
fn comment(text: &str) -> String {
    let mut lines = vec![String::from("#")];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("# {word}")),
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::tests::alder;
    use super::*;

    #[test]
    fn every_key_has_a_meaning_and_every_meaning_a_key() {
        let meant: BTreeSet<String> = MEANINGS.iter().map(|(path, _)| (*path).to_owned()).collect();
        let known: BTreeSet<String> = super::super::read::known_keys().into_iter().collect();
        assert_eq!(meant, known);
        assert_eq!(meant.len(), MEANINGS.len(), "a key stands twice");
    }

    #[test]
    fn every_line_fits_and_every_key_follows_its_comment() {
        let text = Config::template(alder());
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.iter().all(|line| line.len() <= WIDTH), "a line is too long");
        for pair in lines.windows(2) {
            if pair[1].contains(" = ") && !pair[1].starts_with('#') {
                assert!(pair[0].starts_with('#'), "no comment before {}", pair[1]);
            }
        }
    }
}
