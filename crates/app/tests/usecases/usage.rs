//! The ledger: each call of a model once, whatever becomes of what it said.
//!
//! Must not know: published prices.

use std::sync::Arc;

use sessions_app::{At, CompactionWish, ModelCall, NewSession, PricedBy, Session, SessionManager, Settings, Usage};
use sessions_domain::{
    Message, MessageMetadata, TokenUsage,
    context::Budget,
    money::Money,
    price::{Price, PriceRow, PriceTable},
};
use sessions_infra::MemoryStore;
use sessions_testkit::{Call, FaultyStore};

use crate::ground::{manager, ports};

fn answer(text: &str, model: &str, input: u64, cost: Option<&str>) -> Message {
    let usage = Some(TokenUsage { input, output: 10, ..TokenUsage::default() });
    let metadata = MessageMetadata {
        usage,
        model: Some(model.into()),
        provider: Some("p".into()),
        cost: cost.map(str::to_owned),
        ..MessageMetadata::default()
    };
    Message { metadata, ..Message::assistant(text) }
}

fn priced() -> SessionManager {
    priced_by(&["p"])
}

/// A manager that knows what the model `m` costs at these providers.
fn priced_by(providers: &[&str]) -> SessionManager {
    let price = Price { input: "3".parse().ok(), output: "15".parse().ok(), ..Price::none("USD".parse().unwrap()) };
    let row = |provider: &&str| PriceRow {
        provider: (*provider).to_owned(),
        model: "m".into(),
        aliases: Vec::new(),
        valid_from: None,
        valid_to: None,
        price: price.clone(),
        source: None,
        noted: None,
    };
    let settings =
        Settings { prices: PriceTable::new(providers.iter().map(row).collect()).unwrap(), ..Settings::default() };
    SessionManager::with(ports(MemoryStore::new()), settings).unwrap()
}

/// The ledger by somebody who reads the log from its beginning, and by whoever went on from the last time.
async fn both(chat: &Session, other: &SessionManager) -> Usage {
    let usage = chat.usage().await.unwrap();
    assert_eq!(other.load(chat.id()).await.unwrap().usage().await.unwrap(), usage);
    let (mut calls, mut from) = (Vec::new(), Some(0));
    while let Some(next) = from {
        let (page, more) = chat.calls(next).await.unwrap();
        calls.extend(page);
        from = more;
    }
    assert_eq!(calls.len() as u64, usage.total.calls, "{calls:?}");
    let tokens = calls.iter().fold(TokenUsage::default(), |sum, call| sum.plus(call.spent.usage));
    assert_eq!(tokens, usage.total.usage);
    costs_are_those_of_calls(&calls, &usage);
    usage
}

/// What calls cost, one by one, is what they cost in all.
fn costs_are_those_of_calls(calls: &[ModelCall], usage: &Usage) {
    let amounts: Vec<Money> = calls.iter().filter_map(|call| call.priced).map(|priced| priced.amount).collect();
    assert_eq!((calls.len() - amounts.len()) as u64, usage.total.unpriced);
    let sum = amounts.iter().copied().reduce(|sum, amount| sum.checked_add(amount).unwrap());
    assert_eq!(sum.into_iter().collect::<Vec<_>>(), usage.total.cost);
}

#[tokio::test]
async fn undo_compaction_and_forks_neither_lose_nor_double_a_call() {
    let store = MemoryStore::new();
    let (sessions, other) = (manager(store.clone()), manager(store));
    let chat = sessions.create(NewSession::default()).await.unwrap();
    for turn in 0..20 {
        chat.append(Message::user(format!("question {turn} about the build"))).await.unwrap();
        chat.append(answer("an answer of some words", "m", 1_000, None)).await.unwrap();
    }
    assert_eq!(both(&chat, &other).await.total.usage.input, 20_000);
    chat.undo(2).await.unwrap();
    chat.append(answer("another", "n", 500, None)).await.unwrap();
    chat.compact(CompactionWish::default().down_to(Budget::tokens(250))).await.unwrap();
    let usage = both(&chat, &other).await;
    assert_eq!((usage.total.calls, usage.total.usage.input, usage.models.len()), (21, 20_500, 2));
    let fork = chat.fork(At::Now).await.unwrap();
    assert_eq!(both(&fork, &other).await.total.calls, 0, "what it inherits was spent by its parent");
    fork.append(answer("mine", "m", 7, None)).await.unwrap();
    assert_eq!(both(&fork, &other).await.total.usage.input, 7);
    assert_eq!(both(&chat, &other).await.total.calls, 21);
}

#[tokio::test]
async fn a_call_costs_what_was_written_down_or_what_the_table_says() {
    let sessions = priced();
    let chat = sessions.create(NewSession::default()).await.unwrap();
    chat.append(answer("a", "m", 1_000, None)).await.unwrap();
    chat.append(answer("b", "m", 1_000, Some("0.5 USD"))).await.unwrap();
    chat.append(answer("c", "unknown", 1_000, None)).await.unwrap();
    // As a binary number is printed, and as nobody reads it.
    chat.append(answer("d", "unknown", 1_000, Some("0.020599650000000004 USD"))).await.unwrap();
    chat.append(answer("e", "m", 1_000, Some("half a dollar"))).await.unwrap();
    let usage = chat.usage().await.unwrap();
    // Twice 1 000 at 3 a million, and 10 at 15 a million; written down beside it half a dollar and two cents.
    let costs: Vec<String> = usage.total.cost.iter().map(ToString::to_string).collect();
    assert_eq!((costs, usage.total.unpriced), (vec!["0.52689965 USD".to_owned()], 1));
    let (calls, _) = chat.calls(0).await.unwrap();
    costs_are_those_of_calls(&calls, &usage);
    let by: Vec<Option<PricedBy>> = calls.iter().map(|call| call.priced.map(|priced| priced.by)).collect();
    let (written, table) = (Some(PricedBy::Written), Some(PricedBy::Table));
    assert_eq!(by, [table, written, None, written, table]);
}

#[tokio::test]
async fn a_message_that_arrives_bit_by_bit_is_one_call() {
    let store = MemoryStore::new();
    let (sessions, other) = (manager(store.clone()), manager(store));
    let chat = sessions.create(NewSession::default()).await.unwrap();
    chat.append(Message::user("go")).await.unwrap();
    let mut stream = chat.begin(Message { parts: Vec::new(), ..answer("", "m", 5, None) }).await.unwrap();
    assert_eq!(both(&chat, &other).await.total.calls, 0);
    stream.push_text("words").await.unwrap();
    stream.finish(Some(answer("", "m", 50, None).metadata)).await.unwrap();
    assert_eq!(both(&chat, &other).await.total.usage.input, 50);
    // Where its end says nothing, its beginning counts.
    chat.append(Message::user("on")).await.unwrap();
    let stream = chat.begin(Message { parts: Vec::new(), ..answer("", "m", 5, None) }).await.unwrap();
    stream.finish(None).await.unwrap();
    assert_eq!(both(&chat, &other).await.total.usage.input, 55);
    let (last, _) = chat.calls(chat.version().await.unwrap()).await.unwrap();
    assert_eq!(last.iter().map(|call| call.spent.usage.input).collect::<Vec<_>>(), [5], "looked at from its end on");
}

#[tokio::test]
async fn a_model_of_two_providers_is_two_and_has_a_price_only_where_it_is_known_whose_it_is() {
    for (providers, unpriced) in [(vec!["p"], 0), (vec!["p", "q"], 1)] {
        let sessions = priced_by(&providers);
        let chat = sessions.create(NewSession::default()).await.unwrap();
        let said = |provider: Option<&str>| {
            let message = answer("a", "m", 1_000, None);
            let provider = provider.map(str::to_owned);
            Message { metadata: MessageMetadata { provider, ..message.metadata.clone() }, ..message }
        };
        for provider in [Some("p"), Some("q"), None] {
            chat.append(said(provider)).await.unwrap();
        }
        let usage = chat.usage().await.unwrap();
        let rows: Vec<Option<&str>> = usage.models.iter().map(|row| row.provider.as_deref()).collect();
        assert_eq!(rows, [Some("p"), Some("q"), None]);
        assert_eq!((usage.models[2].unpriced, usage.total.calls), (unpriced, 3), "{providers:?}");
    }
}

#[tokio::test]
async fn the_ledger_is_read_once_and_gone_on_with() {
    let store = FaultyStore::over(Arc::new(MemoryStore::new()));
    let chat = manager(store.clone()).create(NewSession::default()).await.unwrap();
    chat.append(answer("a", "m", 7, None)).await.unwrap();
    let reads = async || {
        let before = store.calls(Call::Read);
        let usage = chat.usage().await.unwrap();
        (usage.total.usage.input, store.calls(Call::Read) - before)
    };
    assert!(reads().await.1 > 0);
    assert_eq!(reads().await, (7, 0));
    chat.append(answer("b", "m", 7, None)).await.unwrap();
    assert_eq!(reads().await.0, 14);
}
