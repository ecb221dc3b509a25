//! The laws of the ports, one `async fn` each, in groups: most are of [`SessionLog`](sessions_ports::SessionLog); `clock`, `ids`, `entropy` and `tokens` are
//! of the ports of those names.
//!
//! A law opens a store of its own, tries one promise of the contract, and says in words what the store did instead.
//!
//! Must not know: any adapter.

/// Breaks the law unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($detail:tt)+) => {
        if !$condition {
            return Err($crate::Exception::broken(format!($($detail)+)));
        }
    };
}

/// Breaks the law unless both are equal.
macro_rules! ensure_eq {
    ($found:expr, $expected:expr, $($detail:tt)+) => {
        match (&$found, &$expected) {
            (found, expected) => ensure!(found == expected, "{}: {found:?} instead of {expected:?}", format!($($detail)+)),
        }
    };
}

/// Breaks the law unless the answer is this refusal.
macro_rules! ensure_refused {
    ($answer:expr, $refusal:pat $(if $guard:expr)?, $($detail:tt)+) => {
        match $answer {
            Err($refusal) $(if $guard)? => {}
            other => return Err($crate::Exception::broken(format!("{}: {other:?}", format!($($detail)+)))),
        }
    };
}

pub mod capabilities;
pub mod claims;
pub mod clock;
pub mod close;
pub mod commits;
pub mod durability;
pub mod entropy;
pub mod faults;
pub mod handles;
pub mod ids;
pub mod order;
pub mod races;
pub mod reading;
pub mod removal;
pub mod rows;
pub mod survival;
pub mod tokens;
pub mod waiting;
