//! Step 5: the target runs a NixOS installer.

use crate::address::ADDRESSES;
use crate::context::Context;
use crate::error::{Exit, StepError};
use crate::machine::{Phase, TargetFacts};
use crate::step::{Effect, Evidence, Machine, Status, Step, StepId};

pub struct Installer;

impl Step for Installer {
    fn id(&self) -> StepId {
        StepId::Installer
    }

    fn effects(&self) -> &'static [Effect] {
        &[Effect {
            machine: Machine::Target,
            change: "nothing: the installer must have been booted",
            reversible: true,
        }]
    }

    fn observe(&self, cx: &Context) -> Result<Status, StepError> {
        if let Some(status) = cx.over_since_installed(StepId::Installer) {
            return Ok(status);
        }
        let target = cx.target()?;
        if cx.phase == Phase::Installer {
            return Ok(Status::Done(
                Evidence::new(format!("host key {}", target.host_key.fingerprint()))
                    .with("boot_id", &target.facts.boot_id)
                    .with(ADDRESSES, target.facts.addresses.join(" "))
                    .with("host_key", target.host_key.fingerprint()),
            ));
        }
        Ok(Status::Blocked(not_an_installer(&target.facts)))
    }

    fn apply(&self, _cx: &mut Context) -> Result<(), StepError> {
        Ok(())
    }
}

/// What to say of a target that runs anything else.
pub fn not_an_installer(facts: &TargetFacts) -> StepError {
    let runs = if facts.os.is_empty() { "an unknown system" } else { &facts.os };
    StepError::new(
        "the target does not run a NixOS installer",
        format!("it runs {runs} {}", facts.variant).trim_end().to_owned(),
        "Boot the image that `landfall iso build` makes, or any NixOS installer with SSH. \
         Replacing a running system by kexec is not part of landfall yet.",
    )
    .exit(Exit::Person)
}
