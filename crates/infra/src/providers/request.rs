//! What is sent: the body of a request in each of the two forms. Messages, instructions, schemas and a host's parameters stay to the letter.
//!
//! Must not know: where it is sent.

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::value::{RawValue, to_raw_value};
use sessions_domain::Json;
use sessions_ports::{ModelError, ModelRequest, ToolSpec};

use super::decoder::{Object, Wire};

/// What a host's parameters cannot change: what is said is the session's, and the answer has to come as it is read.
const OURS: [&str; 4] = ["messages", "model", "stream", "system"];

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    description: &'a str,
    parameters: &'a Json,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Tool<'a> {
    OpenAi {
        #[serde(rename = "type")]
        kind: &'static str,
        function: Function<'a>,
    },
    Anthropic {
        name: &'a str,
        description: &'a str,
        input_schema: &'a Json,
    },
    AsItCame(&'a RawValue),
}

impl<'a> Tool<'a> {
    fn of(tool: &'a ToolSpec, wire: Wire) -> Self {
        let ToolSpec { name, description, input_schema } = tool;
        match wire {
            Wire::OpenAi => {
                Self::OpenAi { kind: "function", function: Function { name, description, parameters: input_schema } }
            }
            Wire::Anthropic => Self::Anthropic { name, description, input_schema },
        }
    }
}

struct Body<'a>(Vec<(&'a str, Box<RawValue>)>);

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

fn raw(value: &impl Serialize) -> Result<Box<RawValue>, ModelError> {
    to_raw_value(value).map_err(|_| ModelError::Unsupported { what: "a part of the request is no JSON" })
}

/// The bytes of a request's body. `limit` is how the provider calls the longest answer.
pub(super) fn body(request: &ModelRequest, wire: Wire, limit: &str) -> Result<Vec<u8>, ModelError> {
    let given = match &request.parameters {
        None => Object(Vec::new()),
        Some(json) => json.decode().map_err(|_| ModelError::Unsupported { what: "parameters that are no object" })?,
    };
    if given.0.iter().any(|(name, _)| OURS.contains(&name.as_str())) {
        return Err(ModelError::Unsupported { what: "parameters that say messages, model, stream or system" });
    }
    let mut entries = vec![("model", raw(&request.profile.name)?)];
    if let Some(system) = &request.body.system {
        entries.push(("system", raw(system)?));
    }
    entries.extend([
        ("messages", raw(&request.body.messages)?),
        (limit, raw(&request.max_output)?),
        ("stream", raw(&true)?),
    ]);
    if wire == Wire::OpenAi {
        entries.push(("stream_options", raw(&serde_json::json!({"include_usage": true}))?));
    }
    let more = given.0.iter().find(|(name, _)| name == "tools");
    let more: Vec<&RawValue> = match more {
        None => Vec::new(),
        Some((_, tools)) => serde_json::from_str(tools.get())
            .map_err(|_| ModelError::Unsupported { what: "parameters whose tools are no list" })?,
    };
    let tools = request.tools.iter().map(|tool| Tool::of(tool, wire)).chain(more.into_iter().map(Tool::AsItCame));
    let tools: Vec<Tool<'_>> = tools.collect();
    if !tools.is_empty() {
        entries.push(("tools", raw(&tools)?));
    }
    for (name, value) in given.0.iter().filter(|(name, _)| name != "tools") {
        entries.retain(|(found, _)| *found != name.as_str());
        if value.get() != "null" {
            entries.push((name.as_str(), (*value).to_owned()));
        }
    }
    serde_json::to_vec(&Body(entries)).map_err(|_| ModelError::Unsupported { what: "a part of the request is no JSON" })
}

#[cfg(test)]
mod tests {
    use sessions_domain::{Message, form::Form};

    use super::{super::tests::*, *};

    fn sent(request: &ModelRequest, wire: Wire) -> Result<String, ModelError> {
        body(request, wire, "max_tokens").map(|body| String::from_utf8(body).unwrap())
    }

    #[test]
    fn what_is_sent_is_what_was_given_to_the_letter() {
        let mut openai = request("a", &["t"]);
        let messages = r#"[{"role":"user","content":"é\u00e9","n":1.0,"big":12345678901234567890123,"f":1e2}]"#;
        openai.body.messages = Json::parse(messages).unwrap();
        openai.parameters = Some(
            Json::parse(
                r#"{"temperature":0.10,"max_tokens":null,"max_completion_tokens":7,"tools":[{"type":"x","v":1.0}]}"#,
            )
            .unwrap(),
        );
        let expected = format!(
            r#"{{"model":"m","messages":{messages},"stream":true,"stream_options":{{"include_usage":true}},"tools":[{{"type":"function","function":{{"name":"t","description":"d","parameters":{{"type":"object"}}}}}},{{"type":"x","v":1.0}}],"temperature":0.10,"max_completion_tokens":7}}"#
        );
        assert_eq!(sent(&openai, Wire::OpenAi).unwrap(), expected);

        let anthropic = request_of(&[Message::system("Be brief."), Message::user("a")], Form::Anthropic, vec![]);
        let sent = sent(&anthropic, Wire::Anthropic).unwrap();
        let system = anthropic.body.system.as_ref().unwrap().as_str();
        let messages = anthropic.body.messages.as_str();
        assert_eq!(
            sent,
            format!(r#"{{"model":"m","system":{system},"messages":{messages},"max_tokens":100,"stream":true}}"#)
        );
    }

    #[test]
    fn parameters_cannot_say_what_is_ours() {
        for (parameters, is_taken) in [
            (r#"{"top_p":1}"#, true),
            (r#"{"messages":[]}"#, false),
            (r#"{"model":"other"}"#, false),
            (r#"{"stream":false}"#, false),
            (r#"{"system":"x"}"#, false),
            ("[]", false),
            (r#"{"tools":{}}"#, false),
        ] {
            let request = ModelRequest { parameters: Some(Json::parse(parameters).unwrap()), ..request("a", &[]) };
            assert_eq!(sent(&request, Wire::OpenAi).is_ok(), is_taken, "{parameters}");
        }
    }
}
