//! What is otherwise about a sealed store when it is checked: who inherits is told by frames, records have to be opened, and keys lie in slots.
//!
//! Must not know: how anything is sealed.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use bytes::Bytes;
use sessions_domain::{Event, SessionId, SessionKey, SummaryWords};
use sessions_ports::{Link, Record};

use super::{
    super::{
        checked::{Checked, Gap, nobody},
        frame::{self, Frame, FrameHeader, LINK, WORDS},
        inspection::{Finding, Severity},
        key_look::{Slots, said_of_keys},
        newest::Newest,
        remembered::Remembered,
        stood_for::BesideFirst,
        unsealing::{EpochChain, NotRead, RecordOpener, SealingLook, Unopened, Unsealing},
    },
    Check, Unsound, ranges,
};
use crate::{
    keys::KeyFinding,
    sealing::{ClosedEpoch, RecordHead, cipher_link},
};

impl Check {
    /// The store is sealed. What the index remembers tells where keys lie and who inherits when a session's beginning is lost.
    pub(in super::super) fn begin_sealed(
        &mut self,
        opener: Option<Arc<dyn RecordOpener>>,
        remembered: Option<&Remembered>,
        keys: &Path,
    ) {
        self.report.sealing = if opener.is_some() { SealingLook::Opened } else { SealingLook::Shut };
        let mut unsealing = Unsealing::new(opener, Slots::of(keys, self.store));
        for (session, (row, words)) in remembered.iter().flat_map(|remembered| &remembered.sessions) {
            if let Some(words) = words {
                unsealing.note_slot(*session, words);
            }
            let links = remembered.and_then(|remembered| remembered.links.get(session));
            let Some(links) = links.filter(|_| row.first > 1) else { continue };
            self.links.insert(*session, links.iter().map(|link| (link.owner, link.last)).collect());
            if let Some(Link { owner, .. }) = links.last() {
                self.is_fork(*session, row.first, *owner);
            }
        }
        self.newest.look();
        self.newest.slots().iter().for_each(|(session, slot)| unsealing.note(*session, *slot));
        self.unsealing = Some(unsealing);
    }

    /// The words of a row as they were given, where they can be read.
    pub(in super::super) fn readable_words(&self, session: SessionId, words: Option<&[u8]>) -> Option<Bytes> {
        let words = words?;
        match &self.unsealing {
            None => Some(Bytes::copy_from_slice(words)),
            Some(unsealing) => unsealing.words(session, words)?.ok(),
        }
    }

    /// The host's key of a session, and its tenant, as far as they can be read.
    pub(super) fn name_of(&self, session: SessionId, checked: &Checked) -> (Option<SessionKey>, String) {
        let words =
            self.unsealing.as_ref().and(checked.remembered.as_ref()).and_then(|recalled| recalled.words.as_deref());
        let words = self.readable_words(session, words).and_then(|words| SummaryWords::from_json(&words));
        match (&checked.view, words) {
            (_, Some(words)) => (words.key, words.tenant),
            (Some(view), None) => (view.key().cloned(), view.tenant().to_owned()),
            (None, None) => (None, String::new()),
        }
    }

    /// The ciphertext chains of a session, and how the last one ended before the one that is gone on with.
    pub(super) fn chains_of(&self, session: SessionId) -> (Vec<EpochChain>, Option<ClosedEpoch>) {
        let Some(unsealing) = &self.unsealing else { return (Vec::new(), None) };
        (unsealing.epochs(session), unsealing.closed(session))
    }

    /// Checks a record against the chain and the history before it.
    pub(in super::super) fn record(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Unsound> {
        match self.open(header, payload) {
            None => self.readable(header, payload).map_err(Unsound::Wrong),
            Some(Ok(opened)) => self.readable(header, &opened).map_err(Unsound::Wrong),
            Some(Err(NotRead::Broken(epoch, what))) => {
                self.broken.push((header.session, header.seq, epoch));
                Err(Unsound::Broken(what))
            }
            Some(Err(NotRead::Wrong(what))) => {
                self.unread(header);
                Err(Unsound::Wrong(what))
            }
            Some(Err(NotRead::Shut)) => {
                self.unread(header);
                Ok(())
            }
        }
    }

    /// A seal that is broken is not told from keys that are not the session's where nothing else opens with these. These may be put back, and so nothing is
    /// said to be missing.
    pub(super) fn settle_broken(&mut self) {
        let Some(unsealing) = &self.unsealing else { return };
        for (session, seq, epoch) in &self.broken {
            let Some(checked) = self.sessions.get_mut(session) else { continue };
            // What the index remembers of the session's words tells as well as what the log has of them.
            let words = || checked.remembered.as_ref().and_then(|recalled| recalled.words.as_deref());
            let opens = || words().is_some_and(|words| matches!(unsealing.words(*session, words), Some(Ok(_))));
            if !unsealing.is_proven(*session, *epoch) && !opens() {
                checked.missing.remove(seq);
            }
        }
    }

    /// Opens a record, as it was sealed last; `None`: the store is plain.
    fn open(&mut self, header: FrameHeader, payload: &[u8]) -> Option<Result<Bytes, NotRead>> {
        let FrameHeader { session, seq, .. } = header;
        let unsealing = self.unsealing.as_mut()?;
        if unsealing.meets(session, payload) {
            self.open_adopted(session);
        }
        let newest = self.newest.record(session, seq).map(|(_, payload)| Bytes::from(payload));
        let payload = newest.unwrap_or_else(|| Bytes::copy_from_slice(payload));
        let is_stood_for = self.repairs.contains_key(&(session, seq));
        let unsealing = self.unsealing.as_mut()?;
        Some(unsealing.record(session, &record(header, payload), is_stood_for))
    }

    /// What sessions took over of which no record of their own was met: all of these may be lost.
    pub(super) fn open_unmet(&mut self) {
        let Some(unsealing) = &self.unsealing else { return };
        let is_unmet = |(session, checked): &(&SessionId, &Checked)| checked.first > 1 && !unsealing.has_met(**session);
        let mut unmet: Vec<SessionId> = self.sessions.iter().filter(is_unmet).map(|(session, _)| *session).collect();
        unmet.sort_unstable();
        unmet.into_iter().for_each(|session| self.open_adopted(session));
    }

    /// Opens what a session took over from others, which comes before its own.
    fn open_adopted(&mut self, session: SessionId) {
        let Some(unsealing) = &mut self.unsealing else { return };
        let first = self.sessions.get(&session).map_or(1, |checked| checked.first);
        for adopted in 1..first {
            let Some((header, payload)) = self.newest.record(session, adopted) else { continue };
            // Nobody will open it again, which is told where it stands.
            if unsealing.is_retired(session, &payload) {
                continue;
            }
            let repaired = self.repairs.get(&(session, adopted));
            let what = match unsealing.record(session, &record(header, payload.into()), repaired.is_some()) {
                Ok(_) | Err(NotRead::Shut) => continue,
                Err(NotRead::Wrong(what)) => what,
                Err(NotRead::Broken(epoch, what)) => {
                    let Some(checked) = self.sessions.get_mut(&session) else { continue };
                    if let Some(repaired) = repaired {
                        checked.mark(adopted, repaired);
                        continue;
                    }
                    self.broken.push((session, adopted, epoch));
                    checked.missing.insert(adopted, Gap { kind: Some(header.kind), ..Gap::of(header.commit) });
                    what
                }
            };
            let (severity, seqs) = (Severity::Error, Some((adopted, adopted)));
            self.report.findings.push(Finding::about_records(severity, session, seqs, what));
        }
    }

    /// Whether what counts of a record is sealed with a data key that is no more, as its session's slot says to whoever asks. Nobody will open it again.
    pub(in super::super) fn is_retired(&mut self, header: FrameHeader, payload: &[u8]) -> bool {
        if self.unsealing.is_none() {
            return false;
        }
        let newest = self.newest.record(header.session, header.seq);
        let Some(unsealing) = &self.unsealing else { return false };
        let payload = newest.as_ref().map_or(payload, |(_, payload)| payload.as_slice());
        unsealing.is_retired(header.session, payload)
    }

    /// What a record says that was met before or will be; `None`: it does not open.
    pub(in super::super) fn opened(&self, header: FrameHeader, payload: Vec<u8>) -> Option<Bytes> {
        match &self.unsealing {
            None => Some(payload.into()),
            Some(unsealing) => unsealing.opened(header.session, &record(header, payload.into())),
        }
    }

    /// A record that is whole and was not opened: what it says is not known, and its commit is.
    fn unread(&mut self, header: FrameHeader) {
        if let Some(checked) = self.sessions.get_mut(&header.session) {
            checked.commits.push(header.commit);
            if let Some(view) = &mut checked.view {
                let _ = view.apply(header.seq, &Event::Lost, &nobody(), header.commit);
            }
        }
    }

    /// What a frame of a sealed store says beside its record.
    pub(super) fn sealed_frame(&mut self, file: &str, at: usize, frame: &Frame<'_>) {
        if self.unsealing.is_none() {
            return;
        }
        let FrameHeader { session, seq, .. } = frame.header;
        let links = frame.fields().filter(|(tag, _)| *tag == LINK).filter_map(|(_, field)| frame::link(field));
        let links: Vec<(SessionId, u64)> = links.map(|link| (link.owner, link.last)).collect();
        let links = self.still_inherited(session, &links);
        if !links.is_empty() {
            self.go_to(&links);
            // Where its own record of that is lost, this is what tells.
            if let (Some((owner, last)), false) = (links.last().copied(), self.forks.contains_key(&session)) {
                self.is_fork(session, last.saturating_add(1), owner);
            }
            self.links.insert(session, links);
        } else if let Some(beside) = BesideFirst::of(frame) {
            self.go_to(&beside.links.iter().map(|link| (link.owner, link.last)).collect::<Vec<_>>());
        }
        let Some(unsealing) = &mut self.unsealing else { return };
        for (_, words) in frame.fields().filter(|(tag, _)| *tag == WORDS) {
            unsealing.note_slot(session, words);
            let opened = unsealing.words(session, words);
            if matches!(opened, Some(Ok(_))) {
                unsealing.prove(session);
            }
            if let Some(Err(why)) = opened {
                let mut finding = Finding::about_file(file, at, format!("the session's words: {why}"));
                (finding.session, finding.seq) = (Some(session), Some(seq));
                self.of_records.insert(self.report.findings.len());
                self.report.findings.push(finding);
            }
        }
    }

    /// How many messages a fork showed at its beginning, when it has no other record.
    pub(super) fn shown_at_first(&self, checked: &Checked) -> Option<u64> {
        let row = &self.unsealing.as_ref().and(checked.remembered.as_ref())?.row;
        (row.version == checked.first).then_some(row.messages)
    }

    /// The snapshots that the index holds open.
    pub(in super::super) fn look_at_snapshots(&mut self, remembered: Option<&Remembered>) {
        let (Some(unsealing), Some(remembered)) = (&self.unsealing, remembered) else { return };
        if unsealing.opener.is_none() {
            return;
        }
        for (session, (_, words)) in &remembered.sessions {
            let words = words.as_deref().and_then(|words| unsealing.words(*session, words));
            if let Some(Err(why)) = words {
                let what = format!("the words that the list of sessions has of it: {why}");
                self.report.findings.push(Finding::about_records(Severity::Error, *session, None, what));
            }
            let snapshot = remembered.snapshot(*session);
            if let Some(Err(why)) = snapshot.and_then(|snapshot| unsealing.snapshot(*session, &snapshot)) {
                let what = format!("the snapshot of its view, which is made anew from its records: {why}");
                self.report.findings.push(Finding::about_records(Severity::Warning, *session, None, what));
            }
        }
    }

    /// Reports what is to be said about keys, once it is known which sessions were removed.
    pub(super) fn settle_sealed(&mut self) {
        let Some(unsealing) = &self.unsealing else { return };
        let needed: BTreeSet<SessionId> = self
            .sessions
            .keys()
            .filter(|session| !self.removed.contains(*session))
            .flat_map(|session| {
                let links = self.links.get(session).into_iter().flatten().map(|(owner, _)| *owner);
                let links = links.filter(|owner| self.still_inherits(*session, *owner));
                links.chain([*session])
            })
            .collect();
        let mut findings = Vec::new();
        match &unsealing.keys {
            Err(error) => {
                let finding = Finding::about_file("keys", 0, said_of_keys(error));
                findings.push(Finding { offset: None, ..finding });
            }
            Ok(slots) => {
                let is_all_lost = |id: &SessionId| self.sessions.get(id).is_some_and(Checked::is_all_lost);
                findings.extend(about_slots(unsealing, slots, &needed, is_all_lost));
                self.report.destroyed = slots.destroyed.iter().map(|(slot, session)| (*session, *slot)).collect();
            }
        }
        let known = unsealing.keys.is_ok();
        for (session, why) in unsealing.shut.iter().filter(|(session, _)| needed.contains(*session)) {
            // What the slots tell is told already.
            if let (Unopened::NoKeys(_), false) = (why, known && is_told(&findings, *session)) {
                let what = format!("{why}; its bytes were checked without them");
                findings.push(Finding::about_records(Severity::Error, *session, None, what));
            }
        }
        let complete = self.sessions.iter().filter(|(_, checked)| checked.is_complete());
        let differ = complete.filter_map(|(session, checked)| {
            let first = self.adopted_from.get(session).map_or(checked.first, |from| checked.first.min(*from));
            unsealing.differs_from_closed(*session).map(|closed| (*session, first, closed))
        });
        for (session, first, closed) in differ {
            if !is_attested(&mut self.newest, session, first, closed) {
                let what = "its ciphertext is not what the last change of its data key left, as its slot says";
                findings.push(Finding::about_records(Severity::Error, session, None, what.to_owned()));
            }
        }
        let removed = self.removed.iter().map(|session| (*session, unsealing.epochs(*session)));
        self.report.removed_chains = removed.filter(|(_, epochs)| !epochs.is_empty()).collect();
        self.report.findings.extend(findings);
    }
}

fn record(header: FrameHeader, payload: Bytes) -> Record {
    let FrameHeader { kind, seq, label, commit, .. } = header;
    Record { seq, kind, commit, label, payload }
}

/// Whether the records of a session, from one on that was once its first, are those that its slot attests. Each part that it took over of what it inherits
/// gave it another first one, and its data key may have been changed before and after any of them.
fn is_attested(newest: &mut Newest, session: SessionId, first: u64, closed: ClosedEpoch) -> bool {
    // What was taken over since stands behind what was sealed anew, unless both came at the same time.
    let end = newest.place(session, closed.version);
    let begun = (first..=closed.version).find(|seq| newest.place(session, *seq) <= end);
    begun.is_some_and(|begun| holds_from(newest, session, begun, closed, |seq, _| seq == begun))
        || holds_from(newest, session, first, closed, |_, head| head.is_some_and(|head| head.slot.is_some()))
}

/// Whether the ciphertext chain from one of those records on that may have been the first is the one that the slot says. The first record of a log says where
/// its keys lie, and goes on saying it.
fn holds_from(
    newest: &mut Newest,
    session: SessionId,
    from: u64,
    closed: ClosedEpoch,
    may_begin: impl Fn(u64, Option<RecordHead>) -> bool,
) -> bool {
    let mut links: Vec<[u8; 32]> = Vec::new();
    for seq in from..=closed.version {
        let Some((header, payload)) = newest.record(session, seq) else { return false };
        if may_begin(seq, RecordHead::read(&payload).map(|(head, _)| head)) {
            links.push([0; 32]);
        }
        let record = record(header, payload.into());
        links.iter_mut().for_each(|link| *link = cipher_link(link, session, &record));
    }
    links.contains(&closed.new)
}

fn is_told(findings: &[Finding], session: SessionId) -> bool {
    findings.iter().any(|finding| finding.session == Some(session))
}

/// What the slots tell about sessions and themselves.
fn about_slots(
    unsealing: &Unsealing,
    slots: &Slots,
    needed: &BTreeSet<SessionId>,
    is_all_lost: impl Fn(&SessionId) -> bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let about = |severity, what: String| {
        let finding = Finding::about_file("keys", 0, what);
        Finding { severity, offset: None, ..finding }
    };
    for damage in &slots.findings {
        findings.extend(match damage {
            KeyFinding::RingCopy(name) => Some(about(
                Severity::Warning,
                format!("`{name}`, one of the two copies of the ring, is not as it was written; opening the store writes it anew"),
            )),
            KeyFinding::Header => {
                let what = "the first bytes of `slots` are not as they were written; opening the store writes them anew";
                Some(about(Severity::Warning, what.to_owned()))
            }
            KeyFinding::Slot(_) => None,
        });
    }
    let used = unsealing.used();
    for number in &slots.damaged {
        if !used.contains_key(number) {
            let what = format!("slot {number} is not as it was written, and no session says that its keys lie there");
            findings.push(about(Severity::Warning, what));
        }
    }
    for session in needed {
        let (severity, what) = match unsealing.slot_of(*session) {
            None if is_all_lost(session) => {
                let what = "nothing tells where its keys lie, and no record is left that they open; it can be deleted";
                (Severity::Warning, what.to_owned())
            }
            None => (Severity::Error, "nothing tells where its keys lie".to_owned()),
            Some(slot) if slots.live.contains(&slot) => continue,
            Some(slot) => match slots.destroyed.get(&slot) {
                Some(of) if of == session => {
                    let what = "its keys were destroyed: its words are gone, and its bytes were checked without them";
                    (Severity::Warning, what.to_owned())
                }
                Some(of) => {
                    (Severity::Error, format!("its slot {slot} says that the keys of session {of} were destroyed"))
                }
                None if slots.damaged.contains(&slot) => {
                    let what = format!(
                        "its slot {slot} is not as it was written; restore a backup beside the store and export the session from there"
                    );
                    (Severity::Error, what)
                }
                None => (
                    Severity::Error,
                    format!(
                        "its slot {slot} is not there; restore a backup beside the store and export the session from there"
                    ),
                ),
            },
        };
        findings.push(Finding::about_records(severity, *session, None, what));
    }
    // Those behind all others were made ahead of need by a store that runs, or was not closed.
    let last = used.keys().chain(slots.destroyed.keys()).max().copied().unwrap_or(0);
    let unused = slots.live.range(..last).filter(|number| !used.contains_key(*number)).map(|number| u64::from(*number));
    let unused: Vec<(u64, u64)> = ranges(unused).collect();
    if !unused.is_empty() {
        let count: u64 = unused.iter().map(|(first, last)| last - first + 1).sum();
        let one =
            |(first, last): &(u64, u64)| if first == last { first.to_string() } else { format!("{first} to {last}") };
        let numbers = unused.iter().take(8).map(one).collect::<Vec<_>>().join(", ");
        let what = format!(
            "no session says that its keys lie in {count} of the slots ({numbers}): they were made ahead of need by a store that was \
             not closed, or what said so is lost; they stay, since that may be put back, and do no harm"
        );
        findings.push(about(Severity::Warning, what));
    }
    findings
}
