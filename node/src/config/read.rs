//! Reading: every key of the file is one that exists, and what is wrong is named by its path and line.

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Config, Secret, TextError, UnknownKey};

/// Below this, two keys have nothing to do with each other (1 is the same key).
const NEAR: f64 = 0.7;

pub(super) fn parse(text: &str) -> Result<Config, TextError> {
    let tree = DeTable::parse(text).map_err(|error| syntax(text, &error))?;
    let mut unknown = Vec::new();
    let read = deserialise(text, &tree, &mut |path| unknown.push(path));
    // Before what the parser missed: a section with a typo is the reason why the section is missing.
    if !unknown.is_empty() {
        let known = known_keys();
        return Err(TextError::Unknown(
            unknown.iter().map(|path| describe(text, tree.get_ref(), &known, path)).collect(),
        ));
    }
    read
}

/// The keys that exist; what others say is passed over.
fn parse_known(text: &str) -> Result<Config, TextError> {
    let tree = DeTable::parse(text).map_err(|error| syntax(text, &error))?;
    deserialise(text, &tree, &mut drop)
}

fn deserialise(
    text: &str,
    tree: &Spanned<DeTable<'_>>,
    unknown: &mut dyn FnMut(Vec<String>),
) -> Result<Config, TextError> {
    let source = toml::Deserializer::parse(text).map_err(|error| syntax(text, &error))?;
    let mut collect = |path: serde_ignored::Path<'_>| unknown(segments(&path));
    let read = Config::deserialize(serde_ignored::Deserializer::new(source, &mut collect));
    let config = read.map_err(|error| {
        let start = error.span().map(|span| span.start);
        let key = start.and_then(|start| key_at(tree.get_ref(), start, ""));
        let line = key.as_ref().and(start).map(|start| line_of(text.as_bytes(), start));
        TextError::Value { key, line, message: error.message().to_owned() }
    })?;
    if let Some((key, message)) = config.mail.problem() {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        let line = key_offset(tree.get_ref(), &path).map(|offset| line_of(text.as_bytes(), offset));
        return Err(TextError::Value { key: Some(key.to_owned()), line, message: message.to_owned() });
    }
    if let Some((path, message)) = config.ingest.contradiction() {
        let line = key_offset(tree.get_ref(), &path).map(|offset| line_of(text.as_bytes(), offset));
        return Err(TextError::Value { key: Some(path.join(".")), line, message: message.to_owned() });
    }
    Ok(config)
}

/// Everything that is wrong in `text`, and the configuration with defaults in the place of what is wrong, for looking
/// further: nobody likes to be told one fault for each run.
pub(super) fn survey(text: &str) -> (Option<Config>, Vec<TextError>) {
    let mut faults: Vec<(TextError, Option<String>)> = Vec::new();
    let mut mending = Mending { text: text.to_owned(), added: Vec::new() };
    // Each round mends one fault; a file has fewer keys than this.
    let mut rounds = 0..500;
    let config = loop {
        let problem = match parse_known(&mending.text) {
            Ok(config) => break Some(config),
            Err(problem) => problem,
        };
        let missing = missing_key(&problem);
        let said = mending.where_it_was(problem.clone());
        let mended = mending.mend(&problem, missing.as_deref());
        faults.push((said, missing));
        if mended.is_none() || rounds.next().is_none() {
            break None;
        }
    };
    // Only now, because a value that cannot be ends the reading before the keys behind it.
    let unknown = match parse(&mending.text) {
        Err(TextError::Unknown(keys)) => keys,
        _ => Vec::new(),
    };
    // A key or section with a typo is the reason why the right one is missing.
    let misspelt = |path: &String| unknown.iter().any(|key| key.nearest.as_ref() == Some(path));
    faults.retain(|(_, missing)| !missing.as_ref().is_some_and(misspelt));
    let mut problems: Vec<TextError> = faults.into_iter().map(|(problem, _)| problem).collect();
    if !unknown.is_empty() {
        problems.push(mending.where_it_was(TextError::Unknown(unknown)));
    }
    (config, problems)
}

/// The full path of the key whose absence is the problem.
fn missing_key(problem: &TextError) -> Option<String> {
    let TextError::Value { key, message, .. } = problem else { return None };
    let own = message.strip_prefix("missing field `")?.split('`').next()?;
    Some(match key {
        Some(section) => format!("{section}.{own}"),
        None => own.to_owned(),
    })
}

/// A text in which faults are replaced one after the other.
struct Mending {
    text: String,
    /// Lines that the original has not.
    added: Vec<usize>,
}

impl Mending {
    /// Replaces the fault by the default. `None` where that cannot be done.
    fn mend(&mut self, problem: &TextError, missing: Option<&str>) -> Option<()> {
        let TextError::Value { key, .. } = problem else { return None };
        let path = missing.or(key.as_deref())?;
        let specimen = toml::Table::try_from(Config::specimen()?).ok()?;
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        let mut value = specimen.get(first)?;
        for part in rest.split('.').filter(|part| !part.is_empty()) {
            value = value.get(part)?;
        }
        let tree = DeTable::parse(&self.text).ok()?;
        let (range, instead) = match (missing, value.as_table()) {
            // A whole section goes behind the end, where it moves no line.
            (Some(_), Some(section)) => {
                (self.text.len()..self.text.len(), format!("\n[{path}]\n{}", toml::to_string(section).ok()?))
            }
            (Some(_), None) => {
                let (section, own) = path.rsplit_once('.')?;
                let start = key_offset(tree.get_ref(), &section.split('.').map(str::to_owned).collect::<Vec<_>>())?;
                let header = self.text.get(..start)?.rfind('\n').map_or(0, |at| at + 1);
                let end = start + self.text.get(start..)?.find('\n')?;
                if !self.text.get(header..)?.starts_with('[') {
                    return None;
                }
                (end..end, format!("\n{own} = {value}"))
            }
            (None, _) => {
                let range = value_range(tree.get_ref(), path)?;
                let breaks = self.text.get(range.clone())?.matches('\n').count();
                (range, format!("{value}{}", "\n".repeat(breaks)))
            }
        };
        if missing.is_some() && value.as_table().is_none() {
            let line = line_of(self.text.as_bytes(), range.start) + 1;
            self.added.iter_mut().filter(|added| **added >= line).for_each(|added| *added += 1);
            self.added.push(line);
        }
        let before = self.text.clone();
        self.text.replace_range(range, &instead);
        (before != self.text).then_some(())
    }

    /// The number of a line before lines were added.
    fn original(&self, line: usize) -> usize {
        line - self.added.iter().filter(|added| **added < line).count()
    }

    /// The problem with the line that the original has.
    fn where_it_was(&self, problem: TextError) -> TextError {
        match problem {
            TextError::Value { key, line, message } => {
                TextError::Value { key, line: line.map(|line| self.original(line)), message }
            }
            TextError::Unknown(mut keys) => {
                for key in &mut keys {
                    key.line = key.line.map(|line| self.original(line));
                }
                TextError::Unknown(keys)
            }
            other => other,
        }
    }
}

/// Where the value of the key at `path` is written.
fn value_range(tree: &DeTable<'_>, path: &str) -> Option<std::ops::Range<usize>> {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let (_, value) = tree.iter().find(|(key, _)| *key.get_ref() == first)?;
    match value.get_ref() {
        DeValue::Table(table) if !rest.is_empty() => value_range(table, rest),
        _ => Some(value.span()),
    }
}

fn syntax(text: &str, error: &toml::de::Error) -> TextError {
    let line = error.span().map_or(1, |span| line_of(text.as_bytes(), span.start));
    TextError::Syntax { line, message: error.message().to_owned() }
}

pub(super) fn line_of(text: &[u8], offset: usize) -> usize {
    1 + text.iter().take(offset).filter(|byte| **byte == b'\n').count()
}

fn segments(path: &serde_ignored::Path<'_>) -> Vec<String> {
    use serde_ignored::Path;
    let (parent, own) = match path {
        Path::Root => return Vec::new(),
        Path::Seq { parent, index } => (parent, Some(index.to_string())),
        Path::Map { parent, key } => (parent, Some(key.clone())),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => (parent, None),
    };
    let mut all = segments(parent);
    all.extend(own);
    all
}

fn describe(text: &str, tree: &DeTable<'_>, known: &[String], path: &[String]) -> UnknownKey {
    let key = path.join(".");
    UnknownKey {
        line: key_offset(tree, path).map(|offset| line_of(text.as_bytes(), offset)),
        nearest: nearest(&key, known).cloned(),
        key,
    }
}

/// Where the key at `path` is written.
fn key_offset(tree: &DeTable<'_>, path: &[String]) -> Option<usize> {
    let (first, rest) = path.split_first()?;
    let (key, value) = tree.iter().find(|(key, _)| *key.get_ref() == first.as_str())?;
    match value.get_ref() {
        DeValue::Table(table) if !rest.is_empty() => key_offset(table, rest),
        _ => Some(key.span().start),
    }
}

/// The deepest key whose value is written at `offset`.
fn key_at(tree: &DeTable<'_>, offset: usize, prefix: &str) -> Option<String> {
    tree.iter().find_map(|(key, value)| {
        let path = format!("{prefix}{}", key.get_ref());
        let deeper = match value.get_ref() {
            DeValue::Table(table) => key_at(table, offset, &format!("{path}.")),
            _ => None,
        };
        deeper.or_else(|| (Spanned::span(value).contains(&offset)).then_some(path))
    })
}

/// The paths of all sections and keys that exist.
pub(super) fn known_keys() -> Vec<String> {
    fn walk(table: &toml::Table, prefix: &str, into: &mut Vec<String>) {
        for (key, value) in table {
            let path = format!("{prefix}{key}");
            if let toml::Value::Table(inner) = value
                && !Secret::is_one(value)
            {
                walk(inner, &format!("{path}."), into);
            }
            into.push(path);
        }
    }
    let mut keys = Vec::new();
    if let Some(table) = Config::specimen().and_then(|config| toml::Table::try_from(config).ok()) {
        walk(&table, "", &mut keys);
    }
    keys
}

/// The known key that `key` is most like: its last part decides, its section breaks ties.
fn nearest<'k>(key: &str, known: &'k [String]) -> Option<&'k String> {
    let split = |path: &str| match path.rsplit_once('.') {
        Some((section, own)) => (section.to_owned(), own.to_owned()),
        None => (String::new(), path.to_owned()),
    };
    let (section, own) = split(key);
    let own = own.to_lowercase();
    let score = |candidate: &str| {
        let (other_section, other) = split(candidate);
        let other = other.to_lowercase();
        let like = strsim::normalized_damerau_levenshtein(&own, &other).max(strsim::jaro(&own, &other) - 0.05);
        (like, 0.9 * like + 0.1 * strsim::normalized_levenshtein(&section, &other_section))
    };
    known
        .iter()
        .map(|candidate| (score(candidate), candidate))
        .filter(|((like, _), _)| *like >= NEAR)
        .max_by(|((_, a), _), ((_, b), _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::super::tests::alder;
    use super::*;

    fn changed(from: &str, to: &str) -> TextError {
        let text = Config::template(alder());
        assert!(text.contains(from), "{from} is not in the template");
        Config::parse(&text.replacen(from, to, 1)).unwrap_err()
    }

    #[test]
    fn a_survey_names_every_fault_with_its_own_line() {
        let text = Config::template(alder());
        let (config, none) = survey(&text);
        assert_eq!((config, none), (Some(Config::new(alder())), Vec::new()));
        let wrong = text
            .replacen("ori = \"CA0010000\"", "ori = \"NV0010000\"", 1)
            .replacen("county = \"Alder\"\n", "\n", 1)
            .replacen("in_flight = 8", "in_flihgt = 8", 1)
            .replacen("rate_per_second = 20", "rate_per_second = 0", 1)
            .replacen("listen = \"127.0.0.1:7481\"", "listen = \"0.0.0.0:7481\"", 1)
            .replacen("[approvals]", "[aprovals]", 1);
        let (config, problems) = survey(&wrong);
        let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let line = |start: &str| 1 + wrong.lines().position(|line| line.starts_with(start)).unwrap();
        for (at, says) in [
            (line("ori = "), "not a California agency"),
            (line("[agency]"), "county"),
            (line("in_flihgt"), "peer.in_flight"),
            (line("[aprovals]"), "approvals"),
            (line("rate_per_second"), "peer.rate_per_second"),
            (line("listen = \"0.0.0.0:7481\""), "loopback"),
        ] {
            let named = said.iter().any(|text| text.contains(says) && text.contains(&format!("(line {at})")));
            assert!(named, "{says} of line {at} is not in {said:#?}");
        }
        assert_eq!(problems.len(), 5, "the two unknown keys are one problem: {said:#?}");
        let config = config.unwrap();
        assert_eq!((config.peer.in_flight.get(), config.agency.legal_name.as_str()), (8, "Alder County \"Sheriff\""));
        // Without a section, and in no TOML at all.
        let keys = text.find("[keys]").unwrap();
        let end = keys + text[keys..].find("# ").map_or(0, |_| text[keys..].find("[peer]").unwrap());
        let (config, problems) = survey(&format!("{}{}", &text[..keys], &text[end..]));
        assert!(config.is_some() && problems.len() == 1, "{problems:?}");
        assert!(matches!(survey("[agency\n"), (None, problems) if problems.len() == 1));
    }

    fn line_in_template(line: &str) -> usize {
        1 + Config::template(alder()).lines().position(|l| l.starts_with(line)).unwrap()
    }

    #[test]
    fn a_typo_is_named_with_its_path_line_and_nearest_key() {
        for (from, to, key, nearest) in [
            ("\nmax_body_bytes =", "\nmax_boddy_bytes =", "peer.max_boddy_bytes", "peer.max_body_bytes"),
            ("\nlegal_name =", "\nlegalname =", "agency.legalname", "agency.legal_name"),
            ("\nG =", "\ng =", "policy.elements.g", "policy.elements.G"),
            ("[policy.elements]", "[policy.element]", "policy.element", "policy.elements"),
            ("[console]", "[consol]", "consol", "console"),
            ("[agency]", "[Agency]", "Agency", "agency"),
            ("\nmax_rows =", "\nmax_row =", "rules.max_row", "rules.max_rows"),
            ("\nformat =", "\nmax_line_bytes =", "log.max_line_bytes", "ingest.max_line_bytes"),
        ] {
            let line = line_in_template(from.trim_start());
            let found = changed(from, to);
            let expected = UnknownKey { key: key.into(), line: Some(line), nearest: Some(nearest.into()) };
            assert_eq!(found, TextError::Unknown(vec![expected]), "{to}");
        }
    }

    #[test]
    fn all_typos_are_named_at_once_and_a_strange_key_gets_no_guess() {
        let text = Config::template(alder()).replacen("\nlevel =", "\nxyzzy = 1\nlevl =", 1);
        let error = Config::parse(&text).unwrap_err();
        assert!(matches!(&error, TextError::Unknown(keys) if keys.len() == 2), "{error}");
        let shown = error.to_string();
        assert!(shown.contains("unknown key `log.xyzzy`") && shown.contains("`concordat init`"), "{shown}");
        assert!(shown.contains("`log.levl`") && shown.contains("did you mean `log.level`?"), "{shown}");
    }

    #[test]
    fn a_wrong_value_is_named_with_its_path_and_line() {
        for (from, to, key, says) in [
            ("ori = \"CA0010000\"", "ori = \"NV0010000\"", "agency.ori", "not a California agency"),
            ("listen = \"127.0.0.1:7481\"", "listen = \"0.0.0.0:7481\"", "ops.listen", "loopback"),
            ("max_rows = 200", "max_rows = 0", "rules.max_rows", "nonzero"),
            ("max_rows = 200", "max_rows = \"many\"", "rules.max_rows", "invalid type"),
            ("url = \"https://alpr", "url = \"http://alpr", "peer.url", "https://HOST"),
            ("checked_on = \"\"", "checked_on = \"2026-02-30\"", "policy.checked_on", "day"),
            ("checked_on = \"\"", "checked_on = \"2026-02-03T10:00:00\"", "policy.checked_on", "write 2026-02-03"),
            ("sensitive = \"refer\"", "sensitive = \"ignore\"", "rules.sensitive", "refer"),
            ("registry = \"sqlite:", "registry = \"file:", "store.registry", "sqlite:FILE"),
            ("log_origin = \"alpr.", "log_origin = \"al pr.", "keys.log_origin", "origin"),
        ] {
            let TextError::Value { key: found, line, message } = changed(from, to) else { panic!("{to}") };
            assert_eq!(found.as_deref(), Some(key), "{to}");
            assert_eq!(line, Some(line_in_template(from)), "{to}");
            assert!(message.contains(says), "{to}: {message}");
        }
    }

    #[test]
    fn keys_that_contradict_each_other_are_named() {
        let with = |more: &str| Config::parse(&(Config::template(alder()) + more)).unwrap_err().to_string();
        let zoneless = with("[ingest.csv.acme]\nseen_at_format = \"%F %T\"\n");
        assert!(zoneless.contains("ingest.csv.acme.time_zone") && zoneless.contains("%z"), "{zoneless}");
        let unknown = with("[ingest.folder.in]\npath = \"in\"\ncsv = \"acme\"\n");
        assert!(unknown.contains("ingest.folder.in.csv (line") && unknown.contains("[ingest.csv]"), "{unknown}");
        let typo = with("[ingest.csv.acme]\ndelimitter = \";\"\n[ingest.csv.acme.columns]\nplates = \"P\"\n");
        assert!(typo.contains("`ingest.csv.acme.delimitter`"), "{typo}");
        assert!(typo.contains("did you mean `ingest.csv.NAME.delimiter`?"), "{typo}");
        assert!(typo.contains("did you mean `ingest.csv.NAME.columns.plate`?"), "{typo}");
        let blank = with("[ingest.csv.acme.columns]\nplate = \"\"\n");
        assert!(blank.contains("ingest.csv.acme.columns (line") && blank.contains("not be blank"), "{blank}");
        let twice = with("[ingest.csv.acme.columns]\nplate = \"X\"\ncamera = \"x\"\n");
        assert!(twice.contains("ingest.csv.acme.columns") && twice.contains("twice"), "{twice}");
        let open = Config::template(alder()).replace("listen = \"\"", "listen = \"0.0.0.0:7482\"");
        assert!(Config::parse(&open).is_ok());
        let bare = Config::parse(&open.replace("tls = true", "tls = false")).unwrap_err().to_string();
        assert!(bare.contains("ingest.webhook.tls (line") && bare.contains("loopback"), "{bare}");
    }

    #[test]
    fn a_missing_key_and_broken_toml_are_said() {
        let missing = changed("\nori = ", "\n# ori = ").to_string();
        assert!(missing.contains("agency") && missing.contains("missing field `ori`"), "{missing}");
        let broken = changed("[console]", "[console");
        assert!(matches!(broken, TextError::Syntax { line, .. } if line == line_in_template("[console]")), "{broken}");
        let twice = changed("\nlevel =", "\nlevel = \"info\"\nlevel =").to_string();
        assert!(twice.contains("duplicate"), "{twice}");
        assert!(Config::parse("").unwrap_err().to_string().contains("missing field `agency`"));
    }

    #[test]
    fn what_has_a_default_may_be_left_out() {
        let text = "[agency]\nori='CA0010000'\nlegal_name='A'\nkind='city_and_county'\ncounty='A'\n\
                    [keys]\nlog_origin='a/b'\n[peer]\nurl='https://a'\n";
        let config = Config::parse(text).unwrap();
        assert_eq!(config.peer.max_body_bytes.get(), 1_048_576);
        assert_eq!(config.rules.purposes.len(), 7);
    }

    #[test]
    fn a_hotlist_is_not_told_to_differ_by_more_or_to_be_renewed_later_than_its_lease_bears() {
        for (from, to, key) in [
            ("refresh_minutes = 240", "refresh_minutes = 721", "hotlists.refresh_minutes"),
            ("substitutions = 1", "substitutions = 3", "hotlists.substitutions"),
        ] {
            let refused = changed(from, to).to_string();
            assert!(refused.contains(key), "{refused}");
        }
        assert!(
            parse(&Config::template(alder()).replacen("refresh_minutes = 240", "refresh_minutes = 720", 1)).is_ok()
        );
    }
}
