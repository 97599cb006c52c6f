//! The commented file that `concordat init` writes, from one table of meanings and a [`Config`].

use std::fmt::Write as _;

use super::Config;

/// The width of the file's lines.
const WIDTH: usize = 100;

const HEADING: &str = "The configuration of this Concordat node. Paths are relative to this file's folder. A key that does not exist is refused, so a typo cannot switch anything off. The node reads this file when it starts.";

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
    ("store", "Where the data is: `sqlite:FILE` or `postgres://USER@HOST/DATABASE`."),
    ("store.registry", "Agreements, people, and the trail."),
    ("store.reads", "Plate reads, and the index of their images."),
    ("store.images", "The folder of images."),
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
        "Addresses of partners' hosts that DNS does not know, such as \"alpr.birch.example\" = \"10.1.2.3:7443\".",
    ),
    ("console", "The door for this agency's own people."),
    ("console.listen", "Where it listens. It speaks plain HTTP: leave it on loopback, behind the agency's own proxy."),
    ("ops", "The door for this machine's operator: /metrics (OpenMetrics)."),
    ("ops.listen", "Where it listens; an address that is not loopback is refused, because this door has no login."),
    ("log", "Logs, on standard error. Plates, names, case numbers and keys are never in them."),
    ("log.format", "human or json."),
    ("log.level", "error, warn, info, debug or trace; the environment variable CONCORDAT_LOG overrides it."),
    ("ingest", "Limits on what is ingested; what exceeds them goes to the error report."),
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
];

pub(super) fn render(config: &Config) -> String {
    let mut out = comment(HEADING);
    // A `Config` has string keys and no values that TOML lacks, so this cannot fail; the round-trip tests hold it.
    let table = toml::Table::try_from(config).unwrap_or_default();
    for (path, meaning) in MEANINGS {
        match find(&table, path) {
            Some(toml::Value::Table(section)) => {
                let _ = write!(out, "\n{}[{path}]\n", comment(meaning));
                if *path == "peer.hosts" {
                    for (name, address) in section {
                        let _ = writeln!(out, "{} = {address}", toml::Value::from(name.as_str()));
                    }
                }
            }
            Some(value) => {
                let name = path.rsplit_once('.').map_or(*path, |(_, name)| name);
                let _ = writeln!(out, "{}{name} = {}", comment(meaning), written(value));
            }
            None => {}
        }
    }
    out
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
