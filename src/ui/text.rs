//! Text for people: durations, sizes, and lines that fit their columns.
//!
//! What comes from outside (a child's words, a path, a host's name) passes [`clean`]
//! before it is shown.

use console::{measure_text_width, truncate_str};

pub(crate) use super::clean::{clean, clean_line};

/// `12s`, `1m 05s`, `1h 02m`; tenths below one second.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        _ if seconds > 0.0 && seconds < 0.95 => format!("{seconds:.1}s"),
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        _ => format!("{}h {:02}m", whole / 3600, whole % 3600 / 60),
    }
}

/// A limit in round figures: `10m`, `1m 30s`.
pub(crate) fn limit(seconds: u64) -> String {
    let text = duration(seconds as f64);
    text.strip_suffix(" 00s").or_else(|| text.strip_suffix(" 00m")).unwrap_or(&text).to_owned()
}

const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

/// The unit in which `bytes` has one to four digits, as its index and divisor.
fn unit(bytes: u64) -> (usize, f64) {
    let mut index = 0;
    let mut divisor = 1.0;
    while index + 1 < UNITS.len() && bytes as f64 / divisor >= 1000.0 {
        index += 1;
        divisor *= 1024.0;
    }
    (index, divisor)
}

fn digits(value: f64, index: usize) -> String {
    if index > 0 && value < 9.95 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// `512 B`, `9.8 MiB`, `238 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    let (index, divisor) = unit(count);
    format!("{} {}", digits(count as f64 / divisor, index), UNITS[index])
}

/// Writes a size for reports, to one decimal: `8.0 GiB`.
pub(crate) fn size(count: u64) -> String {
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// `121/238 MiB`: both in the unit of the whole.
pub(crate) fn bytes_of(done: u64, total: u64) -> String {
    let (index, divisor) = unit(total);
    let whole = digits(total as f64 / divisor, index);
    let decimals = usize::from(whole.contains('.'));
    format!("{:.decimals$}/{whole} {}", done as f64 / divisor, UNITS[index])
}

/// How many columns `text` takes, escape codes not counted.
pub(crate) fn width(text: &str) -> usize {
    measure_text_width(text)
}

/// `text` in at most `columns` columns, with … where something is missing.
pub(crate) fn fit(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    match columns {
        0 => String::new(),
        _ => truncate_str(text, columns, "…").into_owned(),
    }
}

/// `text` and spaces up to `columns`.
pub(crate) fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// The first line of `text` that says something.
pub(crate) fn first_line(text: &str) -> String {
    let text = clean(text);
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

/// The lines of `text`, broken at spaces where they are longer than `columns`.
///
/// A word that is longer than a line (a path, a key) is left whole: it must stay
/// fit for copying, and the terminal breaks it.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines() {
        if width(line) <= columns {
            lines.push(line.trim_end().to_owned());
            continue;
        }
        let indent: String = line.chars().take_while(|c| *c == ' ').collect();
        let mut current = String::new();
        for word in line.split_whitespace() {
            if !current.is_empty() && width(&current) + 1 + width(word) > columns {
                lines.push(std::mem::take(&mut current));
            }
            current.push_str(if current.is_empty() { &indent } else { " " });
            current.push_str(word);
        }
        lines.push(current);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        let cases = [
            (0.0, "0s"),
            (0.44, "0.4s"),
            (0.97, "1s"),
            (59.4, "59s"),
            (59.6, "1m 00s"),
            (125.0, "2m 05s"),
            (3720.0, "1h 02m"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(duration(seconds), expected);
        }
        assert_eq!([600, 90, 7200, 45].map(limit), ["10m", "1m 30s", "2h", "45s"]);
    }

    #[test]
    fn sizes_have_binary_units_and_few_digits() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 KiB"),
            (10_276_045, "9.8 MiB"),
            (249_561_088, "238 MiB"),
            (5 << 40, "5.0 TiB"),
            (u64::MAX, "16777216 TiB"),
        ];
        for (count, expected) in cases {
            assert_eq!(bytes(count), expected);
        }
        assert_eq!(bytes_of(12_582_912, 249_561_088), "12/238 MiB");
        assert_eq!(bytes_of(0, 0), "0/0 B");
    }

    #[test]
    fn fitting_counts_columns_and_not_characters() {
        assert_eq!(fit("主机名字", 5), "主机…");
        assert_eq!(fit("héllo", 5), "héllo");
        assert_eq!(fit("hello", 0), "");
        assert_eq!(pad("主", 4), "主  ");
    }

    #[test]
    fn the_first_line_is_the_first_that_says_something() {
        assert_eq!(first_line("\n  \n  a\nb"), "a");
    }

    #[test]
    fn wrapping_keeps_indents_line_ends_and_long_words() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("  one two\nx", 7), ["  one", "  two", "x"]);
        assert_eq!(wrap("a /nix/store/averylongpath b", 9), ["a", "/nix/store/averylongpath", "b"]);
    }
}
