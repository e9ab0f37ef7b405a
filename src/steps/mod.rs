//! One file per step of the journey.

pub mod build;
pub mod check;
pub mod connect;
pub mod context;
pub mod copy;
pub mod disks;
pub mod hardware;
pub mod identity;
pub mod install;
pub mod installer;
pub mod lock;
pub mod login;
pub mod publish;
pub mod reboot;
pub mod rebuild;
pub mod repos;
pub mod retire;
pub mod secrets;
pub mod shared_edit;
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
