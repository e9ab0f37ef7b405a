//! What a virtual machine is made of, as the command line says it.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

/// How a disk is attached; the hardware report of the machine differs accordingly.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Bus {
    Virtio,
    Ahci,
    Nvme,
}

/// How a machine is run: by the hypervisor, or emulated.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Accel {
    Kvm,
    Tcg,
}

/// What starts a machine's boot loader.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Firmware {
    Uefi,
    Bios,
}

impl Firmware {
    /// Returns its name as it is written on command lines.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Uefi => "uefi",
            Self::Bios => "bios",
        }
    }
}

/// A blank disk: `SIZE[,serial=S][,bus=virtio|ahci|nvme]`, its size as `qemu-img` takes it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Disk {
    pub(crate) size: String,
    pub(crate) serial: Option<String>,
    pub(crate) bus: Bus,
    /// What is on it at the beginning, as a qcow2 image; blank without one.
    #[serde(default)]
    pub(crate) holds: Option<PathBuf>,
}

impl Disk {
    /// Describes a blank disk with a serial number.
    pub(crate) fn blank(serial: &str, size: &str, bus: Bus) -> Disk {
        Disk { size: size.to_string(), serial: Some(serial.to_string()), bus, holds: None }
    }

    /// Returns the path that udev in the guest gives the disk.
    pub(crate) fn by_id(&self) -> String {
        let model = match self.bus {
            Bus::Virtio => "virtio-",
            Bus::Ahci => "ata-QEMU_HARDDISK_",
            Bus::Nvme => "nvme-QEMU_NVMe_Ctrl_",
        };
        format!("/dev/disk/by-id/{model}{}", self.serial.as_deref().unwrap_or_default())
    }
}

impl FromStr for Disk {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Disk> {
        let mut parts = text.split(',');
        let size = parts.next().unwrap_or_default();
        if !size.starts_with(|first: char| first.is_ascii_digit()) {
            bail!("a disk begins with its size, as in 8G,serial=landfall-1");
        }
        let mut disk = Disk { size: size.to_string(), serial: None, bus: Bus::Virtio, holds: None };
        for part in parts {
            match part.split_once('=') {
                Some(("serial", serial)) => disk.serial = Some(serial.to_string()),
                Some(("bus", bus)) => {
                    disk.bus = Bus::from_str(bus, true)
                        .ok()
                        .with_context(|| format!("`{bus}` is no bus: take virtio, ahci or nvme"))?;
                }
                _ => bail!("`{part}` is neither serial=… nor bus=…"),
            }
        }
        Ok(disk)
    }
}

/// A whole machine.
#[derive(Args, Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Spec {
    /// A blank disk; give it again for more. They are tried for booting in this order,
    /// before the CD
    #[arg(long = "disk", value_name = "SIZE[,serial=S][,bus=virtio|ahci|nvme]")]
    pub(crate) disks: Vec<Disk>,
    /// The image in the CD drive
    #[arg(long)]
    pub(crate) iso: Option<PathBuf>,
    /// A raw image of a removable drive, which the machine can write to
    #[arg(long)]
    pub(crate) stick: Option<PathBuf>,
    /// Memory in MiB
    #[arg(long, default_value_t = 2048)]
    pub(crate) mem: u32,
    #[arg(long, value_enum, default_value_t = Firmware::Uefi)]
    pub(crate) firmware: Firmware,
    /// How it is run [default: by the hypervisor where one works]
    #[arg(long, value_enum)]
    pub(crate) accel: Option<Accel>,
    /// A public key that may log in as root, for guests that take systemd's credentials
    #[arg(long, value_name = "KEY")]
    pub(crate) root_key: Option<String>,
    /// The port on 127.0.0.1 that leads to the machine's port 22
    #[arg(long)]
    pub(crate) ssh_port: u16,
    /// A port on 127.0.0.1 that leads to the same port of the machine
    #[arg(long)]
    pub(crate) second_port: Option<u16>,
    /// Start the image even when a disk could be started
    #[arg(long)]
    pub(crate) medium_first: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_read_from_its_parts() {
        let disk: Disk = "8G,serial=one,bus=ahci".parse().expect("a valid disk");
        let serial = Some("one".into());
        assert_eq!(disk, Disk { size: "8G".into(), serial, bus: Bus::Ahci, holds: None });
        let plain: Disk = "512M".parse().expect("a valid disk");
        assert_eq!(plain.bus, Bus::Virtio);
    }

    #[test]
    fn a_wrong_disk_is_refused_with_what_is_wrong() {
        for (text, says) in [("serial=one", "size"), ("8G,bus=floppy", "floppy"), ("8G,x", "`x`")] {
            let error = text.parse::<Disk>().expect_err("must be refused").to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
