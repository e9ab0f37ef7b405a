//! Servers on loopback that a journey needs: a git forge, a jump host, an impostor's sshd.

mod forge;
mod jump;
mod sshd;

pub(crate) use forge::Forge;
pub(crate) use jump::JumpHost;
pub(crate) use sshd::{Sshd, free_port};
