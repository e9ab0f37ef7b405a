//! Where LUKS passphrases come from, as flags say it.

use std::path::PathBuf;
use std::str::FromStr;

use super::ConfigError;

/// A LUKS passphrase and the volume it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PassphraseSource {
    /// None: every volume that has no source of its own.
    pub(crate) volume: Option<String>,
    pub(crate) from: PassphraseFrom,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PassphraseFrom {
    File(PathBuf),
    /// A shell command; what it prints on standard output is the passphrase.
    Command(String),
    /// A value in a file that sops encrypted, in the secrets repository.
    Secret(SecretPlace),
}

/// Where a value is kept encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecretPlace {
    /// Relative to the folder of `.sops.yaml`, or absolute.
    pub(crate) file: PathBuf,
    /// The names that lead to the value.
    pub(crate) key: Vec<String>,
}

impl FromStr for SecretPlace {
    type Err = ConfigError;

    /// Reads `FILE:KEY`, where the names of the key have `/` between them.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let (file, key) = text
            .rsplit_once(':')
            .filter(|(file, key)| !file.is_empty() && !key.is_empty())
            .ok_or_else(|| ConfigError::SecretPlace(text.to_owned()))?;
        let key = key.split('/').map(ToOwned::to_owned).collect();
        Ok(Self { file: file.into(), key })
    }
}

/// The sources that the three flags name, each perhaps with a volume.
pub(crate) fn passphrases(
    files: &[String],
    commands: &[String],
    secrets: &[String],
) -> Result<Vec<PassphraseSource>, ConfigError> {
    let files = files.iter().map(|text| {
        let (volume, rest) = named(text);
        PassphraseSource { volume, from: PassphraseFrom::File(rest.into()) }
    });
    let commands = commands.iter().map(|text| {
        let (volume, rest) = named(text);
        PassphraseSource { volume, from: PassphraseFrom::Command(rest.into()) }
    });
    let mut sources: Vec<PassphraseSource> = files.chain(commands).collect();
    for text in secrets {
        let (volume, rest) = named(text);
        let from = PassphraseFrom::Secret(rest.parse()?);
        sources.push(PassphraseSource { volume, from });
    }
    Ok(sources)
}

/// Splits `NAME=VALUE`; a path, or a value with a space before the `=`, has no name. The
/// datasets of a pool have a `/` in theirs.
pub(crate) fn named(text: &str) -> (Option<String>, &str) {
    match text.split_once('=') {
        Some((name, rest))
            if !name.is_empty() && !name.contains(' ') && !name.starts_with(['/', '.', '~']) =>
        {
            (Some(name.to_owned()), rest)
        }
        _ => (None, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passphrases_may_be_named() {
        assert_eq!(named("crypted=/run/p"), (Some("crypted".into()), "/run/p"));
        assert_eq!(named("zroot/home=/run/p"), (Some("zroot/home".into()), "/run/p"));
        assert_eq!(named("/run/a=b"), (None, "/run/a=b"));
        assert_eq!(named("./run/a=b"), (None, "./run/a=b"));
        assert_eq!(named("pass show x=y"), (None, "pass show x=y"));
    }
}
