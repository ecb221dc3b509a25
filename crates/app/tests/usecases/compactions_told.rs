//! What whoever compacts, or looks on, is told of it: its target, that it begins, what was spent for one that was broken off, and the tokens of
//! messages.
//!
//! Must not know: what a good summary says.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use sessions_app::{
    Agent, ByModel, CompactionReport, CompactionWish, ContextWish, Extractive, NewSession, Ports, Session,
    SessionError, SessionManager, TurnEvent,
};
use sessions_domain::{
    Event, Message, MessagePart, StoredMessage,
    compaction::{CallOutcome, CallPurpose, CompactionPolicy, Plan},
    context::Budget,
    form::Form,
    profile::ModelProfile,
    tokens::{Exactness, Tokens},
};
use sessions_infra::{
    MemoryStore,
    providers::{Answer, Gate, ScriptedProvider},
};
use sessions_ports::{Encodings, TokenCounter};

use crate::{
    compaction::{long, whole},
    ground::{due, manager, ports, with},
    turns::{SUMMARY, agent, compacting, full, profile, says},
};

fn down_to(tokens: u64) -> CompactionWish {
    CompactionWish::default().down_to(Budget::tokens(tokens))
}

#[tokio::test]
async fn a_compaction_tells_its_target_and_whether_it_was_missed() {
    let chat = long(&manager(MemoryStore::new())).await;
    let plan = async |wish: CompactionWish| chat.plan_compaction(wish).await.unwrap();
    let half = plan(CompactionWish::default()).await;
    assert_eq!(half.target, whole(&chat).await.tokens / 2);
    let model = Arc::new(ModelProfile::of("m", "p", Form::Neutral, 2_000));
    let policy = CompactionPolicy::default();
    let of_model = plan(CompactionWish::default().for_profile(Arc::clone(&model))).await;
    assert_eq!(of_model.target, policy.target(model.usable()));
    assert_eq!(plan(down_to(700).for_profile(model)).await.target, 700);

    let done = chat.once("a").compact(CompactionWish::default()).await.unwrap();
    assert_eq!((done.before, done.target, done.is_missed()), (half.before, half.target, false));
    assert_eq!(chat.once("a").compact(CompactionWish::default()).await.unwrap().target, done.target);
    let again = chat.once("b").compact(down_to(400)).await.unwrap();
    assert_eq!((again.target, again.is_missed()), (400, false));
    assert_eq!(chat.once("b").compact(down_to(400)).await.unwrap(), again, "asked for again, it tells the same");
}

#[tokio::test]
async fn what_always_stays_may_be_more_than_the_target() {
    let chat = long(&manager(MemoryStore::new())).await;
    let stays = chat.append(Message::user("stay ".repeat(400))).await.unwrap();
    chat.append(Message::assistant("Noted.")).await.unwrap();
    chat.pin(stays.message, true).await.unwrap();
    let report: CompactionReport = chat.compact(down_to(300)).await.unwrap();
    assert!(report.is_missed() && report.after > 300 && report.target == 300, "{report:?}");
}

/// The names of what happens in a turn, up to its end.
async fn told(chat: &Session, agent: &Agent, said: &str) -> Vec<&'static str> {
    let mut turn = chat.turn(agent, Message::user(said));
    let mut names = Vec::new();
    while let Some(event) = due("an event", turn.next_event()).await {
        match event {
            TurnEvent::Compacting => names.push("compacting"),
            TurnEvent::Compacted(_) => names.push("compacted"),
            TurnEvent::Answering { .. } => names.push("answering"),
            _ => {}
        }
    }
    due("the end", turn.outcome()).await.unwrap();
    names
}

#[tokio::test]
async fn that_a_summary_is_being_written_is_told_before_it_is_there_and_not_when_none_is() {
    let gate = Gate::new();
    let (agent, _) = compacting([Answer::new().text("## Goal").wait(&gate)]);
    let (_, chat) = full().await;
    let mut turn = chat.turn(&agent, Message::user("and now?"));
    due("the summary", gate.reached()).await;
    assert_eq!(due("an event", turn.next_event()).await, Some(TurnEvent::Compacting));
    turn.canceller().cancel();
    due("the end", turn.outcome()).await.unwrap();

    let by_model = compacting([says(SUMMARY), says(SUMMARY), says("Green."), says("Still green.")]).0;
    assert_eq!(told(&chat, &by_model, "and now?").await, ["compacting", "compacted", "answering"]);
    assert_eq!(told(&chat, &by_model, "and now?").await, ["answering"], "it was looked at, and not due");
    // A summary that the model does not write is made without it, and is the same one for whoever looks on.
    let in_vain = compacting([says("No."), says("No."), says("Green.")]).0;
    assert_eq!(told(&full().await.1, &in_vain, "and now?").await, ["compacting", "compacted", "answering"]);
    let by_rule = agent_of([says("Green.")]).summarizer(Arc::new(Extractive));
    assert_eq!(told(&full().await.1, &by_rule, "and now?").await, ["compacting", "compacted", "answering"]);
}

fn agent_of(answers: impl IntoIterator<Item = Answer>) -> Agent {
    agent(answers).0
}

#[tokio::test]
async fn results_that_are_shortened_are_told_without_a_summary() {
    let (_, chat) = crate::turns::chat().await;
    for turn in 0..30 {
        let call = MessagePart::tool_call("c", "read", "{}").unwrap();
        chat.append(Message::user(format!("question {turn}"))).await.unwrap();
        chat.append(Message { parts: vec![call], ..Message::assistant("") }).await.unwrap();
        chat.append(Message::tool_result("c", "found ".repeat(800))).await.unwrap();
        chat.append(Message::assistant("It is there.")).await.unwrap();
    }
    let agent = agent_of([says("Green.")]).summarizer(Arc::new(Extractive));
    assert_eq!(told(&chat, &agent, "and now?").await, ["compacted", "answering"]);
    let context = whole(&chat).await;
    assert_eq!(context.summary, None);
}

#[tokio::test]
async fn what_a_summary_took_that_nobody_waits_for_any_more_is_in_the_ledger() {
    let gate = Gate::new();
    let provider = Arc::new(ScriptedProvider::new([Answer::new().text("## Goal").wait(&gate)]));
    let (_sessions, chat) = full().await;
    let version = chat.version().await.unwrap();
    let mut updates = chat.subscribe(version);
    let summarizer = Arc::new(ByModel::new(provider, profile()));
    let asked = chat.clone();
    let task = tokio::spawn(async move { asked.compact(down_to(9_000).with(summarizer)).await });
    due("the summary", gate.reached()).await;
    task.abort();
    assert!(due("the end", task).await.unwrap_err().is_cancelled());
    let update = due("a row", updates.next()).await.unwrap().unwrap();
    let Event::Spent(spent) = update.event else { panic!("{update:?}") };
    assert_eq!(
        (spent.purpose, spent.outcome, spent.estimated),
        (CallPurpose::Compaction, CallOutcome::Cancelled, true)
    );
    assert!(spent.usage.input > 5_000 && spent.usage.output > 0, "{spent:?}");
    let calls = chat.calls(0).await.unwrap().0;
    assert_eq!((calls.len(), chat.version().await.unwrap()), (1, version + 1), "and nothing else was changed");
    assert_eq!(whole(&chat).await.summary, None);
}

/// A counter to which every byte is a token, and which knows how often it was asked.
#[derive(Default)]
struct Letters(AtomicUsize);

impl TokenCounter for Letters {
    fn encoding(&self) -> &str {
        "letters"
    }

    fn is_exact(&self) -> bool {
        true
    }

    fn count(&self, text: &str) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed);
        text.len() as u64
    }
}

/// That encoding beside the built-in ones.
struct WithLetters(Arc<Letters>, Arc<dyn Encodings>);

impl Encodings for WithLetters {
    fn named(&self, name: &str) -> Option<Arc<dyn TokenCounter>> {
        if name == "letters" { Some(Arc::clone(&self.0) as Arc<dyn TokenCounter>) } else { self.1.named(name) }
    }
}

/// A manager that has that encoding.
fn counting(letters: &Arc<Letters>) -> SessionManager {
    let ports = ports(MemoryStore::new());
    with(Ports { encodings: Arc::new(WithLetters(Arc::clone(letters), ports.encodings)), ..ports })
}

/// A model with this encoding.
fn of(encoding: &str) -> ModelProfile {
    ModelProfile { encoding: encoding.to_owned(), ..ModelProfile::of("m", "p", Form::OpenAi, 1_000_000) }
}

/// The tokens of messages, as they were counted.
fn tokens(messages: &[StoredMessage]) -> Vec<Tokens> {
    messages.iter().map(|stored| stored.tokens.expect("it was counted")).collect()
}

#[tokio::test]
async fn messages_are_counted_in_the_encoding_of_a_model_as_they_were_said() {
    let letters = Arc::new(Letters::default());
    let chat = counting(&letters).create(NewSession::default()).await.unwrap();
    for text in ["hello world".to_owned(), " ".to_owned(), "hello world ".repeat(20_000)] {
        chat.append(Message::user(text)).await.unwrap();
    }
    let all = chat.last(10).await.unwrap();
    assert!(all.iter().all(|stored| stored.tokens.is_none()));
    for _ in 0..2 {
        let counted = chat.count_tokens(&of("letters"), all.clone()).await.unwrap();
        assert_eq!(tokens(&counted), [11, 1, 240_000].map(Tokens::exact));
        assert_eq!(serde_json::to_value(&counted[0]).unwrap()["tokens"], 11);
        assert_eq!(letters.0.load(Ordering::Relaxed), 3, "each is counted once");
    }
    let about = chat.count_tokens(&of(sessions_domain::tokens::ESTIMATE), all.clone()).await.unwrap();
    assert_eq!(tokens(&about)[0].exactness, Exactness::Estimate);
    assert_eq!(serde_json::to_value(&about[0]).unwrap()["estimate"], true);
    let unknown = chat.count_tokens(&of("none"), all).await;
    assert!(matches!(unknown, Err(SessionError::UnknownEncoding { .. })), "{unknown:?}");
}

#[tokio::test]
async fn a_message_that_is_shortened_in_contexts_counts_as_it_was_said_and_one_that_arrives_as_far_as_it_came() {
    let chat = long(&counting(&Arc::default())).await;
    let model = of("letters");
    let before = chat.count_tokens(&model, chat.last(100).await.unwrap()).await.unwrap();
    let shortened = chat.compact(down_to(5_000)).await.unwrap();
    assert!(matches!(shortened.plan, Plan::Shorten { .. }), "{shortened:?}");
    chat.context(ContextWish::for_profile(Arc::new(model.clone()))).await.unwrap();
    let after = chat.count_tokens(&model, chat.last(100).await.unwrap()).await.unwrap();
    assert_eq!(tokens(&after), tokens(&before));

    let mut stream = chat.begin(Message::assistant("")).await.unwrap();
    let mut came = Vec::new();
    for word in ["hello", " world"] {
        stream.push_text(word).await.unwrap();
        stream.flush().await.unwrap();
        came.extend(tokens(&chat.count_tokens(&model, chat.last(1).await.unwrap()).await.unwrap()));
    }
    assert_eq!(came, [Tokens::exact(5), Tokens::exact(11)]);
}
