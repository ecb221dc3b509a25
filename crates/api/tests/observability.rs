//! Spans and counters: what a host sees of everything that is done, and that no word of a person is in it.

#![allow(clippy::unwrap_used, reason = "a test that meets what it does not expect has failed")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
    io::Cursor,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use sessions_api::{
    Actor, Append, At, Budget, ImportOptions, Json, KeyFileProvider, MemoryStore, Message, MessagePart, NewSession,
    Query, SessionManager, SessionStatus,
};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// Fields and their values, as they were told.
type Fields = BTreeMap<String, String>;

/// Keeps every name, field and value that anybody tells.
#[derive(Clone, Default)]
struct Listening {
    said: Arc<Mutex<String>>,
    /// For each span: its name, and its fields.
    spans: Arc<Mutex<BTreeMap<u64, (String, Fields)>>>,
    next: Arc<AtomicU64>,
}

struct Told<'a>(&'a mut Fields);

impl Visit for Told<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

impl Subscriber for Listening {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let mut fields = BTreeMap::new();
        attributes.record(&mut Told(&mut fields));
        let about = attributes.metadata();
        write!(self.said.lock().unwrap(), "\n{} {} {fields:?}", about.target(), about.name()).unwrap();
        self.spans.lock().unwrap().insert(id, (about.name().to_owned(), fields));
        span::Id::from_u64(id)
    }

    fn record(&self, span: &span::Id, values: &span::Record<'_>) {
        let mut fields = BTreeMap::new();
        values.record(&mut Told(&mut fields));
        write!(self.said.lock().unwrap(), "\n{fields:?}").unwrap();
        if let Some((_, known)) = self.spans.lock().unwrap().get_mut(&span.into_u64()) {
            known.extend(fields);
        }
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = BTreeMap::new();
        event.record(&mut Told(&mut fields));
        write!(self.said.lock().unwrap(), "\n{} {fields:?}", event.metadata().target()).unwrap();
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// A word that stands nowhere else, in each place where a person can write one.
const CANARIES: [&str; 18] = [
    "canaryone",
    "canarytwo",
    "canarythree",
    "canaryfour",
    "canaryfive",
    "canarysix",
    "canaryseven",
    "canaryeight",
    "canarynine",
    "canaryten",
    "canaryeleven",
    "canarytwelve",
    "canarythirteen",
    "canaryfourteen",
    "canaryfifteen",
    "canarysixteen",
    "canaryseventeen",
    "canaryeighteen",
];

async fn everything(sessions: &SessionManager) {
    let [title, tag, key, text, tool, input, answer, idempotency, actor, name, again, sought, rest @ ..] = CANARIES;
    let [state, value, delta, reason, checkpoint, edited] = rest;
    let sessions_of = sessions.acting_for(Actor::named(actor));
    let chat = sessions_of.create(NewSession::titled(title).tags([tag.to_owned()])).await.unwrap();
    let keyed = sessions_of.open_or_create(key).await.unwrap();
    keyed.append(Message::user(text)).await.unwrap();
    chat.append(Message::system(text)).await.unwrap();
    chat.append(Append::from(Message::user(text)).idempotency_key(idempotency)).await.unwrap();
    chat.append(Append::from(Message::user(text)).idempotency_key(idempotency)).await.unwrap();
    chat.append(Append::from(Message::user(again)).idempotency_key(idempotency)).await.unwrap_err();
    let call = MessagePart::tool_call("call", tool, &format!(r#"{{"x":"{input}"}}"#)).unwrap();
    chat.append(Message::assistant(answer).with(call)).await.unwrap();
    chat.append(Message::tool_result("call", answer)).await.unwrap();
    chat.append(Message::user("x".repeat(100 << 10) + text)).await.unwrap();
    chat.undo(1).await.unwrap();
    chat.redo(1).await.unwrap();
    let last = chat.append(Message::user(text)).await.unwrap();
    chat.edit(last.message, Message::user(edited)).await.unwrap();
    chat.rename(format!("{title} again")).await.unwrap();
    chat.set_state(state, Json::of(&value).unwrap()).await.unwrap();
    chat.state(state).await.unwrap();
    chat.checkpoint(checkpoint, At::Version(chat.version().await.unwrap())).await.unwrap();
    let mut stream = chat.begin(Message::assistant("")).await.unwrap();
    stream.push_text(&delta.repeat(1_000)).await.unwrap();
    stream.cancel(Some(reason.to_owned())).await.unwrap();
    chat.set_status_because(SessionStatus::Paused, Some(reason.to_owned())).await.unwrap();
    chat.append(Message::user(text)).await.unwrap_err();
    chat.set_status(SessionStatus::Active).await.unwrap();
    let fork = chat.fork(At::Version(chat.version().await.unwrap())).await.unwrap();
    fork.clear().await.unwrap();
    chat.context(Budget::tokens(100_000)).await.unwrap();
    chat.last(10).await.unwrap();
    chat.tally().await.unwrap();
    chat.branches().await.unwrap();
    sessions_of.find(&format!("key:{name}")).await.err().unwrap();
    sessions_of.find(key).await.unwrap();
    let query = Query { text: Some(sought.to_owned()), tags: vec![tag.to_owned()], ..Query::default() };
    sessions_of.list(&query).await.unwrap();
    let mut export = chat.export_jsonl().await.unwrap();
    let mut out = Vec::new();
    while let Some(chunk) = export.next_chunk().await.unwrap() {
        out.extend(chunk);
    }
    let options = ImportOptions { new_id: true, ..ImportOptions::default() };
    sessions_of.import(Cursor::new(out), options).await.unwrap();
    sessions_of.import(Cursor::new(text.as_bytes()), ImportOptions::default()).await.unwrap_err();
    sessions_of.trash(keyed.id()).await.unwrap();
    sessions_of.restore_from_trash(keyed.id()).await.unwrap();
    sessions.close().await.unwrap();
}

// One test, because who listens does so for the whole process, and also on the store's own threads.
#[tokio::test]
async fn spans_and_counters_tell_what_was_done_and_no_word_of_it() {
    let listening = Listening::default();
    tracing::subscriber::set_global_default(listening.clone()).unwrap();
    let ground = tempfile::tempdir().unwrap();
    let mut stores = vec![SessionManager::builder().store(MemoryStore::new()).build().await.unwrap()];
    if cfg!(feature = "sled") {
        let url = format!("sled:{}", ground.path().join("store").display());
        stores.push(SessionManager::open(url).await.unwrap());
        let url = format!("sled:{}", ground.path().join("sealed").display());
        let key = KeyFileProvider::create_or_open(&ground.path().join("key")).unwrap();
        stores.push(SessionManager::open_sealed(url, key).await.unwrap());
    }
    for sessions in &stores {
        everything(sessions).await;
        let counters = sessions.counters();
        assert_eq!(counters.sessions.replays, 1);
        assert!(counters.sessions.live_sessions > 0 && counters.store.in_flight == 0, "{counters:?}");
        let store = &counters.store;
        assert!(store.appends >= 12 && store.records_appended >= store.appends, "{counters:?}");
        assert!(store.bytes_appended > 100 << 10 && store.bytes_read > 100 << 10, "{counters:?}");
    }
    let said = listening.said.lock().unwrap().to_lowercase();
    for canary in CANARIES {
        assert!(!said.contains(canary), "{canary} was told");
    }
    let spans = listening.spans.lock().unwrap();
    let calls: BTreeSet<&str> = spans.values().map(|(name, _)| name.as_str()).collect();
    for call in ["store commit", "store read", "store head", "store rows", "store by_key", "store close"] {
        assert!(calls.contains(call), "{call} is missing among {calls:?}");
    }
    let commits = || spans.values().filter(|(name, _)| name == "store commit");
    for (_, fields) in commits() {
        let has = |name: &str| fields.contains_key(name);
        assert!(has("gen_ai.conversation.id") && has("sessions.records") && has("sessions.bytes"), "{fields:?}");
    }
    let systems: BTreeSet<_> = spans.values().filter_map(|(_, fields)| fields.get("db.system.name")).collect();
    // Sealed or not, it is one kind of store.
    assert_eq!(systems.len(), 1 + usize::from(stores.len() > 1));
    println!("figure: {} marks in {} spans of {} stores, none told", CANARIES.len(), spans.len(), stores.len());
}
