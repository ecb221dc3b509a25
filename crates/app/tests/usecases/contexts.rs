//! Contexts of live sessions: going on from the last one is as collecting anew, and a message is counted once.
//!
//! Must not know: what a model makes of them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use proptest::{prelude::*, sample::select};
use sessions_app::{At, ContextWish, NewSession, Ports, Session, SessionError, SessionManager, Settings};
use sessions_domain::{
    FileRef, Message, MessagePart, ToolContent,
    context::{Budget, Context, ContextMessage, ContextPart},
    form::Form,
    profile::{ModelProfile, Profiles},
    tokens,
};
use sessions_infra::MemoryStore;
use sessions_ports::TokenCounter;

use crate::ground::{manager, ports, with};

#[derive(Clone, Debug)]
enum Step {
    Say(u8, usize),
    Undo,
    Redo,
    Clear,
    Pin,
    PinNewest,
    Checkout,
    Fork,
    Look(u64, Form),
    LookBack(u64, u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0_u8..6, 0_usize..200).prop_map(|(kind, length)| Step::Say(kind, length)),
        1 => Just(Step::Undo),
        1 => Just(Step::Redo),
        1 => Just(Step::Clear),
        1 => Just(Step::Pin),
        2 => Just(Step::PinNewest),
        1 => Just(Step::Checkout),
        1 => Just(Step::Fork),
        12 => look(),
        2 => (select(vec![60, 600]), 0_u64..12).prop_map(|(budget, ago)| Step::LookBack(budget, ago)),
    ]
}

fn look() -> impl Strategy<Value = Step> {
    (select(vec![60, 150, 600]), select(vec![Form::Neutral, Form::OpenAi, Form::Anthropic]))
        .prop_map(|(budget, form)| Step::Look(budget, form))
}

fn message(kind: u8, length: usize) -> Message {
    let text = "word ".repeat(length / 5);
    match kind {
        0 => Message::system(format!("rule {text}")),
        1 => Message::assistant(format!("answer {text}")),
        2 => Message::assistant(text).with(MessagePart::tool_call("a", "read", "{}").unwrap()),
        3 => Message::tool_result("a", format!("found {text}")),
        _ => Message::user(format!("question {text}")),
    }
}

/// Takes a step; what a rule refuses changes nothing.
async fn take(chat: &mut Session, step: &Step, other: &SessionManager) {
    match step {
        Step::Say(kind, length) => drop(chat.append(message(*kind, *length)).await),
        Step::Undo => drop(chat.undo(1).await),
        Step::Redo => drop(chat.redo(1).await),
        Step::Clear => drop(chat.clear().await),
        Step::Pin | Step::PinNewest => {
            let back = if matches!(step, Step::Pin) { 3 } else { 1 };
            if let Some(message) = chat.last(back).await.unwrap().first() {
                drop(chat.pin(message.id, true).await);
            }
        }
        Step::Checkout => {
            let branches = chat.branches().await.unwrap();
            if let Some(branch) = branches.first() {
                drop(chat.checkout(branch.branch).await);
            }
        }
        Step::Fork => {
            if let Ok(fork) = chat.fork(At::Now).await {
                *chat = fork;
            }
        }
        Step::LookBack(..) | Step::Look(..) => {
            let version = chat.version().await.unwrap();
            let (budget, wish) = match step {
                Step::Look(budget, form) => (budget, ContextWish::from(Budget::tokens(*budget)).in_form(*form)),
                Step::LookBack(budget, ago) => {
                    let at = At::Version(version.saturating_sub(*ago).max(1));
                    (budget, ContextWish::from(Budget::tokens(*budget)).at(at))
                }
                _ => return,
            };
            let wish = || wish.clone();
            let anew = other.load(chat.id()).await.unwrap();
            match (chat.context(wish()).await, anew.context(wish()).await) {
                (Ok(going_on), Ok(anew)) => {
                    assert_eq!(going_on, anew);
                    assert!(anew.tokens <= *budget);
                }
                (Err(SessionError::OverBudget(a)), Err(SessionError::OverBudget(b))) => assert_eq!(a, b),
                other => panic!("one of two: {other:?}"),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn going_on_is_as_collecting_anew(
        steps in prop::collection::vec(step(), 1..60),
        // The same is asked behind each step, as a conversation with one model does.
        steady in prop::option::of(look()),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let store = MemoryStore::new();
            let sessions = manager(store.clone());
            let mut chat = sessions.create(NewSession::default()).await.unwrap();
            for step in steps.iter().flat_map(|step| [Some(step), steady.as_ref()]).flatten() {
                // A manager that never saw the session before, over the same store.
                take(&mut chat, step, &manager(store.clone())).await;
            }
        });
    }
}

/// Whether what a lane kept gives what a manager gives that never saw the session before.
async fn is_as_anew(chat: &Session, store: &MemoryStore, budget: u64) -> Context {
    let anew = manager(store.clone()).load(chat.id()).await.unwrap();
    let (context, anew) = (chat.context(Budget::tokens(budget)).await, anew.context(Budget::tokens(budget)).await);
    let context = context.unwrap();
    assert_eq!(context, anew.unwrap());
    context
}

#[tokio::test]
async fn a_pinned_call_is_shown_with_the_result_that_comes_after_it() {
    let store = MemoryStore::new();
    let chat = manager(store.clone()).create(NewSession::default()).await.unwrap();
    let call = Message::assistant("I look").with(MessagePart::tool_call("a", "read", "{}").unwrap());
    let receipt = chat.append(call).await.unwrap();
    chat.pin(receipt.message, true).await.unwrap();
    assert_eq!(is_as_anew(&chat, &store, 200).await.repairs.len(), 1, "it is not answered yet");
    chat.append(Message::tool_result("a", "found")).await.unwrap();
    for turn in 0..12 {
        chat.append(Message::user(format!("question {turn}: {}", "word ".repeat(12)))).await.unwrap();
        is_as_anew(&chat, &store, 200).await;
    }
    let context = is_as_anew(&chat, &store, 200).await;
    let pinned: Vec<&ContextMessage> = context.messages.iter().filter(|m| m.part == ContextPart::Pinned).collect();
    assert!(context.is_cut && context.repairs.is_empty(), "{:?}", context.repairs);
    let said: Vec<&ToolContent> = pinned.iter().flat_map(|message| message.results()).map(|r| &r.content).collect();
    assert_eq!(said, [&ToolContent::Text("found".to_owned())]);
}

#[tokio::test]
async fn what_is_pinned_and_comes_back_stays_when_its_turn_leaves() {
    let store = MemoryStore::new();
    let chat = manager(store.clone()).create(NewSession::default()).await.unwrap();
    chat.append(Message::user("hello")).await.unwrap();
    let receipt = chat.append(Message::user("never touch it")).await.unwrap();
    chat.pin(receipt.message, true).await.unwrap();
    chat.undo(1).await.unwrap();
    is_as_anew(&chat, &store, 200).await;
    chat.redo(1).await.unwrap();
    for turn in 0..12 {
        is_as_anew(&chat, &store, 200).await;
        chat.append(Message::user(format!("question {turn}: {}", "word ".repeat(12)))).await.unwrap();
    }
    let context = is_as_anew(&chat, &store, 200).await;
    assert!(context.messages.iter().any(|message| message.part == ContextPart::Pinned));
}

/// Counts how often it is asked for each text.
#[derive(Clone, Default)]
pub(crate) struct Asked(Arc<Mutex<BTreeMap<String, u64>>>);

impl Asked {
    pub(crate) fn times(&self, text: &str) -> u64 {
        self.0.lock().unwrap().get(text).copied().unwrap_or(0)
    }

    pub(crate) fn manager(&self) -> SessionManager {
        with(Ports { counter: Arc::new(self.clone()), ..ports(MemoryStore::new()) })
    }
}

impl TokenCounter for Asked {
    fn encoding(&self) -> &str {
        "asked"
    }

    fn is_exact(&self) -> bool {
        true
    }

    fn count(&self, text: &str) -> u64 {
        *self.0.lock().unwrap().entry(text.to_owned()).or_default() += 1;
        tokens::estimate_text(text)
    }
}

/// A question with a file, a call by an id that no provider takes, its result and an answer: all with metadata, and no text twice.
fn round(turn: u64) -> [Message; 4] {
    let input = format!(r#"{{"path":"{turn}.rs"}}"#);
    let call = MessagePart::tool_call(format!("call|{turn}"), format!("tool_{turn}"), &input).unwrap();
    let url = Some("https://example.org/a.png".to_owned());
    let file = FileRef { media_type: "image/png".to_owned(), name: None, artifact: None, url };
    let messages = [
        Message::user(format!("question {turn}")).with(MessagePart::File(file)),
        Message::assistant(format!("look {turn}")).with(call),
        Message::tool_result(format!("call|{turn}"), format!("found {turn}")),
        Message::assistant(format!("answer {turn}")),
    ];
    messages.map(|mut message| {
        message.metadata.model = Some("some-model".to_owned());
        message
    })
}

#[tokio::test]
async fn a_message_is_counted_once_however_many_contexts_it_is_in() {
    for form in [Form::Neutral, Form::OpenAi, Form::Anthropic] {
        let asked = Asked::default();
        let chat = asked.manager().create(NewSession::default()).await.unwrap();
        chat.append(Message::system("be brief")).await.unwrap();
        for turn in 0..20 {
            for message in round(turn) {
                chat.append(message).await.unwrap();
                for budget in [100_000, 4_000 + turn % 3, 4_500] {
                    chat.context(ContextWish::from(Budget::tokens(budget)).in_form(form)).await.unwrap();
                }
            }
            let said =
                [format!("question {turn}"), format!("look {turn}"), format!("found {turn}"), format!("answer {turn}")];
            let called = [format!("tool_{turn}"), format!(r#"{{"path":"{turn}.rs"}}"#), "be brief".to_owned()];
            for text in said.iter().chain(&called) {
                assert_eq!(asked.times(text), 1, "{form:?}: {text}");
            }
        }
    }
}

/// A question with a picture of so many bytes, which costs few tokens.
fn picture(bytes: usize) -> Message {
    let url = Some(format!("data:image/png;base64,{}", "A".repeat(bytes)));
    let file = FileRef { media_type: "image/png".to_owned(), name: None, artifact: None, url };
    Message::user("what is this?").with(MessagePart::File(file))
}

/// A session whose context is kept, and how often its question was counted when the contexts of so many forks of another one followed.
async fn counted_behind(others: usize, picture_bytes: usize) -> u64 {
    let asked = Asked::default();
    let sessions = asked.manager();
    let chat = sessions.create(NewSession::default()).await.unwrap();
    chat.append(Message::user("who remembers?")).await.unwrap();
    chat.context(Budget::tokens(100)).await.unwrap();
    let other = sessions.create(NewSession::default()).await.unwrap();
    other.append(picture(picture_bytes)).await.unwrap();
    for _ in 0..others {
        let fork = other.fork(At::Now).await.unwrap();
        fork.context(Budget::tokens(10_000)).await.unwrap();
    }
    chat.context(Budget::tokens(100)).await.unwrap();
    asked.times("who remembers?")
}

#[tokio::test]
async fn what_contexts_hold_is_bounded_in_bytes_and_a_large_one_pushes_none_out() {
    assert_eq!(counted_behind(3, 6 << 20).await, 1, "all of them fit");
    assert_eq!(counted_behind(8, 6 << 20).await, 2, "who was used longest ago forgot");
    assert_eq!(counted_behind(8, 10 << 20).await, 1, "what is larger is not kept");
}

#[tokio::test]
async fn a_message_that_is_still_arriving_is_counted_as_far_as_it_came() {
    let store = MemoryStore::new();
    let sessions = manager(store.clone());
    let chat = sessions.create(NewSession::default()).await.unwrap();
    chat.append(Message::user("go")).await.unwrap();
    let mut stream = chat.begin(Message { parts: Vec::new(), ..Message::assistant("") }).await.unwrap();
    let looks_alike = async || {
        let anew = manager(store.clone()).load(chat.id()).await.unwrap();
        for budget in [40, 10_000] {
            let (a, b) = (chat.context(Budget::tokens(budget)).await, anew.context(Budget::tokens(budget)).await);
            assert_eq!(a.unwrap(), b.unwrap());
        }
    };
    for _ in 0..3 {
        stream.push_text(&"word ".repeat(300)).await.unwrap();
        looks_alike().await;
    }
    stream.finish(None).await.unwrap();
    looks_alike().await;
    chat.append(Message::user("and now?")).await.unwrap();
    looks_alike().await;
}

#[tokio::test]
async fn a_pinned_message_stays_when_older_turns_leave_and_a_fork_has_it_too() {
    let sessions = manager(MemoryStore::new());
    let chat = sessions.create(NewSession::default()).await.unwrap();
    let receipt = chat.append(Message::user("never touch the production database")).await.unwrap();
    let call = MessagePart::tool_call("a", "read", "{}").unwrap();
    chat.append(Message::assistant("noted").with(call)).await.unwrap();
    let result = chat.append(Message::tool_result("a", "schema")).await.unwrap();
    for turn in 0..40 {
        chat.append(Message::user(format!("question {turn}"))).await.unwrap();
        chat.append(Message::assistant(format!("answer {turn}"))).await.unwrap();
    }
    chat.pin(receipt.message, true).await.unwrap();
    chat.pin(result.message, true).await.unwrap();
    let fork = chat.fork(At::Now).await.unwrap();
    for chat in [&chat, &fork] {
        let context = chat.context(Budget::tokens(120)).await.unwrap();
        let pinned: Vec<String> =
            context.messages.iter().filter(|message| message.part == ContextPart::Pinned).map(|m| m.text()).collect();
        assert_eq!(pinned, ["never touch the production database", "noted", ""], "a call comes with its result");
        assert_eq!((context.repairs.len(), context.tokens <= 120), (0, true));
        let needed = chat.context(Budget::tokens(10)).await;
        assert!(
            matches!(needed, Err(SessionError::OverBudget(over)) if over.pinned == over.needed && over.pinned > 10)
        );
    }
    chat.pin(receipt.message, false).await.unwrap();
    chat.pin(result.message, false).await.unwrap();
    let parts = |context: Context| context.messages.into_iter().map(|message| message.part);
    assert!(parts(chat.context(Budget::tokens(120)).await.unwrap()).all(|part| part == ContextPart::Turn));
    assert!(parts(fork.context(Budget::tokens(120)).await.unwrap()).any(|part| part == ContextPart::Pinned));
}

#[tokio::test]
async fn a_model_is_known_by_its_profile_and_no_other_is_taken_for_it() {
    let mut local = ModelProfile::of("local-8b", "ollama", Form::OpenAi, 1_000);
    local.reserved_output = 900;
    let mut odd = ModelProfile::of("odd", "nobody", Form::OpenAi, 1_000);
    odd.encoding = "unheard-of".to_owned();
    let profiles = Profiles::shipped().with(local).unwrap().with(odd).unwrap();
    let settings = Settings { profiles, ..Settings::default() };
    let sessions = SessionManager::with(ports(MemoryStore::new()), settings).unwrap();
    let chat = sessions.create(NewSession::default()).await.unwrap();
    for turn in 0..100 {
        chat.append(Message::user(format!("question {turn}"))).await.unwrap();
    }
    let context = chat.context(ContextWish::for_model("local-8b")).await.unwrap();
    assert_eq!((context.form, context.tokens <= 100, context.messages.is_empty()), (Form::OpenAi, true, false));
    assert!(context.body().unwrap().messages.as_str().starts_with(r#"[{"role":"user","#));
    let Err(SessionError::UnknownModel(unknown)) = chat.context(ContextWish::for_model("local-8c")).await else {
        panic!("no model is taken for another")
    };
    assert_eq!(unknown.nearest.as_deref(), Some("local-8b"));
    let odd = chat.context(ContextWish::for_model("odd")).await;
    assert!(matches!(odd, Err(SessionError::UnknownEncoding { encoding }) if encoding == "unheard-of"));
}

#[tokio::test]
async fn what_is_pinned_ahead_of_a_context_of_the_past_stands_in_the_next_one() {
    let sessions = manager(MemoryStore::new());
    let chat = sessions.create(NewSession::default()).await.unwrap();
    chat.append(Message::system("rule")).await.unwrap();
    chat.append(Message::user("first")).await.unwrap();
    let past = chat.version().await.unwrap();
    let pinned = chat.append(Message::user("keep this")).await.unwrap();
    chat.pin(pinned.message, true).await.unwrap();
    for _ in 0..2 {
        chat.append(Message::user("word ".repeat(40))).await.unwrap();
    }
    let wish = || ContextWish::from(Budget::tokens(80));
    chat.context(wish().at(At::Version(past))).await.unwrap();
    let texts: Vec<String> =
        chat.context(wish()).await.unwrap().messages.iter().map(|message| message.text()).collect();
    assert_eq!(texts[..2], ["rule", "keep this"]);
}
