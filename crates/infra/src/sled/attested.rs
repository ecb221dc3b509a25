//! Keyed roots while a whole log is checked: each is made anew from how the sessions stood there, and the first that is another is named.
//!
//! Where space came back or records are lost, nobody knows how sessions stood in between; roots there cannot be checked. No such gap reaches
//! over the end, so the last root always can.
//!
//! Must not know: segments, or what is done about what is found.

use std::collections::HashMap;

use sessions_domain::SessionId;
use sessions_ports::{BatchEdge, HeadWitness};

use super::{
    frame::{FIRST, Frame, REMOVED, REPAIR, REWRITTEN, STRIPPED},
    inspection::{Finding, Severity},
    roots::{Met, Root, Stand, Sum},
};
use crate::counted::counted;

/// The keyed roots of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RootsLook {
    /// So many stand in the log.
    pub found: u64,
    /// Whether the key was there to check them with. Without it nothing else of this is known.
    pub is_checked: bool,
    /// Those that are over the sessions as they stood there.
    pub agreed: u64,
    /// Those that nobody can check any more, because space came back or records are lost.
    pub unknown: u64,
    /// Those that are over other sessions, and that a person who has the key settled since.
    pub settled: u64,
    /// Those whose batch a kill or a power cut kept from being finished. The next one counts in what of it there was.
    pub unfinished: u64,
}

/// Sessions that a finding names.
const NAMED: usize = 8;
/// Roots that are kept with their sessions until it is known whether they had to agree.
const KEPT: usize = 4096;

/// A root that is not the one over the sessions as they stood.
struct Failed {
    /// Where it is to hold: at the end of its batch, or at the beginning of one that was cut short.
    end: u64,
    /// The file, and where in it.
    file: String,
    offset: usize,
    sessions: Vec<SessionId>,
}

/// A batch that is not there to its end yet.
struct Pending {
    root: Root,
    failed: Failed,
    /// Its opening root is over the sessions as they stood before it, so it may be one that was cut short.
    is_open: bool,
}

/// How the last root was found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    None,
    Agreed,
    Doubted,
    Failed,
    Unfinished,
}

/// Goes through a log, append by append.
pub(super) struct Attested<'a> {
    witness: Option<&'a dyn HeadWitness>,
    look: RootsLook,
    sum: Sum,
    /// How each session stands, and behind what position.
    sessions: HashMap<SessionId, (Stand, u64)>,
    pending: Option<Pending>,
    failed: Vec<Failed>,
    more_failed: u64,
    /// So many of those that failed are settled since: of the first ones, and of those behind them that are only counted.
    settled: (usize, u64),
    /// From where to where it is not known how a session stood.
    gaps: Vec<(u64, u64)>,
    last: Last,
    /// Where roots began to say that heads once were not as attested.
    doubted: Option<(String, usize)>,
    /// The first append that has frames of several sessions.
    mixed: Option<(String, usize)>,
    appends: u64,
    /// Appends behind the last root's batch.
    unattested: u64,
    /// Where frames without their payloads began that nothing else followed yet.
    stripped: Option<u64>,
}

impl<'a> Attested<'a> {
    pub(super) fn new(witness: Option<&'a dyn HeadWitness>) -> Self {
        let look = RootsLook { is_checked: witness.is_some(), ..RootsLook::default() };
        let (sum, last, doubted, mixed) = (Sum::default(), Last::None, None, None);
        let (sessions, pending, failed, gaps) = (HashMap::new(), None, Vec::new(), Vec::new());
        let (more_failed, settled, appends, unattested) = (0, (0, 0), 0, 0);
        Self {
            witness,
            look,
            sum,
            sessions,
            pending,
            failed,
            more_failed,
            settled,
            gaps,
            last,
            doubted,
            mixed,
            appends,
            unattested,
            stripped: None,
        }
    }

    /// The frames of an append, as far as they are whole, in a file of which byte 0 has this position.
    pub(super) fn append(&mut self, (file, base): (&str, u64), frames: &[(usize, Frame<'_>)]) {
        let Some((at, last)) = frames.last() else { return };
        let (position, session) = (base + *at as u64, last.header.session);
        let end = position + last.length as u64;
        self.appends += 1;
        self.pass(frames.first().map_or(position, |(at, _)| base + *at as u64), last.header.flags & STRIPPED != 0);
        match Root::of(last, position) {
            Some(root) => {
                self.turn(root, file, *at);
                self.unattested = 0;
            }
            None if self.pending.as_ref().is_none_or(|pending| end > pending.root.end()) => {
                self.drop_pending();
                self.unattested += 1;
            }
            None => {}
        }
        if self.witness.is_none() {
            return;
        }
        // Where a repair laid a filler over damage, the end of one append and the beginning of another may be left on both sides of it.
        let are_mixed = |(at, frame): &(usize, Frame<'_>), (next, other): &(usize, Frame<'_>)| {
            frame.header.session != other.header.session && at + frame.length == *next
        };
        if frames.iter().zip(frames.iter().skip(1)).any(|(one, other)| are_mixed(one, other)) {
            self.mixed.get_or_insert((file.to_owned(), *at));
        }
        frames.iter().for_each(|(at, frame)| self.record(frame, base + *at as u64));
        if let Some(Pending { failed, .. }) = &mut self.pending
            && failed.sessions.len() <= NAMED
            && !failed.sessions.contains(&session)
        {
            failed.sessions.push(session);
        }
        self.reach(end);
    }

    /// A mark, which is a batch of its own, or ends one that was never finished.
    pub(super) fn mark(&mut self, (file, base): (&str, u64), at: usize, frame: &Frame<'_>) {
        let position = base + at as u64;
        self.pass(position, false);
        match Root::of(frame, position) {
            Some(root) => {
                self.turn(root, file, at);
                self.unattested = 0;
                self.reach(position + frame.length as u64);
            }
            None => self.drop_pending(),
        }
    }

    /// Frames without their payloads stand together where space came back, so it is not known where each of them ended.
    fn pass(&mut self, position: u64, is_stripped: bool) {
        match (self.stripped, is_stripped) {
            (None, true) => self.stripped = Some(position),
            (Some(from), false) => {
                self.gaps.push((from, position));
                self.stripped = None;
                // Too few zeros for a filler may be before it.
                self.reach(position);
            }
            _ => {}
        }
    }

    /// A filler, which may stand over appends of a batch.
    pub(super) fn filler(&mut self, end: u64) {
        self.reach(end);
    }

    fn turn(&mut self, root: Root, file: &str, offset: usize) {
        self.drop_pending();
        self.look.found += 1;
        if let Some(witness) = self.witness {
            let is_open = self.sum.met_by(&root, BatchEdge::Before, witness).is_some();
            let failed = Failed { end: root.end(), file: file.to_owned(), offset, sessions: Vec::new() };
            self.pending = Some(Pending { root, failed, is_open });
        }
    }

    /// The log goes on, and the end of the last root's batch is not there.
    fn drop_pending(&mut self) {
        let Some(Pending { failed, is_open, root }) = self.pending.take() else { return };
        if is_open {
            self.look.unfinished += 1;
            self.last = Last::Unfinished;
        } else {
            self.fail(Failed { end: root.position, ..failed });
        }
    }

    fn fail(&mut self, failed: Failed) {
        self.last = Last::Failed;
        if self.failed.len() < KEPT { self.failed.push(failed) } else { self.more_failed += 1 }
    }

    /// Everything up to a position was met.
    fn reach(&mut self, position: u64) {
        let Some(witness) = self.witness else { return };
        let Some(Pending { root, failed, .. }) = self.pending.take_if(|pending| pending.root.end() <= position) else {
            return;
        };
        match self.sum.met_by(&root, BatchEdge::Behind, witness) {
            Some(met @ (Met::Whole | Met::Settled)) => {
                self.look.agreed += 1;
                (self.last, self.doubted) = (Last::Agreed, None);
                if met == Met::Settled {
                    self.settled = (self.failed.len(), self.more_failed);
                }
            }
            Some(Met::Doubted) => {
                self.look.agreed += 1;
                self.last = Last::Doubted;
                self.doubted.get_or_insert((failed.file, failed.offset));
            }
            None => self.fail(failed),
        }
    }

    /// A record, or a removal, changes how its session stands.
    fn record(&mut self, frame: &Frame<'_>, position: u64) {
        let Some(witness) = self.witness else { return };
        let header = frame.header;
        let known = self.sessions.get(&header.session).copied();
        let (before, since) = known.unwrap_or((Stand::Absent, 0));
        let version = match before {
            Stand::Absent if header.flags & FIRST != 0 => header.seq.saturating_sub(1),
            Stand::Absent => 0,
            Stand::At(version, _) => version,
            // What a removed session is inherited for may have been lost, and is stood for.
            Stand::Removed => return,
        };
        let is_removal = header.kind == REMOVED;
        let is_gap = if is_removal { header.seq != version } else { header.seq > version + 1 };
        // What stands for a lost record stands behind where that was.
        let is_repair = header.flags & REPAIR != 0;
        // What was rewritten changes nothing, unless it is all that is left of a record.
        let is_rewritten = header.flags & REWRITTEN != 0;
        if !is_removal && header.seq <= version && !(is_repair && !is_rewritten && header.seq == version) {
            return;
        }
        if is_gap || is_repair || is_rewritten {
            self.gaps.push((since, position));
        }
        let after = if is_removal { Stand::Removed } else { Stand::At(header.seq, header.commit) };
        self.sum.toggle(header.session, before, witness);
        self.sum.toggle(header.session, after, witness);
        // What is left of a record tells nothing of how its session stood there, where it had gone on long since.
        let since = if is_rewritten { since } else { position + frame.length as u64 };
        self.sessions.insert(header.session, (after, since));
    }

    /// What was found, at the end of the log, and whether the sessions stand there as attested.
    pub(super) fn finish(mut self) -> (RootsLook, bool, Vec<Finding>) {
        let mut findings = Vec::new();
        self.drop_pending();
        if self.witness.is_none() {
            return (self.look, true, findings);
        }
        let is_unknown = |failed: &Failed| self.gaps.iter().any(|(from, to)| *from < failed.end && failed.end <= *to);
        let (settled, standing) = self.failed.split_at(self.settled.0.min(self.failed.len()));
        let known = |failed: &[Failed], more: u64| {
            let known = failed.iter().filter(|failed| !is_unknown(failed)).count() as u64;
            (failed.iter().position(|failed| !is_unknown(failed)), known + more)
        };
        let (first_settled, were_wrong) = known(settled, self.settled.1);
        let (first, are_wrong) = known(standing, self.more_failed - self.settled.1);
        self.look.unknown = self.failed.len() as u64 + self.more_failed - were_wrong - are_wrong;
        self.look.settled = were_wrong;
        if let Some(first) = first_settled.and_then(|at| settled.get(at)) {
            findings.push(Finding {
                severity: Severity::Warning,
                ..first.told(were_wrong, "and it was settled since with the key")
            });
        }
        if let Some(first) = first.and_then(|at| standing.get(at)) {
            let since = if self.last == Last::Failed { "to the end of the log" } else { "and later ones agree again" };
            findings.push(first.told(are_wrong, since));
        }
        let mut told = |severity, file: &str, offset: Option<usize>, what: String| {
            let finding = Finding::about_file(file, offset.unwrap_or(0), what);
            let offset = finding.offset.filter(|_| offset.is_some());
            findings.push(Finding { severity, offset, ..finding });
        };
        if let (Last::Doubted, Some((file, offset))) = (self.last, &self.doubted) {
            let what = "from here on the roots say that sessions did not stand as attested when the store was opened; everything behind it \
                        is as attested, and `repair` with the key settles it";
            told(Severity::Error, file, Some(*offset), what.to_owned());
        }
        if let Some((file, offset)) = &self.mixed {
            told(
                Severity::Error,
                file,
                Some(*offset),
                "an append has frames of several sessions, as no store writes it".to_owned(),
            );
        }
        if self.look.found == 0 && self.appends > 0 {
            let what = "the log holds records, and no root that attests them";
            told(Severity::Error, "log", None, what.to_owned());
        } else if self.unattested > 0 {
            let what = format!(
                "{} behind the last attested one were written without the key, as by a repair that lacked it; a repair with the key \
                 attests how the sessions stand",
                counted(self.unattested, "append")
            );
            told(Severity::Error, "log", None, what);
        } else if self.last == Last::Unfinished {
            let what =
                "the last batch was cut short; what of it is there is attested when the store is opened with the key";
            told(Severity::Warning, "log", None, what.to_owned());
        }
        let is_attested = are_wrong == 0
            && match self.last {
                Last::None => self.appends == 0,
                Last::Agreed | Last::Unfinished => self.unattested == 0,
                Last::Doubted | Last::Failed => false,
            };
        (self.look, is_attested, findings)
    }
}

impl Failed {
    /// `count`: how many roots were wrong, this one the first. `since`: what became of it.
    fn told(&self, count: u64, since: &str) -> Finding {
        let named = self.sessions.iter().take(NAMED).map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let others = if self.sessions.len() > NAMED { " and others" } else { "" };
        let appends = if named.is_empty() { String::new() } else { format!("it has appends of {named}{others}; ") };
        let what = format!(
            "from this batch on the sessions do not stand as attested ({}, {since}): {appends}records were lost, taken out, put back \
             or moved before it, or it was written without the key",
            counted(count, "root")
        );
        let session = if let [session] = self.sessions.as_slice() { Some(*session) } else { None };
        Finding { session, ..Finding::about_file(&self.file, self.offset, what) }
    }
}
