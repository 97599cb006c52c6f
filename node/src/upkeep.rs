//! What a running node follows while it runs (its own certificate, its seal's, the authorities and their lists), and what
//! a person has to renew before it ends.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};

use agreements::time::Instant;

use crate::node::Node;

/// A revocation list that ends this soon (microseconds) is said: an authority's lists are good for a week by default,
/// and two days leave time to fetch the next one on a Monday.
pub const LIST_WARNING: i64 = 2 * Instant::DAY;
/// A certificate that ends this soon (microseconds) is said.
pub const CERTIFICATE_WARNING: i64 = 30 * Instant::DAY;

/// What the last look found. One for each node.
#[derive(Debug, Default)]
pub struct Upkeep {
    /// Why the authorities' files, as they are now, are not taken.
    trust: Mutex<Option<String>>,
}

impl Upkeep {
    fn trust(&self) -> Option<String> {
        self.trust.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps the state and says whether it is news.
    fn is_news(&self, trouble: Option<String>) -> bool {
        let mut held = self.trust.lock().unwrap_or_else(PoisonError::into_inner);
        let news = *held != trouble;
        *held = trouble;
        news
    }
}

/// Reads again what was changed on disk. What is not usable leaves the last good one in place and is said once.
pub fn follow(node: &Node) {
    node.clock().follow();
    let now = node.now();
    let trust = node.trust().refresh();
    let trouble = trust.as_ref().err().map(ToString::to_string);
    let news = node.upkeep().is_news(trouble);
    match trust {
        Ok(true) => tracing::info!("read the authorities and their revocation lists again"),
        Err(error) if news => {
            tracing::error!(%error, "the changed authorities or revocation lists are not usable; the last good ones still count");
        }
        Ok(false) | Err(_) => {}
    }
    let own = node.dialer().own();
    let announced = node.announced();
    let announced = announced.as_ref().as_ref();
    match own.refresh(node.trust(), node.config().peer.url.host(), announced.map(|keys| keys.tls_spki), now) {
        Ok(true) => {
            tracing::info!(until = %own.current().identity().not_after, "shows the renewed certificate from now on");
        }
        Ok(false) => {}
        Err(error) => tracing::error!(%error, "the changed certificate is not used; the last good one still is"),
    }
    match node.seals().refresh(announced.map(|keys| keys.seal_key.as_str()), now) {
        Ok(true) => tracing::info!("seals with the renewed certificate from now on"),
        Ok(false) => {}
        Err(error) => tracing::error!(error, "the changed seal is not used; the last good one still is"),
    }
    node.refresh_party();
    let watch = node.watch();
    if watch.policy().is_some() {
        let since = watch.cosigned().since.unwrap_or(Instant::from_micros(0));
        node.metrics().quorum_age(now.micros().saturating_sub(since.micros()));
    }
    let list = node.trust().next_update().unwrap_or(Instant::from_micros(0));
    node.metrics().ends(own.current().identity().not_after, list);
}

/// What has to be renewed soon, or was changed and is not used: sentences that say what to do.
#[must_use]
pub fn notices(node: &Node, now: Instant) -> Vec<String> {
    let mut notices = Vec::new();
    let own = node.dialer().own();
    if let Some(why) = own.trouble() {
        notices.push(unused("the TLS certificate or key in keys.folder", &why));
    }
    if let Some(why) = node.seals().trouble() {
        notices.push(unused("the seal in keys.folder", &why));
    }
    if let Some(why) = node.upkeep().trust() {
        notices.push(unused("a file of peer.ca or peer.crl", &why));
    }
    notices.extend(wider_rules(node));
    notices.extend(node.told_otherwise().as_ref().clone());
    let end = own.current().identity().not_after;
    if ends_soon(end, now, CERTIFICATE_WARNING) {
        notices.push(format!(
            "this node's certificate ends at {end}: have it renewed for the same key (`concordat ca issue --csr keys/tls.csr`) and put it at keys/tls.pem; no restart is needed"
        ));
    }
    if let Some(end) = node.trust().next_update()
        && ends_soon(end, now, LIST_WARNING)
    {
        notices.push(format!(
            "a revocation list ends at {end}, and nobody is let in after that: fetch the authority's next one (`concordat ca crl` makes it) to the file in peer.crl; no restart is needed"
        ));
    }
    notices
}

/// Rules of the configuration that wait for two people.
fn wider_rules(node: &Node) -> Option<String> {
    let waiting = node.wider_rules();
    (!waiting.is_empty()).then(|| {
        format!(
            "[rules] of concordat.toml is wider than what was decided, and does not count so far: {}; propose it with \
             `concordat change widen --reason WHY --as USER`, and have somebody else approve it",
            waiting.join("; ")
        )
    })
}

/// Whether what ends at `end` does so within `warning` of `now`, or did.
#[must_use]
pub fn ends_soon(end: Instant, now: Instant, warning: i64) -> bool {
    end.since(now) <= warning
}

fn unused(what: &str, why: &impl Display) -> String {
    format!("{what} was changed and is not used, the last good one is: {why}")
}

/// Says in the log what is new among `notices`; `again` says all of them.
pub fn say(notices: &[String], said: &mut BTreeSet<String>, again: bool) {
    for notice in notices {
        if again || !said.contains(notice) {
            tracing::warn!("{notice}");
        }
    }
    *said = notices.iter().cloned().collect();
}
