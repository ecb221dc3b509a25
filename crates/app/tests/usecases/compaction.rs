//! Compaction: a model is shown less, nothing is lost, and it can be taken away.
//!
//! Must not know: what a good summary says.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use sessions_app::{
    At, CompactionRefused, CompactionReport, CompactionWish, ContextWish, EntryKind, MessageRange, NewSession, Session,
    SessionError, SessionManager,
};
use sessions_domain::{
    Actor, Event, Message, MessagePart, Moment, RuleViolation, Stamp, TokenUsage, codec,
    compaction::{CallOutcome, CallPurpose, Compacted, CompactionPolicy, Covers, Plan, Spent},
    context::{Budget, Context, ContextPart},
    form::Form,
    profile::ModelProfile,
};
use sessions_infra::MemoryStore;
use sessions_ports::{
    Commit, Durability, Expected, Record, RowChange, SessionLog, Summarizer, Summary, SummaryFailure, SummaryWish,
};

use crate::ground::manager;

/// A summarizer that says what it is told to.
pub(crate) struct Says(pub(crate) Result<&'static str, &'static str>);

pub(crate) fn call() -> Spent {
    Spent {
        purpose: CallPurpose::Compaction,
        outcome: CallOutcome::Taken,
        provider: Some("p".into()),
        model: Some("m".into()),
        asked: None,
        usage: TokenUsage { input: 1_000, output: 50, ..TokenUsage::default() },
        estimated: false,
        cost: None,
        request_id: None,
    }
}

#[async_trait]
impl Summarizer for Says {
    fn name(&self) -> &str {
        "says"
    }

    async fn summarize(&self, wish: &SummaryWish) -> Result<Summary, SummaryFailure> {
        tokio::task::yield_now().await;
        let calls = vec![call()];
        match self.0 {
            Ok("as it was") => {
                let text = wish.messages.iter().map(Message::text).collect();
                Ok(Summary { text, model: None, calls })
            }
            Ok(text) => Ok(Summary { text: text.to_owned(), model: Some("m".into()), calls }),
            Err(what) => Err(SummaryFailure { what: what.to_owned(), calls, is_transient: true }),
        }
    }
}

fn saying(says: Result<&'static str, &'static str>) -> CompactionWish {
    CompactionWish::default().down_to(Budget::tokens(400)).with(Arc::new(Says(says)))
}

/// A conversation of many turns, some with results of tools.
pub(crate) async fn long(sessions: &SessionManager) -> Session {
    let chat = sessions.create(NewSession::default()).await.unwrap();
    chat.append(Message::system("be careful")).await.unwrap();
    for turn in 0..30 {
        chat.append(Message::user(format!("question {turn}: why is the build of part {turn} red?"))).await.unwrap();
        if turn % 3 == 0 {
            let call = MessagePart::tool_call(format!("c{turn}"), "read", r#"{"path":"src/lib.rs"}"#).unwrap();
            chat.append(Message::assistant("I look.").with(call)).await.unwrap();
            chat.append(Message::tool_result(format!("c{turn}"), "fn main() {}\n".repeat(80))).await.unwrap();
        }
        chat.append(Message::assistant(format!("answer {turn}: an import is missing, I added it."))).await.unwrap();
    }
    chat
}

/// The context in each form, as bytes.
async fn sent(chat: &Session) -> Vec<String> {
    let mut sent = Vec::new();
    for form in [Form::Neutral, Form::OpenAi, Form::Anthropic] {
        let wish = ContextWish::from(Budget::tokens(u64::MAX)).in_form(form);
        let context = chat.context(wish).await.unwrap();
        sent.push(serde_json::to_string(&context).unwrap());
        sent.push(serde_json::to_string(&context.body().unwrap()).unwrap());
    }
    sent
}

pub(crate) async fn whole(chat: &Session) -> Context {
    chat.context(Budget::tokens(u64::MAX)).await.unwrap()
}

#[tokio::test]
async fn a_compaction_fits_says_what_it_did_and_can_be_taken_away() {
    let chat = long(&manager(MemoryStore::new())).await;
    let (before, all) = (sent(&chat).await, chat.messages().await.unwrap().next_page().await.unwrap());
    let (then, version) = (whole(&chat).await, chat.version().await.unwrap());
    let planned = chat.plan_compaction(saying(Ok("Goal"))).await.unwrap();
    assert_eq!((planned.version, planned.before), (None, whole(&chat).await.tokens));
    assert_eq!(sent(&chat).await, before, "a plan changes nothing");

    let report = chat.compact(CompactionWish::default().down_to(Budget::tokens(400))).await.unwrap();
    let context = whole(&chat).await;
    assert_eq!((report.before, report.after), (planned.before, context.tokens));
    assert!(report.after <= 400 && planned.after >= report.after, "{report:?}");
    assert_eq!((report.plan, report.covers), (planned.plan, planned.covers));
    let parts: Vec<ContextPart> = context.messages.iter().map(|message| message.part).take(3).collect();
    assert_eq!(parts, [ContextPart::Instructions, ContextPart::Summary, ContextPart::Turn]);
    assert_eq!(context.messages[2].role, sessions_domain::MessageRole::User);
    let summary = context.messages[1].text();
    assert!(summary.contains("question 0: why is the build") && summary.contains("src/lib.rs"), "{summary}");
    let now = chat.messages().await.unwrap().next_page().await.unwrap();
    let texts = |page: &Option<Vec<sessions_domain::StoredMessage>>| {
        page.iter().flatten().map(|stored| (stored.seq, stored.message.clone())).collect::<Vec<_>>()
    };
    assert_eq!(texts(&now), texts(&all), "nothing of the conversation is gone");
    let covered = now.unwrap().iter().filter(|stored| stored.covered_by == report.compaction).count() as u64;
    assert_eq!(covered, report.covers);
    let (range, last) = (chat.read(MessageRange::oldest_first()).await.unwrap(), chat.last(usize::MAX).await.unwrap());
    assert!(range.messages == last && last.iter().any(|stored| stored.covered_by.is_some()), "however it is read");

    let past = ContextWish::from(Budget::tokens(u64::MAX)).at(At::Version(version));
    assert_eq!(chat.context(past).await.unwrap(), then, "as it was before");

    assert!(chat.check_summary(report.compaction.unwrap()).await.unwrap());
    chat.uncompact().await.unwrap();
    assert_eq!(sent(&chat).await, before, "byte for byte");
    let again = chat.uncompact().await;
    assert!(matches!(again, Err(SessionError::Rule(RuleViolation::NotCompacted))));
}

#[tokio::test]
async fn old_results_are_shown_shortened_where_that_is_enough() {
    let chat = long(&manager(MemoryStore::new())).await;
    let before = sent(&chat).await;
    let report = chat.compact(CompactionWish::default().down_to(Budget::tokens(3_400))).await.unwrap();
    assert!(matches!(report.plan, Plan::Shorten { .. }), "{report:?}");
    let context = whole(&chat).await;
    assert_eq!((context.tokens, context.summary), (report.after, None));
    assert!(report.after <= 3_400);
    assert!(serde_json::to_string(&context).unwrap().contains("bytes are left out here; message"));
    // Then a summary, which the first does not hinder.
    let report = chat.compact(CompactionWish::default().down_to(Budget::tokens(400))).await.unwrap();
    assert!(matches!(report.plan, Plan::Summarise { .. }) && whole(&chat).await.tokens == report.after);
    chat.uncompact().await.unwrap();
    chat.uncompact().await.unwrap();
    assert_eq!(sent(&chat).await, before);
}

#[tokio::test]
async fn a_context_of_what_it_was_brought_down_to_holds_all_that_is_left() {
    let chat = long(&manager(MemoryStore::new())).await;
    let (mut plans, tokens) = ([0; 2], whole(&chat).await.tokens);
    for target in (300..tokens).step_by(29) {
        let target = Budget::tokens(target);
        for form in [Form::Neutral, Form::OpenAi, Form::Anthropic] {
            let profile = Arc::new(ModelProfile::of("m", "p", form, u64::MAX));
            let fork = chat.fork(At::Now).await.unwrap();
            let wish = CompactionWish::default().for_profile(Arc::clone(&profile)).down_to(target);
            let report = match fork.compact(wish).await {
                Err(SessionError::Compaction(_)) => continue,
                report => report.unwrap(),
            };
            if report.is_missed() {
                continue;
            }
            plans[usize::from(matches!(report.plan, Plan::Summarise { .. }))] += 1;
            let context = fork.context(ContextWish::for_profile(profile).within(target)).await.unwrap();
            assert!(!context.is_cut, "{target:?} {form:?} {report:?}: {}", context.tokens);
        }
    }
    assert!(plans.iter().all(|plans| *plans > 20), "{plans:?}");
}

#[tokio::test]
async fn what_fails_or_wins_nothing_changes_nothing_but_the_ledger() {
    let chat = long(&manager(MemoryStore::new())).await;
    let before = sent(&chat).await;
    for (says, outcome) in [
        (Err("the model is overloaded"), CallOutcome::Failed),
        (Ok(" \n"), CallOutcome::Rejected),
        (Ok("as it was"), CallOutcome::Rejected),
    ] {
        let refused = chat.compact(saying(says)).await;
        let Err(SessionError::Compaction(refused)) = refused else { panic!("{says:?}: {refused:?}") };
        match says {
            Err(_) => assert!(matches!(refused, CompactionRefused::Failed { is_transient: true, .. })),
            Ok("as it was") => assert!(matches!(refused, CompactionRefused::TooLong { .. })),
            Ok(_) => assert_eq!(refused, CompactionRefused::Blank),
        }
        assert_eq!(sent(&chat).await, before);
        let version = chat.version().await.unwrap();
        let last = chat.entries(version).await.unwrap().pop().unwrap().what;
        let EntryKind::Event(Event::Spent(spent)) = last else { panic!("{last:?}") };
        assert_eq!(*spent, Spent { outcome, ..call() });
    }
    // A summary within its bounds that wins too little.
    let wish = CompactionWish::default().down_to(Budget::tokens(400)).with(Arc::new(Wordy::default()));
    let refused = chat.compact(wish.clone().by_policy(hardly(&chat, &wish).await)).await;
    assert!(matches!(refused, Err(SessionError::Compaction(CompactionRefused::NotSmaller { .. }))), "{refused:?}");
    assert_eq!(sent(&chat).await, before);
}

#[tokio::test]
async fn a_short_conversation_is_left_alone() {
    let sessions = manager(MemoryStore::new());
    let chat = sessions.create(NewSession::default()).await.unwrap();
    for wish in [CompactionWish::default(), saying(Ok("x"))] {
        let refused = chat.compact(wish).await;
        assert!(matches!(refused, Err(SessionError::Compaction(CompactionRefused::Nothing))));
        chat.append(Message::user("hi")).await.unwrap();
    }
}

#[tokio::test]
async fn of_many_who_compact_at_once_one_wins() {
    let store = MemoryStore::new();
    let sessions = manager(store.clone());
    let chat = long(&sessions).await;
    let others: Vec<SessionManager> = (0..4).map(|_| manager(store.clone())).collect();
    let mut racing = Vec::new();
    for at in 0..8 {
        let session = match at % 2 {
            0 => chat.clone(),
            _ => others[at / 2].load(chat.id()).await.unwrap(),
        };
        racing.push(tokio::spawn(async move { session.compact(saying(Ok("Goal: go on"))).await }));
    }
    let (mut won, mut outdated) = (0, 0);
    for race in racing {
        match race.await.unwrap() {
            Ok(report) => won += u64::from(report.after < report.before),
            Err(SessionError::Rule(RuleViolation::CompactionOutdated)) => outdated += 1,
            // Whoever looked after the winner finds nothing left to do.
            Err(SessionError::Compaction(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(won, 1);
    let entries = chat.entries(1).await.unwrap();
    let is = |entry: &&sessions_app::Entry, kind: fn(&Event) -> bool| matches!(&entry.what, EntryKind::Event(event) if kind(event));
    assert_eq!(entries.iter().filter(|entry| is(entry, |event| matches!(event, Event::Compacted(_)))).count(), 1);
    let spent = entries.iter().filter(|entry| is(entry, |event| matches!(event, Event::Spent(_)))).count();
    assert!(spent >= outdated, "what was spent for nothing is in the ledger: {spent} of {outdated}");
}

#[tokio::test]
async fn the_next_summary_carries_on_the_one_before_and_a_fork_has_both() {
    let sessions = manager(MemoryStore::new());
    let chat = long(&sessions).await;
    let first = chat.compact(CompactionWish::default().down_to(Budget::tokens(500))).await.unwrap();
    for turn in 30..60 {
        chat.append(Message::user(format!("question {turn}: and part {turn}?"))).await.unwrap();
        chat.append(Message::assistant(format!("answer {turn}: done as well."))).await.unwrap();
    }
    let second = chat.compact(CompactionWish::default().down_to(Budget::tokens(500))).await.unwrap();
    assert!(second.covers > first.covers && second.after <= 500);
    let summary = second.summary.clone().unwrap();
    let has_newer = (30..60).any(|turn| summary.contains(&format!("question {turn}:")));
    assert!(summary.contains("question 0") && has_newer, "{summary}");
    for compaction in [first.compaction, second.compaction] {
        assert!(chat.check_summary(compaction.unwrap()).await.unwrap());
    }
    let fork = chat.fork(At::Now).await.unwrap();
    assert_eq!(sent(&fork).await, sent(&chat).await);
    assert!(fork.check_summary(second.compaction.unwrap()).await.unwrap());
    fork.uncompact().await.unwrap();
    assert_eq!(whole(&fork).await.summary, first.compaction, "the fork's own decision");
    assert_eq!(whole(&chat).await.summary, second.compaction);
    let nothing = chat.check_summary(2).await;
    assert!(matches!(nothing, Err(SessionError::UnknownVersion { version: 2, .. })));
}

#[tokio::test]
async fn a_summary_that_does_not_stand_for_what_it_says_is_found() {
    let store = MemoryStore::new();
    let chat = long(&manager(store.clone())).await;
    let made = chat.compact(CompactionWish::default().down_to(Budget::tokens(400))).await.unwrap();
    let view = chat.fresh_view().await.unwrap();
    let EntryKind::Event(Event::Compacted(made)) = chat.entries(made.compaction.unwrap()).await.unwrap().remove(0).what
    else {
        panic!("a compaction")
    };
    let covers = made.covers.clone().unwrap();
    // Another digit, whichever there is.
    let other_digit = if covers.digest.starts_with('0') { '1' } else { '0' };
    let digest = format!("{other_digit}{}", &covers.digest[1..]);
    let compaction = chat.entries(1).await.unwrap().iter().find_map(|entry| match &entry.what {
        EntryKind::Event(Event::Compacted(_)) => Some(entry.seq),
        _ => None,
    });
    let other = [
        (Covers { digest, ..covers.clone() }, false),
        (Covers { stretches: vec![(covers.stretches[0].0, covers.to - 1)], ..covers.clone() }, false),
        (Covers { previous: compaction, ..covers.clone() }, false),
        // What is no summary before it adds nothing to the digest.
        (Covers { previous: Some(covers.to), ..covers }, true),
    ];
    // As somebody writes it who has the store and no better intentions.
    let (mut seq, mut commit) = (view.version(), view.commit());
    for (covers, is_same) in other {
        let event = Event::Compacted(Box::new(Compacted { covers: Some(covers), ..(*made).clone() }));
        let stamp = Stamp { at: Moment::from_millis(1), actor: Actor::default() };
        let (body, before) = (codec::encode(&event, &stamp).unwrap(), (seq, commit));
        seq += 1;
        commit = commit.next(view.lineage(), seq, event.kind(), &[7; 32], &body);
        let payload = [&[7; 32][..], &body].concat().into();
        let record = Record { seq, kind: event.kind(), commit, label: 0, payload };
        let row = RowChange { updated: stamp.at, messages: view.depth(), words: None };
        let written = Commit {
            session: chat.id(),
            expected: Expected::Behind { version: before.0, commit: before.1 },
            records: vec![record],
            row,
            key: None,
            claims: Vec::new(),
            links: Vec::new(),
            snapshot: None,
            durability: Durability::Volatile,
        };
        store.commit(written).await.unwrap();
        let says = manager(store.clone()).load(chat.id()).await.unwrap().check_summary(seq).await.unwrap();
        assert_eq!(says, is_same, "{seq}");
    }
}

#[tokio::test]
async fn undo_behind_what_is_covered_shows_it_again() {
    let chat = long(&manager(MemoryStore::new())).await;
    let report = chat.compact(CompactionWish::default().down_to(Budget::tokens(400))).await.unwrap();
    let (compacted, Plan::Summarise { to }) = (sent(&chat).await, report.plan) else { panic!("{report:?}") };
    let mut steps = 0;
    while chat.fresh_view().await.unwrap().head() >= to {
        chat.undo(1).await.unwrap();
        steps += 1;
    }
    let context = whole(&chat).await;
    assert_eq!((context.summary, context.messages[1].text().contains("question 0")), (None, true));
    chat.redo(steps).await.unwrap();
    assert_eq!(sent(&chat).await, compacted);
    chat.clear().await.unwrap();
    assert_eq!(whole(&chat).await.messages.len(), 0);
}

#[tokio::test]
async fn it_is_compacted_when_it_is_due_and_not_again_before_more_is_said() {
    let sessions = manager(MemoryStore::new());
    let chat = long(&sessions).await;
    let tokens = whole(&chat).await.tokens;
    let settings = |max| {
        let settings = sessions_domain::SessionSettings { max_context_tokens: Some(max), ..Default::default() };
        move |draft: &mut sessions_domain::decide::Draft| draft.metadata.settings = settings.clone()
    };
    chat.update(settings(tokens * 2)).await.unwrap();
    assert_eq!(chat.compact_if_due(CompactionWish::default()).await.unwrap(), None);
    chat.update(settings(tokens)).await.unwrap();
    let report = chat.compact_if_due(CompactionWish::default()).await.unwrap().expect("it is due");
    assert!(report.after <= tokens / 2 && report.before == tokens, "{report:?}");
    assert_eq!(chat.compact_if_due(CompactionWish::default()).await.unwrap(), None);
    chat.update(settings(report.after)).await.unwrap();
    assert_eq!(chat.compact_if_due(CompactionWish::default()).await.unwrap(), None, "nothing was said since");
}

/// A summarizer that wins too little, and counts how often it is asked.
#[derive(Clone, Default)]
pub(crate) struct Wordy(pub(crate) Arc<AtomicU64>);

#[async_trait]
impl Summarizer for Wordy {
    fn name(&self) -> &str {
        "wordy"
    }

    async fn summarize(&self, wish: &SummaryWish) -> Result<Summary, SummaryFailure> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let mut text = String::new();
        while wish.counter.count(&text) < wish.max_tokens {
            text.push_str("Goal: go on. ");
        }
        Ok(Summary { text, model: None, calls: vec![call()] })
    }
}

/// A policy by which a summary of a few words wins enough, and one that is as long as it may be too little.
pub(crate) async fn hardly(chat: &Session, wish: &CompactionWish) -> CompactionPolicy {
    let CompactionReport { before, after, .. } = chat.plan_compaction(wish.clone()).await.unwrap();
    // What a model was asked for is most of `after`, and what it may have beyond that the rest.
    let percent = ((before - (after - 55)) * 100).div_ceil(before);
    CompactionPolicy { gain_percent: u8::try_from(percent).unwrap(), ..CompactionPolicy::default() }
}

#[tokio::test]
async fn what_won_too_little_is_paid_for_again_when_there_is_a_tenth_more() {
    for (share, is_cut) in [(1, false), (2, true)] {
        let chat = long(&manager(MemoryStore::new())).await;
        for _ in 0..40 {
            // The tail is full of what is said below, so that what is left does not change with it.
            chat.append(Message::user("and that?")).await.unwrap();
        }
        let usable = (whole(&chat).await.tokens + 10) / share;
        let settings = sessions_domain::SessionSettings { max_context_tokens: Some(usable), ..Default::default() };
        chat.update(move |draft: &mut sessions_domain::decide::Draft| draft.metadata.settings = settings.clone())
            .await
            .unwrap();
        let asked = Wordy::default();
        let wish = CompactionWish::default().down_to(Budget::tokens(400)).with(Arc::new(asked.clone()));
        let policy = hardly(&chat, &wish).await;
        let wish = || wish.clone().by_policy(policy);
        let tokens = async || chat.context(ContextWish::from(Budget::tokens(u64::MAX)).whole()).await.unwrap().tokens;
        let times = || asked.0.load(Ordering::Relaxed);
        let refused = chat.compact_if_due(wish()).await;
        assert!(matches!(refused, Err(SessionError::Compaction(CompactionRefused::NotSmaller { .. }))), "{refused:?}");
        assert_eq!((whole(&chat).await.is_cut, times()), (is_cut, 1));
        let before = tokens().await;
        let mut grown = before;
        while grown < before + usable / 10 {
            assert_eq!((chat.compact_if_due(wish()).await.unwrap(), times()), (None, 1));
            chat.append(Message::user("and that?")).await.unwrap();
            grown = tokens().await;
        }
        assert!(chat.compact_if_due(wish()).await.is_err());
        assert_eq!(times(), 2);
        assert_eq!((chat.compact_if_due(wish()).await.unwrap(), times()), (None, 2));
        let other = CompactionPolicy { keep_result_bytes: policy.keep_result_bytes + 1, ..policy };
        assert!(chat.compact_if_due(wish().by_policy(other)).await.is_err());
        assert_eq!(times(), 3, "another policy is another matter");
    }
}

#[tokio::test]
async fn instructions_are_stated_once_and_superseded() {
    let sessions = manager(MemoryStore::new());
    let chat = long(&sessions).await;
    let told = async |chat: &Session| {
        let context = whole(chat).await;
        let told = context.messages.iter().filter(|message| message.part == ContextPart::Instructions);
        told.map(|message| message.text()).collect::<Vec<_>>()
    };
    assert_eq!(told(&chat).await, ["be careful"]);
    assert!(chat.instruct(Some("be quick".into())).await.unwrap());
    let version = chat.version().await.unwrap();
    assert!(!chat.instruct(Some("be quick".into())).await.unwrap());
    assert_eq!((chat.version().await.unwrap(), told(&chat).await), (version, vec!["be quick".to_owned()]));
    let fork = chat.fork(At::Now).await.unwrap();
    assert!(chat.instruct(Some(" ".into())).await.unwrap());
    assert_eq!((told(&chat).await.len(), told(&fork).await), (0, vec!["be quick".to_owned()]));
}
