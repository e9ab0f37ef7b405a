//! A journey while it is made: the operator, the forge, the repositories and the machine, and
//! what actions and claims do with them.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::image;
use super::operator::{Operator, USER};
use super::repos::{HOST, HostChoices, RandomSecrets, Repos};
use super::servers::{Forge, JumpHost, free_port};
use super::setup::{InitialSystem, Setup};
use super::ssh_host::SshHost;
use super::status::{self, Step};
use super::target::Target;
use crate::cache::Cache;
use crate::lab::foreign;
use crate::process::{output, quiet, wait_until};
use crate::vm::Spec;

const REBOOT_DEADLINE: Duration = Duration::from_secs(400);

/// Everything that a journey has to do with.
pub(crate) struct Journey {
    pub(crate) setup: Setup,
    pub(crate) operator: Operator,
    pub(crate) forge: Forge,
    pub(crate) repos: Repos,
    pub(crate) secrets: RandomSecrets,
    pub(crate) target: Target,
    jump_host: Option<JumpHost>,
    /// The installer, under the key that the console shows.
    pub(crate) installer: SshHost,
    pub(crate) installer_boot_id: String,
    installed: OnceCell<SshHost>,
    pub(crate) start: Instant,
}

impl Journey {
    /// Prepares everything up to an installer that answers, with files in the folder `dir`.
    pub(crate) fn prepare(cache: &Cache, dir: &Path, setup: &Setup) -> Result<Journey> {
        let start = Instant::now();
        let operator = Operator::new(&dir.join("home"))?;
        let forge = Forge::start(&dir.join("forge"), &operator.public_key()?)?;
        operator.trust_forge(&forge.known_hosts_line()?)?;
        let secrets = RandomSecrets::draw()?;
        let repos = timed("repositories", start, || {
            published_repos(cache, &operator, &forge, &secrets, setup)
        })?;
        let mut spec = machine_spec(setup)?;
        match setup.initial_system {
            InitialSystem::Installer => {
                let image =
                    timed("installer image", start, || boot_image(&operator, &repos, setup));
                *if setup.on_stick { &mut spec.stick } else { &mut spec.iso } = Some(image?);
            }
            InitialSystem::Debian => {
                spec.root_key = Some(operator.public_key()?);
                let first = spec.disks.first_mut().context("the journey has no disk")?;
                first.holds = Some(foreign::image(cache));
            }
        }
        let jump_host = setup.connection.through_jump_host;
        let jump_host = jump_host
            .then(|| JumpHost::start(&dir.join("jump"), &operator.ssh_key()))
            .transpose()?;
        let target =
            timed("machine on", start, || Target::start(cache, dir, &spec, &secrets.passphrase))?;
        let shown = timed("machine up", start, || target.installer_fingerprint())?;
        let installer = SshHost::scan(&operator, target.port, "installer")?;
        let answering = installer.fingerprint()?;
        ensure!(answering == shown, "{answering} answers, but the console shows {shown}");
        let installer_boot_id = installer.boot_id(&operator, setup.connection.key_user)?;
        target.type_passphrases()?;
        let (setup, installed) = (setup.clone(), OnceCell::new());
        Ok(Journey {
            setup,
            operator,
            forge,
            repos,
            secrets,
            target,
            jump_host,
            installer,
            installer_boot_id,
            installed,
            start,
        })
    }
}

/// Makes both repositories with their edits, and pushes them.
fn published_repos(
    cache: &Cache,
    operator: &Operator,
    forge: &Forge,
    secrets: &RandomSecrets,
    setup: &Setup,
) -> Result<Repos> {
    let disk = setup.disks.first().context("the journey has no disk")?.by_id();
    let host = HostChoices {
        password: &secrets.password,
        layout: &setup.layout,
        disk: &disk,
        firmware: setup.firmware,
    };
    let repos = Repos::init(operator, forge, &host)?;
    repos.set_sample(operator, &secrets.sample)?;
    for edit in &setup.edits {
        edit(&repos, operator)?;
    }
    repos.publish(cache, operator)?;
    Ok(repos)
}

/// Builds the image that the machine starts from.
fn boot_image(operator: &Operator, repos: &Repos, setup: &Setup) -> Result<PathBuf> {
    let mut image = repos.installer_image(operator)?;
    if setup.customized_image {
        image = image::customize(operator, repos, &image)?;
    }
    if setup.on_stick {
        image = image::flash(operator, &image)?;
    }
    Ok(image)
}

/// Describes the machine, with nothing to start from yet.
fn machine_spec(setup: &Setup) -> Result<Spec> {
    Ok(Spec {
        disks: setup.disks.clone(),
        iso: None,
        stick: None,
        mem: setup.memory,
        firmware: setup.firmware,
        accel: None,
        root_key: None,
        ssh_port: free_port()?,
        second_port: setup.connection.installed_port.or(setup.connection.initrd_port),
        medium_first: setup.medium_first,
    })
}

/// Prints when a part of the preparation is done.
fn timed<T>(what: &str, start: Instant, part: impl FnOnce() -> Result<T>) -> Result<T> {
    let made = part().with_context(|| what.to_string())?;
    println!("{:>6.1} s  {what}", start.elapsed().as_secs_f64());
    Ok(made)
}

/// Commands of landfall.
impl Journey {
    /// Prepares `landfall` in the operator's configuration.
    pub(crate) fn landfall(&self) -> Result<Command> {
        let mut landfall = self.operator.landfall()?;
        landfall.arg("-C").arg(&self.repos.config);
        Ok(landfall)
    }

    /// Prepares `landfall bootstrap` with everything that an unattended run needs.
    pub(crate) fn bootstrap_command(&self) -> Result<Command> {
        let shown = self.installer.fingerprint()?;
        self.bootstrap_command_expecting(self.setup.expected_host_key.unwrap_or(&shown))
    }

    /// Prepares `landfall bootstrap` that expects the installer under this host key.
    pub(crate) fn bootstrap_command_expecting(&self, fingerprint: &str) -> Result<Command> {
        let mut landfall = self.landfall()?;
        let connection = &self.setup.connection;
        if let Some(password) = connection.password {
            landfall.env("SSHPASS", password);
        }
        landfall
            .args(["bootstrap", HOST, &format!("{}@127.0.0.1", connection.user)])
            .args(["-p", &self.target.port.to_string()])
            .args(connection.password.map(|_| "--env-password"))
            .args(self.jump_host.iter().flat_map(|jump| ["--ssh-option", &jump.ssh_option]))
            .arg("-i")
            .arg(self.operator.ssh_key())
            .args(["--yes", "--luks-passphrase-file"])
            .arg(self.passphrase_file()?)
            .stdin(Stdio::null());
        if let Some(password) = connection.sudo_password {
            let file = self.operator.secret_file("installer-password", password)?;
            let given = format!("{}={}", connection.user, file.display());
            landfall.args(["--sudo-password-file", &given]);
        }
        if !self.setup.customized_image {
            landfall.args(["--installer-fingerprint", fingerprint]);
        }
        for disk in &self.setup.disks {
            landfall.args(["--erase", disk.serial.as_deref().context("a disk without serial")?]);
        }
        landfall.args(&self.setup.flags);
        Ok(landfall)
    }

    /// Writes the passphrase of the root's volume to a file for landfall.
    pub(crate) fn passphrase_file(&self) -> Result<PathBuf> {
        self.operator.secret_file("passphrase", &self.secrets.passphrase)
    }

    /// Writes the primary user's password to a file for landfall.
    pub(crate) fn sudo_password_file(&self) -> Result<PathBuf> {
        self.operator.secret_file("sudo-password", &self.secrets.password)
    }

    /// Reads the steps of the run from `landfall status --json`.
    pub(crate) fn steps(&self) -> Result<Vec<Step>> {
        status::parse(&output(self.landfall()?.args(["status", HOST, "--json"]))?)
    }

    /// Returns a fact that a step of the run has found.
    pub(crate) fn evidence(&self, step: &str, fact: &str) -> Result<String> {
        let steps = self.steps()?;
        let step_seen = steps.iter().find(|seen| seen.id == step);
        let evidence = step_seen.and_then(|seen| seen.evidence.as_ref());
        let value = evidence.and_then(|evidence| evidence.facts.get(fact)).cloned();
        value.with_context(|| format!("the step {step} tells no {fact}"))
    }
}

/// Commands on the machine, and in the repositories.
impl Journey {
    /// Runs a command as root on the installer.
    pub(crate) fn on_installer(&self, command: &str) -> Result<String> {
        self.installer.run(&self.operator, "root", command)
    }

    /// Returns the installed system, under the key that answers at the first call.
    pub(crate) fn installed(&self) -> Result<&SshHost> {
        if let Some(host) = self.installed.get() {
            return Ok(host);
        }
        let port = self.setup.connection.installed_port.unwrap_or(self.target.port);
        let host = SshHost::scan(&self.operator, port, "installed")?;
        Ok(self.installed.get_or_init(|| host))
    }

    /// Runs a command as the primary user on the installed system.
    pub(crate) fn as_user(&self, command: &str) -> Result<String> {
        self.installed()?.run(&self.operator, USER, command)
    }

    /// Runs a command as root on the installed system, with the user's password.
    pub(crate) fn as_root(&self, command: &str) -> Result<String> {
        self.as_root_on(self.installed()?, command)
    }

    /// Runs a command as root on this system, with the user's password.
    pub(crate) fn as_root_on(&self, host: &SshHost, command: &str) -> Result<String> {
        let sudo = format!("sudo -S -p '' sh -c {}", shell_word(command));
        host.run_with_input(&self.operator, USER, &sudo, &self.secrets.password)
    }

    /// Returns the id of the installed system's present boot.
    pub(crate) fn boot_id(&self) -> Result<String> {
        self.installed()?.boot_id(&self.operator, USER)
    }

    /// Reboots the installed system, and waits until it answers with the same host key.
    pub(crate) fn reboot(&self) -> Result<()> {
        let before = self.boot_id()?;
        // The answer may be lost with the connection.
        let _ = self.as_root("systemctl reboot");
        let is_back = || self.boot_id().is_ok_and(|now| now != before);
        ensure!(wait_until(REBOOT_DEADLINE, is_back)?, "it did not come back");
        // PAM lets nobody in before the boot is done.
        self.as_user("systemctl is-system-running --wait || true").map(drop)
    }

    /// Commits everything that was changed in the configuration.
    pub(crate) fn commit_config(&self, message: &str) -> Result<()> {
        self.operator.git(&self.repos.config, &["commit", "-q", "-a", "-m", message]).map(drop)
    }

    /// Clones a repository from the forge, never from the checkout.
    pub(crate) fn clone_of(&self, name: &str, checkout: &Path) -> Result<PathBuf> {
        let clone = self.operator.path(&format!("clone/{name}"));
        if !clone.exists() {
            let url = self.operator.git(checkout, &["remote", "get-url", "origin"])?;
            let mut git = self.operator.command("git");
            quiet(git.args(["clone", "--quiet", url.trim()]).arg(&clone))?;
        }
        Ok(clone)
    }
}

/// Quotes a word for a POSIX shell.
pub(crate) fn shell_word(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
