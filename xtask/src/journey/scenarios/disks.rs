//! What disks may hold before, during and after an installation: `landfall install` of the
//! minimal system, without repositories, on machines that had another life.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::journey::course::Journey;
use crate::journey::operator::{Operator, USER};
use crate::journey::proof::{BOOT_ID, Proof, UNITS};
use crate::journey::repos::{HOST, Repos};
use crate::journey::scenario::{Act, SERIAL, Scenario, disk, disk_path};
use crate::vm::Bus;

/// The serial number of a disk that must stay as it is.
const OTHER: &str = "landfall-other";
/// That of the second disk of a layout.
const SECOND: &str = "landfall-second";

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "former-life",
            shows: "old md, lvm and LUKS on the disk; later its boot loader repaired in mount mode",
            disks: vec![disk(SERIAL, "8G", Bus::Virtio), disk(OTHER, "1G", Bus::Virtio)],
            acts: vec![Act::Do(former_life), Act::Do(install), Act::Do(break_and_repair)],
            holds: vec![BOOT_ID, UNITS, OTHER_DISK, REPAIRED],
            ..Scenario::staged()
        },
        Scenario {
            name: "two-disks",
            shows: "two disks, two LUKS volumes, two passphrases",
            disks: vec![disk(SERIAL, "8G", Bus::Virtio), disk(SECOND, "1G", Bus::Virtio)],
            edits: vec![on_two_disks],
            acts: vec![Act::Do(install_with_two_passphrases)],
            holds: vec![BOOT_ID, UNITS, TWO_VOLUMES],
            ..Scenario::staged()
        },
        Scenario {
            name: "little-memory",
            shows: "a machine with 1 GiB of memory, disko without its tools",
            memory: 1024,
            acts: vec![Act::Do(install_with_little_memory)],
            holds: vec![BOOT_ID, UNITS, LITTLE_MEMORY],
            ..Scenario::staged()
        },
        super::matrix::scenario(),
    ]
}

/// `landfall install` of the minimal system of `host`, with everything but passphrases.
pub fn install_command(journey: &Journey, host: &str) -> Result<Command> {
    let mut landfall = journey.operator.landfall()?;
    landfall
        .arg("-C")
        .arg(&journey.repos.config)
        .arg("install")
        .arg(format!(".?dir=nixos-installer#{host}"))
        .args(["root@127.0.0.1", "-p", &journey.target.port.to_string(), "--yes", "-i"])
        .arg(journey.operator.ssh_key())
        .stdin(Stdio::null());
    Ok(landfall)
}

/// What an installation needs besides: the hardware into the flake, the passphrase, the disk.
fn whole(journey: &Journey) -> Result<Command> {
    let passphrase = journey.operator.secret_file("passphrase", &journey.known.passphrase)?;
    let hardware = format!("hosts/nixos/{HOST}/hardware-configuration.nix");
    let mut landfall = install_command(journey, HOST)?;
    landfall
        .args(["--installer-fingerprint", &journey.installer.fingerprint()?])
        .args(["--generate-hardware-config", "nixos-generate-config", &hardware])
        .args(["--erase", SERIAL, "--luks-passphrase-file"])
        .arg(passphrase);
    Ok(landfall)
}

pub fn install(journey: &Journey) -> Result<()> {
    succeed(&mut whole(journey)?)
}

fn succeed(landfall: &mut Command) -> Result<()> {
    let status = landfall.status()?;
    ensure!(status.success(), "landfall install ended with {status}");
    Ok(())
}

/// An array, a volume group with an open LUKS volume in it, and an old file system on the
/// disk; another group on the other disk.
fn former_life(journey: &Journey) -> Result<()> {
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
    println!("{}", journey.installer.run(&journey.operator, "root", &script)?);
    let before = journey.installer.run(&journey.operator, "root", HASH_OTHER)?;
    Ok(std::fs::write(journey.operator.path("other-before"), before)?)
}

const HASH_OTHER: &str = "sha256sum < /dev/disk/by-id/virtio-landfall-other";

const OTHER_DISK: Proof = Proof::new("other disk", |journey: &Journey| {
    let before = std::fs::read_to_string(journey.operator.path("other-before"))?;
    let now = as_root(journey, HASH_OTHER)?;
    ensure!(now.trim() == before.trim(), "it changed: {before} before, {now} now");
    Ok(format!("unchanged, {}", now.split(' ').next().unwrap_or_default()))
});

fn as_root(journey: &Journey, command: &str) -> Result<String> {
    let command = format!("sudo -n sh -c '{command}'");
    journey.installed()?.run(&journey.operator, USER, &command)
}

/// Takes the boot loader away, lets the machine fall back to the installer, and repairs it.
fn break_and_repair(journey: &Journey) -> Result<()> {
    let (operator, target) = (&journey.operator, &journey.target);
    let installed = journey.installed()?;
    std::fs::write(operator.path("key-before"), installed.fingerprint()?)?;
    installed.run(operator, USER, "echo mine > ~/kept")?;
    as_root(journey, "rm -rf /boot/EFI /boot/loader; sync")?;
    // The connection ends with the machine.
    let _ = as_root(journey, "systemctl reboot");
    let fingerprint = target.next_installer_fingerprint()?;
    println!("the installer is up again: {fingerprint}");
    let passphrase = operator.secret_file("passphrase", &journey.known.passphrase)?;
    let mut landfall = install_command(journey, HOST)?;
    landfall.args(["--disko-mode", "mount", "--installer-fingerprint", &fingerprint]);
    landfall.arg("--luks-passphrase-file").arg(passphrase);
    succeed(&mut landfall)
}

const REPAIRED: Proof = Proof::new("repaired", |journey: &Journey| {
    let before = std::fs::read_to_string(journey.operator.path("key-before"))?;
    let now = crate::journey::proof::Remote::scan(&journey.operator, journey.target.port, "now")?;
    let fingerprint = now.fingerprint()?;
    ensure!(fingerprint == before, "the host key was {before}, and is {fingerprint}");
    let kept = now.run(&journey.operator, USER, "cat ~/kept")?;
    ensure!(kept == "mine", "what was in the home is gone: {kept}");
    as_root(journey, "ls /boot/loader/entries")?;
    Ok(format!("boots again, with its files and its host key {fingerprint}"))
});

/// The host's layout gets a second disk, with a volume of its own.
fn on_two_disks(repos: &Repos, _: &Operator) -> Result<()> {
    let device = disk_path(&disk(SECOND, "1G", Bus::Virtio));
    let file = format!("hosts/nixos/{HOST}/disks.nix");
    let text = std::fs::read_to_string(repos.config.join(&file))?;
    let body = text.trim_end().strip_suffix('}').context("the layout ends without }")?;
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
}}
"#
    );
    Ok(std::fs::write(repos.config.join(&file), format!("{body}{second}"))?)
}

/// Every printable character a keyboard types, with spaces at the ends.
fn second_passphrase() -> String {
    let printable: String = (' '..='~').collect();
    format!(" {printable} ")
}

fn install_with_two_passphrases(journey: &Journey) -> Result<()> {
    let second = second_passphrase();
    journey.target.answer_for("vault", &second);
    let file = journey.operator.secret_file("second-passphrase", &second)?;
    let mut landfall = whole(journey)?;
    landfall.args(["--erase", SECOND, "--luks-passphrase-file"]);
    landfall.arg(format!("vault={}", file.display()));
    succeed(&mut landfall)
}

const TWO_VOLUMES: Proof = Proof::new("two volumes", |journey: &Journey| {
    let mounts = "findmnt -no SOURCE /; findmnt -no SOURCE /vault";
    let mounts = journey.installed()?.run(&journey.operator, USER, mounts)?;
    ensure!(
        mounts.contains("/dev/mapper/crypted") && mounts.contains("/dev/mapper/vault"),
        "{mounts}"
    );
    let wrong = format!(
        "printf %s {} | cryptsetup open --test-passphrase --key-file - \
         $(cryptsetup status vault | sed -n \"s/^ *device: *//p\")",
        journey.known.passphrase
    );
    ensure!(as_root(journey, &wrong).is_err(), "the first passphrase opens the second volume");
    let typed = journey.target.typed();
    Ok(format!(
        "/ and /vault, {typed} passphrases typed, the second of {} characters",
        second_passphrase().len()
    ))
});

fn install_with_little_memory(journey: &Journey) -> Result<()> {
    let watch = "nohup sh -c 'while sleep 1; do awk \"/^MemAvailable/ {print \\$2}\" /proc/meminfo; done' \
                 > /run/memory 2>/dev/null < /dev/null & \
                 awk '/^Mem(Total|Available)/ {print $1, $2}' /proc/meminfo; df --output=avail -k /nix/store | tail -n 1";
    println!("memory before:\n{}", journey.installer.run(&journey.operator, "root", watch)?);
    let mut landfall = whole(journey)?;
    landfall.args(["--no-disko-deps", "--phases", "kexec,disko,install"]);
    succeed(&mut landfall)?;
    let least = "sort -n /run/memory | head -n 1; df --output=used -k /nix/store | tail -n 1";
    let least = journey.installer.run(&journey.operator, "root", least)?;
    println!("least memory available, then what the store in memory took (KiB):\n{least}");
    std::fs::write(
        journey.operator.path("least-memory"),
        least.lines().next().unwrap_or_default(),
    )?;
    let mut landfall = whole(journey)?;
    landfall.args(["--no-disko-deps", "--phases", "reboot"]);
    succeed(&mut landfall)
}

const LITTLE_MEMORY: Proof = Proof::new("memory", |journey: &Journey| {
    let least = std::fs::read_to_string(journey.operator.path("least-memory"))?;
    let kib: u64 = least.trim().parse().context("no memory was measured")?;
    ensure!(kib > 50_000, "only {kib} KiB were left at one time");
    Ok(format!("at least {} MiB were available all the time", kib / 1024))
});
