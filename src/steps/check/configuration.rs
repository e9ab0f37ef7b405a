//! What the configuration says for or against an installation, wherever that takes place.

use super::Findings;
use super::boot_files;
use crate::config::build_on::{BuildOn, Builder};
use crate::config::installation::DiskoMode;
use crate::config::source::SystemSource;
use crate::error::{Exit, StepError};
use crate::facts::device_override;
use crate::facts::{SecretKind, Unreadable};
use crate::git::Repo;
use crate::steps::context::Context;
use crate::steps::disks::disko;
use crate::steps::hardware::in_flake;
use crate::steps::secrets::home_manager;
use crate::steps::{hardware, install, repos};
use crate::target::Phase;
use crate::target::disks::DiskError;

/// Mount points that NixOS always mounts in the initrd.
const EARLY_MOUNTS: [&str; 9] =
    ["/", "/nix", "/nix/store", "/var", "/var/log", "/var/lib", "/var/lib/nixos", "/etc", "/usr"];

pub fn check(cx: &Context, findings: &mut Findings) {
    if cx.config.installation.phases.disko {
        findings.take(disk_layout(cx));
        disk_secrets(cx, findings);
        tell_devices(cx);
    }
    findings.take(builder(cx));
    match cx.config.origin {
        SystemSource::Repository => findings.take(hardware::hardware_file(cx).map(|_| ())),
        SystemSource::Flake(_) | SystemSource::StorePaths { .. } => {
            findings.take(in_flake::check(cx))
        }
    };
    findings.take(in_flake::is_read(cx));
    boot_files::check(cx, findings);
    findings.take(early_keys(cx));
    // Who does not wait for the reboot need not log in after it.
    if cx.config.installation.phases.reboot {
        findings.take(logins(cx));
    }
    findings.take(home_manager::check(cx));
    match repos::copied(cx) {
        Ok(true) => {
            findings.take(git_there(cx));
            for dir in repos::dirs(cx) {
                findings.take(Repo::open(&dir).map(|_| ()).map_err(Into::into));
            }
        }
        Ok(false) => {}
        // That the user is not clear is found by itself.
        Err(_) => {}
    }
}

fn disk_layout(cx: &Context) -> Result<(), StepError> {
    let facts = cx.facts()?.first();
    for volume in facts.luks().filter(|volume| facts.key_files(volume).is_empty()) {
        if let Some(file) = facts.crypttab_key_file(&volume.name) {
            return Err(StepError::new(
                format!("nothing makes {file}, with which {} is opened", volume.name),
                "/etc/crypttab names it, and the layout of the disks has no key file",
                format!(
                    "Set additionalKeyFiles = [ \"{file}\" ] in the layout of {}.",
                    volume.name
                ),
            )
            .exit(Exit::Usage));
        }
    }
    let erases = cx.config.installation.disko_mode != DiskoMode::Mount;
    if erases && !facts.disks.is_empty() && facts.disks.iter().all(|disk| !disk.destroy) {
        return Err(DiskError::NothingErased.into());
    }
    if !facts.disks.is_empty() && facts.builds.iter().any(|build| build != "toplevel") {
        return Ok(());
    }
    Err(StepError::new(
        format!("{} has no disk layout", cx.config.host),
        "disko.devices.disk is empty, or disko's module is not imported",
        "Import disko.nixosModules.disko and a layout in the host's configuration.",
    )
    .exit(Exit::Usage))
}

/// Everything that disko's scripts read can be brought to them.
fn disk_secrets(cx: &Context, findings: &mut Findings) {
    let Ok(facts) = cx.facts().map(|facts| facts.first()) else { return };
    for Unreadable { what, why, hint } in facts.unreadable() {
        findings.take(Err(StepError::new(what, why, hint).exit(Exit::Usage)));
    }
    let given = |path: &str| cx.config.installation.disk_keys.iter().any(|key| key.remote == path);
    let secrets = facts.disk_secrets();
    for secret in secrets.iter().filter(|secret| secret.kept && !given(&secret.path)) {
        if !matches!(secret.kind, SecretKind::Passphrase(_)) {
            findings.take(Err(disko::not_of_this_run(secret)));
        }
    }
    for kind in &facts.unknown_contents {
        cx.events.warn(format!(
            "the layout has contents of type {kind:?}, which landfall does not know: what disko \
             reads for them has to be given, --disk-encryption-keys REMOTE LOCAL"
        ));
    }
    let known = |path: &str| given(path) || secrets.iter().any(|secret| secret.path == path);
    for path in facts.read_by_hooks().into_iter().filter(|path| !known(path)) {
        cx.events.warn(format!(
            "a hook of the layout names {path}: if it reads it, give the file, \
             --disk-encryption-keys {path} FILE"
        ));
    }
}

/// The repositories are received by git on the system that is installed first.
fn git_there(cx: &Context) -> Result<(), StepError> {
    if cx.facts()?.first().has_git {
        return Ok(());
    }
    Err(StepError::new(
        "the system that is installed first has no git",
        "the repositories could not be copied to it",
        "Set programs.git.enable = true in its configuration; --no-repos leaves the repositories out.",
    )
    .exit(Exit::Usage))
}

/// What is chosen for the builds can build.
fn builder(cx: &Context) -> Result<(), StepError> {
    let system = &cx.facts()?.full.system;
    let nix = cx.nix()?;
    let settings = nix.build_settings()?;
    match cx.builder()? {
        Builder::Source if !settings.can_build(system) => Err(settings.cannot_build(system)),
        Builder::Store(uri) => nix.check_store(uri).map_err(|error| {
            StepError::from(error).doing(format!("the store {uri} of --build-on does not answer"))
        }),
        Builder::Target if cx.config.build_on == BuildOn::Auto => {
            cx.events.note(format!(
                "nothing here builds for {system}: the target builds its systems itself"
            ));
            Ok(())
        }
        Builder::Source | Builder::Target => Ok(()),
    }
}

/// `--disk` leaves the layout as it is, which then tells of other disks.
fn tell_devices(cx: &Context) {
    if cx.config.devices.is_empty() || cx.phase == Phase::Installed {
        return;
    }
    let Ok(facts) = cx.facts() else { return };
    let mut text = "the layout is used with other devices than it names:".to_owned();
    for disk in &facts.first().disks {
        if let Some(said) = &disk.in_layout {
            let said = if said.is_empty() { "no device" } else { said };
            text.push_str(&format!("\n  {}: {}, not {said}", disk.name, disk.device));
        }
    }
    text.push_str(
        "\nThe configuration stays as it is. So that it tells of these disks, write into it:\n",
    );
    text.push_str(&device_override::to_write(&cx.config.devices));
    cx.events.warn(text);
}

/// A host key or age key on a file system that is mounted late comes too late for the
/// secrets.
fn early_keys(cx: &Context) -> Result<(), StepError> {
    let facts = &cx.facts()?.full;
    let host_keys = install::key_paths(cx)?.into_iter().map(|path| ("host key", path));
    let age_key = facts.age_key_file.iter().map(|path| ("age key", facts.stored_at(path)));
    for (key, path) in host_keys.chain(age_key) {
        let Some(fs) = facts.file_system_of(&path) else { continue };
        if !fs.needed_for_boot && !EARLY_MOUNTS.contains(&fs.mount_point.as_str()) {
            return Err(StepError::new(
                format!("the {key} would be mounted too late ({})", fs.mount_point),
                format!("{path} is read before file systems that the initrd does not mount"),
                format!("Set fileSystems.\"{}\".neededForBoot = true.", fs.mount_point),
            )
            .exit(Exit::Usage));
        }
    }
    Ok(())
}

/// Without a key for somebody nobody gets in after the reboot.
fn logins(cx: &Context) -> Result<(), StepError> {
    let user = cx.primary_user()?;
    let facts = cx.facts()?;
    for (config, name) in [(facts.first(), "installed first"), (&facts.full, "full")] {
        if !config.ssh_enabled {
            return Err(StepError::new(
                format!("the {name} configuration has no SSH server"),
                "services.openssh.enable is false",
                "Enable it: landfall verifies the installed system over SSH.",
            )
            .exit(Exit::Usage));
        }
        let root = user == "root" && config.root_keys > 0;
        if !root && !config.users.iter().any(|known| known.name == user && known.keys > 0) {
            return Err(StepError::new(
                format!("{user} has no SSH key in the {name} configuration"),
                "nobody could log in after the reboot",
                format!("Set users.users.{user}.openssh.authorizedKeys.keys, or name another user with --user."),
            )
            .exit(Exit::Usage));
        }
    }
    Ok(())
}
