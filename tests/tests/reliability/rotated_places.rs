//! Places, receipts, exports and summaries from before keys changed hold after each change: other data keys of sessions that inherit from each other, another key
//! of the store, and the shredding of the one that all inherit from.
//!
//! Must not know: how records are sealed.

use std::{path::Path, sync::Arc};

use sessions_app::{
    Append, AppendOutcome, At, Deletion, ExportFormat, Forks, NewSession, PlaceToken, Query, Receipt, Session,
    SessionError, SessionManager,
};
use sessions_domain::{CommitHash, Message, Place, SessionId, SessionKey, SessionSummary};
use sessions_infra::sealing::SealedStore;
use sessions_ports::{Durability, SessionLog as _};
use tempfile::TempDir;

use crate::ground::{Host, folder, key_file, open_sealed, run};

/// What is known of a session to whoever looks at it, and what a host kept.
struct Kept {
    id: SessionId,
    key: SessionKey,
    tag: String,
    summary: SessionSummary,
    exports: Vec<Vec<u8>>,
    /// What was said at each version, from the first; `None`: nothing stands at it.
    said: Vec<Option<Vec<String>>>,
    /// Each token that was given out, with what was said at it.
    tokens: Vec<(PlaceToken, Vec<String>)>,
    /// Each receipt, with the key and the words of its append.
    receipts: Vec<(Receipt, String)>,
}

async fn said_at(session: &Session, at: At) -> Result<Vec<String>, SessionError> {
    Ok(session.last_at(at, 99).await?.into_iter().map(|message| message.message.text()).collect())
}

async fn exports(session: &Session) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for format in [ExportFormat::SessionsJson, ExportFormat::SessionsJsonl] {
        let (mut bytes, mut export) = (Vec::new(), session.export(format).await.unwrap());
        while let Some(chunk) = export.next_chunk().await.unwrap() {
            bytes.extend_from_slice(&chunk);
        }
        all.push(bytes);
    }
    all
}

impl Kept {
    /// Says two things more in a session, goes back before the second, and notes all.
    async fn of(session: &Session, name: &str) -> Self {
        let (mut receipts, mut tokens) = (Vec::new(), Vec::new());
        for nth in ["first", "second"] {
            let words = format!("{nth} of {name}");
            let append = Append::from(Message::user(&words)).idempotency_key(&words);
            let receipt = session.append(append).await.unwrap();
            receipts.push((receipt, words));
            tokens.push(session.token(&receipt));
        }
        session.undo(1).await.unwrap();
        tokens.push(PlaceToken { place: session.place().await.unwrap(), durability: Durability::Disk });
        let mut kept = Self {
            id: session.id(),
            key: SessionKey::new(name).unwrap(),
            tag: format!("tag of {name}"),
            summary: session.summary().await.unwrap(),
            exports: exports(session).await,
            said: Vec::new(),
            tokens: Vec::new(),
            receipts,
        };
        for version in 1..=kept.summary.version {
            kept.said.push(said_at(session, At::Version(version)).await.ok());
        }
        for token in tokens {
            kept.tokens.push((token, said_at(session, At::Token(token)).await.unwrap()));
        }
        kept
    }

    /// Everything that is read is as it was noted.
    async fn assert_same(&self, manager: &SessionManager, heirs: &[&Self], why: &str) {
        let session = manager.load(self.id).await.unwrap();
        assert_eq!(session.place().await.unwrap(), self.tokens[2].0.place, "{why}");
        assert_eq!(session.summary().await.unwrap(), self.summary, "{why}");
        assert!(exports(&session).await == self.exports, "{why}: another export");
        for (said, version) in self.said.iter().zip(1..) {
            assert_eq!(&said_at(&session, At::Version(version)).await.ok(), said, "{why}: version {version}");
        }
        for (receipt, _) in &self.receipts {
            session.wait_durable(receipt.version, receipt.durability).await.unwrap();
        }
        // Who inherits a place knows it too.
        for heir in [self].iter().chain(heirs) {
            self.assert_known_in(&manager.load(heir.id).await.unwrap(), why).await;
        }
        let by_tag = Query { tags: vec![self.tag.clone()], ..Query::default() };
        let by_key = Query { key_prefix: Some(self.key.as_str().to_owned()), ..Query::default() };
        let by_text = Query { text: Some(self.summary.title.clone().unwrap()), ..Query::default() };
        for query in [by_tag, by_key, by_text] {
            let listed = manager.list(&query).await.unwrap().sessions;
            assert_eq!(listed, std::slice::from_ref(&self.summary), "{why}: {query:?}");
        }
        assert_eq!(manager.open_or_create(self.key.as_str()).await.unwrap().id(), self.id, "{why}");
    }

    /// A session knows the places and messages that were kept, be they its own or inherited, and no others.
    async fn assert_known_in(&self, session: &Session, why: &str) {
        for (receipt, words) in &self.receipts {
            let said = said_at(session, At::Message(receipt.message)).await;
            let said = said.unwrap_or_else(|error| panic!("{why}: {words}: {error}"));
            assert_eq!(said.last(), Some(words), "{why}");
        }
        for (token, said) in &self.tokens {
            assert_eq!(&said_at(session, At::Token(*token)).await.unwrap(), said, "{why}: {token}");
            let hash = CommitHash::from_bytes([7; 32]);
            let other = PlaceToken { place: Place { hash, ..token.place }, ..*token };
            let refused = said_at(session, At::Token(other)).await.unwrap_err();
            assert!(matches!(refused, SessionError::RolledBack), "{why}: {refused}");
        }
    }

    /// What was kept from before can be gone on from.
    async fn go_on(&self, manager: &SessionManager) {
        let session = manager.load(self.id).await.unwrap();
        for (receipt, words) in &self.receipts {
            let append = Append::from(Message::user(words)).idempotency_key(words);
            let again = session.append(append).await.unwrap();
            assert_eq!(again, Receipt { outcome: AppendOutcome::Replayed, ..*receipt });
        }
        session.redo(1).await.unwrap();
        assert_eq!(said_at(&session, At::Now).await.unwrap(), self.tokens[1].1, "what was undone is redone");
        for (token, said) in &self.tokens {
            let fork = session.fork(At::Token(*token)).await.unwrap();
            assert_eq!(&said_at(&fork, At::Now).await.unwrap(), said, "a fork at {token}");
            session.checkout_at(At::Token(*token)).await.unwrap();
            assert_eq!(&said_at(&session, At::Now).await.unwrap(), said, "the head at {token}");
        }
        let (first, second) = (self.receipts[0].0.message, self.receipts[1].0.message);
        let behind = |message| Append::from(Message::user("and on")).after(message);
        assert!(matches!(session.append(behind(second)).await, Err(SessionError::Conflict { .. })));
        session.append(behind(first)).await.unwrap();
        session.undo(2).await.unwrap();
        let said = &self.tokens[0].1;
        assert_eq!(said_at(&session, At::Now).await.unwrap(), said[..said.len() - 1]);
    }
}

/// A store in a folder, which is opened anew for each look.
struct Ground {
    folder: TempDir,
    host: Host,
    key: u8,
}

impl Ground {
    fn path(&self) -> &Path {
        self.folder.path()
    }

    async fn open(&self) -> (SealedStore, SessionManager) {
        let store = open_sealed(&self.path().join("store"), self.key).await;
        (store.clone(), self.host.manager(Arc::new(store), Durability::Disk))
    }
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Nothing,
    DataKey(SessionId),
    StoreKey(u8),
    Shred(SessionId),
}

fn described(name: &str) -> NewSession {
    NewSession::titled(format!("title of {name}"))
        .description(format!("description of {name}"))
        .tags([format!("tag of {name}"), "of all".to_owned()])
        .key(SessionKey::new(name).unwrap())
}

#[test]
fn places_and_receipts_from_before_keys_changed_hold_after_each_change() {
    run(2, async {
        let mut ground = Ground { folder: folder(), host: Host::seeded(1), key: 1 };
        let (store, manager) = ground.open().await;
        let first = manager.create(described("first")).await.unwrap();
        let of_first = Kept::of(&first, "first").await;
        let parent = first.fork_as(At::Now, described("parent")).await.unwrap().session;
        let of_parent = Kept::of(&parent, "parent").await;
        let child = parent.fork_as(At::Now, described("child")).await.unwrap().session;
        let of_child = Kept::of(&child, "child").await;
        assert_eq!(of_child.summary.messages, 3);
        store.close().await.unwrap();
        let [shredded, parent, child] = [of_first.id, of_parent.id, of_child.id];
        let mut is_shredded = false;
        for change in [
            Change::Nothing,
            Change::DataKey(parent),
            Change::DataKey(child),
            Change::DataKey(shredded),
            Change::StoreKey(2),
            Change::Shred(shredded),
            Change::DataKey(child),
            Change::DataKey(parent),
            Change::StoreKey(3),
        ] {
            let why = format!("{change:?}");
            let (store, manager) = ground.open().await;
            match change {
                Change::Nothing => {}
                Change::DataKey(session) => drop(store.rotate_data(session, |_| ()).await.unwrap()),
                Change::StoreKey(key) => {
                    store.rotate(&key_file(key), |_| ()).await.unwrap();
                    ground.key = key;
                }
                Change::Shred(session) => {
                    let report = manager.delete(session, Deletion::shredding().forks(Forks::Detach)).await.unwrap();
                    assert!(report.erased.is_some() && report.detached.len() == 2, "{report:?}");
                    is_shredded = true;
                }
            }
            store.close().await.unwrap();
            let (store, manager) = ground.open().await;
            of_child.assert_same(&manager, &[], &why).await;
            of_parent.assert_same(&manager, &[&of_child], &why).await;
            if is_shredded {
                assert!(matches!(manager.load(shredded).await, Err(SessionError::Gone { .. })), "{why}");
                for heir in [parent, child] {
                    of_first.assert_known_in(&manager.load(heir).await.unwrap(), &why).await;
                }
            } else {
                of_first.assert_same(&manager, &[&of_parent, &of_child], &why).await;
            }
            store.close().await.unwrap();
        }
        let (store, manager) = ground.open().await;
        of_parent.go_on(&manager).await;
        of_child.go_on(&manager).await;
        store.close().await.unwrap();
    });
}
