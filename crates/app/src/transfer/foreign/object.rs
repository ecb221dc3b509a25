//! JSON objects as they are written: fields in the order they are given, and JSON of others to the letter.
//!
//! Must not know: formats.

use serde::Serialize;

/// An object in the making.
pub(in super::super) struct Object(String);

impl Object {
    pub(in super::super) fn new() -> Self {
        Self("{".to_owned())
    }

    /// With a field of any value.
    pub(in super::super) fn put(self, name: &str, value: &(impl Serialize + ?Sized)) -> Self {
        self.raw(name, &text_of(value))
    }

    /// With a field, when there is something to say.
    pub(in super::super) fn maybe(self, name: &str, value: Option<&(impl Serialize + ?Sized)>) -> Self {
        match value {
            Some(value) => self.put(name, value),
            None => self,
        }
    }

    /// With a field whose value is JSON already.
    pub(in super::super) fn raw(mut self, name: &str, json: &str) -> Self {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(&text_of(name));
        self.0.push(':');
        self.0.push_str(json);
        self
    }

    /// The object's text.
    pub(in super::super) fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// A list of values that are JSON already.
pub(in super::super) fn list(values: &[String]) -> String {
    format!("[{}]", values.join(","))
}

/// A value as JSON. What is written here are texts, numbers and JSON that was read from text, which all have a form.
pub(in super::super) fn text_of(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}
