//! The user's wish to end the run, which every wait hears.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{ExecError, TICK};

/// Set by the signal handler; every running command ends soon after.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Asks every running command to end; called by the signal handler.
pub(crate) fn interrupt() {
    INTERRUPTED.store(true, Ordering::SeqCst);
}

/// Whether the user asked the run to end.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Sleeps for `time`, or less when the user interrupts.
pub(crate) fn sleep(time: Duration) -> Result<(), ExecError> {
    let until = Instant::now() + time;
    while Instant::now() < until {
        if interrupted() {
            return Err(ExecError::Interrupted { command: "a wait".into() });
        }
        std::thread::sleep(TICK.min(until.saturating_duration_since(Instant::now())));
    }
    Ok(())
}
