//! One file per step of the journey.

mod boot;
mod boot_next;
pub mod build;
mod check;
mod copy;
mod disko;
mod disks;
mod extra_files;
mod firmware;
mod flake_hardware;
mod hardware;
mod home;
mod identity;
mod install;
mod installer;
mod installs;
pub mod kept;
pub mod lock;
mod login;
mod publish;
mod reboot;
mod rebuild;
pub mod remote;
mod repos;
mod retire;
pub mod secrets;
mod switch;
mod teardown;
pub mod undo;

use crate::run::step::{Step, StepId};

/// The step with this id.
pub fn step(id: StepId) -> Box<dyn Step> {
    match id {
        StepId::Check => Box::new(check::Check),
        StepId::Identity => Box::new(identity::Identity),
        StepId::Secrets => Box::new(secrets::Secrets),
        StepId::Lock => Box::new(lock::Lock),
        StepId::Installer => Box::new(installer::Installer),
        StepId::Hardware => Box::new(hardware::Hardware),
        StepId::Build => Box::new(build::Build),
        StepId::Disks => Box::new(disks::Disks),
        StepId::Copy => Box::new(copy::Copy),
        StepId::Install => Box::new(install::Install),
        StepId::Reboot => Box::new(reboot::Reboot),
        StepId::Login => Box::new(login::Login),
        StepId::Repos => Box::new(repos::Repos),
        StepId::Rebuild => Box::new(rebuild::Rebuild),
        StepId::Publish => Box::new(publish::Publish),
        StepId::Retire => Box::new(retire::Retire),
    }
}
