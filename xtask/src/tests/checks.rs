//! What needs no test to run: formatting, lints, documentation, and what the dependencies may
//! be.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::tally::{Ended, Tally};
use crate::cache::Cache;
use crate::checkout;
use crate::process::{in_path, quiet};

const CLIPPY: [&str; 7] =
    ["clippy", "--quiet", "--workspace", "--all-targets", "--locked", "--", "-Dwarnings"];

const DOC: [&str; 6] =
    ["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items", "--locked"];

const DENY: &str = "cargo-deny";

/// A version that the toolchain of this repository builds.
const DENY_VERSION: &str = "cargo-deny@0.20.2";

/// Advisories are left out: their database comes from a place that test machines may not
/// reach.
const DENY_ARGS: [&str; 7] =
    ["--log-level", "error", "--workspace", "check", "bans", "licenses", "sources"];

/// Runs every check; a fast run builds no program for it.
pub(crate) fn run(cache: &Cache, fast: bool, tally: &mut Tally) {
    tally.run("cargo fmt", || passes(cargo().args(["fmt", "--all", "--check"])));
    tally.run("cargo clippy", || passes(cargo().args(CLIPPY)));
    tally.run("cargo doc", || passes(cargo().args(DOC).env("RUSTDOCFLAGS", "-D warnings")));
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

fn deny(cache: &Cache, fast: bool) -> Result<Ended> {
    let own = cache.path("tools/bin").join(DENY);
    let program = if in_path(DENY) { PathBuf::from(DENY) } else { own };
    if !in_path(DENY) && !program.exists() {
        if fast {
            let reason = "cargo-deny is not built yet: the full test builds it";
            return Ok(Ended::Skipped(reason.to_string()));
        }
        println!("building {DENY}, once");
        let root = cache.path("tools");
        quiet(cargo().args(["install", "--quiet", "--locked", DENY_VERSION, "--root"]).arg(&root))?;
    }
    passes(Command::new(program).args(DENY_ARGS).current_dir(checkout::root()))
}
