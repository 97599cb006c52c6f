//! Problem documents (RFC 9457): what an agent is told when its message is not kept.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde_json::json;

use crate::intake::message::MessageError;
use crate::intake::queue::Refused;
use crate::reads::LineError;

/// After how many seconds an agent should send again when too much waits.
const SOON: &str = "2";
/// After how many, when the store fails.
const LATER: &str = "10";

/// A problem, as it is told.
#[derive(Debug)]
pub enum Problem {
    /// No token, or one that does not count.
    WhoAreYou,
    /// The message is not taken.
    Message(MessageError),
    /// The body is longer than this node reads, in bytes.
    TooLong(usize),
    /// The body did not arrive whole.
    Interrupted,
    /// The body is compressed in another way than gzip.
    Encoding,
    /// This node cannot tell who it is now.
    Unavailable,
    /// There is no such path.
    NoSuchPath,
    /// The path has no such method.
    NoSuchMethod,
}

impl From<MessageError> for Problem {
    fn from(error: MessageError) -> Self {
        Self::Message(error)
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        Self::Message(refused.into())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WhoAreYou => f.write_str(
                "send the agent's token as `Authorization: Bearer TOKEN` or `X-Api-Key: TOKEN`; `concordat agent add` makes one",
            ),
            Self::Message(error) => error.fmt(f),
            Self::TooLong(limit) => {
                write!(f, "the body is longer than {limit} bytes, the most that this node reads; send less")
            }
            Self::Interrupted => f.write_str("the body did not arrive whole; send it again"),
            Self::Encoding => f.write_str("a body is sent as it is, or with Content-Encoding gzip"),
            Self::Unavailable => f.write_str("this node cannot look the token up now; send it again"),
            Self::NoSuchPath => f.write_str("there is no such path; agents post to /rekor"),
            Self::NoSuchMethod => f.write_str("this path takes POST"),
        }
    }
}

impl Problem {
    /// Status code, slug of the problem's type, and its title: one row for each kind.
    fn row(&self) -> (StatusCode, &'static str, &'static str) {
        const TOO_LONG: (StatusCode, &str, &str) = (StatusCode::PAYLOAD_TOO_LARGE, "too-long", "The body is too long");
        const UNAVAILABLE: (StatusCode, &str, &str) =
            (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "This node cannot keep reads now");
        match self {
            Self::WhoAreYou => (StatusCode::UNAUTHORIZED, "unknown-agent", "No agent's token"),
            Self::Message(error) => match error {
                MessageError::NotGzip(_) => (StatusCode::BAD_REQUEST, "malformed", "The body is not gzip"),
                MessageError::TooLong(_) => TOO_LONG,
                MessageError::Line(LineError::NotUtf8 | LineError::NotJson { .. }) => {
                    (StatusCode::BAD_REQUEST, "malformed", "The body is not JSON")
                }
                MessageError::Line(_) | MessageError::NoAgent => {
                    (StatusCode::UNPROCESSABLE_ENTITY, "unacceptable", "The message is not acceptable")
                }
                MessageError::OtherAgent => (StatusCode::FORBIDDEN, "other-agent", "The message is another agent's"),
                MessageError::Refused(Refused::Full) => {
                    (StatusCode::TOO_MANY_REQUESTS, "limited", "Too much is waiting")
                }
                MessageError::Refused(Refused::Failed) => UNAVAILABLE,
                MessageError::Thread => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "A fault of this node"),
            },
            Self::TooLong(_) => TOO_LONG,
            Self::Interrupted => (StatusCode::BAD_REQUEST, "interrupted", "The body is not whole"),
            Self::Encoding => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoding", "Another Content-Encoding"),
            Self::Unavailable => UNAVAILABLE,
            Self::NoSuchPath => (StatusCode::NOT_FOUND, "no-such-path", "No such path"),
            Self::NoSuchMethod => (StatusCode::METHOD_NOT_ALLOWED, "no-such-method", "No such method"),
        }
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.row().0
    }

    fn error_response(&self) -> HttpResponse {
        let (status, slug, title) = self.row();
        let body = json!({"type": format!("urn:concordat:problem:{slug}"), "title": title, "status": status.as_u16(), "detail": self.to_string()});
        let mut response = HttpResponse::build(status);
        match status {
            StatusCode::TOO_MANY_REQUESTS => _ = response.insert_header((RETRY_AFTER, SOON)),
            StatusCode::SERVICE_UNAVAILABLE => _ = response.insert_header((RETRY_AFTER, LATER)),
            StatusCode::UNAUTHORIZED => _ = response.insert_header((WWW_AUTHENTICATE, "Bearer")),
            _ => {}
        }
        response.content_type("application/problem+json").body(body.to_string())
    }
}
