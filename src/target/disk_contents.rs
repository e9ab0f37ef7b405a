//! What is on the disks of the target, for whoever must decide whether it may go, and
//! whether something on them belongs to other disks too.

use super::disks::{DiskError, LayoutDisks, Matched};
use super::{Disk, Part};
use crate::ui::text::size;

/// Kinds of devices that can lie on several disks.
const STACKED: [&str; 5] = ["raid", "lvm", "crypt", "mpath", "dm"];

/// A line for what the disk holds, or one for each of its parts.
pub(crate) fn lines(disk: &Disk) -> Vec<String> {
    if disk.parts.is_empty() {
        return vec![format!("on it now: {}", disk.contents())];
    }
    let mut lines = vec!["on it now:".to_owned()];
    lines.extend(disk.parts.iter().map(|part| format!("  {}", line(part))));
    lines
}

fn line(part: &Part) -> String {
    let name = part.path.trim_start_matches("/dev/");
    let mut text = format!("{name}, {}: ", size(part.size_bytes));
    text.push_str(match part.fs_type.as_deref() {
        None => "unformatted",
        Some("crypto_LUKS") => "LUKS",
        Some("linux_raid_member") => "md member",
        Some("LVM2_member") => "LVM physical volume",
        Some("zfs_member") => "ZFS member",
        Some(other) => other,
    });
    if let Some(label) = &part.label {
        text.push_str(&format!(" “{label}”"));
    }
    if let Some(group) = &part.group {
        text.push_str(&format!(", in {group}"));
    }
    if !part.mounts.is_empty() {
        text.push_str(&format!(", mounted at {}", part.mounts.join(", ")));
    }
    text
}

/// All disks of the target, each with whether the layout erases it.
pub(crate) fn table(disks: &[Disk], layout: &LayoutDisks) -> String {
    let mut text = String::from("disks of the target:");
    for disk in disks {
        let named = |group: &[Matched]| {
            group.iter().find(|m| m.disk.path == disk.path).map(|m| m.name.clone())
        };
        let use_of_it = match (named(&layout.erased), named(&layout.kept)) {
            (Some(name), _) => format!("disk {name:?} of the layout"),
            (None, Some(name)) => {
                format!("disk {name:?} of the layout, which stays (destroy = false)")
            }
            (None, None) => "left alone".to_owned(),
        };
        text.push_str(&format!("\n  {} ({disk}): {use_of_it}", disk.path));
        if let Some(link) = disk.links.iter().find(|link| link.contains("/by-id/")) {
            text.push_str(&format!("\n    {link}"));
        }
        for line in disk.parts.iter().map(line) {
            text.push_str(&format!("\n    {line}"));
        }
    }
    text
}

/// Refuses to take apart what disks outside of the layout have a part in.
pub(crate) fn check_alone(matched: &[Matched], disks: &[Disk]) -> Result<(), DiskError> {
    let others: Vec<&Disk> =
        disks.iter().filter(|disk| !matched.iter().any(|m| m.disk.path == disk.path)).collect();
    for Matched { disk, .. } in matched {
        for part in &disk.parts {
            let shared = |other: &Part| {
                let stacked = STACKED.iter().any(|kind| part.kind.starts_with(kind));
                (stacked && other.path == part.path)
                    || (part.group.is_some() && other.group == part.group)
            };
            if let Some(other) = others.iter().find(|other| other.parts.iter().any(shared)) {
                let holder = part.group.clone().unwrap_or_else(|| part.path.clone());
                return Err(DiskError::Shared {
                    disk: disk.to_string(),
                    holder,
                    other: other.to_string(),
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(path: &str, parts: Vec<Part>) -> Disk {
        Disk {
            path: path.into(),
            model: Some("Test".into()),
            serial: Some(path.trim_start_matches("/dev/").into()),
            size_bytes: 8 << 30,
            removable: false,
            read_only: false,
            links: vec![],
            guid: None,
            parts,
        }
    }

    fn part(path: &str, kind: &str, group: Option<&str>) -> Part {
        Part {
            path: path.into(),
            kind: kind.into(),
            group: group.map(Into::into),
            ..Part::default()
        }
    }

    fn of_layout(disk: &Disk) -> Matched {
        Matched { name: "main".into(), device: disk.path.clone(), disk: disk.clone() }
    }

    #[test]
    fn what_lies_on_one_disk_alone_may_go() {
        let a = disk("/dev/vda", vec![part("/dev/md0", "raid1", None)]);
        let b = disk("/dev/vdb", vec![part("/dev/vdb1", "part", None)]);
        assert_eq!(check_alone(&[of_layout(&a)], &[a.clone(), b]), Ok(()));
    }

    #[test]
    fn what_lies_on_two_disks_goes_with_both_or_not_at_all() {
        for (on_a, on_b) in [
            (part("/dev/md0", "raid1", None), part("/dev/md0", "raid1", None)),
            (part("/dev/vda1", "part", Some("pool a")), part("/dev/vdb1", "part", Some("pool a"))),
        ] {
            let (a, b) = (disk("/dev/vda", vec![on_a]), disk("/dev/vdb", vec![on_b]));
            let both = [a.clone(), b.clone()];
            let alone = check_alone(&[of_layout(&a)], &both);
            assert!(matches!(alone, Err(DiskError::Shared { .. })), "{alone:?}");
            assert_eq!(check_alone(&[of_layout(&a), of_layout(&b)], &both), Ok(()));
        }
    }

    #[test]
    fn the_table_tells_what_goes_and_what_stays() {
        let mut luks = part("/dev/vda2", "part", None);
        luks.fs_type = Some("crypto_LUKS".into());
        luks.mounts = vec!["/data".into()];
        let (a, b) = (disk("/dev/vda", vec![luks]), disk("/dev/vdb", vec![]));
        let c = disk("/dev/vdc", vec![]);
        let layout = LayoutDisks { erased: vec![of_layout(&a)], kept: vec![of_layout(&c)] };
        let text = table(&[a.clone(), b, c], &layout);
        assert!(
            text.contains("/dev/vdc (Test vdc, 8.0 GiB): disk \"main\" of the layout, which stays"),
            "{text}"
        );
        assert!(text.contains("vda2, 0 B: LUKS, mounted at /data"), "{text}");
        assert!(text.contains("/dev/vdb (Test vdb, 8.0 GiB): left alone"), "{text}");
    }
}
