//! Messages as a form takes them, still in our own terms: whatever spelling them needs is in them, so that all of it can be counted
//! before it is taken.
//!
//! What is valid already stays as it is, and every change is reported. The rules that are kept stand in `docs/forms.md`.
//!
//! Must not know: budgets, or how a form is spelled.

use super::{
    Form, FormRules, InstructionsAs, calls, custom,
    media::{self, Media},
    mend::{self, Mended},
    thoughts, words,
};
use crate::{
    message::{FileRef, Message, MessageMetadata, MessagePart, MessageRole, ToolContent},
    pairing::{Paired, Repair},
};

/// How many pictures Anthropic takes in one request.
const PICTURES: usize = 100;

/// Of more pictures than these Anthropic asks that they be smaller.
const FEW_PICTURES: usize = 20;

/// The longest side that each of them may have, in pixels.
const SIDE_OF_MANY: u32 = 2000;

/// How much base64 a request to Anthropic may carry beside its text, in bytes. Its body may have 32 MB.
const DATA: usize = 24 * 1024 * 1024;

/// For whom messages are shaped.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The provider, as the metadata of messages names it.
    pub provider: &'a str,
    /// The model, as the metadata of messages names it.
    pub model: &'a str,
    /// Other names of the model.
    pub aliases: &'a [String],
    /// The record since which the same messages were sent as now, and nothing was left out (0: always); `None`: they were others.
    /// [`super::ReasoningBack::Unchanged`] asks for it.
    pub unchanged_since: Option<u64>,
}

/// Messages that a form can spell, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Shaped {
    /// The messages, each with the record it comes from (`None` for what was supplied).
    pub messages: Vec<Paired>,
    /// What had to be changed. Empty exactly when the messages are those that were given.
    pub repairs: Vec<Repair>,
}

/// A message on its way.
pub(super) struct Item {
    pub(super) seq: Option<u64>,
    pub(super) message: Message,
    /// It, or what stood directly before it, is not as it was.
    pub(super) is_changed: bool,
}

impl Item {
    pub(super) fn changed(seq: Option<u64>, message: Message) -> Self {
        Self { seq, message, is_changed: true }
    }

    /// The record, for a report.
    pub(super) fn number(&self) -> u64 {
        self.seq.unwrap_or(0)
    }
}

/// The messages as `form` takes them: the whole sequence, oldest first, as [`crate::pairing::pair`] gives it.
///
/// It is deterministic, and what it gave it leaves as it is.
pub fn shape(messages: Vec<Paired>, form: Form, rules: &FormRules, target: &Target<'_>) -> Shaped {
    let mut repairs = Vec::new();
    if form == Form::Neutral {
        return Shaped { messages, repairs };
    }
    let mut items = mended(messages, form, rules, &mut repairs);
    calls::rename(&mut items, form, rules, &mut repairs);
    items = calls::split(items, form, &mut repairs);
    // Each of these may make the next necessary, and each leaves less for the next.
    loop {
        without_empty(&mut items, &mut repairs);
        let placed = settle_systems(&mut items, form, rules, &mut repairs);
        let thought = thoughts::settle(&mut items, form, rules, target, &mut repairs);
        if !placed && !thought {
            break;
        }
    }
    supply(&mut items, form, rules, &mut repairs);
    if form == Form::Anthropic {
        limit_media(&mut items, &mut repairs);
    }
    Shaped { messages: items.into_iter().map(|item| (item.seq, item.message)).collect(), repairs }
}

/// A message with the most that [`shape`] may leave of it and add to it: whatever surrounds it, what becomes of it costs no more. Its
/// metadata is left out and its calls keep their ids, since neither costs anything.
pub fn upper(message: &Message, form: Form, rules: &FormRules) -> Message {
    if form == Form::Neutral { message.clone() } else { mend::most(message, form, rules) }
}

/// How many messages may become of one, those of [`reserve`] left aside.
pub fn upper_messages(message: &Message, form: Form, rules: &FormRules) -> u64 {
    if form == Form::Neutral {
        return 1;
    }
    let Mended { calls, files, .. } = mend::mend(0, message.clone(), form, rules);
    let pieces = 2 * (message.calls().count() as u64).div_ceil(calls::MOST_CALLS as u64);
    let moved = u64::from(!calls.is_empty()) + u64::from(!files.is_empty());
    pieces.max(1).saturating_add(moved)
}

/// Texts that may be added once to a request, each as a message of its own.
pub fn reserve(form: Form, rules: &FormRules) -> Vec<String> {
    let opening = (form != Form::Neutral).then_some(words::OPENING);
    let closing = (form != Form::Neutral && !rules.prefill).then_some(words::CLOSING);
    opening.into_iter().chain(closing).map(str::to_owned).collect()
}

/// True when instructions may have to stand as a user's words.
pub(super) fn may_be_users(form: Form, rules: &FormRules) -> bool {
    form == Form::Anthropic || !rules.system_inside || rules.instructions == InstructionsAs::User
}

fn supplied(role: MessageRole, parts: Vec<MessagePart>) -> Item {
    Item::changed(None, Message { role, parts, metadata: MessageMetadata::default() })
}

/// Each message by itself, with what has no place in it behind it.
fn mended(messages: Vec<Paired>, form: Form, rules: &FormRules, repairs: &mut Vec<Repair>) -> Vec<Item> {
    let mut items = Vec::with_capacity(messages.len());
    let mut files: Vec<MessagePart> = Vec::new();
    for (seq, message) in messages {
        let (role, metadata) = (message.role, message.metadata.clone());
        if role != MessageRole::Tool && !files.is_empty() {
            items.push(supplied(MessageRole::User, std::mem::take(&mut files)));
        }
        let was_empty = message.parts.is_empty();
        let Mended { parts, calls, files: moved, repairs: mut found } =
            mend::mend(seq.unwrap_or(0), message, form, rules);
        // Whatever stands for no record came in place of something.
        let is_new = seq.is_none() && role != MessageRole::System;
        let is_changed = is_new || was_empty || !found.is_empty();
        repairs.append(&mut found);
        files.extend(moved);
        items.push(Item { seq, message: Message { role, parts, metadata }, is_changed });
        if !calls.is_empty() {
            let message = Message { role: MessageRole::Assistant, parts: calls, metadata: MessageMetadata::default() };
            items.push(Item::changed(seq, message));
        }
    }
    if !files.is_empty() {
        items.push(supplied(MessageRole::User, files));
    }
    items
}

/// Leaves messages out that say nothing.
fn without_empty(items: &mut Vec<Item>, repairs: &mut Vec<Repair>) {
    let mut is_behind = false;
    items.retain_mut(|item| {
        item.is_changed |= is_behind;
        is_behind = item.message.parts.is_empty();
        if is_behind {
            repairs.push(Repair::EmptyMessage { seq: item.number() });
        }
        !is_behind
    });
}

/// Instructions stand where the form has a place for them, or else as a user's words. True when some do now.
fn settle_systems(items: &mut [Item], form: Form, rules: &FormRules, repairs: &mut Vec<Repair>) -> bool {
    let roles: Vec<MessageRole> = items.iter().map(|item| item.message.role).collect();
    let leading = roles.iter().take_while(|role| **role == MessageRole::System).count();
    let (mut found, mut before) = (false, None);
    for (at, item) in items.iter_mut().enumerate() {
        // Neighbours become one.
        let next = roles.iter().skip(at).find(|role| **role != MessageRole::System);
        if item.message.role == MessageRole::System {
            let fits = match form {
                _ if rules.instructions == InstructionsAs::User => false,
                _ if at < leading => true,
                Form::Anthropic => {
                    let follows = matches!(before, Some(MessageRole::User | MessageRole::Tool));
                    rules.system_inside && follows && next.is_none_or(|role| *role == MessageRole::Assistant)
                }
                _ => rules.system_inside,
            };
            if !fits {
                repairs.push(Repair::SystemAsUser { seq: item.number() });
                let text = words::instructions(&mend::joined(&item.message.parts));
                let (Ok(text) | Err(text)) = mend::fitting(text, rules);
                item.message.role = MessageRole::User;
                item.message.parts = vec![MessagePart::Text(text)];
                item.is_changed = true;
                found = true;
            }
        }
        if item.message.role != MessageRole::System {
            before = Some(item.message.role);
        }
    }
    found
}

/// A beginning and an end that the form takes.
fn supply(items: &mut Vec<Item>, form: Form, rules: &FormRules, repairs: &mut Vec<Repair>) {
    let leading = items.iter().take_while(|item| item.message.role == MessageRole::System).count();
    let first = items.get(leading).map(|item| item.message.role);
    let needs_opening = match form {
        Form::Anthropic => first.is_none_or(|role| role != MessageRole::User),
        _ => items.is_empty(),
    };
    let text = |text: &str| supplied(MessageRole::User, vec![MessagePart::text(text)]);
    if needs_opening {
        repairs.push(Repair::OpeningSupplied);
        let words = if items.len() == leading { words::NOTHING_SAID } else { words::OPENING };
        items.insert(leading, text(words));
    }
    let Some(last) = items.last_mut().filter(|last| last.message.role == MessageRole::Assistant) else { return };
    if !rules.prefill {
        repairs.push(Repair::ClosingSupplied);
        items.push(text(words::CLOSING));
    } else if let Some(MessagePart::Text(said)) = last.message.parts.last_mut().filter(|_| form == Form::Anthropic) {
        let length = said.trim_end_matches(mend::is_blank_char).len();
        if length < said.len() {
            said.truncate(length);
            repairs.push(Repair::EndTrimmed { seq: last.number() });
        }
    }
}

/// What a part says to Anthropic as a file.
fn with_media<T>(part: &MessagePart, then: impl FnOnce(Media<'_>) -> T) -> Option<T> {
    let translated = match part {
        MessagePart::Custom(json) => custom::file(json),
        _ => None,
    };
    let file: Option<&FileRef> = match part {
        MessagePart::File(file) => Some(file),
        _ => translated.as_ref(),
    };
    file.and_then(|file| media::media(file, Form::Anthropic)).map(then)
}

/// Does something with all parts, those of results among them, newest first.
fn each_part(items: &mut [Item], mut then: impl FnMut(u64, &mut MessagePart)) {
    for item in items.iter_mut().rev() {
        let seq = item.number();
        for part in item.message.parts.iter_mut().rev() {
            match part {
                MessagePart::ToolResult(result) => {
                    if let ToolContent::Parts(parts) = &mut result.content {
                        parts.iter_mut().rev().for_each(|part| then(seq, part));
                    }
                }
                part => then(seq, part),
            }
        }
    }
}

/// Leaves the oldest pictures and files out where they are too many, and large ones where there are many.
fn limit_media(items: &mut [Item], repairs: &mut Vec<Repair>) {
    let (mut pictures, mut bytes) = (0_usize, 0_usize);
    let mut found = false;
    each_part(items, |_, part| {
        let is_picture = with_media(part, |media| media.is_picture());
        found |= is_picture.is_some();
        pictures += usize::from(is_picture == Some(true));
    });
    if !found {
        return;
    }
    let are_many = pictures > FEW_PICTURES;
    pictures = 0;
    each_part(items, |seq, part| {
        let fits = with_media(part, |media| {
            let is_large = are_many && media.longest_side().is_some_and(|side| side > SIDE_OF_MANY);
            let (more, larger) = (pictures + usize::from(media.is_picture()), bytes.saturating_add(media.bytes()));
            let fits = more <= PICTURES && larger <= DATA && !is_large;
            if fits {
                (pictures, bytes) = (more, larger);
            }
            fits
        });
        if let Some(text) = Some(&*part).filter(|_| fits == Some(false)).and_then(mend::label) {
            repairs.push(Repair::FileLeftOut { seq });
            *part = MessagePart::Text(text);
        }
    });
}
