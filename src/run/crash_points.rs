//! Where tests end the process: at the boundaries of every step.
//!
//! `LANDFALL_ABORT_AT=copy:applied` aborts as a crash would, without unwinding.
//! The crash matrix is derived from these points; without the variable they are
//! free of effect. `LANDFALL_ABORT_AT=write:7` ends it before the eighth change that
//! writing secrets makes to the disk.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::step::StepId;

/// A moment in the life of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Boundary {
    /// Confirmed, nothing written.
    BeforeStarted,
    /// The intention is in the journal.
    Started,
    /// Changed, not yet observed.
    Applied,
    /// The proof is in the journal.
    Finished,
}

impl fmt::Display for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BeforeStarted => "before",
            Self::Started => "started",
            Self::Applied => "applied",
            Self::Finished => "finished",
        })
    }
}

/// Aborts when the environment asks for an end at this point.
#[expect(clippy::print_stderr, reason = "the process ends here, with nobody left to print it")]
pub(crate) fn point(step: StepId, boundary: Boundary) {
    let wanted = std::env::var("LANDFALL_ABORT_AT").unwrap_or_default();
    if wanted == format!("{step}:{boundary}") {
        eprintln!("aborting at {wanted}, as LANDFALL_ABORT_AT asks");
        std::process::abort();
    }
}

/// How many changes to the disk were announced by [`disk`].
static CHANGES: AtomicUsize = AtomicUsize::new(0);

/// Aborts when the environment asks for an end before this change to the disk.
#[expect(clippy::print_stderr, reason = "the process ends here, with nobody left to print it")]
pub(crate) fn disk(change: &str) {
    let number = CHANGES.fetch_add(1, Ordering::Relaxed);
    let wanted = std::env::var("LANDFALL_ABORT_AT").unwrap_or_default();
    if wanted.strip_prefix("write:").is_some_and(|wanted| wanted == number.to_string()) {
        eprintln!("aborting before: {change}");
        std::process::abort();
    }
}
