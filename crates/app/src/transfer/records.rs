//! A transcript as the events of a log.
//!
//! Order: the beginning, the lines without a place, the messages in the file's order with each parent before its children, and a
//! checkout where the last message is not the end of the main path. So the newest records are the newest messages.
//!
//! Must not know: who commits the events, or when.

use sessions_domain::{
    Cleared, Created, Described, Event, ImportSource, InvalidHistory, Json, Kinship, LineageId, MessageId, MoveCause,
    Moved, Origin, Parent, Residue, ResidueLine, SessionId, SessionKey, branches::Tree, decide,
};

use super::transcript::{Entry, EntryKind, Facts, Transcript};

/// How many bytes of lines one residue record holds, as they are written; a longer line has a record for itself.
pub const RESIDUE_BYTES: usize = 48 * 1024;

/// The names of the session that an import makes.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// The session.
    pub session: SessionId,
    /// Its log.
    pub lineage: LineageId,
    /// The host's key.
    pub key: Option<SessionKey>,
    /// The session that began this one, a sub-agent's.
    pub parent: Option<SessionId>,
}

impl Transcript {
    /// The file, as the session's first record names it.
    pub fn source(&self) -> ImportSource {
        let format = self.format.name().to_owned();
        ImportSource { format, id: self.facts.source_id(), digest: self.digest.clone() }
    }

    /// The events of a new session that holds the transcript, ready to be stamped and committed, record 1 first. The last event leaves
    /// the head at the end of the main path.
    ///
    /// # Errors
    /// [`InvalidHistory`] when an entry does not stand behind its parent, which no transcript of this module does.
    pub fn into_events(
        self,
        beginning: Beginning,
        mut next_id: impl FnMut() -> MessageId,
    ) -> Result<Vec<Event>, InvalidHistory> {
        let source = self.source();
        let Self { facts, entries, head, residue, .. } = self;
        let mut events = vec![Event::Created(Box::new(created(beginning, facts, source)))];
        events.extend(batches(residue).map(|lines| Event::Residue(Residue { lines })));
        let mut log = Log { tree: Tree::default(), stands: Vec::new(), head: Stand::default(), events };
        for entry in entries {
            log.add(entry, &mut next_id)?;
        }
        if let Some(end) = head.and_then(|head| log.stands.get(head).copied()) {
            log.move_to(end);
        }
        Ok(log.events)
    }
}

fn created(beginning: Beginning, facts: Facts, source: ImportSource) -> Created {
    let named = [
        ("version", &facts.version),
        ("git_branch", &facts.git_branch),
        ("git_commit", &facts.git_commit),
        ("agent", &facts.agent),
        ("parent", &facts.parent),
    ];
    let known = |(name, value): (&str, &Option<String>)| Some((name.to_owned(), Json::of(value.as_ref()?).ok()?));
    Created {
        key: beginning.key,
        parent: beginning.parent.map(|session| Parent { session, kinship: Kinship::SubAgent }),
        described: Described { title: facts.title, ..Described::default() },
        origin: Origin {
            creator: Some(source.format.clone()),
            cwd: facts.cwd,
            provider: facts.provider,
            model: facts.model,
            custom: named.into_iter().filter_map(known).collect(),
            ..Origin::default()
        },
        source: Some(source),
        ..Created::of(beginning.session, beginning.lineage)
    }
}

impl Facts {
    /// The id of the source: a sub-agent's file bears its session's id and the agent's.
    fn source_id(&self) -> Option<String> {
        match (&self.session, &self.agent) {
            (Some(session), Some(agent)) => Some(format!("{session}/{agent}")),
            (session, agent) => session.clone().or_else(|| agent.clone()),
        }
    }
}

/// Where an entry came to stand.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stand {
    pub(super) seq: u64,
    pub(super) depth: u64,
}

/// The log as it grows.
struct Log {
    tree: Tree,
    stands: Vec<Stand>,
    head: Stand,
    events: Vec<Event>,
}

impl Log {
    fn add(&mut self, entry: Entry, next_id: &mut impl FnMut() -> MessageId) -> Result<(), InvalidHistory> {
        let parent = match entry.parent {
            None => Stand::default(),
            Some(parent) => self.stands.get(parent).copied().ok_or_else(|| self.misplaced(parent))?,
        };
        let (event, depth) = match entry.kind {
            EntryKind::Message(message) => {
                let event = decide::placed(&self.tree, parent.seq, parent.depth, next_id(), *message, false);
                (event, parent.depth + 1)
            }
            EntryKind::Cleared => {
                self.move_to(parent);
                (Event::Cleared(Cleared { from: parent.seq, depth: parent.depth }), 0)
            }
        };
        let clears = matches!(event, Event::Cleared(_));
        self.events.push(event);
        let seq = self.events.len() as u64;
        self.tree.add(seq, parent.seq, clears)?;
        self.head = Stand { seq, depth };
        self.stands.push(self.head);
        Ok(())
    }

    fn misplaced(&self, parent: usize) -> InvalidHistory {
        let seq = self.events.len() as u64 + 1;
        sessions_domain::branches::NotAnElement { seq, parent: parent as u64 }.into()
    }

    fn move_to(&mut self, to: Stand) {
        if self.head != to {
            let Stand { seq, depth } = to;
            self.events.push(Event::Moved(Moved { to: seq, depth, cause: MoveCause::Checkout, steps: 1 }));
            self.head = to;
        }
    }
}

/// Lines in groups of at most [`RESIDUE_BYTES`].
pub(super) fn batches(lines: Vec<ResidueLine>) -> impl Iterator<Item = Vec<ResidueLine>> {
    let mut lines = lines.into_iter().peekable();
    std::iter::from_fn(move || {
        let first = lines.next()?;
        let mut bytes = written_bytes(&first);
        let mut batch = vec![first];
        while let Some(next) = lines.next_if(|next| bytes + written_bytes(next) <= RESIDUE_BYTES) {
            bytes += written_bytes(&next);
            batch.push(next);
        }
        Some(batch)
    })
}

/// Bytes of a line in a record: its text with escapes, and the names around it.
fn written_bytes(line: &ResidueLine) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    let text = line.text.iter().flat_map(|text| text.bytes()).map(escaped).sum::<usize>();
    text + line.base16.as_ref().map_or(0, String::len) + 32
}
