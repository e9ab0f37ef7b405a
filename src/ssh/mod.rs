//! Connections to machines through the user's OpenSSH, with pinned host keys.
//!
//! An [`Endpoint`] is the address of a machine; [`scan_key`] finds out which host key it
//! presents, without trusting it; a [`Session`] is one OpenSSH master connection to one machine,
//! through which all commands and copies run; [`wait_for`] polls until the expected machine
//! answers. [`Askpass`] answers the prompts of ssh, and [`Session::root`] runs commands as root
//! for another login user.
//!
//! Invariant: every connection checks the host key, and a session accepts only the key that it
//! was opened with. Jump hosts are the operator's: their keys are checked by the operator's own
//! settings.

pub(crate) mod answers;
mod askpass;
mod compression;
mod endpoint;
mod error;
mod host_key;
pub(crate) mod key_scan;
pub(crate) mod key_watch;
pub mod known_hosts;
mod masters;
mod options;
pub(crate) mod privilege;
mod quote;
mod session;
pub(crate) mod store_socket;
mod wait;

pub use answers::AskpassResponder;
pub use askpass::{Askpass, started_by_ssh};
pub use endpoint::{Endpoint, EndpointError, reported_address};
pub use error::SshError;
pub use host_key::{HostKey, HostKeyError};
pub use key_scan::{check_key, identify, scan_key, scan_keys};
pub(crate) use key_watch::HostKeyWatcher;
pub use known_hosts::lookup::{Known, known, known_hosts_name, known_keys, user_known_hosts};
pub(crate) use masters::end_left_over;
pub use options::interactive;
pub use privilege::{PasswordProgram, Privilege};
pub(crate) use quote::{quote, remote_command};
pub use session::Session;
pub use wait::{Other, Seen, WaitError, wait_for};
