//! The sessions of a log, checked record by record: numbers, the chain of commits, and whether each record can follow the ones before.
//!
//! Must not know: segments, the index, or what is done about what is found.

mod forks;
mod sealed;

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
};

use bytes::Bytes;
use sessions_domain::{
    Blind, CommitHash, Created, Event, ForkPoint, Kind, LineageId, Moment, SessionId, Stamp, View, codec,
};
use sessions_ports::{Digest, StoreError, StoreId};

use super::{
    checked::{Checked, Gap, Recalled},
    frame::{self, FILLER, Frame, FrameHeader, MARK, REMOVED, REPAIR, REWRITTEN, STRIPPED},
    inspection::{self, Finding, Named, Severity, VerifyReport},
    newest::{Body, Newest, payload},
    stood_for::BesideFirst,
    unsealing::Unsealing,
};
use crate::counted::counted;

/// A record without whole bytes, and none that stands for it.
pub(super) struct Missing {
    pub(super) session: SessionId,
    pub(super) seq: u64,
    /// The commit of the record before it.
    pub(super) before: CommitHash,
    /// Its own, where that is still known.
    pub(super) commit: Option<CommitHash>,
    /// Its kind, as far as anything tells.
    pub(super) kind: Option<Kind>,
    /// For a session's beginning: what a later record tells of who made it and when.
    pub(super) beginning: Option<Stamp>,
    /// What the index remembers, and would be lost with it.
    pub(super) words: Option<Bytes>,
    pub(super) key: Option<Digest>,
    /// For a fork's beginning: where it left its parent, as the index, the parent and the records behind it tell.
    pub(super) fork: Option<ForkPoint>,
    /// For a session of which nothing is left: when it was changed last.
    pub(super) updated: i64,
    /// For a session's beginning and its end: what the index remembers of its beginning.
    pub(super) beside: Option<BesideFirst>,
}

/// What stands for a lost record.
pub(super) struct Repaired {
    pub(super) commit: CommitHash,
    pub(super) created: Option<(Box<Created>, Stamp)>,
    /// When the repair was, if it says so.
    pub(super) at: i64,
}

pub(super) const RETIRED: &str = "it is sealed with a data key that was retired: what it was sealed anew as is gone, or somebody put an old record back";

/// Why a record is not sound.
pub(super) enum Unsound {
    /// It is there, and not as it should be.
    Wrong(String),
    /// Its seal is broken, so it is as good as missing.
    Broken(String),
}

/// All sessions, and what was found about them.
pub(super) struct Check {
    pub(super) report: VerifyReport,
    /// Files of large bodies that are not as they were written.
    pub(super) spoilt_bodies: Vec<PathBuf>,
    /// Why a large body could not be looked at, which may be as it was written.
    pub(super) not_read: Option<StoreError>,
    pub(super) sessions: HashMap<SessionId, Checked>,
    /// Sessions that were removed, and those of them of which only the index says so.
    removed: BTreeSet<SessionId>,
    unsaid: Vec<SessionId>,
    /// Which findings are about single records.
    pub(super) of_records: BTreeSet<usize>,
    pub(super) repairs: HashMap<(SessionId, u64), Repaired>,
    /// Where forks begin whose beginnings a repair wrote anew.
    begun: HashMap<SessionId, u64>,
    /// Forks that the index remembers: their first own records, and their parents.
    forks: HashMap<SessionId, (u64, SessionId)>,
    /// How their parents stood at the last record that they inherit: the head, and its depth.
    places: HashMap<(SessionId, u64), Option<(u64, u64)>>,
    /// Records that damaged headers speak of.
    hints: HashMap<(SessionId, u64), Kind>,
    /// Behind the last frame that was met.
    pub(super) reached: u64,
    /// Sessions of which such a header says that they begin behind what they inherit.
    seem_forked: BTreeSet<SessionId>,
    pub(super) blobs: PathBuf,
    pub(super) store: StoreId,
    pub(super) newest: Newest,
    /// Whom sessions inherit from no more, because all that is their own.
    pub(super) unlinked: HashMap<SessionId, BTreeSet<SessionId>>,
    /// Where sessions begin since they adopted what they inherited.
    pub(super) adopted_from: HashMap<SessionId, u64>,
    /// Of a sealed store: what opens its records, as far as anything does.
    pub(super) unsealing: Option<Unsealing>,
    /// Records whose seals are broken, with their data keys.
    broken: Vec<(SessionId, u64, u16)>,
    /// What sessions of a sealed store inherit, as their frames or the index say.
    links: HashMap<SessionId, Vec<(SessionId, u64)>>,
}

impl Check {
    pub(super) fn new(
        blobs: PathBuf,
        store: StoreId,
        repairs: HashMap<(SessionId, u64), Repaired>,
        newest: Newest,
    ) -> Self {
        let (report, spoilt_bodies, sessions, hints) =
            (VerifyReport::default(), Vec::new(), HashMap::new(), HashMap::new());
        let is_fork =
            |repaired: &Repaired| repaired.created.as_ref().is_some_and(|(created, _)| created.fork.is_some());
        let begun = repairs.iter().filter(|(_, repaired)| is_fork(repaired)).map(|(place, _)| *place).collect();
        let (forks, places) = (HashMap::new(), HashMap::new());
        let (seem_forked, removed, not_read) = (BTreeSet::new(), BTreeSet::new(), None);
        Self {
            report,
            spoilt_bodies,
            not_read,
            sessions,
            removed,
            unsaid: Vec::new(),
            of_records: BTreeSet::new(),
            repairs,
            begun,
            forks,
            places,
            hints,
            reached: 0,
            seem_forked,
            blobs,
            store,
            newest,
            unlinked: HashMap::new(),
            adopted_from: HashMap::new(),
            unsealing: None,
            broken: Vec::new(),
            links: HashMap::new(),
        }
    }

    /// A session is heard of; `first`: the number of its first record, where that is said.
    pub(super) fn meet(&mut self, session: SessionId, first: Option<u64>) -> &mut Checked {
        if !self.sessions.contains_key(&session) {
            let remembered = self.forks.get(&session).map(|(first, _)| *first);
            let first = first.or(self.begun.get(&session).copied()).or(remembered).unwrap_or(1);
            let begun = self.repairs.get(&(session, first)).and_then(|repaired| repaired.created.as_ref());
            let fork = begun.and_then(|(created, _)| created.fork.clone());
            self.sessions.insert(session, Checked::from(first));
            if let Some(fork) = fork {
                self.go_to(&fork.owners);
                let owner = fork.owners.last().and_then(|(owner, _)| self.sessions.get(owner));
                let inherited = owner.and_then(|owner| owner.view.as_ref()).map(|view| view.tree().clone());
                self.sessions.entry(session).and_modify(|checked| checked.inherited = inherited);
            }
        }
        self.sessions.entry(session).or_insert_with(|| Checked::from(1))
    }

    /// What a fork inherits was there before it, also where nothing behind it tells.
    fn go_to(&mut self, owners: &[(SessionId, u64)]) {
        for (owner, last) in owners {
            self.meet(*owner, None);
            let Some(checked) = self.sessions.get_mut(owner) else { continue };
            let missing = last.saturating_add(1).saturating_sub(checked.next());
            if !frame::can_be_missing(missing, self.reached) {
                continue;
            }
            self.miss(*owner, last.saturating_add(1), None);
        }
    }

    /// Bytes of a segment that are no frames. With `torn` opening the store sets them aside.
    pub(super) fn damaged(&mut self, file: &str, bytes: &[u8], from: usize, to: usize, torn: bool) {
        let header = bytes.get(from..).and_then(frame::header);
        // One that another was written for says nothing that counts, if it had nothing but its record.
        let is_one = bytes.get(from..).and_then(frame::claimed_length) == Some(to - from);
        let newest = header.filter(|_| is_one).and_then(|header| self.newest.place(header.session, header.seq));
        let is_superseded =
            newest.is_some_and(|(number, at)| (inspection::name_of(number).as_str(), at) > (file, from));
        let bytes = |what: &str| counted((to - from) as u64, what);
        let what = if torn {
            format!("{} of an unfinished write; opening the store sets that aside", bytes("byte"))
        } else if is_superseded {
            format!("{} of a record that was rewritten since", bytes("damaged byte"))
        } else {
            bytes("damaged byte")
        };
        // The header of damaged bytes is a hint, not a fact; it is given where it fits what is known.
        let named = header.filter(|header| self.sessions.contains_key(&header.session));
        self.report.findings.push(Finding {
            severity: if torn || is_superseded { Severity::Warning } else { Severity::Error },
            session: named.map(|header| header.session),
            seq: named.map(|header| header.seq),
            last: None,
            file: Some(file.to_owned()),
            offset: Some(from as u64),
            what,
        });
        let seems_forked = |header: &FrameHeader| !torn && header.flags & frame::FIRST != 0 && header.seq > 1;
        self.seem_forked.extend(header.filter(seems_forked).map(|header| header.session));
        self.hints.extend(header.filter(|_| !torn).map(|header| ((header.session, header.seq), header.kind)));
    }

    pub(super) fn frame(&mut self, file: &str, at: usize, frame: &Frame<'_>) {
        let header = frame.header;
        if header.kind == MARK || header.kind == FILLER {
            return;
        }
        if header.kind == REMOVED {
            self.removed.insert(header.session);
            return;
        }
        self.sealed_frame(file, at, frame);
        if header.flags & REWRITTEN != 0 {
            return self.rewritten(file, at, frame);
        }
        self.report.records += 1;
        self.meet(header.session, (header.flags & frame::FIRST != 0).then_some(header.seq));
        let Some(checked) = self.sessions.get_mut(&header.session) else { return };
        if !frame::can_be_missing(header.seq.saturating_sub(checked.next()), self.reached) {
            return self.tell_too_far(file, at, header);
        }
        if header.flags & REPAIR != 0 {
            // It stood for its record when that was missed; behind a log's end it is the first to tell of it.
            return self.miss(header.session, header.seq + 1, None);
        }
        let is_again = header.seq < checked.next();
        if !is_again {
            self.miss(header.session, header.seq, None);
        }
        let newest = self.newest_of(frame);
        if is_again {
            // Its word that was damaged before it was rewritten was heard where that stands.
            return self.tell(file, at, header, "the record stands a second time");
        }
        let is_stripped = header.flags & STRIPPED != 0;
        let payload = match payload(frame, &self.blobs, self.store) {
            Body::Whole(payload) if !is_stripped => payload,
            _ if newest.is_some() => newest.unwrap_or_default(),
            Body::Whole(_) => {
                self.give_up(file, at, header, "the record was rewritten, and what stands for it is gone");
                return;
            }
            Body::Missing(path) => {
                let is_there = path.exists();
                let what = if is_there { "the large body is damaged" } else { "the large body is missing" };
                if self.give_up(file, at, header, what) {
                    self.spoilt_bodies.extend(is_there.then_some(path));
                }
                return;
            }
            Body::Refused(error) => {
                if self.give_up(file, at, header, format!("the large body could not be looked at: {error}")) {
                    self.not_read.get_or_insert(error);
                }
                return;
            }
        };
        if self.is_retired(header, &payload) {
            self.give_up(file, at, header, RETIRED);
            return;
        }
        match self.record(header, &payload) {
            Ok(()) => {}
            Err(Unsound::Wrong(what)) => self.tell(file, at, header, what),
            Err(Unsound::Broken(what)) => {
                self.give_up(file, at, header, what);
            }
        }
    }

    /// A number that is not believed, whoever needs the record.
    pub(super) fn tell_too_far(&mut self, file: &str, at: usize, header: FrameHeader) {
        let what = "the record has a number that so short a log cannot have come to";
        let mut finding = Finding::about_file(file, at, what);
        (finding.session, finding.seq) = (Some(header.session), Some(header.seq));
        self.report.findings.push(finding);
    }

    /// Something about a record that stands here.
    pub(super) fn tell(&mut self, file: &str, at: usize, header: FrameHeader, what: impl Into<String>) {
        let mut finding = Finding::about_file(file, at, what);
        (finding.session, finding.seq) = (Some(header.session), Some(header.seq));
        self.of_records.insert(self.report.findings.len());
        self.report.findings.push(finding);
    }

    /// A record whose bytes say nothing any more is missing. True when no repair has marked it as such, so that it was told.
    fn give_up(&mut self, file: &str, at: usize, header: FrameHeader, what: impl Into<String>) -> bool {
        let gap = Gap { kind: Some(header.kind), ..Gap::of(header.commit) };
        if let Some(checked) = self.sessions.get_mut(&header.session) {
            checked.skip(header.session, header.seq, Some(gap), &self.repairs);
        }
        let is_new = !self.repairs.contains_key(&(header.session, header.seq));
        if is_new {
            self.tell(file, at, header, what);
        }
        is_new
    }

    /// Checks a record that is not sealed, or was opened, against the chain and the history before it.
    fn readable(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), String> {
        let beginning = beginning(header.kind, payload);
        if let Some(fork) = beginning.as_ref().and_then(|created| created.fork.as_ref()) {
            let owners = self.still_inherited(header.session, &fork.owners);
            self.go_to(&owners);
        }
        let mut continues = true;
        let inherited = match beginning.as_ref().and_then(|created| created.fork.as_ref()) {
            Some(fork) => {
                let commit = self.origins(fork).find_map(|known| known.commit_at(fork.at, &self.sessions));
                continues = commit.is_none_or(|commit| commit == fork.commit);
                self.origins(fork).find_map(|known| known.view.as_ref()).map(|view| view.tree().clone())
            }
            None => None,
        };
        let fork = beginning.as_ref().and_then(|created| created.fork.as_ref()).filter(|_| inherited.is_none());
        // Whom it inherited from may be gone, once it has all of that itself.
        let inherited = inherited.or_else(|| fork.and_then(|fork| self.adopted_tree(header.session, fork.at)));
        let Some(checked) = self.sessions.get_mut(&header.session) else { return Ok(()) };
        let before = checked.commits.last().copied();
        // The commit of a lost record is not known, so what follows it cannot be checked against it.
        let was_lost = checked.lost.contains(&(header.seq.wrapping_sub(1)));
        checked.commits.push(header.commit);
        if !continues {
            return Err("the fork does not continue the log it was forked from".to_owned());
        }
        let (blind, body) = payload.split_first_chunk::<32>().ok_or("the record is too short")?;
        let (event, stamp) = codec::decode(header.kind, body).map_err(|error| error.to_string())?;
        checked.stamp.get_or_insert_with(|| stamp.clone());
        if let Some(created) = beginning {
            let start = created.fork.as_ref().map_or(CommitHash::ZERO, |fork| fork.commit);
            follows(start, created.lineage, header, blind, body)?;
            // The log of a beginning that stands for a lost one is another than the one that its records are chained in.
            checked.lineage = (!created.stands_for_a_lost_one(payload)).then_some(created.lineage);
            let view = View::begin(header.seq, &created, &stamp, header.commit, inherited.as_ref());
            checked.view = Some(view.map_err(|error| error.to_string())?);
            return Ok(());
        }
        if event == Event::Lost {
            // It came so, with a session that was imported.
            checked.marked.insert(header.seq);
            if before.is_none_or(|before| before.after_lost(header.seq) == header.commit) {
                checked.lost.insert(header.seq);
            }
        } else if let (Some(lineage), Some(before), false) = (checked.lineage, before, was_lost) {
            follows(before, lineage, header, blind, body)?;
        }
        match &mut checked.view {
            Some(view) => {
                view.apply(header.seq, &event, &stamp, header.commit)
                    .map_err(|error| format!("the record cannot follow the ones before it: {error}"))?;
                if let Some(place) = self.places.get_mut(&(header.session, header.seq)) {
                    *place = Some((view.head(), view.depth()));
                }
                Ok(())
            }
            None => {
                checked.stood = checked.stood.or(match &event {
                    Event::Appended(appended) => Some((appended.parent, appended.depth.saturating_sub(1))),
                    Event::Cleared(cleared) => Some((Some(cleared.from), cleared.depth)),
                    Event::Moved(moved) => Some((Some(moved.to), moved.depth)),
                    _ => None,
                });
                Ok(())
            }
        }
    }

    /// What the index remembers of a session is held against what the log has of it.
    pub(super) fn remember(&mut self, id: SessionId, recalled: Recalled) {
        let row = recalled.row;
        self.meet(id, None);
        self.miss(id, row.version + 1, Some(Gap { is_told: false, ..Gap::of(row.commit) }));
        let Some(checked) = self.sessions.get_mut(&id) else { return };
        checked.miss_adopted(row.first, &self.repairs, id);
        checked.remembered = Some(recalled);
    }

    /// The index remembers that a session was removed; false: the log does not say so.
    pub(super) fn remember_removal(&mut self, session: SessionId) -> bool {
        let is_new = self.removed.insert(session);
        if is_new {
            self.unsaid.push(session);
        }
        !is_new
    }

    /// Of a removed session only what others inherit is looked after. What is gone of the rest was nobody's any more.
    fn settle_removed(&mut self) {
        let mut kept: HashMap<SessionId, u64> = self.removed.iter().map(|session| (*session, 0)).collect();
        for (session, checked) in self.sessions.iter().filter(|(session, _)| !self.removed.contains(*session)) {
            let at = checked.first.saturating_sub(1);
            let inherited = match &checked.view {
                Some(view) => view.owners_up_to(at),
                None => self.links.get(session).cloned().unwrap_or_else(|| self.owners(*session, at)),
            };
            for (owner, last) in self.still_inherited(*session, &inherited) {
                kept.entry(owner).and_modify(|kept| *kept = last.max(*kept));
            }
        }
        let is_alive = |session: SessionId, seq: Option<u64>| {
            kept.get(&session).is_none_or(|kept| seq.is_some_and(|seq| seq <= *kept))
        };
        for (session, checked) in self.sessions.iter_mut().filter(|(session, _)| kept.contains_key(*session)) {
            // Where it began may be gone, and what it adopted is kept.
            let first = self.adopted_from.get(session).copied().unwrap_or(0);
            checked.has_gaps = !checked.is_complete();
            checked.missing.retain(|seq, _| *seq >= first && is_alive(*session, Some(*seq)));
            checked.marked.retain(|seq| is_alive(*session, Some(*seq)));
        }
        let of_records = std::mem::take(&mut self.of_records);
        let findings = std::mem::take(&mut self.report.findings).into_iter().enumerate();
        let is_told = |(at, finding): &(usize, Finding)| {
            !of_records.contains(at) || finding.session.is_none_or(|session| is_alive(session, finding.seq))
        };
        self.report.findings = findings.filter(is_told).map(|(_, finding)| finding).collect();
        for session in std::mem::take(&mut self.unsaid) {
            let what =
                "that it was deleted is missing from the log; the index remembers it, and `repair` writes it again";
            self.report.findings.push(Finding::about_records(Severity::Error, session, None, what.to_owned()));
        }
        for (session, seq) in self.hints.iter().filter(|(_, kind)| **kind == REMOVED).map(|(place, _)| *place) {
            if self.sessions.contains_key(&session) && !self.removed.contains(&session) {
                let what = format!(
                    "damaged bytes seem to say that it was deleted at version {seq}; it is there again, so delete it again"
                );
                self.report.findings.push(Finding::about_records(Severity::Warning, session, None, what));
            }
        }
    }

    /// Reports what is still missing at the end. `kind` tells of a record what the index remembers.
    pub(super) fn finish(&mut self, kind: impl Fn(SessionId, u64) -> Option<Kind>) -> Vec<Missing> {
        for (session, seq) in self.hints.keys() {
            // Behind the end of a log only a damaged header tells of a record; it is heard when everything whole is known.
            if let Some(checked) = self.sessions.get_mut(session).filter(|checked| checked.next() == *seq) {
                checked.skip(*session, *seq, None, &self.repairs);
            }
        }
        for (session, checked) in &mut self.sessions {
            let lowest = self.adopted_from.get(session).copied().unwrap_or(checked.first);
            checked.miss_adopted(lowest, &self.repairs, *session);
        }
        self.open_unmet();
        self.settle_broken();
        self.settle_removed();
        self.settle_sealed();
        self.report.removed = self.removed.len() as u64;
        self.report.sessions = self.sessions.keys().filter(|session| !self.removed.contains(*session)).count() as u64;
        let mut all = Vec::new();
        let mut ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            let Some(checked) = self.sessions.get(&id) else { continue };
            let records = (checked.commits.len() + checked.adopted.len()).saturating_sub(checked.missing.len()) as u64;
            let (key, tenant) = self.name_of(id, checked);
            let lost = checked.marked.len() as u64;
            if !self.removed.contains(&id) {
                let (epochs, closed) = self.chains_of(id);
                self.report.names.push(Named { session: id, key, tenant, records, lost, epochs, closed });
            }
            let hint = |seq| self.hints.get(&(id, seq)).copied().or_else(|| kind(id, seq));
            all.extend(checked.missing.iter().map(|(seq, gap)| {
                let told = checked.tell(id, *seq, gap, hint(*seq));
                let fork =
                    told.beginning.as_ref().and_then(|_| self.origin(id, checked)).map(|fork| self.linked(id, fork));
                let beside = told.beside.filter(|_| !self.removed.contains(&id));
                let beside = beside.map(|beside| self.linked_beside(id, beside));
                Missing { fork, beside, ..told }
            }));
            let untold = checked.missing.iter().filter(|(_, gap)| !gap.is_told).map(|(seq, _)| *seq);
            for (first, last) in ranges(untold) {
                let what = if first == last { "the record is missing".to_owned() } else { missing(first, last) };
                self.report.findings.push(Finding::about_records(Severity::Error, id, Some((first, last)), what));
            }
            if self.seem_forked.contains(&id) && !self.removed.contains(&id) && checked.missing.contains_key(&1) {
                let what = "it seems to have been forked, and from where is lost with its beginning: what it inherited counts as \
                            missing here, and is where it was forked from";
                self.report.findings.push(Finding::about_records(Severity::Warning, id, None, what.to_owned()));
            }
            if !checked.marked.is_empty() {
                let what = marked(&checked.marked, checked.marked_at);
                self.report.lost += checked.marked.len() as u64;
                self.report.findings.push(Finding::about_records(Severity::Warning, id, None, what));
            }
        }
        all
    }
}

fn missing(first: u64, last: u64) -> String {
    format!("records {first} to {last} are missing ({} of them)", last - first + 1)
}

fn marked(marked: &BTreeSet<u64>, at: i64) -> String {
    let one = |(first, last): (u64, u64)| if first == last { first.to_string() } else { format!("{first} to {last}") };
    let mut numbers: Vec<String> = ranges(marked.iter().copied()).map(one).take(9).collect();
    if numbers.len() > 8 {
        numbers.truncate(8);
        numbers.push("others".to_owned());
    }
    let (count, numbers) = (marked.len(), numbers.join(", "));
    let how = if at == 0 {
        "marked as lost".to_owned()
    } else {
        format!("marked by a repair on {}", Moment::from_millis(at))
    };
    match count {
        1 => format!("record {numbers} is lost, {how}"),
        count => format!("{count} records are lost ({numbers}), {how}"),
    }
}

/// Numbers that follow each other, as their first and last.
pub(super) fn ranges(numbers: impl Iterator<Item = u64>) -> impl Iterator<Item = (u64, u64)> {
    let mut numbers = numbers.peekable();
    std::iter::from_fn(move || {
        let first = numbers.next()?;
        let mut last = first;
        while let Some(next) = numbers.next_if_eq(&(last + 1)) {
            last = next;
        }
        Some((first, last))
    })
}

fn beginning(kind: Kind, payload: &[u8]) -> Option<Box<Created>> {
    if kind != Kind::CREATED {
        return None;
    }
    match codec::decode(Kind::CREATED, payload.get(32..)?) {
        Ok((Event::Created(created), _)) => Some(created),
        _ => None,
    }
}

fn follows(
    before: CommitHash,
    lineage: LineageId,
    header: FrameHeader,
    blind: &Blind,
    body: &[u8],
) -> Result<(), String> {
    let commit = before.next(lineage, header.seq, header.kind, blind, body);
    if commit == header.commit {
        Ok(())
    } else {
        Err("the record does not follow the one before it (its commit)".to_owned())
    }
}
