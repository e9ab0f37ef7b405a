//! Connections to machines: OpenSSH as the user has it, with pinned host keys.
//!
//! [`Endpoint`] says how a machine is reached; [`scan_key`] learns which host
//! key answers there without trusting it; [`Session`] is one OpenSSH master for
//! one machine and one boot, through which everything else runs; [`wait_for`]
//! polls until the machine that is expected answers.
//!
//! [`Askpass`] answers what ssh asks on the way, [`Session::root`] runs commands as root
//! where another user logs in.
//!
//! Invariant: no connection is made without the check of the host key, and the
//! only key that a session accepts is the one that it was opened with. Jump
//! hosts are the operator's own: their keys are checked by their own settings.

pub mod answers;
mod askpass;
mod compression;
mod endpoint;
mod error;
mod host_key;
pub mod key_scan;
pub mod key_watch;
pub mod known_hosts;
mod masters;
mod options;
pub mod privilege;
mod quote;
mod session;
pub mod store_socket;
mod wait;

pub use answers::AskpassResponder;
pub use askpass::{Askpass, started_by_ssh};
pub use endpoint::{Endpoint, EndpointError};
pub use error::SshError;
pub use host_key::{HostKey, HostKeyError};
pub use key_scan::{check_key, identify, scan_key, scan_keys};
pub use key_watch::HostKeyWatcher;
pub use known_hosts::lookup::{Known, known, known_hosts_name, known_keys, user_known_hosts};
pub use masters::end_left_over;
pub use options::interactive;
pub use privilege::{PasswordProgram, Privilege};
pub use quote::{quote, remote_command};
pub use session::Session;
pub use wait::{Other, Seen, WaitError, wait_for};
