//! What users and scripts rely on, seen from outside alone: the flags of every command,
//! the JSON that is printed, the journal, and the exit codes.
//!
//! A change that shows here is a change for somebody else's script. The snapshots lie
//! beside these files and do not depend on the names of modules; a change that is meant is
//! written to them with `INSTA_UPDATE=always`, in the lab.

mod exit_codes;
mod flags;
mod json;

use std::process::Command;

/// Compares `text` with the snapshot of this name.
#[track_caller]
fn matches(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// The program in an empty environment and an empty folder.
fn landfall(dir: &std::path::Path) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("landfall"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", dir).env("COLUMNS", "100").current_dir(dir);
    command
}
