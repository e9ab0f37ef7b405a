//! Why a command did not do its work.

use std::io;
use std::time::Duration;

use crate::error::{Advice, Exit};

/// Lines of standard error kept for an error message.
const TAIL_LINES: usize = 12;

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    #[error("{command} could not be started: {source}")]
    Start { command: String, source: io::Error },
    #[error("{command} failed ({status}){}", tail(stderr))]
    Failed { command: String, status: String, code: Option<i32>, stderr: String },
    #[error("{command} did not end within {} s and was stopped{}", deadline.as_secs(), tail(stderr))]
    Deadline { command: String, deadline: Duration, stderr: String },
    #[error("{command} was interrupted")]
    Interrupted { command: String },
    #[error("talking to {command} failed: {source}")]
    Io { command: String, source: io::Error },
}

impl ExecError {
    /// What the child said on standard error, scrubbed.
    pub fn stderr(&self) -> &str {
        match self {
            Self::Failed { stderr, .. } | Self::Deadline { stderr, .. } => stderr,
            _ => "",
        }
    }

    /// The exit code of a child that ran and failed.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Failed { code, .. } => *code,
            _ => None,
        }
    }

    /// Whether the user, not the child, ended it.
    pub fn is_interrupt(&self) -> bool {
        matches!(self, Self::Interrupted { .. })
    }

    /// Whether the program is not installed.
    pub fn is_missing_program(&self) -> bool {
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
