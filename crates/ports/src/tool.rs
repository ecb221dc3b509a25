//! Tools that a model may call: what it is told of them, how they run, and who is asked before they do.
//!
//! Must not know: which model calls them, or what becomes of a result.

use std::time::Duration;

use async_trait::async_trait;
use sessions_domain::{Json, SessionId, ToolCall, ToolContent};

/// A tool as it is offered to a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolSpec {
    /// Its name, as calls say it. Providers take 1–64 of `A–Z a–z 0–9 _ -`.
    pub name: String,
    /// What it does and when to call it, for the model to read.
    pub description: String,
    /// The JSON Schema of its input: an object with `"type": "object"`.
    pub input_schema: Json,
}

/// How a tool is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToolConduct {
    /// It may run again with the same input when nobody knows whether it ran: it only reads, or does a thing once however often it is asked.
    pub is_repeatable: bool,
    /// It may run beside other tools of which this is said too, when a model calls several at once.
    pub is_concurrent: bool,
    /// The [`ToolGate`] is asked before it runs.
    pub needs_leave: bool,
    /// It is ended when it takes longer. One that blocks its thread cannot be: its call is answered as one that took too long and the turn goes
    /// on, while the tool runs on unseen until it returns by itself, and holds the thread that long.
    pub timeout: Duration,
    /// The most of its result that is kept, in bytes as it is written down: the beginning and the end of a text, or the first parts. Parts are
    /// 128 at most; where there are more, texts beside each other are joined.
    pub max_output_bytes: usize,
}

impl Default for ToolConduct {
    /// Not again, not beside others, with leave, for two minutes, 256 KiB.
    fn default() -> Self {
        Self {
            is_repeatable: false,
            is_concurrent: false,
            needs_leave: true,
            timeout: Duration::from_secs(120),
            max_output_bytes: 256 << 10,
        }
    }
}

/// One call that a tool is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolRun {
    /// The session that it is called in.
    pub session: SessionId,
    /// The call. Its input is what the model wrote: any JSON, whatever the schema says.
    pub call: ToolCall,
}

/// A tool did not do what it was called for. The model reads why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ToolFailure {
    /// Why, and what to do about it.
    pub message: String,
}

impl ToolFailure {
    /// With these words for the model.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

/// Something that a model may call.
#[async_trait]
pub trait Tool: Send + Sync {
    /// What the model is told. Always the same.
    fn spec(&self) -> &ToolSpec;

    /// How it is run.
    fn conduct(&self) -> ToolConduct {
        ToolConduct::default()
    }

    /// Does it.
    ///
    /// **Contract**: it runs on a thread of its own, within the runtime of its turn, and may block that thread: nobody else waits for it. Dropping the
    /// future ends the work at its next await, so what must not be left in half is done in a task that goes on. Nothing ends a thread, so one that
    /// blocks for ever stays beyond its turn, and beyond its manager ([`ToolConduct::timeout`]). A panic is a failure like any other.
    ///
    /// # Errors
    /// [`ToolFailure`], which the model reads.
    async fn run(&self, run: &ToolRun) -> Result<ToolContent, ToolFailure>;
}

/// Whether a tool may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GateAnswer {
    /// This once.
    Once,
    /// Now and whenever it is called in this session, without asking again.
    Always,
    /// Not this once.
    NotNow,
    /// Not now and not whenever it is called in this session, without asking again.
    Never,
}

/// Is asked before a tool runs: a person, or a policy.
#[async_trait]
pub trait ToolGate: Send + Sync {
    /// Whether a call may be done.
    ///
    /// **Contract**: it is asked of one call at a time in a session, and may take as long as a person does. Dropping the future withdraws the
    /// question.
    async fn ask(&self, run: &ToolRun) -> GateAnswer;
}
