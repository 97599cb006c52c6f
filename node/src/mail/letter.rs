//! One mail as it travels: the same bytes at each attempt.

use std::time::{Duration, UNIX_EPOCH};

use agreements::time::Instant;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::{Address, Message};

use crate::config::MailAddress;

/// A mail to one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The Message-ID is made of it.
    pub id: String,
    /// The address.
    pub recipient: String,
    /// One line.
    pub subject: String,
    /// Plain text.
    pub body: String,
    /// When it was queued: its date.
    pub at: Instant,
}

/// A mail that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum LetterError {
    /// The address is none.
    #[error("the recipient is no mail address: {0}")]
    Recipient(#[from] lettre::address::AddressError),
    /// A header cannot be written.
    #[error("a header cannot be written: {0}")]
    Header(String),
    /// The message cannot be made.
    #[error("the message cannot be made: {0}")]
    Message(#[from] lettre::error::Error),
}

impl Letter {
    /// The whole message. Nothing in it depends on when or how often it is sent.
    pub(super) fn message(&self, from: &MailAddress) -> Result<Message, LetterError> {
        let recipient: Address = self.recipient.parse()?;
        let id = format!("<{}@{}>", self.id, from.address().domain());
        let at = UNIX_EPOCH + Duration::from_micros(u64::try_from(self.at.micros()).unwrap_or(0));
        // So that nobody's absence note answers a machine (RFC 3834).
        let automatic = HeaderName::new_from_ascii("Auto-Submitted".to_owned());
        let automatic = automatic.map_err(|error| LetterError::Header(error.to_string()))?;
        Ok(Message::builder()
            .from(Mailbox::new(Some("Concordat".to_owned()), from.address().clone()))
            .to(Mailbox::new(None, recipient))
            .subject(one_line(&self.subject))
            .message_id(Some(id))
            .date(at)
            .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()))
            .header(ContentType::TEXT_PLAIN)
            // The end of the text brings its own line break.
            .body(self.body.trim_end().to_owned())?)
    }
}

/// A subject is one line, whatever a partner's name is.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
