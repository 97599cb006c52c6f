//! Warnings of what ends by itself and stops the exchange when it does: certificates, revocation lists, and the check of
//! the Attorney General's sources (V-31).

use std::path::{Path, PathBuf};

use agreements::ids::Digest;
use agreements::register::AG_CHECK_IN_FORCE;
use agreements::time::Instant;
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::error::ErrorStack;
use openssl::x509::{X509, X509Crl};

use super::notices::{Due, Source};
use super::work::JobError;
use crate::mail::{Audience, Notice};
use crate::node::Node;
use crate::registry::{ag, agencies, agreements as documents};

/// How many days before the end it is said.
const THRESHOLDS: [i64; 4] = [30, 14, 7, 1];

/// Something that ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    /// What, as the beginning of a sentence.
    what: String,
    /// What tells it from its successor.
    key: String,
    from: Instant,
    until: Instant,
    /// What stops when it ends.
    then: &'static str,
    /// What to do.
    next: String,
    audience: Audience,
}

/// A file with a certificate or a list that cannot be read: no warning can be given of it.
#[derive(Debug, thiserror::Error)]
#[error("cannot tell when {} ends: {why}", path.display())]
pub struct Unreadable {
    path: PathBuf,
    why: String,
}

/// The source of these warnings.
pub(super) struct Expiry;

impl Source for Expiry {
    type World = Vec<Ending>;
    const PREFIX: &'static str = "ends:";

    fn look(&self, node: &Node) -> Result<Vec<Ending>, JobError> {
        let config = node.config();
        let own = node.dialer().own().current();
        let own = own.identity();
        let mut all = vec![Ending {
            what: "This node's TLS certificate".to_owned(),
            key: "tls".to_owned(),
            from: own.not_before,
            until: own.not_after,
            then: "no partner reaches this node, and it reaches none",
            next: format!(
                "concordat ca issue --ori {} --host {} --csr {} --out NEW.pem",
                node.ori(),
                config.peer.url.host(),
                config.keys.folder.join("tls.csr").display()
            ),
            audience: Audience::Operators,
        }];
        let seal = config.keys.seal_cert();
        if seal.exists() {
            for (certificate, _) in certificates(&seal)? {
                let next = "have the seal's certificate issued again before it ends".to_owned();
                let then = "documents of this agency are no longer accepted as sealed";
                all.push(ending("This agency's seal certificate", "seal", certificate, then, next));
            }
        }
        for path in &config.peer.ca {
            for (certificate, name) in certificates(path)? {
                let what = format!("The authority's certificate in {}", path.display());
                let next = "get the authority's next certificate and name it in peer.ca besides this one".to_owned();
                let then = "no certificate of that authority is accepted";
                all.push(ending(&what, &format!("ca:{name}"), certificate, then, next));
            }
        }
        for path in &config.peer.crl {
            let (list, name) = list(path)?;
            let what = format!("The revocation list in {}", path.display());
            let next = "concordat ca crl, and copy the new list to every node".to_owned();
            let then = "no certificate of its authority is accepted";
            all.push(ending(&what, &format!("crl:{name}"), list, then, next));
        }
        let mut conn = node.registry().reader()?;
        if !documents::ids(&mut conn, None)?.is_empty() {
            let partners = agencies::descriptors(&mut conn)?.len();
            all.extend(ag::register(&mut conn)?.checked_at.map(|at| check(at, partners)));
        }
        Ok(all)
    }

    fn due(world: &Vec<Ending>, now: Instant) -> Vec<Due> {
        world.iter().filter_map(|ending| warning(ending, now)).collect()
    }
}

/// The last check of the Attorney General's sources, which is one for all partners: the warnings begin 30 days before it
/// ends, so that three hundred agreements do not lapse in one night.
fn check(at: Instant, partners: usize) -> Ending {
    Ending {
        what: "The last check of the Attorney General's sources".to_owned(),
        key: "ag-check".to_owned(),
        from: at,
        until: at.plus(AG_CHECK_IN_FORCE),
        then: "no agreement is in force until the sources are checked again",
        next: format!(
            "concordat ag check --source SOURCE --result RESULT --as USER\n\
             One check covers every partner; there are {partners}."
        ),
        audience: Audience::Agreements,
    }
}

fn ending(what: &str, key: &str, (from, until): (Instant, Instant), then: &'static str, next: String) -> Ending {
    Ending { what: what.to_owned(), key: key.to_owned(), from, until, then, next, audience: Audience::Operators }
}

fn warning(ending: &Ending, now: Instant) -> Option<Due> {
    let Ending { what, key, from, until, then, next, audience } = ending;
    let days = until.since(now).saturating_add(Instant::DAY - 1).div_euclid(Instant::DAY);
    // What lives a week is not warned of from its first day on.
    let counts = |threshold: &i64| *threshold == 1 || threshold * 2 * Instant::DAY <= until.since(*from);
    let (threshold, when) = if now >= *until {
        (0, "has ended".to_owned())
    } else {
        let reached = THRESHOLDS.into_iter().rev().filter(counts).find(|threshold| days <= *threshold)?;
        (reached, if days == 1 { "ends within a day".to_owned() } else { format!("ends in {days} days") })
    };
    let from_then_on = if threshold == 0 { "Since then" } else { "From then on" };
    let notice = Notice {
        dedup: format!("ends:{key}:{until}:{threshold}"),
        audience: audience.clone(),
        subject: format!("{what} {when}"),
        body: format!("{what} {when}, at {until}.\n{from_then_on} {then}.\n\nNext: {next}\n"),
    };
    Some(Due { notice, reason: format!("{what} {when}, at {until}") })
}

type Life = (Instant, Instant);

fn certificates(path: &Path) -> Result<Vec<(Life, Digest)>, Unreadable> {
    let read = |pem: &[u8]| {
        X509::stack_from_pem(pem)?
            .iter()
            .map(|one| Ok(((instant(one.not_before())?, instant(one.not_after())?), Digest::of(&one.to_der()?))))
            .collect::<Result<Vec<_>, ErrorStack>>()
    };
    from_file(path, read)
}

/// A list's life, and its authority's name.
fn list(path: &Path) -> Result<(Life, Digest), Unreadable> {
    from_file(path, |pem| {
        let list = X509Crl::from_pem(pem)?;
        let from = instant(list.last_update())?;
        // A list without an end is refused where lists are read.
        let until = list.next_update().map_or(Ok(from), instant)?;
        Ok(((from, until), Digest::of(&list.issuer_name().to_der()?)))
    })
}

fn from_file<T>(path: &Path, read: impl FnOnce(&[u8]) -> Result<T, ErrorStack>) -> Result<T, Unreadable> {
    let unreadable = |why: String| Unreadable { path: path.to_owned(), why };
    let pem = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    read(&pem).map_err(|error| unreadable(error.to_string()))
}

fn instant(time: &Asn1TimeRef) -> Result<Instant, ErrorStack> {
    let since = Asn1Time::from_unix(0)?.diff(time)?;
    Ok(Instant::from_micros(i64::from(since.days) * Instant::DAY + i64::from(since.secs) * Instant::SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        "2026-11-23T20:17:00Z".parse().unwrap()
    }

    fn lives(days: i64) -> Ending {
        ending(
            "The thing",
            "thing",
            (start(), start().plus(days * Instant::DAY)),
            "nothing works",
            "mend it".to_owned(),
        )
    }

    /// The thresholds that are said over a whole life and a week after it, with the days left.
    fn said(ending: &Ending) -> Vec<(String, i64)> {
        let mut said: Vec<(String, i64)> = Vec::new();
        let mut now = ending.from;
        while now < ending.until.plus(7 * Instant::DAY) {
            if let Some(due) = warning(ending, now) {
                let threshold = due.notice.dedup.rsplit(':').next().unwrap().to_owned();
                if said.last().is_none_or(|(last, _)| *last != threshold) {
                    said.push((threshold, ending.until.since(now).div_euclid(Instant::DAY)));
                }
            }
            now = now.plus(Instant::HOUR);
        }
        said
    }

    #[test]
    fn each_end_is_said_four_times_and_when_it_came_but_a_short_life_less_often() {
        let expected = |list: &[(&str, i64)]| list.iter().map(|(t, days)| ((*t).to_owned(), *days)).collect::<Vec<_>>();
        let all = expected(&[("30", 30), ("14", 14), ("7", 7), ("1", 1), ("0", 0)]);
        assert_eq!(said(&lives(365)), all);
        assert_eq!(said(&lives(40)), all[1..]);
        assert_eq!(said(&lives(7)), all[3..], "a weekly revocation list");
        assert_eq!(said(&lives(1)), expected(&[("1", 1), ("0", 0)]));
        let sixty_days_old = start().plus(60 * Instant::DAY);
        assert_eq!(said(&check(start(), 300)), all, "warned of from 60 days of age on");
        assert!(warning(&check(start(), 300), sixty_days_old.plus(-1)).is_none());
        let notice = warning(&check(start(), 300), sixty_days_old).unwrap().notice;
        assert_eq!(notice.audience, Audience::Agreements);
        assert!(notice.body.contains("covers every partner; there are 300."), "{}", notice.body);
    }

    #[test]
    fn what_took_its_place_is_said_anew() {
        let (old, new) = (lives(365), Ending { until: start().plus(700 * Instant::DAY), ..lives(365) });
        let key = |ending: &Ending| warning(ending, ending.until.plus(-Instant::DAY)).unwrap().notice.dedup;
        assert_ne!(key(&old), key(&new));
        assert_eq!(warning(&new, old.until), None);
    }

    #[test]
    fn times_of_certificates_are_read_to_the_second() {
        let time = Asn1Time::from_str("20271123201701Z").unwrap();
        assert_eq!(instant(&time).unwrap(), "2027-11-23T20:17:01Z".parse().unwrap());
    }
}
