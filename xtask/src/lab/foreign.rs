//! The disk of a machine that runs something else: a plain Debian, made once.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use super::packages::{self, Package};
use crate::cache::{Cache, hash_of};
use crate::checkout;
use crate::process::quiet;

const NEEDED: [Package; 4] = [
    Package { file: "/usr/bin/mmdebstrap", name: "mmdebstrap" },
    Package { file: "/usr/bin/mcopy", name: "mtools" },
    Package { file: "/sbin/mkfs.vfat", name: "dosfstools" },
    Package { file: "/sbin/sfdisk", name: "fdisk" },
];

/// Returns the path of the image of its disk.
pub(crate) fn image(cache: &Cache) -> PathBuf {
    cache.path("foreign.qcow2")
}

/// Makes the image, unless that was done from the same script.
pub(crate) fn ensure(cache: &Cache) -> Result<()> {
    let scripts = checkout::root().join("lab/foreign").canonicalize()?;
    let made_of = hash_of(&scripts)?;
    if cache.is_current("foreign", &made_of) && image(cache).exists() {
        return Ok(());
    }
    let start = Instant::now();
    packages::ensure(&NEEDED)?;
    quiet(Command::new(scripts.join("build.sh")).arg(image(cache)))?;
    println!("{:<12} {:>5.1} s", "foreign", start.elapsed().as_secs_f64());
    cache.record("foreign", &made_of)
}
