//! The turn that is cut off: the same script and the same tools for the process that is killed and for whoever goes on with it.
//!
//! Must not know: who runs it, or when it is killed.

use std::{
    fs::OpenOptions,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use sessions_app::Agent;
use sessions_domain::{Json, MessagePart, ToolContent, form::Form, profile::ModelProfile, turn::Retry};
use sessions_infra::{
    environment::SystemClock,
    keys::{FileKeyStore, KeyFileProvider},
    sealing::SealedStore,
    sled::{Sealing, SledOptions, SledStore},
};
use sessions_ports::{
    ModelAnswer, ModelError, ModelEvent, ModelEvents, ModelProvider, ModelRequest, ModelStop, SecretKey, SessionLog,
    Stop, StoreError, Tool, ToolConduct, ToolFailure, ToolRun, ToolSpec,
};

/// What the turn begins with.
pub const SAID: &str = "Read both files and write the third.";
/// What it ends with.
pub const ANSWER: &str = "All three are done.";
/// The first answer before its calls, in the pieces in which it comes. Longer than what is gathered before it is written.
pub const PIECE: &str = "I look at both of them, one after the other, and write down what I find there. ";
/// How many of these come.
pub const PIECES: usize = 40;

/// Whether a place of the turn is the one where it stands still.
pub type At = Arc<dyn Fn(&str) + Send + Sync>;

/// Answers by what the conversation ends with, so that it goes on wherever it was cut off.
struct Script {
    at: At,
    form: Form,
}

#[async_trait]
impl ModelProvider for Script {
    fn name(&self) -> &str {
        "script"
    }

    async fn call(&self, request: ModelRequest, events: &mut dyn ModelEvents) -> Result<ModelAnswer, ModelError> {
        (self.at)("asked");
        let body = request.body.messages.as_str();
        let has_results = match self.form {
            Form::Anthropic => body.contains(r#""type":"tool_result""#),
            _ => body.contains(r#""role":"tool""#),
        };
        let call = |id: &str, name: &str| {
            let part = MessagePart::tool_call(id, name, r#"{"path":"a"}"#);
            part.map(ModelEvent::Part).map_err(|_| ModelError::Unsupported { what: "a call that is no JSON" })
        };
        let told = if has_results {
            vec![ModelEvent::Text(ANSWER.to_owned())]
        } else {
            let pieces = (0..PIECES).map(|_| ModelEvent::Text(PIECE.to_owned()));
            pieces.chain([call("r1", "read")?, call("r2", "read")?, call("w1", "write")?]).collect()
        };
        for event in told {
            events.on(event).await.map_err(|Stop| ModelError::Stopped)?;
            (self.at)("told");
        }
        let stop = if has_results { ModelStop::EndTurn } else { ModelStop::ToolUse };
        Ok(ModelAnswer { stop, raw_stop: None, usage: None, model: None, request_id: None })
    }
}

/// Writes down that it ran.
struct Marks {
    spec: ToolSpec,
    at: At,
    path: PathBuf,
    is_repeatable: bool,
    one: Mutex<()>,
}

#[async_trait]
impl Tool for Marks {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn conduct(&self) -> ToolConduct {
        ToolConduct { is_repeatable: self.is_repeatable, ..ToolConduct::default() }
    }

    async fn run(&self, run: &ToolRun) -> Result<ToolContent, ToolFailure> {
        (self.at)("runs");
        {
            let _one = self.one.lock().unwrap_or_else(PoisonError::into_inner);
            let file = OpenOptions::new().create(true).append(true).open(&self.path);
            let written = file.and_then(|mut file| writeln!(file, "{}", run.call.call_id));
            written.map_err(|_| ToolFailure::new("it cannot be written down"))?;
        }
        (self.at)("ran");
        Ok(ToolContent::Text(format!("{} did it", run.call.name)))
    }
}

/// The agent of the turn. `runs`: where its tools write down that they ran.
pub fn agent(form: Form, runs: &Path, at: &At) -> Agent {
    let profile = Arc::new(ModelProfile::of("m", "script", form, 32_000));
    let provider = Arc::new(Script { at: Arc::clone(at), form });
    let tool = |name: &str, is_repeatable| {
        let input_schema = Json::parse(r#"{"type":"object"}"#).unwrap_or_else(|_| unreachable!("it is JSON"));
        let spec = ToolSpec { name: name.to_owned(), description: "marks".to_owned(), input_schema };
        Arc::new(Marks { spec, at: Arc::clone(at), path: runs.to_owned(), is_repeatable, one: Mutex::default() })
    };
    Agent::of_profile(provider, profile)
        .instructions("Be quick.")
        .retry(Retry::NEVER)
        .tool(tool("read", true))
        .tool(tool("write", false))
}

/// The key of the store where it is sealed.
pub fn key() -> KeyFileProvider {
    KeyFileProvider::of(SecretKey::take(&mut [7; 32]))
}

/// The store that the turn is kept in, sealed and attested as the facade does it.
///
/// # Errors
/// The store's.
pub async fn store(path: &Path, is_sealed: bool) -> Result<Arc<dyn SessionLog>, StoreError> {
    let sealing = if is_sealed { Sealing::Sealed } else { Sealing::Plain };
    let sled = SledStore::open(path, SledOptions { cache_bytes: 8 << 20, sealing }).await?;
    if !is_sealed {
        return Ok(Arc::new(sled));
    }
    let keys = Arc::new(FileKeyStore::open(&sled.keys_folder(), sled.id()).await?);
    let sealed = SealedStore::open_or_create(Arc::new(sled.clone()), keys, &key(), Arc::new(SystemClock)).await?;
    sled.witness(Arc::new(sealed.witness()?))?;
    Ok(Arc::new(sealed))
}
