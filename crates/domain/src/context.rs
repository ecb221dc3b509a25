//! What is sent to a model: the messages that fit a budget, always a valid sequence.
//!
//! Must not know: how tokens are counted (a counter is handed in), or how a provider spells messages.

use serde::Serialize;

use crate::{
    message::{Message, MessageRole},
    pairing::{Repair, pair},
    stored::StoredMessage,
};

/// How much a context may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    tokens: u64,
}

impl Budget {
    /// So many tokens.
    pub const fn tokens(tokens: u64) -> Self {
        Self { tokens }
    }

    /// The number of tokens.
    pub const fn as_tokens(self) -> u64 {
        self.tokens
    }
}

/// Messages to send, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Context {
    /// The messages.
    pub messages: Vec<Message>,
    /// Tokens of the messages, as the counter counts.
    pub tokens: u64,
    /// What had to be mended so that the sequence is valid.
    pub repairs: Vec<Repair>,
}

/// The instructions alone are larger than the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the instructions take {needed} tokens and the budget is {budget}; raise the budget or shorten them")]
pub struct OverBudget {
    /// Tokens of what must always be sent.
    pub needed: u64,
    /// The budget.
    pub budget: u64,
}

/// Collects a context from the newest message back, until the budget is full.
#[derive(Debug)]
pub struct Gather<'a, C> {
    budget: Budget,
    count: &'a C,
    instructions: Vec<Message>,
    used: u64,
    /// Newest first: whole groups that fit.
    kept: Vec<StoredMessage>,
    /// Newest first: results whose call has not been seen yet.
    waiting: Vec<StoredMessage>,
    full: bool,
}

/// What a counter says is taken as it is, whatever it says.
fn total(counts: impl Iterator<Item = u64>) -> u64 {
    counts.fold(0, u64::saturating_add)
}

impl<'a, C: Fn(&Message) -> u64> Gather<'a, C> {
    /// Starts with the instructions, which are always sent.
    ///
    /// # Errors
    /// [`OverBudget`] when they alone do not fit.
    pub fn new(budget: Budget, count: &'a C, instructions: Vec<Message>) -> Result<Self, OverBudget> {
        let used = total(instructions.iter().map(count));
        if used > budget.tokens {
            return Err(OverBudget { needed: used, budget: budget.tokens });
        }
        Ok(Self { budget, count, instructions, used, kept: Vec::new(), waiting: Vec::new(), full: false })
    }

    /// Takes the next message, newest first. `false`: the budget is full, and older ones are not wanted.
    pub fn push(&mut self, message: StoredMessage) -> bool {
        if self.full || message.message.role == MessageRole::System {
            return !self.full;
        }
        if message.message.role == MessageRole::Tool {
            self.waiting.push(message);
            return true;
        }
        // A call and its results are taken or left together. What is missing is supplied later, so it is paid for now.
        let mut group: Vec<(Option<u64>, bool, Message)> = vec![(None, false, message.message.clone())];
        group.extend(self.waiting.iter().rev().map(|stored| (None, stored.late, stored.message.clone())));
        let cost = total(pair(group).0.iter().map(|(_, message)| (self.count)(message)));
        let used = self.used.saturating_add(cost);
        if used > self.budget.tokens {
            self.full = true;
            return false;
        }
        self.used = used;
        self.kept.append(&mut self.waiting);
        self.kept.push(message);
        true
    }

    /// The context. It starts at a user's message where it has one.
    pub fn finish(mut self) -> Context {
        if !self.full {
            self.kept.append(&mut self.waiting);
        }
        let start = self.kept.iter().rposition(|message| message.message.role == MessageRole::User);
        if let Some(start) = start.filter(|_| self.full) {
            self.kept.truncate(start + 1);
        }
        let path = self.kept.into_iter().rev().map(|stored| (Some(stored.seq), stored.late, stored.message));
        let (paired, repairs) = pair(path);
        let mut messages = self.instructions;
        messages.extend(paired.into_iter().map(|(_, message)| message));
        let tokens = total(messages.iter().map(self.count));
        Context { messages, tokens, repairs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        actor::Actor,
        event::{Appended, Stamp},
        identity::MessageId,
        message::MessagePart,
        moment::Moment,
        tokens,
    };

    fn estimate(message: &Message) -> u64 {
        4 + tokens::message(message, &tokens::estimate_text).count
    }

    fn stored(seq: u64, message: Message) -> StoredMessage {
        let id = MessageId::from_bytes([seq as u8; 16]);
        let (at, actor) = (Moment::default(), Actor::default());
        let appended = Appended { id, parent: None, depth: seq, late: false, replaces: None, message };
        StoredMessage::of(seq, appended, Stamp { at, actor }, true)
    }

    fn history() -> Vec<StoredMessage> {
        let call = MessagePart::tool_call("a", "t", "{}").unwrap();
        let messages = [
            Message::user("first question, rather long so that it costs something"),
            Message::assistant("answer"),
            Message::user("second"),
            Message::assistant("look").with(call),
            Message::tool_result("a", "found"),
            Message::assistant("done"),
        ];
        messages.into_iter().enumerate().map(|(at, message)| stored(at as u64 + 1, message)).collect()
    }

    #[test]
    fn every_budget_gives_a_valid_context_within_it() {
        for budget in 5..80 {
            let mut gather = Gather::new(Budget::tokens(budget), &estimate, vec![Message::system("be")]).unwrap();
            for message in history().into_iter().rev() {
                if !gather.push(message) {
                    break;
                }
            }
            let context = gather.finish();
            assert!(context.tokens <= budget, "{budget}: {}", context.tokens);
            assert_eq!(context.repairs, []);
            let calls = context.messages.iter().flat_map(Message::calls).count();
            let results = context.messages.iter().flat_map(Message::results).count();
            assert_eq!(calls, results, "{budget}");
            if let Some(first) = context.messages.get(1).filter(|_| budget > 40) {
                assert_eq!(first.role, MessageRole::User, "{budget}");
            }
        }
    }

    #[test]
    fn instructions_that_do_not_fit_are_an_error() {
        let wide = Gather::new(Budget::tokens(3), &estimate, vec![Message::system("be brief")]);
        assert_eq!(wide.err(), Some(OverBudget { needed: 6, budget: 3 }));
    }
}
