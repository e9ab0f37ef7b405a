//! Installer images: a copy with a host key, guests and Wi-Fi of its own, and the drive
//! that it is written to.
//!
//! An image that was built is never changed. What a copy is given lies in a region that
//! the image reserves, so that its other bytes stay those that were built.

pub mod customize;
pub mod flash;
pub mod host_keys;
pub mod wifi;
