//! `cargo xtask lab enter -- COMMAND`: runs a command where /nix, a recent nix and sops
//! are there, and the host is otherwise as it was.
//!
//! The command gets a mount namespace of its own; builds go to a daemon that cannot write
//! to the host. Called inside the lab, it just runs the command.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use super::daemon::Daemon;
use super::{namespace, nix_bundle, setup, sops};
use crate::cache::Cache;
use crate::run::{catch_interrupts, tethered, wait_through_interrupts};

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

/// Makes the lab, what `prepare` adds to it, and landfall, and runs this very command in
/// there. None when this is inside already; from then on Ctrl-C only ends waits.
pub fn with_this_command(
    cache: &Cache,
    prepare: impl FnOnce() -> Result<()>,
) -> Result<Option<ExitCode>> {
    if is_inside(cache) {
        catch_interrupts()?;
        return Ok(None);
    }
    setup::run(cache)?;
    prepare()?;
    setup::build_landfall()?;
    let again: Vec<String> = std::env::args().collect();
    run(cache, &again).map(Some)
}

/// Runs the command and returns its exit code.
pub fn run(cache: &Cache, command: &[String]) -> Result<ExitCode> {
    if is_inside(cache) {
        let error = Command::new(&command[0]).args(&command[1..]).exec();
        return Err(error).with_context(|| format!("cannot run {}", command[0]));
    }
    if !(nix_bundle::is_ready(cache) && sops::is_ready(cache)) {
        let _lock = cache.lock()?;
        nix_bundle::ensure(cache)?;
        sops::ensure(cache)?;
    }
    make_store_folders(cache)?;
    let daemon = Daemon::start(cache)?;
    let mut child =
        client(cache, &daemon, command)?.spawn().context("cannot run unshare (util-linux)")?;
    // Ctrl-C reaches the command by itself; this process stays to end the daemon.
    let status = wait_through_interrupts(&mut child)?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(1));
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// A command of the host that runs another one in the lab.
pub fn command(words: &[&OsStr]) -> Result<Command> {
    let mut command = Command::new(crate::run::own_program()?);
    command.args(["lab", "enter", "--"]).args(words);
    Ok(command)
}

/// Whether this process already sees the lab's /nix.
pub fn is_inside(cache: &Cache) -> bool {
    namespace::same_folder(Path::new("/nix"), &cache.path("nix"))
        && std::env::var_os("NIX_REMOTE").is_some()
}

fn client(cache: &Cache, daemon: &Daemon, command: &[String]) -> Result<Command> {
    let mut client = tethered("unshare");
    client
        .args(namespace_arguments())
        .arg("--")
        .arg(crate::run::own_program()?)
        .args(["lab", "inside", "client", "--"])
        .args(command)
        .envs(environment(cache))
        .env("NIX_REMOTE", daemon.remote());
    Ok(client)
}

/// What `unshare` needs to give a mount namespace; whoever is not root keeps their name in
/// a user namespace that lets them mount.
pub fn namespace_arguments() -> Vec<&'static str> {
    let mut words = vec!["--mount", "--propagation", "private"];
    if !rustix::process::geteuid().is_root() {
        words.extend(["--user", "--map-current-user", "--keep-caps"]);
    }
    words
}

/// Runs in the new namespace: puts /nix in place and becomes the command.
pub fn inside(cache: &Cache, command: &[String]) -> Result<ExitCode> {
    namespace::writable(&cache.path("root"), &cache.path("nix"))?;
    let mut words: Vec<&str> = command.iter().map(String::as_str).collect();
    if !rustix::process::geteuid().is_root() {
        // The rights to mount were for this process only.
        words.splice(..0, ["setpriv", "--inh-caps", "-all", "--ambient-caps", "-all", "--"]);
    }
    let error = Command::new(words[0]).args(&words[1..]).exec();
    Err(error).with_context(|| format!("cannot run {}", command[0]))
}

/// What the lab adds to the environment of every command in it.
pub fn environment(cache: &Cache) -> Vec<(&'static str, OsString)> {
    vec![
        ("LANDFALL_LAB_CACHE", cache.root().into()),
        ("PATH", search_path(cache)),
        ("NIX_CONF_DIR", cache.path("etc/nix").into()),
        ("NIX_USER_CONF_FILES", "/dev/null".into()),
        ("NIX_CACHE_HOME", cache.path("nix-cache").into()),
    ]
}

/// The lab's programs first, and the folders of system programs that a user may lack.
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

/// The folders and settings that nix needs before it runs.
pub fn make_store_folders(cache: &Cache) -> Result<()> {
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
