//! What a process in the lab has around it: variables, nix's settings and folders, and the
//! namespaces that it is started in.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::{namespace, nix_bundle, sops};
use crate::cache::Cache;

/// Settings of nix in the lab. A diverted or sandboxed store does not work on a host
/// without /nix, and the lab has no network to substitute from.
const NIX_CONF: &str = "\
experimental-features = nix-command flakes
sandbox = false
build-users-group =
substituters =
flake-registry =
use-registries = false
require-sigs = false
trusted-users = *
fsync-metadata = false
max-jobs = 2
";

/// Says whether this process already sees the lab's /nix.
pub(crate) fn is_inside(cache: &Cache) -> bool {
    namespace::same_folder(Path::new("/nix"), &cache.path("nix"))
        && std::env::var_os("NIX_REMOTE").is_some()
}

/// Lists what the lab adds to the environment of every command in it.
pub(crate) fn environment(cache: &Cache) -> Vec<(&'static str, OsString)> {
    vec![
        ("LANDFALL_LAB_CACHE", cache.root().into()),
        ("PATH", search_path(cache)),
        ("NIX_CONF_DIR", cache.path("etc/nix").into()),
        ("NIX_USER_CONF_FILES", "/dev/null".into()),
        ("NIX_CACHE_HOME", cache.path("nix-cache").into()),
    ]
}

/// Puts the lab's programs first, and adds the folders of system programs that a user may
/// lack.
fn search_path(cache: &Cache) -> OsString {
    let mut dirs = vec![nix_bundle::prefix(cache).join("bin"), sops::bin(cache)];
    let host = std::env::var_os("PATH").unwrap_or_default();
    dirs.extend(std::env::split_paths(&host).filter(|dir| !dirs.contains(dir)).collect::<Vec<_>>());
    for system in ["/usr/sbin", "/sbin"] {
        if !dirs.iter().any(|dir| dir == Path::new(system)) {
            dirs.push(system.into());
        }
    }
    std::env::join_paths(dirs).unwrap_or(host)
}

/// Makes the folders and settings that nix needs before it runs.
pub(crate) fn make_store_folders(cache: &Cache) -> Result<()> {
    for dir in ["nix/store", "nix/var/nix", "nix-cache", "etc/nix", "root"] {
        let dir = cache.path(dir);
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let conf = cache.path("etc/nix/nix.conf");
    if fs::read_to_string(&conf).is_ok_and(|text| text == NIX_CONF) {
        return Ok(());
    }
    fs::write(&conf, NIX_CONF).with_context(|| format!("cannot write {}", conf.display()))
}

/// Lists the arguments with which `unshare` gives a mount namespace; whoever is not root keeps
/// their name in a user namespace that lets them mount.
pub(crate) fn namespace_arguments() -> Vec<&'static str> {
    let mut words = vec!["--mount", "--propagation", "private"];
    if !rustix::process::geteuid().is_root() {
        words.extend(["--user", "--map-current-user", "--keep-caps"]);
    }
    words
}
