//! One file per step of the journey.

pub(crate) mod build;
pub(crate) mod check;
pub(crate) mod connect;
pub(crate) mod context;
pub(crate) mod copy;
pub(crate) mod disks;
#[cfg(test)]
mod example;
pub mod hardware;
pub(crate) mod identity;
pub(crate) mod install;
pub(crate) mod installer;
pub(crate) mod lock;
pub(crate) mod login;
pub(crate) mod publish;
pub(crate) mod reboot;
pub(crate) mod rebuild;
pub(crate) mod repos;
pub(crate) mod retire;
pub(crate) mod secrets;
pub(crate) mod shared_edit;
pub(crate) mod undo;

use context::Context;

use crate::error::StepError;
use crate::run::step::{Disposition, Effect, Evidence, Status, StepId};

/// The step with this id.
pub(crate) fn step(id: StepId) -> Box<dyn Step> {
    match id {
        StepId::Check => Box::new(check::Check),
        StepId::Identity => Box::new(identity::IdentityStep),
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

/// A step of the journey. `observe` never changes anything; after a successful
/// `apply` it must say `Done`.
pub(crate) trait Step {
    fn id(&self) -> StepId;
    /// What it changes; where that depends on the configuration, what it would change here.
    fn effects(&self, cx: &Context) -> &'static [Effect];
    /// What the plan tells of it beyond its effects.
    fn details(&self, _cx: &Context) -> Vec<String> {
        Vec::new()
    }
    /// Whether this configuration has a use for the step; where not, it is not looked at.
    fn disposition(&self, _cx: &Context) -> Result<Disposition, StepError> {
        Ok(Disposition::Run)
    }
    /// Whether questions rest on what it finds or makes: then it runs before any is asked.
    fn is_groundwork(&self) -> bool {
        false
    }
    /// Whether what it proves holds beyond this process; else each process does it anew.
    fn lasts(&self) -> bool {
        true
    }
    fn observe(&self, cx: &Context) -> Result<Status, StepError>;
    /// Asks a person, early and once, whether and how the step may run; flags and settings
    /// that answer are a person's word too.
    fn confirm(&self, _cx: &mut Context) -> Result<Disposition, StepError> {
        Ok(Disposition::Run)
    }
    /// What `Started` records: enough to recognise half-done work.
    fn intention(&self, _cx: &Context) -> Result<Evidence, StepError> {
        Ok(Evidence::default())
    }
    fn apply(&self, cx: &mut Context) -> Result<(), StepError>;
}
