//! Step 5: the target runs a NixOS installer, if need be in place of what ran there.

pub mod kexec;

use super::context::Context;
use crate::error::{Exit, StepError};
use crate::steps::connect::addresses::ADDRESSES;

use crate::run::step::{Consent, Effect, Evidence, Machine, Status, StepId};
use crate::steps::Step;
use crate::target::{Phase, TargetFacts};
use crate::ui::prompt::Question;
use crate::ui::text::size;

pub struct Installer;

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
        if cx.phase == Phase::Installer {
            let mut evidence = Evidence::new(format!("host key {}", target.host_key.fingerprint()))
                .with("boot_id", &target.facts.boot_id)
                .with(ADDRESSES, target.facts.addresses.join(" "))
                .with("host_key", target.host_key.fingerprint());
            for name in ["image", "sha256"] {
                if let Some(value) = cx.evidence(StepId::Installer).and_then(|e| e.fact(name)) {
                    evidence = evidence.with(name, value);
                }
            }
            return Ok(Status::Done(evidence));
        }
        if cx.config.kexec.forbidden {
            return Ok(Status::Blocked(not_an_installer(&target.facts)));
        }
        Ok(Status::Ready)
    }

    fn confirm(&self, cx: &mut Context) -> Result<Consent, StepError> {
        // Under --yes the machine is the one whose disks were named, or nothing gets here.
        let settled = cx.config.kexec.image.is_some() && !cx.prompter.is_interactive();
        if cx.config.kexec.by_flag || settled {
            return Ok(Consent::Given);
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
            return Ok(Consent::Given);
        }
        Err(not_an_installer(&target.facts))
    }

    fn intention(&self, cx: &Context) -> Result<Evidence, StepError> {
        let target = cx.target()?;
        Ok(Evidence::new(format!("replaces {} by the installer", running(&target.facts)))
            .with(kexec::INTENDED, "yes")
            .with("boot_id", &target.facts.boot_id)
            .with(ADDRESSES, target.facts.addresses.join(" ")))
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
        cx.produced.insert(
            StepId::Installer,
            Evidence::default().with("image", &image.from).with("sha256", image.sha256.as_str()),
        );
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
pub fn not_an_installer(facts: &TargetFacts) -> StepError {
    StepError::new(
        "the target does not run a NixOS installer",
        format!("it runs {}", running(facts)),
        "Boot the image that `landfall iso build` makes, or let landfall start one in its \
         place: --kexec URL|FILE ends what runs there.",
    )
    .exit(Exit::Person)
}
