//! Long texts cut in their middle, with a mark that says so and where the whole is.
//!
//! Must not know: why they are cut.

use crate::message::{FileRef, Message, MessagePart, MessageRole, ToolContent};

/// What a mark may take beside what is kept.
const MARK: usize = 120;

/// A result of a tool has no more parts than these. Around each one a provider writes words of its own, which nothing cuts.
const MOST_PARTS: usize = 128;

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

/// What a tool gave, with about `most` bytes of it left, as it is written down: of a text its beginning and its end, of parts the first ones.
/// What is left out is kept nowhere, and said in a mark. More than 128 parts become fewer: texts beside each other are one, each on a line of its
/// own, and what is then behind the first 128 goes.
pub fn shortened_output(content: ToolContent, most: usize) -> ToolContent {
    match content {
        ToolContent::Text(text) => ToolContent::Text(output_text(text, most)),
        ToolContent::Parts(parts) => ToolContent::Parts(output_parts(parts, most)),
    }
}

fn output_text(text: String, most: usize) -> String {
    match between(&text, most) {
        Some((head, tail, left_out)) => {
            format!("{head}\n[… {left_out} bytes are left out, and were not kept …]\n{tail}")
        }
        None => text,
    }
}

fn output_parts(parts: Vec<MessagePart>, most: usize) -> Vec<MessagePart> {
    let all = parts.len();
    let (mut kept, mut left, mut told) = (Vec::new(), most, 0);
    for (part, of) in joined(parts) {
        if left == 0 || kept.len() == MOST_PARTS {
            break;
        }
        let part = match part {
            MessagePart::Text(text) => MessagePart::Text(output_text(text, left)),
            other if written(&other) > left.saturating_add(MARK) => break,
            other => other,
        };
        left = left.saturating_sub(written(&part));
        kept.push(part);
        told += of;
    }
    let gone = all - told;
    if gone > 0 {
        kept.push(MessagePart::Text(format!("[… {gone} parts are left out, and were not kept …]")));
    }
    kept
}

/// Too many parts with the texts beside each other joined, and of how many parts each is made.
fn joined(parts: Vec<MessagePart>) -> Vec<(MessagePart, usize)> {
    if parts.len() <= MOST_PARTS {
        return parts.into_iter().map(|part| (part, 1)).collect();
    }
    let mut joined: Vec<(MessagePart, usize)> = Vec::new();
    for part in parts {
        match (joined.last_mut(), part) {
            (Some((MessagePart::Text(before), of)), MessagePart::Text(text)) => {
                if !text.is_empty() && !before.is_empty() {
                    before.push('\n');
                }
                before.push_str(&text);
                *of += 1;
            }
            (_, part) => joined.push((part, 1)),
        }
    }
    joined
}

/// What a part takes where it is written down, in bytes.
fn written(part: &MessagePart) -> usize {
    serde_json::to_vec(part).map_or(0, |json| json.len())
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
    use crate::json::Json;

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

    fn output(parts: impl IntoIterator<Item = MessagePart>, most: usize) -> Vec<MessagePart> {
        match shortened_output(ToolContent::Parts(parts.into_iter().collect()), most) {
            ToolContent::Parts(parts) => parts,
            ToolContent::Text(_) => panic!("parts stay parts"),
        }
    }

    fn picture() -> MessagePart {
        MessagePart::File(FileRef { media_type: "image/png".into(), name: None, artifact: None, url: None })
    }

    #[test]
    fn a_result_in_many_parts_is_kept_in_few_and_says_what_is_left_out() {
        let few: Vec<MessagePart> = (0..MOST_PARTS).map(|n| MessagePart::text(n.to_string())).collect();
        assert_eq!(output(few.clone(), 1 << 20), few, "so many may stay");

        let short = output((0..200_000).map(|n| MessagePart::text(format!("part {n}"))), 4_000);
        let [MessagePart::Text(text)] = short.as_slice() else { panic!("{} parts", short.len()) };
        assert!(text.starts_with("part 0\npart 1\n") && text.ends_with("\npart 199999") && text.len() < 4_200);
        assert!(text.contains(" bytes are left out, and were not kept"), "{text}");

        assert_eq!(output((0..1_000_000).map(|_| MessagePart::text("")), 1_000), [MessagePart::text("")]);

        let mixed = (0..1_000).map(|n| if n % 2 == 0 { MessagePart::text("beside") } else { picture() });
        let kept = output(mixed, 1 << 20);
        assert_eq!((kept.len(), kept[1].clone()), (MOST_PARTS + 1, picture()));
        assert_eq!(kept[MOST_PARTS], MessagePart::text("[… 872 parts are left out, and were not kept …]"));
    }

    #[test]
    fn a_part_takes_of_a_result_what_it_takes_where_it_is_written_down() {
        // Seven bytes of words, and about 30 with what is written around them.
        let kept = output((0..100).map(|n| MessagePart::text(format!("part {n:02}"))), 1_000);
        assert!((25..40).contains(&kept.len()), "{}", kept.len());
        let gone = 101 - kept.len();
        let last = kept.last().unwrap();
        assert_eq!(*last, MessagePart::text(format!("[… {gone} parts are left out, and were not kept …]")));
        let large =
            MessagePart::Custom(Json::parse(&format!(r#"{{"type":"x","a":"{}"}}"#, "y".repeat(2_000))).unwrap());
        let kept = output([MessagePart::text("first"), large, picture()], 1_000);
        assert_eq!(kept[1..], [MessagePart::text("[… 2 parts are left out, and were not kept …]")]);
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
