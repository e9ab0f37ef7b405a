//! Keys that would not be there when they are read: lost at a boot, mounted too late, or
//! secrets themselves.

use crate::error::{Exit, StepError};
use crate::facts::HostFacts;
use crate::steps::context::Context;

/// Mount points that NixOS always mounts in the initrd.
const EARLY_MOUNTS: [&str; 9] =
    ["/", "/nix", "/nix/store", "/var", "/var/log", "/var/lib", "/var/lib/nixos", "/etc", "/usr"];
/// Where secrets appear that are opened with a key.
const OPENED: [&str; 4] =
    ["/run/secrets/", "/run/secrets-for-users/", "/run/agenix/", "/run/agenix.d/"];

/// A file that this run puts on the disks and the installed system reads.
struct Key {
    what: &'static str,
    /// As the configuration names it.
    path: String,
    /// What makes it read from another path.
    option: &'static str,
}

fn keys(cx: &Context, facts: &HostFacts) -> Vec<Key> {
    let key = |what, option| move |path: &str| Key { what, path: path.to_owned(), option };
    let mut keys: Vec<Key> = Vec::new();
    if cx.config.installation.phases.install {
        let host = facts.ed25519_host_key().into_iter();
        keys.extend(host.map(key("host key", "services.openssh.hostKeys")));
        let age = facts.age_key_file.as_deref().into_iter();
        keys.extend(age.map(key("age key", "sops.age.keyFile")));
        let initrd = facts.initrd_host_keys.iter().map(String::as_str);
        let initrd = initrd.filter(|path| !path.starts_with("/nix/store/"));
        keys.extend(initrd.map(key("host key of the initrd", "boot.initrd.network.ssh.hostKeys")));
    }
    if cx.config.installation.phases.disko {
        for secret in facts.disk_secrets() {
            let installed = secret.installed.iter().map(String::as_str);
            keys.extend(installed.map(key("key file of an encrypted disk", "the layout")));
        }
    }
    keys
}

/// A key on a root that is made new at each boot is gone after the first one, and with it
/// the secrets and the proof of who answers.
pub(crate) fn outlast_boots(cx: &Context, facts: &HostFacts) -> Result<(), StepError> {
    let Some(lost) = keys(cx, facts).into_iter().find(|key| facts.loses(&key.path)) else {
        return Ok(());
    };
    let Key { what, path, option } = lost;
    let kept = kept_folder(facts).map_or("/persist".to_owned(), |folder| folder);
    Err(StepError::new(
        format!("the first boot would take the {what} away"),
        format!("{path} is on a file system that is made new at each boot, and nothing keeps it"),
        format!(
            "Have it read from a file system that stays: {option} with {kept}{path}. Or keep it \
             with impermanence (environment.persistence.\"{kept}\".files)."
        ),
    )
    .exit(Exit::Usage))
}

/// A folder of which the configuration says that it outlasts boots.
fn kept_folder(facts: &HostFacts) -> Option<String> {
    let kept = facts.persisted.first().map(|kept| kept.storage.clone());
    let named = ["/persist", "/persistent", "/nix/persist", "/state"]
        .into_iter()
        .find(|folder| facts.file_systems.iter().any(|fs| fs.mount_point == *folder));
    kept.or_else(|| named.map(ToOwned::to_owned))
}

/// A host key or age key on a file system that is mounted late comes too late for the
/// secrets.
pub(crate) fn are_early(cx: &Context, facts: &HostFacts) -> Result<(), StepError> {
    let early = ["host key", "age key"];
    for Key { what, path, .. } in
        keys(cx, facts).into_iter().filter(|key| early.contains(&key.what))
    {
        let path = facts.stored_at(&path);
        let Some(fs) = facts.file_system_of(&path) else { continue };
        if !fs.needed_for_boot && !EARLY_MOUNTS.contains(&fs.mount_point.as_str()) {
            return Err(StepError::new(
                format!("the {what} would be mounted too late ({})", fs.mount_point),
                format!("{path} is read before file systems that the initrd does not mount"),
                format!("Set fileSystems.\"{}\".neededForBoot = true.", fs.mount_point),
            )
            .exit(Exit::Usage));
        }
    }
    Ok(())
}

/// What opens the secrets cannot be one of them.
pub(crate) fn are_no_secrets(cx: &Context, facts: &HostFacts) -> Result<(), StepError> {
    let mut read = keys(cx, facts);
    let sops = facts.age_ssh_key_paths.iter().chain(&facts.gnupg_ssh_key_paths);
    read.extend(sops.map(|path| Key {
        what: "key of sops",
        path: path.clone(),
        option: "sops.age.sshKeyPaths",
    }));
    let is_secret = |path: &str| {
        OPENED.iter().any(|folder| path.starts_with(folder))
            || facts.secrets.iter().any(|secret| secret.path == path)
    };
    let Some(Key { what, path, option }) = read.into_iter().find(|key| is_secret(&key.path)) else {
        return Ok(());
    };
    Err(StepError::new(
        format!("the {what} is a secret itself"),
        format!("{path} is there only when the secrets are open, which takes a key"),
        format!(
            "Name a plain file on the disk by {option}, as /etc/ssh/ssh_host_ed25519_key, and \
             leave the key out of the secrets: landfall makes it and puts it there."
        ),
    )
    .exit(Exit::Usage))
}

/// Keys of which it is not clear that they outlast a boot.
pub(crate) fn may_be_lost(cx: &Context, facts: &HostFacts) -> Vec<String> {
    let unclear = |key: &Key| !facts.keeps(&key.path) && !facts.loses(&key.path);
    keys(cx, facts)
        .into_iter()
        .filter(unclear)
        .map(|Key { what, path, .. }| {
            format!(
                "impermanence is in use and does not keep the {what}, {path}: where something \
                 makes the root new at a boot, it is lost"
            )
        })
        .collect()
}

/// Keys that are read before they are at the path that the configuration names.
pub(crate) fn come_late(facts: &HostFacts) -> Vec<String> {
    let mut late = Vec::new();
    let sops = facts
        .age_ssh_key_paths
        .iter()
        .chain(&facts.gnupg_ssh_key_paths)
        .chain(&facts.age_key_file)
        .filter(|_| !facts.secrets.is_empty());
    for path in sops {
        let there = facts.stored_at(path);
        if there != *path {
            late.push(format!(
                "sops reads {path} before it is put there from where it is kept: secrets may stay \
                 closed at a boot. Name the path that is there in time, {there}"
            ));
        }
    }
    for volume in facts.luks().filter(|volume| facts.is_typed_at_boot(volume)) {
        let Some(file) = &volume.key_file else { continue };
        if facts.installed_at(file).is_empty() {
            continue; // a name for the time of formatting alone
        }
        late.push(format!(
            "the initrd opens {} before {file} is mounted, and asks for the passphrase: \
             boot.initrd.secrets.{file:?} = {file:?} brings the file there in time",
            volume.name
        ));
    }
    let in_initrd = |path: &str| facts.initrd_secrets.iter().any(|secret| secret.path == path);
    for key in facts.zfs_keys.iter().filter(|key| !key.prompts_later) {
        if let Some(file) =
            key.file().filter(|file| !in_initrd(file) && !facts.installed_at(file).is_empty())
        {
            late.push(format!(
                "{} is opened when its pool is imported, in the initrd where the system starts \
                 from it: {file} is there in time only as boot.initrd.secrets.{file:?}",
                key.name
            ));
        }
    }
    late
}
