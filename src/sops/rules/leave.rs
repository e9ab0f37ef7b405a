//! Removes a host's key from the lists of rules, and its definition from the file.

use std::ops::Range;

use super::hosts::HostEntry;
use super::inline_names::Note;
use super::join::parts;
use super::new_rule;
use super::patch::{Patch, Unclear};
use super::yaml::{Kind, Node, YamlStyle};
use super::{Group, Key, Rule, Rules};

/// Says whether a rule's key is this host's.
pub(crate) fn is_entry(rules: &Rules<'_>, entry: &HostEntry<'_>, key: &Key<'_>) -> bool {
    if key.kind != "age" || key.value != entry.recipient {
        return false;
    }
    let target = rules.resolve(&key.node);
    match entry.anchor {
        // A literal copy of the host's key is the host's; an alias of another anchor is not.
        Some(own) => {
            std::ptr::eq(own, target) || (key.node.alias().is_none() && target.anchor.is_none())
        }
        // A text of several keys names none of them by its anchor.
        None => {
            key.node.alias().is_none() || target.scalar().is_some_and(|text| text.contains(','))
        }
    }
}

/// Removes the host's key from all rules, and its definition.
pub(crate) fn remove(
    rules: &Rules<'_>,
    patch: &mut Patch<'_>,
    entry: &HostEntry<'_>,
    drop: &[String],
    warnings: &mut Vec<String>,
) -> Result<(), Unclear> {
    let all = match rules.rules() {
        Ok(all) => all,
        Err(error) => return Err(patch.unclear(0, error.to_string())),
    };
    let mut emptied = Vec::new();
    for rule in &all {
        let keys: Vec<_> = rule.groups.iter().flat_map(|group| &group.keys).collect();
        let hosts = keys.iter().filter(|key| is_entry(rules, entry, key)).count();
        let dropped = rule.path_regex.is_some_and(|regex| drop.iter().any(|drop| drop == regex));
        if dropped || (hosts > 0 && hosts == keys.len()) {
            emptied.push(rule);
        }
    }
    for rule in &emptied {
        warnings.push(format!("{} is not needed any more and goes", rule.name()));
        remove_rule(rules, patch, rule)?;
    }
    if !emptied.is_empty() && emptied.len() == all.len() {
        new_rule::remove_section(rules, patch);
    }
    for rule in all.iter().filter(|rule| !emptied.iter().any(|gone| gone.index == rule.index)) {
        for group in &rule.groups {
            remove_from_group(rules, patch, rule, group, entry)?;
        }
    }
    if let Some(own) = entry.anchor {
        remove_elsewhere(rules, patch, own)?;
    }
    Ok(())
}

fn remove_from_group(
    rules: &Rules<'_>,
    patch: &mut Patch<'_>,
    rule: &Rule<'_>,
    group: &Group<'_>,
    entry: &HostEntry<'_>,
) -> Result<(), Unclear> {
    let age: Vec<_> = group.keys.iter().filter(|key| key.kind == "age").collect();
    let gone: Vec<_> = age.iter().filter(|key| is_entry(rules, entry, key)).collect();
    if gone.is_empty() {
        return Ok(());
    }
    for key in &gone {
        if let Some(note) = Note::of_key(rules, group, key) {
            note.remove(patch, &key.value);
        }
    }
    if gone.len() == group.keys.len() && rule.grouped {
        let list = rule.node.get("key_groups").map(|list| rules.resolve(list));
        let at = list.and_then(|list| {
            list.items()?.iter().position(|item| std::ptr::eq(rules.resolve(item), group.node))
        });
        return match (list, at) {
            (Some(list), Some(at)) => patch.remove(list, at),
            _ => {
                Err(patch.unclear(group.node.span.start, "the key group is merged from elsewhere"))
            }
        };
    }
    if gone.len() == age.len() {
        let entries = group.node.entries().unwrap_or_default();
        if let Some(index) = entries.iter().position(|(key, _)| key.scalar() == Some("age")) {
            return patch.remove(group.node, index);
        }
    }
    if let Some((span, text)) = ungrouped(rules, rule, &age, &gone) {
        patch.replace(span, text);
        return Ok(());
    }
    for key in gone {
        remove_key(rules, patch, key, &age)?;
    }
    Ok(())
}

/// Reverses `group_flat_alias` of [`join`](crate::sops::rules::join), for exactly what that
/// writes.
fn ungrouped(
    rules: &Rules<'_>,
    rule: &Rule<'_>,
    age: &[&Key<'_>],
    gone: &[&&Key<'_>],
) -> Option<(Range<usize>, String)> {
    let kept: Vec<_> =
        age.iter().filter(|key| !gone.iter().any(|gone| gone.node == key.node)).collect();
    let [kept] = kept.as_slice() else { return None };
    if kept.node.alias().is_none() && kept.node.anchor.is_none() {
        return None;
    }
    let alias = &rules.text[kept.node.start()..kept.node.span.end];
    let others: Vec<_> = gone.iter().map(|key| &rules.text[key.node.span.clone()]).collect();
    if let Some((name, value)) = rule.node.entry("key_groups") {
        let written = format!("[{{age: [{alias}, {}]}}]", others.join(", "));
        let own = rules.text[value.span.clone()] == written;
        return own.then(|| (name.span.start..value.span.end, format!("age: {alias}")));
    }
    let (_, value) = rule.node.entry("age")?;
    let written = format!("[{alias},{}]", others.join(", "));
    (rules.text[value.span.clone()] == written).then(|| (value.span.clone(), alias.to_owned()))
}

fn remove_key(
    rules: &Rules<'_>,
    patch: &mut Patch<'_>,
    key: &Key<'_>,
    age: &[&Key<'_>],
) -> Result<(), Unclear> {
    let in_scalar: Vec<_> = age.iter().filter(|other| other.node == key.node).collect();
    if in_scalar.len() > 1 {
        let text = rules.resolve(&key.node);
        let raw = &rules.text[text.span.clone()];
        let parts = parts(raw, in_scalar.iter().map(|key| key.value.as_str()));
        let index = in_scalar.iter().position(|other| other.value == key.value).unwrap_or(0);
        let Some((start, end)) = parts.get(index).copied() else {
            return Err(
                patch.unclear(key.node.span.start, "the key's text is written with escapes")
            );
        };
        let range = match (index, parts.get(index + 1)) {
            (0, Some((next, _))) => start..*next,
            (0, None) => start..end,
            _ => parts[index - 1].1..end,
        };
        patch.replace(text.span.start + range.start..text.span.start + range.end, "");
        return Ok(());
    }
    let Some(list) = key.list else {
        return Err(patch.unclear(key.node.span.start, "it is the only key here"));
    };
    match list
        .items()
        .and_then(|items| items.iter().position(|item| std::ptr::eq(item, key.node.0)))
    {
        Some(index) => patch.remove(&list, index),
        None => Err(patch.unclear(key.node.span.start, "the key is merged from elsewhere")),
    }
}

/// Removes the definition, and aliases outside the rules (groups of groups).
fn remove_elsewhere(
    rules: &Rules<'_>,
    patch: &mut Patch<'_>,
    own: &Node<'_>,
) -> Result<(), Unclear> {
    let is_own = |node: &Node<'_>| {
        std::ptr::eq(node, own)
            || (node.alias().is_some() && std::ptr::eq(rules.resolve(node), own))
    };
    let Some(root) = rules.root() else { return Ok(()) };
    for (key, value) in root.entries().unwrap_or_default() {
        if key.scalar() != Some("creation_rules") {
            remove_members(patch, value, &is_own)?;
        }
    }
    Ok(())
}

fn remove_members(
    patch: &mut Patch<'_>,
    collection: &Node<'_>,
    is_own: &impl Fn(&Node<'_>) -> bool,
) -> Result<(), Unclear> {
    match &collection.kind {
        Kind::Sequence { items, .. } => {
            for (index, item) in items.iter().enumerate() {
                if is_own(item) {
                    patch.remove(collection, index)?;
                } else {
                    remove_members(patch, item, is_own)?;
                }
            }
        }
        Kind::Mapping { entries, .. } => {
            for (index, (_, value)) in entries.iter().enumerate() {
                if holds_only(value, is_own) {
                    patch.remove(collection, index)?;
                } else {
                    remove_members(patch, value, is_own)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// Says whether a member is about this host alone: `foo: &foo age1…`, `foo: {age: [&foo age1…]}`.
fn holds_only(value: &Node<'_>, is_own: &impl Fn(&Node<'_>) -> bool) -> bool {
    match &value.kind {
        Kind::Sequence { items, style: YamlStyle::Flow } => {
            matches!(items.as_slice(), [item] if holds_only(item, is_own))
        }
        Kind::Mapping { entries, .. } => {
            matches!(entries.as_slice(), [(_, value)] if holds_only(value, is_own))
        }
        Kind::Sequence { .. } => false,
        _ => is_own(value),
    }
}

/// Removes a rule, with the blank lines above it.
pub(crate) fn remove_rule(
    rules: &Rules<'_>,
    patch: &mut Patch<'_>,
    rule: &Rule<'_>,
) -> Result<(), Unclear> {
    let Some(list) = rules.rules_node().map(|list| rules.resolve(list)) else { return Ok(()) };
    if list.style() == Some(YamlStyle::Flow) {
        return patch.remove(list, rule.index);
    }
    let items = list.items().unwrap_or_default();
    let node = items.get(rule.index).unwrap_or(rule.node);
    let mut start = patch.line_start(node.start());
    let first = rule.index == 0;
    while start > 0 && !first {
        let above = patch.line_start(start - 1);
        if !rules.text[above..start].trim().is_empty() {
            break;
        }
        start = above;
    }
    patch.remove_lines(start, patch.content_end(node));
    Ok(())
}
