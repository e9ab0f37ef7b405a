//! The target machine: which system runs on it, its hardware, and its disks.
//!
//! `steps/connect` fills a [`Target`] once a host key is verified; the steps read it.
//!
//! Invariant: the [`Phase`] follows from the host key that answers and from the system's own
//! os-release, never from what an earlier step should have left.

pub(crate) mod disk_contents;
pub(crate) mod disks;
pub(crate) mod luks;
pub(crate) mod passphrase;

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::error::StepError;
use crate::ssh::{HostKey, Session, reported_address};

/// The system that runs on the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing is known of it: no target was named, or it does not answer between two systems.
    Unknown,
    /// Any Linux but a NixOS installer: a rescue system, a cloud image.
    Foreign,
    /// A NixOS installer.
    Installer,
    /// The system that this run installed, recognised by the run's host key.
    Installed,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unknown => "unknown",
            Self::Foreign => "foreign",
            Self::Installer => "installer",
            Self::Installed => "installed",
        })
    }
}

/// A target with an open SSH session.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) session: Session,
    /// The host key that it proved to have.
    pub(crate) host_key: HostKey,
    pub(crate) facts: TargetFacts,
}

/// Facts that the running system reports about itself; read once a boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TargetFacts {
    /// `/proc/sys/kernel/random/boot_id`, a new one at every boot.
    pub(crate) boot_id: String,
    /// `ID` of os-release(5).
    pub(crate) os: String,
    /// `VARIANT_ID` of os-release(5), else empty.
    pub(crate) variant: String,
    /// nix's name of the system, as `x86_64-linux`.
    pub(crate) system: String,
    pub(crate) memory_bytes: u64,
    /// Whether it was booted by UEFI; otherwise by BIOS.
    pub(crate) uefi: bool,
    /// Store path of the active NixOS system, where the system is NixOS.
    pub(crate) current_system: Option<String>,
    /// Store path of the booted NixOS system, where the system is NixOS.
    pub(crate) booted_system: Option<String>,
    /// Its IPv4 and IPv6 addresses of global scope.
    pub(crate) addresses: Vec<String>,
    pub(crate) disks: Vec<Disk>,
}

/// A block device of type disk, and its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Disk {
    /// The kernel's name, as `/dev/vda`.
    pub(crate) path: String,
    pub(crate) model: Option<String>,
    pub(crate) serial: Option<String>,
    pub(crate) size_bytes: u64,
    pub(crate) removable: bool,
    pub(crate) read_only: bool,
    /// Links to it in /dev/disk/by-id and /dev/disk/by-path.
    pub(crate) links: Vec<String>,
    /// The partition table's UUID (GPT disk GUID), in lower case.
    pub(crate) guid: Option<String>,
    pub(crate) parts: Vec<Part>,
}

/// A block device on a disk: a partition, or a volume opened from one. The disk itself counts
/// where it has a file system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) path: String,
    /// lsblk's TYPE: `disk`, `part`, `crypt`, `lvm`, `raid1`, ….
    pub(crate) kind: String,
    /// The volume group or imported ZFS pool that it is a member of, as `volume group vg0`.
    pub(crate) group: Option<String>,
    pub(crate) size_bytes: u64,
    /// lsblk's FSTYPE, as `ext4` or `crypto_LUKS`.
    pub(crate) fs_type: Option<String>,
    /// The label of the file system, else of the partition.
    pub(crate) label: Option<String>,
    pub(crate) mounts: Vec<String>,
}

/// Shell script that prints lines `name=value`, then a line `lsblk`, then lsblk's JSON.
const PROBE: &str = r#"
printf 'boot_id=%s\n' "$(cat /proc/sys/kernel/random/boot_id)"
if [ -r /etc/os-release ]; then
  ( . /etc/os-release; printf 'os=%s\nvariant=%s\n' "$ID" "${VARIANT_ID:-}" )
fi
printf 'machine=%s\n' "$(uname -m)"
printf 'memory_kib=%s\n' "$(awk '/^MemTotal:/ {print $2}' /proc/meminfo)"
[ -d /sys/firmware/efi ] && echo uefi=yes
printf 'current_system=%s\n' "$(readlink -f /run/current-system 2>/dev/null)"
printf 'booted_system=%s\n' "$(readlink -f /run/booted-system 2>/dev/null)"
ip -o addr show scope global 2>/dev/null | while read -r _ _ _ address _; do
  printf 'address=%s\n' "${address%/*}"
done
for link in /dev/disk/by-id/* /dev/disk/by-path/*; do
  [ -e "$link" ] && printf 'link=%s %s\n' "$link" "$(readlink -f "$link")"
done
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n -- "$@"; fi 2>/dev/null; }
if command -v pvs >/dev/null 2>&1; then
  as_root pvs --noheadings --options pv_name,vg_name |
    while read -r device group; do [ -z "$group" ] || printf 'member=%s volume group %s\n' "$device" "$group"; done
fi
if command -v zpool >/dev/null 2>&1; then
  as_root zpool list -vHP -o name |
    awk '/^[^\t]/ { pool = $1 } /^\t/ && $1 ~ "^/" { print "member=" $1 " pool " pool }'
fi
echo lsblk
lsblk --json --bytes --output NAME,PATH,TYPE,SIZE,MODEL,SERIAL,RM,RO,FSTYPE,LABEL,PARTLABEL,PTUUID,MOUNTPOINTS
"#;

/// Why the output of [`PROBE`] is not usable.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error("lsblk printed nothing")]
    NoLsblk,
    #[error("the output of lsblk cannot be parsed: {0}")]
    Lsblk(#[from] serde_json::Error),
}

impl TargetFacts {
    /// Reads the facts over `session`, as root where it can be.
    pub(crate) fn read(session: &Session) -> Result<Self, StepError> {
        // Some devices are readable by root alone.
        let ask = if session.can_be_root() { Session::root_script } else { Session::script };
        let text = ask(session, PROBE, &[]).read().map_err(|error| {
            StepError::from(error).doing("the target's hardware cannot be read")
        })?;
        Self::parse(&text).map_err(|error| {
            StepError::new(
                "the target's hardware cannot be read",
                error.to_string(),
                "Boot a Linux that has lsblk (util-linux), such as the NixOS installer.",
            )
        })
    }

    fn parse(text: &str) -> Result<Self, ProbeError> {
        let (lines, lsblk) = text.split_once("\nlsblk\n").ok_or(ProbeError::NoLsblk)?;
        let mut values: BTreeMap<&str, &str> = BTreeMap::new();
        let mut links: Vec<(&str, &str)> = Vec::new();
        let mut addresses: Vec<String> = Vec::new();
        let mut members: Vec<(&str, &str)> = Vec::new();
        for line in lines.lines() {
            let Some((name, value)) = line.split_once('=') else { continue };
            match name {
                "address" => addresses.extend(reported_address(value)),
                "link" => links.extend(value.split_once(' ')),
                "member" => members.extend(value.split_once(' ')),
                _ => drop(values.insert(name, value)),
            }
        }
        let value = |name: &str| values.get(name).copied().unwrap_or_default().to_owned();
        let path = |name: &str| Some(value(name)).filter(|path| path.starts_with("/nix/store/"));
        let lsblk: Lsblk = serde_json::from_str(lsblk)?;
        Ok(Self {
            boot_id: value("boot_id"),
            os: value("os"),
            variant: value("variant"),
            system: nix_system(&value("machine")),
            memory_bytes: value("memory_kib").parse::<u64>().unwrap_or(0) * 1024,
            uefi: values.contains_key("uefi"),
            current_system: path("current_system"),
            booted_system: path("booted_system"),
            addresses,
            disks: lsblk
                .blockdevices
                .into_iter()
                .filter(|device| device.kind == "disk")
                .map(|device| device.into_disk(&links, &members))
                .collect(),
        })
    }

    /// Says whether the system is a NixOS installer, by its os-release.
    pub(crate) fn is_installer(&self) -> bool {
        self.os == "nixos" && self.variant == "installer"
    }
}

/// Converts the output of `uname -m` to nix's name of the system.
fn nix_system(machine: &str) -> String {
    let cpu = match machine {
        "i386" | "i586" => "i686",
        "armv8l" | "arm64" => "aarch64",
        other => other,
    };
    format!("{cpu}-linux")
}

#[derive(Deserialize)]
struct Lsblk {
    blockdevices: Vec<Device>,
}

#[derive(Deserialize)]
struct Device {
    path: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    size: u64,
    model: Option<String>,
    serial: Option<String>,
    #[serde(default)]
    rm: bool,
    #[serde(default)]
    ro: bool,
    fstype: Option<String>,
    label: Option<String>,
    partlabel: Option<String>,
    ptuuid: Option<String>,
    #[serde(default)]
    mountpoints: Vec<Option<String>>,
    #[serde(default)]
    children: Vec<Device>,
}

impl Device {
    fn into_disk(self, links: &[(&str, &str)], members: &[(&str, &str)]) -> Disk {
        let mut parts = Vec::new();
        self.collect(members, &mut parts);
        let tidy = |text: Option<String>| {
            text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
        };
        Disk {
            links: links
                .iter()
                .filter(|(_, device)| *device == self.path)
                .map(|(link, _)| (*link).to_owned())
                .collect(),
            path: self.path,
            model: tidy(self.model),
            serial: tidy(self.serial),
            size_bytes: self.size,
            removable: self.rm,
            read_only: self.ro,
            guid: self.ptuuid.map(|guid| guid.to_lowercase()),
            parts,
        }
    }

    /// Collects the device and, recursively, its children; a disk itself only where it has a file
    /// system or is mounted.
    fn collect(&self, members: &[(&str, &str)], parts: &mut Vec<Part>) {
        let mounts: Vec<String> = self.mountpoints.iter().flatten().cloned().collect();
        if self.kind != "disk" || self.fstype.is_some() || !mounts.is_empty() {
            parts.push(Part {
                path: self.path.clone(),
                kind: self.kind.clone(),
                group: members
                    .iter()
                    .find(|(device, _)| *device == self.path)
                    .map(|(_, group)| (*group).to_owned()),
                size_bytes: self.size,
                fs_type: self.fstype.clone(),
                label: self.label.clone().or_else(|| self.partlabel.clone()),
                mounts,
            });
        }
        for child in &self.children {
            child.collect(members, parts);
        }
    }
}

/// The directory where disko mounts the new system.
pub(crate) const NEW_ROOT: &str = "/mnt";

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"boot_id=2f1c
os=nixos
variant=installer
machine=x86_64
memory_kib=2048
uefi=yes
current_system=/nix/store/aaa-nixos-system
booted_system=
address=10.0.2.15
address=fec0::5054:ff:fe12:3456
link=/dev/disk/by-id/virtio-S1 /dev/vda
link=/dev/disk/by-id/virtio-S1-part1 /dev/vda1
member=/dev/vda1 volume group vg0
lsblk
{"blockdevices": [
 {"name":"vda","path":"/dev/vda","type":"disk","size":8589934592,"model":null,"serial":" S1 ","rm":false,"ro":false,
  "fstype":null,"label":null,"partlabel":null,"ptuuid":"ABCD","mountpoints":[null],
  "children":[{"name":"vda1","path":"/dev/vda1","type":"part","size":1024,"model":null,"serial":null,"rm":false,"ro":false,
   "fstype":"vfat","label":null,"partlabel":"ESP","ptuuid":"ABCD","mountpoints":["/mnt/boot"]}]},
 {"name":"sr0","path":"/dev/sr0","type":"rom","size":1,"model":"QEMU","serial":null,"rm":true,"ro":false,
  "fstype":"iso9660","label":"X","partlabel":null,"ptuuid":null,"mountpoints":["/iso"]}]}"#;

    #[test]
    fn the_probe_is_understood() {
        let facts = TargetFacts::parse(SAMPLE).unwrap();
        assert!(facts.is_installer());
        assert_eq!(facts.system, "x86_64-linux");
        assert_eq!(facts.memory_bytes, 2 * 1024 * 1024);
        assert_eq!(facts.current_system.as_deref(), Some("/nix/store/aaa-nixos-system"));
        assert_eq!(facts.booted_system, None);
        assert_eq!(facts.addresses, ["10.0.2.15", "fec0::5054:ff:fe12:3456"]);
        let [disk] = facts.disks.as_slice() else { panic!("one disk") };
        assert_eq!(disk.serial.as_deref(), Some("S1"));
        assert_eq!(disk.links, ["/dev/disk/by-id/virtio-S1"]);
        assert_eq!(disk.guid.as_deref(), Some("abcd"));
        assert_eq!(disk.parts[0].mounts, ["/mnt/boot"]);
        assert_eq!(disk.parts[0].kind, "part");
        assert_eq!(disk.parts[0].group.as_deref(), Some("volume group vg0"));
    }

    #[test]
    fn a_system_without_lsblk_is_an_error() {
        assert!(TargetFacts::parse("boot_id=1\n").is_err());
    }
}
