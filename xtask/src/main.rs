//! What developers of landfall run: `cargo xtask …`.
//!
//! This file only parses and dispatches; each subcommand has a module of its own. From top to
//! bottom: the commands (`bench`, `tests`, `corpus`), the `journey` that they make, the `lab`
//! that it takes place in, its virtual machines (`vm`), and what all of them stand on
//! (`cache`, `checkout`, `process`, `temp_dir`). A module imports only from those below it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool that talks to a terminal")]
#![allow(clippy::disallowed_methods, reason = "exec is the product's door, not that of its tools")]

mod bench;
mod cache;
mod checkout;
mod corpus;
mod journey;
mod lab;
mod process;
mod temp_dir;
mod tests;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Set-up, tests and the demo of landfall.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the lab and install a blank virtual machine, with proof
    Demo(journey::DemoArgs),
    /// Make the lab and run checks, tests and journeys
    Test(tests::TestArgs),
    /// Measure landfall beside what people use now
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Edit every .sops.yaml of a corpus, and show what becomes of each
    Corpus(corpus::CorpusArgs),
    /// Pieces of the virtual lab
    #[command(subcommand)]
    Lab(lab::LabCommand),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(args) => journey::run(&args),
        Command::Test(args) => tests::run(&args),
        Command::Bench(command) => bench::run(&command),
        Command::Corpus(args) => corpus::run(&args),
        Command::Lab(command) => lab::run(command),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
