//! Renames a host everywhere in a config.

use super::Rules;
use super::hosts::{HostEntry, anchor_part, first_word, line_comment_span};
use super::inline_names::Note;
use super::patch::Patch;

/// Replaces the name in anchor, aliases, map keys, comments behind keys, and `path_regex`.
pub(crate) fn apply(
    rules: &Rules<'_>,
    patch: &mut Patch<'_>,
    entry: &HostEntry<'_>,
    old: &str,
    new: &str,
    warnings: &mut Vec<String>,
) {
    let Some(root) = rules.root() else { return };
    if let Some(own) = entry.anchor {
        let name = entry.anchor_name().unwrap_or_default();
        let renamed = match name.strip_suffix(&anchor_part(old)) {
            Some(prefix) => format!("{prefix}{}", anchor_part(new)),
            None => {
                warnings.push(format!("the anchor {name} does not hold the name {old} and stays"));
                name.to_owned()
            }
        };
        root.walk(&mut |node| {
            if std::ptr::eq(node, own) {
                if let Some(anchor) = &node.anchor {
                    patch.replace(anchor.span.clone(), format!("&{renamed}"));
                }
            } else if node.alias().is_some() && std::ptr::eq(rules.resolve(node), own) {
                patch.replace(node.span.clone(), format!("*{renamed}"));
            }
            for (key, value) in node.entries().unwrap_or_default() {
                let holds = crate::sops::rules::hosts::only_anchored(value)
                    .is_some_and(|child| std::ptr::eq(child, own));
                if holds && key.scalar() == Some(old) {
                    patch.replace(key.span.clone(), new);
                }
            }
        });
    }
    rename_comments(rules, patch, entry, old, new);
    for rule in rules.rules().unwrap_or_default() {
        for (group, key) in rule.groups.iter().flat_map(|g| g.keys.iter().map(move |k| (g, k))) {
            let own = key.kind == "age" && key.value == entry.recipient;
            if let Some(note) = Note::of_key(rules, group, key).filter(|_| own) {
                note.rename(patch, &entry.recipient, old, new);
            }
        }
        let Some(node) = rule.node.get("path_regex") else { continue };
        let raw = &rules.text[node.span.clone()];
        let renamed = in_regex(raw, old, new);
        if renamed != raw {
            patch.replace(node.span.clone(), renamed);
        }
    }
}

/// Changes `age1… # old` to `age1… # new`, behind the host's own key only.
fn rename_comments(
    rules: &Rules<'_>,
    patch: &mut Patch<'_>,
    entry: &HostEntry<'_>,
    old: &str,
    new: &str,
) {
    let Some(root) = rules.root() else { return };
    root.walk(&mut |node| {
        if node.scalar().is_none_or(|value| value.trim() != entry.recipient) {
            return;
        }
        let Some(span) = line_comment_span(rules, node.span.end) else { return };
        let text = &rules.text[span.clone()];
        let word = text.trim_start_matches('#').trim_start();
        if first_word(word) == old {
            let at = span.start + (text.len() - word.len());
            patch.replace(at..at + old.len(), new);
        }
    });
}

/// Replaces the name where it is a whole word of a `path_regex`, with its dots escaped or not.
pub(crate) fn in_regex(regex: &str, old: &str, new: &str) -> String {
    let escaped = |name: &str| name.replace('.', "\\.");
    let mut out = regex.to_owned();
    let mut forms = vec![(escaped(old), escaped(new))];
    if old.contains('.') {
        forms.push((old.to_owned(), new.to_owned()));
    }
    for (old, new) in forms {
        out = replace_words(&out, &old, &new);
    }
    out
}

/// Replaces `old` where no letter, digit, `-` or `_` is adjacent.
pub(crate) fn replace_words(text: &str, old: &str, new: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (at, _) in text.match_indices(old) {
        let before = text[..at].chars().next_back();
        let after = text[at + old.len()..].chars().next();
        if at < done || before.is_some_and(is_word) || after.is_some_and(is_word) {
            continue;
        }
        out.push_str(&text[done..at]);
        out.push_str(new);
        done = at + old.len();
    }
    out.push_str(&text[done..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_words_of_a_pattern_are_renamed() {
        assert_eq!(
            in_regex(r"hosts/foo/secrets\.yaml$", "foo", "bar"),
            r"hosts/bar/secrets\.yaml$"
        );
        assert_eq!(in_regex(r"hosts/foo-2/x|foo\.yaml", "foo", "bar"), r"hosts/foo-2/x|bar\.yaml");
        assert_eq!(in_regex(r"^a\.lan/x", "a.lan", "b.lan"), r"^b\.lan/x");
    }
}
