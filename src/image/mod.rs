//! Installer images: customized copies with their own host key, authorized keys and Wi-Fi
//! networks, and the drives they are written to.
//!
//! Used by `landfall iso build` and `landfall iso flash`; `host_keys` later tells the step
//! that connects which image answers.
//!
//! Invariant: an image that nix built is never changed. A copy differs from it only inside
//! the region that the image reserves for customization.

pub(crate) mod customize;
pub(crate) mod flash;
pub mod host_keys;
pub(crate) mod wifi;
