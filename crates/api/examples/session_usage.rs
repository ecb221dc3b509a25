//! What a conversation takes and costs, and how full the model's window is: the ledger over a few turns, an undo and a fork.
//!
//! `cargo run -p sessions-api --example session_usage`. The answers are a script's, with the usage that a provider would report, so that every
//! number is the same in each run.

use std::{
    error::Error,
    io::{self, Write},
    sync::Arc,
};

use sessions_api::{
    Agent, At, ContextWish, Form, Message, ModelProfile, ModelUsage, Session, SessionManager, TokenUsage,
    money::{Currency, Money},
    price::{Price, PriceRow, PriceTable},
    providers::{Answer, ScriptedProvider},
    window_state,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    run(&mut io::stdout()).await
}

/// A million tokens of input cost 2.50, of input from a cache 0.25, of output 10.
fn prices() -> Result<PriceTable, Box<dyn Error>> {
    let price = Price {
        input: Some("2.50".parse()?),
        cache_read: Some("0.25".parse()?),
        output: Some("10".parse()?),
        ..Price::none(Currency::USD)
    };
    let row = PriceRow {
        provider: ScriptedProvider::NAME.to_owned(),
        model: "house-7b".to_owned(),
        aliases: Vec::new(),
        valid_from: None,
        valid_to: None,
        price,
        source: None,
        noted: None,
    };
    Ok(PriceTable::new(vec![row])?)
}

/// Four answers, with what a provider says that they took.
fn script() -> impl Iterator<Item = Answer> {
    [60, 60, 60, 30].into_iter().zip(1..).map(|(length, turn)| {
        let usage = TokenUsage { input: 40, cache_read: 200 * turn, output: 180 * turn, ..TokenUsage::default() };
        Answer::new().text(format!("Answer {turn}: {}", "as before, and more. ".repeat(length))).usage(usage)
    })
}

/// The example, told to whoever listens.
pub async fn run(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let profile = Arc::new(ModelProfile::of("house-7b", ScriptedProvider::NAME, Form::OpenAi, 2_200));
    let agent = Agent::of_profile(Arc::new(ScriptedProvider::new(script())), Arc::clone(&profile));
    // With a summary of it the conversation would take less; here the window is to fill up.
    let agent = agent.without_compaction();
    let sessions = SessionManager::builder().at("memory:".parse()?).prices(prices()?).build().await?;
    let chat = sessions.open_or_create("usage").await?;

    for question in ["What is it?", "And why?", "Show it.", "All of it?"] {
        let outcome = chat.send_message(&agent, Message::user(question)).await?;
        let cost = outcome.cost.iter().map(Money::to_string).collect::<Vec<_>>().join(" + ");
        writeln!(out, "{question:<12} {:>4} in, {:>4} out, {cost}", outcome.usage.input, outcome.usage.output)?;
        writeln!(out, "             the window is {}", window(&chat, &profile).await?)?;
    }
    told(out, "all calls", &chat.usage().await?.total)?;

    chat.undo_turns(3).await?;
    writeln!(out, "after an undo the window is {}", window(&chat, &profile).await?)?;
    told(out, "and what was spent stays", &chat.usage().await?.total)?;

    let fork = chat.fork(At::Now).await?;
    told(out, "a fork has spent nothing yet", &fork.usage().await?.total)?;
    sessions.close().await?;
    Ok(())
}

fn told(out: &mut impl Write, what: &str, spent: &ModelUsage) -> io::Result<()> {
    let cost = spent.cost.iter().map(Money::to_string).collect::<Vec<_>>().join(" + ");
    let TokenUsage { input, cache_read, output, .. } = spent.usage;
    let cost = if cost.is_empty() { "nothing".to_owned() } else { cost };
    writeln!(out, "{what}: {} calls, {input} + {cache_read} cached in, {output} out, {cost}", spent.calls)
}

/// How full it is: normal, from 75 % on a warning, from 90 % on critical.
async fn window(chat: &Session, profile: &Arc<ModelProfile>) -> Result<String, Box<dyn Error>> {
    let context = chat.context(ContextWish::for_profile(Arc::clone(profile)).whole()).await?;
    let about = if context.is_exact() { "" } else { "about " };
    let state = window_state(context.tokens, profile);
    Ok(format!("{state:?}: {about}{} of {} tokens", context.tokens, profile.usable()))
}
