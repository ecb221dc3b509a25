//! The longest real transcripts, compacted: a model is shown what fits, nothing of the conversation is lost, and all of it can be taken back.
//!
//! Must not know: how a summary is planned or placed.

use std::{io::Cursor, path::Path, sync::Arc};

use async_trait::async_trait;
use sessions_app::{
    At, CompactionRefused, CompactionReport, CompactionWish, ContextWish, ExportFormat, ImportOptions, MessageRange,
    Session, SessionError, SessionManager,
};
use sessions_domain::{
    Message, SessionId, StoredMessage, TokenUsage,
    compaction::{CallOutcome, CallPurpose, Plan, Spent},
    context::{Budget, ContextPart},
    form::Form,
    pairing::Repair,
};
use sessions_infra::{
    MemoryStore,
    environment::SystemClock,
    keys::FileKeyStore,
    sealing::SealedStore,
    sled::{BackupProgress, Sealing, SledOptions, SledStore, restore_backup},
};
use sessions_ports::{SessionLog, Summarizer, Summary, SummaryFailure, SummaryWish};
use sessions_testkit::FixedKey;
use sessions_tests::summarising::{self, OF_STUB, Writer, held};
use tempfile::TempDir;
use tokio::sync::Notify;

use super::{pipeline::manager, sources};

/// What the conversation is brought down to, in the encoding of [`MODEL`].
const TARGET: u64 = 20_000;
const MODEL: &str = "gpt-4o";

/// How many of the longest transcripts are compacted.
const LONGEST: usize = 2;

/// Turns of the one that is made up.
const TURNS: usize = 400;

/// A summarizer that does as it is told.
enum Scripted {
    Says(&'static str),
    /// More than it was given.
    Grows,
    Fails(Vec<Spent>),
    /// Never answers, and says when it was asked.
    Hangs(Notify),
}

#[async_trait]
impl Summarizer for Scripted {
    fn name(&self) -> &str {
        "scripted"
    }

    async fn summarize(&self, wish: &SummaryWish) -> Result<Summary, SummaryFailure> {
        let (text, model) = match self {
            Self::Says(text) => ((*text).to_owned(), Some("script-1".to_owned())),
            Self::Grows => (
                wish.messages.iter().map(Message::text).collect::<String>() + " and more".repeat(20_000).as_str(),
                None,
            ),
            Self::Fails(calls) => {
                return Err(SummaryFailure {
                    what: "the service is away".to_owned(),
                    calls: calls.clone(),
                    is_transient: true,
                });
            }
            Self::Hangs(asked) => {
                asked.notify_one();
                std::future::pending().await
            }
        };
        Ok(Summary { text, model, calls: Vec::new() })
    }
}

fn spent() -> Spent {
    Spent {
        purpose: CallPurpose::Compaction,
        outcome: CallOutcome::Failed,
        provider: None,
        model: Some("script-1".to_owned()),
        asked: None,
        usage: TokenUsage { input: 1_000, ..TokenUsage::default() },
        estimated: false,
        cost: None,
        request_id: None,
    }
}

fn wish(summarizer: Option<Scripted>) -> CompactionWish {
    let wish = CompactionWish::default().for_model(MODEL).down_to(Budget::tokens(TARGET));
    match summarizer {
        Some(scripted) => wish.with(Arc::new(scripted)),
        None => wish,
    }
}

/// The whole context in each form, and for the model, as bytes.
async fn sent(chat: &Session) -> Vec<String> {
    let mut sent = Vec::new();
    let forms = [Form::Neutral, Form::OpenAi, Form::Anthropic];
    let wishes = forms.map(|form| ContextWish::from(Budget::tokens(u64::MAX)).in_form(form));
    for wish in wishes.into_iter().chain([ContextWish::for_model(MODEL).whole()]) {
        let context = chat.context(wish).await.unwrap();
        sent.push(serde_json::to_string(&context).unwrap());
        sent.push(serde_json::to_string(&context.body().unwrap()).unwrap());
    }
    sent
}

async fn all(chat: &Session) -> Vec<StoredMessage> {
    let page = chat.read(MessageRange::oldest_first()).await.unwrap();
    assert_eq!(page.next, None);
    assert!(chat.last(usize::MAX).await.unwrap() == page.messages, "another list");
    page.messages
}

fn texts(messages: &[StoredMessage]) -> Vec<(u64, &Message)> {
    messages.iter().map(|stored| (stored.seq, &stored.message)).collect()
}

/// What is listed is what was listed before, and what the summary stands for is marked with it.
async fn lists_all(chat: &Session, before: &[StoredMessage], report: &CompactionReport) {
    let now = all(chat).await;
    assert!(texts(&now) == texts(before), "a message is gone, or another");
    let Plan::Summarise { to } = report.plan else { panic!("{:?}", report.plan) };
    for stored in &now {
        assert_eq!(stored.covered_by, report.compaction.filter(|_| stored.seq <= to), "message {}", stored.seq);
    }
    let covered = now.iter().filter(|stored| stored.covered_by.is_some()).count() as u64;
    assert_eq!(covered, report.covers);
    // Each is found by its name as well, also the first of those that the summary stands for.
    for stored in
        [now.first(), now.iter().rfind(|stored| stored.covered_by.is_some()), now.last()].into_iter().flatten()
    {
        let found = chat.last_at(At::Message(stored.id), 1).await.unwrap();
        assert_eq!(found.first().map(|found| found.seq), Some(stored.seq));
    }
}

/// The same session, exported and taken in by another store.
async fn elsewhere(chat: &Session) -> Session {
    let mut export = chat.export(ExportFormat::SessionsJson).await.unwrap();
    let mut file = Vec::new();
    while let Some(chunk) = export.next_chunk().await.unwrap() {
        file.extend(chunk);
    }
    let other = manager(Arc::new(MemoryStore::new()));
    let report = other.import(Cursor::new(file), ImportOptions::default()).await.unwrap();
    assert_eq!(report.id, chat.id());
    other.load(report.id).await.unwrap()
}

/// What fails, says nothing, says too much or is given up changes nothing that is shown.
async fn what_comes_to_nothing_changes_nothing(chat: &Session) {
    let (before, head, version) =
        (sent(chat).await, chat.fresh_view().await.unwrap().head(), chat.version().await.unwrap());
    let as_before = async |what: &str, version: u64| {
        assert!(sent(chat).await == before, "{what}");
        let view = chat.fresh_view().await.unwrap();
        assert_eq!((view.head(), view.version()), (head, version), "{what}");
    };
    let failed = chat.compact(wish(Some(Scripted::Fails(Vec::new())))).await;
    assert!(
        matches!(failed, Err(SessionError::Compaction(CompactionRefused::Failed { is_transient: true, .. }))),
        "{failed:?}"
    );
    as_before("failed", version).await;
    let blank = chat.compact(wish(Some(Scripted::Says(" \n")))).await;
    assert!(matches!(blank, Err(SessionError::Compaction(CompactionRefused::Blank))), "{blank:?}");
    as_before("blank", version).await;
    let grown = chat.compact(wish(Some(Scripted::Grows))).await;
    assert!(matches!(grown, Err(SessionError::Compaction(CompactionRefused::TooLong { .. }))), "{:?}", grown.err());
    as_before("grown", version).await;
    let hangs = Arc::new(Scripted::Hangs(Notify::new()));
    let Scripted::Hangs(asked) = &*hangs else { unreachable!() };
    tokio::select! {
        done = chat.compact(wish(None).with(Arc::clone(&hangs) as Arc<dyn Summarizer>)) => panic!("{done:?}"),
        () = asked.notified() => {}
    }
    as_before("given up", version).await;
    let paid = chat.compact(wish(Some(Scripted::Fails(vec![spent()])))).await;
    assert!(matches!(paid, Err(SessionError::Compaction(CompactionRefused::Failed { .. }))));
    as_before("failed, and cost something", version + 1).await;
}

/// Compacts, holds the report against what is there, and gives it.
async fn compacted(chat: &Session, summarizer: Option<Scripted>, name: &str) -> CompactionReport {
    let planned = chat.plan_compaction(wish(None)).await.unwrap();
    let report = chat.compact(wish(summarizer)).await.unwrap();
    let context = chat.context(ContextWish::for_model(MODEL).whole()).await.unwrap();
    let summary = context.messages.iter().find(|message| message.part == ContextPart::Summary).unwrap();
    println!(
        "{name}: {} tokens before, {} after; {} messages summarised by {} in {} tokens, {} sent as they are",
        report.before,
        report.after,
        report.covers,
        report.by.as_deref().unwrap_or("nobody"),
        summary.tokens,
        context.messages.len() - 1
    );
    assert!(report.after <= TARGET && report.before > TARGET, "{name}: {} of {}", report.after, report.before);
    assert_eq!((context.tokens, context.summary), (report.after, report.compaction));
    assert_eq!((planned.before, planned.plan, planned.covers), (report.before, report.plan, report.covers));
    assert!(planned.after >= report.after);
    report
}

/// A session that says of itself what the first one does: context, list, and that the summary stands for what it covers.
async fn says_the_same(chat: &Session, as_sent: &[String], before: &[StoredMessage], report: &CompactionReport) {
    assert!(sent(chat).await == as_sent, "another context");
    assert!(chat.check_summary(report.compaction.unwrap()).await.unwrap());
    lists_all(chat, before, report).await;
}

async fn compact_and_back(chat: &Session, name: &str) {
    let (whole, before) = (sent(chat).await, all(chat).await);
    what_comes_to_nothing_changes_nothing(chat).await;
    let goal = "Goal: carry on where this stopped.";
    for summarizer in [Some(Scripted::Says(goal)), None] {
        let report = compacted(chat, summarizer, name).await;
        let now = sent(chat).await;
        says_the_same(chat, &now, &before, &report).await;
        says_the_same(&elsewhere(chat).await, &now, &before, &report).await;
        chat.uncompact().await.unwrap();
        assert!(sent(chat).await == whole, "{name}: not as it was before");
        assert!(all(chat).await.iter().all(|stored| stored.covered_by.is_none()));
        assert!(chat.check_summary(report.compaction.unwrap()).await.unwrap(), "what was taken away is still there");
    }
}

/// The transcripts whose whole contexts are the longest, and one that is made up.
async fn longest() -> Vec<sources::Source> {
    let mut all = Vec::new();
    for source in sources::transcripts() {
        let sessions = manager(Arc::new(MemoryStore::new()));
        let chat = taken_in(&sessions, &source).await;
        let tokens = chat.context(ContextWish::for_model(MODEL).whole()).await.unwrap().tokens;
        println!("{}: {tokens} tokens", source.name);
        all.push((tokens, source));
    }
    all.sort_by_key(|(tokens, _)| std::cmp::Reverse(*tokens));
    all.into_iter().take(LONGEST).map(|(_, source)| source).chain([sources::generated(TURNS)]).collect()
}

async fn taken_in(sessions: &SessionManager, source: &sources::Source) -> Session {
    let report = sessions.import(Cursor::new(source.bytes.clone()), ImportOptions::default()).await.unwrap();
    sessions.load(report.id).await.unwrap()
}

/// The same, gone on with where it ends with a message that is larger than the target: the newest message is never summarised
/// ([`the_newest_message_stays_and_a_budget_cuts_it`]).
async fn gone_on(sessions: &SessionManager, source: &sources::Source) -> Session {
    let chat = taken_in(sessions, source).await;
    let (newest, _) = chat.sizes(MessageRange::newest_first().messages(1)).await.unwrap();
    if newest.iter().any(|newest| newest.tokens > TARGET / 2) {
        println!("{}: gone on with, as its last message has about {} tokens", source.name, newest[0].tokens);
        chat.append(Message::user("And now?")).await.unwrap();
    }
    chat
}

#[tokio::test]
async fn the_longest_transcripts_are_compacted_to_a_window_and_taken_back() {
    for source in longest().await {
        let name = source.name.clone();
        let sessions = manager(Arc::new(MemoryStore::new()));
        compact_and_back(&gone_on(&sessions, &source).await, &name).await;
    }
}

/// The same with a model behind an API, which a stub stands in for; `cargo xtask test --real-model` asks one that somebody runs.
#[tokio::test]
async fn a_model_writes_the_summary_and_pieces_of_a_long_conversation_go_to_it_one_by_one() {
    let writer = Writer::stub().unwrap();
    let all = sources::transcripts().into_iter().chain([sources::generated(TURNS)]).collect();
    let mut calls = 0;
    for (name, chat) in summarising::longest(all, LONGEST).await.unwrap() {
        let line = held(&chat, &writer).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let report = line.came.unwrap();
        assert_eq!((report.by.as_deref(), report.calls.len() as u64), (Some("model"), line.calls), "{name}");
        assert!(line.calls > 1, "{name}: the window of the stub is too small for all of it at once");
        assert_eq!((line.usage.input, line.usage.output), (line.calls * OF_STUB.0, line.calls * OF_STUB.1));
        calls += line.calls;
    }
    assert_eq!(writer.asked(), Some(calls));
}

/// The newest message may be what is to be answered, so it stays, however large it is; within a budget it is cut beside the summary.
#[tokio::test]
async fn the_newest_message_stays_and_a_budget_cuts_it() {
    let sessions = manager(Arc::new(MemoryStore::new()));
    let chat = taken_in(&sessions, &sources::generated(TURNS)).await;
    chat.append(Message::user("./src/main.rs: 00af17c2\n".repeat(8_000))).await.unwrap();
    let report = chat.compact(wish(None)).await.unwrap();
    let of_newest = all(&chat).await.iter().filter(|stored| stored.covered_by.is_none()).count();
    assert_eq!((report.covers, of_newest), (TURNS as u64 * 2, 1));
    assert!(report.after > TARGET && report.after < report.before);
    let context = chat.context(ContextWish::for_model(MODEL).within(Budget::tokens(TARGET))).await.unwrap();
    let parts: Vec<ContextPart> = context.messages.iter().map(|message| message.part).collect();
    assert_eq!(parts, [ContextPart::Summary, ContextPart::Turn]);
    assert!(
        context.tokens <= TARGET && matches!(context.repairs[..], [Repair::Squeezed { .. }]),
        "{:?}",
        context.repairs
    );
}

/// The default store in a folder, and what a manager is given of it.
async fn opened(path: &Path, is_sealed: bool) -> (SledStore, SessionManager) {
    let sealing = if is_sealed { Sealing::Sealed } else { Sealing::Plain };
    let sled = SledStore::open(path, SledOptions { sealing, ..SledOptions::default() }).await.unwrap();
    if !is_sealed {
        return (sled.clone(), manager(Arc::new(sled)));
    }
    let keys = FileKeyStore::open(&sled.keys_folder(), sled.id()).await.unwrap();
    let log: Arc<dyn SessionLog> = Arc::new(sled.clone());
    let sealed = SealedStore::open_or_create(log, Arc::new(keys), &FixedKey(7), Arc::new(SystemClock)).await.unwrap();
    sled.witness(Arc::new(sealed.witness().unwrap())).unwrap();
    (sled, manager(Arc::new(sealed)))
}

/// Compacts in a store on disk, closes it, and looks at it again and at a backup of it.
async fn kept_on_disk(is_sealed: bool) {
    for source in longest().await {
        let name = format!("{} {}", source.name, if is_sealed { "sealed" } else { "on disk" });
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let (_, sessions) = opened(&path, is_sealed).await;
        let chat = gone_on(&sessions, &source).await;
        let (id, before): (SessionId, _) = (chat.id(), all(&chat).await);
        let report = compacted(&chat, None, &name).await;
        let now = sent(&chat).await;
        sessions.close().await.unwrap();

        let (sled, sessions) = opened(&path, is_sealed).await;
        says_the_same(&sessions.load(id).await.unwrap(), &now, &before, &report).await;
        let (file, into) = (ground.path().join("backup"), ground.path().join("restored"));
        sled.backup(&file, &BackupProgress::default()).await.unwrap();
        sessions.close().await.unwrap();

        assert_eq!(restore_backup(&file, &into, &BackupProgress::default()).unwrap().verified.findings, []);
        let (_, sessions) = opened(&into, is_sealed).await;
        let chat = sessions.load(id).await.unwrap();
        says_the_same(&chat, &now, &before, &report).await;
        chat.uncompact().await.unwrap();
        assert!(texts(&all(&chat).await) == texts(&before));
        sessions.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_compaction_is_kept_on_disk_and_in_a_backup() {
    kept_on_disk(false).await;
}

#[tokio::test]
async fn a_compaction_is_kept_in_a_sealed_store_and_its_backup() {
    kept_on_disk(true).await;
}
