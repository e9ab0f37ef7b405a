//! Who can open a file: its keys and their groups, as the file itself says it or as a
//! rule wants it, and what a new content lets somebody open that could not before.
//!
//! Whoever may push a change of `.sops.yaml` is not yet one of those who may read the
//! secrets. The present recipients of a file are what people agreed to; a rule is a
//! proposal, and what it adds is for a person to grant.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::rules::{Key, Rule, Rules};
use crate::sops::rules::yaml::Node;

/// The kinds of keys by the names that they have in an encrypted file.
pub(crate) const FILE_KINDS: [&str; 7] =
    ["age", "pgp", "kms", "gcp_kms", "azure_kv", "hc_vault", "hckms"];

/// One key that opens a file, or holds a share of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileKey {
    /// One of [`FILE_KINDS`].
    pub(crate) kind: &'static str,
    /// The recipient, fingerprint or name of the key, as sops compares it.
    pub(crate) id: String,
}

impl fmt::Display for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            "age" => f.write_str(&plain(&self.id)),
            kind => write!(f, "{kind} {}", plain(&self.id)),
        }
    }
}

/// A text that somebody else wrote: in quotes where it holds more than plain characters.
fn plain(text: &str) -> Cow<'_, str> {
    match text.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
        true => text.into(),
        false => format!("{text:?}").into(),
    }
}

/// The keys of a file. Each group holds one share of the data key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) groups: Vec<BTreeSet<FileKey>>,
    /// How many shares open the file; 0 means all.
    pub(crate) threshold: usize,
}

impl Access {
    pub(crate) fn keys(&self) -> BTreeSet<&FileKey> {
        self.groups.iter().flatten().collect()
    }

    /// How many groups must come together.
    pub(crate) fn shares(&self) -> usize {
        match (self.groups.len(), self.threshold) {
            (groups @ 0..=1, _) => groups,
            (groups, 0) => groups,
            (groups, threshold) => threshold.min(groups),
        }
    }

    /// Says whether the same keys stand in the same groups, and as many have to come together.
    pub(crate) fn opens_alike(&self, other: &Self) -> bool {
        self.groups == other.groups && self.shares() == other.shares()
    }

    /// The keys that can open more than in `before`, apart from `own`: those that were
    /// not there, and those of groups that were changed so that fewer people, or others,
    /// have to come together.
    pub(crate) fn gained_since<'a>(
        &'a self,
        before: &Self,
        own: &BTreeSet<String>,
    ) -> Vec<&'a FileKey> {
        let known = before.keys();
        let is_own = |key: &FileKey| own.contains(&key.id);
        let alone = |key: &FileKey| {
            before.groups.iter().filter(|group| group.contains(key)).count() >= before.shares()
        };
        let weaker = self.shares() < before.shares();
        let mut unmatched: Vec<&BTreeSet<FileKey>> = before.groups.iter().collect();
        let mut gained = BTreeSet::new();
        for group in &self.groups {
            let stays = |old: &&BTreeSet<FileKey>| {
                group.iter().all(|key| is_own(key) || !known.contains(key) || old.contains(key))
            };
            // The narrowest group that holds all of them leaves the others to the next.
            let at = (0..unmatched.len())
                .filter(|&at| stays(&unmatched[at]))
                .min_by_key(|&at| unmatched[at].len());
            let moved = at.is_none();
            if let Some(at) = at {
                unmatched.remove(at);
            }
            let gains = |key: &&FileKey| {
                let more = !known.contains(*key) || (weaker || moved) && !alone(key);
                more && !is_own(key)
            };
            gained.extend(group.iter().filter(gains));
        }
        gained.into_iter().collect()
    }
}

/// The fields of the keys of an encrypted file, gathered in whatever order they stand.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    /// By group (none where there are no groups), kind and place in the list.
    keys: BTreeMap<(Option<usize>, &'static str, usize), BTreeMap<String, String>>,
}

impl Fields {
    pub(crate) fn set(
        &mut self,
        group: Option<usize>,
        kind: &str,
        at: usize,
        field: &str,
        value: &str,
    ) {
        if let Some(kind) = FILE_KINDS.into_iter().find(|known| *known == kind) {
            let fields = self.keys.entry((group, kind, at)).or_default();
            fields.insert(field.to_owned(), value.to_owned());
        }
    }

    /// The groups; where a file has key groups, what stands beside them counts for nothing.
    pub(crate) fn groups(&self) -> Vec<BTreeSet<FileKey>> {
        let grouped = self.keys.keys().any(|(group, ..)| group.is_some());
        let mut groups: BTreeMap<Option<usize>, BTreeSet<FileKey>> = BTreeMap::new();
        for ((group, kind, _), fields) in &self.keys {
            if group.is_some() == grouped {
                groups.entry(*group).or_default().insert(key_of_file(kind, fields));
            }
        }
        groups.into_values().collect()
    }
}

fn key_of_file(kind: &'static str, fields: &BTreeMap<String, String>) -> FileKey {
    let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    let id = match kind {
        "age" => field("recipient").trim().to_owned(),
        "pgp" => fingerprint(field("fp")),
        "kms" => arn(field("arn"), field("role")),
        "gcp_kms" => field("resource_id").to_owned(),
        "azure_kv" => {
            azure(&format!("{}/keys/{}", field("vault_url"), field("name")), field("version"))
        }
        "hc_vault" => vault(field("vault_address"), field("engine_path"), field("key_name")),
        _ => field("key_id").to_owned(),
    };
    FileKey { kind, id }
}

fn fingerprint(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

fn arn(arn: &str, role: &str) -> String {
    let arn: String = arn.chars().filter(|c| !c.is_whitespace()).collect();
    if role.is_empty() { arn } else { format!("{arn}+{role}") }
}

fn azure(name: &str, version: &str) -> String {
    let name = name.replace("//keys/", "/keys/");
    if version.is_empty() { name } else { format!("{name}/{version}") }
}

fn vault(address: &str, engine: &str, key: &str) -> String {
    format!("{}/v1/{}/keys/{key}", address.trim_end_matches('/'), engine.trim_matches('/'))
}

/// The keys that a rule wants its files to have.
pub(crate) fn wanted(rules: &Rules<'_>, rule: &Rule<'_>) -> Access {
    let groups = rule.groups.iter().map(|group| {
        let keys = group.keys.iter().flat_map(|key| keys_of_rule(rules, key));
        keys.collect::<BTreeSet<_>>()
    });
    let threshold = rules.setting(rule, "shamir_threshold");
    Access {
        groups: groups.filter(|group| !group.is_empty()).collect(),
        threshold: threshold.and_then(|text| text.trim().parse().ok()).unwrap_or_default(),
    }
}

/// A rule's key as the file will say it; keys of clouds may be joined by commas.
fn keys_of_rule(rules: &Rules<'_>, key: &Key<'_>) -> Vec<FileKey> {
    let node = rules.resolve(&key.node);
    let field = |name: &str| {
        node.get(name).and_then(|value| rules.resolve(value).scalar()).unwrap_or_default()
    };
    let parts = || key.value.split(',').map(str::trim).filter(|part| !part.is_empty());
    let is_map = node.entries().is_some();
    match key.kind {
        "age" => vec![FileKey { kind: "age", id: key.value.clone() }],
        "pgp" => vec![FileKey { kind: "pgp", id: fingerprint(&key.value) }],
        "kms" if is_map => vec![FileKey { kind: "kms", id: arn(field("arn"), field("role")) }],
        "kms" => parts().map(|part| FileKey { kind: "kms", id: arn(part, "") }).collect(),
        "gcp_kms" if is_map => {
            vec![FileKey { kind: "gcp_kms", id: field("resource_id").to_owned() }]
        }
        "azure_keyvault" if is_map => {
            let name = format!("{}/keys/{}", field("vaultUrl"), field("key"));
            vec![FileKey { kind: "azure_kv", id: azure(&name, field("version")) }]
        }
        "azure_keyvault" => {
            parts().map(|part| FileKey { kind: "azure_kv", id: azure(part, "") }).collect()
        }
        "hc_vault" | "hc_vault_transit_uri" => {
            parts().map(|part| FileKey { kind: "hc_vault", id: part.to_owned() }).collect()
        }
        "hckms" if is_map => vec![FileKey { kind: "hckms", id: field("key_id").to_owned() }],
        "hckms" => parts().map(|part| FileKey { kind: "hckms", id: part.to_owned() }).collect(),
        _ => parts().map(|part| FileKey { kind: "gcp_kms", id: part.to_owned() }).collect(),
    }
}

/// The name that the config has for a key: a claim of whoever wrote it.
pub(crate) fn name_of<'n>(rules: &'n Rules<'_>, id: &str) -> Option<&'n str> {
    let is_it = |node: &&&Node<'_>| node.scalar().map(str::trim) == Some(id);
    let anchored = rules.anchored();
    let anchor = anchored.iter().find(is_it)?.anchor.as_ref()?;
    Some(anchor.plain_name())
}

/// A key that a change lets open a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gain {
    /// Relative to the folder of `.sops.yaml`.
    pub(crate) file: String,
    pub(crate) key: FileKey,
    /// The name that `.sops.yaml` has for it.
    pub(crate) name: Option<String>,
}

impl fmt::Display for Gain {
    #[expect(clippy::use_debug, reason = "a name that others wrote is shown quoted and escaped")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", plain(&self.file), self.key)?;
        match &self.name {
            Some(name) => write!(f, " (.sops.yaml calls it {name:?})"),
            None => Ok(()),
        }
    }
}

/// What people have granted.
#[derive(Debug, Default)]
pub struct Grants {
    /// For any file.
    recipients: BTreeSet<String>,
    /// Exactly what was shown and agreed to.
    shown: BTreeSet<Gain>,
    /// Everything passes and is noted: for trees that are thrown away.
    rehearsal: Option<std::cell::RefCell<BTreeSet<Gain>>>,
}

impl Grants {
    /// Lets these recipients (or fingerprints, or names of keys) open any file.
    pub fn of<R: Into<String>>(recipients: impl IntoIterator<Item = R>) -> Self {
        Self { recipients: recipients.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Lets everything pass that comes up, and notes it. What is written under it must
    /// never be kept.
    pub(crate) fn rehearsal() -> Self {
        Self { rehearsal: Some(std::cell::RefCell::default()), ..Self::default() }
    }

    /// Adds what a person was shown and agreed to.
    #[must_use]
    pub(crate) fn and(mut self, shown: impl IntoIterator<Item = Gain>) -> Self {
        self.shown.extend(shown);
        self
    }

    /// What came up in a rehearsal.
    pub(crate) fn noted(&self) -> Vec<Gain> {
        let noted = self.rehearsal.as_ref().map(|noted| noted.borrow().iter().cloned().collect());
        noted.unwrap_or_default()
    }

    /// Those of `gains` that nobody has granted.
    pub(crate) fn missing(&self, gains: impl IntoIterator<Item = Gain>) -> Vec<Gain> {
        let granted =
            |gain: &Gain| self.recipients.contains(&gain.key.id) || self.shown.contains(gain);
        gains.into_iter().filter(|gain| !granted(gain)).collect()
    }

    /// Lets what was granted pass; gives the rest.
    pub(super) fn admit(&self, gains: Vec<Gain>) -> Result<(), Vec<Gain>> {
        let missing = self.missing(gains);
        match &self.rehearsal {
            Some(noted) => noted.borrow_mut().extend(missing),
            None if !missing.is_empty() => return Err(missing),
            None => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(threshold: usize, groups: &[&[&str]]) -> Access {
        let key = |id: &&str| FileKey { kind: "age", id: (*id).to_owned() };
        let groups = groups.iter().map(|group| group.iter().map(key).collect());
        Access { groups: groups.collect(), threshold }
    }

    fn gained(before: &Access, after: &Access, own: &[&str]) -> Vec<String> {
        let own = own.iter().map(|id| (*id).to_owned()).collect();
        after.gained_since(before, &own).iter().map(|key| key.id.clone()).collect()
    }

    #[test]
    fn what_others_wrote_moves_no_cursor() {
        let key = FileKey { kind: "pgp", id: "\u{1b}[2K\u{202e}A".into() };
        let gain = Gain { file: "a\nb".into(), key, name: None };
        assert_eq!(gain.to_string(), r#""a\nb": pgp "\u{1b}[2K\u{202e}A""#);
    }

    #[test]
    fn who_was_there_gains_nothing() {
        let before = access(0, &[&["a", "b"]]);
        assert!(gained(&before, &access(0, &[&["a"]]), &[]).is_empty());
        assert_eq!(gained(&before, &access(0, &[&["a", "b", "m"]]), &[]), ["m"]);
        assert_eq!(gained(&before, &access(0, &[&["a", "host", "m"]]), &["host"]), ["m"]);
    }

    #[test]
    fn groups_that_become_weaker_are_a_gain_of_those_in_them() {
        let before = access(2, &[&["a"], &["b"], &["c"]]);
        assert!(gained(&before, &access(2, &[&["a"], &["b"]]), &[]).is_empty());
        assert!(
            gained(&before, &access(2, &[&["a", "h"], &["b", "h"], &["c"]]), &["h"]).is_empty()
        );
        assert_eq!(gained(&before, &access(1, &[&["a"], &["b"]]), &[]), ["a", "b"]);
        assert_eq!(gained(&before, &access(2, &[&["a"], &["b"], &["c", "a"]]), &[]), ["a", "c"]);
        assert_eq!(gained(&before, &access(2, &[&["a"], &["b"], &["c"], &["m"]]), &[]), ["m"]);
        assert_eq!(gained(&before, &access(0, &[&["a", "b"]]), &[]), ["a", "b"]);
        // Whoever opened it alone has nothing to gain.
        assert!(gained(&access(0, &[&["a"]]), &access(2, &[&["a"], &["a"]]), &[]).is_empty());
        // Two of one group, who needed the third, become two groups.
        let before = access(2, &[&["a", "b"], &["c"]]);
        let after = access(2, &[&["a"], &["b"], &["c"]]);
        assert!(!gained(&before, &after, &[]).is_empty());
    }
}
