//! All words that shaping may add to messages. They are the same for every form.
//!
//! Must not know: when they are added.

use crate::message::FileRef;

/// Stands as a user's words before an answer that a conversation cannot begin with.
pub const OPENING: &str = "(the conversation begins in its middle)";

/// What a person says where nothing was said as yet: no provider takes no message.
pub const NOTHING_SAID: &str = "(nothing was said yet)";

/// Stands as a user's words behind an answer that a conversation cannot end with.
pub const CLOSING: &str = "(continue)";

/// Stands for the content of a result that has none.
pub const NO_OUTPUT: &str = "(no output)";

/// Begins the content of a failed call where the form has no field for it.
pub const FAILED: &str = "[error] ";

/// The name of a tool that has none.
pub const NO_NAME: &str = "tool";

/// Instructions as a user's words.
pub fn instructions(text: &str) -> String {
    format!("<system>\n{text}\n</system>")
}

/// An error as text.
pub fn error(message: &str, code: Option<&str>) -> String {
    match code {
        Some(code) => format!("[error {code}: {message}]"),
        None => format!("[error: {message}]"),
    }
}

/// Stands for a file that is not sent.
pub fn not_sent(file: &FileRef) -> String {
    format!("[file {} is not sent]", label(file))
}

/// A file of text, with what it says.
pub fn contents(file: &FileRef, text: &str) -> String {
    format!("[file {}]\n{text}", label(file))
}

/// Stands in a result for a file that comes behind it.
pub fn follows(file: &FileRef) -> String {
    format!("[file {} follows]", label(file))
}

/// Ends a text that was cut.
pub fn cut(left_out: usize) -> String {
    format!("\n[{left_out} characters are left out]")
}

/// The file's name, or else where it lies, and its type.
fn label(file: &FileRef) -> String {
    const LONGEST: usize = 200;
    let place = file.url.as_deref().filter(|url| !url.starts_with("data:"));
    let name = file.name.as_deref().or(place).or(file.artifact.as_deref());
    let of = |text: &str| text.chars().take(LONGEST).collect::<String>();
    match name {
        Some(name) => format!("{} ({})", of(name), of(&file.media_type)),
        None => format!("({})", of(&file.media_type)),
    }
}
