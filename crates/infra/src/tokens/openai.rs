//! OpenAI's encodings, counted as tiktoken counts them (`encode_ordinary`: what looks like a special token is text).
//!
//! The tables are parts of the program and become ready at the first call in a process, which others wait for. A count takes time in
//! proportion to its text, also where the text has no place to part it.
//!
//! Must not know: models.

use std::sync::{Arc, LazyLock};

use bpe_openai::Tokenizer;
use sessions_ports::TokenCounter;

use super::memo::Memo;

/// The encoding of OpenAI's models since GPT-4o.
pub(super) const O200K_BASE: &str = "o200k_base";

/// The encoding of GPT-4 and GPT-3.5.
#[cfg(feature = "tokens-cl100k")]
pub(super) const CL100K_BASE: &str = "cl100k_base";

/// Counts by one encoding's tables.
struct BpeCounter {
    name: &'static str,
    tables: &'static Tokenizer,
    memo: Memo,
}

pub(super) fn o200k_base() -> Arc<dyn TokenCounter> {
    static COUNTER: LazyLock<Arc<BpeCounter>> =
        LazyLock::new(|| BpeCounter::shared(O200K_BASE, bpe_openai::o200k_base()));
    Arc::clone(&COUNTER) as _
}

#[cfg(feature = "tokens-cl100k")]
pub(super) fn cl100k_base() -> Arc<dyn TokenCounter> {
    static COUNTER: LazyLock<Arc<BpeCounter>> =
        LazyLock::new(|| BpeCounter::shared(CL100K_BASE, bpe_openai::cl100k_base()));
    Arc::clone(&COUNTER) as _
}

impl BpeCounter {
    fn shared(name: &'static str, tables: &'static Tokenizer) -> Arc<Self> {
        Arc::new(Self { name, tables, memo: Memo::new() })
    }
}

impl TokenCounter for BpeCounter {
    fn encoding(&self) -> &str {
        self.name
    }

    fn is_exact(&self) -> bool {
        true
    }

    fn count(&self, text: &str) -> u64 {
        // A text has the tokens of its pieces; no token reaches over the end of one.
        let count = |piece: &[u8]| self.tables.bpe.count(piece) as u64;
        self.tables.split(text).map(|piece| self.memo.count(piece.as_bytes(), count)).sum()
    }
}
