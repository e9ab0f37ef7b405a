//! A machine that runs something else: a plain Debian on a disk, made once.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use super::base::checkout;
use super::packages;
use crate::cache::{Cache, hash_of};
use crate::run::quiet;

/// A file that shows the package is there, and the package.
const NEEDED: [(&str, &str); 4] = [
    ("/usr/bin/mmdebstrap", "mmdebstrap"),
    ("/usr/bin/mcopy", "mtools"),
    ("/sbin/mkfs.vfat", "dosfstools"),
    ("/sbin/sfdisk", "fdisk"),
];

/// The image of its disk.
pub fn image(cache: &Cache) -> PathBuf {
    cache.path("foreign.qcow2")
}

/// Makes the image, unless that was done from the same script.
pub fn ensure(cache: &Cache) -> Result<()> {
    let scripts = checkout().join("lab/foreign").canonicalize()?;
    let made_of = hash_of(&scripts)?;
    if cache.is_current("foreign", &made_of) && image(cache).exists() {
        return Ok(());
    }
    let start = Instant::now();
    packages::ensure(&NEEDED, &[])?;
    quiet(Command::new(scripts.join("build.sh")).arg(image(cache)))?;
    println!("{:<12} {:>5.1} s", "foreign", start.elapsed().as_secs_f64());
    cache.record("foreign", &made_of)
}
