//! The target machine, and the person at its console: who reads the installer's host key
//! from the screen, and types the disk's passphrase at each boot.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use regex::Regex;

use crate::cache::Cache;
use crate::forge::free_port;
use crate::vm::{Bus, Disk, Firmware, Lifetime, Machine, Spec};

/// The serial number of the disk that may be erased.
pub const SERIAL: &str = "landfall-demo";

const DISK_SIZE: &str = "8G";
const MEMORY_MIB: u32 = 2048;

/// Three to four times what a quiet machine needs.
const BOOT_DEADLINE: Duration = Duration::from_secs(300);
const LOGIN_DEADLINE: Duration = Duration::from_secs(120);

/// The name that udev gives the disk.
pub fn disk_path(bus: Bus) -> String {
    let model = match bus {
        Bus::Virtio => "virtio-",
        Bus::Ahci => "ata-QEMU_HARDDISK_",
        Bus::Nvme => "nvme-QEMU_NVMe_Ctrl_",
    };
    format!("/dev/disk/by-id/{model}{SERIAL}")
}

pub struct Target {
    machine: Machine,
    pub port: u16,
}

impl Target {
    /// Powers a blank machine on, with the installer in its CD drive.
    pub fn start(cache: &Cache, machines: &Path, image: &Path, bus: Bus) -> Result<Target> {
        let port = free_port()?;
        let disk = Disk { size: DISK_SIZE.to_string(), serial: Some(SERIAL.to_string()), bus };
        let spec = Spec {
            disks: vec![disk],
            iso: Some(image.to_path_buf()),
            mem: MEMORY_MIB,
            firmware: Firmware::Uefi,
            accel: None,
            ssh_port: port,
        };
        let machine = Machine::start(cache, machines, "target", &spec, Lifetime::Tethered)?;
        Ok(Target { machine, port })
    }

    /// Reads the fingerprint of the installer's host key from the console.
    pub fn installer_fingerprint(&self) -> Result<String> {
        let pattern = Regex::new(r"256 (SHA256:[A-Za-z0-9+/]{43}) ")?;
        self.machine.console()?.wait_for(&pattern, BOOT_DEADLINE)
    }

    /// From now on somebody types the passphrase whenever the console asks for it, and
    /// notices when the machine cannot start.
    pub fn attend(&self, passphrase: &str) -> Result<Attendant> {
        let mut console = self.machine.console()?;
        console.skip_to_end()?;
        let seen = Arc::new(Seen::default());
        let notes = Arc::clone(&seen);
        let passphrase = passphrase.to_string();
        let events = Regex::new(
            r"(?i)enter passphrase for[^\r\n]*: ?|you are in emergency mode|kernel panic - [^\r\n]*",
        )?;
        let thread = std::thread::spawn(move || -> Result<()> {
            while !notes.stop.load(Ordering::Relaxed) {
                match console.find(&events)? {
                    Some(prompt) if prompt.to_lowercase().contains("passphrase") => {
                        console.type_line(&passphrase)?;
                        notes.typed.fetch_add(1, Ordering::Relaxed);
                    }
                    Some(_) => notes.stuck.store(true, Ordering::Relaxed),
                    None => {}
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            Ok(())
        });
        Ok(Attendant { thread: Some(thread), seen })
    }

    /// Logs in on the console with name and password and runs `id`; gives what it says.
    pub fn console_login(&self, user: &str, password: &str) -> Result<String> {
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

/// What the attendant and the journey tell each other.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    typed: AtomicU32,
    stuck: AtomicBool,
}

/// Whoever watches the console; leaves when dropped.
pub struct Attendant {
    thread: Option<JoinHandle<Result<()>>>,
    seen: Arc<Seen>,
}

impl Attendant {
    /// Whether the machine has stopped for good, or nobody watches it any more.
    pub fn machine_is_stuck(&self) -> bool {
        let left = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
        left || self.seen.stuck.load(Ordering::Relaxed)
    }

    /// Sends the attendant away and says how often the passphrase was typed.
    pub fn leave(mut self) -> Result<u32> {
        self.seen.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            ended.ok().context("the attendant of the console fell over")??;
        }
        Ok(self.seen.typed.load(Ordering::Relaxed))
    }
}

impl Drop for Attendant {
    fn drop(&mut self) {
        self.seen.stop.store(true, Ordering::Relaxed);
    }
}
