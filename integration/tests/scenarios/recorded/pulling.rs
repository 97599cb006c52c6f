//! Recorded assertions as a real puller hears them: sworn today, with the bulk as it was recorded.

use std::sync::{Arc, Mutex};

use agreements::entry::Kind;
use agreements::hotlist::{Assertion, Outcome};
use agreements::ids::Digest;
use agreements::protocol::Spoken;
use concordat::exchange::sworn::SwornError;
use concordat::hotlists::pulling::{PullError, Pulled};
use concordat::hotlists::shared::Held;
use integration::hotlists::CONTACT;
use integration::pair::Pair;
use integration::proxy::FaultProxy;
use serde_json::Value;

use super::{LIST, Set, sets, terms};

/// What Birch's node is made to answer the next pull.
#[derive(Clone)]
struct Next {
    /// What takes the place of members of the assertion that it would have sworn.
    message: Vec<(&'static str, Value)>,
    bulk: String,
}

/// Alder, which accepted Birch's list and pulls it through a door that swears what is `next` with Birch's own key.
struct Puller {
    pair: Pair,
    next: Arc<Mutex<Option<Next>>>,
    _proxy: FaultProxy,
}

impl Puller {
    async fn new() -> Self {
        let mut pair = Pair::under(terms()).await;
        pair.alder.accepts(&pair.birch, LIST).await;
        let next: Arc<Mutex<Option<Next>>> = Arc::default();
        let (forger, said) = (Arc::new(pair.birch.forger()), Arc::clone(&next));
        let change = move |path: String, body: String| {
            let (forger, said) = (Arc::clone(&forger), Arc::clone(&said));
            async move {
                assert!(path.ends_with("/pull"), "{path}");
                let Next { message: members, bulk } = said.lock().unwrap().take().unwrap();
                let whole: Value = serde_json::from_str(body.lines().next().unwrap()).unwrap();
                // It answers this pull, under the agreement of today.
                let mut message = whole["entry"]["message"].clone();
                for (member, value) in members {
                    message[member] = value;
                }
                let (_, text) = forger.swears(Kind::HotlistAsserted, None, &message).await;
                format!("{text}\n{bulk}")
            }
        };
        let proxy = FaultProxy::swearing(&pair.birch, &pair.alder, &pair.alder.clock, change).await;
        let (host, address) = (pair.birch.fiction.host(), proxy.address);
        pair.alder.restart_with(|config| {
            config.peer.hosts.insert(host, address);
        });
        Self { pair, next, _proxy: proxy }
    }

    async fn hears(&self, next: Next) -> Result<Pulled, PullError> {
        *self.next.lock().unwrap() = Some(next);
        let came = self.pair.alder.pulls().await;
        assert!(self.next.lock().unwrap().is_none(), "it was asked");
        came
    }

    fn held(&self) -> Option<Held> {
        self.pair.alder.held(&self.pair.birch, LIST)
    }

    /// Checks that Alder refuses this, records that, and holds what it held.
    async fn refuses(&self, file: &str, next: Next) -> PullError {
        let held = self.held();
        let refused = self.hears(next).await.unwrap_err();
        assert_eq!(self.held(), held, "{file}: {refused}");
        let (row, received) = self.pair.alder.newest();
        assert_eq!((row.kind, &received["outcome"]), (Kind::HotlistReceived, &"invalid".into()), "{file}: {refused}");
        refused
    }
}

/// A recorded assertion's own words and bulk.
fn recorded(set: &Set, file: &str) -> Next {
    let message: Value = serde_json::from_str(set.envelope(file).entry.message.get()).unwrap();
    let bulk = String::from_utf8(set.parted(file).1.to_vec()).unwrap();
    Next { message: vec![("v", message["v"].clone()), ("outcome", message["outcome"].clone())], bulk }
}

#[actix_web::test]
async fn s40_a_puller_takes_what_was_asserted_and_nothing_of_an_unknown_version_or_with_an_unknown_field() {
    for (_, set) in sets() {
        let puller = Puller::new().await;
        for (file, assertion) in set.assertions().collect::<Vec<_>>() {
            let good = recorded(&set, file);
            refuses_what_is_of_no_version(&puller, file, &good).await;
            refuses_changed_bulk(&puller, file, &good).await;
            // And then the words as they were: so it was the change that was refused.
            let before = puller.held().map(|held| held.generation);
            takes(&puller, file, &assertion, puller.hears(good).await.unwrap());
            if file.contains("renewed") {
                assert_eq!(puller.held().map(|held| held.generation), before, "nothing was written again");
            }
        }
        assert!(!puller.pair.alder.files_with(CONTACT).is_empty(), "its entries are held");
        assert!(puller.pair.alder.trail_problems().is_empty());
    }
}

fn takes(puller: &Puller, file: &str, assertion: &Assertion, came: Pulled) {
    match (came, &assertion.outcome) {
        (Pulled::Held { version, entries, added, removed, .. }, Outcome::Asserted(said)) => {
            let said_so = (said.version, said.entries, said.added, said.removed);
            assert_eq!((version, entries, added, removed), said_so, "{file}");
            let held = puller.held().unwrap();
            assert_eq!((held.version, held.contents, held.entries), (said.version, said.contents, said.entries));
            assert_eq!(held.source_loaded_at, said.source_loaded_at, "{file}");
        }
        (Pulled::Denied { why }, Outcome::Denied { rules, status }) => {
            assert!(why.contains(&rules[0].says), "{file}: {why}");
            assert!(status.as_ref().is_none_or(|status| why.contains(&status.says())), "{file}: {why}");
        }
        (came, said) => panic!("{file}: {came:?} came of {said:?}"),
    }
}

async fn refuses_what_is_of_no_version(puller: &Puller, file: &str, good: &Next) {
    let with = |member: &'static str, value: Value| {
        let mut next = good.clone();
        next.message.push((member, value));
        next
    };
    for v in [0, Spoken::OURS.newest + 1] {
        let mut next = with("v", v.into());
        next.message.push(("of_a_later_version", true.into()));
        for next in [with("v", v.into()), next] {
            let refused = puller.refuses(file, next).await;
            let of_version = matches!(refused, PullError::Unsworn(SwornError::Version { found, .. }) if found == v);
            assert!(of_version, "{file}: {refused}");
            assert!(refused.to_string().contains(&format!("this node speaks {}", Spoken::OURS)), "{file}: {refused}");
        }
    }
    let mut outcome = good.message[1].1.clone();
    outcome["of_a_later_version"] = true.into();
    for next in [with("of_a_later_version", true.into()), with("outcome", outcome)] {
        let refused = puller.refuses(file, next).await;
        assert!(matches!(refused, PullError::Unsworn(SwornError::Message(_))), "{file}: {refused}");
        assert!(refused.to_string().contains("unknown field `of_a_later_version`"), "{file}: {refused}");
    }
}

/// Bulk that is not what was asserted; and bulk that is, in lines and entries that this version does not have.
async fn refuses_changed_bulk(puller: &Puller, file: &str, good: &Next) {
    if good.bulk.is_empty() {
        return;
    }
    let changed = Next { bulk: good.bulk.replacen("2026-118901", "2026-118902", 1), ..good.clone() };
    assert_ne!(changed.bulk, good.bulk, "{file}");
    let refused = puller.refuses(file, changed).await.to_string();
    assert!(refused.contains("not what was asserted"), "{file}: {refused}");
    for (from, to, says) in [
        ("{\"add\":{", "{\"add\":{\"a_later_field\":1,", "an entry of the bulk is none"),
        ("{\"add\":{", "{\"a_later_line\":{", "a line of the bulk is none"),
    ] {
        let bulk = good.bulk.replacen(from, to, 1);
        assert_ne!(bulk, good.bulk, "{file}");
        let mut next = Next { bulk, ..good.clone() };
        next.message[1].1["bulk"] = Digest::of(next.bulk.as_bytes()).to_string().into();
        let refused = puller.refuses(file, next).await.to_string();
        assert!(refused.contains(says), "{file}: {refused}");
    }
}
