//! Virtual machines of the lab, for `cargo xtask lab vm …` and for journeys.
//!
//! A machine is QEMU with disks of its own in a folder of its own. It knows nothing of what
//! runs in it.

mod accel;
mod console;
mod machine;
mod qemu;
mod qmp;
mod spec;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use regex::Regex;

pub(crate) use console::Console;
pub(crate) use machine::{DiskState, Lifetime, Machine};
pub(crate) use qemu::STICK_SERIAL;
pub(crate) use spec::{Bus, Disk, Firmware, Spec};

use crate::cache::{Cache, remove};

/// What `cargo xtask lab vm` can do.
#[derive(Subcommand)]
pub(crate) enum VmCommand {
    /// Power a machine with blank disks on; it runs until `stop`
    Start {
        name: String,
        #[command(flatten)]
        spec: Spec,
    },
    /// End a machine and remove its disks
    Stop { name: String },
    /// Print the console's log, or wait for a pattern and type
    Console(ConsoleArgs),
    /// The machines that run
    List,
}

/// The flags of `cargo xtask lab vm console`.
#[derive(Args)]
pub(crate) struct ConsoleArgs {
    name: String,
    /// Wait until the console shows this regular expression
    #[arg(long, value_name = "REGEX")]
    wait_for: Option<Regex>,
    /// Look only at what is printed from now on
    #[arg(long)]
    from_now: bool,
    /// Then type this line
    #[arg(long = "type", value_name = "TEXT")]
    text: Option<String>,
    /// Seconds to wait
    #[arg(long, default_value_t = 180)]
    deadline: u64,
}

/// Returns the folder of machines that outlive the command that started them.
fn machines(cache: &Cache) -> PathBuf {
    cache.path("vms")
}

/// Runs a subcommand of `cargo xtask lab vm`.
pub(crate) fn run(cache: &Cache, command: VmCommand) -> Result<ExitCode> {
    let machines = machines(cache);
    match command {
        VmCommand::Start { name, spec } => start(cache, &machines, &name, &spec)?,
        VmCommand::Stop { name } => stop(&machines, &name)?,
        VmCommand::Console(args) => use_console(&machines, &args)?,
        VmCommand::List => list(&machines)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn start(cache: &Cache, machines: &Path, name: &str, spec: &Spec) -> Result<()> {
    let machine = Machine::start(cache, machines, name, spec, Lifetime::Detached)?;
    println!("{name} runs; its console is logged in {}", machine.console_log().display());
    machine.keep();
    Ok(())
}

fn stop(machines: &Path, name: &str) -> Result<()> {
    let dir = machines.join(name);
    if machine::running_pid(&dir).is_some() {
        Machine::attach(machines, name)?.stop()?;
    }
    remove(&dir)
}

fn use_console(machines: &Path, args: &ConsoleArgs) -> Result<()> {
    let machine = Machine::attach(machines, &args.name)?;
    if args.wait_for.is_none() && args.text.is_none() {
        print!("{}", String::from_utf8_lossy(&std::fs::read(machine.console_log())?));
        return Ok(());
    }
    let mut console = machine.console()?;
    if args.from_now {
        console.skip_to_end()?;
    }
    if let Some(pattern) = &args.wait_for {
        println!("{}", console.wait_for(pattern, Duration::from_secs(args.deadline))?);
    }
    if let Some(text) = &args.text {
        console.type_line(text)?;
    }
    Ok(())
}

fn list(machines: &Path) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(machines) else { return Ok(()) };
    for entry in entries {
        let dir = entry?.path();
        let Some(pid) = machine::running_pid(&dir) else { continue };
        let text = std::fs::read_to_string(dir.join("spec.json"))?;
        let spec: Spec = serde_json::from_str(&text).context("cannot read spec.json")?;
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        println!("{name}  pid {pid}  ssh 127.0.0.1:{}  {}", spec.ssh_port, dir.display());
    }
    Ok(())
}
