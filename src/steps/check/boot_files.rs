//! What `check` looks at of an installation's own needs: files that the boot loader reads,
//! keys that it signs with, host keys that are kept, tools that the target must have.

use crate::config::installation::{DiskoMode, KeptKeys};
use crate::error::{Exit, StepError};
use crate::facts::HostFacts;
use crate::steps::context::Context;
use crate::steps::install;

/// Whether files that the new system needs are put there by the installation.
fn installs(cx: &Context) -> bool {
    // What is on the disks already cannot be seen before they are mounted.
    cx.config.installation.phases.install && cx.config.installation.disko_mode != DiskoMode::Mount
}

/// `boot.initrd.secrets` are read when the boot loader is written: each must be there by then.
pub(crate) fn initrd_secrets(cx: &Context, facts: &HostFacts) -> Result<(), StepError> {
    if !installs(cx) {
        return Ok(());
    }
    let mut written = install::key_paths(cx).unwrap_or_default();
    written.extend(facts.initrd_host_keys.iter().cloned());
    written.extend(facts.age_key_file.iter().cloned());
    // One system: its layout is formatted with the keys that lie on the disks then.
    let formatted = cx.facts()?.first();
    written.extend(formatted.disk_secrets().into_iter().flat_map(|secret| secret.installed));
    let missing: Vec<&str> = facts
        .initrd_secrets
        .iter()
        .map(|secret| secret.source.as_str())
        .filter(|path| !path.starts_with("/nix/store/"))
        .filter(|path| !written.iter().any(|known| known == path))
        .filter(|path| cx.config.installation.extra_file(path).is_none())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(StepError::new(
        "the boot loader will look for files that nothing puts there",
        format!("boot.initrd.secrets names {}", missing.join(", ")),
        format!(
            "Put {} into a folder as {} and give it with --extra-files DIR.",
            if missing.len() == 1 { "it" } else { "them" },
            missing[0].trim_start_matches('/')
        ),
    )
    .exit(Exit::Usage))
}

/// lanzaboote signs while nixos-install runs, and fails without its keys.
pub(crate) fn signing_keys(cx: &Context, facts: &HostFacts) -> Result<(), StepError> {
    let Some(bundle) = facts.lanzaboote_bundle.as_ref().filter(|_| installs(cx)) else {
        return Ok(());
    };
    let key = format!("{bundle}/keys/db/db.key");
    if cx.config.installation.extra_file(&key).is_some() {
        return Ok(());
    }
    Err(StepError::new(
        "lanzaboote will have no keys to sign with",
        format!("boot.lanzaboote.pkiBundle is {bundle}, and nothing puts {key} there"),
        "Make the keys with `sbctl create-keys` and give them with --extra-files DIR, or set \
         boot.lanzaboote.autoGenerateKeys.enable.",
    )
    .exit(Exit::Usage))
}

/// The key that is kept must be one that the new system will show.
pub(crate) fn kept_keys(cx: &Context, facts: &HostFacts) -> Result<(), StepError> {
    let Some(kept) = &cx.config.installation.kept_keys else { return Ok(()) };
    // That there is none is found by itself.
    let Some(place) = facts.ed25519_host_key() else { return Ok(()) };
    if let KeptKeys::In(dir) = kept
        && place.rsplit_once('/').is_none_or(|(configured, _)| configured != dir)
    {
        return Err(StepError::new(
            format!("the new system does not read its host keys from {dir}"),
            format!("services.openssh.hostKeys says {place}"),
            "Leave the folder out: --copy-host-keys puts them where the configuration reads them.",
        )
        .exit(Exit::Usage));
    }
    if let Some(file) = cx.config.installation.extra_file(place) {
        return Err(StepError::new(
            "the host key is given twice",
            format!("--copy-host-keys keeps the machine's, {} is another", file.display()),
            "Leave out one of them.",
        )
        .exit(Exit::Usage));
    }
    let Some(target) = &cx.connection.target else { return Ok(()) };
    if target.host_key.algorithm() == "ssh-ed25519" {
        return Ok(());
    }
    Err(StepError::new(
        "the host key that answers cannot be kept",
        format!("it is an {} key; landfall keeps ed25519 keys", target.host_key.algorithm()),
        "Leave out --copy-host-keys.",
    )
    .exit(Exit::Usage))
}
