//! The QEMU command line of a machine.

use std::path::Path;

use super::spec::{Accel, Bus, Disk, Firmware, Spec};

pub(crate) const PROGRAM: &str = "qemu-system-x86_64";
const FIRMWARE_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
pub(crate) const FIRMWARE_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// The last port of the chipset's AHCI controller is the CD drive's.
const CD_PORT: &str = "ide.5";

/// The serial number of a removable drive.
pub(crate) const STICK_SERIAL: &str = "landfall-stick";

/// Gives all arguments, for a machine whose files lie in `dir`.
pub(crate) fn arguments(name: &str, spec: &Spec, accel: Accel, dir: &Path) -> Vec<String> {
    let mut words = list(&["-nodefaults", "-no-user-config", "-display", "none"]);
    words.extend(list(&["-machine", "q35", "-rtc", "base=utc"]));
    words.extend(pair("-name", name));
    words.extend(list(&accel_arguments(accel)));
    words.extend(pair("-m", &spec.mem.to_string()));
    words.extend(pair("-pidfile", &dir.join("pid").to_string_lossy()));
    words.extend(console_and_control(dir));
    words.extend(pair("-device", "virtio-rng-pci"));
    words.extend(network(spec.ssh_port, spec.second_port));
    words.extend(spec.root_key.iter().flat_map(|key| root_key(key)));
    if spec.firmware == Firmware::Uefi {
        words.extend(uefi(&dir.join("variables.fd")));
    }
    for (index, disk) in spec.disks.iter().enumerate() {
        words.extend(attached(disk, index, &escaped(&dir.join(disk_file(index)))));
    }
    let place = if spec.medium_first { 0 } else { spec.disks.len() + 1 };
    if let Some(iso) = &spec.iso {
        words.extend(cd(&escaped(iso), place));
    }
    if let Some(image) = &spec.stick {
        words.extend(stick(&escaped(image), place + usize::from(spec.iso.is_some())));
    }
    words
}

/// Gives the arguments for an accelerator. Emulated, the guest has one processor and no
/// cmpxchg16b: with that instruction it sometimes panicked, and with two processors it
/// sometimes met a breakpoint of the kernel's own patching of its code.
pub(crate) fn accel_arguments(accel: Accel) -> [&'static str; 6] {
    match accel {
        Accel::Kvm => ["-accel", "kvm", "-cpu", "host", "-smp", "2"],
        Accel::Tcg => ["-accel", "tcg", "-cpu", "max,-cx16", "-smp", "1"],
    }
}

/// Puts the serial console and QEMU's control socket into the machine's folder.
fn console_and_control(dir: &Path) -> Vec<String> {
    let file = |name: &str| escaped(&dir.join(name));
    let console = format!(
        "socket,id=console,path={},server=on,wait=off,logfile={}",
        file("console.sock"),
        file("console.log")
    );
    let mut words = pair("-chardev", &console);
    words.extend(pair("-serial", "chardev:console"));
    words.extend(pair("-qmp", &format!("unix:{},server=on,wait=off", file("control.sock"))));
    words
}

/// Hands root's authorized key over as a credential of systemd.
fn root_key(key: &str) -> Vec<String> {
    let credential = format!("io.systemd.credential:ssh.authorized_keys.root={}", key.trim());
    pair("-smbios", &format!("type=11,value={}", escaped(Path::new(&credential))))
}

/// Starts the machine by UEFI, which keeps its variables in this file.
fn uefi(variables: &Path) -> Vec<String> {
    let code = format!("if=pflash,unit=0,format=raw,readonly=on,file={FIRMWARE_CODE}");
    let variables = format!("if=pflash,unit=1,format=raw,file={}", escaped(variables));
    let mut words = pair("-drive", &code);
    words.extend(pair("-drive", &variables));
    words
}

/// Names a disk's image in the machine's folder.
pub(crate) fn disk_file(index: usize) -> String {
    format!("disk-{index}.qcow2")
}

/// Lets the guest reach nothing outside, and be reached at its port 22 and perhaps another.
fn network(ssh_port: u16, second: Option<u16>) -> Vec<String> {
    let mut user = format!("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{ssh_port}-:22");
    if let Some(port) = second {
        user.push_str(&format!(",hostfwd=tcp:127.0.0.1:{port}-:{port}"));
    }
    let mut words = pair("-netdev", &user);
    words.extend(pair("-device", "virtio-net-pci,netdev=net,romfile="));
    words
}

/// Attaches a disk; the first is the first to be tried for booting.
fn attached(disk: &Disk, index: usize, image: &str) -> Vec<String> {
    let id = format!("disk{index}");
    let drive = format!("if=none,id={id},format=qcow2,cache=unsafe,discard=unmap,file={image}");
    let model = match disk.bus {
        Bus::Virtio => "virtio-blk-pci".to_string(),
        Bus::Ahci => format!("ide-hd,bus=ide.{index}"),
        Bus::Nvme => "nvme".to_string(),
    };
    // NVMe has no nameless devices.
    let fallback = (disk.bus == Bus::Nvme).then(|| id.clone());
    let serial = disk.serial.clone().or(fallback);
    let serial = serial.map(|serial| format!(",serial={serial}")).unwrap_or_default();
    let mut words = pair("-drive", &drive);
    words.extend(pair("-device", &format!("{model},drive={id},bootindex={}{serial}", index + 1)));
    words
}

/// Puts an image into the CD drive.
fn cd(image: &str, place: usize) -> Vec<String> {
    let mut words =
        pair("-drive", &format!("if=none,id=cd,media=cdrom,readonly=on,format=raw,file={image}"));
    let device = format!("ide-cd,bus={CD_PORT},drive=cd,bootindex={place}");
    words.extend(pair("-device", &device));
    words
}

/// Plugs a removable drive in. To the guest it looks like a USB drive: sdX, with a medium that
/// can be taken out. (Kernels for the cloud know no USB.)
fn stick(image: &str, place: usize) -> Vec<String> {
    let mut words = pair("-drive", &format!("if=none,id=stick,format=raw,file={image}"));
    words.extend(pair("-device", "virtio-scsi-pci,id=scsi"));
    let device = "scsi-hd,bus=scsi.0,drive=stick,removable=on";
    words.extend(pair("-device", &format!("{device},serial={STICK_SERIAL},bootindex={place}")));
    words
}

fn pair(flag: &str, value: &str) -> Vec<String> {
    list(&[flag, value])
}

fn list(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| word.to_string()).collect()
}

/// Escapes a path for one of QEMU's comma-separated options.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(disks: Vec<Disk>) -> Spec {
        Spec {
            disks,
            iso: Some("/x/a,b.iso".into()),
            stick: None,
            mem: 1024,
            firmware: Firmware::Uefi,
            accel: None,
            root_key: None,
            ssh_port: 2200,
            second_port: Some(2222),
            medium_first: false,
        }
    }

    #[test]
    fn disks_come_before_the_cd_and_commas_are_escaped() {
        let disk = |bus| Disk { size: "8G".into(), serial: None, bus, holds: None };
        let spec = spec(vec![disk(Bus::Ahci), disk(Bus::Nvme)]);
        let words = arguments("m", &spec, Accel::Tcg, Path::new("/d"));
        let line = words.join(" ");
        assert!(line.contains("ide-hd,bus=ide.0,drive=disk0,bootindex=1"), "{line}");
        assert!(line.contains("nvme,drive=disk1,bootindex=2,serial=disk1"), "{line}");
        assert!(line.contains("drive=cd,bootindex=3"), "{line}");
        assert!(line.contains("file=/x/a,,b.iso"), "{line}");
        let ports = "hostfwd=tcp:127.0.0.1:2200-:22,hostfwd=tcp:127.0.0.1:2222-:2222";
        assert!(line.contains(ports), "{line}");
        let first = Spec { medium_first: true, ..spec };
        let line = arguments("m", &first, Accel::Tcg, Path::new("/d")).join(" ");
        assert!(line.contains("drive=cd,bootindex=0"), "{line}");
        let stick =
            Spec { iso: None, stick: Some("/x/stick".into()), medium_first: false, ..first };
        let line = arguments("m", &stick, Accel::Tcg, Path::new("/d")).join(" ");
        assert!(line.contains("removable=on,serial=landfall-stick,bootindex=3"), "{line}");
    }
}
