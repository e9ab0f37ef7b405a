//! A user's own age key on a host: made here, stored encrypted where the
//! configuration expects it, its recipient in the rules.
//!
//! A key that is there already is kept; only its public half is taken from it.
//! sops writes the value, because it must be encrypted and covered by the MAC; it
//! gets it on standard input. `sops set` would silently replace a map by a text,
//! so the structure is checked first.

use std::path::{Path, PathBuf};

use super::error::SopsError;
use super::rewrap::read_encrypted;
use super::sops_yaml::SopsConfig;
use super::stored_value;
use super::transaction::FileChange;
use super::unfinished::Intention;
use super::{Change, EditSettings, plan_add_host};
use crate::secret::age::{Identity, Recipient};
use crate::sops::file::format::Format;
use crate::sops::file::{EncryptedFile, FileError};
use crate::sops::inside::Inside;
use crate::sops::program::{Reach, SopsProgram, SopsProgramError};
use crate::sops::proof::identities::Identities;
use crate::sops::rules::edit::EditError;
use crate::sops::rules::hosts;

/// Where a key is stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyPlace<'a> {
    pub(crate) file: &'a Path,
    /// The names that lead to the value.
    pub(crate) path: &'a [String],
}

/// A change that stores a key and makes it a recipient.
#[derive(Debug)]
pub(crate) struct PlannedKey {
    pub(crate) change: Change,
    pub(crate) recipient: Recipient,
    /// The key is new.
    pub(crate) made: bool,
}

/// Plans the key `name` (`USER_HOST`) at `place`; writes nothing.
pub(crate) fn plan_user_key(
    repo_dir: &Path,
    sops_yaml: &Path,
    name: &str,
    place: &KeyPlace<'_>,
    settings: &EditSettings,
    identities: &Identities,
) -> Result<PlannedKey, SopsError> {
    let file =
        if place.file.is_absolute() { place.file.to_owned() } else { repo_dir.join(place.file) };
    let file = Inside::of(repo_dir).real(&file)?.ok_or(SopsError::Missing(file))?;
    let known = stored_key(&file, place.path, identities)?;
    let made = known.is_none();
    let identity = known.unwrap_or_else(Identity::generate);
    let recipient = identity.recipient();
    refuse_another(repo_dir, sops_yaml, name, &recipient, settings)?;
    let files = [file.clone()];
    let mut change =
        plan_add_host(repo_dir, sops_yaml, name, &recipient, &files, settings, identities)?;
    if made {
        store(&mut change, file, place.path, &identity, identities)?;
    }
    Ok(PlannedKey { change, recipient, made })
}

/// Two names can become one anchor (`john.doe` and `john_doe`), and a key that is stored
/// elsewhere has its entry already: neither must be replaced by this key.
fn refuse_another(
    repo_dir: &Path,
    sops_yaml: &Path,
    name: &str,
    recipient: &Recipient,
    settings: &EditSettings,
) -> Result<(), SopsError> {
    let config = SopsConfig::read(repo_dir, sops_yaml)?;
    let rules = config.rules()?;
    let Ok(known) = hosts::find(&rules, &settings.who(name)) else { return Ok(()) };
    // An interrupted run wrote the entry, and never the key.
    let own = Intention::of(&config.dir).meant(config.text.as_bytes());
    if known.recipient == recipient.as_str() || own {
        return Ok(());
    }
    let anchor = known.anchor_name().unwrap_or(name).to_owned();
    Err(config.edit_error(EditError::Taken { anchor }))
}

/// The key that the file holds already.
fn stored_key(
    path: &Path,
    key: &[String],
    identities: &Identities,
) -> Result<Option<Identity>, SopsError> {
    let failed = |source| SopsError::File {
        path: path.to_owned(),
        source: Box::new(source),
        searched: identities.searched().to_vec(),
    };
    if !path.exists() {
        return Err(SopsError::Missing(path.to_owned()));
    }
    let Some((text, format)) = read_encrypted(path)? else {
        return Err(failed(FileError::NotEncrypted));
    };
    let file = EncryptedFile::parse(&text, format).map_err(failed)?;
    let wanted: Vec<&str> = key.iter().map(String::as_str).collect();
    if let Some(depth) = file.leaf_on_the_way(&wanted).map_err(failed)? {
        return Err(SopsError::NotAMap { path: path.to_owned(), key: wanted[..depth].join(".") });
    }
    let Some(value) = stored_value::value(path, &file, &wanted, identities)? else {
        if file.has_path(&wanted).map_err(failed)? {
            return Err(SopsError::NotAKey { path: path.to_owned(), key: wanted.join(".") });
        }
        return Ok(None);
    };
    let text = value.expose_str().unwrap_or_default();
    let line = text.lines().map(str::trim).find(|line| line.starts_with("AGE-SECRET-KEY-"));
    match line.map(Identity::parse) {
        Some(Ok(identity)) => Ok(Some(identity)),
        _ => Err(SopsError::NotAKey { path: path.to_owned(), key: wanted.join(".") }),
    }
}

/// Puts the key into the file as the change leaves it.
fn store(
    change: &mut Change,
    path: PathBuf,
    key: &[String],
    identity: &Identity,
    identities: &Identities,
) -> Result<(), SopsError> {
    let index = change.changes.iter().position(|changed| changed.path == path);
    let index = match index {
        Some(index) => index,
        None => {
            let before = std::fs::read(&path)
                .map_err(|source| SopsError::Read { path: path.clone(), source })?;
            change.changes.push(FileChange { path, after: before.clone(), before });
            change.changes.len() - 1
        }
    };
    let config_text = change.text.clone();
    let changed = &mut change.changes[index];
    let format = Format::of_content(&changed.path, &String::from_utf8_lossy(&changed.after));
    let keys: Vec<&str> = key.iter().map(String::as_str).collect();
    let set = || -> Result<Vec<u8>, SopsProgramError> {
        let sops = SopsProgram::require()?;
        let stage = tempfile::tempdir()?;
        let staged = stage.path().join("file");
        let config = stage.path().join(".sops.yaml");
        std::fs::write(&config, &config_text)?;
        std::fs::write(&staged, &changed.after)?;
        sops.set(&config, &staged, format, &keys, identity.text(), identities, Reach::Operator)?;
        Ok(std::fs::read(&staged)?)
    };
    let after = set().map_err(|source| SopsError::Sops {
        path: changed.path.clone(),
        source: Box::new(source),
        by_hand: format!("sops {}", changed.path.display()),
    })?;
    changed.after = after;
    Ok(())
}
