//! A running virtual machine: its folder, its process, its power button.
//!
//! Invariant: a machine is ended by its own pid, and only after checking that this pid is
//! still that machine.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use super::accel;
use super::console::Console;
use super::qemu;
use super::qmp;
use super::spec::{Accel, Firmware, Spec};
use crate::cache::{Cache, remove};
use crate::process::{output, quiet, tethered, wait_regardless, wait_until};

const START_DEADLINE: Duration = Duration::from_secs(30);
const STOP_DEADLINE: Duration = Duration::from_secs(15);

/// The longest path that a unix socket can have.
const SOCKET_PATH_MAX: usize = 107;

/// What happens to a machine when the process that started it ends.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Lifetime {
    /// It ends too, however that comes about.
    Tethered,
    /// It runs until it is stopped.
    Detached,
}

/// A machine whose files lie in `dir`; a tethered one ends when this is dropped.
pub(crate) struct Machine {
    dir: PathBuf,
    name: String,
    child: Option<Child>,
    lifetime: Lifetime,
}

impl Machine {
    /// Makes blank disks below `machines`/`name` and powers the machine on.
    pub(crate) fn start(
        cache: &Cache,
        machines: &Path,
        name: &str,
        spec: &Spec,
        lifetime: Lifetime,
    ) -> Result<Machine> {
        let dir = machines.join(name);
        if dir.join("control.sock").as_os_str().len() > SOCKET_PATH_MAX {
            bail!("{} is too long for the machine's sockets: take a shorter folder", dir.display());
        }
        if let Some(pid) = running_pid(&dir) {
            bail!("the machine {name} runs already (pid {pid}): stop it first");
        }
        let accel = spec.accel.map_or_else(|| accel::best(cache), Ok)?;
        prepare(&dir, spec)?;
        let mut machine = Machine { dir, name: name.to_string(), child: None, lifetime };
        machine.power_on(spec, accel)?;
        Ok(machine)
    }

    /// Finds a machine that another process started.
    pub(crate) fn attach(machines: &Path, name: &str) -> Result<Machine> {
        let dir = machines.join(name);
        if running_pid(&dir).is_none() {
            bail!("no machine {name} runs: `cargo xtask lab vm list` shows those that do");
        }
        let lifetime = Lifetime::Detached;
        Ok(Machine { dir, name: name.to_string(), child: None, lifetime })
    }

    fn power_on(&mut self, spec: &Spec, accel: Accel) -> Result<()> {
        let log = fs::File::create(self.dir.join("qemu.log"))?;
        let mut command = match self.lifetime {
            Lifetime::Detached => Command::new(qemu::PROGRAM),
            Lifetime::Tethered => tethered(qemu::PROGRAM),
        };
        command
            .args(qemu::arguments(&self.name, spec, accel, &self.dir))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        let mut child = command.spawn().context("cannot start QEMU")?;
        let socket = self.dir.join("console.sock");
        let mut ended = false;
        let up = wait_until(START_DEADLINE, || {
            ended = matches!(child.try_wait(), Ok(Some(_)));
            ended || (socket.exists() && self.dir.join("pid").exists())
        })?;
        if ended || !up {
            let said = fs::read_to_string(self.dir.join("qemu.log")).unwrap_or_default();
            let _ = child.kill();
            let _ = child.wait();
            bail!("the machine {} does not start; QEMU said:\n{said}", self.name);
        }
        self.child = Some(child);
        Ok(())
    }

    /// Connects to the machine's serial console.
    pub(crate) fn console(&self) -> Result<Console> {
        Console::open(&self.dir.join("console.sock"), &self.dir.join("console.log"))
    }

    /// Returns the path of the log of everything that the console printed since power-on.
    pub(crate) fn console_log(&self) -> PathBuf {
        self.dir.join("console.log")
    }

    /// Stops the machine for a moment, and tells the state of its disks' images.
    pub(crate) fn disks(&self) -> Result<Vec<DiskState>> {
        let control = self.dir.join("control.sock");
        qmp::ask(&control, "stop")?;
        let states = disk_states(&self.dir, &control);
        qmp::ask(&control, "cont")?;
        states
    }

    /// Closes the host's port to the machine's port 22; who is connected stays so.
    pub(crate) fn close_port(&self, port: u16) -> Result<()> {
        let said = self.monitor(&format!("hostfwd_remove net tcp:127.0.0.1:{port}"))?;
        ensure!(said.contains("removed"), "QEMU keeps the port {port}: {said}");
        Ok(())
    }

    /// Opens the host's port to the machine's port 22 again.
    pub(crate) fn open_port(&self, port: u16) -> Result<()> {
        let said = self.monitor(&format!("hostfwd_add net tcp:127.0.0.1:{port}-:22"))?;
        ensure!(said.is_empty(), "QEMU does not take the port {port}: {said}");
        Ok(())
    }

    fn monitor(&self, line: &str) -> Result<String> {
        qmp::monitor(&self.dir.join("control.sock"), line)
    }

    /// Leaves the machine running when this value goes.
    pub(crate) fn keep(mut self) {
        self.lifetime = Lifetime::Detached;
    }

    /// Ends the machine; its files stay.
    pub(crate) fn stop(&mut self) -> Result<()> {
        if let Some(pid) = running_pid(&self.dir) {
            kill_process(pid_of(pid)?, Signal::TERM)?;
            let gone = || self.reaped() || running_pid(&self.dir).is_none();
            if !wait_regardless(STOP_DEADLINE, gone) {
                kill_process(pid_of(pid)?, Signal::KILL)?;
            }
        }
        if let Some(mut child) = self.child.take() {
            child.wait()?;
        }
        Ok(())
    }

    fn reaped(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.lifetime == Lifetime::Tethered
            && let Err(error) = self.stop()
        {
            eprintln!("cannot stop the machine {}: {error:#}", self.name);
        }
    }
}

/// What one disk's image holds, and how much the guest has written to it.
#[derive(Serialize)]
pub(crate) struct DiskState {
    pub(crate) device: String,
    pub(crate) written_bytes: u64,
    pub(crate) sha256: String,
}

/// Reads the images of a machine that stands still, and so has written them out.
fn disk_states(dir: &Path, control: &Path) -> Result<Vec<DiskState>> {
    let stats = qmp::ask(control, "query-blockstats")?;
    let mut states = Vec::new();
    for index in 0.. {
        let (device, image) = (format!("disk{index}"), dir.join(qemu::disk_file(index)));
        if !image.exists() {
            break;
        }
        let of_disk =
            stats.as_array().and_then(|all| all.iter().find(|it| it["device"] == device.as_str()));
        let written = of_disk.and_then(|it| it["stats"]["wr_bytes"].as_u64());
        let sum = output(Command::new("sha256sum").arg("--").arg(&image))?;
        states.push(DiskState {
            written_bytes: written.with_context(|| format!("QEMU tells nothing of {device}"))?,
            sha256: sum.split(' ').next().unwrap_or_default().to_string(),
            device,
        });
    }
    Ok(states)
}

fn pid_of(pid: i32) -> Result<Pid> {
    Pid::from_raw(pid).context("the machine's pid file holds no pid")
}

/// Makes the machine's folder: blank disks, and firmware variables of its own.
fn prepare(dir: &Path, spec: &Spec) -> Result<()> {
    remove(dir)?;
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    if spec.firmware == Firmware::Uefi {
        fs::copy(qemu::FIRMWARE_VARIABLES, dir.join("variables.fd"))
            .context("cannot copy the firmware's variables: is the package ovmf installed?")?;
    }
    for (index, disk) in spec.disks.iter().enumerate() {
        let mut create = Command::new("qemu-img");
        create.args(["create", "-q", "-f", "qcow2"]);
        if let Some(image) = &disk.holds {
            create.args(["-F", "qcow2", "-b"]).arg(image);
        }
        quiet(create.arg(dir.join(qemu::disk_file(index))).arg(&disk.size))?;
    }
    fs::write(dir.join("spec.json"), serde_json::to_string_pretty(spec)?)?;
    Ok(())
}

/// Returns the pid of the machine in `dir`, if that process is this machine.
pub(crate) fn running_pid(dir: &Path) -> Option<i32> {
    let pid: i32 = fs::read_to_string(dir.join("pid")).ok()?.trim().parse().ok()?;
    let command_line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let own = dir.join("pid");
    let is_own = command_line
        .split(|byte| *byte == 0)
        .any(|word| word == own.as_os_str().as_encoded_bytes());
    is_own.then_some(pid)
}
