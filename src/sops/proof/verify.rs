//! Whether the files of a repo are as their rules say, without changing any.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::identities::Identities;
use crate::sops::change::error::SopsError;
use crate::sops::change::parallel::in_parallel;
use crate::sops::change::repo;
use crate::sops::change::rewrap::read_encrypted;
use crate::sops::change::rule_selection::relative_files;
use crate::sops::change::sops_yaml::Config;
use crate::sops::file::format::Format;
use crate::sops::file::{EncryptedFile, FileError};
use crate::sops::program::{Reach, SopsProgram, SopsProgramError};
use crate::sops::rules::edit::EditError;
use crate::sops::rules::hosts;
use crate::sops::rules::hosts::Who;
use crate::sops::rules::winner;

/// A file whose recipients are not those of its rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutOfDate {
    pub path: PathBuf,
    pub missing: Vec<String>,
    pub extra: Vec<String>,
}

impl OutOfDate {
    pub fn difference(&self) -> String {
        let missing = self.missing.iter().map(|key| format!("lacks {key}"));
        let extra = self.extra.iter().map(|key| format!("still has {key}"));
        missing.chain(extra).collect::<Vec<_>>().join(", ")
    }
}

/// An encrypted file of the repo, read and told apart.
struct Found {
    path: PathBuf,
    relative: PathBuf,
    text: String,
    format: Format,
}

/// The encrypted files below the config: those given, else all.
fn encrypted(
    repo_dir: &Path,
    config: &Config<'_>,
    only: &[PathBuf],
) -> Result<Vec<Found>, SopsError> {
    let only = relative_files(&config.dir, repo_dir, only)?;
    let mut found = Vec::new();
    for relative in repo::files_below(repo_dir, &config.dir)? {
        if !only.is_empty() && !only.contains(&relative) {
            continue;
        }
        let path = config.dir.join(&relative);
        if let Some((text, format)) = read_encrypted(&path)? {
            found.push(Found { path, relative, text, format });
        }
    }
    Ok(found)
}

fn failed(path: &Path, source: FileError, searched: &[String]) -> SopsError {
    SopsError::File { path: path.to_owned(), source: Box::new(source), searched: searched.to_vec() }
}

/// What a comparison of files with their rules found.
#[derive(Debug, Default)]
pub struct Compared {
    pub out_of_date: Vec<OutOfDate>,
    /// Files that could not be compared, each with the reason.
    pub left_out: Vec<(PathBuf, &'static str)>,
}

/// Files whose age recipients differ from their rule's; no identity is needed.
pub fn out_of_date(
    repo_dir: &Path,
    sops_yaml: &Path,
    files: &[PathBuf],
) -> Result<Compared, SopsError> {
    let config = Config::read(repo_dir, sops_yaml)?;
    let rules = config.rules()?;
    let all = rules.rules().map_err(|source| config.rules_error(source))?;
    let mut compared = Compared::default();
    for file in encrypted(repo_dir, &config, files)? {
        let winner = winner(&all, &file.relative).map_err(|source| config.rules_error(source))?;
        let Some(rule) = winner else {
            compared.left_out.push((file.path, "no rule holds for it"));
            continue;
        };
        let parsed = EncryptedFile::parse(&file.text, file.format)
            .map_err(|source| failed(&file.path, source, &[]))?;
        if parsed.metadata.key_groups || rule.groups.len() > 1 {
            compared.left_out.push((file.path.clone(), "only sops compares several key groups"));
            continue;
        }
        let other_kinds = rule.groups.iter().flat_map(|g| &g.keys).any(|key| key.kind != "age");
        if other_kinds || !parsed.metadata.other_kinds.is_empty() {
            let reason = "only its age keys were compared: it has keys of other kinds";
            compared.left_out.push((file.path.clone(), reason));
        }
        let has: BTreeSet<&str> = parsed.metadata.recipients().collect();
        let wanted: BTreeSet<&str> = rule.recipients().into_iter().collect();
        if has != wanted {
            let owned = |keys: Vec<&&str>| keys.into_iter().map(|key| (*key).to_owned()).collect();
            compared.out_of_date.push(OutOfDate {
                path: file.path.clone(),
                missing: owned(wanted.difference(&has).collect()),
                extra: owned(has.difference(&wanted).collect()),
            });
        }
    }
    Ok(compared)
}

/// Opens every file with the operator's identities and checks every value and MAC; returns how many.
pub fn all(repo_dir: &Path, sops_yaml: &Path, identities: &Identities) -> Result<usize, SopsError> {
    if let Some(late) = out_of_date(repo_dir, sops_yaml, &[])?.out_of_date.into_iter().next() {
        let difference = late.difference();
        return Err(SopsError::OutOfDate { path: late.path, difference });
    }
    let config = Config::read(repo_dir, sops_yaml)?;
    let files = encrypted(repo_dir, &config, &[])?;
    let checks = in_parallel(&files, |file| check(file, identities));
    checks.into_iter().collect::<Result<Vec<()>, _>>()?;
    Ok(files.len())
}

fn check(file: &Found, identities: &Identities) -> Result<(), SopsError> {
    let native = EncryptedFile::parse(&file.text, file.format).and_then(|parsed| {
        let key = parsed.data_key(&identities.as_age())?;
        parsed.verify(&key)
    });
    match native {
        Err(FileError::NeedsSops(_)) => {
            let by_sops = || -> Result<(), SopsProgramError> {
                SopsProgram::require()?.opens(
                    &file.path,
                    file.format,
                    identities,
                    Reach::Operator,
                )?;
                Ok(())
            };
            by_sops().map_err(|source| SopsError::Sops {
                path: file.path.clone(),
                source: Box::new(source),
                by_hand: format!("sops decrypt {}", file.path.display()),
            })
        }
        result => result.map_err(|source| failed(&file.path, source, identities.searched())),
    }
}

/// Shows that each of the files is encrypted to the host's key, without that key; returns how many.
pub fn by_recipients(
    repo_dir: &Path,
    sops_yaml: &Path,
    host: &str,
    files: &[PathBuf],
) -> Result<usize, SopsError> {
    let config = Config::read(repo_dir, sops_yaml)?;
    let rules = config.rules()?;
    let entry = hosts::find(&rules, &Who::named(host))
        .map_err(|_| config.edit_error(EditError::NoHost(host.to_owned())))?;
    let mut files: Vec<&PathBuf> = files.iter().collect();
    files.sort();
    files.dedup();
    for path in &files {
        let Some((text, format)) = read_encrypted(path)? else {
            return Err(failed(path, FileError::NotEncrypted, &[]));
        };
        let parsed =
            EncryptedFile::parse(&text, format).map_err(|source| failed(path, source, &[]))?;
        // Where the key is split, every group names its recipients below key_groups.
        let split = parsed.metadata.key_groups && text.contains(&entry.recipient);
        if !split && !parsed.metadata.recipients().any(|known| known == entry.recipient) {
            let difference = format!("lacks {}", entry.recipient);
            return Err(SopsError::OutOfDate { path: (*path).clone(), difference });
        }
    }
    Ok(files.len())
}
