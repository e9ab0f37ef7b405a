//! Secrets: who may read which file, and making it so.
//!
//! `.sops.yaml` (rules, edits), the encrypted files (formats, re-wrapping of the
//! data key), and the proof that a host opens what it needs. In the journey this
//! is step 3: it ends before a disk is touched. Invariant: nothing here writes a
//! secret anywhere but into an encrypted file or a file of mode 0600.

pub mod cipher;
mod config;
mod dialect;
pub mod edit;
pub mod error;
pub mod file;
pub mod format;
pub mod go_regex;
pub mod grants;
pub mod host;
pub mod identities;
mod intention;
pub mod json;
mod keylist;
mod lines;
pub mod meaning;
pub mod metadata;
pub mod new_rule;
mod note;
mod parallel;
pub mod patch;
mod place;
pub mod plan;
mod plan_rename;
pub mod program;
pub mod proof;
pub mod recipient;
pub mod rekey;
mod rename;
pub mod repo;
pub mod rewrap;
pub mod rules;
pub mod stored;
pub mod transaction;
mod tree;
mod unlist;
pub mod user_key;
pub mod verify;
pub mod yaml;
