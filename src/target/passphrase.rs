//! Rules for passphrases of encrypted volumes: disko must use them unchanged, and a person must
//! be able to type them at boot.
//!
//! Checked wherever a passphrase enters: for `bootstrap` and `install` before anything is
//! formatted, for `landfall passphrase` before the volume is changed.

use std::path::PathBuf;

use crate::error::{Advice, Exit};
use crate::exec::ExecError;
use crate::secret::Secret;

/// Longest passphrase that cryptsetup reads from a terminal, in bytes
/// (`DEFAULT_PASSPHRASE_SIZE_MAX`); systemd's prompt takes more.
const MAX_TYPED: usize = 512;
/// Shortest passphrase that ZFS takes, in bytes (`MIN_PASSPHRASE_LEN`).
const MIN_FOR_ZFS: usize = 8;

/// Why a passphrase cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PassphraseError {
    #[error("the passphrase file {path} cannot be read: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the passphrase command failed: {0}")]
    Command(ExecError),
    #[error("the passphrase of {volume} is empty")]
    Empty { volume: String },
    #[error("disko would change the passphrase of {volume}: {why}")]
    AlteredByDisko { volume: String, why: &'static str },
    #[error("the passphrase of {volume} cannot be typed at boot: {why}")]
    CannotBeTyped { volume: String, why: &'static str },
    #[error("ZFS refuses the passphrase of {volume}: it is shorter than 8 characters")]
    TooShort { volume: String },
    #[error("there is no passphrase at {key} in {}", .file.display())]
    Missing { file: PathBuf, key: String },
}

impl Advice for PassphraseError {
    fn hint(&self) -> String {
        match self {
            Self::Read { .. } => "Check the path that --luks-passphrase-file names.".into(),
            Self::Command(_) => "Run the command by itself: it must print the passphrase.".into(),
            Self::Empty { .. } => "Give a passphrase of at least one character.".into(),
            Self::AlteredByDisko { .. } | Self::CannotBeTyped { .. } | Self::TooShort { .. } => {
                "Choose another passphrase.".into()
            }
            Self::Missing { file, .. } => format!("Put it there: sops {}", file.display()),
        }
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

/// Returns the passphrase as disko's scripts pass it to cryptsetup, with
/// `echo -n "$(cat FILE)"`: without final newlines. Refuses one that this changes otherwise.
pub(crate) fn as_disko_reads(volume: &str, passphrase: &Secret) -> Result<Secret, PassphraseError> {
    let passphrase = single_line(volume, passphrase)?;
    let bytes = passphrase.expose();
    let option =
        bytes[0] == b'-' && bytes.len() > 1 && bytes[1..].iter().all(|b| b"neE".contains(b));
    if option {
        let why = "echo would read it as an option";
        return Err(PassphraseError::AlteredByDisko { volume: volume.to_owned(), why });
    }
    Ok(passphrase)
}

/// Returns the passphrase without final newlines; refuses an empty one, line breaks and NUL.
pub(crate) fn single_line(volume: &str, passphrase: &Secret) -> Result<Secret, PassphraseError> {
    let mut bytes = passphrase.expose();
    while let [rest @ .., b'\n'] = bytes {
        bytes = rest;
    }
    let volume = || volume.to_owned();
    if bytes.is_empty() {
        return Err(PassphraseError::Empty { volume: volume() });
    }
    if bytes.contains(&0) {
        return Err(PassphraseError::AlteredByDisko {
            volume: volume(),
            why: "it contains a NUL byte",
        });
    }
    if bytes.contains(&b'\n') {
        return Err(PassphraseError::CannotBeTyped {
            volume: volume(),
            why: "it contains a line break",
        });
    }
    Ok(Secret::new(bytes.to_vec()))
}

/// Refuses a passphrase that is too short for `zfs create`.
pub(crate) fn long_enough_for_zfs(
    volume: &str,
    passphrase: &Secret,
) -> Result<(), PassphraseError> {
    if passphrase.expose().len() < MIN_FOR_ZFS {
        return Err(PassphraseError::TooShort { volume: volume.to_owned() });
    }
    Ok(())
}

/// Refuses a passphrase that cannot be entered at a boot prompt: systemd's interprets Tab and
/// other control characters as keys.
pub(crate) fn can_be_typed(volume: &str, passphrase: &Secret) -> Result<(), PassphraseError> {
    let refused = |why| Err(PassphraseError::CannotBeTyped { volume: volume.to_owned(), why });
    let bytes = passphrase.expose();
    if bytes.iter().any(u8::is_ascii_control) {
        return refused("it contains a tab or another control character");
    }
    if bytes.len() > MAX_TYPED {
        return refused(
            "it is longer than 512 bytes, the most that cryptsetup reads from a keyboard",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Cmd;

    fn read_as(text: &str) -> Result<Vec<u8>, String> {
        as_disko_reads("crypted", &Secret::from(text.to_owned()))
            .map(|secret| secret.expose().to_vec())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn final_newlines_go_and_everything_else_stays() {
        assert_eq!(read_as("a b\n\n"), Ok(b"a b".to_vec()));
        assert_eq!(read_as(" 'it''s \\n \" "), Ok(b" 'it''s \\n \" ".to_vec()));
        assert_eq!(read_as("-nx"), Ok(b"-nx".to_vec()));
        let printable: String = (' '..='~').collect();
        for whole in [format!(" {printable} "), "\u{fc}\u{20ac}\u{1f511}".into(), "x".repeat(512)] {
            assert_eq!(read_as(&whole), Ok(whole.clone().into_bytes()));
            let typed = Secret::from(whole.clone());
            assert!(can_be_typed("crypted", &typed).is_ok(), "{whole:?}");
        }
    }

    #[test]
    fn what_cannot_be_typed_is_refused() {
        let long = "x".repeat(513);
        for bad in ["a\tb", "a\u{15}", "a\u{7f}", "a\u{1b}[A", "a\r", long.as_str()] {
            let refused = can_be_typed("crypted", &Secret::from(bad.to_owned()));
            assert!(matches!(refused, Err(PassphraseError::CannotBeTyped { .. })), "{bad:?}");
        }
        // Bytes of characters beyond ASCII are not control characters.
        assert!(can_be_typed("crypted", &Secret::from("\u{80}\u{df}".to_owned())).is_ok());
    }

    #[test]
    fn what_disko_would_change_is_refused() {
        for bad in ["", "\n", "-n", "-e", "-E", "-neE\n", "a\0b", "a\nb", "\na"] {
            assert!(read_as(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn passphrases_are_read_as_diskos_shell_reads_them() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("p");
        let printable: String = (' '..='~').collect();
        let long = "x".repeat(512);
        for text in ["x y\n\n", " lead and trail ", "-nx", "-", "a\\tb", "ü€", &printable, &long]
        {
            std::fs::write(&file, text).unwrap();
            let script = "printf %s \"$(echo -n \"$(cat \"$1\")\")\"";
            let got =
                Cmd::new("bash").args(["-c", script, "sh", file.to_str().unwrap()]).run().unwrap();
            assert_eq!(got.stdout, read_as(text).unwrap(), "{text:?}");
        }
    }
}
