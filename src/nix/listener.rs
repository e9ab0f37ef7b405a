//! Reads the log of a running nix: reports progress at a limited rate, writes the run's log,
//! and keeps the messages from which [`NixError`] is made.

use std::time::{Duration, Instant};

use super::json_log::{JsonLog, LogLine, Message};
use super::{NixError, Report};
use crate::exec::ExecError;
use crate::run::event::Progress;

/// Least time between two reports of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// Most messages kept for an error; the oldest are dropped.
const MAX_MESSAGES: usize = 200;

/// The warning that `--no-write-lock-file` causes, which is not shown.
const EXPECTED_WARNING: &str = "not writing modified lock file";

/// Consumer of the lines of one nix process.
pub(super) struct Listener<'a> {
    log: JsonLog,
    messages: Vec<Message>,
    /// Lines of ssh and git, which nix starts; a failure is often theirs.
    other_lines: Vec<String>,
    build_logs: bool,
    last_progress: Option<(Instant, Progress)>,
    on_report: &'a mut dyn FnMut(Report),
}

impl<'a> Listener<'a> {
    pub(super) fn new(build_logs: bool, on_report: &'a mut dyn FnMut(Report)) -> Self {
        Self {
            log: JsonLog::default(),
            messages: Vec::new(),
            other_lines: Vec::new(),
            build_logs,
            last_progress: None,
            on_report,
        }
    }

    /// Handles one line of standard error.
    pub(super) fn line(&mut self, line: &str) {
        match self.log.read_line(line) {
            LogLine::Progress => {
                if self
                    .last_progress
                    .as_ref()
                    .is_none_or(|(at, _)| at.elapsed() >= PROGRESS_INTERVAL)
                {
                    self.report_progress();
                }
            }
            LogLine::Message(message) => self.message(message),
            LogLine::BuildLog(text) => {
                tracing::info!(target: "build", "{text}");
                if self.build_logs {
                    (self.on_report)(Report::BuildLog(text));
                }
            }
            LogLine::NotNix => {
                tracing::info!(target: "stderr", "{line}");
                keep(&mut self.other_lines, line.to_owned());
            }
        }
    }

    fn message(&mut self, message: Message) {
        // Level 4 and above is about single files.
        if message.level > 3 {
            return;
        }
        tracing::info!(target: "nix", "{}", message.text);
        if message.level == 1 {
            let (_, text) = message.text.split_once("warning: ").unwrap_or(("", &message.text));
            if !text.starts_with(EXPECTED_WARNING) {
                (self.on_report)(Report::Warning(text.to_owned()));
            }
        }
        keep(&mut self.messages, message);
    }

    fn report_progress(&mut self) {
        let progress = self.log.progress();
        let changed = progress != Progress::default()
            && self.last_progress.as_ref().is_none_or(|(_, last)| *last != progress);
        if changed {
            (self.on_report)(Report::Progress(progress.clone()));
        }
        self.last_progress = Some((Instant::now(), progress));
    }

    /// Reports the final progress, whatever the interval.
    pub(super) fn end(&mut self) {
        self.report_progress();
    }

    /// Turns a failed run about `what` into the error that nix reported.
    pub(super) fn error(&self, what: &str, error: ExecError) -> NixError {
        NixError::classify(what, error, &self.messages, &self.other_lines)
    }
}

/// Appends an item, and drops the oldest when there are too many.
fn keep<T>(list: &mut Vec<T>, item: T) {
    if list.len() == MAX_MESSAGES {
        list.remove(0);
    }
    list.push(item);
}
