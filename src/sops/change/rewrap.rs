//! All files of a repo that a change concerns, wrapped for the recipients of their rules.
//!
//! Most files are done here, on all cores; what landfall does not do itself is
//! done by sops, on copies in a folder of its own. Nothing in the repo is written.

use std::path::{Path, PathBuf};

use super::error::SopsError;
use super::parallel::in_parallel;
use super::repo;
use super::transaction::FileChange;
use crate::sops::file::FileError;
use crate::sops::file::format::Format;
use crate::sops::file::rekey::{Rekeyed, rekey};
use crate::sops::program::{Reach, SopsProgram, SopsProgramError};
use crate::sops::proof::identities::Identities;
use crate::sops::rules::{Rule, winner};

/// One encrypted file and the rule that holds for it.
struct Job<'r> {
    /// Relative to the config's folder.
    file: PathBuf,
    rule: &'r Rule<'r>,
    format: Format,
    text: String,
}

/// What the files are wrapped by.
pub struct Rewrap<'a> {
    /// The folder of `.sops.yaml`.
    pub dir: &'a Path,
    pub config: &'a Path,
    /// The text of the config as it will be.
    pub config_text: &'a str,
    pub identities: &'a Identities,
}

impl Rewrap<'_> {
    /// The changed contents of the chosen files, in the order of their names.
    pub fn run(
        &self,
        files: Vec<PathBuf>,
        rules: &[Rule<'_>],
        chosen: impl Fn(&Path, &Rule<'_>, &str) -> bool,
    ) -> Result<Vec<FileChange>, SopsError> {
        let mut jobs = Vec::new();
        for file in files {
            let winner = winner(rules, &file).map_err(|source| SopsError::Rules {
                path: self.config.to_owned(),
                source: Box::new(source),
            })?;
            let Some(rule) = winner else { continue };
            if let Some((text, format)) = read_encrypted(&self.dir.join(&file))?
                && chosen(&file, rule, &text)
            {
                jobs.push(Job { file, rule, format, text });
            }
        }
        let done = in_parallel(&jobs, |job| self.rewrap(job));
        let changes: Result<Vec<_>, _> = done.into_iter().collect();
        Ok(changes?.into_iter().flatten().collect())
    }

    fn rewrap(&self, job: &Job<'_>) -> Result<Option<FileChange>, SopsError> {
        let path = self.dir.join(&job.file);
        let groups = &job.rule.groups;
        let native = groups.len() == 1 && groups[0].keys.iter().all(|key| key.kind == "age");
        let rekeyed = match native {
            true => rekey(&job.text, job.format, &job.rule.recipients(), self.identities),
            false => Err(FileError::NeedsSops(String::new())),
        };
        let after = match rekeyed {
            Ok(Rekeyed::UpToDate) => return Ok(None),
            Ok(Rekeyed::Changed(text)) => text.into_bytes(),
            Err(FileError::NeedsSops(_)) => self.by_sops(job)?,
            Err(source) => {
                let searched = self.identities.searched().to_vec();
                return Err(SopsError::File { path, source: Box::new(source), searched });
            }
        };
        let before = job.text.clone().into_bytes();
        Ok((after != before).then_some(FileChange { path, before, after }))
    }

    fn by_sops(&self, job: &Job<'_>) -> Result<Vec<u8>, SopsError> {
        let path = self.dir.join(&job.file);
        let update = || -> Result<Vec<u8>, SopsProgramError> {
            let sops = SopsProgram::require()?;
            let stage = tempfile::tempdir()?;
            let config = stage.path().join(".sops.yaml");
            let file = stage.path().join(&job.file);
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
pub fn read_encrypted(path: &Path) -> Result<Option<(String, Format)>, SopsError> {
    let bytes =
        std::fs::read(path).map_err(|source| SopsError::Read { path: path.to_owned(), source })?;
    let Ok(text) = String::from_utf8(bytes) else { return Ok(None) };
    let format = Format::of_content(path, &text);
    Ok(repo::looks_encrypted(&text, format).then_some((text, format)))
}

/// Gives the files new data keys, by sops.
pub fn rotate(changes: &mut [FileChange], identities: &Identities) -> Result<(), SopsError> {
    let rotated = in_parallel(changes, |file| rotated(file, identities));
    for (file, after) in changes.iter_mut().zip(rotated) {
        file.after = after?;
    }
    Ok(())
}

fn rotated(file: &FileChange, identities: &Identities) -> Result<Vec<u8>, SopsError> {
    let format = Format::of_content(&file.path, &String::from_utf8_lossy(&file.after));
    let rotate = || -> Result<Vec<u8>, SopsProgramError> {
        let sops = SopsProgram::require()?;
        let stage = tempfile::tempdir()?;
        let staged = stage.path().join("file");
        std::fs::write(&staged, &file.after)?;
        sops.rotate(&staged, format, identities, Reach::Operator)?;
        Ok(std::fs::read(&staged)?)
    };
    rotate().map_err(|source| SopsError::Sops {
        path: file.path.clone(),
        source: Box::new(source),
        by_hand: format!("sops rotate --in-place {}", file.path.display()),
    })
}
