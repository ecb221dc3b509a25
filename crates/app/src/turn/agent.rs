//! What a turn runs with: whose model, which tools, who is asked before they run, and how far it may go.
//!
//! Must not know: sessions.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use sessions_domain::{Json, profile::ModelProfile, turn::Retry};
use sessions_ports::{ModelProvider, Summarizer, Tool, ToolGate, ToolSpec};

use crate::context::Model;

/// Calls of the model in one turn where nobody says otherwise.
const ITERATIONS: u32 = 25;
/// The longest name of a tool, in characters.
const LONGEST_NAME: usize = 64;

/// What a turn runs with. Clones share the provider and the tools.
///
/// ```
/// # use std::sync::Arc;
/// # use sessions_app::Agent;
/// # use sessions_infra::providers::ScriptedProvider;
/// let agent = Agent::new(Arc::new(ScriptedProvider::demo()), "gpt-4o").instructions("Answer in one sentence.").iterations(8);
/// ```
#[derive(Clone)]
pub struct Agent {
    pub(super) provider: Arc<dyn ModelProvider>,
    pub(super) model: Model,
    pub(super) instructions: Option<String>,
    pub(super) tools: Vec<Arc<dyn Tool>>,
    pub(super) gate: Option<Arc<dyn ToolGate>>,
    pub(super) retry: Retry,
    pub(super) iterations: u32,
    pub(super) deadline: Option<Duration>,
    pub(super) max_output: Option<u64>,
    pub(super) parameters: Option<Json>,
    pub(super) compaction: Compacting,
}

/// Whether a turn compacts its conversation when that is due.
#[derive(Clone)]
pub(super) enum Compacting {
    Never,
    /// With a summary that the agent's own model writes.
    ByModel,
    By(Arc<dyn Summarizer>),
}

impl Agent {
    /// A model of a provider, by the name of its profile among those that the manager knows.
    pub fn new(provider: Arc<dyn ModelProvider>, model: impl Into<String>) -> Self {
        Self::with(provider, Model::Named(model.into()))
    }

    /// A model of a provider, by its profile.
    pub fn of_profile(provider: Arc<dyn ModelProvider>, profile: Arc<ModelProfile>) -> Self {
        Self::with(provider, Model::Of(profile))
    }

    fn with(provider: Arc<dyn ModelProvider>, model: Model) -> Self {
        Self {
            provider,
            model,
            instructions: None,
            tools: Vec::new(),
            gate: None,
            retry: Retry::default(),
            iterations: ITERATIONS,
            deadline: None,
            max_output: None,
            parameters: None,
            compaction: Compacting::ByModel,
        }
    }

    /// What the model is told before all else. It is written to the session's log when it is another than before
    /// ([`crate::Session::instruct`]).
    #[must_use]
    pub fn instructions(mut self, text: impl Into<String>) -> Self {
        self.instructions = Some(text.into());
        self
    }

    /// With one more tool.
    #[must_use]
    pub fn tool(mut self, tool: Arc<dyn Tool>) -> Self {
        self.tools.push(tool);
        self
    }

    /// With somebody who is asked before tools run. Without him all may.
    #[must_use]
    pub fn gate(mut self, gate: Arc<dyn ToolGate>) -> Self {
        self.gate = Some(gate);
        self
    }

    /// With other waits between attempts.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// With at most so many calls of the model in one turn (25 where nothing is said; 0 counts as 1).
    #[must_use]
    pub fn iterations(mut self, most: u32) -> Self {
        self.iterations = most.max(1);
        self
    }

    /// A turn takes no longer than this. What the session's own settings say counts too ([`sessions_domain::SessionSettings`]).
    #[must_use]
    pub fn deadline(mut self, longest: Duration) -> Self {
        self.deadline = Some(longest);
        self
    }

    /// The longest answer, in tokens. Without it: what the model's profile keeps free for it.
    #[must_use]
    pub fn max_output(mut self, tokens: u64) -> Self {
        self.max_output = Some(tokens);
        self
    }

    /// More of the request, in the provider's words: an object as in `{"temperature":0}`.
    #[must_use]
    pub fn parameters(mut self, parameters: Json) -> Self {
        self.parameters = Some(parameters);
        self
    }

    /// Summaries of what is compacted are written by this one. Where nothing is said, by the agent's own model, and without a model where
    /// that fails.
    #[must_use]
    pub fn summarizer(mut self, summarizer: Arc<dyn Summarizer>) -> Self {
        self.compaction = Compacting::By(summarizer);
        self
    }

    /// Its turns compact nothing. What does not fit the window is left out of what the model is sent.
    #[must_use]
    pub fn without_compaction(mut self) -> Self {
        self.compaction = Compacting::Never;
        self
    }

    /// The tools as a model is told of them.
    pub(super) fn specs(&self) -> Vec<ToolSpec> {
        self.tools.iter().map(|tool| tool.spec().clone()).collect()
    }

    pub(super) fn tool_named(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.tools.iter().find(|tool| tool.spec().name == name)
    }

    /// Whether a request can be made of it.
    pub(super) fn check(&self) -> Result<(), InvalidAgent> {
        let mut seen = BTreeSet::new();
        for tool in &self.tools {
            let name = tool.spec().name.as_str();
            let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
            if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(is_plain) {
                let name = name.chars().take(LONGEST_NAME).flat_map(char::escape_default).collect();
                return Err(InvalidAgent::ToolName { name });
            }
            if !seen.insert(name) {
                return Err(InvalidAgent::SameName { name: name.to_owned() });
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tools: Vec<&str> = self.tools.iter().map(|tool| tool.spec().name.as_str()).collect();
        f.debug_struct("Agent")
            .field("provider", &self.provider.name())
            .field("model", &self.model.name())
            .field("tools", &tools)
            .finish_non_exhaustive()
    }
}

/// An agent that no turn can run with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAgent {
    /// A tool's name that providers do not take.
    #[error(
        "a tool is named {name:?}, and providers take 1 to 64 letters, digits, _ and - (a–z, A–Z); name it otherwise"
    )]
    ToolName {
        /// The name.
        name: String,
    },
    /// Two tools of one name.
    #[error("two tools are named {name}; name one of them otherwise")]
    SameName {
        /// The name.
        name: String,
    },
    /// What is told of the tools leaves no room for a conversation.
    #[error(
        "what the model is told of its tools takes {needed} tokens and it takes {usable}; give it fewer tools, or say less of them"
    )]
    NoRoom {
        /// Tokens of the tools.
        needed: u64,
        /// What the model takes.
        usable: u64,
    },
}
