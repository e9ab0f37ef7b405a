//! What may replace a Linux that runs on the target, as flags and landfall.toml say it.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{ConfigError, Place};
use crate::cli;

/// What replaces a running Linux by the installer, and whether it may.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kexec {
    /// The image that the user named.
    pub image: Option<KexecImage>,
    /// The image must have this hash.
    pub sha256: Option<Sha256Sum>,
    /// The flag names the image for this very target; landfall.toml names it for whatever comes.
    pub by_flag: bool,
    pub forbidden: bool,
    /// For the target's kexec.
    pub extra_flags: Option<String>,
    /// Where the installer answers, if the user says so.
    pub ssh_port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KexecImage {
    File(PathBuf),
    Url(String),
    /// An attribute of the installer flake.
    Attr(String),
}

impl Kexec {
    /// The flag's URL or file, else what landfall.toml names: there an attribute as well.
    pub fn of_place(args: &cli::Kexec, allowed: bool, place: &Place) -> Result<Self, ConfigError> {
        let flags = Self::of_flags(args, allowed, Path::new(""))?;
        let settings = &place.settings;
        let Some(text) = settings.kexec.as_ref().filter(|_| flags.image.is_none()) else {
            return Ok(flags);
        };
        let file = place.repo.join(text);
        let image = if text.contains("://") || file.is_file() {
            image(text, &place.repo)?
        } else {
            KexecImage::Attr(text.clone())
        };
        let sha256 = settings.kexec_sha256.as_deref().map(str::parse).transpose()?;
        Ok(Self { image: Some(image), sha256, ..flags })
    }

    /// What the flags alone say; files are relative to `base`.
    pub fn of_flags(args: &cli::Kexec, allowed: bool, base: &Path) -> Result<Self, ConfigError> {
        Ok(Self {
            image: args.kexec.as_deref().map(|text| image(text, base)).transpose()?,
            sha256: args.kexec_sha256.as_deref().map(str::parse).transpose()?,
            by_flag: args.kexec.is_some(),
            forbidden: args.no_kexec || !allowed,
            extra_flags: args.kexec_extra_flags.clone(),
            ssh_port: args.post_kexec_ssh_port,
        })
    }
}

/// A URL, or a file that is there.
fn image(text: &str, base: &Path) -> Result<KexecImage, ConfigError> {
    if text.contains("://") {
        return Ok(KexecImage::Url(text.to_owned()));
    }
    let path = base.join(text);
    std::fs::canonicalize(&path)
        .map(KexecImage::File)
        .map_err(|source| ConfigError::Read { path, source })
}

/// The hash of a file, in lower-case hexadecimal.
///
/// It is read as 64 hexadecimal digits, as sha256sum prints them, or as `sha256-` and
/// base64, as nix does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sha256Sum(String);

impl Sha256Sum {
    pub fn of(bytes: &[u8]) -> Self {
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Sha256Sum {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        let bytes = text.strip_prefix("sha256-").and_then(|rest| STANDARD.decode(rest).ok());
        match bytes {
            Some(bytes) if bytes.len() == 32 => Ok(Self::of(&bytes)),
            _ => Err(ConfigError::Hash(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_in_both_forms_and_nothing_else_is_one() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let read = |text: &str| text.parse::<Sha256Sum>().map(|sum| sum.0).ok();
        assert_eq!(read(empty).as_deref(), Some(empty));
        assert_eq!(read(&empty.to_uppercase()).as_deref(), Some(empty));
        let base64 = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        assert_eq!(read(base64).as_deref(), Some(empty));
        for wrong in ["", &empty[1..], &base64[8..], "sha256-47DE", "sha512-47DEQpj8"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
