//! A file that was imported before, and has grown since: its new lines come behind what it gave then.
//!
//! What is new stands on the way that the file itself went, whatever was said here meanwhile. The head goes along only when it stands where
//! the import left it; otherwise what is new is a branch, and the head stays.
//!
//! An answer that was cut between two of its calls is two messages here. When it was cut twice before the first result came, that result stands
//! behind the second of them, and a context has `interrupted` in its place.
//!
//! **Invariant**: the lines that came before are the first lines of the file, byte by byte (a last line that was cut may have become
//! longer); otherwise nothing is taken in. A file that is shorter now has nothing new.
//!
//! Must not know: how lines are spelled.

use std::{collections::HashSet, sync::Arc};

use serde::Serialize;
use sessions_domain::{
    Cleared, Event, MessageId, MessageRole, MoveCause, Moved, Residue, ResidueLine, SessionId, TokenUsage, View,
    branches::Tree, decide,
};
use sessions_ports::Durability;

use super::{
    Format, ImportError,
    kept::{Kept, Lines, read_foreign},
    records::{Stand, batches},
    transcript::{Entry, EntryKind, Transcript},
};
use crate::{
    blocking::off_the_runtime,
    error::SessionError,
    session::Session,
    transact::{MAX_ATTEMPTS, Plan, Through},
};

/// What an import added to a session that was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Grown {
    /// Lines of the file that are new.
    pub lines: u64,
    /// Messages that were made of them.
    pub messages: u64,
    /// The branch that the new messages are on, by its number.
    pub branch: u64,
    /// True when the head went along.
    pub moved: bool,
}

/// What became of a file that was known.
pub(super) struct Followed {
    pub(super) grown: Option<Grown>,
    pub(super) version: u64,
    /// The level of what was added.
    pub(super) durability: Option<Durability>,
}

/// The new part of a file.
struct News {
    kept: Kept,
    transcript: Transcript,
    /// Lines up to here were there.
    sealed: u64,
    /// Where the file's main path ended before.
    old_end: Option<u64>,
    residue: Vec<ResidueLine>,
    lines: u64,
    /// Tokens of the whole file.
    usage: TokenUsage,
}

/// Takes in what a file has more than the session.
pub(super) async fn follow(
    session: &Session,
    transcript: &Transcript,
    durability: Durability,
) -> Result<Followed, SessionError> {
    let file = Arc::new(Lines::of(transcript).map_err(|_| changed(session.id()))?);
    for _ in 0..MAX_ATTEMPTS {
        let view = session.quiet_view().await?;
        let Some(kept) = Kept::read(session, &view).await? else { return Err(changed(session.id()).into()) };
        if kept.format != transcript.format {
            return Err(changed(session.id()).into());
        }
        let (id, file, usage) = (session.id(), Arc::clone(&file), transcript.report.usage);
        let news = off_the_runtime(move || news(id, kept, &file, usage)).await??;
        let Some(news) = news else { return Ok(Followed { grown: None, version: view.version(), durability: None }) };
        if let Some((grown, through)) = news.append(session, &view, durability).await? {
            let (version, durability) = (through.version, Some(through.durability));
            return Ok(Followed { grown: Some(grown), version, durability });
        }
    }
    let at = session.version().await?;
    Err(SessionError::Conflict { expected: at, actual: at })
}

fn changed(session: SessionId) -> ImportError {
    ImportError::SourceChanged { session }
}

/// What is new in a file; `None` when nothing is.
fn news(session: SessionId, kept: Kept, file: &Lines, usage: TokenUsage) -> Result<Option<News>, ImportError> {
    let before = kept.lines();
    let (old, new) = (before.last(), file.last());
    let mut sealed = old;
    for number in 1..=old.min(new) {
        let (was, is) = (before.get(number).unwrap_or_default(), file.get(number).unwrap_or_default());
        if was == is {
            continue;
        }
        if number == new && was.starts_with(is) {
            // An older copy, which ends within this line.
            return Ok(None);
        }
        let was_cut = number == old && kept.is_residue(number) && is.starts_with(was);
        if !was_cut {
            return Err(changed(session));
        }
        sealed = number - 1;
    }
    if new <= sealed {
        return Ok(None);
    }
    let old_end = read_foreign(kept.format, &before.file("")[..], 0).ok();
    let old_end = old_end.and_then(|read| kept.record_of(&read, read.head?));
    let mut transcript = read_foreign(kept.format, &file.file("")[..], sealed)?;
    let mut residue = std::mem::take(&mut transcript.residue);
    residue.retain(|line| line.line > sealed);
    Ok(Some(News { kept, transcript, sealed, old_end, residue, lines: new - sealed, usage }))
}

impl News {
    /// Commits it behind a view. `None` when the session changed since.
    async fn append(
        &self,
        session: &Session,
        seen: &View,
        durability: Durability,
    ) -> Result<Option<(Grown, Through)>, SessionError> {
        let (mut grown, mut is_stale) = (None, false);
        let through = session
            .manager()
            .transact(session.lane(), durability, |view| {
                is_stale = view.place() != seen.place();
                if is_stale {
                    return Ok(None);
                }
                decide::check_open(view)?;
                let now = session.manager().ports().clock.now();
                let next_id = || session.manager().ports().ids.message(now);
                let (events, found) = self.events(view, next_id)?;
                grown = Some(found);
                Ok(Some(Plan { events, claim: None }))
            })
            .await?;
        Ok(grown.filter(|_| !is_stale).zip(through))
    }

    fn events(&self, view: &View, mut next_id: impl FnMut() -> MessageId) -> Result<(Vec<Event>, Grown), SessionError> {
        let invalid = |source: sessions_domain::branches::NotAnElement| SessionError::InvalidHistory {
            session: view.session(),
            source: source.into(),
        };
        let residue = batches(self.residue.clone()).map(|lines| Event::Residue(Residue { lines }));
        let mut growing = Growing {
            tree: view.tree().clone(),
            version: view.version(),
            head: view.head(),
            events: residue.collect(),
            messages: 0,
            unclaimed: self.unclaimed(),
        };
        let mut stands: Vec<Stand> = Vec::new();
        let mut tip = self.tip(view);
        let mut overtaken: HashSet<u64> = self.old_end.into_iter().filter(|end| *end != tip.seq).collect();
        for (at, entry) in self.transcript.entries.iter().enumerate() {
            let parent = entry.parent.and_then(|parent| stands.get(parent).copied()).unwrap_or_default();
            let known = self.kept.record_of(&self.transcript, at).and_then(|seq| self.kept.stand(seq));
            let stand = match known {
                Some(stand) => stand,
                None if self.is_new(entry) => {
                    let is_late = self.completes_known(entry) && growing.tree.is_on_path(parent.seq, tip.seq);
                    // What goes on behind the place that a late one took goes on behind the late one.
                    let is_overtaken = overtaken.contains(&parent.seq);
                    let parent = if is_late || is_overtaken { tip } else { parent };
                    let stand = growing.add(entry, parent, &mut next_id).map_err(invalid)?;
                    if is_late || is_overtaken {
                        overtaken.insert(parent.seq);
                    }
                    if parent == tip {
                        tip = stand;
                    }
                    stand
                }
                // It was lost here.
                None => parent,
            };
            stands.push(stand);
        }
        let end = self.transcript.head.and_then(|head| stands.get(head).copied()).unwrap_or_default();
        let end = if overtaken.contains(&end.seq) { tip } else { end };
        let moved = self.stands_at_end(view);
        let target = if moved { end } else { Stand { seq: view.head(), depth: view.depth() } };
        growing.move_to(target);
        let branch = growing.tree.run_of(end.seq).map_or(Tree::MAIN, |run| run.branch);
        let grown = Grown { lines: self.lines, messages: growing.messages, branch, moved };
        Ok((growing.events, grown))
    }

    /// True when the head stands where the import left it.
    fn stands_at_end(&self, view: &View) -> bool {
        let head = view.head();
        head == self.old_end.unwrap_or(0) || head == self.tip(view).seq
    }

    /// The end of the file's main path here, with what came of it that stands behind.
    fn tip(&self, view: &View) -> Stand {
        let (tree, end) = (view.tree(), self.old_end.unwrap_or(0));
        // Elsewhere the file's last line says where it stands.
        let tree = Some(tree).filter(|_| self.kept.format == Format::ClaudeCode);
        let tip = tree
            .and_then(|tree| Some((tree, tree.run_of(end)?)))
            .and_then(|(tree, run)| tree.branch(run.branch))
            .map(|branch| branch.tip);
        let tip = tip.filter(|tip| self.kept.has(*tip)).unwrap_or(end);
        self.kept.stand(tip).unwrap_or_default()
    }

    /// True for a result, or for more of an answer, that came only after others had gone on: it stands behind them, so that the path has it.
    fn completes_known(&self, entry: &Entry) -> bool {
        let is_result = entry.message().is_some_and(|message| message.role == MessageRole::Tool);
        let continues = || {
            let id = entry.message_id.as_ref();
            let has_it = |other: &&Entry| other.first_line() <= self.sealed && other.message_id.as_ref() == id;
            id.is_some() && self.transcript.entries.iter().any(|other| has_it(&other))
        };
        !entry.is_sidechain && (is_result || continues())
    }

    /// True for an entry that the log has not, and did not lose.
    fn is_new(&self, entry: &Entry) -> bool {
        entry.last_line() > self.sealed || entry.message().is_none()
    }

    /// Tokens of the file that neither the log counts nor a new message: an answer was told whole only after its first part came in.
    fn unclaimed(&self) -> TokenUsage {
        let new = self.transcript.entries.iter().filter(|entry| self.is_new(entry)).filter_map(Entry::message);
        let counted = new.filter_map(|message| message.metadata.usage).fold(self.kept.usage, TokenUsage::plus);
        let of = |field: fn(&TokenUsage) -> u64| field(&self.usage).saturating_sub(field(&counted));
        if !self.kept.lost.is_empty() {
            return TokenUsage::default();
        }
        // What an older log holds of writes to a cache does not tell those for an hour apart.
        let written = of(TokenUsage::cache_written);
        let cache_write_long = of(|usage| usage.cache_write_long).min(written);
        TokenUsage {
            input: of(|usage| usage.input),
            output: of(|usage| usage.output),
            cache_read: of(|usage| usage.cache_read),
            cache_write: written - cache_write_long,
            cache_write_long,
            reasoning: of(|usage| usage.reasoning),
        }
    }
}

/// The log as it grows.
struct Growing {
    tree: Tree,
    version: u64,
    head: u64,
    events: Vec<Event>,
    messages: u64,
    /// Tokens that the next answer counts.
    unclaimed: TokenUsage,
}

impl Growing {
    fn add(
        &mut self,
        entry: &Entry,
        parent: Stand,
        next_id: &mut impl FnMut() -> MessageId,
    ) -> Result<Stand, sessions_domain::branches::NotAnElement> {
        let (event, depth, clears) = match &entry.kind {
            EntryKind::Message(message) => {
                self.messages += 1;
                let mut message = (**message).clone();
                if message.role == MessageRole::Assistant && self.unclaimed != TokenUsage::default() {
                    let unclaimed = std::mem::take(&mut self.unclaimed);
                    message.metadata.usage = Some(message.metadata.usage.unwrap_or_default().plus(unclaimed));
                }
                (
                    decide::placed(&self.tree, parent.seq, parent.depth, next_id(), message, false),
                    parent.depth + 1,
                    false,
                )
            }
            EntryKind::Cleared => {
                // A clear hides what the head stands at.
                self.move_to(parent);
                (Event::Cleared(Cleared { from: parent.seq, depth: parent.depth }), 0, true)
            }
        };
        self.events.push(event);
        let seq = self.version + self.events.len() as u64;
        self.tree.add(seq, parent.seq, clears)?;
        self.head = seq;
        Ok(Stand { seq, depth })
    }

    fn move_to(&mut self, to: Stand) {
        if self.head != to.seq {
            let Stand { seq: to, depth } = to;
            self.events.push(Event::Moved(Moved { to, depth, cause: MoveCause::Checkout, steps: 1 }));
            self.head = to;
        }
    }
}
