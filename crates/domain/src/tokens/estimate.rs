//! Tokens of a text whose encoding nobody published, estimated by what it is made of.
//!
//! Encodings keep words, and take numbers, signs and what was encoded to pieces, so bytes alone tell little: of the same length,
//! base64 has nearly three times the tokens of prose. On conversations with tools this gives about a fifth more than `o200k_base` has,
//! which is what is told of the tokenizers that are not published, and seldom less, whatever the text.
//!
//! Must not know: any tokenizer.

/// A word has a token for so many letters begun.
const LETTERS: u64 = 5;
/// A number, for so many digits begun.
const DIGITS: u64 = 2;
/// Signs in a row, for so many begun; and the same sign over and over, or blanks, for so many more.
const SIGNS: u64 = 2;
const ALIKE: u64 = 16;
/// What was encoded is at least so long, and has this share of a token for each byte.
const ENCODED: usize = 24;
const OF_ENCODED: (u64, u64) = (7, 10);

/// Tokens of a text by a rule of thumb, by runs of the same kind:
///
/// | run | tokens |
/// |---|---|
/// | a word: capitals, small letters behind them | one for five letters begun |
/// | digits | one for two begun |
/// | signs | one for two begun; the same one over and over, one and one more for each sixteen |
/// | blanks | one, and one more for each sixteen; none for a single space |
/// | other scripts | half a token for a letter of Cyrillic, three quarters for another of two bytes, one for one of three, two and a half for one of four |
/// | 24 bytes or more of letters of both cases and digits, mixed as base64 mixes them | 0.7 for each byte |
///
/// A text that is not empty has at least one, and none has more than bytes.
pub fn estimate_text(text: &str) -> u64 {
    let mut rest = text.as_bytes();
    let mut tokens = 0_u64;
    while let Some(first) = rest.first() {
        let kind = Kind::of(*first);
        let (run, behind) = split(rest, |byte| Kind::of(byte) == kind);
        tokens = tokens.saturating_add(match kind {
            Kind::Blank if run == b" " => 0,
            Kind::Blank => alike(run),
            Kind::Sign => of_signs(run),
            Kind::Plain if is_encoded(run) => (run.len() as u64).saturating_mul(OF_ENCODED.0).div_ceil(OF_ENCODED.1),
            Kind::Plain => of_plain(run),
            Kind::Other => of_other(run),
        });
        rest = behind;
    }
    if text.is_empty() { 0 } else { tokens.max(1) }
}

/// What a byte belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Letters, digits, and the signs that join them in names, paths and base64.
    Plain,
    Blank,
    Sign,
    Other,
}

impl Kind {
    const fn of(byte: u8) -> Self {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'+' | b'/' | b'-' | b'_' => Self::Plain,
            b' ' | b'\n' | b'\r' | b'\t' => Self::Blank,
            0x80.. => Self::Other,
            _ => Self::Sign,
        }
    }
}

/// The longest run of such bytes at the beginning, and what is behind it.
fn split(bytes: &[u8], is_of_run: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let length = bytes.iter().take_while(|byte| is_of_run(**byte)).count();
    bytes.split_at_checked(length).unwrap_or((bytes, &[]))
}

fn alike(run: &[u8]) -> u64 {
    1 + run.len() as u64 / ALIKE
}

fn of_signs(run: &[u8]) -> u64 {
    let is_alike = run.windows(2).all(|two| two.first() == two.last());
    if is_alike { alike(run) } else { (run.len() as u64).div_ceil(SIGNS) }
}

fn of_plain(mut run: &[u8]) -> u64 {
    let mut tokens = 0_u64;
    while let Some(first) = run.first() {
        let (length, of_run) = if first.is_ascii_digit() {
            let (digits, behind) = split(run, |byte| byte.is_ascii_digit());
            (behind.len(), (digits.len() as u64).div_ceil(DIGITS))
        } else if first.is_ascii_alphabetic() {
            let (_, behind) = split(run, |byte| byte.is_ascii_uppercase());
            let (_, behind) = split(behind, |byte| byte.is_ascii_lowercase());
            (behind.len(), ((run.len() - behind.len()) as u64).div_ceil(LETTERS))
        } else {
            let (signs, behind) = split(run, |byte| !byte.is_ascii_alphanumeric());
            (behind.len(), of_signs(signs))
        };
        tokens = tokens.saturating_add(of_run);
        run = run.get(run.len() - length..).unwrap_or_default();
    }
    tokens
}

/// Whether it is base64 or the like rather than a name: letters change their case at every second or third place.
fn is_encoded(run: &[u8]) -> bool {
    let has = |kind: fn(&u8) -> bool| run.iter().any(kind);
    let changes = run.windows(2).filter(|two| {
        let is_small = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_lowercase);
        is_small(two.first()) != is_small(two.last())
    });
    run.len() >= ENCODED
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_digit)
        && changes.count() * 3 > run.len()
}

/// By the first byte of each letter, in quarters.
fn of_other(run: &[u8]) -> u64 {
    let quarters = run.iter().map(|byte| match byte {
        // Cyrillic is kept in larger pieces.
        0xD0..0xD4 => 2,
        0xC0..0xE0 => 3,
        0xE0..0xF0 => 4,
        0xF0.. => 10,
        _ => 0,
    });
    quarters.sum::<u64>().div_ceil(4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_kind_of_run_has_its_tokens() {
        let cases = [
            ("", 0),
            (" ", 1),
            ("a", 1),
            ("hello", 1),
            ("sayings", 2),
            ("two words", 2),
            ("camelCaseName", 3),
            ("HTTPServer", 2),
            ("snake_case", 3),
            ("1234567", 4),
            ("a\n        b", 3),
            ("\"},", 2),
            ("----------------", 2),
            ("é", 1),
            ("жизнь", 3),
            ("λόγος", 4),
            ("日本語", 3),
            ("🚀🚀", 5),
            ("0123456789abcdef0123456789abcdef", 14),
            ("aGVsbG8gV29ybGQxMjM0NTY3ODk", 19),
            ("internationalisationOfProgramme42", 8),
        ];
        for (text, tokens) in cases {
            assert_eq!(estimate_text(text), tokens, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_some_and_no_more_than_bytes(text in "\\PC{1,300}|[ -~\\n]{1,300}|[A-Za-z0-9+/]{1,300}") {
            let tokens = estimate_text(&text);
            prop_assert!((1..=text.len() as u64).contains(&tokens), "{tokens}");
            let longer = estimate_text(&(text + " word"));
            prop_assert!(longer >= tokens, "{longer} {tokens}");
        }
    }
}
