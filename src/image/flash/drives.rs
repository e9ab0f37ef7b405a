//! The drives of this machine, and which of them may be overwritten.
//!
//! Facts come from `lsblk --json`, and from blkid where udev recorded nothing.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::error::{Advice, Exit};
use crate::exec::{Cmd, ExecError};
use crate::ui::text::size;

const DEADLINE: Duration = Duration::from_secs(60);
const COLUMNS: &str =
    "PATH,TYPE,SIZE,MODEL,SERIAL,TRAN,RM,HOTPLUG,RO,FSTYPE,LABEL,PARTLABEL,MOUNTPOINTS";
/// Mount points of the running system.
const SYSTEM: [&str; 8] =
    ["/", "/boot", "/boot/efi", "/efi", "/home", "/nix", "/nix/store", "[SWAP]"];

/// A whole drive, as lsblk reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Drive {
    /// The kernel's name, as `/dev/sdb`.
    pub(crate) path: PathBuf,
    /// lsblk's TYPE: `disk` or `loop`.
    pub(crate) kind: String,
    pub(crate) size_bytes: u64,
    model: Option<String>,
    serial: Option<String>,
    transport: Option<String>,
    removable: bool,
    /// An eMMC chip on the board, which the kernel attaches as it does SD cards.
    soldered: bool,
    read_only: bool,
    /// A line for each partition, file system or container on it.
    contents: Vec<String>,
    /// Device and mount point of everything mounted from it.
    mounts: Vec<(String, String)>,
}

/// Why a drive of this machine cannot be found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DriveError {
    #[error("the drives of this machine cannot be listed: {0}")]
    List(#[source] ExecError),
    #[error("the output of lsblk cannot be parsed: {0}")]
    Output(#[source] serde_json::Error),
    #[error("{} is not a drive of this machine", given.display())]
    NotFound { given: PathBuf, drives: Vec<String> },
    #[error("{} is a partition of {whole}", given.display())]
    Partition { given: PathBuf, whole: String },
}

impl Advice for DriveError {
    fn hint(&self) -> String {
        match self {
            Self::List(_) | Self::Output(_) => {
                "Install util-linux 2.38 or newer, which has lsblk.".into()
            }
            Self::NotFound { drives, .. } if drives.is_empty() => {
                "Plug the drive in: no removable drive is there now.".into()
            }
            Self::NotFound { drives, .. } => {
                format!("The removable drives are: {}", drives.join("; "))
            }
            Self::Partition { whole, .. } => {
                format!("An image is written to a whole drive: {whole}")
            }
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::List(_) | Self::Output(_) => Exit::Failed,
            _ => Exit::Usage,
        }
    }
}

/// Why a drive must not be overwritten.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DriveRefused {
    #[error("this machine runs from {drive}: it holds {mount}")]
    System { drive: String, mount: String },
    #[error("{drive} is in use: {device} is mounted at {mount}")]
    Mounted { drive: String, device: String, mount: String },
    #[error("{drive} is not a removable drive")]
    Fixed { drive: String },
    #[error("{drive} is write-protected")]
    ReadOnly { drive: String },
    #[error("{drive} has {size}, the image needs {needed}")]
    TooSmall { drive: String, size: String, needed: String },
    #[error("there is no medium in {drive}")]
    NoMedium { drive: String },
}

impl Advice for DriveRefused {
    fn hint(&self) -> String {
        match self {
            Self::System { .. } => "Choose another drive.".into(),
            Self::Mounted { device, .. } => format!("Unmount it first: umount {device}"),
            Self::Fixed { .. } => {
                "Choose another drive. To overwrite this one, add --internal and confirm it.".into()
            }
            Self::ReadOnly { .. } => "Slide its write-protect switch, or use another.".into(),
            Self::TooSmall { .. } => "Use a larger one.".into(),
            Self::NoMedium { .. } => "Insert the card.".into(),
        }
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

/// Whether a drive that is not removable may be overwritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InternalDrives {
    Refused,
    Allowed,
}

impl Drive {
    /// Lists the disks and loop devices of this machine.
    pub(crate) fn list() -> Result<Vec<Self>, DriveError> {
        let text = Cmd::new("lsblk")
            .args(["--json", "--bytes", "--output", COLUMNS])
            .deadline(DEADLINE)
            .read()
            .map_err(DriveError::List)?;
        let mut devices = parse(&text).map_err(DriveError::Output)?;
        devices.iter_mut().for_each(Device::probe);
        let mut drives: Vec<Self> = devices.into_iter().map(Self::from).collect();
        for drive in &mut drives {
            let name = drive.path.file_name().unwrap_or_default();
            let kind = Path::new("/sys/class/block").join(name).join("device/type");
            // SD cards have `SD` there, SCSI disks a number.
            drive.soldered = std::fs::read_to_string(kind).is_ok_and(|kind| kind.trim() == "MMC");
        }
        Ok(drives)
    }

    /// Finds the drive that `given` names: a device, or a link to one as in /dev/disk/by-id.
    pub(crate) fn find(given: &Path) -> Result<Self, DriveError> {
        let drives = Self::list()?;
        let path = std::fs::canonicalize(given).unwrap_or_else(|_| given.to_owned());
        if let Some(drive) = drives.iter().find(|drive| drive.path == path) {
            return Ok(drive.clone());
        }
        // In sysfs, a partition's directory is inside that of its disk.
        let name = path.file_name().unwrap_or_default();
        let in_sys = std::fs::canonicalize(Path::new("/sys/class/block").join(name)).ok();
        let disk = in_sys.as_deref().and_then(Path::parent).and_then(Path::file_name);
        let whole = drives.iter().find(|drive| disk.is_some() && drive.path.file_name() == disk);
        Err(match whole {
            Some(whole) => DriveError::Partition {
                given: given.to_owned(),
                whole: whole.path.display().to_string(),
            },
            None => DriveError::NotFound {
                given: given.to_owned(),
                drives: drives.iter().filter(|d| d.is_removable()).map(Self::to_string).collect(),
            },
        })
    }

    /// Says whether the drive can be unplugged. Loop devices count, eMMC and empty card readers do
    /// not.
    pub(crate) fn is_removable(&self) -> bool {
        let plugged = matches!(self.transport.as_deref(), Some("usb" | "mmc"));
        self.size_bytes > 0 && !self.soldered && (self.removable || plugged || self.is_loop())
    }

    /// Says whether this is a loop device, which is only a file.
    pub(crate) fn is_loop(&self) -> bool {
        self.kind == "loop"
    }

    /// Describes each partition, file system or container on it, as `/dev/sdb1  1.0 GiB  vfat “DATA”`.
    pub(crate) fn contents(&self) -> &[String] {
        &self.contents
    }

    /// Returns what a person types to confirm the drive: its serial, else its path.
    pub(crate) fn confirmation_name(&self) -> String {
        self.serial.clone().unwrap_or_else(|| self.path.display().to_string())
    }

    /// Returns its first link in /dev/disk/by-id, where udev made one.
    pub(crate) fn by_id(&self) -> Option<PathBuf> {
        let links = std::fs::read_dir("/dev/disk/by-id").ok()?;
        let mut names: Vec<PathBuf> = links
            .filter_map(|link| Some(link.ok()?.path()))
            .filter(|link| std::fs::canonicalize(link).is_ok_and(|path| path == self.path))
            .collect();
        names.sort();
        names.into_iter().next()
    }

    /// Refuses the drive unless it can be overwritten with an image of `needed` bytes. Nothing
    /// allows one that is in use.
    pub(crate) fn check(&self, needed: u64, internal: InternalDrives) -> Result<(), DriveRefused> {
        let drive = self.to_string();
        let is_system = |mount: &str| SYSTEM.contains(&mount);
        if let Some((_, mount)) = self.mounts.iter().find(|(_, mount)| is_system(mount)) {
            return Err(DriveRefused::System { drive, mount: mount.clone() });
        }
        if let Some((device, mount)) = self.mounts.first().cloned() {
            return Err(DriveRefused::Mounted { drive, device, mount });
        }
        if self.size_bytes == 0 {
            return Err(DriveRefused::NoMedium { drive });
        }
        if self.read_only {
            return Err(DriveRefused::ReadOnly { drive });
        }
        if !self.is_removable() && internal == InternalDrives::Refused {
            return Err(DriveRefused::Fixed { drive });
        }
        if self.size_bytes < needed {
            let (size, needed) = (size(self.size_bytes), size(needed));
            return Err(DriveRefused::TooSmall { drive, size, needed });
        }
        Ok(())
    }
}

/// Shows the path, model, serial and size, as `/dev/sdb (Ultra Fit, 4C53, 7.5 GiB)`.
impl fmt::Display for Drive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (", self.path.display())?;
        for part in [&self.model, &self.serial].into_iter().flatten() {
            write!(f, "{part}, ")?;
        }
        write!(f, "{})", size(self.size_bytes))
    }
}

#[derive(Deserialize)]
struct Lsblk {
    blockdevices: Vec<Device>,
}

#[derive(Deserialize)]
struct Device {
    path: PathBuf,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    size: u64,
    model: Option<String>,
    serial: Option<String>,
    tran: Option<String>,
    #[serde(default)]
    rm: bool,
    #[serde(default)]
    hotplug: bool,
    #[serde(default)]
    ro: bool,
    fstype: Option<String>,
    label: Option<String>,
    partlabel: Option<String>,
    #[serde(default)]
    mountpoints: Vec<Option<String>>,
    #[serde(default)]
    children: Vec<Device>,
}

fn parse(text: &str) -> Result<Vec<Device>, serde_json::Error> {
    let listed: Lsblk = serde_json::from_str(text)?;
    let whole = |device: &Device| matches!(device.kind.as_str(), "disk" | "loop");
    Ok(listed.blockdevices.into_iter().filter(whole).collect())
}

/// Reads TYPE and LABEL from `blkid --output export`, which prints lines `NAME=VALUE`.
fn parse_blkid(text: &str) -> (Option<String>, Option<String>) {
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.map(str::to_owned)
    };
    (value("TYPE"), value("LABEL"))
}

impl From<Device> for Drive {
    fn from(device: Device) -> Self {
        let mut contents = Vec::new();
        let mut mounts = Vec::new();
        device.collect(&mut contents, &mut mounts);
        let tidy = |text: Option<String>| {
            text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
        };
        Self {
            path: device.path,
            kind: device.kind,
            size_bytes: device.size,
            model: tidy(device.model),
            serial: tidy(device.serial),
            transport: tidy(device.tran),
            removable: device.rm || device.hotplug,
            soldered: false,
            read_only: device.ro,
            contents,
            mounts,
        }
    }
}

impl Device {
    /// Asks blkid for what lsblk does not know: lsblk reports udev's database, which is empty
    /// where udev does not run. Without the permission to read the device, it stays unknown.
    fn probe(&mut self) {
        self.children.iter_mut().for_each(Self::probe);
        if self.fstype.is_some() || !self.children.is_empty() || self.size == 0 {
            return;
        }
        let mut blkid = Cmd::new("blkid").args(["--probe", "--output", "export"]);
        blkid = blkid.arg(&self.path).deadline(DEADLINE);
        if let Ok(text) = blkid.read() {
            let (kind, label) = parse_blkid(&text);
            self.fstype = kind;
            self.label = label.or_else(|| self.label.take());
        }
    }

    /// Collects the contents and mounts of the device and, recursively, of its children:
    /// partitions and the volumes opened from them.
    fn collect(&self, contents: &mut Vec<String>, mounts: &mut Vec<(String, String)>) {
        let path = self.path.display().to_string();
        for mount in self.mountpoints.iter().flatten() {
            mounts.push((path.clone(), mount.clone()));
        }
        let is_whole = matches!(self.kind.as_str(), "disk" | "loop");
        if !is_whole || self.fstype.is_some() {
            let holds = self.fstype.as_deref().unwrap_or("no file system");
            let mut line = format!("{path}  {}  {holds}", size(self.size));
            if let Some(label) = self.label.as_ref().or(self.partlabel.as_ref()) {
                line.push_str(&format!(" “{label}”"));
            }
            contents.push(line);
        }
        for child in &self.children {
            child.collect(contents, mounts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"{"blockdevices": [
 {"path":"/dev/sda","type":"disk","size":500107862016,"model":"Samsung SSD 860","serial":"S3Z","tran":"sata","rm":false,"hotplug":false,"ro":false,
  "fstype":null,"label":null,"partlabel":null,"mountpoints":[null],"children":[
   {"path":"/dev/sda1","type":"part","size":1024,"model":null,"serial":null,"tran":null,"rm":false,"hotplug":false,"ro":false,
    "fstype":"crypto_LUKS","label":null,"partlabel":"root","mountpoints":[null],"children":[
     {"path":"/dev/mapper/root","type":"crypt","size":1024,"model":null,"serial":null,"tran":null,"rm":false,"hotplug":false,"ro":false,
      "fstype":"ext4","label":null,"partlabel":null,"mountpoints":["/nix/store","/"]}]}]},
 {"path":"/dev/sdb","type":"disk","size":8000000000,"model":"Ultra Fit ","serial":"4C53","tran":"usb","rm":true,"hotplug":true,"ro":false,
  "fstype":"iso9660","label":"nixos","partlabel":null,"mountpoints":[null],"children":[
   {"path":"/dev/sdb1","type":"part","size":1000000,"model":null,"serial":null,"tran":null,"rm":true,"hotplug":true,"ro":false,
    "fstype":"vfat","label":"DATA","partlabel":null,"mountpoints":["/media/stick"]}]},
 {"path":"/dev/sdc","type":"disk","size":2000000000000,"model":"Backup","serial":"B1","tran":"sata","rm":false,"hotplug":false,"ro":false,
  "fstype":null,"label":null,"partlabel":null,"mountpoints":[null]},
 {"path":"/dev/sr0","type":"rom","size":1,"model":null,"serial":null,"tran":"sata","rm":true,"hotplug":true,"ro":false,
  "fstype":null,"label":null,"partlabel":null,"mountpoints":[null]},
 {"path":"/dev/sdd","type":"disk","size":0,"model":"Card Reader","serial":null,"tran":"usb","rm":true,"hotplug":true,"ro":false,
  "fstype":null,"label":null,"partlabel":null,"mountpoints":[null]},
 {"path":"/dev/sde","type":"disk","size":4000,"model":"Locked","serial":"L1","tran":"usb","rm":true,"hotplug":true,"ro":true,
  "fstype":null,"label":null,"partlabel":null,"mountpoints":[null]}]}"#;

    fn drive(name: &str) -> Drive {
        let path = Path::new("/dev").join(name);
        let devices = parse(SAMPLE).unwrap();
        devices.into_iter().map(Drive::from).find(|drive| drive.path == path).unwrap()
    }

    #[test]
    fn what_is_in_use_is_refused_whatever_else_is_allowed() {
        let why = |name: &str| drive(name).check(1000, InternalDrives::Allowed).unwrap_err();
        assert!(matches!(why("sda"), DriveRefused::System { mount, .. } if mount == "/nix/store"));
        assert!(
            matches!(why("sdb"), DriveRefused::Mounted { device, .. } if device == "/dev/sdb1")
        );
        assert!(matches!(why("sdd"), DriveRefused::NoMedium { .. }));
        assert!(matches!(why("sde"), DriveRefused::ReadOnly { .. }));
    }

    #[test]
    fn an_internal_disk_takes_a_flag_and_a_small_one_is_found() {
        let disk = drive("sdc");
        assert!(matches!(
            disk.check(1000, InternalDrives::Refused),
            Err(DriveRefused::Fixed { .. })
        ));
        assert_eq!(disk.check(1000, InternalDrives::Allowed), Ok(()));
        assert!(matches!(
            disk.check(1 << 50, InternalDrives::Allowed),
            Err(DriveRefused::TooSmall { .. })
        ));
        assert!(drive("sdb").is_removable() && !drive("sdd").is_removable());
        let chip = Drive { soldered: true, mounts: Vec::new(), ..drive("sdb") };
        assert!(matches!(
            chip.check(1000, InternalDrives::Refused),
            Err(DriveRefused::Fixed { .. })
        ));
    }

    #[test]
    fn what_blkid_tells_is_understood() {
        let told = "DEVNAME=/dev/sdb\nLABEL=a\\ b\nUUID=1\nTYPE=ext4\nUSAGE=filesystem\n";
        assert_eq!(parse_blkid(told), (Some("ext4".into()), Some("a\\ b".into())));
        assert_eq!(parse_blkid("DEVNAME=/dev/sdb\nPTTYPE=gpt\n"), (None, None));
    }

    #[test]
    fn a_drive_shows_what_it_is_and_holds() {
        let drive = drive("sdb");
        assert_eq!(drive.to_string(), "/dev/sdb (Ultra Fit, 4C53, 7.5 GiB)");
        let contents = drive.contents().join("\n");
        assert!(contents.contains("iso9660 “nixos”") && contents.contains("vfat “DATA”"));
        assert_eq!(drive.confirmation_name(), "4C53");
        assert!(parse(SAMPLE).unwrap().iter().all(|drive| drive.path != Path::new("/dev/sr0")));
    }
}
