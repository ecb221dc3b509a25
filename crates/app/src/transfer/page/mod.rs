//! What is visible of a session, to be read by people: as Markdown, or as one HTML page.
//!
//! Whatever was said, it cannot reach beyond its message: no script, no image and no link comes of it, no heading that is not ours, and what
//! would steer a terminal or turn the direction of a text is shown as an escape (`\u{1b}`).
//!
//! **Fidelity**: meaning, for people. It is not read back.
//!
//! Must not know: where the page goes.

mod html;
mod markdown;
mod plain;

use sessions_domain::{FileRef, MessageRole, StoredMessage, View};

pub(super) use self::plain::plain;

/// A kind of page.
#[derive(Clone, Copy, Debug)]
pub(super) enum Page {
    /// Text with marks.
    Markdown,
    /// One page that holds all it needs.
    Html,
}

impl Page {
    /// What stands before the messages.
    pub(super) fn begin(self, view: &View) -> String {
        match self {
            Self::Markdown => markdown::begin(view),
            Self::Html => html::begin(view),
        }
    }

    /// One message.
    pub(super) fn message(self, message: &StoredMessage) -> String {
        match self {
            Self::Markdown => markdown::message(message),
            Self::Html => html::message(message),
        }
    }

    /// The place of a message that is lost.
    pub(super) fn lost(self, seq: u64) -> String {
        match self {
            Self::Markdown => format!("\n*record {seq} is lost*\n"),
            Self::Html => format!("<p>record {seq} is lost</p>\n"),
        }
    }

    /// What stands behind them.
    pub(super) fn end(self) -> &'static str {
        match self {
            Self::Markdown => "",
            Self::Html => html::END,
        }
    }
}

fn role_name(role: MessageRole) -> &'static str {
    match role {
        MessageRole::System => "system",
        MessageRole::User => "user",
        MessageRole::Assistant => "assistant",
        MessageRole::Tool => "tool",
    }
}

fn title(view: &View) -> String {
    let title = view.described().title.as_deref().unwrap_or("Session");
    plain(title).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What is known of the session, a name and a value each.
fn facts(view: &View) -> Vec<(&'static str, String)> {
    let origin = view.origin();
    let known = [
        ("session", Some(view.session().to_string())),
        ("created", Some(view.created().to_string())),
        ("messages", Some(view.depth().to_string())),
        ("folder", origin.cwd.clone()),
        ("model", origin.model.clone()),
    ];
    known.into_iter().filter_map(|(name, value)| Some((name, plain(&value?).replace('\n', " ")))).collect()
}

fn file_name(file: &FileRef) -> String {
    let FileRef { media_type, name, artifact, url } = file;
    let what = name.as_ref().or(url.as_ref()).or(artifact.as_ref()).map_or("", String::as_str);
    plain(&format!("{media_type} {what}")).replace('\n', " ")
}
