//! What a call of a model is booked with: what its provider reports, or where that cannot be what is counted here.
//!
//! Must not know: how tokens are counted, or what they cost.

use crate::message::TokenUsage;

/// Differences of so many tokens between what is reported and what is counted are none.
const SLACK: u64 = 1_000;

/// An answer that did not become whole was told of by its provider when it began, and then a piece went by: so far it may be behind.
const BEHIND: u64 = 50;

/// What is known here of a call, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Of what was sent.
    pub sent: u64,
    /// Of what came.
    pub came: u64,
    /// Of that, texts and calls, which every provider counts. Reasoning is counted apart by some, and blocks that only a provider understands
    /// by none.
    pub said: u64,
    /// The longest request that the model takes.
    pub most_sent: u64,
    /// The longest answer that it was allowed.
    pub most_came: u64,
    /// Whether the answer is whole.
    pub is_whole: bool,
}

/// Two numbers of tokens that should be about the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Differs {
    /// What the provider reports.
    pub reported: u64,
    /// What is counted here.
    pub counted: u64,
}

/// What a call is booked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Booked {
    /// Its tokens.
    pub usage: TokenUsage,
    /// Whether some of them were counted here.
    pub estimated: bool,
    /// Of what was sent another number is reported than was counted: one is more than twice the other.
    pub sent_differs: Option<Differs>,
    /// Of what came a number is reported that cannot be.
    pub came_differs: Option<Differs>,
}

impl Booked {
    /// What a provider reports is taken, also when it differs from what is counted here: it knows better. What cannot be is not: nothing for
    /// what was sent or came, more than the model takes or was allowed, or far less than came. There the count stands in its place.
    ///
    /// ```
    /// # use sessions_domain::{TokenUsage, turn::{Booked, Counted}};
    /// let counted = Counted { sent: 900, came: 20, said: 20, most_sent: 32_000, most_came: 8_000, is_whole: true };
    /// let of = |input, output| Booked::of(Some(TokenUsage { input, output, ..TokenUsage::default() }), &counted);
    /// assert_eq!((of(950, 18).usage.output, of(950, 18).estimated), (18, false));
    /// assert_eq!((of(950, 10_000_000).usage.output, of(950, 10_000_000).estimated), (20, true));
    /// assert!(Booked::of(None, &counted).estimated);
    /// ```
    pub fn of(reported: Option<TokenUsage>, counted: &Counted) -> Self {
        let estimate = TokenUsage { input: counted.sent, output: counted.came, ..TokenUsage::default() };
        let Some(mut usage) = reported else {
            return Self { usage: estimate, estimated: true, sent_differs: None, came_differs: None };
        };
        let mut estimated = false;
        let sent = usage.input.saturating_add(usage.cache_read).saturating_add(usage.cache_written());
        if is_none(sent, counted.sent) || is_above(sent, counted.most_sent.max(counted.sent)) {
            usage = TokenUsage { output: usage.output, reasoning: usage.reasoning, ..estimate };
            estimated = true;
        }
        let is_far = estimated || is_above(sent, counted.sent) || is_above(counted.sent, sent);
        let came = usage.output;
        let is_behind = !counted.is_whole && counted.said > came.saturating_add(BEHIND);
        let cannot_be = is_none(came, counted.said)
            || is_above(came, counted.most_came.max(counted.came))
            || is_above(counted.said, came);
        if cannot_be || is_behind {
            usage = TokenUsage { output: counted.came, reasoning: 0, ..usage };
            estimated = true;
        }
        Self {
            usage,
            estimated,
            sent_differs: is_far.then_some(Differs { reported: sent, counted: counted.sent }),
            // What is behind is no lie.
            came_differs: (cannot_be && counted.is_whole).then_some(Differs { reported: came, counted: counted.came }),
        }
    }
}

/// Nothing, where something was.
const fn is_none(reported: u64, counted: u64) -> bool {
    reported == 0 && counted > 0
}

/// More than twice the other, and not by little.
const fn is_above(more: u64, less: u64) -> bool {
    more > less.saturating_mul(2).saturating_add(SLACK)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Counted =
        Counted { sent: 5_000, came: 300, said: 200, most_sent: 24_000, most_came: 8_000, is_whole: true };

    fn usage(input: u64, output: u64) -> TokenUsage {
        TokenUsage { input, output, ..TokenUsage::default() }
    }

    #[test]
    fn what_can_be_is_booked_as_reported_and_what_cannot_be_as_counted() {
        let long = Counted { came: 9_000, said: 9_000, ..WHOLE };
        let part = Counted { is_whole: false, ..WHOLE };
        let nothing = Counted { came: 0, said: 0, ..WHOLE };
        // What is reported; what is known; what is booked; whether it is estimated; what is noted of the request, and of the answer.
        let table = [
            (usage(5_100, 210), WHOLE, usage(5_100, 210), false, false, false),
            (usage(4_000, 90), WHOLE, usage(4_000, 90), false, false, false),
            // Hidden reasoning is output too, up to the longest answer.
            (usage(5_000, 7_900), WHOLE, usage(5_000, 7_900), false, false, false),
            (usage(23_000, 210), WHOLE, usage(23_000, 210), false, true, false),
            (usage(1_500, 210), WHOLE, usage(1_500, 210), false, true, false),
            (usage(60_000, 210), WHOLE, usage(5_000, 210), true, true, false),
            (usage(0, 210), WHOLE, usage(5_000, 210), true, true, false),
            (usage(5_000, 0), WHOLE, usage(5_000, 300), true, false, true),
            (usage(0, 0), WHOLE, usage(5_000, 300), true, true, true),
            (usage(0, 0), nothing, usage(5_000, 0), true, true, false),
            (usage(5_000, 17_001), WHOLE, usage(5_000, 300), true, false, true),
            (usage(u64::MAX, u64::MAX), WHOLE, usage(5_000, 300), true, true, true),
            (usage(5_000, 3_999), long, usage(5_000, 9_000), true, false, true),
            (usage(5_000, 4_000), long, usage(5_000, 4_000), false, false, false),
            // Told of when it began.
            (usage(5_000, 1), part, usage(5_000, 300), true, false, false),
            (usage(5_000, 160), part, usage(5_000, 160), false, false, false),
        ];
        for (reported, counted, expected, estimated, sent, came) in table {
            let booked = Booked::of(Some(reported), &counted);
            let noted = (booked.sent_differs.is_some(), booked.came_differs.is_some());
            assert_eq!((booked.usage, booked.estimated, noted), (expected, estimated, (sent, came)), "{reported:?}");
        }
    }

    #[test]
    fn what_a_cache_had_was_sent_too_and_goes_with_what_cannot_be() {
        let cached = TokenUsage { input: 10, cache_read: 4_900, cache_write: 90, ..usage(0, 200) };
        assert_eq!(Booked::of(Some(cached), &WHOLE).usage, cached);
        let lie = TokenUsage { cache_read: 1 << 40, reasoning: 7, ..usage(5_000, 200) };
        let booked = Booked::of(Some(lie), &WHOLE);
        assert_eq!((booked.usage, booked.estimated), (TokenUsage { reasoning: 7, ..usage(5_000, 200) }, true));
        assert_eq!(booked.sent_differs, Some(Differs { reported: (1 << 40) + 5_000, counted: 5_000 }));
    }

    #[test]
    fn what_nobody_reports_is_counted() {
        let booked = Booked::of(None, &WHOLE);
        let expected = Booked { usage: usage(5_000, 300), estimated: true, sent_differs: None, came_differs: None };
        assert_eq!(booked, expected);
    }
}
