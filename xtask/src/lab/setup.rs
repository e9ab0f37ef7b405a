//! `cargo xtask lab setup`: makes each piece of the lab once, saying how long it took.

use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result};

use super::{base, enter, environment, nix_bundle, packages, sops};
use crate::cache::Cache;
use crate::checkout;
use crate::process::{catch_interrupts, quiet};

/// Makes every piece of the lab that is missing or out of date.
pub(crate) fn run(cache: &Cache) -> Result<()> {
    println!("the lab's cache folder: {}", cache.root().display());
    let _lock = cache.lock()?;
    step("packages", || packages::ensure(&packages::NEEDED))?;
    step("nix", || nix_bundle::ensure(cache))?;
    step("sops", || sops::ensure(cache))?;
    step("base", || base::ensure(cache))?;
    step("inputs", || base::ensure_inputs(cache))
}

/// Makes the lab, what `prepare` adds to it, and landfall, and runs this very command in
/// there. None when this is inside already; from then on Ctrl-C only ends waits.
pub(crate) fn rerun_inside(
    cache: &Cache,
    prepare: impl FnOnce() -> Result<()>,
) -> Result<Option<ExitCode>> {
    if environment::is_inside(cache) {
        catch_interrupts()?;
        return Ok(None);
    }
    run(cache)?;
    prepare()?;
    build_landfall()?;
    let this_command: Vec<String> = std::env::args().collect();
    enter::run(cache, &this_command).map(Some)
}

/// Runs one part and prints its time.
fn step(name: &str, part: impl FnOnce() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    part().with_context(|| format!("lab setup: {name}"))?;
    println!("{name:<12} {:>6.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Builds the landfall of this checkout, beside xtask.
fn build_landfall() -> Result<()> {
    step("landfall", || {
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--quiet", "--locked", "--package", "landfall"]);
        quiet(cargo.current_dir(checkout::root()))
    })
}
