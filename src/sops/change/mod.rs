//! What adding, replacing or removing a host changes in a repo, before anything is written.
//!
//! A [`Change`] holds the new `.sops.yaml`, every file that must be wrapped for
//! other recipients, the diff that a person sees, and what they should know. It
//! is made from the repo as it is; [`commit`] writes it only if that is still so.

pub(crate) mod error;
pub(crate) mod parallel;
pub(crate) mod rename_host;
pub mod repo;
pub(crate) mod rewrap;
pub(crate) mod rule_selection;
pub(crate) mod sops_yaml;
pub(crate) mod stored_value;
pub(crate) mod transaction;
pub(crate) mod unfinished;
pub(crate) mod user_key;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::access::name_of;
pub use super::access::{Gain, Grants};
use super::listing::{Listed, Listing};
use super::rules::edit;
use crate::sops::proof::identities::Identities;
use crate::sops::rules::edit::{Addition, EditError, Edited};
use crate::sops::rules::hosts::{Role, Who};
use crate::sops::rules::patch::unified_diff;
pub use error::SopsError;
pub use rename_host::plan_rename_host;
use rule_selection::{
    ForRegex, check_encrypted, likely_rules, named_files, rule_of_regex, rules_for, rules_that_go,
};
use sops_yaml::SopsConfig;
use unfinished::{Intention, Removed};

use super::rules::{Rule, Rules};
use crate::secret::age::Recipient;
use rewrap::Rewrap;
use transaction::{FileChange, Rename, Transaction, Written};

/// What the layout of a repo does not tell.
#[derive(Debug, Clone, Default)]
pub struct EditSettings {
    pub role: Role,
    /// The host's anchor, where the usual name does not do.
    pub anchor: Option<String>,
    /// `path_regex` of further rules that the host joins; one that does not exist is made.
    pub rules: Vec<String>,
    /// The host's key so far, where `.sops.yaml` does not say whose key is whose.
    pub old_recipient: Option<String>,
    /// Work on files with uncommitted changes.
    pub allow_dirty: bool,
    /// Keep the data keys when a recipient goes.
    pub keep_data_keys: bool,
}

impl EditSettings {
    pub(crate) fn who<'a>(&'a self, name: &'a str) -> Who<'a> {
        Who {
            role: self.role,
            name,
            anchor: self.anchor.as_deref(),
            recipient: self.old_recipient.as_deref(),
        }
    }
}

/// A change that was prepared and checked, with nothing written.
#[derive(Debug)]
pub struct Change {
    /// The folder of `.sops.yaml`.
    pub(super) dir: PathBuf,
    /// `.sops.yaml` itself, where its path is a link.
    pub(crate) config: PathBuf,
    /// Its text as it will be.
    pub(super) text: String,
    /// The recipients that the change was told to let in.
    pub(super) own: BTreeSet<String>,
    /// The config first, then the files; only those that really change.
    pub changes: Vec<FileChange>,
    /// The change of `.sops.yaml` as a unified diff.
    pub diff: String,
    pub(crate) warnings: Vec<String>,
    /// Files that get the host's new name, after everything else.
    pub renames: Vec<Rename>,
    /// The recipient that the host had before, when it was replaced or removed.
    pub old_recipient: Option<String>,
    /// Whom the change takes out.
    removed: Option<Removed>,
    /// Folders in which an interrupted run may have left something over.
    pub(crate) folders: BTreeSet<PathBuf>,
}

impl Change {
    pub(crate) fn empty(config: &SopsConfig<'_>) -> Self {
        Self {
            dir: config.dir.clone(),
            config: config.real.clone(),
            text: config.text.clone(),
            own: BTreeSet::new(),
            changes: Vec::new(),
            diff: String::new(),
            warnings: Vec::new(),
            renames: Vec::new(),
            old_recipient: None,
            removed: None,
            folders: BTreeSet::new(),
        }
    }

    /// The folder of `.sops.yaml`.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.renames.is_empty()
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.changes.iter().map(|change| change.path.as_path())
    }

    /// How many of the changes, at their beginning, are the config's.
    fn of_config(&self) -> usize {
        usize::from(self.changes.first().is_some_and(|change| change.path == self.config))
    }

    /// Gives all encrypted files new data keys.
    fn rotate(&mut self, identities: &Identities) -> Result<(), SopsError> {
        let from = self.of_config();
        rewrap::rotate(&mut self.changes[from..], &self.text, identities)
    }

    /// The changes of encrypted files.
    pub(crate) fn encrypted(&self) -> &[FileChange] {
        &self.changes[self.of_config()..]
    }

    /// The encrypted files among the changes.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.paths().filter(|path| *path != self.config)
    }
}

/// Adds `host`, or gives it its new key where it has another, so that it can read `files`.
///
/// A file that no rule, or only a catch-all, holds for gets a rule of its own.
pub fn plan_add_host(
    repo_dir: &Path,
    sops_yaml: &Path,
    host: &str,
    recipient: &Recipient,
    files: &[PathBuf],
    settings: &EditSettings,
    identities: &Identities,
) -> Result<Change, SopsError> {
    let config = SopsConfig::read(repo_dir, sops_yaml)?;
    let rules = config.rules()?;
    let listing = Listing::of(repo_dir, &config.dir)?;
    let files = named_files(&listing, repo_dir, files)?;
    check_encrypted(&files)?;
    let (mut joined, mut made) = rules_for(&config, &rules, &files, recipient.as_str())?;
    for regex in &settings.rules {
        match rule_of_regex(&config, &rules, &listing, regex, identities)? {
            ForRegex::Joined(index) => joined.push(index),
            ForRegex::Made(rule) => made.push(rule),
        }
    }
    joined.sort_unstable();
    joined.dedup();
    let addition = Addition {
        role: settings.role,
        host: host.to_owned(),
        recipient: recipient.as_str().to_owned(),
        anchor: settings.anchor.clone(),
        rules: joined,
        new_rules: made,
    };
    let mut old_recipient = None;
    let mut warnings = Vec::new();
    let mut text = config.text.clone();
    let who = settings.who(host);
    if let Ok(known) = crate::sops::rules::hosts::find(&rules, &who)
        && known.recipient != recipient.as_str()
    {
        old_recipient = Some(known.recipient.clone());
        let Edited { text: replaced, warnings: more } =
            edit::replace(&text, &who, recipient.as_str())
                .map_err(|source| config.edit_error(source))?;
        text = replaced;
        warnings.extend(more);
    }
    let added = edit::add(&text, &addition).map_err(|source| config.edit_error(source))?;
    warnings.extend(added.warnings);
    let edit = ConfigEdit {
        interim: added.text.clone(),
        text: added.text,
        warnings,
        new: Some(recipient.as_str()),
        old: old_recipient.as_deref().or(settings.old_recipient.as_deref()),
    };
    let mut change = finish(&config, repo_dir, edit, &listing, &files, settings, identities)?;
    change.old_recipient = old_recipient;
    Ok(change)
}

/// Takes `host` out of the config and of every file, and gives the files new data keys.
pub fn plan_remove_host(
    repo_dir: &Path,
    sops_yaml: &Path,
    host: &str,
    settings: &EditSettings,
    identities: &Identities,
) -> Result<Change, SopsError> {
    let config = SopsConfig::read(repo_dir, sops_yaml)?;
    let rules = config.rules()?;
    let who = settings.who(host);
    let known = crate::sops::rules::hosts::find(&rules, &who).ok().map(|entry| entry.recipient);
    let begun = || Intention::of(&config.dir).removed(host);
    let old = known.or_else(|| settings.old_recipient.clone()).or_else(begun);
    let old = old.ok_or_else(|| config.edit_error(EditError::NotThere(host.to_owned())))?;
    let listing = Listing::of(repo_dir, &config.dir)?;
    let drop = rules_that_go(&config, &listing, &rules, host, &old)?;
    let remove = |drop: &[String]| {
        edit::remove(&config.text, &who, drop).map_err(|source| config.edit_error(source))
    };
    // The readers of a rule that goes stay those of its files.
    let interim = remove(&[])?.text;
    let Edited { text, mut warnings } = remove(&drop)?;
    warnings.push(HISTORY_WARNING.into());
    if settings.keep_data_keys {
        warnings.push(KEPT_KEY_WARNING.into());
    }
    let edit = ConfigEdit { interim, text, warnings, new: None, old: Some(&old) };
    let mut change = finish(&config, repo_dir, edit, &listing, &[], settings, identities)?;
    if !settings.keep_data_keys {
        change.rotate(identities)?;
    }
    for file in files_that_keep(&listing, &change, &old)? {
        change.warnings.push(format!(
            "{} falls to no rule and stays open to the host: write a rule for it, then run \
             landfall secrets updatekeys and rotate",
            file.display()
        ));
    }
    change.removed = Some(Removed { host: host.to_owned(), recipient: old.clone() });
    change.old_recipient = Some(old);
    Ok(change)
}

/// Encrypted files to which a recipient has access though no rule says so.
fn files_that_keep(
    listing: &Listing,
    change: &Change,
    recipient: &str,
) -> Result<Vec<PathBuf>, SopsError> {
    let mut keep = Vec::new();
    for file in &listing.files {
        if !change.paths().any(|changed| changed == file.path)
            && let Some((text, _)) = rewrap::read_encrypted(&file.path)?
            && text.contains(recipient)
        {
            keep.push(file.name().to_owned());
        }
    }
    Ok(keep)
}

/// A change of nothing yet, and the files that it is about: those named, else all.
fn selected(
    config: &SopsConfig,
    repo_dir: &Path,
    named: &[PathBuf],
) -> Result<(Change, Vec<Listed>), SopsError> {
    let listing = Listing::of(repo_dir, &config.dir)?;
    let only = named_files(&listing, repo_dir, named)?;
    check_encrypted(&only)?;
    let mut change = Change::empty(config);
    change.folders = listing.folders();
    Ok((change, if only.is_empty() { listing.files } else { only }))
}

/// Gives the files new data keys; their recipients stay.
pub(crate) fn plan_rotate(
    repo_dir: &Path,
    sops_yaml: &Path,
    files: &[PathBuf],
    settings: &EditSettings,
    identities: &Identities,
) -> Result<Change, SopsError> {
    let config = SopsConfig::read(repo_dir, sops_yaml)?;
    let (mut change, files) = selected(&config, repo_dir, files)?;
    for Listed { path, .. } in files {
        if let Some((text, _)) = rewrap::read_encrypted(&path)? {
            let before = text.into_bytes();
            change.changes.push(FileChange { path, after: before.clone(), before });
        }
    }
    change.rotate(identities)?;
    check_clean(repo_dir, &change, settings)?;
    Ok(change)
}

const HISTORY_WARNING: &str = "what the host could read until now stays readable to it in git's history: change the secrets themselves where that matters";
const KEPT_KEY_WARNING: &str = "the data keys are kept: whoever saved one from an older version can read what is written later";

/// The `path_regex` of rules that a new host likely joins, when its needs cannot be
/// evaluated: those that name it, and those that hold for most other hosts.
///
/// A guess, to be shown to a person: what was once granted stays granted in git.
pub(crate) fn propose_rules(
    repo_dir: &Path,
    sops_yaml: &Path,
    host: &str,
) -> Result<Vec<String>, SopsError> {
    let config = SopsConfig::read(repo_dir, sops_yaml)?;
    let rules = config.rules()?;
    let all = rules.rules().map_err(|source| config.rules_error(source))?;
    Ok(likely_rules(&rules, &all, host))
}

/// The name that `.sops.yaml` has for a recipient.
pub(crate) fn owner_of(
    repo_dir: &Path,
    sops_yaml: &Path,
    recipient: &str,
) -> Result<Option<String>, SopsError> {
    let config = SopsConfig::read(repo_dir, sops_yaml)?;
    let rules = config.rules()?;
    Ok(name_of(&rules, recipient).map(str::to_owned))
}

/// The recipient that `.sops.yaml` has for a host.
pub(crate) fn recipient_of(
    repo_dir: &Path,
    sops_yaml: &Path,
    host: &str,
) -> Result<Option<String>, SopsError> {
    let config = SopsConfig::read(repo_dir, sops_yaml)?;
    let rules = config.rules()?;
    let found = crate::sops::rules::hosts::find(&rules, &Who::named(host)).ok();
    Ok(found.map(|entry| entry.recipient))
}

/// Brings files to the recipients of their rules: those given, else all of the repo.
pub(crate) fn plan_update(
    repo_dir: &Path,
    sops_yaml: &Path,
    files: &[PathBuf],
    settings: &EditSettings,
    identities: &Identities,
) -> Result<Change, SopsError> {
    let config = SopsConfig::read(repo_dir, sops_yaml)?;
    let (mut change, files) = selected(&config, repo_dir, files)?;
    change.changes = rewrap(&config, &config.text, identities, &files, None, |_, _| true)?;
    check_clean(repo_dir, &change, settings)?;
    Ok(change)
}

/// An edit of the config, and the keys of the host that it is about.
struct ConfigEdit<'k> {
    text: String,
    /// The text by which files are wrapped: as `text`, with the rules that go.
    interim: String,
    warnings: Vec<String>,
    new: Option<&'k str>,
    old: Option<&'k str>,
}

fn finish(
    config: &SopsConfig<'_>,
    repo_dir: &Path,
    edit: ConfigEdit<'_>,
    listing: &Listing,
    named: &[Listed],
    settings: &EditSettings,
    identities: &Identities,
) -> Result<Change, SopsError> {
    let ConfigEdit { text, interim, warnings, new, old } = edit;
    let mut change = Change::empty(config);
    change.diff = unified_diff(&config.name(), &config.text, &text);
    change.warnings = warnings;
    change.own = new.map(str::to_owned).into_iter().collect();
    if text != config.text {
        change.changes.push(FileChange {
            path: config.real.clone(),
            before: config.text.clone().into_bytes(),
            after: text.clone().into_bytes(),
        });
    }
    change.text = text;
    let affected = affected_rules(config, &interim)?;
    // A run that ended between config and files left rules that are as they should
    // be and files that are not: the host's own keys tell which.
    let concerned = |rule: Option<&Rule<'_>>, file: &str| {
        let by_rule = rule.is_some_and(|rule| {
            let joined = new.is_some_and(|new| rule.recipients().contains(&new));
            joined || affected.contains(&rule.index)
        });
        by_rule || old.is_some_and(|old| file.contains(old))
    };
    let files = with_named(&listing.files, named);
    change.folders = listing.folders();
    let leaver = old.filter(|_| new.is_none());
    let rewrapped = rewrap(config, &interim, identities, &files, leaver, concerned)?;
    change.changes.extend(rewrapped);
    check_clean(repo_dir, &change, settings)?;
    Ok(change)
}

/// All files; those that were named have the names that they were called by too.
fn with_named(all: &[Listed], named: &[Listed]) -> Vec<Listed> {
    let others = all.iter().filter(|file| !named.iter().any(|other| other.path == file.path));
    others.chain(named).cloned().collect()
}

/// Indices (in the new config) of the rules whose recipients differ from what held before.
///
/// A rule that exists unchanged is left alone even when its files are out of
/// date: that is `updatekeys`' work.
fn affected_rules(config: &SopsConfig<'_>, text: &str) -> Result<Vec<usize>, SopsError> {
    let before = config.rules()?;
    let before = before.rules().map_err(|source| config.rules_error(source))?;
    let after = Rules::parse(text).map_err(|source| config.rules_error(source))?;
    let after = after.rules().map_err(|source| config.rules_error(source))?;
    let same = |rule: &Rule<'_>| {
        before.iter().any(|known| {
            known.path_regex == rule.path_regex && known.recipients() == rule.recipients()
        })
    };
    let changed = after.iter().filter(|rule| !same(rule)).map(|rule| rule.index);
    Ok(changed.collect())
}

/// Wraps the data key of every chosen file for the recipients of its rule in `text`. From a
/// file that no rule holds for, `leaver` alone is taken out.
fn rewrap(
    config: &SopsConfig<'_>,
    text: &str,
    identities: &Identities,
    files: &[Listed],
    leaver: Option<&str>,
    chosen: impl Fn(Option<&Rule<'_>>, &str) -> bool,
) -> Result<Vec<FileChange>, SopsError> {
    let rules = Rules::parse(text).map_err(|source| config.rules_error(source))?;
    let all = rules.rules().map_err(|source| config.rules_error(source))?;
    let path = config.full_path();
    let rewrap = Rewrap { config: &path, config_text: text, identities, leaver };
    rewrap.run(files, &all, chosen)
}

pub(crate) fn check_clean(
    repo_dir: &Path,
    change: &Change,
    settings: &EditSettings,
) -> Result<(), SopsError> {
    transaction::preflight(change.paths())?;
    if !settings.allow_dirty {
        repo::check_clean(repo_dir, change.paths())?;
    }
    Ok(())
}

/// Writes a change: the config first, then the files, all or none as far as a machine allows.
///
/// Nothing is written while it lets anybody open a file whom neither the change is about
/// nor a person has granted that.
pub fn commit(change: &Change, grants: &Grants) -> Result<Written, SopsError> {
    grants.admit(change.gains()?).map_err(SopsError::Ungranted)?;
    let transaction = Transaction {
        dir: change.dir(),
        changes: &change.changes,
        renames: &change.renames,
        folders: &change.folders,
        removed: change.removed.as_ref(),
    };
    Ok(transaction::write(&transaction)?)
}
