//! Finds a host's entry in a `.sops.yaml`, and names a new one by the file's conventions.

use std::ops::Range;

use super::Rules;
use super::inline_names::Note;
use super::yaml::{Node, Position, position};

/// The owner of a key, which decides on its group and prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    #[default]
    Host,
    /// A user on a host; keys of people are in the same groups.
    Person,
}

/// Words before a host's name in anchors, in the order in which they are tried.
const HOST_WORDS: [&str; 6] = ["host", "server", "system", "machine", "node", "ssh"];
const PERSON_WORDS: [&str; 4] = ["user", "admin", "home", "person"];
/// Names of groups of hosts, and of groups of people.
const HOST_GROUPS: [&str; 10] = [
    "host", "hosts", "system", "systems", "machine", "machines", "server", "servers", "nodes",
    "nixos",
];
const PERSON_GROUPS: [&str; 8] =
    ["user", "users", "admin", "admins", "people", "owners", "yubikeys", "recovery"];

impl Role {
    /// Returns the prefix for a name that a key of the other role has already.
    pub(crate) fn usual_prefix(self) -> &'static str {
        match self {
            Self::Host => "host_",
            Self::Person => "user_",
        }
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Self::Host => Self::Person,
            Self::Person => Self::Host,
        }
    }

    /// Says whether a group of keys is this role's, by its name.
    pub(crate) fn is_group(self, name: &str) -> bool {
        let groups: &[&str] = match self {
            Self::Host => &HOST_GROUPS,
            Self::Person => &PERSON_GROUPS,
        };
        groups.contains(&name.to_ascii_lowercase().trim_end_matches("_keys"))
    }

    /// Returns the part of an anchor's name that indicates the role: `host_` of `host_foo`.
    pub(crate) fn prefix(self, anchor: &str) -> Option<&str> {
        let (word, _) = anchor.split_once(['_', '-'])?;
        let words: &[&str] = match self {
            Self::Host => &HOST_WORDS,
            Self::Person => &PERSON_WORDS,
        };
        words.contains(&word.to_ascii_lowercase().as_str()).then(|| &anchor[..=word.len()])
    }

    /// Returns the prefix that most of these anchors have, if it indicates the role.
    pub(crate) fn prevailing_prefix<'n>(
        self,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Option<&'n str> {
        let mut counts: Vec<(&str, usize)> = Vec::new();
        for prefix in names.into_iter().filter_map(|name| self.prefix(name)) {
            match counts.iter_mut().find(|(known, _)| *known == prefix) {
                Some((_, count)) => *count += 1,
                None => counts.push((prefix, 1)),
            }
        }
        counts.into_iter().max_by_key(|(_, count)| *count).map(|(prefix, _)| prefix)
    }
}

/// Words after a host's name in anchors, about the kind of key.
const KEY_WORDS: [&str; 11] =
    ["ssh", "age", "host", "key", "keys", "sops", "ed25519", "system", "server", "machine", "pub"];

/// Says whether an anchor is the name followed by [`KEY_WORDS`], as `foo_ssh`.
fn has_key_words(anchor: &str, name: &str) -> bool {
    let words = anchor.strip_prefix(name).filter(|rest| rest.starts_with(['_', '-']));
    words.is_some_and(|words| {
        let mut words = words[1..].split(['_', '-']);
        words.all(|word| KEY_WORDS.contains(&word.to_ascii_lowercase().as_str()))
    })
}

/// Says whether an anchor contains a host's name, separated from the rest by `_` or `-`.
pub(crate) fn speaks_of(anchor: &str, host: &str) -> bool {
    let part = anchor_part(host);
    let ends = |c: Option<char>| c.is_none_or(|c| c == '_' || c == '-');
    !part.is_empty()
        && anchor.match_indices(&part).any(|(at, found)| {
            let (before, after) = (&anchor[..at], &anchor[at + found.len()..]);
            ends(before.chars().next_back()) && ends(after.chars().next())
        })
}

/// Says whether a key is a person's, by its group or its anchor.
pub(crate) fn is_persons(rules: &Rules<'_>, anchor: &str, recipient: &str) -> bool {
    let grouped = keys_in_groups_of(rules, Role::Person);
    let is_it = |node: &&Node<'_>| node.scalar().map(str::trim) == Some(recipient);
    Role::Person.prefix(anchor).is_some() || grouped.iter().any(is_it)
}

/// Converts a host's name to what go-yaml accepts in an anchor: letters, digits, `-` and `_`.
pub(crate) fn anchor_part(host: &str) -> String {
    host.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

/// An entry of a host or a user in a config.
#[derive(Debug)]
pub(crate) struct HostEntry<'n> {
    /// The scalar with the anchor; `None` where rules contain the recipient itself.
    pub(crate) anchor: Option<&'n Node<'n>>,
    pub(crate) recipient: String,
}

impl HostEntry<'_> {
    pub(crate) fn anchor_name(&self) -> Option<&str> {
        self.anchor.and_then(|node| node.anchor.as_ref()).map(|anchor| anchor.plain_name())
    }
}

/// A host to be found.
#[derive(Debug, Clone, Copy, Default)]
pub struct Who<'a> {
    pub role: Role,
    pub name: &'a str,
    /// The anchor, where it does not follow from the name.
    pub anchor: Option<&'a str>,
    /// Its current key, where the config does not name the owners of keys.
    pub recipient: Option<&'a str>,
}

impl<'a> Who<'a> {
    pub fn named(name: &'a str) -> Self {
        Self { name, ..Self::default() }
    }
}

/// Why a name does not identify one entry.
#[derive(Debug)]
pub(crate) enum Unfound {
    Absent,
    /// The anchor is defined more than once, or several anchors match.
    Several(Vec<(String, Position)>),
}

/// Finds a host's entry: by the given anchor, else by the usual names, else by a comment behind a
/// literal recipient, else by its key.
pub(crate) fn find<'n>(rules: &'n Rules<'_>, who: &Who<'_>) -> Result<HostEntry<'n>, Unfound> {
    let (host, anchor) = (who.name, who.anchor);
    let mut anchored = rules.anchored();
    if anchor.is_none() {
        // A person may have a host's name; their keys are in other groups.
        let others = keys_in_groups_of(rules, who.role.other());
        anchored.retain(|node| !others.iter().any(|other| std::ptr::eq(*other, *node)));
    }
    let named = |wanted: &dyn Fn(&str) -> bool| -> Vec<&'n Node<'n>> {
        let matching = anchored.iter().copied().filter(|node| {
            let name = node.anchor.as_ref().map(|anchor| anchor.plain_name());
            node.filled().is_some() && name.is_some_and(wanted)
        });
        matching.collect()
    };
    let part = anchor_part(host);
    let mut found = match anchor {
        Some(anchor) => named(&|name| name == anchor),
        None => named(&|name| {
            name == part || who.role.prefix(name).is_some_and(|prefix| name[prefix.len()..] == part)
        }),
    };
    if found.is_empty() && anchor.is_none() {
        found = named(&|name| {
            let bare = who.role.prefix(name).map_or(name, |prefix| &name[prefix.len()..]);
            has_key_words(bare, &part)
        });
    }
    // Where anchors of hosts are `host_foo`, an anchor `foo` is not a host's.
    let is_prefixed = |node: &&Node<'_>| {
        let name = node.anchor.as_ref().map(|anchor| anchor.plain_name());
        name.is_some_and(|name| who.role.prefix(name).is_some())
    };
    let prefixed = anchored.iter().filter(|node| is_prefixed(node)).count();
    if anchor.is_none() && prefixed * 2 >= anchored.len() {
        found.retain(is_prefixed);
    }
    match found.as_slice() {
        [node] => Ok(entry(node)),
        [] if anchor.is_some() => Err(Unfound::Absent),
        [] => keyed(rules, host)
            .or_else(|| commented(rules, host))
            .or_else(|| with_key(rules, who.recipient?))
            .ok_or(Unfound::Absent),
        several => Err(Unfound::Several(
            several
                .iter()
                .map(|node| {
                    let name = node.anchor.as_ref().map_or("", |anchor| anchor.plain_name());
                    (name.to_owned(), position(rules.text, node.start()))
                })
                .collect(),
        )),
    }
}

fn entry<'n>(node: &'n Node<'n>) -> HostEntry<'n> {
    HostEntry { anchor: Some(node), recipient: node.scalar().unwrap_or_default().trim().to_owned() }
}

/// Returns the keys in groups of this role, by the groups' names.
fn keys_in_groups_of<'n>(rules: &'n Rules<'_>, role: Role) -> Vec<&'n Node<'n>> {
    let mut found = Vec::new();
    let mut collect = |group: &'n Node<'n>| {
        group.walk(&mut |node| {
            if node.anchor.is_some() && node.scalar().is_some() {
                found.push(node);
            }
        });
    };
    let Some(root) = rules.root() else { return found };
    let mut groups = Vec::new();
    root.walk(&mut |node| {
        if node.anchor.as_ref().is_some_and(|anchor| role.is_group(anchor.plain_name())) {
            groups.push(node);
        }
        for (key, value) in node.entries().unwrap_or_default() {
            if key.scalar().is_some_and(|name| role.is_group(name)) {
                groups.push(value);
            }
        }
    });
    groups.into_iter().filter(|group| group.scalar().is_none()).for_each(&mut collect);
    found
}

/// Returns the recipients of this role, by their group or their prefix.
pub(crate) fn keys_of<'n>(rules: &'n Rules<'_>, role: Role) -> Vec<&'n str> {
    let mut nodes = keys_in_groups_of(rules, role);
    nodes.extend(rules.anchored().into_iter().filter(|node| {
        node.anchor.as_ref().is_some_and(|anchor| role.prefix(anchor.plain_name()).is_some())
    }));
    nodes.into_iter().filter_map(|node| node.scalar()).map(str::trim).collect()
}

/// Finds a host that is a key in a map of hosts: `hosts: { foo: {age: [&any age1…]} }`.
fn keyed<'n>(rules: &'n Rules<'_>, host: &str) -> Option<HostEntry<'n>> {
    let mut found = None;
    rules.root()?.walk(&mut |node| {
        for (key, group) in node.entries().unwrap_or_default() {
            if !key.scalar().is_some_and(|name| Role::Host.is_group(name)) {
                continue;
            }
            if let Some(value) = group.get(host) {
                found = found.or(only_anchored(value));
            }
        }
    });
    found.map(entry)
}

/// Returns the anchored scalar below a node, when there is exactly one.
pub(crate) fn only_anchored<'n>(node: &'n Node<'n>) -> Option<&'n Node<'n>> {
    let mut found = Vec::new();
    node.walk(&mut |child| {
        if child.anchor.is_some() && child.filled().is_some() {
            found.push(child);
        }
    });
    match found.as_slice() {
        [one] => Some(one),
        _ => None,
    }
}

/// Finds a literal recipient in a rule whose comment names the host: a comment behind the key
/// that begins with the name, or the names of an inline list.
fn commented<'n>(rules: &'n Rules<'_>, host: &str) -> Option<HostEntry<'n>> {
    let all = rules.rules().ok()?;
    for group in all.iter().flat_map(|rule| &rule.groups) {
        for key in group.keys.iter().filter(|key| key.kind == "age") {
            let said = match Note::of_key(rules, group, key) {
                Some(note) => note.says(group, key, host),
                None => {
                    let comment = line_comment(rules, key.node.span.end);
                    key.node.scalar().is_some()
                        && comment.is_some_and(|text| first_word(text) == host)
                }
            };
            if said {
                return Some(HostEntry { anchor: None, recipient: key.value.clone() });
            }
        }
    }
    None
}

/// Returns the entry with exactly this key, whatever its name.
pub(crate) fn with_key<'n>(rules: &'n Rules<'_>, recipient: &str) -> Option<HostEntry<'n>> {
    let anchored = rules.anchored();
    if let Some(node) = anchored
        .into_iter()
        .find(|node| node.scalar().is_some_and(|value| value.trim() == recipient))
    {
        return Some(entry(node));
    }
    let all = rules.rules().ok()?;
    let mut keys = all.iter().flat_map(|rule| &rule.groups).flat_map(|group| &group.keys);
    keys.any(|key| key.kind == "age" && key.value == recipient)
        .then(|| HostEntry { anchor: None, recipient: recipient.to_owned() })
}

/// Returns the comment at the end of the line of `offset`, without `#`.
pub(crate) fn line_comment<'t>(rules: &Rules<'t>, offset: usize) -> Option<&'t str> {
    line_comment_span(rules, offset).map(|span| rules.text[span].trim_start_matches('#').trim())
}

/// Returns the byte range of the comment at the end of the line of `offset`, with `#`.
pub(crate) fn line_comment_span(rules: &Rules<'_>, offset: usize) -> Option<Range<usize>> {
    let end = rules.text[offset..].find('\n').map_or(rules.text.len(), |i| offset + i);
    rules.stream.comments.iter().find(|c| (offset..end).contains(&c.start)).cloned()
}

pub(crate) fn first_word(text: &str) -> &str {
    text.split([' ', ',', '(', ':']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_anchors() {
        assert_eq!(anchor_part("john.doe@host"), "john_doe_host");
        assert_eq!(anchor_part("my-host"), "my-host");
        assert_eq!(Role::Host.prefix("host_foo"), Some("host_"));
        assert_eq!(Role::Host.prefix("ssh-briv"), Some("ssh-"));
        assert_eq!(Role::Host.prefix("user_foo"), None);
        assert_eq!(
            Role::Host.prevailing_prefix(["admin_x", "server_a", "server_b", "host_c"]),
            Some("server_")
        );
    }

    #[test]
    fn one_name_must_mean_one_anchor() {
        let rules = Rules::parse("keys:\n  - &a x1\n  - &a x2\n  - &host_b y\n").unwrap();
        assert!(
            matches!(find(&rules, &Who::named("a")), Err(Unfound::Several(all)) if all.len() == 2)
        );
        assert_eq!(find(&rules, &Who::named("b")).unwrap().recipient, "y");
        assert!(matches!(find(&rules, &Who::named("c")), Err(Unfound::Absent)));
    }
}
