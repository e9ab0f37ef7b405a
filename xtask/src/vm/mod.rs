//! Virtual machines for the lab: `cargo xtask lab vm …`, and the same for scenarios.

mod accel;
mod console;
mod machine;
mod qemu;
mod qmp;
mod spec;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Subcommand;
use regex::Regex;

pub use console::Console;
pub use machine::{DiskState, Lifetime, Machine};
pub use qemu::STICK_SERIAL;
pub use spec::{Bus, Disk, Firmware, Spec};

use crate::cache::{Cache, remove};

#[derive(Subcommand)]
pub enum VmCommand {
    /// Power a machine with blank disks on; it runs until `stop`
    Start {
        name: String,
        #[command(flatten)]
        spec: Spec,
    },
    /// End a machine and remove its disks
    Stop { name: String },
    /// Print the console's log, or wait for a pattern and type
    Console {
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
    },
    /// The machines that run
    List,
}

/// The folder of machines that outlive the command that started them.
fn machines(cache: &Cache) -> PathBuf {
    cache.path("vms")
}

pub fn run(cache: &Cache, command: VmCommand) -> Result<ExitCode> {
    let machines = machines(cache);
    match command {
        VmCommand::Start { name, spec } => {
            let machine = Machine::start(cache, &machines, &name, &spec, Lifetime::Detached)?;
            println!("{name} runs; its console is logged in {}", machine.console_log().display());
            machine.keep();
        }
        VmCommand::Stop { name } => {
            let dir = machines.join(&name);
            if machine::running_pid(&dir).is_some() {
                Machine::attach(&machines, &name)?.stop()?;
            }
            remove(&dir)?;
        }
        VmCommand::Console { name, wait_for, from_now, text, deadline } => {
            let machine = Machine::attach(&machines, &name)?;
            if wait_for.is_none() && text.is_none() {
                print!("{}", String::from_utf8_lossy(&std::fs::read(machine.console_log())?));
                return Ok(ExitCode::SUCCESS);
            }
            let mut console = machine.console()?;
            if from_now {
                console.skip_to_end()?;
            }
            if let Some(pattern) = wait_for {
                println!("{}", console.wait_for(&pattern, Duration::from_secs(deadline))?);
            }
            if let Some(text) = text {
                console.type_line(&text)?;
            }
        }
        VmCommand::List => list(&machines)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(machines: &std::path::Path) -> Result<()> {
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
