//! What counts the tokens of a text, and where such counters are found by the name of their encoding.
//!
//! Must not know: any tokenizer, and what of a message is counted (`sessions_domain::tokens` says that).

use std::sync::Arc;

/// Counts the tokens of texts in one encoding.
pub trait TokenCounter: Send + Sync {
    /// The encoding's name, as `o200k_base`.
    ///
    /// **Contract**: not empty, without blanks, and always the same.
    fn encoding(&self) -> &str;

    /// Whether the counts are those of the encoding itself; `false`: they are estimates.
    ///
    /// **Contract**: always the same.
    fn is_exact(&self) -> bool;

    /// Tokens of the text. What looks like a special token (`<|endoftext|>`) is text like any other.
    ///
    /// **Contract**: pure: the same text gives the same count, on every thread. Only the empty text has none, and no text has more than
    /// it has bytes. A word more never gives fewer. Never waits for anything once the counter is made, and takes time in proportion to the
    /// text, whatever it says.
    fn count(&self, text: &str) -> u64;
}

impl<T: TokenCounter + ?Sized> TokenCounter for Arc<T> {
    fn encoding(&self) -> &str {
        (**self).encoding()
    }

    fn is_exact(&self) -> bool {
        (**self).is_exact()
    }

    fn count(&self, text: &str) -> u64 {
        (**self).count(text)
    }
}

/// There is no counter of this encoding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no counter of this encoding; name one that is built in, bring its counter, or take an estimate")]
pub struct UnknownEncoding {
    /// What was asked for.
    pub name: String,
}

/// The counters that there are.
pub trait Encodings: Send + Sync {
    /// The counter of this encoding; `None` when there is none of that name, which is never answered by another one.
    ///
    /// **Contract**: the counter says this name as its [`TokenCounter::encoding`]. It is ready: what it takes to make one (tables, some
    /// tens of milliseconds) is waited for here, and not at the first count.
    fn named(&self, name: &str) -> Option<Arc<dyn TokenCounter>>;
}
