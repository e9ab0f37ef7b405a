//! A disk of the layout that stays (`destroy = false`): what lies on it outlasts a first
//! installation and another one.

use anyhow::{Result, ensure};

use crate::journey::actions::{install, succeed, unattended_install_command};
use crate::journey::claims::{BOOT_ID, Claim, UNITS};
use crate::journey::fixture::Journey;
use crate::journey::operator::{Operator, USER};
use crate::journey::repos::Repos;
use crate::journey::scenario::{Action, Scenario};
use crate::journey::setup::{SERIAL, Setup};
use crate::journey::ssh_host::SshHost;
use crate::vm::{Bus, Disk};

/// The serial number of the disk that stays; nothing names it to landfall.
const DATA: &str = "landfall-data";
/// Below the operator's home: the hash of what was written before the first installation.
const HASH: &str = "data-before";

/// Describes the journey.
pub(crate) fn scenario() -> Scenario {
    Scenario {
        name: "data-disk-survives",
        shows: "a data disk with destroy = false outlasts two installations",
        setup: Setup {
            disks: vec![Disk::blank(SERIAL, "8G", Bus::Virtio), data_disk()],
            edits: vec![add_data_disk],
            ..Setup::staged()
        },
        actions: vec![
            Action::Do(fill_data_disk),
            Action::Do(install),
            Action::Do(lose_and_install_again),
        ],
        claims: vec![BOOT_ID, UNITS, SURVIVED],
        ..Scenario::staged()
    }
}

fn data_disk() -> Disk {
    Disk::blank(DATA, "1G", Bus::Virtio)
}

/// Gives the host's layout a disk that disko leaves as it is.
fn add_data_disk(repos: &Repos, _: &Operator) -> Result<()> {
    let device = data_disk().by_id();
    let data = format!(
        r#"
  disko.devices.disk.data = {{
    type = "disk";
    device = "{device}";
    destroy = false;
    content = {{
      type = "gpt";
      partitions.data = {{
        size = "100%";
        content = {{
          type = "filesystem";
          format = "ext4";
          mountpoint = "/data";
        }};
      }};
    }};
  }};
"#
    );
    repos.add_to_disks(&data)
}

/// Leaves the disk as another system would, with the names that the layout gives.
fn fill_data_disk(journey: &Journey) -> Result<()> {
    let script = format!(
        r#"set -e
        d=$(readlink -f /dev/disk/by-id/virtio-{DATA})
        printf 'label: gpt\nname=disk-data-data\n' | sfdisk --quiet "$d" >&2
        udevadm settle
        mkfs.ext4 -q "$d"1
        mkdir -p /run/data
        mount "$d"1 /run/data
        dd if=/dev/urandom of=/run/data/photos bs=1M count=64 status=none
        sha256sum < /run/data/photos
        umount /run/data
        "#
    );
    let hash = journey.on_installer(&script)?;
    Ok(std::fs::write(journey.operator.path(HASH), hash)?)
}

/// Removes the boot loader, so that the machine falls back to the installer, and installs once
/// more.
fn lose_and_install_again(journey: &Journey) -> Result<()> {
    let first = SshHost::scan(&journey.operator, journey.target.port, "first")?;
    let as_root =
        |command: &str| first.run(&journey.operator, USER, &format!("sudo -n sh -c '{command}'"));
    as_root("rm -rf /boot/EFI /boot/loader; sync")?;
    // The connection ends with the machine.
    let _ = as_root("systemctl reboot");
    let fingerprint = journey.target.next_installer_fingerprint()?;
    println!("the installer is up again: {fingerprint}");
    succeed("landfall install", &mut unattended_install_command(journey, &fingerprint)?)
}

/// Shows that the disk holds what it held before the first installation.
const SURVIVED: Claim = Claim::new("data disk", |journey| {
    let before = std::fs::read_to_string(journey.operator.path(HASH))?;
    let look = "findmnt -no SOURCE /data >/dev/null && sudo -n sha256sum < /data/photos";
    let now = journey.as_user(look)?;
    ensure!(now.trim() == before.trim(), "it changed: {before} before, {now} now");
    Ok(format!("/data is as it was, {}", now.split(' ').next().unwrap_or_default()))
});
