//! What is installed when it is not a host of the config repository: a system of any
//! flake, or store paths that were built before.
//!
//! No checkout is needed and none is changed. The flake is used as nix uses it, locked
//! once per process, so that what was checked is what is built.

use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

use super::Facts;
use super::Locked;
use super::repository;
use super::{EXPRESSION, HostFacts, HostKeyFile, LayoutDisk};
use crate::config::Config;
use crate::config::installation::DiskoMode;
use crate::config::source::{FlakeSystem, System};
use crate::error::{Exit, StepError};
use crate::exec::Cmd;
use crate::nix::{Nix, StorePath};

/// The folder of a flake that lies on this machine.
fn local_dir(reference: &str) -> Option<PathBuf> {
    let path = reference.split('?').next().unwrap_or_default();
    let path = path.strip_prefix("path:").or(path.strip_prefix("git+file://")).unwrap_or(path);
    path.starts_with('/').then(|| PathBuf::from(path)).filter(|path| path.is_dir())
}

/// Where in its tree a flake of this machine lies: by its path, or as it is named after `dir=`.
fn below_root(reference: &str) -> PathBuf {
    let query = reference.split_once('?').map_or("", |(_, query)| query);
    if let Some(dir) = query.split('&').find_map(|setting| setting.strip_prefix("dir=")) {
        return dir.into();
    }
    let dir = local_dir(reference).unwrap_or_default();
    dir.strip_prefix(tree_root(&dir)).map(Path::to_owned).unwrap_or_default()
}

/// The root of the tree that nix takes for the flake in `dir`: its repository.
fn tree_root(dir: &Path) -> &Path {
    dir.ancestors().find(|dir| dir.join(".git").exists()).unwrap_or(dir)
}

/// A hardware file's place in the tree of the flake.
///
/// A flake elsewhere cannot be given a file, and would be installed without it.
pub(crate) fn place_in_flake(flake: &FlakeSystem, file: &Path) -> Result<PathBuf, StepError> {
    let reference = &flake.reference;
    let outside = |why: String| {
        StepError::new(
            format!("the hardware file {} is not part of the flake", file.display()),
            why,
            "Name a file in a flake that lies on this machine.",
        )
        .exit(Exit::Usage)
    };
    let dir = local_dir(reference)
        .ok_or_else(|| outside(format!("{reference} does not lie on this machine")))?;
    let root = tree_root(&dir);
    file.strip_prefix(root)
        .map(Path::to_owned)
        .map_err(|_| outside(format!("it does not lie below {}", root.display())))
}

/// Stands in for a hardware file that the target has yet to give.
pub(crate) fn stub_of(file: &Path) -> String {
    let system = format!("{}-linux", std::env::consts::ARCH);
    if file.extension().is_some_and(|extension| extension == "json") {
        format!("{{\"version\": 1, \"system\": \"{system}\", \"hardware\": {{}}}}\n")
    } else {
        format!("{{ lib, ... }}: {{ nixpkgs.hostPlatform = lib.mkDefault \"{system}\"; }}\n")
    }
}

pub(crate) fn lock(nix: &Nix, reference: &str) -> Result<Locked, StepError> {
    let metadata = nix.flake_metadata(reference).map_err(|error| {
        StepError::from(error).doing("the flake cannot be read").exit(Exit::Usage)
    })?;
    Ok(Locked { reference: metadata.url, source: metadata.path })
}

/// What the system means for the journey.
pub(crate) fn evaluate(config: &Config, nix: &Nix, run_dir: &Path) -> Result<Facts, StepError> {
    let (full, locked) = match &config.system {
        System::Flake(flake) => of_flake(config, flake, nix, run_dir)?,
        System::StorePaths { disko, system } => (of_paths(config, disko, system)?, None),
        System::Repository(_) => return repository::evaluate(config, nix, run_dir),
    };
    Ok(Facts { full, minimal: None, locked })
}

fn of_flake(
    config: &Config,
    system: &FlakeSystem,
    nix: &Nix,
    run_dir: &Path,
) -> Result<(HostFacts, Option<Locked>), StepError> {
    let locked = lock(nix, &system.reference)?;
    let mut flake = locked.reference.clone();
    let copy;
    if let Some(file) = &system.hardware_file {
        let place = place_in_flake(system, file)?;
        if !Path::new(&locked.source.join("")).join(&place).exists() {
            copy = with_file(&locked, file, &place, run_dir)?;
            let below = below_root(&system.reference);
            flake = repository::flake_in(&format!("path:{}", copy.path().display()), &below);
        }
    }
    let attr = &system.attr;
    let expression = applied_to_system(&config.system, EXPRESSION);
    let value: serde_json::Value = nix
        .eval_json(&format!("{flake}#{attr}"), Some(&expression))
        .map_err(|error| repository::not_evaluated(error, attr))?;
    Ok((repository::understood(value, attr)?, Some(locked)))
}

/// A copy of the flake's tree that has the hardware file, or a stub of it.
fn with_file(
    locked: &Locked,
    file: &Path,
    place: &Path,
    run_dir: &Path,
) -> Result<tempfile::TempDir, StepError> {
    let failed = |error: std::io::Error| {
        StepError::new(
            "a scratch copy of the flake could not be made",
            error.to_string(),
            "Make room on the disk that holds your state folder.",
        )
    };
    let copy = tempfile::Builder::new().prefix("scratch-").tempdir_in(run_dir).map_err(failed)?;
    Cmd::new("cp")
        .args(["-r", "--no-preserve=mode,ownership", "--no-target-directory"])
        .arg(locked.source.as_str())
        .arg(copy.path())
        .run()?;
    let target = copy.path().join(place);
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let text = fs::read_to_string(file).unwrap_or_else(|_| stub_of(file));
    fs::write(target, text).map_err(failed)?;
    Ok(copy)
}

/// What a built system and its disko script tell by themselves.
fn of_paths(
    config: &Config,
    disko: &StorePath,
    system: &StorePath,
) -> Result<HostFacts, StepError> {
    let unreadable = |path: String, error: std::io::Error| {
        StepError::new(
            format!("{path} cannot be read"),
            error.to_string(),
            "Both store paths must be in the store of this machine, disko's script first: \
             --store-paths DISKO SYSTEM.",
        )
        .exit(Exit::Usage)
    };
    let read = |path: String| fs::read_to_string(&path).map_err(|error| unreadable(path, error));
    let system_name = read(system.join("system"))?.trim().to_owned();
    let sshd = fs::read_to_string(system.join("etc/ssh/sshd_config")).ok();
    let values = |name: &str| -> Vec<String> {
        let lines = sshd.iter().flat_map(|text| text.lines());
        lines
            .filter_map(|line| line.trim().strip_prefix(name)?.strip_prefix(' '))
            .map(|value| value.trim().to_owned())
            .collect()
    };
    let host_keys = values("HostKey")
        .into_iter()
        .map(|path| HostKeyFile { kind: key_kind(&path).to_owned(), path })
        .collect();
    let text = script_text(disko).map_err(|error| unreadable(disko.to_string(), error))?;
    Ok(HostFacts {
        host_name: config.host.to_string(),
        system: system_name,
        builds: vec!["toplevel".into(), "diskoScript".into()],
        disks: devices_in(&text),
        ssh_enabled: sshd.is_some(),
        ssh_ports: values("Port").iter().filter_map(|port| port.parse().ok()).collect(),
        host_keys,
        root_keys: 1,
        ..HostFacts::default()
    })
}

fn key_kind(path: &str) -> &'static str {
    ["ed25519", "ecdsa", "rsa"].into_iter().find(|kind| path.contains(kind)).unwrap_or("unknown")
}

/// disko's newer builds are packages with a program in bin, the older ones a file.
fn script_text(disko: &StorePath) -> std::io::Result<String> {
    let path = Path::new(disko.as_str());
    if path.is_file() {
        return fs::read_to_string(path);
    }
    let mut text = String::new();
    for entry in fs::read_dir(path.join("bin"))? {
        text.push_str(&fs::read_to_string(entry?.path())?);
    }
    Ok(text)
}

/// Every device that a script names; which of them are disks the target tells.
///
/// A script of disko that erases does so in a loop over its devices. What it names elsewhere
/// only is formatted where it is blank, or stays.
fn devices_in(text: &str) -> Vec<LayoutDisk> {
    let Ok(device) = Regex::new(r"/dev/[A-Za-z0-9._/:+@-]*[A-Za-z0-9]") else { return Vec::new() };
    let Ok(erasure) = Regex::new(r"for dev in ([^;]*);\s*do\b") else { return Vec::new() };
    let loops: Vec<&str> =
        erasure.captures_iter(text).filter_map(|found| Some(found.get(1)?.as_str())).collect();
    let erases = |name: &str| {
        loops.is_empty()
            || loops.iter().any(|list| device.find_iter(list).any(|it| it.as_str() == name))
    };
    let mut names: Vec<&str> = device.find_iter(text).map(|found| found.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let disk = |name: &str| LayoutDisk {
        name: name.rsplit('/').next().unwrap_or(name).to_owned(),
        device: name.to_owned(),
        in_layout: None,
        destroy: erases(name),
        bios_boot: None,
    };
    names.into_iter().map(disk).collect()
}

/// The attributes of `system.build` that prepare the disks in this mode, and that mount
/// them; none where the configuration has no layout.
pub(crate) fn disko_builds(
    facts: &HostFacts,
    mode: DiskoMode,
    deps: bool,
) -> Option<(String, String)> {
    let suffix = if deps { "" } else { "NoDeps" };
    let first = |names: &[&str]| {
        let name = names.iter().find(|name| facts.has_build(name))?;
        Some(format!("{name}{suffix}"))
    };
    let mount = first(&["mount", "mountScript"])?;
    let prepare = match mode {
        DiskoMode::Disko => first(&["destroyFormatMount", "diskoScript"])?,
        DiskoMode::Format => first(&["format", "formatScript"])?,
        DiskoMode::Mount => mount.clone(),
    };
    Some((prepare, mount))
}

/// A function of a system, as a function of what the flake's attribute is: for a flake
/// that is no config repository, the `config` alone.
pub(crate) fn applied_to_system(system: &System, function: &str) -> String {
    match system {
        System::Repository(_) => function.to_owned(),
        System::Flake(_) | System::StorePaths { .. } => {
            format!("c: ({function}) {{ config = c; pkgs = c._module.args.pkgs; }}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flake_may_lie_below_the_root_of_its_tree() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("inner")).unwrap();
        std::fs::create_dir(dir.path().join(".git")).unwrap();
        let root = dir.path().display();
        assert_eq!(below_root(&format!("{root}?rev=1&dir=inner")), Path::new("inner"));
        assert_eq!(below_root(&format!("{root}/inner")), Path::new("inner"));
        assert_eq!(below_root(&root.to_string()), Path::new(""));
    }

    #[test]
    fn a_script_tells_the_devices_that_it_names() {
        let text =
            "disk=/dev/disk/by-id/virtio-S1\nwipefs \"/dev/vdb\" >/dev/null 2>&1; x=/dev/vdb";
        let found: Vec<String> = devices_in(text).into_iter().map(|disk| disk.device).collect();
        assert_eq!(found, ["/dev/disk/by-id/virtio-S1", "/dev/null", "/dev/vdb"]);
    }

    #[test]
    fn a_script_tells_which_of_its_devices_it_erases() {
        let erased = |text: &str| -> Vec<String> {
            let disks = devices_in(text).into_iter().filter(|disk| disk.destroy);
            disks.map(|disk| disk.device).collect()
        };
        let text = "for dev in '/dev/vda' /dev/vdb-x;\ndo\n  wipe \"$dev\"\ndone\nsgdisk /dev/vdb";
        assert_eq!(erased(text), ["/dev/vda", "/dev/vdb-x"]);
        assert_eq!(erased("for dev in ; do wipe; done; sgdisk /dev/vdb"), [] as [&str; 0]);
        assert_eq!(erased("sgdisk /dev/vdb"), ["/dev/vdb"]);
    }

    #[test]
    fn stubs_are_of_the_kind_that_is_read() {
        assert!(
            serde_json::from_str::<serde_json::Value>(&stub_of(Path::new("facter.json"))).is_ok()
        );
        assert!(stub_of(Path::new("hardware.nix")).contains("hostPlatform"));
    }
}
