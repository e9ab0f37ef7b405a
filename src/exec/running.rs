//! A process that runs: its lines as they come, its limits, its end.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::interrupt::interrupted;
use super::limits::{Limits, WAITING};
use super::streams::{Input, Piece, feed, pump, relay};
use super::{Cmd, ExecError, Output, Stream, TICK};
use crate::secret::scrub;

/// What a command gets between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(3);

pub(crate) struct Running {
    child: Child,
    command: String,
    started: Instant,
    deadline: Option<Duration>,
    terminal: bool,
    quiet: bool,
    to_the_end: bool,
    limits: Limits,
    pieces: Receiver<Piece>,
    /// What comes in after the child's end is not waited for.
    ended: Arc<AtomicBool>,
    stdout: Vec<u8>,
    stderr: String,
    /// How much of the child's words is in the log.
    logged: usize,
}

impl Running {
    /// Takes over a child that was just started for `cmd`: feeds it, and hears it.
    pub(crate) fn new(mut child: Child, command: String, cmd: Cmd) -> Result<Self, ExecError> {
        let io_error = |source| ExecError::Io { command: command.clone(), source };
        // What is not taken yet waits in the pipe, and the child with it.
        let (sender, pieces) = mpsc::sync_channel(WAITING);
        let longest = cmd.limits.line;
        let ended = Arc::new(AtomicBool::new(false));
        match (child.stdout.take(), &cmd.input) {
            (Some(stdout), Input::Socket(socket)) => {
                // Not the child's own: ssh would make it non-blocking for this side too.
                let socket = socket.try_clone().map_err(io_error)?;
                let until_then = sender.clone();
                std::thread::spawn(move || {
                    // Where it breaks, the child's end tells why.
                    let _ = relay(stdout, socket);
                    drop(until_then);
                });
            }
            (Some(stdout), _) => {
                pump(stdout, Stream::Stdout, longest, sender.clone(), ended.clone());
            }
            (None, _) => {}
        }
        if let Some(stderr) = child.stderr.take() {
            pump(stderr, Stream::Stderr, longest, sender, ended.clone());
        }
        let (deadline, limits) = (cmd.deadline, cmd.limits);
        let (terminal, quiet, to_the_end) = (cmd.terminal, cmd.quiet, cmd.to_the_end);
        if let Some(mut pipe) = child.stdin.take() {
            // A child may end without reading: its exit status tells more than EPIPE.
            std::thread::spawn(move || feed(&mut pipe, cmd.preamble, cmd.input, cmd.on_sent));
        }
        Ok(Self {
            child,
            command,
            started: Instant::now(),
            deadline,
            terminal,
            quiet,
            to_the_end,
            limits,
            pieces,
            ended,
            stdout: Vec::new(),
            stderr: String::new(),
            logged: 0,
        })
    }

    /// Hands over each scrubbed line as it comes, until the process has ended.
    pub(crate) fn until_the_end(
        mut self,
        mut on_line: impl FnMut(Stream, &str),
    ) -> Result<Output, ExecError> {
        loop {
            match self.pieces.recv_timeout(TICK) {
                Ok(Piece::Lines(stream, lines)) => self.take(stream, &lines, &mut on_line)?,
                Ok(Piece::TooLong) => return Err(self.too_much("in one line", self.limits.line)),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.look_at_limits()?;
            if !self.ended.load(Ordering::Acquire) && self.status()?.is_some() {
                self.ended.store(true, Ordering::Release);
            }
        }
        // A child can close its streams and go on.
        let status = loop {
            if let Some(status) = self.status()? {
                break status;
            }
            self.look_at_limits()?;
            std::thread::sleep(Duration::from_millis(5));
        };
        let seconds = self.started.elapsed().as_secs_f32();
        tracing::info!(command = %self.command, status = %describe(status), seconds, "end");
        if !status.success() && !self.to_the_end && self.was_interrupted() {
            return Err(ExecError::Interrupted { command: self.command });
        }
        Ok(Output { status, stdout: self.stdout, stderr: self.stderr })
    }

    fn take(
        &mut self,
        stream: Stream,
        lines: &[u8],
        on_line: &mut impl FnMut(Stream, &str),
    ) -> Result<(), ExecError> {
        if stream == Stream::Stdout {
            if self.stdout.len() + lines.len() > self.limits.kept {
                return Err(self.too_much("on standard output", self.limits.kept));
            }
            self.stdout.extend_from_slice(lines);
        }
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let line = scrub(String::from_utf8_lossy(line).trim_end_matches('\n'));
            on_line(stream, &line);
            if stream == Stream::Stderr {
                self.log(&line)?;
            }
        }
        Ok(())
    }

    /// Takes a line of standard error to the log and, unless it is quiet, to what is kept.
    fn log(&mut self, line: &str) -> Result<(), ExecError> {
        self.logged += line.len() + 1;
        let is_full = self.logged > self.limits.logged;
        match (self.quiet, is_full) {
            // Nothing of it is kept: a long build may say much.
            (true, true) => {}
            (true, false) => tracing::debug!(target: "stderr", "{line}"),
            (false, true) => {
                return Err(self.too_much("on standard error", self.limits.logged));
            }
            (false, false) => {
                tracing::info!(target: "stderr", "{line}");
                self.limits.keep_end(&mut self.stderr, line);
            }
        }
        Ok(())
    }

    fn too_much(&mut self, of: &'static str, limit: usize) -> ExecError {
        tracing::warn!(command = %self.command, "more than {limit} bytes {of}");
        self.end();
        ExecError::TooMuch { command: self.command.clone(), of, limit }
    }

    /// Ends the process when the user wants that or its time is over.
    fn look_at_limits(&mut self) -> Result<(), ExecError> {
        let command = || self.command.clone();
        if interrupted() && !self.to_the_end {
            let error = ExecError::Interrupted { command: command() };
            self.end();
            return Err(error);
        }
        match self.deadline {
            Some(deadline) if self.started.elapsed() > deadline => {
                tracing::warn!(command = %self.command, "deadline passed");
                let stderr = self.stderr.clone();
                let error = ExecError::Deadline { command: command(), deadline, stderr };
                self.end();
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Whether the user wants the end: what a child said then is no finding. A child that
    /// shares the terminal hears of it first.
    fn was_interrupted(&self) -> bool {
        if self.terminal && !interrupted() {
            std::thread::sleep(TICK);
        }
        interrupted()
    }

    fn status(&mut self) -> Result<Option<ExitStatus>, ExecError> {
        let command = &self.command;
        self.child.try_wait().map_err(|source| ExecError::Io { command: command.clone(), source })
    }

    fn end(&mut self) {
        use rustix::process::{Pid, Signal, kill_process, kill_process_group};
        let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else { return };
        let terminal = self.terminal;
        let signal = |signal| {
            // The child may have ended by itself meanwhile.
            let _ =
                if terminal { kill_process(pid, signal) } else { kill_process_group(pid, signal) };
        };
        signal(Signal::TERM);
        let until = Instant::now() + GRACE;
        while Instant::now() < until {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

/// How a process ended, for people.
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended in an unknown way".to_owned(),
    }
}
