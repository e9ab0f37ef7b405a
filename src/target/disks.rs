//! Which real disks a layout will erase, and who said that they may be.
//!
//! A disk is named by its by-id name or its serial, because `/dev/sda` is another
//! disk after the next boot. Nothing here touches a disk.

use std::fmt;

use super::Disk;
use crate::error::{Advice, Exit};
use crate::facts::LayoutDisk;
use crate::ui::text::size;

/// Room for the smallest systems; the real size is known once they are built.
pub(crate) const LEAST_BYTES: u64 = 3 << 30;

/// The disks of a layout that the target has, told apart by what happens to them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LayoutDisks {
    /// Are erased, which somebody has to allow.
    pub(crate) erased: Vec<Matched>,
    /// Stay as they are (`destroy = false`): disko makes on them what is missing, no more.
    pub(crate) kept: Vec<Matched>,
}

/// A disk of the layout and the real disk behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Matched {
    /// Name in the layout.
    pub(crate) name: String,
    /// Device path in the layout.
    pub(crate) device: String,
    pub(crate) disk: Disk,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum DiskError {
    #[error("the layout has no disk")]
    NoLayout,
    #[error("disk {name:?} of the layout is {device}, which the target does not have")]
    Missing { name: String, device: String, found: Vec<String> },
    #[error("disks {first:?} and {second:?} of the layout are the same disk ({path})")]
    Same { first: String, second: String, path: String },
    #[error("{disk} is read-only")]
    ReadOnly { disk: String },
    #[error("{disk} is in use: {mount} is mounted from it")]
    InUse { disk: String, mount: String },
    #[error("{disk} is too small: {size} for a layout that needs {needed}")]
    TooSmall { disk: String, size: String, needed: String },
    #[error("{disk} is part of {holder}, and so is {other}, which the layout does not erase")]
    Shared { disk: String, holder: String, other: String },
    #[error("nothing says that {disk} may be erased")]
    NotNamed { disk: String, name: String },
    #[error("no disk of the layout may be erased: each has destroy = false")]
    NothingErased,
    #[error("--erase {given:?} names disk {name:?}, which the layout keeps (destroy = false)")]
    Kept { given: String, name: String },
    #[error("--erase {given:?} is no disk of the layout")]
    NotInLayout { given: String, layout: Vec<String> },
    #[error("--erase {given:?} is a device path, which can be another disk at the next boot")]
    BareName { given: String, name: String },
}

impl Advice for DiskError {
    fn hint(&self) -> String {
        match self {
            Self::NoLayout => "Give the host a disko layout (disko.devices.disk.…).".into(),
            Self::Missing { found, .. } if found.is_empty() => "The target has no disk at all that is free: are its drivers in the installer?".into(),
            Self::Missing { found, .. } => format!("The target has {}. Correct `device` in the layout.", found.join(", ")),
            Self::Same { .. } => "Give each disk of the layout a device of its own.".into(),
            Self::ReadOnly { .. } => "Lift its write protection, or choose another disk.".into(),
            Self::InUse { .. } => "Unmount it, or choose another disk; the installer's own medium cannot be installed on.".into(),
            Self::Shared { holder, .. } => format!(
                "Take {holder} apart by hand first, or give the layout all of its disks."
            ),
            Self::TooSmall { .. } => "Choose a larger disk.".into(),
            Self::NotNamed { name, .. } => format!("If it may be erased, add --erase {name}"),
            Self::NothingErased => "Leave `destroy` out for the disk that the system goes to; --disko-mode mount installs on what is there.".into(),
            Self::Kept { name, .. } => format!("Leave that --erase out; or, if it may be erased, set disko.devices.disk.{name}.destroy = true."),
            Self::NotInLayout { layout, .. } => format!("The layout's disks are {}.", layout.join(", ")),
            Self::BareName { name, .. } => format!("Name it by serial or by-id name: --erase {name}"),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::NotNamed { .. } | Self::BareName { .. } => Exit::Person,
            _ => Exit::Usage,
        }
    }
}

/// Finds the real disk of each disk of the layout.
pub(crate) fn match_layout(
    layout: &[LayoutDisk],
    disks: &[Disk],
) -> Result<LayoutDisks, DiskError> {
    if layout.is_empty() {
        return Err(DiskError::NoLayout);
    }
    let mut matched = LayoutDisks::default();
    for wanted in layout {
        let disk = disks
            .iter()
            .find(|disk| disk.path == wanted.device || disk.links.contains(&wanted.device))
            .ok_or_else(|| DiskError::Missing {
                name: wanted.name.clone(),
                device: wanted.device.clone(),
                // What the installer runs from is not offered.
                found: disks
                    .iter()
                    .filter(|disk| used_at(disk).is_none())
                    .map(|disk| format!("{} ({disk})", disk.path))
                    .collect(),
            })?;
        if let Some(first) = matched.at(disk) {
            return Err(DiskError::Same {
                first: first.name.clone(),
                second: wanted.name.clone(),
                path: disk.path.clone(),
            });
        }
        matched.take(wanted, disk);
    }
    Ok(matched)
}

/// The disks among the devices that a script names, those that it erases first; it erases
/// no others.
pub(crate) fn match_named(named: &[LayoutDisk], disks: &[Disk]) -> Result<LayoutDisks, DiskError> {
    let mut matched = LayoutDisks::default();
    let (erased, kept): (Vec<_>, Vec<_>) = named.iter().partition(|disk| disk.destroy);
    for wanted in erased.into_iter().chain(kept) {
        let is_it =
            |disk: &&Disk| disk.path == wanted.device || disk.links.contains(&wanted.device);
        if let Some(disk) = disks.iter().find(is_it)
            && matched.at(disk).is_none()
        {
            matched.take(wanted, disk);
        }
    }
    if matched == LayoutDisks::default() { Err(DiskError::NoLayout) } else { Ok(matched) }
}

impl LayoutDisks {
    /// The disk of the layout that this real one is.
    fn at(&self, disk: &Disk) -> Option<&Matched> {
        self.erased.iter().chain(&self.kept).find(|other| other.disk.path == disk.path)
    }

    fn take(&mut self, wanted: &LayoutDisk, disk: &Disk) {
        let group = if wanted.destroy { &mut self.erased } else { &mut self.kept };
        group.push(Matched {
            name: wanted.name.clone(),
            device: wanted.device.clone(),
            disk: disk.clone(),
        });
    }
}

/// Where something on the disk is mounted that is no part of the installation.
fn used_at(disk: &Disk) -> Option<&str> {
    let mut mounts = disk.parts.iter().flat_map(|part| &part.mounts);
    mounts.find(|mount| !ours(mount)).map(String::as_str)
}

/// Refuses disks that must not be erased whatever the user says. `ours` tells
/// whether a mount point belongs to the installation itself (below /mnt).
pub(crate) fn check_usable(layout: &LayoutDisks, needed_bytes: u64) -> Result<(), DiskError> {
    if layout.erased.is_empty() {
        return Err(DiskError::NothingErased);
    }
    // What a kept disk misses is made on it.
    let all = || layout.erased.iter().chain(&layout.kept);
    if let Some(Matched { disk, .. }) = all().find(|matched| matched.disk.read_only) {
        return Err(DiskError::ReadOnly { disk: disk.to_string() });
    }
    for Matched { disk, .. } in &layout.erased {
        if let Some(mount) = used_at(disk) {
            return Err(DiskError::InUse { disk: disk.to_string(), mount: mount.to_owned() });
        }
    }
    let total: u64 = all().map(|matched| matched.disk.size_bytes).sum();
    if total < needed_bytes {
        return Err(DiskError::TooSmall {
            disk: all().map(|m| m.disk.to_string()).collect::<Vec<_>>().join(" and "),
            size: size(total),
            needed: size(needed_bytes),
        });
    }
    Ok(())
}

fn ours(mount: &str) -> bool {
    mount == "/mnt" || mount.starts_with("/mnt/")
}

/// Requires that `erase` names every disk that the layout erases, and nothing else.
pub(crate) fn check_named(layout: &LayoutDisks, erase: &[String]) -> Result<(), DiskError> {
    let matched = &layout.erased;
    for given in erase {
        let is_it = |m: &&Matched| m.disk.path == *given || m.disk.is_named(given);
        if let Some(kept) = layout.kept.iter().find(is_it) {
            return Err(DiskError::Kept { given: given.clone(), name: kept.name.clone() });
        }
        let bare = |m: &&Matched| m.disk.path == *given && !m.disk.is_named(given);
        if let Some(found) = matched.iter().find(bare) {
            return Err(DiskError::BareName {
                given: given.clone(),
                name: found.disk.stable_name(),
            });
        }
        if !matched.iter().any(|m| m.disk.is_named(given)) {
            return Err(DiskError::NotInLayout {
                given: given.clone(),
                layout: matched.iter().map(|m| m.disk.stable_name()).collect(),
            });
        }
    }
    match matched.iter().find(|m| !erase.iter().any(|given| m.disk.is_named(given))) {
        None => Ok(()),
        Some(missing) => Err(DiskError::NotNamed {
            disk: missing.disk.to_string(),
            name: missing.disk.stable_name(),
        }),
    }
}

impl Disk {
    /// The name by which the disk is recognised at another boot: serial, else a
    /// by-id name, else a by-path name, else the device path.
    pub(crate) fn stable_name(&self) -> String {
        let link = |part: &str| self.links.iter().find(|link| link.contains(part)).cloned();
        self.serial
            .clone()
            .or_else(|| link("/by-id/"))
            .or_else(|| link("/by-path/"))
            .unwrap_or_else(|| self.path.clone())
    }

    /// Whether `name` is the serial or a link name of the disk (with or without
    /// its folder); a bare `/dev/sda` is not enough, unless there is nothing better.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.serial.as_deref() == Some(name)
            || self.links.iter().any(|link| {
                link == name || link.rsplit('/').next().is_some_and(|last| last == name)
            })
            || (name == self.path && self.stable_name() == self.path)
    }

    /// What is on the disk, in a few words.
    pub(crate) fn contents(&self) -> String {
        if self.parts.is_empty() {
            return if self.guid.is_some() { "empty partition table" } else { "blank" }.to_owned();
        }
        let part = |part: &crate::target::Part| {
            let mut text = format!(
                "{} {}",
                part.fs_type.as_deref().unwrap_or("unformatted"),
                size(part.size_bytes)
            );
            if let Some(label) = &part.label {
                text.push_str(&format!(" “{label}”"));
            }
            text
        };
        self.parts.iter().map(part).collect::<Vec<_>>().join(", ")
    }
}

/// Model, serial and size: how a person recognises a disk.
impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.model.as_deref().unwrap_or("disk"))?;
        if let Some(serial) = &self.serial {
            write!(f, " {serial}")?;
        } else {
            write!(f, " {}", self.path)?;
        }
        write!(f, ", {}", size(self.size_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Part;

    fn disk(path: &str, serial: Option<&str>) -> Disk {
        Disk {
            path: path.into(),
            model: None,
            serial: serial.map(Into::into),
            size_bytes: 8 << 30,
            removable: false,
            read_only: false,
            links: serial.map(|s| vec![format!("/dev/disk/by-id/virtio-{s}")]).unwrap_or_default(),
            guid: None,
            parts: Vec::new(),
        }
    }

    fn layout(devices: &[&str]) -> Vec<LayoutDisk> {
        let disk = |(i, device): (usize, &&str)| LayoutDisk {
            name: format!("disk{i}"),
            device: (*device).into(),
            in_layout: None,
            destroy: true,
            bios_boot: None,
        };
        devices.iter().enumerate().map(disk).collect()
    }

    #[test]
    fn a_layout_finds_its_disks_by_path_and_by_link() {
        let disks = [disk("/dev/vda", Some("S1")), disk("/dev/vdb", Some("S2"))];
        let found =
            match_layout(&layout(&["/dev/disk/by-id/virtio-S2", "/dev/vda"]), &disks).unwrap();
        assert_eq!(found.erased[0].disk.path, "/dev/vdb");
        assert_eq!(found.erased[1].disk.path, "/dev/vda");
    }

    #[test]
    fn a_disk_that_stays_is_neither_erased_nor_named() {
        let disks = [disk("/dev/vda", Some("S1")), disk("/dev/vdb", Some("S2"))];
        let mut both = layout(&["/dev/vda", "/dev/vdb"]);
        both[1].destroy = false;
        let found = match_layout(&both, &disks).unwrap();
        assert_eq!(found.erased.len(), 1);
        assert_eq!(found.kept[0].disk.path, "/dev/vdb");
        assert_eq!(check_named(&found, &["S1".into()]), Ok(()));
        for given in ["S2", "/dev/vdb"] {
            let refused = check_named(&found, &["S1".into(), given.into()]);
            assert!(matches!(refused, Err(DiskError::Kept { .. })), "{refused:?}");
        }
        assert_eq!(check_usable(&found, 1 << 30), Ok(()));
        // Under another of its names it is the same disk.
        both[0].device = "/dev/disk/by-id/virtio-S2".into();
        assert!(matches!(match_layout(&both, &disks), Err(DiskError::Same { .. })));
        both[0] = both[1].clone();
        both.truncate(1);
        let none = match_layout(&both, &disks).unwrap();
        assert_eq!(check_usable(&none, 0), Err(DiskError::NothingErased));
    }

    #[test]
    fn a_script_erases_what_it_says_under_whatever_name() {
        let disks = [disk("/dev/vda", Some("S1")), disk("/dev/vdb", Some("S2"))];
        let mut named = layout(&["/dev/disk/by-id/virtio-S1", "/dev/vda", "/dev/vdb", "/dev/null"]);
        for disk in [0, 2, 3] {
            named[disk].destroy = false;
        }
        let found = match_named(&named, &disks).unwrap();
        let paths =
            |group: &[Matched]| group.iter().map(|m| m.disk.path.clone()).collect::<Vec<_>>();
        assert_eq!(paths(&found.erased), ["/dev/vda"]);
        assert_eq!(paths(&found.kept), ["/dev/vdb"]);
    }

    #[test]
    fn missing_and_doubled_disks_are_refused() {
        let disks = [disk("/dev/vda", Some("S1"))];
        let missing = match_layout(&layout(&["/dev/sda"]), &disks).unwrap_err();
        assert!(missing.hint().contains("S1"), "{}", missing.hint());
        let same = match_layout(&layout(&["/dev/vda", "/dev/disk/by-id/virtio-S1"]), &disks);
        assert!(matches!(same, Err(DiskError::Same { .. })));
        assert_eq!(match_layout(&[], &disks), Err(DiskError::NoLayout));
        assert_eq!(match_named(&layout(&["/dev/null"]), &disks), Err(DiskError::NoLayout));
    }

    #[test]
    fn disks_in_use_or_too_small_are_refused() {
        let mut used = disk("/dev/vda", Some("S1"));
        used.parts.push(Part {
            path: "/dev/vda1".into(),
            size_bytes: 1,
            fs_type: Some("ext4".into()),
            mounts: vec!["/iso".into()],
            ..Part::default()
        });
        let matched = match_layout(&layout(&["/dev/vda"]), &[used.clone()]).unwrap();
        assert!(matches!(check_usable(&matched, 0), Err(DiskError::InUse { .. })));
        let missing = match_layout(&layout(&["/dev/sda"]), &[used.clone()]).unwrap_err();
        assert!(!missing.hint().contains("S1"), "{}", missing.hint());
        used.parts[0].mounts = vec!["/mnt/boot".into()];
        let matched = match_layout(&layout(&["/dev/vda"]), &[used]).unwrap();
        assert_eq!(check_usable(&matched, 1 << 30), Ok(()));
        assert!(matches!(check_usable(&matched, 9 << 30), Err(DiskError::TooSmall { .. })));
    }

    #[test]
    fn each_disk_must_be_named_by_something_lasting() {
        let matched =
            match_layout(&layout(&["/dev/vda"]), &[disk("/dev/vda", Some("S1"))]).unwrap();
        let named = |names: &[&str]| {
            check_named(&matched, &names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(named(&["S1"]), Ok(()));
        assert_eq!(named(&["virtio-S1"]), Ok(()));
        assert_eq!(named(&["/dev/disk/by-id/virtio-S1"]), Ok(()));
        assert!(matches!(named(&[]), Err(DiskError::NotNamed { .. })));
        assert!(matches!(named(&["/dev/vda"]), Err(DiskError::BareName { .. })));
        assert!(matches!(named(&["S2"]), Err(DiskError::NotInLayout { .. })));
        // Where there is no better name, the path is one.
        let nameless = match_layout(&layout(&["/dev/vda"]), &[disk("/dev/vda", None)]).unwrap();
        assert_eq!(check_named(&nameless, &["/dev/vda".into()]), Ok(()));
        assert_eq!(named(&["S2"]).unwrap_err().exit(), Exit::Usage);
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!(size(512), "512 B");
        assert_eq!(size(8 << 30), "8.0 GiB");
    }
}
