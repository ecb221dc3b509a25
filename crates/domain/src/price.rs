//! What calls of models cost.
//!
//! Must not know: where prices are written down.
