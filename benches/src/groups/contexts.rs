//! Contexts: what the next one takes after one more message of a long conversation, and what imports take with tokens counted.
//!
//! Must not know: how a context is collected.

use std::{path::Path, sync::Arc, thread, time::Instant};

use sessions_app::{Append, ContextWish, ImportOptions, NewSession, Session, SessionManager};
use sessions_domain::{
    Message, MessagePart, SessionId,
    context::{Budget, Context},
    tokens,
};
use sessions_infra::tokens::BuiltInEncodings;
use sessions_ports::{Durability, Encodings, TokenCounter};

use super::importing::{generated, real_transcripts};
use crate::{
    harness::{Samples, median},
    report::{Figure, Section, Unit},
    stage::{As, Outcome, Stage, ensure, manager, open, open_as, text},
};

/// Messages of the conversation.
const LENGTH: usize = 10_000;
/// Contexts that are timed, each after one more message.
const ROUNDS: usize = 400;
const WARM_UP: usize = 50;
/// How often the first context is asked for, and how often everything comes in.
const FIRST: usize = 5;
const IMPORTS: usize = 5;
/// Messages of the transcript that stands in where none are named.
const GENERATED: usize = 20_000;
/// The encoding that is counted in.
const ENCODING: &str = "o200k_base";

/// A way to ask for a context.
struct Way {
    name: &'static str,
    budget: u64,
    model: Option<&'static str>,
}

impl Way {
    const ALL: [Self; 6] = [
        Self { name: "in our own form, 100 000 tokens", budget: 100_000, model: None },
        Self { name: "in our own form, 8 000 tokens", budget: 8_000, model: None },
        Self { name: "for gpt-4o with its body, 100 000 tokens", budget: 100_000, model: Some("gpt-4o") },
        Self { name: "for gpt-4o with its body, 8 000 tokens", budget: 8_000, model: Some("gpt-4o") },
        Self {
            name: "for claude-sonnet-4-5 with its body, 100 000 tokens",
            budget: 100_000,
            model: Some("claude-sonnet-4-5"),
        },
        Self {
            name: "for claude-sonnet-4-5 with its body, 8 000 tokens",
            budget: 8_000,
            model: Some("claude-sonnet-4-5"),
        },
    ];

    fn wish(&self) -> ContextWish {
        let budget = Budget::tokens(self.budget);
        self.model.map_or_else(|| ContextWish::from(budget), |model| ContextWish::for_model(model).within(budget))
    }

    /// The context, as it is sent.
    async fn ask(&self, chat: &Session) -> Outcome<Context> {
        let context = chat.context(self.wish()).await?;
        if self.model.is_some() {
            std::hint::black_box(context.body()?);
        }
        Ok(context)
    }
}

pub(crate) async fn run(stage: &Stage) -> Outcome<Section> {
    let mut figures = Vec::new();
    for how in As::BOTH {
        let path = stage.path(&how.folder("store"));
        let id = prepared(how, &path).await?;
        figures.extend(contexts(how, &path, id).await?);
    }
    figures.extend(counted_imports(stage).await?);
    Ok(Section {
        title: "Contexts",
        method: "A conversation of 10 000 messages of 512 bytes; each fourth is a call and each fourth its result. Each round appends one message \
                 at\n`process`, which is not timed, and asks for the context. The first one is that of a manager with nothing cached.",
        figures,
        appendix: String::new(),
    })
}

/// The message at a place of a conversation of turns with calls.
fn said(at: usize) -> Outcome<Message> {
    let id = |at: usize| format!("call_{at}");
    Ok(match at % 4 {
        0 => Message::user(text(at)),
        1 => Message::assistant(text(at)).with(MessagePart::tool_call(id(at), "read", r#"{"path":"src/lib.rs"}"#)?),
        2 => Message::tool_result(id(at - 1), text(at)),
        _ => Message::assistant(text(at)),
    })
}

async fn prepared(how: As, path: &Path) -> Outcome<SessionId> {
    let manager = manager(open_as(path, how).await?.1, Durability::Process)?;
    let chat = manager.create(NewSession::titled("a long conversation")).await?;
    let messages = (0..LENGTH).map(said).collect::<Outcome<Vec<Message>>>()?;
    for piece in messages.chunks(250) {
        chat.append(Append::all(piece.to_vec())).await?;
    }
    manager.close().await?;
    Ok(chat.id())
}

async fn contexts(how: As, path: &Path, id: SessionId) -> Outcome<Vec<Figure>> {
    let (_, store) = open_as(path, how).await?;
    let mut figures = Vec::new();
    let mut at = LENGTH;
    for way in &Way::ALL {
        let mut first = Vec::new();
        for _ in 0..FIRST {
            let chat = manager(store.clone(), Durability::Process)?.load(id).await?;
            let begun = Instant::now();
            way.ask(&chat).await?;
            first.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        let chat = manager(store.clone(), Durability::Process)?.load(id).await?;
        let mut samples = Samples::warming_up(WARM_UP);
        let mut messages = 0;
        for _ in 0..WARM_UP + ROUNDS {
            chat.append(said(at)?).await?;
            at += 1;
            let context = samples.wait(way.ask(&chat)).await?;
            ensure(context.is_cut && context.tokens <= way.budget, "a context is larger than its budget")?;
            messages = context.messages.len();
        }
        let first = Unit::Micros.show(median(&first));
        let note = format!("p99 {}, {messages} messages; the first: {first}", Unit::Micros.show(samples.p99()));
        let what = format!("{}context {}, p50", how.prefix(), way.name);
        let figure = Figure::new("P11", what, samples.p50(), Unit::Micros).note(note);
        figures.push(if way.model.is_none() { figure.at_most(200.0) } else { figure });
    }
    manager(store, Durability::Process)?.close().await?;
    Ok(figures)
}

/// Imports with all tokens counted: one after the other, and with the counting on another core.
async fn counted_imports(stage: &Stage) -> Outcome<Vec<Figure>> {
    let real: Vec<Vec<u8>> = real_transcripts()?.into_iter().map(|source| source.bytes).collect();
    let are_real = !real.is_empty();
    let files = if are_real { real } else { vec![generated(GENERATED)] };
    let bytes: usize = files.iter().map(Vec::len).sum();
    let counter = BuiltInEncodings::new().named(ENCODING).ok_or("an encoding went away")?;
    let manager = manager(open(&stage.path("imports")).await?, Durability::Disk)?;
    let mut messages = Vec::new();
    for file in &files {
        messages.push(Arc::new(taken_in(&manager, file.clone()).await?));
    }
    let (mut alone, mut behind, mut beside, mut tokens) = (f64::INFINITY, f64::INFINITY, f64::INFINITY, 0);
    for _ in 0..IMPORTS {
        let begun = Instant::now();
        for file in &files {
            import(&manager, file.clone()).await?;
        }
        alone = alone.min(begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        tokens = 0;
        for file in &files {
            tokens += count(&taken_in(&manager, file.clone()).await?, counter.as_ref());
        }
        behind = behind.min(begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        for (file, messages) in files.iter().zip(&messages) {
            let (messages, counter) = (Arc::clone(messages), Arc::clone(&counter));
            let counting = thread::spawn(move || count(&messages, counter.as_ref()));
            import(&manager, file.clone()).await?;
            ensure(counting.join().map_err(|_| "counting broke off")? > 0, "nothing was counted")?;
        }
        beside = beside.min(begun.elapsed().as_secs_f64());
    }
    manager.close().await?;
    let rate = |seconds: f64| bytes as f64 / seconds / 1e6;
    let whose = if are_real { "real transcripts" } else { "a generated transcript" };
    let figure = |what: &str, seconds: f64| {
        Figure::new("P13", format!("import of {whose}, {what}, MB/s"), rate(seconds), Unit::Count)
    };
    let size = Unit::Bytes.show(bytes as f64);
    let note = format!(
        "{} files, {size}, {tokens} tokens in {ENCODING}, best of {IMPORTS}; without counting {:.1}",
        files.len(),
        rate(alone)
    );
    Ok(vec![
        figure("then read and counted", behind).at_least(15.0).note(note),
        figure("counted on another core meanwhile", beside).at_least(15.0).note("of messages that were read before"),
    ])
}

async fn import(manager: &SessionManager, file: Vec<u8>) -> Outcome<Session> {
    let options = ImportOptions { new_id: true, ..ImportOptions::default() };
    let report = manager.import(std::io::Cursor::new(file), options).await?;
    Ok(manager.load(report.id).await?)
}

/// Takes a file in, and gives its messages, also those that the conversation left.
async fn taken_in(manager: &SessionManager, file: Vec<u8>) -> Outcome<Vec<Message>> {
    let chat = import(manager, file).await?;
    let version = chat.version().await?;
    let (mut updates, mut messages) = (chat.subscribe(0), Vec::new());
    while updates.seen() < version {
        let Some(update) = updates.next().await? else { break };
        messages.extend(update.message().map(|stored| stored.message.clone()));
    }
    Ok(messages)
}

fn count(messages: &[Message], counter: &dyn TokenCounter) -> u64 {
    messages.iter().map(|message| tokens::message(message, &|text| counter.count(text)).count).sum()
}
