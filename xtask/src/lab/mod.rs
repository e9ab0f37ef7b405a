//! The virtual lab: a real nix, a miniature nixpkgs and virtual machines, on a machine
//! without NixOS's servers.
//!
//! `setup` makes its pieces, each of which knows whether it is up to date; `enter` runs a
//! command among them. Invariant: the host stays as it was; what is built lies in the cache.

pub(crate) mod base;
mod daemon;
pub(crate) mod enter;
mod environment;
pub(crate) mod foreign;
mod namespace;
mod nix_bundle;
mod packages;
pub(crate) mod setup;
pub(crate) mod sops;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::cache::Cache;
use crate::vm::{self, VmCommand};

/// What `cargo xtask lab` can do.
#[derive(Subcommand)]
pub(crate) enum LabCommand {
    /// Make everything the lab needs, keeping what is already made
    Setup,
    /// Run a command where nix, sops and /nix are there
    Enter {
        /// The command and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// Virtual machines
    #[command(subcommand)]
    Vm(VmCommand),
    /// The part of `enter` and of the builders' daemon that runs in namespaces of its own
    #[command(hide = true, subcommand)]
    Inside(Inside),
}

/// What runs inside the namespaces that `unshare` has made.
#[derive(Subcommand)]
pub(crate) enum Inside {
    /// Put /nix in place and run the command
    Client {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// Put /nix in place, make the rest read-only, and run the daemon
    Builders {
        #[arg(long)]
        socket: String,
    },
}

/// Runs a subcommand of `cargo xtask lab`.
pub(crate) fn run(command: LabCommand) -> Result<ExitCode> {
    let cache = Cache::open()?;
    match command {
        LabCommand::Setup => setup::run(&cache).map(|()| ExitCode::SUCCESS),
        LabCommand::Enter { command } => enter::run(&cache, &command),
        LabCommand::Vm(command) => vm::run(&cache, command),
        LabCommand::Inside(Inside::Client { command }) => enter::inside(&cache, &command),
        LabCommand::Inside(Inside::Builders { socket }) => daemon::inside(&cache, &socket),
    }
}
