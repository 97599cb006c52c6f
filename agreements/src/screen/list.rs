//! The list of terms, as it is kept (`terms.txt`) and as it is compared.

use std::sync::LazyLock;

use super::Topic;
use super::fold::{fold, spelled};
use super::text::{Folded, Spot};

/// A term of one word counts also inside of others when it has so many letters.
const INSIDE: usize = 9;

/// The list.
#[derive(Default)]
pub(super) struct List {
    pub(super) version: &'static str,
    pub(super) terms: Vec<Term>,
    /// What is wrong with the list, with the number of the line.
    pub(super) faults: Vec<String>,
    /// Indices of terms that stand as words, and of those that count anywhere, by [`pair`] of their first two bytes.
    words: Buckets,
    anywhere: Buckets,
}

/// A term, with what was written about it.
pub(super) struct Term {
    pub(super) topic: Topic,
    pub(super) written: &'static str,
    folded: String,
    /// Phrases in which it is something else: what comes before it in them, and it with what comes after.
    except: Vec<(String, String)>,
}

#[derive(Default)]
struct Buckets(Vec<Vec<usize>>);

impl Buckets {
    fn add(&mut self, term: &Term, index: usize) {
        self.0.resize_with(PAIRS, Vec::new);
        if let Some(bucket) = pair(term.folded.as_bytes()).and_then(|pair| self.0.get_mut(pair)) {
            bucket.push(index);
        }
    }

    fn of(&self, rest: &[u8]) -> &[usize] {
        pair(rest).and_then(|pair| self.0.get(pair)).map_or(&[], Vec::as_slice)
    }
}

const PAIRS: usize = 1024;

/// A number under [`PAIRS`] for the first two bytes; different for different pairs of small letters.
fn pair(bytes: &[u8]) -> Option<usize> {
    let (first, second) = (bytes.first()?, bytes.get(1)?);
    Some(usize::from(first & 31) << 5 | usize::from(second & 31))
}

/// The list that is used. Folding it takes longer than a thousand decisions, so it is done once.
pub(super) static LIST: LazyLock<List> = LazyLock::new(|| List::parse(include_str!("terms.txt")));

/// Terms that belong together, while they are read.
#[derive(Default)]
struct Group {
    line: usize,
    terms: Vec<&'static str>,
    explained: bool,
    except: Vec<&'static str>,
}

impl List {
    /// Reads a list. What is wrong with it is in `faults`.
    pub(super) fn parse(text: &'static str) -> Self {
        let mut list = Self::default();
        let (mut topic, mut group) = (None, Group::default());
        for (line, number) in text.lines().zip(1..) {
            let indented = line.starts_with(' ');
            let words = line.trim();
            if words.is_empty() || line.starts_with('#') {
                continue;
            }
            if indented {
                match words.strip_prefix("not:") {
                    Some(phrases) => group.except.extend(items(phrases)),
                    None => group.explained = true,
                }
            } else if let Some(version) = line.strip_prefix("version ") {
                list.version = version.trim();
            } else if let Some(name) = words.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                list.close(topic, std::mem::take(&mut group));
                topic = Topic::ALL.into_iter().find(|topic| topic.as_str() == name);
                if topic.is_none() {
                    list.faults.push(format!("line {number}: no topic is called {name}"));
                }
            } else {
                if group.explained {
                    list.close(topic, std::mem::take(&mut group));
                }
                group.line = number;
                group.terms.extend(items(words));
            }
        }
        list.close(topic, group);
        if list.version.is_empty() {
            list.faults.push("there is no version".to_owned());
        }
        list
    }

    /// Takes the terms of a group over.
    fn close(&mut self, topic: Option<Topic>, group: Group) {
        let Group { line, terms, explained, except } = group;
        let mut fault = |what: String| self.faults.push(format!("line {line}: {what}"));
        let Some(topic) = topic.filter(|_| !terms.is_empty()) else {
            if !terms.is_empty() {
                fault("there is no topic above".to_owned());
            }
            return;
        };
        if !explained {
            fault(format!("nothing says why {} is here", terms.join("; ")));
        }
        for written in terms.iter().chain(&except) {
            let fit = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == ' ';
            if written.len() < 3 || !written.chars().all(fit) {
                fault(format!("a term is three or more small letters, digits and spaces, not {written:?}"));
            }
        }
        for phrase in &except {
            if !terms.iter().any(|term| within(term, phrase).is_some()) {
                fault(format!("{phrase} has none of its terms in it"));
            }
        }
        for written in terms {
            let except = except.iter().filter_map(|phrase| within(written, phrase)).collect();
            let term = Term { topic, written, folded: fold(written), except };
            if self.terms.iter().any(|other| other.folded == term.folded) {
                self.faults.push(format!("line {line}: {written} is here twice"));
            }
            let anywhere = !written.contains(' ') && written.len() >= INSIDE;
            let buckets = if anywhere { &mut self.anywhere } else { &mut self.words };
            buckets.add(&term, self.terms.len());
            self.terms.push(term);
        }
    }

    /// Adds the topics that `text` touches to `topics`. A list that is not whole takes every text for sensitive.
    pub(super) fn find(&self, text: &str, topics: &mut Vec<Topic>) {
        if !self.faults.is_empty() {
            return topics.extend(Topic::ALL);
        }
        self.find_folded(&Folded::of(text), topics);
        if let Some(spelled) = spelled(text) {
            self.find_folded(&Folded::of(&spelled), topics);
        }
    }

    fn find_folded(&self, text: &Folded, topics: &mut Vec<Topic>) {
        for spot in text.spots() {
            for term in self.terms_of(&self.anywhere, &spot) {
                if spot.has(&term.folded) && !term.is_else(&spot) {
                    topics.push(term.topic);
                }
            }
            if spot.begins_word() {
                for term in self.terms_of(&self.words, &spot) {
                    if spot.has_word(&term.folded) && !term.is_else(&spot) {
                        topics.push(term.topic);
                    }
                }
            }
        }
    }

    fn terms_of<'a>(&'a self, buckets: &'a Buckets, spot: &Spot<'_>) -> impl Iterator<Item = &'a Term> {
        buckets.of(spot.rest()).iter().filter_map(|index| self.terms.get(*index))
    }
}

impl Term {
    /// Whether it stands in a phrase in which it is something else.
    fn is_else(&self, spot: &Spot<'_>) -> bool {
        self.except.iter().any(|(before, after)| spot.follows_words(before) && spot.has_word(after))
    }
}

fn items(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.split(';').map(str::trim).filter(|item| !item.is_empty())
}

/// What of `phrase` comes before `term`, and the rest, folded; `None` if the term is not in it as words.
fn within(term: &str, phrase: &str) -> Option<(String, String)> {
    let starts = std::iter::once(0).chain(phrase.match_indices(' ').map(|(at, _)| at + 1));
    let split = |at: usize| phrase.split_at_checked(at);
    let fits = |(_, rest): &(&str, &str)| {
        rest.strip_prefix(term).is_some_and(|after| after.is_empty() || after.starts_with(' '))
    };
    starts.filter_map(split).find(fits).map(|(before, rest)| (fold(before), fold(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_whole_and_every_term_is_found_by_itself() {
        assert_eq!(LIST.faults, Vec::<String>::new());
        for topic in Topic::ALL {
            assert!(LIST.terms.iter().filter(|term| term.topic == topic).count() > 20, "{topic:?}");
        }
        for term in &LIST.terms {
            let mut topics = Vec::new();
            LIST.find(term.written, &mut topics);
            assert!(topics.contains(&term.topic), "{}", term.written);
        }
    }

    #[test]
    fn what_is_wrong_with_a_list_is_said_with_its_line() {
        for (text, says) in [
            ("version 1\n\n[weather]\n", "line 3: no topic is called weather"),
            ("[care]\n\nword\n  why\n", "there is no version"),
            ("version 1\nword\n  why\n", "line 2: there is no topic above"),
            ("version 1\n[care]\nword\n\nother\n  why\n  not: nothing\n", "nothing has none of its terms in it"),
            ("version 1\n[care]\nword\n", "line 3: nothing says why word is here"),
            ("version 1\n[care]\nWord\n  why\n", "not \"Word\""),
            ("version 1\n[care]\nword\n  why\nw ord\n  why\n", "line 5: w ord is here twice"),
        ] {
            let list = List::parse(text);
            assert!(list.faults.iter().any(|fault| fault.contains(says)), "{text}: {:?}", list.faults);
            let mut topics = Vec::new();
            list.find("nothing in particular", &mut topics);
            assert_eq!(topics, Topic::ALL, "what is not screened is not let pass: {text}");
        }
        assert_eq!(
            List::parse("version 1\n[care]\nword; two words\n  why\n  not: a word\n").faults,
            Vec::<String>::new()
        );
    }
}
