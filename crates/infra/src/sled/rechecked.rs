//! Rewritten records in a check: their newest payloads count, wherever they stand, and adopted ones are a session's own.
//!
//! Must not know: segments, the index, or what is done about what is found.

use std::collections::HashMap;

use sessions_domain::{
    CommitHash, Created, Event, ForkPoint, LineageId, SessionId, Stamp, View, branches::Tree, codec,
};

use super::{
    checked::{Checked, Gap, nobody},
    checking::{Check, RETIRED, Unsound},
    frame::{self, BLOB, Frame, FrameHeader, STRIPPED},
    inspection::{self, Finding, Severity},
    newest::{Body, payload},
    stood_for::BesideFirst,
};

impl Check {
    /// Goes on behind records of a session that are missing, up to one. Those that were rewritten are there all the same. `last`: what is
    /// known of the last of them.
    pub(super) fn miss(&mut self, session: SessionId, to: u64, mut last: Option<Gap>) {
        while let Some(seq) = self.sessions.get(&session).map(Checked::next).filter(|next| *next < to) {
            let is_repaired = self.repairs.contains_key(&(session, seq));
            let newest = self.newest.record(session, seq).filter(|_| !is_repaired);
            if let Some((header, payload)) = newest.filter(|(header, payload)| !self.is_retired(*header, payload)) {
                self.report.records += 1;
                let what = match self.record(header, &payload) {
                    Ok(()) => continue,
                    Err(Unsound::Wrong(what)) => what,
                    Err(Unsound::Broken(what)) => {
                        let gap = Gap { kind: Some(header.kind), ..Gap::of(header.commit) };
                        if let Some(checked) = self.sessions.get_mut(&session) {
                            checked.skip(session, seq, Some(gap), &self.repairs);
                        }
                        what
                    }
                };
                self.report.findings.push(Finding::about_records(Severity::Error, session, Some((seq, seq)), what));
                continue;
            }
            let known = if seq + 1 == to { last.take() } else { None };
            if let Some(checked) = self.sessions.get_mut(&session) {
                checked.skip(session, seq, known, &self.repairs);
            }
        }
    }

    /// Another payload for a record that was met before, or one that the session inherited.
    pub(super) fn rewritten(&mut self, file: &str, at: usize, frame: &Frame<'_>) {
        let FrameHeader { session, seq, .. } = frame.header;
        let said = frame.fields().find(|(tag, _)| *tag == frame::REWRITE).and_then(|(_, field)| frame::rewrite(field));
        self.unlinked.entry(session).or_default().extend(said.into_iter().flat_map(|(_, owners)| owners));
        if frame.header.flags & STRIPPED != 0 {
            return;
        }
        let is_first = frame.header.flags & frame::FIRST != 0;
        let first = self.meet(session, is_first.then_some(seq)).first;
        if !frame::can_be_missing(seq.abs_diff(first), self.reached) {
            return self.tell_too_far(file, at, frame.header);
        }
        if is_first {
            let begun = self.adopted_from.entry(session).or_insert(seq);
            *begun = seq.min(*begun);
        }
        let is_newest = |(number, offset): &(u32, usize)| *offset == at && inspection::name_of(*number) == file;
        let newest = self.newest.place(session, seq).filter(is_newest);
        let body = newest.map(|_| payload(frame, &self.blobs, self.store));
        self.miss(session, seq + 1, None);
        let adopted = if let (Some(Body::Whole(payload)), true) = (&body, seq < first) { Some(payload) } else { None };
        if adopted.is_some_and(|payload| self.is_retired(frame.header, payload)) {
            let gap = Gap { kind: Some(frame.header.kind), ..Gap::of(frame.header.commit) };
            return self.retired(file, at, frame.header, gap);
        }
        let Some(checked) = self.sessions.get_mut(&session) else { return };
        if seq < first {
            self.report.records += u64::from(checked.adopted.insert(seq));
        } else if !checked.lost.contains(&seq) && checked.commit_at(seq, &HashMap::new()) != Some(frame.header.commit) {
            self.tell(file, at, frame.header, "it was rewritten as another record than the one that it was");
            return;
        }
        if let Some(Body::Missing(path)) = body
            && !self.repairs.contains_key(&(session, seq))
        {
            let is_there = path.exists();
            let what = if is_there { "the large body is damaged" } else { "the large body is missing" };
            self.tell(file, at, frame.header, what);
            self.spoilt_bodies.extend(is_there.then_some(path));
            let gap = Gap { kind: Some(frame.header.kind), ..Gap::of(frame.header.commit) };
            if let Some(checked) = self.sessions.get_mut(&session) {
                checked.missing.insert(seq, gap);
            }
        }
    }

    /// An adopted record that nobody will open again.
    fn retired(&mut self, file: &str, at: usize, header: FrameHeader, gap: Gap) {
        let Some(checked) = self.sessions.get_mut(&header.session) else { return };
        match self.repairs.get(&(header.session, header.seq)) {
            Some(repaired) => checked.mark(header.seq, repaired),
            None => {
                checked.missing.insert(header.seq, gap);
                self.tell(file, at, header, RETIRED);
            }
        }
    }

    /// Who tells what a fork inherits: its parent, or else whoever holds the last of it. A parent of which nobody inherits a record of its own may be gone.
    pub(super) fn origins<'a>(&'a self, fork: &ForkPoint) -> impl Iterator<Item = &'a Checked> + use<'a> {
        let holder = fork.owners.last().map(|(owner, _)| *owner);
        [Some(fork.parent), holder].into_iter().flatten().filter_map(|session| self.sessions.get(&session))
    }

    /// Where a session was forked, without those of whom it made its own what it had inherited.
    pub(super) fn linked(&self, session: SessionId, fork: ForkPoint) -> ForkPoint {
        let is_linked = |owner: &SessionId| self.still_inherits(session, *owner);
        ForkPoint { owners: fork.owners.into_iter().filter(|(owner, _)| is_linked(owner)).collect(), ..fork }
    }

    /// What stood with a session's first record, likewise.
    pub(super) fn linked_beside(&self, session: SessionId, mut beside: BesideFirst) -> BesideFirst {
        beside.links.retain(|link| self.still_inherits(session, link.owner));
        beside
    }

    /// What a session inherited, of the copies that it has of it. A lost one can follow anything, and anything can follow it.
    pub(super) fn adopted_tree(&mut self, session: SessionId, at: u64) -> Option<Tree> {
        let mut view: Option<View> = None;
        for seq in 1..=at {
            let commit = view.as_ref().map_or(CommitHash::ZERO, View::commit).after_lost(seq);
            let lost = (commit, Event::Lost, nobody());
            let (commit, event, stamp) = self.adopted(session, seq).unwrap_or(lost);
            view = Some(match (event, view) {
                (Event::Created(created), before) => {
                    let before = before.map(|view| view.tree().clone());
                    View::begin(seq, &created, &stamp, commit, before.as_ref()).ok()?
                }
                (event, Some(mut view)) => {
                    view.apply(seq, &event, &stamp, commit).ok()?;
                    view
                }
                (_, None) => {
                    let created = Created::of(session, LineageId::from_bytes(session.to_bytes()));
                    View::begin(seq, &created, &stamp, commit, None).ok()?
                }
            });
        }
        view.map(|view| view.tree().clone())
    }

    /// What a copy of an inherited record says, where it is whole and opens.
    fn adopted(&mut self, session: SessionId, seq: u64) -> Option<(CommitHash, Event, Stamp)> {
        let (header, payload) = self.newest.record(session, seq)?;
        let payload = self.opened(header, payload)?;
        let (event, stamp) = codec::decode(header.kind, payload.get(32..)?).ok()?;
        Some((header.commit, event, stamp))
    }

    /// The payload that counts for a record, where it cannot be its own: it was taken away, or its large body is gone.
    pub(super) fn newest_of(&mut self, frame: &Frame<'_>) -> Option<Vec<u8>> {
        let FrameHeader { session, seq, flags, .. } = frame.header;
        let is_gone = flags & STRIPPED != 0
            || (flags & BLOB != 0 && !matches!(payload(frame, &self.blobs, self.store), Body::Whole(_)));
        if !is_gone {
            return None;
        }
        self.newest.record(session, seq).map(|(_, payload)| payload)
    }
}
