//! What compactions are asked for and what they are asked with: who reads what, when one is due, and what is refused on the way.
//!
//! Must not know: what a good summary says.

use std::sync::{Arc, Mutex, atomic::Ordering};

use async_trait::async_trait;
use sessions_app::{CompactionRefused, CompactionWish, Extractive, NewSession, Session, SessionError, TurnNote};
use sessions_domain::{
    Message, MessagePart, MessageRole, RuleViolation, SessionSettings, TokenUsage, ToolContent,
    compaction::{CallOutcome, CallPurpose, CompactionPolicy, Plan},
    context::Budget,
    decide::Draft,
    form::Form,
    profile::ModelProfile,
    turn::StopReason,
};
use sessions_infra::{MemoryStore, providers::Answer};
use sessions_ports::{ModelError, ModelStop, Summarizer, Summary, SummaryFailure, SummaryWish};

use crate::{
    compaction::{Says, Wordy, hardly, long, whole},
    ground::manager,
    turns::{SUMMARY, compacting, full, says},
};

/// Does something with the session while it is to write a summary, and keeps what it was given.
struct Meanwhile {
    chat: Session,
    does: fn(Session) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
    read: Mutex<Vec<Message>>,
}

#[async_trait]
impl Summarizer for Meanwhile {
    fn name(&self) -> &str {
        "meanwhile"
    }

    async fn summarize(&self, wish: &SummaryWish) -> Result<Summary, SummaryFailure> {
        *self.read.lock().unwrap() = wish.messages.to_vec();
        (self.does)(self.chat.clone()).await;
        Ok(Summary { text: "Goal: go on".to_owned(), model: None, calls: Vec::new() })
    }
}

fn down_to(tokens: u64) -> CompactionWish {
    CompactionWish::default().down_to(Budget::tokens(tokens))
}

#[tokio::test]
async fn a_summary_is_of_what_it_covers_without_reasoning_and_with_short_results() {
    let chat = manager(MemoryStore::new()).create(NewSession::default()).await.unwrap();
    for turn in 0..20 {
        let call = MessagePart::tool_call("c", "read", "{}").unwrap();
        let thought = MessagePart::Reasoning { text: "hm".into(), signature: None };
        let asks = Message { parts: vec![thought, call], ..Message::assistant("") };
        for message in
            [Message::user(format!("question {turn}")), asks, Message::tool_result("c", "found ".repeat(1_000))]
        {
            chat.append(message).await.unwrap();
        }
    }
    let reads = Arc::new(Meanwhile { chat: chat.clone(), does: |_| Box::pin(async {}), read: Mutex::default() });
    let report = chat.compact(down_to(2_000).with(reads.clone())).await.unwrap();
    let Plan::Summarise { to } = report.plan else { panic!("{report:?}") };
    let read = reads.read.lock().unwrap().clone();
    let all = chat.last(100).await.unwrap();
    let covered: Vec<_> = all.iter().filter(|stored| stored.seq <= to).map(|stored| stored.message.role).collect();
    assert_eq!(read.iter().map(|message| message.role).collect::<Vec<_>>(), covered);
    assert!(read.iter().all(|message| !message.parts.iter().any(|part| matches!(part, MessagePart::Reasoning { .. }))));
    for result in read.iter().flat_map(|message| message.results()) {
        let ToolContent::Text(text) = &result.content else { panic!("a text") };
        assert!(text.len() < 2_200 && text.contains("left out here"), "{}", text.len());
    }
}

#[tokio::test]
async fn what_fits_already_is_left_alone_to_the_token() {
    let chat = long(&manager(MemoryStore::new())).await;
    let tokens = whole(&chat).await.tokens;
    let refused = chat.compact(down_to(tokens)).await;
    assert!(matches!(refused, Err(SessionError::Compaction(CompactionRefused::Nothing))), "{refused:?}");
    chat.compact(down_to(tokens - 1)).await.unwrap();
}

#[tokio::test]
async fn results_that_were_shortened_stay_so_beside_a_summary_and_weigh_what_they_are_shown_as() {
    let chat = manager(MemoryStore::new()).create(NewSession::default()).await.unwrap();
    for turn in 0..30 {
        let call = MessagePart::tool_call("c", "read", "{}").unwrap();
        chat.append(Message::user(format!("question {turn}"))).await.unwrap();
        chat.append(Message { parts: vec![call], ..Message::assistant("") }).await.unwrap();
        chat.append(Message::tool_result("c", "found ".repeat(170))).await.unwrap();
    }
    let shortened = chat.compact(down_to(5_600)).await.unwrap();
    let Plan::Shorten { to } = shortened.plan else { panic!("{shortened:?}") };
    let policy = CompactionPolicy { tail_percent: 60, ..CompactionPolicy::default() };
    let report = chat.compact(down_to(3_500).by_policy(policy)).await.unwrap();
    let context = whole(&chat).await;
    assert_eq!((report.before, report.after), (shortened.after, context.tokens));
    let is_short = |text: &str| text.contains("bytes are left out here");
    let results = context.messages.iter().filter(|message| message.role == MessageRole::Tool);
    let short: Vec<bool> = results
        .clone()
        .map(|message| {
            let is_short =
                message.results().any(|result| matches!(&result.content, ToolContent::Text(text) if is_short(text)));
            assert_eq!(is_short, message.seq.is_some_and(|seq| seq <= to));
            is_short
        })
        .collect();
    assert!(context.summary.is_some() && short.iter().filter(|is_short| **is_short).count() > 3, "{short:?}");
}

#[tokio::test]
async fn what_is_not_visible_any_more_is_not_covered() {
    let chat = long(&manager(MemoryStore::new())).await;
    let does = |chat: Session| -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            chat.clear().await.unwrap();
        })
    };
    let clears = Meanwhile { chat: chat.clone(), does, read: Mutex::default() };
    let outdated = chat.compact(down_to(400).with(Arc::new(clears))).await;
    assert!(matches!(outdated, Err(SessionError::Rule(RuleViolation::CompactionOutdated))), "{outdated:?}");
    assert_eq!((whole(&chat).await.messages.len(), chat.uncompact().await.is_err()), (0, true));
}

async fn at_most(chat: &Session, tokens: u64) {
    let settings = SessionSettings { max_context_tokens: Some(tokens), ..SessionSettings::default() };
    chat.update(move |draft: &mut Draft| draft.metadata.settings = settings.clone()).await.unwrap();
}

#[tokio::test]
async fn a_context_that_leaves_turns_out_is_due_however_little_is_left_of_it() {
    let chat = manager(MemoryStore::new()).create(NewSession::default()).await.unwrap();
    for words in [100, 900, 100] {
        chat.append(Message::user("word ".repeat(words))).await.unwrap();
    }
    at_most(&chat, 1_000).await;
    let sent = chat.context(Budget::tokens(1_000)).await.unwrap();
    assert!(sent.is_cut && sent.tokens < 700, "{}", sent.tokens);
    let asked = Wordy::default();
    chat.compact_if_due(CompactionWish::default().with(Arc::new(asked.clone()))).await.unwrap().expect("it is due");
    assert_eq!(asked.0.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn what_won_too_little_says_nothing_of_another_target_another_model_or_what_came_of_it() {
    let chat = long(&manager(MemoryStore::new())).await;
    let tokens = whole(&chat).await.tokens;
    at_most(&chat, tokens + 10).await;
    let asked = Wordy::default();
    let wish = |target| down_to(target).with(Arc::new(asked.clone()));
    let local = Arc::new(ModelProfile::of("m", "p", Form::OpenAi, 2 * tokens));
    for (wish, times) in [
        (wish(400), 1),
        (wish(500), 2),
        (wish(500).for_profile(Arc::clone(&local)), 3),
        (wish(500).for_profile(Arc::new(ModelProfile { name: "n".into(), ..ModelProfile::clone(&local) })), 4),
    ] {
        let policy = hardly(&chat, &wish).await;
        let wish = wish.by_policy(policy);
        assert!(chat.compact_if_due(wish.clone()).await.is_err(), "{times}");
        assert_eq!(chat.compact_if_due(wish).await.unwrap(), None);
        assert_eq!(asked.0.load(Ordering::Relaxed), times);
    }
    // What was shortened since makes another conversation of it.
    chat.compact(down_to(tokens - 300)).await.unwrap();
    chat.append(Message::user("and now?")).await.unwrap();
    at_most(&chat, whole(&chat).await.tokens).await;
    let policy = hardly(&chat, &wish(500)).await;
    assert!(chat.compact_if_due(wish(500).by_policy(policy)).await.is_err());
    assert_eq!(asked.0.load(Ordering::Relaxed), 5);
}

/// What a turn noted of its compaction, and the calls for it.
async fn compacted(answers: Vec<Answer>) -> (Option<String>, Vec<(CallOutcome, TokenUsage, bool)>) {
    let (agent, _) = compacting(answers);
    let (_, chat) = full().await;
    let outcome = chat.send_message(&agent, Message::user("and now?")).await.unwrap();
    assert_eq!((outcome.text.as_str(), outcome.stop_reason), ("Green.", StopReason::EndTurn));
    let by = outcome.notes.iter().find_map(|note| match note {
        TurnNote::Compacted(report) => report.by.clone(),
        _ => None,
    });
    let calls = chat.calls(0).await.unwrap().0.into_iter().map(|call| call.spent);
    let calls = calls.filter(|spent| spent.purpose == CallPurpose::Compaction);
    (by, calls.map(|spent| (spent.outcome, spent.usage, spent.estimated)).collect())
}

#[tokio::test]
async fn each_call_for_a_summary_is_told_as_it_went() {
    use CallOutcome::{Failed, Rejected, Taken};
    let usage = |input| TokenUsage { input, output: 9, ..TokenUsage::default() };
    let soon = ModelError::Overloaded { retry_after: Some(std::time::Duration::from_millis(1)) };
    // The beginning of the conversation is summarised first, and then the rest on top of it.
    let first = || says(SUMMARY).usage(usage(1));
    let (by, calls) = compacted(vec![
        first().stop(ModelStop::MaxTokens, "length"),
        first(),
        Answer::new().used(usage(2)).text("## Go").fails(soon),
        says(SUMMARY).usage(usage(3)),
        says("Green."),
    ])
    .await;
    assert_eq!(by.as_deref(), Some("model"));
    let expected =
        [(Rejected, usage(1), false), (Taken, usage(1), false), (Failed, usage(2), false), (Taken, usage(3), false)];
    assert_eq!(calls, expected, "one that was cut is not taken though it has all headings");

    let (by, calls) = compacted(vec![says(SUMMARY), says(SUMMARY), says("Green.")]).await;
    assert_eq!(by.as_deref(), Some("model"));
    assert!(
        calls.iter().all(|(_, usage, estimated)| *estimated && usage.input > 1_000 && usage.output > 10),
        "{calls:?}"
    );

    // Nobody reads a summary that is larger than any may be to its end.
    let endless = (0..3).fold(says(SUMMARY), |answer, _| answer.text("x".repeat(1 << 19)));
    let (by, calls) = compacted(vec![endless.usage(usage(4)), says("Green.")]).await;
    assert_eq!(by.as_deref(), Some("extractive"));
    assert!(matches!(calls[..], [(Failed, _, true)]), "what came of it was paid for: {calls:?}");
}

#[tokio::test]
async fn that_a_turn_could_not_compact_is_noted_and_it_goes_on() {
    let (agent, _) = compacting([says("Green.")]);
    let (_, chat) = full().await;
    let does = |chat: Session| -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            chat.compact(down_to(9_000).with(Arc::new(Extractive))).await.unwrap();
        })
    };
    let overtaken = Arc::new(Meanwhile { chat: chat.clone(), does, read: Mutex::default() });
    let outcome = chat.send_message(&agent.summarizer(overtaken), Message::user("and now?")).await.unwrap();
    assert_eq!((outcome.text.as_str(), outcome.stop_reason), ("Green.", StopReason::EndTurn));
    let is_noted = outcome.notes.iter().any(|note| matches!(note, TurnNote::NotCompacted { why } if !why.is_empty()));
    assert!(is_noted, "{:?}", outcome.notes);
}

#[tokio::test]
async fn who_says_nothing_of_a_summarizer_gets_one_without_a_model() {
    let chat = long(&manager(MemoryStore::new())).await;
    let report = chat.compact(down_to(400)).await.unwrap();
    assert_eq!((report.by.as_deref(), report.calls.len()), (Some("extractive"), 0));
    let other = chat.compact(down_to(200).with(Arc::new(Says(Err("no"))))).await;
    assert!(matches!(other, Err(SessionError::Compaction(_))), "{other:?}");
}

#[tokio::test]
async fn what_came_too_late_is_covered_and_no_part_of_what_is_summarised() {
    let chat = manager(MemoryStore::new()).create(NewSession::default()).await.unwrap();
    for turn in 0..20 {
        let call = MessagePart::tool_call(format!("c{turn}"), "read", "{}").unwrap();
        for message in [
            Message::user(format!("question {turn}: what is in it?")),
            Message { parts: vec![call], ..Message::assistant("") },
            Message::user("never mind, tell me what you know"),
            Message::tool_result(format!("c{turn}"), "came too late"),
            Message::assistant(format!("answer {turn}: nothing that would help.")),
        ] {
            chat.append(message).await.unwrap();
        }
    }
    let reads = Arc::new(Meanwhile { chat: chat.clone(), does: |_| Box::pin(async {}), read: Mutex::default() });
    let report = chat.compact(down_to(400).with(reads.clone())).await.unwrap();
    let all = chat.last(usize::MAX).await.unwrap();
    let covered: Vec<_> = all.iter().filter(|stored| stored.covered_by == report.compaction).collect();
    assert_eq!(covered.len() as u64, report.covers);
    let late = covered.iter().filter(|stored| stored.late).count();
    let read = reads.read.lock().unwrap().clone();
    assert!(late > 5 && read.len() + late == covered.len(), "{late} of {}, {} are read", covered.len(), read.len());
    assert!(read.iter().all(|message| message.results().next().is_none()));
    assert!(chat.check_summary(report.compaction.unwrap()).await.unwrap());
}

#[tokio::test]
async fn what_is_pinned_takes_its_part_of_what_is_left() {
    let chat = long(&manager(MemoryStore::new())).await;
    let planned = async || chat.plan_compaction(down_to(1_200)).await.unwrap().covers;
    let before = planned().await;
    let all = chat.last(usize::MAX).await.unwrap();
    for result in all.iter().filter(|stored| stored.role == MessageRole::Tool).take(2) {
        chat.pin(result.id, true).await.unwrap();
    }
    assert!(before > 0 && planned().await > before, "less of the newest is kept");
}
