//! From whom a session inherits whose beginning was lost. What stands for that was written without a key, and so could whoever wants to read another session's
//! words through it; so it is believed only as far as something that was sealed says the same.
//!
//! Must not know: how anything is sealed, or how a beginning was lost.

use sessions_domain::{Created, Event, ForkPoint, Kinship, SessionId, SummaryWords, codec};
use sessions_ports::{Record, StoreError};

use super::{envelope, store::Inner};

/// What cannot be believed.
fn unbelieved(session: SessionId, seq: u64) -> StoreError {
    let what = "what stands for its beginning is not confirmed by anything that was sealed; restore a backup";
    StoreError::Corrupt { session, seq, what }
}

impl Inner {
    /// Refuses what stands for a beginning when it speaks of another session, or inherits what neither the session's own words nor its parent's beginning confirm.
    pub(super) async fn check_beginning(
        &self,
        session: SessionId,
        record: &Record,
        created: &Created,
        words: &SummaryWords,
    ) -> Result<(), StoreError> {
        let refused = || unbelieved(session, record.seq);
        if created.session != session {
            return Err(refused());
        }
        let Some(fork) = &created.fork else { return Ok(()) };
        let is_said = words.parent == Some(fork.parent) && words.kinship == Some(Kinship::Fork);
        let is_next = fork.at.checked_add(1) == Some(record.seq) && fork.parent != session;
        if is_said && is_next && self.is_of_parent(fork).await? { Ok(()) } else { Err(refused()) }
    }

    /// Whether the records up to the place of a fork are whose the parent's own beginning says.
    async fn is_of_parent(&self, fork: &ForkPoint) -> Result<bool, StoreError> {
        let parent = fork.parent;
        if fork.owners.iter().all(|(owner, _)| *owner == parent) {
            return Ok(true);
        }
        let first = match self.first_record(parent).await {
            Ok(Some(first)) => first,
            Ok(None) | Err(StoreError::Gone { .. } | StoreError::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let keys = self.keys_to_read(parent).await?;
        // What stands for the parent's own beginning is believed as far as this one is.
        let named = match envelope::is_stand_in(&first) {
            true => Box::pin(self.named_beginning(parent, &keys, first)).await,
            false => keys.open(parent, first),
        };
        let first = match named {
            Ok(first) => first,
            Err(StoreError::Corrupt { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let body = first.payload.get(32..).unwrap_or_default();
        let Ok((Event::Created(created), _)) = codec::decode(first.kind, body) else { return Ok(false) };
        let mut owners = created.fork.map(|fork| fork.owners).unwrap_or_default();
        owners.push((parent, u64::MAX));
        let mut before = 0;
        let mut expected = Vec::new();
        for (owner, last) in owners {
            if before < fork.at {
                expected.push((owner, last.min(fork.at)));
            }
            before = last;
        }
        Ok(expected == fork.owners)
    }
}
