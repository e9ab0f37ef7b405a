//! Writes an installer image to a removable drive of this machine.
//!
//! `drives` lists the drives and refuses those that must not be overwritten, `device` opens
//! one exclusively, `write` writes the image and verifies it.
//!
//! Invariants: a drive that is in use is never opened for writing; the first MiB of the
//! image is written last, so that an interrupted write leaves a drive that does not boot.

pub(crate) mod device;
pub(crate) mod drives;
pub(crate) mod write;

pub(crate) use device::Device;
pub(crate) use drives::{Drive, DriveError, InternalDrives};
pub(crate) use write::{BlockDevice, FlashPhase, write};
