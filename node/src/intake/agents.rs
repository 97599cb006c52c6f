//! Readers' agents: tokens made, ended and recognised.
//!
//! A token is `KEY.SECRET`: by the key its row is found, and the digest of the whole is compared in constant time. It is
//! shown once. Only its SHA-256 is kept, which is enough for 32 random bytes.

use agreements::entry::Kind;
use agreements::ids::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use diesel::result::{Error, QueryResult};
use serde::Serialize;

use crate::db::{Conn, Db, Tx};
use crate::people::{self, PeopleError, settled};
use crate::registry::accounts::{Action, operator};
use crate::registry::agents::{self, Agent};
use crate::trail::Facts;

/// How many hexadecimal digits the public part of a token has.
const KEY_DIGITS: usize = 16;

#[derive(Serialize)]
struct AgentChanged<'a> {
    change: &'a str,
    /// The public part of the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    uid: &'a str,
    v: u16,
}

/// A token as it is shown, once.
pub struct Token(String);

impl Token {
    /// What the agent sends.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn random() -> Result<(String, Self), openssl::error::ErrorStack> {
        let (mut key, mut secret) = ([0; 8], [0; 32]);
        openssl::rand::rand_bytes(&mut key)?;
        openssl::rand::rand_bytes(&mut secret)?;
        let key = format!("{:0KEY_DIGITS$x}", u64::from_be_bytes(key));
        let token = format!("{key}.{}", URL_SAFE_NO_PAD.encode(secret));
        Ok((key, Self(token)))
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Makes a token for the agent `uid`, which has none that counts.
///
/// # Errors
/// The person may not, the agent has one, or it is not recorded.
pub async fn add(db: &Db, uid: &str, by: &str) -> Result<Token, PeopleError> {
    let (uid, by) = (uid.to_owned(), by.to_owned());
    let job = move |tx: &mut Tx<'_>| {
        if uid.is_empty() || uid.len() > 128 || !uid.bytes().all(|b| b.is_ascii_graphic()) {
            return Ok(Err(
                "an agent's id is 1 to 128 visible ASCII characters: `agent_uid` of its messages".to_owned()
            ));
        }
        if let Err(why) = operator(tx.conn(), &by, Action::Ingest)? {
            return Ok(Err(why));
        }
        if agents::of(tx.conn(), &uid)?.is_some() {
            return Ok(Err(format!(
                "the agent {uid} has a token; to give it another, run `concordat agent revoke {uid}` first"
            )));
        }
        let (key, token) = Token::random().map_err(|error| Error::SerializationError(Box::new(error)))?;
        let new = Agent {
            key: key.clone(),
            uid: uid.clone(),
            secret: Digest::of(token.0.as_bytes()),
            added_at: tx.now(),
            added_by: by.clone(),
            revoked: None,
            heard_at: None,
        };
        agents::insert(tx.conn(), &new)?;
        let message = AgentChanged { change: "added", key: Some(&key), uid: &uid, v: 1 };
        people::record(tx, Kind::AgentChanged, &message, &by, Facts::default())?;
        Ok(Ok(token))
    };
    settled(db.record(job).await?)
}

/// Ends the token of the agent `uid`. It counts no more at the next request.
///
/// # Errors
/// The person may not, the agent has none, or it is not recorded.
pub async fn revoke(db: &Db, uid: &str, by: &str) -> Result<(), PeopleError> {
    let (uid, by) = (uid.to_owned(), by.to_owned());
    let job = move |tx: &mut Tx<'_>| {
        if let Err(why) = operator(tx.conn(), &by, Action::Ingest)? {
            return Ok(Err(why));
        }
        let now = tx.now();
        if !agents::revoke(tx.conn(), &uid, now, &by)? {
            return Ok(Err(format!("the agent {uid} has no token; `concordat agent list` shows those that have")));
        }
        let message = AgentChanged { change: "revoked", key: None, uid: &uid, v: 1 };
        people::record(tx, Kind::AgentChanged, &message, &by, Facts::default())?;
        Ok(Ok(()))
    };
    settled(db.record(job).await?)
}

/// The id of the agent that this token is of, if it counts.
pub fn recognise(conn: &mut Conn, token: &str) -> QueryResult<Option<String>> {
    let Some((key, _)) = token.split_once('.').filter(|(key, _)| key.len() == KEY_DIGITS) else { return Ok(None) };
    let found = agents::in_use(conn, key)?;
    let digest = Digest::of(token.as_bytes());
    Ok(found.filter(|agent| openssl::memcmp::eq(&agent.secret.0, &digest.0)).map(|agent| agent.uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_long_random_and_not_shown_by_accident() {
        let (key, token) = Token::random().unwrap();
        assert_eq!((key.len(), token.expose().len()), (16, 16 + 1 + 43));
        assert!(token.expose().starts_with(&key));
        assert_ne!(Token::random().unwrap().1.expose(), token.expose());
        assert_eq!(format!("{token:?}"), "Token(..)");
    }
}
