//! What a compaction is asked to do, and what it did.
//!
//! Must not know: how it is done.

use std::sync::Arc;

use serde::Serialize;
use sessions_domain::{
    View,
    compaction::{Compacted, CompactionCause, CompactionPolicy, Plan, Spent},
    context::Budget,
    profile::ModelProfile,
};
use sessions_ports::{Summarizer, Tab};

use super::extractive::Extractive;
use crate::{
    context::{ContextWish, Model},
    error::SessionError,
    session::Session,
};

/// What a compaction is to do. As it is: for no model in particular, by the manager's policy, without a model that writes the summary.
#[derive(Clone)]
pub struct CompactionWish {
    pub(super) model: Option<Model>,
    pub(super) target: Option<Budget>,
    pub(super) policy: Option<CompactionPolicy>,
    pub(super) cause: CompactionCause,
    pub(super) summarizer: Option<Arc<dyn Summarizer>>,
    pub(super) tab: Option<Tab>,
}

impl Default for CompactionWish {
    fn default() -> Self {
        Self { model: None, target: None, policy: None, cause: CompactionCause::Manual, summarizer: None, tab: None }
    }
}

impl CompactionWish {
    /// For a model that the manager knows: by its window and in its encoding.
    #[must_use]
    pub fn for_model(mut self, name: impl Into<String>) -> Self {
        self.model = Some(Model::Named(name.into()));
        self
    }

    /// For a model of this profile.
    #[must_use]
    pub fn for_profile(mut self, profile: Arc<ModelProfile>) -> Self {
        self.model = Some(Model::Of(profile));
        self
    }

    /// Down to a budget, whatever the window.
    #[must_use]
    pub fn down_to(mut self, target: Budget) -> Self {
        self.target = Some(target);
        self
    }

    /// By another policy.
    #[must_use]
    pub fn by_policy(mut self, policy: CompactionPolicy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Because of this.
    #[must_use]
    pub fn because(mut self, cause: CompactionCause) -> Self {
        self.cause = cause;
        self
    }

    /// With summaries that this one writes.
    #[must_use]
    pub fn with(mut self, summarizer: Arc<dyn Summarizer>) -> Self {
        self.summarizer = Some(summarizer);
        self
    }

    /// With somebody who notes what was begun when nobody waits for the summary any more.
    #[must_use]
    pub(crate) fn on(mut self, tab: Tab) -> Self {
        self.tab = Some(tab);
        self
    }

    /// What tells it from another that is asked for under the same key.
    pub(super) fn asked(&self) -> impl Serialize + use<> {
        (self.target.map(Budget::as_tokens), self.model.as_ref().map(Model::name), self.policy, self.cause)
    }

    /// Tokens that a context of so many is to be brought down to.
    pub(super) fn aim(&self, usable: Option<u64>, policy: &CompactionPolicy, before: u64) -> u64 {
        let named = self.target.map(Budget::as_tokens);
        named.or(usable.map(|usable| policy.target(usable))).unwrap_or(before / 2)
    }

    /// The context that it is about, within the model's window.
    pub(super) fn context(&self) -> ContextWish {
        ContextWish { model: self.model.clone(), ..ContextWish::from(Budget::tokens(u64::MAX)) }
    }

    /// Who writes the summary.
    pub(super) fn summarizer(&self) -> Arc<dyn Summarizer> {
        self.summarizer.clone().unwrap_or_else(|| Arc::new(Extractive))
    }

    pub(super) fn policy(&self, session: &Session, view: &View) -> CompactionPolicy {
        self.policy.unwrap_or_else(|| session.manager().compaction(view))
    }

    /// The model that it is for.
    pub(super) fn profile(&self, session: &Session) -> Result<Option<Arc<ModelProfile>>, SessionError> {
        self.model.as_ref().map(|model| model.profile(session)).transpose()
    }

    /// What a context may hold, as far as anybody said.
    pub(super) fn usable(&self, session: &Session, view: &View) -> Result<Option<u64>, SessionError> {
        let profile = self.profile(session)?;
        let limits = [profile.map(|profile| profile.usable()), session.manager().max_context_tokens(view)];
        Ok(limits.into_iter().flatten().min())
    }
}

/// What a compaction did, or would do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CompactionReport {
    /// Tokens of the whole context before it.
    pub before: u64,
    /// Tokens of it behind it.
    pub after: u64,
    /// Tokens that it was to be brought down to: those that were named, or the policy's share of what the model takes, or half of `before`. What
    /// always stays (instructions, what is pinned, the summary, the newest message) may have more.
    pub target: u64,
    /// Messages that a summary stands for.
    pub covers: u64,
    /// What was done.
    pub plan: Plan,
    /// The summary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// What made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The calls of a model that it took.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<Spent>,
    /// The number of its record: its name for [`Session::check_summary`]. `None`: it was only planned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compaction: Option<u64>,
    /// The session's version behind it. `None`: it was only planned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

impl CompactionReport {
    /// Whether the context has more tokens than it was to be brought down to; of what was only planned: whether it may have.
    pub const fn is_missed(&self) -> bool {
        self.after > self.target
    }

    pub(super) fn of(compacted: &Compacted, target: u64, seq: u64, version: u64) -> Self {
        let plan = match (&compacted.covers, compacted.shortens) {
            (Some(covers), _) => Plan::Summarise { to: covers.to },
            (None, Some(shortens)) => Plan::Shorten { to: shortens.to },
            (None, None) => Plan::Nothing,
        };
        Self {
            before: compacted.before,
            after: compacted.after,
            target,
            covers: compacted.covers.as_ref().map_or(0, |covers| covers.messages),
            plan,
            summary: compacted.summary.as_ref().map(|summary| summary.text.clone()),
            by: compacted.summary.as_ref().map(|summary| summary.by.clone()),
            calls: compacted.calls.clone(),
            compaction: Some(seq),
            version: Some(version),
        }
    }
}

/// A compaction that was not made. The conversation is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompactionRefused {
    /// There is nothing to compact.
    #[error(
        "there is nothing to compact; the conversation takes no more than it is to be brought down to, or all that is left are the instructions, what is pinned and the newest turn"
    )]
    Nothing,
    /// It would win too little.
    #[error(
        "the context would take {after} tokens and takes {before} now, so nothing was changed; ask again when more was said"
    )]
    NotSmaller {
        /// Tokens before.
        before: u64,
        /// Tokens that it would take.
        after: u64,
    },
    /// The summary says nothing.
    #[error("the summary is blank, so nothing was changed; try again, or let another model write it")]
    Blank,
    /// The summary is longer than it may be.
    #[error(
        "the summary is too long, at {tokens} of at most {most} tokens, so nothing was changed; name a larger target, or let another model write it"
    )]
    TooLong {
        /// Its tokens.
        tokens: u64,
        /// What it may have.
        most: u64,
    },
    /// No summary was made.
    #[error("no summary was made, and nothing was changed: {what}")]
    Failed {
        /// Why.
        what: String,
        /// Whether trying again may help.
        is_transient: bool,
    },
}

impl CompactionRefused {
    /// Whether the same may go well when it is tried again.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Failed { is_transient: true, .. })
    }
}
