//! Looks at the installed machine and the remotes independently of landfall, and says for
//! each claim what was found.
//!
//! Invariant: every connection checks the host key against what was seen on the console
//! (installer) or scanned and proven by a recipient (installed system).

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::course::Journey;
use super::operator::{Operator, USER};
use super::repos::{CONFIG, HOST, SECRETS};
use crate::run::{output, quiet, wait_until};

/// Three to four times what a quiet machine needs.
const SCAN_DEADLINE: Duration = Duration::from_secs(60);
const REBOOT_DEADLINE: Duration = Duration::from_secs(400);

/// Something that must hold, and how it is looked at; gives what shows it.
#[derive(Clone, Copy)]
pub struct Proof {
    pub name: &'static str,
    pub look: fn(&Journey) -> Result<String>,
}

impl Proof {
    pub const fn new(name: &'static str, look: fn(&Journey) -> Result<String>) -> Proof {
        Proof { name, look }
    }

    pub fn of(&self, journey: &Journey) -> Claim {
        Claim { name: self.name, found: (self.look)(journey) }
    }
}

pub const HOST_KEY: Proof = Proof::new("host key", Journey::host_key);
pub const KNOWN_HOSTS: Proof = Proof::new("known_hosts", Journey::known_hosts);
pub const BOOT_ID: Proof = Proof::new("boot id", Journey::boot_id);
pub const DISK: Proof = Proof::new("disk", |journey| journey.encrypted_disk(2));
pub const GENERATION: Proof = Proof::new("generation", Journey::generation);
pub const SECRET: Proof = Proof::new("secret", Journey::secret);
pub const UNITS: Proof = Proof::new("units", Journey::units);
pub const REPOS: Proof = Proof::new("repos", Journey::repos_on_target);
pub const CONSOLE_LOGIN: Proof = Proof::new("console login", Journey::console_login);
pub const REMOTES: Proof = Proof::new("remotes", Journey::remotes);

/// What holds after the main journey.
pub const STAGED: [Proof; 10] = [
    HOST_KEY,
    KNOWN_HOSTS,
    BOOT_ID,
    DISK,
    GENERATION,
    SECRET,
    UNITS,
    REPOS,
    CONSOLE_LOGIN,
    REMOTES,
];

/// One claim and what shows that it holds.
pub struct Claim {
    pub name: &'static str,
    pub found: Result<String>,
}

/// A machine at the other end of ssh, under one host key.
pub struct Remote {
    port: u16,
    key: String,
    known_hosts: PathBuf,
}

impl Remote {
    /// Takes the ed25519 host key that answers at this port, without trusting it yet. A
    /// console that shows keys may be a moment ahead of the server that has them.
    pub fn scan(operator: &Operator, port: u16, name: &str) -> Result<Remote> {
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
        Ok(Remote { port, key, known_hosts })
    }

    pub fn fingerprint(&self) -> Result<String> {
        let list = output(Command::new("ssh-keygen").arg("-lf").arg(&self.known_hosts))?;
        let fingerprint = list.split(' ').nth(1).context("ssh-keygen printed no fingerprint")?;
        Ok(fingerprint.to_string())
    }

    /// Runs a command there and gives its output without the last newline.
    pub fn run(&self, operator: &Operator, user: &str, command: &str) -> Result<String> {
        let text = output(&mut self.ssh(operator, user, command))?;
        Ok(text.trim_end().to_string())
    }

    /// `algorithm base64` of the host key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// [`Remote::run`] for whoever has the login key in this file.
    pub fn run_with_key(
        &self,
        operator: &Operator,
        user: &str,
        command: &str,
        login_key: &Path,
    ) -> Result<String> {
        Ok(output(&mut self.ssh_as(operator, user, command, login_key))?.trim_end().to_string())
    }

    fn ssh(&self, operator: &Operator, user: &str, command: &str) -> Command {
        self.ssh_as(operator, user, command, &operator.ssh_key())
    }

    fn ssh_as(&self, operator: &Operator, user: &str, command: &str, login_key: &Path) -> Command {
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

    /// [`Remote::run`] with a line of standard input.
    pub fn run_with_input(
        &self,
        operator: &Operator,
        user: &str,
        command: &str,
        line: &str,
    ) -> Result<String> {
        let mut child = self
            .ssh(operator, user, command)
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

    pub fn boot_id(&self, operator: &Operator, user: &str) -> Result<String> {
        self.run(operator, user, "cat /proc/sys/kernel/random/boot_id")
    }
}

impl Journey {
    /// The key that answers is the one whose recipient opens the host's secrets.
    fn host_key(&self) -> Result<String> {
        let remote = self.installed()?;
        let file = self.operator.path("scanned.pub");
        fs::write(&file, format!("{}\n", remote.key))?;
        let recipient = output(self.operator.landfall()?.args(["keys", "to-age"]).arg(&file))?
            .trim()
            .to_string();
        let clone = self.clone_of(SECRETS, &self.repos.secrets)?;
        let encrypted = fs::read_to_string(clone.join(format!("sops/{HOST}.yaml")))?;
        ensure!(
            encrypted.contains(&recipient),
            "{recipient}, the recipient of the key that answers, is not in sops/{HOST}.yaml"
        );
        Ok(format!("{} = {recipient}", remote.fingerprint()?))
    }

    /// Who now runs plain ssh is not asked anything.
    fn known_hosts(&self) -> Result<String> {
        let remote = self.installed()?;
        let known = fs::read_to_string(self.operator.path(".ssh/known_hosts"))?;
        let name = format!("[127.0.0.1]:{}", remote.port);
        let fits = |line: &str| line.starts_with(&name) && line.contains(&remote.key);
        ensure!(known.lines().any(fits), "the operator's known_hosts lacks {name} with this key");
        Ok(format!("{name} has this key"))
    }

    fn boot_id(&self) -> Result<String> {
        let remote = self.installed()?;
        let now = remote.boot_id(&self.operator, USER)?;
        ensure!(now != self.installer_boot_id, "the installer's boot {now} still runs");
        Ok(format!("{} -> {now}", self.installer_boot_id))
    }

    /// The root is behind LUKS, and a passphrase was typed at each of so many boots.
    pub fn encrypted_disk(&self, boots: u32) -> Result<String> {
        let source = self.installed()?.run(&self.operator, USER, "findmnt -no SOURCE /")?;
        ensure!(source.starts_with("/dev/mapper/"), "the root is {source}, not behind LUKS");
        let typed = self.target.typed();
        ensure!(typed >= boots, "the passphrase was typed {typed} times, not at {boots} boots");
        Ok(format!("{source}, passphrase typed at {typed} boots"))
    }

    /// The root is a file system of this type, straight on a partition.
    pub fn root_is(&self, kind: &str) -> Result<String> {
        let look = "findmnt -no FSTYPE,SOURCE /";
        let found = self.installed()?.run(&self.operator, USER, look)?;
        let plain = found.starts_with(kind) && !found.contains("/dev/mapper/");
        ensure!(plain, "the root is {found}, not {kind} on a partition");
        Ok(found.split_whitespace().collect::<Vec<_>>().join(" on "))
    }

    /// The age key file is there for root alone, and is the identity of the host key.
    pub fn age_key(&self) -> Result<String> {
        let file = "/var/lib/sops-nix/key.txt";
        let look = format!("stat -c '%a %U' {file} && grep -c AGE-SECRET-KEY- {file}");
        let found = self.as_root(&look)?;
        ensure!(found == "600 root\n1", "{file} is {found}");
        Ok(format!("{file}, mode 600, root's"))
    }

    /// After one more boot a file that nothing keeps is gone, one in the persist folder is
    /// still there, and host key and secrets are what they were.
    pub fn next_boot_forgets(&self) -> Result<String> {
        self.as_root("echo kept > /persist/kept && echo lost > /lost && sync")?;
        self.reboot()?;
        let look = "cat /persist/kept; test -e /lost && echo lost || echo gone";
        let found = self.as_root(look)?;
        ensure!(found == "kept\ngone", "after the boot: {found}");
        self.secret()?;
        Ok("/lost is gone, /persist/kept is there; host key and secret as before".to_string())
    }

    /// Reboots the installed system, and waits until it answers with the same host key.
    pub fn reboot(&self) -> Result<()> {
        let remote = self.installed()?;
        let before = remote.boot_id(&self.operator, USER)?;
        // The answer may be lost with the connection.
        let _ = self.as_root("systemctl reboot");
        let again = || remote.boot_id(&self.operator, USER).is_ok_and(|now| now != before);
        ensure!(wait_until(REBOOT_DEADLINE, again)?, "it did not come back");
        // PAM lets nobody in before the boot is done.
        let up = "systemctl is-system-running --wait || true";
        remote.run(&self.operator, USER, up).map(drop)
    }

    /// Runs a command as root on the installed system, with the user's password.
    pub fn as_root(&self, command: &str) -> Result<String> {
        let remote = self.installed()?;
        let sudo = format!("sudo -S -p '' sh -c {}", shell_word(command));
        remote.run_with_input(&self.operator, USER, &sudo, &self.known.password)
    }

    /// What booted is what runs, and what a clean clone of the pushed commit evaluates to.
    fn generation(&self) -> Result<String> {
        let remote = self.installed()?;
        let links =
            "readlink -f /run/booted-system /run/current-system /nix/var/nix/profiles/system";
        let links = remote.run(&self.operator, USER, links)?;
        let mut paths = links.lines();
        let booted = paths.next().context("no booted system")?.to_string();
        ensure!(paths.all(|path| path == booted), "booted, current and profile differ:\n{links}");
        let clone = self.clone_of(CONFIG, &self.repos.config)?;
        let attribute = format!(
            "git+file://{}#nixosConfigurations.{HOST}.config.system.build.toplevel",
            clone.display()
        );
        let evaluated = output(self.operator.command("nix").args(["eval", "--raw", &attribute]))?;
        ensure!(evaluated == booted, "a clean clone gives {evaluated}, but {booted} runs");
        Ok(booted)
    }

    fn secret(&self) -> Result<String> {
        let remote = self.installed()?;
        let value = remote.run(&self.operator, USER, "cat /run/secrets/sample")?;
        ensure!(
            value == self.known.sample,
            "/run/secrets/sample is not the value that was encrypted"
        );
        Ok("/run/secrets/sample equals the value that was encrypted".to_string())
    }

    fn units(&self) -> Result<String> {
        let remote = self.installed()?;
        let failed = "systemctl list-units --failed --no-legend --plain";
        let failed = remote.run(&self.operator, USER, failed)?;
        ensure!(failed.is_empty(), "failed: {failed}");
        Ok("none has failed".to_string())
    }

    fn repos_on_target(&self) -> Result<String> {
        let remote = self.installed()?;
        let local = self.operator.git(&self.repos.config, &["rev-parse", "HEAD"])?;
        let find = "find ~ -maxdepth 3 -name nix-config -type d | head -n 1";
        let dir = remote.run(&self.operator, USER, find)?;
        ensure!(!dir.is_empty(), "no nix-config in the home of {USER}");
        let there = remote.run(&self.operator, USER, &format!("git -C {dir} rev-parse HEAD"))?;
        ensure!(there == local.trim(), "{dir} is at {there}, the operator's at {}", local.trim());
        Ok(format!("{dir} at {there}"))
    }

    /// The password's hash came out of a secret.
    fn console_login(&self) -> Result<String> {
        let name = self.target.console_login(USER, &self.known.password)?;
        ensure!(name == USER, "the console logged {name} in");
        Ok(format!("{name}, with the password from the secret"))
    }

    fn remotes(&self) -> Result<String> {
        let mut found = Vec::new();
        for (name, checkout) in [(CONFIG, &self.repos.config), (SECRETS, &self.repos.secrets)] {
            let local = self.operator.git(checkout, &["rev-parse", "HEAD"])?;
            let remote = self.forge.head(name)?;
            ensure!(
                remote == local.trim(),
                "{name}: the remote has {remote}, here is {}",
                local.trim()
            );
            found.push(format!("{name} {}", &remote[..12]));
        }
        let clone = self.clone_of(CONFIG, &self.repos.config)?;
        let hardware = format!("hosts/nixos/{HOST}/hardware-configuration.nix");
        ensure!(clone.join(&hardware).exists(), "{hardware} was not pushed");
        Ok(found.join(", "))
    }

    /// A fresh clone from the forge, never from the checkout.
    pub fn clone_of(&self, name: &str, checkout: &Path) -> Result<PathBuf> {
        let clone = self.operator.path(&format!("clone/{name}"));
        if !clone.exists() {
            let url = self.operator.git(checkout, &["remote", "get-url", "origin"])?;
            let mut git = self.operator.command("git");
            quiet(git.args(["clone", "--quiet", url.trim()]).arg(&clone))?;
        }
        Ok(clone)
    }
}

/// A word for a POSIX shell.
fn shell_word(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
