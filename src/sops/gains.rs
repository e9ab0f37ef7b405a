//! Whom a change of a repo lets open files that they could not open before.

use std::path::Path;

use super::access::{Access, Gain, name_of};
use super::change::Change;
use super::file::EncryptedFile;
use super::rules::Rules;
use crate::sops::change::error::SopsError;
use crate::sops::change::transaction::FileChange;
use crate::sops::file::format::Format;

impl Change {
    /// Who could open a file after the change and could not before, but for the recipients
    /// that the change is about: what the files themselves say is compared.
    pub(crate) fn gains(&self) -> Result<Vec<Gain>, SopsError> {
        let rules = Rules::parse(&self.text).ok();
        let dir = self.dir.canonicalize().unwrap_or_else(|_| self.dir.clone());
        let mut gains = Vec::new();
        for FileChange { path, before, after } in self.encrypted() {
            let (before, after) = (access(path, before)?, access(path, after)?);
            let file = path.strip_prefix(&dir).unwrap_or(path).display().to_string();
            gains.extend(after.gained_since(&before, &self.own).into_iter().map(|key| Gain {
                file: file.clone(),
                key: key.clone(),
                name: rules.as_ref().and_then(|rules| name_of(rules, &key.id)).map(str::to_owned),
            }));
        }
        Ok(gains)
    }
}

/// Who can open a file, as its content says.
fn access(path: &Path, content: &[u8]) -> Result<Access, SopsError> {
    let text = String::from_utf8_lossy(content);
    let parsed = EncryptedFile::parse(&text, Format::of_content(path, &text));
    let parsed = parsed.map_err(|source| SopsError::File {
        path: path.to_owned(),
        source: Box::new(source),
        searched: Vec::new(),
    })?;
    Ok(parsed.metadata.access())
}
