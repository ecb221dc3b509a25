//! Where a turn that was cut off goes on.
//!
//! Must not know: why it was cut off.

use std::time::Duration;

use sessions_domain::{MessageRole, OpenCalls, StoredMessage, ToolCall, ToolContent};

use super::{outcome::ToolEnd, run::Runner};
use crate::{error::SessionError, session::At};

/// An answer and the results behind it are looked for among so many messages.
const BACK: usize = 1024;

const UNKNOWN: &str =
    "nobody knows whether it ran: the turn was interrupted. Look at what is there before you call it again";

impl Runner {
    /// Stands where the turn goes on, and gives the calls that are to be done before the model is asked.
    pub(super) async fn pick_up(&mut self) -> Result<Vec<ToolCall>, SessionError> {
        let seen = self.session.still_view().await?.version();
        let mut last = self.session.last(2).await?;
        let Some(newest) = last.pop() else { return Err(SessionError::NothingToResume) };
        match (newest.role, newest.state.is_complete()) {
            (MessageRole::Assistant, false) => {
                let Some(before) = last.pop() else { return Err(SessionError::NothingToResume) };
                if !self.session.leave(newest.seq, At::Message(before.id)).await? {
                    // What somebody says at this moment stays where it is.
                    return Err(SessionError::Conflict { expected: seen, actual: self.session.version().await? });
                }
                // An answer whose results were being written when one before it was cut off.
                let open = self.open_calls().await?;
                self.settle_interrupted(open).await
            }
            (MessageRole::Assistant, true) => {
                let open = self.open_calls().await?;
                if open.is_empty() { Err(SessionError::NothingToResume) } else { self.settle_interrupted(open).await }
            }
            (MessageRole::Tool, _) => {
                let open = self.open_calls().await?;
                self.settle_interrupted(open).await
            }
            (MessageRole::User, _) => Ok(Vec::new()),
            (MessageRole::System, _) => Err(SessionError::NothingToResume),
        }
    }

    /// The calls that wait for a result, in the order in which they were made.
    async fn open_calls(&self) -> Result<Vec<ToolCall>, SessionError> {
        self.session.know_open_calls().await?;
        let view = self.session.quiet_view().await?;
        let OpenCalls::Known(open) = view.open_calls() else { return Ok(Vec::new()) };
        if open.is_empty() {
            return Ok(Vec::new());
        }
        let back = self.session.last(BACK).await?;
        let called = back.iter().rev().find(|message| message.role == MessageRole::Assistant);
        let is_open = |call: &&ToolCall| open.contains(&call.call_id);
        Ok(called.map(|message: &StoredMessage| message.calls().filter(is_open).cloned().collect()).unwrap_or_default())
    }

    /// Of these calls those that may be done now; the others get a result that says what is known.
    async fn settle_interrupted(&mut self, calls: Vec<ToolCall>) -> Result<Vec<ToolCall>, SessionError> {
        let may_run =
            |call: &ToolCall| self.agent.tool_named(&call.name).is_none_or(|tool| tool.conduct().is_repeatable);
        let (again, unknown): (Vec<ToolCall>, Vec<ToolCall>) = calls.into_iter().partition(may_run);
        for call in unknown {
            let content = ToolContent::Text(UNKNOWN.to_owned());
            self.settle(call, ToolEnd::Interrupted, content, Duration::ZERO).await?;
        }
        Ok(again)
    }
}
