//! An image goes onto a drive: only onto the drive that was meant, and whole.
//!
//! `drives` knows what is on this machine and what must not be overwritten; `write` writes
//! and reads back. The first part of the image is written last, so that a drive on which
//! writing was cut off does not start a machine.

pub mod device;
pub mod drives;
pub mod write;

pub use device::{Device, OpenError};
pub use drives::{Drive, DriveError, Refused};
pub use write::{Blocks, Phase, WriteError, write};
