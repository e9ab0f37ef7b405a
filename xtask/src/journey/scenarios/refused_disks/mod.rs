//! Wrong situations, one after another against one machine with odd disks: each is refused
//! for its own reason, and none writes a byte. QEMU counts what is written to each disk, and
//! the images are hashed before and after.

mod refusals;

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::journey::claims::Claim;
use crate::journey::fixture::Journey;
use crate::journey::operator::Operator;
use crate::journey::repos::{HARDWARE_MODULE, Repos};
use crate::journey::scenario::{Action, Scenario};
use crate::journey::setup::{SERIAL, Setup};
use crate::vm::{Bus, Disk};

/// Below the operator's home: the state of the disks before anything is refused.
const DISKS_BEFORE: &str = "disks-before";

/// Describes the journey.
pub(crate) fn scenario() -> Scenario {
    let small = |serial| Disk::blank(serial, "1G", Bus::Virtio);
    let large = |serial| Disk::blank(serial, "8G", Bus::Virtio);
    let disks = vec![
        large(SERIAL),
        small("small"),
        large("locked"),
        large("array-a"),
        large("array-b"),
        large("group-a"),
        large("group-b"),
        large("used"),
        large("swapped"),
    ];
    Scenario {
        name: "disk-matrix",
        shows: "wrong situations, none of which writes a byte",
        setup: Setup { disks, edits: vec![add_odd_hosts], ..Setup::staged() },
        actions: vec![Action::Do(fill_odd_disks), Action::Do(refusals::check_all)],
        claims: vec![UNTOUCHED],
        ..Scenario::staged()
    }
}

/// A host whose layout names a device that cannot be installed to.
struct OddHost {
    name: &'static str,
    device: &'static str,
}

const ODD_HOSTS: [OddHost; 8] = [
    OddHost { name: "missing", device: "/dev/disk/by-id/virtio-nowhere" },
    OddHost { name: "medium", device: "/dev/sr0" },
    OddHost { name: "small", device: "/dev/disk/by-id/virtio-small" },
    OddHost { name: "locked", device: "/dev/disk/by-id/virtio-locked" },
    OddHost { name: "array", device: "/dev/disk/by-id/virtio-array-a" },
    OddHost { name: "group", device: "/dev/disk/by-id/virtio-group-a" },
    OddHost { name: "used", device: "/dev/disk/by-id/virtio-used" },
    OddHost { name: "swapped", device: "/dev/disk/by-id/virtio-swapped" },
];

/// The layout of the host `twice`, which names one disk by two names.
const ONE_DISK_TWICE: &str = r#"{
  disko.devices.disk.a = { device = "/dev/vda"; content.type = "gpt"; };
  disko.devices.disk.b = { device = "/dev/disk/by-id/virtio-landfall-demo"; content.type = "gpt"; };
}
"#;

/// A module that says nothing; as the layout of the host `bare` it has no disks.
const EMPTY: &str = "{ }\n";

/// A hardware file that evaluates; none of these systems is ever started.
const HARDWARE: &str = "{ nixpkgs.hostPlatform = \"x86_64-linux\"; }\n";

fn add_odd_hosts(repos: &Repos, _: &Operator) -> Result<()> {
    for host in &ODD_HOSTS {
        let layout = format!(
            "{{\n  imports = [ ../../common/disks/btrfs-luks-disk.nix ];\n  \
             disko.devices.disk.main.device = \"{}\";\n}}\n",
            host.device
        );
        add_host(repos, host.name, &layout)?;
    }
    add_host(repos, "twice", ONE_DISK_TWICE)?;
    add_host(repos, "bare", EMPTY)?;
    Ok(std::fs::write(repos.config.join(HARDWARE_MODULE), HARDWARE)?)
}

fn add_host(repos: &Repos, name: &str, layout: &str) -> Result<()> {
    let dir = repos.config.join("hosts/nixos").join(name);
    std::fs::create_dir_all(&dir)?;
    std::fs::write(dir.join("disks.nix"), layout)?;
    std::fs::write(dir.join("hardware-configuration.nix"), HARDWARE)?;
    Ok(std::fs::write(dir.join("default.nix"), EMPTY)?)
}

/// Gives the disks their odd contents, and waits until nothing writes to them any more.
fn fill_odd_disks(journey: &Journey) -> Result<()> {
    let script = r#"set -e
        modprobe raid1
        disk() { readlink -f "/dev/disk/by-id/virtio-$1"; }
        mdadm --create /dev/md127 --run --assume-clean --level=1 --raid-devices=2 "$(disk array-a)" "$(disk array-b)"
        pvcreate --quiet --yes "$(disk group-a)" "$(disk group-b)"
        vgcreate --quiet shared "$(disk group-a)" "$(disk group-b)"
        mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$(disk used)"
        mkdir -p /data; mount -o ro "$(disk used)" /data
        mkswap "$(disk swapped)" >/dev/null; swapon "$(disk swapped)"
        blockdev --setro "$(disk locked)"
        sync; udevadm settle; sleep 5; sync
        lsblk --output NAME,TYPE,FSTYPE,RO,MOUNTPOINTS"#;
    println!("{}", journey.on_installer(script)?);
    // An array notes that it is clean some time after its last write.
    std::thread::sleep(Duration::from_secs(10));
    let before = serde_json::to_string(&journey.target.disks()?)?;
    Ok(std::fs::write(journey.operator.path(DISKS_BEFORE), before)?)
}

/// Shows that every disk holds what it held, and was not written to.
const UNTOUCHED: Claim = Claim::new("disks", |journey| {
    let before = std::fs::read_to_string(journey.operator.path(DISKS_BEFORE))
        .context("the disks were not looked at before")?;
    let disks = journey.target.disks()?;
    let now = serde_json::to_string(&disks)?;
    ensure!(now == before, "before: {before}\nnow: {now}");
    let written: u64 = disks.iter().map(|disk| disk.written_bytes).sum();
    Ok(format!(
        "{} images have their hashes, and no byte was added to the {written} that were written before",
        disks.len()
    ))
});
