//! The rules of a turn that need neither a model nor a log: how it ends, when a call is tried again, what it is booked with, and when calls of
//! tools go round in circles.
//!
//! Must not know: who is asked, or what runs.

mod booked;
mod repeats;
mod retry;

use serde::{Deserialize, Serialize};

pub use self::{
    booked::{Booked, Counted, Differs},
    repeats::Repeats,
    retry::Retry,
};

/// Why a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model said what it had to say.
    EndTurn,
    /// An answer reached its longest length, or the model's window.
    MaxTokens,
    /// The model was called as often as a turn may call it, and wanted to go on.
    MaxIterations,
    /// Somebody stopped it.
    Cancelled,
    /// The model declined, or a filter did.
    Refusal,
    /// Something went wrong.
    Error,
}

impl StopReason {
    /// The reason's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EndTurn => "end_turn",
            Self::MaxTokens => "max_tokens",
            Self::MaxIterations => "max_iterations",
            Self::Cancelled => "cancelled",
            Self::Refusal => "refusal",
            Self::Error => "error",
        }
    }
}
