//! What a turn tells: to the model that it asks, to the ledger, to whoever listens; and what it lets go of when it ends.
//!
//! Must not know: how a provider is reached.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use sessions_app::{
    Agent, Append, ByModel, CompactionWish, EntryKind, NewSession, SessionError, SessionManager, Settings, ToolEnd,
    TurnEvent, TurnNote, TurnOutcome, TurnProblem,
};
use sessions_domain::{
    Event, Json, Message, MessageRole, MessageState, Origin, RuntimeState, SessionSettings, TokenUsage,
    compaction::CompactionCause,
    context::Budget,
    form::Form,
    price::{Price, PriceRow, PriceTable},
    profile::ModelProfile,
    turn::StopReason,
};
use sessions_infra::{
    MemoryStore,
    environment::SystemClock,
    providers::{Answer, Gate},
};
use sessions_ports::{
    Clock as _, Durability, GateAnswer, ModelAnswer, ModelError, ModelEvent, ModelEvents, ModelProvider, ModelRequest,
    ModelStop, StoreError, Tool, ToolGate, ToolRun,
};

use sessions_testkit::FaultyStore;

use crate::{
    compaction::long,
    ground::{due, manager, ports, texts},
    turns::{Asked, Does, agent, calls, chat, compacting, ends, full, profile, quick, results, says},
};

/// A provider whose models have names of their own.
struct Names(Mutex<VecDeque<(Option<&'static str>, TokenUsage)>>);

#[async_trait]
impl ModelProvider for Names {
    fn name(&self) -> &str {
        "p"
    }

    async fn call(&self, _: ModelRequest, events: &mut dyn ModelEvents) -> Result<ModelAnswer, ModelError> {
        let (model, usage) = self.0.lock().unwrap().pop_front().unwrap();
        let _ = events.on(ModelEvent::Text("Yes.".into())).await;
        let (raw_stop, request_id) = (Some("stop".to_owned()), Some("req-7".to_owned()));
        let model = model.map(str::to_owned);
        Ok(ModelAnswer { stop: ModelStop::EndTurn, raw_stop, usage: Some(usage), model, request_id })
    }
}

/// A manager that knows what a million tokens of input cost at this provider.
fn priced(prices: &[(&str, &str)]) -> SessionManager {
    let row = |(model, input): &(&str, &str)| PriceRow {
        provider: "p".into(),
        model: (*model).to_owned(),
        aliases: Vec::new(),
        valid_from: None,
        valid_to: None,
        price: Price { input: input.parse().ok(), output: "0".parse().ok(), ..Price::none("USD".parse().unwrap()) },
        source: None,
        noted: None,
    };
    let prices = PriceTable::new(prices.iter().map(row).collect()).unwrap();
    SessionManager::with(ports(MemoryStore::new()), Settings { prices, ..Settings::default() }).unwrap()
}

fn cost(outcome: &TurnOutcome) -> Vec<String> {
    outcome.cost.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn an_answer_costs_what_the_model_that_gave_it_costs_and_is_kept_with_it() {
    let million = TokenUsage { input: 1_000_000, output: 2, ..TokenUsage::default() };
    let sessions = priced(&[("m", "1"), ("m-large", "3")]);
    let chat = sessions.create(NewSession::default()).await.unwrap();
    // The last one is of a model without a price, so that of the one that was asked for counts.
    let answers = [Some("m-large"), None, Some("m-else")].map(|model| (model, million));
    let provider = Arc::new(Names(Mutex::new(answers.into())));
    let agent = Agent::of_profile(provider, Arc::new(ModelProfile::of("m", "p", Form::OpenAi, 1_000_000)));
    for (model, price) in [("m-large", "3.00 USD"), ("m", "1.00 USD"), ("m-else", "1.00 USD")] {
        let outcome = chat.send_message(&agent, Message::user("?")).await.unwrap();
        assert_eq!((cost(&outcome), outcome.usage, outcome.estimated), (vec![price.to_owned()], million, false));
        let last = chat.last(1).await.unwrap().remove(0).metadata.clone();
        assert_eq!((last.model.as_deref(), last.provider.as_deref()), (Some(model), Some("p")));
        assert_eq!((last.cost.as_deref(), last.usage), (Some(price), Some(million)));
        assert_eq!((last.request_id.as_deref(), last.finish_reason.as_deref()), (Some("req-7"), Some("stop")));
        assert!(last.duration_ms.is_some());
    }
    let total = chat.usage().await.unwrap().total;
    assert_eq!((total.calls, total.unpriced, total.cost[0].to_string()), (3, 0, "5.00 USD".to_owned()));
}

#[tokio::test]
async fn what_a_provider_reports_is_held_against_all_that_it_was_sent() {
    let said = || Message::user("words ".repeat(4_000));
    let noted = async |usage: TokenUsage| {
        let (agent, _) = agent([says("Yes.").usage(usage)]);
        let outcome = chat().await.1.send_message(&agent, said()).await.unwrap();
        outcome.notes.into_iter().find_map(|note| match note {
            TurnNote::UsageDiffers { reported, counted } => Some((reported, counted)),
            _ => None,
        })
    };
    let (reported, counted) = noted(TokenUsage { input: 7, ..TokenUsage::default() }).await.expect("it is far less");
    assert!(reported == 7 && counted > 3_000, "{counted}");
    // What a cache had was sent as well.
    for usage in [
        TokenUsage { input: counted, ..TokenUsage::default() },
        TokenUsage { input: 7, cache_read: counted, ..TokenUsage::default() },
        TokenUsage { input: 7, cache_write: counted, ..TokenUsage::default() },
    ] {
        assert_eq!(noted(usage).await, None, "{usage:?}");
    }
}

#[tokio::test]
async fn a_model_is_asked_with_what_its_agent_and_its_profile_say() {
    let (_, chat) = chat().await;
    let (plain, provider) = agent([says("a"), says("b")]);
    chat.send_message(&plain, Message::user("?")).await.unwrap();
    let parameters = Json::parse(r#"{"temperature":0}"#).unwrap();
    let told = plain.max_output(77).parameters(parameters.clone());
    chat.send_message(&told, Message::user("?")).await.unwrap();
    let asked = provider.asked();
    assert_eq!((asked[0].max_output, &asked[0].parameters), (profile().reserved_output, &None));
    assert_eq!((asked[1].max_output, &asked[1].parameters), (77, &Some(parameters)));
    // No more is asked for than the model can say.
    let short = Arc::new(ModelProfile { max_output: Some(50), ..ModelProfile::clone(&profile()) });
    let provider = Arc::new(sessions_infra::providers::ScriptedProvider::new([says("c")]));
    let short = Agent::of_profile(Arc::clone(&provider) as Arc<dyn ModelProvider>, short);
    chat.send_message(&short, Message::user("?")).await.unwrap();
    assert_eq!(provider.asked()[0].max_output, 50);
}

#[tokio::test]
async fn that_older_turns_were_left_out_is_noted_once() {
    let (_, chat) = full().await;
    for n in 0..40 {
        chat.append(Message::user(format!("{n} {}", "words ".repeat(800)))).await.unwrap();
    }
    let (agent, provider) = agent([calls("a", "do", "{}"), says("Done.")]);
    let outcome = chat.send_message(&agent.tool(Arc::new(Does::named("do"))), Message::user("go")).await.unwrap();
    assert_eq!(provider.asked().len(), 2);
    assert_eq!(outcome.notes.iter().filter(|note| **note == TurnNote::Cut).count(), 1, "{:?}", outcome.notes);
}

#[tokio::test]
async fn what_was_said_and_answered_is_written_at_the_level_that_was_asked() {
    let store = FaultyStore::over(Arc::new(MemoryStore::pretending(Durability::Disk)));
    let levels: Arc<Mutex<BTreeMap<u64, Durability>>> = Arc::default();
    let seen = Arc::clone(&levels);
    store.watch(move |commit| {
        seen.lock().unwrap().extend(commit.records.iter().map(|record| (record.seq, commit.durability)));
    });
    let chat = manager(store).create(NewSession::default()).await.unwrap();
    let said = || Append::from(Message::user("go"));
    for (said, expected) in [(said(), Durability::Disk), (said().durability(Durability::Process), Durability::Process)]
    {
        let (agent, _) = agent([calls("a", "do", "{}"), says("Done.")]);
        let outcome = chat.send_message(&agent.tool(Arc::new(Does::named("do"))), said).await.unwrap();
        let levels = levels.lock().unwrap();
        let levels: Vec<Durability> = outcome.receipts.iter().map(|receipt| levels[&receipt.version]).collect();
        assert_eq!(levels, [expected, Durability::Disk, Durability::Disk, Durability::Disk]);
    }
}

#[tokio::test]
async fn what_is_allowed_for_good_is_allowed_to_one_tool() {
    let (agent, _) =
        agent([calls("a", "do", "{}"), calls("b", "other", "{}"), calls("c", "do", r#"{"n":1}"#), says("Done.")]);
    let gate = Asked::of([GateAnswer::Always, GateAnswer::NotNow]);
    let agent = agent.tool(Arc::new(Does::named("do"))).tool(Arc::new(Does::named("other"))).gate(gate.clone());
    let outcome = chat().await.1.send_message(&agent, Message::user("go")).await.unwrap();
    assert_eq!(ends(&outcome.steps), [ToolEnd::Done, ToolEnd::Denied, ToolEnd::Done]);
    assert_eq!(gate.1.load(Ordering::SeqCst), 2);
}

/// Somebody who does not answer.
struct Away(Gate);

#[async_trait]
impl ToolGate for Away {
    async fn ask(&self, _: &ToolRun) -> GateAnswer {
        self.0.pass().await;
        GateAnswer::Once
    }
}

#[tokio::test]
async fn a_turn_that_waits_for_leave_can_be_cancelled() {
    let (agent, provider) = agent([calls("a", "do", "{}"), says("Again.")]);
    let (_, chat) = chat().await;
    let gate = Gate::new();
    let agent = agent.tool(Arc::new(Does::named("do"))).gate(Arc::new(Away(gate.clone())));
    let turn = chat.turn(&agent, Message::user("go"));
    due("the question", gate.reached()).await;
    assert!(chat.cancel_turn());
    let outcome = due("the end", turn.outcome()).await.unwrap();
    assert_eq!((outcome.stop_reason, ends(&outcome.steps)), (StopReason::Cancelled, vec![ToolEnd::Ended]));
    assert_eq!((results(&chat).await.len(), provider.asked().len()), (1, 1));
    assert_eq!(chat.send_message(&agent, Message::user("Go on.")).await.unwrap().text, "Again.");
}

#[tokio::test]
async fn what_an_attempt_took_counts_though_nothing_else_came_of_it() {
    let usage = |input| TokenUsage { input, output: 1, ..TokenUsage::default() };
    let gate = Gate::new();
    let soon = ModelError::Overloaded { retry_after: Some(Duration::from_millis(1)) };
    let (agent, _) = agent([
        Answer::new().used(usage(500)).fails(soon),
        Answer::failed(soon),
        Answer::new().wait(&gate).text("Yes.").usage(usage(7)),
    ]);
    let (_, chat) = chat().await;
    let mut turn = chat.turn(&agent, Message::user("?"));
    let mut retries = Vec::new();
    while retries.len() < 2 {
        if let Some(TurnEvent::Retrying { attempt, is_anew, .. }) = due("an event", turn.next_event()).await {
            retries.push((attempt, is_anew));
        }
    }
    assert_eq!(retries, [(2, true), (3, false)]);
    due("the gate", gate.reached()).await;
    assert_eq!(chat.runtime().await.unwrap(), RuntimeState::Busy, "it waits for no other attempt any more");
    gate.open();
    let outcome = due("the end", turn.outcome()).await.unwrap();
    assert_eq!((outcome.text.as_str(), outcome.usage), ("Yes.", usage(7).plus(usage(500))));
    let noted = |note: &TurnNote| if let TurnNote::Retried { attempt, .. } = note { Some(*attempt) } else { None };
    assert_eq!(outcome.notes.iter().filter_map(noted).collect::<Vec<_>>(), [1, 2]);
    let total = chat.usage().await.unwrap().total;
    assert_eq!((total.calls, total.usage), (2, outcome.usage));
}

#[tokio::test]
async fn when_the_next_attempt_is_made_is_told_while_it_is_waited_for() {
    let wait = Duration::from_secs(50);
    let (agent, _) = agent([Answer::failed(ModelError::RateLimited { retry_after: Some(wait) })]);
    let (_, chat) = chat().await;
    let before = SystemClock.now().as_millis();
    let turn = chat.turn(&agent, Message::user("?"));
    let next = due("the state", async {
        loop {
            match chat.runtime().await.unwrap() {
                RuntimeState::Retrying { next, .. } => break next.as_millis(),
                _ => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    assert!((before + 50_000..=SystemClock.now().as_millis() + 50_000).contains(&next), "{before} {next}");
    turn.canceller().cancel();
    due("the end", turn.outcome()).await.unwrap();
}

#[tokio::test]
async fn what_came_of_an_answer_to_what_is_too_long_is_no_part_of_the_conversation() {
    let (agent, provider) = agent([
        says("one"),
        Answer::new().text("half").fails(ModelError::TooLong),
        Answer::failed(ModelError::TooLong),
        says("Again."),
    ]);
    let (_, chat) = chat().await;
    let said = format!("one? {}", "words and words ".repeat(300));
    chat.send_message(&agent, Message::user(said.clone())).await.unwrap();
    // It is asked for less once, and not again and again.
    let outcome = chat.send_message(&agent, Message::user("two?")).await.unwrap();
    assert_eq!((outcome.stop_reason, provider.asked().len()), (StopReason::Error, 3));
    assert_eq!(texts(&chat).await, [&said, "one", "two?", ""]);
    let last = chat.last(1).await.unwrap();
    assert_eq!((last[0].role, last[0].state), (MessageRole::Assistant, MessageState::Failed));
    assert_eq!(chat.branches().await.unwrap().len(), 2, "what came stays, on a branch of its own");
}

#[tokio::test]
async fn why_a_tool_failed_is_bounded_as_its_results_are() {
    let mut tool = Does::named("do");
    tool.conduct.max_output_bytes = 1_000;
    let (agent, _) = agent([calls("a", "do", r#"{"do":"fail long"}"#), says("Done.")]);
    let (_, chat) = chat().await;
    chat.send_message(&agent.tool(Arc::new(tool)), Message::user("go")).await.unwrap();
    let results = results(&chat).await;
    assert!(results[0].1 && results[0].0.len() < 1_200 && results[0].0.contains("were not kept"), "{results:?}");
}

#[tokio::test]
async fn a_tool_that_runs_when_its_turn_ends_is_ended_with_it() {
    let tool = Arc::new(Does::named("do"));
    let (agent, _) = agent([calls("a", "do", r#"{"do":"wait"}"#)]);
    let (_, chat) = chat().await;
    let turn = chat.turn(&agent.tool(Arc::clone(&tool) as Arc<dyn Tool>), Message::user("go"));
    due("the tool", tool.gate.reached()).await;
    assert_eq!(chat.runtime().await.unwrap(), RuntimeState::Busy);
    turn.canceller().cancel();
    due("the end", turn.outcome()).await.unwrap();
    // Nobody has it any more but this test.
    due("the end of the tool", async {
        while Arc::strong_count(&tool) > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_gone_on_with_is_refused_and_the_model_is_asked_once_at_least() {
    let (_, chat) = chat().await;
    let (agent, provider) = agent([says("Yes.")]);
    assert!(matches!(chat.resume_turn(&agent).await, Err(SessionError::NothingToResume)));
    chat.append(Message::system("Be brief.")).await.unwrap();
    assert!(matches!(chat.resume_turn(&agent).await, Err(SessionError::NothingToResume)));
    assert!(provider.asked().is_empty());
    let outcome = chat.send_message_with_iterations(&agent, Message::user("?"), 0).await.unwrap();
    assert_eq!((outcome.stop_reason, outcome.text.as_str()), (StopReason::EndTurn, "Yes."));
}

#[tokio::test]
async fn what_is_too_long_is_compacted_without_asking_the_model_for_a_summary() {
    let (agent, provider) = compacting([Answer::failed(ModelError::TooLong), says("Green.")]);
    let (_, chat) = chat().await;
    for turn in 0..16 {
        chat.append(Message::user(format!("question {turn}: {}", "why is it red? ".repeat(80)))).await.unwrap();
        chat.append(Message::assistant(format!("answer {turn}: {}", "an import is missing. ".repeat(60))))
            .await
            .unwrap();
    }
    let mut turn = chat.turn(&agent, Message::user("and now?"));
    let mut told = None;
    while let Some(event) = due("an event", turn.next_event()).await {
        if let TurnEvent::Compacted(report) = event {
            told = Some(report);
        }
    }
    let outcome = turn.outcome().await.unwrap();
    assert_eq!((outcome.text.as_str(), provider.asked().len()), ("Green.", 2));
    let told = told.expect("whoever listens hears of it");
    assert_eq!((told.by.as_deref(), outcome.notes.len()), (Some("extractive"), 1));
    assert_eq!(outcome.notes[0], TurnNote::Compacted(Box::new(told.clone())));
    let entry = chat.entries(told.compaction.unwrap()).await.unwrap().remove(0).what;
    let EntryKind::Event(Event::Compacted(compacted)) = entry else { panic!("{entry:?}") };
    assert_eq!(compacted.cause, CompactionCause::Overflow);
}

#[tokio::test]
async fn a_turn_takes_no_longer_than_its_agent_and_its_session_say() {
    let sessions = manager(MemoryStore::new());
    let long = Some(Duration::from_secs(3_600));
    for (agents, sessions_own, most) in [
        (long, Some(1), Duration::from_secs(1)),
        (None, Some(1), Duration::from_secs(1)),
        (Some(Duration::from_millis(9)), Some(3_600), Duration::from_millis(9)),
    ] {
        let settings = SessionSettings { max_turn_seconds: sessions_own, ..SessionSettings::default() };
        let new = NewSession::default().origin(Origin { settings, ..Origin::default() });
        let chat = sessions.create(new).await.unwrap();
        let (agent, _) = agent([Answer::new().wait(&Gate::new())]);
        let agent = match agents {
            Some(longest) => agent.deadline(longest),
            None => agent,
        };
        let outcome = due("the end", chat.send_message(&agent, Message::user("?"))).await.unwrap();
        assert_eq!((outcome.stop_reason, outcome.problem), (StopReason::Error, Some(TurnProblem::OutOfTime { most })));
    }
}

#[tokio::test]
async fn a_key_of_a_turn_is_that_of_what_is_said_alone() {
    let (agent, _) = agent([calls("a", "do", "{}"), says("Done.")]);
    let (_, chat) = chat().await;
    let agent = agent.tool(Arc::new(Does::named("do"))).gate(Asked::of([GateAnswer::Always])).instructions("Be brief.");
    let outcome = chat.once("k").send_message(&agent, Message::user("go")).await.unwrap();
    assert_eq!((outcome.text.as_str(), outcome.stop_reason), ("Done.", StopReason::EndTurn));
    assert_eq!((texts(&chat).await.len(), chat.instructions().await.unwrap().as_deref()), (4, Some("Be brief.")));
}

#[tokio::test]
async fn a_part_that_no_answer_has_is_a_broken_answer() {
    let misplaced = Message::tool_result("a", "found").parts.remove(0);
    let (agent, provider) = agent([Answer::new().part(misplaced), says("Better.")]);
    let (_, chat) = chat().await;
    let outcome = chat.send_message(&agent, Message::user("go")).await.unwrap();
    assert_eq!((outcome.text.as_str(), provider.asked().len()), ("Better.", 2));
}

#[tokio::test]
async fn a_tool_that_runs_alone_waits_for_the_one_before_and_keeps_the_next_one_waiting() {
    for (first, second) in [("beside", "alone"), ("alone", "beside")] {
        let tool = |name: &str| {
            let mut tool = Does::named(name);
            tool.conduct.is_concurrent = name == "beside";
            Arc::new(tool)
        };
        let (before, behind) = (tool(first), tool(second));
        let answer = calls("a", first, r#"{"do":"wait"}"#).call("b", second, r#"{"do":"wait"}"#).unwrap();
        let (agent, _) = agent([answer, says("Done.")]);
        let (_, chat) = chat().await;
        let turn = chat.turn(&agent.tool(before.clone()).tool(behind.clone()), Message::user("go"));
        due("the first", before.gate.reached()).await;
        // Whatever can go on by itself has gone on.
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        assert_eq!((before.runs(), behind.runs()), (1, 0), "{first} {second}");
        before.gate.open();
        due("the second", behind.gate.reached()).await;
        assert_eq!(results(&chat).await.len(), 1, "what the first gave is written before");
        behind.gate.open();
        assert_eq!(due("the end", turn.outcome()).await.unwrap().text, "Done.");
    }
}

#[tokio::test]
async fn a_turn_that_runs_is_ended_by_a_shutdown_and_no_other_is_begun() {
    let gate = Gate::new();
    let (agent, provider) = agent([Answer::new().text("It is ").wait(&gate)]);
    let (sessions, chat) = chat().await;
    let other = sessions.create(NewSession::default()).await.unwrap();
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    drop(sessions.spawn(gone));
    let turn = chat.turn(&agent, Message::user("?"));
    due("the gate", gate.reached()).await;
    let ending = tokio::spawn({
        let sessions = sessions.clone();
        async move { sessions.shutdown(Duration::from_secs(3_600)).await }
    });
    let outcome = due("the turn", turn.outcome()).await.unwrap();
    assert_eq!((outcome.stop_reason, outcome.text.as_str()), (StopReason::Cancelled, "It is "));
    assert!(!ending.is_finished());
    let refused = other.send_message(&agent, Message::user("?")).await;
    assert!(matches!(refused, Err(SessionError::Store(StoreError::Closed))), "{refused:?}");
    assert_eq!((texts(&other).await.len(), provider.asked().len()), (0, 1));
    go.send(()).unwrap();
    assert_eq!(due("the shutdown", ending).await.unwrap().unwrap().unfinished, 0);
}

#[tokio::test]
async fn a_summary_by_a_model_that_calls_itself_otherwise_costs_what_was_asked_for_costs() {
    let sessions = priced(&[("m", "3")]);
    let chat = long(&sessions).await;
    let usage = TokenUsage { input: 1_000, output: 1, ..TokenUsage::default() };
    let names = Names(Mutex::new(VecDeque::from([(Some("m-2026"), usage), (None, usage)])));
    let summarizer = ByModel::new(Arc::new(names), profile()).retry(quick());
    let wish = CompactionWish::default().down_to(Budget::tokens(400)).with(Arc::new(summarizer));
    assert!(chat.compact(wish).await.is_err(), "it has no headings");
    let ledger = chat.usage().await.unwrap();
    let names: Vec<Option<&str>> = ledger.models.iter().map(|row| row.model.as_deref()).collect();
    assert_eq!((names, ledger.total.unpriced), (vec![Some("m-2026"), Some("m")], 0));
    let costs: Vec<String> = ledger.total.cost.iter().map(ToString::to_string).collect();
    assert_eq!(costs, ["0.006 USD"]);
}
