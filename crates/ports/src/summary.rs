//! Who writes the summary of a conversation that is compacted.
//!
//! Must not know: what becomes of a summary.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use sessions_domain::{Message, compaction::Spent};

use crate::TokenCounter;

/// What is to be summarised.
#[derive(Clone)]
pub struct SummaryWish {
    /// The summary before, which the new one carries on and takes the place of.
    pub previous: Option<String>,
    /// The messages behind it, oldest first. Their text is untrusted.
    pub messages: Arc<[Message]>,
    /// The longest summary, in tokens of `counter`.
    pub max_tokens: u64,
    /// Counts them.
    pub counter: Arc<dyn TokenCounter>,
    /// Takes calls of a model whose summary nobody waits for any more.
    pub tab: Tab,
}

/// Calls of a model that took something and of which no summary tells, since it is not waited for any more. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct Tab(Arc<Mutex<Vec<Spent>>>);

impl Tab {
    /// Puts calls on it.
    pub fn put(&self, calls: impl IntoIterator<Item = Spent>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(calls);
    }

    /// Whether nothing is on it.
    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Takes all that are on it, for the ledger.
    #[must_use = "what is not written down now is written down nowhere"]
    pub fn take(&self) -> Vec<Spent> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A summary.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Its text, with the headings of [`sessions_domain::compaction::SECTIONS`].
    pub text: String,
    /// The model that wrote it, where one did.
    pub model: Option<String>,
    /// The calls of a model that it took.
    pub calls: Vec<Spent>,
}

/// No summary was made.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no summary was made: {what}")]
pub struct SummaryFailure {
    /// Why, without any word of the conversation.
    pub what: String,
    /// The calls of a model that it took all the same.
    pub calls: Vec<Spent>,
    /// Whether trying again may help.
    pub is_transient: bool,
}

/// Writes summaries.
#[async_trait]
pub trait Summarizer: Send + Sync {
    /// Its name, which stands beside what it wrote: `extractive`, `model`.
    fn name(&self) -> &str;

    /// Writes a summary.
    ///
    /// **Contract**: nothing is changed by it; dropping the future ends the work, and the calls made until then go on [`SummaryWish::tab`]. What it says of
    /// its calls is what they cost, also when it fails. A summary that is longer than was asked, or blank, is not taken.
    ///
    /// # Errors
    /// [`SummaryFailure`].
    async fn summarize(&self, wish: &SummaryWish) -> Result<Summary, SummaryFailure>;
}
