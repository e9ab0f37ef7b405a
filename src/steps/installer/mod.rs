//! Step 5: the target runs a NixOS installer, if need be in place of what ran there.

pub(crate) mod kexec;

use serde::{Deserialize, Serialize};

use super::context::Context;
use crate::error::{Exit, StepError};
use crate::run::facts::{Said, StepFacts, Words};
use crate::run::step::{Disposition, Effect, Evidence, Machine, Status, StepId};
use crate::steps::Step;
use crate::target::{Phase, TargetFacts};
use crate::ui::prompt::Question;
use crate::ui::text::size;

pub(crate) struct Installer;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct InstallerOutput {
    boot_id: Option<String>,
    /// Where the installer says that it can be reached.
    #[serde(default)]
    pub(crate) addresses: Words,
    /// The fingerprint of its host key.
    host_key: Option<String>,
    /// The image that was started in place of what ran there.
    image: Option<String>,
    sha256: Option<String>,
}

/// That what runs there is about to be replaced.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct InstallerIntention {
    /// By kexec: then the installer may answer elsewhere.
    pub(crate) kexec: Option<Said>,
    boot_id: Option<String>,
    /// Where the system that it ends can be reached.
    #[serde(default)]
    pub(crate) addresses: Words,
}

impl StepFacts for InstallerOutput {
    const STEP: StepId = StepId::Installer;
}

impl StepFacts for InstallerIntention {
    const STEP: StepId = StepId::Installer;
}

impl Step for Installer {
    fn id(&self) -> StepId {
        StepId::Installer
    }

    fn effects(&self, _cx: &Context) -> &'static [Effect] {
        &[Effect {
            machine: Machine::Target,
            change: "ENDS what runs there by kexec, unless it is an installer already",
            reversible: false,
        }]
    }

    fn observe(&self, cx: &Context) -> Result<Status, StepError> {
        if let Some(status) = cx.over_since_installed(StepId::Installer) {
            return Ok(status);
        }
        let target = cx.target()?;
        if cx.connection.phase == Phase::Installer {
            let fingerprint = target.host_key.fingerprint();
            let summary = format!("host key {fingerprint}");
            let output = InstallerOutput {
                boot_id: Some(target.facts.boot_id.clone()),
                addresses: Words(target.facts.addresses.clone()),
                host_key: Some(fingerprint),
                // What started it is remembered, not seen.
                ..cx.known_output()?.unwrap_or_default()
            };
            return Ok(Status::Done(Evidence::of(summary, &output)?));
        }
        if cx.config.kexec.forbidden {
            return Ok(Status::Blocked(not_an_installer(&target.facts)));
        }
        Ok(Status::Ready)
    }

    fn confirm(&self, cx: &mut Context) -> Result<Disposition, StepError> {
        // Under --yes the machine is the one whose disks were named, or nothing gets here.
        let settled = cx.config.kexec.image.is_some() && !cx.prompter.is_interactive();
        if cx.config.kexec.by_flag || settled {
            return Ok(Disposition::Run);
        }
        let target = cx.target()?;
        let image = kexec::named(&cx.config, &target.facts.system);
        let (host, runs) = (&target.session.endpoint().host, running(&target.facts));
        let question = Question::new(
            format!("End {runs} on {host}, and start the installer in its place?"),
            "--kexec URL|FILE",
        )
        .detail("What runs there is killed by kexec; its disks stay as they are until step 8.")
        .detail(format!("the installer: {image}"));
        if cx.prompter.confirm(&question)? {
            return Ok(Disposition::Run);
        }
        Err(not_an_installer(&target.facts))
    }

    fn intention(&self, cx: &Context) -> Result<Evidence, StepError> {
        let target = cx.target()?;
        let summary = format!("replaces {} by the installer", running(&target.facts));
        let intention = InstallerIntention {
            kexec: Some(Said::Yes),
            boot_id: Some(target.facts.boot_id.clone()),
            addresses: Words(target.facts.addresses.clone()),
        };
        Ok(Evidence::of(summary, &intention)?)
    }

    fn apply(&self, cx: &mut Context) -> Result<(), StepError> {
        let image = kexec::image(cx)?;
        let target = cx.target()?;
        let old_boot = target.facts.boot_id.clone();
        let folder = kexec::preflight(&target.session, &target.facts, &image)?;
        cx.events.note(format!(
            "starts {} ({}, sha256 {})",
            image.from,
            size(image.size),
            image.sha256.as_str()
        ));
        let output = InstallerOutput {
            image: Some(image.from.clone()),
            sha256: Some(image.sha256.as_str().to_owned()),
            ..InstallerOutput::default()
        };
        cx.produce("", &output)?;
        kexec::upload(cx, &folder, &image)?;
        kexec::start(cx, &folder)?;
        kexec::wait(cx, &old_boot)
    }
}

/// The system of a target, in a few words.
fn running(facts: &TargetFacts) -> String {
    let os = if facts.os.is_empty() { "an unknown system" } else { &facts.os };
    format!("{os} {}", facts.variant).trim_end().to_owned()
}

/// What to say of a target that runs anything else, and keeps it.
pub(crate) fn not_an_installer(facts: &TargetFacts) -> StepError {
    StepError::new(
        "the target does not run a NixOS installer",
        format!("it runs {}", running(facts)),
        "Boot the image that `landfall iso build` makes, or let landfall start one in its \
         place: --kexec URL|FILE ends what runs there.",
    )
    .exit(Exit::Person)
}
