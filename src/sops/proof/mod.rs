//! The proof that a host opens what it needs, with its key and no other.
//!
//! Each file is opened natively and, where sops is installed, by sops in an empty
//! environment and home: the operator's own key would make it a false success.
//! The same the other way round: a removed key must open nothing.

pub mod identities;
pub(crate) mod verify;

use std::path::{Path, PathBuf};

use super::file::{EncryptedFile, FileError};
use super::program::{Reach, SopsProgram, SopsProgramError};
use crate::error::{Advice, Exit};
use crate::secret::age::Identity;
use crate::sops::change::transaction::FileChange;
use crate::sops::file::format::Format;
use identities::Identities;

/// A secret that a host's configuration refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Its name in the configuration (`sops.secrets.NAME`).
    pub name: String,
    pub file: PathBuf,
    pub format: Format,
    /// The path to the value in the file, from the root; empty means the whole file.
    pub key: Vec<String>,
}

/// What was shown for one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    pub(crate) file: PathBuf,
    /// The secrets that were found in it.
    pub(crate) names: Vec<String>,
    /// landfall itself opened it (no where only sops can read the file).
    pub native: bool,
    /// sops opened it (no where sops is not installed).
    pub by_sops: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    #[error("{file} cannot be read: {source}")]
    Read { file: PathBuf, source: std::io::Error },
    #[error("the host's key does not open {file}: {source}")]
    File { file: PathBuf, source: FileError },
    #[error("the host's key opens {file}, but there is no {key} in it, which {name} needs")]
    NoKey { file: PathBuf, name: String, key: String },
    #[error("sops does not open {file} with the host's key: {source}")]
    Sops { file: PathBuf, source: SopsProgramError },
    #[error("{file} needs sops to be opened, and sops is not installed")]
    NoSops { file: PathBuf },
    #[error("the key still opens {file}")]
    StillOpens { file: PathBuf },
}

impl Advice for ProofError {
    fn hint(&self) -> String {
        match self {
            Self::Read { .. } => "Add the file, or correct sopsFile in the configuration.".into(),
            Self::File { source: FileError::NoIdentity { .. }, .. } => {
                "Let the host in: landfall secrets add-host HOST --key FILE. Where the rule of the \
                 file names it already: landfall secrets updatekeys"
                    .into()
            }
            Self::File { source, .. } => source.hint(),
            Self::NoKey { file, .. } => format!("Add the value: sops {}", file.display()),
            Self::Sops { source, .. } => source.hint(),
            Self::NoSops { .. } => "Install sops, then run the same command again.".into(),
            Self::StillOpens { .. } => {
                "Bring the file to its rule's recipients: landfall secrets updatekeys".into()
            }
        }
    }

    fn exit(&self) -> Exit {
        Exit::Failed
    }
}

/// Opens every needed file with `identity` alone and looks up every needed value.
pub fn prove(identity: &Identity, needs: &[Need]) -> Result<Vec<Proof>, ProofError> {
    let identities = Identities::only(identity.clone());
    let sops = SopsProgram::find();
    let mut proofs = Vec::new();
    for file in files(needs) {
        let of_file: Vec<&Need> =
            needs.iter().filter(|need| need.file == file.0 && need.format == file.1).collect();
        proofs.push(prove_file(&identities, sops.as_ref(), file.0, file.1, &of_file)?);
    }
    Ok(proofs)
}

/// Each file once, in the order of the needs.
fn files(needs: &[Need]) -> Vec<(&Path, Format)> {
    let mut files: Vec<(&Path, Format)> = Vec::new();
    for need in needs {
        if !files.contains(&(need.file.as_path(), need.format)) {
            files.push((&need.file, need.format));
        }
    }
    files
}

fn prove_file(
    identities: &Identities,
    sops: Option<&SopsProgram>,
    file: &Path,
    format: Format,
    needs: &[&Need],
) -> Result<Proof, ProofError> {
    let text = read(file)?;
    let native = match open(identities, &text, file, format, needs) {
        Ok(()) => true,
        Err(ProofError::File { source: FileError::NeedsSops(_), .. }) => false,
        Err(error) => return Err(error),
    };
    if let Some(sops) = sops {
        sops.opens(file, format, identities, Reach::AgeOnly)
            .map_err(|source| ProofError::Sops { file: file.into(), source })?;
    } else if !native {
        return Err(ProofError::NoSops { file: file.into() });
    }
    Ok(Proof {
        file: file.into(),
        names: needs.iter().map(|need| need.name.clone()).collect(),
        native,
        by_sops: sops.is_some(),
    })
}

fn open(
    identities: &Identities,
    text: &str,
    path: &Path,
    format: Format,
    needs: &[&Need],
) -> Result<(), ProofError> {
    let failed = |source| ProofError::File { file: path.into(), source };
    let file = EncryptedFile::parse(text, format).map_err(failed)?;
    let data_key = file.data_key(&identities.as_age()).map_err(failed)?;
    file.verify(&data_key).map_err(failed)?;
    for need in needs.iter().filter(|need| !need.key.is_empty()) {
        let key: Vec<&str> = need.key.iter().map(String::as_str).collect();
        if !file.has_path(&key).map_err(failed)? {
            return Err(ProofError::NoKey {
                file: path.into(),
                name: need.name.clone(),
                key: need.key.join("/"),
            });
        }
    }
    Ok(())
}

/// Shows that `identity` opens none of the files: natively, and by sops where it is installed.
pub fn prove_shut_out(identity: &Identity, files: &[PathBuf]) -> Result<(), ProofError> {
    let identities = Identities::only(identity.clone());
    let sops = SopsProgram::find();
    for path in files {
        let text = read(path)?;
        let format = Format::of_content(path, &text);
        let opens = EncryptedFile::parse(&text, format)
            .and_then(|file| file.data_key(&identities.as_age()));
        let by_sops =
            |sops: &SopsProgram| sops.opens(path, format, &identities, Reach::AgeOnly).is_ok();
        if opens.is_ok() || sops.as_ref().is_some_and(by_sops) {
            return Err(ProofError::StillOpens { file: path.clone() });
        }
    }
    Ok(())
}

/// Shows, without its private key, that a recipient is out of files that were just
/// written: no data key is wrapped for it, and where they were rotated, the data key
/// that it knew opens nothing. Returns for how many files all of that was shown: where only
/// sops can read a file, only its recipients are.
pub(crate) fn prove_removed(
    changes: &[FileChange],
    recipient: &str,
    operator: &Identities,
    rotated: bool,
) -> Result<usize, ProofError> {
    let mut shown = 0;
    for FileChange { path, before, .. } in changes {
        let failed = |source| ProofError::File { file: path.clone(), source };
        let text = read(path)?;
        let format = Format::of_content(path, &text);
        let after = EncryptedFile::parse(&text, format).map_err(failed)?;
        let still = || ProofError::StillOpens { file: path.clone() };
        if text.contains(recipient) {
            return Err(still());
        }
        let before = String::from_utf8_lossy(before);
        let known = EncryptedFile::parse(&before, format)
            .and_then(|file| file.data_key(&operator.as_age()));
        match known {
            Ok(_) if !rotated => shown += 1,
            Ok(known) => match after.opens_a_value(&known) {
                Some(true) => return Err(still()),
                Some(false) => shown += 1,
                None => {}
            },
            // Only sops opens it, and it tells no data key.
            Err(FileError::NeedsSops(_) | FileError::NoIdentity { .. }) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(shown)
}

fn read(path: &Path) -> Result<String, ProofError> {
    std::fs::read_to_string(path).map_err(|source| ProofError::Read { file: path.into(), source })
}
