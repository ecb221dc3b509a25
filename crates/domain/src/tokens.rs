//! What of a message is counted in tokens, and how sure a count is.
//!
//! Must not know: any tokenizer.
