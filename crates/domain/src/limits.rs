//! How much a session may hold, and the rule that refuses more.
//!
//! Must not know: where limits are configured.

use crate::{
    message::Message,
    metadata::{Origin, SessionSettings},
};

/// A limit that a wish would exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{limit} may be at most {max}; this has {actual}")]
pub struct LimitReached {
    /// The limit's name.
    pub limit: &'static str,
    /// Its value.
    pub max: u64,
    /// What was wished.
    pub actual: u64,
}

/// How much there may be. `None`: as much as the disk holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions of a tenant, those in the trash not counted.
    pub sessions: Option<u64>,
    /// Visible messages of a session.
    pub messages: Option<u64>,
    /// Parts of a message.
    pub parts: Option<u64>,
    /// Bytes of a message, as it is written.
    pub message_bytes: Option<u64>,
    /// Characters of a title.
    pub title_chars: Option<u64>,
    /// Characters of a description.
    pub description_chars: Option<u64>,
    /// Tags of a session.
    pub tags: Option<u64>,
    /// Characters of a tag.
    pub tag_chars: Option<u64>,
    /// Files of a session.
    pub files: Option<u64>,
    /// Bytes of all else that is known of a session.
    pub metadata_bytes: Option<u64>,
    /// Keys of a scope of state.
    pub state_keys: Option<u64>,
    /// Bytes of a scope of state.
    pub state_bytes: Option<u64>,
    /// Named checkpoints of a session.
    pub checkpoints: Option<u64>,
    /// Pinned messages of a session.
    pub pins: Option<u64>,
}

impl Default for Limits {
    /// No limit on conversations; what each row and each view must hold in memory is bounded.
    fn default() -> Self {
        Self {
            sessions: None,
            messages: None,
            parts: None,
            message_bytes: None,
            title_chars: Some(1_000),
            description_chars: Some(20_000),
            tags: Some(200),
            tag_chars: Some(200),
            files: Some(10_000),
            metadata_bytes: Some(1 << 20),
            state_keys: Some(10_000),
            state_bytes: Some(1 << 20),
            checkpoints: Some(1_000),
            pins: Some(1_000),
        }
    }
}

/// Refuses more than a limit.
///
/// # Errors
/// [`LimitReached`].
pub(crate) fn at_most(limit: &'static str, max: Option<u64>, actual: usize) -> Result<(), LimitReached> {
    let actual = actual as u64;
    match max.filter(|max| actual > *max) {
        Some(max) => Err(LimitReached { limit, max, actual }),
        None => Ok(()),
    }
}

fn least(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.into_iter().chain(b).min()
}

impl Limits {
    /// The same limits, narrowed by what a session sets for itself.
    #[must_use]
    pub fn narrowed(&self, settings: &SessionSettings) -> Self {
        Self {
            messages: least(self.messages, settings.max_messages),
            parts: least(self.parts, settings.max_parts),
            message_bytes: least(self.message_bytes, settings.max_message_bytes),
            ..self.clone()
        }
    }

    /// Checks a message behind `depth` visible ones.
    ///
    /// # Errors
    /// [`LimitReached`].
    pub fn check_message(&self, message: &Message, depth: u64) -> Result<(), LimitReached> {
        if self.messages.is_some() {
            let after = usize::try_from(depth.saturating_add(1)).unwrap_or(usize::MAX);
            at_most("visible messages of a session", self.messages, after)?;
        }
        at_most("parts of a message", self.parts, message.parts.len())?;
        match self.message_bytes {
            None => Ok(()),
            Some(_) => {
                let bytes = serde_json::to_vec(message).map_or(0, |json| json.len());
                at_most("bytes of a message", self.message_bytes, bytes)
            }
        }
    }

    /// Checks words about a session.
    ///
    /// # Errors
    /// [`LimitReached`].
    pub fn check_words(
        &self,
        title: Option<&str>,
        description: Option<&str>,
        tags: &[String],
    ) -> Result<(), LimitReached> {
        let chars = |text: Option<&str>| text.map_or(0, |text| text.chars().count());
        at_most("characters of a title", self.title_chars, chars(title))?;
        at_most("characters of a description", self.description_chars, chars(description))?;
        at_most("tags of a session", self.tags, tags.len())?;
        tags.iter().try_for_each(|tag| at_most("characters of a tag", self.tag_chars, tag.chars().count()))
    }

    /// Checks what is known of a session.
    ///
    /// # Errors
    /// [`LimitReached`].
    pub fn check_metadata(&self, known: &Origin) -> Result<(), LimitReached> {
        if known.is_empty() {
            return Ok(());
        }
        at_most("files of a session", self.files, known.files.len())?;
        let bytes = serde_json::to_vec(known).map_or(0, |json| json.len());
        at_most("bytes of a session's metadata", self.metadata_bytes, bytes)
    }

    /// Checks a scope of state.
    ///
    /// # Errors
    /// [`LimitReached`].
    pub fn check_state(
        &self,
        state: &std::collections::BTreeMap<String, crate::json::Json>,
    ) -> Result<(), LimitReached> {
        at_most("keys of a scope of state", self.state_keys, state.len())?;
        let bytes = state.iter().map(|(key, value)| key.len() + value.as_str().len()).sum();
        at_most("bytes of a scope of state", self.state_bytes, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MessagePart;

    #[test]
    fn a_limit_names_itself_and_its_value() {
        let limits = Limits { parts: Some(1), messages: Some(2), message_bytes: Some(60), ..Limits::default() };
        let short = Message::user("hi");
        assert_eq!(limits.check_message(&short, 1), Ok(()));
        let full = limits.check_message(&short, 2).unwrap_err();
        assert_eq!(full, LimitReached { limit: "visible messages of a session", max: 2, actual: 3 });
        let parts = limits.check_message(&short.clone().with(MessagePart::text("x")), 0).unwrap_err();
        assert_eq!((parts.limit, parts.actual), ("parts of a message", 2));
        let bytes = limits.check_message(&Message::user("x".repeat(60)), 0).unwrap_err();
        assert_eq!((bytes.limit, bytes.max), ("bytes of a message", 60));
        assert!(bytes.actual > 60);
    }

    #[test]
    fn a_session_narrows_and_never_widens() {
        let limits = Limits { messages: Some(10), ..Limits::default() };
        let settings = |max| SessionSettings { max_messages: Some(max), ..SessionSettings::default() };
        assert_eq!(limits.narrowed(&settings(3)).messages, Some(3));
        assert_eq!(limits.narrowed(&settings(30)).messages, Some(10));
    }

    #[test]
    fn characters_count_and_not_bytes() {
        let limits = Limits { title_chars: Some(3), ..Limits::default() };
        assert!(limits.check_words(Some("éèê"), None, &[]).is_ok());
        assert!(limits.check_words(Some("éèêë"), None, &[]).is_err());
        let tags: Vec<String> = (0..201).map(|at| at.to_string()).collect();
        assert_eq!(limits.check_words(None, None, &tags).unwrap_err().limit, "tags of a session");
    }
}
