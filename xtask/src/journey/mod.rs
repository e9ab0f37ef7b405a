//! The whole journey in a virtual machine, and the proof that it went well.
//!
//! One operator, one forge, one machine with blank disks: `cargo xtask demo` makes it for
//! people, `cargo xtask test` in many variations. A variation is a [`Scenario`].

mod course;
mod jump;
mod operator;
mod proof;
mod report;
mod repos;
mod scenario;
mod scenarios;
mod target;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Args;

use crate::cache::Cache;
use crate::lab::{enter, foreign};
use crate::run::interrupted;
use crate::scratch::Scratch;
use crate::vm::Bus;
use scenario::{Act, Begins};

pub use course::Outcome;
pub use scenario::{Ends, Scenario, Share};
pub use scenarios::{Sabotage, all, beside, named};

#[derive(Args)]
pub struct DemoArgs {
    /// Make this journey of `cargo xtask test`
    #[arg(long, value_name = "NAME")]
    journey: Option<String>,
    /// Leave the machine running until Ctrl-C, and say how to log in
    #[arg(long)]
    keep: bool,
    /// Do something that must make the journey fail
    #[arg(long, value_enum)]
    sabotage: Option<Sabotage>,
    /// How the machine's disks are attached
    #[arg(long, value_enum)]
    bus: Option<Bus>,
    /// Layout of the disk, as `landfall init` names it
    #[arg(long)]
    layout: Option<String>,
    /// Kill landfall in the middle of this step, then run it again
    #[arg(long, value_name = "STEP")]
    kill_during: Option<String>,
}

impl DemoArgs {
    /// The journey that is named, else the main one, with what the flags change.
    fn scenario(&self) -> Result<Scenario> {
        let mut scenario = self.journey.as_deref().map_or(Ok(Scenario::staged()), named)?;
        if let Some(layout) = &self.layout {
            scenario.layout.clone_from(layout);
        }
        for disk in &mut scenario.disks {
            disk.bus = self.bus.unwrap_or(disk.bus);
        }
        if let Some(step) = &self.kill_during {
            scenario.acts.insert(0, Act::KilledDuring(step.clone()));
        }
        Ok(match self.sabotage {
            Some(sabotage) => scenarios::sabotaged(sabotage, scenario),
            None => scenario,
        })
    }
}

/// Makes the lab if it is not there, and the journey inside it.
pub fn run(args: &DemoArgs) -> Result<ExitCode> {
    let scenario = args.scenario()?;
    let cache = Cache::open()?;
    let debian = || match scenario.begins {
        Begins::Debian => foreign::ensure(&cache),
        Begins::Installer => Ok(()),
    };
    if let Some(code) = enter::with_this_command(&cache, debian)? {
        return Ok(code);
    }
    let outcome = travel(&cache, &scenario, args.keep)?;
    let failed = outcome.failed();
    ensure!(failed == 0, "{failed} of {} claims do not hold", outcome.claims.len());
    println!("all {} claims hold", outcome.claims.len());
    Ok(ExitCode::SUCCESS)
}

/// Makes a journey inside the lab, and reports it.
pub fn travel(cache: &Cache, scenario: &Scenario, keep: bool) -> Result<Outcome> {
    let mut scratch = Scratch::new("demo")?;
    let ended = course::make(cache, scratch.path(), scenario, keep);
    let whole = ended.as_ref().is_ok_and(|outcome| outcome.failed() == 0);
    if !whole && !interrupted() {
        scratch.keep();
        eprintln!("what is left of the journey is in {}", scratch.path().display());
    }
    ended
}

/// Makes the acts of a journey inside the lab; gives what they took, seconds.
pub fn time(cache: &Cache, scenario: &Scenario) -> Result<f64> {
    course::time(cache, Scratch::new("bench")?.path(), scenario)
}
