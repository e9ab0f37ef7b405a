//! What a LUKS passphrase may be: nothing that disko would not use as it is, or that
//! nobody could type at a boot.

use std::path::PathBuf;

use crate::error::{Advice, Exit};
use crate::exec::ExecError;
use crate::secret::Secret;

/// What cryptsetup takes from a terminal (`DEFAULT_PASSPHRASE_SIZE_MAX`), bytes; the prompt
/// of systemd takes more.
const LONGEST_TYPED: usize = 512;
/// What ZFS takes at least (`MIN_PASSPHRASE_LEN`), bytes.
const SHORTEST_FOR_ZFS: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum PassphraseError {
    #[error("the passphrase file {path} cannot be read: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the passphrase command failed: {0}")]
    Command(ExecError),
    #[error("the passphrase of {volume} is empty")]
    Empty { volume: String },
    #[error("the passphrase of {volume} would be changed by disko: {why}")]
    Mangled { volume: String, why: &'static str },
    #[error("nobody can type the passphrase of {volume} at boot: {why}")]
    Untypable { volume: String, why: &'static str },
    #[error("the passphrase of {volume} is shorter than 8 characters, which ZFS refuses")]
    TooShort { volume: String },
    #[error("there is no passphrase at {key} in {}", .file.display())]
    Missing { file: PathBuf, key: String },
}

impl Advice for PassphraseError {
    fn hint(&self) -> String {
        match self {
            Self::Read { .. } => "Check the path that --luks-passphrase-file names.".into(),
            Self::Command(_) => "Try the command by itself; it must print the passphrase.".into(),
            Self::Empty { .. } => "Give a passphrase of at least one character.".into(),
            Self::Mangled { .. } | Self::Untypable { .. } | Self::TooShort { .. } => {
                "Choose another passphrase.".into()
            }
            Self::Missing { file, .. } => format!("Put it there: sops {}", file.display()),
        }
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

/// The passphrase as `echo -n "$(cat FILE)"` in disko's scripts gives it to
/// cryptsetup: without final newlines; what that would change otherwise is refused.
pub fn as_disko_reads(volume: &str, passphrase: &Secret) -> Result<Secret, PassphraseError> {
    let passphrase = line(volume, passphrase)?;
    let bytes = passphrase.expose();
    let option =
        bytes[0] == b'-' && bytes.len() > 1 && bytes[1..].iter().all(|b| b"neE".contains(b));
    if option {
        let why = "echo would take it for an option";
        return Err(PassphraseError::Mangled { volume: volume.to_owned(), why });
    }
    Ok(passphrase)
}

/// The one line that a passphrase is, without the newlines that end a file.
pub fn line(volume: &str, passphrase: &Secret) -> Result<Secret, PassphraseError> {
    let mut bytes = passphrase.expose();
    while let [rest @ .., b'\n'] = bytes {
        bytes = rest;
    }
    let volume = || volume.to_owned();
    if bytes.is_empty() {
        return Err(PassphraseError::Empty { volume: volume() });
    }
    if bytes.contains(&0) {
        return Err(PassphraseError::Mangled { volume: volume(), why: "it holds a zero byte" });
    }
    if bytes.contains(&b'\n') {
        return Err(PassphraseError::Untypable { volume: volume(), why: "it holds a line break" });
    }
    Ok(Secret::new(bytes.to_vec()))
}

/// Refuses a passphrase that `zfs create` would refuse.
pub fn long_enough_for_zfs(volume: &str, passphrase: &Secret) -> Result<(), PassphraseError> {
    if passphrase.expose().len() < SHORTEST_FOR_ZFS {
        return Err(PassphraseError::TooShort { volume: volume.to_owned() });
    }
    Ok(())
}

/// Refuses what a prompt at boot would not take as it is: to that of systemd, Tab and other
/// control characters are keys, not characters.
pub fn can_be_typed(volume: &str, passphrase: &Secret) -> Result<(), PassphraseError> {
    let refused = |why| Err(PassphraseError::Untypable { volume: volume.to_owned(), why });
    let bytes = passphrase.expose();
    if bytes.iter().any(u8::is_ascii_control) {
        return refused("it holds a tab or another control character");
    }
    if bytes.len() > LONGEST_TYPED {
        return refused("it is longer than 512 bytes, more than cryptsetup takes from a keyboard");
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
    fn what_nobody_types_is_refused() {
        let long = "x".repeat(513);
        for bad in ["a\tb", "a\u{15}", "a\u{7f}", "a\u{1b}[A", "a\r", long.as_str()] {
            let refused = can_be_typed("crypted", &Secret::from(bad.to_owned()));
            assert!(matches!(refused, Err(PassphraseError::Untypable { .. })), "{bad:?}");
        }
        // Characters beyond ASCII have bytes in which no control character is seen.
        assert!(can_be_typed("crypted", &Secret::from("\u{80}\u{df}".to_owned())).is_ok());
    }

    #[test]
    fn what_disko_would_change_is_refused() {
        for bad in ["", "\n", "-n", "-e", "-E", "-neE\n", "a\0b", "a\nb", "\na"] {
            assert!(read_as(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_disko_does_is_what_we_think() {
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
