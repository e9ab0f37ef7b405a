//! Adds a host's key to the lists of rules; [`crate::sops::rules::leave`] is the inverse.

use super::anchors;
use super::anchors::Place;
use super::hosts::Role;
use super::inline_names::Note;
use super::patch::{Patch, Unclear};
use super::yaml::{Node, YamlStyle};
use super::{Group, Key, Rule, Rules};

/// A key to be written into rules.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewKey<'k> {
    pub(crate) recipient: &'k str,
    /// The anchor to refer to; without one, the recipient itself is written.
    pub(crate) alias: Option<&'k str>,
    pub(crate) role: Role,
    /// The comment behind a literal recipient, which names its owner.
    pub(crate) comment: &'k str,
}

impl NewKey<'_> {
    /// Formats the key as an item of a list.
    fn item(&self, quote: &str) -> String {
        match self.alias {
            Some(name) => format!("*{name}"),
            None => format!("{quote}{}{quote}", self.recipient),
        }
    }

    /// Formats the key with its comment, for a line of its own.
    pub(crate) fn line(&self, quote: &str) -> String {
        match self.alias {
            Some(_) => self.item(quote),
            None => format!("{} # {}", self.item(quote), self.comment),
        }
    }
}

/// The rules that a key is added to.
pub(crate) struct Lists<'a> {
    pub(crate) rules: &'a Rules<'a>,
    pub(crate) all: &'a [Rule<'a>],
    /// The place for new definitions.
    pub(crate) place: Option<&'a Place<'a>>,
    /// Whether the key is being defined there.
    pub(crate) defined: bool,
}

/// Adds the key to a rule, unless the rule has it already.
pub(crate) fn add(
    lists: &Lists<'_>,
    patch: &mut Patch<'_>,
    rule: &Rule<'_>,
    key: &NewKey<'_>,
    warnings: &mut Vec<String>,
) -> Result<(), Unclear> {
    let defined = lists.place.filter(|_| lists.defined);
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
        warn_shared(lists, rule, &age, warnings);
        add_to_group(lists, patch, rule, group, &age, key, warnings)?;
    }
    Ok(())
}

fn place_joins(place: &Place<'_>, key: &Key<'_>) -> bool {
    key.list.is_some_and(|list| std::ptr::eq(list.0, place.collection))
}

/// The node that a new key is written into where this one stands: its list, or the text that
/// it is a part of. Others that use the same node gain the key too, wherever it is defined.
fn holder<'n>(rules: &'n Rules<'_>, key: &Key<'n>) -> &'n Node<'n> {
    match key.list {
        Some(list) => list.0,
        None => rules.resolve(key.node.0),
    }
}

/// The nodes into which a rule's new key goes. An alias to one key gets a list around it,
/// and its definition stays.
fn written_into<'n>(rules: &'n Rules<'_>, rule: &Rule<'n>) -> Vec<&'n Node<'n>> {
    let keys = rule.groups.iter().flat_map(|group| &group.keys).filter(|key| key.kind == "age");
    let keys: Vec<&Key<'n>> = keys.collect();
    let named =
        |key: &Key<'_>| key.node.alias().is_some() || key.node.anchor.is_some() && keys.len() == 1;
    let written = keys.iter().filter(|key| key.list.is_some() || !named(key));
    written.map(|key| holder(rules, key)).collect()
}

fn uses(rules: &Rules<'_>, group: &Group<'_>, nodes: &[&Node<'_>]) -> bool {
    let age = group.keys.iter().filter(|key| key.kind == "age");
    age.map(|key| holder(rules, key)).any(|own| nodes.iter().any(|node| std::ptr::eq(*node, own)))
}

fn warn_shared(lists: &Lists<'_>, rule: &Rule<'_>, age: &[&Key<'_>], warnings: &mut Vec<String>) {
    let written = age.iter().filter(|key| key.list.is_some() || key.node.alias().is_none());
    let nodes: Vec<&Node<'_>> = written.map(|key| holder(lists.rules, key)).collect();
    let others: Vec<_> = lists
        .all
        .iter()
        .filter(|other| {
            other.index != rule.index
                && other.groups.iter().any(|group| uses(lists.rules, group, &nodes))
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

/// Warns that a definition in a list that rules use as a whole (`age: *hosts`) reaches all of
/// them.
pub(crate) fn warn_of_shared(
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

/// Returns the groups of `rule` that will have the new key.
pub(crate) fn gains(
    rules: &Rules<'_>,
    all: &[Rule<'_>],
    rule: &Rule<'_>,
    targets: &[usize],
    defined: Option<&Place<'_>>,
) -> Vec<usize> {
    let targeted = all.iter().filter(|other| targets.contains(&other.index));
    let nodes: Vec<&Node<'_>> = targeted.flat_map(|target| written_into(rules, target)).collect();
    let reached = |group: &Group<'_>| {
        uses(rules, group, &nodes)
            || group.keys.iter().any(|key| defined.is_some_and(|place| place_joins(place, key)))
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
    lists: &Lists<'_>,
    patch: &mut Patch<'_>,
    rule: &Rule<'_>,
    group: &Group<'_>,
    age: &[&Key<'_>],
    key: &NewKey<'_>,
    warnings: &mut Vec<String>,
) -> Result<(), Unclear> {
    let rules = lists.rules;
    let Some(last) = age.last() else {
        return add_age_entry(rules, patch, rule, group, key);
    };
    let Some(list) = last.list else {
        // A text that is one key with a name of its own may be used elsewhere by that name.
        if last.node.alias().is_some() || last.node.anchor.is_some() && age.len() == 1 {
            return group_flat_alias(rules, patch, rule, last, key, warnings);
        }
        join_string(rules, patch, &last.node, age, key)?;
        // Behind the key, whose text may end the line.
        note(rules, patch, &last.node, key);
        return Ok(());
    };
    let pattern = age
        .iter()
        .rfind(|known| {
            known.list == last.list
                && anchors::is_of_role(rules, lists.place, key.role, &known.node)
        })
        .unwrap_or(last);
    let raw = &rules.text[pattern.node.span.clone()];
    let quote = anchors::quote_of(raw);
    let text =
        if list.style() == Some(YamlStyle::Flow) { key.item(quote) } else { key.line(quote) };
    if list.style() == Some(YamlStyle::Flow) {
        note(rules, patch, &list, key);
    }
    let end = patch.content_end(&pattern.node);
    patch.insert_after(&list, &pattern.node, end, &text)
}

/// Names the owner of a literal key in the comment of its line.
fn note(rules: &Rules<'_>, patch: &mut Patch<'_>, holder: &Node<'_>, key: &NewKey<'_>) {
    if key.alias.is_none() {
        Note::of(rules, holder).add(patch, key.comment, key.recipient);
    }
}

/// Adds an `age` entry behind the last entry of a group (or flat rule) without one.
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
            note(rules, patch, empty, key);
            return Ok(());
        }
        return Err(patch.unclear(empty.span.start, "the list of age keys is empty"));
    }
    let Some((last_key, last)) = group.node.entries().and_then(<[_]>::last) else {
        return Err(patch.unclear(group.node.span.start, "the key group is empty"));
    };
    let end = patch.content_end(last).max(last_key.span.end);
    if group.node.style() == Some(YamlStyle::Flow) {
        note(rules, patch, last, key);
        return patch.insert_after(group.node, last_key, end, &format!("age: [{}]", key.item("")));
    }
    if !rule.grouped {
        return patch.insert_after(group.node, last_key, end, &format!("age: {}", key.line("")));
    }
    let column = patch.block_prefix(false, last_key.start())?;
    let dash =
        last.items().filter(|_| last.style() == Some(YamlStyle::Block)).and_then(<[_]>::first);
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
        &format!("age:{}{indent}- {}", patch.newline_at(end), key.line("")),
    )
}

/// Replaces `age: *one`, which has room for one key, by a key group on the same line, or by a
/// list where keys of other kinds are beside it.
fn group_flat_alias(
    rules: &Rules<'_>,
    patch: &mut Patch<'_>,
    rule: &Rule<'_>,
    known: &Key<'_>,
    key: &NewKey<'_>,
    warnings: &mut Vec<String>,
) -> Result<(), Unclear> {
    let Some((name, value)) = rule.node.entry("age").filter(|_| !rule.grouped) else {
        return Err(patch.unclear(known.node.span.start, "its only key is an alias from elsewhere"));
    };
    let alias = &rules.text[value.start()..value.span.end];
    let others = rule.groups.iter().flat_map(|group| &group.keys).any(|key| key.kind != "age");
    if others {
        warnings.push(format!(
            "{} has a list under age: now, which sops before 3.11 cannot read",
            rule.name()
        ));
        patch.replace(value.start()..value.span.end, format!("[{alias},{}]", key.item("")));
    } else {
        let group = format!("key_groups: [{{age: [{alias}, {}]}}]", key.item(""));
        patch.replace(name.span.start..value.span.end, group);
    }
    note(rules, patch, value, key);
    Ok(())
}

/// Adds a literal to a comma-separated scalar, with the separator of its neighbours.
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

/// Returns the byte range of each value in a scalar's source text.
pub(crate) fn parts<'v>(raw: &str, values: impl Iterator<Item = &'v str>) -> Vec<(usize, usize)> {
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
