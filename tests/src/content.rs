//! Messages that can be told to be right from themselves alone: each names its writer, its place and its append.
//!
//! Must not know: where messages are kept.

use std::str::FromStr;

use crate::chance::Chance;

/// So many characters tell a message from others.
const LEAST: usize = 16;

/// What a message says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// The writer, who has a session of its own.
    pub writer: u64,
    /// The first and the last record of the append it is part of.
    pub first: u64,
    /// See `first`.
    pub last: u64,
    /// Its record.
    pub seq: u64,
    /// Characters that follow, at least 16.
    pub length: usize,
}

/// How large messages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Up to some hundred bytes, now and then some thousand.
    Small,
    /// As small, and now and then too large to be kept in a segment.
    Mixed,
    /// Some thousand bytes, so that a disk is soon full.
    Page,
    /// Always too large to be kept in a segment.
    Large,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "small" => Ok(Self::Small),
            "mixed" => Ok(Self::Mixed),
            "page" => Ok(Self::Page),
            "large" => Ok(Self::Large),
            _ => Err(format!("{text} is no size")),
        }
    }
}

impl Size {
    /// The length of one message.
    pub fn length(self, chance: &mut Chance) -> usize {
        let (rare, length) = (chance.below(128), LEAST + usize::try_from(chance.below(400)).unwrap_or(0));
        match self {
            Self::Small | Self::Mixed if rare < 4 => 4096 + length,
            Self::Mixed if rare == 4 => 70_000 + length,
            Self::Small | Self::Mixed => length,
            Self::Page => 1024 + 64 * length,
            Self::Large => 66_000 + length,
        }
    }
}

impl Content {
    /// The text of the message.
    pub fn text(&self) -> String {
        let Self { writer, first, last, seq, length } = *self;
        let mut text = format!("{writer}/{first}/{last}/{seq}/{length}/");
        let whole = text.len() + length;
        // What follows depends on all that is said before.
        let said = [writer, first, last, seq, length as u64];
        let mut chance = said.iter().fold(Chance::of(0), |mut before, next| Chance::of(before.number() ^ next));
        while text.len() < whole {
            // Sixteen of its digits at a time, except at the end.
            let digits = format!("{:016x}", chance.number());
            text.push_str(digits.get(..whole - text.len()).unwrap_or(&digits));
        }
        text
    }

    /// What a text says about itself, when it is a whole one.
    pub fn of(text: &str) -> Option<Self> {
        let mut parts = text.splitn(6, '/');
        let mut number = || parts.next()?.parse::<u64>().ok();
        let (writer, first, last, seq, length) = (number()?, number()?, number()?, number()?, number()?);
        let content = Self { writer, first, last, seq, length: usize::try_from(length).ok()? };
        (content.length >= LEAST && content.text() == text).then_some(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_known_by_itself_and_any_change_of_it_shows() {
        for length in [16, 17, 31, 32, 33, 300] {
            let content = Content { writer: 3, first: 7, last: 9, seq: 8, length };
            let text = content.text();
            assert_eq!(Content::of(&text), Some(content));
            for at in 0..text.len() {
                let mut changed = text.clone().into_bytes();
                changed[at] ^= 1;
                let changed = String::from_utf8(changed).unwrap();
                assert_eq!(Content::of(&changed), None, "{changed}");
                assert_eq!(Content::of(&text[..at]), None);
            }
        }
    }
}
