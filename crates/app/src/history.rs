//! Reading a conversation: the newest messages, all of them page by page, or every record with what became of it.
//!
//! Must not know: how messages are shown.

use std::sync::Arc;

use sessions_domain::{Event, Moment, StoredMessage, TokenUsage, View, branches::Stretch};
use sessions_ports::{KindFilter, Order};

use crate::{
    error::SessionError,
    reading::{BackWalk, Bounds, Read, is_unreadable},
    session::{At, HeadAt, Session},
};

/// A page is at most so many messages.
const PAGE: usize = 512;

/// The messages of a path, oldest first, page by page.
pub struct Messages {
    session: Session,
    view: Arc<View>,
    /// The stretches that are left, so that the last is the next.
    stretches: Vec<Stretch>,
    covered: Covered,
}

/// The messages that a summary stands for.
#[derive(Clone, Copy)]
pub(crate) struct Covered(Option<(u64, u64)>);

impl Covered {
    /// As it was at a place.
    pub(crate) fn at(view: &View, place: &HeadAt) -> Self {
        Self(view.compacted_at(place.at, place.head).summary)
    }

    fn now(view: &View) -> Self {
        Self(view.compacted_now().summary)
    }

    /// The message on that path, with the compaction that covers it.
    pub(crate) fn mark(self, message: StoredMessage) -> StoredMessage {
        let by = self.0.filter(|(_, to)| message.seq <= *to).map(|(compaction, _)| compaction);
        message.covered_by(by)
    }
}

impl Messages {
    /// Those that are visible in a view.
    pub(crate) fn of(session: &Session, view: Arc<View>) -> Self {
        let (stretches, covered) = (view.tree().path(view.head()).collect(), Covered::now(&view));
        Self { session: session.clone(), view, stretches, covered }
    }

    /// The next messages; `None` behind the last.
    ///
    /// # Errors
    /// The store's.
    pub async fn next_page(&mut self) -> Result<Option<Vec<StoredMessage>>, SessionError> {
        while let Some(reads) = self.next_reads().await? {
            let messages = reads.into_iter().filter_map(|read| read.message(true));
            let messages: Vec<StoredMessage> = messages.map(|message| self.covered.mark(message)).collect();
            if !messages.is_empty() {
                return Ok(Some(messages));
            }
        }
        Ok(None)
    }

    /// The same, with the places at which messages are lost or cannot be read.
    ///
    /// # Errors
    /// The store's.
    pub async fn next_entries(&mut self) -> Result<Option<Vec<Entry>>, SessionError> {
        let reads = self.next_reads().await?;
        let covered = self.covered;
        Ok(reads.map(|reads| reads.into_iter().map(|read| Entry::of(read, true).marked(covered)).collect()))
    }

    /// The next elements, at least one.
    async fn next_reads(&mut self) -> Result<Option<Vec<Read>>, SessionError> {
        while let Some(stretch) = self.stretches.pop() {
            let (order, kinds) = (Order::OldestFirst, KindFilter::Elements);
            let bounds = Bounds::records(PAGE);
            let (reads, rest) = self.session.manager().read_stretch(&self.view, stretch, order, kinds, bounds).await?;
            self.stretches.extend(rest);
            if !reads.is_empty() {
                return Ok(Some(reads));
            }
        }
        Ok(None)
    }
}

/// One record of a session's log, as people look at it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The record's number.
    pub seq: u64,
    /// What stands there.
    pub what: EntryKind,
}

/// What an [`Entry`] is.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "nearly every entry is a message; a box would cost an allocation each")]
pub enum EntryKind {
    /// A message.
    Message(StoredMessage),
    /// Another event.
    Event(Event),
    /// A record that was lost, as a repair marked it.
    Lost,
    /// A record that cannot be read now, and nothing says yet that it is lost: a copy of the store may have it.
    Damaged,
}

impl Entry {
    fn of(read: Read, visible: bool) -> Self {
        let Read { record, event, stamp, state, .. } = read;
        let seq = record.seq;
        let what = match event {
            Event::Appended(appended) => {
                EntryKind::Message(StoredMessage::of(seq, appended, stamp, visible).in_state(state))
            }
            Event::Lost if is_unreadable(&record) => EntryKind::Damaged,
            Event::Lost => EntryKind::Lost,
            other => EntryKind::Event(other),
        };
        Self { seq, what }
    }

    fn marked(mut self, covered: Covered) -> Self {
        if let EntryKind::Message(message) = self.what {
            self.what = EntryKind::Message(covered.mark(message));
        }
        self
    }

    /// The message, where the entry is one.
    pub fn message(self) -> Option<StoredMessage> {
        match self.what {
            EntryKind::Message(message) => Some(message),
            _ => None,
        }
    }
}

/// What a session's own records hold, whatever is visible of it: all branches, and what was undone, cleared or stands before a summary.
/// What a fork inherits is its parent's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages.
    pub messages: u64,
    /// Tool calls in them.
    pub tool_calls: u64,
    /// Tokens, as far as messages say them, once for each call of a model.
    pub usage: TokenUsage,
    /// When the first of them was said, by the clock of whoever said it.
    pub first: Option<Moment>,
    /// When the last was said.
    pub last: Option<Moment>,
}

impl Tally {
    fn count(&mut self, message: &StoredMessage) {
        let at = message.said_at();
        self.messages += 1;
        self.tool_calls += message.calls().count() as u64;
        self.usage = self.usage.plus(message.metadata.usage.unwrap_or_default());
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
        self.last = Some(self.last.map_or(at, |last| last.max(at)));
    }
}

impl Session {
    /// Counts what the session's own records hold. It reads all of them, so it takes as long as the log is.
    ///
    /// # Errors
    /// The store's.
    pub async fn tally(&self) -> Result<Tally, SessionError> {
        let view = self.fresh_view().await?;
        let mut tally = Tally::default();
        let mut rest = Some(Stretch { first: view.first_own(), last: view.version() });
        while let Some(stretch) = rest {
            let (order, kinds) = (Order::OldestFirst, KindFilter::Elements);
            let (reads, more) =
                self.manager().read_stretch(&view, stretch, order, kinds, Bounds::records(PAGE)).await?;
            reads.into_iter().filter_map(|read| read.message(true)).for_each(|message| tally.count(&message));
            rest = more;
        }
        Ok(tally)
    }

    /// The newest visible messages, at most so many, oldest of them first. Reads these and nothing else.
    ///
    /// # Errors
    /// The store's.
    pub async fn last(&self, count: usize) -> Result<Vec<StoredMessage>, SessionError> {
        self.last_at(At::Now, count).await
    }

    /// The newest messages that were visible at a place in history.
    ///
    /// # Errors
    /// As [`Session::fork`].
    pub async fn last_at(&self, at: At, count: usize) -> Result<Vec<StoredMessage>, SessionError> {
        let (reads, covered) = self.last_reads(at, count).await?;
        let messages = reads.into_iter().rev().filter_map(|read| read.message(true));
        Ok(messages.map(|message| covered.mark(message)).collect())
    }

    /// The same, with the places between them at which messages are lost or cannot be read.
    ///
    /// # Errors
    /// As [`Session::fork`].
    pub async fn last_entries_at(&self, at: At, count: usize) -> Result<Vec<Entry>, SessionError> {
        let (reads, covered) = self.last_reads(at, count).await?;
        Ok(reads.into_iter().rev().map(|read| Entry::of(read, true).marked(covered)).collect())
    }

    /// The newest elements, newest first, so many messages among them.
    async fn last_reads(&self, at: At, count: usize) -> Result<(Vec<Read>, Covered), SessionError> {
        let view = self.fresh_view().await?;
        let place = self.place_at(&view, at).await?;
        let covered = Covered::at(&view, &place);
        let mut walk = BackWalk::visible(self.manager(), view, place.head);
        let (mut reads, mut messages): (Vec<Read>, usize) = (Vec::new(), 0);
        while messages < count {
            let Some(page) = walk.next_page(Bounds::records((count - messages).min(PAGE))).await? else { break };
            messages += page.iter().filter(|read| matches!(read.event, Event::Appended(_))).count();
            if reads.is_empty() {
                reads = page;
            } else {
                reads.extend(page);
            }
        }
        Ok((reads, covered))
    }

    /// All visible messages, oldest first, page by page.
    ///
    /// # Errors
    /// The store's.
    pub async fn messages(&self) -> Result<Messages, SessionError> {
        self.messages_at(At::Now).await
    }

    /// All messages that were visible at a place in history, oldest first, page by page.
    ///
    /// # Errors
    /// As [`Session::fork`].
    pub async fn messages_at(&self, at: At) -> Result<Messages, SessionError> {
        let view = self.fresh_view().await?;
        let place = self.place_at(&view, at).await?;
        let (stretches, covered) = (view.tree().path(place.head).collect(), Covered::at(&view, &place));
        Ok(Messages { session: self.clone(), view, stretches, covered })
    }

    /// Records from a number on, hidden ones included, at most one page; empty behind the last.
    ///
    /// # Errors
    /// The store's.
    pub async fn entries(&self, from: u64) -> Result<Vec<Entry>, SessionError> {
        let view = self.fresh_view().await?;
        if from > view.version() {
            return Ok(Vec::new());
        }
        let visible: Vec<Stretch> = view.tree().path(view.head()).collect();
        let is_visible = |seq: u64| visible.iter().any(|stretch| stretch.first <= seq && seq <= stretch.last);
        let stretch = Stretch { first: from.max(1), last: view.version() };
        let (order, kinds) = (Order::OldestFirst, KindFilter::All);
        let (reads, _) = self.manager().read_stretch(&view, stretch, order, kinds, Bounds::records(PAGE)).await?;
        let covered = Covered::now(&view);
        let entry = |read: Read| {
            let visible = is_visible(read.record.seq);
            let entry = Entry::of(read, visible);
            if visible { entry.marked(covered) } else { entry }
        };
        Ok(reads.into_iter().map(entry).collect())
    }
}
