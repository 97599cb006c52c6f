//! Reading a draft: every fault of it at once, each with its line and what to write instead.
//!
//! What is faulty is replaced by a specimen, so that the rest can be looked at further: nobody likes to be told one fault
//! for each run.

use std::fmt;

use agreements::agreement::{Area, Authorization};
use agreements::ids::Ori;
use agreements::purpose::Purpose;
use jiff::civil::Date;
use serde::Deserialize as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue, ValueDeserializer};
use toml::{Spanned, Table, Value};

use super::DraftError;

/// Below this, two keys have nothing to do with each other (1 is the same key).
const NEAR: f64 = 0.6;

/// Something wrong in a draft.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Fault {
    /// The line it is in, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// What, and what to write.
    pub says: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.says),
            None => f.write_str(&self.says),
        }
    }
}

/// A key that a table may have.
pub(super) struct Field {
    key: &'static str,
    needed: bool,
    sound: fn(&Value) -> Result<(), String>,
    /// What could stand there, as TOML.
    specimen: &'static str,
}

const fn needed(key: &'static str, sound: fn(&Value) -> Result<(), String>, specimen: &'static str) -> Field {
    Field { key, needed: true, sound, specimen }
}

const fn free(key: &'static str, sound: fn(&Value) -> Result<(), String>, specimen: &'static str) -> Field {
    Field { key, needed: false, sound, specimen }
}

fn typed<T: DeserializeOwned>(value: &Value) -> Result<(), String> {
    T::deserialize(value.clone()).map(drop).map_err(|error| error.message().trim().to_owned())
}

/// Looked at on its own.
fn any(value: &Value) -> Result<(), String> {
    typed::<Value>(value)
}

/// The keys of a draft for one partner.
pub(super) const DRAFT: &[Field] = &[
    needed("partner", typed::<Ori>, "\"CA0990100\""),
    needed("effective_on", typed::<Date>, "\"2027-01-01\""),
    needed("sunset_on", typed::<Date>, "\"2028-01-01\""),
    free("framework", typed::<String>, "\"framework.md\""),
    needed("grants", any, "[]"),
    needed("commitments", any, "{}"),
];

/// The keys of a framework's draft.
pub(super) const FRAME: &[Field] = &[
    needed("framework", typed::<String>, "\"framework.md\""),
    needed("agencies", typed::<Vec<Ori>>, "[\"CA0990000\", \"CA0990100\"]"),
    needed("effective_on", typed::<Date>, "\"2027-01-01\""),
    needed("sunset_on", typed::<Date>, "\"2028-01-01\""),
    free("spread_days", typed::<u16>, "180"),
    needed("grants", any, "[]"),
    needed("commitments", any, "{}"),
];

const SIDES: &[Field] =
    &[needed("owner", typed::<Ori>, "\"CA0990100\""), needed("recipient", typed::<Ori>, "\"CA0990000\"")];

const QUERY: &[Field] = &[
    needed("purposes", typed::<Vec<Purpose>>, "[\"criminal_investigation\"]"),
    needed("lookback_days", typed::<u32>, "30"),
    needed("max_rows", typed::<u32>, "100"),
    needed("daily_quota", typed::<u32>, "200"),
    free("area", typed::<Area>, "{ south = 37000000, west = -122500000, north = 38000000, east = -121000000 }"),
    needed("partial", typed::<bool>, "false"),
    needed("fuzzy", typed::<bool>, "false"),
    needed("images", typed::<bool>, "false"),
    needed("without_plate", typed::<bool>, "false"),
    needed("authorization", typed::<Authorization>, "\"standing\""),
];

const HOTLIST: &[Field] = &[
    needed("list", typed::<String>, "\"wanted\""),
    needed("categories", typed::<Vec<String>>, "[\"stolen_vehicle\"]"),
];

const HITS: &[Field] = &[needed("list", typed::<String>, "\"wanted\"")];

const COMMITMENTS: &[Field] = &[
    needed("lawful_use", typed::<bool>, "true"),
    needed("authorized_users_only", typed::<bool>, "true"),
    needed("trained_users", typed::<bool>, "true"),
    needed("accuracy", typed::<bool>, "true"),
    needed("no_onward_transfer", typed::<bool>, "true"),
    needed("hotlist_max_age_hours", typed::<u32>, "24"),
    needed("received_retention_days", typed::<u32>, "365"),
];

/// A file as it was read.
pub(super) struct Reading {
    /// The file, with specimens in the place of what is faulty.
    pub(super) table: Table,
    pub(super) faults: Vec<Fault>,
    /// Whether too much is faulty to say anything about the rest.
    pub(super) hopeless: bool,
    places: Vec<Place>,
}

/// Where a key is, and in which grant.
struct Place {
    key: &'static str,
    line: usize,
    grant: Option<usize>,
}

/// Reads a file whose keys are `top`; grants say their `sides` (owner and recipient), or each grants the other.
///
/// # Errors
/// [`DraftError::Text`]: no TOML at all.
pub(super) fn read(text: &str, top: &[Field], sides: bool) -> Result<Reading, DraftError> {
    let tree = DeTable::parse(text)?;
    let mut reader = Reader { text, faults: Vec::new(), places: Vec::new(), hopeless: false };
    let (mut table, mended) = reader.table(tree.get_ref(), 0, &[top], "the draft", None);
    let dates = ["effective_on", "sunset_on"];
    if dates.iter().any(|date| mended.contains(date)) {
        // Each alone could contradict the other's specimen.
        for field in top.iter().filter(|field| dates.contains(&field.key)) {
            table.insert(field.key.to_owned(), specimen(field));
        }
    }
    reader.hopeless |= ["partner", "agencies", "grants"].iter().any(|key| mended.contains(key));
    if let Some(grants) = tree.get_ref().get("grants") {
        let grants = reader.grants(grants, sides);
        table.insert("grants".to_owned(), Value::Array(grants));
    }
    let promised = match tree.get_ref().get("commitments") {
        Some(value) => match value.get_ref() {
            DeValue::Table(inner) => reader.table(inner, value.span().start, &[COMMITMENTS], "[commitments]", None).0,
            _ => reader.no_table(value, "[commitments]"),
        },
        None => Table::new(),
    };
    let specimens = COMMITMENTS.iter().map(|field| (field.key.to_owned(), specimen(field)));
    let mut all: Table = specimens.collect();
    all.extend(promised);
    table.insert("commitments".to_owned(), Value::Table(all));
    let Reader { mut faults, places, hopeless, .. } = reader;
    faults.sort();
    Ok(Reading { table, faults, hopeless, places })
}

impl Reading {
    /// A problem of the document that the draft would make, with the line that it comes from, where that can be told.
    pub(super) fn located(&self, problem: String) -> Fault {
        let grant = ["query", "hotlist", "hits"].into_iter().find_map(|kind| {
            let of =
                problem.starts_with(&format!("the {kind} grant")) || problem.starts_with(&format!("the grant {kind}"));
            of.then(|| self.grant(kind, &problem)).flatten()
        });
        let places = || self.places.iter().filter(|place| place.grant == grant);
        let mut named: Vec<(usize, usize)> =
            places().filter_map(|place| Some((problem.find(place.key)?, place.line))).collect();
        named.sort_unstable();
        let line = match (grant, named.as_slice()) {
            // Of several that are named together nobody knows which it is: the grant is.
            (Some(_), [(_, line)]) | (None, [(_, line), ..]) => Some(*line),
            (Some(_), _) => places().map(|place| place.line).min(),
            (None, []) if problem.starts_with("every commitment") => {
                self.places.iter().find(|place| place.key == "commitments").map(|place| place.line)
            }
            (None, []) => None,
        };
        Fault { line, says: problem }
    }

    /// Which grant of a kind a problem is of: the one whose owner or list it names, or whose sides are no two.
    fn grant(&self, kind: &str, problem: &str) -> Option<usize> {
        let grants = self.table.get("grants")?.as_array()?;
        let of = |key: &str, grant: &Value| grant.get(key).and_then(Value::as_str).map(str::to_owned);
        let mut same = grants.iter().enumerate().filter(|(_, grant)| of("kind", grant).as_deref() == Some(kind));
        let own = |grant: &Value| match of("owner", grant) {
            Some(owner) => problem.contains(&owner) || of("recipient", grant) == Some(owner),
            None => true,
        };
        let listed = |grant: &Value| {
            of("list", grant)
                .is_none_or(|list| problem.starts_with(&format!("the {kind} grant")) || problem.contains(&list))
        };
        let first = same.clone().next().map(|(n, _)| n);
        same.find(|(_, grant)| own(grant) && listed(grant)).map(|(n, _)| n).or(first)
    }
}

struct Reader<'t> {
    text: &'t str,
    faults: Vec<Fault>,
    places: Vec<Place>,
    hopeless: bool,
}

impl Reader<'_> {
    fn line(&self, offset: usize) -> usize {
        1 + self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
    }

    fn fault(&mut self, offset: usize, says: String) {
        self.faults.push(Fault { line: Some(self.line(offset)), says });
    }

    fn no_table(&mut self, value: &Spanned<DeValue<'_>>, what: &str) -> Table {
        self.fault(value.span().start, format!("{what} must be a table with keys of its own"));
        Table::new()
    }

    /// A table with specimens in the place of what is faulty, and the keys where that is so.
    fn table(
        &mut self,
        tree: &DeTable<'_>,
        header: usize,
        fields: &[&[Field]],
        what: &str,
        grant: Option<usize>,
    ) -> (Table, Vec<&'static str>) {
        let fields = || fields.iter().copied().flatten();
        let (mut table, mut mended, mut misspelt) = (Table::new(), Vec::new(), Vec::new());
        for (key, value) in tree {
            let (name, start) = (key.get_ref().as_ref(), key.span().start);
            let Some(field) = fields().find(|field| field.key == name) else {
                let near = fields().map(|field| (strsim::normalized_damerau_levenshtein(name, field.key), field.key));
                let nearest = near.filter(|(like, _)| *like >= NEAR).max_by(|(a, _), (b, _)| a.total_cmp(b));
                let hint = nearest.map(|(_, key)| format!("; did you mean `{key}`?")).unwrap_or_default();
                misspelt.extend(nearest.map(|(_, key)| key));
                self.fault(start, format!("there is no key `{}` in {what}{hint}", name.escape_debug()));
                continue;
            };
            self.places.push(Place { key: field.key, line: self.line(start), grant });
            let value = plain(value);
            match (field.sound)(&value) {
                Ok(()) => drop(table.insert(name.to_owned(), value)),
                Err(message) => {
                    self.fault(start, format!("{name}: {message}, such as {name} = {}", field.specimen));
                    mended.push(field.key);
                }
            }
        }
        let absent: Vec<&Field> = fields().filter(|it| it.needed && !tree.contains_key(it.key)).collect();
        for field in absent {
            mended.push(field.key);
            // A key with a typo is the reason why the right one is missing.
            if !misspelt.contains(&field.key) {
                let how = match field.key {
                    "grants" => "write at least one [[grants]]".to_owned(),
                    "commitments" => "write the section [commitments]".to_owned(),
                    key => format!("write {key} = {}", field.specimen),
                };
                self.fault(header, format!("`{}` is missing from {what}: {how}", field.key));
            }
        }
        for field in fields().filter(|field| mended.contains(&field.key)) {
            table.insert(field.key.to_owned(), specimen(field));
        }
        (table, mended)
    }

    fn grants(&mut self, value: &Spanned<DeValue<'_>>, sides: bool) -> Vec<Value> {
        let DeValue::Array(items) = value.get_ref() else {
            self.fault(value.span().start, "grants must be tables: write [[grants]] above each".to_owned());
            self.hopeless = true;
            return Vec::new();
        };
        let mut grants = Vec::new();
        for item in items {
            let start = item.span().start;
            let DeValue::Table(tree) = item.get_ref() else {
                self.fault(start, "a grant must be a table: write [[grants]] above it".to_owned());
                continue;
            };
            let kind = tree.get("kind").map(plain);
            let own = match kind.as_ref().and_then(Value::as_str) {
                Some("query") => QUERY,
                Some("hotlist") => HOTLIST,
                Some("hits") => HITS,
                _ => {
                    let at = tree.get("kind").map_or(start, |kind| kind.span().start);
                    self.fault(at, "a grant needs kind = \"query\", \"hotlist\" or \"hits\"".to_owned());
                    continue;
                }
            };
            let kinds = &[free("kind", any, "\"query\"")];
            let named: &[&[Field]] = if sides { &[kinds, SIDES, own] } else { &[kinds, own] };
            let what = if sides { "this grant" } else { "this grant, which each makes to the other" };
            let (table, mended) = self.table(tree, start, named, what, Some(grants.len()));
            if ["owner", "recipient"].iter().any(|side| mended.contains(side)) {
                self.places.retain(|place| place.grant != Some(grants.len()));
                continue;
            }
            grants.push(Value::Table(table));
        }
        self.hopeless |= grants.is_empty() && !self.faults.is_empty();
        grants
    }
}

fn specimen(field: &Field) -> Value {
    field.specimen.parse().unwrap_or(Value::Boolean(false))
}

/// A value without its place. A date may be written with quotes or without.
fn plain(value: &Spanned<DeValue<'_>>) -> Value {
    match Value::deserialize(ValueDeserializer::from(value.clone())) {
        Ok(Value::Datetime(date)) => Value::String(date.to_string()),
        Ok(value) => value,
        Err(_) => Value::Boolean(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every field of the types is a key here, and the other way round.
    #[test]
    fn the_keys_are_those_of_the_types() {
        let table = |fields: &[&[Field]]| -> Table {
            fields.iter().copied().flatten().map(|field| (field.key.to_owned(), specimen(field))).collect()
        };
        let keys = |table: &Table| table.keys().cloned().collect::<std::collections::BTreeSet<_>>();
        for (kind, own) in [("query", QUERY), ("hotlist", HOTLIST), ("hits", HITS)] {
            let mut written = table(&[SIDES, own]);
            written.insert("kind".to_owned(), kind.into());
            let grant = agreements::agreement::Grant::deserialize(Value::Table(written.clone())).unwrap();
            assert_eq!(keys(&Table::try_from(grant).unwrap()), keys(&written), "{kind}");
        }
        let promised = table(&[COMMITMENTS]);
        let read = agreements::agreement::Commitments::deserialize(Value::Table(promised.clone())).unwrap();
        assert_eq!(keys(&Table::try_from(read).unwrap()), keys(&promised));
        for field in [DRAFT, FRAME, SIDES, QUERY, HOTLIST, HITS, COMMITMENTS].into_iter().flatten() {
            (field.sound)(&specimen(field)).unwrap();
        }
    }
}
