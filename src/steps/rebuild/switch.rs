//! A system takes over on the running machine, which may cost the connection that
//! asked for it: the network or sshd is restarted, or the session's own slice.
//!
//! So the switch runs in a unit of its own, which ends by itself whoever listens, and
//! leaves its exit status and its output in a folder of the target's memory. They are
//! read back afterwards, over a new connection if need be, pinned to the same key. Every
//! user can read them: the new system may ask for a password before it makes one root.

use std::time::{Duration, Instant};

use crate::error::StepError;
use crate::exec;
use crate::exec::ExecError;
use crate::nix::StorePath;
use crate::run::event::Event;
use crate::ssh::{Session, wait_for};
use crate::steps::connect;
use crate::steps::context::Context;
use crate::target::TargetFacts;

/// What a switch gets, restarts of many units included.
const DEADLINE: Duration = Duration::from_secs(15 * 60);
/// One look; a connection that the switch cut off does not answer any more.
const LOOK: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(2);
/// The exit status of switch-to-configuration when the system is active, but units failed.
const UNITS_FAILED: i32 = 4;

/// Arguments: name of the unit, system.
const START: &str = r#"
set -eu
umask 022
mkdir "/run/$1"
systemd-run --quiet --no-ask-password --collect --service-type=exec \
  --unit="$1" --setenv=PATH="$PATH" -- sh -c '
    "$2/bin/switch-to-configuration" switch >"/run/$1/output" 2>&1 </dev/null
    echo $? >"/run/$1/status.new"
    mv "/run/$1/status.new" "/run/$1/status"
  ' sh "$1" "$2"
"#;

/// Prints `running`, `gone`, or the exit status and then the output's end. The unit is
/// looked at first: one that ended has left its status by then.
const LOOK_AFTER: &str = r#"
state=$(systemctl is-active "$1.service")
if [ -e "/run/$1/status" ]; then
  cat "/run/$1/status"
  tail -n 20 "/run/$1/output"
elif [ "$state" = active ]; then
  echo running
else
  echo gone
fi
"#;

/// How the unit stands.
enum Seen {
    Running,
    Ended {
        status: i32,
        output: String,
    },
    /// Killed, or the machine was started anew.
    Gone,
}

/// Makes `system`, which is in the target's store and its system profile, the one that runs.
pub(crate) fn switch(cx: &mut Context, system: &StorePath) -> Result<(), StepError> {
    let unit = format!("landfall-switch-{:08x}", uuid::Uuid::new_v4().as_fields().0);
    let until = Instant::now() + DEADLINE;
    let started = cx.target()?.session.root_script(START, &[&unit, system.as_ref()]).run();
    started.map_err(|error| StepError::from(error).doing("the switch could not be started"))?;
    let what = format!("{} to switch to {}", cx.config.host, system.name());
    cx.events.emit(Event::Waiting { what, deadline_seconds: DEADLINE.as_secs() });
    let (status, output) = wait(cx, &unit, until)?;
    refresh(cx, until)?;
    cx.events.emit(Event::Arrived { what: format!("{} has switched", cx.config.host) });
    let active = cx.target()?.facts.current_system.as_deref() == Some(system.as_ref());
    match status {
        0 => Ok(()),
        UNITS_FAILED if active => {
            cx.events
                .warn(format!("the system is active, but not all of its units are:\n{output}"));
            Ok(())
        }
        _ => Err(failed(status, output)),
    }
}

fn wait(cx: &mut Context, unit: &str, until: Instant) -> Result<(i32, String), StepError> {
    loop {
        match look(&cx.target()?.session, unit) {
            Ok(Seen::Ended { status, output }) => return Ok((status, output)),
            Ok(Seen::Running) => {}
            Ok(Seen::Gone) => return Err(gone()),
            // The switch cut it off: only a new connection tells.
            Err(error) if lost(&error) => reconnect(cx, until)?,
            Err(error) => return Err(error.into()),
        }
        if Instant::now() > until {
            return Err(StepError::new(
                format!("{} does not come to an end with its switch", cx.config.host),
                format!("{unit}.service still runs after {} s", DEADLINE.as_secs()),
                format!("See landfall ssh {} -- systemctl status {unit}", cx.config.host),
            ));
        }
        exec::sleep(PAUSE)?;
    }
}

/// Whether ssh lost its machine, as opposed to a command that failed there.
fn lost(error: &ExecError) -> bool {
    error.code() == Some(255) || matches!(error, ExecError::Deadline { .. })
}

fn look(session: &Session, unit: &str) -> Result<Seen, ExecError> {
    let text = session.script(LOOK_AFTER, &[unit]).deadline(LOOK).read()?;
    let (first, output) = text.split_once('\n').unwrap_or((&text, ""));
    Ok(match (first, first.trim().parse()) {
        (_, Ok(status)) => Seen::Ended { status, output: output.to_owned() },
        ("running", _) => Seen::Running,
        _ => Seen::Gone,
    })
}

/// Waits until the same machine answers again, with the same key and no other.
fn reconnect(cx: &mut Context, until: Instant) -> Result<(), StepError> {
    let target = cx.target()?;
    let (endpoint, key) = (target.session.endpoint().clone(), target.host_key.clone());
    let left = until.saturating_duration_since(Instant::now());
    let session = wait_for(&[endpoint], &key, &[], &cx.dir, left, |_| ()).map_err(|error| {
        StepError::from(error).doing("the machine did not come back after it began to switch")
    })?;
    cx.connection.target = Some(connect::examined(cx, session, key)?);
    Ok(())
}

/// What is known of the target is read again: another system runs now.
fn refresh(cx: &mut Context, until: Instant) -> Result<(), StepError> {
    let read = TargetFacts::read(&cx.target()?.session);
    match (read, cx.connection.target.as_mut()) {
        (Ok(facts), Some(target)) => {
            target.facts = facts;
            Ok(())
        }
        _ => reconnect(cx, until),
    }
}

fn failed(status: i32, output: String) -> StepError {
    StepError::new(
        format!("the switch failed on the target (exit status {status})"),
        output,
        "Mend the configuration, commit, and run the same command again; or boot it instead of \
         switching: --activate boot, or sync --boot.",
    )
}

fn gone() -> StepError {
    StepError::new(
        "the switch was cut off on the target",
        "its unit ended without an exit status, or the machine was started anew meanwhile",
        "See landfall ssh HOST -- journalctl -b, then run the same command again.",
    )
}
