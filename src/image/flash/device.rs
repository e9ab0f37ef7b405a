//! A block device of this machine.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice as Fadvise, OFlags, fadvise};

use super::Blocks;
use crate::error::{Advice, Exit};

/// The alignment in memory that reading past the cache needs.
const ALIGNMENT: usize = 4096;

/// An open device that nobody else uses.
#[derive(Debug)]
pub struct Device {
    file: File,
    /// Where the device can be read past the page cache.
    direct: Option<File>,
    size: u64,
    buffer: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
#[error("{} cannot be opened: {source}", path.display())]
pub struct OpenError {
    path: PathBuf,
    source: io::Error,
}

impl Advice for OpenError {
    fn hint(&self) -> String {
        match self.source.kind() {
            io::ErrorKind::PermissionDenied => {
                "Drives are written by root: run the same command with sudo.".into()
            }
            io::ErrorKind::ResourceBusy => {
                "Something uses it: a mounted file system, a volume group, an array, a pool. \
                 Let go of it first."
                    .into()
            }
            _ => "Is it still plugged in?".into(),
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
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError { path: path.to_owned(), source };
        // For a block device O_EXCL means: in use by nobody, not even by the kernel.
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

impl Blocks for Device {
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
            // What was synced is forgotten, and so has to come from the device.
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
