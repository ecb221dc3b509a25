//! Reading records of a session, wherever they lie: its own log, or the owners of what it inherited.
//!
//! Must not know: what the records are read for.

use std::sync::Arc;

use bytes::Bytes;
use sessions_domain::{
    CommitHash, Event, Kind, Message, MessageId, MessageState, SessionId, Stamp, StoredMessage, View,
    branches::Stretch, codec, decide::Element, stream::Assembly,
};
use sessions_ports::{KeyError, KindFilter, Order, Page, ReadRange, Record, SessionLog, StoreError};

use crate::{error::SessionError, keyed, manager::SessionManager};

/// A record with its meaning. A message that arrived bit by bit is put together: it stands where it began.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) record: Record,
    pub(crate) event: Event,
    pub(crate) stamp: Stamp,
    /// Whether the message is whole.
    pub(crate) state: MessageState,
    /// The last record of a message that has several, with its commit.
    pub(crate) end: Option<(u64, CommitHash)>,
}

/// Stands where a record cannot be read. No record has this commit, so it is told from one that a repair marked as lost.
pub(crate) fn is_unreadable(record: &Record) -> bool {
    record.kind == Kind::LOST && record.commit == CommitHash::ZERO
}

/// What stands there.
pub(crate) fn unreadable(seq: u64) -> Record {
    let payload = Bytes::from_static(&[0; 32]);
    Record { seq, kind: Kind::LOST, commit: CommitHash::ZERO, label: 0, payload }
}

/// Reads a range around records that cannot be read, and says of each where it would stand.
pub(crate) async fn read_around(
    store: &dyn SessionLog,
    session: SessionId,
    range: ReadRange,
) -> Result<Page, StoreError> {
    let is_of_range = |of: SessionId, seq: u64| of == session && range.from <= seq && seq <= range.to;
    let damaged = match store.read(session, range).await {
        Err(StoreError::Corrupt { seq, session: of, .. }) if is_of_range(of, seq) => seq,
        // An old record that somebody put back, or that came up when a newer one was lost: nobody can open it any more.
        Err(StoreError::Key(KeyError::EpochRetired { seq, session: of, .. })) if is_of_range(of, seq) => seq,
        read => return read,
    };
    // What stands before it is read first; then it is the first of the range, and given alone.
    let (before, behind) = match range.order {
        Order::OldestFirst => (
            damaged.checked_sub(1).filter(|to| *to >= range.from).map(|to| ReadRange { to, ..range }),
            damaged.checked_add(1).filter(|next| *next <= range.to),
        ),
        Order::NewestFirst => (
            damaged.checked_add(1).filter(|from| *from <= range.to).map(|from| ReadRange { from, ..range }),
            damaged.checked_sub(1).filter(|next| *next >= range.from && *next > 0),
        ),
    };
    if let Some(before) = before {
        let page = Box::pin(read_around(store, session, before)).await?;
        if !page.records.is_empty() {
            return Ok(Page { next: page.next.or(Some(damaged)), ..page });
        }
    }
    Ok(Page { records: vec![unreadable(damaged)], next: behind })
}

/// Whether a session is deleted, or shredded where what said so is lost.
pub(crate) fn is_ended(error: &StoreError) -> bool {
    matches!(error, StoreError::Gone { .. } | StoreError::Key(KeyError::SessionDestroyed { .. }))
}

/// Whether what others inherit of a session cannot be read either: it is ended, or its keys are damaged or older than it is, and may be put back.
pub(crate) fn is_shut(error: &StoreError) -> bool {
    is_ended(error) || matches!(error, StoreError::Key(KeyError::Damaged { .. } | KeyError::SessionRetired { .. }))
}

/// What stands in the place of records that nobody can read.
fn nobodys(range: ReadRange) -> Page {
    let ReadRange { from, to, order, max_records, .. } = range;
    let count = max_records.max(1);
    let (seqs, next): (Vec<u64>, _) = match order {
        Order::OldestFirst => {
            let seqs: Vec<u64> = (from..=to).take(count).collect();
            let next = seqs.last().and_then(|last| last.checked_add(1)).filter(|next| *next <= to);
            (seqs, next)
        }
        Order::NewestFirst => {
            let seqs: Vec<u64> = (from..=to).rev().take(count).collect();
            let next = seqs.last().and_then(|last| last.checked_sub(1)).filter(|next| *next >= from && *next > 0);
            (seqs, next)
        }
    };
    Page { records: seqs.into_iter().map(unreadable).collect(), next }
}

/// The meaning of a record: its body stands behind the 32 bytes of blind.
pub(crate) fn decoded(session: SessionId, record: &Record) -> Result<(Event, Stamp), SessionError> {
    let body = record.payload.get(32..).unwrap_or_default();
    codec::decode(record.kind, body).map_err(|source| SessionError::InvalidRecord { session, seq: record.seq, source })
}

/// The meaning of a record as far as a view looks at it.
pub(crate) fn outlined(session: SessionId, record: &Record) -> Result<(Event, Stamp), SessionError> {
    let body = record.payload.get(32..).unwrap_or_default();
    codec::decode_outline(record.kind, body).map_err(|source| SessionError::InvalidRecord {
        session,
        seq: record.seq,
        source,
    })
}

impl Read {
    pub(crate) fn element(&self) -> Option<Element> {
        Element::of(self.record.seq, &self.event)
    }

    pub(crate) fn message(self, visible: bool) -> Option<StoredMessage> {
        let Event::Appended(appended) = self.event else { return None };
        Some(StoredMessage::of(self.record.seq, appended, self.stamp, visible).in_state(self.state))
    }
}

/// How much to read at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
}

impl Bounds {
    pub(crate) fn records(records: usize) -> Self {
        Self { records, bytes: 4 << 20 }
    }
}

impl SessionManager {
    /// Records of a stretch, at most one page, with each message put together; the second value is where the rest begins (ascending) or
    /// ends (descending).
    pub(crate) async fn read_stretch(
        &self,
        view: &View,
        stretch: Stretch,
        order: Order,
        kinds: KindFilter,
        bounds: Bounds,
    ) -> Result<(Vec<Read>, Option<Stretch>), SessionError> {
        let (mut reads, rest) = self.read_records(view, stretch, order, kinds, bounds).await?;
        for read in &mut reads {
            if matches!(read.event, Event::Begun(_)) {
                self.put_together(view, read).await?;
            }
        }
        Ok((reads, rest))
    }

    /// Makes of the record that began a message the message, as far as it came.
    async fn put_together(&self, view: &View, read: &mut Read) -> Result<(), SessionError> {
        let Event::Begun(begun) = &read.event else { return Ok(()) };
        let (mut begun, began) = (begun.clone(), read.record.seq);
        let mut assembly = Assembly::begin(std::mem::replace(&mut begun.message, Message::assistant("")));
        let owner = view.owner_of(began);
        let last = owner_end(view, owner).min(view.version());
        let mut rest = began.checked_add(1).filter(|next| *next <= last).map(|first| Stretch { first, last });
        'message: while let Some(stretch) = rest {
            let (order, kinds) = (Order::OldestFirst, KindFilter::All);
            let (reads, more) = self.read_records(view, stretch, order, kinds, Bounds::records(64)).await?;
            for next in reads {
                let at = (next.record.seq, next.record.commit);
                match next.event {
                    Event::Chunk(chunk) => assembly.push(chunk),
                    Event::Sealed(sealed) if sealed.message == began => {
                        assembly.seal(&sealed);
                        read.end = Some(at);
                        break 'message;
                    }
                    _ if next.record.kind.is_element() => break 'message,
                    _ => continue,
                }
                read.end = Some(at);
            }
            rest = more;
        }
        (begun.message, read.state) = assembly.finish();
        read.event = Event::Appended(begun);
        Ok(())
    }

    /// Records of a stretch as they are, at most one page.
    pub(crate) async fn read_records(
        &self,
        view: &View,
        stretch: Stretch,
        order: Order,
        kinds: KindFilter,
        bounds: Bounds,
    ) -> Result<(Vec<Read>, Option<Stretch>), SessionError> {
        let Stretch { first, last } = stretch;
        // A stretch may cross from one owner to the next: read the part beside the end we start from.
        let owner = view.owner_of(if order == Order::OldestFirst { first } else { last });
        let (from, to) = match order {
            Order::OldestFirst => (first, owner_end(view, owner).min(last)),
            Order::NewestFirst => (owner_start(view, owner).max(first), last),
        };
        let range = ReadRange { from, to, order, kinds, max_records: bounds.records, max_bytes: bounds.bytes };
        let page = self.read_owned(view.session(), owner, range).await?;
        let records: Result<Vec<Read>, SessionError> = page.records.into_iter().map(|r| read_of(owner, r)).collect();
        let rest = match (order, page.next) {
            (Order::OldestFirst, Some(next)) => Some(Stretch { first: next, last }),
            (Order::NewestFirst, Some(next)) => Some(Stretch { first, last: next }),
            (Order::OldestFirst, None) => Some(Stretch { first: to + 1, last }),
            (Order::NewestFirst, None) => from.checked_sub(1).map(|before| Stretch { first, last: before }),
        };
        Ok((records?, rest.filter(|rest| rest.first <= rest.last && rest.last > 0)))
    }

    /// The log that has an inherited record: its owner's, unless the session has made it its own.
    pub(crate) async fn log_of(
        &self,
        session: SessionId,
        owner: SessionId,
        first: u64,
    ) -> Result<SessionId, StoreError> {
        if owner == session {
            return Ok(session);
        }
        let own = self.ports().store.head(session).await?;
        Ok(if own.is_some_and(|own| own.first <= first) { session } else { owner })
    }

    /// Whether a session's log reaches down to the first record of all that it inherited.
    pub(crate) async fn has_all(&self, session: SessionId) -> Result<bool, StoreError> {
        Ok(self.ports().store.head(session).await?.is_some_and(|own| own.first <= 1))
    }

    /// Reads records around what cannot be read, from the log that has them: that of the owner, as far as the session has not made them its own.
    pub(crate) async fn read_owned(
        &self,
        session: SessionId,
        owner: SessionId,
        range: ReadRange,
    ) -> Result<Page, StoreError> {
        let store = self.ports().store.as_ref();
        loop {
            let own = if owner == session { None } else { store.head(session).await? };
            let first = if owner == session { 0 } else { own.map_or(u64::MAX, |own| own.first) };
            let is_own = first <= if range.order == Order::OldestFirst { range.from } else { range.to };
            let is_split = range.from < first && first <= range.to;
            let (log, part, rest) = match (is_own, is_split) {
                (true, true) => (session, ReadRange { from: first, ..range }, first.checked_sub(1)),
                (false, true) => (owner, ReadRange { to: first - 1, ..range }, Some(first)),
                (true, false) => (session, range, None),
                (false, false) => (owner, range, None),
            };
            let page = match read_around(store, log, part).await {
                Err(error) if log != session && is_shut(&error) => {
                    // It may have become the session's own meanwhile. If not, nobody has it any more.
                    let now = store.head(session).await?.map_or(u64::MAX, |own| own.first);
                    if now < first {
                        continue;
                    }
                    nobodys(part)
                }
                page => page?,
            };
            return Ok(Page { next: page.next.or(rest), ..page });
        }
    }

    /// One record, by its number.
    pub(crate) async fn read_one(&self, view: &View, seq: u64) -> Result<Option<Read>, SessionError> {
        let owner = view.owner_of(seq);
        let log = self.log_of(view.session(), owner, seq).await?;
        let page = match self.ports().store.read(log, single(seq)).await {
            Err(error) if log != view.session() && is_shut(&error) => {
                self.read_owned(view.session(), owner, single(seq)).await?
            }
            page => page?,
        };
        let mut read = page.records.into_iter().next().map(|record| read_of(owner, record)).transpose()?;
        if let Some(read) = read.as_mut().filter(|read| matches!(read.event, Event::Begun(_))) {
            self.put_together(view, read).await?;
        }
        Ok(read)
    }

    /// The same; where it cannot be read, what stands there instead ([`is_unreadable`]). No message is put together.
    pub(crate) async fn read_one_around(&self, view: &View, seq: u64) -> Result<Option<Read>, SessionError> {
        let owner = view.owner_of(seq);
        let page = self.read_owned(view.session(), owner, single(seq)).await?;
        page.records.into_iter().next().map(|record| read_of(owner, record)).transpose()
    }

    /// The record that began a message.
    pub(crate) async fn read_message(&self, view: &View, id: MessageId) -> Result<Read, SessionError> {
        let label = keyed::label(id);
        let inherited = view.fork().map(|fork| fork.owners.clone()).unwrap_or_default();
        let owners = [(view.session(), view.version())].into_iter().chain(inherited.into_iter().rev());
        for (owner, last) in owners {
            let found = match self.ports().store.find(owner, label).await {
                Err(error) if owner != view.session() && is_shut(&error) => Vec::new(),
                found => found?,
            };
            for seq in found {
                if seq > last {
                    continue;
                }
                if let Some(read) = self.read_one(view, seq).await?
                    && matches!(&read.event, Event::Appended(appended) if appended.id == id)
                {
                    return Ok(read);
                }
            }
        }
        Err(SessionError::UnknownMessage { message: id })
    }
}

fn read_of(owner: SessionId, record: Record) -> Result<Read, SessionError> {
    let (event, stamp) = decoded(owner, &record)?;
    Ok(Read { record, event, stamp, state: MessageState::Complete, end: None })
}

fn owner_end(view: &View, owner: SessionId) -> u64 {
    let inherited = view.fork().and_then(|fork| fork.owners.iter().find(|(id, _)| *id == owner));
    inherited.map_or(u64::MAX, |(_, last)| *last)
}

fn owner_start(view: &View, owner: SessionId) -> u64 {
    if owner == view.session() {
        return view.first_own();
    }
    let owners = view.fork().map(|fork| fork.owners.as_slice()).unwrap_or_default();
    let before = owners.iter().take_while(|(id, _)| *id != owner).last();
    before.map_or(1, |(_, last)| last + 1)
}

/// Walks the path from a head towards the beginning, page by page, newest first.
pub(crate) struct BackWalk {
    manager: SessionManager,
    view: Arc<View>,
    through_clears: bool,
    /// What is left of the stretch in hand.
    stretch: Option<Stretch>,
    /// The head from which the other stretches follow (0: none).
    rest: u64,
}

impl BackWalk {
    /// The visible path, back to the last clear.
    pub(crate) fn visible(manager: &SessionManager, view: Arc<View>, head: u64) -> Self {
        Self { manager: manager.clone(), view, through_clears: false, stretch: None, rest: head }
    }

    /// The whole path, clears included.
    pub(crate) fn whole(manager: &SessionManager, view: Arc<View>, head: u64) -> Self {
        Self { through_clears: true, ..Self::visible(manager, view, head) }
    }

    /// The next elements, newest first; `None` at the beginning of the path.
    pub(crate) async fn next_page(&mut self, bounds: Bounds) -> Result<Option<Vec<Read>>, SessionError> {
        loop {
            if self.stretch.is_none() {
                let tree = self.view.tree();
                let mut path = if self.through_clears { tree.whole_path(self.rest) } else { tree.path(self.rest) };
                let Some(stretch) = path.next() else { return Ok(None) };
                self.rest = path.rest();
                self.stretch = Some(stretch);
            }
            let Some(stretch) = self.stretch.take() else { return Ok(None) };
            let (reads, rest) = self
                .manager
                .read_stretch(&self.view, stretch, Order::NewestFirst, KindFilter::Elements, bounds)
                .await?;
            self.stretch = rest;
            if !reads.is_empty() {
                return Ok(Some(reads));
            }
        }
    }
}

/// Instructions stand at the beginning of a conversation: its leading system messages.
pub(crate) fn is_instruction(message: &Message) -> bool {
    message.role == sessions_domain::MessageRole::System
}

/// The range of one record.
pub(crate) fn single(seq: u64) -> ReadRange {
    ReadRange {
        from: seq,
        to: seq,
        order: Order::OldestFirst,
        kinds: KindFilter::All,
        max_records: 1,
        max_bytes: usize::MAX,
    }
}
