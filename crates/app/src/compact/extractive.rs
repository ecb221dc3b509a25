//! The summarizer that needs no model.
//!
//! Must not know: how lines are picked; the domain does it.

use async_trait::async_trait;
use sessions_domain::compaction::extract;
use sessions_ports::{Summarizer, Summary, SummaryFailure, SummaryWish};

/// Picks what was asked, answered and touched out of the conversation. It costs nothing, and the same messages give the same summary.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extractive;

#[async_trait]
impl Summarizer for Extractive {
    fn name(&self) -> &str {
        "extractive"
    }

    async fn summarize(&self, wish: &SummaryWish) -> Result<Summary, SummaryFailure> {
        let wish = wish.clone();
        let work = move || {
            extract(wish.previous.as_deref(), &wish.messages, |text| wish.counter.count(text) <= wish.max_tokens)
        };
        let failed = |what: &str| SummaryFailure { what: what.to_owned(), calls: Vec::new(), is_transient: false };
        let text = tokio::task::spawn_blocking(work).await.map_err(|_| failed("its runtime ended"))?;
        let text =
            text.ok_or_else(|| failed("nothing of the conversation fits it; name a larger target, or unpin messages"))?;
        Ok(Summary { text, model: None, calls: Vec::new() })
    }
}
