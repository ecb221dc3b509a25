//! Which reasoning goes back to the model that wrote it. What does not is left out, all of a message or nothing of it.
//!
//! Must not know: what the reasoning says.

use super::{
    Form, FormRules, ReasoningBack, custom,
    shape::{Item, Target},
};
use crate::{
    message::{Message, MessagePart, MessageRole},
    pairing::Repair,
    profile::is_same_model,
};

/// Who dates the names of models in the form that has a place for reasoning, whoever runs them.
const DATES: &str = "anthropic";

/// True for reasoning, readable or not.
pub(super) fn is_thought(part: &MessagePart) -> bool {
    match part {
        MessagePart::Reasoning { .. } => true,
        MessagePart::Custom(json) => custom::redacted(json).is_some(),
        _ => false,
    }
}

/// True when all reasoning of a message is signed and comes from the model that the messages are for, by whichever of its names: answers
/// say which snapshot gave them. Who does not say its provider is taken at its model's name.
fn is_its_own(message: &Message, target: &Target<'_>) -> bool {
    let by = &message.metadata;
    let is_signed = |part: &MessagePart| match part {
        MessagePart::Reasoning { signature, .. } => signature.as_ref().is_some_and(|signature| !signature.is_empty()),
        _ => true,
    };
    let mut names = std::iter::once(target.model).chain(target.aliases.iter().map(String::as_str));
    by.provider.as_deref().is_none_or(|provider| provider == target.provider)
        && by.model.as_deref().is_some_and(|model| names.any(|name| is_same_model(DATES, name, model)))
        && message.parts.iter().all(is_signed)
}

/// Where the last turn begins: behind the last message of a person, or, where results are the last that an answer's calls got, behind the
/// one before that answer, whatever a person said beside the results. What is supplied is nobody's message.
fn last_turn(items: &[Item]) -> usize {
    let is_answer = |item: &Item| item.message.role == MessageRole::Assistant;
    let last = items.iter().rposition(is_answer).map_or(0, |at| at + 1);
    let (before, behind) = items.split_at_checked(last).unwrap_or((items, &[]));
    let is_open = behind.first().is_some_and(|item| item.message.role == MessageRole::Tool);
    let until = if is_open { before } else { items };
    let is_said = |item: &Item| item.message.role == MessageRole::User && item.seq.is_some();
    until.iter().rposition(is_said).map_or(0, |at| at + 1)
}

/// Leaves reasoning out that cannot go back. True when there was some.
pub(super) fn settle(
    items: &mut [Item],
    form: Form,
    rules: &FormRules,
    target: &Target<'_>,
    repairs: &mut Vec<Repair>,
) -> bool {
    let role = |item: &Item| item.message.role;
    let ends_open = items.last().is_some_and(|item| role(item) == MessageRole::Assistant);
    let opens = items
        .iter()
        .find(|item| role(item) != MessageRole::System)
        .is_some_and(|item| role(item) == MessageRole::Assistant);
    let from = match rules.reasoning {
        _ if form != Form::Anthropic => items.len(),
        ReasoningBack::Never => items.len(),
        ReasoningBack::LastTurn => last_turn(items),
        ReasoningBack::Unchanged if opens || target.unchanged_since.is_none() => items.len(),
        ReasoningBack::Unchanged => 0,
    };
    // An answer that the model goes on with has no reasoning.
    let last_run = items.iter().rposition(|item| role(item) != MessageRole::Assistant).map_or(0, |at| at + 1);
    let to = if rules.prefill && ends_open { last_run } else { items.len() };
    let (mut found, mut is_broken, mut leads) = (false, false, None);
    let since = target.unchanged_since.unwrap_or(0);
    for (at, item) in items.iter_mut().enumerate() {
        // What stands before the change was sent like this ever since, without its reasoning.
        let is_before = item.seq.is_some_and(|seq| seq < since);
        is_broken |= item.is_changed && !is_before;
        if item.message.role != MessageRole::Assistant {
            leads = None;
            continue;
        }
        let bound = (is_broken || is_before) && rules.reasoning == ReasoningBack::Unchanged;
        let stays = at >= from && at < to && !bound && is_its_own(&item.message, target);
        let begins = item.message.parts.first().is_some_and(is_thought);
        // Neighbouring answers are one to the provider, and reasoning stands at its beginning.
        let leads = *leads.get_or_insert(stays && begins);
        if (stays && leads) || !item.message.parts.iter().any(is_thought) {
            continue;
        }
        item.message.parts.retain(|part| !is_thought(part));
        repairs.push(Repair::ReasoningLeftOut { seq: item.number() });
        item.is_changed = true;
        (found, is_broken) = (true, is_broken || !is_before);
    }
    found
}
