//! The live part of a terminal: lines that are drawn again and again below
//! those that stay.
//!
//! Lines are written with real line ends and never padded, so a terminal that is
//! resized re-flows each by itself; how many rows the old lines take by now is
//! reckoned from their widths. The invariant: between two draws the cursor stands
//! at the end of the last live line, or at the start of an empty row.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::text::{fit, width};

const CLEAR_TO_END: &str = "\x1b[J";

/// The size of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub rows: usize,
    pub columns: usize,
}

/// The live lines at the end of `out`.
#[derive(Debug)]
pub(crate) struct Live<W> {
    out: W,
    /// Widths of the lines that are on the screen now.
    drawn: Vec<usize>,
}

impl<W: Write> Live<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, drawn: Vec::new() }
    }

    /// Replaces the live lines by `above`, which stay, and `lines`, which are live.
    pub(crate) fn draw(
        &mut self,
        above: &[String],
        lines: &[String],
        size: Size,
    ) -> io::Result<()> {
        let mut text = self.erasure(size);
        for line in above {
            text.push_str(line);
            text.push_str("\r\n");
        }
        // What does not fit on the screen could not be erased again.
        let shown = &lines[..lines.len().min(size.rows.saturating_sub(1))];
        let shown: Vec<String> = shown.iter().map(|line| fit(line, size.columns)).collect();
        text.push_str(&shown.join("\r\n"));
        self.drawn = shown.iter().map(|line| width(line)).collect();
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// Takes the live lines away.
    pub(crate) fn clear(&mut self, size: Size) -> io::Result<()> {
        let text = self.erasure(size);
        self.drawn.clear();
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// What brings the cursor to the first live line and empties all below it.
    fn erasure(&self, size: Size) -> String {
        if self.drawn.is_empty() {
            return String::new();
        }
        let columns = size.columns.max(1);
        let rows: usize = self.drawn.iter().map(|width| width.div_ceil(columns).max(1)).sum();
        let mut text = String::from("\r");
        if rows > 1 {
            // Writing to a string cannot fail.
            let _ = write!(text, "\x1b[{}A", rows - 1);
        }
        text.push_str(CLEAR_TO_END);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(live: &mut Live<Vec<u8>>) -> String {
        String::from_utf8(std::mem::take(&mut live.out)).unwrap()
    }

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(ToString::to_string).collect()
    }

    const WIDE: Size = Size { rows: 24, columns: 80 };

    #[test]
    fn a_second_draw_replaces_the_first_and_keeps_what_stays() {
        let mut live = Live::new(Vec::new());
        live.draw(&[], &lines(&["one", "two"]), WIDE).unwrap();
        assert_eq!(drawn(&mut live), "one\r\ntwo");
        live.draw(&lines(&["done"]), &lines(&["two"]), WIDE).unwrap();
        assert_eq!(drawn(&mut live), format!("\r\x1b[1A{CLEAR_TO_END}done\r\ntwo"));
        live.clear(WIDE).unwrap();
        assert_eq!(drawn(&mut live), format!("\r{CLEAR_TO_END}"));
        live.clear(WIDE).unwrap();
        assert_eq!(drawn(&mut live), "");
    }

    #[test]
    fn rows_that_a_narrower_terminal_made_are_erased_too() {
        let mut live = Live::new(Vec::new());
        live.draw(&[], &lines(&["12345678901234567890", "12345"]), WIDE).unwrap();
        drawn(&mut live);
        live.clear(Size { rows: 24, columns: 8 }).unwrap();
        assert!(drawn(&mut live).starts_with("\r\x1b[3A"));
    }

    #[test]
    fn a_low_terminal_gets_what_fits() {
        let mut live = Live::new(Vec::new());
        live.draw(&[], &lines(&["1", "2", "3"]), Size { rows: 3, columns: 80 }).unwrap();
        assert_eq!(drawn(&mut live), "1\r\n2");
    }
}
