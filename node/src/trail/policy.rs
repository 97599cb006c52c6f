//! Witness policies (c2sp.org/tlog-policy): which witnesses a federation has, and how many of them make a head count.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use agreements::ids::Digest;
use agreements::time::Instant;

use super::cosignature::{CosignerKey, SignedText};
use super::note::Vkey;

/// The longest policy that is read, in bytes.
pub const MAX_POLICY: usize = 64 * 1024;
/// The most logs, witnesses and groups that are read, of each.
const MAX_LINES: usize = 4096;
const MAX_MEMBERS: usize = 256;

/// A log that a policy names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Its key, with its origin as the name.
    pub vkey: Vkey,
    /// Where it is, if the policy says so.
    pub url: Option<String>,
}

/// A witness that a policy names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// What the policy calls it.
    pub name: String,
    /// Its key.
    pub key: CosignerKey,
    /// Its submission prefix, if the policy says so.
    pub url: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Witness(usize),
    Group { least: usize, members: Vec<Rule> },
}

/// A policy as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    sha256: Digest,
    logs: Vec<Log>,
    witnesses: Vec<Witness>,
    quorum: Option<Rule>,
}

/// Why a policy is not accepted, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the witness policy: {what}")]
pub struct PolicyError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what belongs there.
    pub what: String,
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// [`PolicyError`]: the first line that is not as c2sp.org/tlog-policy has it.
    pub fn parse(bytes: &[u8]) -> Result<Self, PolicyError> {
        let fail = |line, what: String| PolicyError { line, what };
        if bytes.len() > MAX_POLICY {
            return Err(fail(1, format!("the policy is longer than {MAX_POLICY} bytes")));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let line = bytes.iter().take(error.valid_up_to()).filter(|byte| **byte == b'\n').count() + 1;
            fail(line, "it is not UTF-8".to_owned())
        })?;
        let mut reading = Reading::default();
        let mut last = 1;
        for (number, line) in (1..).zip(text.split('\n')) {
            last = number;
            reading.line(line).map_err(|what| fail(number, what))?;
        }
        let Reading { logs, witnesses, quorum, .. } = reading;
        let quorum =
            quorum.ok_or_else(|| fail(last, "a policy ends with `quorum <name>`, or `quorum none`".to_owned()))?;
        let quorum = match quorum {
            Quorum::Nobody => None,
            Quorum::Of(rule) => Some(rule),
        };
        Ok(Self { sha256: Digest::of(bytes), logs, witnesses, quorum })
    }

    /// SHA-256 of the file: what agreements name.
    #[must_use]
    pub fn sha256(&self) -> Digest {
        self.sha256
    }

    /// The logs that it names; a policy without any is for all that are known from elsewhere.
    #[must_use]
    pub fn logs(&self) -> &[Log] {
        &self.logs
    }

    /// The witnesses.
    #[must_use]
    pub fn witnesses(&self) -> &[Witness] {
        &self.witnesses
    }

    /// Since when a quorum has cosigned `note`: the newest instant such that those who cosigned at it or later are enough.
    /// `None` where they are not. Witnesses for whom `counts` is false are left out: an owner does not witness itself.
    #[must_use]
    pub fn witnessed(&self, note: &SignedText, counts: impl Fn(&Witness) -> bool) -> Option<Instant> {
        let at = |witness: &Witness| if counts(witness) { witness.key.cosigned(note) } else { None };
        let times: Vec<Option<Instant>> = self.witnesses.iter().map(at).collect();
        self.since(&times)
    }

    /// The same, from when each witness (in their order) cosigned.
    #[must_use]
    pub fn since(&self, times: &[Option<Instant>]) -> Option<Instant> {
        match &self.quorum {
            Some(rule) => rule.since(times),
            // Nothing is asked for.
            None => Some(Instant::from_micros(i64::MAX)),
        }
    }

    /// Whether a quorum can be had at all where only the witnesses that `count` take part.
    #[must_use]
    pub fn reachable(&self, counts: impl Fn(&Witness) -> bool) -> bool {
        let times: Vec<Option<Instant>> =
            self.witnesses.iter().map(|witness| counts(witness).then_some(Instant::from_micros(i64::MAX))).collect();
        self.since(&times).is_some()
    }

    /// What a federation should mend in it, one sentence each: three to seven witnesses, of which more than half make a
    /// quorum. Who the witnesses are, a file does not say.
    #[must_use]
    pub fn weaknesses(&self) -> Vec<String> {
        let mut found = Vec::new();
        let count = self.witnesses.len();
        if !(3..=7).contains(&count) {
            found.push(format!("it names {count} witnesses; three to seven can lose one and still be watched"));
        }
        let least = self.quorum.as_ref().map_or(0, Rule::least);
        if least * 2 <= count {
            found.push(format!(
                "{least} of {count} witnesses are a quorum: an owner could show one trail to some and another to the rest; \
                 ask for more than half"
            ));
        }
        found
    }
}

impl Rule {
    fn since(&self, times: &[Option<Instant>]) -> Option<Instant> {
        match self {
            Self::Witness(index) => times.get(*index).copied().flatten(),
            Self::Group { least, members } => {
                let mut since: Vec<Instant> = members.iter().filter_map(|member| member.since(times)).collect();
                since.sort_unstable_by(|a, b| b.cmp(a));
                since.get(least.checked_sub(1)?).copied()
            }
        }
    }

    /// How few witnesses can fulfil it.
    fn least(&self) -> usize {
        match self {
            Self::Witness(_) => 1,
            Self::Group { least, members } => {
                let mut each: Vec<usize> = members.iter().map(Self::least).collect();
                each.sort_unstable();
                each.iter().take(*least).sum()
            }
        }
    }
}

/// What was read so far.
#[derive(Default)]
struct Reading {
    logs: Vec<Log>,
    witnesses: Vec<Witness>,
    names: BTreeMap<String, Rule>,
    grouped: BTreeSet<String>,
    quorum: Option<Quorum>,
}

/// What a `quorum` line says.
enum Quorum {
    Nobody,
    Of(Rule),
}

impl Reading {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if line.chars().any(|c| c.is_ascii_control() && c != '\t') {
            return Err("control characters do not belong in a policy; lines end with a newline alone".to_owned());
        }
        let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
        let Some(first) = words.next().filter(|word| !word.starts_with('#')) else { return Ok(()) };
        let words: Vec<&str> = words.collect();
        match (first, words.as_slice()) {
            ("log", [vkey, url @ ..]) => self.log(vkey, url),
            ("witness", [name, vkey, url @ ..]) => self.witness(name, vkey, url),
            ("group", [name, least, members @ ..]) => self.group(name, least, members),
            ("quorum", [name]) => self.quorum(name),
            ("log" | "witness" | "group" | "quorum", _) => Err(format!(
                "`{first}` is written `log <vkey> [<url>]`, `witness <name> <vkey> [<url>]`, `group <name> all|any|<k> \
                 <name>...` or `quorum <name>`"
            )),
            _ => Err(format!("`{first}` is none of log, witness, group and quorum")),
        }
    }

    fn log(&mut self, vkey: &str, url: &[&str]) -> Result<(), String> {
        let vkey: Vkey = vkey.parse().map_err(|error| format!("{error}"))?;
        if self.logs.iter().any(|log| log.vkey.key() == vkey.key()) {
            return Err(format!("the key of log {} is named twice", vkey.name()));
        }
        if self.logs.len() == MAX_LINES {
            return Err(format!("more than {MAX_LINES} logs"));
        }
        self.logs.push(Log { vkey, url: at_most_one(url)? });
        Ok(())
    }

    fn witness(&mut self, name: &str, vkey: &str, url: &[&str]) -> Result<(), String> {
        let key: CosignerKey = vkey.parse().map_err(|error| format!("{error}"))?;
        if self.witnesses.iter().any(|witness| witness.key.key() == key.key()) {
            return Err(format!("the key of witness {name} is named twice"));
        }
        if self.witnesses.len() == MAX_LINES {
            return Err(format!("more than {MAX_LINES} witnesses"));
        }
        self.name(name, Rule::Witness(self.witnesses.len()))?;
        self.witnesses.push(Witness { name: name.to_owned(), key, url: at_most_one(url)? });
        Ok(())
    }

    fn group(&mut self, name: &str, least: &str, members: &[&str]) -> Result<(), String> {
        if members.is_empty() || members.len() > MAX_MEMBERS {
            return Err(format!("a group has 1 to {MAX_MEMBERS} members"));
        }
        let mut rules = Vec::with_capacity(members.len());
        for member in members {
            let rule = self.names.get(*member).cloned();
            rules.push(rule.ok_or_else(|| format!("{member} is no witness or group of the lines before"))?);
            if !self.grouped.insert((*member).to_owned()) {
                return Err(format!("{member} is a member twice: it would count twice"));
            }
        }
        let canonical = |k: &usize| k.to_string() == least && (1..=rules.len()).contains(k);
        let least = match least {
            "all" => rules.len(),
            "any" => 1,
            number => number.parse().ok().filter(canonical).ok_or_else(|| {
                format!("how many members a group needs is `all`, `any` or a number from 1 to {}", rules.len())
            })?,
        };
        self.name(name, Rule::Group { least, members: rules })
    }

    fn quorum(&mut self, name: &str) -> Result<(), String> {
        if self.quorum.is_some() {
            return Err("a policy has one quorum".to_owned());
        }
        self.quorum = Some(match name {
            "none" => Quorum::Nobody,
            name => {
                let rule = self.names.get(name).cloned();
                Quorum::Of(rule.ok_or_else(|| format!("{name} is no witness or group of the lines before"))?)
            }
        });
        Ok(())
    }

    fn name(&mut self, name: &str, rule: Rule) -> Result<(), String> {
        if name == "none" {
            return Err("`none` is no name for a witness or a group".to_owned());
        }
        if self.names.len() == 2 * MAX_LINES || self.names.insert(name.to_owned(), rule).is_some() {
            return Err(format!("{name} is defined twice"));
        }
        Ok(())
    }
}

fn at_most_one(url: &[&str]) -> Result<Option<String>, String> {
    match url {
        [] => Ok(None),
        [url] => Ok(Some((*url).to_owned())),
        _ => Err("after the key there is at most one URL".to_owned()),
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "witness policy {} of {} witnesses", self.sha256, self.witnesses.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trail::cosignature::Cosigner;
    use certs::key::SigningKey;
    use proptest::prelude::*;

    fn witnesses(count: usize) -> Vec<Cosigner> {
        let one = |n| Cosigner::new(&format!("witness.test/{n}"), SigningKey::generate_ed25519().unwrap()).unwrap();
        (0..count).map(one).collect()
    }

    fn lines(witnesses: &[Cosigner]) -> String {
        let line =
            |(n, it): (usize, &Cosigner)| ["witness w", &n.to_string(), " ", &it.public().to_string(), "\n"].concat();
        witnesses.iter().enumerate().map(line).collect()
    }

    fn read(text: &str) -> Policy {
        Policy::parse(text.as_bytes()).unwrap()
    }

    #[expect(clippy::unnecessary_wraps, reason = "it stands beside what did not cosign")]
    fn at(seconds: i64) -> Option<Instant> {
        Some(Instant::from_micros(seconds * Instant::SECOND))
    }

    #[test]
    fn groups_of_groups_count_as_the_specification_says() {
        let six = lines(&witnesses(6));
        let policy = read(&format!(
            "# of a test\n{six}\n group x 2 w0\tw1 w2\ngroup y any w3 w4 w5\n\ngroup both all x y\nquorum both\n"
        ));
        let none = [None; 6];
        let with = |which: &[(usize, i64)]| {
            let mut times = none;
            for (index, time) in which {
                times[*index] = at(*time);
            }
            policy.since(&times)
        };
        assert_eq!(with(&[(0, 5), (1, 7), (4, 9)]), at(5), "the quorum is as old as the oldest that it needs");
        assert_eq!(with(&[(0, 5), (1, 7), (2, 6), (4, 9)]), at(6), "and needs two of three");
        assert_eq!(with(&[(0, 5), (1, 7), (2, 6)]), None);
        assert_eq!(with(&[(0, 5), (3, 7), (4, 6)]), None);
        assert_eq!(policy.sha256(), Digest::of(format!("# of a test\n{six}\n group x 2 w0\tw1 w2\ngroup y any w3 w4 w5\n\ngroup both all x y\nquorum both\n").as_bytes()));
    }

    #[test]
    fn whoever_is_left_out_does_not_count() {
        let three = witnesses(3);
        let policy = read(&format!("{}group all 2 w0 w1 w2\nquorum all\n", lines(&three)));
        let note = SignedText::parse("a.test/log\n7\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\u{2014} a.test/log Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n").unwrap();
        let now = at(100).unwrap();
        let two: String = three[..2].iter().map(|it| it.cosign(&note, now).unwrap()).collect();
        let note = SignedText::parse(&note.with(&two).unwrap()).unwrap();
        assert_eq!(policy.witnessed(&note, |_| true), at(100));
        assert_eq!(policy.witnessed(&note, |witness| witness.name != "w1"), None);
        assert!(policy.reachable(|witness| witness.name != "w1") && !policy.reachable(|witness| witness.name == "w1"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let two = lines(&witnesses(2));
        let log = "log PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW\n";
        for (text, line, what) in [
            (two.clone(), 3, "ends with `quorum"),
            (format!("{two}quorum w2\n"), 3, "w2 is no witness"),
            (format!("{two}quorum w0\nquorum w0\n"), 4, "one quorum"),
            (format!("{two}group g 3 w0 w1\nquorum g\n"), 3, "from 1 to 2"),
            (format!("{two}group g 0 w0 w1\nquorum g\n"), 3, "from 1 to 2"),
            (format!("{two}group g 01 w0 w1\nquorum g\n"), 3, "from 1 to 2"),
            (format!("{two}group g any\nquorum g\n"), 3, "1 to 256 members"),
            (format!("{two}group g any h\nquorum g\n"), 3, "h is no witness"),
            (format!("{two}group g any w0\ngroup h any w0\nquorum h\n"), 4, "member twice"),
            (format!("{two}group w0 any w1\nquorum w0\n"), 3, "defined twice"),
            (format!("{two}group none any w1\nquorum w0\n"), 3, "no name"),
            (format!("{two}{}", two.lines().next().unwrap()), 3, "named twice"),
            (format!("{two}{}quorum w0\n", two.replace("w0", "v0").replace("w1", "v1")), 3, "named twice"),
            (format!("{log}{log}quorum none\n"), 2, "named twice"),
            ("log PeterNeumann\nquorum none\n".to_owned(), 1, "verifier key"),
            (format!("witness w {}quorum w\n", &log[4..]), 1, "signature type 4"),
            ("quorum\n".to_owned(), 1, "is written"),
            ("trust me\n".to_owned(), 1, "none of log"),
            ("quorum none\r\n".to_owned(), 1, "control characters"),
            ("# \u{7f}\nquorum none\n".to_owned(), 1, "control characters"),
            (format!("{}u v\nquorum none\n", log.trim_end().to_owned() + " "), 1, "at most one URL"),
        ] {
            let error = Policy::parse(text.as_bytes()).expect_err(&text);
            assert!(error.line == line && error.what.contains(what), "{text}: {error}");
        }
        assert_eq!(Policy::parse(b"quorum none\n\xff\n").unwrap_err().line, 2);
        assert!(read(&format!("{log}quorum none\n")).since(&[]).is_some());
    }

    #[test]
    fn a_weak_policy_is_named_as_such() {
        let of = |count, least: &str| {
            let members = (0..count).map(|n| format!("w{n}")).collect::<Vec<_>>().join(" ");
            read(&format!("{}group g {least} {members}\nquorum g\n", lines(&witnesses(count)))).weaknesses()
        };
        assert_eq!(of(3, "2"), Vec::<String>::new());
        assert_eq!(of(5, "3"), Vec::<String>::new());
        assert_eq!((of(2, "all").len(), of(4, "2").len(), of(3, "any").len(), of(8, "4").len()), (1, 1, 1, 2));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_is_read_does_not_panic(text in "((log|witness|group|quorum|#)?[ \t]?[a-z0-9+=]{0,9}[ \t]?(all|any|2)?\n?){0,9}") {
            let _ = Policy::parse(text.as_bytes());
        }

        #[test]
        fn one_more_cosignature_never_takes_a_quorum_away(times in prop::collection::vec(prop::option::of(0i64..9), 5), more in 0usize..5, least in 1usize..6) {
            let names = (0..5).map(|n| format!("w{n}")).collect::<Vec<_>>().join(" ");
            let policy = read(&format!("{}group g {least} {names}\nquorum g\n", FIVE.as_str()));
            let mut times: Vec<Option<Instant>> = times.into_iter().map(|it| it.and_then(at)).collect();
            let before = policy.since(&times);
            times[more] = at(9);
            prop_assert!(policy.since(&times) >= before);
        }
    }

    static FIVE: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| lines(&witnesses(5)));
}
