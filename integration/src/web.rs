//! A site of the public web: https with a certificate of the federation's authority, pages as a test says.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use certs::key::SigningKey;
use concordat::ca_folder::{CaFolder, Order};
use openssl::pkey::PKey;
use openssl::ssl::{SslAcceptor, SslMethod};
use openssl::x509::X509;

use crate::federation::{Federation, start};
use crate::pki::LONG;

/// What the site answers at a path.
#[derive(Clone, Debug)]
pub struct Page {
    pub status: u16,
    /// Further header lines.
    pub headers: Vec<String>,
    pub body: Vec<u8>,
}

impl Page {
    pub fn html(body: &str) -> Self {
        Self::of("text/html; charset=utf-8", body.as_bytes().to_vec())
    }

    pub fn of(content_type: &str, body: Vec<u8>) -> Self {
        Self { status: 200, headers: vec![format!("content-type: {content_type}")], body }
    }

    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: b"nothing here".to_vec() }
    }

    pub fn redirect(to: &str) -> Self {
        Self { status: 302, headers: vec![format!("location: {to}")], body: Vec::new() }
    }
}

#[derive(Default)]
struct Shared {
    pages: Mutex<BTreeMap<String, Page>>,
    asked: Mutex<Vec<String>>,
    stop: AtomicBool,
}

/// A site, on a thread of its own.
pub struct Site {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Site {
    /// Opens the site of `host`.
    pub fn open(federation: &Federation, host: &str) -> Self {
        let key = SigningKey::generate_p256().unwrap();
        let folder = CaFolder::open(&federation.pki.ca.folder).unwrap();
        let hosts = [host.parse().unwrap()];
        let ori = "CA0990900".parse().unwrap();
        let issued = folder.issue(ori, key.public(), &Order::Node(&hosts), start(), LONG).unwrap();
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
        acceptor.set_certificate(&X509::from_pem(&issued.pem).unwrap()).unwrap();
        acceptor.set_private_key(&PKey::private_key_from_pem(&key.to_pem().unwrap()).unwrap()).unwrap();
        let acceptor = acceptor.build();
        let listener = TcpListener::bind(crate::federation::address()).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let seen = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map(Result::unwrap) {
                if seen.stop.load(Ordering::SeqCst) {
                    return;
                }
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
                // Whoever does not trust the certificate, or has read enough, is gone: none of the site's business.
                if let Ok(stream) = acceptor.accept(stream) {
                    drop(answer(BufReader::new(stream), &seen));
                }
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    /// Publishes a page at a path.
    pub fn publishes(&self, path: &str, page: Page) {
        self.shared.pages.lock().unwrap().insert(path.to_owned(), page);
    }

    /// Which paths were asked for.
    pub fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().unwrap().clone()
    }
}

fn answer(mut stream: BufReader<openssl::ssl::SslStream<std::net::TcpStream>>, shared: &Shared) -> std::io::Result<()> {
    let mut request = String::new();
    stream.read_line(&mut request)?;
    let mut line = String::new();
    while stream.read_line(&mut line)? > 2 {
        line.clear();
    }
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    shared.asked.lock().unwrap().push(path.clone());
    let page = shared.pages.lock().unwrap().get(&path).cloned().unwrap_or(Page::status(404));
    let Page { status, headers, body } = page;
    let headers = headers.iter().flat_map(|header| [header.as_ref(), "\r\n"]).collect::<String>();
    let stream = stream.get_mut();
    write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n", body.len())?;
    stream.write_all(&body)?;
    stream.flush()?;
    drop(stream.shutdown());
    Ok(())
}

impl Drop for Site {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the thread; an error means that it is gone.
        drop(std::net::TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || std::thread::panicking(), "the site ended in a panic");
        }
    }
}

/// A PDF of one page with this text, made by hand.
pub fn pdf(text: &str) -> Vec<u8> {
    let content = format!("BT /F1 12 Tf 72 720 Td ({text}) Tj ET");
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R \
         /Resources << /Font << /F1 5 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>".to_owned(),
    ];
    let mut file = b"%PDF-1.4\n".to_vec();
    let mut places = Vec::new();
    for (object, n) in objects.iter().zip(1..) {
        places.push(file.len());
        file.extend_from_slice(format!("{n} 0 obj\n{object}\nendobj\n").as_bytes());
    }
    let xref = file.len();
    file.extend_from_slice(format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1).as_bytes());
    for place in places {
        file.extend_from_slice(format!("{place:010} 00000 n \n").as_bytes());
    }
    let trailer = format!("trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{xref}\n%%EOF\n", objects.len() + 1);
    file.extend_from_slice(trailer.as_bytes());
    file
}
