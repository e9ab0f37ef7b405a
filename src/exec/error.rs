//! Why a command did not do its work.

use std::io;
use std::time::Duration;

use crate::error::{Advice, Exit};

/// How ssh ends when it lost its machine, or never had it.
pub(super) const LOST: i32 = 255;
/// Lines of standard error kept for an error message.
const TAIL_LINES: usize = 12;

/// Why a command did not do its work. The command is named as [`super::Cmd::name`] does;
/// its arguments are in the log.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    #[error("{command} could not be started: {source}")]
    Start { command: String, source: io::Error },
    #[error("{command} failed ({status}){}", tail(stderr))]
    Failed { command: String, status: String, code: Option<i32>, stderr: String },
    #[error("{command} did not end within {} s and was stopped{}", deadline.as_secs(), tail(stderr))]
    Deadline { command: String, deadline: Duration, stderr: String },
    #[error("the connection to {to} was lost ({command}){}", tail(stderr))]
    Lost { command: String, to: String, stderr: String },
    #[error("{command} printed more than {} MiB {of}, and was stopped", limit >> 20)]
    TooMuch { command: String, of: &'static str, limit: usize },
    #[error("{command} was interrupted")]
    Interrupted { command: String },
    #[error("talking to {command} failed: {source}")]
    Io { command: String, source: io::Error },
}

impl ExecError {
    /// What the child said on standard error, scrubbed.
    pub fn stderr(&self) -> &str {
        match self {
            Self::Failed { stderr, .. }
            | Self::Deadline { stderr, .. }
            | Self::Lost { stderr, .. } => stderr,
            _ => "",
        }
    }

    /// The exit code of a child that ran and failed.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Failed { code, .. } => *code,
            Self::Lost { .. } => Some(LOST),
            _ => None,
        }
    }

    /// Whether the user, not the child, ended it.
    pub(crate) fn is_interrupt(&self) -> bool {
        matches!(self, Self::Interrupted { .. })
    }

    /// Whether the program is not installed.
    pub(crate) fn is_missing_program(&self) -> bool {
        matches!(self, Self::Start { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

fn tail(stderr: &str) -> String {
    let lines: Vec<&str> = stderr.lines().filter(|line| !line.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    lines[from..].iter().map(|line| format!("\n    {line}")).collect()
}

impl Advice for ExecError {
    fn hint(&self) -> String {
        match self {
            Self::Start { .. } if self.is_missing_program() => {
                "Install the program, or run landfall where it is in PATH.".into()
            }
            Self::Interrupted { .. } => "Run the same command again to go on.".into(),
            Self::Lost { .. } => {
                "Check that the machine is on and can be reached, then run the same command \
                 again: it goes on where it stopped."
                    .into()
            }
            Self::TooMuch { .. } => {
                "Look at the program, or at the machine that it ran on: what it should print is \
                 far less. The log has its beginning."
                    .into()
            }
            Self::Deadline { .. } => {
                "See the log for its whole output, then run the same command again.".into()
            }
            _ => "See the log for its whole output.".into(),
        }
    }

    fn exit(&self) -> Exit {
        if self.is_interrupt() { Exit::Interrupted } else { Exit::Failed }
    }
}
