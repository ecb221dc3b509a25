//! A conversation as a compaction looks at it: what it weighs, what may be covered, and what was covered before.
//!
//! Must not know: who writes summaries, or what is written to the log.

use std::sync::Arc;

use sessions_domain::{
    Event, Message, MessagePart, MessageRole, StoredMessage, View,
    branches::Stretch,
    chain::{from_hex, to_hex},
    compaction::{
        Compacted, CompactionCause, CompactionPolicy, CoverDigest, Covers, InForce, Plan, Shortens, Spent, SummaryText,
        Weighed, Weights, plan,
    },
    context::{Budget, Gather, Group, Needs, Standing, Weigher, shortened},
};
use sessions_ports::{KindFilter, Order, TokenCounter};

use super::{
    summary_piece,
    wish::{CompactionRefused, CompactionReport, CompactionWish},
};
use crate::{
    blocking::off_the_runtime,
    context::{Scope, Sources},
    error::SessionError,
    reading::{Bounds, Read},
    session::{At, Session},
};

/// What is left of a result in what a summarizer reads, in bytes.
const RESULT_TO_SUMMARISE: usize = 2_000;

/// A page is at most so many messages.
const PAGE: usize = 512;

/// An element, as a digest takes it: its number, and the commit of its last record.
type Bound = (u64, sessions_domain::CommitHash);

pub(super) struct Survey {
    weigher: Weigher,
    pub(super) counter: Arc<dyn TokenCounter>,
    pub(super) compacted_now: InForce,
    standing: Standing,
    groups: Vec<Vec<StoredMessage>>,
    /// What was asked last, where it is in none of the groups.
    question: Option<StoredMessage>,
    bound: Vec<Bound>,
    path: Vec<Stretch>,
    before: u64,
    weights: Weights,
    /// Tokens that it is to be brought down to.
    pub(super) target: u64,
    pub(super) policy: CompactionPolicy,
    pub(super) plan: Plan,
    /// The longest summary, in tokens.
    pub(super) summary_tokens: u64,
    /// What the newest summary covers, and what it says.
    pub(super) previous: Option<(PreviousCover, String)>,
}

pub(super) struct PreviousCover {
    compaction: u64,
    to: u64,
    digest: [u8; 32],
}

impl Session {
    /// Looks at all of the conversation that no summary stands for.
    pub(super) async fn survey(&self, wish: &CompactionWish) -> Result<Survey, SessionError> {
        let view = self.quiet_view().await?;
        let head = view.head();
        let place = self.place_at(&view, At::Now).await?;
        let scope = Scope::unbounded(self, &wish.context(), &view, &place)?;
        let sources = Sources { session: self, view: &view, head };
        let found = sources.standing(&scope).await?;
        let compacted_now = view.compacted_now();
        let previous = match compacted_now.summary.filter(|_| found.has_summary()) {
            Some((compaction, to)) => self.previous(&view, compaction, to).await?,
            None => None,
        };
        let (groups, bound) = self.behind(&view, head, found.first).await?;
        let question = if groups.iter().any(|group| asks(group)) {
            None
        } else {
            sources.question(found.first.saturating_sub(1).min(head)).await?
        };
        let usable = wish.usable(self, &view)?;
        let counter = scope.counter(self)?;
        let mut path: Vec<Stretch> = view.tree().path(head).collect();
        path.reverse();
        let (policy, wish) = (wish.policy(self, &view), wish.clone());
        let work = move || {
            let weigher = scope.weigher().clone();
            let standing = found.weighed(scope.compacted.shortens, &weigher);
            let mut survey = Survey {
                weigher,
                counter,
                compacted_now,
                standing,
                groups,
                question,
                bound,
                path,
                before: 0,
                weights: Weights::default(),
                target: 0,
                policy,
                plan: Plan::Nothing,
                summary_tokens: 0,
                previous,
            };
            survey.weigh(|before| wish.aim(usable, &policy, before));
            survey
        };
        off_the_runtime(work).await
    }

    /// What the newest summary covers; `None` where its record is lost.
    async fn previous(
        &self,
        view: &View,
        compaction: u64,
        to: u64,
    ) -> Result<Option<(PreviousCover, String)>, SessionError> {
        let Some(compacted) = self.compaction(view, compaction).await? else { return Ok(None) };
        let said = compacted.covers.zip(compacted.summary);
        Ok(said.map(|(covers, summary)| {
            // Whatever a stranger's file says there, the summary is carried on; it only cannot be checked.
            let digest = from_hex(&covers.digest).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
            (PreviousCover { compaction, to, digest }, summary.text)
        }))
    }

    /// The compaction at a record.
    pub(super) async fn compaction(&self, view: &View, seq: u64) -> Result<Option<Compacted>, SessionError> {
        if seq == 0 || seq > view.version() {
            return Ok(None);
        }
        let read = self.manager().read_one(view, seq).await?;
        Ok(match read.map(|read| read.event) {
            Some(Event::Compacted(compacted)) => Some(*compacted),
            _ => None,
        })
    }

    /// The groups of messages from a record on, oldest first, and each element there.
    async fn behind(
        &self,
        view: &View,
        head: u64,
        first: u64,
    ) -> Result<(Vec<Vec<StoredMessage>>, Vec<Bound>), SessionError> {
        let mut rest: Vec<Stretch> = view
            .tree()
            .path(head)
            .map(|stretch| Stretch { first: stretch.first.max(first), last: stretch.last })
            .filter(|stretch| stretch.first <= stretch.last)
            .collect();
        let (mut groups, mut bound): (Vec<Vec<StoredMessage>>, Vec<Bound>) = (Vec::new(), Vec::new());
        while let Some(stretch) = rest.pop() {
            let (order, kinds) = (Order::OldestFirst, KindFilter::Elements);
            let (reads, more) = self.manager().read_stretch(view, stretch, order, kinds, Bounds::records(PAGE)).await?;
            rest.extend(more);
            for read in reads {
                bound.push(bound_of(&read));
                let Some(message) = read.message(true) else { continue };
                match groups.last_mut() {
                    Some(group) if message.role == MessageRole::Tool => group.push(message),
                    _ => groups.push(vec![message]),
                }
            }
        }
        Ok((groups, bound))
    }
}

/// Whether a group begins with what a person says.
fn asks(group: &[StoredMessage]) -> bool {
    group.first().is_some_and(|first| first.role == MessageRole::User)
}

fn bound_of(read: &Read) -> Bound {
    (read.record.seq, read.end.map_or(read.record.commit, |(_, commit)| commit))
}

impl Survey {
    /// Weighs it. `aim`: tokens that so many are to be brought down to.
    fn weigh(&mut self, aim: impl FnOnce(u64) -> u64) {
        let policy = self.policy;
        let short = Some(Shortens { to: u64::MAX, keep: policy.keep_result_bytes });
        let weighed = |group: &Vec<StoredMessage>| {
            let now = Group::of(group, self.compacted_now.shortens, &self.weigher);
            let short = Group::of(group, short, &self.weigher);
            let seq = |message: Option<&StoredMessage>| message.map_or(0, |message| message.seq);
            Weighed {
                first: seq(group.first()),
                last: seq(group.last()),
                tokens: now.cost,
                shortened: short.cost.min(now.cost),
                starts_turn: now.starts_turn(),
            }
        };
        let groups = self.groups.iter().map(weighed).collect();
        // As a context counts them: what it is brought down to is to fit a context of so many tokens.
        let Needs { fixed, summary, .. } = self.standing.needs(&self.weigher);
        let question = self.asked_up_to(u64::MAX).and_then(|asked| Group::question(asked, u64::MAX, &self.weigher));
        let question = question.map_or(0, |question| question.cost);
        self.weights = Weights { fixed, summary, question, groups };
        self.before = self.tokens(self.standing.clone(), self.compacted_now.shortens, 0);
        let target = aim(self.before);
        self.target = target;
        self.summary_tokens = policy.summary_tokens.min(target / 4);
        let policy = CompactionPolicy { summary_tokens: self.summary_tokens, ..policy };
        self.plan = if self.weights.total() <= target { Plan::Nothing } else { plan(&self.weights, &policy, target) };
    }

    /// What was asked last, up to a record of the groups.
    fn asked_up_to(&self, to: u64) -> Option<&StoredMessage> {
        let mut known = self.groups.iter().rev().filter(|group| asks(group)).filter_map(|group| group.first());
        known.find(|asked| asked.seq <= to).or(self.question.as_ref())
    }

    /// Tokens of the whole context with this beginning, behind a record.
    fn tokens(&self, standing: Standing, shortens: Option<Shortens>, behind: u64) -> u64 {
        let Ok(mut gather) = Gather::new(Budget::tokens(u64::MAX), self.weigher.clone(), shortens, standing) else {
            return u64::MAX;
        };
        let is_behind = |group: &&Vec<StoredMessage>| group.first().is_some_and(|first| first.seq > behind);
        for group in self.groups.iter().rev().filter(is_behind) {
            gather.push_older(group);
        }
        if let Some(asked) = self.asked_up_to(behind) {
            gather.ask(asked);
        }
        gather.settle(&[]);
        gather.finish().map_or(u64::MAX, |context| context.tokens)
    }

    /// The messages that a summary up to a record is of: with results cut to what tells what they were, and without reasoning.
    pub(super) fn messages_up_to(&self, to: u64) -> Arc<[Message]> {
        let covered = self.groups.iter().flatten().filter(|message| message.seq <= to && !message.late);
        let short = |stored: &StoredMessage| {
            let mut message =
                shortened(&stored.message, RESULT_TO_SUMMARISE, stored.seq).unwrap_or_else(|| stored.message.clone());
            message.parts.retain(|part| !matches!(part, MessagePart::Reasoning { .. }));
            message
        };
        covered.map(short).collect()
    }

    /// What a summary up to a record covers.
    pub(super) fn covers(&self, to: u64) -> Covers {
        let previous = self.previous.as_ref().map(|(previous, _)| previous);
        let behind = previous.map_or(0, |previous| previous.to);
        let mut digest = CoverDigest::behind(previous.map(|previous| previous.digest));
        // What stands before the first group are instructions, which are sent as they are.
        let first = self.bound.first().map_or(to, |(seq, _)| *seq).max(behind + 1);
        self.bound.iter().filter(|(seq, _)| (first..=to).contains(seq)).for_each(|(seq, hash)| digest.add(*seq, *hash));
        let clipped = |stretch: &Stretch| (stretch.first.max(first), stretch.last.min(to));
        let stretches = self.path.iter().map(clipped).filter(|(first, last)| first <= last).collect();
        let last = self.groups.iter().flatten().find(|message| message.seq == to);
        Covers {
            to,
            messages: last.map_or(0, |message| message.depth),
            previous: previous.map(|previous| previous.compaction),
            stretches,
            digest: to_hex(&digest.finish()),
        }
    }

    /// The compaction, when it is worth it; else why not, with what was spent for it.
    pub(super) fn compacted(
        &self,
        cause: CompactionCause,
        covered: Option<(Covers, SummaryText)>,
        shortens: Option<Shortens>,
        calls: Vec<Spent>,
    ) -> Result<Compacted, (CompactionRefused, Vec<Spent>)> {
        let (covers, summary) = covered.unzip();
        let piece = covers.as_ref().zip(summary.as_ref());
        let piece = piece.map(|(covers, summary)| summary_piece(covers, summary, &self.weigher));
        let standing = Standing { summary: piece.or(self.standing.summary.clone()), ..self.standing.clone() };
        let behind = covers.as_ref().map_or(0, |covers| covers.to);
        let after = self.tokens(standing, shortens.or(self.compacted_now.shortens), behind);
        if !self.policy.is_gain(self.before, after) {
            return Err((CompactionRefused::NotSmaller { before: self.before, after }, calls));
        }
        let encoding = self.counter.encoding().to_owned();
        Ok(Compacted { covers, summary, shortens, before: self.before, after, encoding, cause, calls })
    }

    /// Tokens of the whole context as it is.
    pub(super) const fn before(&self) -> u64 {
        self.before
    }

    /// What is planned.
    pub(super) fn report(&self) -> CompactionReport {
        let keep = self.policy.keep_result_bytes;
        let (after, covers) = match self.plan {
            Plan::Nothing => (self.before, 0),
            Plan::Shorten { to } => (self.tokens(self.standing.clone(), Some(Shortens { to, keep }), 0), 0),
            Plan::Summarise { to } => {
                let standing = Standing { summary: None, ..self.standing.clone() };
                let behind = self.tokens(standing, self.compacted_now.shortens, to);
                let covers = self.covers(to);
                let blank = SummaryText { text: String::new(), tokens: 0, by: String::new(), model: None };
                let around = summary_piece(&covers, &blank, &self.weigher).tokens.count;
                let summary = around.saturating_add(most_tokens(self.summary_tokens));
                (behind.saturating_add(summary), covers.messages)
            }
        };
        CompactionReport {
            before: self.before,
            after,
            target: self.target,
            covers,
            plan: self.plan,
            summary: None,
            by: None,
            calls: Vec::new(),
            compaction: None,
            version: None,
        }
    }
}

/// What a summary may have that was to have so many tokens: what a model was asked for it seldom keeps to the token.
pub(super) fn most_tokens(asked: u64) -> u64 {
    asked.saturating_add(asked / 10)
}

/// The digest of what a summary covers, as the log has it.
pub(super) async fn cover_digest(session: &Session, view: &View, covers: &Covers) -> Result<[u8; 32], SessionError> {
    let previous = match covers.previous {
        Some(seq) => session.compaction(view, seq).await?.and_then(|compacted| compacted.covers),
        None => None,
    };
    let before = previous.and_then(|covers| from_hex(&covers.digest)?.try_into().ok());
    let mut digest = CoverDigest::behind(before);
    let is_visible = |seq: u64| view.tree().is_visible(seq, covers.to);
    for (first, last) in &covers.stretches {
        let mut rest = (*last <= view.version()).then_some(Stretch { first: *first, last: *last });
        while let Some(stretch) = rest {
            let (order, kinds) = (Order::OldestFirst, KindFilter::Elements);
            let (reads, more) =
                session.manager().read_stretch(view, stretch, order, kinds, Bounds::records(PAGE)).await?;
            let bound = reads.iter().map(bound_of).filter(|(seq, _)| is_visible(*seq));
            bound.for_each(|(seq, commit)| digest.add(seq, commit));
            rest = more;
        }
    }
    Ok(digest.finish())
}
