//! The run's log file: every command, its output (scrubbed) and its end.

use std::sync::Mutex;

use tracing::Level;

use crate::error::StepError;
use crate::state::RunDir;

/// Sends what `tracing` hears to the log of `run`, for the rest of the process.
pub fn start(run: &RunDir, verbose: bool) -> Result<(), StepError> {
    let file = run.open_log()?;
    let level = if verbose { Level::DEBUG } else { Level::INFO };
    let subscriber = tracing_subscriber::fmt()
        .with_writer(Mutex::new(file))
        .with_ansi(false)
        .with_max_level(level)
        .finish();
    // A second start in one process keeps the first log.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}
