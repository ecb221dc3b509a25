//! Every use case, on a session that has something to undo, to redo, to clear, to check out and to answer late.
//!
//! Must not know: what is done to it while it runs.

use std::sync::Arc;

use sessions_app::{
    Append, At, Deletion, Format, ImportOptions, NewSession, Query, Session, SessionError, SessionManager,
};
use sessions_domain::{
    CommitHash, Event, Json, Message, MessageId, MessagePart, MessageRole, RuntimeState, SessionId, SessionKey,
    context::Budget, decide::Draft,
};
use sessions_ports::{Durability, KindFilter, Order, ReadRange, Record, SessionLog};
use sessions_testkit::read_all;

use crate::ground::{Host, due};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UseCase {
    Create,
    CreateWithId,
    OpenNew,
    OpenKnown,
    Load,
    Find,
    Append,
    AppendWithKey,
    AppendAfter,
    AppendSeveral,
    AppendLate,
    Enqueue,
    EnqueueDropped,
    Import,
    Undo,
    UndoTurns,
    UndoTo,
    Redo,
    Clear,
    Checkout,
    ForkNow,
    ForkAtMessage,
    ForkAtVersion,
    Describe,
    Update,
    Touch,
    Edit,
    CheckoutAt,
    Checkpoint,
    Pin,
    State,
    UserState,
    Stream,
    StreamDropped,
    Runtime,
    Trash,
    Delete,
    ForkOnce,
    Lineage,
    Branches,
    Last,
    Messages,
    Entries,
    List,
    Context,
    Summary,
    Subscribe,
    WaitDurable,
}

impl UseCase {
    pub(crate) const ALL: [Self; 48] = [
        Self::Create,
        Self::CreateWithId,
        Self::OpenNew,
        Self::OpenKnown,
        Self::Load,
        Self::Find,
        Self::Append,
        Self::AppendWithKey,
        Self::AppendAfter,
        Self::AppendSeveral,
        Self::AppendLate,
        Self::Enqueue,
        Self::EnqueueDropped,
        Self::Import,
        Self::Undo,
        Self::UndoTurns,
        Self::UndoTo,
        Self::Redo,
        Self::Clear,
        Self::Checkout,
        Self::ForkNow,
        Self::ForkAtMessage,
        Self::ForkAtVersion,
        Self::Describe,
        Self::Update,
        Self::Touch,
        Self::Edit,
        Self::CheckoutAt,
        Self::Checkpoint,
        Self::Pin,
        Self::State,
        Self::UserState,
        Self::Stream,
        Self::StreamDropped,
        Self::Runtime,
        Self::Trash,
        Self::Delete,
        Self::ForkOnce,
        Self::Lineage,
        Self::Branches,
        Self::Last,
        Self::Messages,
        Self::Entries,
        Self::List,
        Self::Context,
        Self::Summary,
        Self::Subscribe,
        Self::WaitDurable,
    ];

    /// Records that it appends to the session.
    fn records(self) -> u64 {
        match self {
            // Title, metadata and state, each in a record of its own; a message's beginning, what came of it, and its end.
            Self::Update | Self::Stream => 3,
            Self::Touch | Self::Edit | Self::CheckoutAt | Self::Checkpoint | Self::Pin | Self::State => 1,
            Self::Runtime => 1,
            Self::AppendSeveral => 3,
            Self::Enqueue | Self::EnqueueDropped => 1,
            Self::Append | Self::AppendWithKey | Self::AppendAfter | Self::AppendLate => 1,
            Self::Undo | Self::UndoTurns | Self::UndoTo | Self::Redo | Self::Clear | Self::Checkout => 1,
            Self::Describe => 1,
            _ => 0,
        }
    }
}

/// A session to try a use case on.
pub(crate) struct Scene {
    raw: Arc<dyn SessionLog>,
    host: Host,
    name: String,
    session: SessionId,
    fresh_id: SessionId,
    first_user: MessageId,
    head: MessageId,
    version: u64,
}

impl Scene {
    /// Prepares a session in a store that does what it should.
    pub(crate) async fn set(raw: &Arc<dyn SessionLog>, host: &Host, number: u64) -> Self {
        let manager = host.manager(Arc::clone(raw), Durability::Process);
        let name = format!("scene-{number}");
        let session = manager.open_or_create(&name).await.unwrap();
        let call = |id: &str| MessagePart::tool_call(id, "tool", "{}").unwrap();
        session.append(Message::system("rules")).await.unwrap();
        let first_user = session.append(Message::user("one")).await.unwrap().message;
        session.append(Message::assistant("calls").with(call("a")).with(call("b"))).await.unwrap();
        session.append(Message::tool_result("a", "1")).await.unwrap();
        session.append(Message::user("never mind")).await.unwrap();
        session.append(Message::assistant("two")).await.unwrap();
        session.undo(1).await.unwrap();
        let head = session.append(Message::assistant("otherwise")).await.unwrap().message;
        session.append(Message::user("three")).await.unwrap();
        session.undo(1).await.unwrap();
        let version = session.version().await.unwrap();
        let fresh_id = SessionId::from_parts(7, u128::from(number) + 1);
        let (raw, host, session) = (Arc::clone(raw), host.clone(), session.id());
        Self { raw, host, name, session, fresh_id, first_user, head, version }
    }

    /// The use case from a cold start: its first step is to load the session.
    pub(crate) async fn play(&self, case: UseCase, manager: &SessionManager) -> Result<(), SessionError> {
        let key = |name: String| SessionKey::new(name).unwrap();
        match case {
            UseCase::Create => manager.create(NewSession::titled("made")).await.map(drop),
            UseCase::CreateWithId => manager.create(NewSession::titled("made").id(self.fresh_id)).await.map(drop),
            UseCase::OpenNew => {
                let new = NewSession::titled("made").key(key(format!("{}-new", self.name)));
                manager.open_or_create_as(new).await.map(drop)
            }
            UseCase::OpenKnown => manager.open_or_create(&self.name).await.map(drop),
            UseCase::Find => manager.find(&self.name).await.map(drop),
            UseCase::Import => self.import(manager).await.map(drop),
            UseCase::List => manager.list(&Query::default()).await.map(drop),
            _ => self.on_session(case, manager.load(self.session).await?).await,
        }
    }

    async fn on_session(&self, case: UseCase, session: Session) -> Result<(), SessionError> {
        match case {
            UseCase::Append => session.append(Message::user("new")).await.map(drop),
            UseCase::AppendWithKey => {
                let append = Append::from(Message::user("new")).idempotency_key("once");
                session.append(append).await.map(drop)
            }
            UseCase::AppendAfter => session.append(Append::from(Message::user("new")).after(self.head)).await.map(drop),
            UseCase::AppendSeveral => {
                let call = MessagePart::tool_call("c", "tool", "{}").unwrap();
                let asks = Message::assistant("calls").with(call);
                let all = [asks, Message::tool_result("c", "3"), Message::assistant("done")];
                session.append(Append::all(all)).await.map(drop)
            }
            UseCase::AppendLate => session.append(Message::tool_result("b", "late")).await.map(drop),
            UseCase::Enqueue => session.enqueue(Message::user("new")).await?.await.map(drop),
            UseCase::EnqueueDropped => session.enqueue(Message::user("new")).await.map(drop),
            UseCase::Undo => session.undo(2).await.map(drop),
            UseCase::UndoTurns => session.undo_turns(1).await.map(drop),
            UseCase::UndoTo => session.undo_to(self.first_user).await.map(drop),
            UseCase::Redo => session.redo(1).await.map(drop),
            UseCase::Clear => session.clear().await.map(drop),
            UseCase::Checkout => session.checkout(0).await.map(drop),
            UseCase::ForkNow => session.fork(At::Now).await.map(drop),
            UseCase::ForkAtMessage => session.fork(At::Message(self.first_user)).await.map(drop),
            UseCase::ForkAtVersion => session.fork(At::Version(6)).await.map(drop),
            UseCase::Describe => session.rename("another title").await.map(drop),
            UseCase::Update => {
                let change = |draft: &mut Draft| {
                    draft.title = Some("another".into());
                    draft.metadata.mode = Some("plan".into());
                    draft.state.insert("step".into(), Json::of(&3).unwrap());
                };
                session.update(change).await.map(drop)
            }
            UseCase::Touch => session.touch().await,
            UseCase::Edit => session.edit(self.head, Message::assistant("better")).await.map(drop),
            UseCase::CheckoutAt => session.checkout_at(At::Version(3)).await.map(drop),
            UseCase::Checkpoint => session.checkpoint("here", At::Now).await.map(drop),
            UseCase::Pin => session.pin(self.first_user, true).await.map(drop),
            UseCase::State => session.set_state("step", Json::of(&3).unwrap()).await.map(drop),
            UseCase::UserState => session.set_state("user:step", Json::of(&self.version).unwrap()).await.map(drop),
            UseCase::Stream | UseCase::StreamDropped => {
                let answer = Message { role: MessageRole::Assistant, parts: vec![], metadata: Default::default() };
                let mut stream = session.begin(answer).await?;
                stream.push_text("so far").await?;
                if case == UseCase::Stream { stream.finish(None).await.map(drop) } else { stream.flush().await }
            }
            UseCase::Runtime => session.set_runtime(RuntimeState::Busy).await,
            UseCase::Trash => session.manager().trash(session.id()).await.map(drop),
            UseCase::Delete => session.manager().delete(session.id(), Deletion::default()).await.map(drop),
            UseCase::ForkOnce => session.once("fork").fork(At::Now).await.map(drop),
            UseCase::Lineage => session.lineage().await.map(drop),
            UseCase::Branches => session.branches().await.map(drop),
            UseCase::Last => session.last(3).await.map(drop),
            UseCase::Messages => all_messages(&session).await.map(drop),
            UseCase::Entries => session.entries(2).await.map(drop),
            UseCase::Context => session.context(Budget::tokens(500)).await.map(drop),
            UseCase::Summary => session.summary().await.map(drop),
            UseCase::Subscribe => session.subscribe(1).next().await.map(drop),
            UseCase::WaitDurable => session.wait_durable(self.version, Durability::Disk).await,
            _ => Ok(()),
        }
    }

    /// A transcript of this scene's own: imported again, it is known.
    async fn import(&self, manager: &SessionManager) -> Result<SessionId, SessionError> {
        let line = |n: u32, text: &str| {
            let (id, parent) = (
                format!("{}-{n}", self.name),
                if n == 1 { "null".into() } else { format!("\"{}-{}\"", self.name, n - 1) },
            );
            format!(
                r#"{{"type":"user","uuid":"{id}","parentUuid":{parent},"sessionId":"{}","timestamp":"2026-01-02T03:04:0{n}Z","message":{{"role":"user","content":"{text}"}}}}"#,
                self.name
            )
        };
        let file = format!("{}\n{}\n", line(1, "one"), line(2, "two"));
        let options = ImportOptions { format: Some(Format::ClaudeCode), ..ImportOptions::default() };
        manager.import(std::io::Cursor::new(file.into_bytes()), options).await.map(|report| report.id)
    }

    /// Whatever happened to the use case: it happened whole or not at all, nothing is locked, and the next calls work. When it came
    /// to its end undisturbed, it happened.
    pub(crate) async fn check(&self, case: UseCase, manager: &SessionManager, undisturbed: bool, what: &str) {
        let Some(session) = self.still_there(case, manager, undisturbed, what).await else { return };
        let next = due(what, session.append(Message::user("next"))).await;
        let next = next.unwrap_or_else(|error| panic!("{what}: the next append: {error}"));
        let came = next.version - self.version - 1;
        let is_whole = match case {
            // What came of it stays, and whoever spoke next ended it. In the trash and out of it are two records.
            UseCase::Stream | UseCase::StreamDropped => came <= 3 && !(undisturbed && came < 3),
            UseCase::Trash => came == 0 || came == 2,
            _ => came == case.records() || (came == 0 && !undisturbed),
        };
        assert!(is_whole, "{what}: {came} of {} records came", case.records());
        self.check_making(case, manager, what).await;
        let other = self.host.manager(Arc::clone(&self.raw), Durability::Process);
        let other = due(what, other.load(self.session)).await.unwrap();
        let (mine, fresh) = (session.fresh_view().await.unwrap(), other.fresh_view().await.unwrap());
        assert_eq!(
            (mine.version(), mine.commit(), mine.head(), mine.depth(), mine.redo_tip(), mine.described(), mine.tree()),
            (
                fresh.version(),
                fresh.commit(),
                fresh.head(),
                fresh.depth(),
                fresh.redo_tip(),
                fresh.described(),
                fresh.tree()
            ),
            "{what}: the kept view is not the log's"
        );
        assert_eq!(all_messages(&session).await.unwrap(), all_messages(&other).await.unwrap(), "{what}");
        // And once more, undisturbed: it works, or the rules say that it was done.
        match due(what, self.play(case, manager)).await {
            Ok(()) | Err(SessionError::Rule(_) | SessionError::Conflict { .. }) => {}
            // It deletes what it had not deleted before, and finds no session to look at afterwards.
            Err(SessionError::Gone { .. }) if case == UseCase::Delete => return,
            Err(SessionError::Store(sessions_ports::StoreError::AlreadyExists { .. })) => {}
            Err(error) => panic!("{what}: once more: {error}"),
        }
        if matches!(case, UseCase::Delete | UseCase::Trash) {
            return;
        }
        // What was dropped in its place may still be on its way, as a task of its own: whoever speaks next comes behind it or ends it.
        due(what, session.append(Message::user("last"))).await.unwrap_or_else(|error| panic!("{what}: last: {error}"));
        due(what, self.raw.settled(self.session)).await.unwrap();
        check_chain(self.raw.as_ref(), self.session).await;
    }

    /// The session, brought back when it is in the trash; `None` when it is gone for good, whole.
    async fn still_there(
        &self,
        case: UseCase,
        manager: &SessionManager,
        undisturbed: bool,
        what: &str,
    ) -> Option<Session> {
        // What was dropped may still be on its way.
        let _ = due(what, self.raw.settled(self.session)).await;
        let loaded = match due(what, manager.load(self.session)).await {
            // What is in the store may not have come to who was dropped.
            Ok(session) => {
                let other = self.host.manager(Arc::clone(&self.raw), Durability::Process);
                due(what, other.load(self.session)).await.map(|_| session)
            }
            refused => refused,
        };
        match loaded {
            Ok(session) => {
                let goes = matches!(case, UseCase::Trash | UseCase::Delete);
                assert!(!(goes && undisturbed), "{what}: it is still there");
                Some(session)
            }
            Err(SessionError::InTrash { .. }) if case == UseCase::Trash => {
                Some(due(what, manager.restore_from_trash(self.session)).await.unwrap())
            }
            Err(SessionError::Gone { .. }) if case == UseCase::Delete => {
                let again = due(what, manager.delete(self.session, Deletion::default())).await.unwrap();
                assert!(again.was_gone, "{what}");
                due(what, manager.open_or_create(&self.name)).await.unwrap();
                None
            }
            Err(error) => panic!("{what}: load: {error}"),
        }
    }

    /// A file is one session, however often it is imported.
    async fn check_import(&self, manager: &SessionManager, what: &str) {
        let one =
            due(what, self.import(manager)).await.unwrap_or_else(|error| panic!("{what}: imported again: {error}"));
        let other = due(what, self.import(manager)).await.unwrap();
        assert_eq!(one, other, "{what}: the file came in twice");
        assert_eq!(due(what, manager.load(one)).await.unwrap().last(9).await.unwrap().len(), 2, "{what}");
        check_chain(self.raw.as_ref(), one).await;
    }

    /// A session that was to be made is there whole, or its names are free.
    async fn check_making(&self, case: UseCase, manager: &SessionManager, what: &str) {
        if case == UseCase::Import {
            return self.check_import(manager, what).await;
        }
        let made = match case {
            UseCase::OpenNew => due(what, manager.open_or_create(&format!("{}-new", self.name))).await.unwrap(),
            UseCase::CreateWithId => {
                match due(what, manager.create(NewSession::titled("made").id(self.fresh_id))).await {
                    Ok(made) => made,
                    Err(SessionError::Store(sessions_ports::StoreError::AlreadyExists { session })) => {
                        // Made by a future that was dropped, it may still be on its way to be seen.
                        due(what, self.raw.settled(session)).await.unwrap();
                        due(what, manager.load(session)).await.unwrap()
                    }
                    Err(error) => panic!("{what}: made again: {error}"),
                }
            }
            _ => return,
        };
        due(what, made.append(Message::user("first"))).await.unwrap();
        assert_eq!(made.version().await.unwrap(), 2, "{what}");
        check_chain(self.raw.as_ref(), made.id()).await;
    }
}

/// All visible messages.
pub(crate) async fn all_messages(session: &Session) -> Result<Vec<sessions_domain::StoredMessage>, SessionError> {
    let mut pages = session.messages().await?;
    let mut all = Vec::new();
    while let Some(page) = pages.next_page().await? {
        all.extend(page);
    }
    Ok(all)
}

pub(crate) const EVERYTHING: ReadRange = ReadRange {
    from: 0,
    to: u64::MAX,
    order: Order::OldestFirst,
    kinds: KindFilter::All,
    max_records: 4096,
    max_bytes: 8 << 20,
};

/// Every record of a log, whose numbers have no gaps and whose commits are computed anew.
pub(crate) async fn check_chain(store: &dyn SessionLog, session: SessionId) -> Vec<Record> {
    let records = read_all(store, session, EVERYTHING).await.unwrap();
    let head = store.head(session).await.unwrap().unwrap();
    let mut chain = None;
    for (record, seq) in records.iter().zip(head.first..) {
        assert_eq!(record.seq, seq, "a gap or a double in {session}");
        let (blind, body) = record.payload.split_first_chunk::<32>().unwrap();
        let (event, _) = sessions_domain::codec::decode(record.kind, body).unwrap();
        if let Event::Created(created) = &event {
            let start = created.fork.as_ref().map_or(CommitHash::ZERO, |fork| fork.commit);
            chain = Some((created.lineage, start));
        }
        let (lineage, before) = chain.unwrap();
        assert_eq!(record.commit, before.next(lineage, seq, record.kind, blind, body), "{session} at {seq}");
        chain = Some((lineage, record.commit));
    }
    assert_eq!(records.last().map(|record| (record.seq, record.commit)), Some((head.version, head.commit)));
    records
}

/// Every session of a store can be loaded and read, and its chain holds.
pub(crate) async fn check_all(store: &Arc<dyn SessionLog>, host: &Host) -> usize {
    let manager = host.manager(Arc::clone(store), Durability::Process);
    let rows = store.rows(0, usize::MAX).await.unwrap().rows;
    for row in &rows {
        let session = manager.load_any(row.session).await.unwrap();
        let messages = all_messages(&session).await.unwrap();
        assert_eq!(messages.len() as u64, row.messages, "{}", row.session);
        check_chain(store.as_ref(), row.session).await;
    }
    rows.len()
}
