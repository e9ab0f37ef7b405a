//! The content of a file's `sops` section, in every format.

use crate::sops::access::{Access, Fields};
use crate::sops::rules::go_regex;
use regex::Regex;

/// A recipient of a file, and the data key wrapped for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped {
    pub recipient: String,
    /// The wrapped data key, an armored age file.
    pub enc: String,
}

/// The `sops` section.
#[derive(Debug, Default)]
pub struct Metadata {
    pub age: Vec<Wrapped>,
    /// Kinds of keys other than age that hold the data key (`pgp`, `kms`, …).
    pub(crate) other_kinds: Vec<String>,
    /// Whether the data key is split over several key groups.
    pub(crate) key_groups: bool,
    /// The fields of every key of every kind.
    pub(crate) keys: Fields,
    /// Number of key groups that are needed together (`shamir_threshold`); 0 means all.
    pub(crate) threshold: usize,
    pub(crate) mac: String,
    pub(crate) last_modified: String,
    pub(crate) mac_only_encrypted: bool,
    pub(crate) selection: ValueSelection,
}

/// The rules that decide which values of the file are encrypted.
#[derive(Debug, Clone, Default)]
pub(crate) struct ValueSelection {
    pub(crate) unencrypted_suffix: String,
    pub(crate) encrypted_suffix: String,
    pub(crate) unencrypted_regex: Option<Regex>,
    pub(crate) encrypted_regex: Option<Regex>,
    /// Whether comments decide, which only sops can evaluate.
    pub(crate) by_comment: bool,
}

impl Metadata {
    /// Sets an entry of the section; ignores unknown ones.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let regex = |text: &str| {
            if text.is_empty() { Ok(None) } else { go_regex::compile(text).map(Some) }
        };
        match name {
            "mac" => self.mac = value.to_owned(),
            "shamir_threshold" => self.threshold = value.trim().parse().unwrap_or_default(),
            "lastmodified" => self.last_modified = value.to_owned(),
            "mac_only_encrypted" => self.mac_only_encrypted = value == "true",
            "unencrypted_suffix" => self.selection.unencrypted_suffix = value.to_owned(),
            "encrypted_suffix" => self.selection.encrypted_suffix = value.to_owned(),
            "unencrypted_regex" => self.selection.unencrypted_regex = regex(value)?,
            "encrypted_regex" => self.selection.encrypted_regex = regex(value)?,
            "unencrypted_comment_regex" | "encrypted_comment_regex" => {
                self.selection.by_comment |= !value.is_empty();
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns who can decrypt the file.
    pub(crate) fn access(&self) -> Access {
        Access { groups: self.keys.groups(), threshold: self.threshold }
    }

    pub fn recipients(&self) -> impl Iterator<Item = &str> {
        self.age.iter().map(|wrapped| wrapped.recipient.as_str())
    }
}

impl ValueSelection {
    /// Says whether the value at this path is encrypted.
    pub(crate) fn encrypts(&self, path: &[&str]) -> bool {
        let any = |test: &dyn Fn(&str) -> bool| path.iter().any(|part| test(part));
        let mut encrypted = true;
        if !self.unencrypted_suffix.is_empty()
            && any(&|part| part.ends_with(&self.unencrypted_suffix))
        {
            encrypted = false;
        }
        if !self.encrypted_suffix.is_empty() {
            encrypted = any(&|part| part.ends_with(&self.encrypted_suffix));
        }
        if let Some(regex) = &self.unencrypted_regex
            && any(&|part| regex.is_match(part))
        {
            encrypted = false;
        }
        if let Some(regex) = &self.encrypted_regex {
            encrypted = any(&|part| regex.is_match(part));
        }
        encrypted
    }
}

/// Entries of the section that list keys of kinds other than age.
pub(crate) const OTHER_KINDS: [&str; 6] =
    ["pgp", "kms", "gcp_kms", "azure_kv", "hc_vault", "hckms"];
