//! What the tests of the rules stand on.
//!
//! Must not know: what is tested.

use super::{CallsOnPath, Element, RedoBy, RuleViolation, UndoBy, Walk, Window, append, open_calls, redo, undo};
use crate::{
    chain::CommitHash,
    event::Event,
    identity::MessageId,
    message::{Message, MessagePart},
    view::{
        OpenCalls, View,
        tests::{begun, stamp},
    },
};

/// A session in memory that keeps its elements with their parents, to hand windows to the rules.
pub(super) struct Session {
    pub(super) view: View,
    elements: Vec<(u64, Element)>,
}

impl Session {
    pub(super) fn new() -> Self {
        Self { view: begun(), elements: Vec::new() }
    }

    pub(super) fn apply(&mut self, event: Event) {
        let seq = self.view.version() + 1;
        if let Some(element) = Element::of(seq, &event) {
            self.elements.push((self.view.head(), element));
        }
        self.view.apply(seq, &event, &stamp(), CommitHash::ZERO).unwrap();
    }

    pub(super) fn back(&self, mut at: u64) -> Vec<Element> {
        let mut path = Vec::new();
        while let Some((parent, element)) = self.elements.iter().find(|(_, element)| element.seq == at) {
            path.push(element.clone());
            at = *parent;
        }
        path
    }

    pub(super) fn say(&mut self, message: Message) -> Result<(), RuleViolation> {
        let path = self.back(self.view.head());
        if let (OpenCalls::Unknown, Walk::Done(open)) =
            (self.view.open_calls(), open_calls(Window { elements: &path, complete: true }))
        {
            self.view.set_open_calls(open);
        }
        let id = MessageId::from_bytes([self.view.version() as u8; 16]);
        let event = append(&self.view, id, message, &CallsOnPath::default())?;
        self.apply(event);
        Ok(())
    }

    pub(super) fn undo(&mut self, by: UndoBy) -> Result<u64, RuleViolation> {
        let path = self.back(self.view.head());
        for length in 0..=path.len() {
            let window = Window { elements: &path[..length], complete: length == path.len() };
            if let Walk::Done(event) = undo(&self.view, by, window)? {
                self.apply(event.clone());
                let Event::Moved(moved) = event else { panic!("undo moves") };
                return Ok(moved.steps);
            }
        }
        panic!("a complete window is enough")
    }

    pub(super) fn redo(&mut self, by: RedoBy) -> Result<u64, RuleViolation> {
        let tip = self.view.redo_tip().ok_or(RuleViolation::NothingToRedo)?;
        let mut forth = self.back(tip);
        forth.retain(|element| !self.back(self.view.head()).contains(element));
        forth.reverse();
        let Walk::Done(event) = redo(&self.view, by, Window { elements: &forth, complete: true })? else {
            panic!("a complete window is enough")
        };
        self.apply(event.clone());
        let Event::Moved(moved) = event else { panic!("redo moves") };
        Ok(moved.steps)
    }
}

pub(super) fn call(ids: &[&str]) -> Message {
    let mut message = Message::assistant("calling");
    for id in ids {
        message = message.with(MessagePart::tool_call(*id, "tool", "{}").unwrap());
    }
    message
}

pub(super) fn with_calls() -> Session {
    let mut session = Session::new();
    session.say(Message::user("go")).unwrap();
    session.say(call(&["a", "b"])).unwrap();
    session.say(Message::tool_result("a", "1")).unwrap();
    session.say(Message::tool_result("b", "2")).unwrap();
    session.say(Message::assistant("done")).unwrap();
    session
}
