//! What the tests with real programs share.

pub mod fake_drive;
pub mod git;
pub mod installer;
pub mod journey;
pub mod layouts;
pub mod plain_flake;
pub mod pty;
pub mod round_trip;
pub mod secrets;
pub mod sshd;
pub mod users;

use std::fs;
use std::path::Path;

/// Exit codes as scripts know them.
pub const FAILED: i32 = 1;
pub const USAGE: i32 = 2;
pub const PERSON: i32 = 3;

/// Says that a test could not run, in the form that the summary of `cargo xtask test` counts.
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

/// Puts `to` in every place of `from`, which the file must have.
#[track_caller]
pub fn replace(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "no {from:?} in {}", file.display());
    fs::write(file, text.replace(from, to)).unwrap();
}
