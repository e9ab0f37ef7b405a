//! From flags, settings and repositories to the configuration of one run.
//!
//! The only place where a flag's form is known beyond the command line: from here on
//! there are only [`Config`] and its parts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{
    ConnectionArgs, HostAndTargetArgs, InstallationArgs, JourneyArgs, KexecArgs, NixArgs, PhaseArg,
    StrategyArg,
};
use crate::cli::Cli;
use crate::cli::install::{HardwareBackend, InstallArgs};
use crate::config::choices::{Activation, HardwareSource};
use crate::config::detect;
use crate::config::installation::{
    Installation, InstallationError, Phases, disk_key, owner, readable,
};
use crate::config::repository::{HostKeySetting, split_flake};
use crate::config::source::{FlakeSystem, HostSystem, System, parse_flake};
use crate::config::{
    Config, ConfigError, ConfigRepo, HostName, InstallerFlake, Kexec, KexecImage, Push, Strategy,
    named, passphrases,
};
use crate::nix::{NixOptions, StorePath, StorePathError};
use crate::ssh::Endpoint;

/// How long a person has to type the passphrase on the console of the target.
const PASSPHRASE_DEADLINE: Duration = Duration::from_secs(30 * 60);
/// How long a machine may take from reboot to SSH.
const BOOT_DEADLINE: Duration = Duration::from_secs(10 * 60);

/// Finds the config repository that the flags name; `--flake PATH#HOST` names it too.
pub(crate) fn config_repo(cli: &Cli, args: &JourneyArgs) -> Result<ConfigRepo, ConfigError> {
    let settings = cli.settings.as_deref();
    let named = args.machine.flake.as_deref().map(split_flake).transpose()?;
    match named.filter(|(dir, _)| !dir.is_empty()) {
        Some((dir, _)) => {
            let base = cli.directory.clone().unwrap_or_default();
            ConfigRepo::find(Some(&base.join(dir)), settings)
        }
        None => ConfigRepo::find(cli.directory.as_deref(), settings),
    }
}

/// Puts together what flags, settings and repositories say of a host of the repository.
pub(crate) fn host_config(repo: &ConfigRepo, args: &JourneyArgs) -> Result<Config, ConfigError> {
    let settings = &repo.settings;
    let host = host_of(&args.machine)?;
    let for_host = |text: &str| text.replace("{host}", host.as_str());
    let attr = settings.attr.as_deref().unwrap_or("nixosConfigurations.{host}");
    let installer_attr = settings.installer_attr.as_deref().unwrap_or("nixosConfigurations.{host}");
    let installer =
        repo.installer_dir()?.map(|dir| InstallerFlake { dir, attr: for_host(installer_attr) });
    let strategy = match (args.strategy, &installer) {
        (Some(StrategyArg::Direct), _) | (None, None) => Strategy::Direct,
        (_, Some(_)) => Strategy::Staged,
        (Some(StrategyArg::Staged), None) => {
            return Err(ConfigError::NoInstaller { repo: repo.dir.clone() });
        }
    };
    let hardware_file = match &settings.hardware {
        Some(path) => Some(PathBuf::from(for_host(path))),
        None if args.hardware == Some(HardwareSource::Facter) => {
            detect::facter_file(&repo.dir, &repo.tracked()?, host.as_str())
        }
        None => detect::hardware_file(&repo.dir, &repo.tracked()?, host.as_str()),
    };
    let secrets = if args.no_secrets { None } else { repo.secrets()? };
    let push = match (&args.push_branch, &settings.push_branch) {
        _ if args.no_push => Push::No,
        (Some(branch), _) | (None, Some(branch)) => Push::Branch(branch.clone()),
        (None, None) => Push::Upstream,
    };
    let installed_address = args
        .connection
        .installed_address
        .clone()
        .or_else(|| settings.installed_address.as_deref().map(for_host));
    let installation = installation(&args.installation)?;
    Ok(Config {
        target: target_of(&args.machine, &args.connection)?,
        installed_address: installed_address.as_deref().map(endpoint).transpose()?,
        installer_fingerprint: args.connection.installer_fingerprint.clone(),
        kexec: kexec_of_repo(&args.kexec, installation.phases.kexec, repo)?,
        sudo_passwords: sudo_passwords(&args.connection),
        system: System::Repository(HostSystem {
            dir: repo.dir.clone(),
            attr: for_host(attr),
            installer,
            strategy,
            hardware_file,
        }),
        secrets,
        no_secrets: args.no_secrets,
        grants: args.grant.clone(),
        hardware: args.hardware,
        user: args.user.clone().or_else(|| settings.user.clone()),
        installation,
        host_key: args.host_key.clone(),
        store_host_key: args.host_key_store || settings.host_key == Some(HostKeySetting::Stored),
        devices: devices(&args.disk)?,
        build_on: args.build_on.clone(),
        erase: args.disks.erase.clone(),
        changed_layout: args.disks.changed_layout,
        passphrases: passphrases(
            &args.disks.luks_passphrase_file,
            &args.disks.luks_passphrase_command,
            &args.luks_passphrase_secret,
        )?,
        push,
        copy_repos: !args.no_repos,
        repos_dir: settings.repos.clone(),
        require_units: [args.require_unit.clone(), settings.require_units.clone()].concat(),
        activate: args.activate,
        nix: nix_options(&args.nix),
        boot_deadline: BOOT_DEADLINE,
        passphrase_deadline: PASSPHRASE_DEADLINE,
        host,
    })
}

/// Puts together what the flags of `landfall install` say: there is no repository, no
/// settings, and there are no secrets.
pub(crate) fn install_config(cli: &Cli, args: &InstallArgs) -> Result<Config, ConfigError> {
    let base = cli.directory.clone().unwrap_or_else(|| ".".into());
    let base = std::fs::canonicalize(&base)
        .map_err(|source| ConfigError::Read { path: base.clone(), source })?;
    let target = args.target().ok_or(ConfigError::NoTarget)?;
    let hardware = args.hardware(&base)?;
    let (system, host) = system_of(args, &base, hardware.as_ref().map(|(_, path)| path))?;
    let installation = args.installation()?;
    let nix = NixOptions {
        print_build_logs: args.nix.print_build_logs || args.debug,
        ..nix_options(&args.nix)
    };
    let mut target = connection_to(endpoint(target)?, &args.connection)?;
    // After the options that the user gave: of two values ssh takes the first.
    target.options.extend(installation.transfer.compression());
    Ok(Config {
        target: Some(target),
        installed_address: args
            .connection
            .installed_address
            .as_deref()
            .map(endpoint)
            .transpose()?,
        installer_fingerprint: args.connection.installer_fingerprint.clone(),
        sudo_passwords: sudo_passwords(&args.connection),
        kexec: kexec_of_flags(&args.kexec, installation.phases.kexec, &base)?,
        system,
        secrets: None,
        no_secrets: true,
        grants: Vec::new(),
        hardware: hardware.as_ref().map(|(backend, _)| match backend {
            HardwareBackend::NixosGenerateConfig => HardwareSource::GenerateConfig,
            HardwareBackend::NixosFacter => HardwareSource::Facter,
        }),
        user: args.user.clone(),
        installation,
        host_key: args.host_key.clone(),
        store_host_key: false,
        devices: BTreeMap::new(),
        build_on: args.build_on(),
        changed_layout: args.disks.changed_layout,
        erase: args.disks.erase.clone(),
        passphrases: passphrases(
            &args.disks.luks_passphrase_file,
            &args.disks.luks_passphrase_command,
            &[],
        )?,
        push: Push::No,
        copy_repos: false,
        repos_dir: None,
        require_units: Vec::new(),
        activate: Activation::Boot,
        nix,
        boot_deadline: BOOT_DEADLINE,
        passphrase_deadline: PASSPHRASE_DEADLINE,
        host,
    })
}

/// The system that `landfall install` names, and the name of its host.
fn system_of(
    args: &InstallArgs,
    base: &Path,
    hardware_file: Option<&PathBuf>,
) -> Result<(System, HostName), ConfigError> {
    let [disko, system] = args.store_paths.as_slice() else {
        let (flake, host) = flake_of(args, base)?;
        let flake = FlakeSystem { hardware_file: hardware_file.cloned(), ..flake };
        return Ok((System::Flake(flake), host));
    };
    let (disko, system) = (store_path(&base.join(disko))?, store_path(&base.join(system))?);
    let host = host_of_system(&system)?;
    if hardware_file.is_some() {
        return Err(ConfigError::HardwareOfStorePaths);
    }
    Ok((System::StorePaths { disko, system }, host))
}

/// The flake that `landfall install` names, its attribute, and the name of its host.
pub(crate) fn flake_of(
    args: &InstallArgs,
    base: &Path,
) -> Result<(FlakeSystem, HostName), ConfigError> {
    let text = args.flake.as_deref().or(args.system.as_deref()).unwrap_or_default();
    let (reference, attr) = parse_flake(text, base)?;
    Ok((FlakeSystem { reference, attr: attr.config, hardware_file: None }, attr.host))
}

/// The store path that a path, or a link such as `result`, leads into.
fn store_path(path: &Path) -> Result<StorePath, ConfigError> {
    let real = std::fs::canonicalize(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let top: PathBuf = real.components().take(4).collect();
    let text = top.to_string_lossy();
    text.parse().map_err(|error: StorePathError| ConfigError::StorePath {
        path: path.to_owned(),
        why: error.to_string(),
    })
}

/// `nixos-system-guppy-26.05…` is guppy's.
fn host_of_system(system: &StorePath) -> Result<HostName, ConfigError> {
    let name = system.name().strip_prefix("nixos-system-").unwrap_or(system.name());
    let version = regex::Regex::new(r"-[0-9]{2}\.[0-9]{2}").ok().and_then(|it| it.find(name));
    let name = version.map_or(name, |version| &name[..version.start()]);
    name.split('.').next().unwrap_or_default().parse()
}

/// Gives a named machine the login, port and options that the flags say.
pub(crate) fn connection_to(
    mut endpoint: Endpoint,
    args: &ConnectionArgs,
) -> Result<Endpoint, ConfigError> {
    if let Some(path) = &args.identity_file {
        // ssh passes over a key that it does not find.
        std::fs::metadata(path)
            .map_err(|source| ConfigError::Read { path: path.clone(), source })?;
    }
    endpoint.port = args.port.or(endpoint.port);
    endpoint.identity_file.clone_from(&args.identity_file);
    endpoint.options.clone_from(&args.ssh_option);
    endpoint.may_ask = true;
    Ok(endpoint)
}

/// Checks the flags about the installation itself.
pub(crate) fn installation(args: &InstallationArgs) -> Result<Installation, InstallationError> {
    if let Some(dir) = &args.extra_files {
        readable(dir).map_err(|why| InstallationError::ExtraFiles { dir: dir.clone(), why })?;
    }
    let owners = args
        .chown
        .chunks_exact(2)
        .map(|pair| owner(&pair[0], &pair[1]))
        .collect::<Result<_, _>>()?;
    let disk_keys = args
        .disk_encryption_keys
        .chunks_exact(2)
        .map(|pair| disk_key(&pair[0], &pair[1]))
        .collect::<Result<_, _>>()?;
    let only_phases = !args.phases.is_empty();
    Ok(Installation {
        phases: if only_phases { phases(&args.phases) } else { Phases::ALL },
        only_phases,
        disko_mode: args.disko_mode.unwrap_or_default(),
        extra_files: args.extra_files.clone(),
        owners,
        disk_keys,
        ..Installation::default()
    })
}

/// Turns the options for nix into those that each of its commands gets.
pub(crate) fn nix_options(args: &NixArgs) -> NixOptions {
    let pairs = |words: &[String]| {
        words.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
    };
    NixOptions {
        override_inputs: pairs(&args.override_input),
        impure: args.impure,
        accept_flake_config: args.accept_flake_config,
        options: pairs(&args.option),
        print_build_logs: args.print_build_logs,
        show_trace: args.show_trace,
    }
}

fn phases(args: &[PhaseArg]) -> Phases {
    let has = |phase| args.contains(&phase);
    Phases {
        kexec: has(PhaseArg::Kexec),
        disko: has(PhaseArg::Disko),
        install: has(PhaseArg::Install),
        reboot: has(PhaseArg::Reboot),
    }
}

fn host_of(args: &HostAndTargetArgs) -> Result<HostName, ConfigError> {
    match &args.flake {
        Some(flake) => split_flake(flake)?.1.parse(),
        None => args.host.as_deref().unwrap_or_default().parse(),
    }
}

fn target_of(
    args: &HostAndTargetArgs,
    connection: &ConnectionArgs,
) -> Result<Option<Endpoint>, ConfigError> {
    // With --flake the only positional argument is the target.
    let positional = if args.flake.is_some() { &args.host } else { &args.target };
    let text = args.target_host.as_ref().or(positional.as_ref()).or(args.target.as_ref());
    text.map(|text| connection_to(endpoint(text)?, connection)).transpose()
}

fn endpoint(text: &str) -> Result<Endpoint, ConfigError> {
    text.parse().map_err(|error| ConfigError::Target(format!("{error}")))
}

fn sudo_passwords(args: &ConnectionArgs) -> Vec<(Option<String>, PathBuf)> {
    let files = args.sudo_password_file.iter().map(|text| named(text));
    files.map(|(user, path)| (user, path.into())).collect()
}

/// The flag's image, else the one that landfall.toml names: there an attribute as well.
fn kexec_of_repo(args: &KexecArgs, allowed: bool, repo: &ConfigRepo) -> Result<Kexec, ConfigError> {
    let flags = kexec_of_flags(args, allowed, Path::new(""))?;
    let settings = &repo.settings;
    let Some(text) = settings.kexec.as_ref().filter(|_| flags.image.is_none()) else {
        return Ok(flags);
    };
    let file = repo.dir.join(text);
    let image = if text.contains("://") || file.is_file() {
        kexec_image(text, &repo.dir)?
    } else {
        KexecImage::Attr(text.clone())
    };
    let sha256 = settings.kexec_sha256.as_deref().map(str::parse).transpose()?;
    Ok(Kexec { image: Some(image), sha256, ..flags })
}

/// What the flags alone say; files are relative to `base`.
fn kexec_of_flags(args: &KexecArgs, allowed: bool, base: &Path) -> Result<Kexec, ConfigError> {
    Ok(Kexec {
        image: args.kexec.as_deref().map(|text| kexec_image(text, base)).transpose()?,
        sha256: args.kexec_sha256.as_deref().map(str::parse).transpose()?,
        by_flag: args.kexec.is_some(),
        forbidden: args.no_kexec || !allowed,
        extra_flags: args.kexec_extra_flags.clone(),
        ssh_port: args.post_kexec_ssh_port,
    })
}

/// A URL, or a file that is there.
fn kexec_image(text: &str, base: &Path) -> Result<KexecImage, ConfigError> {
    if text.contains("://") {
        return Ok(KexecImage::Url(text.to_owned()));
    }
    let path = base.join(text);
    std::fs::canonicalize(&path)
        .map(KexecImage::File)
        .map_err(|source| ConfigError::Read { path, source })
}

/// The pairs of `--disk NAME=DEVICE`; both end up in a Nix string.
fn devices(arguments: &[String]) -> Result<BTreeMap<String, String>, ConfigError> {
    let plain =
        |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "/-_.:+".contains(c));
    let mut devices = BTreeMap::new();
    for argument in arguments {
        let refuse = || ConfigError::DiskArgument(argument.clone());
        let (name, device) = argument.split_once('=').ok_or_else(refuse)?;
        if name.is_empty() || !device.starts_with("/dev/") || !plain(name) || !plain(device) {
            return Err(refuse());
        }
        if devices.insert(name.to_owned(), device.to_owned()).is_some() {
            return Err(ConfigError::DiskTwice(name.to_owned()));
        }
    }
    Ok(devices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_tell_their_host() {
        let host = |name: &str| {
            let path = format!("/nix/store/{}-{name}", "a".repeat(32)).parse().unwrap();
            host_of_system(&path).unwrap().to_string()
        };
        assert_eq!(host("nixos-system-guppy-26.05.20260101.abcdef"), "guppy");
        assert_eq!(host("nixos-system-web-1-26.05pre-git"), "web-1");
        assert_eq!(host("nixos-system-guppy"), "guppy");
    }

    #[test]
    fn disks_have_a_name_and_a_device() {
        let read = |arguments: &[&str]| {
            devices(&arguments.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
        };
        let both = read(&["main=/dev/vdb", "x/y=/dev/disk/by-id/nvme-A_1"]).unwrap();
        assert_eq!(both["main"], "/dev/vdb");
        assert_eq!(both["x/y"], "/dev/disk/by-id/nvme-A_1");
        for bad in ["main", "=/dev/vda", "main=vda", "main=/dev/${x}", "a\"b=/dev/vda"] {
            assert!(matches!(read(&[bad]), Err(ConfigError::DiskArgument(_))), "{bad}");
        }
        let twice = read(&["main=/dev/vda", "main=/dev/vdb"]);
        assert!(matches!(twice, Err(ConfigError::DiskTwice(_))));
    }
}
