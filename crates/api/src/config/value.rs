//! Values of options: from the words that a person wrote to what they mean.
//!
//! Must not know: where a value was said.

use std::fmt;

use sessions_domain::{
    money::Currency,
    nearest::nearest,
    price::{Day, PerMillion},
};

use super::{error::Wrong, table::Kind};
use crate::url::StoreUrl;

/// How a value was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written<'a> {
    /// A word of a file, which may be a number or `true`.
    Plain(&'a str),
    /// A text of a file, in quotes or in a block.
    Quoted(&'a str),
    /// In a variable or an argument, where nothing is in quotes.
    Outside(&'a str),
}

/// What an option was set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Set {
    Whole(u64),
    /// `none`: no limit.
    NoLimit,
    Percent(u8),
    Switch(bool),
    Word(&'static str),
    Store(StoreUrl),
    Text(String),
    Texts(Vec<String>),
    Price(PerMillion),
    Currency(Currency),
    Day(Day),
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => write!(f, "{number}"),
            Self::NoLimit => f.write_str("none"),
            Self::Percent(100) => f.write_str("1"),
            Self::Percent(percent) => f.write_str(format!("0.{percent:02}").trim_end_matches('0')),
            Self::Switch(on) => write!(f, "{on}"),
            Self::Word(word) => f.write_str(word),
            Self::Store(url) => write!(f, "{url}"),
            Self::Text(text) => f.write_str(text),
            Self::Texts(texts) => f.write_str(&texts.join(", ")),
            Self::Price(price) => write!(f, "{price}"),
            Self::Currency(currency) => write!(f, "{currency}"),
            Self::Day(day) => write!(f, "{day}"),
        }
    }
}

/// What is wrong with a value, and the word that may have been meant.
pub(super) type Refusal = (Wrong, Option<String>);

fn form(what: impl fmt::Display) -> Refusal {
    (Wrong::Form(what.to_string()), None)
}

/// Reads a value of one word.
pub(super) fn read(kind: Kind, written: Written<'_>) -> Result<Set, Refusal> {
    let (Written::Plain(text) | Written::Quoted(text) | Written::Outside(text)) = written;
    let other = |found| (Wrong::Type { expected: kind.expected(), found }, None);
    let found = match written {
        Written::Plain(word) => kind_of(word),
        Written::Quoted(_) => "a text in quotes",
        Written::Outside(_) => "something else",
    };
    let is_quoted = matches!(written, Written::Quoted(_));
    match kind {
        Kind::Whole { .. } | Kind::Share | Kind::Switch | Kind::Price if is_quoted => Err(other(found)),
        Kind::Whole { least, most, or_none, unit } => {
            whole(text, least, most, or_none, unit).unwrap_or_else(|| Err(other(found)))
        }
        Kind::Share => share(text).unwrap_or_else(|| Err(other(found))),
        Kind::Switch => match text {
            "true" => Ok(Set::Switch(true)),
            "false" => Ok(Set::Switch(false)),
            _ => Err(other(found)),
        },
        Kind::Price if kind_of(text) != "a number" => Err(other(found)),
        Kind::Price => text.parse().map(Set::Price).map_err(form),
        _ if matches!(written, Written::Plain(word) if kind_of(word) != "a word" && !matches!(kind, Kind::Day)) => {
            Err(other(found))
        }
        Kind::OneOf(names) => {
            let near = || nearest(text, names.iter().copied()).map(str::to_owned);
            let known = names.iter().find(|name| **name == text);
            known.map(|name| Set::Word(name)).ok_or_else(|| (Wrong::NoneOf { names: names.to_vec() }, near()))
        }
        Kind::Store => text.parse().map(Set::Store).map_err(form),
        Kind::Address => address(text),
        Kind::File => file(text),
        Kind::Variable => variable(text),
        Kind::Text(longest) => line(text, longest).map(Set::Text),
        Kind::Texts(_) => Err(other(found)),
        Kind::Currency => text.parse().map(Set::Currency).map_err(form),
        Kind::Day => text.parse().map(Set::Day).map_err(form),
    }
}

/// What a word is that is not quoted.
pub(super) fn kind_of(word: &str) -> &'static str {
    let unsigned = word.strip_prefix(['-', '+']).unwrap_or(word);
    let is_of_numbers = |c: char| c.is_ascii_digit() || matches!(c, '.' | '_' | 'e' | 'E' | '+' | '-');
    match word {
        "" => "nothing",
        "true" | "false" => "true or false",
        "yes" | "no" | "on" | "off" | "Yes" | "No" | "True" | "False" => "a word that some take for true or false",
        _ if unsigned.starts_with(|c: char| c.is_ascii_digit()) && unsigned.chars().all(is_of_numbers) => "a number",
        _ => "a word",
    }
}

/// `None`: this is no whole number.
fn whole(text: &str, least: u64, most: u64, or_none: bool, unit: &str) -> Option<Result<Set, Refusal>> {
    if or_none && text == "none" {
        return Some(Ok(Set::NoLimit));
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // What begins with a zero is of another base for some.
    if !is_whole || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    let number = text.parse::<u64>().ok().filter(|number| (least..=most).contains(number));
    let is_small = text.starts_with('-') || text.parse::<u64>().is_ok_and(|number| number < least);
    // Units are said of many.
    let one = unit.strip_suffix('s').filter(|_| least == 1).unwrap_or(unit);
    let range = match (is_small, or_none) {
        (true, true) => format!("{least} {one} or more, or none"),
        (true, false) => format!("{least} {one} or more"),
        (false, _) => format!("{most} {unit} or fewer"),
    };
    Some(number.map(Set::Whole).ok_or((Wrong::Range { range }, None)))
}

/// `None`: this is no number.
fn share(text: &str) -> Option<Result<Set, Refusal>> {
    let (is_negative, number) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let range = |range: &str| Err((Wrong::Range { range: range.to_owned() }, None));
    if fraction.len() > 2 {
        return Some(range("a share with two digits behind the point at most"));
    }
    let percent = format!("{whole}{fraction:0<2}").parse::<u64>().unwrap_or(u64::MAX);
    Some(match u8::try_from(percent) {
        Ok(percent @ 1..=100) if !is_negative => Ok(Set::Percent(percent)),
        // Whoever writes 80 means 0.8.
        _ if !is_negative && (200..=10_000).contains(&percent) => {
            range("a share above 0 up to 1; 80 % is written as 0.8")
        }
        _ => range("a share above 0 up to 1"),
    })
}

/// Text on one line.
pub(super) fn line(text: &str, longest: usize) -> Result<String, Refusal> {
    match text.chars().count() {
        _ if text.trim().is_empty() => Err(form("it is empty; leave it out instead")),
        length if length > longest => Err(form(format!("it has more than {longest} characters"))),
        _ if text.chars().any(char::is_control) => Err(form("it has control characters in it")),
        _ => Ok(text.to_owned()),
    }
}

fn address(text: &str) -> Result<Set, Refusal> {
    let text = line(text, 2_000)?;
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    match host {
        None => Err(form("an address begins with https:// or http://")),
        Some("") => Err(form("the address names no host")),
        Some(host) if host.contains('@') => Err(form("an address has no name and no password in it")),
        _ if text.contains(['?', '#', ' ']) => Err(form("an address has no ?, no # and no blank in it")),
        Some(_) => Ok(Set::Text(text.trim_end_matches('/').to_owned())),
    }
}

fn file(text: &str) -> Result<Set, Refusal> {
    let text = line(text, 4_096)?;
    if text == "~" || text.starts_with("~/") {
        return Err(form("a ~ is not replaced by your home folder; write the whole path"));
    }
    Ok(Set::Text(text))
}

fn variable(text: &str) -> Result<Set, Refusal> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_variable = !text.is_empty() && text.len() <= 200 && text.chars().all(is_name);
    if !is_variable || text.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(form("this is no name of a variable of the environment; a secret itself never stands here"));
    }
    Ok(Set::Text(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: Kind = Kind::Whole { least: 1, most: 1_000, unit: "tokens", or_none: true };

    fn said(kind: Kind, written: Written<'_>) -> String {
        match read(kind, written) {
            Ok(set) => set.to_string(),
            Err((wrong, near)) => format!("{wrong}{}", near.map(|near| format!(" ({near}?)")).unwrap_or_default()),
        }
    }

    #[test]
    fn values_of_each_kind_are_read_and_others_refused() {
        let levels = Kind::OneOf(&["disk", "process", "volatile"]);
        let text = Kind::Text(10);
        let cases = [
            (TOKENS, Written::Plain("1000"), "1000"),
            (TOKENS, Written::Outside("1"), "1"),
            (TOKENS, Written::Plain("none"), "none"),
            (TOKENS, Written::Plain("0"), "it has to be 1 token or more, or none"),
            (TOKENS, Written::Plain("-5"), "it has to be 1 token or more, or none"),
            (TOKENS, Written::Plain("1001"), "it has to be 1000 tokens or fewer"),
            (TOKENS, Written::Plain("99999999999999999999999"), "it has to be 1000 tokens or fewer"),
            (TOKENS, Written::Plain("1e3"), "a whole number of tokens, or none, belongs here, and this is a number"),
            (TOKENS, Written::Plain("1_000"), "a whole number of tokens, or none, belongs here, and this is a number"),
            (TOKENS, Written::Plain("5.0"), "a whole number of tokens, or none, belongs here, and this is a number"),
            (TOKENS, Written::Plain("010"), "a whole number of tokens, or none, belongs here, and this is a number"),
            (
                TOKENS,
                Written::Quoted("5"),
                "a whole number of tokens, or none, belongs here, and this is a text in quotes",
            ),
            (
                TOKENS,
                Written::Plain("yes"),
                "a whole number of tokens, or none, belongs here, and this is a word that some take for true or false",
            ),
            (Kind::Share, Written::Plain("0.8"), "0.8"),
            (Kind::Share, Written::Plain("0.05"), "0.05"),
            (Kind::Share, Written::Plain("1"), "1"),
            (Kind::Share, Written::Plain("1.0"), "1"),
            (Kind::Share, Written::Plain("0"), "it has to be a share above 0 up to 1"),
            (Kind::Share, Written::Plain("-0.8"), "it has to be a share above 0 up to 1"),
            (Kind::Share, Written::Plain("1.01"), "it has to be a share above 0 up to 1"),
            (Kind::Share, Written::Plain("80"), "it has to be a share above 0 up to 1; 80 % is written as 0.8"),
            (Kind::Share, Written::Plain("0.805"), "it has to be a share with two digits behind the point at most"),
            (Kind::Share, Written::Plain("80%"), "a share as in 0.8 belongs here, and this is a word"),
            (Kind::Share, Written::Plain(".8"), "a share as in 0.8 belongs here, and this is a word"),
            (Kind::Switch, Written::Plain("true"), "true"),
            (Kind::Switch, Written::Outside("false"), "false"),
            (
                Kind::Switch,
                Written::Plain("yes"),
                "true or false belongs here, and this is a word that some take for true or false",
            ),
            (Kind::Switch, Written::Plain("1"), "true or false belongs here, and this is a number"),
            (Kind::Switch, Written::Quoted("true"), "true or false belongs here, and this is a text in quotes"),
            (levels, Written::Plain("disk"), "disk"),
            (levels, Written::Quoted("disk"), "disk"),
            (levels, Written::Plain("dsik"), "it is none of disk, process, volatile (disk?)"),
            (levels, Written::Plain("Disk"), "it is none of disk, process, volatile (disk?)"),
            (Kind::Store, Written::Plain("sled:./a"), "sled:./a"),
            (Kind::Store, Written::Plain("memory:"), "memory:"),
            (Kind::Address, Written::Plain("https://example.org/v1/"), "https://example.org/v1"),
            (
                Kind::Address,
                Written::Plain("https://me:hunter2@example.org"),
                "an address has no name and no password in it",
            ),
            (Kind::Address, Written::Plain("example.org"), "an address begins with https:// or http://"),
            (Kind::Address, Written::Plain("https://a?key=hunter2"), "an address has no ?, no # and no blank in it"),
            (Kind::File, Written::Plain("/a/b"), "/a/b"),
            (Kind::File, Written::Plain("~/b"), "a ~ is not replaced by your home folder; write the whole path"),
            (Kind::Variable, Written::Plain("OPENAI_API_KEY"), "OPENAI_API_KEY"),
            (
                Kind::Variable,
                Written::Plain("sk-hunter2"),
                "this is no name of a variable of the environment; a secret itself never stands here",
            ),
            (text, Written::Plain("ana"), "ana"),
            (text, Written::Quoted("5"), "5"),
            (text, Written::Outside("5"), "5"),
            (text, Written::Plain("5"), "a text (in quotes, if it is a number) belongs here, and this is a number"),
            (text, Written::Quoted("a\u{1b}[1m"), "it has control characters in it"),
            (text, Written::Quoted("12345678901"), "it has more than 10 characters"),
            (text, Written::Quoted(""), "it is empty; leave it out instead"),
            (text, Written::Quoted(" "), "it is empty; leave it out instead"),
            (Kind::Price, Written::Plain("2.50"), "2.5"),
            (
                Kind::Price,
                Written::Plain("0.0000001"),
                "a price of a million tokens has at most 6 digits behind the point",
            ),
            (Kind::Price, Written::Plain("-1"), "a price of a million tokens is a decimal number, as in 2.50"),
            (
                Kind::Price,
                Written::Plain("$2"),
                "the price of a million tokens, as in 2.50, belongs here, and this is a word",
            ),
            (Kind::Currency, Written::Plain("USD"), "USD"),
            (Kind::Currency, Written::Plain("usd"), "a currency is three capital letters, as in USD"),
            (Kind::Day, Written::Plain("2026-01-31"), "2026-01-31"),
            (Kind::Day, Written::Quoted("2026-02-30"), "a day is written as in 2026-01-31"),
        ];
        for (kind, written, expected) in cases {
            let store = crate::StoreUrl::sled("./a").to_string();
            assert!(!cfg!(feature = "sled") || store == "sled:./a");
            if cfg!(feature = "sled") || !matches!(written, Written::Plain("sled:./a")) {
                assert_eq!(said(kind, written), expected, "{written:?}");
            }
        }
    }

    #[test]
    fn what_is_shown_is_read_as_the_same() {
        for percent in 1..=100 {
            let shown = Set::Percent(percent).to_string();
            assert_eq!(read(Kind::Share, Written::Plain(&shown)), Ok(Set::Percent(percent)), "{shown}");
        }
    }
}
