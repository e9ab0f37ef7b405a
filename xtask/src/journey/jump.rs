//! A second sshd, through which the machine is reached.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::operator::Operator;
use crate::run::output;
use crate::sshd::{Sshd, free_port};

/// A running jump host.
pub struct Jump {
    _server: Sshd,
    /// The option with which the operator's ssh goes through it.
    pub option: String,
}

impl Jump {
    /// Starts it with files in `dir`. The operator's ssh knows its key and has one for it.
    pub fn start(dir: &Path, operator: &Operator) -> Result<Jump> {
        let more = "ForceCommand echo nobody works here";
        let server = Sshd::start(dir, free_port()?, &operator.public_key()?, more)?;
        let user = output(Command::new("id").arg("-un"))?;
        let (known, config) = (dir.join("known_hosts"), dir.join("ssh_config"));
        fs::write(&known, server.known_hosts_line()?)?;
        fs::write(
            &config,
            format!(
                "Host jump\n HostName 127.0.0.1\n Port {}\n User {}\n IdentityFile {}\n \
                 IdentitiesOnly yes\n UserKnownHostsFile {}\n StrictHostKeyChecking yes\n",
                server.port(),
                user.trim(),
                operator.ssh_key().display(),
                known.display()
            ),
        )?;
        let option = format!("ProxyCommand=ssh -F {} -W %h:%p jump", config.display());
        Ok(Jump { _server: server, option })
    }
}
