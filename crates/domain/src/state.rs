//! Key-value state beside a conversation: of the session, of a user, of the application, or of this run only.
//!
//! Must not know: where each scope is kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    json::Json,
    metadata::{differences, merge},
};

/// Whose state it is. The scope is written before the key, as in `user:theme`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateScope {
    /// The session's. Its keys have no prefix; `session:` may be written.
    Session,
    /// A user's, in all sessions of the tenant. Deleting a session leaves it.
    User,
    /// The application's, for all users of the tenant. Deleting a session leaves it.
    App,
    /// This run's: never stored.
    Temp,
}

impl StateScope {
    /// The scope's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::User => "user",
            Self::App => "app",
            Self::Temp => "temp",
        }
    }
}

/// A key of state with its scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateKey {
    /// Whose it is.
    pub scope: StateScope,
    /// The key without its scope.
    pub name: String,
}

/// A key that cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a state key has 1 to {} bytes without control characters; name it as in `theme` or `user:theme`",
    StateKey::MAX_BYTES
)]
pub struct InvalidStateKey;

impl StateKey {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 256;

    /// Reads `name`, `session:name`, `user:name`, `app:name` or `temp:name`. Any other prefix is a part of the name.
    ///
    /// # Errors
    /// [`InvalidStateKey`].
    pub fn parse(text: &str) -> Result<Self, InvalidStateKey> {
        let scopes = [StateScope::Session, StateScope::User, StateScope::App, StateScope::Temp];
        let scoped =
            scopes.into_iter().find_map(|scope| Some((scope, text.strip_prefix(scope.as_str())?.strip_prefix(':')?)));
        let (scope, name) = scoped.unwrap_or((StateScope::Session, text));
        if name.is_empty() || name.len() > Self::MAX_BYTES || name.chars().any(char::is_control) {
            return Err(InvalidStateKey);
        }
        Ok(Self { scope, name: name.to_owned() })
    }
}

impl std::fmt::Display for StateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.scope {
            StateScope::Session => f.write_str(&self.name),
            scope => write!(f, "{}:{}", scope.as_str(), self.name),
        }
    }
}

/// Whose log of state a log is, where it is no conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateOwner {
    /// The scope.
    pub scope: StateScope,
    /// The user; empty for the application.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// State changed: `null` for what is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateChange {
    /// The keys that changed, without their scope.
    pub set: BTreeMap<String, Option<Json>>,
}

impl StateChange {
    /// What leads from one state to another; `None`: nothing.
    pub fn between(now: &BTreeMap<String, Json>, then: &BTreeMap<String, Json>) -> Option<Self> {
        let set = differences(now, then);
        (!set.is_empty()).then_some(Self { set })
    }

    /// What of a wish is not so already; `None`: nothing.
    pub fn wished(now: &BTreeMap<String, Json>, wish: &BTreeMap<String, Option<Json>>) -> Option<Self> {
        let mut then = now.clone();
        merge(&mut then, wish);
        then.retain(|_, json| !json.is_null());
        Self::between(now, &then)
    }

    /// Takes the change in.
    pub fn apply_to(&self, state: &mut BTreeMap<String, Json>) {
        merge(state, &self.set);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_scope() {
        for (text, scope, name) in [
            ("theme", StateScope::Session, "theme"),
            ("session:theme", StateScope::Session, "theme"),
            ("user:theme", StateScope::User, "theme"),
            ("app:a:b", StateScope::App, "a:b"),
            ("temp:x", StateScope::Temp, "x"),
            ("users:x", StateScope::Session, "users:x"),
        ] {
            let key = StateKey::parse(text).unwrap();
            assert_eq!((key.scope, key.name.as_str()), (scope, name), "{text}");
            assert_eq!(StateKey::parse(&key.to_string()), Ok(key));
        }
        for text in ["", "user:", "a\nb", &"k".repeat(257)] {
            assert_eq!(StateKey::parse(text), Err(InvalidStateKey));
        }
    }

    #[test]
    fn a_wish_that_is_so_already_changes_nothing() {
        let json = |text: &str| Json::parse(text).unwrap();
        let now = BTreeMap::from([("a".to_owned(), json("1"))]);
        let wish = |key: &str, value: Option<&str>| BTreeMap::from([(key.to_owned(), value.map(json))]);
        assert_eq!(StateChange::wished(&now, &wish("a", Some("1"))), None);
        assert_eq!(StateChange::wished(&now, &wish("b", None)), None);
        let gone = StateChange::wished(&now, &wish("a", Some("null"))).unwrap();
        assert_eq!(serde_json::to_string(&gone).unwrap(), r#"{"set":{"a":null}}"#);
        let mut state = now.clone();
        gone.apply_to(&mut state);
        assert!(state.is_empty());
    }
}
