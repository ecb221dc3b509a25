//! A message with the results of its calls: the least that a context takes or leaves.
//!
//! Must not know: budgets beyond the room that a single group has.

use std::{fmt, sync::Arc};

use super::shorten::{shortened, squeezed, squeezed_without_files};
use crate::{
    compaction::Shortens,
    form::{Form, FormRules, upper, upper_messages},
    message::{Message, MessageMetadata, MessagePart, MessageRole},
    pairing::{Repair, pair},
    profile::ModelProfile,
    stored::StoredMessage,
    stream::MessageState,
    tokens::{Framing, Tokens},
};

/// Counts a message's tokens by counting rule 1. A message of a record comes with its number, so that its count may be kept.
type Count = Arc<dyn Fn(Option<u64>, &Message) -> Tokens + Send + Sync>;

/// What is left of a long text of a question that stands apart, in bytes.
const QUESTION: usize = 8 << 10;

/// Makes a message shorter: how much of each text is kept, in bytes, and the record that has all of it.
type Squeeze = fn(&Message, usize, u64) -> Message;

/// What messages weigh for one model.
#[derive(Clone)]
pub struct Weigher {
    count: Count,
    /// The form that they are sent in.
    pub form: Form,
    /// What its provider asks of them.
    pub rules: FormRules,
    /// What is written around them.
    pub framing: Framing,
    /// Its provider, as the metadata of messages names it.
    pub provider: String,
    /// Its name, as the metadata of messages has it.
    pub model: String,
    /// Other names of it.
    pub aliases: Vec<String>,
}

impl fmt::Debug for Weigher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Weigher").field("form", &self.form).field("framing", &self.framing).finish_non_exhaustive()
    }
}

impl Weigher {
    /// Weighs with this counter, for messages in our own form.
    pub fn new(count: impl Fn(Option<u64>, &Message) -> Tokens + Send + Sync + 'static) -> Self {
        let (form, framing) = (Form::Neutral, Framing::CHAT);
        let (provider, model) = (String::new(), String::new());
        let (count, rules, aliases) = (Arc::new(count), FormRules::of(form), Vec::new());
        Self { count, form, rules, framing, provider, model, aliases }
    }

    /// The same, for a model of this profile.
    #[must_use]
    pub fn for_model(self, profile: &ModelProfile) -> Self {
        let ModelProfile { form, rules, framing, provider, name, aliases, .. } = profile.clone();
        Self { form, rules, framing, provider, model: name, aliases, ..self }
    }

    /// Tokens of a message as it is sent, with what is written around it. `seq`: the record whose message it is, unchanged. Exact when the
    /// texts are: what is written around them is a published number or ours, and the same for every count.
    pub fn message(&self, seq: Option<u64>, message: &Message) -> Tokens {
        let texts = (self.count)(seq, message);
        Tokens { count: texts.count.saturating_add(self.framing.around(message).count), ..texts }
    }

    /// The most that may become of a message when it is shaped.
    fn most(&self, message: &Message, own: Tokens) -> u64 {
        if self.form == Form::Neutral {
            return own.count;
        }
        let mut most = upper(message, self.form, &self.rules);
        // Most messages stay what they are, or something is put behind them: what was counted is not counted again.
        let own_parts = most.parts.get(..message.parts.len());
        let count = if own_parts.is_some_and(|own| weigh_the_same(own, &message.parts)) {
            let beside = most.parts.split_off(message.parts.len());
            own.count.saturating_add(self.beside(&most, beside))
        } else {
            self.message(None, &most).count
        };
        let more = upper_messages(message, self.form, &self.rules).saturating_sub(1);
        count.saturating_add(more.saturating_mul(self.framing.per_message))
    }

    /// What parts that are put behind a message add to it.
    fn beside(&self, message: &Message, parts: Vec<MessagePart>) -> u64 {
        if parts.is_empty() {
            return 0;
        }
        let parts = Message { parts, role: message.role, metadata: MessageMetadata::default() };
        self.message(None, &parts).count.saturating_sub(self.framing.per_message)
    }
}

/// Whether parts are the same but for the ids of calls, which are never counted.
pub(super) fn weigh_the_same(one: &[MessagePart], other: &[MessagePart]) -> bool {
    let same = |(one, other): (&MessagePart, &MessagePart)| match (one, other) {
        (MessagePart::ToolCall(one), MessagePart::ToolCall(other)) => {
            one.name == other.name && one.input == other.input
        }
        (MessagePart::ToolResult(one), MessagePart::ToolResult(other)) => one.content == other.content,
        (one, other) => one == other,
    };
    one.len() == other.len() && one.iter().zip(other).all(same)
}

/// A message of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// Its record; `None` for what was supplied.
    pub seq: Option<u64>,
    /// The message.
    pub message: Arc<Message>,
    /// Its tokens as it is sent.
    pub tokens: Tokens,
}

impl Piece {
    /// A message by itself.
    pub fn of(seq: Option<u64>, message: Message, weigher: &Weigher) -> Self {
        let tokens = weigher.message(seq, &message);
        Self { seq, message: Arc::new(message), tokens }
    }
}

/// A message with the results of its calls, as they are sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The messages, oldest first.
    pub pieces: Vec<Piece>,
    /// What was mended in it.
    pub repairs: Vec<Repair>,
    /// The most tokens that may become of it in the form.
    pub cost: u64,
    /// Whether it was cut because it is larger than all the room there is, or something else was left out for it.
    pub(super) is_squeezed: bool,
}

impl Group {
    /// The group of these messages, oldest first: one that is no result, and the results behind it.
    pub fn of(messages: &[StoredMessage], shortens: Option<Shortens>, weigher: &Weigher) -> Self {
        let shown = messages.iter().map(|stored| {
            let keep = shortens.filter(|shortens| stored.seq <= shortens.to).map(|shortens| shortens.keep);
            let short = keep
                .and_then(|keep| shortened(&stored.message, usize::try_from(keep).unwrap_or(usize::MAX), stored.seq));
            (Some(stored.seq), stored.late, short.unwrap_or_else(|| stored.message.clone()))
        });
        Self::paired(shown.collect(), messages, weigher)
    }

    /// What of the group fits into a room: all of it where it does.
    ///
    /// # Errors
    /// The tokens of the least that can be left of it, when nothing fits.
    pub fn squeezed(&self, messages: &[StoredMessage], room: u64, weigher: &Weigher) -> Result<Self, u64> {
        // Words for a file may be more than the file is counted for.
        if self.cost <= room {
            return Ok(Self { is_squeezed: true, ..self.clone() });
        }
        let mut least = self.cost;
        let mut fit = |squeeze: Squeeze, keep: usize| {
            let shown = messages
                .iter()
                .map(|stored| (Some(stored.seq), stored.late, squeeze(&stored.message, keep, stored.seq)));
            let group = Self::paired(shown.collect(), messages, weigher);
            least = least.min(group.cost);
            (group.cost <= room).then_some(group)
        };
        let results: Squeeze = |message, keep, seq| shortened(message, keep, seq).unwrap_or_else(|| message.clone());
        // Halves, so that at least half of what could be kept is. A token is seldom more than sixteen bytes.
        let most = 67 - (room | 1).leading_zeros();
        let keeps = || (4..=most.min(40)).rev().map(|bits| 1_usize << bits);
        let ways = [results, squeezed, squeezed_without_files].into_iter();
        let found = ways.flat_map(|way| keeps().map(move |keep| (way, keep))).find_map(|(way, keep)| fit(way, keep));
        let mut group = found.ok_or(least)?;
        group.is_squeezed = true;
        let seq = messages.first().map_or(0, |stored| stored.seq);
        group.repairs.push(Repair::Squeezed { seq });
        Ok(group)
    }

    /// A question as it stands apart from what came behind it: all of it, unless it is long. `None`: nothing of it fits.
    pub fn question(asked: &StoredMessage, room: u64, weigher: &Weigher) -> Option<Self> {
        let without_files: Squeeze = squeezed_without_files;
        let ways = [
            (squeezed as Squeeze, QUESTION),
            (without_files, QUESTION),
            (without_files, QUESTION / 8),
            (without_files, 0),
        ];
        ways.into_iter().find_map(|(way, keep)| {
            let message = way(&asked.message, keep, asked.seq);
            let is_cut = message != asked.message;
            let shown = vec![(Some(asked.seq), asked.late, message)];
            let mut group = Self::paired(shown, std::slice::from_ref(asked), weigher);
            group.repairs.extend(is_cut.then_some(Repair::Squeezed { seq: asked.seq }));
            (group.cost <= room).then_some(group)
        })
    }

    /// A message that stands by itself.
    pub(super) fn alone(piece: Piece, weigher: &Weigher) -> Self {
        let cost = weigher.most(&piece.message, piece.tokens);
        Self { pieces: vec![piece], repairs: Vec::new(), cost, is_squeezed: false }
    }

    fn paired(shown: Vec<(Option<u64>, bool, Message)>, messages: &[StoredMessage], weigher: &Weigher) -> Self {
        let (paired, repairs) = pair(shown);
        let piece = |(seq, message): (Option<u64>, Message)| {
            // Only of a message that is sent as it was said, and of which no more comes, may a count be kept.
            let is_over = |stored: &StoredMessage| stored.state != MessageState::Partial;
            let is_as_said =
                |stored: &&StoredMessage| Some(stored.seq) == seq && is_over(stored) && stored.message == message;
            let known = messages.iter().find(is_as_said).and(seq);
            let tokens = weigher.message(known, &message);
            Piece { seq, message: Arc::new(message), tokens }
        };
        let pieces: Vec<Piece> = paired.into_iter().map(piece).collect();
        let cost = pieces.iter().map(|piece| weigher.most(&piece.message, piece.tokens));
        let cost = cost.fold(0, u64::saturating_add);
        Self { pieces, repairs, cost, is_squeezed: false }
    }

    /// Whether it begins with what a person says.
    pub fn starts_turn(&self) -> bool {
        self.pieces.first().is_some_and(|piece| piece.message.role == MessageRole::User)
    }

    /// The records in it.
    pub fn seqs(&self) -> impl Iterator<Item = u64> {
        self.pieces.iter().filter_map(|piece| piece.seq)
    }
}
