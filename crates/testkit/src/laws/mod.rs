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
            (found, expected) => {
                ensure!(found == expected, "{}: {}", format!($($detail)+), $crate::laws::contrast(found, expected))
            }
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

pub mod adoption;
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
pub mod inheritance;
pub mod order;
pub mod races;
pub mod reading;
pub mod removal;
pub mod rewriting;
pub mod rows;
pub mod survival;
pub mod tokens;
pub mod waiting;

/// The most characters of each side of a difference that are shown.
const SHOWN: usize = 160;

/// What differs, for people: all of it when it is short, and otherwise where the difference begins.
fn contrast(found: &impl std::fmt::Debug, expected: &impl std::fmt::Debug) -> String {
    let (found, expected) = (format!("{found:?}"), format!("{expected:?}"));
    let same = found.chars().zip(expected.chars()).take_while(|(a, b)| a == b).count();
    // Some of what is the same, to show what it belongs to.
    let skipped = same.saturating_sub(SHOWN / 2);
    let shown = |text: &str| {
        let part: String = text.chars().skip(skipped).take(SHOWN).collect();
        let (before, after) = (skipped > 0, text.chars().count() > skipped + SHOWN);
        format!("{}{part}{}", if before { "… " } else { "" }, if after { " …" } else { "" })
    };
    if found.len() + expected.len() <= 2 * SHOWN {
        return format!("{found} instead of {expected}");
    }
    format!("{} instead of {}", shown(&found), shown(&expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_shown_where_it_begins() {
        assert_eq!(contrast(&1, &Some(2)), "1 instead of Some(2)");
        let (found, expected) = ((0..500).collect::<Vec<_>>(), (0..600).collect::<Vec<_>>());
        let text = contrast(&found, &expected);
        assert!(text.chars().count() < 3 * SHOWN, "{text}");
        assert!(
            text.starts_with("… ") && text.contains("499] instead of … ") && text.contains("499, 500, 501"),
            "{text}"
        );
    }
}
