//! What nix-secrets keeps for people alone: private host keys, users' keys, passphrases.

use super::home_manager;
use crate::config::{SecretPlace, SecretsRepo};
use crate::error::StepError;
use crate::secret::Secret;
use crate::secret::age::HostKeyPair;
use crate::sops::change::error::SopsError;
use crate::sops::change::stored_value;
use crate::sops::inside::Inside;
use crate::steps::context::Context;
use crate::steps::identity::run_keys;
use crate::steps::secrets;

/// What the repository has to keep and does not yet: the private host key, passphrases
/// that were made.
pub(crate) fn missing(
    cx: &Context,
    secrets: &SecretsRepo,
    pair: &HostKeyPair,
    warn: &mut dyn FnMut(String),
) -> Result<Vec<(SecretPlace, Secret)>, StepError> {
    let mut values = Vec::new();
    if cx.config.store_host_key {
        let kept = host_key(cx, secrets)?;
        if let Some(kept) = kept.as_ref().filter(|kept| kept.fingerprint() != pair.fingerprint()) {
            warn(format!("another host key is stored, {}: it is replaced", kept.fingerprint()));
        }
        if kept.is_none_or(|kept| kept.fingerprint() != pair.fingerprint()) {
            values.push((run_keys::stored_place(&cx.config.host), pair.private_openssh()?));
        }
    }
    if cx.config.store_host_key
        && let Some(home) = home_manager::with_file(cx)?
        && let Some(key) = cx.keys().user_age()
    {
        let place = run_keys::stored_user_place(&cx.config.host, &home.user);
        if read(cx, secrets, &place)?.is_none() {
            values.push((place, key.text().clone()));
        }
    }
    for (place, value) in &cx.memory.answers.made {
        if read(cx, secrets, place)?.is_none() {
            values.push((place.clone(), value.clone()));
        }
    }
    Ok(values)
}

/// The private host key that the repository keeps.
pub(crate) fn host_key(
    cx: &Context,
    secrets: &SecretsRepo,
) -> Result<Option<HostKeyPair>, StepError> {
    let place = run_keys::stored_place(&cx.config.host);
    let Some(value) = read(cx, secrets, &place)? else { return Ok(None) };
    let key = HostKeyPair::parse(value.expose_str().unwrap_or_default());
    let failed = |error| {
        StepError::from(error)
            .doing(format!("{} keeps no host key that can be used", place.file.display()))
    };
    Ok(Some(key.map_err(failed)?))
}

/// A value that a tree of the repository keeps encrypted, opened with the operator's
/// identities.
fn read(
    cx: &Context,
    secrets: &SecretsRepo,
    place: &SecretPlace,
) -> Result<Option<Secret>, StepError> {
    let rules = secrets.dir.join(&secrets.sops_config);
    let path = rules.parent().unwrap_or(&secrets.dir).join(&place.file);
    let path = Inside::of(&secrets.dir).real(&path).map_err(SopsError::from)?.unwrap_or(path);
    let key: Vec<&str> = place.key.iter().map(String::as_str).collect();
    Ok(stored_value::read(&path, &key, cx.operator())?)
}

/// The same in the newest commit.
pub(crate) fn value(cx: &Context, at: &SecretPlace) -> Result<Option<Secret>, StepError> {
    let place = secrets::place(cx)?;
    place.look(&place.base()?, |root| read(cx, &secrets::secrets_in(cx, &place, root)?, at))
}
