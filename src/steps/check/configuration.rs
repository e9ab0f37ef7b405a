//! What the configuration says for or against an installation, wherever that takes place.

use super::boot_files;
use super::systems::{self, Looks, SystemCheck};
use super::{Findings, keys};
use crate::config::build_on::{BuildOn, Builder};
use crate::config::installation::DiskoMode;
use crate::config::source::System;
use crate::error::{Exit, StepError};
use crate::facts::device_override;
use crate::facts::{HostFacts, SecretKind, Unreadable};
use crate::git::Repo;
use crate::steps::context::Context;
use crate::steps::disks::disko;
use crate::steps::hardware::in_flake;
use crate::steps::secrets::home_manager;
use crate::steps::{hardware, repos};
use crate::target::Phase;
use crate::target::disks::DiskError;

/// What is asked of a system before anything else.
pub(crate) const OF_SYSTEMS: &[SystemCheck] = &[
    (Looks::Both, assertions),
    (
        Looks::First("the disks are formatted by its layout, the full one finds them so"),
        disk_layout,
    ),
    (Looks::Both, volumes_are_made),
    (Looks::Both, builder),
    (Looks::Both, boot_files::initrd_secrets),
    (Looks::Both, boot_files::signing_keys),
    (Looks::Both, boot_files::kept_keys),
    (Looks::Both, host_key),
    (Looks::Both, keys::are_no_secrets),
    (Looks::Both, keys::outlast_boots),
    (Looks::Both, keys::are_early),
    (Looks::Both, logins),
    (Looks::Full("home-manager opens its secrets once the full system runs"), |cx, _| {
        home_manager::check(cx)
    }),
    (
        Looks::First("the repositories are received while it runs, before the full one does"),
        git_there,
    ),
];

pub(crate) fn check(cx: &Context, findings: &mut Findings) {
    systems::run(cx, OF_SYSTEMS, findings);
    tell(cx);
    if cx.config.installation.phases.disko {
        disk_secrets(cx, findings);
        tell_devices(cx);
    }
    match cx.config.system {
        System::Repository(_) => findings.take(hardware::hardware_file(cx).map(|_| ())),
        System::Flake(_) | System::StorePaths { .. } => findings.take(in_flake::check(cx)),
    };
    findings.take(in_flake::is_read(cx));
    // That the user is not clear is found by itself.
    if let Ok(true) = repos::copied(cx) {
        for dir in repos::dirs(cx) {
            findings.take(Repo::open(&dir).map(|_| ()).map_err(Into::into));
        }
    }
}

/// What is told of the systems and stands in nothing's way.
fn tell(cx: &Context) {
    let Ok(facts) = cx.facts() else { return };
    let warned = |system: &HostFacts| system.warnings.clone();
    for warning in systems::told(facts, warned) {
        cx.events.warn(format!("NixOS warns: {}", warning.trim()));
    }
    let unclear = systems::told(facts, |system| keys::may_be_lost(cx, system));
    for warning in unclear.into_iter().chain(systems::told(facts, keys::come_late)) {
        cx.events.warn(warning);
    }
}

/// NixOS builds no system whose assertions fail.
fn assertions(_: &Context, facts: &HostFacts) -> Result<(), StepError> {
    let failed = &facts.failed_assertions;
    if failed.is_empty() && !facts.assertions_throw {
        return Ok(());
    }
    if failed.is_empty() {
        return Err(StepError::new(
            "an assertion of NixOS cannot be evaluated",
            "the system would not build: an option that it reads throws an error",
            "Build it to see why: nix build FLAKE#nixosConfigurations.HOST.config.system.build.toplevel",
        )
        .exit(Exit::Usage));
    }
    let messages: Vec<&str> = failed.iter().map(|message| message.trim()).collect();
    Err(StepError::new(
        match messages.len() {
            1 => "an assertion of NixOS fails: the system would not build".to_owned(),
            count => format!("{count} assertions of NixOS fail: the system would not build"),
        },
        messages.join("\n"),
        "Mend the configuration, commit, then run the same command again.",
    )
    .exit(Exit::Usage))
}

fn disk_layout(cx: &Context, facts: &HostFacts) -> Result<(), StepError> {
    if !cx.config.installation.phases.disko {
        return Ok(());
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

/// What a system opens when it starts is what was formatted, with keys that are there.
fn volumes_are_made(cx: &Context, facts: &HostFacts) -> Result<(), StepError> {
    if !cx.config.installation.phases.disko {
        return Ok(());
    }
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
    // One system: its layout is the one that is formatted.
    let made = cx.facts()?.first();
    let is_made = |name: &str| made.luks().any(|volume| volume.name == name);
    let opened = facts.luks().filter(|volume| volume.initrd_unlock);
    if let Some(missing) = opened.into_iter().find(|volume| !is_made(&volume.name)) {
        return Err(StepError::new(
            format!("nothing formats the encrypted volume {}", missing.name),
            "it is opened at boot, and not in the layout of the system that is installed first",
            "Give both systems the same layout of the disks.",
        )
        .exit(Exit::Usage));
    }
    Ok(())
}

/// sshd shows the key that was made for the host.
fn host_key(cx: &Context, facts: &HostFacts) -> Result<(), StepError> {
    if facts.ed25519_host_key().is_some() || !cx.config.installation.phases.install {
        return Ok(());
    }
    Err(StepError::new(
        "the configuration has no ed25519 host key",
        "services.openssh.hostKeys names none, or sshd is not enabled",
        "Enable services.openssh: landfall reaches the installed system by SSH.",
    )
    .exit(Exit::Usage))
}

/// Everything that disko's scripts read can be brought to them.
fn disk_secrets(cx: &Context, findings: &mut Findings) {
    // One system: the scripts of its layout are those that run.
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
fn git_there(cx: &Context, facts: &HostFacts) -> Result<(), StepError> {
    if facts.has_git || !matches!(repos::copied(cx), Ok(true)) {
        return Ok(());
    }
    Err(StepError::new(
        "the system has no git",
        "the repositories could not be copied to it",
        "Set programs.git.enable = true in its configuration; --no-repos leaves the repositories out.",
    )
    .exit(Exit::Usage))
}

/// What is chosen for the builds can build.
fn builder(cx: &Context, facts: &HostFacts) -> Result<(), StepError> {
    let system = &facts.system;
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
    if cx.config.devices.is_empty() || cx.connection.phase == Phase::Installed {
        return;
    }
    let Ok(facts) = cx.facts() else { return };
    // One system: its layout is formatted with these devices, and both have the same.
    let first = facts.first();
    let mut text = "the layout is used with other devices than it names:".to_owned();
    for disk in &first.disks {
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

/// Without a key for somebody nobody gets in after the reboot.
fn logins(cx: &Context, config: &HostFacts) -> Result<(), StepError> {
    // Who does not wait for the reboot need not log in after it.
    if !cx.config.installation.phases.reboot {
        return Ok(());
    }
    let user = cx.primary_user()?;
    if !config.ssh_enabled {
        return Err(StepError::new(
            "the configuration has no SSH server",
            "services.openssh.enable is false",
            "Enable it: landfall verifies the installed system over SSH.",
        )
        .exit(Exit::Usage));
    }
    let root = user == "root" && config.root_keys > 0;
    if !root && !config.users.iter().any(|known| known.name == user && known.keys > 0) {
        return Err(StepError::new(
            format!("{user} has no SSH key"),
            "nobody could log in after the reboot",
            format!("Set users.users.{user}.openssh.authorizedKeys.keys, or name another user with --user."),
        )
        .exit(Exit::Usage));
    }
    Ok(())
}
