//! Collects a context: from the newest group back until the budget is full, or forward from one that was collected before.
//!
//! **Invariant**: both ways give the same. What is kept is always the longest row of newest groups that fits, and what was asked last: where
//! what came behind the question leaves it no room, or a summary covers it, it stands apart before them, cut where it is long.
//!
//! Must not know: where messages are read, or how a form is spelled.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use super::{
    Budget, Context, ContextMessage, ContextPart, OverBudget,
    group::{Group, Piece, Weigher, weigh_the_same},
    held,
};
use crate::{
    compaction::{Shortens, first_turn},
    form::{Form, Target, reserve, shape},
    message::{Message, MessageRole},
    pairing::Repair,
    stored::StoredMessage,
    tokens::{Exactness, Tokens},
};

/// What a context always begins with.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// What the model is told before all else.
    pub instructions: Vec<Piece>,
    /// What is pinned, oldest first.
    pub pinned: Vec<Group>,
    /// The summary of what was compacted, under the number of the compaction's record.
    pub summary: Option<Piece>,
    /// The newest record that changed any of this.
    pub changed: u64,
}

/// What the beginning of a context takes of its budget, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// All but the summary: instructions, pinned messages, and what a request needs by itself.
    pub fixed: u64,
    /// The pinned messages of that.
    pub pinned: u64,
    /// The summary.
    pub summary: u64,
}

impl Standing {
    /// What it takes of a budget: the most that may become of it, so a little more than it has in the end.
    pub fn needs(&self, weigher: &Weigher) -> Needs {
        let of_piece = |piece: &Piece| Group::alone(piece.clone(), weigher).cost;
        let pinned = total(self.pinned.iter().map(|group| group.cost));
        let supplied = reserve(weigher.form, &weigher.rules);
        let supplied = supplied.into_iter().map(|text| weigher.message(None, &Message::user(text)).count);
        let fixed = [weigher.framing.per_request, pinned].into_iter();
        let fixed = total(fixed.chain(supplied).chain(self.instructions.iter().map(of_piece)));
        Needs { fixed, pinned, summary: self.summary.as_ref().map_or(0, of_piece) }
    }
}

/// A context that is being collected.
#[derive(Clone, Debug)]
pub struct Gather {
    budget: u64,
    weigher: Weigher,
    shortens: Option<Shortens>,
    standing: Standing,
    is_summary_left_out: bool,
    /// Records whose groups are paid for, since they are pinned.
    paid: BTreeSet<u64>,
    /// Tokens that are left for turns.
    room: u64,
    /// Oldest first: whole groups that fit.
    groups: VecDeque<Group>,
    /// Their tokens, as far as they are not paid for.
    used: u64,
    is_full: bool,
    /// What was asked last, where it is not among the groups.
    question: Option<Group>,
    /// Whether that is still looked for.
    seeks_question: bool,
    /// The least that the newest group takes, where even that does not fit.
    refused: Option<u64>,
}

impl Gather {
    /// Begins with what always stands at the beginning.
    ///
    /// # Errors
    /// [`OverBudget`] when that alone does not fit.
    pub fn new(
        budget: Budget,
        weigher: Weigher,
        shortens: Option<Shortens>,
        standing: Standing,
    ) -> Result<Self, OverBudget> {
        let budget = budget.as_tokens();
        let Needs { fixed: needed, pinned, summary: for_summary } = standing.needs(&weigher);
        let mut room = budget.checked_sub(needed).ok_or(OverBudget { needed, pinned, newest: 0, budget })?;
        let is_summary_left_out = for_summary > room;
        if !is_summary_left_out {
            room -= for_summary;
        }
        let paid = standing.pinned.iter().flat_map(Group::seqs).collect();
        let groups = VecDeque::new();
        Ok(Self {
            budget,
            weigher,
            shortens,
            standing,
            is_summary_left_out,
            paid,
            room,
            groups,
            used: 0,
            is_full: false,
            question: None,
            seeks_question: true,
            refused: None,
        })
    }

    /// Takes the next older group: a message that is no result, and the results behind it. `false`: older ones are not wanted.
    ///
    /// Behind the last of them comes [`Self::settle`].
    pub fn push_older(&mut self, messages: &[StoredMessage]) -> bool {
        let is_question = asks(messages);
        if !self.is_full {
            let group = self.weighed(messages);
            let used = self.used.saturating_add(self.cost(&group));
            if used <= self.room {
                self.used = used;
                self.groups.push_front(group);
                self.seeks_question &= !is_question;
                return true;
            }
            self.is_full = true;
            if self.groups.is_empty() {
                // It is shown in part.
                self.seeks_question &= !is_question;
                return self.seeks_question;
            }
        }
        if let Some(asked) = messages.first().filter(|_| is_question) {
            self.ask(asked);
        }
        self.seeks_question
    }

    /// Whether what was asked last is not among what was taken so far.
    pub const fn seeks_question(&self) -> bool {
        self.seeks_question
    }

    /// Takes what was asked last, wherever it stands before the groups that were taken.
    pub fn ask(&mut self, asked: &StoredMessage) {
        if !self.seeks_question {
            return;
        }
        self.seeks_question = false;
        if !self.paid.contains(&asked.seq) {
            self.question = Group::question(asked, self.room / 2, &self.weigher);
        }
    }

    /// Makes room for the question, where it stands apart. Of the newest group, which this is, what fits is taken when all of it does not.
    pub fn settle(&mut self, newest: &[StoredMessage]) {
        while self.used > self.limit() {
            let Some(oldest) = self.groups.pop_front() else { break };
            self.used -= self.cost(&oldest);
            self.is_full = true;
        }
        if !self.groups.is_empty() || newest.is_empty() {
            return;
        }
        let group = self.weighed(newest);
        let mut squeezed = group.squeezed(newest, self.limit(), &self.weigher);
        if squeezed.is_err() && self.question.take().is_some() {
            squeezed = group.squeezed(newest, self.limit(), &self.weigher);
        }
        match squeezed {
            Ok(group) => {
                self.used = self.cost(&group);
                self.groups.push_back(group);
            }
            Err(least) => self.refused = Some(least),
        }
    }

    /// Takes a group that came behind all others. The oldest ones make room for it. `false`: all has to be collected again.
    pub fn push_newer(&mut self, messages: &[StoredMessage]) -> bool {
        let is_question = asks(messages);
        // What made room for the question before may come again, and so may what stood before a group that was taken in part.
        let is_apart = is_question && self.question.is_some();
        if is_apart || self.refused.is_some() || self.groups.back().is_some_and(|newest| newest.is_squeezed) {
            return false;
        }
        let group = self.weighed(messages);
        if self.cost(&group) > self.limit() {
            return false;
        }
        self.seeks_question &= !is_question;
        self.used = self.used.saturating_add(self.cost(&group));
        self.groups.push_back(group);
        while self.used > self.limit() {
            let Some(oldest) = self.groups.pop_front() else { break };
            self.used -= self.cost(&oldest);
            self.is_full = true;
            if oldest.starts_turn() && !self.groups.iter().any(Group::starts_turn) {
                // The question does not fit any more, and has to stand apart.
                return false;
            }
        }
        true
    }

    /// Takes the newest group anew, with what came to it. `false`: it is pinned, or it got smaller, and what was left out may fit now, so
    /// that all has to be collected again.
    pub fn replace_newest(&mut self, messages: &[StoredMessage]) -> bool {
        if messages.iter().any(|message| self.paid.contains(&message.seq)) {
            // What always stands at the beginning has it as it was.
            return false;
        }
        let group = self.weighed(messages);
        let Some(newest) =
            self.groups.back().filter(|newest| newest.seqs().eq(group.seqs().take(newest.seqs().count())))
        else {
            return false;
        };
        let (cost, before) = (self.cost(&group), self.cost(newest));
        if newest.is_squeezed || self.is_full && cost < before {
            return false;
        }
        self.used -= before;
        self.groups.pop_back();
        self.push_newer(messages)
    }

    /// The memory that it takes, in bytes: its groups and what stands at the beginning.
    pub fn held(&self) -> usize {
        let Standing { instructions, pinned, summary, .. } = &self.standing;
        let pieces = instructions.iter().chain(summary).map(held::of_piece);
        let groups = self.groups.iter().chain(&self.question).chain(pinned).map(held::of_group);
        pieces.chain(groups).fold(0, usize::saturating_add)
    }

    /// Tokens that are left for groups.
    fn limit(&self) -> u64 {
        self.room.saturating_sub(self.question.as_ref().map_or(0, |question| question.cost))
    }

    fn weighed(&self, messages: &[StoredMessage]) -> Group {
        Group::of(messages, self.shortens, &self.weigher)
    }

    /// What a group costs beside what is paid for.
    fn cost(&self, group: &Group) -> u64 {
        if group.seqs().any(|seq| self.paid.contains(&seq)) { 0 } else { group.cost }
    }

    /// The context. Where older messages were left out it starts at a user's message, unless that keeps less than half of what fits.
    ///
    /// # Errors
    /// [`OverBudget`] when not even a part of the newest message fits, or what the form makes of it does not, which leaving out turns did
    /// not change.
    pub fn finish(&self) -> Result<Context, OverBudget> {
        let over = |needed, newest| {
            let pinned = total(self.standing.pinned.iter().map(|group| group.cost));
            OverBudget { needed, pinned, newest, budget: self.budget }
        };
        if let Some(least) = self.refused {
            return Err(over(total([self.budget.saturating_sub(self.room), least].into_iter()), least));
        }
        let weights: Vec<(bool, u64)> =
            self.groups.iter().map(|group| (group.starts_turn(), self.cost(group))).collect();
        let mut start = if self.is_full { first_turn(&weights) } else { 0 };
        loop {
            let context = self.context_from(start);
            if context.tokens <= self.budget {
                return Ok(context);
            }
            if start + 1 >= self.groups.len() {
                return Err(over(context.tokens, self.groups.back().map_or(0, |newest| newest.cost)));
            }
            start += 1;
        }
    }

    fn context_from(&self, start: usize) -> Context {
        let kept = || self.question.iter().chain(self.groups.iter().skip(start));
        // Only what is pinned is looked for among them.
        let seqs: BTreeSet<u64> = kept().filter(|_| !self.paid.is_empty()).flat_map(Group::seqs).collect();
        let apart = || self.standing.pinned.iter().filter(|group| !group.seqs().any(|seq| seqs.contains(&seq)));
        let summary = self.standing.summary.as_ref().filter(|_| !self.is_summary_left_out);
        let instructions = self.standing.instructions.iter().map(|piece| (ContextPart::Instructions, piece));
        let pinned = apart().flat_map(|group| &group.pieces).map(|piece| (ContextPart::Pinned, piece));
        let turns = kept().flat_map(|group| &group.pieces).map(|piece| {
            let part = if piece.seq.is_some() { ContextPart::Turn } else { ContextPart::Supplied };
            (part, piece)
        });
        let pieces = instructions.chain(pinned).chain(summary.map(|piece| (ContextPart::Summary, piece))).chain(turns);
        let left_out = self.standing.summary.as_ref().filter(|_| self.is_summary_left_out);
        let left_out = left_out.map(|piece| Repair::SummaryLeftOut { seq: piece.seq.unwrap_or(0) });
        let repairs: Vec<Repair> =
            left_out.into_iter().chain(apart().chain(kept()).flat_map(|group| group.repairs.iter().cloned())).collect();
        let is_cut = self.is_full || start > 0 || kept().any(|group| group.is_squeezed);
        let unchanged_since = Some(self.standing.changed).filter(|_| !is_cut);
        let context = self.shaped(pieces.collect(), repairs, summary.and_then(|piece| piece.seq), unchanged_since);
        Context { is_cut, ..context }
    }

    fn shaped(
        &self,
        pieces: Vec<(ContextPart, &Piece)>,
        mut repairs: Vec<Repair>,
        summary: Option<u64>,
        unchanged_since: Option<u64>,
    ) -> Context {
        let Weigher { form, rules, provider, model, aliases, .. } = &self.weigher;
        let as_it_is = |(part, piece): &(ContextPart, &Piece)| {
            let message = ContextMessage {
                seq: piece.seq,
                message: Arc::clone(&piece.message),
                tokens: piece.tokens.count,
                part: *part,
            };
            (message, piece.tokens.exactness)
        };
        let messages: Vec<(ContextMessage, Exactness)> = if *form == Form::Neutral {
            pieces.iter().map(as_it_is).collect()
        } else {
            let known: BTreeMap<u64, usize> =
                pieces.iter().enumerate().filter_map(|(at, (_, piece))| Some((piece.seq?, at))).collect();
            let sent = pieces.iter().map(|(_, piece)| (piece.seq, (*piece.message).clone())).collect();
            let target = Target { provider, model, aliases, unchanged_since };
            let shaped = shape(sent, *form, rules, &target);
            repairs.extend(shaped.repairs);
            let again = |(seq, message): (Option<u64>, Message)| {
                let before = seq.and_then(|seq| known.get(&seq)).and_then(|at| pieces.get(*at));
                match before {
                    Some(same) if *same.1.message == message => as_it_is(same),
                    Some(renamed) if weigh_the_same(&renamed.1.message.parts, &message.parts) => {
                        let (before, exactness) = as_it_is(renamed);
                        (ContextMessage { message: Arc::new(message), ..before }, exactness)
                    }
                    changed => {
                        let Tokens { count, exactness } = self.weigher.message(None, &message);
                        let part = changed.map_or(ContextPart::Supplied, |(part, _)| *part);
                        (ContextMessage { seq, message: Arc::new(message), tokens: count, part }, exactness)
                    }
                }
            };
            shaped.messages.into_iter().map(again).collect()
        };
        let exactness = messages.iter().fold(Exactness::Exact, |sum, (_, exactness)| sum.and(*exactness));
        let messages: Vec<ContextMessage> = messages.into_iter().map(|(message, _)| message).collect();
        let tokens = total(messages.iter().map(|message| message.tokens).chain([self.weigher.framing.per_request]));
        Context { messages, tokens, exactness, repairs, summary, is_cut: false, form: *form, rules: rules.clone() }
    }
}

/// Whether a group begins with what a person says.
fn asks(messages: &[StoredMessage]) -> bool {
    messages.first().is_some_and(|first| first.role == MessageRole::User)
}

/// What a counter says is taken as it is, whatever it says.
fn total(counts: impl Iterator<Item = u64>) -> u64 {
    counts.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        actor::Actor,
        event::{Appended, Stamp},
        form::FormRules,
        identity::MessageId,
        json::Json,
        message::{FileRef, MessageMetadata, MessagePart, ToolContent, ToolResult},
        moment::Moment,
        tokens::{self, Framing},
    };

    fn weigher() -> Weigher {
        let count = |_: Option<u64>, message: &Message| tokens::message(message, &tokens::estimate_text);
        let mut weigher = Weigher::new(count);
        weigher.framing = Framing { per_request: 0, ..Framing::CHAT };
        weigher
    }

    fn stored(seq: u64, message: Message) -> StoredMessage {
        let id = MessageId::from_bytes([seq as u8; 16]);
        let (at, actor) = (Moment::default(), Actor::default());
        let appended = Appended { id, parent: None, depth: seq, late: false, replaces: None, message };
        StoredMessage::of(seq, appended, Stamp { at, actor }, true)
    }

    fn call() -> Message {
        Message::assistant("look").with(MessagePart::tool_call("a", "t", "{}").unwrap())
    }

    fn history() -> Vec<StoredMessage> {
        let messages = [
            Message::user("first question, rather long so that it costs something"),
            Message::assistant("answer"),
            Message::user("second"),
            call(),
            Message::tool_result("a", "found"),
            Message::assistant("done"),
        ];
        messages.into_iter().enumerate().map(|(at, message)| stored(at as u64 + 2, message)).collect()
    }

    /// The groups of a path: each begins with what is no result.
    fn groups(path: &[StoredMessage]) -> Vec<&[StoredMessage]> {
        path.chunk_by(|_, next| next.role == MessageRole::Tool).collect()
    }

    fn gather(budget: u64, standing: Standing, path: &[StoredMessage]) -> Result<Gather, OverBudget> {
        let mut gather = Gather::new(Budget::tokens(budget), weigher(), None, standing)?;
        let groups = groups(path);
        groups.iter().rev().all(|group| gather.push_older(group));
        gather.settle(groups.last().copied().unwrap_or_default());
        Ok(gather)
    }

    fn instructed(text: &str) -> Standing {
        let instructions = vec![Piece::of(Some(1), Message::system(text), &weigher())];
        Standing { instructions, ..Standing::default() }
    }

    #[test]
    fn every_budget_gives_a_valid_context_within_it() {
        for budget in 4..80 {
            let gathered = gather(budget, instructed("be"), &history()).unwrap().finish();
            let Ok(context) = gathered else {
                let needed = gathered.unwrap_err().needed;
                assert!(budget < needed && budget < 8, "{budget}: {needed} are needed");
                continue;
            };
            assert_eq!(context.messages.last().and_then(|message| message.seq), Some(7), "the newest is always there");
            assert!(context.tokens <= budget, "{budget}: {}", context.tokens);
            let calls = context.messages.iter().flat_map(|message| message.calls()).count();
            let results = context.messages.iter().flat_map(|message| message.results()).count();
            assert_eq!(calls, results, "{budget}");
            if let Some(first) = context.messages.get(1).filter(|_| budget > 40) {
                assert_eq!((first.role, context.repairs.len()), (MessageRole::User, 0), "{budget}");
            }
        }
        let whole = gather(1_000, instructed("be"), &history()).unwrap().finish().unwrap();
        assert_eq!(whole.messages.len(), 7);
        assert_eq!(whole.tokens, whole.messages.iter().map(|message| message.tokens).sum::<u64>());
    }

    #[test]
    fn what_must_be_sent_and_does_not_fit_is_an_error() {
        let wide = gather(4, instructed("be brief"), &history());
        assert_eq!(wide.err(), Some(OverBudget { needed: 5, pinned: 0, newest: 0, budget: 4 }));
        let pinned = vec![Group::of(&history()[..1], None, &weigher())];
        let wide = gather(10, Standing { pinned, ..instructed("be brief") }, &history());
        assert_eq!(wide.err(), Some(OverBudget { needed: 21, pinned: 16, newest: 0, budget: 10 }));
        let one = OverBudget { needed: 1, pinned: 0, newest: 0, budget: 0 }.to_string();
        assert!(one.contains(" take 1 token ("), "{one}");
    }

    #[test]
    fn a_pinned_message_stands_once_and_is_paid_once() {
        let pinned = || vec![Group::of(&history()[..1], None, &weigher())];
        let standing = || Standing { pinned: pinned(), ..instructed("be") };
        let parts = |budget| {
            let context = gather(budget, standing(), &history()).unwrap().finish().unwrap();
            context.messages.iter().map(|message| (message.part, message.seq)).take(3).collect::<Vec<_>>()
        };
        let instructions = (ContextPart::Instructions, Some(1));
        assert_eq!(parts(57), [instructions, (ContextPart::Pinned, Some(2)), (ContextPart::Turn, Some(4))]);
        let free = gather(1_000, instructed("be"), &history()).unwrap().finish().unwrap().tokens;
        assert_eq!(parts(free), [instructions, (ContextPart::Turn, Some(2)), (ContextPart::Turn, Some(3))]);
    }

    #[test]
    fn a_summary_without_room_is_left_out_and_named() {
        let summary = Some(Piece::of(Some(9), Message::user("what was said before"), &weigher()));
        let standing = || Standing { summary: summary.clone(), ..instructed("be") };
        let context = gather(100, standing(), &history()).unwrap().finish().unwrap();
        assert_eq!(
            (context.messages[1].part, context.summary, context.repairs),
            (ContextPart::Summary, Some(9), vec![])
        );
        let context = gather(10, standing(), &history()).unwrap().finish().unwrap();
        assert_eq!((context.summary, context.repairs[0].clone()), (None, Repair::SummaryLeftOut { seq: 9 }));
    }

    #[test]
    fn the_newest_message_is_shown_in_part_rather_than_not_at_all() {
        let long = "word ".repeat(10_000);
        let path = [
            stored(2, Message::user("read it")),
            stored(3, call()),
            stored(4, Message::tool_result("a", long.clone())),
        ];
        let context = gather(200, Standing::default(), &path).unwrap().finish().unwrap();
        assert!((100..=200).contains(&context.tokens), "{}", context.tokens);
        assert_eq!((context.messages.len(), context.repairs.clone()), (3, vec![Repair::Squeezed { seq: 3 }]));
        assert_eq!(context.messages[0].text(), "read it", "and what it is about stands before it");
        let path = [stored(2, Message::user(long))];
        let context = gather(200, Standing::default(), &path).unwrap().finish().unwrap();
        assert!((100..=200).contains(&context.tokens), "{}", context.tokens);
        assert_eq!(context.messages.len(), 1);
        let over = gather(20, Standing::default(), &path).unwrap().finish().unwrap_err();
        assert!(over.needed == over.newest && (21..60).contains(&over.newest), "not even its mark fits: {over}");
        let mut going_on = gather(20, Standing::default(), &path).unwrap();
        assert!(!going_on.push_newer(&[stored(3, Message::user("short"))]), "what comes behind it may leave it room");
    }

    /// A question and what a turn did for it: calls whose results take about 100 tokens each.
    fn working(question: &str, calls: u64) -> Vec<StoredMessage> {
        let did = (0..calls).flat_map(|at| {
            let result = Message::tool_result("a", "word ".repeat(80));
            [stored(10 + at * 2, call()), stored(11 + at * 2, result)]
        });
        std::iter::once(stored(2, Message::user(question))).chain(did).collect()
    }

    #[test]
    fn what_was_asked_stays_however_much_came_behind_it() {
        let seqs = |context: &Context| context.messages.iter().map(|message| message.seq).collect::<Vec<_>>();
        let context = gather(400, Standing::default(), &working("Why is it red?", 20)).unwrap().finish().unwrap();
        let [question, rest @ ..] = context.messages.as_slice() else { panic!("nothing") };
        assert_eq!(
            (question.seq, question.text(), question.part),
            (Some(2), "Why is it red?".into(), ContextPart::Turn)
        );
        assert!(rest.len() >= 4 && rest.last().and_then(|message| message.seq) == Some(49));
        assert!(context.is_cut && context.repairs.is_empty() && context.tokens <= 400, "{:?}", context.repairs);

        let long = working(&"why ".repeat(20_000), 20);
        let context = gather(8_000, Standing::default(), &long).unwrap().finish().unwrap();
        assert_eq!(context.repairs, [Repair::Squeezed { seq: 2 }]);
        assert!(context.messages[0].text().len() < 9_000 && context.messages.len() > 40, "{}", context.messages.len());

        let whole = gather(100_000, Standing::default(), &working("Why?", 20)).unwrap().finish().unwrap();
        assert_eq!(whole.messages.len(), 41);
        // A summary covers all but what came last.
        let mut gather = Gather::new(Budget::tokens(1_000), weigher(), None, Standing::default()).unwrap();
        let path = working("Why?", 2);
        assert!(gather.push_older(&path[3..]) && gather.seeks_question());
        gather.ask(&path[0]);
        gather.settle(&path[3..]);
        let context = gather.finish().unwrap();
        assert_eq!((seqs(&context), context.is_cut), (vec![Some(2), Some(12), Some(13)], false));
        assert!(!gather.push_newer(&[stored(20, Message::user("And now?"))]), "then the one before is covered");
    }

    #[test]
    fn a_question_takes_its_room_from_the_newest_message_and_goes_where_that_would_not_fit() {
        let result = Message::tool_result("a", "word ".repeat(10_000));
        let path = [stored(2, Message::user("why ".repeat(40))), stored(3, call()), stored(4, result)];
        assert_eq!(has_question(&path, 20..400).map(|count| count > 0), [true; 2]);
        // What stands for a file would take more than the file is counted for.
        let file = FileRef { media_type: "text/plain".into(), name: None, artifact: None, url: Some("data:,a".into()) };
        let result = ToolResult {
            call_id: "a".into(),
            content: ToolContent::Parts(vec![MessagePart::File(file); 9]),
            is_error: false,
        };
        let parts = vec![MessagePart::ToolResult(result)];
        let result = Message { role: MessageRole::Tool, parts, metadata: MessageMetadata::default() };
        let path = [stored(2, Message::user("why ".repeat(40))), stored(3, call()), stored(4, result)];
        assert_eq!(has_question(&path, 1..1_000).map(|count| count > 0), [true; 2]);
    }

    /// Of contexts of these budgets, in how many the question is left out, and in how many it is there.
    fn has_question(path: &[StoredMessage], budgets: std::ops::Range<u64>) -> [u32; 2] {
        let mut has = [0_u32; 2];
        for budget in budgets {
            let alone = gather(budget, Standing::default(), &path[1..]).unwrap().finish();
            let context = gather(budget, Standing::default(), path).unwrap().finish();
            assert_eq!(context.is_ok(), alone.is_ok(), "{budget}");
            let Ok(context) = context else { continue };
            assert!(context.tokens <= budget && context.messages.last().and_then(|newest| newest.seq) == Some(4));
            has[usize::from(context.messages[0].seq == Some(2))] += 1;
        }
        has
    }

    #[test]
    fn no_more_than_half_of_what_fits_is_given_up_to_begin_at_a_question() {
        let mut path = working("Why?", 20);
        path.push(stored(60, Message::user("And now?")));
        let context = gather(800, Standing::default(), &path).unwrap().finish().unwrap();
        assert!(context.tokens > 600 && context.messages.len() > 10, "{}", context.tokens);
    }

    #[test]
    fn files_make_room_for_the_words_beside_them() {
        let picture = |at: usize| {
            let name = Some(format!("{at}.png"));
            MessagePart::File(FileRef { media_type: "image/png".into(), name, artifact: None, url: None })
        };
        let foreign =
            MessagePart::Custom(Json::parse(&format!(r#"{{"type":"x","a":"{}"}}"#, "y".repeat(9_000))).unwrap());
        let message = (0..5).map(picture).fold(Message::user("What is this?"), Message::with).with(foreign);
        let context = gather(1_400, Standing::default(), &[stored(2, message)]).unwrap().finish().unwrap();
        let said = context.messages[0].text();
        assert!(
            said.starts_with("What is this?\n[file 0.png (image/png) is left out here; message 2 has it]"),
            "{said}"
        );
        assert_eq!((said.matches("left out here").count(), context.repairs), (6, vec![Repair::Squeezed { seq: 2 }]));
    }

    fn summary() -> Standing {
        let summary = Piece::of(Some(99), Message::user("what was said before, in short"), &weigher());
        Standing { summary: Some(summary), ..Standing::default() }
    }

    #[test]
    fn a_summary_that_just_fits_is_there() {
        let exact = gather(1_000, summary(), &[]).unwrap().finish().unwrap().tokens;
        for (budget, is_there) in [(exact, true), (exact - 1, false)] {
            let context = gather(budget, summary(), &[]).unwrap().finish().unwrap();
            assert_eq!((context.summary, context.repairs.is_empty()), (is_there.then_some(99), is_there));
        }
    }

    #[test]
    fn the_newest_message_is_cut_to_what_all_else_leaves_and_no_further() {
        let long = [stored(2, Message::user("words and words ".repeat(500)))];
        let mut framed = weigher();
        framed.framing.per_request = 40;
        for (weigher, standing) in
            [(weigher(), Standing::default()), (weigher(), summary()), (framed, Standing::default())]
        {
            let cut = |budget: u64| {
                let mut gather = Gather::new(Budget::tokens(budget), weigher.clone(), None, standing.clone()).unwrap();
                gather.push_older(&long);
                gather.settle(&long);
                gather.finish().unwrap()
            };
            let whole = cut(u64::MAX);
            let messages: u64 = whole.messages.iter().map(|message| message.tokens).sum();
            assert_eq!((whole.is_cut, whole.tokens), (false, messages + weigher.framing.per_request));
            assert!(!cut(whole.tokens).is_cut);
            let less = cut(whole.tokens - 1);
            assert!(less.is_cut && less.tokens < whole.tokens, "{} of {}", less.tokens, whole.tokens);
            assert_eq!(cut(less.tokens), less, "what just fits is taken");
        }
    }

    #[test]
    fn what_a_form_writes_into_a_message_is_paid_for_before_it_is_taken() {
        let failed = Message::tool_result("a", "no such file ".repeat(100));
        let failed = failed.parts.into_iter().map(|part| match part {
            MessagePart::ToolResult(mut result) => {
                result.is_error = true;
                MessagePart::ToolResult(result)
            }
            part => part,
        });
        let parts = failed.collect();
        let group = [stored(3, call()), stored(4, Message { parts, ..Message::tool_result("a", "") })];
        let mut weigher = weigher();
        (weigher.form, weigher.rules) = (Form::OpenAi, FormRules::of(Form::OpenAi));
        let context = |budget: u64| {
            let mut gather = Gather::new(Budget::tokens(budget), weigher.clone(), None, Standing::default()).unwrap();
            gather.push_older(&group);
            gather.settle(&group);
            gather.finish()
        };
        let whole = context(u64::MAX).unwrap().tokens;
        for budget in whole / 2..whole + 50 {
            let tokens = context(budget).map(|context| context.tokens);
            assert!(tokens.is_ok_and(|tokens| tokens <= budget), "{budget} of {whole}");
        }
    }

    #[test]
    fn results_are_shortened_up_to_a_record_and_not_behind_it() {
        let long = |seq| stored(seq, Message::tool_result("a", "found ".repeat(200)));
        let group = [stored(2, call()), long(3), long(4)];
        for to in 2..=4 {
            let group = Group::of(&group[..], Some(Shortens { to, keep: 90 }), &weigher());
            let is_short = |piece: &Piece| serde_json::to_string(&*piece.message).unwrap().contains("left out here");
            let short: Vec<u64> =
                group.pieces.iter().filter(|piece| is_short(piece)).filter_map(|piece| piece.seq).collect();
            let expected: Vec<u64> = (3..=4).filter(|seq| *seq <= to).collect();
            // A call has one result; of a second one nothing is sent.
            assert!(expected.starts_with(&short) && (to < 3) == short.is_empty(), "{to}: {short:?}");
        }
        let alone = |to| Group::of(&[stored(2, call()), long(3)], Some(Shortens { to, keep: 90 }), &weigher()).cost;
        assert!(alone(3) < alone(2));
    }

    #[test]
    fn only_the_newest_group_is_taken_anew() {
        let path = history();
        let mut gather = gather(1_000, Standing::default(), &path[..5]).unwrap();
        let before = gather.finish().unwrap();
        assert!(!gather.replace_newest(&path[2..3]) && !gather.replace_newest(&path[..1]));
        assert_eq!(gather.finish().unwrap(), before);
        assert!(gather.replace_newest(&path[3..5]));
        assert_eq!(gather.finish().unwrap(), before);
    }

    proptest! {
        #[test]
        fn going_on_is_as_beginning_anew(
            kinds in prop::collection::vec((0_u8..5, 0_usize..120), 1..40),
            budget in 20_u64..200,
            pinned in prop::option::of(0_usize..10),
        ) {
            let text = |length: usize| "x".repeat(length);
            let message = |(kind, length): (u8, usize)| match kind {
                0 => Message::user(text(length)),
                1 => Message::assistant(text(length)),
                2 => call().with(MessagePart::text(text(length))),
                3 => Message::tool_result("a", text(length * 40)),
                _ => Message::tool_result("a", text(length)),
            };
            let path: Vec<StoredMessage> =
                kinds.into_iter().enumerate().map(|(at, kind)| stored(at as u64 + 2, message(kind))).collect();
            let pinned = pinned.and_then(|at| groups(&path).get(at).map(|group| Group::of(group, None, &weigher())));
            let standing = || Standing { pinned: pinned.clone().into_iter().collect(), ..Standing::default() };
            let Ok(mut going_on) = gather(budget, standing(), &path[..1]) else { return Ok(()) };
            for end in 2..=path.len() {
                let known = groups(&path[..end - 1]).len();
                let now = groups(&path[..end]);
                let newest = now[now.len() - 1];
                let taken = if now.len() > known {
                    going_on.push_newer(newest)
                } else {
                    going_on.replace_newest(newest)
                };
                let anew = gather(budget, standing(), &path[..end]).unwrap();
                if !taken {
                    going_on = anew.clone();
                }
                let (a, b) = (going_on.finish(), anew.finish());
                prop_assert!(a.as_ref().map_or(true, |context| context.tokens <= budget));
                prop_assert_eq!(a, b);
            }
        }
    }
}
