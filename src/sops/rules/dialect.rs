//! Refuses YAML that sops cannot read, and files that a program generates.

use std::sync::LazyLock;

use regex::Regex;

use super::yaml;
use super::yaml::{Kind, Node, position};
use super::{Rules, RulesError};

/// Comments that mark a generated file.
static GENERATED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let pattern = r"(?i)\b(is|was|been|gets|automatically|auto-?|file) ?generated\b|@generated|do not edit|don't edit|^#\s*generated (by|via|from|with)\b";
    Regex::new(pattern).ok()
});

/// Most nodes after aliases are expanded. Real files have some hundreds.
const MOST_NODES: usize = 100_000;

impl Rules<'_> {
    /// Refuses anchor names with characters other than `[A-Za-z0-9_-]`, for which go-yaml rejects
    /// the whole file.
    pub(crate) fn check_anchors(&self) -> Result<(), RulesError> {
        let mut bad = None;
        for document in &self.stream.documents {
            document.walk(&mut |node| {
                let (name, at) = match (&node.anchor, node.alias()) {
                    (Some(anchor), _) => (anchor.plain_name(), anchor.span.start),
                    (None, Some(alias)) => (yaml::anchor_name(alias), node.span.start),
                    _ => return,
                };
                let valid = !name.is_empty()
                    && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
                if !valid && bad.is_none() {
                    bad = Some((name.to_owned(), at));
                }
            });
        }
        match bad {
            Some((name, at)) => Err(self.shape(
                at,
                format!("sops cannot read the name {name:?}: only letters, digits, - and _ may stand in an anchor"),
            )),
            None => Ok(()),
        }
    }

    /// Refuses comment lines that are indented by a tab, which go-yaml rejects.
    pub(crate) fn check_tabs(&self) -> Result<(), RulesError> {
        let bad = self.stream.comments.iter().find(|comment| {
            let line = self.text[..comment.start].rfind('\n').map_or(0, |i| i + 1);
            let before = &self.text[line..comment.start];
            before.contains('\t') && before.trim().is_empty()
        });
        match bad {
            Some(comment) => {
                Err(self.shape(comment.start, "sops cannot read a comment line indented by a tab"))
            }
            None => Ok(()),
        }
    }

    /// Refuses aliases of aliases that expand to more than [`MOST_NODES`].
    pub(crate) fn check_size(&self) -> Result<(), RulesError> {
        let mut left = MOST_NODES;
        match self.root() {
            Some(root) if !self.expands_within(root, &mut left) => {
                Err(self.shape(root.span.start, "its aliases stand for too much text"))
            }
            _ => Ok(()),
        }
    }

    fn expands_within(&self, node: &Node<'_>, left: &mut usize) -> bool {
        *left = left.saturating_sub(1);
        let node = self.resolve(node);
        *left > 0
            && match &node.kind {
                Kind::Sequence { items, .. } => {
                    items.iter().all(|item| self.expands_within(item, left))
                }
                Kind::Mapping { entries, .. } => entries.iter().all(|(key, value)| {
                    self.expands_within(key, left) && self.expands_within(value, left)
                }),
                _ => true,
            }
    }

    /// Refuses a file with a comment that a program generates it.
    pub fn check_editable(&self) -> Result<(), RulesError> {
        let Some(root) = self.root() else { return Ok(()) };
        let head =
            self.stream.comments.iter().take_while(|comment| comment.start <= root.span.start);
        let Some(pattern) = GENERATED.as_ref() else { return Ok(()) };
        for comment in head {
            let line = &self.text[comment.clone()];
            if pattern.is_match(line) {
                let command = line.split('`').nth(1).map(str::to_owned);
                return Err(RulesError::Generated {
                    at: position(self.text, comment.start),
                    comment: line.trim_start_matches('#').trim().to_owned(),
                    command,
                });
            }
        }
        Ok(())
    }
}
