//! The rest of a session's life, as its users see it: what arrives bit by bit, new versions, states of life, names and pins.
//!
//! Must not know: how the real thing decides, stores or reads.

use sessions_domain::{Message, MessageId, MessagePart, MessageState, SessionStatus};

use super::{Arrival, Model, Refusal, Said};

impl Said {
    /// The message as far as it came, and whether that is all of it.
    pub fn whole(&self) -> (Message, MessageState) {
        let Some(arrival) = &self.arrival else { return (self.message.clone(), MessageState::Complete) };
        let mut message = self.message.clone();
        for part in arrival.pieces.iter().flat_map(|(_, parts)| parts) {
            match (message.parts.last_mut(), part) {
                (Some(MessagePart::Text(text)), MessagePart::Text(more)) => text.push_str(more),
                (_, part) => message.parts.push(part.clone()),
            }
        }
        (message, arrival.ended.map_or(MessageState::Partial, |(_, state)| state))
    }

    /// The number of the last of its records; `began`: that of the first.
    pub fn last_record(&self, began: u64) -> u64 {
        let Some(arrival) = &self.arrival else { return began };
        let last_piece = arrival.pieces.last().map(|(seq, _)| *seq);
        arrival.ended.map(|(seq, _)| seq).or(last_piece).unwrap_or(began)
    }
}

impl Model {
    fn arriving(&mut self) -> Option<&mut Arrival> {
        let open = self.open?;
        self.nodes.iter_mut().find(|node| node.seq == open)?.said.as_mut()?.arrival.as_mut()
    }

    /// Begins a message.
    ///
    /// # Errors
    /// While another arrives, or the session is not active.
    pub fn begin(&mut self, id: MessageId, message: Message) -> Result<u64, Refusal> {
        self.check_open()?;
        let arrival = Some(Arrival::default());
        self.grow(Some(Said { id, message, late: false, replaces: None, arrival }));
        self.open = Some(self.version);
        Ok(self.version)
    }

    /// More of the message that is arriving.
    pub fn arrive(&mut self, parts: Vec<MessagePart>) {
        self.version += 1;
        let seq = self.version;
        if let Some(arrival) = self.arriving() {
            arrival.pieces.push((seq, parts));
        }
    }

    /// Ends the message that is arriving.
    pub fn end(&mut self, state: MessageState) {
        self.version += 1;
        let seq = self.version;
        if let Some(arrival) = self.arriving() {
            arrival.ended = Some((seq, state));
        }
        self.open = None;
    }

    /// A new version of a message, on a branch that ends there.
    ///
    /// # Errors
    /// For messages with tools in them.
    pub fn edit(&mut self, seq: u64, id: MessageId, message: Message) -> Result<(), Refusal> {
        self.check_open()?;
        let Some(node) = self.node(seq).cloned() else { return Err(Refusal::NotEditable) };
        let Some(said) = &node.said else { return Err(Refusal::NotEditable) };
        let has_tools = |message: &Message| message.calls().next().is_some() || message.results().next().is_some();
        if has_tools(&said.whole().0) || has_tools(&message) || said.message.role != message.role {
            return Err(Refusal::NotEditable);
        }
        self.head = node.parent;
        self.grow(Some(Said { id, message, late: false, replaces: Some(said.id), arrival: None }));
        Ok(())
    }

    /// Goes to where the head stood. Gives false when it stands there already.
    ///
    /// # Errors
    /// While a message arrives, or the session is not active.
    pub fn go_to(&mut self, head: u64) -> Result<bool, Refusal> {
        self.check_open()?;
        if head == self.head {
            return Ok(false);
        }
        self.version += 1;
        self.head = head;
        self.redo_tip = None;
        Ok(true)
    }

    /// Gives the session another state of life. Gives false when it has it already.
    ///
    /// # Errors
    /// When that one does not follow.
    pub fn become_status(&mut self, to: SessionStatus) -> Result<bool, Refusal> {
        use SessionStatus::{Active, Archived, Completed, Failed, Paused};
        if to == self.status {
            return Ok(false);
        }
        let follows = match to {
            Active => self.status == Paused || self.before_archive == Some(Active),
            Paused => self.status == Active || self.before_archive == Some(Paused),
            Completed => matches!(self.status, Active | Paused) || self.before_archive == Some(Completed),
            Failed => matches!(self.status, Active | Paused) || self.before_archive == Some(Failed),
            Archived => true,
        };
        if !follows {
            return Err(Refusal::InvalidTransition);
        }
        self.version += 1;
        self.before_archive = Some(self.status).filter(|_| to == Archived);
        self.status = to;
        Ok(true)
    }

    /// Puts the session into the trash, or takes it out. Gives false when it is so already.
    pub fn trash(&mut self, trashed: bool) -> bool {
        let changed = self.trashed != trashed;
        self.version += u64::from(changed);
        self.trashed = trashed;
        changed
    }

    /// Gives a key of state a value, or takes it away. Gives false when it is so already.
    pub fn set(&mut self, key: &str, value: Option<&str>) -> bool {
        let changed = self.state.get(key).map(String::as_str) != value;
        match value {
            Some(value) => self.state.insert(key.to_owned(), value.to_owned()),
            None => self.state.remove(key),
        };
        self.version += u64::from(changed);
        changed
    }

    /// Pins a message, or lets it go. Gives false when it is so already.
    pub fn pin(&mut self, seq: u64, pinned: bool) -> bool {
        let changed = if pinned { self.pins.insert(seq) } else { self.pins.remove(&seq) };
        self.version += u64::from(changed);
        changed
    }

    /// Names a place. Gives false when it has the name already.
    pub fn name(&mut self, name: &str, version: u64, head: u64) -> bool {
        let changed = self.checkpoints.insert(name.to_owned(), (version, head)) != Some((version, head));
        self.version += u64::from(changed);
        changed
    }
}
