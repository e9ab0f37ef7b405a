//! A second sshd, through which the machine is reached.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::sshd::{Sshd, free_port};
use crate::process::output;

/// A running jump host; dropping it ends the server.
pub(crate) struct JumpHost {
    _server: Sshd,
    /// The option with which ssh goes through it.
    pub(crate) ssh_option: String,
}

impl JumpHost {
    /// Starts a jump host with files in `dir`, which lets the key in the file `login_key` in.
    /// The ssh that goes through it knows its host key.
    pub(crate) fn start(dir: &Path, login_key: &Path) -> Result<JumpHost> {
        let more = "ForceCommand echo nobody works here";
        let public = fs::read_to_string(login_key.with_extension("pub"))?;
        let server = Sshd::start(dir, free_port()?, &public, more)?;
        let user = output(Command::new("id").arg("-un"))?;
        let (known, config) = (dir.join("known_hosts"), dir.join("ssh_config"));
        fs::write(&known, server.known_hosts_line()?)?;
        let settings = format!(
            "Host jump\n HostName 127.0.0.1\n Port {}\n User {}\n IdentityFile {}\n \
             IdentitiesOnly yes\n UserKnownHostsFile {}\n StrictHostKeyChecking yes\n",
            server.port(),
            user.trim(),
            login_key.display(),
            known.display()
        );
        fs::write(&config, settings)?;
        let ssh_option = format!("ProxyCommand=ssh -F {} -W %h:%p jump", config.display());
        Ok(JumpHost { _server: server, ssh_option })
    }
}
