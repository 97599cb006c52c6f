//! Problem documents (RFC 9457): what a partner is told when there is no sworn answer.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpResponse, ResponseError};
use agreements::protocol::Spoken;
use agreements::status::Status;
use serde_json::json;

use crate::db::RecordError;
use crate::exchange::Failure;
use crate::exchange::sworn::SwornError;

/// A problem, as it is told.
#[derive(Debug)]
pub enum Problem {
    /// An exchange came to no sworn answer.
    Failure(Failure),
    /// The body is longer than this node reads, in bytes.
    TooLong(usize),
    /// The body did not arrive whole.
    Interrupted,
    /// Over the rate, or too many requests in work.
    Limited,
    /// There is no such path.
    NoSuchPath,
    /// The path has no such method.
    NoSuchMethod,
    /// An id in the path is none.
    NoSuchId(String),
    /// The log has no such tile yet, or no entry of that id for who asks.
    NotInLog,
    /// What came are no new keys that this node can take.
    NoNewKeys,
    /// No agreement with the asking agency by that id: where it stands is all there is to say.
    NotBetweenUs,
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failure(failure) => failure.fmt(f),
            Self::TooLong(limit) => {
                write!(f, "the body is longer than {limit} bytes, the most that this node reads; send less")
            }
            Self::Interrupted => f.write_str("the body did not arrive whole; send it again"),
            Self::Limited => f.write_str("too many requests at once; wait and send it again"),
            Self::NoSuchPath => f.write_str("there is no such path; the protocol's paths begin with /peer/v1/"),
            Self::NoSuchMethod => f.write_str("this path takes another method"),
            Self::NoSuchId(why) => write!(f, "the id in the path: {why}"),
            Self::NotInLog => f.write_str(
                "this log has no such tile yet, or no entry of that id for you; a checkpoint's size says which tiles there \
                 are (c2sp.org/tlog-tiles)",
            ),
            Self::NoNewKeys => {
                f.write_str("what came are no new keys of yours under this agreement that this node can take")
            }
            Self::NotBetweenUs => f.write_str("there is no such agreement between the two agencies"),
        }
    }
}

impl Problem {
    /// Status code, slug of the problem's type, and its title: one row for each kind.
    fn row(&self) -> (StatusCode, &'static str, &'static str) {
        const UNAVAILABLE: (StatusCode, &str, &str) =
            (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "This node cannot answer now");
        match self {
            Self::Failure(failure) => match failure {
                Failure::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed", "The body is no sworn entry"),
                Failure::Unsworn(SwornError::NotForUs) => {
                    (StatusCode::FORBIDDEN, "not-for-us", "The entry is for others")
                }
                Failure::Unsworn(SwornError::Forked(_)) => (StatusCode::FORBIDDEN, "forked", "The log has two trails"),
                Failure::Unsworn(error) if error.is_of_version() => {
                    (StatusCode::BAD_REQUEST, "version", "Another protocol version")
                }
                Failure::Unsworn(_) => (StatusCode::BAD_REQUEST, "unsworn", "The entry is not proven"),
                Failure::Conflict => (StatusCode::CONFLICT, "id-used", "The id was used for another entry"),
                Failure::OutOfOrder { .. } => (StatusCode::CONFLICT, "out-of-order", "The event is not the next one"),
                Failure::Unacceptable(_) => {
                    (StatusCode::UNPROCESSABLE_ENTITY, "unacceptable", "The entry is not acceptable")
                }
                Failure::Overtaken
                | Failure::Unwitnessed(_)
                | Failure::Hidden
                | Failure::Jumped(_)
                | Failure::Behind(_)
                | Failure::Unheard(_)
                | Failure::Record(_)
                | Failure::Reads(_)
                | Failure::Registry(_)
                | Failure::Open(_) => UNAVAILABLE,
                Failure::Unrecorded | Failure::Internal(_) => {
                    (StatusCode::INTERNAL_SERVER_ERROR, "internal", "A fault of this node")
                }
            },
            Self::TooLong(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too-long", "The body is too long"),
            Self::Interrupted => (StatusCode::BAD_REQUEST, "interrupted", "The body is not whole"),
            Self::Limited => (StatusCode::TOO_MANY_REQUESTS, "limited", "Too many requests"),
            Self::NoSuchPath => (StatusCode::NOT_FOUND, "no-such-path", "No such path"),
            Self::NoSuchMethod => (StatusCode::METHOD_NOT_ALLOWED, "no-such-method", "No such method"),
            Self::NoSuchId(_) => (StatusCode::BAD_REQUEST, "no-such-id", "No such id"),
            Self::NotInLog => (StatusCode::NOT_FOUND, "not-in-log", "Not in this log"),
            Self::NoNewKeys => (StatusCode::UNPROCESSABLE_ENTITY, "no-new-keys", "No new keys"),
            Self::NotBetweenUs => (StatusCode::FORBIDDEN, "no-agreement", "No agreement between the two agencies"),
        }
    }

    /// What is told: of our own failures only that there was one; their details are for our log.
    fn detail(&self) -> String {
        match self {
            Self::Failure(Failure::Jumped(_) | Failure::Behind(_) | Failure::Record(RecordError::ClockBack { .. })) => {
                "this node is unready and records nothing now, so it does not answer; try again later".to_owned()
            }
            Self::Failure(
                Failure::Hidden
                | Failure::Record(_)
                | Failure::Reads(_)
                | Failure::Registry(_)
                | Failure::Open(_)
                | Failure::Unrecorded
                | Failure::Internal(_),
            ) => "this node cannot record now, so it does not answer; try again later".to_owned(),
            other => other.to_string(),
        }
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.row().0
    }

    fn error_response(&self) -> HttpResponse {
        let (status, slug, title) = self.row();
        if status.is_server_error() {
            tracing::error!(problem = slug, detail = %self, "a partner's request came to nothing");
        }
        let mut body = json!({"type": format!("urn:concordat:problem:{slug}"), "title": title, "status": status.as_u16(), "detail": self.detail()});
        if let (Self::Failure(Failure::Unsworn(error)), Some(body)) = (self, body.as_object_mut())
            && error.is_of_version()
        {
            body.insert("versions".to_owned(), json!(Spoken::OURS.versions()));
        }
        if let (Self::NotBetweenUs, Some(body)) = (self, body.as_object_mut()) {
            body.insert("agreement".to_owned(), json!(Status::NoAgreement {}));
        }
        let mut response = HttpResponse::build(status);
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.insert_header((RETRY_AFTER, "1"));
        }
        response.content_type("application/problem+json").body(body.to_string())
    }
}
