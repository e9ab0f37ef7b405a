//! `cargo xtask test`: set-up, checks, the test suites, and the journeys in virtual machines.
//!
//! Invariant: everything runs, whatever failed before it, and one closing line counts it all:
//! a check or a journey counts as one, a test runner's tests as many as it says. What was
//! not run is counted as skipped, with its reason.

mod checks;
mod journeys;
mod suites;
mod tally;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Args;

use crate::cache::Cache;
use crate::journey;
use crate::lab::setup;
use journeys::Which;
use tally::Tally;

/// The flags of `cargo xtask test`.
#[derive(Args)]
pub(crate) struct TestArgs {
    /// Only checks and the tests that need no virtual machine
    #[arg(long, conflicts_with = "all")]
    fast: bool,
    /// Every journey, not a share of them
    #[arg(long)]
    all: bool,
    /// Only this journey; give it again for more
    #[arg(long = "journey", value_name = "NAME", conflicts_with_all = ["fast", "all"])]
    journeys: Vec<String>,
}

/// Runs what the flags ask for, and counts it.
pub(crate) fn run(args: &TestArgs) -> Result<ExitCode> {
    let start = Instant::now();
    let which = args.which_journeys()?;
    let cache = Cache::open()?;
    setup::run(&cache)?;
    let mut tally = Tally::default();
    if args.journeys.is_empty() {
        checks::run(&cache, args.fast, &mut tally);
        suites::run(&mut tally);
    }
    journeys::run(&cache, &which, &mut tally);
    println!("\nall of it took {:.0} s", start.elapsed().as_secs_f64());
    Ok(tally.close())
}

impl TestArgs {
    fn which_journeys(&self) -> Result<Which> {
        if !self.journeys.is_empty() {
            let named = self.journeys.iter().map(|name| journey::named(name));
            return named.collect::<Result<_>>().map(Which::Named);
        }
        Ok(match (self.fast, self.all) {
            (true, _) => Which::Named(Vec::new()),
            (_, true) => Which::All,
            _ => Which::Today,
        })
    }
}
