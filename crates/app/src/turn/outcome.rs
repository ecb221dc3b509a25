//! What came of a turn.
//!
//! Must not know: how a turn runs.

use std::time::Duration;

use serde::Serialize;
use sessions_domain::{
    MessageId, MessageState, TokenUsage, ToolCall, ToolResult, context::OverBudget, money::Money, turn::StopReason,
};
use sessions_ports::ModelError;

use crate::{append::Receipt, compact::CompactionReport};

/// What came of a turn. All of it is in the session's log as well.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TurnOutcome {
    /// The text of the last answer, also when it is only a part of one.
    pub text: String,
    /// What was done, in order.
    pub steps: Vec<TurnStep>,
    /// Why it ended.
    pub stop_reason: StopReason,
    /// What went wrong, where [`StopReason::Error`] is why.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "in_words")]
    pub problem: Option<TurnProblem>,
    /// Tokens of all calls of the model.
    pub usage: TokenUsage,
    /// Whether some of these were reported by nobody.
    pub estimated: bool,
    /// What they cost, by currency. Calls without a price are not in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cost: Vec<Money>,
    /// What was appended, in order: what was said, the answers, and the results of tools.
    pub receipts: Vec<Receipt>,
    /// What is worth knowing beside it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<TurnNote>,
}

impl Default for TurnOutcome {
    fn default() -> Self {
        Self {
            text: String::new(),
            steps: Vec::new(),
            stop_reason: StopReason::EndTurn,
            problem: None,
            usage: TokenUsage::default(),
            estimated: false,
            cost: Vec::new(),
            receipts: Vec::new(),
            notes: Vec::new(),
        }
    }
}

fn in_words<S: serde::Serializer>(problem: &Option<TurnProblem>, serializer: S) -> Result<S::Ok, S::Error> {
    match problem {
        Some(problem) => serializer.collect_str(problem),
        None => serializer.serialize_none(),
    }
}

/// One step of a turn.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum TurnStep {
    /// The model was called, and something came of it.
    Answer {
        /// The message.
        message: MessageId,
        /// Whether it is whole.
        state: MessageState,
        /// Calls of tools in it.
        calls: u64,
        /// Which attempt it was, from 1.
        attempt: u32,
    },
    /// A call of a tool was dealt with.
    Tool {
        /// The call.
        call_id: String,
        /// The tool.
        name: String,
        /// How it went.
        ended: ToolEnd,
        /// How long it took, in milliseconds.
        duration_ms: u64,
    },
}

/// How a call of a tool ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToolEnd {
    /// It ran.
    Done,
    /// It ran, and said that it failed.
    Failed,
    /// It panicked.
    Panicked,
    /// It took too long and was ended, or is not waited for any more.
    TimedOut,
    /// There is no such tool.
    Unknown,
    /// It was not allowed to run.
    Denied,
    /// It had been called the same way too often and did not run.
    Repeated,
    /// It did not run, or not to its end, because the turn ended.
    Ended,
    /// Nobody knows whether it ran, because the turn was interrupted.
    Interrupted,
}

/// Why a turn ended in [`StopReason::Error`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TurnProblem {
    /// The model could not be asked, or did not answer.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// What came in this turn does not fit what the model takes, however much of it is cut.
    #[error(transparent)]
    NoRoom(OverBudget),
    /// The same tool was called with the same input three times among ten calls.
    #[error("the model called {tool} three times with the same input; tell it what to do instead, and go on")]
    DoomLoop {
        /// The tool.
        tool: String,
    },
    /// The turn took longer than it may.
    #[error("the turn took longer than {} s, which is the most that it may; ask for less, or allow more", .most.as_secs())]
    OutOfTime {
        /// What it may take.
        most: Duration,
    },
    /// An answer is larger than a message may be.
    #[error("{limit} may be at most {max}, and the answer has more; its beginning is kept")]
    TooLarge {
        /// The limit's name.
        limit: &'static str,
        /// Its value.
        max: u64,
    },
}

/// What is worth knowing of a turn beside how it ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "note", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TurnNote {
    /// The conversation was compacted.
    Compacted(Box<CompactionReport>),
    /// It was due, and could not be compacted.
    NotCompacted {
        /// Why.
        why: String,
    },
    /// Older turns were left out of what the model was sent.
    Cut,
    /// The provider reports another number of tokens than was counted of what it was sent: one is more than twice the other. Where that cannot
    /// be at all (none, or more than the model takes), what was counted stands for it.
    UsageDiffers {
        /// What it reports.
        reported: u64,
        /// What was counted.
        counted: u64,
    },
    /// The provider reports a number of tokens of the answer that cannot be: none, far less than came, or more than was allowed. What was counted
    /// stands for it.
    OutputDiffers {
        /// What it reports.
        reported: u64,
        /// What was counted.
        counted: u64,
    },
    /// A call failed and was made again.
    Retried {
        /// Which attempt failed, from 1.
        attempt: u32,
        /// Why.
        why: String,
    },
}

/// What happens in a turn, while it happens.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum TurnEvent {
    /// An answer begins.
    Answering {
        /// The message that it becomes.
        message: MessageId,
    },
    /// More of its text.
    Text(String),
    /// More of its reasoning.
    Reasoning(String),
    /// It is whole.
    Answered,
    /// A tool is about to be called.
    Calling(ToolCall),
    /// Its result, as the model gets it.
    Called(ToolResult),
    /// A call of the model failed and is made again.
    Retrying {
        /// Which attempt is next, from 2.
        attempt: u32,
        /// After which wait.
        wait: Duration,
        /// Why.
        error: ModelError,
        /// Whether the answer begins anew: what came of it is kept in the log, on a branch of its own.
        is_anew: bool,
    },
    /// A summary of the older part is about to be written, which may take a while. What comes of it is [`TurnEvent::Compacted`], or a note of
    /// the outcome ([`TurnNote::NotCompacted`]). Where shortened results are enough, this is not told.
    Compacting,
    /// The conversation was compacted.
    Compacted(CompactionReport),
}
