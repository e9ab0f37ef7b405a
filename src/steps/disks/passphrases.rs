//! LUKS passphrases: from a file, a command or a person, held in memory until the
//! disks are formatted, and refused when disko would not use them as they are.

use std::time::Duration;

use crate::config::installation::{DiskKey, InstallationError};
use crate::config::{PassphraseFrom, PassphraseSource, SecretPlace};
use crate::error::StepError;
use crate::exec::Cmd;
use crate::facts::LuksVolume;
use crate::run::step::StepId;
use crate::secret::Secret;
use crate::secret::password;
use crate::sops::change::stored_value;
use crate::steps::context::Context;
use crate::steps::secrets::stored;
use crate::target::passphrase::{PassphraseError, as_disko_reads, can_be_typed};
use crate::ui::prompt::Question;

/// A command may ask a person.
const COMMAND_DEADLINE: Duration = Duration::from_secs(5 * 60);

/// Gets the passphrase of every volume that the layout formats with one.
pub fn collect(cx: &mut Context) -> Result<(), StepError> {
    let facts = cx.facts()?.first();
    let wants = |volume: &&LuksVolume| facts.passphrase_file(volume).is_some();
    let volumes: Vec<LuksVolume> = facts.luks().filter(wants).cloned().collect();
    for volume in &volumes {
        if cx.memory.answers.passphrases.contains_key(&volume.name) {
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
        cx.memory.answers.passphrases.insert(volume.name.clone(), passphrase);
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
    if let Some((_, made)) = cx.memory.answers.made.iter().find(|(known, _)| known == place) {
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
    cx.memory.answers.made.push((place.clone(), made.clone()));
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
