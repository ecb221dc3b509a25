//! A compaction whose summary a model writes: what holds whichever model it is, and a stub for where there is none.
//!
//! Must not know: how a summary is planned, asked for or placed.

use std::{io, sync::Arc, time::Instant};

use sessions_app::{
    ByModel, CompactionReport, CompactionWish, ContextWish, MessageRange, Session, SessionError, SessionManager,
};
use sessions_domain::{
    StoredMessage, TokenUsage,
    compaction::{SECTIONS, Sections},
    context::{Budget, ContextPart},
    form::Form,
    profile::ModelProfile,
};
use sessions_infra::{
    MemoryStore,
    environment::{EstimateCounter, SystemClock, SystemEntropy, UlidGenerator},
    providers::{Protocol, RemoteProvider},
    tokens::BuiltInEncodings,
};
use sessions_ports::ModelProvider;
use sessions_testkit::stub::{Reply, Stub};

use crate::transcripts::Transcript;

/// What conversations are brought down to, in tokens of [`READER`].
pub const TARGET: u64 = 20_000;
/// The model that goes on with them.
pub const READER: &str = "gpt-4o";
/// What each of the stub's answers is said to take, in tokens in and out.
pub const OF_STUB: (u64, u64) = (1_000, 100);

/// Whatever goes wrong, in words.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A model that writes summaries.
pub struct Writer {
    /// What it is, in a word or two.
    pub name: String,
    provider: Arc<dyn ModelProvider>,
    profile: Arc<ModelProfile>,
    stub: Option<Stub>,
}

impl Writer {
    /// A model behind OpenAI's API, with a window of so many tokens.
    pub fn new(name: &str, window: u64, provider: RemoteProvider) -> Self {
        let profile = ModelProfile::of(name, provider.name(), Form::OpenAi, window);
        Self { name: name.to_owned(), provider: Arc::new(provider), profile: Arc::new(profile), stub: None }
    }

    /// A stub on loopback that says the same of every conversation.
    ///
    /// # Errors
    /// When there is no port.
    pub fn stub() -> Result<Self, Failure> {
        let stub = Stub::start("", vec![summary()])?;
        let provider = RemoteProvider::new(Protocol::OpenAi, Some(&format!("{}/v1", stub.address())), None)?;
        Ok(Self { stub: Some(stub), ..Self::new("stub", 16_384, provider) })
    }

    /// How often the stub was asked; `None` of a model.
    pub fn asked(&self) -> Option<u64> {
        self.stub.as_ref().map(|stub| stub.asked().len() as u64)
    }
}

/// A summary with every heading, streamed.
fn summary() -> Reply {
    let text: String = SECTIONS.iter().map(|heading| format!("{heading}:\\n- what the stub says of it\\n")).collect();
    let chunk = |choices: &str, usage: &str| {
        format!(
            r#"data: {{"object":"chat.completion.chunk","model":"stub","choices":[{choices}],"usage":{usage}}}{}"#,
            "\n\n"
        )
    };
    let usage = format!(r#"{{"prompt_tokens":{},"completion_tokens":{}}}"#, OF_STUB.0, OF_STUB.1);
    let frames = [
        chunk(&format!(r#"{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}"#), "null"),
        chunk(r#"{"index":0,"delta":{},"finish_reason":"stop"}"#, "null"),
        chunk("", &usage),
        "data: [DONE]\n\n".to_owned(),
    ];
    Reply::stream(frames.map(String::into_bytes))
}

/// Sessions in memory, counted by the built-in encodings.
///
/// # Errors
/// As [`SessionManager::with`].
pub fn sessions() -> Result<SessionManager, Failure> {
    let ports = sessions_app::Ports {
        store: Arc::new(MemoryStore::new()),
        clock: Arc::new(SystemClock),
        ids: Arc::new(UlidGenerator::new()),
        entropy: Arc::new(SystemEntropy::new()),
        counter: Arc::new(EstimateCounter),
        encodings: Arc::new(BuiltInEncodings::new()),
    };
    Ok(SessionManager::with(ports, sessions_app::Settings::default())?)
}

/// The transcripts whose contexts are the longest, as sessions, longest first.
///
/// # Errors
/// What importing them gives.
pub async fn longest(transcripts: Vec<Transcript>, count: usize) -> Result<Vec<(String, Session)>, Failure> {
    let mut all = Vec::new();
    for transcript in transcripts {
        let sessions = sessions()?;
        let options = sessions_app::ImportOptions::default();
        let chat = sessions.load(sessions.import(io::Cursor::new(transcript.bytes), options).await?.id).await?;
        let tokens = chat.context(ContextWish::for_model(READER).whole()).await?.tokens;
        // The newest message is never summarised, and may be larger than the target.
        chat.append(sessions_domain::Message::user("And now?")).await?;
        all.push((tokens, transcript.name, chat));
    }
    all.sort_by_key(|(tokens, ..)| std::cmp::Reverse(*tokens));
    all.truncate(count);
    Ok(all.into_iter().map(|(_, name, chat)| (name, chat)).collect())
}

/// What came of a compaction.
pub struct Line {
    /// The compaction; or why there is none, in words, and then nothing changed but the ledger.
    pub came: Result<CompactionReport, String>,
    /// Messages of the conversation.
    pub messages: u64,
    /// Of these, how many are sent as they are.
    pub kept: u64,
    /// Tokens of the summary, as it is sent.
    pub summary: u64,
    /// What the model was asked for it: how often, and what that took as it says.
    pub calls: u64,
    /// Tokens of these calls.
    pub usage: TokenUsage,
    /// How long it took.
    pub seconds: f64,
}

/// All that a model is shown of a conversation, in each form, and all that is listed of it.
async fn shown(chat: &Session) -> Result<(Vec<String>, Vec<StoredMessage>), Failure> {
    let mut sent = Vec::new();
    for form in [Form::Neutral, Form::OpenAi, Form::Anthropic] {
        let context = chat.context(ContextWish::from(Budget::tokens(u64::MAX)).in_form(form)).await?;
        sent.push(context.body()?.messages.as_str().to_owned());
    }
    Ok((sent, chat.read(MessageRange::oldest_first()).await?.messages))
}

/// Compacts a conversation with a summary of this model, holds what comes of it against what every summary owes, and takes it away again.
///
/// # Errors
/// What does not hold, or what the session says.
pub async fn held(chat: &Session, writer: &Writer) -> Result<Line, Failure> {
    let (sent, listed) = shown(chat).await?;
    let spent = chat.usage().await?.total;
    let summarizer = Arc::new(ByModel::new(Arc::clone(&writer.provider), Arc::clone(&writer.profile)));
    let wish = CompactionWish::default().for_model(READER).down_to(Budget::tokens(TARGET)).with(summarizer);
    let begun = Instant::now();
    let came = match chat.compact(wish).await {
        Ok(report) => Ok(report),
        Err(SessionError::Compaction(refused)) => Err(refused.to_string()),
        Err(error) => return Err(error.into()),
    };
    let seconds = begun.elapsed().as_secs_f64();
    let now = chat.usage().await?.total;
    let (calls, usage) = (now.calls - spent.calls, difference(&now.usage, &spent.usage));
    let (mut kept, mut summary) = (listed.len() as u64, 0);
    if let Ok(report) = &came {
        (kept, summary) = as_owed(chat, report, &listed).await?;
        ensure(report.calls.len() as u64 <= calls, "a call is not in the ledger")?;
        chat.uncompact().await?;
    }
    let again = shown(chat).await?;
    ensure(again.0 == sent, "the context is not what it was before, byte for byte")?;
    ensure(again.1 == listed, "the conversation is not what it was before")?;
    Ok(Line { came, messages: listed.len() as u64, kept, summary, calls, usage, seconds })
}

/// Holds a compaction against what it owes, and tells how many messages are sent as they are, and how large the summary is.
async fn as_owed(chat: &Session, report: &CompactionReport, before: &[StoredMessage]) -> Result<(u64, u64), Failure> {
    let context = chat.context(ContextWish::for_model(READER).whole()).await?;
    ensure(report.after < report.before, "the context did not get smaller")?;
    ensure(context.tokens == report.after, "the report tells of another context")?;
    ensure(report.after <= TARGET, "the context is larger than was wished")?;
    let summary = report.summary.as_deref().unwrap_or_default();
    ensure(Sections::are_all_in(summary), "the summary lacks a heading")?;
    let compaction = report.compaction.ok_or("no compaction was written")?;
    ensure(chat.check_summary(compaction).await?, "the summary stands for something else")?;
    let listed = chat.read(MessageRange::oldest_first()).await?.messages;
    let texts = |messages: &[StoredMessage]| {
        messages.iter().map(|stored| (stored.seq, stored.message.clone())).collect::<Vec<_>>()
    };
    ensure(texts(&listed) == texts(before), "a message is gone, or another")?;
    let kept = listed.iter().filter(|stored| stored.covered_by.is_none()).count() as u64;
    let summary = context.messages.iter().find(|message| message.part == ContextPart::Summary);
    Ok((kept, summary.map_or(0, |message| message.tokens)))
}

fn difference(now: &TokenUsage, before: &TokenUsage) -> TokenUsage {
    TokenUsage {
        input: now.input - before.input,
        output: now.output - before.output,
        cache_read: now.cache_read - before.cache_read,
        cache_write: now.cache_write - before.cache_write,
        cache_write_long: now.cache_write_long - before.cache_write_long,
        reasoning: now.reasoning - before.reasoning,
    }
}

fn ensure(holds: bool, otherwise: &'static str) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}
