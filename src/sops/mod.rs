//! Secrets: who may read which file, and making it so.
//!
//! `.sops.yaml` (rules, edits), the encrypted files (formats, re-wrapping of the
//! data key), and the proof that a host opens what it needs. In the journey this
//! is step 3: it ends before a disk is touched. Invariant: nothing here writes a
//! secret anywhere but into an encrypted file or a file of mode 0600.

pub(crate) mod access;
pub mod change;
pub mod file;
mod gains;
pub(crate) mod inside;
pub(crate) mod listing;
mod names;
pub(crate) mod program;
pub mod proof;
pub mod rules;
