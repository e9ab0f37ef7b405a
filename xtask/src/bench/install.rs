//! `landfall install` compared with nixos-anywhere: the same flake, layout, disk and machine.

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
    let mut landfall = Measured::new(comparison::by_landfall());
    let mut nixos_anywhere = Measured::new(comparison::by_nixos_anywhere(&program));
    for _ in 0..args.runs.max(1) {
        landfall.run(&cache)?;
        nixos_anywhere.run(&cache)?;
    }
    println!("\nseconds until the installed system lets its user in");
    println!("{:<18} {:>8} {:>8} {:>8}", "", "least", "median", "most");
    println!("{}\n{}", landfall.line(), nixos_anywhere.line());
    let ratio = median(&nixos_anywhere.seconds) / median(&landfall.seconds);
    println!("nixos-anywhere takes {ratio:.2} times as long");
    Ok(ExitCode::SUCCESS)
}

/// An installation, and what each run of it took, seconds, in order of size.
struct Measured {
    scenario: Scenario,
    seconds: Vec<f64>,
}

impl Measured {
    fn new(scenario: Scenario) -> Measured {
        Measured { scenario, seconds: Vec::new() }
    }

    /// Makes the installation once more.
    fn run(&mut self, cache: &Cache) -> Result<()> {
        println!("\n── {}", self.scenario.name);
        let seconds = journey::time(cache, &self.scenario)?;
        println!("── {}: {seconds:.1} s", self.scenario.name);
        self.seconds.push(seconds);
        self.seconds.sort_by(f64::total_cmp);
        Ok(())
    }

    /// Writes a line of the table.
    fn line(&self) -> String {
        let least = self.seconds.first().copied().unwrap_or_default();
        let most = self.seconds.last().copied().unwrap_or_default();
        let median = median(&self.seconds);
        format!("{:<18} {least:>8.1} {median:>8.1} {most:>8.1}", self.scenario.name)
    }
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
