//! A second sshd on loopback, through which the machine is reached.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::operator::Operator;
use crate::forge::{SSHD, free_port, make_privilege_separation_folder};
use crate::run::{output, quiet, tethered, wait_until};

const START_DEADLINE: Duration = Duration::from_secs(30);

/// A running jump host; dropping it ends the server.
pub struct Jump {
    server: Child,
    /// The option with which the operator's ssh goes through it.
    pub option: String,
}

impl Jump {
    /// Starts it with files in `dir`. The operator's ssh knows its key and has one for it.
    pub fn start(dir: &Path, operator: &Operator) -> Result<Jump> {
        fs::create_dir_all(dir)?;
        let at = |name: &str| dir.join(name).display().to_string();
        fs::write(dir.join("authorized_keys"), operator.public_key()?)?;
        quiet(Command::new("ssh-keygen").args([
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-f",
            &at("key"),
        ]))?;
        let port = free_port()?;
        fs::write(
            dir.join("sshd_config"),
            format!(
                "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\n\
                 PidFile none\nAuthenticationMethods publickey\nUsePAM no\nStrictModes no\n\
                 PermitRootLogin prohibit-password\nMaxStartups 100\n\
                 ForceCommand echo nobody works here\n",
                at("key"),
                at("authorized_keys")
            ),
        )?;
        let user = output(Command::new("id").arg("-un"))?;
        let public = fs::read_to_string(dir.join("key.pub"))?;
        fs::write(dir.join("known_hosts"), format!("[127.0.0.1]:{port} {public}"))?;
        fs::write(
            dir.join("ssh_config"),
            format!(
                "Host jump\n HostName 127.0.0.1\n Port {port}\n User {}\n IdentityFile {}\n \
                 IdentitiesOnly yes\n UserKnownHostsFile {}\n StrictHostKeyChecking yes\n",
                user.trim(),
                operator.ssh_key().display(),
                at("known_hosts")
            ),
        )?;
        make_privilege_separation_folder()?;
        let server = tethered(SSHD)
            .args(["-D", "-f", &at("sshd_config"), "-E", &at("sshd.log")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start the jump host's sshd")?;
        let option = format!("ProxyCommand=ssh -F {} -W %h:%p jump", at("ssh_config"));
        let jump = Jump { server, option };
        let up = wait_until(START_DEADLINE, || TcpStream::connect(("127.0.0.1", port)).is_ok())?;
        ensure!(up, "the jump host's sshd does not listen");
        Ok(jump)
    }
}

impl Drop for Jump {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
