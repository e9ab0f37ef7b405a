//! What adding, replacing or removing a host changes in a repo, before anything is written.
//!
//! A [`Change`] holds the new `.sops.yaml`, every file that must be wrapped for
//! other recipients, the diff that a person sees, and what they should know. It
//! is made from the repo as it is; [`commit`] writes it only if that is still so.

use std::path::{Path, PathBuf};

use super::edit::{self, Addition, EditError, Edited};
use super::file::FileError;
use super::format::Format;
use super::host::Who;
use super::identities::Identities;
use super::new_rule::{self, NewRule};
use super::patch::unified_diff;
use super::program::{Reach, SopsProgram, SopsProgramError};
use super::rekey::{Rekeyed, rekey};
use super::repo::{self, RepoError};
use super::rules::{Rule, Rules, RulesError};
use super::transaction::{self, FileChange, WriteError, Written};
use crate::age::Recipient;
use crate::error::{Advice, Exit};

/// What the layout of a repo does not tell.
#[derive(Debug, Clone, Default)]
pub struct EditSettings {
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

/// A change that was prepared and checked, with nothing written.
#[derive(Debug)]
pub struct Change {
    /// The folder of `.sops.yaml`.
    pub dir: PathBuf,
    /// The config first, then the files; only those that really change.
    pub changes: Vec<FileChange>,
    /// The change of `.sops.yaml` as a unified diff.
    pub diff: String,
    pub warnings: Vec<String>,
    /// The recipient that the host had before, when it was replaced or removed.
    pub old_recipient: Option<String>,
}

impl Change {
    fn empty(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            changes: Vec::new(),
            diff: String::new(),
            warnings: Vec::new(),
            old_recipient: None,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.changes.iter().map(|change| change.path.as_path())
    }

    /// The encrypted files among the changes.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.paths().filter(|path| !path.ends_with(".sops.yaml"))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SopsError {
    #[error("{}: {source}", .path.display())]
    Rules { path: PathBuf, source: RulesError },
    #[error("{}: {source}", .path.display())]
    Edit { path: PathBuf, source: EditError },
    #[error("{}: {source}", .path.display())]
    File { path: PathBuf, source: FileError, searched: Vec<String> },
    #[error("{}: {source}", .path.display())]
    Sops { path: PathBuf, source: SopsProgramError, by_hand: String },
    #[error("{} cannot be read: {source}", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the host needs {}, which does not exist", .0.display())]
    Missing(PathBuf),
    #[error("the host needs {}, which is not below the folder of .sops.yaml", .0.display())]
    Outside(PathBuf),
    #[error("{} falls to {rule}, which has keys of other kinds than age", .path.display())]
    OtherKinds { path: PathBuf, rule: String },
    #[error(transparent)]
    Repo(#[from] RepoError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl Advice for SopsError {
    fn hint(&self) -> String {
        match self {
            Self::Rules { source, .. } => source.hint(),
            Self::Edit { source, .. } => source.hint(),
            Self::File { source: source @ FileError::NoIdentity { .. }, searched, .. } => {
                format!("{} Searched: {}.", source.hint(), searched.join("; "))
            }
            Self::File { source, .. } => source.hint(),
            Self::Sops { source: SopsProgramError::Missing, by_hand, .. } => {
                format!("Install sops, or do it where sops is: {by_hand}")
            }
            Self::Sops { source, .. } => source.hint(),
            Self::Read { .. } => "Make the file readable, then run the same command again.".into(),
            Self::Missing(_) => {
                "Create it with sops, or correct sopsFile in the configuration.".into()
            }
            Self::Outside(_) => "Name the right .sops.yaml in landfall.toml.".into(),
            Self::OtherKinds { .. } => {
                "Write a rule for it by hand, then run the same command again.".into()
            }
            Self::Repo(error) => error.hint(),
            Self::Write(error) => error.hint(),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Sops { source, .. } => source.exit(),
            Self::Read { .. } => Exit::Failed,
            Self::Repo(error) => error.exit(),
            Self::Write(error) => error.exit(),
            _ => Exit::Usage,
        }
    }
}

/// The config's text and folder.
struct Config<'p> {
    path: &'p Path,
    dir: PathBuf,
    text: String,
}

impl<'p> Config<'p> {
    fn read(repo_dir: &Path, path: &'p Path) -> Result<Self, SopsError> {
        let spelled = if path.is_absolute() { path.to_owned() } else { repo_dir.join(path) };
        let text = std::fs::read_to_string(&spelled)
            .map_err(|source| SopsError::Read { path: spelled.clone(), source })?;
        let dir = spelled.parent().map(Path::to_owned).unwrap_or_default();
        Ok(Self { path, dir, text })
    }

    fn full_path(&self) -> PathBuf {
        self.dir.join(self.path.file_name().unwrap_or_default())
    }

    fn rules(&self) -> Result<Rules<'_>, SopsError> {
        Rules::parse(&self.text).map_err(|source| self.rules_error(source))
    }

    fn rules_error(&self, source: RulesError) -> SopsError {
        SopsError::Rules { path: self.full_path(), source }
    }

    fn edit_error(&self, source: EditError) -> SopsError {
        SopsError::Edit { path: self.full_path(), source }
    }

    fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
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
    let config = Config::read(repo_dir, sops_yaml)?;
    let rules = config.rules()?;
    let files = relative_files(&config.dir, repo_dir, files)?;
    let (mut joined, new_rules) = rules_for(&config, &rules, &files)?;
    let mut made = new_rules;
    for regex in &settings.rules {
        let all = rules.rules().map_err(|source| config.rules_error(source))?;
        match all.iter().find(|rule| rule.path_regex.unwrap_or_default() == regex) {
            Some(rule) => joined.push(rule.index),
            None => made.push(NewRule {
                path_regex: regex.clone(),
                others: common_recipients(&all),
                before: Some(0),
            }),
        }
    }
    joined.sort_unstable();
    joined.dedup();
    let addition = Addition {
        host: host.to_owned(),
        recipient: recipient.as_str().to_owned(),
        anchor: settings.anchor.clone(),
        rules: joined,
        new_rules: made,
    };
    let mut old_recipient = None;
    let mut warnings = Vec::new();
    let mut text = config.text.clone();
    let who = Who {
        name: host,
        anchor: settings.anchor.as_deref(),
        recipient: settings.old_recipient.as_deref(),
    };
    if let Ok(known) = super::host::find(&rules, &who)
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
    let keys = HostKeys {
        new: Some(recipient.as_str()),
        old: old_recipient.as_deref().or(settings.old_recipient.as_deref()),
    };
    let mut change = finish(&config, repo_dir, added.text, warnings, keys, settings, identities)?;
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
    let config = Config::read(repo_dir, sops_yaml)?;
    let rules = config.rules()?;
    let who = Who {
        name: host,
        anchor: settings.anchor.as_deref(),
        recipient: settings.old_recipient.as_deref(),
    };
    let known = super::host::find(&rules, &who).ok().map(|entry| entry.recipient);
    let old = known.or_else(|| settings.old_recipient.clone());
    let old = old.ok_or_else(|| config.edit_error(EditError::NoHost(host.to_owned())))?;
    let drop = unused_rules_of(&config, repo_dir, &rules, &old)?;
    let Edited { text, mut warnings } =
        edit::remove(&config.text, &who, &drop).map_err(|source| config.edit_error(source))?;
    warnings.push(HISTORY_WARNING.into());
    if settings.keep_data_keys {
        warnings.push(KEPT_KEY_WARNING.into());
    }
    let keys = HostKeys { new: None, old: Some(&old) };
    let mut change = finish(&config, repo_dir, text, warnings, keys, settings, identities)?;
    if !settings.keep_data_keys {
        rotate_changed(&mut change, identities)?;
    }
    change.old_recipient = Some(old);
    Ok(change)
}

/// Gives the files new data keys; their recipients stay.
pub fn plan_rotate(
    repo_dir: &Path,
    sops_yaml: &Path,
    files: &[PathBuf],
    settings: &EditSettings,
    identities: &Identities,
) -> Result<Change, SopsError> {
    let config = Config::read(repo_dir, sops_yaml)?;
    let only = relative_files(&config.dir, repo_dir, files)?;
    let mut change = Change::empty(&config.dir);
    for file in repo::files_below(repo_dir, &config.dir)? {
        if !only.is_empty() && !only.contains(&file) {
            continue;
        }
        let path = config.dir.join(&file);
        let before = std::fs::read(&path)
            .map_err(|source| SopsError::Read { path: path.clone(), source })?;
        let text = std::str::from_utf8(&before).unwrap_or_default();
        if repo::looks_encrypted(text, Format::of_path(&file)) {
            change.changes.push(FileChange { path, after: before.clone(), before });
        }
    }
    rotate_changed(&mut change, identities)?;
    check_clean(repo_dir, &change, settings)?;
    Ok(change)
}

const HISTORY_WARNING: &str = "what the host could read until now stays readable to it in git's history: change the secrets themselves where that matters";
const KEPT_KEY_WARNING: &str = "the data keys are kept: whoever saved one from an older version can read what is written later";

/// Lets sops make a new data key for every file of the change.
fn rotate_changed(change: &mut Change, identities: &Identities) -> Result<(), SopsError> {
    for file in change.changes.iter_mut().filter(|file| !file.path.ends_with(".sops.yaml")) {
        let by_hand = format!("sops rotate --in-place {}", file.path.display());
        let failed = |source| SopsError::Sops { path: file.path.clone(), source, by_hand };
        let rotate = || -> Result<Vec<u8>, SopsProgramError> {
            let sops = SopsProgram::require()?;
            let stage = tempfile::tempdir()?;
            let staged = stage.path().join(file.path.file_name().unwrap_or_default());
            std::fs::write(&staged, &file.after)?;
            sops.rotate(&staged, Format::of_path(&file.path), identities, Reach::Operator)?;
            Ok(std::fs::read(&staged)?)
        };
        file.after = rotate().map_err(failed)?;
    }
    Ok(())
}

/// Rules that name the host and hold for no file of the repo.
fn unused_rules_of(
    config: &Config<'_>,
    repo_dir: &Path,
    rules: &Rules<'_>,
    recipient: &str,
) -> Result<Vec<String>, SopsError> {
    let all = rules.rules().map_err(|source| config.rules_error(source))?;
    let files = repo::files_below(repo_dir, &config.dir)?;
    let mut used = vec![false; all.len()];
    for file in &files {
        if let Some(rule) = all.iter().find(|rule| rule.matches(file)) {
            used[rule.index] = true;
        }
    }
    let unused = all.iter().filter(|rule| {
        !used[rule.index] && !rule.is_catch_all() && rule.recipients().contains(&recipient)
    });
    Ok(unused.filter_map(|rule| rule.path_regex.map(str::to_owned)).collect())
}

/// Brings files to the recipients of their rules: those given, else all of the repo.
pub fn plan_update(
    repo_dir: &Path,
    sops_yaml: &Path,
    files: &[PathBuf],
    settings: &EditSettings,
    identities: &Identities,
) -> Result<Change, SopsError> {
    let config = Config::read(repo_dir, sops_yaml)?;
    let only = relative_files(&config.dir, repo_dir, files)?;
    let text = config.text.clone();
    let mut change = Change::empty(&config.dir);
    rekey_files(&config, repo_dir, &text, &mut change, identities, |file, _, _| {
        only.is_empty() || only.iter().any(|path| path == file)
    })?;
    check_clean(repo_dir, &change, settings)?;
    Ok(change)
}

/// Paths relative to the config's folder.
fn relative_files(
    dir: &Path,
    repo_dir: &Path,
    files: &[PathBuf],
) -> Result<Vec<PathBuf>, SopsError> {
    let relative = files.iter().map(|file| {
        let full = if file.is_absolute() { file.clone() } else { repo_dir.join(file) };
        if !full.exists() {
            return Err(SopsError::Missing(full));
        }
        if let Ok(relative) = full.strip_prefix(dir) {
            return Ok(relative.to_owned());
        }
        let real =
            full.canonicalize().map_err(|source| SopsError::Read { path: full.clone(), source })?;
        let real_dir =
            dir.canonicalize().map_err(|source| SopsError::Read { path: dir.into(), source })?;
        real.strip_prefix(real_dir).map(Path::to_owned).map_err(|_| SopsError::Outside(full))
    });
    relative.collect()
}

/// The rules to join for these files, and the rules to make for those without one.
fn rules_for(
    config: &Config<'_>,
    rules: &Rules<'_>,
    files: &[PathBuf],
) -> Result<(Vec<usize>, Vec<NewRule>), SopsError> {
    let all = rules.rules().map_err(|source| config.rules_error(source))?;
    let mut joined = Vec::new();
    let mut made: Vec<NewRule> = Vec::new();
    for file in files {
        let winner = all.iter().find(|rule| rule.matches(file));
        match winner {
            Some(rule) if !rule.is_catch_all() => joined.push(rule.index),
            winner => {
                let new = new_rule_for(config, winner, file)?;
                if !made.iter().any(|known| known.path_regex == new.path_regex) {
                    made.push(new);
                }
            }
        }
    }
    Ok((joined, made))
}

/// A rule for one file: whoever can read it now still can.
fn new_rule_for(
    config: &Config<'_>,
    winner: Option<&Rule<'_>>,
    file: &Path,
) -> Result<NewRule, SopsError> {
    let others = match winner {
        Some(rule) => {
            if rule.groups.len() > 1
                || rule.groups.iter().flat_map(|group| &group.keys).any(|key| key.kind != "age")
            {
                return Err(SopsError::OtherKinds { path: file.into(), rule: rule.name() });
            }
            new_rule::others(rule)
        }
        None => {
            let path = config.dir.join(file);
            let text = std::fs::read_to_string(&path)
                .map_err(|source| SopsError::Read { path: path.clone(), source })?;
            let parsed = super::file::EncryptedFile::parse(&text, Format::of_path(file));
            let parsed =
                parsed.map_err(|source| SopsError::File { path, source, searched: Vec::new() })?;
            parsed.metadata.recipients().map(str::to_owned).collect()
        }
    };
    Ok(NewRule {
        path_regex: new_rule::regex_for(&file.to_string_lossy()),
        others,
        before: winner.map(|rule| rule.index),
    })
}

/// The recipients that every rule names: those of the people in charge.
fn common_recipients(all: &[Rule<'_>]) -> Vec<String> {
    let Some((first, rest)) = all.split_first() else { return Vec::new() };
    let mut common: Vec<String> = first.recipients().into_iter().map(str::to_owned).collect();
    common.retain(|recipient| {
        rest.iter().all(|rule| rule.recipients().contains(&recipient.as_str()))
    });
    common
}

/// The keys of the host that a change is about.
#[derive(Clone, Copy)]
struct HostKeys<'k> {
    new: Option<&'k str>,
    old: Option<&'k str>,
}

fn finish(
    config: &Config<'_>,
    repo_dir: &Path,
    text: String,
    warnings: Vec<String>,
    keys: HostKeys<'_>,
    settings: &EditSettings,
    identities: &Identities,
) -> Result<Change, SopsError> {
    let mut change = Change {
        dir: config.dir.clone(),
        changes: Vec::new(),
        diff: unified_diff(&config.name(), &config.text, &text),
        warnings,
        old_recipient: None,
    };
    if text != config.text {
        change.changes.push(FileChange {
            path: config.full_path(),
            before: config.text.clone().into_bytes(),
            after: text.clone().into_bytes(),
        });
    }
    let affected = affected_rules(config, &text)?;
    // A run that ended between config and files left rules that are as they should
    // be and files that are not: the host's own keys tell which.
    let concerned = |_: &Path, rule: &Rule<'_>, file: &str| {
        affected.contains(&rule.index)
            || keys.new.is_some_and(|new| rule.recipients().contains(&new))
            || keys.old.is_some_and(|old| file.contains(old))
    };
    rekey_files(config, repo_dir, &text, &mut change, identities, concerned)?;
    check_clean(repo_dir, &change, settings)?;
    Ok(change)
}

/// Indices (in the new config) of the rules whose recipients differ from what held before.
///
/// A rule that exists unchanged is left alone even when its files are out of
/// date: that is `updatekeys`' work.
fn affected_rules(config: &Config<'_>, text: &str) -> Result<Vec<usize>, SopsError> {
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

/// Wraps the data key of every chosen file for the recipients of its rule.
fn rekey_files(
    config: &Config<'_>,
    repo_dir: &Path,
    text: &str,
    change: &mut Change,
    identities: &Identities,
    chosen: impl Fn(&Path, &Rule<'_>, &str) -> bool,
) -> Result<(), SopsError> {
    let rules = Rules::parse(text).map_err(|source| config.rules_error(source))?;
    let all = rules.rules().map_err(|source| config.rules_error(source))?;
    for file in repo::files_below(repo_dir, &config.dir)? {
        let Some(rule) = all.iter().find(|rule| rule.matches(&file)) else { continue };
        let path = config.dir.join(&file);
        let before = std::fs::read(&path)
            .map_err(|source| SopsError::Read { path: path.clone(), source })?;
        let format = Format::of_path(&file);
        let Some(current) =
            std::str::from_utf8(&before).ok().filter(|text| repo::looks_encrypted(text, format))
        else {
            continue;
        };
        if !chosen(&file, rule, current) {
            continue;
        }
        let failed = |source| SopsError::File {
            path: path.clone(),
            source,
            searched: identities.searched().to_vec(),
        };
        let native =
            rule.groups.len() == 1 && rule.groups[0].keys.iter().all(|key| key.kind == "age");
        let rekeyed = if native {
            rekey(current, format, &rule.recipients(), identities)
        } else {
            Err(FileError::NeedsSops(String::new()))
        };
        let after = match rekeyed {
            Ok(Rekeyed::UpToDate) => continue,
            Ok(Rekeyed::Changed(text)) => text.into_bytes(),
            Err(FileError::NeedsSops(_)) => {
                by_sops(text, config, &file, &before, format, identities)?
            }
            Err(error) => return Err(failed(error)),
        };
        if after != before {
            change.changes.push(FileChange { path, before, after });
        }
    }
    Ok(())
}

/// Lets sops do it on a copy of the config and the file, in a folder of its own.
fn by_sops(
    config_text: &str,
    config: &Config<'_>,
    file: &Path,
    before: &[u8],
    format: Format,
    identities: &Identities,
) -> Result<Vec<u8>, SopsError> {
    let by_hand = SopsProgram::update_keys_by_hand(&config.full_path(), &config.dir.join(file));
    let failed =
        |source| SopsError::Sops { path: config.dir.join(file), source, by_hand: by_hand.clone() };
    let sops = SopsProgram::require().map_err(failed)?;
    let stage = || -> std::io::Result<(tempfile::TempDir, PathBuf, PathBuf)> {
        let stage = tempfile::tempdir()?;
        let staged_config = stage.path().join(".sops.yaml");
        let staged_file = stage.path().join(file);
        std::fs::write(&staged_config, config_text)?;
        std::fs::create_dir_all(staged_file.parent().unwrap_or(stage.path()))?;
        std::fs::write(&staged_file, before)?;
        Ok((stage, staged_config, staged_file))
    };
    let (_stage, staged_config, staged_file) = stage().map_err(|source| failed(source.into()))?;
    // updatekeys never checks the MAC, so a decryption does it first.
    sops.decrypt(&staged_file, format, identities, Reach::Operator).map_err(failed)?;
    sops.update_keys(&staged_config, &staged_file, format, identities, Reach::Operator)
        .map_err(failed)?;
    std::fs::read(&staged_file).map_err(|source| failed(source.into()))
}

fn check_clean(repo_dir: &Path, change: &Change, settings: &EditSettings) -> Result<(), SopsError> {
    transaction::preflight(change.paths())?;
    if !settings.allow_dirty {
        repo::check_clean(repo_dir, change.paths())?;
    }
    Ok(())
}

/// Writes a change: the config first, then the files, all or none as far as a machine allows.
pub fn commit(change: &Change) -> Result<Written, SopsError> {
    Ok(transaction::write(&change.dir, &change.changes)?)
}
