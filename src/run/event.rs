//! Everything that happens in a run, as one enum. Steps emit; only `ui` prints.

use std::sync::mpsc::Sender;

use jiff::Timestamp;
use serde::Serialize;

use super::step::{Evidence, StepId};

/// How far a long piece of work has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// What is being done: "copying", "building glibc-2.40".
    pub label: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_done: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_total: Option<u64>,
    /// Store paths, files or derivations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items_done: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items_total: Option<u64>,
}

/// How a step ended in this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// Ran now.
    Applied,
    /// Was found done already.
    AlreadyDone,
    #[serde(rename = "superseded")]
    NotApplicable,
    /// Left out by a flag or because the configuration has no use for it.
    Skipped,
}

/// What happens, in the order in which it happens.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Event {
    RunStarted {
        run: String,
        strategy: String,
        target: String,
        /// Where the log is; none when nothing of the run is kept.
        log: Option<String>,
        resumed: bool,
    },
    /// The target's phase was established: "installer", "installed", …
    Phase {
        phase: String,
    },
    StepStarted {
        title: String,
    },
    StepEnded {
        ending: Ending,
        evidence: Evidence,
        seconds: f64,
    },
    StepFailed {
        what: String,
        why: String,
        hint: String,
        seconds: f64,
    },
    Progress {
        progress: Progress,
    },
    /// A line worth telling, not a problem.
    Note {
        text: String,
    },
    Warning {
        text: String,
    },
    /// Something outside landfall is waited for.
    Waiting {
        what: String,
        deadline_seconds: u64,
    },
    /// The wait is over.
    Arrived {
        what: String,
    },
    RunEnded {
        exit: u8,
        seconds: f64,
    },
}

/// An event with its time, host and step, as the `json` log format prints it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stamped {
    pub time: Timestamp,
    pub host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<StepId>,
    #[serde(flatten)]
    pub event: Event,
}

/// The sending end: cheap to clone, safe to use from any thread.
#[derive(Debug, Clone)]
pub struct Events {
    host: String,
    step: Option<StepId>,
    sender: Sender<Stamped>,
}

impl Events {
    pub fn new(host: impl Into<String>, sender: Sender<Stamped>) -> Self {
        Self { host: host.into(), step: None, sender }
    }

    /// The same channel, speaking for `step`.
    #[must_use]
    pub fn of(&self, step: StepId) -> Self {
        Self { step: Some(step), ..self.clone() }
    }

    pub fn emit(&self, event: Event) {
        let stamped =
            Stamped { time: Timestamp::now(), host: self.host.clone(), step: self.step, event };
        // The ui may have ended first (a closed pipe): the run goes on without it.
        let _ = self.sender.send(stamped);
    }

    pub fn note(&self, text: impl Into<String>) {
        self.emit(Event::Note { text: text.into() });
    }

    pub fn warn(&self, text: impl Into<String>) {
        self.emit(Event::Warning { text: text.into() });
    }

    pub fn progress(&self, progress: Progress) {
        self.emit(Event::Progress { progress });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_form_has_time_host_step_and_kind() {
        let (sender, receiver) = std::sync::mpsc::channel();
        Events::new("guppy", sender).of(StepId::Copy).note("hello");
        let json = serde_json::to_value(receiver.recv().unwrap()).unwrap();
        assert_eq!(json["host"], "guppy");
        assert_eq!(json["step"], "copy");
        assert_eq!(json["kind"], "note");
        assert!(json["time"].is_string());
    }
}
