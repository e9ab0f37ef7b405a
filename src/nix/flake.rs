//! What `nix flake metadata` tells: where a flake is from, and its locked inputs.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::StorePath;

/// A flake and what its lock file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    /// The flake's source in the store.
    pub path: StorePath,
    /// The locked reference, where the flake can be locked; else as it was resolved.
    pub url: String,
    /// The commit, unless the tree is dirty or no repository.
    pub revision: Option<String>,
    /// The direct inputs by name.
    pub inputs: BTreeMap<String, Input>,
}

/// A locked input of a flake.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// The reference as flake.nix has it, as attributes (`type`, `url`, `ref`, …).
    pub original: Value,
    /// The reference as flake.lock has it (`rev`, `narHash`, …).
    pub locked: Value,
}

impl Input {
    fn attribute<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
        value.get(name).and_then(Value::as_str)
    }

    /// The locked commit.
    pub fn revision(&self) -> Option<&str> {
        Self::attribute(&self.locked, "rev")
    }

    /// The hash of the locked tree, as `sha256-…`.
    pub fn nar_hash(&self) -> Option<&str> {
        Self::attribute(&self.locked, "narHash")
    }

    /// The URL or path of the original reference, where it has one.
    pub fn url(&self) -> Option<&str> {
        Self::attribute(&self.original, "url").or_else(|| Self::attribute(&self.original, "path"))
    }

    /// The branch or tag that the original reference names.
    pub fn branch(&self) -> Option<&str> {
        Self::attribute(&self.original, "ref")
    }

    /// Whether the original reference names a commit, so that the lock never moves.
    pub fn is_pinned(&self) -> bool {
        Self::attribute(&self.original, "rev").is_some()
    }

    /// `git`, `github`, `path`, …
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
    /// The way of a `follows`, from the root.
    Follows(Vec<String>),
}

impl Metadata {
    /// Reads the answer of `nix flake metadata --json`.
    pub fn parse(json: &str) -> Result<Self, String> {
        let raw: Raw = serde_json::from_str(json).map_err(|error| error.to_string())?;
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
                Some((name.clone(), Input { original, locked }))
            })
            .collect();
        Ok(Self { path: raw.path, url: raw.url, revision: raw.revision, inputs })
    }
}

/// Ways that follow one another can be circular in a broken lock file.
const MOST_FOLLOWS: usize = 32;

impl Locks {
    fn node(&self, way: &[String], depth: usize) -> Option<&Node> {
        let mut node = self.nodes.get(&self.root)?;
        for name in way {
            node = match node.inputs.get(name)? {
                Edge::Node(key) => self.nodes.get(key)?,
                Edge::Follows(other) if depth < MOST_FOLLOWS => self.node(other, depth + 1)?,
                Edge::Follows(_) => return None,
            };
        }
        Some(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{
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
        let metadata = Metadata::parse(ANSWER).unwrap();
        assert_eq!(metadata.revision.as_deref(), Some("abc"));
        let nixpkgs = &metadata.inputs["nixpkgs"];
        assert_eq!((nixpkgs.revision(), nixpkgs.nar_hash()), (Some("n"), Some("sha256-x")));
        assert_eq!(nixpkgs.url(), Some("ssh://x"));
        assert_eq!(metadata.inputs["disko"].branch(), Some("v1"));
        assert!(!metadata.inputs.contains_key("loop"));
    }

    #[test]
    fn a_flake_without_inputs_has_none() {
        let metadata = Metadata::parse(
            r#"{"path":"/nix/store/m1wapfgg50digprlh2xhj1d8lhdsxvd0-source","locks":{"nodes":{"root":{}},"root":"root","version":7}}"#,
        );
        assert!(metadata.unwrap().inputs.is_empty());
    }
}
