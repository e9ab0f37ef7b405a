//! The lab's promises: /nix is there inside, the host is as it was, nothing stays behind.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test starts what it likes, and fails by a panic"
)]

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

fn xtask(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(arguments);
    command
}

/// Runs a script in the lab as if nobody were in it yet.
fn in_lab(script: &str) -> Result<Output> {
    let mut command = xtask(&["lab", "enter", "--", "sh", "-c", script]);
    command.env_remove("NIX_REMOTE").output().context("cannot run xtask")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_string()
}

#[test]
fn a_command_in_the_lab_keeps_its_folder_and_exit_code() -> Result<()> {
    let output = in_lab("pwd; test -d /nix/store && nix --version && sops --version; exit 7")?;
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(7), "{said} {}", text(&output.stderr));
    let here = std::env::current_dir()?;
    assert!(said.starts_with(&here.display().to_string()), "{said}");
    assert!(said.contains("nix (Nix) 2.") && said.contains("sops 3.11"), "{said}");
    Ok(())
}

#[test]
fn entering_twice_is_entering_once() -> Result<()> {
    let xtask = env!("CARGO_BIN_EXE_xtask");
    let output =
        in_lab(&format!("echo $NIX_REMOTE; {xtask} lab enter -- sh -c 'echo $NIX_REMOTE'"))?;
    let said = text(&output.stdout);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said} {}", text(&output.stderr));
    assert_eq!(lines[0], lines[1]);
    Ok(())
}

#[test]
fn a_builder_cannot_write_to_the_host() -> Result<()> {
    let witness = std::env::temp_dir().join(format!("landfall-witness-{}", std::process::id()));
    std::fs::write(&witness, "host")?;
    let tries = format!(
        "PATH=/usr/bin:/bin; {{ touch /etc/landfall-was-here; cat {witness}; ls /dev; \
         echo overwritten > {witness}; cat /proc/net/dev; }} > $out 2>&1",
        witness = witness.display()
    );
    let expression = format!(
        "derivation {{ name = \"tries-{}\"; system = builtins.currentSystem; \
         builder = \"/bin/sh\"; args = [ \"-c\" \"{}\" ]; }}",
        std::process::id(),
        tries.replace('$', "\\$")
    );
    let script = format!(
        "set -e; out=$(nix build --impure --no-link --print-out-paths --expr '{expression}'); \
         cat $out"
    );
    let output = in_lab(&script)?;
    let said = text(&output.stdout);
    let kept = std::fs::read_to_string(&witness)?;
    std::fs::remove_file(&witness)?;
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!Path::new("/etc/landfall-was-here").exists());
    assert_eq!(kept, "host");
    assert!(said.contains("No such file"), "the host's temporary files are in sight: {said}");
    assert!(!said.contains("vda") && !said.contains("eth0"), "{said}");
    Ok(())
}

#[test]
fn nothing_outlives_a_killed_command() -> Result<()> {
    let mut child = xtask(&["lab", "enter", "--", "sleep", "60"]);
    let mut child = child.env_remove("NIX_REMOTE").spawn()?;
    let name = format!("lab-{}", child.id());
    ensure!(soon(|| daemon_runs(&name)), "no daemon started");
    child.kill()?;
    child.wait()?;
    assert!(soon(|| !daemon_runs(&name)), "the daemon outlives its caller");
    Ok(())
}

/// Whether a process has the daemon's socket among its arguments or in its environment.
fn daemon_runs(name: &str) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else { return false };
    processes.flatten().any(|process| {
        let read = |file| std::fs::read(process.path().join(file)).unwrap_or_default();
        // lab-123 is not lab-1234.
        let names = |part: &str| !part.starts_with(|next: char| next.is_ascii_digit());
        let holds = |bytes: Vec<u8>| text(&bytes).split(name).skip(1).any(names);
        holds(read("cmdline")) || holds(read("environ"))
    })
}

fn soon(so: impl Fn() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(15);
    while !so() {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    true
}

#[test]
fn a_machine_is_started_watched_and_stopped() -> Result<()> {
    let name = format!("test-{}", std::process::id());
    let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port().to_string();
    let disk = "1G,serial=landfall-test,bus=ahci";
    let start = ["lab", "vm", "start", &name, "--disk", disk, "--ssh-port", &port, "--mem", "256"];
    let started = xtask(&start).output()?;
    ensure!(started.status.success(), "{}", text(&started.stderr));
    let wait = ["lab", "vm", "console", &name, "--wait-for", "failed to load (Boot0001)"];
    let waited = xtask(&wait).output()?;
    let listed = text(&xtask(&["lab", "vm", "list"]).output()?.stdout);
    let stopped = xtask(&["lab", "vm", "stop", &name]).output()?;
    assert!(stopped.status.success(), "{}", text(&stopped.stderr));
    assert_eq!(text(&waited.stdout), "Boot0001", "{}", text(&waited.stderr));
    assert!(listed.contains(&name) && listed.contains(&port), "{listed}");
    assert!(!text(&xtask(&["lab", "vm", "list"]).output()?.stdout).contains(&name));
    Ok(())
}
