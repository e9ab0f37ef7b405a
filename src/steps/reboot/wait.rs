//! Rebooting the target and waiting for exactly the machine that must come back.

use std::time::Duration;

use crate::error::{Exit, StepError};
use crate::exec;
use crate::exec::ExecError;
use crate::facts::HostFacts;
use crate::run::event::Event;
use crate::ssh::{Endpoint, HostKey, Other, Seen, SshError, WaitError, wait_for};
use crate::steps::build::first_system;
use crate::steps::connect;
use crate::steps::connect::addresses;
use crate::steps::context::Context;
use crate::target::Target;

const INSTALLER: &str = "the installer";
const INITRD: &str = "the initrd";
/// What a machine gets to go down after it was told to.
const GOING_DOWN: Duration = Duration::from_secs(20);

/// Tells the target to reboot; its connection ends with it.
pub(crate) fn reboot(cx: &mut Context) -> Result<(), StepError> {
    let Some(target) = cx.connection.target.take() else { return Ok(()) };
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
    exec::sleep(Duration::from_secs(3))?;
    Ok(())
}

/// Waits until the installed system answers with the key of this run, on a boot
/// other than `old_boot`, and connects to it.
pub(crate) fn wait(cx: &mut Context, config: &HostFacts, old_boot: &str) -> Result<(), StepError> {
    let target = cx.connection.address.clone().ok_or_else(no_target)?;
    let user = cx.primary_user()?;
    let places = places(cx, &target.with_user(user), config)?;
    let key = cx.keys().public().ok_or_else(no_key)?;
    let others = others(cx);

    let person = config.passphrase_at_boot();
    let host = cx.config.host.clone();
    let unlocks = unlocks(cx, config);
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
        let session = wait_for(&places, &key, &others, &cx.dir, left, |seen| {
            if let Seen::Other { name, at } = seen
                && *name != last_named
            {
                last_named = name.clone();
                events.warn(match name == INITRD {
                    true => unlocks(at),
                    false => who_answers(host.as_str(), name),
                });
            }
        })
        .map_err(|error| explained(error, person))?;
        let target = connect::examined(cx, session, key.clone())?;
        if target.facts.boot_id != old_boot {
            is_what_was_installed(cx, &target)?;
            cx.connection.target = Some(target);
            cx.connection.phase = crate::target::Phase::Installed;
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
        exec::sleep(Duration::from_secs(2))?;
    }
}

/// Where to look; the initrd may listen at a port of its own.
fn places(cx: &Context, target: &Endpoint, config: &HostFacts) -> Result<Vec<Endpoint>, StepError> {
    let mut places = addresses::candidates(cx, target)?;
    let initrd =
        config.initrd_ssh_port.map(|port| Endpoint { port: Some(port), ..places[0].clone() });
    let initrd = initrd.filter(|initrd| initrd.port != Some(places[0].port.unwrap_or(22)));
    places.extend(initrd);
    Ok(places)
}

/// Who may answer in the meantime.
fn others(cx: &Context) -> Vec<Other> {
    let other = |name: &str, key: Option<HostKey>, may_stay| {
        key.map(|key| Other { name: name.into(), key, may_stay })
    };
    let keys = cx.keys();
    [other(INSTALLER, keys.installer(), false), other(INITRD, keys.initrd_public(), true)]
        .into_iter()
        .flatten()
        .collect()
}

/// What to do where the initrd answers, at an address.
fn unlocks(cx: &Context, config: &HostFacts) -> impl Fn(&Endpoint) -> String + use<> {
    let host = cx.config.host.clone();
    let known: Option<Endpoint> = cx.run.target.parse().ok();
    let key = cx.keys().initrd_public().map(|key| key.fingerprint()).unwrap_or_default();
    let login = cx.connection.address.as_ref().and_then(|target| target.identity_file.clone());
    let login = login.map(|file| format!(" -i {}", exec::quote(&file.display().to_string())));
    let ask = if config.initrd_systemd { "systemctl default" } else { "cryptsetup-askpass" };
    move |at| {
        let place = Endpoint { user: None, ..at.clone() };
        let same = known.as_ref().is_some_and(|it| it.host == at.host && it.port == at.port);
        let there = if same { String::new() } else { format!(" --installed-address {place}") };
        format!(
            "{INITRD} of {host} answers, with the key {key}, and waits for the passphrase of the \
             disk: type it on the console, or after: landfall ssh {host} --initrd{there}{} -- {ask}",
            login.as_deref().unwrap_or_default()
        )
    }
}

fn who_answers(host: &str, name: &str) -> String {
    format!(
        "{name} answers on {host}, not the installed system: if it stays, the firmware has \
         started the stick again. Take it out, or put the disk first in the boot order"
    )
}

fn explained(error: WaitError, person: bool) -> StepError {
    let changed = matches!(error, WaitError::Ssh(SshError::KeyMismatch { .. }));
    let mut error = StepError::from(error);
    if changed {
        // Where this run's own keys are expected, there is no old one to take out of a file.
        error.hint =
            "Nothing was sent to it. If its console shows the installer, the firmware has \
                      started the stick again, and a new key was made: take it out or put the disk \
                      first, reboot it, then run the same command again. Else another machine \
                      answers at this address, or somebody is in between: compare the offered \
                      fingerprint with the one that the machine's console shows (ssh-keygen -lf \
                      /etc/ssh/ssh_host_ed25519_key.pub)."
                .into();
    }
    // With an encrypted disk it is a person who did not come.
    if person && error.exit == Exit::Failed { error.exit(Exit::Person) } else { error }
}

/// A host key that the machine had before may be that of its former system, too.
fn is_what_was_installed(cx: &Context, target: &Target) -> Result<(), StepError> {
    if cx.keys().kept().is_none() {
        return Ok(());
    }
    let expected = first_system(cx)?;
    let runs = target.facts.booted_system.as_deref().unwrap_or("a system that is no NixOS");
    if runs == expected.as_str() {
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
