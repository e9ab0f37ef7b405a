//! Finds out whether the host's hypervisor can be used.
//!
//! A hypervisor device that is there does not say so: on some machines a stock kernel
//! hangs under it. So a kernel is booted once until it finds no root, and the answer is
//! kept in the cache.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};

use super::qemu;
use super::spec::Accel;
use crate::cache::Cache;
use crate::process::{tethered, wait_until};

const PROBE_DEADLINE: Duration = Duration::from_secs(10);

/// Finds the best accelerator of this host, from the kept answer or from a trial.
pub(crate) fn best(cache: &Cache) -> Result<Accel> {
    if std::fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
        return Ok(Accel::Tcg);
    }
    let Some(kernel) = guest_kernel(cache)? else { return Ok(Accel::Tcg) };
    let host = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    for (answer, accel) in [("works", Accel::Kvm), ("fails", Accel::Tcg)] {
        if cache.is_current("kvm", &format!("{answer} on {host}")) {
            return Ok(accel);
        }
    }
    let works = boots(&kernel)?;
    let answer = if works { "works" } else { "fails" };
    cache.record("kvm", &format!("{answer} on {host}"))?;
    Ok(if works { Accel::Kvm } else { Accel::Tcg })
}

/// Returns the kernel among the components of the lab's base, once that is made.
fn guest_kernel(cache: &Cache) -> Result<Option<PathBuf>> {
    let Ok(table) = std::fs::read_to_string(cache.path("base.json")) else { return Ok(None) };
    let table: serde_json::Value = serde_json::from_str(&table).context("cannot read base.json")?;
    let path = table["linux-kernel"]["path"].as_str().map(|path| path.trim_start_matches('/'));
    Ok(path.map(|path| cache.path(path).join("bzImage")).filter(|kernel| kernel.exists()))
}

/// Says whether a kernel comes as far as missing its root, and then ends the machine.
fn boots(kernel: &Path) -> Result<bool> {
    let mut child = tethered(qemu::PROGRAM)
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-m", "512"])
        .args(qemu::accel_arguments(Accel::Kvm))
        .args(["-append", "panic=-1", "-kernel"])
        .arg(kernel)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start QEMU")?;
    let mut ended = None;
    wait_until(PROBE_DEADLINE, || {
        ended = child.try_wait().ok().flatten();
        ended.is_some()
    })?;
    let _ = child.kill();
    let _ = child.wait();
    Ok(ended.is_some_and(|status| status.success()))
}
