//! The steps of one journey: which of the sixteen run, and why the others do not.

pub(crate) mod changes;
pub(crate) mod engine;

use std::cell::OnceCell;

use crate::config::Config;
use crate::config::installation::{Installation, Phases};
use crate::error::{Exit, StepError};
use crate::run::plan::{Plan, PlanStep};
use crate::run::step::{Decider, Disposition, Machine, Status, StepId};
use crate::steps;
use crate::steps::Step;
use crate::steps::context::Context;

/// A step of this journey.
pub(crate) struct Planned {
    pub(crate) step: Box<dyn Step>,
    /// Whether it runs: as flags select it, else as the step itself says when it is asked.
    disposition: OnceCell<Disposition>,
}

impl Planned {
    fn new(step: Box<dyn Step>, not_selected: Option<String>) -> Self {
        let disposition = OnceCell::new();
        if let Some(reason) = not_selected {
            disposition.get_or_init(|| Disposition::not_selected(reason));
        }
        Self { step, disposition }
    }

    /// Whether the step runs; it is asked once.
    pub(crate) fn disposition(&self, cx: &Context) -> Result<&Disposition, StepError> {
        if let Some(known) = self.disposition.get() {
            return Ok(known);
        }
        let disposition = self.step.disposition(cx)?;
        Ok(self.disposition.get_or_init(|| disposition))
    }

    /// Whether the flags that select steps want it.
    fn is_selected(&self) -> bool {
        !matches!(self.disposition.get(), Some(Disposition::Skip { by: Decider::Selection, .. }))
    }
}

/// Which steps the user wants to run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    only: Vec<StepId>,
    skip: Vec<StepId>,
    until: Option<StepId>,
}

/// The steps of `landfall install`.
const INSTALL: [StepId; 9] = [
    StepId::Check,
    StepId::Identity,
    StepId::Installer,
    StepId::Hardware,
    StepId::Build,
    StepId::Disks,
    StepId::Copy,
    StepId::Install,
    StepId::Reboot,
];
/// What proves that nothing is destroyed or trusted by mistake always runs.
const ALWAYS: [StepId; 2] = [StepId::Check, StepId::Installer];
/// Later steps rest on what these prove: they run, or have run, or nothing does.
const PROOFS: [StepId; 5] =
    [StepId::Check, StepId::Identity, StepId::Secrets, StepId::Lock, StepId::Installer];

impl Selection {
    /// Refuses to leave out a step that later ones rest on.
    pub(crate) fn new(
        only: Vec<StepId>,
        skip: Vec<StepId>,
        until: Option<StepId>,
    ) -> Result<Self, StepError> {
        if let Some(step) = skip.iter().find(|step| PROOFS.contains(step)) {
            return Err(StepError::new(
                format!("{step} cannot be skipped"),
                "the steps after it rest on what it proves",
                "Leave it out of --skip. --no-secrets installs without secrets.",
            )
            .exit(Exit::Usage));
        }
        Ok(Self { only, skip, until })
    }

    fn leaves_out(&self, id: StepId) -> Option<String> {
        if self.until.is_some_and(|until| id > until) {
            return Some("after the step that the run stops at".into());
        }
        if self.skip.contains(&id) {
            return Some("left out by --skip".into());
        }
        let listed = self.only.is_empty() || self.only.contains(&id) || ALWAYS.contains(&id);
        (!listed).then(|| "not among --only".into())
    }
}

/// The steps of the journey in their order.
pub(crate) fn steps(config: &Config, selection: &Selection) -> Vec<Planned> {
    let planned = |step: Box<dyn Step>| {
        let id = step.id();
        Planned::new(step, selection.leaves_out(id).or_else(|| no_phase_of(config, id)))
    };
    StepId::ALL
        .into_iter()
        .filter(|id| config.host_system().is_some() || INSTALL.contains(id))
        .map(steps::step)
        .map(planned)
        .collect()
}

/// Why a step is left out by `--phases`.
fn no_phase_of(config: &Config, id: StepId) -> Option<String> {
    let Installation { phases, only_phases, .. } = config.installation;
    (only_phases && !in_phases(phases, id)).then(|| "not among --phases".into())
}

/// Says whether a step has a part in these phases. What proves who answers and what is
/// there always has; `installer` itself looks whether it may replace the system.
fn in_phases(phases: Phases, step: StepId) -> bool {
    match step {
        StepId::Check | StepId::Identity | StepId::Installer => true,
        StepId::Secrets | StepId::Lock | StepId::Hardware | StepId::Build => {
            phases.disko || phases.install
        }
        StepId::Disks => phases.disko,
        StepId::Copy | StepId::Install => phases.install,
        StepId::Reboot => phases.reboot,
        _ => false,
    }
}

/// Whether `plan` has every step that there is for its configuration.
pub(crate) fn is_whole(config: &Config, plan: &[Planned]) -> bool {
    let all = if config.host_system().is_some() { StepId::ALL.len() } else { INSTALL.len() };
    plan.len() == all && plan.iter().all(Planned::is_selected)
}

/// The plan as it would be carried out now; observes, changes nothing.
pub(crate) fn plan(cx: &Context, steps: &[Planned]) -> Plan {
    let rows = steps
        .iter()
        .map(|planned| {
            let effects = planned.step.effects(cx);
            let row = PlanStep::new(planned.step.id(), effects);
            let disposition = match planned.disposition(cx) {
                Ok(disposition) => disposition,
                Err(error) => return row.observed(&Status::Blocked(error)),
            };
            if let Disposition::Skip { reason, .. } = disposition {
                return row.skipped(reason);
            }
            let row = row.with_details(planned.step.details(cx));
            let elsewhere = effects.iter().any(|e| e.machine != Machine::Source);
            if elsewhere && cx.connection.address.is_none() {
                return row.observed(&Status::Ready); // nobody to ask: as on a blank machine
            }
            match planned.step.observe(cx) {
                Ok(status) => row.observed(&status),
                Err(error) => row.observed(&Status::Blocked(error)),
            }
        })
        .collect();
    let mut plan = Plan::new(cx.config.host.as_str(), rows);
    plan.run = Some(cx.run.run);
    plan.strategy = Some(cx.config.strategy());
    plan.phase = Some(cx.connection.phase.to_string());
    plan.target = cx.connection.address.as_ref().map(ToString::to_string);
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_keep_what_proves_and_leave_the_rest() {
        let none = Phases { kexec: false, disko: false, install: false, reboot: false };
        let install = Phases { install: true, ..none };
        for step in [StepId::Check, StepId::Identity, StepId::Installer, StepId::Build] {
            assert!(in_phases(install, step), "{step}");
        }
        assert!(in_phases(install, StepId::Copy) && in_phases(install, StepId::Install));
        assert!(!in_phases(install, StepId::Disks) && !in_phases(install, StepId::Reboot));
        let reboot = Phases { reboot: true, ..none };
        assert!(in_phases(reboot, StepId::Reboot) && !in_phases(reboot, StepId::Build));
        assert!(!in_phases(Phases::ALL, StepId::Login));
    }
}
