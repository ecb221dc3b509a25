//! A store of some twenty sessions with forks, branches, large bodies, keys and claims, and everything that it must answer.
//!
//! Must not know: what is done to its files.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};

use sessions_app::{Append, At, NewSession, SessionManager};
use sessions_domain::{Message, MessagePart, SessionId, SessionKey};
use sessions_ports::{Commit, Digest, Durability, Head, Record, Row, SessionLog, StoredClaim};
use sessions_testkit::{FaultyStore, read_all};

use crate::{
    ground::{Dice, Host, open},
    usecase::{EVERYTHING, all_messages},
};

/// What one session answers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answers {
    pub(crate) head: Head,
    row: Row,
    pub(crate) records: Vec<Record>,
    finds: Vec<(u64, Vec<u64>)>,
    claims: Vec<(Digest, Option<StoredClaim>)>,
    pub(crate) texts: Vec<(u64, String)>,
    /// The sessions that it inherits records from.
    pub(crate) owners: Vec<SessionId>,
}

/// What a store answers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Truth {
    pub(crate) sessions: BTreeMap<SessionId, Answers>,
    keys: Vec<(Digest, Option<SessionId>)>,
}

/// What to ask besides what the rows tell. A clone learns the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asks(Arc<Mutex<Names>>);

#[derive(Clone, Debug, Default)]
struct Names {
    keys: Vec<Digest>,
    claims: Vec<(SessionId, Digest)>,
}

impl Asks {
    fn learn(&self, commit: &Commit) {
        let mut names = self.0.lock().unwrap();
        names.keys.extend(commit.key);
        names.claims.extend(commit.claims.iter().map(|claim| (commit.session, claim.key)));
    }
}

impl Truth {
    pub(crate) async fn of(store: &Arc<dyn SessionLog>, host: &Host, asks: &Asks) -> Self {
        let manager = host.manager(Arc::clone(store), Durability::Process);
        let names = asks.0.lock().unwrap().clone();
        let mut sessions = BTreeMap::new();
        for row in store.rows(0, usize::MAX).await.unwrap().rows {
            let id = row.session;
            let head = store.head(id).await.unwrap().unwrap();
            let records = read_all(store.as_ref(), id, EVERYTHING).await.unwrap();
            let (mut finds, mut claims) = (Vec::new(), Vec::new());
            for record in records.iter().filter(|record| record.label != 0) {
                finds.push((record.label, store.find(id, record.label).await.unwrap()));
            }
            for (session, key) in names.claims.iter().filter(|(session, _)| *session == id) {
                claims.push((*key, store.claim(*session, *key).await.unwrap()));
            }
            let session = manager.load(id).await.unwrap();
            let messages = all_messages(&session).await.unwrap();
            let texts = messages.iter().map(|message| (message.seq, message.text())).collect();
            let view = session.fresh_view().await.unwrap();
            let owners = view.fork().iter().flat_map(|fork| &fork.owners).map(|(owner, _)| *owner).collect();
            sessions.insert(id, Answers { head, row, records, finds, claims, texts, owners });
        }
        let mut keys = Vec::new();
        for key in &names.keys {
            keys.push((*key, store.by_key(*key).await.unwrap()));
        }
        Self { sessions, keys }
    }

    pub(crate) fn records(&self) -> usize {
        self.sessions.values().map(|session| session.records.len()).sum()
    }

    /// Says where two differ, in few words.
    pub(crate) fn assert_same(&self, other: &Self, what: &str) {
        for (id, mine) in &self.sessions {
            let Some(theirs) = other.sessions.get(id) else { panic!("{what}: session {id} is gone") };
            assert_eq!((mine.head, &mine.row), (theirs.head, &theirs.row), "{what}: {id}");
            assert_eq!(mine.claims, theirs.claims, "{what}: {id}");
            assert_eq!(mine.finds, theirs.finds, "{what}: {id}");
            assert!(mine.records == theirs.records, "{what}: other records in {id}");
            assert_eq!(mine.texts.len(), theirs.texts.len(), "{what}: {id}");
        }
        assert!(self == other, "{what}: keys, or sessions that were not there");
    }
}

/// Twenty sessions and more.
pub(crate) async fn populate(manager: &SessionManager, dice: &mut Dice) {
    let mut ids = Vec::new();
    for number in 0..14 {
        let mut new = NewSession::titled(format!("session {number}")).tags(["some".to_owned()]);
        if number % 3 == 0 {
            new = new.key(SessionKey::new(format!("key {number}")).unwrap());
        }
        ids.push(manager.create(new).await.unwrap().id());
    }
    for round in 0..110 {
        let session = manager.load(*dice.pick(&ids).unwrap()).await.unwrap();
        let text = format!("round {round} {}", "word ".repeat(dice.below(60)));
        match dice.below(20) {
            0..=1 => drop(session.undo(1).await),
            2 => drop(session.clear().await),
            3 => drop(session.rename(format!("renamed {round}")).await.unwrap()),
            4..=5 => {
                let append = Append::from(Message::user(text)).idempotency_key(format!("once {round}"));
                session.append(append).await.unwrap();
            }
            6..=7 => {
                let call = MessagePart::tool_call(format!("c{round}"), "tool", "{\"x\":1.0}").unwrap();
                let all = [Message::assistant(text).with(call), Message::tool_result(format!("c{round}"), "result")];
                session.append(Append::all(all)).await.unwrap();
            }
            8..=9 if ids.len() < 22 => ids.push(session.fork(At::Now).await.unwrap().id()),
            _ => drop(session.append(Message::user(text)).await.unwrap()),
        }
    }
    for number in [2, 9] {
        let session = manager.load(ids[number]).await.unwrap();
        session.append(Message::user("large ".repeat(12_000))).await.unwrap();
        session.append(Message::assistant("thanks")).await.unwrap();
    }
    for number in [1, 2, 15] {
        let parent = manager.load(ids[number % ids.len()]).await.unwrap();
        let child = parent.fork(At::Now).await.unwrap();
        child.append(Message::user("in the fork")).await.unwrap();
        parent.append(Message::user("behind the fork")).await.unwrap();
    }
}

/// Opens a store whose commits are learnt from.
pub(crate) async fn watched(path: &Path, asks: &Asks) -> (sessions_infra::sled::SledStore, FaultyStore) {
    let store = open(path).await;
    let watched = FaultyStore::over(Arc::new(store.clone()));
    let asks = asks.clone();
    watched.watch(move |commit| asks.learn(commit));
    (store, watched)
}
