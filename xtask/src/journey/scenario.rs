//! A journey as data: what is installed where, what is done to it, and what must hold.
//!
//! Adding a journey is adding an entry in `scenarios/`. What an entry cannot say yet is a
//! function: an [`Edit`] of the repositories, an [`Act`], a [`Proof`].

use std::path::PathBuf;

use anyhow::Result;

use super::course::Journey;
use super::operator::Operator;
use super::proof::{self, Proof};
use super::repos::Repos;
use crate::vm::{Bus, Disk, Firmware};

/// The serial number of the first disk, which may be erased.
pub const SERIAL: &str = "landfall-demo";

/// A change of the operator's repositories before anything is locked and pushed; it need
/// not commit.
pub type Edit = fn(&Repos, &Operator) -> Result<()>;

/// What answers on the machine at the beginning.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Begins {
    /// The installer, from its image.
    Installer,
    /// A Debian on the first disk, and no medium.
    Debian,
}

/// How landfall gets into the installer, and on.
#[derive(Clone, Copy)]
pub struct Way {
    /// The user whom landfall is told of.
    pub user: &'static str,
    /// That user's password; without one, the operator's key lets in.
    pub password: Option<&'static str>,
    /// The user whom the operator's key lets in, for the proof.
    pub keyed: &'static str,
    /// With which that user becomes root, where sudo asks for one.
    pub sudo: Option<&'static str>,
    /// Whether the machine is reached through another one.
    pub jump: bool,
    /// Where the installed system listens, if not at port 22; the same port on this machine
    /// leads there.
    pub moves_to: Option<u16>,
    /// Where the initrd listens, if not where the installed system does; the same port on
    /// this machine leads there.
    pub unlocked_at: Option<u16>,
}

impl Way {
    /// As root, by key.
    pub const ROOT: Way = Way {
        user: "root",
        password: None,
        keyed: "root",
        sudo: None,
        jump: false,
        moves_to: None,
        unlocked_at: None,
    };
}

/// How often a journey is made.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Share {
    /// In every full test.
    Core,
    /// In turn: a few a day.
    InTurn,
}

/// What is done once the installer answers, in this order.
#[derive(Clone)]
pub enum Act {
    /// `landfall bootstrap` runs to its end.
    Bootstrap,
    /// `landfall bootstrap` is killed in the middle of this step.
    KilledDuring(String),
    /// nixos-anywhere, which is this program, installs the minimal system.
    NixosAnywhere(PathBuf),
    /// Anything else.
    Do(fn(&Journey) -> Result<()>),
}

/// How a journey must end.
#[derive(Clone)]
pub enum Ends {
    /// The acts succeed and the proof holds.
    Well,
    /// Not well, and what is printed matches all of these regular expressions.
    Saying(Vec<&'static str>),
}

#[derive(Clone)]
pub struct Scenario {
    /// As `cargo xtask test --journey` takes it.
    pub name: &'static str,
    /// What it shows, on a line.
    pub shows: &'static str,
    pub share: Share,
    pub begins: Begins,
    pub way: Way,
    /// Whether the firmware starts the medium at every boot, as long as it is there.
    pub medium_first: bool,
    pub firmware: Firmware,
    /// Layout of the first disk, as `landfall init` names it.
    pub layout: String,
    /// Blank disks of the machine; each may be erased.
    pub disks: Vec<Disk>,
    /// Memory of the machine, MiB.
    pub memory: u32,
    pub edits: Vec<Edit>,
    /// Further flags of `landfall bootstrap`.
    pub flags: Vec<String>,
    /// The machine starts from a copy of the image that has a host key of its own; then
    /// landfall is told none.
    pub customized: bool,
    /// The image is on a drive that `iso flash` has written, not in the CD drive.
    pub on_stick: bool,
    /// Host key under which the installer is expected, if not its own.
    pub expects: Option<&'static str>,
    pub acts: Vec<Act>,
    pub ends: Ends,
    /// What must hold after a good end.
    pub holds: Vec<Proof>,
}

impl Scenario {
    /// The main journey: staged, one encrypted disk, secrets. Others differ from it.
    pub fn staged() -> Scenario {
        Scenario {
            name: "staged",
            shows: "staged, LUKS, secrets",
            share: Share::InTurn,
            begins: Begins::Installer,
            way: Way::ROOT,
            medium_first: false,
            firmware: Firmware::Uefi,
            layout: "btrfs-luks".to_string(),
            disks: vec![disk(SERIAL, "8G", Bus::Virtio)],
            memory: 2048,
            edits: Vec::new(),
            flags: Vec::new(),
            customized: false,
            on_stick: false,
            expects: None,
            acts: vec![Act::Bootstrap],
            ends: Ends::Well,
            holds: proof::STAGED.to_vec(),
        }
    }
}

/// A blank disk.
pub fn disk(serial: &str, size: &str, bus: Bus) -> Disk {
    Disk { size: size.to_string(), serial: Some(serial.to_string()), bus, holds: None }
}

/// The name that udev gives a disk.
pub fn disk_path(disk: &Disk) -> String {
    let model = match disk.bus {
        Bus::Virtio => "virtio-",
        Bus::Ahci => "ata-QEMU_HARDDISK_",
        Bus::Nvme => "nvme-QEMU_NVMe_Ctrl_",
    };
    format!("/dev/disk/by-id/{model}{}", disk.serial.as_deref().unwrap_or_default())
}

/// The words of a line of flags.
pub fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_string).collect()
}
