//! Formatting, lints, and what the dependencies may be.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::tally::{Ended, Tally};
use crate::cache::Cache;
use crate::checkout;
use crate::process::{in_path, quiet};

const DENY: &str = "cargo-deny";

/// A version that the toolchain of this repository builds.
const DENY_VERSION: &str = "cargo-deny@0.20.2";

pub(crate) fn run(cache: &Cache, fast: bool, tally: &mut Tally) {
    tally.run("cargo fmt", || passes(cargo().args(["fmt", "--all", "--check"])));
    tally.run("cargo clippy", || {
        passes(cargo().args([
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]))
    });
    tally.run("cargo deny", || deny(cache, fast));
}

fn cargo() -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(checkout::root());
    command
}

fn passes(command: &mut Command) -> Result<Ended> {
    quiet(command)?;
    Ok(Ended::Passed)
}

/// Advisories are left out: their database comes from a place that test machines may not
/// reach.
fn deny(cache: &Cache, fast: bool) -> Result<Ended> {
    let own = cache.path("tools/bin").join(DENY);
    let program = match (in_path(DENY), own.exists(), fast) {
        (true, _, _) => PathBuf::from(DENY),
        (_, true, _) => own,
        (_, _, true) => {
            let reason = "cargo-deny is not built yet: the full test builds it";
            return Ok(Ended::Skipped(reason.to_string()));
        }
        _ => {
            println!("building {DENY}, once");
            let root = cache.path("tools");
            quiet(
                cargo().args(["install", "--quiet", "--locked", DENY_VERSION, "--root"]).arg(&root),
            )?;
            own
        }
    };
    passes(
        Command::new(program)
            .args(["--log-level", "error", "--workspace", "check", "bans", "licenses", "sources"])
            .current_dir(checkout::root()),
    )
}
