//! One mail's dialogue with the mail server, and what each way in which it can end means.

use std::time::Duration;

use lettre::Message;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters, TlsVersion};
use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Rcpt};
use lettre::transport::smtp::extension::ClientId;

use super::{Attempt, Fault};
use crate::config::{Mail, MailTls, SecretError};

/// How long everything before the text may take: the way there, TLS, login, addresses.
const PREPARING: Duration = Duration::from_secs(60);
/// How long the server may take over the text. RFC 5321, section 4.5.3.2.6, names ten minutes, because whoever hangs up
/// earlier gets mail sent twice.
const HANDING_OVER: Duration = Duration::from_secs(600);
/// How long the farewell may take; what it says changes nothing.
const FAREWELL: Duration = Duration::from_secs(5);

/// Why the server was not ready to take the mail.
#[derive(Debug, thiserror::Error)]
enum Unready {
    #[error("no reply within {} s", PREPARING.as_secs())]
    Slow,
    #[error("the password of the mail server: {0}")]
    Secret(#[from] SecretError),
    #[error("mail.ca: cannot read {0}: {1}")]
    Ca(std::path::PathBuf, std::io::Error),
    #[error("{0}")]
    Server(Error),
    #[error("the server does not take this mail: {0}")]
    Address(Error),
}

/// Sends `message` from the machine `host`, calling `hand_over` right before its text.
pub(super) async fn send(
    config: &Mail,
    host: &str,
    message: &Message,
    hand_over: impl AsyncFnOnce() -> Result<(), String>,
) -> Attempt {
    let ready = tokio::time::timeout(PREPARING, prepare(config, host, message)).await;
    let mut server = match ready.unwrap_or(Err(Unready::Slow)) {
        Ok(server) => server,
        Err(unready) => return not_sent(&unready),
    };
    if let Err(why) = hand_over().await {
        farewell(&mut server).await;
        return Attempt::NotSent { why, fault: Fault::Mail };
    }
    match tokio::time::timeout(HANDING_OVER, server.message(&message.formatted())).await {
        Ok(Ok(_)) => {
            farewell(&mut server).await;
            Attempt::Sent
        }
        // A reply that says no is as certain as one that says yes.
        Ok(Err(error)) if error.is_permanent() => Attempt::NotSent { why: said(&error), fault: Fault::Forever },
        Ok(Err(error)) if error.is_transient() => Attempt::NotSent { why: said(&error), fault: Fault::Mail },
        Ok(Err(error)) => Attempt::Unknown { why: format!("handed over, but no reply came: {}", said(&error)) },
        Err(_) => {
            Attempt::Unknown { why: format!("handed over, but no reply came within {} s", HANDING_OVER.as_secs()) }
        }
    }
}

/// Everything up to the server's invitation to send the text.
async fn prepare(config: &Mail, host: &str, message: &Message) -> Result<AsyncSmtpConnection, Unready> {
    let at = (config.host.as_str(), config.port);
    let hello = ClientId::Domain(host.to_owned());
    let tls = if config.tls == MailTls::None { None } else { Some(tls(config)?) };
    let implicit = tls.clone().filter(|_| config.tls == MailTls::Tls);
    let mut server =
        AsyncSmtpConnection::connect_tokio1(at, None, &hello, implicit, None).await.map_err(Unready::Server)?;
    if let Some(tls) = tls.filter(|_| config.tls == MailTls::Starttls) {
        server.starttls(tls, &hello).await.map_err(Unready::Server)?;
    }
    if !config.username.is_empty() {
        let password = config.password.read()?.expose().to_owned();
        let credentials = Credentials::new(config.username.clone(), password);
        server.auth(DEFAULT_MECHANISMS, &credentials).await.map_err(Unready::Server)?;
    }
    let envelope = message.envelope();
    server.command(MailFrom::new(envelope.from().cloned(), Vec::new())).await.map_err(Unready::Server)?;
    for address in envelope.to() {
        server.command(Rcpt::new(address.clone(), Vec::new())).await.map_err(Unready::Address)?;
    }
    server.command(Data).await.map_err(Unready::Address)?;
    Ok(server)
}

/// TLS 1.2 or 1.3, named here: mail servers of agencies are not all as new as nodes. Certificates are checked by the
/// machine's own clock, as the system's are.
fn tls(config: &Mail) -> Result<TlsParameters, Unready> {
    let mut tls = TlsParameters::builder(config.host.clone())
        .set_min_tls_version(TlsVersion::Tlsv12)
        .certificate_store(CertificateStore::Default);
    for path in &config.ca {
        let pem = std::fs::read(path).map_err(|error| Unready::Ca(path.clone(), error))?;
        tls = tls.add_root_certificate(Certificate::from_pem(&pem).map_err(Unready::Server)?);
    }
    tls.build_rustls().map_err(Unready::Server)
}

async fn farewell(server: &mut AsyncSmtpConnection) {
    // The mail's fate is settled.
    drop(tokio::time::timeout(FAREWELL, server.quit()).await);
}

fn not_sent(unready: &Unready) -> Attempt {
    let (why, fault) = match unready {
        Unready::Address(error) if error.is_permanent() => (unready.to_string(), Fault::Forever),
        Unready::Address(error) if error.is_transient() => (unready.to_string(), Fault::Mail),
        Unready::Server(error) | Unready::Address(error) => (said(error), Fault::Server),
        Unready::Slow | Unready::Secret(_) | Unready::Ca(..) => (unready.to_string(), Fault::Server),
    };
    Attempt::NotSent { why, fault }
}

/// What happened, at most a few lines of the server's words.
fn said(error: &Error) -> String {
    error.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}
