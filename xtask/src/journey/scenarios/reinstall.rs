//! A host that is installed once more: after it was lost, and after a run that was abandoned.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::journey::actions::succeed;
use crate::journey::claims::{Claim, staged_and};
use crate::journey::fixture::Journey;
use crate::journey::repos::{HARDWARE_MODULE, HOST, SECRETS};
use crate::journey::scenario::{Action, Scenario};
use crate::journey::ssh_host::SshHost;
use crate::process::output;

/// Below the operator's home: the host key of the first life, and what was encrypted in it.
const OLD_KEY: &str = "old_host_key";
const OLD_SECRETS: &str = "old_secrets.yaml";

/// Lists the journeys of this subject.
pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "reinstalled",
            shows: "installed, lost, installed again: the old key opens nothing any more",
            actions: vec![
                Action::Bootstrap,
                Action::Do(lose_the_host),
                Action::Do(bootstrap_again),
                Action::Do(sync_the_secrets),
            ],
            claims: staged_and(&[OLD_KEY_IS_OUT]),
            ..Scenario::staged()
        },
        Scenario {
            name: "given-up-and-taken-back",
            shows: "killed in the copy, `abandon --undo`, then a new run",
            actions: vec![
                Action::BootstrapKilledDuring("copy".to_string()),
                Action::Do(abandon),
                Action::Bootstrap,
            ],
            ..Scenario::staged()
        },
    ]
}

/// Removes the disk's boot loader, so that the machine falls back to the installer.
fn lose_the_host(journey: &Journey) -> Result<()> {
    let operator = &journey.operator;
    // The claims scan again what answers in the end.
    let first = SshHost::scan(operator, journey.target.port, "first")?;
    let key = journey.as_root_on(&first, "cat /etc/ssh/ssh_host_ed25519_key")?;
    operator.secret_file(OLD_KEY, &format!("{key}\n"))?;
    fs::copy(journey.repos.host_secrets(), operator.path(OLD_SECRETS))?;
    journey.as_root_on(&first, "rm -rf /boot/EFI /boot/loader; sync")?;
    // The connection ends with the machine.
    let _ = journey.as_root_on(&first, "systemctl reboot");
    Ok(())
}

fn bootstrap_again(journey: &Journey) -> Result<()> {
    let fingerprint = journey.target.next_installer_fingerprint()?;
    println!("the installer is up again: {fingerprint}");
    succeed("the second bootstrap", &mut journey.bootstrap_command_expecting(&fingerprint)?)
}

/// Syncs, as landfall says at the end: the files that the retired key could open were encrypted
/// again after the build.
fn sync_the_secrets(journey: &Journey) -> Result<()> {
    let mut landfall = journey.landfall()?;
    landfall.args(["sync", HOST, "--boot", "--yes", "-i"]).arg(journey.operator.ssh_key());
    landfall.arg("--sudo-password-file").arg(journey.sudo_password_file()?);
    succeed("landfall sync", &mut landfall)
}

/// Writes the identity of the first life to a file for sops.
fn old_identity(journey: &Journey) -> Result<PathBuf> {
    let (key, identity) =
        (journey.operator.path(OLD_KEY), journey.operator.path("old_identity.txt"));
    let mut landfall = journey.operator.landfall()?;
    landfall.args(["keys", "to-age", "--private-key"]).arg(&identity).arg(&key);
    output(&mut landfall)?;
    Ok(identity)
}

/// Shows that the old identity opens the secrets of then, to be sure of it, and not those of
/// now.
const OLD_KEY_IS_OUT: Claim = Claim::new("old key", |journey| {
    let identity = old_identity(journey)?;
    let opens = |file: PathBuf| {
        let mut sops = journey.operator.command("sops");
        sops.env("HOME", "/nonexistent").env("SOPS_AGE_KEY_FILE", &identity);
        output(sops.args(["decrypt", "--extract", "[\"sample\"]"]).arg(file))
    };
    let pushed = journey.clone_of(SECRETS, &journey.repos.secrets)?;
    let pushed = pushed.join(format!("sops/{HOST}.yaml"));
    let then = opens(journey.operator.path(OLD_SECRETS))?;
    ensure!(then.trim() == journey.secrets.sample, "the old secrets hold {then}");
    let now = opens(pushed.clone());
    ensure!(now.is_err(), "the old key opens the secrets that were pushed");
    let encrypted = |file: &Path| -> Result<String> {
        let text = fs::read_to_string(file)?;
        let line = text.lines().find(|line| line.starts_with("sample:"));
        Ok(line.context("no sample")?.to_string())
    };
    let then = encrypted(&journey.operator.path(OLD_SECRETS))?;
    let now = encrypted(&pushed)?;
    ensure!(then != now, "the data key was not changed");
    Ok("opens what was encrypted in its time, and nothing that was pushed since".to_string())
});

/// Abandons the run, which leaves nothing of it in the repositories, here and there, but the
/// history.
fn abandon(journey: &Journey) -> Result<()> {
    let operator = &journey.operator;
    let rules = |revision: &str| {
        operator.git(&journey.repos.secrets, &["show", &format!("{revision}:.sops.yaml")])
    };
    let before = rules(&published_commit(journey)?)?;
    ensure!(rules("HEAD")? != before, "the killed run has changed nothing");
    let mut landfall = journey.landfall()?;
    landfall.args(["abandon", HOST, "--undo", "--yes"]);
    println!("{}", output(&mut landfall)?);
    ensure!(rules("HEAD")? == before, "the rules are not what they were");
    for (name, checkout) in journey.repos.checkouts() {
        let local = operator.git(checkout, &["rev-parse", "HEAD"])?;
        ensure!(operator.git(checkout, &["status", "--porcelain"])?.is_empty(), "{name} is dirty");
        if name == SECRETS {
            ensure!(journey.forge.head(name)? == local.trim(), "{name} was not pushed");
        }
    }
    let hardware = journey.repos.config.join(HARDWARE_MODULE);
    ensure!(!hardware.exists(), "{} is still there", hardware.display());
    println!("rules, secrets and hardware are as before the run");
    Ok(())
}

/// Returns the commit that the operator had published before landfall ran.
fn published_commit(journey: &Journey) -> Result<String> {
    let words = ["log", "--format=%H", "--grep", "recipient", "--invert-grep"];
    let log = journey.operator.git(&journey.repos.secrets, &words)?;
    Ok(log.lines().next().context("no commit of the operator's")?.to_string())
}
