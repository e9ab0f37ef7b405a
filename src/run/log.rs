//! The run's log file: every command, its output (scrubbed) and its end.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Mutex;

use tracing::Level;

use super::run_dir::RunDir;
use crate::error::StepError;

/// Where lines go now: one process can leave a finished run for a new one.
static LOG: Mutex<Option<File>> = Mutex::new(None);

struct ToLog;

impl Write for ToLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = LOG.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        log.as_mut().map_or(Ok(bytes.len()), |file| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends what `tracing` hears to the log of `run` from now on.
pub(crate) fn start(run: &RunDir, verbose: bool) -> Result<(), StepError> {
    let file = run.open_log()?;
    *LOG.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(file);
    let level = if verbose { Level::DEBUG } else { Level::INFO };
    let subscriber = tracing_subscriber::fmt()
        .with_writer(|| ToLog)
        .with_ansi(false)
        .with_max_level(level)
        .finish();
    // The second time the subscriber is there already, and writes to the new file.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}
