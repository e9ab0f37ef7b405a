//! The virtual lab: a real nix, a miniature nixpkgs and virtual machines, on a machine
//! without NixOS's servers.

pub mod base;
mod daemon;
pub mod enter;
pub mod foreign;
mod namespace;
mod nix_bundle;
mod packages;
pub mod setup;
pub mod sops;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::cache::Cache;
use crate::vm::{self, VmCommand};

#[derive(Subcommand)]
pub enum LabCommand {
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

#[derive(Subcommand)]
pub enum Inside {
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

pub fn run(command: LabCommand) -> Result<ExitCode> {
    let cache = Cache::open()?;
    match command {
        LabCommand::Setup => setup::run(&cache).map(|()| ExitCode::SUCCESS),
        LabCommand::Enter { command } => enter::run(&cache, &command),
        LabCommand::Vm(command) => vm::run(&cache, command),
        LabCommand::Inside(Inside::Client { command }) => enter::inside(&cache, &command),
        LabCommand::Inside(Inside::Builders { socket }) => daemon::inside(&cache, &socket),
    }
}
