//! The output of `nix flake metadata --json`: where a flake comes from, and its locked inputs.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::StorePath;

/// A flake and the inputs in its lock file.
#[derive(Debug, Clone, PartialEq)]
pub struct FlakeMetadata {
    /// The flake's source in the store.
    pub path: StorePath,
    /// The locked flake reference; the resolved one where the flake cannot be locked.
    pub(crate) url: String,
    /// The commit; `None` where the tree is dirty or not a repository.
    pub(crate) revision: Option<String>,
    /// The direct inputs by name, `follows` resolved.
    pub inputs: BTreeMap<String, LockedInput>,
}

/// An input of a flake, as flake.lock has it.
#[derive(Debug, Clone, PartialEq)]
pub struct LockedInput {
    /// The reference in flake.nix, as attributes (`type`, `url`, `ref`, …).
    pub(crate) original: Value,
    /// The locked reference, as attributes (`rev`, `narHash`, …).
    pub(crate) locked: Value,
}

impl LockedInput {
    fn attribute<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
        value.get(name).and_then(Value::as_str)
    }

    /// Returns the locked commit.
    pub(crate) fn revision(&self) -> Option<&str> {
        Self::attribute(&self.locked, "rev")
    }

    /// Returns the hash of the locked tree, as `sha256-…`.
    pub fn nar_hash(&self) -> Option<&str> {
        Self::attribute(&self.locked, "narHash")
    }

    /// Returns the branch or tag that the original reference names.
    pub(crate) fn branch(&self) -> Option<&str> {
        Self::attribute(&self.original, "ref")
    }

    /// Says whether the original reference names a commit, so that an update never moves the lock.
    pub(crate) fn is_pinned(&self) -> bool {
        Self::attribute(&self.original, "rev").is_some()
    }

    /// Returns the type of the original reference: `git`, `github`, `path`, ….
    pub fn kind(&self) -> Option<&str> {
        Self::attribute(&self.original, "type")
    }
}

#[derive(Deserialize)]
struct Raw {
    path: StorePath,
    #[serde(default)]
    url: String,
    revision: Option<String>,
    locks: Locks,
}

#[derive(Deserialize)]
struct Locks {
    root: String,
    nodes: BTreeMap<String, Node>,
}

#[derive(Deserialize)]
struct Node {
    #[serde(default)]
    inputs: BTreeMap<String, Edge>,
    #[serde(default)]
    original: Value,
    #[serde(default)]
    locked: Value,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Edge {
    Node(String),
    /// The input path of a `follows`, from the root.
    Follows(Vec<String>),
}

impl FlakeMetadata {
    /// Parses the output of `nix flake metadata --json`.
    pub(crate) fn parse(json: &str) -> Result<Self, serde_json::Error> {
        let raw: Raw = serde_json::from_str(json)?;
        let names: Vec<&String> = raw
            .locks
            .nodes
            .get(&raw.locks.root)
            .map(|root| root.inputs.keys().collect())
            .unwrap_or_default();
        let inputs = names
            .into_iter()
            .filter_map(|name| {
                let node = raw.locks.node(std::slice::from_ref(name), 0)?;
                let (original, locked) = (node.original.clone(), node.locked.clone());
                Some((name.clone(), LockedInput { original, locked }))
            })
            .collect();
        Ok(Self { path: raw.path, url: raw.url, revision: raw.revision, inputs })
    }
}

/// Most `follows` in a chain; a broken lock file can have circular ones.
const MAX_FOLLOWS: usize = 32;

impl Locks {
    /// Returns the node at an input path, as `["disko", "nixpkgs"]`.
    fn node(&self, path: &[String], depth: usize) -> Option<&Node> {
        let mut node = self.nodes.get(&self.root)?;
        for name in path {
            node = match node.inputs.get(name)? {
                Edge::Node(key) => self.nodes.get(key)?,
                Edge::Follows(other) if depth < MAX_FOLLOWS => self.node(other, depth + 1)?,
                Edge::Follows(_) => return None,
            };
        }
        Some(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = r#"{
        "path": "/nix/store/m1wapfgg50digprlh2xhj1d8lhdsxvd0-source",
        "revision": "abc",
        "locks": {"root": "root", "version": 7, "nodes": {
            "root": {"inputs": {"nixpkgs": ["disko", "nixpkgs"], "disko": "disko", "loop": ["loop"]}},
            "disko": {"inputs": {"nixpkgs": "nixpkgs_2"}, "original": {"type": "github", "ref": "v1"},
                      "locked": {"rev": "d"}},
            "nixpkgs_2": {"original": {"type": "git", "url": "ssh://x"},
                          "locked": {"rev": "n", "narHash": "sha256-x"}}}}}"#;

    #[test]
    fn inputs_are_found_along_follows() {
        let metadata = FlakeMetadata::parse(OUTPUT).unwrap();
        assert_eq!(metadata.revision.as_deref(), Some("abc"));
        let nixpkgs = &metadata.inputs["nixpkgs"];
        assert_eq!((nixpkgs.revision(), nixpkgs.nar_hash()), (Some("n"), Some("sha256-x")));
        assert_eq!(metadata.inputs["disko"].branch(), Some("v1"));
        assert!(!metadata.inputs.contains_key("loop"));
    }

    #[test]
    fn a_flake_without_inputs_has_none() {
        let metadata = FlakeMetadata::parse(
            r#"{"path":"/nix/store/m1wapfgg50digprlh2xhj1d8lhdsxvd0-source","locks":{"nodes":{"root":{}},"root":"root","version":7}}"#,
        );
        assert!(metadata.unwrap().inputs.is_empty());
    }
}
