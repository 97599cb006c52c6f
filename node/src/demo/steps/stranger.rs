//! Step 7: what an agency gets that nobody enrolled.

use std::collections::BTreeSet;
use std::sync::Arc;

use reqwest::Method;

use super::query::outcomes;
use crate::demo::asking::{Asking, REASON, show};
use crate::demo::page::Page;
use crate::demo::stage::{Site, Sites, Stage, shared_plate};
use crate::exchange::ask::{self, Gave, Line};
use crate::tls::{self, OwnStore};

/// What Cedar tries.
const TRIES: [(Method, &str); 8] = [
    (Method::GET, "/"),
    (Method::GET, "/peer/v1/node"),
    (Method::POST, "/peer/v1/queries"),
    (Method::GET, "/peer/v1/queries"),
    (Method::POST, "/peer/v1/agreements"),
    (Method::PUT, "/peer/v1/agreements/1"),
    (Method::DELETE, "/peer/v1/node"),
    (Method::GET, "/peer/v2/anything"),
];

/// A reply, but for its date.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

pub(super) async fn step(stage: &mut Stage, page: &mut Page<'_>) -> anyhow::Result<String> {
    let Sites { alder, birch, cedar } = stage.sites()?;
    let (entries, touches) = (alder.entries()?, alder.node.reads().touches());
    page.say("With Cedar's certificate, of the authority that all trust, at Alder's peer port:")?;
    let client = client(cedar, alder)?;
    let mut replies = BTreeSet::new();
    for (method, path) in TRIES {
        let reply = send(&client, alder, method.clone(), path).await?;
        page.say(&format!("{method} {path}: {}, body of {} bytes", reply.status, reply.body.len()))?;
        replies.insert(reply);
    }
    anyhow::ensure!(replies.len() == 1, "there are {} different answers for a stranger", replies.len());
    let silent = |reply: &Reply| {
        let closes = reply.headers.iter().any(|(name, value)| name == "connection" && value == "close");
        reply.status == 404 && reply.body.is_empty() && closes
    };
    anyhow::ensure!(replies.iter().all(silent), "the answer is not 404, empty, and the end of the connection");
    let door = send(&self::client(birch, alder)?, alder, Method::GET, "/peer/v1/node").await?;
    page.say(&format!("With Birch's certificate, GET /peer/v1/node: {}", door.status))?;
    anyhow::ensure!(door.status == 200, "Alder is silent to Birch too");
    let quiet = alder.entries()? == entries && alder.node.reads().touches() == touches;
    anyhow::ensure!(quiet, "Alder's stores were touched for a stranger");
    let plate = shared_plate()?;
    let asking = Asking { plate: &plate, whom: cedar.ori(), reason: REASON, days: 30 };
    page.typed(&asking.command(birch, "$D")?)?;
    let report = ask::ask(&birch.node, &birch.node.desk(), asking.ask(birch)?).await?;
    show(page, &report)?;
    let [Line { gave: Gave::NotAsked { .. }, .. }] = report.lines.as_slice() else {
        anyhow::bail!("Birch asked Cedar: {}", outcomes(&report));
    };
    anyhow::ensure!(report.question.is_none(), "Birch's question left its node");
    Ok(format!("Cedar got the same 404 without a body {} times, and Birch asks nobody under no agreement", TRIES.len()))
}

/// A client with `site`'s certificate that speaks to `to` alone.
fn client(site: &Site, to: &Site) -> anyhow::Result<reqwest::Client> {
    let keys = &site.node.config().keys;
    let own = OwnStore::open(&keys.tls_cert(), &keys.tls_key())?;
    let pinned = (to.ori(), to.node.party().node.tls_spki);
    let config = tls::client(&own, site.node.trust(), Arc::clone(site.node.clock()), pinned)?;
    let mut builder = reqwest::Client::builder().tls_backend_preconfigured(config).no_proxy().http1_only();
    for (host, address) in &site.node.config().peer.hosts {
        builder = builder.resolve(host, *address);
    }
    Ok(builder.build()?)
}

async fn send(client: &reqwest::Client, to: &Site, method: Method, path: &str) -> anyhow::Result<Reply> {
    let response = client.request(method, format!("https://{}{path}", to.fiction.host())).send().await?;
    let status = response.status().as_u16();
    let header = |(name, value): (&reqwest::header::HeaderName, &reqwest::header::HeaderValue)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let headers = response.headers().iter().filter(|(name, _)| *name != "date").map(header).collect();
    Ok(Reply { status, headers, body: response.bytes().await?.to_vec() })
}
