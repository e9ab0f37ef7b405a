//! Debian's binaries in the lab's store, and the flakes that stand in for the real inputs.
//!
//! `lab/base/build.sh` makes component trees of packages, `lab/base/import.sh` adds them to
//! the store and says where they are; the stand-in nixpkgs finds that in its `base.json`.
//! Configurations are locked to the copies below the cache folder, so that the lock does
//! not move while the sources are being edited.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::enter;
use crate::cache::{Cache, hash_of, remove};
use crate::checkout;
use crate::process::{output, quiet};

/// The inputs of a configuration that the lab stands in for.
pub(crate) const INPUTS: [&str; 4] = ["nixpkgs", "disko", "sops-nix", "nixos-images"];

/// Returns where a stand-in is for `nix flake lock --override-input`.
pub(crate) fn input(cache: &Cache, name: &str) -> PathBuf {
    cache.path("inputs").join(name)
}

/// Makes the component trees and adds them to the store, unless that was done from the
/// same scripts.
pub(crate) fn ensure(cache: &Cache) -> Result<()> {
    let scripts = checkout::root().join("lab/base").canonicalize()?;
    let made_of = hash_of(&scripts)?;
    let table = cache.path("base.json");
    if cache.is_current("base", &made_of) && all_in_store(cache, &table)? {
        return Ok(());
    }
    let trees = cache.path("base");
    quiet(
        Command::new(scripts.join("build.sh")).arg(&trees).env("LANDFALL_LAB_CACHE", cache.root()),
    )?;
    let import = scripts.join("import.sh");
    let json = output(&mut enter::command(&[import.as_os_str(), trees.as_os_str()])?)?;
    fs::write(&table, json).with_context(|| format!("cannot write {}", table.display()))?;
    remove(&trees.join("components"))?;
    if !all_in_store(cache, &table)? {
        bail!("{} names paths that are not in the store", table.display());
    }
    cache.record("base", &made_of)
}

/// Says whether every component that the table names is there.
fn all_in_store(cache: &Cache, table: &Path) -> Result<bool> {
    let Ok(json) = fs::read_to_string(table) else { return Ok(false) };
    let components: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&json)
        .with_context(|| format!("{} is not the table of components", table.display()))?;
    let present = |component: &serde_json::Value| {
        let path = component["path"].as_str().and_then(|path| path.strip_prefix("/"));
        path.is_some_and(|path| cache.path(path).exists())
    };
    Ok(!components.is_empty() && components.values().all(present))
}

/// Brings the stand-ins below the cache folder up to date with their sources.
pub(crate) fn ensure_inputs(cache: &Cache) -> Result<()> {
    for name in INPUTS {
        let source = checkout::root().join("lab").join(name);
        let copy = input(cache, name);
        fs::create_dir_all(&copy)?;
        quiet(
            Command::new("rsync")
                .args(["--archive", "--delete", "--checksum", "--exclude=/base.json"])
                .arg(format!("{}/", source.display()))
                .arg(format!("{}/", copy.display())),
        )?;
    }
    let (table, copy) = (cache.path("base.json"), input(cache, "nixpkgs").join("base.json"));
    fs::copy(&table, &copy).with_context(|| format!("cannot write {}", copy.display()))?;
    Ok(())
}
