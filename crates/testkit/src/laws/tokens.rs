//! Laws of a counter of tokens: it may be exact or a guess, and it always says the same and leaves nothing out.
//!
//! Must not know: any tokenizer.

use sessions_domain::{FileRef, Json, Message, MessageMetadata, MessagePart, MessageRole, ToolContent, ToolResult};
use sessions_ports::TokenCounter;

use crate::suite::{Exception, Outcome};

/// A text of so many different words.
fn words(count: usize) -> String {
    (0..count).map(|n| format!("word{n}")).collect::<Vec<_>>().join(" ")
}

fn empty() -> Message {
    Message { role: MessageRole::User, parts: Vec::new(), metadata: MessageMetadata::default() }
}

/// A part of each kind, each with much in it.
fn parts() -> Result<Vec<MessagePart>, Exception> {
    let long = words(500);
    let json = format!("{{\"type\":\"of-nobody\",\"text\":\"{long}\"}}");
    let parsed = Json::parse(&json).map_err(|error| Exception::broken(error.to_string()))?;
    let call =
        MessagePart::tool_call("call-1", "read_file", &json).map_err(|error| Exception::broken(error.to_string()))?;
    let result = |content| ToolResult { call_id: "call-1".to_owned(), content, is_error: false };
    let url = Some(format!("https://example.org/{}", long.replace(' ', "/")));
    Ok(vec![
        MessagePart::text(long.clone()),
        MessagePart::Reasoning { text: long.clone(), signature: None },
        call,
        MessagePart::ToolResult(result(ToolContent::Text(long.clone()))),
        MessagePart::ToolResult(result(ToolContent::Parts(vec![MessagePart::text(long.clone())]))),
        MessagePart::File(FileRef { media_type: "image/png".to_owned(), name: None, artifact: None, url }),
        MessagePart::Error { message: long, code: None },
        MessagePart::Custom(parsed),
    ])
}

/// The same message has the same count, each time and for everybody.
pub async fn a_message_has_one_count(counter: &dyn TokenCounter) -> Outcome {
    for message in [empty(), Message::user(words(300)), parts()?.into_iter().fold(empty(), Message::with)] {
        let count = counter.count(&message);
        let again = std::thread::scope(|scope| {
            let ask = || (0..20).all(|_| counter.count(&message.clone()) == count);
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().all(|thread| thread.join().unwrap_or(false))
        });
        ensure!(again, "a message of {} parts had {count} tokens, and then another number", message.parts.len());
    }
    Ok(())
}

/// A message with one part more has no fewer tokens.
pub async fn more_parts_are_not_fewer_tokens(counter: &dyn TokenCounter) -> Outcome {
    let (mut message, mut before) = (empty(), counter.count(&empty()));
    for _ in 0..3 {
        for part in parts()? {
            let kind = part.type_name();
            message = message.with(part);
            let count = counter.count(&message);
            ensure!(count >= before, "{count} tokens with a part {kind} more, and {before} before");
            before = count;
        }
    }
    Ok(())
}

/// A long text has more tokens than a short one.
pub async fn a_long_text_has_more_than_a_short_one(counter: &dyn TokenCounter) -> Outcome {
    let counts: Vec<u64> = [1, 50, 2_000, 20_000].map(|n| counter.count(&Message::user(words(n)))).to_vec();
    ensure!(
        counts.iter().zip(counts.iter().skip(1)).all(|(a, b)| a < b),
        "1, 50, 2 000 and 20 000 words have {counts:?} tokens"
    );
    Ok(())
}

/// No kind of part is left out.
pub async fn every_kind_of_part_counts(counter: &dyn TokenCounter) -> Outcome {
    let without = counter.count(&empty());
    for part in parts()? {
        let kind = part.type_name();
        let count = counter.count(&empty().with(part));
        ensure!(count > without, "a message with a part {kind} has {count} tokens, and one without any {without}");
    }
    Ok(())
}
