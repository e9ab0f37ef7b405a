//! The target machine, as somebody has it who stands before it: its console shows the
//! installer's host key and asks for passphrases, and its network cable can be pulled.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, bail};
use regex::Regex;

use super::typist::{Passphrases, Seen, Typist};
use crate::cache::Cache;
use crate::vm::{DiskState, Lifetime, Machine, Spec};

/// Three to four times what a quiet machine needs.
const BOOT_DEADLINE: Duration = Duration::from_secs(300);
const LOGIN_DEADLINE: Duration = Duration::from_secs(120);

/// A line of the installer's console that shows the fingerprint of its host key.
const SHOWN_KEY: &str = r"256 (SHA256:[A-Za-z0-9+/]{43}) ";

/// A running machine, and what was typed and seen at its console.
pub(crate) struct Target {
    machine: Machine,
    pub(crate) port: u16,
    passphrases: Arc<Passphrases>,
    typist: RefCell<Option<Typist>>,
    seen: Arc<Seen>,
}

impl Target {
    /// Powers the machine on. `passphrase` is what is typed at its console for every volume
    /// that has none of its own.
    pub(crate) fn start(
        cache: &Cache,
        machines: &Path,
        spec: &Spec,
        passphrase: &str,
    ) -> Result<Target> {
        let machine = Machine::start(cache, machines, "target", spec, Lifetime::Tethered)?;
        let passphrases =
            Passphrases { usual: passphrase.to_string(), by_volume: Mutex::default() };
        Ok(Target {
            machine,
            port: spec.ssh_port,
            passphrases: Arc::new(passphrases),
            typist: RefCell::default(),
            seen: Arc::default(),
        })
    }

    /// Reads the fingerprint of the installer's host key from the console.
    pub(crate) fn installer_fingerprint(&self) -> Result<String> {
        self.machine.console()?.wait_for(&Regex::new(SHOWN_KEY)?, BOOT_DEADLINE)
    }

    /// Reads the fingerprint of the host key of an installer that is starting again.
    pub(crate) fn next_installer_fingerprint(&self) -> Result<String> {
        let mut console = self.machine.console()?;
        console.skip_to_end()?;
        console.wait_for(&Regex::new(SHOWN_KEY)?, BOOT_DEADLINE)
    }

    /// Sets what is typed when the prompt names this volume.
    pub(crate) fn set_passphrase(&self, volume: &str, passphrase: &str) {
        self.passphrases.set(volume, passphrase);
    }

    /// Tells what its disks hold, and how many bytes were written to each since power-on.
    pub(crate) fn disks(&self) -> Result<Vec<DiskState>> {
        self.machine.disks()
    }

    /// Closes the way to the machine's address, where nobody answers from then on.
    pub(crate) fn close_port(&self) -> Result<()> {
        self.machine.close_port(self.port)
    }

    /// Opens the way to the machine's address again.
    pub(crate) fn open_port(&self) -> Result<()> {
        self.machine.open_port(self.port)
    }

    /// Starts to type the passphrase whenever the console asks for it, and to notice when the
    /// machine cannot start.
    pub(crate) fn type_passphrases(&self) -> Result<()> {
        let mut console = self.machine.console()?;
        console.skip_to_end()?;
        let typist = Typist::start(console, &self.passphrases, &self.seen)?;
        self.typist.replace(Some(typist));
        Ok(())
    }

    /// Leaves the console to itself from now on.
    pub(crate) fn stop_typing(&self) -> Result<()> {
        self.typist.take().map_or(Ok(()), Typist::stop)
    }

    /// Returns how often a passphrase was typed.
    pub(crate) fn passphrases_typed(&self) -> u32 {
        self.seen.typed.load(Ordering::Relaxed)
    }

    /// Says whether the machine has stopped for good, or nobody watches it who should.
    pub(crate) fn is_stuck(&self) -> bool {
        let unwatched = self.typist.borrow().as_ref().is_some_and(Typist::has_ended);
        unwatched || self.seen.stuck.load(Ordering::Relaxed)
    }

    /// Logs in on the console with name and password and runs `id`; gives what it says.
    /// No passphrase is typed meanwhile: a console has one keyboard.
    pub(crate) fn console_login(&self, user: &str, password: &str) -> Result<String> {
        let typing = self.typist.take().map(Typist::stop).transpose()?.is_some();
        let name = self.log_in(user, password);
        if typing {
            self.type_passphrases()?;
        }
        name
    }

    /// Logs in, where nothing else is typed.
    fn log_in(&self, user: &str, password: &str) -> Result<String> {
        let mut console = self.machine.console()?;
        console.skip_to_end()?;
        console.type_line("")?;
        console.wait_for(&Regex::new(r"login: ?$")?, LOGIN_DEADLINE)?;
        console.type_line(user)?;
        console.wait_for(&Regex::new(r"Password: ?$")?, LOGIN_DEADLINE)?;
        console.type_line(password)?;
        // The console echoes what is typed; only the shell multiplies.
        let answer = Regex::new(r"(Login incorrect|[$#](?: |\x1b\[[0-9;?]*[A-Za-z])*$)")?;
        if console.wait_for(&answer, LOGIN_DEADLINE)? == "Login incorrect" {
            bail!("the console refuses {user}'s password");
        }
        console.type_line("echo logged-in-as-$(id -un)-$((6 * 7)); exit")?;
        let proof = Regex::new(r"logged-in-as-([a-z0-9_-]+)-42")?;
        console.wait_for(&proof, LOGIN_DEADLINE)
    }

    /// Returns the path of the console's log.
    pub(crate) fn console_log(&self) -> PathBuf {
        self.machine.console_log()
    }
}
