//! TODO.

pub mod customize;
pub mod flash;
pub mod host_keys;
pub mod wifi;
