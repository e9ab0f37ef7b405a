//! LUKS passphrases: from a file, a command or a person, held in memory until the
//! disks are formatted, and refused when disko would not use them as they are.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::installation::{DiskKey, InstallationError};
use crate::config::{PassphraseFrom, PassphraseSource, SecretPlace};
use crate::error::{Advice, Exit, StepError};
use crate::exec::{Cmd, ExecError};
use crate::facts::LuksVolume;
use crate::run::step::StepId;
use crate::secret::Secret;
use crate::secret::password;
use crate::sops::change::stored_value;
use crate::steps::context::Context;
use crate::steps::secrets::stored;
use crate::ui::prompt::Question;

/// What cryptsetup takes from a terminal (`DEFAULT_PASSPHRASE_SIZE_MAX`), bytes; the prompt
/// of systemd takes more.
const LONGEST_TYPED: usize = 512;
/// A command may ask a person.
const COMMAND_DEADLINE: Duration = Duration::from_secs(5 * 60);

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
    #[error("there is no passphrase at {key} in {}", .file.display())]
    Missing { file: PathBuf, key: String },
}

impl Advice for PassphraseError {
    fn hint(&self) -> String {
        match self {
            Self::Read { .. } => "Check the path that --luks-passphrase-file names.".into(),
            Self::Command(_) => "Try the command by itself; it must print the passphrase.".into(),
            Self::Empty { .. } => "Give a passphrase of at least one character.".into(),
            Self::Mangled { .. } | Self::Untypable { .. } => "Choose another passphrase.".into(),
            Self::Missing { file, .. } => format!("Put it there: sops {}", file.display()),
        }
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

/// Gets the passphrase of every volume that the layout formats with one.
pub fn collect(cx: &mut Context) -> Result<(), StepError> {
    let facts = cx.facts()?.first();
    let wants = |volume: &&LuksVolume| facts.passphrase_file(volume).is_some();
    let volumes: Vec<LuksVolume> = facts.luks().filter(wants).cloned().collect();
    for volume in &volumes {
        if cx.answers.passphrases.contains_key(&volume.name) {
            continue;
        }
        let file = cx.facts()?.first().passphrase_file(volume).unwrap_or_default().to_owned();
        let key = cx.config.installation.disk_keys.iter().any(|key| key.remote == file);
        let source = source_for(&cx.config.passphrases, &volume.name);
        let passphrase = match (key.then_some(file), source.map(|source| source.from.clone())) {
            (Some(file), _) => cx.disk_key(&file)?,
            (None, Some(from)) => read(cx, &from)?,
            (None, None) => ask(cx, &volume.name)?,
        };
        let passphrase = as_disko_reads(&volume.name, &passphrase)?;
        if cx.facts()?.first().is_typed_at_boot(volume) {
            can_be_typed(&volume.name, &passphrase)?;
        }
        cx.answers.passphrases.insert(volume.name.clone(), passphrase);
    }
    Ok(())
}

/// The files of `--disk-encryption-keys`, byte for byte, by their place on the target.
pub fn disk_keys(cx: &Context) -> Result<Vec<(String, Secret)>, StepError> {
    let keys = &cx.config.installation.disk_keys;
    keys.iter().map(|key| Ok((key.remote.clone(), cx.disk_key(&key.remote)?))).collect()
}

/// A key that the user gives in a file, or in a pipe, which can be read once only.
pub fn read_key(key: &DiskKey) -> Result<Secret, InstallationError> {
    std::fs::read(&key.local).map(Secret::new).map_err(|error| InstallationError::DiskKey {
        remote: key.remote.clone(),
        local: key.local.clone(),
        why: error.to_string(),
    })
}

fn source_for<'a>(sources: &'a [PassphraseSource], volume: &str) -> Option<&'a PassphraseSource> {
    sources
        .iter()
        .find(|source| source.volume.as_deref() == Some(volume))
        .or_else(|| sources.iter().find(|source| source.volume.is_none()))
}

fn read(cx: &mut Context, from: &PassphraseFrom) -> Result<Secret, StepError> {
    match from {
        PassphraseFrom::File(path) => Ok(std::fs::read(path)
            .map(Secret::new)
            .map_err(|source| PassphraseError::Read { path: path.clone(), source })?),
        PassphraseFrom::Command(command) => Ok(Cmd::new("sh")
            .args(["-c", command])
            .terminal()
            .deadline(COMMAND_DEADLINE)
            .run()
            .map(|output| Secret::new(output.stdout))
            .map_err(PassphraseError::Command)?),
        PassphraseFrom::Secret(place) => stored_at(cx, place),
    }
}

/// The passphrase that is kept encrypted at `place`. One that the secrets repository does
/// not have yet is made up; the secrets step stores it before it is used.
fn stored_at(cx: &mut Context, place: &SecretPlace) -> Result<Secret, StepError> {
    let missing =
        || PassphraseError::Missing { file: place.file.clone(), key: place.key.join("/") };
    if place.file.is_absolute() || cx.config.secrets.is_none() {
        let key: Vec<&str> = place.key.iter().map(String::as_str).collect();
        return Ok(stored_value::read(&place.file, &key, cx.operator())?.ok_or_else(missing)?);
    }
    if let Some((_, made)) = cx.answers.made.iter().find(|(known, _)| known == place) {
        return Ok(made.clone());
    }
    if let Some(kept) = stored::value(cx, place)? {
        return Ok(kept);
    }
    // The disks have another one already.
    if cx.finished(StepId::Disks).is_some() {
        return Err(missing().into());
    }
    let made = password::generate();
    cx.answers.made.push((place.clone(), made.clone()));
    Ok(made)
}

fn ask(cx: &Context, volume: &str) -> Result<Secret, StepError> {
    let question = Question::new(
        format!("Passphrase for the encrypted volume {volume}"),
        "--luks-passphrase-file FILE",
    )
    .detail("It is asked for at every boot of the machine.");
    Ok(cx.prompter.secret(&question)?)
}

/// The passphrase as `echo -n "$(cat FILE)"` in disko's scripts gives it to
/// cryptsetup: without final newlines; what that would change otherwise is refused.
fn as_disko_reads(volume: &str, passphrase: &Secret) -> Result<Secret, PassphraseError> {
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
