//! Copies of the installer's image, and drives that one is written to.

mod customize;
mod flash;
mod wifi;
