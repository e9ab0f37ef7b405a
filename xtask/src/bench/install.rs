//! `landfall install` beside nixos-anywhere: the same flake, layout, disk and machine.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use crate::cache::Cache;
use crate::journey::{self, Scenario, comparison};
use crate::lab::setup;

/// The flags of `cargo xtask bench install`.
#[derive(Args)]
pub(crate) struct InstallArgs {
    /// The program nixos-anywhere
    #[arg(long, value_name = "FILE")]
    nixos_anywhere: PathBuf,
    /// How often each of the two installs
    #[arg(long, default_value_t = 2)]
    runs: u32,
}

/// Makes the lab if it is not there, and the installations inside it, in turn.
pub(crate) fn run(args: &InstallArgs) -> Result<ExitCode> {
    let program = args.nixos_anywhere.canonicalize();
    let program = program.with_context(|| {
        let named = args.nixos_anywhere.display();
        format!("cannot find {named}; name the program with --nixos-anywhere FILE")
    })?;
    let cache = Cache::open()?;
    if let Some(code) = setup::rerun_inside(&cache, || Ok(()))? {
        return Ok(code);
    }
    let (ours, theirs) = (comparison::by_landfall(), comparison::by_nixos_anywhere(&program));
    let (mut ours_took, mut theirs_took) = (Vec::new(), Vec::new());
    for _ in 0..args.runs.max(1) {
        ours_took.push(timed(&cache, &ours)?);
        theirs_took.push(timed(&cache, &theirs)?);
    }
    ours_took.sort_by(f64::total_cmp);
    theirs_took.sort_by(f64::total_cmp);
    println!("\nseconds until the installed system lets its user in");
    println!("{:<18} {:>8} {:>8} {:>8}", "", "least", "median", "most");
    for (scenario, took) in [(&ours, &ours_took), (&theirs, &theirs_took)] {
        let (least, most) = (took[0], took[took.len() - 1]);
        println!("{:<18} {least:>8.1} {:>8.1} {most:>8.1}", scenario.name, median(took));
    }
    let ratio = median(&theirs_took) / median(&ours_took);
    println!("nixos-anywhere takes {ratio:.2} times as long");
    Ok(ExitCode::SUCCESS)
}

/// Makes an installation, and gives what it took, seconds.
fn timed(cache: &Cache, scenario: &Scenario) -> Result<f64> {
    println!("\n── {}", scenario.name);
    let seconds = journey::time(cache, scenario)?;
    println!("── {}: {seconds:.1} s", scenario.name);
    Ok(seconds)
}

/// Returns the value in the middle, or between the two in the middle.
fn median(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    match sorted.len() % 2 {
        0 => f64::midpoint(sorted[half - 1], sorted[half]),
        _ => sorted[half],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[1.0, 2.0, 3.0]), 2.0);
        assert_eq!(median(&[1.0, 4.0]), 2.5);
    }
}
