//! Claims about the installed machine and the remotes, and the looks that show them.
//!
//! Invariant: nothing is shown by what landfall says of itself; each look goes to the machine,
//! the forge or a fresh clone.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::fixture::Journey;
use super::operator::USER;
use super::repos::{CONFIG, HARDWARE_MODULE, HOST, SECRETS};
use crate::process::output;

/// Something that must hold, and how it is looked at.
#[derive(Clone, Copy)]
pub(crate) struct Claim {
    pub(crate) name: &'static str,
    /// Gives what shows it; fails where it does not hold.
    show: fn(&Journey) -> Result<String>,
}

/// A claim that was looked at, and what shows that it holds.
pub(crate) struct CheckedClaim {
    pub(crate) name: &'static str,
    pub(crate) evidence: Result<String>,
}

impl Claim {
    /// Names a claim, and the function that shows it.
    pub(crate) const fn new(name: &'static str, show: fn(&Journey) -> Result<String>) -> Claim {
        Claim { name, show }
    }

    /// Looks whether it holds.
    pub(crate) fn check(&self, journey: &Journey) -> CheckedClaim {
        CheckedClaim { name: self.name, evidence: (self.show)(journey) }
    }
}

pub(crate) const HOST_KEY: Claim = Claim::new("host key", host_key);
pub(crate) const KNOWN_HOSTS: Claim = Claim::new("known_hosts", known_hosts);
pub(crate) const BOOT_ID: Claim = Claim::new("boot id", boot_id);
pub(crate) const DISK: Claim = Claim::new("disk", |journey| encrypted_disk(journey, 2));
pub(crate) const GENERATION: Claim = Claim::new("generation", generation);
pub(crate) const SECRET: Claim = Claim::new("secret", secret);
pub(crate) const UNITS: Claim = Claim::new("units", units);
pub(crate) const REPOS: Claim = Claim::new("repos", repos_on_target);
pub(crate) const CONSOLE_LOGIN: Claim = Claim::new("console login", console_login);
pub(crate) const REMOTES: Claim = Claim::new("remotes", remotes);

// In other journeys than the main one.
pub(crate) const AGE_KEY: Claim = Claim::new("age key", age_key);
pub(crate) const ONE_BOOT: Claim = Claim::new("disk", |journey| encrypted_disk(journey, 1));
pub(crate) const PLAIN_BTRFS: Claim = Claim::new("disk", |journey| plain_root(journey, "btrfs"));
pub(crate) const PLAIN_EXT4: Claim = Claim::new("disk", |journey| plain_root(journey, "ext4"));
pub(crate) const NEXT_BOOT: Claim = Claim::new("next boot", next_boot_forgets);

/// What holds after the main journey.
pub(crate) const STAGED: [Claim; 10] = [
    HOST_KEY,
    KNOWN_HOSTS,
    BOOT_ID,
    DISK,
    GENERATION,
    SECRET,
    UNITS,
    REPOS,
    CONSOLE_LOGIN,
    REMOTES,
];

/// Lists what holds after the main journey, where these take the place of those of their
/// names, and come after them otherwise.
pub(crate) fn staged_and(others: &[Claim]) -> Vec<Claim> {
    let mut claims = STAGED.to_vec();
    for other in others {
        match claims.iter_mut().find(|claim| claim.name == other.name) {
            Some(claim) => *claim = *other,
            None => claims.push(*other),
        }
    }
    claims
}

/// Shows that the key that answers is the one whose recipient opens the host's secrets.
fn host_key(journey: &Journey) -> Result<String> {
    let installed = journey.installed()?;
    let file = journey.operator.path("scanned.pub");
    fs::write(&file, format!("{}\n", installed.key()))?;
    let recipient = output(journey.operator.landfall()?.args(["keys", "to-age"]).arg(&file))?;
    let recipient = recipient.trim();
    let clone = journey.clone_of(SECRETS, &journey.repos.secrets)?;
    let encrypted = fs::read_to_string(clone.join(format!("sops/{HOST}.yaml")))?;
    ensure!(
        encrypted.contains(recipient),
        "{recipient}, the recipient of the key that answers, is not in sops/{HOST}.yaml"
    );
    Ok(format!("{} = {recipient}", installed.fingerprint()?))
}

/// Shows that who now runs plain ssh is not asked anything.
fn known_hosts(journey: &Journey) -> Result<String> {
    let installed = journey.installed()?;
    let known = fs::read_to_string(journey.operator.path(".ssh/known_hosts"))?;
    let name = format!("[127.0.0.1]:{}", installed.port);
    let fits = |line: &str| line.starts_with(&name) && line.contains(installed.key());
    ensure!(known.lines().any(fits), "the operator's known_hosts lacks {name} with this key");
    Ok(format!("{name} has this key"))
}

/// Shows that the machine was rebooted since the installer.
fn boot_id(journey: &Journey) -> Result<String> {
    let (installer, now) = (&journey.installer_boot_id, journey.boot_id()?);
    ensure!(now != *installer, "the installer's boot {now} still runs");
    Ok(format!("{installer} -> {now}"))
}

/// Shows that the root is behind LUKS, and a passphrase was typed at each of so many boots.
fn encrypted_disk(journey: &Journey, boots: u32) -> Result<String> {
    let source = journey.as_user("findmnt -no SOURCE /")?;
    ensure!(source.starts_with("/dev/mapper/"), "the root is {source}, not behind LUKS");
    let typed = journey.target.passphrases_typed();
    ensure!(typed >= boots, "the passphrase was typed {typed} times, not at {boots} boots");
    Ok(format!("{source}, passphrase typed at {typed} boots"))
}

/// Shows that the root is a file system of this type, straight on a partition.
fn plain_root(journey: &Journey, kind: &str) -> Result<String> {
    let found = journey.as_user("findmnt -no FSTYPE,SOURCE /")?;
    let plain = found.starts_with(kind) && !found.contains("/dev/mapper/");
    ensure!(plain, "the root is {found}, not {kind} on a partition");
    Ok(found.split_whitespace().collect::<Vec<_>>().join(" on "))
}

/// Shows that the age key file is there for root alone.
fn age_key(journey: &Journey) -> Result<String> {
    let file = "/var/lib/sops-nix/key.txt";
    let look = format!("stat -c '%a %U' {file} && grep -c AGE-SECRET-KEY- {file}");
    let found = journey.as_root(&look)?;
    ensure!(found == "600 root\n1", "{file} is {found}");
    Ok(format!("{file}, mode 600, root's"))
}

/// Shows that after one more boot a file that nothing keeps is gone, one in the persist folder
/// is still there, and host key and secrets are what they were.
fn next_boot_forgets(journey: &Journey) -> Result<String> {
    journey.as_root("echo kept > /persist/kept && echo lost > /lost && sync")?;
    journey.reboot()?;
    let look = "cat /persist/kept; test -e /lost && echo lost || echo gone";
    let found = journey.as_root(look)?;
    ensure!(found == "kept\ngone", "after the boot: {found}");
    secret(journey)?;
    Ok("/lost is gone, /persist/kept is there; host key and secret as before".to_string())
}

/// Shows that what booted is what runs, and what a clean clone of the pushed commit evaluates
/// to.
fn generation(journey: &Journey) -> Result<String> {
    let links = "readlink -f /run/booted-system /run/current-system /nix/var/nix/profiles/system";
    let links = journey.as_user(links)?;
    let mut paths = links.lines();
    let booted = paths.next().context("no booted system")?.to_string();
    ensure!(paths.all(|path| path == booted), "booted, current and profile differ:\n{links}");
    let clone = journey.clone_of(CONFIG, &journey.repos.config)?;
    let attribute = format!(
        "git+file://{}#nixosConfigurations.{HOST}.config.system.build.toplevel",
        clone.display()
    );
    let evaluated = output(journey.operator.command("nix").args(["eval", "--raw", &attribute]))?;
    ensure!(evaluated == booted, "a clean clone gives {evaluated}, but {booted} runs");
    Ok(booted)
}

/// Shows that the machine has decrypted the sample secret.
fn secret(journey: &Journey) -> Result<String> {
    let value = journey.as_user("cat /run/secrets/sample")?;
    let same = value == journey.secrets.sample;
    ensure!(same, "/run/secrets/sample is not the value that was encrypted");
    Ok("/run/secrets/sample equals the value that was encrypted".to_string())
}

/// Shows that no unit has failed.
fn units(journey: &Journey) -> Result<String> {
    let failed = journey.as_user("systemctl list-units --failed --no-legend --plain")?;
    ensure!(failed.is_empty(), "failed: {failed}");
    Ok("none has failed".to_string())
}

/// Shows that the configuration in the user's home is at the operator's commit.
fn repos_on_target(journey: &Journey) -> Result<String> {
    let local = journey.operator.git(&journey.repos.config, &["rev-parse", "HEAD"])?;
    let dir = journey.as_user("find ~ -maxdepth 3 -name nix-config -type d | head -n 1")?;
    ensure!(!dir.is_empty(), "no nix-config in the home of {USER}");
    let there = journey.as_user(&format!("git -C {dir} rev-parse HEAD"))?;
    ensure!(there == local.trim(), "{dir} is at {there}, the operator's at {}", local.trim());
    Ok(format!("{dir} at {there}"))
}

/// Shows that the password, whose hash came out of a secret, opens the console.
fn console_login(journey: &Journey) -> Result<String> {
    let name = journey.target.console_login(USER, &journey.secrets.password)?;
    ensure!(name == USER, "the console logged {name} in");
    Ok(format!("{name}, with the password from the secret"))
}

/// Shows that the forge has the operator's commits, the hardware configuration among them.
fn remotes(journey: &Journey) -> Result<String> {
    let mut found = Vec::new();
    for (name, checkout) in journey.repos.checkouts() {
        let local = journey.operator.git(checkout, &["rev-parse", "HEAD"])?;
        let (local, remote) = (local.trim(), journey.forge.head(name)?);
        ensure!(remote == local, "{name}: the remote has {remote}, here is {local}");
        found.push(format!("{name} {}", &remote[..12]));
    }
    let clone = journey.clone_of(CONFIG, &journey.repos.config)?;
    ensure!(clone.join(HARDWARE_MODULE).exists(), "{HARDWARE_MODULE} was not pushed");
    Ok(found.join(", "))
}
