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
use crate::journey;
use crate::lab::setup;
use journeys::Which;
use tally::Tally;

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

pub(crate) fn run(args: &TestArgs) -> Result<ExitCode> {
    let start = Instant::now();
    let named = args.journeys.iter().map(|name| journey::named(name));
    let named: Vec<_> = named.collect::<Result<_>>()?;
    let cache = Cache::open()?;
    setup::run(&cache)?;
    let mut tally = Tally::default();
    if named.is_empty() {
        checks::run(&cache, args.fast, &mut tally);
        rings::run(&mut tally);
    }
    match (named.is_empty(), args.fast, args.all) {
        (false, ..) => journeys::run(&cache, &Which::Named(named), &mut tally),
        (_, true, _) => {}
        (_, _, true) => journeys::run(&cache, &Which::All, &mut tally),
        _ => journeys::run(&cache, &Which::Today, &mut tally),
    }
    println!("\nall of it took {:.0} s", start.elapsed().as_secs_f64());
    Ok(tally.close())
}
