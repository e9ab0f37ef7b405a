//! What may replace a Linux that runs on the target, as flags and landfall.toml say it.

use std::path::PathBuf;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::ConfigError;

/// What replaces a running Linux by the installer, and whether it may.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Kexec {
    /// The image that the user named.
    pub(crate) image: Option<KexecImage>,
    /// The image must have this hash.
    pub(crate) sha256: Option<Sha256Sum>,
    /// The flag names the image for this very target; landfall.toml names it for whatever comes.
    pub(crate) by_flag: bool,
    pub(crate) forbidden: bool,
    /// For the target's kexec.
    pub(crate) extra_flags: Option<String>,
    /// Where the installer answers, if the user says so.
    pub(crate) ssh_port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KexecImage {
    File(PathBuf),
    Url(String),
    /// An attribute of the installer flake.
    Attr(String),
}

/// The hash of a file, in lower-case hexadecimal.
///
/// It is read as 64 hexadecimal digits, as sha256sum prints them, or as `sha256-` and
/// base64, as nix does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sha256Sum(String);

impl Sha256Sum {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    pub(crate) fn as_str(&self) -> &str {
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
