//! What the values of a hardware module may be: the characters and sizes that names,
//! devices and paths really have.

use std::ops::RangeInclusive;

/// The longest name of a kernel module, an interface or a volume.
const NAME: usize = 128;
/// The longest path or name of a device.
const PATH: usize = 512;
/// Characters that take no room, or change the order of those around them.
const INVISIBLE: [RangeInclusive<char>; 10] = [
    '\u{ad}'..='\u{ad}',
    '\u{61c}'..='\u{61c}',
    '\u{115f}'..='\u{1160}',
    '\u{180e}'..='\u{180e}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{3164}'..='\u{3164}',
    '\u{feff}'..='\u{feff}',
    '\u{e0000}'..='\u{e0fff}',
];

/// File systems on disks of the machine itself, beside those that [`device_fits`] names.
const LOCAL: [&str; 15] = [
    "apfs", "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "hfsplus", "jfs",
    "nilfs2", "ntfs3", "reiserfs", "vfat", "xfs",
];

const PLATFORMS: [&str; 10] = [
    "aarch64-linux",
    "armv6l-linux",
    "armv7l-linux",
    "i686-linux",
    "loongarch64-linux",
    "powerpc64-linux",
    "powerpc64le-linux",
    "riscv64-linux",
    "s390x-linux",
    "x86_64-linux",
];

const GOVERNORS: [&str; 6] =
    ["conservative", "ondemand", "performance", "powersave", "schedutil", "userspace"];

const IMPORTS: [&str; 4] = [
    "/hardware/cpu/intel-npu.nix",
    "/hardware/network/broadcom-43xx.nix",
    "/installer/scan/not-detected.nix",
    "/profiles/qemu-guest.nix",
];

/// Words of the language, which are no attribute's name.
const KEYWORDS: [&str; 10] =
    ["assert", "else", "if", "in", "inherit", "let", "or", "rec", "then", "with"];

/// Says whether a character is not to be seen, or deceives about others; line ends and
/// tabs are white space.
pub(crate) fn is_hidden(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t') || INVISIBLE.iter().any(|range| range.contains(&c))
}

/// A name as kernel modules, network interfaces and attributes of packages have one.
pub(crate) fn is_name(text: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    text.len() <= NAME
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.chars().all(inside)
}

/// A word of the language, which names nothing.
pub(crate) fn is_keyword(text: &str) -> bool {
    KEYWORDS.contains(&text)
}

/// A package of the kernel's.
pub(crate) fn is_package(text: &str) -> bool {
    is_name(text) && !text.contains('.') && !is_keyword(text)
}

/// A volume as device-mapper names one.
pub(crate) fn is_volume(text: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || "_-.+:@=".contains(c);
    !text.is_empty() && text.len() <= NAME && text.chars().all(inside)
}

pub(crate) fn is_platform(text: &str) -> bool {
    PLATFORMS.contains(&text)
}

pub(crate) fn is_governor(text: &str) -> bool {
    GOVERNORS.contains(&text)
}

/// A module of nixpkgs, below `modulesPath`.
pub(crate) fn is_import(text: &str) -> bool {
    IMPORTS.contains(&text)
}

/// An absolute path that stays where it seems to lead.
pub(crate) fn is_path(text: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || "/_-.+:@=, ".contains(c);
    text.starts_with('/')
        && text.len() <= PATH
        && text.chars().all(inside)
        && !text.contains("//")
        && !text.split('/').any(|part| part == "." || part == "..")
}

pub(crate) fn is_device(text: &str) -> bool {
    is_path(text) && text.starts_with("/dev/")
}

fn is_uuid(text: &str) -> bool {
    text.len() <= NAME
        && !text.is_empty()
        && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}

pub(crate) fn is_pool_uuid(text: &str) -> bool {
    is_uuid(text)
}

fn is_dataset(text: &str) -> bool {
    !text.starts_with('/') && is_path(&format!("/{text}")) && !text.ends_with('/')
}

/// Says whether a file system of this kind, mounted with these options, lies on such a
/// device: on one of the machine, never on the network.
pub(crate) fn device_fits(kind: &str, device: &str, options: &[&str]) -> bool {
    match kind {
        "none" => options == ["bind"] && is_path(device),
        "tmpfs" => options.is_empty() && is_name(device),
        "zfs" => options.is_empty() && is_dataset(device),
        kind if LOCAL.contains(&kind) => {
            let from_file = options.contains(&"loop") && is_path(device);
            let by_uuid = device.strip_prefix("UUID=").is_some_and(is_uuid);
            is_device(device) || by_uuid || from_file
        }
        _ => false,
    }
}

/// The options that the program takes over from what is mounted.
pub(crate) fn is_option(text: &str) -> bool {
    let octal = |text: &str| {
        (1..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte))
    };
    match text.split_once('=') {
        None => text == "bind" || text == "loop",
        Some(("subvol", path)) => is_path(path) || is_dataset(path),
        Some(("fmask" | "dmask", mask)) => octal(mask),
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_lie_on_devices_of_the_machine() {
        for (kind, device, options) in [
            ("ext4", "/dev/disk/by-uuid/4f1e1b2c-3a5d-4c6e-9f10-2b3c4d5e6f70", &[][..]),
            ("vfat", "/dev/disk/by-uuid/12CE-A600", &["fmask=0022", "dmask=0022"]),
            ("btrfs", "/dev/mapper/crypted", &["subvol=@home/.snapshots"]),
            ("bcachefs", "UUID=4f1e1b2c-3a5d-4c6e-9f10-2b3c4d5e6f70", &[]),
            ("bcachefs", "/dev/nvme0n1p2:/dev/sda1", &[]),
            ("zfs", "rpool/nixos/var lib", &[]),
            ("tmpfs", "none", &[]),
            ("none", "/persist/etc/nixos", &["bind"]),
            ("ext4", "/var/images/data.img", &["loop"]),
        ] {
            assert!(device_fits(kind, device, options), "{kind} {device}");
            assert!(options.iter().all(|option| is_option(option)), "{options:?}");
        }
        for (kind, device, options) in [
            ("nfs", "/dev/x", &[][..]),
            ("nfs4", "server:/export", &[]),
            ("cifs", "//server/share", &[]),
            ("fuse.sshfs", "root@server:/", &[]),
            ("ext4", "/srv/image", &[]),
            ("ext4", "/dev/../etc/shadow", &[]),
            ("ext4", "UUID=", &[]),
            ("zfs", "/rpool", &[]),
            ("zfs", "rpool/../x", &[]),
            ("none", "/persist", &[]),
            ("none", "/persist", &["bind", "loop"]),
            ("overlay", "overlay", &[]),
        ] {
            assert!(!device_fits(kind, device, options), "{kind} {device}");
        }
        for option in ["x-systemd.automount", "suid", "fmask=0899", "subvol=../x", "lowerdir=/"] {
            assert!(!is_option(option), "{option}");
        }
    }

    #[test]
    fn names_have_the_characters_of_names() {
        assert!(["ahci", "dm-snapshot", "8139too", "sd_mod"].into_iter().all(is_name));
        for bad in ["", "-r", "a b", "a;b", "é", "a/b", &"a".repeat(NAME + 1)] {
            assert!(!is_name(bad), "{bad:?}");
        }
        assert!(is_package("broadcom_sta") && !is_package("or") && !is_package("a.b"));
    }

    #[test]
    fn what_deceives_the_eye_is_hidden() {
        assert!(
            ['\0', '\r', '\u{1b}', '\u{9b}', '\u{202e}', '\u{200b}'].into_iter().all(is_hidden)
        );
        assert!(!['\n', '\t', 'a', 'é', '‘'].into_iter().any(is_hidden));
    }
}
