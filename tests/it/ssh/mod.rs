//! Connections to a real sshd.

mod hostile;
mod known_hosts;
mod login;
mod root;
mod session;
