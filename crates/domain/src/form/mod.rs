//! How providers take messages: the forms, and what a model's provider asks of them.
//!
//! Must not know: which models there are (see [`crate::profile`]), budgets, or how a request is sent.

mod anthropic;
mod body;
mod calls;
mod custom;
mod media;
mod mend;
mod openai;
mod shape;
mod thoughts;
pub mod words;

use serde::{Deserialize, Serialize};

pub(crate) use self::media::decoded;
pub use self::{
    body::{FormBody, render},
    shape::{Shaped, Target, reserve, shape, upper, upper_messages},
};

/// The form in which a provider takes messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Ours.
    #[default]
    Neutral,
    /// Chat completions, as OpenAI and many others take them.
    OpenAi,
    /// Anthropic's messages.
    Anthropic,
}

/// The role under which instructions are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstructionsAs {
    /// `system`, or the field of that name.
    #[default]
    System,
    /// `developer`.
    Developer,
    /// As a user's words, for models that take no instructions.
    User,
}

/// Which reasoning goes back to the model that wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReasoningBack {
    /// None: the form has no place for it, or its provider does not ask for it.
    #[default]
    Never,
    /// What stands behind the last message of the user, signed and unchanged; and of a turn whose last answer made calls, all of it, also where
    /// the user said something beside their results.
    LastTurn,
    /// All of it, as long as everything before it is sent as it was; none from the first change on.
    Unchanged,
}

/// What a provider asks of the messages of one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormRules {
    /// The role of instructions.
    pub instructions: InstructionsAs,
    /// Whether instructions may stand inside the conversation.
    pub system_inside: bool,
    /// Whether the last message may be the assistant's (which the model then continues).
    pub prefill: bool,
    /// Which reasoning goes back.
    pub reasoning: ReasoningBack,
    /// The longest id of a tool call, in characters.
    pub longest_call_id: usize,
    /// The longest name of a tool, in characters.
    pub longest_name: usize,
    /// The longest text of one message or part, in characters.
    pub longest_text: usize,
}

impl FormRules {
    /// What the form itself asks, where nothing more is known of the model.
    pub const fn of(form: Form) -> Self {
        match form {
            Form::Neutral => Self {
                instructions: InstructionsAs::System,
                system_inside: true,
                prefill: true,
                reasoning: ReasoningBack::Unchanged,
                longest_call_id: usize::MAX,
                longest_name: usize::MAX,
                longest_text: usize::MAX,
            },
            Form::OpenAi => Self {
                instructions: InstructionsAs::System,
                system_inside: true,
                prefill: true,
                reasoning: ReasoningBack::Never,
                longest_call_id: 40,
                longest_name: 64,
                longest_text: 1_048_576,
            },
            Form::Anthropic => Self {
                instructions: InstructionsAs::System,
                system_inside: false,
                prefill: false,
                reasoning: ReasoningBack::LastTurn,
                longest_call_id: 64,
                longest_name: 64,
                longest_text: usize::MAX,
            },
        }
    }
}
