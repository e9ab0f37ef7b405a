//! Finds the place for a new host's anchor, and writes it there.
//!
//! A group named hosts (systems, machines) comes first; else the place after the last host of the
//! list, by the prefix of its name or the comment above it; else the end of the list's age keys.
//! The neighbour's spacing, quotes and nesting are copied.

use std::ops::Range;

use super::Rules;
use super::hosts::{Role, anchor_part, only_anchored};
use super::patch::{Patch, Unclear};
use super::yaml::{Kind, Node, YamlStyle};
use crate::sops::file::recipient::RecipientKind;

/// A place for a new definition.
#[derive(Debug)]
pub(crate) struct Place<'n> {
    /// The list or map that gets the definition.
    pub(crate) collection: &'n Node<'n>,
    /// Index of the member to follow and to copy; `None` when the group is empty.
    pattern: Option<usize>,
    /// Whether the group is an empty node (`- &hosts:` with nothing below).
    empty: bool,
    /// The group's name.
    group: Option<&'n str>,
    pub(crate) anchor: String,
}

/// Finds the place for `host`; `None` where the config defines no anchors outside its rules.
pub(crate) fn find<'n>(
    rules: &'n Rules<'_>,
    role: Role,
    host: &str,
    anchor: Option<&str>,
) -> Option<Place<'n>> {
    let mut collections = Vec::new();
    for (key, value) in rules.root()?.entries()? {
        if key.scalar() != Some("creation_rules") {
            collect(key.scalar(), value, 0, &mut collections);
        }
    }
    let group = collections
        .iter()
        .filter(|found| found.name.is_some_and(|name| role.is_group(name)))
        .max_by_key(|found| members(found.node));
    if let Some(group) = group
        .filter(|group| members(group.node) > 0 || group.node.is_null() || is_empty(group.node))
    {
        return Some(Place { group: group.name, ..in_group(group.node, role, host, anchor) });
    }
    let list = collections
        .iter()
        .filter(|found| {
            found.depth <= OPEN_DEPTH
                && members(found.node) > 0
                && !found.name.is_some_and(|name| role.other().is_group(name))
        })
        .max_by_key(|found| members(found.node))?;
    Some(Place { group: list.name, ..in_list(rules, list.node, role, host, anchor) })
}

struct Found<'n> {
    name: Option<&'n str>,
    node: &'n Node<'n>,
    /// Number of maps around it, below the top level.
    depth: usize,
}

/// Depth of maps below which a key belongs to the map's subject, not to a group.
const OPEN_DEPTH: usize = 1;

/// Collects all lists and maps below `node`, each with its name.
fn collect<'n>(
    name: Option<&'n str>,
    node: &'n Node<'n>,
    depth: usize,
    found: &mut Vec<Found<'n>>,
) {
    let anchor = node.anchor.as_ref().map(|anchor| anchor.plain_name());
    let names = [name, anchor].into_iter().flatten();
    let name = names.clone().find(|name| is_any_group(name)).or(names.last());
    if node.scalar().is_none() || node.is_null() {
        found.push(Found { name, node, depth });
    }
    match &node.kind {
        Kind::Sequence { items, .. } => {
            items.iter().for_each(|item| collect(None, item, depth, found))
        }
        Kind::Mapping { entries, .. } => {
            entries.iter().for_each(|(key, value)| collect(key.scalar(), value, depth + 1, found));
        }
        _ => {}
    }
}

/// Returns the node of a member that is searched for an anchor.
fn member<'n>(collection: &'n Node<'n>, index: usize) -> Option<&'n Node<'n>> {
    match &collection.kind {
        Kind::Sequence { items, .. } => items.get(index),
        Kind::Mapping { entries, .. } => entries.get(index).map(|(_, value)| value),
        _ => None,
    }
}

/// Counts the members that define exactly one key, without nested groups.
fn members(collection: &Node<'_>) -> usize {
    (0..len(collection)).filter(|&i| is_key_member(collection, i)).count()
}

fn is_key_member(collection: &Node<'_>, index: usize) -> bool {
    let Some(node) = member(collection, index) else { return false };
    match collection.items() {
        Some(_) => node.anchor.is_some() && node.filled().is_some(),
        // Block members are groups, or hosts too large to be copied.
        None => node.style() != Some(YamlStyle::Block) && only_anchored(node).is_some(),
    }
}

fn len(collection: &Node<'_>) -> usize {
    match &collection.kind {
        Kind::Sequence { items, .. } => items.len(),
        Kind::Mapping { entries, .. } => entries.len(),
        _ => 0,
    }
}

fn is_empty(collection: &Node<'_>) -> bool {
    collection.style().is_some() && len(collection) == 0
}

fn names<'n>(collection: &'n Node<'n>) -> Vec<(usize, &'n str, &'n Node<'n>)> {
    let indices = (0..len(collection)).filter(|&i| is_key_member(collection, i));
    let named = indices.filter_map(|index| {
        let node = only_anchored(member(collection, index)?)?;
        Some((index, node.anchor.as_ref()?.plain_name(), node))
    });
    named.collect()
}

fn in_group<'n>(
    collection: &'n Node<'n>,
    role: Role,
    host: &str,
    anchor: Option<&str>,
) -> Place<'n> {
    let names = names(collection);
    let prefix = match collection.entries() {
        // In `carbon: &host_carbon …`, the prefix is the part of the anchor before the key.
        Some(entries) => names.last().and_then(|(index, name, _)| {
            let key = anchor_part(entries[*index].0.scalar()?);
            name.strip_suffix(key.as_str())
        }),
        None => {
            let prevailing = role.prevailing_prefix(names.iter().map(|(_, name, _)| *name));
            prevailing.filter(|prefix| {
                names.iter().filter(|(_, n, _)| n.starts_with(prefix)).count() * 2 >= names.len()
            })
        }
    };
    Place {
        collection,
        pattern: names.last().map(|(index, ..)| *index),
        empty: names.is_empty(),
        group: None,
        anchor: anchor.map_or_else(
            || format!("{}{}", prefix.unwrap_or(""), anchor_part(host)),
            str::to_owned,
        ),
    }
}

fn in_list<'n>(
    rules: &'n Rules<'_>,
    collection: &'n Node<'n>,
    role: Role,
    host: &str,
    anchor: Option<&str>,
) -> Place<'n> {
    let names = names(collection);
    let prefix = role.prevailing_prefix(names.iter().map(|(_, name, _)| *name));
    let with_prefix =
        names.iter().rfind(|(_, name, _)| prefix.is_some_and(|prefix| name.starts_with(prefix)));
    let is_age = |node: &Node<'_>| {
        node.scalar().is_some_and(|value| RecipientKind::of(value.trim()) != RecipientKind::Invalid)
    };
    let pattern = with_prefix
        .or_else(|| under_comment(rules, role, &names))
        .or_else(|| names.iter().rfind(|(_, _, node)| is_age(node)))
        .or(names.last());
    Place {
        collection,
        pattern: pattern.map(|(index, ..)| *index),
        empty: false,
        group: None,
        anchor: anchor.map_or_else(
            || format!("{}{}", prefix.unwrap_or(""), anchor_part(host)),
            str::to_owned,
        ),
    }
}

/// Returns the last key below a comment line about hosts, up to the next comment line.
fn under_comment<'v, 'n>(
    rules: &Rules<'_>,
    role: Role,
    names: &'v [(usize, &'n str, &'n Node<'n>)],
) -> Option<&'v (usize, &'n str, &'n Node<'n>)> {
    let own_line: Vec<_> = rules
        .stream
        .comments
        .iter()
        .filter(|comment| {
            let line = rules.text[..comment.start].rfind('\n').map_or(0, |i| i + 1);
            rules.text[line..comment.start].trim().is_empty()
        })
        .collect();
    let speaks_of_it = |text: &str| {
        text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| role.is_group(word))
    };
    let section = own_line.iter().rposition(|comment| {
        let first = names.first().map_or(0, |(_, _, node)| node.start());
        let last = names.last().map_or(0, |(_, _, node)| node.start());
        let inside = comment.start < last && (comment.start > first || own_line.len() > 1);
        inside && speaks_of_it(&rules.text[(**comment).clone()])
    })?;
    let from = own_line[section].start;
    let to = own_line[section + 1..]
        .iter()
        .map(|c| c.start)
        .find(|&start| names.iter().any(|(_, _, node)| node.start() > from && node.start() < start))
        .unwrap_or(usize::MAX);
    names.iter().rfind(|(_, _, node)| node.start() > from && node.start() < to)
}

impl<'n> Place<'n> {
    /// Returns the byte offset of the definition, to be compared with those of its uses.
    pub(crate) fn offset(&self) -> usize {
        self.pattern
            .and_then(|index| member(self.collection, index))
            .map_or(self.collection.span.start, Node::start)
    }

    /// Writes the definition of `host`.
    pub(crate) fn insert(
        &self,
        rules: &Rules<'_>,
        patch: &mut Patch<'_>,
        host: &str,
        recipient: &str,
    ) -> Result<(), Unclear> {
        let plain = format!("&{} {recipient}", self.anchor);
        let Some(index) = self.pattern else {
            return self.insert_first(rules, patch, &plain);
        };
        let Some(value) = member(self.collection, index) else {
            return self.insert_first(rules, patch, &plain);
        };
        let key = self.collection.entries().map(|entries| &entries[index].0);
        let start = key.map_or(value.start(), Node::start);
        let end = patch.content_end(value);
        let key_node =
            sole_key(rules, value, start..end).map_err(|reason| patch.unclear(start, reason))?;
        // Copies the pattern's text, and replaces key, anchor and recipient.
        let mut copy = Patch::new(&rules.text[start..end]);
        let at = |span: &Range<usize>| span.start - start..span.end - start;
        if let Some(key) = key {
            copy.replace(at(&key.span), host);
        }
        if let Some(anchor) = &key_node.anchor {
            copy.replace(at(&anchor.span), format!("&{}", self.anchor));
        }
        let quote = quote_of(&rules.text[key_node.span.clone()]);
        copy.replace(at(&key_node.span), format!("{quote}{recipient}{quote}"));
        patch.insert_after(self.collection, key.unwrap_or(value), end, &copy.apply())
    }

    /// Writes the first member of an empty group.
    fn insert_first(
        &self,
        rules: &Rules<'_>,
        patch: &mut Patch<'_>,
        plain: &str,
    ) -> Result<(), Unclear> {
        let node = self.collection;
        if !self.empty || node.entries().is_some() {
            return Err(patch.unclear(
                node.span.start,
                "the group of hosts has nothing that could be the pattern of a new one",
            ));
        }
        if node.style().is_some() {
            patch.replace(node.span.clone(), format!("[{plain}]"));
            return Ok(());
        }
        let at = node.anchor.as_ref().map_or(node.span.start, |anchor| anchor.span.end);
        let line = patch.line_start(node.start());
        let indent =
            rules.text[line..].len() - rules.text[line..].trim_start_matches([' ', '-']).len();
        let end = patch.line_end(at);
        patch.replace(end..end, format!("{}{}- {plain}", patch.newline_at(at), " ".repeat(indent)));
        Ok(())
    }
}

/// Returns the recipients of all hosts but `host`: members of the hosts' group, else those whose
/// name has a host's prefix.
pub(crate) fn known_hosts<'n>(rules: &'n Rules<'_>, host: &str) -> Vec<&'n str> {
    let Some(place) = find(rules, Role::Host, host, None) else { return Vec::new() };
    let in_group = place.group.is_some_and(|name| Role::Host.is_group(name));
    let hosts = names(place.collection)
        .into_iter()
        .filter(|(_, name, _)| in_group || Role::Host.prefix(name).is_some());
    hosts.filter_map(|(_, _, node)| node.scalar()).map(str::trim).collect()
}

/// Returns the key of a group's member that consists of it alone.
fn sole_key<'n>(
    rules: &Rules<'_>,
    value: &'n Node<'n>,
    span: Range<usize>,
) -> Result<&'n Node<'n>, &'static str> {
    let key = only_anchored(value).ok_or("the neighbour defines several keys")?;
    let (mut scalars, mut names) = (0, 0);
    value.walk(&mut |node| {
        scalars += usize::from(node.scalar().is_some() || node.alias().is_some());
        names += node.entries().map_or(0, <[_]>::len);
    });
    if scalars - names != 1 || rules.text[span].contains('\n') {
        return Err("the neighbour has more to it than a key, so it is no pattern for a new one");
    }
    Ok(key)
}

/// Returns the quote that a scalar begins with, else an empty text.
pub(crate) fn quote_of(raw: &str) -> &str {
    if raw.starts_with(['"', '\'']) { &raw[..1] } else { "" }
}

/// Says whether a key in a rule's list has this role: an alias of a member of the place's group,
/// or a name with the role's prefix.
pub(crate) fn is_of_role(
    rules: &Rules<'_>,
    place: Option<&Place<'_>>,
    role: Role,
    node: &Node<'_>,
) -> bool {
    let Some(name) = node.alias() else { return false };
    if role.prefix(name).is_some() {
        return true;
    }
    let target = rules.resolve(node);
    place.filter(|place| place.group.is_some_and(|name| role.is_group(name))).is_some_and(|place| {
        names(place.collection).iter().any(|(_, _, member)| std::ptr::eq(*member, target))
    })
}

fn is_any_group(name: &str) -> bool {
    Role::Host.is_group(name) || Role::Person.is_group(name)
}
