//! The text of a published policy, whatever its markup: HTML, PDF or plain. Parsers of what strangers publish run apart:
//! bounded in size and time, on a thread whose panic is an answer and not the end of the node.

use std::time::Duration;

use bytes::Bytes;
use html2text::config;
use html2text::render::TrivialDecorator;

/// The longest page, in bytes: a policy is some pages of text, and a parser takes more than its share of time for what is
/// longer or nested deeper.
const MAX_PAGE: usize = 2 << 20;
/// The deepest nesting of a page.
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
    /// It takes too long.
    #[error("its text was not found within {} s", PATIENCE.as_secs())]
    Slow,
    /// The parser gave up.
    #[error("it cannot be parsed")]
    Panicked,
}

/// The words of a document, one space between them.
///
/// # Errors
/// See [`TextError`].
pub async fn text_of(bytes: Bytes, content_type: &str) -> Result<String, TextError> {
    let content_type = content_type.to_owned();
    let reading = tokio::task::spawn_blocking(move || read(&bytes, &content_type));
    let read = tokio::time::timeout(PATIENCE, reading).await.map_err(|_| TextError::Slow)?;
    read.map_err(|_| TextError::Panicked)?
}

fn read(bytes: &[u8], content_type: &str) -> Result<String, TextError> {
    let text = if bytes.starts_with(b"%PDF-") {
        pdf(bytes)?
    } else if content_type.starts_with("text/plain") {
        String::from_utf8_lossy(bytes).into_owned()
    } else {
        if bytes.len() > MAX_PAGE || nesting(bytes) > MAX_NESTING {
            return Err(TextError::Long);
        }
        let plain = config::with_decorator(TrivialDecorator::new()).no_table_borders().allow_width_overflow();
        plain.string_from_read(bytes, WIDTH)?
    };
    if text.len() > MAX_TEXT {
        return Err(TextError::Long);
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.is_empty() { Err(TextError::None) } else { Ok(words.join(" ")) }
}

/// How deep elements are nested at most: tags that open, less those that close, wherever they stand. Those that need no
/// end are not counted.
fn nesting(bytes: &[u8]) -> usize {
    const ALONE: [&[u8]; 16] = [
        b"br", b"hr", b"img", b"input", b"meta", b"link", b"area", b"base", b"col", b"source", b"wbr", b"p", b"li",
        b"dt", b"dd", b"option",
    ];
    let (mut depth, mut deepest) = (0_usize, 0);
    for tag in bytes.split(|byte| *byte == b'<').skip(1) {
        let name: Vec<u8> = tag
            .iter()
            .skip_while(|byte| **byte == b'/')
            .take_while(|byte| byte.is_ascii_alphanumeric())
            .map(u8::to_ascii_lowercase)
            .collect();
        if ALONE.contains(&name.as_slice()) {
            continue;
        }
        match tag.first() {
            Some(b'/') => depth = depth.saturating_sub(1),
            Some(first) if first.is_ascii_alphabetic() => {
                depth = depth.saturating_add(1);
                deepest = deepest.max(depth);
            }
            _ => {}
        }
    }
    deepest
}

fn pdf(bytes: &[u8]) -> Result<String, TextError> {
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
        assert_eq!(read(one.as_bytes(), "text/html").unwrap(), WORDS);
        assert_eq!(read(other.as_bytes(), "text/html; charset=utf-8").unwrap(), WORDS);
        assert_eq!(read(WORDS.replace(' ', "\r\n").as_bytes(), "text/plain").unwrap(), WORDS);
        assert!(matches!(read(b"<html><script>fill()</script></html>", "text/html"), Err(TextError::None)));
        assert_eq!(
            difference(WORDS, "ALPR Policy Reads are kept for 60 days. Nobody sells them."),
            ["- ALPR Policy Reads are kept for 30 days.", "+ ALPR Policy Reads are kept for 60 days."]
        );
        assert!(difference(WORDS, WORDS).is_empty());
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
