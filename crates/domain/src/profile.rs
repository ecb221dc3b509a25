//! What is known of a model: its window, how its tokens are counted, and what its provider asks of messages.
//!
//! Must not know: prices, endpoints, keys.
