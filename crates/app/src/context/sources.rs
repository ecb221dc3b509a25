//! What a context always begins with, read from the log: instructions, pinned messages, the summary.
//!
//! Must not know: what fits.

use std::{collections::BTreeSet, sync::Arc};

use sessions_domain::{
    Event, Message, MessageRole, MessageState, StoredMessage, View,
    branches::Stretch,
    compaction::Shortens,
    context::{Group, Piece, Standing, Weigher, held, summary_message},
};
use sessions_ports::{KindFilter, Order};

use super::kept::Scope;
use crate::{
    error::SessionError,
    reading::{BackWalk, Bounds, is_instruction},
    session::Session,
};

/// Messages are looked through in pages of so many.
const PAGE: usize = 64;

/// Where to read.
pub(crate) struct Sources<'a> {
    pub(crate) session: &'a Session,
    pub(crate) view: &'a Arc<View>,
    pub(crate) head: u64,
}

impl Sources<'_> {
    /// What always stands at the beginning.
    pub(crate) async fn standing(&self, scope: &Scope) -> Result<Found, SessionError> {
        let leading = self.leading().await?;
        let last = leading.messages.last().map_or(0, |message| message.seq);
        let stated = self.instructions(scope).await?;
        let own = |stored: StoredMessage| Told {
            seq: stored.seq,
            is_over: stored.state != MessageState::Partial,
            message: stored.message,
        };
        let instructions = match stated {
            Some((seq, text)) => {
                let message = text.map(Message::system);
                message.into_iter().map(|message| Told { seq, is_over: true, message }).collect()
            }
            None => leading.messages.into_iter().map(own).collect(),
        };
        let compacted = scope.compacted;
        let summary = match compacted.summary {
            Some((compaction, _)) => self.summary(compaction).await?,
            None => None,
        };
        let covered = compacted.summary.filter(|_| summary.is_some()).map_or(0, |(_, to)| to);
        let lost_summary = compacted.summary.filter(|_| summary.is_none()).map(|(compaction, _)| compaction);
        Ok(Found {
            instructions,
            pinned: self.pinned(last).await?,
            summary,
            lost_summary,
            changed: scope.changed,
            first: last.max(covered).saturating_add(1),
            is_closed: leading.is_closed,
        })
    }

    /// What a person said last at a record or before it, on the path.
    pub(crate) async fn question(&self, before: u64) -> Result<Option<StoredMessage>, SessionError> {
        if before == 0 {
            return Ok(None);
        }
        let mut walk = BackWalk::visible(self.session.manager(), Arc::clone(self.view), before);
        while let Some(page) = walk.next_page(Bounds::records(PAGE)).await? {
            let said = page.into_iter().filter_map(|read| read.message(true));
            if let Some(asked) = said.into_iter().find(|message| message.role == MessageRole::User) {
                return Ok(Some(asked));
            }
        }
        Ok(None)
    }

    /// What was stated last, with its record.
    async fn instructions(&self, scope: &Scope) -> Result<Option<(u64, Option<String>)>, SessionError> {
        let Some(seq) = scope.instructions else { return Ok(None) };
        let read = self.session.manager().read_one(self.view, seq).await?;
        match read.map(|read| read.event) {
            Some(Event::Instructed(stated)) => Ok(Some((seq, stated.text))),
            _ => Ok(None),
        }
    }

    /// The summary of a compaction; `None` where its record is lost or damaged, and the conversation is then shown as it was said.
    async fn summary(&self, compaction: u64) -> Result<Option<Told>, SessionError> {
        let read = self.session.manager().read_one_around(self.view, compaction).await?;
        let Some(Event::Compacted(compacted)) = read.map(|read| read.event) else { return Ok(None) };
        let shown = compacted.covers.as_ref().zip(compacted.summary.as_ref());
        let message = shown.map(|(covers, summary)| summary_message(covers, summary));
        Ok(message.map(|message| Told { seq: compaction, is_over: true, message }))
    }

    /// The system messages that the visible conversation begins with, on however many stretches and pages they stand.
    async fn leading(&self) -> Result<Leading, SessionError> {
        let mut stretches: Vec<Stretch> = self.view.tree().path(self.head).collect();
        let mut leading = Leading { messages: Vec::new(), is_closed: false };
        while let Some(stretch) = stretches.pop() {
            let (order, kinds) = (Order::OldestFirst, KindFilter::Elements);
            let manager = self.session.manager();
            let (reads, rest) = manager.read_stretch(self.view, stretch, order, kinds, Bounds::records(8)).await?;
            stretches.extend(rest);
            for stored in reads.into_iter().filter_map(|read| read.message(true)) {
                if !is_instruction(&stored.message) {
                    leading.is_closed = true;
                    return Ok(leading);
                }
                leading.messages.push(stored);
            }
        }
        Ok(leading)
    }

    /// The groups of pinned messages on the path, oldest first, without those that are instructions.
    async fn pinned(&self, instructions_to: u64) -> Result<Vec<Vec<StoredMessage>>, SessionError> {
        let path: Vec<Stretch> = self.view.tree().path(self.head).collect();
        let is_visible = |seq: &u64| self.view.tree().is_visible(*seq, self.head);
        let wanted = self.view.pins().iter().copied().filter(|seq| *seq > instructions_to).filter(is_visible);
        let (mut groups, mut taken): (Vec<Vec<StoredMessage>>, BTreeSet<u64>) = (Vec::new(), BTreeSet::new());
        for seq in wanted {
            if taken.contains(&seq) {
                continue;
            }
            let messages = self.group_of(seq, &path).await?;
            taken.extend(messages.iter().map(|message| message.seq));
            groups.push(messages);
        }
        Ok(groups)
    }

    /// A message with the call that it answers, and all results of it.
    async fn group_of(&self, seq: u64, path: &[Stretch]) -> Result<Vec<StoredMessage>, SessionError> {
        let mut group: Vec<StoredMessage> = Vec::new();
        let mut walk = BackWalk::visible(self.session.manager(), Arc::clone(self.view), seq);
        'back: while let Some(page) = walk.next_page(Bounds::records(4)).await? {
            for message in page.into_iter().filter_map(|read| read.message(true)) {
                let is_result = message.role == MessageRole::Tool;
                group.push(message);
                if !is_result {
                    break 'back;
                }
            }
        }
        group.reverse();
        let behind = |stretch: &Stretch| Stretch { first: stretch.first.max(seq + 1), last: stretch.last };
        let mut rest: Vec<Stretch> = path.iter().map(behind).filter(|stretch| stretch.first <= stretch.last).collect();
        while let Some(stretch) = rest.pop() {
            let (order, kinds) = (Order::OldestFirst, KindFilter::Elements);
            let manager = self.session.manager();
            let (reads, more) = manager.read_stretch(self.view, stretch, order, kinds, Bounds::records(4)).await?;
            rest.extend(more);
            for message in reads.into_iter().filter_map(|read| read.message(true)) {
                if message.role != MessageRole::Tool {
                    return Ok(group);
                }
                group.push(message);
            }
        }
        Ok(group)
    }
}

/// What stands at the beginning, as it was read: nothing of it is counted yet.
pub(crate) struct Found {
    instructions: Vec<Told>,
    /// Groups, oldest first.
    pinned: Vec<Vec<StoredMessage>>,
    summary: Option<Told>,
    /// The compaction whose summary should stand there and cannot be read.
    pub(crate) lost_summary: Option<u64>,
    changed: u64,
    /// The first record that turns may stand at.
    pub(crate) first: u64,
    /// Whether the instructions are all there.
    pub(crate) is_closed: bool,
}

/// A message that the model is told at the beginning.
struct Told {
    /// Its record.
    seq: u64,
    /// Whether no more of it comes.
    is_over: bool,
    message: Message,
}

impl Told {
    fn weighed(self, weigher: &Weigher) -> Piece {
        let known = Some(self.seq).filter(|_| self.is_over);
        Piece { seq: Some(self.seq), ..Piece::of(known, self.message, weigher) }
    }
}

impl Found {
    /// Whether a summary stands for what is older than its turns.
    pub(crate) fn has_summary(&self) -> bool {
        self.summary.is_some()
    }

    /// The memory that it takes, in bytes.
    pub(crate) fn held(&self) -> usize {
        let told = self.instructions.iter().chain(&self.summary).map(|told| &told.message);
        let pinned = self.pinned.iter().flatten().map(|stored| &stored.message);
        told.chain(pinned).map(held).fold(0, usize::saturating_add)
    }

    /// The same, counted. What is long takes its time.
    pub(crate) fn weighed(self, shortens: Option<Shortens>, weigher: &Weigher) -> Standing {
        let group = |messages: &Vec<StoredMessage>| Group::of(messages, shortens, weigher);
        Standing {
            instructions: self.instructions.into_iter().map(|told| told.weighed(weigher)).collect(),
            pinned: self.pinned.iter().map(group).collect(),
            summary: self.summary.map(|told| told.weighed(weigher)),
            changed: self.changed,
        }
    }
}

struct Leading {
    messages: Vec<StoredMessage>,
    /// Whether anything stands behind them.
    is_closed: bool,
}
