//! Whether the files of a repo are as their rules say, without changing any.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::config::Config;
use super::error::SopsError;
use super::file::{EncryptedFile, FileError};
use super::format::Format;
use super::grants::relative_files;
use super::host::{self, Who};
use super::identities::Identities;
use super::parallel::in_parallel;
use super::program::{Reach, SopsProgram, SopsProgramError};
use super::rewrap::read_encrypted;
use super::rules::winner;
use super::{edit::EditError, repo};

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

/// Files whose age recipients differ from their rule's; no identity is needed.
pub fn out_of_date(
    repo_dir: &Path,
    sops_yaml: &Path,
    files: &[PathBuf],
) -> Result<Vec<OutOfDate>, SopsError> {
    let config = Config::read(repo_dir, sops_yaml)?;
    let rules = config.rules()?;
    let all = rules.rules().map_err(|source| config.rules_error(source))?;
    let mut late = Vec::new();
    for file in encrypted(repo_dir, &config, files)? {
        let winner = winner(&all, &file.relative).map_err(|source| config.rules_error(source))?;
        let Some(rule) = winner else { continue };
        let parsed = EncryptedFile::parse(&file.text, file.format)
            .map_err(|source| failed(&file.path, source, &[]))?;
        if parsed.metadata.key_groups {
            continue;
        }
        let has: BTreeSet<&str> = parsed.metadata.recipients().collect();
        let wanted: BTreeSet<&str> = rule.recipients().into_iter().collect();
        if has != wanted {
            let owned = |keys: Vec<&&str>| keys.into_iter().map(|key| (*key).to_owned()).collect();
            late.push(OutOfDate {
                path: file.path.clone(),
                missing: owned(wanted.difference(&has).collect()),
                extra: owned(has.difference(&wanted).collect()),
            });
        }
    }
    Ok(late)
}

/// Opens every file with the operator's identities and checks every value and MAC; returns how many.
pub fn all(repo_dir: &Path, sops_yaml: &Path, identities: &Identities) -> Result<usize, SopsError> {
    if let Some(late) = out_of_date(repo_dir, sops_yaml, &[])?.into_iter().next() {
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
    let entry = host::find(&rules, &Who::named(host))
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
        if !parsed.metadata.recipients().any(|recipient| recipient == entry.recipient) {
            let difference = format!("lacks {}", entry.recipient);
            return Err(SopsError::OutOfDate { path: (*path).clone(), difference });
        }
    }
    Ok(files.len())
}
