//! Text whose every character shows.
//!
//! Must not know: marks of any page.

/// The text with each character that would steer a terminal, turn the direction of a text or hide itself as an escape. Line breaks and tabs
/// stay; a carriage return before a line break is dropped.
pub(in super::super) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\n' | '\t' => out.push(c),
            '\r' if characters.peek() == Some(&'\n') => {}
            c if c.is_control() || is_hidden(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// Marks of direction, separators of lines, annotations, tags and what has no width. The joiners are left: scripts and emoji need them.
fn is_hidden(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_or_hides_is_shown() {
        assert_eq!(plain("a\r\n\tb"), "a\n\tb");
        assert_eq!(plain("\u{1b}[31m\u{9b}x\r"), "\\u{1b}[31m\\u{9b}x\\u{d}");
        assert_eq!(plain("\u{202e}a\u{2066}b\u{feff}\u{e0041}"), "\\u{202e}a\\u{2066}b\\u{feff}\\u{e0041}");
        assert_eq!(plain("\u{1f468}\u{200d}\u{1f469} é 漢"), "\u{1f468}\u{200d}\u{1f469} é 漢");
    }
}
