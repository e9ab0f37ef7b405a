//! Rebooting the target and waiting for exactly the machine that must come back.

use std::time::Duration;

use crate::context::Context;
use crate::error::{Exit, StepError};
use crate::event::Event;
use crate::exec::ExecError;
use crate::facts::HostFacts;
use crate::machine::Target;
use crate::phase;
use crate::ssh::{HostKey, Seen, wait_for};
use crate::step::StepId;

/// What a machine gets to go down after it was told to.
const GOING_DOWN: Duration = Duration::from_secs(20);

/// Tells the target to reboot; its connection ends with it.
pub fn reboot(cx: &mut Context) -> Result<(), StepError> {
    let Some(target) = cx.target.take() else { return Ok(()) };
    let told = target.session.root(&["systemctl", "reboot"]).deadline(GOING_DOWN).run();
    match told {
        // The answer is lost when the machine is fast: its boot id will tell.
        Err(error) if error.code() == Some(255) => {}
        Ok(_) | Err(ExecError::Deadline { .. }) => {}
        Err(error) => {
            return Err(StepError::from(error).doing("the target could not be told to reboot"));
        }
    }
    drop(target);
    crate::exec::sleep(Duration::from_secs(3))?;
    Ok(())
}

/// Waits until the installed system answers with the key of this run, on a boot
/// other than `old_boot`, and connects to it.
pub fn wait(cx: &mut Context, config: &HostFacts, old_boot: &str) -> Result<(), StepError> {
    let endpoint = cx.config.target.clone().ok_or_else(no_target)?;
    let endpoint = phase::installed_endpoint(cx, &endpoint);
    let endpoint = endpoint.with_user(cx.primary_user()?);
    let key = cx.keys().public().ok_or_else(no_key)?;
    let others: Vec<(String, HostKey)> =
        [("the installer", cx.keys().installer()), ("the initrd", cx.keys().initrd_public())]
            .into_iter()
            .filter_map(|(name, key)| Some((name.to_owned(), key?)))
            .collect();

    let person = config.passphrase_at_boot();
    let host = cx.config.host.clone();
    let (what, deadline) = if person {
        (
            format!("{host} to start: type the passphrase of its disk on its console"),
            cx.config.passphrase_deadline,
        )
    } else {
        (format!("{host} to start"), cx.config.boot_deadline)
    };
    cx.events.emit(Event::Waiting { what: what.clone(), deadline_seconds: deadline.as_secs() });

    let until = std::time::Instant::now() + deadline;
    loop {
        let left = until.saturating_duration_since(std::time::Instant::now());
        let events = cx.events.clone();
        let mut last_named = String::new();
        let session = wait_for(&endpoint, &key, &others, &cx.dir, left, |seen| {
            if let Seen::Other { name } = seen
                && *name != last_named
            {
                last_named = name.clone();
                events.warn(format!("{name} answers on {host}, not the installed system"));
            }
        })
        .map_err(|error| {
            let error = StepError::from(error);
            // With an encrypted disk it is a person who did not come.
            if person && error.exit == Exit::Failed { error.exit(Exit::Person) } else { error }
        })?;
        let target = phase::examined(cx, session, key.clone())?;
        if target.facts.boot_id != old_boot {
            is_what_was_installed(cx, &target)?;
            cx.target = Some(target);
            cx.phase = crate::machine::Phase::Installed;
            cx.events.emit(Event::Arrived { what: format!("{host} is up") });
            return Ok(());
        }
        // Still the boot that was told to end.
        drop(target);
        if left.is_zero() {
            return Err(StepError::new(
                format!("{host} did not reboot"),
                "the same boot still answers",
                "Look at its console, reboot it by hand, then run the same command again.",
            ));
        }
        crate::exec::sleep(Duration::from_secs(2))?;
    }
}

/// A host key that the machine had before may be that of its former system, too.
fn is_what_was_installed(cx: &Context, target: &Target) -> Result<(), StepError> {
    if cx.keys().kept().is_none() {
        return Ok(());
    }
    let expected = cx.fact(StepId::Build, "system")?;
    let runs = target.facts.booted_system.as_deref().unwrap_or("a system that is no NixOS");
    if runs == expected {
        return Ok(());
    }
    Err(StepError::new(
        format!("{} did not start the system that was installed", cx.config.host),
        format!("it runs {runs}\nexpected {expected}"),
        "Put the disk that was installed on first in the firmware's boot order, reboot it, then \
         run the same command again.",
    ))
}

fn no_target() -> StepError {
    StepError::new("the target is not named", "", "landfall bootstrap HOST TARGET")
        .exit(Exit::Usage)
}

fn no_key() -> StepError {
    StepError::new(
        "the host key of this run is gone",
        "without it the installed system cannot be told from another",
        "landfall abandon HOST, then begin anew.",
    )
}
