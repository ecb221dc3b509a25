//! Keyed hashes of words, so that a store finds by them and cannot read them (HMAC-SHA256 under the store's id).
//!
//! Must not know: what becomes of a digest.

use ring::hmac;
use serde::Serialize;
use sessions_domain::{Actor, ImportSource, LineageId, Message, MessageId, SessionId, SessionKey, StateOwner};
use sessions_ports::{Digest, StoreId};

fn keyed(store: StoreId, purpose: &str, parts: &[&[u8]]) -> Digest {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &store.0);
    let mut context = hmac::Context::with_key(&key);
    context.update(purpose.as_bytes());
    for part in parts {
        // The length before each part keeps two lists of parts apart.
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.sign().as_ref());
    digest
}

/// The digest of a host's key for a session.
pub(crate) fn session_key(store: StoreId, actor: &Actor, key: &SessionKey) -> Digest {
    keyed(store, "session-key", &[actor.tenant.as_bytes(), key.as_str().as_bytes()])
}

/// The digest of a file that was imported: by its id in the source where it has one, or else by its bytes.
pub(crate) fn import_mark(store: StoreId, actor: &Actor, source: &ImportSource) -> Digest {
    let (by, name) = match &source.id {
        Some(id) => ("id", id),
        None => ("digest", &source.digest),
    };
    let parts = [actor.tenant.as_str(), &source.format, by, name].map(str::as_bytes);
    keyed(store, "import", &parts)
}

/// The digest of a host's idempotency key.
pub(crate) fn idempotency_key(store: StoreId, lineage: LineageId, key: &str) -> Digest {
    keyed(store, "idempotency-key", &[&lineage.to_bytes(), key.as_bytes()])
}

/// The digest of what a host gave with an idempotency key: no ids and no times of ours.
pub(crate) fn payload(store: StoreId, lineage: LineageId, messages: &[Message]) -> Digest {
    let bytes = serde_json::to_vec(messages).unwrap_or_default();
    keyed(store, "payload", &[&lineage.to_bytes(), &bytes])
}

/// The digest of a verb and what a host gave with it.
pub(crate) fn wish(store: StoreId, lineage: LineageId, verb: &str, arguments: &impl Serialize) -> Digest {
    let bytes = serde_json::to_vec(arguments).unwrap_or_default();
    keyed(store, "wish", &[&lineage.to_bytes(), verb.as_bytes(), &bytes])
}

/// The id of the fork that a host makes once under a key.
pub(crate) fn fork_id(store: StoreId, lineage: LineageId, key: &str) -> SessionId {
    let digest = keyed(store, "fork", &[&lineage.to_bytes(), key.as_bytes()]);
    let mut id = [0; 16];
    id.iter_mut().zip(digest).for_each(|(byte, of)| *byte = of);
    SessionId::from_bytes(id)
}

/// The digest of the name of a scope's log of state.
pub(crate) fn state_of(store: StoreId, actor: &Actor, owner: &StateOwner) -> Digest {
    let parts = [actor.tenant.as_str(), owner.scope.as_str(), &owner.name].map(str::as_bytes);
    keyed(store, "state", &parts)
}

/// What a store finds a message by: the milliseconds of its id and the last 16 bits, so that ids of one process ascend.
pub(crate) fn label(message: MessageId) -> u64 {
    let [a, b, c, d, e, f, .., y, z] = message.to_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, y, z])
}
