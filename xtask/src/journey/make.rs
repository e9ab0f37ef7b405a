//! Makes a journey: prepares it, performs its actions, checks its claims.
//!
//! Invariant: what a journey leaves is removed, unless it failed and so is of use.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use super::fixture::Journey;
use super::report::{self, Outcome};
use super::scenario::Scenario;
use crate::cache::Cache;
use crate::process::interrupted;
use crate::temp_dir::TempDir;

/// Makes a journey inside the lab, and reports it.
pub(crate) fn make(cache: &Cache, scenario: &Scenario, keep: bool) -> Result<Outcome> {
    let mut dir = TempDir::new("demo")?;
    let ended = make_in(cache, dir.path(), scenario, keep);
    let complete = ended.as_ref().is_ok_and(|outcome| outcome.failed() == 0);
    if !complete && !interrupted() {
        dir.keep();
        eprintln!("what is left of the journey is in {}", dir.path().display());
    }
    ended
}

fn make_in(cache: &Cache, dir: &Path, scenario: &Scenario, keep: bool) -> Result<Outcome> {
    let journey = Journey::prepare(cache, dir, &scenario.setup)?;
    let seconds = perform(&journey, scenario)?;
    let claims = scenario.claims.iter().map(|claim| claim.check(&journey)).collect();
    let outcome = Outcome { steps: journey.steps()?, claims, seconds };
    report::print(&journey, &outcome);
    if keep {
        report::keep_running(&journey);
    }
    Ok(outcome)
}

/// Performs the actions of a journey inside the lab; gives what they took, seconds.
pub(crate) fn time(cache: &Cache, scenario: &Scenario) -> Result<f64> {
    let dir = TempDir::new("bench")?;
    perform(&Journey::prepare(cache, dir.path(), &scenario.setup)?, scenario)
}

fn perform(journey: &Journey, scenario: &Scenario) -> Result<f64> {
    let began = Instant::now();
    for action in &scenario.actions {
        if let Err(error) = action.perform(journey) {
            report::print_disks(journey);
            return Err(error);
        }
    }
    Ok(began.elapsed().as_secs_f64())
}
