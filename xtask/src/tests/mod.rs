//! `cargo xtask test`: set-up, checks, the tests of rings 1 and 2, and the journeys in
//! virtual machines of ring 3.
//!
//! Everything runs, whatever failed before it, and one closing line counts it all:
//! a check or a journey counts as one, a test runner's tests as many as it says. What was
//! not run is counted as skipped, with its reason.

mod checks;
mod journeys;
mod rings;
mod tally;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Args;

use crate::cache::Cache;
use crate::lab::setup;
use tally::Tally;

#[derive(Args)]
pub struct TestArgs {
    /// Only checks and the tests that need no virtual machine
    #[arg(long, conflicts_with = "all")]
    fast: bool,
    /// Every journey, not a share of them
    #[arg(long)]
    all: bool,
}

pub fn run(args: &TestArgs) -> Result<ExitCode> {
    let start = Instant::now();
    let cache = Cache::open()?;
    setup::run(&cache)?;
    let mut tally = Tally::default();
    checks::run(&cache, args.fast, &mut tally);
    rings::run(&mut tally);
    if !args.fast {
        journeys::run(&cache, args.all, &mut tally);
    }
    println!("\nall of it took {:.0} s", start.elapsed().as_secs_f64());
    Ok(tally.close())
}
