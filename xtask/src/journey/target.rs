//! The target machine, and the person at its console: who reads the installer's host key
//! from the screen, and types the disk's passphrase at each boot.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use regex::Regex;

use super::scenario::Scenario;
use crate::cache::Cache;
use crate::sshd::free_port;
use crate::vm::{Console, DiskState, Lifetime, Machine, Spec};

/// Three to four times what a quiet machine needs.
const BOOT_DEADLINE: Duration = Duration::from_secs(300);
/// What a person needs to read a prompt.
const READING: Duration = Duration::from_secs(2);
const LOGIN_DEADLINE: Duration = Duration::from_secs(120);

/// What the machine starts from.
pub enum Begin {
    /// An installer, in the CD drive or on a removable drive.
    Image(PathBuf),
    /// A system on the first disk, which lets this key in.
    System { disk: PathBuf, root_key: String },
}

/// How the machine stands in the world.
pub struct Place {
    /// A port that leads to the same port of the machine, beside the one to its port 22.
    pub second_port: Option<u16>,
    pub medium_first: bool,
}

pub struct Target {
    machine: Machine,
    pub port: u16,
    passphrase: String,
    /// Passphrases of single volumes, by what the prompt calls them.
    others: Arc<Mutex<Vec<(String, String)>>>,
    attendant: RefCell<Option<Attendant>>,
    seen: Arc<Seen>,
}

impl Target {
    /// Powers a machine with these disks on, with an image in its CD drive where there is
    /// one. `passphrase` is what whoever attends the console types.
    pub fn start(
        cache: &Cache,
        machines: &Path,
        begin: &Begin,
        scenario: &Scenario,
        place: &Place,
        passphrase: &str,
    ) -> Result<Target> {
        let port = free_port()?;
        let mut spec = Spec {
            disks: scenario.disks.clone(),
            iso: None,
            stick: None,
            mem: scenario.memory,
            firmware: scenario.firmware,
            accel: None,
            root_key: None,
            ssh_port: port,
            second_port: place.second_port,
            medium_first: place.medium_first,
        };
        match begin {
            Begin::Image(image) if scenario.on_stick => spec.stick = Some(image.clone()),
            Begin::Image(image) => spec.iso = Some(image.clone()),
            Begin::System { disk, root_key } => {
                spec.root_key = Some(root_key.clone());
                if let Some(first) = spec.disks.first_mut() {
                    first.holds = Some(disk.clone());
                }
            }
        }
        let machine = Machine::start(cache, machines, "target", &spec, Lifetime::Tethered)?;
        let (attendant, seen, others) = (RefCell::default(), Arc::default(), Arc::default());
        let passphrase = passphrase.to_string();
        Ok(Target { machine, port, passphrase, others, attendant, seen })
    }

    /// Reads the fingerprint of the installer's host key from the console.
    pub fn installer_fingerprint(&self) -> Result<String> {
        let pattern = Regex::new(r"256 (SHA256:[A-Za-z0-9+/]{43}) ")?;
        self.machine.console()?.wait_for(&pattern, BOOT_DEADLINE)
    }

    /// The same, once it has started again.
    pub fn next_installer_fingerprint(&self) -> Result<String> {
        let pattern = Regex::new(r"256 (SHA256:[A-Za-z0-9+/]{43}) ")?;
        let mut console = self.machine.console()?;
        console.skip_to_end()?;
        console.wait_for(&pattern, BOOT_DEADLINE)
    }

    /// What is typed when the prompt names this volume.
    pub fn answer_for(&self, volume: &str, passphrase: &str) {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.push((volume.to_string(), passphrase.to_string()));
    }

    /// What its disks hold, and how many bytes were written to each since power-on.
    pub fn disks(&self) -> Result<Vec<DiskState>> {
        self.machine.disks()
    }

    /// From now on nobody answers at the machine's address.
    pub fn hide(&self) -> Result<()> {
        self.machine.close_port(self.port)
    }

    /// The machine answers at its address again.
    pub fn show(&self) -> Result<()> {
        self.machine.open_port(self.port)
    }

    /// From now on somebody types the passphrase whenever the console asks for it, and
    /// notices when the machine cannot start.
    pub fn attend(&self) -> Result<()> {
        let mut console = self.machine.console()?;
        console.skip_to_end()?;
        let notes = Arc::clone(&self.seen);
        let leave = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&leave);
        let passphrase = self.passphrase.clone();
        let others = Arc::clone(&self.others);
        let events = Regex::new(
            r"(?i)enter passphrase for[^\r\n]*: ?|you are in emergency mode|kernel panic - [^\r\n]*",
        )?;
        let thread = std::thread::spawn(move || -> Result<()> {
            while !told.load(Ordering::Relaxed) {
                let event = console.find(&events)?;
                match event.map(|first| latest(&mut console, &events, first)).transpose()? {
                    Some(prompt) if prompt.to_lowercase().contains("passphrase") => {
                        let others = others.lock().unwrap_or_else(PoisonError::into_inner);
                        let own = others.iter().rev().find(|(volume, _)| prompt.contains(volume));
                        console.type_line(own.map_or(&passphrase, |(_, own)| own))?;
                        notes.typed.fetch_add(1, Ordering::Relaxed);
                    }
                    Some(_) => notes.stuck.store(true, Ordering::Relaxed),
                    None => {}
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            Ok(())
        });
        self.attendant.replace(Some(Attendant { thread: Some(thread), leave }));
        Ok(())
    }

    /// From now on nobody is at the console.
    pub fn leave_the_console(&self) -> Result<()> {
        self.attendant.take().map_or(Ok(()), Attendant::leave)
    }

    /// How often the passphrase was typed.
    pub fn typed(&self) -> u32 {
        self.seen.typed.load(Ordering::Relaxed)
    }

    /// Whether the machine has stopped for good, or who should watch it fell over.
    pub fn is_stuck(&self) -> bool {
        let left = self.attendant.borrow().as_ref().is_some_and(Attendant::has_left);
        left || self.seen.stuck.load(Ordering::Relaxed)
    }

    /// Logs in on the console with name and password and runs `id`; gives what it says.
    /// Whoever attends makes room meanwhile: a console has one keyboard.
    pub fn console_login(&self, user: &str, password: &str) -> Result<String> {
        let attended = self.attendant.take().map(Attendant::leave).transpose()?.is_some();
        let name = self.log_in(user, password);
        if attended {
            self.attend()?;
        }
        name
    }

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

    pub fn console_log(&self) -> std::path::PathBuf {
        self.machine.console_log()
    }
}

/// The prompt, or other event, that stands there once nothing more comes. Each volume that waits tries what
/// was typed for another one, which takes its prompt back and asks again.
fn latest(console: &mut Console, events: &Regex, mut event: String) -> Result<String> {
    loop {
        std::thread::sleep(READING);
        match console.find(events)? {
            Some(next) => event = next,
            None => return Ok(event),
        }
    }
}

/// What was seen on the console.
#[derive(Default)]
struct Seen {
    typed: AtomicU32,
    stuck: AtomicBool,
}

/// Whoever watches the console; leaves when dropped.
struct Attendant {
    thread: Option<JoinHandle<Result<()>>>,
    leave: Arc<AtomicBool>,
}

impl Attendant {
    fn has_left(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Sends the attendant away, and waits until the console is free.
    fn leave(mut self) -> Result<()> {
        self.leave.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().ok().context("the attendant of the console fell over")?
    }
}

impl Drop for Attendant {
    fn drop(&mut self) {
        self.leave.store(true, Ordering::Relaxed);
    }
}
