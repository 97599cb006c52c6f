//! The text of a published policy, whatever its markup: HTML, PDF or plain. Parsers of what strangers publish run apart:
//! bounded in size and time, on a thread whose panic is an answer and not the end of the node, and which ends when nobody
//! waits for it any more.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use html2text::render::TrivialDecorator;
use html2text::{RcDom, config};

/// The longest page, in bytes: a policy is some pages of text, and a parser takes more than its share of time for what is
/// longer.
const MAX_PAGE: usize = 2 << 20;
/// The deepest nesting of a page's elements: laying out takes more than its share of time for what is deeper.
const MAX_NESTING: usize = 500;
/// The longest text, in bytes.
const MAX_TEXT: usize = 8 << 20;
/// The most bytes that one stream of a PDF may unpack to.
const MAX_STREAM: usize = 32 << 20;
/// The most pages of a PDF.
const MAX_PAGES: usize = 1000;
/// Wider than any line: lines are joined again anyway.
const WIDTH: usize = 10_000;
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no text.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The PDF cannot be read.
    #[error("the PDF cannot be read: {0}")]
    Pdf(#[from] lopdf::Error),
    /// The HTML cannot be read.
    #[error("the page cannot be read: {0}")]
    Html(#[from] html2text::Error),
    /// It is encrypted.
    #[error("the PDF is encrypted: have the partner publish it without a password")]
    Encrypted,
    /// There is too much of it.
    #[error("the text is too long for a policy")]
    Long,
    /// There is none: a scan, or a page that a script fills.
    #[error("there is no text in it: have the partner publish it as text, not as a scan or by a script")]
    None,
    /// It is nested deeper than any policy.
    #[error("its elements are nested over {MAX_NESTING} deep: have the partner publish it without whatever nests them")]
    Nested,
    /// It takes too long.
    #[error("its text was not found within {} s", .0.as_secs())]
    Slow(Duration),
    /// The parser gave up.
    #[error("it cannot be parsed")]
    Panicked,
}

/// The words of a document, one space between them.
///
/// # Errors
/// See [`TextError`].
pub async fn text_of(bytes: Bytes, content_type: &str) -> Result<String, TextError> {
    within(PATIENCE, bytes, content_type).await
}

async fn within(patience: Duration, bytes: Bytes, content_type: &str) -> Result<String, TextError> {
    let (given_up, content_type) = (GivenUp::default(), content_type.to_owned());
    let reader = given_up.clone();
    let reading = tokio::task::spawn_blocking(move || read(&bytes, &content_type, &reader));
    let read = tokio::time::timeout(patience, reading).await;
    given_up.now();
    read.map_err(|_| TextError::Slow(patience))?.map_err(|_| TextError::Panicked)?
}

/// Whether nobody waits any more for what is read.
#[derive(Clone, Debug, Default)]
struct GivenUp(Arc<AtomicBool>);

impl GivenUp {
    fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn yet(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Bytes that a parser takes part by part, until nobody waits for it any more.
struct Parts<'a> {
    rest: &'a [u8],
    given_up: &'a GivenUp,
}

impl Read for Parts<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.given_up.yet() {
            return Err(io::Error::other("nobody waits for it any more"));
        }
        self.rest.read(into)
    }
}

fn read(bytes: &[u8], content_type: &str, given_up: &GivenUp) -> Result<String, TextError> {
    let text = if bytes.starts_with(b"%PDF-") {
        pdf(bytes, given_up)?
    } else if content_type.starts_with("text/plain") {
        String::from_utf8_lossy(bytes).into_owned()
    } else {
        page(bytes, given_up)?
    };
    if text.len() > MAX_TEXT {
        return Err(TextError::Long);
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.is_empty() { Err(TextError::None) } else { Ok(words.join(" ")) }
}

fn page(bytes: &[u8], given_up: &GivenUp) -> Result<String, TextError> {
    if bytes.len() > MAX_PAGE {
        return Err(TextError::Long);
    }
    let plain = config::with_decorator(TrivialDecorator::new()).no_table_borders().allow_width_overflow();
    let document = plain.parse_html(Parts { rest: bytes, given_up })?;
    if is_deeper(&document, MAX_NESTING) {
        return Err(TextError::Nested);
    }
    let laid_out = plain.dom_to_render_tree(&document)?;
    Ok(plain.render_to_string(laid_out, WIDTH)?)
}

/// Whether elements are nested over `depth` deep in a document as the parser understood it: what its tags say is no measure,
/// for those that close nothing are passed over.
fn is_deeper(document: &RcDom, depth: usize) -> bool {
    let mut level = document.document.children.borrow().clone();
    for _ in 0..=depth {
        if level.is_empty() {
            return false;
        }
        level = level.iter().flat_map(|node| node.children.borrow().clone()).collect();
    }
    !level.is_empty()
}

fn pdf(bytes: &[u8], given_up: &GivenUp) -> Result<String, TextError> {
    let options = lopdf::LoadOptions { max_decompressed_size: Some(MAX_STREAM), ..lopdf::LoadOptions::default() };
    let document = lopdf::Document::load_mem_with_options(bytes, options)?;
    if document.is_encrypted() {
        return Err(TextError::Encrypted);
    }
    let pages: Vec<u32> = document.get_pages().into_keys().collect();
    if pages.len() > MAX_PAGES {
        return Err(TextError::Long);
    }
    let mut text = String::new();
    for page in pages {
        if given_up.yet() {
            return Err(TextError::Slow(PATIENCE));
        }
        text.push_str(&document.extract_text_with_limit(&[page], MAX_STREAM)?);
        text.push(' ');
        if text.len() > MAX_TEXT {
            return Err(TextError::Long);
        }
    }
    Ok(text)
}

/// A text in sentences, for people who compare two.
fn sentences(text: &str) -> Vec<String> {
    let mut sentences = vec![String::new()];
    for word in text.split(' ') {
        let Some(last) = sentences.last_mut() else { continue };
        if !last.is_empty() {
            last.push(' ');
        }
        last.push_str(word);
        if word.ends_with(['.', ';', ':', '?', '!']) {
            sentences.push(String::new());
        }
    }
    sentences.retain(|sentence| !sentence.is_empty());
    sentences
}

/// What differs between two texts: sentences that went (`-`) and that came (`+`), in their order.
#[must_use]
pub fn difference(old: &str, new: &str) -> Vec<String> {
    let (old, new) = (sentences(old), sentences(new));
    let (old, new): (Vec<&str>, Vec<&str>) =
        (old.iter().map(String::as_str).collect(), new.iter().map(String::as_str).collect());
    let diff = similar::TextDiff::configure().timeout(Duration::from_secs(5)).diff_slices(&old, &new);
    let marked = diff.iter_all_changes().filter_map(|change| match change.tag() {
        similar::ChangeTag::Delete => Some(format!("- {}", change.value())),
        similar::ChangeTag::Insert => Some(format!("+ {}", change.value())),
        similar::ChangeTag::Equal => None,
    });
    marked.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str = "ALPR Policy Reads are kept for 30 days. Nobody sells them.";

    #[test]
    fn markup_makes_no_difference_and_words_do() {
        let one = "<html><head><title>x</title><style>p{}</style></head><body><h1>ALPR Policy</h1>\
                   <p>Reads are kept for <b>30</b>\n days.</p><p>Nobody sells them.</p></body></html>";
        let other = "<html><body class=new><script>track()</script><div><h2>ALPR   Policy</h2><ul></ul>\
                     <table><tr><td>Reads are kept for 30 days.</td></tr></table>\
                     <a href='/x'>Nobody</a> sells&nbsp;them.</div></body></html>";
        let waits = GivenUp::default();
        assert_eq!(read(one.as_bytes(), "text/html", &waits).unwrap(), WORDS);
        assert_eq!(read(other.as_bytes(), "text/html; charset=utf-8", &waits).unwrap(), WORDS);
        assert_eq!(read(WORDS.replace(' ', "\r\n").as_bytes(), "text/plain", &waits).unwrap(), WORDS);
        assert!(matches!(read(b"<html><script>fill()</script></html>", "text/html", &waits), Err(TextError::None)));
        assert_eq!(
            difference(WORDS, "ALPR Policy Reads are kept for 60 days. Nobody sells them."),
            ["- ALPR Policy Reads are kept for 30 days.", "+ ALPR Policy Reads are kept for 60 days."]
        );
        assert!(difference(WORDS, WORDS).is_empty());
    }

    /// A page of this inside.
    fn around(inside: &str) -> String {
        format!("<!DOCTYPE html><html><body>{inside}</body></html>")
    }

    fn html(page: &str) -> Result<String, TextError> {
        read(page.as_bytes(), "text/html", &GivenUp::default())
    }

    #[test]
    fn a_page_of_two_mebibytes_is_read_and_none_that_is_a_byte_longer() {
        let fill = |length: usize| {
            let empty = around(&format!("<p>{WORDS}</p>")).len();
            around(&format!("<p>{WORDS}</p>{}", " ".repeat(length - empty)))
        };
        assert_eq!(fill(MAX_PAGE).len(), 2 * 1024 * 1024);
        assert_eq!(html(&fill(MAX_PAGE)).unwrap(), WORDS);
        assert!(matches!(html(&fill(MAX_PAGE + 1)), Err(TextError::Long)));
        // Plain text is as long as a text may be.
        assert!(read(fill(MAX_PAGE + 1).as_bytes(), "text/plain", &GivenUp::default()).is_ok());
    }

    #[test]
    fn elements_nested_five_hundred_deep_are_read_and_none_deeper_however_that_is_written() {
        // Inside of `html` and `body`, around a text.
        let deep = |depth: usize, open: &str, close: &str| {
            around(&format!("{}{WORDS}{}", open.repeat(depth - 3), close.repeat(depth - 3)))
        };
        assert_eq!(html(&deep(500, "<div>", "</div>")).unwrap(), WORDS);
        for (open, close) in [
            ("<div>", "</div>"),
            ("<div>", ""),
            // Ends of what is not there close nothing,
            ("<div></x>", ""),
            ("<div></p>", "</div>"),
            // nor do those inside of something else.
            ("<div><!-- </div> -->", ""),
            ("<div title='</div>'>", ""),
            ("<span><div></span></div>", ""),
            ("<div><object></div></object>", ""),
            ("<svg><g><![CDATA[ > </g> ]]>", ""),
        ] {
            let refused = html(&deep(600, open, close));
            assert!(matches!(refused, Err(TextError::Nested)), "{open}: {refused:?}");
        }
        // Nothing is nested in what has no end, or ends by itself.
        for flat in ["<br>x ", "<p>x ", "<div>x</div> ", "<svg><path/><path/></svg>x ", "<table><tr><td>x</table> "] {
            assert!(html(&around(&flat.repeat(1000))).is_ok(), "{flat}");
        }
    }

    /// Two mebibytes that the parser takes the square of their length for: half an hour.
    fn endless() -> Bytes {
        let unit = "<div></x>";
        Bytes::from(around(&unit.repeat((MAX_PAGE - 100) / unit.len())))
    }

    #[tokio::test]
    async fn a_page_that_takes_for_ever_is_given_up_and_its_thread_ends_as_well() {
        let patience = Duration::from_secs(1);
        let slow = within(patience, endless(), "text/html").await;
        assert!(matches!(slow, Err(TextError::Slow(_))), "{slow:?}");

        let given_up = GivenUp::default();
        let reader = given_up.clone();
        let reading = tokio::task::spawn_blocking(move || read(&endless(), "text/html", &reader));
        tokio::time::sleep(patience).await;
        assert!(!reading.is_finished(), "it takes longer");
        given_up.now();
        // One part more, and letting go of the rest.
        let ended = tokio::time::timeout(Duration::from_secs(30), reading).await;
        let ended = ended.expect("the thread ends").unwrap();
        assert!(matches!(ended, Err(TextError::Html(_))), "{ended:?}");
    }

    #[tokio::test]
    async fn the_most_that_is_read_is_read_in_time() {
        // As deep and as long as it may be, of what takes longest to lay out.
        let unit = format!("{}x{}", "<ul><li>".repeat(248), "</li></ul>".repeat(248));
        let page = around(&unit.repeat((MAX_PAGE - 100) / unit.len()));
        let read = text_of(Bytes::from(page), "text/html").await;
        assert!(read.is_ok(), "{read:?}");
    }

    #[tokio::test]
    async fn what_is_no_pdf_inside_is_an_answer() {
        for bytes in [&b"%PDF-1.7"[..], b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n", b"%PDF-1.7\nxref\n0 99999999\n"] {
            let error = text_of(Bytes::from_static(bytes), "application/pdf").await.unwrap_err();
            assert!(matches!(error, TextError::Pdf(_) | TextError::None), "{error:?}");
        }
        let deep = [b"%PDF-1.7\n1 0 obj\n".to_vec(), vec![b'['; 200_000]].concat();
        assert!(text_of(Bytes::from(deep), "application/pdf").await.is_err());
    }
}
