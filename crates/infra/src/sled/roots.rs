//! Keyed roots over the heads of all sessions: what a batch adds to the sum, what the log tells of roots, and what they say of it.
//!
//! A root stands with the first append of its batch and says how long the batch is, so an append that no root counts in is told from one
//! that a crash kept from being followed by the others. Where others follow, an opening root over the sum before the batch stands beside it:
//! of a batch that was cut short, nobody can make the sum behind it anew. The sum is never written.
//!
//! Must not know: files, threads, and how a root is made.

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::RandomState;
use sessions_domain::{CommitHash, SessionId};
use sessions_ports::{BatchEdge, HeadWitness};

use super::{
    frame::{self, Frame, REPAIR, ROOT, STRIPPED},
    ledger::Ledger,
    log_state::Job,
    witnessing::{Doubt, WitnessReport},
};

/// Bytes of a root's field: alone, and with an opening root.
const FIELD: usize = 20;
const LONG_FIELD: usize = FIELD + 16;
/// Room that a root may need in a batch, and in a mark.
pub(crate) const ROOM: u32 = 9 + LONG_FIELD as u32;
pub(crate) const ROOM_IN_MARK: usize = 9 + FIELD;

/// A root that stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Root {
    /// Where the frame begins that carries it.
    pub(crate) position: u64,
    /// Bytes from there to the end of its batch.
    pub(crate) length: u32,
    /// Over the sum behind the batch.
    pub(crate) root: [u8; 16],
    /// Over the sum before it, where it has more than one append.
    opening: Option<[u8; 16]>,
}

impl Root {
    /// The root that a frame carries, which stands at this position. One whose payload went may stand elsewhere than it did, so it has none.
    pub(crate) fn of(frame: &Frame<'_>, position: u64) -> Option<Self> {
        if frame.header.flags & STRIPPED != 0 {
            return None;
        }
        let (_, field) =
            frame.fields().find(|(tag, field)| *tag == ROOT && [FIELD, LONG_FIELD].contains(&field.len()))?;
        let (root, rest) = field.split_first_chunk::<16>()?;
        let (length, opening) = rest.split_first_chunk::<4>()?;
        Some(Self { opening: opening.try_into().ok(), ..Self::closed(position, u32::from_le_bytes(*length), *root) })
    }

    /// The root of a batch that is there to its end.
    pub(crate) fn closed(position: u64, length: u32, root: [u8; 16]) -> Self {
        Self { position, length, root, opening: None }
    }

    /// Its field.
    fn field(&self) -> Vec<u8> {
        let opening = self.opening.iter().flatten();
        self.root.iter().chain(&self.length.to_le_bytes()).chain(opening).copied().collect()
    }

    /// Where its batch ends.
    pub(crate) fn end(&self) -> u64 {
        self.position.saturating_add(u64::from(self.length))
    }

    /// Whether it is the one over this sum before or behind its batch.
    fn is_over(&self, edge: BatchEdge, sum: &Sum, witness: &dyn HeadWitness) -> bool {
        let told = if edge == BatchEdge::Before { self.opening } else { Some(self.root) };
        let made = witness.root(edge, &sum.0, self.position, self.length);
        told.is_some_and(|told| made.iter().zip(told).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0)
    }
}

/// What the log says of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stand {
    /// Nothing.
    Absent,
    /// It is there, with this version and this commit.
    At(u64, CommitHash),
    /// It was removed.
    Removed,
}

impl Stand {
    /// How a session stands in a ledger that knows what is in the log.
    pub(crate) fn of(ledger: &Ledger, session: SessionId) -> Self {
        if ledger.is_gone(session) {
            return Self::Removed;
        }
        match ledger.sessions.get(&session).filter(|log| log.exists()) {
            Some(log) => Self::At(log.row.version, log.row.commit),
            None => Self::Absent,
        }
    }

    /// How a session stood before a job, and stands behind it; `None`: as before.
    fn changed_by(job: &Job) -> Option<(Self, Self)> {
        if job.removes.is_some() {
            let header = frame::header(&job.frames)?;
            return Some((Self::At(header.seq, header.commit), Self::Removed));
        }
        // A rewrite gives records other payloads, and no session another head.
        let (first, _) = job.records.first().filter(|_| job.rewrites.is_none())?;
        let before = if job.begins { Self::Absent } else { Self::At(first.saturating_sub(1), job.behind) };
        Some((before, Self::At(job.row.version, job.row.commit)))
    }
}

/// The XOR of the elements of all sessions. It stays in memory.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sum([u8; 32]);

impl Sum {
    /// Of all sessions of a ledger that knows what is in the log.
    pub(crate) fn of(ledger: &Ledger, witness: &dyn HeadWitness) -> Self {
        let mut sum = Self::default();
        let there = ledger.sessions.iter().filter(|(session, log)| log.exists() && !ledger.is_gone(**session));
        there.for_each(|(id, log)| sum.toggle(*id, Stand::At(log.row.version, log.row.commit), witness));
        ledger.graves.keys().for_each(|session| sum.toggle(*session, Stand::Removed, witness));
        sum
    }

    /// Takes a session in, or out again.
    pub(crate) fn toggle(&mut self, session: SessionId, standing: Stand, witness: &dyn HeadWitness) {
        let element = match standing {
            Stand::Absent => return,
            Stand::At(version, commit) => witness.element(session, Some((version, commit))),
            Stand::Removed => witness.element(session, None),
        };
        self.0.iter_mut().zip(element).for_each(|(byte, other)| *byte ^= other);
    }

    /// Takes the doubt in, or out again, that heads once were not as attested. It is the removal of a session that cannot be.
    pub(crate) fn toggle_doubt(&mut self, witness: &dyn HeadWitness) {
        self.toggle(SessionId::from_bytes([0; 16]), Stand::Removed, witness);
    }

    /// Whether a root is over this sum, or over the one with a doubt; `None`: over neither.
    pub(crate) fn met_by(self, root: &Root, edge: BatchEdge, witness: &dyn HeadWitness) -> Option<Met> {
        if root.is_over(edge, &self, witness) {
            return Some(Met::Whole);
        }
        if edge == BatchEdge::Behind && root.is_over(BatchEdge::Settled, &self, witness) {
            return Some(Met::Settled);
        }
        let mut doubted = self;
        doubted.toggle_doubt(witness);
        root.is_over(edge, &doubted, witness).then_some(Met::Doubted)
    }
}

/// How a root agrees with the heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    Whole,
    /// They are those that were attested, and roots before it that are over others are done with.
    Settled,
    /// They are those that were attested, though once they were not.
    Doubted,
}

/// Who attests what the writer writes.
#[derive(Clone)]
pub(crate) struct Attesting {
    pub(crate) witness: Arc<dyn HeadWitness>,
    sum: Sum,
    is_doubted: bool,
    /// A mark with a root comes before anything else.
    pub(crate) owes_mark: bool,
    /// That mark's root settles what roots before it say.
    settles: bool,
}

/// A batch with its root.
pub(crate) struct Attested {
    pub(crate) root: Root,
    sum: Sum,
    /// Bytes that the root added to the first append.
    pub(crate) added: u32,
}

impl Attesting {
    pub(crate) fn new(witness: Arc<dyn HeadWitness>, sum: Sum, is_doubted: bool, owes_mark: bool) -> Self {
        let mut attesting = Self { witness, sum, is_doubted: false, owes_mark, settles: false };
        attesting.doubt(is_doubted);
        attesting
    }

    /// Whether the roots from here on say that heads once were not as attested.
    pub(crate) fn doubt(&mut self, is_doubted: bool) {
        if self.is_doubted != is_doubted {
            self.sum.toggle_doubt(self.witness.as_ref());
            self.is_doubted = is_doubted;
        }
    }

    /// The mark that comes first settles what roots before it say.
    pub(crate) fn settle(&mut self) {
        self.doubt(false);
        (self.owes_mark, self.settles) = (true, true);
    }

    /// The mark that comes first is there.
    pub(crate) fn begun(&mut self) {
        (self.owes_mark, self.settles) = (false, false);
    }

    /// Adds the root to an append that `buffer` holds and ends with. `last`: where in it the last frame begins; `position`: where in the log.
    /// `jobs`: the batch; `behind`: the bytes of those behind the first. `is_removed`: a removal of the session stands in the log.
    pub(crate) fn attest<'a>(
        &self,
        buffer: &mut Vec<u8>,
        (last, position): (usize, u64),
        jobs: impl Iterator<Item = &'a Job>,
        behind: u32,
        is_removed: impl Fn(SessionId) -> bool,
    ) -> Attested {
        let sum = self.sum_behind(jobs, is_removed);
        let flags = buffer.get(last + 6).copied().unwrap_or(0);
        let added = frame::added_by_field(flags, if behind > 0 { LONG_FIELD } else { FIELD });
        let frame = buffer.len().saturating_sub(last) + added;
        let added = u32::try_from(added).unwrap_or(0);
        let length = u32::try_from(frame).unwrap_or(u32::MAX).saturating_add(behind);
        let over = |edge, sum: &Sum| self.witness.root(edge, &sum.0, position, length);
        let opening = (behind > 0).then(|| over(BatchEdge::Before, &self.sum));
        let edge = if self.settles { BatchEdge::Settled } else { BatchEdge::Behind };
        let root = Root { position, length, root: over(edge, &sum), opening };
        frame::add_field(buffer, last, ROOT, &root.field());
        Attested { root, sum, added }
    }

    /// The batch was written.
    pub(crate) fn written(&mut self, attested: &Attested) {
        self.sum = attested.sum;
    }

    fn sum_behind<'a>(&self, jobs: impl Iterator<Item = &'a Job>, is_removed: impl Fn(SessionId) -> bool) -> Sum {
        let mut changed: HashMap<SessionId, (Stand, Stand), RandomState> = HashMap::default();
        for job in jobs {
            let Some((before, after)) = Stand::changed_by(job) else { continue };
            // Of several removals of a session the first counts.
            let is_again = after == Stand::Removed && is_removed(job.session);
            let entry = changed.entry(job.session);
            entry.and_modify(|(_, last)| *last = after).or_insert((if is_again { after } else { before }, after));
        }
        let mut sum = self.sum;
        for (session, (before, after)) in changed {
            sum.toggle(session, before, self.witness.as_ref());
            sum.toggle(session, after, self.witness.as_ref());
        }
        sum
    }
}

/// What reading a log to its end told of roots.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trail {
    /// The last root.
    pub(crate) current: Option<Root>,
    /// How sessions stood before the batch of the last one.
    before: HashMap<SessionId, Stand>,
    /// Up to where that batch is there, and how many appends of it.
    filled: u64,
    appends: u64,
    /// Appends that stand behind it, and whether a repair wrote them all.
    unattested: u64,
    is_repair: bool,
    /// A mark without a root ended that batch: somebody opened the store without the key.
    is_closed: bool,
    /// What stands before the place where reading began is not known.
    pub(crate) is_partial: bool,
}

impl Trail {
    /// Reading begins behind a position. `root`: the last one before it, where that is known.
    pub(crate) fn behind(position: u64, root: Option<Root>) -> Self {
        // A root that does not end there may be that of another state than the one that is known.
        let current = root.filter(|root| root.end() == position);
        Self { current, filled: position, is_partial: position > 0 && current.is_none(), ..Self::default() }
    }

    /// An append stands in the log whose last frame begins at `position`; the ledger does not know of it yet.
    pub(crate) fn append(&mut self, frame: &Frame<'_>, position: u64, ledger: &Ledger) {
        let (session, end) = (frame.header.session, position + frame.length as u64);
        if let Some(root) = Root::of(frame, position) {
            self.turn(root);
            (self.filled, self.appends) = (end, 1);
        } else if self.current.is_none() {
            // A store without a witness, or one that had none yet.
            return;
        } else if self.is_within(end) && frame.header.flags & REPAIR == 0 {
            (self.filled, self.appends) = (end, self.appends + 1);
        } else {
            self.is_repair = frame.header.flags & REPAIR != 0 && (self.unattested == 0 || self.is_repair);
            self.unattested += 1;
            self.before.clear();
            return;
        }
        self.before.entry(session).or_insert_with(|| Stand::of(ledger, session));
    }

    /// Whether an append that ends there is one of the last root's batch.
    fn is_within(&self, end: u64) -> bool {
        !self.is_closed && self.unattested == 0 && self.current.is_some_and(|root| end <= root.end())
    }

    /// A mark stands in the log.
    pub(crate) fn mark(&mut self, frame: &Frame<'_>, position: u64) {
        match Root::of(frame, position) {
            Some(root) => {
                self.turn(root);
                self.filled = root.end();
            }
            None => self.is_closed = true,
        }
    }

    fn turn(&mut self, root: Root) {
        self.current = Some(root);
        self.before.clear();
        (self.appends, self.unattested, self.is_repair, self.is_closed) = (0, 0, false, false);
    }

    /// Holds the last root against how sessions stand. `sum`: of all sessions in the ledger.
    pub(crate) fn judge(&self, ledger: &Ledger, sum: Sum, witness: &dyn HeadWitness) -> WitnessReport {
        let Some(current) = self.current else {
            let is_empty = sum == Sum::default() && !self.is_partial;
            return if is_empty { WitnessReport::Empty } else { WitnessReport::Missing };
        };
        if self.unattested > 0 {
            let (appends, by_repair) = (self.unattested, self.is_repair);
            return WitnessReport::Mismatch(Doubt::Unattested { appends, by_repair });
        }
        match sum.met_by(&current, BatchEdge::Behind, witness) {
            Some(Met::Whole | Met::Settled) => return WitnessReport::Confirmed,
            Some(Met::Doubted) => return WitnessReport::Mismatch(Doubt::Standing),
            None if self.filled >= current.end() => return WitnessReport::Mismatch(Doubt::Heads),
            None => {}
        }
        let mut before = sum;
        for (session, standing) in &self.before {
            before.toggle(*session, Stand::of(ledger, *session), witness);
            before.toggle(*session, *standing, witness);
        }
        match before.met_by(&current, BatchEdge::Before, witness) {
            Some(Met::Whole | Met::Settled) => WitnessReport::Unfinished { appends: self.appends },
            Some(Met::Doubted) => WitnessReport::Mismatch(Doubt::Standing),
            None => WitnessReport::Mismatch(Doubt::Heads),
        }
    }
}

/// What an open store has to do with roots.
#[derive(Default)]
pub(crate) struct Roots {
    /// What reading the log told, until somebody attests.
    pub(crate) trail: Option<Trail>,
    /// Who is to attest, on the way to the writer, and the last root that is known to be right.
    pub(crate) given: Option<(Attesting, Option<Root>)>,
    pub(crate) has_witness: bool,
    /// The doubt is to be settled.
    pub(crate) is_settling: bool,
    /// Something was queued since the store was opened.
    pub(crate) has_begun: bool,
    /// The last root that is synced. It ends where the synced log does, when there is a witness.
    pub(crate) synced: Option<Root>,
}

impl Roots {
    /// Whether the writer has something to do about them.
    pub(crate) fn is_waiting(&self) -> bool {
        self.given.is_some() || self.is_settling
    }
}
