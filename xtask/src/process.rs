//! Runs other programs, waits for them, and ends them with this one.
//!
//! Invariant: a command that fails never passes unnoticed, and its error shows the
//! command line, the exit status and the last lines it printed.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};

/// How many of a failed command's last lines its error shows.
const TAIL_LINES: usize = 25;

/// Renders the command as a person would type it, for messages.
fn command_line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// Returns the last lines of a text.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// Runs a command without input, returns its standard output, and fails with the end of
/// what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let what = command_line(command);
    let done =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{what}`"))?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    if !done.status.success() {
        let errors = String::from_utf8_lossy(&done.stderr);
        bail!("`{what}` failed ({}):\n{}", done.status, tail(&format!("{text}{errors}")));
    }
    Ok(text)
}

/// Runs a command whose output matters only when it fails.
pub(crate) fn quiet(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

/// Returns the path of this program; when it was built again meanwhile, of the new one.
pub(crate) fn own_program() -> Result<PathBuf> {
    let path = std::env::current_exe().context("cannot tell where this program is")?;
    let replaced = path.to_str().and_then(|path| path.strip_suffix(" (deleted)"));
    Ok(replaced.map_or_else(|| path.clone(), PathBuf::from))
}

/// Says whether a program of this name is in `PATH`.
pub(crate) fn in_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// Waits for a child and outlives it, so that this process can clean up after it: Ctrl-C
/// reaches the child from the terminal, a request to end is passed on.
pub(crate) fn wait_through_interrupts(child: &mut Child) -> Result<ExitStatus> {
    let (interrupt, end) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    signal_hook::flag::register(SIGINT, interrupt)?;
    signal_hook::flag::register(SIGTERM, Arc::clone(&end))?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("no such pid")?;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for the command")? {
            return Ok(status);
        }
        if end.swap(false, Ordering::Relaxed) {
            kill_process(pid, Signal::TERM)?;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Set by Ctrl-C once [`catch_interrupts`] was called.
static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Makes Ctrl-C only set a mark that every wait looks at, so that machines and servers are
/// ended on the way out.
pub(crate) fn catch_interrupts() -> Result<()> {
    let mark = INTERRUPTED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(mark))?;
    }
    Ok(())
}

/// Says whether Ctrl-C came since [`catch_interrupts`].
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.get().is_some_and(|mark| mark.load(Ordering::Relaxed))
}

/// Waits until the condition holds; false when the deadline came first. Ctrl-C ends the wait
/// with an error.
pub(crate) fn wait_until(deadline: Duration, mut condition: impl FnMut() -> bool) -> Result<bool> {
    let mut holds = false;
    wait_regardless(deadline, || {
        holds = condition();
        holds || interrupted()
    });
    if !holds && interrupted() {
        bail!("interrupted");
    }
    Ok(holds)
}

/// Waits as [`wait_until`] does, for cleaning up, which Ctrl-C does not cut short.
pub(crate) fn wait_regardless(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + deadline;
    while !condition() {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

/// A script that runs its arguments after the first, unless the process that the first names is gone: who
/// dies before the kernel knows of the tether leaves its child to another parent.
const UNLESS_ORPHANED: &str = r#"[ "$PPID" = "$1" ] || exit 1; shift; exec "$@""#;

/// Prepares a command that the kernel ends together with the thread that starts it, however
/// that comes about.
pub(crate) fn tethered(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "sh", "-c", UNLESS_ORPHANED, "sh"]);
    command.arg(std::process::id().to_string()).arg(program);
    command
}
