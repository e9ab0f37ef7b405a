//! A repo's `.sops.yaml` on disk.

use std::path::{Path, PathBuf};

use super::error::SopsError;
use crate::sops::inside::Inside;
use crate::sops::rules::edit::EditError;
use crate::sops::rules::{Rules, RulesError};

/// The config's text and folder.
pub(crate) struct SopsConfig<'p> {
    pub(crate) path: &'p Path,
    pub(crate) dir: PathBuf,
    /// The file itself, where `path` is a link.
    pub(crate) real: PathBuf,
    pub(crate) text: String,
}

impl<'p> SopsConfig<'p> {
    pub(crate) fn read(repo_dir: &Path, path: &'p Path) -> Result<Self, SopsError> {
        let spelled = if path.is_absolute() { path.to_owned() } else { repo_dir.join(path) };
        let dir = spelled.parent().filter(|dir| !dir.as_os_str().is_empty());
        let dir = dir.unwrap_or(Path::new(".")).to_owned();
        // A config that is not there is an error of reading it.
        let real = Inside::of(&dir).real(&spelled)?.unwrap_or_else(|| spelled.clone());
        let text = std::fs::read_to_string(&real)
            .map_err(|source| SopsError::Read { path: spelled.clone(), source })?;
        Ok(Self { path, dir, real, text })
    }

    pub(crate) fn full_path(&self) -> PathBuf {
        self.dir.join(self.path.file_name().unwrap_or_default())
    }

    pub(crate) fn rules(&self) -> Result<Rules<'_>, SopsError> {
        Rules::parse(&self.text).map_err(|source| self.rules_error(source))
    }

    pub(crate) fn rules_error(&self, source: RulesError) -> SopsError {
        SopsError::Rules { path: self.full_path(), source: Box::new(source) }
    }

    pub(crate) fn edit_error(&self, source: EditError) -> SopsError {
        SopsError::Edit { path: self.full_path(), source: Box::new(source) }
    }

    pub(crate) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}
