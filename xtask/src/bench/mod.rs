//! `cargo xtask bench …`: how fast landfall is beside what people use now, measured in one run.

mod journey;
mod secrets;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

#[derive(Subcommand)]
pub enum BenchCommand {
    /// Direct and staged, each in a virtual machine, one after the other
    Journey,
    /// Re-encryption and verification beside real sops
    Secrets,
}

pub fn run(command: &BenchCommand) -> Result<ExitCode> {
    match command {
        BenchCommand::Journey => journey::run(),
        BenchCommand::Secrets => secrets::run(),
    }
}
