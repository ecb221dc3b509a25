//! The script of a demonstration: answers whatever it is asked, and says what it is.
//!
//! Must not know: how an answer is handed on.

use serde_json::{Map, Value, json};
use sessions_domain::{
    MessagePart,
    chain::{sha256, to_hex},
};
use sessions_ports::{ModelRequest, ToolSpec};

use super::scripted::Answer;

/// Characters of what was asked that are repeated.
const REPEATED: usize = 60;
/// The word that makes it call a tool.
const WORD: &str = "tool";

/// What the conversation ends with.
enum Last {
    Asked(String),
    Result(String),
}

/// The answer to a request.
pub(super) fn answer(request: &ModelRequest) -> Answer {
    let say = |text: &str| text.split_inclusive(' ').fold(Answer::new(), Answer::text);
    match last(request.body.messages.as_str()) {
        Last::Result(said) => {
            say(&format!("The tool answered “{}”. I am a script and no model, so this is all.", brief(&said)))
        }
        Last::Asked(asked) if !has_word(&asked) => {
            say(&format!("I am a script and no model. You said: “{}”", brief(&asked)))
        }
        Last::Asked(asked) => match tool(&asked, &request.tools) {
            None => say("I am a script and no model, and there is no tool that I could call."),
            Some(tool) => {
                // The same request has the same id, and no other in the conversation has.
                let id: String = to_hex(&sha256(request.body.messages.as_str().as_bytes())).chars().take(16).collect();
                let input = input(tool, &brief(&asked)).to_string();
                let answer = say(&format!("I am a script and no model. I call {}.", tool.name));
                match MessagePart::tool_call(format!("demo-{id}"), &tool.name, &input) {
                    Ok(call) => answer.part(call),
                    Err(_) => answer,
                }
            }
        },
    }
}

/// Finds the end of the conversation, whatever its form.
fn last(messages: &str) -> Last {
    let messages: Vec<Value> = serde_json::from_str(messages).unwrap_or_default();
    let Some(last) = messages.last() else { return Last::Asked(String::new()) };
    let content = last.get("content").or_else(|| last.get("parts")).unwrap_or(&Value::Null);
    let is_result = |block: &&Value| {
        let kind = block.get("type").and_then(Value::as_str);
        matches!(kind, Some("tool_result" | "tool-result"))
    };
    let result = content.as_array().into_iter().flatten().rfind(is_result);
    let is_tool = last.get("role").and_then(Value::as_str) == Some("tool");
    match result {
        Some(result) => Last::Result(words(result.get("content").unwrap_or(&Value::Null))),
        None if is_tool => Last::Result(words(content)),
        None => Last::Asked(words(content)),
    }
}

/// The text of a content: a text, or the texts of its parts.
fn words(content: &Value) -> String {
    let text = |part: &Value| part.get("text").and_then(Value::as_str).map(str::to_owned);
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(text).collect::<Vec<_>>().join(" "),
        _ => String::new(),
    }
}

fn brief(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(REPEATED) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

fn has_word(text: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric()).any(|word| word.eq_ignore_ascii_case(WORD))
}

/// The tool that the text names, else the first.
fn tool<'a>(text: &str, tools: &'a [ToolSpec]) -> Option<&'a ToolSpec> {
    tools.iter().find(|tool| text.contains(&tool.name)).or_else(|| tools.first())
}

/// An input with all that the tool's schema requires.
fn input(tool: &ToolSpec, text: &str) -> Value {
    let schema: Value = tool.input_schema.decode().unwrap_or_default();
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    let value = |name: &str| {
        let property = schema.get("properties").and_then(|all| all.get(name)).unwrap_or(&Value::Null);
        if let Some(first) = property.get("enum").and_then(Value::as_array).and_then(|values| values.first()) {
            return first.clone();
        }
        match property.get("type").and_then(Value::as_str) {
            Some("integer" | "number") => json!(1),
            Some("boolean") => json!(true),
            Some("array") => json!([]),
            Some("object") => json!({}),
            _ => json!(text),
        }
    };
    let entries = required.filter_map(Value::as_str).map(|name| (name.to_owned(), value(name)));
    Value::Object(entries.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use sessions_domain::{Json, Message, form::Form};

    use super::{
        super::{scripted::ScriptedProvider, tests::*},
        *,
    };

    fn text(parts: &[MessagePart]) -> String {
        parts.iter().filter_map(|part| if let MessagePart::Text(text) = part { Some(&**text) } else { None }).collect()
    }

    #[tokio::test]
    async fn it_says_that_it_is_a_script_and_what_it_was_asked_in_every_form() {
        for form in [Form::Neutral, Form::OpenAi, Form::Anthropic] {
            let asked = request_of(&[Message::user("Why does E0502 happen?")], form, vec![]);
            let (answer, parts) = ask(&ScriptedProvider::demo(), asked).await;
            assert_eq!(text(&parts), "I am a script and no model. You said: “Why does E0502 happen?”", "{form:?}");
            assert!(answer.is_ok());
        }
        let long = request(&"a long question ".repeat(100), &[]);
        assert!(text(&ask(&ScriptedProvider::demo(), long).await.1).len() < 200);
    }

    #[tokio::test]
    async fn it_calls_a_tool_when_asked_to_and_reads_what_that_says() {
        let schema = r#"{"type":"object","properties":{"path":{"type":"string"},"lines":{"type":"integer"}},"required":["path","lines"]}"#;
        let spec = |name: &str| ToolSpec {
            name: name.into(),
            description: String::new(),
            input_schema: Json::parse(schema).unwrap(),
        };
        for form in [Form::Neutral, Form::OpenAi, Form::Anthropic] {
            let mut messages = vec![Message::user("Call the tool read_file, please")];
            let asked = request_of(&messages, form, vec![spec("ls"), spec("read_file")]);
            let (_, parts) = ask(&ScriptedProvider::demo(), asked).await;
            let Some(MessagePart::ToolCall(call)) = parts.last() else { panic!("{parts:?}") };
            assert_eq!(call.name, "read_file");
            let input = r#"{"lines":1,"path":"Call the tool read_file, please"}"#;
            assert_eq!(call.input.decode::<Value>().unwrap(), serde_json::from_str::<Value>(input).unwrap());
            let id = call.call_id.clone();
            let answer = Message { parts: parts.clone(), ..Message::assistant("") };
            messages.extend([answer, Message::tool_result(id, "fn main() {}")]);
            let asked = request_of(&messages, form, vec![spec("read_file")]);
            let (_, parts) = ask(&ScriptedProvider::demo(), asked).await;
            assert!(text(&parts).starts_with("The tool answered “fn main() {}”."), "{form:?}: {parts:?}");
        }
        let (_, parts) = ask(&ScriptedProvider::demo(), request("tool", &[])).await;
        assert!(text(&parts).ends_with("no tool that I could call."));
        let (_, parts) = ask(&ScriptedProvider::demo(), request("a toolbox", &["ls"])).await;
        assert_eq!(parts.len(), 1);
    }
}
