//! What calls of models cost.
//!
//! Must not know: where prices are written down.

use std::{collections::BTreeMap, fmt, str::FromStr};

use chrono::NaiveDate;

use crate::{
    message::TokenUsage,
    moment::Moment,
    money::{Currency, Money, NotDecimal, decimal},
    profile::undated,
};

/// Digits behind the point that a price has at most.
const DIGITS: usize = 6;
/// No price of a million tokens is higher than this, in units of its currency. With it no cost of any usage overflows.
const MOST: u64 = 1_000_000_000;

/// The price of a million tokens, in millionths of a currency's unit: then one token costs that many 10⁻¹² of a unit, and nothing has to
/// be divided.
///
/// ```
/// use sessions_domain::price::PerMillion;
/// let price: PerMillion = "2.50".parse()?;
/// assert_eq!((price.micros(), price.to_string()), (2_500_000, "2.5".to_owned()));
/// assert!("0.0000001".parse::<PerMillion>().is_err(), "a seventh digit");
/// # Ok::<(), sessions_domain::price::InvalidPrice>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PerMillion(u64);

/// Why a text is no price of a million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPrice {
    /// No decimal number.
    #[error("a price of a million tokens is a decimal number, as in 2.50")]
    Form,
    /// More digits than are kept.
    #[error("a price of a million tokens has at most 6 digits behind the point")]
    TooFine,
    /// More than anybody asks.
    #[error("a price of a million tokens is at most 1000000000")]
    TooHigh,
}

impl PerMillion {
    /// In millionths of a unit.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// What so many tokens cost, in 10⁻¹² of a unit. A price is bounded, so that this fits whatever was used.
    const fn of(self, tokens: u64) -> i128 {
        (self.0 as i128).saturating_mul(tokens as i128)
    }
}

impl FromStr for PerMillion {
    type Err = InvalidPrice;

    fn from_str(text: &str) -> Result<Self, InvalidPrice> {
        let micros = decimal(text, DIGITS).map_err(|why| match why {
            NotDecimal::Form => InvalidPrice::Form,
            NotDecimal::TooFine => InvalidPrice::TooFine,
            NotDecimal::TooLarge => InvalidPrice::TooHigh,
        })?;
        let micros = u64::try_from(micros).ok().filter(|micros| *micros <= MOST * 1_000_000);
        micros.map(Self).ok_or(InvalidPrice::TooHigh)
    }
}

impl fmt::Display for PerMillion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / 1_000_000, format!("{:06}", self.0 % 1_000_000));
        match fraction.trim_end_matches('0') {
            "" => write!(f, "{whole}"),
            fraction => write!(f, "{whole}.{fraction}"),
        }
    }
}

/// What a million tokens of each class cost. A class without a price is not free: a call that used it has no cost that anybody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// What all of it is stated in.
    pub currency: Currency,
    /// Tokens that were sent and neither read from a cache nor written to one.
    pub input: Option<PerMillion>,
    /// Tokens that came back, reasoning among them.
    pub output: Option<PerMillion>,
    /// Tokens read from a cache.
    pub cache_read: Option<PerMillion>,
    /// Tokens written to a cache for minutes, which is what a cache does unless it is told otherwise.
    pub cache_write: Option<PerMillion>,
    /// Tokens written to a cache for an hour.
    pub cache_write_long: Option<PerMillion>,
    /// Tokens of reasoning, where their price is not that of other output. They are then taken out of the output, of which they are part.
    pub reasoning: Option<PerMillion>,
    /// Above so many tokens of input, those of caches among them, this is the price of the whole call.
    pub above: Option<(u64, Box<Price>)>,
}

impl Price {
    /// One in a currency, without a price of anything.
    pub const fn none(currency: Currency) -> Self {
        Self {
            currency,
            input: None,
            output: None,
            cache_read: None,
            cache_write: None,
            cache_write_long: None,
            reasoning: None,
            above: None,
        }
    }

    /// The price of a call with so many tokens of input.
    fn of_call(&self, input: u64) -> &Self {
        let mut price = self;
        while let Some((_, above)) = price.above.as_ref().filter(|(most, _)| input > *most) {
            price = above;
        }
        price
    }
}

/// What a call cost; `None`, and never zero, when a class of tokens that it used has no price.
///
/// `usage.input` is what was neither read from a cache nor written to one. `usage.reasoning` is part of `usage.output`, and is not added again.
pub fn cost(usage: &TokenUsage, price: &Price) -> Option<Money> {
    let sent = [usage.input, usage.cache_read, usage.cache_write, usage.cache_write_long];
    let price = price.of_call(sent.into_iter().fold(0, u64::saturating_add));
    let (output, reasoning) = match price.reasoning {
        // A provider may say that it thought more than it wrote.
        Some(_) => (usage.output.saturating_sub(usage.reasoning), usage.reasoning),
        None => (usage.output, 0),
    };
    let used = [
        (usage.input, price.input),
        (usage.cache_read, price.cache_read),
        (usage.cache_write, price.cache_write),
        (usage.cache_write_long, price.cache_write_long),
        (output, price.output),
        (reasoning, price.reasoning),
    ];
    let mut picos: i128 = 0;
    for (tokens, price) in used.into_iter().filter(|(tokens, _)| *tokens > 0) {
        picos = picos.checked_add(price?.of(tokens))?;
    }
    Some(Money::from_picos(picos, price.currency))
}

/// A day, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(NaiveDate);

/// A text that is no day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a day is written as in 2026-01-31")]
pub struct InvalidDay;

impl Day {
    /// The day of a moment; `None` for one that no calendar has.
    pub fn of(moment: Moment) -> Option<Self> {
        chrono::DateTime::from_timestamp_millis(moment.as_millis()).map(|time| Self(time.date_naive()))
    }

    /// Days from this one to another; less than 0 when that was before.
    pub fn days_until(self, other: Self) -> i64 {
        other.0.signed_duration_since(self.0).num_days()
    }
}

impl FromStr for Day {
    type Err = InvalidDay;

    fn from_str(text: &str) -> Result<Self, InvalidDay> {
        let is_of_form = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        let day = is_of_form.then(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()).flatten();
        day.map(Self).ok_or(InvalidDay)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.format("%Y-%m-%d"))
    }
}

/// What a model's calls cost, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceRow {
    /// Who runs the model, as calls name it.
    pub provider: String,
    /// The model, as calls name it.
    pub model: String,
    /// Other names of it.
    pub aliases: Vec<String>,
    /// The first day on which it holds; `None`: always before.
    pub valid_from: Option<Day>,
    /// The last day on which it holds; `None`: until further notice.
    pub valid_to: Option<Day>,
    /// The price.
    pub price: Price,
    /// Where the price was found.
    pub source: Option<String>,
    /// When it stood there.
    pub noted: Option<Day>,
}

impl PriceRow {
    fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.model.as_str()).chain(self.aliases.iter().map(String::as_str))
    }

    fn holds_on(&self, day: Day) -> bool {
        self.valid_from.is_none_or(|from| from <= day) && self.valid_to.is_none_or(|to| day <= to)
    }

    fn overlaps(&self, other: &Self) -> bool {
        let begins_by = |one: &Self, other: &Self| match (one.valid_from, other.valid_to) {
            (Some(from), Some(to)) => from <= to,
            _ => true,
        };
        begins_by(self, other) && begins_by(other, self)
    }
}

/// Why rows are no table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPrices {
    /// Two rows are about one name on one day.
    #[error("two prices of {name} hold on the same day; give the days on which each of them holds")]
    Twice {
        /// The name.
        name: String,
        /// The second row's place among them.
        row: usize,
    },
    /// A row ends before it begins.
    #[error("a price of {name} ends before it begins")]
    NoDay {
        /// The model.
        name: String,
        /// The row's place among them.
        row: usize,
    },
}

/// Prices that were noted long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aged {
    /// How many.
    pub rows: usize,
    /// Of how many that say when they were noted.
    pub of: usize,
    /// When the oldest was.
    pub oldest: Day,
}

/// Prices by provider and model. Names are exact, but for the date of a snapshot: a model that nobody wrote down has no price.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceTable {
    rows: Vec<PriceRow>,
    /// By provider, then by name.
    places: BTreeMap<String, BTreeMap<String, Vec<usize>>>,
}

impl PriceTable {
    /// Days after which a price is old.
    pub const OLD_AFTER_DAYS: i64 = 180;

    /// A table of these rows.
    ///
    /// # Errors
    /// [`InvalidPrices`] when two rows are about one name on one day, or one ends before it begins.
    pub fn new(rows: Vec<PriceRow>) -> Result<Self, InvalidPrices> {
        let mut table = Self::default();
        for (at, row) in rows.into_iter().enumerate() {
            if row.valid_from.zip(row.valid_to).is_some_and(|(from, to)| to < from) {
                return Err(InvalidPrices::NoDay { name: row.model, row: at });
            }
            table.place(at, &row)?;
            table.rows.push(row);
        }
        Ok(table)
    }

    fn place(&mut self, at: usize, row: &PriceRow) -> Result<(), InvalidPrices> {
        let names = self.places.entry(row.provider.clone()).or_default();
        for name in row.names() {
            let places = names.entry(name.to_owned()).or_default();
            if places.iter().filter_map(|place| self.rows.get(*place)).any(|other| other.overlaps(row)) {
                return Err(InvalidPrices::Twice { name: name.to_owned(), row: at });
            }
            // The same name twice in one row is one name.
            if places.last() != Some(&at) {
                places.push(at);
            }
        }
        Ok(())
    }

    /// This table, and where it knows nothing of a model the other one. What this one says of a model counts for all the names that the other
    /// one knows it by.
    #[must_use]
    pub fn over(self, other: Self) -> Self {
        let Self { mut rows, mut places } = self;
        for row in &other.rows {
            let Some(own) = places.get_mut(&row.provider) else { continue };
            let Some(known) = own.get(&row.model).cloned() else { continue };
            for alias in &row.aliases {
                own.entry(alias.clone()).or_insert_with(|| known.clone());
            }
        }
        for (provider, names) in other.places {
            let own = places.entry(provider).or_default();
            for (name, indexes) in names {
                own.entry(name).or_insert_with(|| indexes.iter().map(|at| rows.len() + at).collect());
            }
        }
        rows.extend(other.rows);
        Self { rows, places }
    }

    /// What a model of a provider costs on a day; a snapshot that no row names costs what its model does ([`undated`]). `None` for what is not
    /// in the table, which is never a price of zero.
    pub fn find(&self, provider: &str, model: &str, day: Day) -> Option<&PriceRow> {
        let known = self.places.get(provider)?;
        let places = known.get(model).or_else(|| known.get(undated(provider, model)?))?;
        places.iter().filter_map(|at| self.rows.get(*at)).find(|row| row.holds_on(day))
    }

    /// All rows, as they were given.
    pub fn rows(&self) -> &[PriceRow] {
        &self.rows
    }

    /// The prices that were noted more than [`Self::OLD_AFTER_DAYS`] before this day, if there are any.
    pub fn aged(&self, today: Day) -> Option<Aged> {
        let noted = || self.rows.iter().filter_map(|row| row.noted);
        let old = || noted().filter(|day| day.days_until(today) > Self::OLD_AFTER_DAYS);
        old().min().map(|oldest| Aged { rows: old().count(), of: noted().count(), oldest })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn per(text: &str) -> Option<PerMillion> {
        (text != "-").then(|| text.parse().unwrap())
    }

    /// As prices are published: input, cached input, writes to a cache, writes for an hour, output.
    fn price(published: &str) -> Price {
        let [input, read, write, long, output] = published.split(' ').map(per).collect::<Vec<_>>().try_into().unwrap();
        let none = Price::none(Currency::USD);
        Price { input, output, cache_read: read, cache_write: write, cache_write_long: long, ..none }
    }

    fn usage(input: u64, cache_read: u64, cache_write: u64, output: u64) -> TokenUsage {
        TokenUsage { input, output, cache_read, cache_write, ..TokenUsage::default() }
    }

    /// The same, with tokens written for an hour.
    fn written(cache_write_long: u64, usage: TokenUsage) -> TokenUsage {
        TokenUsage { cache_write_long, ..usage }
    }

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    /// Whoever confuses a price of a million tokens with one of a thousand, or cents with dollars, fails here: prices and costs are both literal.
    #[test]
    fn what_is_published_gives_the_cost_that_it_says() {
        let cases = [
            // (model, published per million: in, cached, write, 1 h, out; usage: in, cached, written, out; cost)
            ("gpt-5", "1.25 0.125 - - 10", usage(1_000_000, 0, 0, 0), "1.25 USD"),
            ("gpt-5", "1.25 0.125 - - 10", usage(1_000, 0, 0, 0), "0.00125 USD"),
            ("gpt-5", "1.25 0.125 - - 10", usage(1, 0, 0, 0), "0.00000125 USD"),
            ("gpt-5", "1.25 0.125 - - 10", usage(1_000, 9_000, 0, 500), "0.007375 USD"),
            ("gpt-5-nano", "0.05 0.005 - - 0.4", usage(0, 1, 0, 0), "0.000000005 USD"),
            ("gpt-5-nano", "0.05 0.005 - - 0.4", usage(123_456, 0, 0, 789), "0.0064884 USD"),
            ("gpt-4o", "2.5 1.25 - - 10", usage(10_000, 0, 0, 2_000), "0.045 USD"),
            ("gpt-4o-mini", "0.15 0.075 - - 0.6", usage(1_000, 1_000, 0, 1_000), "0.000825 USD"),
            ("gpt-4", "30 - - - 60", usage(8_000, 0, 0, 192), "0.25152 USD"),
            ("claude-opus-4-5", "5 0.5 6.25 10 25", usage(100, 20_000, 3_000, 1_000), "0.05425 USD"),
            ("claude-opus-4-1", "15 1.5 18.75 - 75", usage(1_000_000, 1_000_000, 1_000_000, 1_000_000), "110.25 USD"),
            ("claude-sonnet-4-5", "3 0.3 3.75 6 15", usage(2_000, 0, 0, 700), "0.0165 USD"),
            ("claude-haiku-4-5", "1 0.1 1.25 2 5", usage(0, 0, 1_000_000, 0), "1.25 USD"),
            ("gemini-2.5-flash-lite", "0.1 0.01 - - 0.4", usage(1_000_000_000, 0, 0, 0), "100.00 USD"),
        ];
        for (model, published, usage, expected) in cases {
            assert_eq!(cost(&usage, &price(published)).unwrap().to_string(), expected, "{model} {usage:?}");
        }
        let long = cost(&written(1_000_000, usage(1_000_000, 0, 0, 0)), &price("3 0.3 3.75 6 15"));
        assert_eq!(long.unwrap().to_string(), "9.00 USD");
    }

    #[test]
    fn what_has_no_price_has_no_cost_and_never_none_at_all() {
        let known = price("30 - - - 60");
        assert_eq!(cost(&usage(1, 0, 0, 1), &known).map(|cost| cost.to_string()).as_deref(), Some("0.00009 USD"));
        assert_eq!(cost(&usage(1, 1, 0, 1), &known), None, "cached");
        assert_eq!(cost(&usage(1, 0, 1, 1), &known), None, "written to a cache");
        assert_eq!(cost(&written(1, usage(1, 0, 0, 1)), &known), None, "written for an hour");
        assert_eq!(cost(&usage(0, 0, 0, 0), &known), Some(Money::zero(Currency::USD)), "nothing was used");
        assert_eq!(cost(&usage(1, 0, 0, 0), &Price::none(Currency::USD)), None);
    }

    #[test]
    fn reasoning_is_part_of_the_output() {
        let used = TokenUsage { reasoning: 600, ..usage(0, 0, 0, 1_000) };
        let plain = price("1 - - - 10");
        assert_eq!(cost(&used, &plain).unwrap().to_string(), "0.01 USD");
        let own = Price { reasoning: per("20"), ..plain.clone() };
        assert_eq!(cost(&used, &own).unwrap().to_string(), "0.016 USD");
        let more_than_output = TokenUsage { reasoning: 2_000, ..used };
        assert_eq!(cost(&more_than_output, &own).unwrap().to_string(), "0.04 USD");
        assert_eq!(cost(&more_than_output, &plain).unwrap().to_string(), "0.01 USD");
    }

    /// Gemini 2.5 Pro: 1.25 in, 0.125 cached, 10 out; above 200,000 tokens of prompt 2.50, 0.25 and 15 for the whole call.
    #[test]
    fn a_tier_is_decided_by_the_whole_input_and_prices_the_whole_call() {
        let above = Some((200_000, Box::new(price("2.5 0.25 - - 15"))));
        let pro = Price { above, ..price("1.25 0.125 - - 10") };
        let costs = |usage| cost(&usage, &pro).unwrap().to_string();
        assert_eq!(costs(usage(200_000, 0, 0, 1_000)), "0.26 USD");
        assert_eq!(costs(usage(200_001, 0, 0, 1_000)), "0.5150025 USD");
        assert_eq!(costs(usage(50_000, 150_000, 0, 0)), "0.08125 USD");
        assert_eq!(costs(usage(50_000, 150_001, 0, 0)), "0.16250025 USD", "cached tokens count");
        assert_eq!(costs(usage(0, 0, 0, 300_000)), "3.00 USD", "output does not");
        let written_long = Price { above: Some((200_000, Box::new(price("2 - - 4 -")))), ..price("1 - - 2 -") };
        for (tokens, expected) in [(150_000, "0.35 USD"), (150_001, "0.700004 USD")] {
            let cost = cost(&written(tokens, usage(50_000, 0, 0, 0)), &written_long).unwrap();
            assert_eq!(cost.to_string(), expected, "what is written for long counts");
        }
        let without = Price { above: Some((200_000, Box::new(price("2.5 - - - 15")))), ..price("1.25 0.125 - - 10") };
        assert_eq!(
            cost(&usage(1, 200_000, 0, 0), &without),
            None,
            "what a tier does not say is not taken from below it"
        );
    }

    #[test]
    fn prices_are_read_with_six_digits_and_no_more() {
        for (text, micros) in
            [("0", 0), ("2.50", 2_500_000), ("0.000001", 1), ("10", 10_000_000), ("1.0000000", 1_000_000)]
        {
            assert_eq!(text.parse::<PerMillion>().map(PerMillion::micros), Ok(micros), "{text}");
        }
        for text in ["0.0000001", "2.5000001"] {
            assert_eq!(text.parse::<PerMillion>(), Err(InvalidPrice::TooFine), "{text}");
        }
        for text in ["", "-1", "1e3", "2,5", "$2", ".5", "2.", "0x10", "inf", " 1"] {
            assert_eq!(text.parse::<PerMillion>(), Err(InvalidPrice::Form), "{text}");
        }
        assert_eq!("1000000001".parse::<PerMillion>(), Err(InvalidPrice::TooHigh));
        assert_eq!("9".repeat(60).parse::<PerMillion>(), Err(InvalidPrice::TooHigh));
    }

    fn row(model: &str, aliases: &[&str], days: (&str, &str), input: &str) -> PriceRow {
        let day = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
        PriceRow {
            provider: "p".to_owned(),
            model: model.to_owned(),
            aliases: aliases.iter().map(ToString::to_string).collect(),
            valid_from: day(days.0),
            valid_to: day(days.1),
            price: Price { input: per(input), ..Price::none(Currency::USD) },
            source: None,
            noted: day("2026-01-01"),
        }
    }

    fn found(table: &PriceTable, model: &str, on: &str) -> Option<String> {
        table.find("p", model, day(on)).and_then(|row| row.price.input).map(|price| price.to_string())
    }

    #[test]
    fn a_price_is_found_by_exact_names_and_its_days() {
        let rows = vec![
            row("flash", &["flash-1"], ("", "2026-12-31"), "1"),
            row("flash", &["flash-1"], ("2027-01-01", ""), "2"),
            row("pro", &["pro", "pro"], ("2026-06-01", "2026-06-01"), "3"),
        ];
        let table = PriceTable::new(rows).unwrap();
        for (model, on, expected) in [
            ("flash", "2026-12-31", Some("1")),
            ("flash", "2027-01-01", Some("2")),
            ("flash-1", "1970-01-01", Some("1")),
            ("flash-", "2026-01-01", None),
            ("flash-1-preview", "2026-01-01", None),
            ("Flash", "2026-01-01", None),
            ("pro", "2026-05-31", None),
            ("pro", "2026-06-01", Some("3")),
            ("pro", "2026-06-02", None),
        ] {
            assert_eq!(found(&table, model, on).as_deref(), expected, "{model} {on}");
        }
        assert_eq!(table.find("q", "flash", day("2026-01-01")), None, "another provider's model");
    }

    #[test]
    fn a_snapshot_costs_what_its_model_does_unless_a_row_says_otherwise() {
        let of = |provider: &str, model: &str, input: &str| PriceRow {
            provider: provider.to_owned(),
            ..row(model, &[], ("", ""), input)
        };
        let rows = vec![
            of("openai", "o3", "2"),
            of("openai", "gpt-4o", "2.5"),
            of("openai", "gpt-4o-2024-05-13", "5"),
            of("anthropic", "claude-opus-4-6", "5"),
            of("p", "m", "1"),
        ];
        let own = PriceTable::new(vec![of("openai", "o3", "9")]).unwrap();
        let shipped = PriceTable::new(rows).unwrap();
        let found = |table: &PriceTable, provider: &str, model: &str| {
            let row = table.find(provider, model, day("2026-06-01"));
            row.and_then(|row| row.price.input).map(|price| price.to_string())
        };
        for (provider, model, expected) in [
            ("openai", "o3-2025-04-16", Some("2")),
            ("openai", "gpt-4o-2024-08-06", Some("2.5")),
            ("openai", "gpt-4o-2024-05-13", Some("5")),
            ("anthropic", "claude-opus-4-6-20260205", Some("5")),
            ("openai", "o3-20250416", None),
            ("openai", "o3-mini-2025-04-16", None),
            ("p", "m-2025-04-16", None),
        ] {
            assert_eq!(found(&shipped, provider, model).as_deref(), expected, "{model}");
        }
        let both = own.over(shipped);
        assert_eq!(found(&both, "openai", "o3-2025-04-16").as_deref(), Some("9"), "a person's own price too");
    }

    #[test]
    fn two_prices_of_one_day_are_refused() {
        let twice = |one: (&str, &str), other: (&str, &str)| {
            PriceTable::new(vec![row("a", &["b"], one, "1"), row("b", &[], other, "2")]).is_err()
        };
        assert!(twice(("", ""), ("", "")));
        assert!(twice(("", "2026-06-30"), ("2026-06-30", "")));
        assert!(twice(("2026-01-01", "2026-12-31"), ("2026-03-01", "2026-03-02")));
        assert!(!twice(("", "2026-06-30"), ("2026-07-01", "")));
        assert!(!twice(("2026-07-01", ""), ("", "2026-06-30")));
        let ended = PriceTable::new(vec![row("a", &[], ("2026-02-01", "2026-01-31"), "1")]);
        assert_eq!(ended, Err(InvalidPrices::NoDay { name: "a".to_owned(), row: 0 }));
    }

    #[test]
    fn own_prices_stand_before_others() {
        let own = PriceTable::new(vec![row("a", &[], ("2026-06-01", ""), "9")]).unwrap();
        let shipped = vec![row("a", &["z"], ("", ""), "1"), row("b", &[], ("", ""), "2")];
        let both = own.over(PriceTable::new(shipped).unwrap());
        assert_eq!(found(&both, "a", "2026-07-01").as_deref(), Some("9"));
        assert_eq!(found(&both, "a", "2026-01-01"), None, "whoever says what a model costs says it for all days");
        assert_eq!(found(&both, "z", "2026-07-01").as_deref(), Some("9"), "under each of its names");
        assert_eq!(found(&both, "b", "2026-01-01").as_deref(), Some("2"));
        assert_eq!(both.rows().len(), 3);
    }

    #[test]
    fn old_prices_are_told_by_the_day_that_is_given() {
        let table = PriceTable::new(vec![row("a", &[], ("", ""), "1")]).unwrap();
        assert_eq!(table.aged(day("2026-06-30")), None, "180 days");
        let aged = Aged { rows: 1, of: 1, oldest: day("2026-01-01") };
        assert_eq!(table.aged(day("2026-07-01")), Some(aged));
        assert_eq!(table.aged(day("2020-01-01")), None, "a clock that went back");
        assert_eq!(PriceTable::default().aged(day("2026-07-01")), None);
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for text in ["2026-02-29", "2026-13-01", "2026-1-1", "26-01-01", "2026-01-01 ", "+026-01-01", "", "today"] {
            assert_eq!(text.parse::<Day>(), Err(InvalidDay), "{text}");
        }
        assert_eq!(Day::of(Moment::parse("2026-11-22T23:59:59.999Z").unwrap()), Some(day("2026-11-22")));
        assert_eq!(Day::of(Moment::from_millis(i64::MAX)), None);
        assert_eq!(day("2028-02-29").to_string(), "2028-02-29");
    }

    proptest! {
        #[test]
        fn a_million_tokens_cost_what_the_table_says(micros in 0..=MOST * 1_000_000) {
            let per = PerMillion(micros);
            let written = per.to_string();
            prop_assert_eq!(written.parse(), Ok(per));
            let price = Price { input: Some(per), ..Price::none(Currency::USD) };
            let expected = Money::parse(&format!("{written} USD")).unwrap();
            prop_assert_eq!(cost(&usage(1_000_000, 0, 0, 0), &price), Some(expected));
        }

        #[test]
        fn no_usage_overflows_and_parts_cost_what_the_whole_does(
            numbers in proptest::array::uniform6(prop_oneof![any::<u64>(), Just(u64::MAX), 0_u64..1_000_000]),
            prices in proptest::array::uniform6(prop_oneof![0..=MOST * 1_000_000, Just(MOST * 1_000_000)]),
        ) {
            let [input, output, cache_read, cache_write, reasoning, long] = numbers;
            let prices = prices.map(|micros| Some(PerMillion(micros)));
            let [input_price, output_price, read, write, long_price, thought] = prices;
            let price = Price {
                input: input_price, output: output_price, cache_read: read, cache_write: write,
                cache_write_long: long_price, reasoning: thought, ..Price::none(Currency::USD)
            };
            let used = TokenUsage { input, output, cache_read, cache_write, cache_write_long: long, reasoning };
            let whole = cost(&used, &price);
            prop_assert!(whole.is_some());
            let none = TokenUsage::default();
            let parts = [
                cost(&TokenUsage { input, ..none }, &price),
                cost(&TokenUsage { cache_read, ..none }, &price),
                cost(&TokenUsage { cache_write, ..none }, &price),
                cost(&written(long, none), &price),
                cost(&TokenUsage { output, reasoning, ..none }, &price),
            ];
            let mut sum = Money::zero(Currency::USD);
            for part in parts {
                sum = sum.checked_add(part.unwrap()).unwrap();
            }
            prop_assert_eq!(whole, Some(sum));
        }
    }
}
