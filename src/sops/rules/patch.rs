//! Inserts and removes members of YAML collections, as byte replacements.
//!
//! A member of a block collection is one or more whole lines; a member of a flow collection is
//! between commas.
//!
//! Invariant: [`Patch::remove`] reverses [`Patch::insert_after`] byte for byte.

use std::ops::Range;

use super::yaml::{Kind, Node, Position, YamlStyle, position};

/// Replacements for one text.
#[derive(Debug)]
pub(crate) struct Patch<'a> {
    text: &'a str,
    replacements: Vec<(Range<usize>, String)>,
}

/// A change that is not possible without touching other members.
#[derive(Debug, thiserror::Error)]
#[error("{at}: {reason}")]
pub struct Unclear {
    pub(crate) at: Position,
    pub(crate) reason: String,
}

impl<'a> Patch<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, replacements: Vec::new() }
    }

    pub(crate) fn replace(&mut self, range: Range<usize>, with: impl Into<String>) {
        let replacement = (range, with.into());
        if !self.replacements.contains(&replacement) {
            self.replacements.push(replacement);
        }
    }

    /// Returns the changed text. Of two overlapping removals, the wider one wins.
    pub(crate) fn apply(mut self) -> String {
        self.replacements.sort_by_key(|(range, _)| (range.start, std::cmp::Reverse(range.end)));
        let mut out = String::with_capacity(self.text.len() + 256);
        let mut done = 0;
        for (range, with) in self.replacements {
            if range.start < done {
                continue;
            }
            out.push_str(&self.text[done..range.start]);
            out.push_str(&with);
            done = range.end;
        }
        out.push_str(&self.text[done..]);
        out
    }

    pub(crate) fn unclear(&self, offset: usize, reason: impl Into<String>) -> Unclear {
        Unclear { at: position(self.text, offset), reason: reason.into() }
    }

    /// Returns the text's line break, `\r\n` or `\n`.
    pub(crate) fn newline(&self) -> &'static str {
        newline(self.text)
    }

    /// Returns the line break after `offset`; at the end of the text, the usual one.
    pub(crate) fn newline_at(&self, offset: usize) -> &'static str {
        match self.text[offset..].find('\n') {
            Some(at) if self.text[..offset + at].ends_with('\r') => "\r\n",
            Some(_) => "\n",
            None => self.newline(),
        }
    }

    pub(crate) fn line_start(&self, offset: usize) -> usize {
        self.text[..offset].rfind('\n').map_or(0, |i| i + 1)
    }

    /// Returns the end of the line of `offset`, without its line break.
    pub(crate) fn line_end(&self, offset: usize) -> usize {
        let end = self.text[offset..].find('\n').map_or(self.text.len(), |i| offset + i);
        if self.text[..end].ends_with('\r') { end - 1 } else { end }
    }

    /// Returns the beginning of the line after that of `offset`, or the end of the text.
    fn next_line(&self, offset: usize) -> usize {
        self.text[offset..].find('\n').map_or(self.text.len(), |i| offset + i + 1)
    }

    /// Returns the end of a node's content, without the final newline of a block scalar.
    pub(crate) fn content_end(&self, node: &Node<'_>) -> usize {
        let end = self.text[..node.span.end].trim_end().len();
        end.max(node.start())
    }

    /// Returns the text between the beginning of a block member's line and the member:
    /// indentation and dashes.
    ///
    /// For an item of a sequence, it ends with `- `; dashes and keys of outer collections on the
    /// same line become spaces.
    pub(crate) fn block_prefix(&self, in_sequence: bool, member: usize) -> Result<String, Unclear> {
        let line = self.line_start(member);
        let before = self.text[line..member].trim_start_matches('\u{feff}');
        let mut prefix: String = if in_sequence {
            let dash = before.rfind('-').ok_or_else(|| {
                self.unclear(member, "the list item does not stand on the line of its dash")
            })?;
            let mut prefix = blank(&before[..dash]);
            prefix.push_str(&before[dash..]);
            prefix
        } else {
            blank(before)
        };
        if prefix.trim_end() == "-" {
            prefix = prefix.replace('\t', " ");
        }
        Ok(prefix)
    }

    /// Inserts a member after `after`; `text` is the member without dash or indentation.
    ///
    /// Further lines of `text` must have their own indentation.
    pub(crate) fn insert_after(
        &mut self,
        collection: &Node<'_>,
        after: &Node<'_>,
        end: usize,
        text: &str,
    ) -> Result<(), Unclear> {
        let in_sequence = collection.items().is_some();
        match collection.style() {
            Some(YamlStyle::Flow) => {
                let line = self.line_start(after.start());
                let own_line = self.text[line..after.start()].trim().is_empty();
                let separator = if own_line {
                    format!(",{}{}", self.newline_at(end), &self.text[line..after.start()])
                } else {
                    ", ".to_owned()
                };
                self.replace(end..end, format!("{separator}{text}"));
            }
            _ => {
                let prefix = self.block_prefix(in_sequence, after.start())?;
                let at = self.line_end(end);
                self.replace(at..at, format!("{}{prefix}{text}", self.newline_at(end)));
            }
        }
        Ok(())
    }

    /// Removes the member with this index.
    pub(crate) fn remove(&mut self, collection: &Node<'_>, index: usize) -> Result<(), Unclear> {
        let spans: Vec<(usize, usize)> = match &collection.kind {
            Kind::Sequence { items, .. } => {
                items.iter().map(|item| (item.start(), self.content_end(item))).collect()
            }
            Kind::Mapping { entries, .. } => entries
                .iter()
                .map(|(key, value)| (key.start(), self.content_end(value).max(key.span.end)))
                .collect(),
            _ => return Err(self.unclear(collection.span.start, "not a collection")),
        };
        let (start, end) = spans[index];
        if collection.style() == Some(YamlStyle::Flow) {
            let range = match (index, spans.get(index + 1)) {
                (0, Some((next, _))) => start..*next,
                (0, None) => start..end,
                _ => spans[index - 1].1..end,
            };
            self.replace(range, "");
            return Ok(());
        }
        let line = self.line_start(start);
        let before = self.text[line..start].trim();
        let alone = match collection.items() {
            Some(_) => before == "-",
            None => before.is_empty(),
        };
        if !alone {
            return self.remove_first_of_line(collection, &spans, index);
        }
        self.remove_lines(line, end);
        Ok(())
    }

    /// Removes the lines from the one that begins at `line` to the one that contains `end`.
    pub(crate) fn remove_lines(&mut self, line: usize, end: usize) {
        let next = self.next_line(end);
        let at_end_without_newline = next == self.text.len() && !self.text.ends_with('\n');
        if at_end_without_newline && line > 0 {
            let before = self.line_end(line - 1);
            self.replace(before..next, "");
        } else {
            self.replace(line..next, "");
        }
    }

    /// Removes the first entry of a mapping that begins behind a dash (`- age: …`), and moves the
    /// next one up to the dash.
    fn remove_first_of_line(
        &mut self,
        collection: &Node<'_>,
        spans: &[(usize, usize)],
        index: usize,
    ) -> Result<(), Unclear> {
        let (start, _) = spans[index];
        let line = self.line_start(start);
        let only_dash = self.text[line..start].trim() == "-";
        match spans.get(index + 1) {
            Some((next, _)) if collection.entries().is_some() && only_dash => {
                self.replace(start..*next, "");
                Ok(())
            }
            _ => Err(self.unclear(start, "it shares its line with something else")),
        }
    }
}

/// Returns the line break that a text uses.
pub(crate) fn newline(text: &str) -> &'static str {
    match text.find('\n') {
        Some(at) if text[..at].ends_with('\r') => "\r\n",
        _ => "\n",
    }
}

fn blank(text: &str) -> String {
    text.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect()
}

/// Returns the changes between two texts as a unified diff, empty when they are equal.
pub(crate) fn unified_diff(name: &str, before: &str, after: &str) -> String {
    if before == after {
        return String::new();
    }
    similar::TextDiff::from_lines(before, after)
        .unified_diff()
        .context_radius(3)
        .header(&format!("a/{name}"), &format!("b/{name}"))
        .to_string()
}
