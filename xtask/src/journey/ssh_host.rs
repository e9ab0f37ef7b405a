//! Commands on the machine, without landfall.
//!
//! Invariant: every connection checks the host key against the one that was scanned; whoever
//! scans it compares it with what the console shows, or with what landfall has prepared.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::operator::Operator;
use crate::process::{output, wait_until};

/// Three to four times what a quiet machine needs.
const SCAN_DEADLINE: Duration = Duration::from_secs(60);

/// A machine at the other end of ssh, and the one host key that it is known by.
pub(crate) struct SshHost {
    pub(crate) port: u16,
    key: String,
    known_hosts: PathBuf,
}

impl SshHost {
    /// Takes the ed25519 host key that answers at this port, without trusting it yet. A
    /// console that shows keys may be a moment ahead of the server that has them.
    pub(crate) fn scan(operator: &Operator, port: u16, name: &str) -> Result<SshHost> {
        let port_text = port.to_string();
        let scan = || {
            let words = ["-T", "20", "-t", "ed25519", "-p", &port_text, "127.0.0.1"];
            output(operator.command("ssh-keyscan").args(words))
        };
        let mut scanned = scan();
        wait_until(SCAN_DEADLINE, || {
            if scanned.is_err() {
                std::thread::sleep(Duration::from_secs(1));
                scanned = scan();
            }
            scanned.is_ok()
        })?;
        let scanned = scanned?;
        let line = scanned.lines().find(|line| !line.starts_with('#'));
        let line = line.with_context(|| format!("no host key answers on port {port}"))?;
        let key = line.split(' ').skip(1).take(2).collect::<Vec<_>>().join(" ");
        let known_hosts = operator.path(&format!(".ssh/known_hosts_{name}"));
        fs::write(&known_hosts, format!("{line}\n"))?;
        Ok(SshHost { port, key, known_hosts })
    }

    /// Returns the fingerprint of the host key.
    pub(crate) fn fingerprint(&self) -> Result<String> {
        fingerprint_of(&self.known_hosts)
    }

    /// Runs a command there and gives its output without the last newline.
    pub(crate) fn run(&self, operator: &Operator, user: &str, command: &str) -> Result<String> {
        self.run_with_key(operator, user, command, &operator.ssh_key())
    }

    /// Returns the host key, as `algorithm base64`.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Runs a command as [`SshHost::run`] does, for whoever has the login key in this file.
    pub(crate) fn run_with_key(
        &self,
        operator: &Operator,
        user: &str,
        command: &str,
        login_key: &Path,
    ) -> Result<String> {
        Ok(output(&mut self.ssh(operator, user, command, login_key))?.trim_end().to_string())
    }

    fn ssh(&self, operator: &Operator, user: &str, command: &str, login_key: &Path) -> Command {
        let mut ssh = operator.command("ssh");
        ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"])
            // A machine that reboots does not say goodbye to who is connected.
            .args(["-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3"])
            .args(["-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=30", "-i"])
            .arg(login_key)
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", self.known_hosts.display()))
            .args(["-p", &self.port.to_string(), &format!("{user}@127.0.0.1"), command]);
        ssh
    }

    /// Runs a command as [`SshHost::run`] does, with a line of standard input.
    pub(crate) fn run_with_input(
        &self,
        operator: &Operator,
        user: &str,
        command: &str,
        line: &str,
    ) -> Result<String> {
        let mut child = self
            .ssh(operator, user, command, &operator.ssh_key())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start ssh")?;
        let mut input = child.stdin.take().context("ssh takes no input")?;
        writeln!(input, "{line}")?;
        drop(input);
        let done = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&done.stdout).trim_end().to_string();
        let errors = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "`{command}` failed on the target: {text}{errors}");
        Ok(text)
    }

    /// Returns the id of the machine's present boot.
    pub(crate) fn boot_id(&self, operator: &Operator, user: &str) -> Result<String> {
        self.run(operator, user, "cat /proc/sys/kernel/random/boot_id")
    }
}

/// Returns the fingerprint of the key in a file, or of the one line of a known_hosts file.
pub(crate) fn fingerprint_of(file: &Path) -> Result<String> {
    let list = output(Command::new("ssh-keygen").arg("-lf").arg(file))?;
    let fingerprint = list.split(' ').nth(1).context("ssh-keygen printed no fingerprint")?;
    Ok(fingerprint.to_string())
}
