//! Aligned columns, by the width that letters have on a terminal.
//!
//! Must not know: what stands in them.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::{
    failure::Failure,
    output::{Output, Style},
    visible,
};

/// Which way a column leans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Left(&'static str),
    Right(&'static str),
    /// As [`Self::Left`], cut further where the terminal is too narrow.
    Cut(&'static str),
}

impl Column {
    fn name(self) -> &'static str {
        match self {
            Self::Left(name) | Self::Right(name) | Self::Cut(name) => name,
        }
    }
}

/// The widest that a cell gets.
const WIDEST: usize = 60;

/// The narrowest that a cell is cut to.
const NARROWEST: usize = 8;

/// Between two columns.
const GAP: usize = 2;

/// Rows of cells.
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        Self { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row. Cells are content: they are made visible and cut to a width here.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| cut(&visible::on_one_line(&cell), WIDEST)).collect());
    }

    pub(crate) fn print(&self, out: &Output) -> Result<(), Failure> {
        let widths = self.widths(out.width());
        let names: Vec<String> = self.columns.iter().map(|column| column.name().to_owned()).collect();
        self.print_row(out, &names, &widths, Style::Strong)?;
        self.rows.iter().try_for_each(|row| self.print_row(out, row, &widths, Style::Plain))
    }

    /// The widths of all columns, within that of the terminal as far as can be.
    fn widths(&self, within: Option<usize>) -> Vec<usize> {
        let columns = self.columns.iter().enumerate();
        let mut widths: Vec<usize> = columns.map(|(at, column)| self.width(at, *column)).collect();
        let Some(within) = within else { return widths };
        while widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1) > within {
            let columns = self.columns.iter().zip(&mut widths);
            let cut = columns.filter(|(column, width)| matches!(column, Column::Cut(_)) && **width > NARROWEST);
            match cut.map(|(_, width)| width).max() {
                Some(widest) => *widest -= 1,
                None => break,
            }
        }
        widths
    }

    fn width(&self, at: usize, column: Column) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.width());
        cells.chain([column.name().width()]).max().unwrap_or(0)
    }

    fn print_row(&self, out: &Output, cells: &[String], widths: &[usize], style: Style) -> Result<(), Failure> {
        let mut line = String::new();
        for ((cell, width), column) in cells.iter().zip(widths).zip(&self.columns) {
            let cell = &cut(cell, *width);
            let fill = " ".repeat(width.saturating_sub(cell.width()));
            match column {
                Column::Left(_) | Column::Cut(_) => {
                    out.paint(&mut line, style, cell);
                    line.push_str(&fill);
                }
                Column::Right(_) => {
                    line.push_str(&fill);
                    out.paint(&mut line, style, cell);
                }
            }
            line.push_str(&" ".repeat(GAP));
        }
        out.painted(&line)
    }
}

/// A digest as hexadecimal letters.
pub(crate) fn in_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A number with its word: `1 message`, `2 messages`.
pub(crate) fn counted(number: u64, word: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {word}{plural}")
}

/// The text, or its beginning and an ellipsis, at most so wide.
pub(crate) fn cut(text: &str, widest: usize) -> String {
    if text.width() <= widest {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut width = 1;
    for c in text.chars() {
        width += c.width().unwrap_or(0);
        if width > widest {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out
}

/// The text in lines that end between words, each at most so wide where its words are, and indented as the first one.
pub(crate) fn folded(text: &str, widest: usize) -> Vec<String> {
    let indent = " ".repeat(text.len() - text.trim_start_matches(' ').len());
    let (mut lines, mut line) = (Vec::new(), indent.clone());
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if line.len() > indent.len() {
            if line.width() + 1 + word.width() > widest {
                lines.push(std::mem::replace(&mut line, indent.clone()));
            } else {
                line.push(' ');
            }
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_folded_between_words() {
        assert_eq!(folded("  one two three", 9), ["  one two", "  three"]);
        assert_eq!(folded("one unbreakable", 5), ["one", "unbreakable"]);
        assert_eq!(folded("日本 日本", usize::MAX), ["日本 日本"]);
        assert_eq!(folded("", 5), [""]);
    }

    #[test]
    fn a_table_is_as_wide_as_the_terminal_where_it_can_be() {
        let mut table = Table::new([Column::Left("ID"), Column::Cut("TITLE"), Column::Cut("TAGS")]);
        table.row(["i".repeat(26), "t".repeat(50), "g".repeat(20)]);
        assert_eq!(table.widths(None), [26, 50, 20]);
        assert_eq!(table.widths(Some(200)), [26, 50, 20]);
        assert_eq!(table.widths(Some(80)), [26, 30, 20]);
        assert_eq!(table.widths(Some(60)), [26, 15, 15]);
        assert_eq!(table.widths(Some(10)), [26, 8, 8], "an id is whole, so that it can be used");
    }

    #[test]
    fn a_cut_is_never_wider_than_asked() {
        assert_eq!(cut("short", 10), "short");
        assert_eq!(cut("longer than that", 7), "longer…");
        assert_eq!(cut("日本語日本語", 6), "日本…");
        assert!(cut(&"👩‍💻é\u{301}".repeat(40), 60).width() <= 60);
    }
}
