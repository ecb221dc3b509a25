//! Contexts that are asked for again, when something else than the conversation changed since, or for a place where it had not yet: each is as
//! whoever never asked before gets it.
//!
//! Must not know: what a model makes of them.

use std::sync::Arc;

use sessions_app::{At, CompactionWish, ContextWish, NewSession, Session, SessionManager};
use sessions_domain::{
    Message, MessageMetadata, MessagePart,
    context::{Budget, Context, ContextPart},
    form::{Form, ReasoningBack},
    profile::ModelProfile,
};
use sessions_infra::MemoryStore;
use sessions_ports::Durability;
use sessions_testkit::{Call, FaultyStore};

use crate::{contexts::Asked, ground::manager};

struct Twice {
    store: MemoryStore,
    chat: Session,
}

impl Twice {
    async fn new() -> Self {
        let store = MemoryStore::new();
        let chat = manager(store.clone()).create(NewSession::default()).await.unwrap();
        Self { store, chat }
    }

    async fn say(&self, message: Message) {
        self.chat.append(message).await.unwrap();
    }

    /// The context, which is the one that a manager gives that never saw the session before.
    async fn context(&self, wish: impl Into<ContextWish>) -> Context {
        let (wish, anew) = (wish.into(), manager(self.store.clone()).load(self.chat.id()).await.unwrap());
        let context = self.chat.context(wish.clone()).await.unwrap();
        assert_eq!(context, anew.context(wish).await.unwrap());
        context
    }
}

/// A model whose reasoning goes back to it as long as nothing before it changed.
fn thinks(name: &str) -> ContextWish {
    let mut profile = ModelProfile::of(name, "p", Form::Anthropic, 100_000);
    (profile.rules.reasoning, profile.rules.prefill) = (ReasoningBack::Unchanged, false);
    ContextWish::for_profile(Arc::new(profile))
}

fn thought(text: &str) -> Message {
    let signed = MessagePart::Reasoning { text: format!("hm, {text}"), signature: Some("sig".into()) };
    let parts = vec![signed, MessagePart::text(text)];
    let (model, provider) = (Some("m".to_owned()), Some("p".to_owned()));
    Message {
        parts,
        metadata: MessageMetadata { model, provider, ..MessageMetadata::default() },
        ..Message::assistant("")
    }
}

fn thoughts(context: &Context) -> usize {
    let is_thought = |part: &&MessagePart| matches!(part, MessagePart::Reasoning { .. });
    context.messages.iter().flat_map(|message| &message.parts).filter(is_thought).count()
}

#[tokio::test]
async fn another_model_gets_its_own() {
    let twice = Twice::new().await;
    twice.say(Message::user("why?")).await;
    twice.say(thought("because")).await;
    twice.say(Message::user("and?")).await;
    for (model, expected) in [("m", 1), ("n", 0), ("m", 1)] {
        assert_eq!(thoughts(&twice.context(thinks(model)).await), expected, "{model}");
    }
}

#[tokio::test]
async fn what_was_thought_of_a_compacted_conversation_is_not_taken_for_thought_of_the_whole() {
    let twice = Twice::new().await;
    for turn in 0..20 {
        twice.say(Message::user(format!("question {turn}: {}", "word ".repeat(60)))).await;
        twice.say(thought(&format!("answer {turn}"))).await;
    }
    assert_eq!(thoughts(&twice.context(thinks("m")).await), 20);
    twice.chat.compact(CompactionWish::default().down_to(Budget::tokens(1_000))).await.unwrap();
    twice.chat.uncompact().await.unwrap();
    twice.say(Message::user("and now?")).await;
    assert_eq!(thoughts(&twice.context(thinks("m")).await), 0);
}

#[tokio::test]
async fn what_was_thought_of_all_of_a_conversation_does_not_go_with_a_part_of_it() {
    let twice = Twice::new().await;
    for turn in 0..20 {
        twice.say(Message::user(format!("question {turn}: {}", "word ".repeat(20)))).await;
        twice.say(thought(&format!("answer {turn}"))).await;
    }
    twice.say(Message::user("and now?")).await;
    for (budget, is_cut) in [(10_000, false), (500, true)] {
        let context = twice.context(thinks("m").within(Budget::tokens(budget))).await;
        assert_eq!((context.is_cut, thoughts(&context)), (is_cut, if is_cut { 0 } else { 20 }));
    }
}

#[tokio::test]
async fn a_place_in_history_has_the_instructions_of_then() {
    let twice = Twice::new().await;
    twice.chat.instruct(Some("be careful".into())).await.unwrap();
    twice.say(Message::user("why?")).await;
    let then = twice.chat.version().await.unwrap();
    twice.chat.instruct(Some("be quick".into())).await.unwrap();
    for (at, expected) in [(At::Version(then), "be careful"), (At::Now, "be quick"), (At::Version(then), "be careful")]
    {
        let context = twice.context(ContextWish::from(Budget::tokens(1_000)).at(at)).await;
        assert_eq!(context.messages[0].text(), expected);
    }
}

#[tokio::test]
async fn a_message_that_arrives_behind_a_context_is_in_it_as_far_as_it_came() {
    // It fits, or is cut.
    for budget in [10_000, 60] {
        let twice = Twice::new().await;
        twice.say(Message::user("go")).await;
        twice.context(Budget::tokens(budget)).await;
        let mut stream = twice.chat.begin(Message { parts: Vec::new(), ..Message::assistant("") }).await.unwrap();
        for _ in 0..3 {
            stream.push_text(&"word ".repeat(300)).await.unwrap();
            stream.flush().await.unwrap();
            twice.context(Budget::tokens(budget)).await;
        }
        stream.finish(None).await.unwrap();
        let whole = twice.context(Budget::tokens(budget)).await;
        assert_eq!(whole.is_cut, budget == 60);
        twice.say(Message::user("and now?")).await;
        twice.context(Budget::tokens(budget)).await;
    }
}

#[tokio::test]
async fn what_is_pinned_stands_there_once() {
    let twice = Twice::new().await;
    let rule = twice.chat.append(Message::system("be careful")).await.unwrap();
    let call = Message::assistant("I look").with(MessagePart::tool_call("a", "read", "{}").unwrap());
    let call = twice.chat.append(call).await.unwrap();
    let result = twice.chat.append(Message::tool_result("a", "found")).await.unwrap();
    for receipt in [rule, call, result] {
        twice.chat.pin(receipt.message, true).await.unwrap();
    }
    for turn in 0..20 {
        twice.say(Message::user(format!("question {turn}: {}", "word ".repeat(12)))).await;
        let context = twice.context(Budget::tokens(200)).await;
        let standing = context.messages.iter().filter(|message| message.part != ContextPart::Turn);
        let mut seqs: Vec<u64> = standing.filter_map(|message| message.seq).collect();
        seqs.dedup();
        let own = [rule.seq, call.seq, result.seq];
        assert!(seqs.iter().all(|seq| own.contains(seq)) && seqs.len() <= 3, "{seqs:?}");
        let again = |seq| context.messages.iter().filter(|message| message.seq == Some(seq)).count();
        assert_eq!(own.map(again), [1; 3]);
    }
}

#[tokio::test]
async fn a_context_that_goes_on_reads_what_is_new_and_no_more() {
    let store = FaultyStore::over(Arc::new(MemoryStore::pretending(Durability::Disk)));
    let sessions: SessionManager = manager(store.clone());
    let chat = sessions.create(NewSession::default()).await.unwrap();
    for turn in 0..300 {
        chat.append(Message::user(format!("question {turn}"))).await.unwrap();
    }
    let reads = async || {
        let before = store.calls(Call::Read);
        chat.context(Budget::tokens(100_000)).await.unwrap();
        store.calls(Call::Read) - before
    };
    let anew = reads().await;
    chat.append(Message::user("one more")).await.unwrap();
    let (more, again) = (reads().await, reads().await);
    assert!(anew > 4 && more <= 2 && again == 0, "{anew} {more} {again}");
}

#[tokio::test]
async fn what_is_counted_by_rule_of_thumb_is_told_as_an_estimate() {
    for (sessions, is_exact) in [(manager(MemoryStore::new()), false), (Asked::default().manager(), true)] {
        let chat = sessions.create(NewSession::default()).await.unwrap();
        chat.append(Message::user("why?")).await.unwrap();
        for form in [Form::Neutral, Form::OpenAi, Form::Anthropic] {
            let wish = ContextWish::from(Budget::tokens(1_000)).in_form(form);
            assert_eq!(chat.context(wish).await.unwrap().is_exact(), is_exact, "{form:?}");
        }
    }
}
