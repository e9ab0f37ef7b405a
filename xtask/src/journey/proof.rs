//! Looks at the installed machine and the remotes independently of landfall, and says for
//! each claim what was found.
//!
//! Invariant: every connection checks the host key against what was seen on the console
//! (installer) or scanned and proven by a recipient (installed system).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::operator::{Operator, USER};
use super::repos::{CONFIG, HOST, KnownSecrets, Repos, SECRETS};
use super::target::Target;
use crate::forge::Forge;
use crate::run::{output, quiet};

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
    /// Takes the ed25519 host key that answers at this port, without trusting it yet.
    pub fn scan(operator: &Operator, port: u16, name: &str) -> Result<Remote> {
        let port_text = port.to_string();
        let scanned = output(operator.command("ssh-keyscan").args([
            "-T",
            "20",
            "-t",
            "ed25519",
            "-p",
            &port_text,
            "127.0.0.1",
        ]))?;
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
        let text = output(
            operator
                .command("ssh")
                .args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"])
                .args(["-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=30", "-i"])
                .arg(operator.ssh_key())
                .arg("-o")
                .arg(format!("UserKnownHostsFile={}", self.known_hosts.display()))
                .args(["-p", &self.port.to_string(), &format!("{user}@127.0.0.1"), command]),
        )?;
        Ok(text.trim_end().to_string())
    }

    pub fn boot_id(&self, operator: &Operator, user: &str) -> Result<String> {
        self.run(operator, user, "cat /proc/sys/kernel/random/boot_id")
    }
}

/// All that the proof looks at.
pub struct Scene<'a> {
    pub operator: &'a Operator,
    pub forge: &'a Forge,
    pub repos: &'a Repos,
    pub known: &'a KnownSecrets,
    pub target: &'a Target,
    pub installer_boot_id: &'a str,
    /// How often the passphrase was typed on the console.
    pub typed: u32,
}

impl Scene<'_> {
    /// Checks every claim; those after a failed scan of the host key fail with it.
    pub fn prove(&self) -> Vec<Claim> {
        let installed = Remote::scan(self.operator, self.target.port, "installed");
        let with = |claim: &dyn Fn(&Remote) -> Result<String>| match &installed {
            Ok(remote) => claim(remote),
            Err(error) => bail!("{error:#}"),
        };
        vec![
            Claim { name: "host key", found: with(&|remote| self.host_key(remote)) },
            Claim { name: "known_hosts", found: with(&|remote| self.known_hosts(remote)) },
            Claim { name: "boot id", found: with(&|remote| self.boot_id(remote)) },
            Claim { name: "disk", found: with(&|remote| self.disk(remote)) },
            Claim { name: "generation", found: with(&|remote| self.generation(remote)) },
            Claim { name: "secret", found: with(&|remote| self.secret(remote)) },
            Claim { name: "units", found: with(&|remote| self.units(remote)) },
            Claim { name: "repos", found: with(&|remote| self.repos_on_target(remote)) },
            Claim { name: "console login", found: self.console_login() },
            Claim { name: "remotes", found: self.remotes() },
        ]
    }

    /// The key that answers is the one whose recipient opens the host's secrets.
    fn host_key(&self, remote: &Remote) -> Result<String> {
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
    fn known_hosts(&self, remote: &Remote) -> Result<String> {
        let known = fs::read_to_string(self.operator.path(".ssh/known_hosts"))?;
        let name = format!("[127.0.0.1]:{}", remote.port);
        let fits = |line: &str| line.starts_with(&name) && line.contains(&remote.key);
        ensure!(known.lines().any(fits), "the operator's known_hosts lacks {name} with this key");
        Ok(format!("{name} has this key"))
    }

    fn boot_id(&self, remote: &Remote) -> Result<String> {
        let now = remote.boot_id(self.operator, USER)?;
        ensure!(now != self.installer_boot_id, "the installer's boot {now} still runs");
        Ok(format!("{} -> {now}", self.installer_boot_id))
    }

    /// The root is behind LUKS, and a passphrase was typed at each boot.
    fn disk(&self, remote: &Remote) -> Result<String> {
        let source = remote.run(self.operator, USER, "findmnt -no SOURCE /")?;
        ensure!(source.starts_with("/dev/mapper/"), "the root is {source}, not behind LUKS");
        ensure!(self.typed >= 2, "the passphrase was typed {} times, not at two boots", self.typed);
        Ok(format!("{source}, passphrase typed at {} boots", self.typed))
    }

    /// What booted is what runs, and what a clean clone of the pushed commit evaluates to.
    fn generation(&self, remote: &Remote) -> Result<String> {
        let links =
            "readlink -f /run/booted-system /run/current-system /nix/var/nix/profiles/system";
        let links = remote.run(self.operator, USER, links)?;
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

    fn secret(&self, remote: &Remote) -> Result<String> {
        let value = remote.run(self.operator, USER, "cat /run/secrets/sample")?;
        ensure!(
            value == self.known.sample,
            "/run/secrets/sample is not the value that was encrypted"
        );
        Ok("/run/secrets/sample equals the value that was encrypted".to_string())
    }

    fn units(&self, remote: &Remote) -> Result<String> {
        let failed = "systemctl list-units --failed --no-legend --plain";
        let failed = remote.run(self.operator, USER, failed)?;
        ensure!(failed.is_empty(), "failed: {failed}");
        Ok("none has failed".to_string())
    }

    fn repos_on_target(&self, remote: &Remote) -> Result<String> {
        let local = self.operator.git(&self.repos.config, &["rev-parse", "HEAD"])?;
        let find = "find ~ -maxdepth 3 -name nix-config -type d | head -n 1";
        let dir = remote.run(self.operator, USER, find)?;
        ensure!(!dir.is_empty(), "no nix-config in the home of {USER}");
        let there = remote.run(self.operator, USER, &format!("git -C {dir} rev-parse HEAD"))?;
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
    fn clone_of(&self, name: &str, checkout: &Path) -> Result<PathBuf> {
        let clone = self.operator.path(&format!("clone/{name}"));
        if !clone.exists() {
            let url = self.operator.git(checkout, &["remote", "get-url", "origin"])?;
            let mut git = self.operator.command("git");
            quiet(git.args(["clone", "--quiet", url.trim()]).arg(&clone))?;
        }
        Ok(clone)
    }
}
