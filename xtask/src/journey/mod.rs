//! The whole journey in a virtual machine, and the proof that it went well.
//!
//! One operator, one forge, one machine with blank disks: `cargo xtask demo` makes it for
//! people, `cargo xtask test` in many variations. A variation is a [`Scenario`]: data, listed
//! in `scenarios`.
//!
//! From top to bottom: `scenarios`, `make` and `report`; `scenario`, of `actions` and `claims`;
//! the `fixture` that these work on, and the `setup` that it is prepared from; at the ground the
//! people, servers, repositories and machines. A module imports only from those below it.

mod actions;
mod claims;
mod command_result;
mod fixture;
mod image;
mod make;
mod operator;
mod report;
mod repos;
mod scenario;
mod scenarios;
mod servers;
mod setup;
mod ssh_host;
mod status;
mod target;
mod typist;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Args;

use crate::cache::Cache;
use crate::lab::{foreign, setup as lab_setup};
use crate::vm::Bus;
use scenario::Action;
use setup::InitialSystem;

pub(crate) use make::{make, time};
pub(crate) use report::Outcome;
pub(crate) use scenario::{Ending, Scenario, Schedule};
pub(crate) use scenarios::{Sabotage, all, comparison, named};

/// The flags of `cargo xtask demo`.
#[derive(Args)]
pub(crate) struct DemoArgs {
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
    /// Returns the journey that is named, else the main one, with what the flags change.
    fn scenario(&self) -> Result<Scenario> {
        let mut scenario = self.journey.as_deref().map_or(Ok(Scenario::staged()), named)?;
        if let Some(layout) = &self.layout {
            scenario.setup.layout.clone_from(layout);
        }
        for disk in &mut scenario.setup.disks {
            disk.bus = self.bus.unwrap_or(disk.bus);
        }
        if let Some(step) = &self.kill_during {
            scenario.actions.insert(0, Action::BootstrapKilledDuring(step.clone()));
        }
        Ok(match self.sabotage {
            Some(sabotage) => scenarios::sabotaged(sabotage, scenario),
            None => scenario,
        })
    }
}

/// Makes the lab if it is not there, and the journey inside it.
pub(crate) fn run(args: &DemoArgs) -> Result<ExitCode> {
    let scenario = args.scenario()?;
    let cache = Cache::open()?;
    let debian = || match scenario.setup.initial_system {
        InitialSystem::Debian => foreign::ensure(&cache),
        InitialSystem::Installer => Ok(()),
    };
    if let Some(code) = lab_setup::rerun_inside(&cache, debian)? {
        return Ok(code);
    }
    let outcome = make(&cache, &scenario, args.keep)?;
    let failed = outcome.failed();
    ensure!(failed == 0, "{failed} of {} claims do not hold", outcome.claims.len());
    println!("all {} claims hold", outcome.claims.len());
    Ok(ExitCode::SUCCESS)
}
