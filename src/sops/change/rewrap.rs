//! All files of a repo that a change concerns, wrapped for the recipients of their rules.
//!
//! Most files are done here, on all cores; what landfall does not do itself is
//! done by sops, on copies in a folder of its own. Nothing in the repo is written.

use std::path::Path;

use super::error::SopsError;
use super::parallel::in_parallel;
use super::transaction::FileChange;
use crate::sops::file::format::Format;
use crate::sops::file::rekey::{Rekeyed, rekey};
use crate::sops::file::{EncryptedFile, FileError};
use crate::sops::listing::Listed;
use crate::sops::program::{Reach, SopsProgram, SopsProgramError};
use crate::sops::proof::identities::Identities;
use crate::sops::rules::Rule;

/// One encrypted file and the rule that holds for it.
struct Job<'r> {
    path: &'r Path,
    /// The name that the rule holds for, relative to the config's folder.
    name: &'r Path,
    /// None where no rule holds for it.
    rule: Option<&'r Rule<'r>>,
    format: Format,
    text: String,
}

/// What the files are wrapped by.
pub(crate) struct Rewrap<'a> {
    pub(crate) config: &'a Path,
    /// The text of the config as it will be.
    pub(crate) config_text: &'a str,
    pub(crate) identities: &'a Identities,
    /// Who is taken out of files that no rule holds for.
    pub(crate) leaver: Option<&'a str>,
}

impl Rewrap<'_> {
    /// The changed contents of the chosen files, in the order of their names.
    pub(crate) fn run(
        &self,
        files: &[Listed],
        rules: &[Rule<'_>],
        chosen: impl Fn(Option<&Rule<'_>>, &str) -> bool,
    ) -> Result<Vec<FileChange>, SopsError> {
        let mut jobs = Vec::new();
        for file in files {
            let winner = file.winner(rules).map_err(|source| SopsError::Rules {
                path: self.config.to_owned(),
                source: Box::new(source),
            })?;
            if winner.is_none() && self.leaver.is_none() {
                continue;
            }
            let rule = winner.map(|(rule, _)| rule);
            let name = winner.map_or(file.name(), |(_, name)| name);
            if let Some((text, format)) = read_encrypted(&file.path)?
                && chosen(rule, &text)
            {
                jobs.push(Job { path: &file.path, name, rule, format, text });
            }
        }
        let done = in_parallel(&jobs, |job| self.rewrap(job));
        let changes: Result<Vec<_>, _> = done.into_iter().collect();
        Ok(changes?.into_iter().flatten().collect())
    }

    fn rewrap(&self, job: &Job<'_>) -> Result<Option<FileChange>, SopsError> {
        let path = job.path.to_owned();
        let rekeyed = match job.rule {
            Some(rule) if rule.groups.len() == 1 && rule.is_age_alone() => {
                rekey(&job.text, job.format, &rule.recipients(), self.identities)
            }
            Some(_) => Err(FileError::NeedsSops(String::new())),
            None => self.without_leaver(job),
        };
        let after = match rekeyed {
            Ok(Rekeyed::UpToDate) => return Ok(None),
            Ok(Rekeyed::Changed(text)) => text.into_bytes(),
            // Only a rule tells sops what to do.
            Err(FileError::NeedsSops(_)) if job.rule.is_none() => return Ok(None),
            Err(FileError::NeedsSops(_)) => self.by_sops(job)?,
            Err(source) if job.rule.is_some() && source.is_no_identity() => {
                // sops knows of identities that cannot be used here: agents, tokens, passphrases.
                match self.by_sops(job) {
                    Ok(text) => text,
                    Err(_) => {
                        let searched = self.identities.searched().to_vec();
                        return Err(SopsError::File { path, source: Box::new(source), searched });
                    }
                }
            }
            Err(source) => {
                let searched = self.identities.searched().to_vec();
                return Err(SopsError::File { path, source: Box::new(source), searched });
            }
        };
        let before = job.text.clone().into_bytes();
        Ok((after != before).then_some(FileChange { path, before, after }))
    }

    /// The file with the recipients that it has, but for the one that leaves.
    fn without_leaver(&self, job: &Job<'_>) -> Result<Rekeyed, FileError> {
        let file = EncryptedFile::parse(&job.text, job.format)?;
        let recipients: Vec<&str> =
            file.metadata.recipients().filter(|known| Some(*known) != self.leaver).collect();
        if recipients.is_empty() {
            return Err(FileError::NeedsSops("nobody would be left who opens it".into()));
        }
        rekey(&job.text, job.format, &recipients, self.identities)
    }

    fn by_sops(&self, job: &Job<'_>) -> Result<Vec<u8>, SopsError> {
        let path = job.path.to_owned();
        let update = || -> Result<Vec<u8>, SopsProgramError> {
            let sops = SopsProgram::require()?;
            let stage = tempfile::tempdir()?;
            let config = stage.path().join(".sops.yaml");
            let file = stage.path().join(job.name);
            std::fs::write(&config, self.config_text)?;
            std::fs::create_dir_all(file.parent().unwrap_or(stage.path()))?;
            std::fs::write(&file, &job.text)?;
            // updatekeys never checks the MAC, so a decryption does it first.
            sops.opens(&file, job.format, self.identities, Reach::Operator)?;
            sops.update_keys(&config, &file, job.format, self.identities, Reach::Operator)?;
            Ok(std::fs::read(&file)?)
        };
        let by_hand = SopsProgram::update_keys_by_hand(self.config, &path);
        update().map_err(|source| SopsError::Sops { path, source: Box::new(source), by_hand })
    }
}

/// A file's text, when it is encrypted by sops.
pub(crate) fn read_encrypted(path: &Path) -> Result<Option<(String, Format)>, SopsError> {
    let bytes =
        std::fs::read(path).map_err(|source| SopsError::Read { path: path.to_owned(), source })?;
    let Ok(text) = String::from_utf8(bytes) else { return Ok(None) };
    let format = Format::of_content(path, &text);
    Ok(is_encrypted(path, &text, format).then_some((text, format)))
}

/// What sops writes into the section of every file.
const LAST_MODIFIED: &str = "lastmodified";

/// Whether sops takes a file for an encrypted one: it has a section of its own with a MAC or
/// a time in it. A file that only speaks of sops is none; one that was encrypted and cannot
/// be read any more is, so that it is not passed over.
fn is_encrypted(path: &Path, text: &str, format: Format) -> bool {
    // Nothing else is worth to be parsed.
    if !text.contains("sops") || !(text.contains("mac") || text.contains(LAST_MODIFIED)) {
        return false;
    }
    match EncryptedFile::parse(text, format) {
        Ok(file) => !file.metadata.mac.is_empty() || !file.metadata.last_modified.is_empty(),
        Err(FileError::NotEncrypted | FileError::Empty) => false,
        // Documentation shows such sections too: there the ending must say what it is.
        Err(_) => {
            let known = Format::of_path(path) != Format::Binary || path.extension().is_none();
            (known || text.trim_start().starts_with('{'))
                && text.contains(LAST_MODIFIED)
                && text.contains("ENC[AES256_GCM,")
        }
    }
}

/// Gives the files new data keys, by sops.
pub(crate) fn rotate(
    changes: &mut [FileChange],
    config_text: &str,
    identities: &Identities,
) -> Result<(), SopsError> {
    let rotated = in_parallel(changes, |file| rotated(file, config_text, identities));
    for (file, after) in changes.iter_mut().zip(rotated) {
        file.after = after?;
    }
    Ok(())
}

fn rotated(
    file: &FileChange,
    config_text: &str,
    identities: &Identities,
) -> Result<Vec<u8>, SopsError> {
    let format = Format::of_content(&file.path, &String::from_utf8_lossy(&file.after));
    let rotate = || -> Result<Vec<u8>, SopsProgramError> {
        let sops = SopsProgram::require()?;
        let stage = tempfile::tempdir()?;
        let staged = stage.path().join("file");
        let config = stage.path().join(".sops.yaml");
        std::fs::write(&config, config_text)?;
        std::fs::write(&staged, &file.after)?;
        sops.rotate(&config, &staged, format, identities, Reach::Operator)?;
        Ok(std::fs::read(&staged)?)
    };
    rotate().map_err(|source| SopsError::Sops {
        path: file.path.clone(),
        source: Box::new(source),
        by_hand: format!("sops rotate --in-place {}", file.path.display()),
    })
}
