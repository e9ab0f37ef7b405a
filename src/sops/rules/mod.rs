//! Reads `.sops.yaml` as sops does: which rule applies to a file, and its recipients.
//!
//! The first rule whose `path_regex` matches the path (relative to the config's directory) wins;
//! `key_groups` takes precedence over flat keys; aliases and merge keys are resolved. Every key
//! refers to its node in the text, so that [`edit`] can change exactly these bytes.

pub(crate) mod anchors;
pub(crate) mod dialect;
pub mod edit;
pub mod go_regex;
pub mod hosts;
pub(crate) mod inline_names;
pub(crate) mod join;
pub(crate) mod leave;
pub(crate) mod meaning;
pub mod new_rule;
pub(crate) mod patch;
pub(crate) mod rename;
pub mod yaml;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use regex::Regex;

use crate::error::{Advice, Exit};
use yaml::{Kind, Node, Position, YamlError, YamlStream, position};

/// The kinds of keys that a group or a rule can list.
pub(crate) const KEY_KINDS: [&str; 8] =
    ["age", "pgp", "kms", "gcp_kms", "azure_keyvault", "hc_vault", "hckms", "hc_vault_transit_uri"];

#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    #[error(transparent)]
    Yaml(#[from] YamlError),
    #[error("{at}: {reason}")]
    Shape { at: Position, reason: String },
    #[error("rule at {at}: path_regex {regex:?} does not compile: {reason}")]
    Regex { at: Position, regex: String, reason: String },
    #[error("the file is generated: {comment:?}")]
    Generated { at: Position, comment: String, command: Option<String> },
}

impl Advice for RulesError {
    fn hint(&self) -> String {
        match self {
            Self::Generated { command: Some(command), .. } => {
                format!("Change its source, then run: {command}")
            }
            Self::Generated { .. } => "Change its source and generate it again.".into(),
            _ => "Correct .sops.yaml by hand, then run the same command again.".into(),
        }
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

/// A parsed `.sops.yaml`.
#[derive(Debug)]
pub struct Rules<'a> {
    pub(crate) text: &'a str,
    pub(crate) stream: YamlStream<'a>,
    /// Names of anchors and their byte offsets, in order.
    definitions: Vec<(String, usize)>,
}

/// An entry of `creation_rules`.
#[derive(Debug)]
pub struct Rule<'n> {
    pub index: usize,
    pub(crate) node: &'n Node<'n>,
    pub path_regex: Option<&'n str>,
    regex: OnceLock<Result<Option<Regex>, String>>,
    at: Position,
    /// Whether the keys are in `key_groups`; otherwise they are one group, whose node is the
    /// rule.
    pub(crate) grouped: bool,
    pub groups: Vec<Group<'n>>,
}

/// A key group.
#[derive(Debug)]
pub struct Group<'n> {
    /// The mapping of kinds to keys.
    pub(crate) node: &'n Node<'n>,
    pub keys: Vec<Key<'n>>,
}

/// A key of a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Key<'n> {
    pub(crate) kind: &'n str,
    pub(crate) value: String,
    /// Its node in the list: an alias, a scalar, or a part of a comma-separated scalar.
    pub(crate) node: NodeRef<'n>,
    /// The list with the node; `None` when the node is directly under `age:`.
    pub(crate) list: Option<NodeRef<'n>>,
    /// Whether the list is reached by an alias or merge key, so that other rules share it.
    pub(crate) shared: bool,
}

/// A node, compared by identity.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NodeRef<'n>(pub(crate) &'n Node<'n>);

impl PartialEq for NodeRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl<'n> std::ops::Deref for NodeRef<'n> {
    type Target = Node<'n>;
    fn deref(&self) -> &Self::Target {
        self.0
    }
}

impl Rule<'_> {
    /// Says whether the rule matches every path, so that later rules never apply.
    pub(crate) fn is_catch_all(&self) -> bool {
        matches!(
            self.path_regex,
            None | Some("" | ".*" | "^.*$" | ".+" | "^.+$" | ".*$" | "^.*" | "." | "^" | "$")
        )
    }

    /// Returns the age recipients of all groups, without duplicates, in order.
    pub fn recipients(&self) -> Vec<&str> {
        let mut all: Vec<&str> = Vec::new();
        for key in self.groups.iter().flat_map(|group| &group.keys) {
            if key.kind == "age" && !all.contains(&key.value.as_str()) {
                all.push(&key.value);
            }
        }
        all
    }

    /// Says whether an age recipient can decrypt the rule's files alone.
    pub(crate) fn every_group_has(&self, recipient: &str) -> bool {
        let has = |group: &Group<'_>| {
            group.keys.iter().any(|key| key.kind == "age" && key.value == recipient)
        };
        self.groups.iter().all(has)
    }

    /// Says whether all keys of the rule are age recipients.
    pub(crate) fn is_age_alone(&self) -> bool {
        self.groups.iter().flat_map(|group| &group.keys).all(|key| key.kind == "age")
    }

    /// Says whether `path_regex` matches `path` (relative to the config's directory, with `/`).
    ///
    /// Like sops, compiles a pattern only when a path gets to its rule.
    pub(crate) fn matches(&self, path: &Path) -> Result<bool, RulesError> {
        let compile = || self.path_regex.map(go_regex::compile).transpose();
        match self.regex.get_or_init(compile) {
            Ok(None) => Ok(true),
            Ok(Some(regex)) => Ok(regex.is_match(&path.to_string_lossy())),
            Err(reason) => Err(RulesError::Regex {
                at: self.at,
                regex: self.path_regex.unwrap_or_default().to_owned(),
                reason: reason.clone(),
            }),
        }
    }

    /// Returns the rule's name in errors and reports.
    pub(crate) fn name(&self) -> String {
        match self.path_regex {
            Some(regex) if !regex.is_empty() => format!("path_regex: {regex}"),
            _ => format!("rule {} (no path_regex)", self.index + 1),
        }
    }
}

/// Returns the first rule that matches.
pub(crate) fn winner<'v, 'n>(
    rules: &'v [Rule<'n>],
    path: &Path,
) -> Result<Option<&'v Rule<'n>>, RulesError> {
    for rule in rules {
        if rule.matches(path)? {
            return Ok(Some(rule));
        }
    }
    Ok(None)
}

impl<'a> Rules<'a> {
    /// Parses and checks the text of a `.sops.yaml`.
    pub fn parse(text: &'a str) -> Result<Self, RulesError> {
        let stream = yaml::parse(text)?;
        let mut definitions = Vec::new();
        if let Some(root) = stream.documents.first() {
            root.walk(&mut |node| {
                if let Some(anchor) = &node.anchor {
                    definitions.push((anchor.name.to_string(), anchor.span.start));
                }
            });
        }
        let rules = Self { text, stream, definitions };
        rules.check_anchors()?;
        rules.check_tabs()?;
        rules.check_size()?;
        rules.rules()?;
        Ok(rules)
    }

    pub(crate) fn shape(&self, offset: usize, reason: impl Into<String>) -> RulesError {
        RulesError::Shape { at: position(self.text, offset), reason: reason.into() }
    }

    /// Returns the first document, the only one that sops reads.
    pub(crate) fn root(&self) -> Option<&Node<'_>> {
        self.stream.documents.first()
    }

    /// Returns the node of `creation_rules`.
    pub(crate) fn rules_node(&self) -> Option<&Node<'_>> {
        self.root()?.get("creation_rules")
    }

    /// Resolves an alias to the last definition before it; returns other nodes as they are.
    pub(crate) fn resolve<'n>(&'n self, node: &'n Node<'n>) -> &'n Node<'n> {
        let Some(name) = node.alias() else { return node };
        let before = |(known, at): &&(String, usize)| known == name && *at < node.span.start;
        let defined = self.definitions.iter().rfind(before);
        let found = defined.and_then(|(_, at)| self.root()?.with_anchor_at(*at));
        // A node must not refer to itself; go-yaml refuses that too.
        found.filter(|found| !found.span.contains(&node.span.start)).unwrap_or(node)
    }

    /// Looks up a mapping's entry, also in its merge keys; the flag says whether it was merged.
    fn lookup<'n>(&'n self, map: &'n Node<'n>, key: &str) -> Option<(&'n Node<'n>, bool)> {
        if let Some(value) = map.get(key) {
            return Some((value, false));
        }
        let merged = self.resolve(map.get("<<")?);
        let sources = merged.items().unwrap_or(std::slice::from_ref(merged));
        sources.iter().find_map(|source| {
            let (value, _) = self.lookup(self.resolve(source), key)?;
            Some((value, true))
        })
    }

    /// Returns a scalar setting of a rule.
    pub(crate) fn setting<'n>(&'n self, rule: &Rule<'n>, name: &str) -> Option<&'n str> {
        self.lookup(rule.node, name).and_then(|(value, _)| self.resolve(value).scalar())
    }

    /// Returns all rules, in order.
    pub fn rules(&self) -> Result<Vec<Rule<'_>>, RulesError> {
        let Some(list) = self.rules_node() else { return Ok(Vec::new()) };
        if list.is_null() {
            return Ok(Vec::new());
        }
        let Some(items) = self.resolve(list).items() else {
            return Err(self.shape(list.span.start, "creation_rules is not a list"));
        };
        items.iter().enumerate().map(|(index, item)| self.rule(index, item)).collect()
    }

    fn rule<'n>(&'n self, index: usize, item: &'n Node<'n>) -> Result<Rule<'n>, RulesError> {
        let node = self.resolve(item);
        if node.entries().is_none() {
            return Err(self.shape(item.span.start, "a creation rule is not a mapping"));
        }
        let scalar =
            |key: &str| self.lookup(node, key).and_then(|(value, _)| self.resolve(value).scalar());
        let path_regex = scalar("path_regex");
        let at = position(self.text, node.span.start);
        let groups = self.lookup(node, "key_groups").filter(|(value, _)| {
            self.resolve(value).items().is_some_and(|items| !items.is_empty())
        });
        let (grouped, groups) = match groups {
            Some((value, merged)) => {
                let shared = merged || value.alias().is_some();
                let items = self.resolve(value).items().unwrap_or_default();
                let groups = items.iter().map(|group| {
                    self.group(self.resolve(group), shared || group.alias().is_some())
                });
                (true, groups.collect::<Result<_, _>>()?)
            }
            None => (false, vec![self.group(node, false)?]),
        };
        Ok(Rule { index, node, path_regex, regex: OnceLock::new(), at, grouped, groups })
    }

    fn group<'n>(&'n self, node: &'n Node<'n>, shared: bool) -> Result<Group<'n>, RulesError> {
        if node.entries().is_none() {
            return Err(
                self.shape(node.span.start, "a key group is not a mapping of kinds of keys")
            );
        }
        let mut keys = Vec::new();
        if let Some((merge, _)) = self.lookup(node, "merge") {
            for part in self.resolve(merge).items().unwrap_or_default() {
                keys.extend(self.group(self.resolve(part), shared || part.alias().is_some())?.keys);
            }
        }
        for kind in KEY_KINDS {
            if let Some((value, merged)) = self.lookup(node, kind) {
                keys.extend(self.keys(kind, value, shared || merged)?);
            }
        }
        Ok(Group { node, keys })
    }

    fn keys<'n>(
        &'n self,
        kind: &'static str,
        value: &'n Node<'n>,
        shared: bool,
    ) -> Result<Vec<Key<'n>>, RulesError> {
        let target = self.resolve(value);
        let Some(items) = target.items() else {
            if target.is_null() {
                return Ok(Vec::new());
            }
            return self.key(kind, value, None, shared);
        };
        let shared = shared || value.alias().is_some();
        let mut keys = Vec::new();
        for item in items {
            keys.extend(self.key(kind, item, Some(NodeRef(target)), shared)?);
        }
        Ok(keys)
    }

    /// Returns the keys of a scalar, several where it is comma-separated.
    fn key<'n>(
        &'n self,
        kind: &'static str,
        node: &'n Node<'n>,
        list: Option<NodeRef<'n>>,
        shared: bool,
    ) -> Result<Vec<Key<'n>>, RulesError> {
        let target = self.resolve(node);
        let key = |value: &str| Key {
            kind,
            value: value.trim().to_owned(),
            node: NodeRef(node),
            list,
            shared,
        };
        match &target.kind {
            Kind::Scalar { value, .. } if kind == "age" || kind == "pgp" => {
                Ok(value.split(',').filter(|part| !part.trim().is_empty()).map(key).collect())
            }
            Kind::Scalar { value, .. } => Ok(vec![key(value)]),
            Kind::Mapping { .. } if kind != "age" => Ok(vec![key(&self.canonical(target))]),
            _ => Err(self.shape(
                node.span.start,
                format!("a list inside the list of {kind} keys: sops cannot read that"),
            )),
        }
    }

    /// Returns the rule that sops applies to `path` (relative to the config's directory, with
    /// `/`).
    pub fn rule_for(&self, path: &Path) -> Result<Option<Rule<'_>>, RulesError> {
        let mut rules = self.rules()?;
        let index = winner(&rules, path)?.map(|rule| rule.index);
        Ok(index.map(|index| rules.swap_remove(index)))
    }

    /// Returns every scalar with an anchor, inside the rules and outside: the candidates for
    /// hosts.
    pub(crate) fn anchored(&self) -> Vec<&Node<'_>> {
        let mut found = Vec::new();
        if let Some(root) = self.root() {
            root.walk(&mut |node| {
                if node.anchor.is_some() {
                    found.push(node);
                }
            });
        }
        found
    }

    /// Formats a node's meaning, with aliases and merge keys resolved.
    pub(crate) fn canonical(&self, node: &Node<'_>) -> String {
        let node = self.resolve(node);
        match &node.kind {
            Kind::Scalar { value, .. } => format!("{value:?}"),
            Kind::Alias(name) => format!("*{name}"),
            Kind::Sequence { items, .. } => {
                let items: Vec<_> = items.iter().map(|item| self.canonical(item)).collect();
                format!("[{}]", items.join(","))
            }
            Kind::Mapping { entries, .. } => {
                let mut map = BTreeMap::new();
                for (key, value) in entries {
                    map.insert(self.canonical(key), self.canonical(value));
                }
                let entries: Vec<_> = map.iter().map(|(k, v)| format!("{k}:{v}")).collect();
                format!("{{{}}}", entries.join(","))
            }
        }
    }
}
