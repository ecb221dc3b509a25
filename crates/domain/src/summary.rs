//! What a list shows of a session, without its conversation.
//!
//! Must not know: how summaries are stored or found.

use serde::{Deserialize, Serialize};

use crate::{
    identity::{SessionId, SessionKey},
    life::SessionStatus,
    metadata::Kinship,
    moment::Moment,
    view::View,
};

/// The part of a summary that is words: opaque to a store, and rewritten only when it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SummaryWords {
    /// The host's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<SessionKey>,
    /// The tenant.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tenant: String,
    /// The title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The tags, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The state of life.
    #[serde(default)]
    pub status: SessionStatus,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creator: Option<String>,
    /// The working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// The session it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SessionId>,
    /// How it stands to that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kinship: Option<Kinship>,
    /// Since when it is in the trash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trashed: Option<Moment>,
    /// When it was used, where that is behind its last change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub touched: Option<Moment>,
    /// When it was made, which for a restored log is before the store's first commit of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Moment>,
}

impl SummaryWords {
    /// The words as JSON, as a store keeps them.
    pub fn to_json(&self) -> Vec<u8> {
        // There is no map with keys that are not strings, so they always serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads [`Self::to_json`]; `None` for anything else.
    pub fn from_json(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// The words of a view.
    pub fn of(view: &View) -> Self {
        let described = view.described();
        Self {
            key: view.key().cloned(),
            tenant: view.tenant().to_owned(),
            title: described.title.clone(),
            description: described.description.clone(),
            tags: described.tags.clone().unwrap_or_default(),
            status: view.status(),
            creator: view.origin().creator.clone(),
            cwd: view.origin().cwd.clone(),
            parent: view.parent().map(|parent| parent.session),
            kinship: view.parent().map(|parent| parent.kinship),
            trashed: view.trashed(),
            touched: Some(view.accessed()).filter(|accessed| *accessed != view.updated()),
            created: Some(view.created()),
        }
    }
}

/// One row of a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SessionSummary {
    /// The session.
    pub id: SessionId,
    /// The host's key.
    pub key: Option<SessionKey>,
    /// The title.
    pub title: Option<String>,
    /// The state of life.
    pub status: SessionStatus,
    /// When it was made.
    pub created: Moment,
    /// When the last record was appended.
    pub updated: Moment,
    /// When it was last used.
    pub last_accessed: Moment,
    /// Messages that are visible.
    pub messages: u64,
    /// Tokens of the visible messages, where they have been counted.
    pub tokens: Option<u64>,
    /// The working directory.
    pub cwd: Option<String>,
    /// The session it came from.
    pub parent: Option<SessionId>,
    /// The tags, sorted.
    pub tags: Vec<String>,
    /// The sequence number of the last record.
    pub version: u64,
    /// The description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creator: Option<String>,
    /// How it stands to its parent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kinship: Option<Kinship>,
    /// Since when it is in the trash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trashed: Option<Moment>,
}
