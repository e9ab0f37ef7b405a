//! Writes an image to a drive, and verifies it by reading it back.
//!
//! Before the image, marks of one block are written all over the drive. A drive with a fake
//! capacity drops some of them, or stores several at the same place, and is refused. The marks
//! behind the image are read again after it: the drive's own cache may have hidden their loss,
//! or the image may have overwritten them.

use std::io::{self, Read, Seek, SeekFrom};

use crate::error::{Advice, Exit};
use crate::exec;
use crate::ui::text::size;

/// Bytes written or read at once; a multiple of every block size.
const CHUNK: usize = 4 << 20;
/// Length of a mark, and alignment of reads that bypass the page cache, in bytes.
const BLOCK: u64 = 4096;
/// Length of the part of the image that is written last, in bytes: it holds the partition
/// tables and boot code that firmware looks for.
const HEAD: u64 = 1 << 20;
/// Lowest offset of a mark, except 0: no fake drive has less capacity than that.
const NEAREST_MARK: u64 = 64 << 20;
/// Most bytes in the page cache before they are synced to the drive.
const SYNC_EVERY: u64 = 32 << 20;

/// Random access to a drive, with reads that bypass the page cache.
pub(crate) trait BlockDevice {
    /// Returns the capacity that the drive reports, in bytes.
    fn size(&self) -> u64;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Returns once everything written has reached the drive.
    fn sync(&mut self) -> io::Result<()>;
    /// Fills `bytes` from the drive itself, not from the page cache. Offset and length are
    /// multiples of 4096, unless the drive ends there.
    fn read_at(&mut self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
}

/// The part of the work that progress is reported for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FlashPhase {
    /// Writes and reads the marks that reveal a fake capacity.
    Probing,
    Writing,
    Verifying,
}

/// Why the drive does not hold the image. Offsets and sizes are in bytes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FlashError {
    #[error("the image cannot be read: {0}")]
    Image(#[source] io::Error),
    #[error("the drive cannot be written at {}: {source}", size(*offset))]
    Write { offset: u64, source: io::Error },
    #[error("the drive cannot be read at {}: {source}", size(*offset))]
    Read { offset: u64, source: io::Error },
    #[error("the drive reports a false capacity")]
    FakeCapacity { reported: u64, lost_at: u64 },
    #[error("the drive did not keep what was written")]
    Mismatch { offset: u64 },
    #[error("interrupted: the drive is only partly written and not bootable")]
    Interrupted,
    #[error("interrupted: the image is on the drive, but was not verified")]
    NotVerified,
}

impl Advice for FlashError {
    fn hint(&self) -> String {
        match self {
            Self::Image(_) => "Build it again: landfall iso build".into(),
            Self::Write { .. } | Self::Read { .. } => {
                "The drive may be worn out, or was unplugged. Try another port, then another drive."
                    .into()
            }
            Self::FakeCapacity { reported, lost_at } => format!(
                "It reports {}, but loses what is written at {}: the drive is a counterfeit. Use \
                 another.",
                size(*reported),
                size(*lost_at)
            ),
            Self::Mismatch { offset } => format!(
                "The first difference is at byte {offset}: the drive is worn out or a counterfeit. \
                 Use another."
            ),
            Self::Interrupted | Self::NotVerified => "Run the same command again.".into(),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Interrupted | Self::NotVerified => Exit::Interrupted,
            _ => Exit::Failed,
        }
    }
}

/// Writes the first `length` bytes of `image` to the beginning of `drive`, and verifies them.
/// `report` is called with how many bytes of a phase are done.
pub(crate) fn write(
    drive: &mut impl BlockDevice,
    image: &mut (impl Read + Seek),
    length: u64,
    mut report: impl FnMut(FlashPhase, u64),
) -> Result<(), FlashError> {
    report(FlashPhase::Probing, 0);
    let marks = marks(drive.size());
    write_marks(drive, &marks)?;
    let head = HEAD.min(length);
    // Should this be interrupted, the drive's previous system must not boot.
    put(drive, &vec![0; round_up(head)], 0)?;
    sync(drive, 0)?;
    copy(drive, image, head, length, &mut |done| report(FlashPhase::Writing, done - head))?;
    sync(drive, length)?;
    copy(drive, image, 0, head, &mut |_| ())?;
    sync(drive, head)?;
    report(FlashPhase::Writing, length);
    let behind: Vec<u64> = marks.into_iter().filter(|mark| *mark >= length).collect();
    check_marks(drive, &behind)?;
    verify(drive, image, length, &mut |done| report(FlashPhase::Verifying, done))?;
    // Also erases the backup of an old GPT, which is at the end of the drive.
    for &offset in &behind {
        put(drive, &vec![0; BLOCK as usize], offset)?;
    }
    sync(drive, length)
}

/// Returns the offsets of the marks. Those before the end of the drive, of its first half, of
/// its first quarter and so on are dropped by a drive that ends earlier; those at powers of two
/// collide on a drive that ignores the upper bits of an address.
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

/// Returns the block that marks `offset`; each offset has a different one.
fn mark_at(offset: u64) -> Vec<u8> {
    let line = format!("landfall was here: {offset:016x}\n");
    line.bytes().cycle().take(BLOCK as usize).collect()
}

fn write_marks(drive: &mut impl BlockDevice, marks: &[u64]) -> Result<(), FlashError> {
    let size = drive.size();
    for &offset in marks {
        drive
            .write_at(&mark_at(offset), offset)
            .map_err(|source| mark_error(source, offset, size))?;
    }
    drive.sync().map_err(|source| mark_error(source, size, size))?;
    check_marks(drive, marks)
}

fn check_marks(drive: &mut impl BlockDevice, marks: &[u64]) -> Result<(), FlashError> {
    let size = drive.size();
    let mut found = vec![0; BLOCK as usize];
    for &offset in marks {
        drive.read_at(&mut found, offset).map_err(|source| mark_error(source, offset, size))?;
        if found != mark_at(offset) {
            return Err(FlashError::FakeCapacity { reported: size, lost_at: offset });
        }
    }
    Ok(())
}

/// Explains a failure to write or read a mark: within the reported capacity, only a false one
/// fails, or a missing permission.
fn mark_error(source: io::Error, offset: u64, size: u64) -> FlashError {
    match source.kind() {
        io::ErrorKind::PermissionDenied => FlashError::Write { offset, source },
        _ => FlashError::FakeCapacity { reported: size, lost_at: offset },
    }
}

fn copy(
    drive: &mut impl BlockDevice,
    image: &mut (impl Read + Seek),
    from: u64,
    to: u64,
    report: &mut impl FnMut(u64),
) -> Result<(), FlashError> {
    image.seek(SeekFrom::Start(from)).map_err(FlashError::Image)?;
    let mut offset = from;
    let mut unsynced = 0;
    while offset < to {
        if exec::interrupted() {
            return Err(FlashError::Interrupted);
        }
        let chunk = read_chunk(image, to - offset)?;
        let length = chunk.len() as u64;
        let mut padded = chunk;
        padded.resize(round_up(length), 0);
        put(drive, &padded, offset)?;
        offset += length;
        unsynced += length;
        if unsynced >= SYNC_EVERY {
            // Counted as progress only once it is on the drive, not in the page cache.
            sync(drive, offset)?;
            unsynced = 0;
        }
        report(offset);
    }
    Ok(())
}

fn verify(
    drive: &mut impl BlockDevice,
    image: &mut (impl Read + Seek),
    length: u64,
    report: &mut impl FnMut(u64),
) -> Result<(), FlashError> {
    image.seek(SeekFrom::Start(0)).map_err(FlashError::Image)?;
    let mut offset = 0;
    let mut found = vec![0; CHUNK];
    while offset < length {
        if exec::interrupted() {
            return Err(FlashError::NotVerified);
        }
        let chunk = read_chunk(image, length - offset)?;
        let kept = &mut found[..round_up(chunk.len() as u64)];
        drive.read_at(kept, offset).map_err(|source| FlashError::Read { offset, source })?;
        let same = chunk.iter().zip(kept.iter()).take_while(|(a, b)| a == b).count();
        if same < chunk.len() {
            return Err(FlashError::Mismatch { offset: offset + same as u64 });
        }
        offset += chunk.len() as u64;
        report(offset);
    }
    Ok(())
}

/// Reads the next chunk of the image, the last one shortened to `left` bytes.
fn read_chunk(image: &mut impl Read, left: u64) -> Result<Vec<u8>, FlashError> {
    let mut chunk = vec![0; CHUNK.min(usize::try_from(left).unwrap_or(CHUNK))];
    image.read_exact(&mut chunk).map_err(FlashError::Image)?;
    Ok(chunk)
}

fn put(drive: &mut impl BlockDevice, bytes: &[u8], offset: u64) -> Result<(), FlashError> {
    drive.write_at(bytes, offset).map_err(|source| FlashError::Write { offset, source })
}

fn sync(drive: &mut impl BlockDevice, offset: u64) -> Result<(), FlashError> {
    drive.sync().map_err(|source| FlashError::Write { offset, source })
}

/// Rounds up to whole blocks; only the end of an image is within one.
fn round_up(length: u64) -> usize {
    usize::try_from(length.div_ceil(BLOCK) * BLOCK).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// A drive in memory that keeps less than it reports.
    struct Memory {
        reported: u64,
        kept: Vec<u8>,
        /// Whether what is out of its range lands at a lower place, or nowhere.
        wraps: bool,
        worn_at: Option<usize>,
    }

    impl Memory {
        fn new(reported: u64, keeps: usize, wraps: bool) -> Self {
            Self { reported, kept: vec![0xff; keeps], wraps, worn_at: None }
        }

        fn place(&self, offset: u64) -> Option<usize> {
            let offset = usize::try_from(offset).unwrap();
            match offset < self.kept.len() {
                true => Some(offset),
                false => self.wraps.then(|| offset % self.kept.len()),
            }
        }
    }

    impl BlockDevice for Memory {
        fn size(&self) -> u64 {
            self.reported
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

    fn written(drive: &mut Memory, image: &[u8]) -> Result<Vec<(FlashPhase, u64)>, FlashError> {
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
        assert_eq!(seen.first(), Some(&(FlashPhase::Probing, 0)));
        assert_eq!(seen.last(), Some(&(FlashPhase::Verifying, image.len() as u64)));
        assert!(seen.contains(&(FlashPhase::Writing, image.len() as u64)));
        assert!(seen.is_sorted_by_key(|(phase, done)| (*phase as u8, *done)), "{seen:?}");
        assert!(!drive.kept.windows(8).any(|window| window == b"landfall"));
    }

    #[test]
    fn a_drive_that_wraps_or_forgets_is_found_before_the_image_is_written() {
        for (reported, wraps) in [(512, true), (512, false), (500, true), (500, false), (65, true)]
        {
            let mut drive = Memory::new(reported << 20, 32 * MIB, wraps);
            let error = written(&mut drive, &image(MIB)).unwrap_err();
            assert!(matches!(error, FlashError::FakeCapacity { .. }), "{error}");
            assert!(error.hint().contains(&format!("{reported}.0 MiB")), "{}", error.hint());
            assert_ne!(drive.kept[4096..MIB], image(MIB)[4096..]);
        }
    }

    #[test]
    fn a_byte_that_was_not_kept_is_named() {
        let mut drive = Memory::new(16 << 20, 16 * MIB, false);
        drive.worn_at = Some(5 * MIB + 3);
        let error = written(&mut drive, &image(6 * MIB)).unwrap_err();
        assert!(matches!(error, FlashError::Mismatch { offset } if offset == 5 * (1 << 20) + 3));
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
