//! Names of literal keys that share a scalar or a line: `age: age1…,age1… # pike: age1…`.
//!
//! Such keys have no anchor, and no line of their own for a comment. Without a name, a
//! reinstalled host would keep its old key there, and nobody could remove it.

use std::ops::Range;

use granit_parser::ScalarStyle;

use super::hosts::{first_word, line_comment_span};
use super::patch::Patch;
use super::yaml::{Kind, Node, YamlStyle};
use super::{Group, Key, Rules};

/// The comment that names the keys of one list or scalar.
pub(crate) struct Note<'r> {
    rules: &'r Rules<'r>,
    /// Byte offset of the line with the comment.
    line: usize,
}

impl<'r> Note<'r> {
    /// Returns the comment of an inline list, or of a scalar.
    pub(crate) fn of(rules: &'r Rules<'r>, holder: &Node<'_>) -> Self {
        let at = match &holder.kind {
            // The lines of a block scalar are its content, so that only the line of `>-` takes a
            // comment.
            Kind::Scalar { style: ScalarStyle::Folded | ScalarStyle::Literal, .. } => {
                rules.text[..holder.span.start].trim_end().len()
            }
            _ => holder.span.end,
        };
        Self { rules, line: rules.text[..at].rfind('\n').map_or(0, |i| i + 1) }
    }

    /// Returns the comment for the name of a key; `None` where the key has its own line.
    pub(crate) fn of_key(rules: &'r Rules<'r>, group: &Group<'_>, key: &Key<'_>) -> Option<Self> {
        if key.node.alias().is_some() {
            return None;
        }
        let shared = group.keys.iter().filter(|other| other.node == key.node).count() > 1;
        match key.list {
            Some(list) if list.style() == Some(YamlStyle::Flow) => Some(Self::of(rules, &list)),
            Some(_) if !shared => None,
            _ => Some(Self::of(rules, &key.node)),
        }
    }

    fn comment(&self) -> Option<(usize, &'r str)> {
        let span = line_comment_span(self.rules, self.line)?;
        Some((span.start, self.rules.text[span].trim_end()))
    }

    /// Parses the comment: the byte range, name and recipient of each entry.
    fn names(&self) -> Vec<(Range<usize>, &'r str, &'r str)> {
        let Some((start, comment)) = self.comment() else { return Vec::new() };
        let mut found = Vec::new();
        let mut at = start + 1;
        for part in comment[1..].split(',') {
            if let Some((name, recipient)) = part.trim().split_once(": ")
                && recipient.starts_with("age1")
                && !name.contains(' ')
            {
                let from = at + (part.len() - part.trim_start().len());
                found.push((from..from + part.trim().len(), name, recipient));
            }
            at += part.len() + 1;
        }
        found
    }

    /// Says whether the comment, or one about the only key without a name, names `host` as the
    /// owner of `key`.
    pub(crate) fn says(&self, group: &Group<'_>, key: &Key<'_>, host: &str) -> bool {
        let names = self.names();
        let named = |value: &str| names.iter().find(|(_, _, recipient)| *recipient == value);
        if let Some((_, name, _)) = named(&key.value) {
            return *name == host;
        }
        let together = group.keys.iter().filter(|other| {
            other.kind == "age"
                && (other.node == key.node || other.list.is_some() && other.list == key.list)
        });
        let nameless = together.filter(|other| named(&other.value).is_none()).count();
        let word = self.comment().and_then(|(start, comment)| {
            let word = comment.trim_start_matches('#').trim_start();
            let at = start + comment.len() - word.len();
            // The first word belongs to a named key of the comment.
            (!names.iter().any(|(span, ..)| span.start == at)).then(|| first_word(word))
        });
        nameless == 1 && word == Some(host)
    }

    /// Adds the name of a recipient.
    pub(crate) fn add(&self, patch: &mut Patch<'_>, host: &str, recipient: &str) {
        match self.comment() {
            Some((start, comment)) => {
                let end = start + comment.len();
                patch.replace(end..end, format!(", {host}: {recipient}"));
            }
            None => {
                let end = patch.line_end(self.line);
                patch.replace(end..end, format!(" # {host}: {recipient}"));
            }
        }
    }

    /// Removes a recipient's name, and the comment with it when nothing else is in it.
    pub(crate) fn remove(&self, patch: &mut Patch<'_>, recipient: &str) {
        let names = self.names();
        let own = names.into_iter().find(|(_, _, known)| *known == recipient);
        let (Some((span, ..)), Some((start, comment))) = (own, self.comment()) else { return };
        let end = start + comment.len();
        let before = &self.rules.text[start..span.start];
        if before.trim_end().ends_with(',') {
            patch.replace(start + before.trim_end().len() - 1..span.end, "");
        } else if span.end == end && before.trim() == "#" {
            let space = usize::from(self.rules.text[..start].ends_with(' '));
            patch.replace(start - space..end, "");
        } else {
            let rest = &self.rules.text[span.end..end];
            let gap = rest.len() - rest.trim_start_matches([',', ' ']).len();
            patch.replace(span.start..span.end + gap, "");
        }
    }

    /// Replaces a recipient's name.
    pub(crate) fn rename(&self, patch: &mut Patch<'_>, recipient: &str, old: &str, new: &str) {
        for (span, name, known) in self.names() {
            if known == recipient && name == old {
                patch.replace(span.start..span.start + name.len(), new);
            }
        }
    }

    /// Replaces the recipient of a name.
    pub(crate) fn replace(&self, patch: &mut Patch<'_>, old: &str, new: &str) {
        for (span, name, known) in self.names() {
            if known == old {
                patch.replace(span.start + name.len() + 2..span.end, new);
            }
        }
    }
}
