//! What the tests with real programs share.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod fake_drive;
pub mod git;
pub mod installer;
pub mod journey;
pub mod plain_flake;
pub mod pty;
pub mod round_trip;
pub mod secrets;
pub mod sshd;
pub mod users;

use std::path::Path;

/// Says that a test could not run, in the form that the summary counts.
///
/// Printed to both streams, because runners keep the output of passing tests apart.
pub fn skipped(reason: &str) {
    println!("SKIPPED: {reason}");
}

/// Whether `program` is in PATH; else the test is reported as skipped.
#[must_use]
pub fn have(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| is_file(&dir.join(program)));
    if !found {
        skipped(&format!("{program} is not in PATH"));
    }
    found
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file())
}
