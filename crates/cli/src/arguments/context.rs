//! What may be typed about what a model is sent: contexts, compaction, instructions, tokens.
//!
//! Must not know: what it does.

use clap::{Args, ValueEnum};
use sessions_api::Form;

use super::{Once, at_least_one};

/// The forms by their names at a shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormName {
    /// As `show` has messages
    Neutral,
    /// As OpenAI's chat completions take them
    Openai,
    /// As Anthropic's messages take them
    Anthropic,
}

impl From<FormName> for Form {
    fn from(name: FormName) -> Self {
        match name {
            FormName::Neutral => Self::Neutral,
            FormName::Openai => Self::OpenAi,
            FormName::Anthropic => Self::Anthropic,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Context {
    /// The session
    pub(crate) session: String,
    /// So many tokens at most
    #[arg(long, value_name = "N", value_parser = at_least_one::<u64>)]
    pub(crate) max_tokens: Option<u64>,
    /// For this model: within its window, counted in its encoding, in its provider's form
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// In this form (default: the model's, or neutral)
    #[arg(long, value_enum, value_name = "FORM")]
    pub(crate) format: Option<FormName>,
    /// As it was at this place: a version, a message, the token of a place, or checkpoint:NAME
    #[arg(long, value_name = "PLACE")]
    pub(crate) at: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Compact {
    /// The session
    pub(crate) session: String,
    /// Down to so many tokens (default: half of what the model takes, or half of what there is)
    #[arg(long, value_name = "N", value_parser = at_least_one::<u64>)]
    pub(crate) max_tokens: Option<u64>,
    /// For this model: by its window and in its encoding
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// Let a model write the summary: that of --model, else the session's, else the one of the configuration (default: it is picked out of what was
    /// said, without a model)
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) by_model: bool,
    /// Tell what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) once: Once,
}

#[derive(Debug, Args)]
pub(crate) struct Tokens {
    /// The session
    pub(crate) session: String,
    /// The window of this model (default: the session's model, where it is known)
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// Tell each call of a model
    #[arg(long)]
    pub(crate) calls: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Instruct {
    /// The session
    pub(crate) session: String,
    /// What the model is told before all else, in place of what it was told before, with `-` from standard input; without it: tell what that is
    #[arg(conflicts_with = "none")]
    pub(crate) text: Option<String>,
    /// Tell the model nothing before all else
    #[arg(long)]
    pub(crate) none: bool,
    #[command(flatten)]
    pub(crate) once: Once,
}
