//! The only place that starts a process.
//!
//! A [`Cmd`] is an argv, never a shell string. Every run has its output
//! captured line by line (scrubbed of known secrets), ends when its deadline
//! passes or the user interrupts, and takes its children with it. What was run,
//! and how it ended, goes to the log.

mod error;
mod interrupt;
mod limits;
mod running;
pub mod signals;
mod streams;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::secret::{Secret, scrub};
use error::LOST;
use limits::Limits;
use running::{Running, describe};
use streams::Input;

pub use error::ExecError;
pub(crate) use interrupt::{interrupt, interrupted, sleep};
pub(crate) use streams::read_to_end;

/// How often a running command looks at the clock and the interrupt flag.
const TICK: Duration = Duration::from_millis(100);
/// Programs whose first plain word says what they do.
const WITH_COMMANDS: [&str; 3] = ["git", "nix", "sops"];

/// Which of the two output streams a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Hears how many bytes of a file have gone to standard input.
struct OnSent(Box<dyn FnMut(u64) + Send>);

impl fmt::Debug for OnSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnSent")
    }
}

/// A process to be started.
#[derive(Debug)]
pub struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    clear_env: bool,
    dir: Option<PathBuf>,
    input: Input,
    preamble: Option<Secret>,
    deadline: Option<Duration>,
    terminal: bool,
    quiet: bool,
    to_the_end: bool,
    limits: Limits,
    remote: Option<Remote>,
    on_sent: Option<OnSent>,
}

/// What an ssh runs, and where.
#[derive(Debug)]
struct Remote {
    program: String,
    host: String,
}

/// What a finished process left.
#[derive(Debug)]
pub struct Output {
    pub(crate) status: ExitStatus,
    /// Raw standard output; may hold secrets, so it is never logged.
    pub stdout: Vec<u8>,
    /// Standard error, scrubbed.
    pub(crate) stderr: String,
}

impl Output {
    /// Standard output as text without the final newline.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end_matches('\n').to_owned()
    }
}

impl Cmd {
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            clear_env: false,
            dir: None,
            input: Input::Null,
            preamble: None,
            deadline: None,
            terminal: false,
            quiet: false,
            to_the_end: false,
            limits: Limits::default(),
            remote: None,
            on_sent: None,
        }
    }

    #[must_use]
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Never for secrets: any process of the same user can read an environment.
    #[must_use]
    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Starts from an empty environment.
    #[must_use]
    pub(crate) fn env_clear(mut self) -> Self {
        self.clear_env = true;
        self
    }

    #[must_use]
    pub(crate) fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }

    /// Feeds `bytes` to standard input: the way in for secrets.
    #[must_use]
    pub fn stdin(mut self, bytes: Secret) -> Self {
        self.input = Input::Secret(bytes);
        self
    }

    /// Feeds bytes that anybody may see (a script, a patch) to standard input.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Input::Bytes(bytes.into());
        self
    }

    /// Feeds a file to standard input, without reading it into memory.
    #[must_use]
    pub(crate) fn stdin_file(mut self, path: impl AsRef<Path>) -> Self {
        self.input = Input::File(path.as_ref().to_owned());
        self
    }

    /// Hands over how many bytes of the file of [`Cmd::stdin_file`] are gone, as they go.
    #[must_use]
    pub(crate) fn on_sent(mut self, on_sent: impl FnMut(u64) + Send + 'static) -> Self {
        self.on_sent = Some(OnSent(Box::new(on_sent)));
        self
    }

    /// Feeds `bytes` to standard input before whatever else is fed to it.
    #[must_use]
    pub(crate) fn preamble(mut self, bytes: Secret) -> Self {
        self.preamble = Some(bytes);
        self
    }

    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Leaves the child in the terminal's foreground group, so that it can ask a
    /// person (a key's passphrase, a touch of a token).
    #[must_use]
    pub(crate) fn terminal(mut self) -> Self {
        self.terminal = true;
        self
    }

    /// Keeps the lines of standard error out of the log and of errors (progress
    /// streams), unless more was asked for.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// Runs on when the user interrupts: for what tidies up. Its deadline ends it all the same.
    #[must_use]
    pub(crate) fn not_interrupted(mut self) -> Self {
        self.to_the_end = true;
        self
    }

    /// Allows as much standard output as this, and in one line, where that is meant.
    #[must_use]
    pub fn expect_output(mut self, bytes: usize) -> Self {
        self.limits.kept = bytes;
        self.limits.line = bytes;
        self
    }

    /// Says that this is an ssh which runs `program` on `host`: errors name these, and an
    /// exit status of ssh's own means that the connection was lost.
    #[must_use]
    pub(crate) fn remote(mut self, program: &str, host: &str) -> Self {
        self.remote = Some(Remote { program: program.to_owned(), host: host.to_owned() });
        self
    }

    /// Names it in few words, for errors: `nixos-install on guppy`, `git push`, `ssh-keygen`.
    pub(crate) fn name(&self) -> String {
        if let Some(Remote { program, host }) = &self.remote {
            return format!("{program} on {host}");
        }
        let program = Path::new(&self.program).file_name().unwrap_or(&self.program);
        let program = program.to_string_lossy().into_owned();
        if !WITH_COMMANDS.contains(&program.as_str()) {
            return program;
        }
        let is_command = |word: &&str| {
            word.starts_with(|c: char| c.is_ascii_lowercase())
                && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
        };
        match self.args.iter().filter_map(|word| word.to_str()).find(is_command) {
            Some(command) => format!("{program} {command}"),
            None => program,
        }
    }

    /// Runs to the end; an exit status other than 0 is an error.
    pub fn run(self) -> Result<Output, ExecError> {
        self.stream(|_, _| {})
    }

    /// Standard output of a successful run as text, without the final newline.
    pub fn read(self) -> Result<String, ExecError> {
        self.run().map(|output| output.text())
    }

    /// Like [`Cmd::run`], and hands over each scrubbed line as it comes.
    pub fn stream(self, on_line: impl FnMut(Stream, &str)) -> Result<Output, ExecError> {
        let command = self.name();
        let output = self.output_with(on_line)?;
        if output.status.success() {
            return Ok(output);
        }
        Err(ExecError::Failed {
            command,
            status: describe(output.status),
            code: output.status.code(),
            stderr: output.stderr,
        })
    }

    /// Runs to the end, whatever the exit status.
    pub fn output(self) -> Result<Output, ExecError> {
        self.output_with(|_, _| {})
    }

    /// Runs to the end with `socket` as its standard input and output, which is shut
    /// down then.
    pub(crate) fn serve(mut self, socket: UnixStream) -> Result<Output, ExecError> {
        let whole = socket.try_clone();
        self.input = Input::Socket(socket);
        let outcome = self.run();
        if let Ok(socket) = whole {
            // The other side may have closed it already.
            let _ = socket.shutdown(Shutdown::Both);
        }
        outcome
    }

    /// Replaces this process: for sessions that a person uses.
    pub(crate) fn exec(self) -> ExecError {
        let command = self.name();
        let mut process = self.process();
        process.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
        ExecError::Start { command, source: process.exec() }
    }

    #[expect(clippy::disallowed_methods, reason = "the one door through which processes start")]
    fn process(&self) -> Command {
        let mut process = Command::new(&self.program);
        process.args(&self.args);
        if self.clear_env {
            process.env_clear();
        }
        // What of the user's is a password or a private key is nobody's business: landfall
        // has read it.
        process.env_remove("SSHPASS").env_remove("SOPS_AGE_KEY");
        process.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(dir) = &self.dir {
            process.current_dir(dir);
        }
        process
    }

    fn output_with(mut self, on_line: impl FnMut(Stream, &str)) -> Result<Output, ExecError> {
        tracing::info!(command = %self, dir = ?self.dir, "start");
        let command = self.name();
        let remote = self.remote.take();
        let mut process = self.process();
        process.stdout(Stdio::piped()).stderr(Stdio::piped());
        process.stdin(match (&self.input, &self.preamble) {
            (Input::Null, None) => Stdio::null(),
            (Input::File(path), None) if self.on_sent.is_none() => {
                let file = File::open(path);
                Stdio::from(
                    file.map_err(|source| ExecError::Io { command: command.clone(), source })?,
                )
            }
            _ => Stdio::piped(),
        });
        if !self.terminal {
            // A group of its own: Ctrl-C reaches landfall first, and an end takes grandchildren along.
            process.process_group(0);
        }
        let child = process
            .spawn()
            .map_err(|source| ExecError::Start { command: command.clone(), source })?;
        let output = Running::new(child, command.clone(), self)?.until_the_end(on_line)?;
        match remote {
            Some(Remote { host, .. }) if output.status.code() == Some(LOST) => {
                Err(ExecError::Lost { command, to: host, stderr: output.stderr })
            }
            _ => Ok(output),
        }
    }
}

/// The command as a person would type it, for logs.
impl fmt::Display for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quote(&self.program.to_string_lossy()))?;
        for arg in &self.args {
            write!(f, " {}", quote(&scrub(&arg.to_string_lossy())))?;
        }
        Ok(())
    }
}

/// Quotes one word for a POSIX shell; words of safe characters stay as they are.
pub(crate) fn quote(word: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,#?".contains(c);
    // `#` and `~` mean something only at the start of a word.
    if !word.is_empty()
        && word.chars().all(safe)
        && !word.starts_with(['#', '='])
        && !word.contains('?')
    {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::time::Instant;

    #[test]
    fn output_is_captured_by_stream() {
        let output = Cmd::new("sh").args(["-c", "echo out; echo err >&2"]).run().unwrap();
        assert_eq!(output.text(), "out");
        assert_eq!(output.stderr, "err\n");
    }

    #[test]
    fn what_a_child_leaves_behind_is_not_waited_for() {
        let started = Instant::now();
        let output =
            Cmd::new("sh").args(["-c", "echo said; sleep 60 & printf more"]).run().unwrap();
        assert_eq!(output.text(), "said\nmore");
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn failure_names_command_status_and_last_words() {
        let error = Cmd::new("sh").args(["-c", "echo broken >&2; exit 3"]).run().unwrap_err();
        assert_eq!(error.code(), Some(3));
        assert!(error.to_string().contains("exit status 3"), "{error}");
        assert!(error.to_string().contains("broken"), "{error}");
    }

    #[test]
    fn deadline_ends_the_whole_group() {
        let started = Instant::now();
        let error = Cmd::new("sh")
            .args(["-c", "sleep 60 & sleep 60"])
            .deadline(Duration::from_millis(300))
            .run()
            .unwrap_err();
        assert!(matches!(error, ExecError::Deadline { .. }), "{error}");
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn secrets_reach_stdin_and_are_scrubbed_from_what_comes_back() {
        let output = Cmd::new("sh")
            .args(["-c", "tee /dev/stderr"])
            .stdin(Secret::from("hunter2-hunter2".to_owned()))
            .run()
            .unwrap();
        assert_eq!(output.stdout, b"hunter2-hunter2");
        assert_eq!(output.stderr.trim(), "[secret]");
    }

    #[test]
    fn a_preamble_comes_before_every_kind_of_input() {
        let cat = || Cmd::new("cat").preamble(Secret::from("first|".to_owned()));
        assert_eq!(cat().read().unwrap(), "first|");
        assert_eq!(cat().input("then").read().unwrap(), "first|then");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a file").unwrap();
        assert_eq!(cat().stdin_file(file.path()).read().unwrap(), "first|a file");
    }

    #[test]
    fn a_socket_is_served_until_the_process_ends() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let head = Cmd::new("sed").args(["-u", "2q"]).preamble("first\n".to_owned().into());
        let served = std::thread::spawn(move || head.serve(theirs));
        let mut lines = BufReader::new(&ours).lines();
        // The preamble arrives whether or not more follows.
        assert_eq!(lines.next().unwrap().unwrap(), "first");
        (&ours).write_all(b"hello\nand more\n").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "hello");
        assert!(lines.next().is_none());
        served.join().unwrap().unwrap();
    }

    #[test]
    fn missing_program_is_told_apart() {
        assert!(Cmd::new("no-such-program-here").run().unwrap_err().is_missing_program());
    }

    #[test]
    fn quoting_survives_a_shell() {
        for word in ["plain", "two words", "it's", "$HOME", "", "#a", "~", "a\nb", "*", "a=b"] {
            let echoed =
                Cmd::new("sh").args(["-c", &format!("printf %s {}", quote(word))]).run().unwrap();
            assert_eq!(String::from_utf8(echoed.stdout).unwrap(), word);
        }
    }
}
