//! Aligned tables for `status`, plans, proofs and closing reports.

use super::style::Style;
use super::text::{fit, pad, width};

const GAP: &str = "  ";

/// The rows below their headers, columns aligned by what the eye sees.
///
/// Cells hold one line each and may be coloured. Where the terminal is too
/// narrow, the last column is shortened; empty headers give a table without a head.
pub(crate) fn table(headers: &[&str], rows: &[Vec<String>], style: Style) -> String {
    let widths = widths(headers, rows);
    let mut text = String::new();
    if headers.iter().any(|header| !header.is_empty()) {
        let cells: Vec<String> = headers.iter().map(|header| style.dim(header)).collect();
        push_row(&mut text, &cells, &widths, style);
    }
    for row in rows {
        push_row(&mut text, row, &widths, style);
    }
    text
}

fn widths(headers: &[&str], rows: &[Vec<String>]) -> Vec<usize> {
    let columns = rows.iter().map(Vec::len).chain([headers.len()]).max().unwrap_or(0);
    (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| width(cell));
            let header = headers.get(column).map(|header| width(header));
            cells.chain(header).max().unwrap_or(0)
        })
        .collect()
}

fn push_row(text: &mut String, cells: &[String], widths: &[usize], style: Style) {
    let mut line = String::new();
    for (index, cell) in cells.iter().enumerate() {
        if index > 0 {
            line.push_str(GAP);
        }
        line.push_str(&pad(cell, widths[index]));
    }
    let line = line.trim_end();
    text.push_str(&style.columns.map_or_else(|| line.to_owned(), |columns| fit(line, columns)));
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Vec<String>> {
        [["主机", "12s", "all of it is well"], ["x", "1m 02s", ""]]
            .map(|row| row.map(str::to_owned).to_vec())
            .to_vec()
    }

    #[test]
    fn columns_align_by_width_and_lines_do_not_end_in_spaces() {
        let text = table(&["name", "time", "what"], &rows(), Style::PLAIN);
        assert_eq!(text, "name  time    what\n主机  12s     all of it is well\nx     1m 02s\n");
    }

    #[test]
    fn a_narrow_terminal_shortens_the_end_of_a_line() {
        let text = table(&["", "", ""], &rows(), Style { color: false, columns: Some(20) });
        assert_eq!(text, "主机  12s     all o…\nx     1m 02s\n");
    }

    #[test]
    fn colour_does_not_change_the_alignment() {
        let style = Style { color: true, columns: None };
        let mut rows = rows();
        rows[0][0] = style.good(&rows[0][0]);
        let text = table(&["name", "time", "what"], &rows, style);
        assert_eq!(
            console::strip_ansi_codes(&text),
            table(&["name", "time", "what"], &self::rows(), Style::PLAIN)
        );
    }
}
