//! Taking the bulk of an assertion: beside the version that is in use, a page at a time, and only what was asserted.

use std::sync::Arc;

use agreements::hotlist::{Asserted, Category, Entry};
use agreements::ids::Digest;
use agreements::json;
use bytes::BytesMut;
use openssl::sha::Sha256;

use super::bulk::{Line, MAX_LINE};
use super::pulling::PullError;
use super::shared::{Generation, Held, NewEntry, SharedError, SharedLists};
use crate::exchange::dial::Incoming;
use crate::node::Node;

/// Entries that are written in one transaction.
const BATCH: usize = 1000;
/// The longest bulk that is read, in bytes: two million entries.
const MAX_BULK: u64 = 1 << 30;

/// Takes the bulk into a version that is not in use, and checks that it is what was asserted. An empty difference leaves
/// the version that is in use.
pub(super) async fn take(
    node: &Arc<Node>,
    lines: Lines,
    asserted: &Asserted,
    held: Option<Held>,
) -> Result<(Generation, bool), PullError> {
    let base = match (asserted.since, held) {
        (None, _) => None,
        (Some(since), Some(held)) if since == held.version => Some(held),
        (Some(_), _) => return Err(PullError::Wrong("it sends the difference from a version that is not held here")),
    };
    if let Some(held) = base.as_ref().filter(|_| asserted.added + asserted.removed == 0) {
        let same = held.contents == asserted.contents && held.entries == asserted.entries;
        if !same || asserted.bulk != Digest::of(b"") {
            return Err(PullError::Wrong("its list is not the one that is held, and it sends no difference"));
        }
        lines.end().await?;
        return Ok((held.generation, false));
    }
    let (shared, now) = (Arc::clone(node.shared_lists()), node.now());
    let from = base.map(|held| held.generation);
    let begin = Arc::clone(&shared);
    let generation = tokio::task::spawn_blocking(move || begin.begin(from, now)).await??;
    let filled = fill(node, generation, lines, asserted).await;
    if let Err(error) = filled {
        let given_up = tokio::task::spawn_blocking(move || shared.give_up(generation)).await?;
        if let Err(error) = given_up {
            tracing::error!(%error, "a hotlist that was not taken is not erased yet");
        }
        return Err(error);
    }
    Ok((generation, true))
}

async fn fill(
    node: &Arc<Node>,
    generation: Generation,
    mut lines: Lines,
    asserted: &Asserted,
) -> Result<(), PullError> {
    let (mut gone, mut new): (Vec<Digest>, Vec<NewEntry>) = (Vec::new(), Vec::new());
    let (mut added, mut removed) = (0_u64, 0_u64);
    let mut sha = Sha256::new();
    while let Some(line) = lines.next(MAX_LINE).await? {
        sha.update(&line);
        sha.update(b"\n");
        match serde_json::from_slice(&line).map_err(|_| PullError::Wrong("a line of the bulk is none"))? {
            Line::Remove(digest) => {
                if added > 0 {
                    return Err(PullError::Wrong("in the bulk, what goes comes first"));
                }
                removed += 1;
                gone.push(digest);
            }
            Line::Add(raw) => {
                added += 1;
                new.push(entry(raw.get(), &asserted.categories)?);
            }
        }
        if added > asserted.added || removed > asserted.removed {
            return Err(PullError::Wrong("the bulk has more lines than were asserted"));
        }
        if gone.len() + new.len() >= BATCH {
            stage(node, generation, &mut gone, &mut new).await?;
        }
    }
    stage(node, generation, &mut gone, &mut new).await?;
    if (added, removed) != (asserted.added, asserted.removed) || Digest(sha.finish()) != asserted.bulk {
        return Err(PullError::Wrong("the bulk is not what was asserted"));
    }
    let (entries, contents) = contents(node.shared_lists(), generation).await?;
    if (entries, contents) != (asserted.entries, asserted.contents) {
        return Err(PullError::Wrong("what the bulk leads to is not what was asserted"));
    }
    Ok(())
}

/// An entry as it came: of a category that was granted, in its one written form.
fn entry(text: &str, granted: &[Category]) -> Result<NewEntry, PullError> {
    let wrong = PullError::Wrong("an entry of the bulk is none");
    let Ok(entry) = json::parse::<Entry>(text.as_bytes()) else { return Err(wrong) };
    if !entry.bounded() || json::canonical(&entry).ok().as_deref() != Some(text.as_bytes()) {
        return Err(wrong);
    }
    if !granted.contains(&entry.category) {
        return Err(PullError::Wrong("an entry of the bulk is of a category that was not granted"));
    }
    let plate_key = entry.plate.key().as_str().to_owned();
    Ok(NewEntry { digest: Digest::of(text.as_bytes()), plate_key, body: text.to_owned() })
}

async fn stage(
    node: &Arc<Node>,
    generation: Generation,
    gone: &mut Vec<Digest>,
    new: &mut Vec<NewEntry>,
) -> Result<(), PullError> {
    let (gone, new, shared, now) =
        (std::mem::take(gone), std::mem::take(new), Arc::clone(node.shared_lists()), node.now());
    if gone.is_empty() && new.is_empty() {
        return Ok(());
    }
    let sound = tokio::task::spawn_blocking(move || shared.stage(generation, &gone, &new, now)).await??;
    if sound { Ok(()) } else { Err(PullError::Wrong("the bulk takes away or adds what it cannot")) }
}

async fn contents(shared: &Arc<SharedLists>, generation: Generation) -> Result<(u64, Digest), PullError> {
    let shared = Arc::clone(shared);
    let found = tokio::task::spawn_blocking(move || {
        let (mut sha, mut entries) = (Sha256::new(), 0_u64);
        shared.digests(generation, |digest| {
            entries += 1;
            sha.update(&digest.0);
        })?;
        Ok::<_, SharedError>((entries, Digest(sha.finish())))
    });
    Ok(found.await??)
}

/// The lines of a reply, each bounded.
pub(super) struct Lines {
    incoming: Incoming,
    buffer: BytesMut,
    taken: u64,
    ended: bool,
}

impl Lines {
    /// The lines of what comes in.
    pub(super) fn new(incoming: Incoming) -> Self {
        Self { incoming, buffer: BytesMut::new(), taken: 0, ended: false }
    }

    /// The next line without its end; `None` when there are no more.
    pub(super) async fn next(&mut self, limit: usize) -> Result<Option<BytesMut>, PullError> {
        loop {
            if let Some(at) = self.buffer.iter().position(|b| *b == b'\n') {
                let line = self.buffer.split_to(at);
                drop(self.buffer.split_to(1));
                return Ok(Some(line));
            }
            if self.buffer.len() > limit {
                return Err(PullError::Wrong("it sends a line that is too long"));
            }
            if self.ended {
                let rest = std::mem::take(&mut self.buffer);
                return Ok((!rest.is_empty()).then_some(rest));
            }
            match self.incoming.next().await? {
                None => self.ended = true,
                Some(part) => {
                    self.taken += part.len() as u64;
                    if self.taken > MAX_BULK {
                        return Err(PullError::Wrong("it sends more than a list can be"));
                    }
                    self.buffer.extend_from_slice(&part);
                }
            }
        }
    }

    /// Checks that nothing more comes.
    async fn end(mut self) -> Result<(), PullError> {
        match self.next(0).await? {
            None => Ok(()),
            Some(_) => Err(PullError::Wrong("the bulk has more lines than were asserted")),
        }
    }
}
