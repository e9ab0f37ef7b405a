//! Whether the machine's firmware will find a boot loader that it can start, and whether
//! that boot loader has its place on the disks. `check` asks before anything is erased: a
//! system that does not start is noticed only when everything else is done.

use crate::error::{Exit, StepError};
use crate::facts::{Grub, HostFacts, LayoutDisk};
use crate::steps::context::Context;
use crate::target::{Disk, TargetFacts};

/// Names of devices that exist only once the disks are formatted.
const MADE_LATER: [&str; 7] = [
    "/dev/md",
    "/dev/mapper/",
    "/dev/disk/by-id/md-",
    "/dev/disk/by-label/",
    "/dev/disk/by-partlabel/",
    "/dev/disk/by-partuuid/",
    "/dev/disk/by-uuid/",
];

/// The target starts this system.
pub(crate) fn check(cx: &Context, system: &HostFacts) -> Result<(), StepError> {
    if !cx.config.installation.phases.install {
        return Ok(());
    }
    let target: &TargetFacts = &cx.target()?.facts;
    starts(system, target.uefi).map_err(|error| error.exit(Exit::Usage))?;
    if let Some(grub) = &system.grub {
        fits(grub, &system.disks, &target.disks).map_err(|error| error.exit(Exit::Usage))?;
    }
    Ok(())
}

/// The firmware, as it has started what runs now, can start the boot loader.
fn starts(system: &HostFacts, uefi: bool) -> Result<(), StepError> {
    match (&system.uefi_loader, &system.grub, uefi) {
        (Some(loader), _, false) => Err(StepError::new(
            format!("the configuration boots by {loader}, and the target was not started by UEFI"),
            "/sys/firmware/efi is not there",
            "Choose UEFI in the machine's firmware; or GRUB in the configuration, with a partition \
             of type EF02 on its disk. Where `landfall init` wrote it, that is one import in the \
             host's disks.nix: hosts/common/disks/bios.nix.",
        )),
        (_, Some(grub), false) if grub.devices.is_empty() => Err(StepError::new(
            "GRUB would be there for UEFI alone, and the target was not started by UEFI",
            "boot.loader.grub.devices names no disk, and /sys/firmware/efi is not there",
            "Choose UEFI in the machine's firmware; or give the disk a partition of type EF02, \
             which makes disko name it in boot.loader.grub.devices.",
        )),
        (_, Some(grub), true) if !grub.uefi => Err(StepError::new(
            "GRUB would be there for BIOS alone, and the target was started by UEFI",
            "boot.loader.grub.efiSupport is false, and /sys/firmware/efi is there",
            "Set boot.loader.grub.efiSupport and efiInstallAsRemovable, or choose systemd-boot \
             (without bios.nix, where `landfall init` wrote it); or let the machine's firmware \
             start it as a BIOS does (legacy, CSM).",
        )),
        (_, Some(grub), true) if !grub.uefi_finds => Err(StepError::new(
            "the firmware would not find GRUB",
            "it is on the EFI system partition under a name that the firmware is not told of",
            "Set boot.loader.efi.canTouchEfiVariables, or boot.loader.grub.efiInstallAsRemovable.",
        )),
        _ => Ok(()),
    }
}

/// GRUB's code goes to disks of the layout alone, which were agreed to, and fits there.
fn fits(grub: &Grub, layout: &[LayoutDisk], disks: &[Disk]) -> Result<(), StepError> {
    let real = |device: &str| {
        let same = |disk: &&Disk| disk.path == device || disk.links.iter().any(|l| l == device);
        disks.iter().find(same).map(|disk| disk.path.as_str())
    };
    for device in &grub.devices {
        if MADE_LATER.iter().any(|made| device.starts_with(made)) {
            continue;
        }
        let is_it = |disk: &&LayoutDisk| {
            disk.device == *device || (real(device).is_some() && real(&disk.device) == real(device))
        };
        let Some(disk) = layout.iter().find(is_it) else {
            return Err(StepError::new(
                format!("GRUB would be written to {device}, which is no disk of the layout"),
                match real(device) {
                    Some(path) => format!("boot.loader.grub.devices names it; it is {path}"),
                    None => {
                        "boot.loader.grub.devices names it, and the target has no such disk".into()
                    }
                },
                "Name a disk of the layout. disko does so by itself for a disk with a partition \
                 of type EF02: then leave boot.loader.grub.devices out.",
            ));
        };
        if disk.bios_boot == Some(false) && !grub.forced {
            return Err(StepError::new(
                format!("GRUB has no place on the disk \"{}\" of the layout", disk.name),
                "its partition table is a GPT without a BIOS boot partition",
                "Add one to its partitions: bios = { size = \"1M\"; type = \"EF02\"; };",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grub(devices: &[&str]) -> Grub {
        let devices = devices.iter().map(|device| (*device).to_owned()).collect();
        Grub { devices, forced: false, uefi: false, uefi_finds: false }
    }

    fn what(result: Result<(), StepError>) -> String {
        result.map_or_else(|error| error.what, |()| "fine".to_owned())
    }

    #[test]
    fn each_firmware_wants_a_boot_loader_of_its_kind() {
        let uefi_alone =
            HostFacts { uefi_loader: Some("lanzaboote".into()), ..HostFacts::default() };
        assert!(what(starts(&uefi_alone, false)).contains("boots by lanzaboote"));
        assert_eq!(what(starts(&uefi_alone, true)), "fine");
        let with = |grub| HostFacts { grub: Some(grub), ..HostFacts::default() };
        let bios_alone = with(grub(&["/dev/vda"]));
        assert_eq!(what(starts(&bios_alone, false)), "fine");
        assert!(what(starts(&bios_alone, true)).contains("for BIOS alone"));
        let no_disk = with(Grub { uefi: true, uefi_finds: true, ..grub(&[]) });
        assert!(what(starts(&no_disk, false)).contains("for UEFI alone"));
        assert_eq!(what(starts(&no_disk, true)), "fine");
        let lost = with(Grub { uefi: true, ..grub(&["/dev/vda"]) });
        assert!(what(starts(&lost, true)).contains("would not find GRUB"));
        assert_eq!(what(starts(&lost, false)), "fine");
        // Whatever else starts the system is not judged.
        assert_eq!(what(starts(&HostFacts::default(), false)), "fine");
    }

    fn disk(path: &str, link: &str) -> Disk {
        Disk {
            path: path.into(),
            model: None,
            serial: None,
            size_bytes: 8 << 30,
            removable: false,
            read_only: false,
            links: vec![link.into()],
            guid: None,
            parts: Vec::new(),
        }
    }

    fn layout(device: &str, bios_boot: Option<bool>) -> LayoutDisk {
        let (name, device) = ("main".into(), device.into());
        LayoutDisk { name, device, in_layout: None, destroy: true, bios_boot }
    }

    #[test]
    fn grub_is_written_to_disks_of_the_layout_that_have_room() {
        let disks = [
            disk("/dev/vda", "/dev/disk/by-id/virtio-a"),
            disk("/dev/vdb", "/dev/disk/by-id/virtio-b"),
        ];
        let one = [layout("/dev/disk/by-id/virtio-a", Some(true))];
        // The same disk under either of its names.
        for device in ["/dev/disk/by-id/virtio-a", "/dev/vda", "/dev/md/boot"] {
            assert_eq!(what(fits(&grub(&[device]), &one, &disks)), "fine");
        }
        for device in ["/dev/vdb", "/dev/sda"] {
            let said = what(fits(&grub(&[device]), &one, &disks));
            assert!(said.contains(device) && said.contains("no disk of the layout"), "{said}");
        }
        let none = [layout("/dev/vda", Some(false))];
        assert!(what(fits(&grub(&["/dev/vda"]), &none, &disks)).contains("no place"));
        let forced = Grub { forced: true, ..grub(&["/dev/vda"]) };
        assert_eq!(what(fits(&forced, &none, &disks)), "fine");
        // With an MBR it lies before the first partition.
        assert_eq!(what(fits(&grub(&["/dev/vda"]), &[layout("/dev/vda", None)], &disks)), "fine");
    }
}
