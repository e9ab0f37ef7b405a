//! LUKS passphrases: from a file, a command or a person, held in memory until the
//! disks are formatted, and refused when disko would not use them as they are.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::{PassphraseFrom, PassphraseSource, SecretPlace};
use crate::context::Context;
use crate::error::{Advice, Exit, StepError};
use crate::exec::{Cmd, ExecError};
use crate::facts::LuksVolume;
use crate::installation::{DiskKey, InstallationError};
use crate::password;
use crate::prompt::Question;
use crate::secret::Secret;
use crate::sops::stored;
use crate::step::StepId;
use crate::steps::kept;

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
    #[error("there is no passphrase at {key} in {}", .file.display())]
    Missing { file: PathBuf, key: String },
}

impl Advice for PassphraseError {
    fn hint(&self) -> String {
        match self {
            Self::Read { .. } => "Check the path that --luks-passphrase-file names.".into(),
            Self::Command(_) => "Try the command by itself; it must print the passphrase.".into(),
            Self::Empty { .. } => "Give a passphrase of at least one character.".into(),
            Self::Mangled { .. } => "Choose another passphrase.".into(),
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
        return Ok(stored::read(&place.file, &key, cx.operator())?.ok_or_else(missing)?);
    }
    if let Some((_, made)) = cx.answers.made.iter().find(|(known, _)| known == place) {
        return Ok(made.clone());
    }
    if let Some(kept) = kept::value(cx, place)? {
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
    let mut bytes = passphrase.expose();
    while let [rest @ .., b'\n'] = bytes {
        bytes = rest;
    }
    let mangled = |why| PassphraseError::Mangled { volume: volume.to_owned(), why };
    if bytes.is_empty() {
        return Err(PassphraseError::Empty { volume: volume.to_owned() });
    }
    if bytes.contains(&0) {
        return Err(mangled("it holds a zero byte"));
    }
    if bytes.contains(&b'\n') {
        return Err(mangled("it holds a line break, which nobody can type at boot"));
    }
    let option =
        bytes[0] == b'-' && bytes.len() > 1 && bytes[1..].iter().all(|b| b"neE".contains(b));
    if option {
        return Err(mangled("echo would take it for an option"));
    }
    Ok(Secret::new(bytes.to_vec()))
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
    }

    #[test]
    fn what_disko_would_change_is_refused() {
        for bad in ["", "\n", "-n", "-e", "-neE\n", "a\0b", "a\nb"] {
            assert!(read_as(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_disko_does_is_what_we_think() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("p");
        for text in ["x y\n\n", " lead and trail ", "-nx", "-", "a\\tb", "ü€"] {
            std::fs::write(&file, text).unwrap();
            let script = "printf %s \"$(echo -n \"$(cat \"$1\")\")\"";
            let got =
                Cmd::new("bash").args(["-c", script, "sh", file.to_str().unwrap()]).run().unwrap();
            assert_eq!(got.stdout, read_as(text).unwrap(), "{text:?}");
        }
    }
}
