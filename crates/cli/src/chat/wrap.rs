//! Where a text that comes bit by bit is broken into the lines of a terminal: between words.
//!
//! A word is printed as far as it came. When it turns out to be longer than its line, it is taken back and begun on the next one.
//!
//! Must not know: how anything is printed.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Between two stops of the tabulator.
const TAB: usize = 8;

/// What to print next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Text(String),
    /// Takes back so many columns, above 0.
    Back(usize),
}

/// Where the cursor stands, and behind which beginning of a word.
#[derive(Debug, Default)]
pub(super) struct Wrap {
    column: usize,
    word: String,
    /// Terminals differ in how wide the word is, so it stays where it is.
    is_odd: bool,
}

impl Wrap {
    /// The column of the cursor, from 0.
    pub(super) fn column(&self) -> usize {
        self.column
    }

    /// The cursor stands at the beginning of a line.
    pub(super) fn restart(&mut self) {
        *self = Self::default();
    }

    fn end_word(&mut self) {
        self.word.clear();
        self.is_odd = false;
    }

    /// What to print of more text, on a terminal of so many columns.
    pub(super) fn take(&mut self, text: &str, width: usize) -> Vec<Step> {
        // The last column stays free: behind a letter in it terminals differ in where the cursor is.
        let most = width.saturating_sub(1).max(1);
        let (mut steps, mut out) = (Vec::new(), String::new());
        for letter in text.chars() {
            let wide = letter.width().unwrap_or(0);
            let is_over = self.column.saturating_add(wide) > most;
            match letter {
                '\n' => self.restart(),
                '\t' => {
                    self.end_word();
                    self.column = ((self.column / TAB + 1) * TAB).min(most);
                }
                blank if blank.is_whitespace() && is_over => {
                    // The line's end stands for it.
                    self.restart();
                    out.push('\n');
                    continue;
                }
                blank if blank.is_whitespace() => {
                    self.end_word();
                    self.column += wide;
                }
                letter => {
                    if is_over {
                        self.next_line(wide, most, &mut steps, &mut out);
                    }
                    self.column += wide;
                    self.word.push(letter);
                    if wide > 1 {
                        // Between such letters a line may end anywhere.
                        self.end_word();
                    }
                    self.is_odd |= matches!(letter, '\u{200d}' | '\u{fe0f}');
                }
            }
            out.push(letter);
        }
        if !out.is_empty() {
            steps.push(Step::Text(out));
        }
        steps
    }

    /// Goes to the next line, with the beginning of the word where that fits there.
    fn next_line(&mut self, wide: usize, most: usize, steps: &mut Vec<Step>, out: &mut String) {
        let moved = self.word.width();
        if moved == 0 || moved >= self.column || moved + wide > most || self.is_odd {
            self.restart();
            out.push('\n');
            return;
        }
        if !out.is_empty() {
            steps.push(Step::Text(std::mem::take(out)));
        }
        steps.push(Step::Back(moved));
        out.push('\n');
        out.push_str(&self.word);
        self.column = moved;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a terminal of narrow letters shows.
    fn shown(pieces: &[&str], width: usize) -> Vec<String> {
        let (mut wrap, mut lines) = (Wrap::default(), vec![String::new()]);
        for step in pieces.iter().flat_map(|piece| wrap.take(piece, width)) {
            let line = lines.last_mut().unwrap();
            match step {
                Step::Back(columns) => line.truncate(line.len() - columns),
                Step::Text(text) => {
                    let mut parts = text.split('\n');
                    line.push_str(parts.next().unwrap());
                    lines.extend(parts.map(str::to_owned));
                }
            }
        }
        lines.into_iter().map(|line| line.trim_end().to_owned()).collect()
    }

    #[test]
    fn a_line_ends_between_words_however_the_text_is_cut() {
        let text = "one two three\nfour five six seven supercalifragilistic\n\n  a bc";
        let lines = ["one two", "three", "four five", "six seven", "supercalif", "ragilistic", "", "  a bc"];
        for cut in 0..=text.len() {
            let (first, rest) = text.split_at(cut);
            assert_eq!(shown(&[first, rest], 11), lines, "{cut}");
        }
        let letters: Vec<String> = text.chars().map(String::from).collect();
        assert_eq!(shown(&letters.iter().map(String::as_str).collect::<Vec<_>>(), 11), lines);
    }

    #[test]
    fn wide_letters_end_a_line_anywhere_and_nothing_is_lost() {
        let steps = Wrap::default().take("日本語日本語", 8);
        assert_eq!(steps, [Step::Text("日本語\n日本語".to_owned())]);
        assert_eq!(Wrap::default().take("a\tb", 80), [Step::Text("a\tb".to_owned())]);
        let mut wrap = Wrap::default();
        wrap.take("ab \u{2764}\u{fe0f}x", 80);
        assert!(wrap.take("yz", 6).iter().all(|step| matches!(step, Step::Text(_))), "nobody knows how wide it is");
    }
}
