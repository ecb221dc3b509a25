//! The pair rule for history as it is: every tool call is answered directly after the message that made it.
//!
//! Where history breaks the rule (a turn was interrupted, a foreign file was imported, a cut went through a group), [`pair`] gives a
//! sequence that keeps it and reports each repair. It is deterministic and idempotent, and the log stays as it was.
//!
//! Must not know: budgets, providers.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use crate::message::{Message, MessageMetadata, MessagePart, MessageRole, ToolContent, ToolResult};

/// One difference between the history and the valid sequence made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "repair", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Repair {
    /// A call without a result was given an `interrupted` error result.
    Interrupted {
        /// The record of the message that made the call.
        seq: u64,
        /// The call.
        call_id: String,
    },
    /// A result without a call before it was left out.
    OrphanResult {
        /// The record of the result.
        seq: u64,
        /// The call it names.
        call_id: String,
    },
    /// A result that came after the conversation had gone on was left out.
    LateResult {
        /// The record of the result.
        seq: u64,
        /// The call it names.
        call_id: String,
    },
    /// A message is larger than all the room there is: its long texts are shortened, and reasoning is left out of it.
    Squeezed {
        /// The first record of the message and its results.
        seq: u64,
    },
    /// There was no room for the summary of what was compacted.
    SummaryLeftOut {
        /// The record of the compaction.
        seq: u64,
    },
    /// The summary of what was compacted cannot be read: what it stood for is shown as it was said.
    SummaryLost {
        /// The record of the compaction.
        seq: u64,
    },
    /// A second answer to a call was left out.
    DoubledResult {
        /// The record of the result.
        seq: u64,
        /// The call.
        call_id: String,
    },
    /// A text without anything but blanks was left out.
    BlankText {
        /// The record of the message.
        seq: u64,
    },
    /// A message that nothing was left of was left out.
    EmptyMessage {
        /// The record of the message.
        seq: u64,
    },
    /// A text that is longer than the form takes was cut.
    TextCut {
        /// The record of the message.
        seq: u64,
    },
    /// Blanks at the end of the last answer were left out.
    EndTrimmed {
        /// The record of the message.
        seq: u64,
    },
    /// Instructions stand as a user's words, between marks.
    SystemAsUser {
        /// The record of the message.
        seq: u64,
    },
    /// An error stands as text.
    ErrorAsText {
        /// The record of the message.
        seq: u64,
    },
    /// Reasoning was left out.
    ReasoningLeftOut {
        /// The record of the message.
        seq: u64,
    },
    /// A part that only its own provider understands, or nobody, was left out.
    CustomLeftOut {
        /// The record of the message.
        seq: u64,
    },
    /// A part of a result that the form has no place for stands as its JSON.
    CustomAsText {
        /// The record of the message.
        seq: u64,
    },
    /// A file in another provider's words stands in the form's.
    FileTranslated {
        /// The record of the message.
        seq: u64,
    },
    /// A file was left out, and a text says so.
    FileLeftOut {
        /// The record of the message.
        seq: u64,
    },
    /// A file that a tool gave stands in a message of the user behind the results.
    FileMoved {
        /// The record of the message.
        seq: u64,
    },
    /// A part stands where the form has a place for it: calls last and in an answer, what else a tool says in its result.
    PartMoved {
        /// The record of the message.
        seq: u64,
    },
    /// An answer with more calls than the form takes stands as several.
    CallsSplit {
        /// The record of the message.
        seq: u64,
    },
    /// Half of a surrogate pair was replaced by U+FFFD.
    EscapesMended {
        /// The record of the message.
        seq: u64,
    },
    /// A call has another id: the form does not take its own, or another call has it.
    CallRenamed {
        /// The record of the message.
        seq: u64,
        /// The call.
        call_id: String,
    },
    /// The tool of a call has another name: the form does not take its own.
    ToolRenamed {
        /// The record of the message.
        seq: u64,
        /// The call.
        call_id: String,
    },
    /// The input of a call was wrapped, because the form takes objects only.
    InputWrapped {
        /// The record of the message.
        seq: u64,
        /// The call.
        call_id: String,
    },
    /// A result without content was given one.
    ResultEmpty {
        /// The record of the message.
        seq: u64,
        /// The call.
        call_id: String,
    },
    /// The text of a failed call says that it failed, because the form has no field for it.
    ErrorMarked {
        /// The record of the message.
        seq: u64,
        /// The call.
        call_id: String,
    },
    /// A first message of the user was supplied.
    OpeningSupplied,
    /// A last message of the user was supplied.
    ClosingSupplied,
}

/// A message of the valid sequence, with the record it comes from (`None` for what was supplied).
pub type Paired = (Option<u64>, Message);

/// The text of the result that stands for one that never came.
pub const INTERRUPTED: &str = "interrupted: the tool call was not answered";

/// Makes a valid sequence of messages (record, late, message), in order.
pub fn pair(messages: impl IntoIterator<Item = (Option<u64>, bool, Message)>) -> (Vec<Paired>, Vec<Repair>) {
    let mut out: Vec<Paired> = Vec::new();
    let mut repairs = Vec::new();
    let mut group = Group::default();
    for (seq, late, message) in messages {
        if message.role == MessageRole::Tool {
            let number = seq.unwrap_or(0);
            let kept = group.take(message, number, late, &mut repairs);
            out.extend(kept.map(|message| (seq, message)));
            continue;
        }
        out.extend(group.close(&mut repairs));
        group = Group::of(seq.unwrap_or(0), &message);
        out.push((seq, message));
    }
    out.extend(group.close(&mut repairs));
    (out, repairs)
}

/// The calls of the last message that made some.
#[derive(Default)]
struct Group {
    seq: u64,
    /// In the order they were made; `None` once answered.
    calls: Vec<Option<String>>,
    /// Where the open ones of an id are, the first of them last.
    open: HashMap<String, Vec<usize>>,
    answered: HashSet<String>,
}

impl Group {
    fn of(seq: u64, message: &Message) -> Self {
        let ids: Vec<String> = message.calls().map(|call| call.call_id.clone()).collect();
        let mut open: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, id) in ids.iter().enumerate().rev() {
            open.entry(id.clone()).or_default().push(at);
        }
        let calls = ids.into_iter().map(Some).collect();
        Self { seq, calls, open, answered: HashSet::new() }
    }

    /// The tool message with the results that belong here, if any.
    fn take(&mut self, mut message: Message, seq: u64, late: bool, repairs: &mut Vec<Repair>) -> Option<Message> {
        message.parts.retain(|part| {
            let MessagePart::ToolResult(result) = part else { return true };
            let call_id = result.call_id.clone();
            if late {
                repairs.push(Repair::LateResult { seq, call_id });
            } else if let Some(at) = self.open.get_mut(&call_id).and_then(Vec::pop) {
                let _ = self.calls.get_mut(at).and_then(Option::take);
                self.answered.insert(call_id);
                return true;
            } else if self.answered.contains(&call_id) {
                repairs.push(Repair::DoubledResult { seq, call_id });
            } else {
                repairs.push(Repair::OrphanResult { seq, call_id });
            }
            false
        });
        let answers = message.results().count();
        (answers > 0).then_some(message)
    }

    /// The results that are still missing.
    fn close(&mut self, repairs: &mut Vec<Repair>) -> Option<Paired> {
        let open = std::mem::take(&mut self.calls).into_iter().flatten();
        self.open.clear();
        let result = |call_id: String| {
            repairs.push(Repair::Interrupted { seq: self.seq, call_id: call_id.clone() });
            MessagePart::ToolResult(ToolResult {
                call_id,
                content: ToolContent::Text(INTERRUPTED.to_owned()),
                is_error: true,
            })
        };
        let parts: Vec<MessagePart> = open.map(result).collect();
        let message = Message { role: MessageRole::Tool, parts, metadata: MessageMetadata::default() };
        (!message.parts.is_empty()).then_some((None, message))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn call(ids: &[&str]) -> Message {
        ids.iter()
            .fold(Message::assistant("c"), |message, id| message.with(MessagePart::tool_call(*id, "t", "{}").unwrap()))
    }

    fn run(messages: Vec<(bool, Message)>) -> (Vec<Paired>, Vec<Repair>) {
        pair(messages.into_iter().enumerate().map(|(at, (late, message))| (Some(at as u64 + 1), late, message)))
    }

    /// The rule itself, stated apart from the code that keeps it.
    fn is_valid(messages: &[Paired]) -> bool {
        let mut open: Vec<String> = Vec::new();
        for (_, message) in messages {
            if message.role == MessageRole::Tool {
                for result in message.results() {
                    let Some(at) = open.iter().position(|id| *id == result.call_id) else { return false };
                    open.remove(at);
                }
            } else {
                if !open.is_empty() {
                    return false;
                }
                open = message.calls().map(|call| call.call_id.clone()).collect();
            }
        }
        open.is_empty()
    }

    #[test]
    fn a_valid_history_is_unchanged() {
        let history = vec![
            (false, Message::user("go")),
            (false, call(&["a", "b"])),
            (false, Message::tool_result("b", "2")),
            (false, Message::tool_result("a", "1")),
            (false, Message::assistant("done")),
        ];
        let (paired, repairs) = run(history.clone());
        assert_eq!(repairs, []);
        assert!(paired.iter().map(|(_, message)| message).eq(history.iter().map(|(_, message)| message)));
    }

    #[test]
    fn each_break_is_mended_and_named() {
        let (paired, repairs) = run(vec![
            (false, Message::tool_result("before", "x")),
            (false, call(&["a", "b"])),
            (false, Message::tool_result("a", "1")),
            (false, Message::tool_result("a", "again")),
            (false, Message::user("go on")),
            (true, Message::tool_result("b", "late")),
        ]);
        assert_eq!(
            repairs,
            [
                Repair::OrphanResult { seq: 1, call_id: "before".into() },
                Repair::DoubledResult { seq: 4, call_id: "a".into() },
                Repair::Interrupted { seq: 2, call_id: "b".into() },
                Repair::LateResult { seq: 6, call_id: "b".into() },
            ]
        );
        assert!(is_valid(&paired));
        assert_eq!(paired.len(), 4);
    }

    proptest! {
        #[test]
        fn any_history_becomes_valid_and_stays_so(kinds in prop::collection::vec((0_u8..5, 0_u8..4, any::<bool>()), 0..40)) {
            let history = kinds.into_iter().map(|(kind, id, late)| {
                let name = id.to_string();
                match kind {
                    0 => (false, Message::user("u")),
                    1 => (false, Message::assistant("a")),
                    2 => (false, call(&[name.as_str()])),
                    3 => (false, call(&[name.as_str(), "x"])),
                    _ => (late, Message::tool_result(name, "r")),
                }
            });
            let (paired, _) = run(history.collect());
            prop_assert!(is_valid(&paired));
            let again = pair(paired.iter().map(|(seq, message)| (*seq, false, message.clone())));
            prop_assert_eq!(again, (paired, vec![]));
        }
    }
}
