//! A host's key in the lists of the rules: how it joins and leaves them.

use super::host::Entry;
use super::patch::{Patch, Unclear};
use super::place::{self, Place};
use super::rules::{Group, Key, Rule, Rules};
use super::yaml::{Kind, Node, Style};

/// A key about to be written into rules.
#[derive(Debug, Clone, Copy)]
pub struct NewKey<'k> {
    pub recipient: &'k str,
    /// The anchor to refer to; without one the recipient is written out.
    pub alias: Option<&'k str>,
    /// Written behind a literal recipient, so that people and programs know whose it is.
    pub comment: &'k str,
}

impl NewKey<'_> {
    /// The key as an item of a list.
    fn item(&self, quote: &str) -> String {
        match self.alias {
            Some(name) => format!("*{name}"),
            None => format!("{quote}{}{quote}", self.recipient),
        }
    }

    /// The same with a comment, for an item on a line of its own.
    pub fn line(&self, quote: &str) -> String {
        match self.alias {
            Some(_) => self.item(quote),
            None => format!("{} # {}", self.item(quote), self.comment),
        }
    }
}

/// Adds the key to a rule, unless it is there already.
#[allow(clippy::too_many_arguments)]
pub fn add(
    rules: &Rules<'_>,
    patch: &mut Patch<'_>,
    all: &[Rule<'_>],
    rule: &Rule<'_>,
    key: &NewKey<'_>,
    defined: Option<&Place<'_>>,
    place: Option<&Place<'_>>,
    warnings: &mut Vec<String>,
) -> Result<(), Unclear> {
    if rule.groups.len() > 1 {
        warnings.push(format!(
            "{} has {} key groups: the host joins all of them, so that it can open a file alone",
            rule.name(),
            rule.groups.len()
        ));
    }
    for group in &rule.groups {
        if group.keys.iter().any(|known| known.kind == "age" && known.value == key.recipient) {
            continue;
        }
        let age: Vec<&Key<'_>> = group.keys.iter().filter(|key| key.kind == "age").collect();
        if age.iter().any(|known| defined.is_some_and(|place| place_joins(place, known))) {
            continue;
        }
        if let Some(shared) = age.iter().find(|known| known.shared) {
            warn_shared(all, rule, shared, warnings);
        }
        add_to_group(rules, patch, rule, group, &age, key, place)?;
    }
    Ok(())
}

fn place_joins(place: &Place<'_>, key: &Key<'_>) -> bool {
    key.list.is_some_and(|list| std::ptr::eq(list.0, place.collection))
}

fn warn_shared(all: &[Rule<'_>], rule: &Rule<'_>, shared: &Key<'_>, warnings: &mut Vec<String>) {
    let others: Vec<_> = all
        .iter()
        .filter(|other| {
            other.index != rule.index
                && other
                    .groups
                    .iter()
                    .flat_map(|group| &group.keys)
                    .any(|key| key.list.is_some() && key.list == shared.list)
        })
        .map(Rule::name)
        .collect();
    if !others.is_empty() {
        warnings.push(format!(
            "{} shares its list of keys: the host can then read the files of {} too",
            rule.name(),
            others.join("; ")
        ));
    }
}

/// A definition in a list that rules use as a whole (`age: *hosts`) reaches all of them.
pub fn warn_of_shared(
    all: &[Rule<'_>],
    place: &Place<'_>,
    targets: &[&Rule<'_>],
    warnings: &mut Vec<String>,
) {
    let others: Vec<_> = all
        .iter()
        .filter(|rule| {
            !targets.iter().any(|target| target.index == rule.index)
                && rule
                    .groups
                    .iter()
                    .flat_map(|group| &group.keys)
                    .any(|key| place_joins(place, key))
        })
        .map(Rule::name)
        .collect();
    if !others.is_empty() {
        warnings.push(format!("the new key stands in a list that these rules use as a whole, so the host can read their files too: {}", others.join("; ")));
    }
}

/// The groups of `rule` that end up with the new key.
pub fn gains(
    all: &[Rule<'_>],
    rule: &Rule<'_>,
    targets: &[usize],
    defined: Option<&Place<'_>>,
) -> Vec<usize> {
    let lists: Vec<_> = all
        .iter()
        .filter(|other| targets.contains(&other.index))
        .flat_map(|target| {
            target.groups.iter().flat_map(|group| {
                group
                    .keys
                    .iter()
                    .filter(|key| key.kind == "age" && key.shared)
                    .filter_map(|key| key.list)
            })
        })
        .collect();
    let reached = |group: &Group<'_>| {
        group.keys.iter().any(|key| {
            defined.is_some_and(|place| place_joins(place, key))
                || key
                    .list
                    .is_some_and(|list| lists.iter().any(|known| std::ptr::eq(known.0, list.0)))
        })
    };
    let joined = targets.contains(&rule.index);
    rule.groups
        .iter()
        .enumerate()
        .filter(|(_, group)| joined || reached(group))
        .map(|(index, _)| index)
        .collect()
}

fn add_to_group(
    rules: &Rules<'_>,
    patch: &mut Patch<'_>,
    rule: &Rule<'_>,
    group: &Group<'_>,
    age: &[&Key<'_>],
    key: &NewKey<'_>,
    place: Option<&Place<'_>>,
) -> Result<(), Unclear> {
    let Some(last) = age.last() else {
        return add_age_entry(rules, patch, rule, group, key);
    };
    let Some(list) = last.list else {
        return if last.node.alias().is_some() {
            group_flat_alias(rules, patch, rule, last, key)
        } else {
            join_string(rules, patch, &last.node, age, key)
        };
    };
    let pattern = age
        .iter()
        .rfind(|known| known.list == last.list && place::is_host_key(rules, place, &known.node))
        .unwrap_or(last);
    let raw = &rules.text[pattern.node.span.clone()];
    let quote = raw
        .chars()
        .next()
        .filter(|c| matches!(c, '"' | '\''))
        .map(String::from)
        .unwrap_or_default();
    let text = if list.style() == Some(Style::Flow) { key.item(&quote) } else { key.line(&quote) };
    let end = patch.content_end(&pattern.node);
    patch.insert_after(&list, &pattern.node, end, &text)
}

/// A group (or flat rule) without age keys gets an `age` entry behind its last one.
fn add_age_entry(
    rules: &Rules<'_>,
    patch: &mut Patch<'_>,
    rule: &Rule<'_>,
    group: &Group<'_>,
    key: &NewKey<'_>,
) -> Result<(), Unclear> {
    if let Some((_, empty)) = group.node.entry("age") {
        if empty.items().is_some_and(<[_]>::is_empty) {
            patch.replace(empty.span.clone(), format!("[{}]", key.item("")));
            return Ok(());
        }
        return Err(patch.unclear(empty.span.start, "the list of age keys is empty"));
    }
    let Some((last_key, last)) = group.node.entries().and_then(<[_]>::last) else {
        return Err(patch.unclear(group.node.span.start, "the key group is empty"));
    };
    let end = patch.content_end(last).max(last_key.span.end);
    if group.node.style() == Some(Style::Flow) {
        return patch.insert_after(group.node, last_key, end, &format!("age: [{}]", key.item("")));
    }
    if !rule.grouped {
        return patch.insert_after(group.node, last_key, end, &format!("age: {}", key.item("")));
    }
    let column = patch.block_prefix(false, last_key.start())?;
    let dash = last.items().filter(|_| last.style() == Some(Style::Block)).and_then(<[_]>::first);
    let indent = match dash {
        Some(item) => {
            let prefix = patch.block_prefix(true, item.start())?;
            prefix[..prefix.rfind('-').unwrap_or(0)].to_owned()
        }
        None => format!("{column}  "),
    };
    debug_assert!(rules.text.len() >= end);
    patch.insert_after(
        group.node,
        last_key,
        end,
        &format!("age:{}{indent}- {}", patch.newline(), key.line("")),
    )
}

/// `age: *one` holds one key; with a second it becomes a key group on the same line.
fn group_flat_alias(
    rules: &Rules<'_>,
    patch: &mut Patch<'_>,
    rule: &Rule<'_>,
    known: &Key<'_>,
    key: &NewKey<'_>,
) -> Result<(), Unclear> {
    let flat = rule.groups.iter().flat_map(|group| &group.keys).any(|key| key.kind != "age");
    let entry = rule.node.entry("age").filter(|_| !rule.grouped && !flat);
    let Some((name, value)) = entry else {
        return Err(patch.unclear(
            known.node.span.start,
            "the rule mixes flat keys of several kinds: write them as key_groups first",
        ));
    };
    let alias = &rules.text[value.span.clone()];
    patch.replace(
        name.span.start..value.span.end,
        format!("key_groups: [{{age: [{alias}, {}]}}]", key.item("")),
    );
    Ok(())
}

/// Adds a literal to a comma-joined scalar, separated as its neighbours are.
fn join_string(
    rules: &Rules<'_>,
    patch: &mut Patch<'_>,
    scalar: &Node<'_>,
    age: &[&Key<'_>],
    key: &NewKey<'_>,
) -> Result<(), Unclear> {
    let raw = &rules.text[scalar.span.clone()];
    let parts = parts(
        raw,
        age.iter()
            .filter(|known| std::ptr::eq(known.node.0, scalar))
            .map(|known| known.value.as_str()),
    );
    let Some((_, end)) = parts.last().copied() else {
        return Err(patch.unclear(scalar.span.start, "the key's text is written with escapes"));
    };
    let separator = match parts.as_slice() {
        [.., (_, before), (start, _)] => &raw[*before..*start],
        _ => ",",
    };
    let at = scalar.span.start + end;
    patch.replace(at..at, format!("{separator}{}", key.recipient));
    Ok(())
}

/// Where each of the values stands in a scalar's source text.
fn parts<'v>(raw: &str, values: impl Iterator<Item = &'v str>) -> Vec<(usize, usize)> {
    let mut from = 0;
    let mut found = Vec::new();
    for value in values {
        if let Some(at) = raw[from..].find(value) {
            found.push((from + at, from + at + value.len()));
            from += at + value.len();
        }
    }
    found
}

/// Whether a rule's key is this host's.
pub fn is_entry(rules: &Rules<'_>, entry: &Entry<'_>, key: &Key<'_>) -> bool {
    if key.kind != "age" || key.value != entry.recipient {
        return false;
    }
    let target = rules.resolve(&key.node);
    match entry.anchor {
        // A literal copy of the host's key is the host's too; another anchor's alias is not.
        Some(own) => {
            std::ptr::eq(own, target) || (key.node.alias().is_none() && target.anchor.is_none())
        }
        None => key.node.alias().is_none(),
    }
}

/// Removes the host's key from all rules, and its definition.
pub fn remove(
    rules: &Rules<'_>,
    patch: &mut Patch<'_>,
    entry: &Entry<'_>,
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
    entry: &Entry<'_>,
) -> Result<(), Unclear> {
    let age: Vec<_> = group.keys.iter().filter(|key| key.kind == "age").collect();
    let gone: Vec<_> = age.iter().filter(|key| is_entry(rules, entry, key)).collect();
    if gone.is_empty() {
        return Ok(());
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
    if let Some(text) = ungrouped(rules, rule, &age, &gone) {
        if let Some((name, value)) = rule.node.entry("key_groups") {
            patch.replace(name.span.start..value.span.end, text);
            return Ok(());
        }
    }
    for key in gone {
        remove_key(rules, patch, key, &age)?;
    }
    Ok(())
}

/// The reverse of [`group_flat_alias`], for exactly what that writes.
fn ungrouped(
    rules: &Rules<'_>,
    rule: &Rule<'_>,
    age: &[&Key<'_>],
    gone: &[&&Key<'_>],
) -> Option<String> {
    let (_, value) = rule.node.entry("key_groups")?;
    let kept: Vec<_> =
        age.iter().filter(|key| !gone.iter().any(|gone| gone.node == key.node)).collect();
    let [kept] = kept.as_slice() else { return None };
    let alias = &rules.text[kept.node.span.clone()];
    let others: Vec<_> = gone.iter().map(|key| &rules.text[key.node.span.clone()]).collect();
    let written = format!("[{{age: [{alias}, {}]}}]", others.join(", "));
    (kept.node.alias().is_some() && rules.text[value.span.clone()] == written)
        .then(|| format!("age: {alias}"))
}

fn remove_key(
    rules: &Rules<'_>,
    patch: &mut Patch<'_>,
    key: &Key<'_>,
    age: &[&Key<'_>],
) -> Result<(), Unclear> {
    let in_scalar: Vec<_> = age.iter().filter(|other| other.node == key.node).collect();
    if in_scalar.len() > 1 {
        let raw = &rules.text[key.node.span.clone()];
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
        patch.replace(key.node.span.start + range.start..key.node.span.start + range.end, "");
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

/// Removes the definition and aliases outside the rules (groups of groups).
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

/// A member that is about this host and nobody else: `foo: &foo age1…`, `foo: {age: [&foo age1…]}`.
fn holds_only(value: &Node<'_>, is_own: &impl Fn(&Node<'_>) -> bool) -> bool {
    match &value.kind {
        Kind::Sequence { items, style: Style::Flow } => {
            matches!(items.as_slice(), [item] if holds_only(item, is_own))
        }
        Kind::Mapping { entries, .. } => {
            matches!(entries.as_slice(), [(_, value)] if holds_only(value, is_own))
        }
        Kind::Sequence { .. } => false,
        _ => is_own(value),
    }
}

/// Removes a rule with the blank lines above it.
pub fn remove_rule(
    rules: &Rules<'_>,
    patch: &mut Patch<'_>,
    rule: &Rule<'_>,
) -> Result<(), Unclear> {
    let Some(list) = rules.rules_node().map(|list| rules.resolve(list)) else { return Ok(()) };
    if list.style() == Some(Style::Flow) {
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
