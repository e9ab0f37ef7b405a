//! What disks may hold before, during and after an installation: `landfall install` of the
//! minimal system, without repositories, on machines that had another life.

use anyhow::{Context, Result, ensure};

use crate::journey::actions::{install, install_command, succeed, unattended_install_command};
use crate::journey::claims::{BOOT_ID, Claim, UNITS};
use crate::journey::fixture::Journey;
use crate::journey::operator::{Operator, USER};
use crate::journey::repos::{HOST, Repos};
use crate::journey::scenario::{Action, Scenario};
use crate::journey::setup::{SERIAL, Setup};
use crate::journey::ssh_host::SshHost;
use crate::vm::{Bus, Disk};

/// The serial number of a disk that must stay as it is.
const OTHER: &str = "landfall-other";
/// The serial number of the second disk of a layout.
const SECOND: &str = "landfall-second";

/// Below the operator's home: what was seen before something was done.
const OTHER_BEFORE: &str = "other-before";
const KEY_BEFORE: &str = "key-before";
const LEAST_MEMORY: &str = "least-memory";

/// Lists the journeys of this subject.
pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "former-life",
            shows: "old md, lvm and LUKS on the disk; later its boot loader repaired in mount mode",
            setup: Setup { disks: vec![first_disk(), small_disk(OTHER)], ..Setup::staged() },
            actions: vec![
                Action::Do(fill_with_former_life),
                Action::Do(install),
                Action::Do(break_and_repair),
            ],
            claims: vec![BOOT_ID, UNITS, OTHER_DISK, REPAIRED],
            ..Scenario::staged()
        },
        Scenario {
            name: "two-disks",
            shows: "two disks, two LUKS volumes, two passphrases",
            setup: Setup {
                disks: vec![first_disk(), small_disk(SECOND)],
                edits: vec![add_second_disk],
                ..Setup::staged()
            },
            actions: vec![Action::Do(install_with_two_passphrases)],
            claims: vec![BOOT_ID, UNITS, TWO_VOLUMES],
            ..Scenario::staged()
        },
        Scenario {
            name: "little-memory",
            shows: "a machine with 1 GiB of memory, disko without its tools",
            setup: Setup { memory: 1024, ..Setup::staged() },
            actions: vec![Action::Do(install_with_little_memory)],
            claims: vec![BOOT_ID, UNITS, LITTLE_MEMORY],
            ..Scenario::staged()
        },
        super::refused_disks::scenario(),
    ]
}

fn first_disk() -> Disk {
    Disk::blank(SERIAL, "8G", Bus::Virtio)
}

fn small_disk(serial: &str) -> Disk {
    Disk::blank(serial, "1G", Bus::Virtio)
}

/// Puts an array, a volume group with an open LUKS volume in it, and an old file system on the
/// disk; another group on the other disk.
fn fill_with_former_life(journey: &Journey) -> Result<()> {
    let script = format!(
        r#"set -e
        modprobe raid1; modprobe dm-crypt
        d=$(readlink -f /dev/disk/by-id/virtio-{SERIAL}); o=$(readlink -f /dev/disk/by-id/virtio-{OTHER})
        printf 'label: gpt\nsize=1G\nsize=1G\nsize=1G\n' | sfdisk --quiet "$d"
        udevadm settle
        mdadm --create /dev/md127 --run --level=1 --raid-devices=2 --metadata=1.2 "$d"1 missing
        mkfs.ext4 -q -L oldarray /dev/md127
        pvcreate --quiet --yes "$d"2
        vgcreate --quiet oldgroup "$d"2
        lvcreate --quiet --yes --name data --extents 50%FREE oldgroup
        printf old | cryptsetup luksFormat --batch-mode --pbkdf pbkdf2 --pbkdf-force-iterations 1000 /dev/oldgroup/data -
        printf old | cryptsetup open /dev/oldgroup/data oldcrypt --key-file -
        mkfs.btrfs -q /dev/mapper/oldcrypt
        mkfs.vfat "$d"3 >/dev/null
        pvcreate --quiet --yes "$o"
        vgcreate --quiet keepgroup "$o"
        lvcreate --quiet --yes --name keep --size 100M keepgroup
        echo 'must stay' > /dev/keepgroup/keep
        sync; udevadm settle
        lsblk --output NAME,TYPE,FSTYPE,SIZE
        "#
    );
    println!("{}", journey.on_installer(&script)?);
    let before = journey.on_installer(HASH_OTHER)?;
    Ok(std::fs::write(journey.operator.path(OTHER_BEFORE), before)?)
}

/// Hashes the disk that must stay as it is.
const HASH_OTHER: &str = "sha256sum < /dev/disk/by-id/virtio-landfall-other";

/// Shows that the disk that was not named is as it was.
const OTHER_DISK: Claim = Claim::new("other disk", |journey| {
    let before = std::fs::read_to_string(journey.operator.path(OTHER_BEFORE))?;
    let now = as_passwordless_root(journey, HASH_OTHER)?;
    ensure!(now.trim() == before.trim(), "it changed: {before} before, {now} now");
    Ok(format!("unchanged, {}", now.split(' ').next().unwrap_or_default()))
});

/// Runs a command as root in the minimal system, whose sudo asks for nothing.
fn as_passwordless_root(journey: &Journey, command: &str) -> Result<String> {
    let command = format!("sudo -n sh -c '{command}'");
    journey.as_user(&command)
}

/// Takes the boot loader away, lets the machine fall back to the installer, and repairs it.
fn break_and_repair(journey: &Journey) -> Result<()> {
    let (operator, target) = (&journey.operator, &journey.target);
    std::fs::write(operator.path(KEY_BEFORE), journey.installed()?.fingerprint()?)?;
    journey.as_user("echo mine > ~/kept")?;
    as_passwordless_root(journey, "rm -rf /boot/EFI /boot/loader; sync")?;
    // The connection ends with the machine.
    let _ = as_passwordless_root(journey, "systemctl reboot");
    let fingerprint = target.next_installer_fingerprint()?;
    println!("the installer is up again: {fingerprint}");
    let mut landfall = install_command(journey, HOST)?;
    landfall.args(["--disko-mode", "mount", "--installer-fingerprint", &fingerprint]);
    landfall.arg("--luks-passphrase-file").arg(journey.passphrase_file()?);
    succeed("landfall install", &mut landfall)
}

/// Shows that the system boots again, with its files and its host key.
const REPAIRED: Claim = Claim::new("repaired", |journey| {
    let before = std::fs::read_to_string(journey.operator.path(KEY_BEFORE))?;
    let now = SshHost::scan(&journey.operator, journey.target.port, "now")?;
    let fingerprint = now.fingerprint()?;
    ensure!(fingerprint == before, "the host key was {before}, and is {fingerprint}");
    let kept = now.run(&journey.operator, USER, "cat ~/kept")?;
    ensure!(kept == "mine", "what was in the home is gone: {kept}");
    as_passwordless_root(journey, "ls /boot/loader/entries")?;
    Ok(format!("boots again, with its files and its host key {fingerprint}"))
});

/// Gives the host's layout a second disk, with a volume of its own.
fn add_second_disk(repos: &Repos, _: &Operator) -> Result<()> {
    let device = small_disk(SECOND).by_id();
    let second = format!(
        r#"
  disko.devices.disk.second = {{
    type = "disk";
    device = "{device}";
    content = {{
      type = "gpt";
      partitions.luks = {{
        size = "100%";
        content = {{
          type = "luks";
          name = "vault";
          passwordFile = "/tmp/vault-password";
          content = {{
            type = "filesystem";
            format = "ext4";
            mountpoint = "/vault";
          }};
        }};
      }};
    }};
  }};
"#
    );
    repos.add_to_disks(&second)
}

/// Returns every printable character that a keyboard types, with spaces at the ends.
fn second_passphrase() -> String {
    let printable: String = (' '..='~').collect();
    format!(" {printable} ")
}

fn install_with_two_passphrases(journey: &Journey) -> Result<()> {
    let second = second_passphrase();
    journey.target.set_passphrase("vault", &second);
    let file = journey.operator.secret_file("second-passphrase", &second)?;
    let mut landfall = unattended_install_command(journey, &journey.installer.fingerprint()?)?;
    landfall.args(["--erase", SECOND, "--luks-passphrase-file"]);
    landfall.arg(format!("vault={}", file.display()));
    succeed("landfall install", &mut landfall)
}

/// Shows that both volumes are open, and that each has a passphrase of its own.
const TWO_VOLUMES: Claim = Claim::new("two volumes", |journey| {
    let mounts = "findmnt -no SOURCE /; findmnt -no SOURCE /vault";
    let mounts = journey.as_user(mounts)?;
    ensure!(
        mounts.contains("/dev/mapper/crypted") && mounts.contains("/dev/mapper/vault"),
        "{mounts}"
    );
    let wrong = format!(
        "printf %s {} | cryptsetup open --test-passphrase --key-file - \
         $(cryptsetup status vault | sed -n \"s/^ *device: *//p\")",
        journey.secrets.passphrase
    );
    ensure!(
        as_passwordless_root(journey, &wrong).is_err(),
        "the first passphrase opens the second volume"
    );
    let typed = journey.target.passphrases_typed();
    Ok(format!(
        "/ and /vault, {typed} passphrases typed, the second of {} characters",
        second_passphrase().len()
    ))
});

fn install_with_little_memory(journey: &Journey) -> Result<()> {
    let watch = "nohup sh -c 'while sleep 1; do awk \"/^MemAvailable/ {print \\$2}\" /proc/meminfo; done' \
                 > /run/memory 2>/dev/null < /dev/null & \
                 awk '/^Mem(Total|Available)/ {print $1, $2}' /proc/meminfo; df --output=avail -k /nix/store | tail -n 1";
    println!("memory before:\n{}", journey.on_installer(watch)?);
    let mut landfall = unattended_install_command(journey, &journey.installer.fingerprint()?)?;
    landfall.args(["--no-disko-deps", "--phases", "kexec,disko,install"]);
    succeed("landfall install", &mut landfall)?;
    let least = "sort -n /run/memory | head -n 1; df --output=used -k /nix/store | tail -n 1";
    let least = journey.on_installer(least)?;
    println!("least memory available, then what the store in memory took (KiB):\n{least}");
    std::fs::write(journey.operator.path(LEAST_MEMORY), least.lines().next().unwrap_or_default())?;
    let mut landfall = unattended_install_command(journey, &journey.installer.fingerprint()?)?;
    landfall.args(["--no-disko-deps", "--phases", "reboot"]);
    succeed("landfall install", &mut landfall)
}

/// Shows that memory did not run short.
const LITTLE_MEMORY: Claim = Claim::new("memory", |journey| {
    let least = std::fs::read_to_string(journey.operator.path(LEAST_MEMORY))?;
    let kib: u64 = least.trim().parse().context("no memory was measured")?;
    ensure!(kib > 50_000, "only {kib} KiB were left at one time");
    Ok(format!("at least {} MiB were available all the time", kib / 1024))
});
