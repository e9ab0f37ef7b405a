//! `cargo xtask lab setup`: makes each piece of the lab once, saying how long it took.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use super::base::checkout;
use super::{base, nix_bundle, packages, sops};
use crate::cache::Cache;
use crate::run::quiet;

pub fn run(cache: &Cache) -> Result<()> {
    println!("the lab's cache folder: {}", cache.root().display());
    let _lock = cache.lock()?;
    step("packages", || packages::ensure(&packages::NEEDED, &packages::PROGRAMS))?;
    step("nix", || nix_bundle::ensure(cache))?;
    step("sops", || sops::ensure(cache))?;
    step("base", || base::ensure(cache))?;
    step("inputs", || base::ensure_inputs(cache))
}

/// Runs one part and prints its time.
fn step(name: &str, part: impl FnOnce() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    part().with_context(|| format!("lab setup: {name}"))?;
    println!("{name:<12} {:>6.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Builds the landfall of this checkout, beside xtask.
pub fn build_landfall() -> Result<()> {
    step("landfall", || {
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--quiet", "--locked", "--package", "landfall"]);
        quiet(cargo.current_dir(checkout()))
    })
}
