//! Listening to a nix that works: reports at a calm pace, the run's log, and what
//! an error needs in the end.

use std::time::{Duration, Instant};

use super::json_log::{Heard, JsonLog, Message};
use super::{NixError, Report};
use crate::exec::ExecError;
use crate::run::event::Progress;

/// Progress is told no more often than this.
const PACE: Duration = Duration::from_millis(100);
/// Of what nix says, an error is made; there is no need for all of it.
const MOST_MESSAGES: usize = 200;

/// How nix warns of what it was told to do: lock files are written in one step only.
const OWN_WISH: &str = "not writing modified lock file";

/// Hears nix's log: reports, writes the run's log, keeps what an error needs.
pub(super) struct Listener<'a> {
    log: JsonLog,
    said: Vec<Message>,
    /// What ssh and git said, which nix starts; a failure is often theirs.
    others: Vec<String>,
    build_logs: bool,
    told: Option<(Instant, Progress)>,
    on_report: &'a mut dyn FnMut(Report),
}

impl<'a> Listener<'a> {
    pub(super) fn new(build_logs: bool, on_report: &'a mut dyn FnMut(Report)) -> Self {
        Self {
            log: JsonLog::default(),
            said: Vec::new(),
            others: Vec::new(),
            build_logs,
            told: None,
            on_report,
        }
    }

    pub(super) fn line(&mut self, line: &str) {
        match self.log.line(line) {
            Heard::Counted => {
                if self.told.as_ref().is_none_or(|(at, _)| at.elapsed() >= PACE) {
                    self.tell();
                }
            }
            Heard::Message(message) => self.message(message),
            Heard::BuildLog(text) => {
                tracing::info!(target: "build", "{text}");
                if self.build_logs {
                    (self.on_report)(Report::BuildLog(text));
                }
            }
            Heard::Foreign => {
                tracing::info!(target: "stderr", "{line}");
                keep(&mut self.others, line.to_owned());
            }
        }
    }

    fn message(&mut self, message: Message) {
        // Level 4 and above is talk about single files.
        if message.level > 3 {
            return;
        }
        tracing::info!(target: "nix", "{}", message.text);
        if message.level == 1 {
            let (_, text) = message.text.split_once("warning: ").unwrap_or(("", &message.text));
            if !text.starts_with(OWN_WISH) {
                (self.on_report)(Report::Warning(text.to_owned()));
            }
        }
        keep(&mut self.said, message);
    }

    fn tell(&mut self) {
        let progress = self.log.progress();
        let news = progress != Progress::default()
            && self.told.as_ref().is_none_or(|(_, told)| *told != progress);
        if news {
            (self.on_report)(Report::Progress(progress.clone()));
        }
        self.told = Some((Instant::now(), progress));
    }

    /// The last state is always told.
    pub(super) fn end(&mut self) {
        self.tell();
    }

    /// A failed run as the error that nix meant.
    pub(super) fn error(&self, what: &str, error: ExecError) -> NixError {
        NixError::of(what, error, &self.said, &self.others)
    }
}

fn keep<T>(list: &mut Vec<T>, item: T) {
    if list.len() == MOST_MESSAGES {
        list.remove(0);
    }
    list.push(item);
}
