//! Passphrases of encrypted disks: from a file, a command or a person, held in memory until the
//! disks are formatted, and refused when disko would not use them as they are.

use std::time::Duration;

use crate::config::installation::{DiskKey, DiskoMode, InstallationError};
use crate::config::{PassphraseFrom, PassphraseSource, SecretPlace};
use crate::error::{Exit, StepError};
use crate::exec::Cmd;
use crate::facts::{DiskSecret, PassphraseRules, SecretKind};
use crate::run::step::StepId;
use crate::secret::Secret;
use crate::secret::password;
use crate::sops::change::stored_value;
use crate::steps::context::Context;
use crate::steps::secrets::stored;
use crate::target::passphrase::{
    PassphraseError, as_disko_reads, can_be_typed, long_enough_for_zfs,
};
use crate::ui::prompt::Question;

/// A command may ask a person.
const COMMAND_DEADLINE: Duration = Duration::from_secs(5 * 60);

/// Gets every passphrase that disko reads while it formats.
pub(crate) fn collect(cx: &mut Context) -> Result<(), StepError> {
    for secret in cx.facts()?.first().disk_secrets() {
        let SecretKind::Passphrase(rules) = secret.kind else { continue };
        if cx.memory.answers.passphrases.contains_key(&secret.path) {
            continue;
        }
        let passphrase = answer(cx, &secret)?;
        let volumes = secret.volumes.join(", ");
        if rules == PassphraseRules::Zfs {
            long_enough_for_zfs(&volumes, &passphrase)?;
        }
        if secret.typed {
            can_be_typed(&volumes, &passphrase)?;
        }
        cx.memory.answers.passphrases.insert(secret.path, passphrase);
    }
    Ok(())
}

/// The passphrase in a file for disko, from where the user says, else from a person.
fn answer(cx: &mut Context, secret: &DiskSecret) -> Result<Secret, StepError> {
    let volumes = secret.volumes.join(", ");
    if cx.config.installation.disk_keys.iter().any(|key| key.remote == secret.path) {
        return Ok(as_disko_reads(&volumes, &cx.disk_key(&secret.path)?)?);
    }
    let mut found: Option<Secret> = None;
    for from in sources_for(&cx.config.passphrases, &secret.volumes) {
        let read = as_disko_reads(&volumes, &read(cx, &from)?)?;
        if found.as_ref().is_some_and(|other| other.expose() != read.expose()) {
            return Err(one_file_for_two(&secret.path, &volumes));
        }
        found = Some(read);
    }
    match found {
        Some(found) => Ok(found),
        None => Ok(as_disko_reads(&volumes, &ask(cx, secret)?)?),
    }
}

fn one_file_for_two(file: &str, volumes: &str) -> StepError {
    StepError::new(
        format!("{volumes} read {file}, and have different passphrases"),
        "disko would give them the same",
        "Give each volume a file of its own in the layout, or all one passphrase.",
    )
    .exit(Exit::Usage)
}

/// The files of `--disk-encryption-keys`, byte for byte, by their place on the target.
pub(crate) fn disk_keys(cx: &Context) -> Result<Vec<(String, Secret)>, StepError> {
    let keys = &cx.config.installation.disk_keys;
    keys.iter().map(|key| Ok((key.remote.clone(), cx.disk_key(&key.remote)?))).collect()
}

/// A key that the user gives in a file, or in a pipe, which can be read once only.
pub(crate) fn read_key(key: &DiskKey) -> Result<Secret, InstallationError> {
    std::fs::read(&key.local).map(Secret::new).map_err(|error| InstallationError::DiskKey {
        remote: key.remote.clone(),
        local: key.local.clone(),
        why: error.to_string(),
    })
}

/// The sources that name one of the volumes, else the one that names none.
fn sources_for(sources: &[PassphraseSource], volumes: &[String]) -> Vec<PassphraseFrom> {
    let names = |source: &&PassphraseSource| {
        source.volume.as_ref().is_some_and(|volume| volumes.contains(volume))
    };
    let named: Vec<PassphraseFrom> =
        sources.iter().filter(names).map(|source| source.from.clone()).collect();
    if !named.is_empty() {
        return named;
    }
    let general = sources.iter().find(|source| source.volume.is_none());
    general.map(|source| source.from.clone()).into_iter().collect()
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

fn ask(cx: &Context, secret: &DiskSecret) -> Result<Secret, StepError> {
    let volumes = secret.volumes.join(", ");
    let question = Question::new(
        match secret.volumes.len() {
            1 => format!("Passphrase for the encrypted volume {volumes}"),
            _ => format!("Passphrase for the encrypted volumes {volumes}"),
        },
        "--luks-passphrase-file FILE",
    );
    let question = match secret.typed {
        true => question.detail("It is asked for at every boot of the machine."),
        false => question,
    };
    Ok(if is_set_now(cx, secret) {
        cx.prompter.new_secret(&question)?
    } else {
        cx.prompter.secret(&question.detail("It opens what is on the disks already."))?
    })
}

/// Whether disko is going to encrypt with it, not only to open what is encrypted.
fn is_set_now(cx: &Context, secret: &DiskSecret) -> bool {
    let formats = cx.config.installation.disko_mode != DiskoMode::Mount;
    formats && !secret.kept && cx.finished(StepId::Disks).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_has_its_own_sources_before_the_general_one() {
        let source = |volume: Option<&str>, file: &str| PassphraseSource {
            volume: volume.map(ToOwned::to_owned),
            from: PassphraseFrom::File(file.into()),
        };
        let sources = [source(None, "all"), source(Some("a"), "a"), source(Some("b"), "b")];
        let found = |volumes: &[&str]| -> Vec<String> {
            let volumes: Vec<String> = volumes.iter().map(|name| (*name).to_owned()).collect();
            let file = |from| match from {
                PassphraseFrom::File(path) => path.display().to_string(),
                _ => String::new(),
            };
            sources_for(&sources, &volumes).into_iter().map(file).collect()
        };
        assert_eq!(found(&["c"]), ["all"]);
        assert_eq!(found(&["a", "c"]), ["a"]);
        assert_eq!(found(&["b", "a"]), ["a", "b"]);
        assert!(sources_for(&sources[1..], &["c".to_owned()]).is_empty());
    }
}
