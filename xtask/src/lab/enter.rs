//! `cargo xtask lab enter -- COMMAND`: runs a command where /nix, a recent nix and sops
//! are there, and the host is otherwise as it was.
//!
//! The command gets a mount namespace of its own; builds go to a daemon that cannot write
//! to the host. Called inside the lab, it just runs the command.

use std::ffi::OsStr;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use super::daemon::Daemon;
use super::environment::{environment, is_inside, make_store_folders, namespace_arguments};
use super::{namespace, nix_bundle, sops};
use crate::cache::Cache;
use crate::process::{own_program, tethered, wait_through_interrupts};

/// Runs the command and returns its exit code.
pub(crate) fn run(cache: &Cache, command: &[String]) -> Result<ExitCode> {
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

/// Prepares a command of the host that runs another one in the lab.
pub(crate) fn command(words: &[&OsStr]) -> Result<Command> {
    let mut command = Command::new(own_program()?);
    command.args(["lab", "enter", "--"]).args(words);
    Ok(command)
}

/// Prepares the process that gets the namespace and becomes the command in it.
fn client(cache: &Cache, daemon: &Daemon, command: &[String]) -> Result<Command> {
    let mut client = tethered("unshare");
    client
        .args(namespace_arguments())
        .arg("--")
        .arg(own_program()?)
        .args(["lab", "inside", "client", "--"])
        .args(command)
        .envs(environment(cache))
        .env("NIX_REMOTE", daemon.remote());
    Ok(client)
}

/// Runs in the new namespace: puts /nix in place and becomes the command.
pub(crate) fn inside(cache: &Cache, command: &[String]) -> Result<ExitCode> {
    namespace::writable(&cache.path("root"), &cache.path("nix"))?;
    let mut words: Vec<&str> = command.iter().map(String::as_str).collect();
    if !rustix::process::geteuid().is_root() {
        // The rights to mount were for this process only.
        words.splice(..0, ["setpriv", "--inh-caps", "-all", "--ambient-caps", "-all", "--"]);
    }
    let error = Command::new(words[0]).args(&words[1..]).exec();
    Err(error).with_context(|| format!("cannot run {}", command[0]))
}
