//! Whether the files of a repo are as their rules say, without changing any.

use std::path::{Path, PathBuf};

use super::identities::Identities;
use crate::sops::access;
use crate::sops::access::{Access, FileKey};
use crate::sops::change::error::SopsError;
use crate::sops::change::parallel::in_parallel;
use crate::sops::change::rewrap::read_encrypted;
use crate::sops::change::rule_selection::{check_encrypted, named_files};
use crate::sops::change::sops_yaml::SopsConfig;
use crate::sops::file::format::Format;
use crate::sops::file::{EncryptedFile, FileError};
use crate::sops::listing::{Listed, Listing};
use crate::sops::program::{Reach, SopsProgram, SopsProgramError};
use crate::sops::rules::edit::EditError;
use crate::sops::rules::hosts;
use crate::sops::rules::hosts::Who;

/// A file whose recipients are not those of its rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutOfDate {
    pub(crate) path: PathBuf,
    pub(crate) missing: Vec<String>,
    pub(crate) extra: Vec<String>,
    /// The keys are the same, in other groups.
    pub(crate) regrouped: bool,
}

impl OutOfDate {
    pub(crate) fn difference(&self) -> String {
        let missing = self.missing.iter().map(|key| format!("lacks {key}"));
        let extra = self.extra.iter().map(|key| format!("still has {key}"));
        let regrouped = self.regrouped.then(|| "has other key groups".to_owned());
        missing.chain(extra).chain(regrouped).collect::<Vec<_>>().join(", ")
    }
}

/// An encrypted file of the repo, read and told apart.
struct Found {
    file: Listed,
    text: String,
    format: Format,
}

/// The encrypted files below the config: those given, else all.
fn encrypted(
    repo_dir: &Path,
    config: &SopsConfig<'_>,
    only: &[PathBuf],
) -> Result<Vec<Found>, SopsError> {
    let listing = Listing::of(repo_dir, &config.dir)?;
    let only = named_files(&listing, repo_dir, only)?;
    check_encrypted(&only)?;
    let mut found = Vec::new();
    for file in if only.is_empty() { listing.files } else { only } {
        if let Some((text, format)) = read_encrypted(&file.path)? {
            found.push(Found { file, text, format });
        }
    }
    Ok(found)
}

fn failed(path: &Path, source: FileError, searched: &[String]) -> SopsError {
    SopsError::File { path: path.to_owned(), source: Box::new(source), searched: searched.to_vec() }
}

/// What a comparison of files with their rules found.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    pub(crate) out_of_date: Vec<OutOfDate>,
    /// Files that could not be compared, each with the reason.
    pub(crate) left_out: Vec<(PathBuf, &'static str)>,
}

/// Files whose keys or key groups differ from their rule's; no identity is needed.
pub(crate) fn out_of_date(
    repo_dir: &Path,
    sops_yaml: &Path,
    files: &[PathBuf],
) -> Result<Compared, SopsError> {
    let config = SopsConfig::read(repo_dir, sops_yaml)?;
    let rules = config.rules()?;
    let all = rules.rules().map_err(|source| config.rules_error(source))?;
    let mut compared = Compared::default();
    for Found { file, text, format } in encrypted(repo_dir, &config, files)? {
        let winner = file.winner(&all).map_err(|source| config.rules_error(source))?;
        let Some((rule, _)) = winner else {
            compared.left_out.push((file.path, "no rule holds for it"));
            continue;
        };
        let parsed = EncryptedFile::parse(&text, format)
            .map_err(|source| failed(&file.path, source, &[]))?;
        let (has, wanted) = (parsed.metadata.access(), access::wanted(&rules, rule));
        if has.opens_alike(&wanted) {
            continue;
        }
        let named = |key: &FileKey| match access::name_of(&rules, &key.id) {
            Some(name) => format!("{key} ({name})"),
            None => key.to_string(),
        };
        let without = |keys: &Access, others: &Access| -> Vec<String> {
            let others = others.keys();
            keys.keys().into_iter().filter(|key| !others.contains(key)).map(named).collect()
        };
        let (missing, extra) = (without(&wanted, &has), without(&has, &wanted));
        let regrouped = missing.is_empty() && extra.is_empty();
        compared.out_of_date.push(OutOfDate { path: file.path, missing, extra, regrouped });
    }
    Ok(compared)
}

/// Opens every file with the operator's identities and checks every value and MAC; returns how many.
pub(crate) fn all(
    repo_dir: &Path,
    sops_yaml: &Path,
    identities: &Identities,
) -> Result<usize, SopsError> {
    if let Some(late) = out_of_date(repo_dir, sops_yaml, &[])?.out_of_date.into_iter().next() {
        let difference = late.difference();
        return Err(SopsError::OutOfDate { path: late.path, difference });
    }
    let config = SopsConfig::read(repo_dir, sops_yaml)?;
    let files = encrypted(repo_dir, &config, &[])?;
    let checks = in_parallel(&files, |file| check(file, identities));
    checks.into_iter().collect::<Result<Vec<()>, _>>()?;
    Ok(files.len())
}

fn check(found: &Found, identities: &Identities) -> Result<(), SopsError> {
    let Found { file: Listed { path, .. }, text, format } = found;
    let native = EncryptedFile::parse(text, *format).and_then(|parsed| {
        let key = parsed.data_key(&identities.as_age())?;
        parsed.verify(&key)
    });
    let by_sops = || -> Result<(), SopsProgramError> {
        SopsProgram::require()?.opens(path, *format, identities, Reach::Operator)
    };
    match native {
        Err(FileError::NeedsSops(_)) => by_sops().map_err(|source| SopsError::Sops {
            path: path.clone(),
            source: Box::new(source),
            by_hand: format!("sops decrypt {}", path.display()),
        }),
        // sops knows of identities that cannot be used here: agents, tokens, passphrases.
        Err(source) if source.is_no_identity() => {
            by_sops().map_err(|_| failed(path, source, identities.searched()))
        }
        result => result.map_err(|source| failed(path, source, identities.searched())),
    }
}

/// Shows that each of the files is encrypted to the host's key, without that key; returns how many.
pub(crate) fn by_recipients(
    repo_dir: &Path,
    sops_yaml: &Path,
    host: &str,
    files: &[PathBuf],
) -> Result<usize, SopsError> {
    let config = SopsConfig::read(repo_dir, sops_yaml)?;
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
            return Err(SopsError::NotForHost {
                path: (*path).clone(),
                host: host.to_owned(),
                recipient: entry.recipient,
            });
        }
    }
    Ok(files.len())
}
