//! The text as a page of HTML that stands alone: no script, no font, no image, nothing fetched.

use askama::Template;

use super::{Block, Readable};

#[derive(Template)]
#[template(path = "agreement.html")]
struct Page<'t> {
    text: &'t Readable,
}

/// The page.
///
/// # Errors
/// None: it is written to memory.
pub fn render(text: &Readable) -> Result<String, askama::Error> {
    Page { text }.render()
}
