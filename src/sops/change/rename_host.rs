//! A host's new name, planned for the config and the files that are the host's own.

use std::path::{Path, PathBuf};

use super::error::SopsError;
use super::rewrap;
use super::sops_yaml::SopsConfig;
use super::transaction::{FileChange, Rename};
use super::{Change, EditSettings, check_clean};
use crate::sops::listing::Listing;
use crate::sops::rules::patch::unified_diff;
use crate::sops::rules::rename::replace_words;
use crate::sops::rules::{Rules, winner};
use crate::sops::rules::{edit, hosts};

/// Gives a host another name: in the config, and in the names of the files that are its own.
///
/// A run that ended after the config was written is completed by running again.
pub fn plan_rename_host(
    repo_dir: &Path,
    sops_yaml: &Path,
    old: &str,
    new: &str,
    settings: &EditSettings,
) -> Result<Change, SopsError> {
    let config = SopsConfig::read(repo_dir, sops_yaml)?;
    let rules = config.rules()?;
    let mut change = Change::empty(&config);
    let who = settings.who(old);
    let renamed_before =
        hosts::find(&rules, &who).is_err() && hosts::find(&rules, &settings.who(new)).is_ok();
    if !renamed_before {
        let edited =
            edit::rename(&config.text, &who, new).map_err(|source| config.edit_error(source))?;
        change.diff = unified_diff(&config.name(), &config.text, &edited.text);
        change.warnings = edited.warnings;
        change.changes.push(FileChange {
            path: config.real.clone(),
            before: config.text.clone().into_bytes(),
            after: edited.text.into_bytes(),
        });
    }
    let text = change.changes.first().map_or(config.text.as_bytes(), |config| &config.after);
    let text = String::from_utf8_lossy(text).into_owned();
    let after = Rules::parse(&text).map_err(|source| config.rules_error(source))?;
    let after = after.rules().map_err(|source| config.rules_error(source))?;
    let listing = Listing::of(repo_dir, &config.dir)?;
    change.folders = listing.folders();
    // A link keeps its name: the file that it leads to has one of its own.
    for (file, path) in listing.files.iter().map(|file| (file.name(), &file.path)) {
        let renamed = renamed_path(file, old, new);
        let wins = |path| winner(&after, path).map_err(|source| config.rules_error(source));
        if renamed == file || rewrap::read_encrypted(path)?.is_none() {
            continue;
        }
        // Only a file whose rule moved away from its old name is the host's own.
        let rule = wins(&renamed)?.map(|rule| rule.index);
        if rule.is_some() && rule != wins(file)?.map(|rule| rule.index) {
            change.renames.push(Rename { from: path.clone(), to: config.dir.join(&renamed) });
        }
    }
    check_clean(repo_dir, &change, settings)?;
    Ok(change)
}

/// The path with the host's name exchanged where it is a whole part of one of its names.
fn renamed_path(path: &Path, old: &str, new: &str) -> PathBuf {
    let parts =
        path.components().map(|part| replace_words(&part.as_os_str().to_string_lossy(), old, new));
    parts.collect()
}
