//! An encrypted file: its recipients, its values, its MAC.
//!
//! A file is parsed as sops parses it, verified (every value decrypts, and the MAC over all of
//! them is right), and given other recipients.
//!
//! Invariants: only the bytes of the recipients' section change; what landfall does not read
//! exactly as sops does is reported as [`FileError::NeedsSops`], never guessed.

pub(crate) mod cipher;
pub(crate) mod dotenv_ini;
pub mod format;
pub mod json;
pub mod metadata;
pub(crate) mod recipient;
pub mod rekey;
pub(crate) mod tree;

use std::ops::Range;

use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use crate::sops::rules::yaml::YamlError;
use cipher::{CipherError, DataKey};
use format::Format;
use metadata::{Metadata, Wrapped};

use crate::error::{Advice, Exit};
use crate::secret::Secret;

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("the file is empty")]
    Empty,
    #[error("the file is not encrypted")]
    NotEncrypted,
    #[error(transparent)]
    Syntax(#[from] YamlError),
    #[error("line {line}: {reason}")]
    Line { line: usize, reason: String },
    #[error("only sops can work with this file: {0}")]
    NeedsSops(String),
    #[error("no identity opens it; its recipients are {}", .recipients.join(", "))]
    NoIdentity { recipients: Vec<String> },
    #[error("the value at {path} is not encrypted, though it should be")]
    Plaintext { path: String },
    #[error("the value at {path} was tampered with")]
    Tampered { path: String },
    #[error("the MAC is missing")]
    NoMac,
    #[error("the MAC does not match: values were added, removed or moved")]
    Mac,
    #[error(transparent)]
    Key(#[from] crate::secret::age::KeyError),
}

impl FileError {
    /// Says whether the given identities do not match, which is not the file's fault.
    pub(crate) fn is_no_identity(&self) -> bool {
        matches!(self, Self::NoIdentity { .. })
    }
}

impl Advice for FileError {
    fn hint(&self) -> String {
        match self {
            Self::Empty | Self::NotEncrypted => {
                "Encrypt it first: sops encrypt --in-place FILE".into()
            }
            Self::NeedsSops(_) => "Install sops, then run the same command again.".into(),
            Self::NoIdentity { .. } => {
                "Name an identity that opens it: SOPS_AGE_KEY_FILE=FILE".into()
            }
            Self::Plaintext { .. } | Self::Tampered { .. } | Self::NoMac | Self::Mac => {
                "Restore the file from git; if the change was yours, make it with sops.".into()
            }
            Self::Key(error) => error.hint(),
            Self::Syntax(_) | Self::Line { .. } => "Restore the file from git.".into(),
        }
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

/// A value of the tree, as written in the file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    /// An encrypted value or an unencrypted string.
    Text(&'a str),
    /// An unencrypted value of another type, as sops adds it to the MAC.
    Typed(&'a str),
    /// Never encrypted, and not part of the MAC.
    Null,
}

/// Callback for every value, in the order in which sops computes the MAC.
pub(crate) type LeafVisit<'v> = dyn FnMut(&[&str], Value<'_>) -> Result<(), FileError> + 'v;

/// A parsed encrypted file.
#[derive(Debug)]
pub struct EncryptedFile<'a> {
    pub(crate) format: Format,
    pub metadata: Metadata,
    text: &'a str,
    body: Body<'a>,
}

#[derive(Debug)]
enum Body<'a> {
    Tree(tree::Documents<'a>),
    Lines(dotenv_ini::Lines<'a>),
}

impl<'a> EncryptedFile<'a> {
    pub fn parse(text: &'a str, format: Format) -> Result<Self, FileError> {
        if text.trim().is_empty() {
            return Err(FileError::Empty);
        }
        let (metadata, body) = match format {
            Format::Yaml | Format::Json | Format::Binary => {
                let documents = tree::Documents::parse(text, format)?;
                (documents.metadata()?, Body::Tree(documents))
            }
            Format::Dotenv | Format::Ini => {
                let lines = dotenv_ini::Lines::parse(text, format)?;
                (lines.metadata()?, Body::Lines(lines))
            }
        };
        Ok(Self { format, metadata, text, body })
    }

    /// Decrypts the data key with the first of `identities` that matches.
    pub fn data_key(&self, identities: &[&dyn ::age::Identity]) -> Result<Secret, FileError> {
        if self.metadata.key_groups {
            return Err(FileError::NeedsSops("its key is split over several key groups".into()));
        }
        let opened = self
            .metadata
            .age
            .iter()
            .find_map(|wrapped| crate::secret::age::open(&wrapped.enc, identities));
        opened.ok_or_else(|| FileError::NoIdentity {
            recipients: self.metadata.recipients().map(str::to_owned).collect(),
        })
    }

    /// Decrypts every value and checks the MAC.
    pub fn verify(&self, data_key: &Secret) -> Result<(), FileError> {
        self.decrypt(data_key, |_, _| {})
    }

    /// Decrypts every value and checks the MAC, as [`Self::verify`] does, and passes each value
    /// and its path to the callback.
    pub fn decrypt(
        &self,
        data_key: &Secret,
        mut on_value: impl FnMut(&[&str], &[u8]),
    ) -> Result<(), FileError> {
        let metadata = &self.metadata;
        if metadata.selection.by_comment {
            return Err(FileError::NeedsSops(
                "comments choose which of its values are encrypted".into(),
            ));
        }
        let key = DataKey::new(data_key).ok_or(FileError::Tampered { path: "sops".into() })?;
        let mut hash = Sha512::new();
        if metadata.mac_only_encrypted {
            hash.update(MAC_ONLY_ENCRYPTED);
        }
        let mut joined = String::new();
        self.walk(&mut |path, value| {
            let encrypted = metadata.selection.encrypts(path);
            let plain;
            let bytes: &[u8] = match value {
                Value::Null => return Ok(()),
                Value::Typed(text) | Value::Text(text) if !encrypted => text.as_bytes(),
                Value::Typed(_) => return Err(FileError::Plaintext { path: path.join(".") }),
                Value::Text(text) => {
                    joined.clear();
                    path.iter().for_each(|part| {
                        joined.push_str(part);
                        joined.push(':');
                    });
                    let found = key.decrypt(text, &joined).map_err(|error| at_path(error, path))?;
                    if found.kind == "comment" {
                        return Ok(());
                    }
                    plain = found.bytes;
                    &plain
                }
            };
            if encrypted || !metadata.mac_only_encrypted {
                hash.update(bytes);
            }
            on_value(path, bytes);
            Ok(())
        })?;
        self.check_mac(&key, &hex(&hash.finalize()))
    }

    /// Says whether a data key decrypts anything of the file: the MAC or any value. `None` where
    /// not every value can be tried here, and it decrypts none of those that can.
    pub(crate) fn opens_a_value(&self, data_key: &Secret) -> Option<bool> {
        let Some(key) = DataKey::new(data_key) else { return Some(false) };
        let mut opened = key.decrypt(&self.metadata.mac, &self.metadata.last_modified).is_ok();
        let walked = self.walk(&mut |path, value| {
            if let Value::Text(text) = value {
                let path: String = path.iter().map(|part| format!("{part}:")).collect();
                opened |= !text.is_empty() && key.decrypt(text, &path).is_ok();
            }
            Ok(())
        });
        (opened || walked.is_ok()).then_some(opened)
    }

    fn check_mac(&self, key: &DataKey, computed: &str) -> Result<(), FileError> {
        if self.metadata.mac.is_empty() {
            return Err(FileError::NoMac);
        }
        let stored = key.decrypt(&self.metadata.mac, &self.metadata.last_modified);
        match stored {
            Ok(stored) if *stored.bytes == *computed.as_bytes() => Ok(()),
            _ => Err(FileError::Mac),
        }
    }

    fn walk(&self, visit: &mut LeafVisit<'_>) -> Result<(), FileError> {
        match &self.body {
            Body::Tree(documents) => documents.walk(visit),
            Body::Lines(lines) => lines.walk(visit),
        }
    }

    /// Returns the value at a path, decrypted and verified.
    pub(crate) fn value(
        &self,
        data_key: &Secret,
        wanted: &[&str],
    ) -> Result<Option<Secret>, FileError> {
        let mut found = None;
        self.decrypt(data_key, |path, bytes| {
            if path == wanted {
                found = Some(Secret::new(bytes.to_vec()));
            }
        })?;
        Ok(found)
    }

    /// Says whether a path leads to a value, or to a map with values.
    pub fn has_path(&self, wanted: &[&str]) -> Result<bool, FileError> {
        let mut found = false;
        self.walk(&mut |path, _| {
            found |= path.starts_with(wanted);
            Ok(())
        })?;
        Ok(found)
    }

    /// Says whether a path leads to a value.
    pub(crate) fn is_value(&self, wanted: &[&str]) -> Result<bool, FileError> {
        let mut found = false;
        self.walk(&mut |path, value| {
            found |= path == wanted && !matches!(value, Value::Null);
            Ok(())
        })?;
        Ok(found)
    }

    /// Returns the length of the prefix of a path that leads to a value where a map is needed.
    pub fn leaf_on_the_way(&self, wanted: &[&str]) -> Result<Option<usize>, FileError> {
        let mut found = None;
        self.walk(&mut |path, value| {
            let holds = !matches!(value, Value::Null);
            if holds && path.len() < wanted.len() && wanted.starts_with(path) {
                found = Some(path.len());
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Returns the file's text with these recipients in place of its own.
    ///
    /// Invariant: bytes outside the recipients' section stay.
    pub fn with_recipients(&self, wrapped: &[Wrapped]) -> Result<String, FileError> {
        let replacements = match &self.body {
            Body::Tree(documents) => documents.replace_recipients(wrapped)?,
            Body::Lines(lines) => lines.replace_recipients(wrapped)?,
        };
        Ok(replace_all(self.text, replacements))
    }
}

fn at_path(error: CipherError, path: &[&str]) -> FileError {
    let path = path.join(".");
    match error {
        CipherError::NotEncrypted => FileError::Plaintext { path },
        CipherError::Tampered => FileError::Tampered { path },
    }
}

fn replace_all(text: &str, mut replacements: Vec<(Range<usize>, String)>) -> String {
    replacements.sort_by_key(|(range, _)| range.start);
    let mut out = String::with_capacity(text.len() + 1024);
    let mut done = 0;
    for (range, with) in replacements {
        out.push_str(&text[done..range.start]);
        out.push_str(&with);
        done = range.end;
    }
    out.push_str(&text[done..]);
    out
}

/// Encodes bytes in upper-case hexadecimal, as sops writes the MAC.
fn hex(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(bytes.iter().map(|byte| format!("{byte:02X}")).collect())
}

/// Prefix of the hash when the MAC covers encrypted values alone
/// (`MACOnlyEncryptedInitialization` in sops' source).
const MAC_ONLY_ENCRYPTED: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b,
    0x0b, 0x97, 0x5b, 0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];
