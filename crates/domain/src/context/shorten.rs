//! Long texts cut in their middle, with a mark that says so and where the whole is.
//!
//! Must not know: why they are cut.

use crate::message::{FileRef, Message, MessagePart, MessageRole, ToolContent};

/// What a mark may take beside what is kept.
const MARK: usize = 120;

/// A text with about `keep` bytes of it left: two thirds from its beginning, the rest from its end. `None`: it is no longer than that.
pub fn shortened_text(text: &str, keep: usize, seq: u64) -> Option<String> {
    let (head, tail, left_out) = between(text, keep)?;
    Some(format!("{head}\n[… {left_out} bytes are left out here; message {seq} has all of it …]\n{tail}"))
}

/// The beginning and the end of a text that is longer, and how many bytes are between them.
fn between(text: &str, keep: usize) -> Option<(&str, &str, usize)> {
    if text.len() <= keep.saturating_add(MARK) {
        return None;
    }
    let is_between = |at: &usize| text.is_char_boundary(*at);
    let head = (0..=keep / 3 * 2 + keep % 3).rev().find(is_between)?;
    let tail = (text.len() - keep / 3..=text.len()).find(is_between)?;
    Some((text.get(..head)?, text.get(tail..)?, tail - head))
}

/// What a tool gave, with about `most` bytes of its texts left. What is left out is kept nowhere. Parts behind the first `most` bytes go.
pub fn shortened_output(content: ToolContent, most: usize) -> ToolContent {
    let cut = |text: String, most: usize| match between(&text, most) {
        Some((head, tail, left_out)) => {
            format!("{head}\n[… {left_out} bytes are left out, and were not kept …]\n{tail}")
        }
        None => text,
    };
    match content {
        ToolContent::Text(text) => ToolContent::Text(cut(text, most)),
        ToolContent::Parts(parts) => {
            let mut left = most;
            let mut kept = Vec::new();
            let all = parts.len();
            for part in parts {
                let (part, size) = match part {
                    MessagePart::Text(text) => {
                        let size = text.len();
                        (MessagePart::Text(cut(text, left)), size)
                    }
                    other => {
                        let size = serde_json::to_vec(&other).map_or(0, |json| json.len());
                        if size > left.saturating_add(MARK) {
                            break;
                        }
                        (other, size)
                    }
                };
                kept.push(part);
                left = left.saturating_sub(size);
                if left == 0 {
                    break;
                }
            }
            let gone = all - kept.len();
            if gone > 0 {
                kept.push(MessagePart::Text(format!("[… {gone} parts are left out, and were not kept …]")));
            }
            ToolContent::Parts(kept)
        }
    }
}

/// The message with the results of tools in it shortened. `None`: nothing of it is that long.
pub fn shortened(message: &Message, keep: usize, seq: u64) -> Option<Message> {
    if message.role != MessageRole::Tool {
        return None;
    }
    let mut after = message.clone();
    let mut is_changed = false;
    for part in &mut after.parts {
        if let MessagePart::ToolResult(result) = part {
            is_changed |= shorten_content(&mut result.content, keep, seq);
        }
    }
    is_changed.then_some(after)
}

fn shorten_content(content: &mut ToolContent, keep: usize, seq: u64) -> bool {
    match content {
        ToolContent::Text(text) => replace(text, keep, seq),
        ToolContent::Parts(parts) => {
            let mut is_changed = false;
            for part in parts {
                is_changed |= match part {
                    MessagePart::Text(text) => replace(text, keep, seq),
                    MessagePart::File(file) => {
                        *part = MessagePart::Text(left_out(file, seq));
                        true
                    }
                    MessagePart::Custom(json) => {
                        shortened_text(json.as_str(), keep, seq).map(|words| *part = MessagePart::Text(words)).is_some()
                    }
                    _ => false,
                };
            }
            is_changed
        }
    }
}

/// Stands for a file that is not shown.
fn left_out(file: &FileRef, seq: u64) -> String {
    let name = file.name.as_deref().unwrap_or("without a name");
    format!("[file {name} ({}) is left out here; message {seq} has it]", file.media_type)
}

fn replace(text: &mut String, keep: usize, seq: u64) -> bool {
    shortened_text(text, keep, seq).map(|words| *text = words).is_some()
}

/// The message with every long text in it shortened: the last resort, where a single message is larger than the whole budget.
/// What a call was called with, and signed reasoning, stay or go as a whole.
pub(super) fn squeezed(message: &Message, keep: usize, seq: u64) -> Message {
    let mut after = shortened(message, keep, seq).unwrap_or_else(|| message.clone());
    after.parts.retain_mut(|part| match part {
        MessagePart::Text(text) => {
            replace(text, keep, seq);
            true
        }
        MessagePart::Error { message, .. } => {
            replace(message, keep, seq);
            true
        }
        MessagePart::Reasoning { .. } => false,
        _ => true,
    });
    after
}

/// The same, with words for the files in it, and what only a provider understands cut like a text.
pub(super) fn squeezed_without_files(message: &Message, keep: usize, seq: u64) -> Message {
    let mut after = squeezed(message, keep, seq);
    for part in &mut after.parts {
        let words = match part {
            MessagePart::File(file) => Some(left_out(file, seq)),
            MessagePart::Custom(json) => shortened_text(json.as_str(), keep, seq),
            _ => None,
        };
        if let Some(words) = words {
            *part = MessagePart::Text(words);
        }
    }
    after
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_long_result_keeps_its_beginning_and_its_end() {
        let text: String = ('a'..='z').cycle().take(1_000).collect();
        let message = Message::tool_result("c", text.clone());
        let short = shortened(&message, 90, 17).unwrap();
        let MessagePart::ToolResult(result) = &short.parts[0] else { panic!("a result") };
        let ToolContent::Text(words) = &result.content else { panic!("a text") };
        let expected =
            format!("{}\n[… 910 bytes are left out here; message 17 has all of it …]\n{}", &text[..60], &text[970..]);
        assert_eq!(*words, expected);
        assert_eq!(shortened(&short, 90, 17), None, "what is short stays");
        assert_eq!(shortened(&Message::user(text), 90, 17), None, "results alone are shortened");
    }

    #[test]
    fn files_and_foreign_parts_of_a_result_are_named() {
        let file = FileRef { media_type: "image/png".into(), name: Some("a.png".into()), artifact: None, url: None };
        let mut content = ToolContent::Parts(vec![MessagePart::text("short"), MessagePart::File(file)]);
        assert!(shorten_content(&mut content, 10, 4));
        let named = MessagePart::text("[file a.png (image/png) is left out here; message 4 has it]");
        assert_eq!(content, ToolContent::Parts(vec![MessagePart::text("short"), named]));
    }

    proptest! {
        #[test]
        fn any_text_is_cut_between_letters_and_never_longer(text in "\\PC{0,400}", keep in 0_usize..200) {
            if let Some(short) = shortened_text(&text, keep, u64::MAX) {
                prop_assert!(short.len() < text.len() && short.len() <= keep + MARK);
            } else {
                prop_assert!(text.len() <= keep + MARK);
            }
        }
    }
}
