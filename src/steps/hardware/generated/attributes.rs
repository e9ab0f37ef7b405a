//! The attributes that nixos-generate-config sets, in the versions since NixOS 21.05 and
//! whatever machine it runs on, other than containers: there is no disk to install to.

use super::values::{is_name, is_path, is_volume};

/// What may stand behind an attribute's equals sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Known modules of nixpkgs.
    Imports,
    /// Names of kernel modules.
    Modules,
    /// `config.boot.kernelPackages.NAME`.
    Packages,
    Flag,
    /// A flag, or what `hardware.enableRedistributableFirmware` is.
    Firmware,
    Platform,
    Governor,
    Device,
    Swap,
    FileSystem,
    /// The one unfree package that Parallels wants, in a list.
    UnfreeList,
    /// The same as a function, as versions until 25.05 print it.
    UnfreePredicate,
}

const KNOWN: [(&str, Shape); 22] = [
    ("imports", Shape::Imports),
    ("boot.initrd.availableKernelModules", Shape::Modules),
    ("boot.initrd.kernelModules", Shape::Modules),
    ("boot.kernelModules", Shape::Modules),
    ("boot.extraModulePackages", Shape::Packages),
    ("boot.swraid.enable", Shape::Flag),
    ("swapDevices", Shape::Swap),
    ("networking.useDHCP", Shape::Flag),
    ("networking.enableIntel2200BGFirmware", Shape::Flag),
    ("networking.enableIntel3945ABGFirmware", Shape::Flag),
    ("nixpkgs.hostPlatform", Shape::Platform),
    ("nixpkgs.config.allowUnfreePackages", Shape::UnfreeList),
    ("nixpkgs.config.allowUnfreePredicate", Shape::UnfreePredicate),
    ("hardware.cpu.amd.updateMicrocode", Shape::Firmware),
    ("hardware.cpu.intel.updateMicrocode", Shape::Firmware),
    ("hardware.cpu.intel.npu.enable", Shape::Flag),
    ("hardware.enableRedistributableFirmware", Shape::Flag),
    ("hardware.parallels.enable", Shape::Flag),
    ("hardware.video.hidpi.enable", Shape::Flag),
    ("powerManagement.cpuFreqGovernor", Shape::Governor),
    ("virtualisation.hypervGuest.enable", Shape::Flag),
    ("virtualisation.virtualbox.guest.enable", Shape::Flag),
];

/// What the attribute with this path may be; none when the program does not set it.
pub(crate) fn shape(path: &[&str]) -> Option<Shape> {
    match path {
        ["fileSystems", mount_point] => is_path(mount_point).then_some(Shape::FileSystem),
        ["boot", "initrd", "luks", "devices", volume, "device"] => {
            is_volume(volume).then_some(Shape::Device)
        }
        ["networking", "interfaces", interface, "useDHCP"] => {
            is_name(interface).then_some(Shape::Flag)
        }
        _ => {
            // Part by part: a quoted name with a dot in it is another attribute.
            let known = KNOWN.iter().find(|(known, _)| known.split('.').eq(path.iter().copied()));
            known.map(|(_, shape)| *shape)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_known_whole() {
        assert_eq!(shape(&["boot", "kernelModules"]), Some(Shape::Modules));
        assert_eq!(shape(&["fileSystems", "/boot/efi"]), Some(Shape::FileSystem));
        let luks = ["boot", "initrd", "luks", "devices", "crypted", "device"];
        assert_eq!(shape(&luks), Some(Shape::Device));
        for path in [
            &["boot.kernelModules"][..],
            &["boot"],
            &["boot", "kernelModules", "x"],
            &["fileSystems"],
            &["fileSystems", "relative"],
            &["boot", "initrd", "luks", "devices", "a b", "device"],
            &["boot", "initrd", "luks", "devices", "crypted", "keyFile"],
            &["users", "users", "root", "openssh", "authorizedKeys", "keys"],
        ] {
            assert_eq!(shape(path), None, "{path:?}");
        }
    }
}
