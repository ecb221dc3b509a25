//! Calls of tools that go round in circles: the same tool with the same input, over and over.
//!
//! Must not know: what a tool does, or what becomes of a call.

use std::collections::VecDeque;

use serde_json::Value;

use crate::message::ToolCall;

/// So many calls are looked back over.
const WINDOW: usize = 10;
/// So many of them may not be the same.
const MOST: usize = 3;

/// The last calls of a turn.
#[derive(Clone, Debug, Default)]
pub struct Repeats {
    last: VecDeque<(String, Value)>,
}

impl Repeats {
    /// Takes in a call. `true`: it is the third of its kind among the last ten. The order of an object's entries makes no difference.
    pub fn is_third(&mut self, call: &ToolCall) -> bool {
        // What cannot be decoded is compared by its text.
        let input = call.input.decode().unwrap_or_else(|_| Value::String(call.input.as_str().to_owned()));
        self.last.push_back((call.name.clone(), input));
        if self.last.len() > WINDOW {
            self.last.pop_front();
        }
        let newest = self.last.back();
        self.last.iter().filter(|earlier| Some(*earlier) == newest).count() >= MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Json;

    fn call(name: &str, input: &str) -> ToolCall {
        ToolCall { call_id: "c".into(), name: name.into(), input: Json::parse(input).unwrap() }
    }

    #[test]
    fn the_third_of_the_same_among_ten_is_one_too_many() {
        let mut repeats = Repeats::default();
        assert!(!repeats.is_third(&call("read", r#"{"path":"a","from":1}"#)));
        assert!(!repeats.is_third(&call("read", r#"{"path":"b","from":1}"#)));
        assert!(!repeats.is_third(&call("read", r#"{"from":1,"path":"a"}"#)));
        assert!(!repeats.is_third(&call("list", r#"{"path":"a","from":1}"#)));
        assert!(repeats.is_third(&call("read", r#"{ "path": "a", "from": 1 }"#)));
    }

    #[test]
    fn what_was_called_long_ago_does_not_count() {
        let mut repeats = Repeats::default();
        for _ in 0..2 {
            assert!(!repeats.is_third(&call("read", "{}")));
        }
        for other in 0..8 {
            assert!(!repeats.is_third(&call("read", &other.to_string())));
        }
        assert!(!repeats.is_third(&call("read", "{}")), "the first of three is the eleventh from the end");
        assert!(!repeats.is_third(&call("read", "[]")));
        let mut repeats = Repeats::default();
        assert!(!repeats.is_third(&call("read", "{}")) && !repeats.is_third(&call("read", "{}")));
        assert!((0..7).all(|other| !repeats.is_third(&call("read", &other.to_string()))));
        assert!(repeats.is_third(&call("read", "{}")), "the first of three is the tenth from the end");
    }
}
