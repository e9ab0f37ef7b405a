//! Writing an image, and reading back what the drive kept of it.
//!
//! Before the image, short marks go to places all over the drive. A drive that is smaller
//! than it says drops some, or keeps several in one and the same place; then nothing on it
//! can be relied upon, and that is said. They are looked at again when the image is there:
//! a drive's own cache may have hidden their loss, and the image may have taken their place.

use std::io::{self, Read, Seek, SeekFrom};

use crate::error::{Advice, Exit};
use crate::exec;
use crate::ui::text::size;

/// What is written or read at once. A multiple of every block size.
const CHUNK: usize = 4 << 20;
/// A mark's length, and the alignment of what bypasses the cache.
const BLOCK: u64 = 4096;
/// The part of the image that is written last: it holds what firmware looks for.
const HEAD: u64 = 1 << 20;
/// What is nearer to the beginning tells nothing about the size of a drive.
const NEAREST_MARK: u64 = 64 << 20;
/// How much may lie in the kernel's memory before the drive has to have it.
const SYNC_EVERY: u64 = 32 << 20;

/// A drive: blocks that are written, and read past every cache.
pub trait Blocks {
    fn size(&self) -> u64;
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Returns when the drive has all that was written.
    fn sync(&mut self) -> io::Result<()>;
    /// Reads what the drive has, not what the kernel remembers. Offset and length are
    /// multiples of 4096, unless the drive ends there.
    fn read_at(&mut self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
}

/// What is being done, for whoever shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Probing,
    Writing,
    Reading,
}

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("the image cannot be read: {0}")]
    Image(#[source] io::Error),
    #[error("the drive cannot be written at {}: {source}", size(*offset))]
    Write { offset: u64, source: io::Error },
    #[error("the drive cannot be read at {}: {source}", size(*offset))]
    Read { offset: u64, source: io::Error },
    #[error("the drive lies about its size")]
    Lies { says: u64, lost_at: u64 },
    #[error("the drive did not keep what was written")]
    Differs { offset: u64 },
    #[error("interrupted: the drive is only partly written, and starts nothing")]
    Interrupted,
    #[error("interrupted: the image is on the drive, but was not read back")]
    NotCompared,
}

impl Advice for WriteError {
    fn hint(&self) -> String {
        match self {
            Self::Image(_) => "Build the image again: landfall iso build".into(),
            Self::Write { .. } | Self::Read { .. } => {
                "It may be worn out or was pulled out. Try another port, then another drive.".into()
            }
            Self::Lies { says, lost_at } => format!(
                "It says that it has {}, and loses what is written at {}: such drives are sold as \
                 larger than they are. Take another.",
                size(*says),
                size(*lost_at)
            ),
            Self::Differs { offset } => format!(
                "The first difference is at byte {offset}. The drive is worn out or a fake: take \
                 another."
            ),
            Self::Interrupted | Self::NotCompared => "Run the same command again.".into(),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Interrupted | Self::NotCompared => Exit::Interrupted,
            _ => Exit::Failed,
        }
    }
}

/// Writes `image` of `length` bytes to the beginning of `drive`, and compares what is
/// there afterwards. `report` hears how many bytes of a phase are done.
pub fn write(
    drive: &mut impl Blocks,
    image: &mut (impl Read + Seek),
    length: u64,
    mut report: impl FnMut(Phase, u64),
) -> Result<(), WriteError> {
    report(Phase::Probing, 0);
    let marks = marks(drive.size());
    mark(drive, &marks)?;
    let head = HEAD.min(length);
    // Nothing of an old system starts, should this end before the image is whole.
    put(drive, &vec![0; round_up(head)], 0)?;
    sync(drive, 0)?;
    copy(drive, image, head, length, &mut |done| report(Phase::Writing, done - head))?;
    sync(drive, length)?;
    copy(drive, image, 0, head, &mut |_| ())?;
    sync(drive, head)?;
    report(Phase::Writing, length);
    let behind: Vec<u64> = marks.into_iter().filter(|mark| *mark >= length).collect();
    check_marks(drive, &behind)?;
    compare(drive, image, length, &mut |done| report(Phase::Reading, done))?;
    // Whoever looks for the backup of an old partition table finds none.
    for &offset in &behind {
        put(drive, &vec![0; BLOCK as usize], offset)?;
    }
    sync(drive, length)
}

/// Where the marks go. Those at the end of the drive and of each half of it are dropped by a
/// drive that ends before; those at powers of two meet in one place, as a drive that leaves
/// out the upper bits of an address keeps them.
fn marks(size: u64) -> Vec<u64> {
    let halves = std::iter::successors(Some(size), |end| (*end > 0).then_some(end / 2));
    let ends = halves.map(|end| end / BLOCK * BLOCK).filter(|end| *end >= BLOCK);
    let ends = ends.enumerate().take_while(|(n, end)| *n == 0 || *end >= NEAREST_MARK);
    let powers = std::iter::successors(Some(NEAREST_MARK), |power| power.checked_mul(2));
    let powers = std::iter::once(0).chain(powers).filter(|power| power + BLOCK <= size);
    let mut marks: Vec<u64> = ends.map(|(_, end)| end - BLOCK).chain(powers).collect();
    marks.sort_unstable();
    marks.dedup();
    marks
}

/// What is written at this place, and nowhere else.
fn word(offset: u64) -> Vec<u8> {
    let word = format!("landfall was here: {offset:016x}\n");
    word.bytes().cycle().take(BLOCK as usize).collect()
}

fn mark(drive: &mut impl Blocks, marks: &[u64]) -> Result<(), WriteError> {
    let size = drive.size();
    for &offset in marks {
        drive.write_at(&word(offset), offset).map_err(|source| at_end(source, offset, size))?;
    }
    drive.sync().map_err(|source| at_end(source, size, size))?;
    check_marks(drive, marks)
}

fn check_marks(drive: &mut impl Blocks, marks: &[u64]) -> Result<(), WriteError> {
    let size = drive.size();
    let mut found = vec![0; BLOCK as usize];
    for &offset in marks {
        drive.read_at(&mut found, offset).map_err(|source| at_end(source, offset, size))?;
        if found != word(offset) {
            return Err(WriteError::Lies { says: size, lost_at: offset });
        }
    }
    Ok(())
}

/// A place that the drive says it has, and cannot be written or read.
fn at_end(source: io::Error, offset: u64, size: u64) -> WriteError {
    match source.kind() {
        io::ErrorKind::PermissionDenied => WriteError::Write { offset, source },
        _ => WriteError::Lies { says: size, lost_at: offset },
    }
}

fn copy(
    drive: &mut impl Blocks,
    image: &mut (impl Read + Seek),
    from: u64,
    to: u64,
    report: &mut impl FnMut(u64),
) -> Result<(), WriteError> {
    image.seek(SeekFrom::Start(from)).map_err(WriteError::Image)?;
    let mut offset = from;
    let mut unsynced = 0;
    while offset < to {
        if exec::interrupted() {
            return Err(WriteError::Interrupted);
        }
        let chunk = read_chunk(image, to - offset)?;
        let length = chunk.len() as u64;
        let mut padded = chunk;
        padded.resize(round_up(length), 0);
        put(drive, &padded, offset)?;
        offset += length;
        unsynced += length;
        if unsynced >= SYNC_EVERY {
            // What is only in memory is not written: progress would be a lie.
            sync(drive, offset)?;
            unsynced = 0;
        }
        report(offset);
    }
    Ok(())
}

fn compare(
    drive: &mut impl Blocks,
    image: &mut (impl Read + Seek),
    length: u64,
    report: &mut impl FnMut(u64),
) -> Result<(), WriteError> {
    image.seek(SeekFrom::Start(0)).map_err(WriteError::Image)?;
    let mut offset = 0;
    let mut found = vec![0; CHUNK];
    while offset < length {
        if exec::interrupted() {
            return Err(WriteError::NotCompared);
        }
        let chunk = read_chunk(image, length - offset)?;
        let kept = &mut found[..round_up(chunk.len() as u64)];
        drive.read_at(kept, offset).map_err(|source| WriteError::Read { offset, source })?;
        let same = chunk.iter().zip(kept.iter()).take_while(|(a, b)| a == b).count();
        if same < chunk.len() {
            return Err(WriteError::Differs { offset: offset + same as u64 });
        }
        offset += chunk.len() as u64;
        report(offset);
    }
    Ok(())
}

/// The next bytes of the image, at most as many as are written at once.
fn read_chunk(image: &mut impl Read, left: u64) -> Result<Vec<u8>, WriteError> {
    let mut chunk = vec![0; CHUNK.min(usize::try_from(left).unwrap_or(CHUNK))];
    image.read_exact(&mut chunk).map_err(WriteError::Image)?;
    Ok(chunk)
}

fn put(drive: &mut impl Blocks, bytes: &[u8], offset: u64) -> Result<(), WriteError> {
    drive.write_at(bytes, offset).map_err(|source| WriteError::Write { offset, source })
}

fn sync(drive: &mut impl Blocks, offset: u64) -> Result<(), WriteError> {
    drive.sync().map_err(|source| WriteError::Write { offset, source })
}

/// To whole blocks; an image ends within one at most.
fn round_up(length: u64) -> usize {
    usize::try_from(length.div_ceil(BLOCK) * BLOCK).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// A drive in memory that keeps less than it says.
    struct Memory {
        says: u64,
        kept: Vec<u8>,
        /// Whether what is out of its range lands at a lower place, or nowhere.
        wraps: bool,
        worn_at: Option<usize>,
    }

    impl Memory {
        fn new(says: u64, keeps: usize, wraps: bool) -> Self {
            Self { says, kept: vec![0xff; keeps], wraps, worn_at: None }
        }

        fn place(&self, offset: u64) -> Option<usize> {
            let offset = usize::try_from(offset).unwrap();
            match offset < self.kept.len() {
                true => Some(offset),
                false => self.wraps.then(|| offset % self.kept.len()),
            }
        }
    }

    impl Blocks for Memory {
        fn size(&self) -> u64 {
            self.says
        }

        fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
            for (index, byte) in bytes.iter().enumerate() {
                if let Some(place) = self.place(offset + index as u64) {
                    self.kept[place] = *byte;
                }
            }
            if let Some(worn) = self.worn_at {
                self.kept[worn] = 0x55;
            }
            Ok(())
        }

        fn sync(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn read_at(&mut self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
            for (index, byte) in bytes.iter_mut().enumerate() {
                *byte = self.place(offset + index as u64).map_or(0, |place| self.kept[place]);
            }
            Ok(())
        }
    }

    const MIB: usize = 1 << 20;

    fn image(length: usize) -> Vec<u8> {
        (0..length).map(|index| (index / 7 % 251) as u8).collect()
    }

    fn written(drive: &mut Memory, image: &[u8]) -> Result<Vec<(Phase, u64)>, WriteError> {
        let mut seen = Vec::new();
        let length = image.len() as u64;
        write(drive, &mut Cursor::new(image), length, |phase, done| seen.push((phase, done)))?;
        Ok(seen)
    }

    #[test]
    fn the_image_is_there_whole_and_progress_comes_to_its_end() {
        let image = image(9 * MIB + 1234);
        let mut drive = Memory::new(16 << 20, 16 * MIB, false);
        let seen = written(&mut drive, &image).unwrap();
        assert_eq!(drive.kept[..image.len()], image);
        assert_eq!(seen.first(), Some(&(Phase::Probing, 0)));
        assert_eq!(seen.last(), Some(&(Phase::Reading, image.len() as u64)));
        assert!(seen.contains(&(Phase::Writing, image.len() as u64)));
        assert!(seen.is_sorted_by_key(|(phase, done)| (*phase as u8, *done)), "{seen:?}");
        assert!(!drive.kept.windows(8).any(|window| window == b"landfall"));
    }

    #[test]
    fn a_drive_that_wraps_or_forgets_is_found_before_the_image_is_written() {
        for (says, wraps) in [(512, true), (512, false), (500, true), (500, false), (65, true)] {
            let mut drive = Memory::new(says << 20, 32 * MIB, wraps);
            let error = written(&mut drive, &image(MIB)).unwrap_err();
            assert!(matches!(error, WriteError::Lies { .. }), "{error}");
            assert!(error.hint().contains(&format!("{says}.0 MiB")), "{}", error.hint());
            assert_ne!(drive.kept[4096..MIB], image(MIB)[4096..]);
        }
    }

    #[test]
    fn a_byte_that_was_not_kept_is_named() {
        let mut drive = Memory::new(16 << 20, 16 * MIB, false);
        drive.worn_at = Some(5 * MIB + 3);
        let error = written(&mut drive, &image(6 * MIB)).unwrap_err();
        assert!(matches!(error, WriteError::Differs { offset } if offset == 5 * (1 << 20) + 3));
    }

    #[test]
    fn marks_lie_at_ends_and_at_powers_of_two() {
        assert_eq!(marks(10 * 4096 + 5), [0, 9 * 4096]);
        assert_eq!(marks(4096), [0]);
        assert!(marks(4000).is_empty());
        let mib = |mark: &u64| *mark as f64 / MIB as f64;
        let of_500: Vec<f64> = marks(500 << 20).iter().map(mib).map(f64::round).collect();
        assert_eq!(of_500, [0.0, 64.0, 125.0, 128.0, 250.0, 256.0, 500.0]);
    }
}
