//! The forms of the journey: strategies, layouts, ways of holding secrets.

use anyhow::{Result, ensure};

use super::edits;
use crate::journey::course::Journey;
use crate::journey::operator::USER;
use crate::journey::proof::{self, Proof, STAGED};
use crate::journey::repos::SECRETS;
use crate::journey::scenario::{Scenario, Share, words};

pub fn scenarios() -> Vec<Scenario> {
    vec![direct(), ext4_without_sops(), btrfs_age_key_file(), secrets_left_alone()]
}

/// Installed at once: one build, one boot.
fn direct() -> Scenario {
    Scenario {
        name: "direct",
        shows: "the full configuration installed at once, LUKS, secrets",
        share: Share::Core,
        flags: words("--strategy direct"),
        holds: with(&[ONE_BOOT]),
        ..Scenario::staged()
    }
}

fn ext4_without_sops() -> Scenario {
    Scenario {
        name: "ext4-without-sops",
        shows: "direct, ext4, a configuration that knows nothing of sops",
        layout: "ext4".to_string(),
        edits: vec![edits::without_sops],
        flags: words("--strategy direct"),
        holds: vec![
            PREPARED_KEY,
            proof::KNOWN_HOSTS,
            proof::BOOT_ID,
            Proof::new("disk", |journey| journey.root_is("ext4")),
            proof::GENERATION,
            proof::UNITS,
            proof::REPOS,
            proof::CONSOLE_LOGIN,
            proof::REMOTES,
            SECRETS_UNTOUCHED,
        ],
        ..Scenario::staged()
    }
}

fn btrfs_age_key_file() -> Scenario {
    Scenario {
        name: "btrfs-age-key-file",
        shows: "direct, btrfs, secrets opened with an age key file alone",
        layout: "btrfs".to_string(),
        edits: vec![edits::age_key_file_alone],
        flags: words("--strategy direct"),
        holds: with(&[
            Proof::new("disk", |journey| journey.root_is("btrfs")),
            Proof::new("age key", Journey::age_key),
        ]),
        ..Scenario::staged()
    }
}

/// The configuration wants secrets, which nobody gives it: it is installed all the same, and
/// whoever has the key gets in.
fn secrets_left_alone() -> Scenario {
    Scenario {
        name: "no-secrets",
        shows: "direct, a configuration with secrets, --no-secrets",
        layout: "btrfs".to_string(),
        flags: words("--strategy direct --no-secrets"),
        holds: vec![
            PREPARED_KEY,
            proof::KNOWN_HOSTS,
            proof::BOOT_ID,
            proof::GENERATION,
            proof::REPOS,
            SECRETS_UNTOUCHED,
            Proof::new("no secret", no_secret),
        ],
        ..Scenario::staged()
    }
}

/// The passphrase was typed once.
const ONE_BOOT: Proof = Proof::new("disk", |journey: &Journey| journey.encrypted_disk(1));

/// The key that answers is the one that was prepared.
const PREPARED_KEY: Proof = Proof::new("host key", |journey: &Journey| {
    let answers = journey.installed()?.fingerprint()?;
    let prepared = journey.evidence("identity", "fingerprint")?;
    ensure!(answers == prepared, "{answers} answers, {prepared} was prepared");
    Ok(format!("{answers}, as prepared"))
});

/// Nobody was given access to the secrets.
const SECRETS_UNTOUCHED: Proof = Proof::new("secrets", |journey: &Journey| {
    let repos = &journey.repos;
    let log = journey.operator.git(&repos.secrets, &["log", "--format=%s"])?;
    ensure!(!log.contains("recipient"), "a recipient was added:\n{log}");
    let local = journey.operator.git(&repos.secrets, &["rev-parse", "HEAD"])?;
    let remote = journey.forge.head(SECRETS)?;
    ensure!(remote == local.trim(), "the remote has {remote}, here is {}", local.trim());
    Ok(format!("untouched at {}", &remote[..12]))
});

fn no_secret(journey: &Journey) -> Result<String> {
    let look = "test -e /run/secrets/sample || echo none";
    let found = journey.installed()?.run(&journey.operator, USER, look)?;
    ensure!(found == "none", "/run/secrets/sample is there");
    Ok("/run/secrets/sample is not there".to_string())
}

/// What holds after the main journey, where these take the place of those of their names,
/// and come after them otherwise.
fn with(others: &[Proof]) -> Vec<Proof> {
    let mut proofs = STAGED.to_vec();
    for other in others {
        match proofs.iter_mut().find(|proof| proof.name == other.name) {
            Some(proof) => *proof = *other,
            None => proofs.push(*other),
        }
    }
    proofs
}
