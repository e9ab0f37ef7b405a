//! What journeys do with the machine, in more than one of them.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::fixture::Journey;
use super::operator::USER;
use super::repos::{HARDWARE_MODULE, HOST};
use super::setup::SERIAL;
use super::ssh_host::SshHost;
use crate::process::{tail, wait_until};

/// How far into a step a kill comes.
const INTO_THE_STEP: Duration = Duration::from_secs(5);
const STEP_DEADLINE: Duration = Duration::from_secs(400);
const BOOTSTRAP_DEADLINE: Duration = Duration::from_secs(30 * 60);

/// From the reboot to a login, three to four times what a quiet machine needs.
const LOGIN_DEADLINE: Duration = Duration::from_secs(400);

/// Where the layouts of `landfall init` have disko read the passphrase.
const PASSPHRASE_ON_TARGET: &str = "/tmp/disko-password";

/// Runs a command to its end, which must be a success.
pub(crate) fn succeed(what: &str, command: &mut Command) -> Result<()> {
    let status = command.status()?;
    ensure!(status.success(), "{what} ended with {status}");
    Ok(())
}

/// Runs `landfall bootstrap` as the operator would, to its end.
pub(crate) fn bootstrap(journey: &Journey) -> Result<()> {
    let mut landfall = journey.bootstrap_command()?.spawn()?;
    let waited = wait_until(BOOTSTRAP_DEADLINE, || {
        journey.target.is_stuck() || !matches!(landfall.try_wait(), Ok(None))
    });
    if matches!(landfall.try_wait(), Ok(None)) {
        landfall.kill()?;
        landfall.wait()?;
        waited?;
        let console = std::fs::read(journey.target.console_log())?;
        let console = String::from_utf8_lossy(&console);
        bail!("the machine does not start; its console ends with:\n{}", tail(&console));
    }
    let status = landfall.wait()?;
    ensure!(status.success(), "landfall bootstrap ended with {status}");
    Ok(())
}

/// Runs `landfall bootstrap`, and kills it in the middle of a step.
pub(crate) fn bootstrap_killed_during(journey: &Journey, step: &str) -> Result<()> {
    let mut landfall = journey.bootstrap_command()?.spawn()?;
    let reached = wait_into(journey, &mut landfall, step);
    let _ = landfall.kill();
    landfall.wait()?;
    reached?;
    println!("killed landfall in the middle of {step}");
    Ok(())
}

/// Waits until a step has been running for a while.
fn wait_into(journey: &Journey, landfall: &mut Child, step: &str) -> Result<()> {
    let mut since = None;
    let mut ended = false;
    let reached = wait_until(STEP_DEADLINE, || {
        std::thread::sleep(Duration::from_millis(300));
        ended = matches!(landfall.try_wait(), Ok(Some(_)));
        if ended || !is_running(journey, step) {
            return ended;
        }
        since.get_or_insert_with(Instant::now).elapsed() > INTO_THE_STEP
    })?;
    ensure!(!ended, "landfall ended before the middle of {step}");
    ensure!(reached, "{step} did not begin within {} s", STEP_DEADLINE.as_secs());
    Ok(())
}

fn is_running(journey: &Journey, step: &str) -> bool {
    let steps = journey.steps().unwrap_or_default();
    steps.iter().any(|seen| seen.id == step && seen.state == "running")
}

/// Prepares `landfall install` of the minimal system of `host`, with everything but
/// passphrases.
pub(crate) fn install_command(journey: &Journey, host: &str) -> Result<Command> {
    let mut landfall = journey.landfall()?;
    landfall
        .arg("install")
        .arg(format!(".?dir=nixos-installer#{host}"))
        .args(["root@127.0.0.1", "-p", &journey.target.port.to_string(), "--yes", "-i"])
        .arg(journey.operator.ssh_key())
        .stdin(Stdio::null());
    Ok(landfall)
}

/// Prepares `landfall install` of the host with all that an installation needs: the installer's
/// host key, the hardware into the flake, the passphrase, the disk.
pub(crate) fn unattended_install_command(journey: &Journey, fingerprint: &str) -> Result<Command> {
    let mut landfall = install_command(journey, HOST)?;
    landfall
        .args(["--installer-fingerprint", fingerprint])
        .args(["--generate-hardware-config", "nixos-generate-config", HARDWARE_MODULE])
        .args(["--erase", SERIAL, "--luks-passphrase-file"])
        .arg(journey.passphrase_file()?);
    Ok(landfall)
}

/// Installs the minimal system of the host with `landfall install`.
pub(crate) fn install(journey: &Journey) -> Result<()> {
    let fingerprint = journey.installer.fingerprint()?;
    succeed("landfall install", &mut unattended_install_command(journey, &fingerprint)?)
}

/// Installs the minimal system of the host with nixos-anywhere, as its documentation has it
/// for an installer that runs already.
pub(crate) fn nixos_anywhere(journey: &Journey, program: &Path) -> Result<()> {
    let mut command = journey.operator.command(program);
    command
        .current_dir(&journey.repos.config)
        .args(["--flake", &format!(".?dir=nixos-installer#{HOST}")])
        .args(["--target-host", "root@127.0.0.1", "-p", &journey.target.port.to_string(), "-i"])
        .arg(journey.operator.ssh_key())
        .args(["--phases", "disko,install,reboot"])
        .args(["--generate-hardware-config", "nixos-generate-config", HARDWARE_MODULE])
        .args(["--disk-encryption-keys", PASSPHRASE_ON_TARGET])
        .arg(journey.passphrase_file()?)
        .stdin(Stdio::null());
    succeed(&program.display().to_string(), &mut command)
}

/// Waits until the installed system lets its user in.
pub(crate) fn wait_for_login(journey: &Journey) -> Result<()> {
    let installer = journey.installer.key();
    let is_in = || {
        SshHost::scan(&journey.operator, journey.target.port, "in").is_ok_and(|host| {
            host.key() != installer && host.run(&journey.operator, USER, "true").is_ok()
        })
    };
    ensure!(wait_until(LOGIN_DEADLINE, is_in)?, "the installed system does not let {USER} in");
    Ok(())
}
