//! What a journey starts from, as data: the machine, its configuration, the way to it, and how
//! landfall is called. What is then done, and what must hold, is a scenario's.

use anyhow::Result;

use super::operator::Operator;
use super::repos::Repos;
use crate::vm::{Bus, Disk, Firmware};

/// The serial number of the first disk, which may be erased.
pub(crate) const SERIAL: &str = "landfall-demo";

/// A change of the operator's repositories before anything is locked and pushed; it need
/// not commit.
pub(crate) type RepoEdit = fn(&Repos, &Operator) -> Result<()>;

/// What answers on the machine at the beginning.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum InitialSystem {
    /// The installer, from its image.
    Installer,
    /// A Debian on the first disk, and no medium.
    Debian,
}

/// How landfall logs in, and where the systems that follow the installer listen.
#[derive(Clone, Copy)]
pub(crate) struct Connection {
    /// The user whom landfall is told of.
    pub(crate) user: &'static str,
    /// That user's password; without one, the operator's key lets in.
    pub(crate) password: Option<&'static str>,
    /// The password with which that user becomes root, where sudo asks for one.
    pub(crate) sudo_password: Option<&'static str>,
    /// The user whom the operator's key lets in, for what is looked at without landfall.
    pub(crate) key_user: &'static str,
    /// Whether the machine is reached through another one.
    pub(crate) through_jump_host: bool,
    /// The port of the installed system, if not 22; the same port on this machine leads there.
    pub(crate) installed_port: Option<u16>,
    /// The port of the initrd, if not the installed system's; the same port on this machine
    /// leads there.
    pub(crate) initrd_port: Option<u16>,
}

impl Connection {
    /// As root, by key.
    pub(crate) const ROOT: Connection = Connection {
        user: "root",
        password: None,
        sudo_password: None,
        key_user: "root",
        through_jump_host: false,
        installed_port: None,
        initrd_port: None,
    };
}

/// Everything that stands before the first action.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) initial_system: InitialSystem,
    pub(crate) firmware: Firmware,
    /// Whether the firmware starts the medium at every boot, as long as it is there.
    pub(crate) medium_first: bool,
    /// Whether the image is on a drive that `iso flash` has written, not in the CD drive.
    pub(crate) on_stick: bool,
    /// Whether the machine starts from a copy of the image that has a host key of its own;
    /// then landfall is told none.
    pub(crate) customized_image: bool,
    /// Memory of the machine, MiB.
    pub(crate) memory: u32,
    /// Blank disks of the machine; each may be erased.
    pub(crate) disks: Vec<Disk>,
    /// Layout of the first disk, as `landfall init` names it.
    pub(crate) layout: String,
    pub(crate) edits: Vec<RepoEdit>,
    pub(crate) connection: Connection,
    /// Host key under which the installer is expected, if not its own.
    pub(crate) expected_host_key: Option<&'static str>,
    /// Further flags of `landfall bootstrap`.
    pub(crate) flags: Vec<String>,
}

impl Setup {
    /// Describes the main journey's start: the installer, one blank disk that is encrypted, a
    /// configuration with secrets. Others differ from it.
    pub(crate) fn staged() -> Setup {
        Setup {
            initial_system: InitialSystem::Installer,
            firmware: Firmware::Uefi,
            medium_first: false,
            on_stick: false,
            customized_image: false,
            memory: 2048,
            disks: vec![Disk::blank(SERIAL, "8G", Bus::Virtio)],
            layout: "btrfs-luks".to_string(),
            edits: Vec::new(),
            connection: Connection::ROOT,
            expected_host_key: None,
            flags: Vec::new(),
        }
    }
}

/// Splits a line of flags into its words.
pub(crate) fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_string).collect()
}
