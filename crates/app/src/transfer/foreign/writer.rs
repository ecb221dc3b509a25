//! What a format's writer is asked for, and what messages have for all of them.
//!
//! Must not know: how a format spells its lines.

use std::collections::HashMap;

use sessions_domain::{FileRef, Message, MessageMetadata, MessagePart, Moment, ToolContent, View};

/// Writes messages as new lines of a format.
pub(in super::super) trait Writer: Send {
    /// The lines that a new file begins with.
    fn beginning(&mut self, about: &About) -> Vec<String>;

    /// Takes in a message of the file that is gone on with.
    fn learn(&mut self, message: &Message);

    /// The lines of a message behind the line `parent` (`None`: of nothing). `id` names it; lines that follow name the id that is given back.
    fn message(&mut self, about: &About, said: &Said<'_>, id: &str, parent: Option<&str>) -> (Vec<String>, String);

    /// A line that says that the conversation stands behind `parent`, where the format has one.
    fn pointer(&mut self, about: &About, id: &str, parent: Option<&str>) -> Option<String>;

    /// The id of a line of a file of this format, where it has one.
    fn id_of(&self, line: &[u8]) -> Option<String>;
}

/// A message to write.
pub(in super::super) struct Said<'a> {
    pub(in super::super) message: &'a Message,
    pub(in super::super) at: Moment,
}

impl Said<'_> {
    pub(in super::super) fn metadata(&self) -> &MessageMetadata {
        &self.message.metadata
    }

    /// The usage, or none.
    pub(in super::super) fn usage(&self) -> sessions_domain::TokenUsage {
        self.metadata().usage.unwrap_or_default()
    }
}

/// What is known of the session.
pub(in super::super) struct About {
    /// Its id: the source's, or one made of ours.
    pub(in super::super) session: String,
    pub(in super::super) cwd: String,
    pub(in super::super) title: Option<String>,
    pub(in super::super) model: Option<String>,
    pub(in super::super) provider: Option<String>,
    pub(in super::super) created: Moment,
}

impl About {
    /// As a view tells it; `source` when the file goes on that the session was imported from.
    pub(in super::super) fn of(view: &View, is_source: bool) -> Self {
        let origin = view.origin();
        let source = view.source().filter(|_| is_source).and_then(|source| source.id.as_deref());
        // The id of a sub-agent's file is its session's with its own behind it.
        let source = source.map(|id| id.split('/').next().unwrap_or(id).to_owned());
        Self {
            session: source.unwrap_or_else(|| uuid(view.session().to_bytes())),
            cwd: origin.cwd.clone().unwrap_or_default(),
            title: view.described().title.clone(),
            model: origin.model.clone(),
            provider: origin.provider.clone(),
            created: view.created(),
        }
    }
}

/// The tools of the calls so far, by call.
#[derive(Default)]
pub(in super::super) struct Tools(HashMap<String, String>);

impl Tools {
    pub(in super::super) fn learn(&mut self, message: &Message) {
        self.0.extend(message.calls().map(|call| (call.call_id.clone(), call.name.clone())));
    }

    pub(in super::super) fn name(&self, call_id: &str) -> &str {
        self.0.get(call_id).map_or("unknown", String::as_str)
    }
}

/// Sixteen bytes as other programs write ids.
pub(in super::super) fn uuid(bytes: [u8; 16]) -> String {
    let hex = sessions_domain::chain::to_hex(&bytes);
    let piece = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", piece(0, 8), piece(8, 12), piece(12, 16), piece(16, 20), piece(20, 32))
}

/// A part for which a format has no form, in words.
pub(in super::super) fn in_words(part: &MessagePart) -> Option<String> {
    match part {
        MessagePart::Text(text) => Some(text.clone()),
        MessagePart::Error { message, .. } => Some(format!("[error: {message}]")),
        MessagePart::File(FileRef { media_type, name, artifact, url }) => {
            let what = name.as_ref().or(url.as_ref()).or(artifact.as_ref());
            Some(format!("[file of {media_type}: {}]", what.map_or("", String::as_str)))
        }
        MessagePart::Custom(json) => Some(json.as_str().to_owned()),
        MessagePart::Reasoning { .. } | MessagePart::ToolCall(_) | MessagePart::ToolResult(_) => None,
        _ => None,
    }
}

/// What a tool gave, as texts and what else there is to the letter.
pub(in super::super) fn pieces(content: &ToolContent) -> Vec<Result<String, &str>> {
    match content {
        ToolContent::Text(text) => vec![Ok(text.clone())],
        ToolContent::Parts(parts) => parts
            .iter()
            .filter_map(|part| match part {
                MessagePart::Custom(json) => Some(Err(json.as_str())),
                other => in_words(other).map(Ok),
            })
            .collect(),
    }
}
