//! The same installation by landfall and by nixos-anywhere, to be timed: the minimal system
//! of the host, LUKS, hardware configuration included, until the installed system lets its
//! user in. These are no tests, so they are in no list of journeys.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::disks;
use crate::journey::course::Journey;
use crate::journey::operator::USER;
use crate::journey::proof::Remote;
use crate::journey::repos::HOST;
use crate::journey::scenario::{Act, Scenario};
use crate::run::wait_until;

/// From the reboot to a login, three to four times what a quiet machine needs.
const LOGIN_DEADLINE: Duration = Duration::from_secs(400);

/// Where the layouts of `landfall init` have disko read the passphrase.
const PASSPHRASE_ON_TARGET: &str = "/tmp/disko-password";

pub fn by_landfall() -> Scenario {
    by("landfall install", Act::Do(disks::install))
}

pub fn by_nixos_anywhere(program: &Path) -> Scenario {
    by("nixos-anywhere", Act::NixosAnywhere(program.to_path_buf()))
}

fn by(name: &'static str, act: Act) -> Scenario {
    Scenario { name, acts: vec![act, Act::Do(lets_the_user_in)], ..Scenario::staged() }
}

/// As its documentation has it for an installer that runs already.
pub fn nixos_anywhere(journey: &Journey, program: &Path) -> Result<()> {
    let operator = &journey.operator;
    let passphrase = operator.secret_file("passphrase", &journey.known.passphrase)?;
    let hardware = format!("hosts/nixos/{HOST}/hardware-configuration.nix");
    let mut command = operator.command(program);
    command
        .current_dir(&journey.repos.config)
        .args(["--flake", &format!(".?dir=nixos-installer#{HOST}")])
        .args(["--target-host", "root@127.0.0.1", "-p", &journey.target.port.to_string(), "-i"])
        .arg(operator.ssh_key())
        .args(["--phases", "disko,install,reboot"])
        .args(["--generate-hardware-config", "nixos-generate-config", &hardware])
        .args(["--disk-encryption-keys", PASSPHRASE_ON_TARGET])
        .arg(passphrase)
        .stdin(Stdio::null());
    let status = command.status()?;
    ensure!(status.success(), "{} ended with {status}", program.display());
    Ok(())
}

fn lets_the_user_in(journey: &Journey) -> Result<()> {
    let installer = journey.installer.key();
    let is_in = || {
        Remote::scan(&journey.operator, journey.target.port, "in").is_ok_and(|remote| {
            remote.key() != installer && remote.run(&journey.operator, USER, "true").is_ok()
        })
    };
    ensure!(wait_until(LOGIN_DEADLINE, is_in)?, "the installed system lets {USER} not in");
    Ok(())
}
