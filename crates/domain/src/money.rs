//! Money in decimal numbers, exactly.
//!
//! Must not know: what is paid for.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The digits behind the point that money is kept with.
const DIGITS: usize = 12;
/// No number with more digits fits.
const MOST_DIGITS: usize = 40;
/// 10⁻¹² of a unit, so many make one.
const UNIT: u128 = 10_u128.pow(12);

/// A currency by its three capital letters (as ISO 4217 names them).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// United States dollars, in which most providers state their prices.
    pub const USD: Self = Self(*b"USD");

    /// The three letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for Currency {
    type Err = InvalidMoney;

    fn from_str(text: &str) -> Result<Self, InvalidMoney> {
        let letters: [u8; 3] = text.as_bytes().try_into().map_err(|_| InvalidMoney::Currency)?;
        letters.iter().all(u8::is_ascii_uppercase).then_some(Self(letters)).ok_or(InvalidMoney::Currency)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An amount in a currency, in steps of 10⁻¹² of its unit. Nothing here rounds.
///
/// ```
/// use sessions_domain::money::Money;
/// let one: Money = "0.0123 USD".parse()?;
/// assert_eq!(one.checked_add("1.5 USD".parse()?)?.to_string(), "1.5123 USD");
/// assert!(one.checked_add("1 EUR".parse()?).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    picos: i128,
    currency: Currency,
}

/// Why a text is no money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidMoney {
    /// No decimal number, a space and a currency.
    #[error("money is written as a decimal number, a space and a currency, as in 0.0123 USD")]
    Form,
    /// No currency.
    #[error("a currency is three capital letters, as in USD")]
    Currency,
    /// More digits than are kept.
    #[error("money has at most 12 digits behind the point")]
    TooFine,
    /// Too much of it.
    #[error("there is no such amount of money")]
    TooMuch,
}

/// Why two amounts have no sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoSum {
    /// Of two currencies.
    #[error("{one} and {other} have no sum; keep amounts of different currencies apart")]
    Currencies {
        /// The one.
        one: Currency,
        /// The other.
        other: Currency,
    },
    /// Too much of it.
    #[error("the sum is too large")]
    TooMuch,
}

impl Money {
    /// So many steps of 10⁻¹² of the currency's unit.
    pub const fn from_picos(picos: i128, currency: Currency) -> Self {
        Self { picos, currency }
    }

    /// None of a currency.
    pub const fn zero(currency: Currency) -> Self {
        Self::from_picos(0, currency)
    }

    /// Reads what [`Display`](fmt::Display) writes, and any other decimal number of at most 12 digits behind the point.
    ///
    /// # Errors
    /// [`InvalidMoney`].
    pub fn parse(text: &str) -> Result<Self, InvalidMoney> {
        let (number, currency) = text.split_once(' ').ok_or(InvalidMoney::Form)?;
        let currency = currency.parse()?;
        let (is_negative, number) = number.strip_prefix('-').map_or((false, number), |rest| (true, rest));
        let picos = match decimal(number, DIGITS) {
            Ok(picos) => i128::try_from(picos).ok(),
            Err(NotDecimal::Form) => return Err(InvalidMoney::Form),
            Err(NotDecimal::TooFine) => return Err(InvalidMoney::TooFine),
            Err(NotDecimal::TooLarge) => None,
        };
        let picos = picos.ok_or(InvalidMoney::TooMuch)?;
        Ok(Self { picos: if is_negative { -picos } else { picos }, currency })
    }

    /// The nearest amount to what some other program wrote: a decimal number of any length, with an exponent or without, as binary numbers are
    /// printed (`0.020599650000000004 USD`, `1e-5 USD`). A half goes away from zero.
    ///
    /// ```
    /// use sessions_domain::money::Money;
    /// assert_eq!(Money::rounded("0.020599650000000004 USD")?.to_string(), "0.02059965 USD");
    /// # Ok::<(), sessions_domain::money::InvalidMoney>(())
    /// ```
    ///
    /// # Errors
    /// [`InvalidMoney`], and never that it is too fine.
    pub fn rounded(text: &str) -> Result<Self, InvalidMoney> {
        let (number, currency) = text.split_once(' ').ok_or(InvalidMoney::Form)?;
        let currency = currency.parse()?;
        let (is_negative, number) = number.strip_prefix('-').map_or((false, number), |rest| (true, rest));
        let picos = nearest(number, DIGITS).map_err(|why| match why {
            NotDecimal::TooLarge => InvalidMoney::TooMuch,
            _ => InvalidMoney::Form,
        })?;
        let picos = i128::try_from(picos).map_err(|_| InvalidMoney::TooMuch)?;
        Ok(Self { picos: if is_negative { -picos } else { picos }, currency })
    }

    /// The amount, in steps of 10⁻¹² of the unit.
    pub const fn picos(self) -> i128 {
        self.picos
    }

    /// The currency.
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// The sum with an amount of the same currency, exactly.
    ///
    /// # Errors
    /// [`NoSum`] for two currencies, and for more than there can be.
    pub fn checked_add(self, other: Self) -> Result<Self, NoSum> {
        if self.currency != other.currency {
            return Err(NoSum::Currencies { one: self.currency, other: other.currency });
        }
        let picos = self.picos.checked_add(other.picos).ok_or(NoSum::TooMuch)?;
        Ok(Self { picos, currency: self.currency })
    }
}

impl FromStr for Money {
    type Err = InvalidMoney;

    fn from_str(text: &str) -> Result<Self, InvalidMoney> {
        Self::parse(text)
    }
}

impl fmt::Display for Money {
    /// The shortest decimal number with two digits behind the point at least, and the currency.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amount = self.picos.unsigned_abs();
        let sign = if self.picos < 0 { "-" } else { "" };
        let fraction = format!("{:0DIGITS$}", amount % UNIT);
        let fraction = fraction.trim_end_matches('0');
        write!(f, "{sign}{}.{fraction:0<2} {}", amount / UNIT, self.currency)
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Why a text is no decimal number of so many digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotDecimal {
    /// Something else than digits, with a point between some of them or none.
    Form,
    /// More digits behind the point than are kept.
    TooFine,
    /// More than fits.
    TooLarge,
}

/// The nearest number of steps of 10⁻`digits` to a decimal number without a sign, of any length and with any exponent.
fn nearest(text: &str, digits: usize) -> Result<u128, NotDecimal> {
    let (number, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let power = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if !is_number(whole) || !is_number(fraction) || !is_number(power) {
        return Err(NotDecimal::Form);
    }
    let all = format!("{whole}{fraction}");
    let known = all.trim_start_matches('0');
    // So much of an exponent leaves nothing or far too much, however long the number is.
    let power = power.trim_start_matches('0').parse().unwrap_or(if power.trim_matches('0').is_empty() {
        0
    } else {
        i64::MAX / 4
    });
    let power = if exponent.starts_with('-') { -power } else { power };
    let length = |text: &str| i64::try_from(text.len()).unwrap_or(i64::MAX / 4);
    // How many of the known digits stand before the place where the number is cut.
    let kept = length(whole) - (length(&all) - length(known)) + power + i64::try_from(digits).unwrap_or(0);
    if known.is_empty() || kept < 0 {
        return Ok(0);
    }
    let kept = usize::try_from(kept).map_err(|_| NotDecimal::TooLarge)?;
    if kept > MOST_DIGITS {
        return Err(NotDecimal::TooLarge);
    }
    let steps: u128 = match known.get(..kept.min(known.len())) {
        None | Some("") => 0,
        Some(digits) => format!("{digits:0<kept$}").parse().map_err(|_| NotDecimal::TooLarge)?,
    };
    let is_half = known.as_bytes().get(kept).is_some_and(|next| *next >= b'5');
    steps.checked_add(u128::from(is_half)).ok_or(NotDecimal::TooLarge)
}

/// A decimal number without a sign, in steps of 10⁻`digits`.
pub(crate) fn decimal(text: &str, digits: usize) -> Result<u128, NotDecimal> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return Err(NotDecimal::Form);
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > digits {
        return Err(NotDecimal::TooFine);
    }
    format!("{whole}{fraction:0<digits$}").parse().map_err(|_| NotDecimal::TooLarge)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn money_is_written_as_short_as_it_can_be() {
        for (given, written) in [
            ("0 USD", "0.00 USD"),
            ("1 EUR", "1.00 EUR"),
            ("1.5 USD", "1.50 USD"),
            ("0.0123 USD", "0.0123 USD"),
            ("0.012300000000 USD", "0.0123 USD"),
            ("0.000000000001 USD", "0.000000000001 USD"),
            ("-2.505 USD", "-2.505 USD"),
            ("-0.00 USD", "0.00 USD"),
            ("007.10 USD", "7.10 USD"),
            ("1.0000000000000000000000 USD", "1.00 USD"),
            ("170141183460469231731687303.715884105727 USD", "170141183460469231731687303.715884105727 USD"),
        ] {
            assert_eq!(Money::parse(given).unwrap().to_string(), written, "{given}");
        }
    }

    #[test]
    fn what_is_no_money_is_refused() {
        let cases = [
            ("", InvalidMoney::Form),
            ("1", InvalidMoney::Form),
            (" USD", InvalidMoney::Form),
            ("1. USD", InvalidMoney::Form),
            (".5 USD", InvalidMoney::Form),
            ("1,5 USD", InvalidMoney::Form),
            ("1e3 USD", InvalidMoney::Form),
            ("+1 USD", InvalidMoney::Form),
            ("--1 USD", InvalidMoney::Form),
            ("NaN USD", InvalidMoney::Form),
            ("١ USD", InvalidMoney::Form),
            ("1 usd", InvalidMoney::Currency),
            ("1 US", InvalidMoney::Currency),
            ("1 USDT", InvalidMoney::Currency),
            ("1  USD", InvalidMoney::Currency),
            ("1 USD ", InvalidMoney::Currency),
            ("0.0000000000001 USD", InvalidMoney::TooFine),
            ("170141183460469231731687303.715884105728 USD", InvalidMoney::TooMuch),
            ("9999999999999999999999999999999999999999999999999999 USD", InvalidMoney::TooMuch),
        ];
        for (text, why) in cases {
            assert_eq!(Money::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn what_other_programs_write_is_the_nearest_amount() {
        for (given, amount) in [
            ("0.020599650000000004 USD", "0.02059965 USD"),
            ("0.1 USD", "0.10 USD"),
            ("12 USD", "12.00 USD"),
            ("1e-05 USD", "0.00001 USD"),
            ("1.5E+3 USD", "1500.00 USD"),
            ("-2.5e0 USD", "-2.50 USD"),
            ("0.0000000000005 USD", "0.000000000001 USD"),
            ("0.00000000000049999 USD", "0.00 USD"),
            ("-0.0000000000005 USD", "-0.000000000001 USD"),
            ("0.9999999999996 USD", "1.00 USD"),
            ("5e-13 USD", "0.000000000001 USD"),
            ("5e-14 USD", "0.00 USD"),
            ("0e999999999999999999999 USD", "0.00 USD"),
            ("1e-99999999999999999999 USD", "0.00 USD"),
            ("00012.50 USD", "12.50 USD"),
        ] {
            assert_eq!(Money::rounded(given).map(|money| money.to_string()).as_deref(), Ok(amount), "{given}");
        }
        for (given, why) in [
            ("1e999999999999999999999 USD", InvalidMoney::TooMuch),
            ("1e30 USD", InvalidMoney::TooMuch),
            ("1e USD", InvalidMoney::Form),
            ("1e1.5 USD", InvalidMoney::Form),
            ("e5 USD", InvalidMoney::Form),
            (".5 USD", InvalidMoney::Form),
            ("NaN USD", InvalidMoney::Form),
            ("1e5", InvalidMoney::Form),
            ("1 usd", InvalidMoney::Currency),
        ] {
            assert_eq!(Money::rounded(given), Err(why), "{given}");
        }
    }

    #[test]
    fn amounts_of_two_currencies_have_no_sum() {
        let (one, other) = (Money::parse("1 USD").unwrap(), Money::parse("1 EUR").unwrap());
        assert!(matches!(one.checked_add(other), Err(NoSum::Currencies { .. })));
        let most = Money::from_picos(i128::MAX, Currency::USD);
        assert_eq!(most.checked_add(Money::from_picos(1, Currency::USD)), Err(NoSum::TooMuch));
        assert_eq!(most.checked_add(Money::zero(Currency::USD)), Ok(most));
    }

    #[test]
    fn the_smallest_amount_is_written_too() {
        let least = Money::from_picos(i128::MIN, Currency::USD);
        assert_eq!(least.to_string(), "-170141183460469231731687303.715884105728 USD");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(picos in -i128::MAX..=i128::MAX, small in any::<bool>()) {
            let picos = if small { picos % 1_000_000_000_000_000 } else { picos };
            let money = Money::from_picos(picos, Currency::USD);
            prop_assert_eq!(Money::parse(&money.to_string()), Ok(money));
            prop_assert_eq!(Money::rounded(&money.to_string()), Ok(money));
            let json = serde_json::to_string(&money).unwrap();
            prop_assert_eq!(serde_json::from_str::<Money>(&json).unwrap(), money);
        }

        #[test]
        fn sums_do_not_round_and_have_no_order(parts in proptest::collection::vec(-(1_i128 << 100)..(1_i128 << 100), 0..40)) {
            let mut parts = parts;
            let sum = |parts: &[i128]| {
                let add = |sum: Money, picos: &i128| sum.checked_add(Money::from_picos(*picos, Currency::USD));
                parts.iter().try_fold(Money::zero(Currency::USD), add)
            };
            let total = sum(&parts).unwrap();
            prop_assert_eq!(total.picos(), parts.iter().sum::<i128>());
            parts.reverse();
            prop_assert_eq!(sum(&parts).unwrap(), total);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            if let Ok(money) = Money::parse(&text) {
                prop_assert_eq!(Money::parse(&money.to_string()), Ok(money));
            }
            let _ = Money::rounded(&text);
        }

        #[test]
        fn a_binary_number_is_rounded_to_the_amount_next_to_it(number in prop_oneof![0.0_f64..1_000.0, 0.0_f64..1e-6], as_power in any::<bool>()) {
            let text = if as_power { format!("{number:e} USD") } else { format!("{number} USD") };
            let picos = Money::rounded(&text).unwrap().picos() as f64;
            prop_assert!((picos - number * 1e12).abs() <= 0.5 + number * 1e12 * 1e-15, "{text} {picos}");
        }
    }
}
