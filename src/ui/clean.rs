//! What others wrote, made fit for a terminal.
//!
//! Names, errors and answers come from targets, servers and repositories. Raw on a
//! terminal, they could move the cursor, rewrite a question, change the clipboard or turn
//! text around. All that people see passes here: questions, events, and what commands
//! print. JSON keeps such characters, escaped.

use std::io::{self, Write};

use crate::run::event::{Event, Progress, Stamped};
use crate::run::step::Evidence;

/// Removes escape sequences and characters that are not seen; line ends stay, tabs become
/// spaces.
pub(crate) fn clean(text: &str) -> String {
    filtered(text, false)
}

/// Does the same, for what takes one line: line ends become spaces, too.
pub(crate) fn clean_line(text: &str) -> String {
    clean(text).replace('\n', " ")
}

/// Gives `json` with each character that a terminal would obey as its escape.
pub(crate) fn escape_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        // Between the strings there are only line ends.
        if c == '\n' || !is_unseen(c) {
            escaped.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            escaped.push_str(&format!("\\u{unit:04x}"));
        }
    }
    escaped
}

/// Gives an event as people may see it.
pub(crate) fn for_people(stamped: &Stamped) -> Stamped {
    let event = match &stamped.event {
        Event::RunStarted { run, strategy, target, log, resumed } => Event::RunStarted {
            run: run.clone(),
            strategy: clean_line(strategy),
            target: clean_line(target),
            log: log.as_deref().map(clean_line),
            resumed: *resumed,
        },
        Event::Phase { phase } => Event::Phase { phase: clean_line(phase) },
        Event::StepStarted { title } => Event::StepStarted { title: clean(title) },
        Event::StepEnded { ending, evidence, seconds } => Event::StepEnded {
            ending: *ending,
            evidence: Evidence { summary: clean(&evidence.summary), ..evidence.clone() },
            seconds: *seconds,
        },
        Event::StepFailed { what, why, hint, seconds } => Event::StepFailed {
            what: clean(what),
            why: clean(why),
            hint: clean(hint),
            seconds: *seconds,
        },
        Event::Progress { progress } => Event::Progress {
            progress: Progress { label: clean_line(&progress.label), ..progress.clone() },
        },
        Event::Note { text } => Event::Note { text: clean(text) },
        Event::Warning { text } => Event::Warning { text: clean(text) },
        Event::Waiting { what, deadline_seconds } => {
            Event::Waiting { what: clean(what), deadline_seconds: *deadline_seconds }
        }
        Event::Arrived { what } => Event::Arrived { what: clean(what) },
        Event::RunEnded { .. } => stamped.event.clone(),
    };
    Stamped { host: clean_line(&stamped.host), event, ..stamped.clone() }
}

/// Lets text and landfall's own colours through to `out`, line by line.
#[derive(Debug)]
pub(crate) struct Cleaned<W: Write> {
    out: W,
    /// A line that is not complete.
    begun: Vec<u8>,
}

impl<W: Write> Cleaned<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, begun: Vec::new() }
    }

    fn pass(&mut self, end: usize) -> io::Result<()> {
        let text: Vec<u8> = self.begun.drain(..end).collect();
        let text = filtered(&String::from_utf8_lossy(&text), true);
        self.out.write_all(text.as_bytes())
    }
}

impl<W: Write> Write for Cleaned<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begun.extend_from_slice(bytes);
        if let Some(end) = self.begun.iter().rposition(|byte| *byte == b'\n') {
            self.pass(end + 1)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass(self.begun.len())?;
        self.out.flush()
    }
}

impl<W: Write> Drop for Cleaned<W> {
    fn drop(&mut self) {
        // Whoever wants to know of a failure flushes before.
        let _ = self.flush();
    }
}

fn filtered(text: &str, colours: bool) -> String {
    let mut seen = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '\x1b' if colours && let Some(length) = colour(after) => {
                seen.push_str(&rest[..1 + length]);
                &after[length..]
            }
            '\x1b' => after_escape(after),
            '\u{9b}' => after_control(after),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => after_string(after),
            _ => {
                match c {
                    '\n' => seen.push('\n'),
                    '\t' => seen.push(' '),
                    c if is_unseen(c) => {}
                    c => seen.push(c),
                }
                after
            }
        };
    }
    seen
}

/// How many bytes after ESC only set colour or weight, and hide nothing.
fn colour(after: &str) -> Option<usize> {
    let parameters = after.strip_prefix('[')?;
    let end = parameters.find(|c: char| !(c.is_ascii_digit() || c == ';'))?;
    let conceals = parameters[..end].split(';').any(|parameter| parameter == "8");
    (parameters[end..].starts_with('m') && !conceals).then_some(end + 2)
}

/// What follows an escape sequence, of which ESC is behind.
fn after_escape(text: &str) -> &str {
    let Some(first) = text.chars().next() else { return text };
    match first {
        '[' => after_control(&text[1..]),
        ']' | 'P' | 'X' | '^' | '_' => after_string(&text[1..]),
        ' '..='~' => {
            let text = text.trim_start_matches(|c| (' '..='/').contains(&c));
            text.strip_prefix(|c| ('0'..='~').contains(&c)).unwrap_or(text)
        }
        _ => text,
    }
}

/// What follows a control sequence, of which the introducer is behind.
fn after_control(text: &str) -> &str {
    let text = text.trim_start_matches(|c| (' '..='?').contains(&c));
    text.strip_prefix(|c| ('@'..='~').contains(&c)).unwrap_or(text)
}

/// What follows a string for the terminal. One without an end hides nothing.
fn after_string(text: &str) -> &str {
    let line = text.split('\n').next().unwrap_or_default();
    let ends = [("\x07", 1), ("\x1b\\", 2), ("\u{9c}", 2)];
    let end = ends.iter().filter_map(|(end, length)| Some(line.find(end)? + length)).min();
    end.map_or(text, |end| &text[end..])
}

/// Whether a terminal obeys `c`, or shows nothing for it: controls, marks of direction,
/// characters without width.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{13430}'..='\u{1345f}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn foreign_text_can_neither_move_nor_hide_nor_turn() {
        let cases = [
            ("\x1b[31mred\x1b[0m\r\x07\tx\ny", "red x\ny"),
            ("a\x1b]0;title\x07b\x1b]52;c;cm0=\x1b\\c", "abc"),
            ("a\u{9b}2Jb\u{9d}0;t\u{9c}c\x1bP1$q\x1b\\d", "abcd"),
            ("a\x1b]0;never ends\nb", "a0;never ends\nb"),
            ("a\x1b(0b\x1b7c\x1b#8d\x1b", "abcd"),
            ("a\x1b[", "a"),
            ("\u{202e}gnp\u{202c}.\u{200b}\u{feff}\u{2066}x\u{e0041}", "gnp.x"),
            ("Ström 主机 – “x” 🖥", "Ström 主机 – “x” 🖥"),
        ];
        for (text, expected) in cases {
            assert_eq!(clean(text), expected, "{text:?}");
        }
        assert_eq!(clean_line("a\nb"), "a b");
    }

    #[test]
    fn what_commands_print_keeps_its_colours_alone() {
        let mut out = Vec::new();
        let mut cleaned = Cleaned::new(&mut out);
        for part in ["\x1b[32mok\x1b[0m \x1b[2", "Jx\x1b[8mhid\x1b[0m \u{e4}", "\nend\r"] {
            cleaned.write_all(part.as_bytes()).unwrap();
        }
        drop(cleaned);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "\x1b[32mok\x1b[0m xhid\x1b[0m ä\nend");
    }

    #[test]
    fn json_says_the_same_in_characters_that_nobody_obeys() {
        let text = "a\u{9b}2J\u{202e}\u{e0041}ä";
        let json = escape_json(&serde_json::to_string(text).unwrap());
        assert_eq!(json, r#""a\u009b2J\u202e\udb40\udc41ä""#);
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    proptest! {
        #[test]
        fn whatever_comes_only_seen_characters_are_left(text in ".{0,40}|[\x1b\u{9b}\\[\\]0-9;mP~\u{9c}\x07a]{0,40}") {
            prop_assert!(clean(&text).chars().all(|c| c == '\n' || !is_unseen(c)));
            prop_assert_eq!(clean(&clean(&text)), clean(&text));
        }
    }
}
