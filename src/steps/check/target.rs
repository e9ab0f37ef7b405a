//! What the target itself says for or against an installation.

use super::Findings;
use super::firmware;
use super::systems::{self, Looks, SystemCheck};
use crate::config::installation::DiskoMode;
use crate::error::{Exit, StepError};
use crate::facts::HostFacts;
use crate::run::step::StepId;
use crate::steps::context::Context;
use crate::steps::disks::passphrases;
use crate::steps::installer::kexec;
use crate::steps::{disks as disks_step, hardware, installer};
use crate::target::Phase;
use crate::target::disk_contents;
use crate::target::disks;
use crate::ui::text::size;

/// Below this nixos-install and nix's daemon do not fit beside the installer.
const LEAST_MEMORY: u64 = 900 << 20;

/// What is asked of a system on this target.
pub(crate) const OF_SYSTEMS: &[SystemCheck] =
    &[(Looks::Both, architecture), (Looks::Both, firmware::check)];

pub(crate) fn check(cx: &mut Context, findings: &mut Findings) {
    let Some(target) = &cx.connection.target else { return };
    let facts = target.facts.clone();
    if cx.connection.phase == Phase::Foreign {
        systems::run(cx, OF_SYSTEMS, findings);
        findings.take(replaceable(cx));
        findings.take(disks_named(cx));
    }
    if cx.connection.phase != Phase::Installer {
        return;
    }
    systems::run(cx, OF_SYSTEMS, findings);
    findings.take(memory(facts.memory_bytes));
    if cx.config.installation.phases.disko {
        findings.take(disks_usable(cx));
    }
    // Where nobody can be asked, what is missing is told now.
    let asks = cx.config.installation.phases.disko;
    if asks && (!cx.prompter.is_interactive() || !cx.config.passphrases.is_empty()) {
        findings.take(passphrases::collect(cx));
    }
    match hardware::difference(cx) {
        Ok(Some(diff)) => cx.events.warn(format!(
            "the hardware file is kept, and differs from what the target reports \
             (--hardware generate-config takes that over):\n{diff}"
        )),
        Ok(None) => {}
        Err(problem) => {
            findings.take(Err(problem));
        }
    }
}

/// Whether what runs there may and can make way for the installer.
fn replaceable(cx: &Context) -> Result<(), StepError> {
    let target = cx.target()?;
    // Under --yes nobody can be asked, and only a named image has been agreed to.
    let agreed = cx.config.kexec.image.is_some() || cx.prompter.is_interactive();
    if cx.config.kexec.forbidden || !agreed {
        return Err(installer::not_an_installer(&target.facts));
    }
    let image = kexec::image(cx)?;
    kexec::preflight(&target.session, &target.facts, &image).map(|_| ())
}

fn architecture(cx: &Context, facts: &HostFacts) -> Result<(), StepError> {
    let (wanted, system) = (&facts.system, &cx.target()?.facts.system);
    if wanted == system {
        return Ok(());
    }
    Err(StepError::new(
        format!("the configuration is for {wanted}, the target is {system}"),
        "",
        "Is it the right machine, and nixpkgs.hostPlatform right?",
    )
    .exit(Exit::Usage))
}

fn memory(bytes: u64) -> Result<(), StepError> {
    if bytes >= LEAST_MEMORY {
        return Ok(());
    }
    Err(StepError::new(
        format!("the target has too little memory: {}", size(bytes)),
        format!("the installation needs {}", size(LEAST_MEMORY)),
        "Give the machine more memory.",
    )
    .exit(Exit::Usage))
}

fn disks_usable(cx: &Context) -> Result<(), StepError> {
    let layout = disks_step::of_layout(cx)?;
    let disks = &cx.target()?.facts.disks;
    cx.events.note(disk_contents::table(disks, &layout));
    if cx.config.installation.disko_mode == DiskoMode::Mount {
        return Ok(());
    }
    disks::check_usable(&layout, disks::LEAST_BYTES)?;
    disk_contents::check_alone(&layout.erased, disks)?;
    disks_named(cx)
}

fn disks_named(cx: &Context) -> Result<(), StepError> {
    let layout = disks_step::of_layout(cx)?;
    if !cx.prompter.is_interactive() && cx.finished(StepId::Disks).is_none() {
        disks::check_named(&layout, &cx.config.erase)?;
    }
    Ok(())
}
