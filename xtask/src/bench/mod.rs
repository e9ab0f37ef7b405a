//! `cargo xtask bench …`: how fast landfall is beside what people use now.
//!
//! Invariant: both are measured in one run, on the same machine and the same input.

mod install;
mod journey;
mod secrets;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

/// What is measured.
#[derive(Subcommand)]
pub(crate) enum BenchCommand {
    /// `landfall install` and nixos-anywhere, in turn, each in a virtual machine
    Install(install::InstallArgs),
    /// Direct and staged, each in a virtual machine, one after the other
    Journey,
    /// Re-encryption and verification beside real sops
    Secrets,
}

/// Runs a measurement.
pub(crate) fn run(command: &BenchCommand) -> Result<ExitCode> {
    match command {
        BenchCommand::Install(args) => install::run(args),
        BenchCommand::Journey => journey::run(),
        BenchCommand::Secrets => secrets::run(),
    }
}
