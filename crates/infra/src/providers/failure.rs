//! What a refusal means: statuses, codes and, where there are none, words. Of what was said nothing is handed on but codes of a fixed form.
//!
//! A request that is too long has no code of its own at most providers, so their sentences are looked for. The list is that of what Anthropic, OpenAI,
//! Gemini, xAI, Groq, OpenRouter, Bedrock, llama.cpp, LM Studio, Moonshot and MiniMax were seen to say.
//!
//! Must not know: how an answer came.

use std::time::Duration;

use serde_json::Value;
use sessions_ports::{ModelError, RefusalReason};

/// What says that the request is longer than the window, in small letters.
const TOO_LONG: [&str; 17] = [
    "prompt is too long",
    "input is too long",
    "exceeds the context window",
    "exceed context limit",
    "context_length_exceeded",
    "context length exceeded",
    "exceed_context_size",
    "maximum context length",
    "maximum prompt length",
    "reduce the length of the messages",
    "exceeds the available context size",
    "greater than the context length",
    "context window exceeds limit",
    "exceeded model token limit",
    "token limit exceeded",
    "model_context_window_exceeded",
    "prompt token count of",
];
/// What says that nothing is left that was paid for.
const QUOTA: [&str; 6] = [
    "insufficient_quota",
    "billing_hard_limit",
    "billing_error",
    "credit balance is too low",
    "insufficient_balance",
    "insufficient balance",
];
/// What says that it is the address that is wrong, and not the model.
const NO_PATH: [&str; 3] = ["invalid url", "unknown url", "no route"];
const UNKNOWN_MODEL: [&str; 3] = ["model_not_found", "unknown model", "model does not exist"];

/// The words of an error, whatever its shape, in small letters.
#[derive(Default)]
struct Words {
    /// Type and code.
    codes: String,
    message: String,
    /// A code that is a status of HTTP.
    status: Option<u16>,
    reason: Option<RefusalReason>,
    is_error: bool,
}

impl Words {
    fn of(body: &[u8]) -> Self {
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return Self::default() };
        let body = body.as_array().and_then(|list| list.first()).unwrap_or(&body);
        let error = body.get("error").unwrap_or(body);
        let mut words = Self { is_error: error.is_string(), ..Self::default() };
        if let Some(text) = error.as_str() {
            words.message = text.to_lowercase();
        }
        for name in ["type", "code", "status"] {
            match error.get(name) {
                Some(Value::String(code)) => words.codes.push_str(&format!("{} ", code.to_lowercase())),
                Some(Value::Number(code)) => words.status = code.as_u64().and_then(|code| u16::try_from(code).ok()),
                _ => continue,
            }
            words.is_error = true;
        }
        let names = ["type", "code", "status", "param"].into_iter();
        words.reason = RefusalReason::of(names.filter_map(|name| error.get(name).and_then(Value::as_str)));
        if let Some(message) = error.get("message").and_then(Value::as_str) {
            words.message = message.to_lowercase();
            words.is_error = true;
        }
        words
    }

    fn say(&self, any: &[&str]) -> bool {
        any.iter().any(|words| self.codes.contains(words) || self.message.contains(words))
    }

    fn is_too_long(&self) -> bool {
        let counts = self.message.contains("input token count") && self.message.contains("exceeds the maximum");
        counts || self.say(&TOO_LONG)
    }

    /// What the words alone say.
    fn meaning(&self, retry_after: Option<Duration>) -> Option<ModelError> {
        let has = |code: &str| self.codes.contains(code);
        let is_spent = self.message.contains("exceeded your current quota") && retry_after.is_none();
        Some(if self.say(&QUOTA) || (is_spent && !has("resource_exhausted")) {
            ModelError::Quota
        } else if has("rate_limit") || has("resource_exhausted") || has("slow_down") {
            ModelError::RateLimited { retry_after }
        } else if self.is_too_long() {
            ModelError::TooLong
        } else if has("overloaded") || has("unavailable") {
            ModelError::Overloaded { retry_after }
        } else if has("authentication_error") || has("permission") || has("invalid_api_key") {
            ModelError::Denied
        } else if self.say(&UNKNOWN_MODEL) || has("not_found") {
            ModelError::UnknownModel
        } else if self.message.contains("does not support tools") {
            ModelError::Unsupported { what: "the model calls no tools" }
        } else {
            return None;
        })
    }
}

/// A request that was answered with another status than 200.
pub(super) fn refused(status: u16, body: &[u8], retry_after: Option<Duration>) -> ModelError {
    let words = Words::of(body);
    let refused = ModelError::Refused { status, reason: words.reason };
    match (status, words.meaning(retry_after)) {
        (402, _) => ModelError::Quota,
        (401 | 403, Some(ModelError::Quota)) => ModelError::Quota,
        (401 | 403, _) => ModelError::Denied,
        (413, _) => ModelError::TooLong,
        (429, Some(ModelError::Quota)) => ModelError::Quota,
        (429, _) => ModelError::RateLimited { retry_after },
        // The path is not there: an address that lacks its /v1, say.
        (404, _) if words.say(&NO_PATH) => refused,
        // Nor is it without an error of theirs.
        (404, None) if words.is_error => ModelError::UnknownModel,
        (503 | 529, None) => ModelError::Overloaded { retry_after },
        (500.., None) if retry_after.is_some() => ModelError::Overloaded { retry_after },
        (_, Some(meaning)) => meaning,
        (_, None) => refused,
    }
}

/// An error within an answer that had begun well.
pub(super) fn within(data: &str) -> ModelError {
    let words = Words::of(data.as_bytes());
    match (words.meaning(None), words.status) {
        (Some(meaning), _) => meaning,
        (None, Some(status @ 400..)) => match refused(status, b"", None) {
            ModelError::Refused { status, .. } => ModelError::Refused { status, reason: words.reason },
            other => other,
        },
        (None, _) if words.codes.contains("invalid_request") => {
            ModelError::Refused { status: 400, reason: words.reason }
        }
        (None, _) => ModelError::Broken { what: "the provider told of an error within it" },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_mean_what_their_providers_say() {
        let wait = Some(Duration::from_secs(7));
        let limited = ModelError::RateLimited { retry_after: wait };
        let overloaded = ModelError::Overloaded { retry_after: wait };
        let invalid = RefusalReason::of(["invalid_request_error"]);
        for (status, body, expected) in [
            (429, r#"{"error":{"type":"rate_limit_error","message":"x"}}"#, limited),
            (429, "<html>", limited),
            (429, r#"{"error":{"code":"insufficient_quota","type":"insufficient_quota"}}"#, ModelError::Quota),
            (
                400,
                r#"{"error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}"#,
                ModelError::Quota,
            ),
            (402, "", ModelError::Quota),
            (401, r#"{"error":{"code":"invalid_api_key"}}"#, ModelError::Denied),
            (403, "", ModelError::Denied),
            (404, r#"{"error":{"code":"model_not_found","message":"x"}}"#, ModelError::UnknownModel),
            (
                404,
                r#"{"type":"error","error":{"type":"not_found_error","message":"model: x"}}"#,
                ModelError::UnknownModel,
            ),
            (404, r#"{"error":"model 'x' not found"}"#, ModelError::UnknownModel),
            (404, "404 page not found", ModelError::Refused { status: 404, reason: None }),
            (
                404,
                r#"{"error":{"message":"Invalid URL (POST /chat/completions)","type":"invalid_request_error","code":null}}"#,
                ModelError::Refused { status: 404, reason: invalid },
            ),
            (413, "", ModelError::TooLong),
            (
                400,
                r#"{"error":{"message":"does not support tools"}}"#,
                ModelError::Unsupported { what: "the model calls no tools" },
            ),
            (400, r#"{"error":{"message":"no"}}"#, ModelError::Refused { status: 400, reason: None }),
            (
                400,
                r#"{"error":{"message":"no","type":"invalid_request_error","code":"unsupported_value","param":"messages[0].role"}}"#,
                ModelError::Refused {
                    status: 400,
                    reason: RefusalReason::of(["invalid_request_error", "unsupported_value", "messages[0].role"]),
                },
            ),
            (
                400,
                r#"{"error":{"type":"invalid_request_error","code":"You said: hunter2","param":5}}"#,
                ModelError::Refused { status: 400, reason: invalid },
            ),
            (529, r#"{"error":{"type":"overloaded_error"}}"#, overloaded),
            (503, "", overloaded),
            (500, "", overloaded),
            (302, "", ModelError::Refused { status: 302, reason: None }),
        ] {
            assert_eq!(refused(status, body.as_bytes(), wait), expected, "{status} {body}");
        }
        assert_eq!(refused(500, b"", None), ModelError::Refused { status: 500, reason: None });
        let spent = br#"{"error":{"message":"You exceeded your current quota, please check your plan"}}"#;
        assert_eq!(refused(429, spent, None), ModelError::Quota);
        assert_eq!(refused(429, spent, wait), limited);
    }

    #[test]
    fn a_request_that_is_too_long_is_known_at_every_provider() {
        for message in [
            "prompt is too long: 213462 tokens > 200000 maximum",
            "input length and `max_tokens` exceed context limit: 199211 + 20000 > 200000",
            "Your input exceeds the context window of this model",
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 8545 tokens.",
            "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575)",
            "This model's maximum prompt length is 131072 but the request contains 537812 tokens",
            "Please reduce the length of the messages or completion",
            "the request exceeds the available context size, try increasing it",
            "tokens to keep from the initial prompt is greater than the context length",
            "invalid params, context window exceeds limit",
            "Your request exceeded model token limit: 1 (requested: 2)",
            "Input is too long for requested model.",
        ] {
            let body = serde_json::json!({"error": {"message": message, "type": "invalid_request_error"}}).to_string();
            assert_eq!(refused(400, body.as_bytes(), None), ModelError::TooLong, "{message}");
            assert_eq!(within(&body), ModelError::TooLong, "{message}");
        }
        let code = r#"{"error":{"code":"context_length_exceeded"}}"#;
        assert_eq!(refused(400, code.as_bytes(), None), ModelError::TooLong);
        let many = r#"{"error":{"type":"rate_limit_error","message":"prompt is too long for your tokens per minute"}}"#;
        assert_eq!(refused(429, many.as_bytes(), None), ModelError::RateLimited { retry_after: None });
    }

    #[test]
    fn errors_within_an_answer_are_told_apart() {
        let broken = ModelError::Broken { what: "the provider told of an error within it" };
        for (data, expected) in [
            (r#"{"type":"error","error":{"type":"overloaded_error"}}"#, ModelError::Overloaded { retry_after: None }),
            (r#"{"type":"error","error":{"type":"rate_limit_error"}}"#, ModelError::RateLimited { retry_after: None }),
            (r#"{"type":"error","error":{"type":"api_error","message":"x"}}"#, broken),
            (r#"{"error":{"code":502,"message":"x"}}"#, ModelError::Refused { status: 502, reason: None }),
            (r#"{"error":{"code":429,"message":"x"}}"#, ModelError::RateLimited { retry_after: None }),
            (r#"{"error":"something"}"#, broken),
            (
                r#"{"error":{"type":"invalid_request_error"}}"#,
                ModelError::Refused { status: 400, reason: RefusalReason::of(["invalid_request_error"]) },
            ),
            ("no JSON", broken),
        ] {
            assert_eq!(within(data), expected, "{data}");
        }
    }
}
