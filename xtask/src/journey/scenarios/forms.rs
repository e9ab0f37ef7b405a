//! The forms of the journey: strategies, layouts, ways of holding secrets.

use anyhow::{Result, ensure};

use super::edits::{self, DATA_SERIAL};
use crate::journey::course::Journey;
use crate::journey::operator::USER;
use crate::journey::proof::{self, Proof, STAGED};
use crate::journey::repos::SECRETS;
use crate::journey::scenario::{Act, SERIAL, Scenario, Share, disk, disk_path, words};
use crate::vm::{Bus, Firmware};

pub fn scenarios() -> Vec<Scenario> {
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

fn impermanence() -> Scenario {
    Scenario {
        name: "impermanence",
        shows: "staged, LUKS, root empty at every boot, both kinds of keys, AHCI; booted once more",
        layout: "btrfs-luks-impermanence".to_string(),
        disks: vec![disk(SERIAL, "8G", Bus::Ahci)],
        edits: vec![edits::age_key_file_too],
        holds: with(&[
            Proof::new("age key", Journey::age_key),
            Proof::new("next boot", Journey::next_boot_forgets),
        ]),
        ..Scenario::staged()
    }
}

fn second_disk() -> Scenario {
    let disks = vec![disk(SERIAL, "8G", Bus::Virtio), disk(DATA_SERIAL, "1G", Bus::Virtio)];
    let flags = format!("--strategy direct --disk data={}", disk_path(&disks[1]));
    Scenario {
        name: "second-disk",
        shows: "direct, impermanence, a second LUKS disk opened by a key file, given by --disk",
        layout: "btrfs-luks-impermanence".to_string(),
        disks,
        edits: vec![edits::second_disk],
        flags: words(&flags),
        holds: with(&[
            ONE_BOOT,
            Proof::new("second disk", second_disk_is_open),
            Proof::new("next boot", Journey::next_boot_forgets),
            Proof::new("and the disk", second_disk_is_open),
        ]),
        ..Scenario::staged()
    }
}

fn target_builds() -> Scenario {
    Scenario {
        name: "target-builds",
        shows: "staged, the source cannot build for the target, which builds for itself",
        layout: "btrfs".to_string(),
        // A source of another kind, without emulation or builders.
        flags: words("--option system aarch64-linux --option extra-platforms armv7l-linux"),
        holds: with(&[
            Proof::new("disk", |journey| journey.root_is("btrfs")),
            Proof::new("built there", built_there),
        ]),
        ..Scenario::staged()
    }
}

/// Installer and installed system are started by a BIOS.
fn bios_boot() -> Scenario {
    Scenario {
        name: "bios-boot",
        shows: "staged, LUKS, secrets, a secret of the initrd, on a machine without UEFI: GRUB",
        firmware: Firmware::Bios,
        edits: vec![edits::initrd_secret],
        acts: vec![Act::Do(image_starts_from_bios), Act::Bootstrap],
        holds: with(&[
            Proof::new("firmware", started_by_grub),
            Proof::new("initrd secret", initrd_had_the_secret),
        ]),
        ..Scenario::staged()
    }
}

fn image_starts_from_bios(journey: &Journey) -> Result<()> {
    let look = "test -e /sys/firmware/efi || echo BIOS";
    let found = journey.installer.run(&journey.operator, "root", look)?;
    ensure!(found == "BIOS", "the installer was started by UEFI");
    Ok(())
}

/// The firmware is no UEFI, GRUB's code is in the first sector, and its menu has both systems.
fn started_by_grub(journey: &Journey) -> Result<String> {
    let disk = disk_path(&journey.scenario.disks[0]);
    let look = format!(
        "test -e /sys/firmware/efi || echo BIOS; head -c 446 {disk} | grep -aq GRUB && echo GRUB; \
         grep -c '^menuentry' /boot/grub/grub.cfg"
    );
    let found = journey.as_root(&look)?;
    // The default, and each of the two generations.
    ensure!(found == "BIOS\nGRUB\n3", "it is {found:?}");
    Ok("no /sys/firmware/efi; GRUB in the first sector; 2 generations in its menu".to_string())
}

/// The boot loader's installation has taken it up, and nobody but root can read it.
fn initrd_had_the_secret(journey: &Journey) -> Result<String> {
    let look = "cmp /run/secret-of-the-initrd /etc/ssh/ssh_host_ed25519_key && \
                stat -c %a /run/secret-of-the-initrd && \
                find /boot/kernels -name '*-secrets' -perm /077 | wc -l";
    let found = journey.as_root(look)?;
    ensure!(found == "600\n0", "it is {found:?}");
    Ok("the host key came with the initrd, from an archive that root alone reads".to_string())
}

/// The mapped volume is mounted, its key is root's alone, and the initrd did not ask for it.
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

/// The source has what it evaluated, and not what was built.
fn built_there(journey: &Journey) -> Result<String> {
    let running =
        journey.installed()?.run(&journey.operator, USER, "readlink -f /run/current-system")?;
    let mut nix = journey.operator.command("nix");
    let there = nix.args(["path-info", &running]).output()?;
    let said = String::from_utf8_lossy(&there.stderr).into_owned();
    ensure!(!there.status.success(), "{running} is in the source's store");
    ensure!(said.contains("is not valid"), "nix path-info says: {said}");
    Ok("the running system is not in the source's store".to_string())
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
