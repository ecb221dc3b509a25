//! Text that no terminal obeys: what would move its cursor, change its colours or turn its letters around is written out.
//!
//! Must not know: what the text is.

use std::borrow::Cow;

/// True for what a terminal or a reader's eye may take as an order: C0, DEL, C1, line separators, and marks that turn writing around.
fn is_order(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The text on one line, with every order written out as `\u{1b}`.
pub(crate) fn on_one_line(text: &str) -> Cow<'_, str> {
    written_out(text, |_| false)
}

/// The text with its lines and tabs, and every other order written out.
pub(crate) fn with_lines(text: &str) -> Cow<'_, str> {
    written_out(text, |c| matches!(c, '\n' | '\t'))
}

fn written_out(text: &str, keeps: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_written_out = |c: char| is_order(c) && !keeps(c);
    if !text.contains(is_written_out) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !is_written_out(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => out.extend(c.escape_unicode()),
        }
    }
    Cow::Owned(out)
}

/// JSON on one line that no terminal obeys. It stays the same JSON: inside of strings orders become `\u` escapes, and outside there are
/// none but blanks.
pub(crate) fn json_on_one_line(json: &str) -> Cow<'_, str> {
    if !json.contains(is_order) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        match c {
            '\n' | '\r' | '\t' => out.push(' '),
            c if is_order(c) => {
                // All of them lie in the basic plane, so one escape is enough.
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_written_out_and_words_stay() {
        assert_eq!(on_one_line("a\u{1b}[31mb\n\tc\u{9b}d"), "a\\u{1b}[31mb\\n\\tc\\u{9b}d");
        assert_eq!(with_lines("a\n\tb\r\u{7f}"), "a\n\tb\\r\\u{7f}");
        assert_eq!(on_one_line("pay \u{202e}000,1"), "pay \\u{202e}000,1");
        assert_eq!(on_one_line("ünï 日本 👩‍💻"), "ünï 日本 👩‍💻");
    }

    #[test]
    fn no_order_is_left_whatever_the_text() {
        for code in (0..=0x3000_u32).chain(0xfe00..=0xffff) {
            let Some(c) = char::from_u32(code) else { continue };
            let text = format!("a{c}b");
            assert!(!on_one_line(&text).contains(is_order), "{code:x}");
            let json = serde_json::to_string(&text).unwrap();
            let shown = json_on_one_line(&json);
            assert!(!shown.contains(is_order), "{code:x}");
            assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text, "{code:x}");
        }
    }

    #[test]
    fn raw_json_of_several_lines_becomes_one() {
        let shown = json_on_one_line("{\n  \"a\":\t1\r\n}");
        assert_eq!(shown.lines().count(), 1);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), serde_json::json!({"a": 1}));
    }
}
