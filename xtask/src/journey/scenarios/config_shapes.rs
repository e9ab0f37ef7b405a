//! Configurations of other shapes than the main journey's: strategies, layouts, firmwares,
//! ways of holding secrets.

use anyhow::{Context, Result, ensure};

use super::repo_edits::{self, DATA_SERIAL};
use crate::journey::claims::{self, Claim, staged_and};
use crate::journey::fixture::Journey;
use crate::journey::repos::SECRETS;
use crate::journey::scenario::{Action, Scenario, Schedule};
use crate::journey::setup::{SERIAL, Setup, words};
use crate::vm::{Bus, Disk, Firmware};

/// Lists the journeys of this subject.
pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        direct(),
        ext4_without_sops(),
        btrfs_age_key_file(),
        secrets_left_alone(),
        impermanence(),
        second_disk(),
        target_builds(),
        bios_boot(),
    ]
}

/// Describes the installation of the full configuration at once: one build, one boot.
fn direct() -> Scenario {
    Scenario {
        name: "direct",
        shows: "the full configuration installed at once, LUKS, secrets",
        schedule: Schedule::Core,
        setup: Setup { flags: words("--strategy direct"), ..Setup::staged() },
        claims: staged_and(&[claims::ONE_BOOT]),
        ..Scenario::staged()
    }
}

fn ext4_without_sops() -> Scenario {
    Scenario {
        name: "ext4-without-sops",
        shows: "direct, ext4, a configuration that knows nothing of sops",
        setup: Setup {
            layout: "ext4".to_string(),
            edits: vec![repo_edits::remove_sops],
            flags: words("--strategy direct"),
            ..Setup::staged()
        },
        claims: vec![
            PREPARED_KEY,
            claims::KNOWN_HOSTS,
            claims::BOOT_ID,
            claims::PLAIN_EXT4,
            claims::GENERATION,
            claims::UNITS,
            claims::REPOS,
            claims::CONSOLE_LOGIN,
            claims::REMOTES,
            SECRETS_UNTOUCHED,
        ],
        ..Scenario::staged()
    }
}

fn btrfs_age_key_file() -> Scenario {
    Scenario {
        name: "btrfs-age-key-file",
        shows: "direct, btrfs, secrets opened with an age key file alone",
        setup: Setup {
            layout: "btrfs".to_string(),
            edits: vec![repo_edits::use_age_key_file_alone],
            flags: words("--strategy direct"),
            ..Setup::staged()
        },
        claims: staged_and(&[claims::PLAIN_BTRFS, claims::AGE_KEY]),
        ..Scenario::staged()
    }
}

/// Describes a configuration that wants secrets, which nobody gives it: it is installed all the
/// same, and whoever has the key gets in.
fn secrets_left_alone() -> Scenario {
    Scenario {
        name: "no-secrets",
        shows: "direct, a configuration with secrets, --no-secrets",
        setup: Setup {
            layout: "btrfs".to_string(),
            flags: words("--strategy direct --no-secrets"),
            ..Setup::staged()
        },
        claims: vec![
            PREPARED_KEY,
            claims::KNOWN_HOSTS,
            claims::BOOT_ID,
            claims::GENERATION,
            claims::REPOS,
            SECRETS_UNTOUCHED,
            NO_SECRET,
        ],
        ..Scenario::staged()
    }
}

fn impermanence() -> Scenario {
    Scenario {
        name: "impermanence",
        shows: "staged, LUKS, root empty at every boot, both kinds of keys, AHCI; booted once more",
        setup: Setup {
            layout: "btrfs-luks-impermanence".to_string(),
            disks: vec![Disk::blank(SERIAL, "8G", Bus::Ahci)],
            edits: vec![repo_edits::use_age_key_file_too],
            ..Setup::staged()
        },
        claims: staged_and(&[claims::AGE_KEY, claims::NEXT_BOOT]),
        ..Scenario::staged()
    }
}

fn second_disk() -> Scenario {
    let first = Disk::blank(SERIAL, "8G", Bus::Virtio);
    let second = Disk::blank(DATA_SERIAL, "1G", Bus::Virtio);
    let flags = format!("--strategy direct --disk data={}", second.by_id());
    Scenario {
        name: "second-disk",
        shows: "direct, impermanence, a second LUKS disk opened by a key file, given by --disk",
        setup: Setup {
            layout: "btrfs-luks-impermanence".to_string(),
            disks: vec![first, second],
            edits: vec![repo_edits::add_second_disk],
            flags: words(&flags),
            ..Setup::staged()
        },
        claims: staged_and(&[
            claims::ONE_BOOT,
            Claim::new("second disk", second_disk_is_open),
            claims::NEXT_BOOT,
            Claim::new("and the disk", second_disk_is_open),
        ]),
        ..Scenario::staged()
    }
}

fn target_builds() -> Scenario {
    Scenario {
        name: "target-builds",
        shows: "staged, the source cannot build for the target, which builds for itself",
        setup: Setup {
            layout: "btrfs".to_string(),
            // A source of another kind, without emulation or builders.
            flags: words("--option system aarch64-linux --option extra-platforms armv7l-linux"),
            ..Setup::staged()
        },
        claims: staged_and(&[claims::PLAIN_BTRFS, Claim::new("built there", built_there)]),
        ..Scenario::staged()
    }
}

/// Describes an installer and an installed system that are started by a BIOS.
fn bios_boot() -> Scenario {
    Scenario {
        name: "bios-boot",
        shows: "staged, LUKS, secrets, a secret of the initrd, on a machine without UEFI: GRUB",
        setup: Setup {
            firmware: Firmware::Bios,
            edits: vec![repo_edits::add_initrd_secret],
            ..Setup::staged()
        },
        actions: vec![Action::Do(must_be_started_by_bios), Action::Bootstrap],
        claims: staged_and(&[
            Claim::new("firmware", started_by_grub),
            Claim::new("initrd secret", initrd_had_the_secret),
        ]),
        ..Scenario::staged()
    }
}

/// Fails where the image was not started by a BIOS.
fn must_be_started_by_bios(journey: &Journey) -> Result<()> {
    let look = "test -e /sys/firmware/efi || echo BIOS";
    let found = journey.on_installer(look)?;
    ensure!(found == "BIOS", "the installer was started by UEFI");
    Ok(())
}

/// Shows that the firmware is no UEFI, GRUB's code is in the first sector, and its menu has both systems.
fn started_by_grub(journey: &Journey) -> Result<String> {
    let disk = journey.setup.disks.first().context("the journey has no disk")?.by_id();
    let look = format!(
        "test -e /sys/firmware/efi || echo BIOS; head -c 446 {disk} | grep -aq GRUB && echo GRUB; \
         grep -c '^menuentry' /boot/grub/grub.cfg"
    );
    let found = journey.as_root(&look)?;
    // The default, and each of the two generations.
    ensure!(found == "BIOS\nGRUB\n3", "it is \"{found}\"");
    Ok("no /sys/firmware/efi; GRUB in the first sector; 2 generations in its menu".to_string())
}

/// Shows that the boot loader's installation has taken the secret up, and that nobody but root
/// can read it.
fn initrd_had_the_secret(journey: &Journey) -> Result<String> {
    let look = "cmp /run/secret-of-the-initrd /etc/ssh/ssh_host_ed25519_key && \
                stat -c %a /run/secret-of-the-initrd && \
                find /boot/kernels -name '*-secrets' -perm /077 | wc -l";
    let found = journey.as_root(look)?;
    ensure!(found == "600\n0", "it is \"{found}\"");
    Ok("the host key came with the initrd, from an archive that root alone reads".to_string())
}

/// Shows that the mapped volume is mounted, that its key is root's alone, and that the initrd
/// did not ask for it.
fn second_disk_is_open(journey: &Journey) -> Result<String> {
    let key = "/persist/etc/luks/data.key";
    let look = format!(
        "findmnt -no SOURCE,FSTYPE /data && stat -c '%a %U %s' {key} && \
         cryptsetup open --test-passphrase --key-file {key} \
         /dev/disk/by-id/virtio-{DATA_SERIAL}-part1 && echo opens"
    );
    let found = journey.as_root(&look)?;
    let words: Vec<&str> = found.split_whitespace().collect();
    let expected = ["/dev/mapper/data", "ext4", "400", "root", "4096", "opens"];
    ensure!(words == expected, "it is {found}");
    Ok(format!("/dev/mapper/data at /data, opened with {key}"))
}

/// Shows that the source has what it evaluated, and not what was built.
fn built_there(journey: &Journey) -> Result<String> {
    let running = journey.as_user("readlink -f /run/current-system")?;
    let mut nix = journey.operator.command("nix");
    let there = nix.args(["path-info", &running]).output()?;
    let said = String::from_utf8_lossy(&there.stderr).into_owned();
    ensure!(!there.status.success(), "{running} is in the source's store");
    ensure!(said.contains("is not valid"), "nix path-info says: {said}");
    Ok("the running system is not in the source's store".to_string())
}

/// Shows that the key that answers is the one that was prepared.
const PREPARED_KEY: Claim = Claim::new("host key", |journey| {
    let answers = journey.installed()?.fingerprint()?;
    let prepared = journey.evidence("identity", "fingerprint")?;
    ensure!(answers == prepared, "{answers} answers, {prepared} was prepared");
    Ok(format!("{answers}, as prepared"))
});

/// Shows that nobody was given access to the secrets.
const SECRETS_UNTOUCHED: Claim = Claim::new("secrets", |journey| {
    let repos = &journey.repos;
    let log = journey.operator.git(&repos.secrets, &["log", "--format=%s"])?;
    ensure!(!log.contains("recipient"), "a recipient was added:\n{log}");
    let local = journey.operator.git(&repos.secrets, &["rev-parse", "HEAD"])?;
    let remote = journey.forge.head(SECRETS)?;
    ensure!(remote == local.trim(), "the remote has {remote}, here is {}", local.trim());
    Ok(format!("untouched at {}", &remote[..12]))
});

/// Shows that the machine has decrypted no secret.
const NO_SECRET: Claim = Claim::new("no secret", |journey| {
    let look = "test -e /run/secrets/sample || echo none";
    let found = journey.as_user(look)?;
    ensure!(found == "none", "/run/secrets/sample is there");
    Ok("/run/secrets/sample is not there".to_string())
});
