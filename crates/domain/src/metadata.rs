//! What is known of a session beside its words: where it runs, with what, and what narrows its manager's settings.
//!
//! Must not know: who changes it, or when.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{identity::SessionId, json::Json};

/// What is known of a session. Everything is optional; what is not known is not written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Who made it, in the words of the host or of the file it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creator: Option<String>,
    /// The role of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_role: Option<String>,
    /// The working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// The provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The host's mode, as in `plan` or `edit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Files in use, each once, in the order in which they came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// What the client can do, as it said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Json>,
    /// The MCP servers, each as the host configures it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mcp_servers: BTreeMap<String, Json>,
    /// The host's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub custom: BTreeMap<String, Json>,
    /// What narrows the manager's settings.
    #[serde(default, skip_serializing_if = "SessionSettings::is_empty")]
    pub settings: SessionSettings,
}

impl Origin {
    /// True when nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Each file once, and nothing that is `null`, which is the same as absent.
    #[must_use]
    pub fn tidied(mut self) -> Self {
        let mut seen = std::collections::HashSet::new();
        self.files.retain(|file| seen.insert(file.clone()));
        self.capabilities = self.capabilities.filter(|json| !json.is_null());
        self.mcp_servers.retain(|_, json| !json.is_null());
        self.custom.retain(|_, json| !json.is_null());
        self
    }
}

/// What a session sets for itself. It narrows what its manager allows and never widens it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSettings {
    /// Tokens of a context, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_context_tokens: Option<u64>,
    /// The share of the window, in percent, at which the conversation is compacted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compaction_threshold_percent: Option<u8>,
    /// The model for its turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Visible messages, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_messages: Option<u64>,
    /// Bytes of a message, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_message_bytes: Option<u64>,
    /// Parts of a message, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parts: Option<u64>,
    /// Seconds of a turn, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_turn_seconds: Option<u64>,
}

impl SessionSettings {
    /// True when nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How a session stands to another one that it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kinship {
    /// It was forked from it, and inherits its history.
    Fork,
    /// It is the work of an agent that the other one started.
    SubAgent,
}

/// The session that another one came from, without a history in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The session.
    pub session: SessionId,
    /// How they stand to each other.
    pub kinship: Kinship,
}

/// A change of one field: absent in JSON where it stays, `null` where it goes.
pub type Change<T> = Option<Option<T>>;

fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Change<T>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

/// What is known of a session changed. What is absent stays as it was; `null` takes away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataChange {
    /// The creator.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub creator: Change<String>,
    /// The role of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub agent_role: Change<String>,
    /// The working directory.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub cwd: Change<String>,
    /// The provider.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub provider: Change<String>,
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub model: Change<String>,
    /// The mode.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub mode: Change<String>,
    /// The client's capabilities.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub capabilities: Change<Json>,
    /// The files, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<String>>,
    /// MCP servers that changed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mcp_servers: BTreeMap<String, Option<Json>>,
    /// Entries of the host's own map that changed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub custom: BTreeMap<String, Option<Json>>,
    /// The settings, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<SessionSettings>,
}

fn changed<T: Clone + PartialEq>(now: &Option<T>, then: &Option<T>) -> Change<T> {
    (now != then).then(|| then.clone())
}

/// The entries of a map that differ; `None` for those that are gone.
pub(crate) fn differences(
    now: &BTreeMap<String, Json>,
    then: &BTreeMap<String, Json>,
) -> BTreeMap<String, Option<Json>> {
    let gone = now.keys().filter(|key| !then.contains_key(*key)).map(|key| (key.clone(), None));
    let set = then.iter().filter(|(key, value)| now.get(*key) != Some(value));
    gone.chain(set.map(|(key, value)| (key.clone(), Some(value.clone())))).collect()
}

/// Takes changed entries into a map.
pub(crate) fn merge(map: &mut BTreeMap<String, Json>, changes: &BTreeMap<String, Option<Json>>) {
    for (key, value) in changes {
        match value {
            Some(value) => map.insert(key.clone(), value.clone()),
            None => map.remove(key),
        };
    }
}

impl MetadataChange {
    /// What leads from one state to another; `None`: nothing.
    pub fn between(now: &Origin, then: &Origin) -> Option<Self> {
        let change = Self {
            creator: changed(&now.creator, &then.creator),
            agent_role: changed(&now.agent_role, &then.agent_role),
            cwd: changed(&now.cwd, &then.cwd),
            provider: changed(&now.provider, &then.provider),
            model: changed(&now.model, &then.model),
            mode: changed(&now.mode, &then.mode),
            capabilities: changed(&now.capabilities, &then.capabilities),
            files: (now.files != then.files).then(|| then.files.clone()),
            mcp_servers: differences(&now.mcp_servers, &then.mcp_servers),
            custom: differences(&now.custom, &then.custom),
            settings: (now.settings != then.settings).then(|| then.settings.clone()),
        };
        (change != Self::default()).then_some(change)
    }

    /// Takes the change in.
    pub fn apply_to(&self, known: &mut Origin) {
        fn set<T: Clone>(field: &mut Option<T>, change: &Change<T>) {
            if let Some(value) = change {
                field.clone_from(value);
            }
        }
        set(&mut known.creator, &self.creator);
        set(&mut known.agent_role, &self.agent_role);
        set(&mut known.cwd, &self.cwd);
        set(&mut known.provider, &self.provider);
        set(&mut known.model, &self.model);
        set(&mut known.mode, &self.mode);
        set(&mut known.capabilities, &self.capabilities);
        if let Some(files) = &self.files {
            known.files.clone_from(files);
        }
        merge(&mut known.mcp_servers, &self.mcp_servers);
        merge(&mut known.custom, &self.custom);
        if let Some(settings) = &self.settings {
            known.settings.clone_from(settings);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text).unwrap()
    }

    #[test]
    fn a_change_leads_from_one_state_to_the_other_also_through_json() {
        let now = Origin {
            creator: Some("tui".into()),
            cwd: Some("/a".into()),
            custom: BTreeMap::from([("keep".into(), json("1.0")), ("drop".into(), json("2"))]),
            ..Origin::default()
        };
        let then = Origin {
            creator: Some("tui".into()),
            mode: Some("plan".into()),
            files: vec!["a.rs".into()],
            capabilities: Some(json(r#"{"fs":true}"#)),
            custom: BTreeMap::from([("keep".into(), json("1.0")), ("new".into(), json("3"))]),
            settings: SessionSettings { max_messages: Some(7), ..SessionSettings::default() },
            ..Origin::default()
        };
        let change = MetadataChange::between(&now, &then).unwrap();
        let text = serde_json::to_string(&change).unwrap();
        assert!(text.contains(r#""cwd":null"#) && !text.contains("creator"), "{text}");
        for change in [change, serde_json::from_str(r#"{"cwd":null,"mode":"plan"}"#).unwrap()] {
            let mut known = now.clone();
            change.apply_to(&mut known);
            assert_eq!((known.cwd, known.mode.as_deref()), (None, Some("plan")));
        }
        assert_eq!(MetadataChange::between(&then, &then), None);
    }

    #[test]
    fn each_file_stands_once_and_null_is_nothing() {
        let files = ["b", "a", "b"].map(String::from).to_vec();
        let custom = BTreeMap::from([("gone".into(), json("null")), ("here".into(), json("0"))]);
        let tidied = Origin { files, custom, capabilities: Some(json(" null")), ..Origin::default() }.tidied();
        assert_eq!(tidied.files, ["b", "a"]);
        assert!(tidied.capabilities.is_none() && tidied.custom.keys().eq(["here"]));
    }
}
