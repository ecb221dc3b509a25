//! A summarizer that tells whoever listens to a turn when it begins.
//!
//! Must not know: who writes the summary, or why.

use std::sync::Arc;

use async_trait::async_trait;
use sessions_ports::{Summarizer, Summary, SummaryFailure, SummaryWish};
use tokio::sync::mpsc;

use super::outcome::TurnEvent;

/// Writes summaries as another one does.
pub(super) struct Telling {
    pub(super) by: Arc<dyn Summarizer>,
    pub(super) events: mpsc::Sender<TurnEvent>,
}

#[async_trait]
impl Summarizer for Telling {
    fn name(&self) -> &str {
        self.by.name()
    }

    async fn summarize(&self, wish: &SummaryWish) -> Result<Summary, SummaryFailure> {
        // Nobody may listen.
        let _ = self.events.send(TurnEvent::Compacting).await;
        self.by.summarize(wish).await
    }
}
