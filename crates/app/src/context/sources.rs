//! What a context always begins with, read from the log: instructions, pinned messages, the summary.
//!
//! Must not know: what fits.

use std::{collections::BTreeSet, sync::Arc};

use sessions_domain::{
    Event, MessageRole, MessageState, StoredMessage, View,
    branches::Stretch,
    context::{Group, Piece, Standing, summary_message},
};
use sessions_ports::{KindFilter, Order};

use super::kept::Scope;
use crate::{
    error::SessionError,
    reading::{BackWalk, Bounds, is_instruction},
    session::Session,
};

/// Where to read.
pub(crate) struct Sources<'a> {
    pub(crate) session: &'a Session,
    pub(crate) view: &'a Arc<View>,
    pub(crate) head: u64,
}

impl Sources<'_> {
    /// What always stands at the beginning, the first record that turns may stand at, and whether the instructions are all there.
    pub(crate) async fn standing(&self, scope: &Scope) -> Result<(Standing, u64, bool), SessionError> {
        let leading = self.leading().await?;
        let last = leading.messages.last().map_or(0, |message| message.seq);
        let stated = self.instructions(scope).await?;
        let own = |message: StoredMessage| {
            let seq = Some(message.seq).filter(|_| message.state != MessageState::Partial);
            Piece { seq: Some(message.seq), ..Piece::of(seq, message.message, &scope.weigher) }
        };
        let instructions = match stated {
            Some((seq, text)) => {
                let message = text.map(sessions_domain::Message::system);
                message.into_iter().map(|message| Piece::of(Some(seq), message, &scope.weigher)).collect()
            }
            None => leading.messages.into_iter().map(own).collect(),
        };
        let compacted = scope.compacted;
        let summary = match compacted.summary {
            Some((compaction, _)) => self.summary(compaction, scope).await?,
            None => None,
        };
        let covered = compacted.summary.filter(|_| summary.is_some()).map_or(0, |(_, to)| to);
        let pinned = self.pinned(scope, last).await?;
        let standing = Standing { instructions, pinned, summary, changed: scope.changed };
        Ok((standing, last.max(covered).saturating_add(1), leading.is_closed))
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

    /// The summary of a compaction; `None` where its record is lost, and the conversation is then shown as it was said.
    async fn summary(&self, compaction: u64, scope: &Scope) -> Result<Option<Piece>, SessionError> {
        let read = self.session.manager().read_one(self.view, compaction).await?;
        let Some(Event::Compacted(compacted)) = read.map(|read| read.event) else { return Ok(None) };
        let shown = compacted.covers.as_ref().zip(compacted.summary.as_ref());
        Ok(shown.map(|(covers, summary)| Piece::of(Some(compaction), summary_message(covers, summary), &scope.weigher)))
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
    async fn pinned(&self, scope: &Scope, instructions_to: u64) -> Result<Vec<Group>, SessionError> {
        let path: Vec<Stretch> = self.view.tree().path(self.head).collect();
        let is_visible = |seq: &u64| self.view.tree().is_visible(*seq, self.head);
        let wanted = self.view.pins().iter().copied().filter(|seq| *seq > instructions_to).filter(is_visible);
        let (mut groups, mut taken): (Vec<Group>, BTreeSet<u64>) = (Vec::new(), BTreeSet::new());
        let shortens = scope.compacted.shortens;
        for seq in wanted {
            if taken.contains(&seq) {
                continue;
            }
            let messages = self.group_of(seq, &path).await?;
            taken.extend(messages.iter().map(|message| message.seq));
            groups.push(Group::of(&messages, shortens, &scope.weigher));
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

struct Leading {
    messages: Vec<StoredMessage>,
    /// Whether anything stands behind them.
    is_closed: bool,
}
