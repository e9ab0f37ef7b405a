//! `cargo xtask bench …`: how fast landfall is beside what people use now, measured in one run.

mod secrets;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

#[derive(Subcommand)]
pub enum BenchCommand {
    /// Re-encryption and verification beside real sops
    Secrets,
}

pub fn run(command: &BenchCommand) -> Result<ExitCode> {
    match command {
        BenchCommand::Secrets => secrets::run(),
    }
}
