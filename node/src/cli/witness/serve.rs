//! `concordat witness serve`: a witness alone, until it is told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use actix_web::rt;
use clap::Args;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::exit::Exit;
use crate::cli::place::Place;
use crate::cli::{Form, Output, Problem};
use crate::config::{Log, LogFormat, LogLevel};
use crate::logs;
use crate::tls::WebCertificate;
use crate::trail::policy::Policy;
use crate::witness::alone::{self, Alone};
use crate::witness::door;

/// Arguments of `witness serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// The policy: its `log` lines say which logs are watched
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7380")]
    listen: SocketAddr,
    /// The certificate for TLS, with its chain
    #[arg(long, value_name = "PEM", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its key, readable by its owner alone
    #[arg(long, value_name = "PEM", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// A proxy in front does TLS, so speak plain HTTP wherever it listens
    #[arg(long, conflicts_with = "tls_cert")]
    behind_proxy: bool,
}

#[derive(Serialize)]
struct Serving {
    vkey: String,
    listen: SocketAddr,
    tls: bool,
    logs: usize,
    /// Why nobody may count what it cosigns.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

pub(super) async fn run(place: &Place, args: Serve, out: &mut Output<'_>) -> Result<Exit, Problem> {
    let format = if out.form() == Form::Json { LogFormat::Json } else { LogFormat::Human };
    let overriding = std::env::var(logs::LEVEL_VARIABLE).ok();
    logs::start(&Log { format, level: LogLevel::Info }, overriding.as_deref(), Arc::clone(&place.clock))?;
    let policy = alone::policy(&args.policy)?;
    let certificate = match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => Some(WebCertificate::read(certificate, key)?),
        _ => None,
    };
    if certificate.is_none() && !args.behind_proxy && !args.listen.ip().is_loopback() {
        let hint =
            "name a certificate with --tls-cert and --tls-key, or say --behind-proxy if a proxy in front does TLS";
        let message = format!("plain HTTP at {} could be read and changed on its way", args.listen);
        return Err(Problem::usage(message, Some(hint.to_owned())));
    }
    let alone = Arc::new(Alone::open(&place.dir, &policy, Arc::clone(&place.clock))?);
    let tls = certificate.as_ref().map(|certificate| certificate.server(Arc::clone(&place.clock))).transpose()?;
    // Before the door opens, so that no signal finds the default handler, which ends the process at once.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hangup = signal(SignalKind::hangup())?;
    let cannot = |error| {
        Problem::failure(
            format!("cannot listen on {}: {error}", args.listen),
            Some("name another with --listen".to_owned()),
        )
    };
    let (server, addresses) = door::bind(&alone, args.listen, tls).map_err(cannot)?;
    let handle = server.handle();
    let listen = addresses.first().copied().unwrap_or(args.listen);
    let serving = Serving {
        vkey: alone.key().to_string(),
        listen,
        tls: certificate.is_some(),
        logs: alone.logs(),
        warning: uncounted(&alone, &policy),
    };
    let door = rt::spawn(server);
    tracing::info!(%listen, logs = serving.logs, "the witness serves");
    out.one(&serving, said)?;
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = hangup.recv() => again(&alone, &args, certificate.as_deref()),
        }
    }
    handle.stop(true).await;
    if let Ok(Err(error)) = door.await {
        return Err(error.into());
    }
    tracing::info!("stopped");
    Ok(Exit::Done)
}

/// Reads the files again. What is not usable leaves what was there, and is said.
fn again(alone: &Alone, args: &Serve, certificate: Option<&WebCertificate>) {
    match alone::policy(&args.policy) {
        Ok(policy) => {
            alone.watch(&policy);
            tracing::info!(logs = alone.logs(), "read the policy again");
            if let Some(warning) = uncounted(alone, &policy) {
                tracing::warn!("{warning}");
            }
        }
        Err(error) => tracing::error!(%error, "the policy is not used; the last good one still counts"),
    }
    if let Some(certificate) = certificate {
        match certificate.refresh() {
            Ok(()) => tracing::info!("read the certificate again"),
            Err(error) => tracing::error!(%error, "the certificate is not used; the last good one still is"),
        }
    }
}

fn uncounted(alone: &Alone, policy: &Policy) -> Option<String> {
    let named = policy.witnesses().iter().any(|witness| witness.key == *alone.key());
    (!named).then(|| {
        "the policy has no `witness` line with this witness's key: nobody who goes by it counts what is cosigned"
            .to_owned()
    })
}

fn said(serving: &Serving) -> String {
    let scheme = if serving.tls { "https" } else { "http" };
    let warning = serving.warning.as_deref().map(|warning| format!("\nNote: {warning}.")).unwrap_or_default();
    format!(
        "{} watches {} logs at {scheme}://{}.{warning}\nCtrl-C stops it.",
        serving.vkey, serving.logs, serving.listen
    )
}
