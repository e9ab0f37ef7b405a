//! What the repositories tell by themselves, by the rules that hold for most
//! public configurations. Every finding can be overruled in landfall.toml.

use std::path::{Path, PathBuf};

use regex::Regex;

use crate::git::{GitError, Repo};

/// The files that git knows in `repo`, relative to it.
pub fn tracked_files(repo: &Path) -> Result<Vec<PathBuf>, GitError> {
    Repo::open(repo)?.tracked()
}

/// The folder of the flake that installs minimal systems: named for installing,
/// below the root.
pub(crate) fn installer_dir(tracked: &[PathBuf]) -> Option<PathBuf> {
    tracked
        .iter()
        .filter(|path| path.file_name().is_some_and(|name| name == "flake.nix"))
        .filter_map(|path| path.parent())
        .filter(|dir| {
            dir.file_name().is_some_and(|name| name.to_string_lossy().contains("install"))
        })
        .min_by_key(|dir| dir.components().count())
        .map(Path::to_owned)
}

/// `.sops.yaml`: at the root, else the one nearest to it.
pub(crate) fn sops_config(tracked: &[PathBuf]) -> Option<PathBuf> {
    tracked
        .iter()
        .filter(|path| path.file_name().is_some_and(|name| name == ".sops.yaml"))
        .min_by_key(|path| path.components().count())
        .cloned()
}

/// Whether the secrets in `dir` are agenix' (or ragenix', agenix-rekey's) and not sops': files
/// that age alone encrypted, and no rules of sops.
pub(crate) fn is_agenix(dir: &Path) -> bool {
    let tracked = tracked_files(dir).unwrap_or_default();
    let encrypted = |path: &&PathBuf| path.extension().is_some_and(|ending| ending == "age");
    let of_agenix = dir.join("secrets.nix").is_file() || tracked.iter().find(encrypted).is_some();
    of_agenix && sops_config(&tracked).is_none() && !dir.join(".sops.yaml").exists()
}

/// The flake input whose name contains `secret`, as the lock or flake.nix tells.
pub(crate) fn secrets_input(repo: &Path) -> Option<String> {
    let from_lock = std::fs::read(repo.join("flake.lock")).ok().and_then(|text| {
        let lock: serde_json::Value = serde_json::from_slice(&text).ok()?;
        let root = lock["root"].as_str()?.to_owned();
        let inputs = lock["nodes"][&root]["inputs"].as_object()?;
        inputs.keys().find(|name| name.contains("secret")).cloned()
    });
    from_lock.or_else(|| {
        let text = std::fs::read_to_string(repo.join("flake.nix")).ok()?;
        let input = Regex::new(
            r"(?m)^\s*(?:inputs\.)?([A-Za-z0-9_-]*secret[A-Za-z0-9_-]*)\s*(?:\.url\s*)?=",
        )
        .ok()?;
        Some(input.captures(&text)?.get(1)?.as_str().to_owned())
    })
}

/// The checkout of the secrets input: the sibling folder that has its name.
pub(crate) fn secrets_checkout(repo: &Path, input: &str) -> Option<PathBuf> {
    let sibling = repo.parent()?.join(input);
    let sibling = sibling.canonicalize().ok()?;
    sibling.join(".git").exists().then_some(sibling)
}

/// The folders beside `checkout` whose flake reads their secrets from it.
pub(crate) fn readers_beside(checkout: &Path) -> Vec<PathBuf> {
    let beside = checkout.parent().and_then(|dir| std::fs::read_dir(dir).ok());
    let folders = beside.into_iter().flatten().flatten().map(|entry| entry.path());
    let mut readers: Vec<PathBuf> = folders
        .filter(|dir| dir != checkout && dir.join(".git").exists())
        .filter(|dir| {
            let input = secrets_input(dir);
            input.and_then(|input| secrets_checkout(dir, &input)).as_deref() == Some(checkout)
        })
        .collect();
    readers.sort();
    readers
}

/// The hardware file of `host`: the tracked one in a folder with the host's name,
/// else the one that a module of the host imports and that is still to be made.
pub(crate) fn hardware_file(repo: &Path, tracked: &[PathBuf], host: &str) -> Option<PathBuf> {
    let of_host = |path: &&PathBuf| {
        path.parent().is_some_and(|dir| dir.components().any(|part| part.as_os_str() == host))
    };
    let known = |names: &[&str]| {
        tracked.iter().filter(of_host).find(|path| {
            path.file_name().is_some_and(|name| names.iter().any(|known| name == *known))
        })
    };
    let modules = known(&["hardware-configuration.nix", "hardware.nix"]);
    if let Some(path) = modules.or_else(|| known(&["facter.json"])) {
        return Some(path.clone());
    }
    imported(repo, tracked, host, r"[A-Za-z0-9_./-]*hardware[A-Za-z0-9_-]*\.nix")
        .or_else(|| facter_file(repo, tracked, host))
}

/// The report of nixos-facter that belongs to `host`, tracked or still to be made.
pub(crate) fn facter_file(repo: &Path, tracked: &[PathBuf], host: &str) -> Option<PathBuf> {
    let of_host = |path: &&PathBuf| {
        path.ends_with("facter.json")
            && path
                .parent()
                .is_some_and(|dir| dir.components().any(|part| part.as_os_str() == host))
    };
    let known = tracked.iter().find(of_host).cloned();
    known.or_else(|| imported(repo, tracked, host, r"[A-Za-z0-9_./-]*facter[A-Za-z0-9_-]*\.json"))
}

/// The file that a module of the host names as `./FILE`.
fn imported(repo: &Path, tracked: &[PathBuf], host: &str, file: &str) -> Option<PathBuf> {
    let of_host = |path: &&PathBuf| {
        path.parent().is_some_and(|dir| dir.components().any(|part| part.as_os_str() == host))
    };
    let import = Regex::new(&format!(r"(?m)^[^#\n]*?\./({file})")).ok()?;
    let modules = tracked.iter().filter(|path| path.extension().is_some_and(|ext| ext == "nix"));
    modules
        .filter(|path| of_host(path) || path.file_stem().is_some_and(|stem| stem == host))
        .find_map(|path| {
            let text = std::fs::read_to_string(repo.join(path)).ok()?;
            let name = import.captures(&text)?.get(1)?.as_str().to_owned();
            Some(path.parent()?.join(name))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn the_installer_flake_is_named_for_it() {
        let tracked = paths(&["flake.nix", "nixos-installer/flake.nix", "pkgs/x/flake.nix"]);
        assert_eq!(installer_dir(&tracked), Some("nixos-installer".into()));
        assert_eq!(installer_dir(&paths(&["flake.nix", "iso/flake.nix"])), None);
    }

    #[test]
    fn the_nearest_sops_config_wins() {
        let tracked = paths(&["modules/a/.sops.yaml", "secrets/.sops.yaml"]);
        assert_eq!(sops_config(&tracked), Some("secrets/.sops.yaml".into()));
    }

    #[test]
    fn a_missing_hardware_file_is_where_the_host_imports_it() {
        let dir = tempfile::tempdir().unwrap();
        let host = dir.path().join("hosts/guppy");
        std::fs::create_dir_all(&host).unwrap();
        std::fs::write(
            host.join("default.nix"),
            "{\n  # ./old-hardware.nix\n  imports = [\n    ./hardware-configuration.nix\n  ];\n}\n",
        )
        .unwrap();
        let tracked = paths(&["hosts/guppy/default.nix", "hosts/pike/hardware-configuration.nix"]);
        assert_eq!(
            hardware_file(dir.path(), &tracked, "guppy"),
            Some("hosts/guppy/hardware-configuration.nix".into())
        );
        assert_eq!(
            hardware_file(dir.path(), &tracked, "pike"),
            Some("hosts/pike/hardware-configuration.nix".into())
        );
    }

    #[test]
    fn the_secrets_input_is_found_without_a_lock() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("flake.nix"),
            "{ inputs = {\n  nix-secrets.url = \"git+ssh://x\";\n}; }",
        )
        .unwrap();
        assert_eq!(secrets_input(dir.path()), Some("nix-secrets".into()));
    }
}
