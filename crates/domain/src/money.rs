//! Money in decimal numbers, exactly.
//!
//! Must not know: what is paid for.
