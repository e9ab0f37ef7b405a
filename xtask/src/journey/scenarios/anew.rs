//! A host that is installed once more: after it had lived, and after a run that was given
//! up and taken back.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::journey::course::Journey;
use crate::journey::operator::{Operator, USER};
use crate::journey::proof::{Proof, Remote, STAGED};
use crate::journey::repos::{CONFIG, HOST, SECRETS};
use crate::journey::scenario::{Act, Scenario};
use crate::run::output;

/// Below the operator's home: the host key of the first life, and what was encrypted in it.
const OLD_KEY: &str = "old_host_key";
const OLD_SECRETS: &str = "old_secrets.yaml";

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "reinstalled",
            shows: "installed, lost, installed again: the old key opens nothing any more",
            acts: vec![
                Act::Bootstrap,
                Act::Do(is_lost),
                Act::Do(is_installed_again),
                Act::Do(gets_the_secrets_of_now),
            ],
            holds: [&STAGED[..], &[OLD_KEY_IS_OUT]].concat(),
            ..Scenario::staged()
        },
        Scenario {
            name: "given-up-and-taken-back",
            shows: "killed in the copy, `abandon --undo`, then a new run",
            acts: vec![
                Act::KilledDuring("copy".to_string()),
                Act::Do(is_taken_back),
                Act::Bootstrap,
            ],
            ..Scenario::staged()
        },
    ]
}

/// The disk's boot loader goes, so that the machine falls back to the installer.
fn is_lost(journey: &Journey) -> Result<()> {
    let operator = &journey.operator;
    // The proof scans anew what answers in the end.
    let first = Remote::scan(operator, journey.target.port, "first")?;
    let as_root = |command: &str| {
        let sudo = format!("sudo -S -p '' sh -c '{command}'");
        first.run_with_input(operator, USER, &sudo, &journey.known.password)
    };
    let key = as_root("cat /etc/ssh/ssh_host_ed25519_key")?;
    operator.secret_file(OLD_KEY, &format!("{key}\n"))?;
    let secrets = journey.repos.secrets.join(format!("sops/{HOST}.yaml"));
    fs::copy(secrets, operator.path(OLD_SECRETS))?;
    as_root("rm -rf /boot/EFI /boot/loader; sync")?;
    // The connection ends with the machine.
    let _ = as_root("systemctl reboot");
    Ok(())
}

fn is_installed_again(journey: &Journey) -> Result<()> {
    let fingerprint = journey.target.next_installer_fingerprint()?;
    println!("the installer is up again: {fingerprint}");
    let status = journey.bootstrap_command_expecting(&fingerprint)?.status()?;
    ensure!(status.success(), "the second bootstrap ended with {status}");
    Ok(())
}

/// As landfall says at the end: the retired key's files were encrypted anew after the build.
fn gets_the_secrets_of_now(journey: &Journey) -> Result<()> {
    let password = journey.operator.secret_file("sudo-password", &journey.known.password)?;
    let mut landfall = journey.landfall()?;
    landfall.args(["sync", HOST, "--boot", "--yes", "-i"]).arg(journey.operator.ssh_key());
    let status = landfall.arg("--sudo-password-file").arg(password).status()?;
    ensure!(status.success(), "landfall sync ended with {status}");
    Ok(())
}

/// The identity of the first life, in a file for sops.
fn old_identity(journey: &Journey) -> Result<PathBuf> {
    let (key, identity) =
        (journey.operator.path(OLD_KEY), journey.operator.path("old_identity.txt"));
    let mut landfall = journey.operator.landfall()?;
    landfall.args(["keys", "to-age", "--private-key"]).arg(&identity).arg(&key);
    output(&mut landfall)?;
    Ok(identity)
}

/// The old identity opens the secrets of then, to be sure of it, and not those of now.
const OLD_KEY_IS_OUT: Proof = Proof::new("old key", |journey: &Journey| {
    let identity = old_identity(journey)?;
    let opens = |file: PathBuf| {
        let mut sops = journey.operator.command("sops");
        sops.env("HOME", "/nonexistent").env("SOPS_AGE_KEY_FILE", &identity);
        output(sops.args(["decrypt", "--extract", "[\"sample\"]"]).arg(file))
    };
    let pushed = journey.clone_of(SECRETS, &journey.repos.secrets)?;
    let pushed = pushed.join(format!("sops/{HOST}.yaml"));
    let then = opens(journey.operator.path(OLD_SECRETS))?;
    ensure!(then.trim() == journey.known.sample, "the old secrets hold {then}");
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

/// Nothing of the run is left in the repositories, here and there, but the history.
fn is_taken_back(journey: &Journey) -> Result<()> {
    let operator = &journey.operator;
    let rules = |revision: &str| {
        operator.git(&journey.repos.secrets, &["show", &format!("{revision}:.sops.yaml")])
    };
    let before = rules(&first_commit(operator, journey)?)?;
    ensure!(rules("HEAD")? != before, "the killed run has changed nothing");
    let mut landfall = journey.landfall()?;
    landfall.args(["abandon", HOST, "--undo", "--yes"]);
    println!("{}", output(&mut landfall)?);
    ensure!(rules("HEAD")? == before, "the rules are not what they were");
    for (name, checkout) in [(CONFIG, &journey.repos.config), (SECRETS, &journey.repos.secrets)] {
        let local = operator.git(checkout, &["rev-parse", "HEAD"])?;
        ensure!(operator.git(checkout, &["status", "--porcelain"])?.is_empty(), "{name} is dirty");
        if name == SECRETS {
            ensure!(journey.forge.head(name)? == local.trim(), "{name} was not pushed");
        }
    }
    let hardware =
        journey.repos.config.join(format!("hosts/nixos/{HOST}/hardware-configuration.nix"));
    ensure!(!hardware.exists(), "{} is still there", hardware.display());
    println!("rules, secrets and hardware are as before the run");
    Ok(())
}

/// What the operator had published before landfall ran.
fn first_commit(operator: &Operator, journey: &Journey) -> Result<String> {
    let log = operator.git(
        &journey.repos.secrets,
        &["log", "--format=%H %s", "--grep", "recipient", "--invert-grep"],
    )?;
    let line = log.lines().next().context("no commit of the operator's")?;
    Ok(line.split(' ').next().unwrap_or_default().to_string())
}
