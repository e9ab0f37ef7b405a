//! Parses the command line, runs the command, ends with its exit code.

use std::process::ExitCode;

use clap::Parser;
use landfall::cli::{self, Cli};

fn main() -> ExitCode {
    landfall::secret::forbid_core_dumps();
    // ssh starts this program again to ask for a password; that is no command.
    if let Some(exit) = landfall::answer_ssh() {
        return exit;
    }
    cli::main(&Cli::parse())
}
