//! OpenAI's encodings, counted as tiktoken counts them (`encode_ordinary`: what looks like a special token is text).
//!
//! The tables are parts of the program and become ready at the first call in a process, which others wait for. A count takes time in
//! proportion to its text, also where the text has no place to part it.
//!
//! Must not know: models.

use std::sync::Arc;

use bpe_openai::Tokenizer;
use sessions_ports::TokenCounter;

/// The encoding of OpenAI's models since GPT-4o.
pub(super) const O200K_BASE: &str = "o200k_base";

/// The encoding of GPT-4 and GPT-3.5.
#[cfg(feature = "tokens-cl100k")]
pub(super) const CL100K_BASE: &str = "cl100k_base";

/// Counts by one encoding's tables.
struct BpeCounter {
    name: &'static str,
    tables: &'static Tokenizer,
}

pub(super) fn o200k_base() -> Arc<dyn TokenCounter> {
    Arc::new(BpeCounter { name: O200K_BASE, tables: bpe_openai::o200k_base() })
}

#[cfg(feature = "tokens-cl100k")]
pub(super) fn cl100k_base() -> Arc<dyn TokenCounter> {
    Arc::new(BpeCounter { name: CL100K_BASE, tables: bpe_openai::cl100k_base() })
}

impl TokenCounter for BpeCounter {
    fn encoding(&self) -> &str {
        self.name
    }

    fn is_exact(&self) -> bool {
        true
    }

    fn count(&self, text: &str) -> u64 {
        self.tables.count(text) as u64
    }
}
