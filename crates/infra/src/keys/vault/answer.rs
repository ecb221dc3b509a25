//! What an answer of the key service means.
//!
//! The API has no codes of its own: what a person reads in `errors` is all that tells a retired key from a wrong one, so it is looked at.
//! None of it is passed on.
//!
//! Must not know: how the answer came.

use std::time::Duration;

use serde::Deserialize;
use sessions_ports::{KeyError, ProviderKind};

/// Why a request came to nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// Asking again would be in vain.
    Final(KeyError),
    /// It may be better the next time.
    Passing(Passing),
}

/// What passes.
#[derive(Debug)]
pub(super) enum Passing {
    /// It took too long.
    TimedOut,
    /// There is nobody, or it has too much to do.
    Unavailable {
        /// What happened.
        what: String,
        /// When to ask again, as the service says.
        retry_after: Option<Duration>,
    },
}

/// A failure that stays.
pub(super) fn nonsense(what: &'static str) -> Failure {
    Failure::Final(KeyError::Nonsense { what })
}

/// A failure that may pass.
pub(super) fn unavailable(what: impl Into<String>) -> Failure {
    Failure::Passing(Passing::Unavailable { what: what.into(), retry_after: None })
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<String>,
}

/// What the words of an answer say of the key.
fn said_of_key(errors: &[String], key: &str) -> Option<KeyError> {
    let has = |words: &[&str]| errors.iter().any(|error| words.iter().any(|word| error.contains(word)));
    let key = key.to_owned();
    if has(&["(too old)", "soft-deleted", "soft deleted"]) {
        return Some(KeyError::Retired { key });
    }
    if has(&["encryption key not found", "policy not found"]) {
        return Some(KeyError::Destroyed { key });
    }
    if has(&["invalid ciphertext", "unable to decrypt", "could not decrypt", "message authentication failed"]) {
        return Some(KeyError::WrongKey { kind: ProviderKind::Service });
    }
    None
}

/// Looks at an answer's status; what is no success is told by its words.
pub(super) fn judge(status: u16, body: &[u8], retry_after: Option<Duration>, key: &str) -> Result<(), Failure> {
    if (200..300).contains(&status) {
        return Ok(());
    }
    let errors = serde_json::from_slice::<Errors>(body).ok().map(|errors| errors.errors);
    if let Some(error) = errors.as_deref().and_then(|errors| said_of_key(errors, key)) {
        return Err(Failure::Final(error));
    }
    let key = || key.to_owned();
    Err(match (status, errors) {
        (401 | 403, _) => Failure::Final(KeyError::Denied { key: key() }),
        // A path below the engine is there, and the key is not; without the engine there are words.
        (404, Some(errors)) if errors.is_empty() => Failure::Final(KeyError::Destroyed { key: key() }),
        (404, Some(_)) => nonsense("there is no transit engine at this mount"),
        (404, None) => nonsense("there is no key service"),
        (300..=399, _) => nonsense("it sends to another place, where nobody follows"),
        (408 | 412 | 425 | 429 | 472 | 473 | 500.., _) => {
            Failure::Passing(Passing::Unavailable { what: format!("status {status}"), retry_after })
        }
        _ => nonsense("it refuses the request"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, body: &str) -> String {
        match judge(status, body.as_bytes(), Some(Duration::from_secs(7)), "transit/k:v1") {
            Ok(()) => "fine".to_owned(),
            Err(Failure::Final(KeyError::Retired { .. })) => "retired".to_owned(),
            Err(Failure::Final(KeyError::Destroyed { .. })) => "destroyed".to_owned(),
            Err(Failure::Final(KeyError::Denied { .. })) => "denied".to_owned(),
            Err(Failure::Final(KeyError::WrongKey { .. })) => "wrong".to_owned(),
            Err(Failure::Final(KeyError::Nonsense { .. })) => "nonsense".to_owned(),
            Err(Failure::Passing(Passing::Unavailable { retry_after: Some(_), .. })) => "passing".to_owned(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn what_the_service_says_is_understood() {
        for (status, body, expected) in [
            (200, "{}", "fine"),
            (204, "", "fine"),
            (400, r#"{"errors":["ciphertext or signature version is disallowed by policy (too old)"]}"#, "retired"),
            (
                500,
                r#"{"errors":["1 error occurred:\n\t* ciphertext version is disallowed by policy (too old)\n"]}"#,
                "retired",
            ),
            (400, r#"{"errors":["encryption key not found"]}"#, "destroyed"),
            (400, r#"{"errors":["policy not found"]}"#, "destroyed"),
            (404, r#"{"errors":[]}"#, "destroyed"),
            (404, r#"{"errors":["no handler for route \"other/decrypt/k\". route entry not found."]}"#, "nonsense"),
            (404, "<html>not found</html>", "nonsense"),
            (404, "", "nonsense"),
            (403, r#"{"errors":["permission denied"]}"#, "denied"),
            (403, "<html>a proxy</html>", "denied"),
            (401, "", "denied"),
            (400, r#"{"errors":["invalid ciphertext: unable to decrypt"]}"#, "wrong"),
            (400, r#"{"errors":["invalid ciphertext: version is too new"]}"#, "wrong"),
            (500, r#"{"errors":["cipher: message authentication failed"]}"#, "wrong"),
            (400, r#"{"errors":["something else"]}"#, "nonsense"),
            (400, r#"{"errors":"text"}"#, "nonsense"),
            (405, r#"{"errors":["unsupported operation"]}"#, "nonsense"),
            (307, "", "nonsense"),
            (100, "", "nonsense"),
            (429, r#"{"errors":["request path rate limit quota exceeded"]}"#, "passing"),
            (412, "", "passing"),
            (473, "", "passing"),
            (500, r#"{"errors":["internal error"]}"#, "passing"),
            (502, "<html>bad gateway</html>", "passing"),
            (503, r#"{"errors":["Vault is sealed"]}"#, "passing"),
        ] {
            assert_eq!(said(status, body), expected, "{status} {body}");
        }
    }
}
