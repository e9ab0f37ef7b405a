//! Locks between landfalls: advisory, on an open file, given back by the kernel however
//! the process ends.

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// What a look at a run, as `status` takes it, may hold a lock for.
const PASSING: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(20);

/// Why a lock was not got.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Another process has it.
    Held,
    /// The file system has no locks, or refuses them.
    Unsupported(io::Error),
}

/// Takes the lock of `file` for this process alone; waits a moment for one that is held.
pub(crate) fn exclusive(file: &File) -> Result<(), LockError> {
    let until = Instant::now() + PASSING;
    loop {
        match try_exclusive(file) {
            Err(LockError::Held) if Instant::now() < until => std::thread::sleep(TICK),
            result => return result,
        }
    }
}

/// Takes the lock of `file`, or says at once why not.
pub(crate) fn try_exclusive(file: &File) -> Result<(), LockError> {
    take(file, FlockOperation::NonBlockingLockExclusive)
}

/// Whether another process has the lock of `file` for itself.
pub(crate) fn is_held(file: &File) -> bool {
    matches!(take(file, FlockOperation::NonBlockingLockShared), Err(LockError::Held))
}

fn take(file: &File, operation: FlockOperation) -> Result<(), LockError> {
    loop {
        return match flock(file, operation) {
            Ok(()) => Ok(()),
            Err(Errno::INTR) => continue,
            Err(Errno::WOULDBLOCK) => Err(LockError::Held),
            Err(errno) => Err(LockError::Unsupported(errno.into())),
        };
    }
}
