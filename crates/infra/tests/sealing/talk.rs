//! Sessions whose records say something, chained as real ones are.
//!
//! Must not know: stores.

use sessions_domain::{
    Actor, Appended, CommitHash, Created, Event, ForkPoint, Kind, Kinship, LineageId, Message, MessageId, Moment,
    SessionId, SessionKey, Stamp, SummaryWords, codec,
};
use sessions_ports::{Commit, Durability, Expected, Link, Record, RowChange, SessionLog};

/// A session's records, chained as real ones are.
pub(crate) struct Chained {
    number: u64,
    first: u64,
    before: CommitHash,
    written: Vec<Record>,
}

impl Chained {
    pub(crate) fn session(&self) -> SessionId {
        SessionId::from_parts(1, u128::from(self.number))
    }

    pub(crate) fn lineage(&self) -> LineageId {
        LineageId::from_parts(2, u128::from(self.number))
    }

    pub(crate) fn version(&self) -> u64 {
        self.written.last().map_or(0, |record| record.seq)
    }

    pub(crate) fn tip(&self) -> CommitHash {
        self.written.last().map_or(self.before, |record| record.commit)
    }

    pub(crate) fn written(&self) -> &[Record] {
        &self.written
    }

    pub(crate) fn commit(&mut self, kind: Kind, body: &[u8]) -> Commit {
        let (expected, seq) = match self.version() {
            0 => (Expected::NoStream, self.first),
            version => (Expected::Exactly(version), version + 1),
        };
        let blind = [u8::try_from((self.number * 16 + seq) % 251).unwrap(); 32];
        let commit = self.tip().next(self.lineage(), seq, kind, &blind, body);
        let record = Record { seq, kind, commit, label: 0, payload: [&blind, body].concat().into() };
        self.written.push(record.clone());
        let updated = Moment::from_millis(1_700_000_000_000);
        Commit {
            session: self.session(),
            expected,
            records: vec![record],
            row: RowChange { updated, messages: seq, words: None },
            key: None,
            claims: Vec::new(),
            links: Vec::new(),
            snapshot: None,
            durability: Durability::Disk,
        }
    }
}

/// A session whose records say something.
pub(crate) struct Talk {
    pub(crate) script: Chained,
    number: u64,
    tenant: &'static str,
}

impl Talk {
    pub(crate) fn new(number: u64) -> Self {
        Self::of(number, "")
    }

    /// One of a tenant.
    pub(crate) fn of(number: u64, tenant: &'static str) -> Self {
        Self { script: Chained { number, first: 1, before: CommitHash::ZERO, written: Vec::new() }, number, tenant }
    }

    pub(crate) fn session(&self) -> SessionId {
        self.script.session()
    }

    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { at: Moment::from_millis(5), actor: Actor { tenant: self.tenant.to_owned(), ..Actor::default() } }
    }

    pub(crate) fn words(&self) -> SummaryWords {
        let title = Some(format!("title {}", self.number));
        let key = SessionKey::new(format!("key-{}", self.number)).ok();
        SummaryWords { title, key, tenant: self.tenant.to_owned(), ..SummaryWords::default() }
    }

    /// The beginning of a session, or what is said in it.
    pub(crate) fn next(&mut self, text: &str) -> Commit {
        let version = self.script.version();
        let encoded = |event: Event| codec::encode(&event, &self.stamp()).unwrap();
        if version == 0 {
            let created = Created { key: self.words().key, ..Created::of(self.session(), self.script.lineage()) };
            let body = encoded(Event::Created(Box::new(created)));
            let mut commit = self.script.commit(Kind::CREATED, &body);
            commit.row.words = Some(self.words().to_json().into());
            commit.key = Some([u8::try_from(self.number).unwrap(); 32]);
            return commit;
        }
        let (parent, depth) = (None, version);
        let id = MessageId::from_parts(3, u128::from(self.number * 1000 + version));
        let message = Message::user(text);
        let appended = Appended { id, parent, depth, late: false, replaces: None, message };
        let body = encoded(Event::Appended(appended));
        self.script.commit(Kind::APPENDED, &body)
    }
}

impl Talk {
    /// A fork of another session behind its last record.
    pub(crate) fn forked(number: u64, parent: &Self) -> (Self, Commit) {
        let at = parent.script.version();
        let script = Chained { number, first: at + 1, before: parent.script.tip(), written: Vec::new() };
        let mut fork = Self { script, number, tenant: parent.tenant };
        let owners = vec![(parent.session(), at)];
        let commit = parent.script.tip();
        let point = ForkPoint {
            parent: parent.session(),
            at,
            commit,
            head: at,
            depth: at - 1,
            owners,
            last: None,
            inherits: Default::default(),
        };
        let created = Created { fork: Some(point), ..Created::of(fork.session(), fork.script.lineage()) };
        let body = codec::encode(&Event::Created(Box::new(created)), &fork.stamp()).unwrap();
        let mut commit = fork.script.commit(Kind::CREATED, &body);
        let (parent_of, kinship) = (Some(parent.session()), Some(Kinship::Fork));
        let words = SummaryWords { parent: parent_of, kinship, ..fork.words() };
        commit.row.words = Some(words.to_json().into());
        commit.links = vec![Link { owner: parent.session(), last: at }];
        (fork, commit)
    }
}

pub(crate) async fn say(store: &dyn SessionLog, talk: &mut Talk, texts: &[&str]) {
    for text in texts {
        store.commit(talk.next(text)).await.unwrap();
    }
}
