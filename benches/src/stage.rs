//! Where benchmarks take place: folders that go away again, stores, managers, and conversations of a wanted length.
//!
//! Must not know: what is measured.

use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use sessions_app::{Append, NewSession, Ports, Session, SessionManager, Settings};
use sessions_domain::{Message, SessionId};
use sessions_infra::{
    environment::{EstimateCounter, SystemClock, SystemEntropy, UlidGenerator},
    keys::FileKeyStore,
    sealing::SealedStore,
    sled::{Sealing, SledOptions, SledStore},
    tokens::BuiltInEncodings,
};
use sessions_ports::{Durability, SessionLog};
use sessions_testkit::FixedKey;

/// What a benchmark answers.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// A folder of its own, removed with everything in it.
pub(crate) struct Stage {
    root: PathBuf,
}

impl Stage {
    /// Makes the folder; what an interrupted run left there goes away first.
    pub(crate) fn new(parent: &Path, name: &str) -> io::Result<Self> {
        let root = parent.join(name);
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        fs::create_dir_all(&root)?;
        Ok(Self { root })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What cannot be removed is removed by the next run.
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// A text of 512 bytes, different for each number; the same that the peers are given.
pub(crate) fn text(number: usize) -> String {
    let base = format!(
        "message {number}: the quick brown fox reviews src/lib.rs and explains the borrow checker error E0502 in detail. "
    );
    let mut text = base.repeat(512 / base.len() + 1);
    text.truncate(512);
    text
}

/// A message of that text.
pub(crate) fn message(number: usize) -> Message {
    Message::user(text(number))
}

/// The default store in a folder, plain.
pub(crate) async fn open(path: &Path) -> Outcome<Arc<SledStore>> {
    Ok(Arc::new(SledStore::open(path, SledOptions::default()).await?))
}

/// Whether what a store is given is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum As {
    Plain,
    Sealed,
}

impl As {
    pub(crate) const BOTH: [Self; 2] = [Self::Plain, Self::Sealed];

    /// What stands before the name of a figure.
    pub(crate) const fn prefix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Sealed => "sealed: ",
        }
    }

    /// The name of a folder.
    pub(crate) fn folder(self, name: &str) -> String {
        match self {
            Self::Plain => name.to_owned(),
            Self::Sealed => format!("sealed {name}"),
        }
    }
}

/// The default store in a folder, and what a manager is given of it.
pub(crate) async fn open_as(path: &Path, how: As) -> Outcome<(SledStore, Arc<dyn SessionLog>)> {
    let sealing = if how == As::Sealed { Sealing::Sealed } else { Sealing::Plain };
    let sled = SledStore::open(path, SledOptions { sealing, ..SledOptions::default() }).await?;
    if how == As::Plain {
        return Ok((sled.clone(), Arc::new(sled)));
    }
    let keys = FileKeyStore::open(&sled.keys_folder(), sled.id()).await?;
    let log = Arc::new(sled.clone());
    let sealed = SealedStore::open_or_create(log, Arc::new(keys), &FixedKey(7), Arc::new(SystemClock)).await?;
    // As the facade does: each batch has a root over all heads.
    sled.witness(Arc::new(sealed.witness()?))?;
    Ok((sled, Arc::new(sealed)))
}

/// A manager with nothing cached, whose appends wait for a level.
pub(crate) fn manager(store: Arc<dyn SessionLog>, durability: Durability) -> Outcome<SessionManager> {
    let ports = Ports {
        store,
        clock: Arc::new(SystemClock),
        ids: Arc::new(UlidGenerator::new()),
        entropy: Arc::new(SystemEntropy::new()),
        counter: Arc::new(EstimateCounter),
        encodings: Arc::new(BuiltInEncodings::new()),
    };
    Ok(SessionManager::with(ports, Settings { durability: Some(durability), ..Settings::default() })?)
}

/// Appends are made in pieces of so many messages where only their result matters.
const PIECE: usize = 250;
/// And so many may be on their way to the log.
const AHEAD: usize = 50_000;

/// Appends messages as fast as they go, and waits until they are written.
pub(crate) async fn fill(session: &Session, messages: usize) -> Outcome<()> {
    let mut at = 0;
    while at < messages {
        let end = messages.min(at + PIECE);
        let append = Append::all((at..end).map(message)).durability(Durability::Volatile);
        let receipt = session.append(append).await?;
        if end == messages || end % AHEAD < PIECE {
            let level = session.manager().ports().store.strongest().min(Durability::Process);
            session.wait_durable(receipt.version, level).await?;
        }
        at = end;
    }
    Ok(())
}

/// Makes sessions of so many messages each.
pub(crate) async fn conversations(
    manager: &SessionManager,
    sessions: usize,
    messages: usize,
) -> Outcome<Vec<SessionId>> {
    let mut ids = Vec::with_capacity(sessions);
    for at in 0..sessions {
        let new = NewSession::titled(format!("conversation {at}")).durability(Durability::Volatile);
        let session = manager.create(new).await?;
        fill(&session, messages).await?;
        ids.push(session.id());
    }
    Ok(ids)
}

/// A store with conversations that was closed after they were made: ids, in the order they were made.
pub(crate) async fn prepared(path: &Path, sessions: usize, messages: usize) -> Outcome<Vec<SessionId>> {
    prepared_as(As::Plain, path, sessions, messages).await
}

/// The same, plain or sealed.
pub(crate) async fn prepared_as(how: As, path: &Path, sessions: usize, messages: usize) -> Outcome<Vec<SessionId>> {
    let manager = manager(open_as(path, how).await?.1, Durability::Volatile)?;
    let ids = conversations(&manager, sessions, messages).await?;
    manager.close().await?;
    Ok(ids)
}

/// Reads a whole conversation and gives the number of its messages.
pub(crate) async fn read_all(session: &Session) -> Outcome<usize> {
    let mut pages = session.messages().await?;
    let mut count = 0;
    while let Some(page) = pages.next_page().await? {
        count += page.len();
    }
    Ok(count)
}

/// An error when a benchmark did not do what it claims to measure.
pub(crate) fn ensure(holds: bool, what: &str) -> Outcome<()> {
    if holds { Ok(()) } else { Err(what.into()) }
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn a_text_has_512_bytes() {
        assert!([0, 7, 999, 1_000_000].into_iter().all(|number| text(number).len() == 512));
        assert_ne!(text(1), text(2));
    }
}
