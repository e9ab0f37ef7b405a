//! Step 11: the installed system boots, and proves itself by a new boot id and
//! exactly the host key of step 2.

pub(crate) mod next_boot;
pub(crate) mod wait;

use serde::{Deserialize, Serialize};

use super::context::Context;
use crate::error::{Exit, StepError};
use crate::run::facts::{StepFacts, Words};
use crate::run::step::{Effect, Evidence, Machine, Status, StepId};
use crate::ssh::known_hosts;
use crate::ssh::{known_hosts_name, user_known_hosts};
use crate::steps::Step;

use crate::target::Phase;

pub(crate) struct Reboot;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct RebootOutput {
    /// The fingerprint of the host key that answered.
    host_key: Option<String>,
    boot_id: Option<String>,
    /// Where the installed system answered.
    pub(crate) address: Option<String>,
    /// Where it says that it can be reached.
    #[serde(default)]
    pub(crate) addresses: Words,
}

/// The boot that is about to end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RebootIntention {
    boot_id: Option<String>,
}

impl StepFacts for RebootOutput {
    const STEP: StepId = StepId::Reboot;
}

impl StepFacts for RebootIntention {
    const STEP: StepId = StepId::Reboot;
}

/// Lets go of the new disks, so that what was written is on them.
const RELEASE: &str = r#"
sync
umount -R /mnt || true
for name in "$@"; do cryptsetup close "$name" 2>/dev/null || true; done
command -v zpool >/dev/null 2>&1 && zpool export -a || true
"#;

impl Step for Reboot {
    fn id(&self) -> StepId {
        StepId::Reboot
    }

    fn effects(&self, cx: &Context) -> &'static [Effect] {
        const BOOTS: Effect = Effect {
            machine: Machine::Target,
            change: "ends the installer and boots the installed system",
            reversible: false,
        };
        const TELLS: Effect = Effect {
            machine: Machine::Source,
            change: "puts the host's new key into your known_hosts",
            reversible: true,
        };
        if cx.connection.phase == Phase::Installed { &[TELLS] } else { &[BOOTS, TELLS] }
    }

    fn observe(&self, cx: &Context) -> Result<Status, StepError> {
        if cx.connection.phase != Phase::Installed {
            return Ok(Status::Ready);
        }
        if let Some(evidence) = cx.finished(StepId::Reboot) {
            return Ok(Status::Done(evidence.clone()));
        }
        // It came up after the run that waited for it had ended, which told nobody.
        if cx.produced(StepId::Reboot).is_none() {
            return Ok(Status::Ready);
        }
        let target = cx.target()?;
        let fingerprint = target.host_key.fingerprint();
        let summary = format!("host key {fingerprint}, as prepared");
        let output = RebootOutput {
            host_key: Some(fingerprint),
            boot_id: Some(target.facts.boot_id.clone()),
            address: Some(target.session.endpoint().to_string()),
            addresses: Words(target.facts.addresses.clone()),
        };
        Ok(Status::Done(Evidence::of(summary, &output)?))
    }

    fn intention(&self, cx: &Context) -> Result<Evidence, StepError> {
        if cx.connection.phase == Phase::Installed {
            return Ok(Evidence::new("puts the key of the installed system into known_hosts"));
        }
        let boot_id = cx.connection.target.as_ref().map(|target| target.facts.boot_id.clone());
        let intention = RebootIntention { boot_id: Some(boot_id.unwrap_or_default()) };
        Ok(Evidence::of("reboots into the installed system", &intention)?)
    }

    fn apply(&self, cx: &mut Context) -> Result<(), StepError> {
        if cx.connection.phase != Phase::Installed {
            boot_installed(cx)?;
        }
        cx.produce("", &RebootOutput::default())?;
        remember_host_key(cx)
    }
}

fn boot_installed(cx: &mut Context) -> Result<(), StepError> {
    // The target that this run knows has not got its system from somebody else.
    if cx.finished(StepId::Install).is_none() {
        return Err(StepError::new(
            "nothing was installed by this run",
            "after the reboot no system could prove itself",
            "Take the install phase along: --phases install,reboot.",
        )
        .exit(Exit::Usage));
    }
    let config = cx.facts()?.first().clone();
    let mut old_boot = String::new();
    if let Some(target) = &cx.connection.target {
        old_boot.clone_from(&target.facts.boot_id);
        let volumes: Vec<&str> = config.luks().map(|volume| volume.name.as_str()).collect();
        next_boot::set(cx);
        target.session.root_script(RELEASE, &volumes).run()?;
    }
    wait::reboot(cx)?;
    wait::wait(cx, &config, &old_boot)
}

/// From now on the operator's own ssh knows the machine.
fn remember_host_key(cx: &Context) -> Result<(), StepError> {
    let target = cx.target()?;
    let endpoint = target.session.endpoint();
    let name = known_hosts_name(endpoint)?;
    for (index, file) in user_known_hosts(endpoint)?.iter().enumerate() {
        // ssh adds what is new to the first file, and looks in all of them.
        let change = match index {
            0 => known_hosts::replace(file, &[&name], &target.host_key),
            _ => known_hosts::remove_others(file, &[&name], &target.host_key),
        };
        match change {
            Ok(change) if change.removed > 0 => cx.events.note(format!(
                "{} old host key(s) of {name} taken out of {}",
                change.removed,
                file.display()
            )),
            Ok(_) => {}
            // The journey does not hang on it: the run pins the key by itself.
            Err(error) => cx.events.warn(format!("{} was left as it is: {error}", file.display())),
        }
    }
    Ok(())
}
