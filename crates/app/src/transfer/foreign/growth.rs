//! The tree as it grows, a line at a time, parents first.
//!
//! A line's *place* is the entry behind which a child of the line stands. The results of a message's calls form a chain behind it, and
//! whatever follows the message or one of its results stands behind the end of that chain.
//!
//! Must not know: JSON, or how parents were found.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, HashSet},
};

use sessions_domain::{Message, MessageMetadata, MessagePart, MessageRole, TokenUsage};

use super::{
    envelope::{Envelope, LineOf},
    line::{Block, Kind, Parsed, Said},
    tree::Node,
};
use crate::transfer::{
    Format,
    report::Report,
    transcript::{Entry, EntryKind, SourceLine},
};

/// How many messages may stand between two lines of one answer. A real answer has a few; the bound keeps a made-up file from costing
/// the square of its length.
const MOST_BETWEEN: usize = 1_000;

/// A message in the making.
struct Draft {
    entry: Entry,
    envelope: Envelope,
    /// The message whose calls it answers.
    owner: Option<usize>,
    /// Where it is the owner: the messages that answer its calls.
    results: Vec<usize>,
    /// The calls it makes, with the line of each.
    calls: HashMap<String, u64>,
    answered: HashSet<String>,
}

/// The blocks of one line that make one message: whose calls they answer, the message's role, and each block with its number.
type Share = (Option<usize>, MessageRole, Vec<(usize, Block)>);

/// The tree as it grows. Indexes are those of `drafts`.
pub(super) struct Growth {
    format: Format,
    /// Answers of lines up to this one are whole: they are in a log already, and take no more lines.
    sealed: u64,
    drafts: Vec<Draft>,
    places: Vec<Option<usize>>,
    /// The place of each line so far, by number, beside and on side chains.
    by_line: [BTreeMap<u64, usize>; 2],
    /// The message that made a call, the latest, and the place of the line that did.
    callers: HashMap<String, (usize, usize)>,
    /// The message that counts the tokens of an id: the first that has it.
    counted: HashMap<String, usize>,
    /// The message of each id, the latest.
    answers: HashMap<String, usize>,
    /// The place of the line that stands last in the file.
    last: Option<(u64, Option<usize>)>,
}

impl Growth {
    /// For so many lines of a file of this format, of which those up to `sealed` are in a log.
    pub(super) fn of(format: Format, sealed: u64, lines: usize) -> Self {
        Self {
            format,
            sealed,
            drafts: Vec::new(),
            places: vec![None; lines],
            by_line: Default::default(),
            callers: HashMap::new(),
            counted: HashMap::new(),
            answers: HashMap::new(),
            last: None,
        }
    }

    /// Takes in line `at`, whose parent was taken in before.
    pub(super) fn place(&mut self, at: usize, node: Node, report: &mut Report) {
        let number = node.parsed.number;
        let is_sidechain = node.parsed.is_sidechain;
        let before = self.by_line.get(usize::from(is_sidechain));
        let before = before.and_then(|lines| lines.range(..number).next_back().map(|(_, place)| *place));
        let is_new_root = node.parent.is_none() && node.parsed.parent.is_none();
        let behind = match node.parent {
            Some(parent) => self.places.get(parent).copied().flatten(),
            None if node.adrift => before,
            None => None,
        };
        let place = match node.parsed.kind {
            Kind::Said(ref said) => {
                let hides = is_new_root && node.parsed.is_compact_summary && !is_sidechain;
                let hidden = if node.parsed.clears { behind.or(before) } else { before.filter(|_| hides) };
                let behind = match hidden {
                    Some(hidden) => Some(self.clear(&node.parsed, hidden)),
                    None => behind.filter(|_| !hides),
                };
                if said.role == MessageRole::Assistant {
                    self.add_answer(node.parsed, behind, report)
                } else {
                    self.add_user(node.parsed, behind, report)
                }
            }
            Kind::Counted { ref message_id, usage, .. } => {
                self.count(message_id, usage);
                behind
            }
            Kind::Boundary => behind.or(before).map(|behind| self.clear(&node.parsed, behind)),
            _ => behind,
        };
        if let Some(slot) = self.places.get_mut(at) {
            *slot = place;
        }
        if let (Some(place), Some(lines)) = (place, self.by_line.get_mut(usize::from(is_sidechain))) {
            lines.insert(number, place);
        }
        if self.last.is_none_or(|(last, _)| last < number) {
            self.last = Some((number, place));
        }
    }

    /// Adds tokens to an answer.
    fn count(&mut self, message_id: &str, usage: TokenUsage) {
        let draft = self.answers.get(message_id).and_then(|at| self.drafts.get_mut(*at));
        if let Some(EntryKind::Message(message)) = draft.map(|draft| &mut draft.entry.kind) {
            message.metadata.usage = Some(message.metadata.usage.unwrap_or_default().plus(usage));
        }
    }

    fn clear(&mut self, parsed: &Parsed, behind: usize) -> usize {
        self.push(parsed, EntryKind::Cleared, Some(behind))
    }

    fn push(&mut self, parsed: &Parsed, kind: EntryKind, parent: Option<usize>) -> usize {
        let is_message = matches!(kind, EntryKind::Message(_));
        let entry = Entry {
            lines: vec![SourceLine { number: parsed.number, uuid: parsed.uuid.clone() }],
            parent,
            kind,
            made_at: parsed.made_at,
            message_id: None,
            is_sidechain: parsed.is_sidechain,
            is_meta: parsed.is_meta && is_message,
            is_compact_summary: parsed.is_compact_summary,
        };
        let marks =
            [("sidechain", entry.is_sidechain), ("meta", entry.is_meta), ("compact-summary", entry.is_compact_summary)];
        let marks = marks.iter().filter(|(_, is)| *is).map(|(name, _)| (*name).to_owned()).collect();
        let envelope = Envelope { marks, lines: Vec::new() };
        self.drafts.push(Draft {
            entry,
            envelope,
            owner: None,
            results: Vec::new(),
            calls: HashMap::new(),
            answered: HashSet::new(),
        });
        self.drafts.len() - 1
    }

    /// A line of the model: a message of its own, or more of one.
    fn add_answer(&mut self, mut parsed: Parsed, behind: Option<usize>, report: &mut Report) -> Option<usize> {
        let Kind::Said(said) = std::mem::replace(&mut parsed.kind, Kind::Empty) else { return behind };
        let said = *said;
        let continued = said.message_id.as_deref().and_then(|id| self.answer_before(behind, id));
        let continued = continued.filter(|at| parsed.number <= self.sealed || self.is_open(*at));
        let at = match continued {
            Some(at) => {
                let draft = self.drafts.get_mut(at)?;
                draft.entry.lines.push(SourceLine { number: parsed.number, uuid: parsed.uuid });
                at
            }
            None => {
                let message = Message { role: said.role, parts: Vec::new(), metadata: MessageMetadata::default() };
                let at = self.push(&parsed, EntryKind::Message(Box::new(message)), behind);
                self.drafts.get_mut(at)?.entry.message_id.clone_from(&said.message_id);
                self.answers.extend(said.message_id.clone().map(|id| (id, at)));
                at
            }
        };
        let id = said.message_id.as_ref();
        let counts = id.is_none_or(|id| *self.counted.entry(id.clone()).or_insert(at) == at);
        // What stands between two lines of a message goes on behind it.
        let place = match (continued, behind) {
            (Some(_), Some(behind)) if self.owner_of(behind) != at => behind,
            _ => at,
        };
        let draft = self.drafts.get_mut(at)?;
        let EntryKind::Message(message) = &mut draft.entry.kind else { return behind };
        fill_metadata(&mut message.metadata, &said, counts);
        let blocks = (0..said.blocks.len()).collect();
        let mut template = said.template;
        for (index, block) in said.blocks.into_iter().enumerate() {
            let call = block.calls().map(str::to_owned);
            let doubled = call.as_ref().is_some_and(|call| draft.calls.contains_key(call));
            if let Some(call) = call.as_ref().filter(|_| !doubled) {
                draft.calls.insert(call.clone(), parsed.number);
            }
            self.callers.extend(call.map(|call| (call, (at, place))));
            if doubled {
                report.repaired(parsed.number, "the message makes a call twice; the second is kept as it came");
                template = template.and_then(|template| template.uncut(index, &block.part));
            }
            message.parts.push(if doubled { MessagePart::Custom(block.whole) } else { block.part });
        }
        draft.envelope.lines.push(LineOf::new(parsed.number, blocks, template));
        Some(place)
    }

    /// The message of this id, when nothing but results and a person's words stands between.
    fn answer_before(&self, behind: Option<usize>, id: &str) -> Option<usize> {
        let mut next = behind;
        for _ in 0..MOST_BETWEEN {
            let (at, draft) = next.and_then(|at| Some((at, self.drafts.get(at)?)))?;
            match draft.entry.message().map(|message| message.role) {
                Some(MessageRole::Assistant) => return (draft.entry.message_id.as_deref() == Some(id)).then_some(at),
                Some(_) => next = draft.entry.parent.filter(|parent| *parent < at),
                None => return None,
            }
        }
        None
    }

    /// True for an answer that no log has yet.
    fn is_open(&self, at: usize) -> bool {
        self.drafts.get(at).is_some_and(|draft| draft.entry.last_line() > self.sealed)
    }

    /// The message of whose calls' group an entry is; itself where it is of none.
    fn owner_of(&self, at: usize) -> usize {
        self.drafts.get(at).and_then(|draft| draft.owner).unwrap_or(at)
    }

    /// A line of the person's side: results, each behind its call, and what is said besides.
    fn add_user(&mut self, mut parsed: Parsed, behind: Option<usize>, report: &mut Report) -> Option<usize> {
        let Kind::Said(said) = std::mem::replace(&mut parsed.kind, Kind::Empty) else { return behind };
        let Said { role: speaker, blocks, mut template, made_at, .. } = *said;
        let group = behind.map(|behind| self.owner_of(behind));
        let mut shares: Vec<Share> = Vec::new();
        for (index, block) in blocks.into_iter().enumerate() {
            let answers = block.answers().map(|call| self.caller(call, group));
            let (owner, role) = (answers.flatten(), if answers.is_some() { MessageRole::Tool } else { speaker });
            match shares.iter_mut().find(|(other, its_role, _)| (*other, *its_role) == (owner, role)) {
                Some((.., share)) => share.push((index, block)),
                None => shares.push((owner, role, vec![(index, block)])),
            }
        }
        shares.sort_by_key(|(_, role, _)| *role != MessageRole::Tool);
        let mut place = behind;
        for (owner, role, share) in shares {
            let parent = if role == MessageRole::Tool { owner.or(place) } else { place };
            let message = Message { role, parts: Vec::new(), metadata: MessageMetadata::default() };
            let at = self.push(&parsed, EntryKind::Message(Box::new(message)), parent);
            if let Some(owner) = owner {
                self.answer(owner, at, &share, parsed.number, report);
                if group.is_some_and(|group| group != owner) && !self.is_beside_call(&share, behind) {
                    report.repaired(parsed.number, "the result stands apart from its call; it was put behind it");
                }
            } else if role == MessageRole::Tool {
                report.repaired(parsed.number, "nobody made the call of this result; a context leaves it out");
            }
            let draft = self.drafts.get_mut(at)?;
            let (indexes, blocks): (Vec<usize>, Vec<Block>) = share.into_iter().unzip();
            if let EntryKind::Message(message) = &mut draft.entry.kind {
                message.parts = blocks.into_iter().map(|block| block.part).collect();
                message.metadata.made_at.clone_from(&made_at);
            }
            draft.envelope.lines.push(LineOf::new(parsed.number, indexes, template.take()));
            if owner.is_none() || place.is_none() || owner == group {
                place = Some(at);
            }
        }
        place
    }

    /// The message that made a call: in the group it stands in, or elsewhere.
    fn caller(&self, call: &str, group: Option<usize>) -> Option<usize> {
        let makes = |at: &usize| self.drafts.get(*at).is_some_and(|draft| draft.calls.contains_key(call));
        group.filter(makes).or_else(|| self.callers.get(call).map(|(at, _)| *at))
    }

    /// True when a line with these results stands where the line of the calls does, with words of others between it and the message.
    fn is_beside_call(&self, share: &[(usize, Block)], behind: Option<usize>) -> bool {
        let place = |call: &str| self.callers.get(call).map(|(_, place)| *place);
        share.iter().filter_map(|(_, block)| block.answers()).all(|call| place(call) == behind)
    }

    /// Notes which calls of `owner` the message `at` answers.
    fn answer(&mut self, owner: usize, at: usize, share: &[(usize, Block)], line: u64, report: &mut Report) {
        if let Some(draft) = self.drafts.get_mut(at) {
            draft.owner = Some(owner);
        }
        let Some(draft) = self.drafts.get_mut(owner) else { return };
        draft.results.push(at);
        for call in share.iter().filter_map(|(_, block)| block.answers()) {
            if !draft.answered.insert(call.to_owned()) {
                report.repaired(line, "the call was answered before; a context leaves the second answer out");
            }
        }
    }

    /// The entries, each behind its parent, and the one behind which the file's last line stands.
    pub(super) fn finish(mut self, report: &mut Report) -> (Vec<Entry>, Option<usize>) {
        for draft in &self.drafts {
            for (_, line) in draft.calls.iter().filter(|(call, _)| !draft.answered.contains(*call)) {
                let what = "a tool call was never answered; a context gives it an `interrupted` result";
                report.repaired(*line, what);
            }
        }
        let ends = self.chain_results();
        let last = self.last.and_then(|(_, place)| place);
        let last = last.map(|at| ends.get(&self.owner_of(at)).copied().unwrap_or(at));
        let order = self.order();
        let mut numbers = vec![None; self.drafts.len()];
        for (number, at) in order.iter().enumerate() {
            if let Some(slot) = numbers.get_mut(*at) {
                *slot = Some(number);
            }
        }
        let mut drafts: Vec<Option<Draft>> = self.drafts.into_iter().map(Some).collect();
        let mut entries = Vec::with_capacity(order.len());
        for at in order {
            let Some(Draft { mut entry, envelope, .. }) = drafts.get_mut(at).and_then(Option::take) else { continue };
            entry.parent = entry.parent.and_then(|parent| numbers.get(parent).copied().flatten());
            if let EntryKind::Message(message) = &mut entry.kind {
                message.metadata.custom = envelope.to_json(self.format);
            }
            entries.push(entry);
        }
        (entries, last.and_then(|last| numbers.get(last).copied().flatten()))
    }

    /// Results stand in a chain behind their message, and all else that followed one of them behind the chain.
    /// Gives the end of each message's group.
    fn chain_results(&mut self) -> HashMap<usize, usize> {
        let mut ends: HashMap<usize, usize> = HashMap::new();
        for owner in 0..self.drafts.len() {
            let mut results =
                self.drafts.get_mut(owner).map(|draft| std::mem::take(&mut draft.results)).unwrap_or_default();
            results.sort_by_key(|at| self.drafts.get(*at).map_or(0, |draft| draft.entry.first_line()));
            let mut behind = owner;
            for result in results {
                if let Some(draft) = self.drafts.get_mut(result) {
                    draft.entry.parent = Some(behind);
                }
                behind = result;
            }
            ends.insert(owner, behind);
        }
        for at in 0..self.drafts.len() {
            let parent = self.drafts.get(at).filter(|draft| draft.owner.is_none()).and_then(|draft| draft.entry.parent);
            let Some(parent) = parent else { continue };
            let end = ends.get(&self.owner_of(parent)).copied();
            if let Some(draft) = self.drafts.get_mut(at) {
                draft.entry.parent = end.or(Some(parent));
            }
        }
        ends
    }

    /// The drafts in the file's order, each behind its parent. A clear that nothing follows is left out.
    fn order(&self) -> Vec<usize> {
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); self.drafts.len()];
        let mut ready = BinaryHeap::new();
        for (at, draft) in self.drafts.iter().enumerate() {
            match draft.entry.parent.and_then(|parent| children.get_mut(parent)) {
                Some(siblings) => siblings.push(at),
                None => ready.push(Reverse((draft.entry.first_line(), at))),
            }
        }
        let mut order = Vec::with_capacity(self.drafts.len());
        while let Some(Reverse((_, at))) = ready.pop() {
            order.push(at);
            for child in children.get(at).into_iter().flatten() {
                let line = self.drafts.get(*child).map_or(0, |draft| draft.entry.first_line());
                ready.push(Reverse((line, *child)));
            }
        }
        let mut kept: HashSet<usize> = HashSet::new();
        for at in order.iter().rev() {
            let is_message = self.drafts.get(*at).is_some_and(|draft| draft.entry.message().is_some());
            let followed = || children.get(*at).into_iter().flatten().any(|child| kept.contains(child));
            if is_message || followed() {
                kept.insert(*at);
            }
        }
        order.retain(|at| kept.contains(at));
        order
    }
}

fn fill_metadata(metadata: &mut MessageMetadata, said: &Said, counts: bool) {
    let last = |known: &mut Option<String>, new: &Option<String>| {
        if new.is_some() {
            known.clone_from(new);
        }
    };
    last(&mut metadata.model, &said.model);
    last(&mut metadata.request_id, &said.request_id);
    last(&mut metadata.finish_reason, &said.stop_reason);
    last(&mut metadata.provider, &said.provider);
    last(&mut metadata.cost, &said.cost);
    if metadata.made_at.is_none() {
        metadata.made_at.clone_from(&said.made_at);
    }
    if counts && said.usage.is_some() {
        metadata.usage = said.usage;
    }
}
