//! Mail servers: one that fails as it is told, and one of another implementation.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use concordat::config::MailBackend;
use serde_json::Value;

use crate::node::TestNode;

impl TestNode {
    /// Mails from now on, into memory, to these addresses of administrators and custodians.
    pub fn mails_to(&mut self, administrators: &[&str], custodians: &[&str]) {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        self.restart_with(|config| {
            config.mail.backend = MailBackend::Memory;
            config.mail.from = Some("alpr@node.example".parse().unwrap());
            config.mail.administrators = addresses(administrators);
            config.mail.custodians = addresses(custodians);
        });
    }
}

/// What a connection meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 421 instead of a greeting.
    Busy,
    /// The connection ends before a greeting.
    SilentEnd,
    /// 451 to the sender.
    Sender,
    /// 450 to the recipient.
    Recipient,
    /// 550 to the recipient: for good.
    NoSuchRecipient,
    /// The connection ends after the recipient.
    EndBeforeData,
    /// 451 to DATA.
    Data,
    /// 451 to the whole text.
    Text,
    /// 554 to the whole text: for good.
    RefusedText,
    /// The connection ends within the text, which is not taken.
    EndInText,
    /// The text is taken, and the connection ends before the reply.
    EndBeforeReply,
    /// The text is taken, and the reply comes when [`Sink::replies`] is called.
    LateReply,
}

/// A mail that the server took.
#[derive(Clone, Debug)]
pub struct Taken {
    pub recipient: String,
    pub text: String,
}

impl Taken {
    pub fn message_id(&self) -> &str {
        self.text.lines().find_map(|line| line.strip_prefix("Message-ID: ")).expect("a Message-ID")
    }
}

#[derive(Default)]
struct Shared {
    taken: Mutex<Vec<Taken>>,
    faults: Mutex<VecDeque<Fault>>,
    connections: Mutex<usize>,
    replies: AtomicBool,
    stop: AtomicBool,
}

/// A mail server in this process, without TLS.
pub struct Sink {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Sink {
    /// Listens at `address`.
    pub fn open(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let shared = Arc::<Shared>::default();
        let inside = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            while !inside.stop.load(Ordering::SeqCst) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        *inside.connections.lock().unwrap() += 1;
                        let fault = inside.faults.lock().unwrap().pop_front();
                        // Whatever the client does to its connection is its affair.
                        let _ = converse(stream, fault, &inside);
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(2)),
                }
            }
        });
        Self { shared, thread: Some(thread) }
    }

    /// The next connections meet these, one each; those after them none.
    pub fn will(&self, faults: &[Fault]) {
        self.shared.faults.lock().unwrap().extend(faults);
    }

    pub fn taken(&self) -> Vec<Taken> {
        self.shared.taken.lock().unwrap().clone()
    }

    /// Lets a late reply go.
    pub fn replies(&self) {
        self.shared.replies.store(true, Ordering::SeqCst);
    }

    pub fn connections(&self) -> usize {
        *self.shared.connections.lock().unwrap()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.replies();
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || std::thread::panicking(), "the mail server ended in a panic");
        }
    }
}

fn converse(stream: TcpStream, fault: Option<Fault>, shared: &Shared) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut out = stream.try_clone()?;
    let mut lines = BufReader::new(stream);
    let mut say = |text: &str| out.write_all(format!("{text}\r\n").as_bytes());
    match fault {
        Some(Fault::SilentEnd) => return Ok(()),
        Some(Fault::Busy) => return say("421 try again later"),
        _ => say("220 sink.test ESMTP")?,
    }
    let mut recipient = String::new();
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let command = line.trim_end().to_owned();
        match command.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase().as_str() {
            "EHLO" => say("250-sink.test\r\n250 8BITMIME")?,
            "MAIL" if fault == Some(Fault::Sender) => say("451 not now")?,
            "RCPT" if fault == Some(Fault::Recipient) => say("450 the mailbox is busy")?,
            "RCPT" if fault == Some(Fault::NoSuchRecipient) => say("550 nobody of that name")?,
            "RCPT" => {
                command.split(['<', '>']).nth(1).unwrap_or_default().clone_into(&mut recipient);
                say("250 yes")?;
                if fault == Some(Fault::EndBeforeData) {
                    return Ok(());
                }
            }
            "DATA" if fault == Some(Fault::Data) => say("451 not now")?,
            "DATA" => {
                say("354 go ahead")?;
                if fault == Some(Fault::EndInText) {
                    return lines.read_exact(&mut [0; 40]);
                }
                let text = text(&mut lines)?;
                match fault {
                    Some(Fault::Text) => say("451 the disk is full")?,
                    Some(Fault::RefusedText) => say("554 not this")?,
                    _ => {
                        shared.taken.lock().unwrap().push(Taken { recipient: recipient.clone(), text });
                        if fault == Some(Fault::EndBeforeReply) {
                            return Ok(());
                        }
                        while fault == Some(Fault::LateReply) && !shared.replies.load(Ordering::SeqCst) {
                            std::thread::sleep(Duration::from_millis(2));
                        }
                        say("250 taken")?;
                    }
                }
            }
            "QUIT" => return say("221 bye"),
            "MAIL" => say("250 yes")?,
            _ => say("502 not here")?,
        }
    }
}

fn text(lines: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut text = String::new();
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end_matches(['\r', '\n']) {
            "." => return Ok(text),
            rest => {
                text.push_str(rest.strip_prefix('.').unwrap_or(rest));
                text.push('\n');
            }
        }
    }
}

/// Reads what it takes with Python's own mail library, and says it, a line of JSON each.
const SCRIPT: &str = r#"
import asyncio, email, email.policy, json, logging, ssl, sys
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

certificate, key, user, password = sys.argv[1:5]
logging.disable(logging.CRITICAL)

class Handler:
    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        print(json.dumps({
            "from": envelope.mail_from, "to": envelope.rcpt_tos, "tls": session.ssl is not None,
            "user": session.auth_data.login.decode() if session.auth_data else None,
            "headers": {name: value for name, value in message.items()},
            "body": message.get_content(), "defects": [str(d) for d in message.defects],
        }), flush=True)
        return "250 taken"

def authenticate(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (user.encode(), password.encode())
    return AuthResult(success=good, handled=False, auth_data=data)

async def main():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    loop = asyncio.get_running_loop()
    make = lambda: SMTP(Handler(), hostname="localhost", tls_context=context, require_starttls=True,
                        authenticator=authenticate, auth_required=True)
    server = await loop.create_server(make, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    try:
        await asyncio.wait_for(loop.run_in_executor(None, sys.stdin.read), 300)
    finally:
        server.close()

asyncio.run(main())
"#;
const HOW: &str = "install it with `pip install aiosmtpd`, in a venv that CONCORDAT_PYTHON points into if you like";

/// A mail server of another implementation (Python's `aiosmtpd`), which wants STARTTLS and a login.
pub struct Aiosmtpd {
    pub port: u16,
    process: Child,
    stdin: Option<ChildStdin>,
    said: Arc<Mutex<Vec<Value>>>,
    reader: Option<JoinHandle<()>>,
}

impl Aiosmtpd {
    pub const USER: &str = "concordat";
    pub const PASSWORD: &str = "correct horse battery staple";

    /// Starts one with the certificate and the key in these files. `None`, said loudly, where there is no `aiosmtpd`;
    /// with `CONCORDAT_CI=1` that is a failure.
    pub fn start(certificate: &Path, key: &Path) -> Option<Self> {
        let python = std::env::var("CONCORDAT_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let has_it = Command::new(&python).args(["-c", "import aiosmtpd"]).output().is_ok_and(|o| o.status.success());
        if !has_it {
            assert_ne!(std::env::var("CONCORDAT_CI").as_deref(), Ok("1"), "{python} cannot import aiosmtpd; {HOW}");
            let said = format!(
                "\n*** SKIPPED: no mail server of another implementation: {python} cannot import aiosmtpd; {HOW} ***\n"
            );
            // Not by a macro: the test runner would keep what those print to itself.
            std::io::stderr().write_all(said.as_bytes()).unwrap();
            return None;
        }
        let mut process = Command::new(&python)
            .args(["-c", SCRIPT])
            .args([certificate, key])
            .args([Self::USER, Self::PASSWORD])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = process.stdin.take();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.next().expect("the server says its port").unwrap().parse().unwrap();
        let said = Arc::<Mutex<Vec<Value>>>::default();
        let into = Arc::clone(&said);
        let reader = std::thread::spawn(move || {
            for line in lines {
                into.lock().unwrap().push(serde_json::from_str(&line.unwrap()).unwrap());
            }
        });
        Some(Self { port, process, stdin, said, reader: Some(reader) })
    }

    /// What it took, as it read it.
    pub fn taken(&self) -> Vec<Value> {
        self.said.lock().unwrap().clone()
    }
}

impl Drop for Aiosmtpd {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // It ends with its standard input; should it not, it is ended.
        for _ in 0..200 {
            if matches!(self.process.try_wait(), Ok(Some(_))) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(reader) = self.reader.take() {
            assert!(reader.join().is_ok() || std::thread::panicking(), "what the mail server said was not read");
        }
    }
}
