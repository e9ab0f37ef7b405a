//! Exclusive access to a block device of this machine.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice as Fadvise, OFlags, fadvise};

use super::BlockDevice;
use crate::error::{Advice, Exit};

/// Memory alignment that O_DIRECT needs, in bytes.
const ALIGNMENT: usize = 4096;

/// A block device, opened with O_EXCL.
#[derive(Debug)]
pub(crate) struct Device {
    file: File,
    /// The device opened with O_DIRECT, where it supports that.
    direct: Option<File>,
    size: u64,
    buffer: Vec<u8>,
}

/// Why a block device cannot be opened exclusively.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be opened: {source}", path.display())]
pub(crate) struct OpenError {
    path: PathBuf,
    source: io::Error,
}

impl Advice for OpenError {
    fn hint(&self) -> String {
        match self.source.kind() {
            io::ErrorKind::PermissionDenied => {
                "Writing to a drive needs root: run the same command with sudo.".into()
            }
            io::ErrorKind::ResourceBusy => {
                "It is in use by a mounted file system, a volume group, an array or a pool. \
                 Unmount or deactivate that first."
                    .into()
            }
            _ => "Check that it is still plugged in.".into(),
        }
    }

    fn exit(&self) -> Exit {
        match self.source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ResourceBusy => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}

impl Device {
    /// Opens the device at `path` for reading and writing; fails with EBUSY where it is in use.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError { path: path.to_owned(), source };
        // On a block device, O_EXCL without O_CREAT fails while the kernel uses it (open(2)).
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::EXCL.bits().cast_signed())
            .open(path)
            .map_err(failed)?;
        let size = file.seek(SeekFrom::End(0)).map_err(failed)?;
        let direct = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::DIRECT.bits().cast_signed())
            .open(path)
            .ok();
        Ok(Self { file, direct, size, buffer: Vec::new() })
    }
}

impl BlockDevice for Device {
    fn size(&self) -> u64 {
        self.size
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn read_at(&mut self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let Some(direct) = &self.direct else {
            // Drops the synced pages from the page cache, so that they are read from the device.
            fadvise(&self.file, 0, None, Fadvise::DontNeed)?;
            return self.file.read_exact_at(bytes, offset);
        };
        self.buffer.resize(bytes.len() + ALIGNMENT, 0);
        let skip = self.buffer.as_ptr().align_offset(ALIGNMENT);
        let aligned = &mut self.buffer[skip..skip + bytes.len()];
        direct.read_exact_at(aligned, offset)?;
        bytes.copy_from_slice(aligned);
        Ok(())
    }
}
