//! What a run comes to: the closing table, and the block that explains a failure.
//!
//! A [`Tally`] listens to the same events as the views, so that the report needs
//! nothing but what was told already.

use std::path::Path;

use super::style::Style;
use super::table::table;
use super::text::{clean, clean_line, duration, first_line, wrap};
use crate::error::{Exit, StepError};
use crate::run::event::{Ending, Event, Stamped};
use crate::run::step::StepId;

/// How many lines of a cause are shown; the log has all of them.
const WHY_LINES: usize = 24;
/// How many of them are the first ones.
const FIRST_LINES: usize = 8;
/// Where text is broken when the columns are not known.
const READABLE: usize = 100;
const LABEL: usize = 7;

/// How a step ended, ready to be shown.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) step: Option<StepId>,
    pub(crate) mark: Mark,
    pub(crate) seconds: f64,
    pub(crate) text: String,
}

/// The sign before a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Done,
    /// Nothing had to be done.
    Still,
    Failed,
}

impl Mark {
    pub(crate) fn show(self, style: Style) -> String {
        match self {
            Self::Done => style.good("✓"),
            Self::Still => style.dim("·"),
            Self::Failed => style.bad("✗"),
        }
    }
}

impl Row {
    /// The row that an event ends a step with, if it does.
    pub(crate) fn of(stamped: &Stamped) -> Option<Self> {
        let (mark, seconds, text) = match &stamped.event {
            Event::StepEnded { ending, evidence, seconds } => {
                let mark = if *ending == Ending::Applied { Mark::Done } else { Mark::Still };
                (mark, *seconds, ended(*ending, &evidence.summary))
            }
            Event::StepFailed { what, seconds, .. } => (Mark::Failed, *seconds, first_line(what)),
            _ => return None,
        };
        Some(Self { step: stamped.step, mark, seconds, text })
    }

    /// How long it took; nothing for what was only looked at.
    pub(crate) fn time(&self) -> String {
        match self.mark {
            Mark::Still if self.seconds < 0.05 => String::new(),
            _ => duration(self.seconds),
        }
    }

    /// The step's name; what belongs to no step has none.
    pub(crate) fn name(&self) -> &'static str {
        self.step.map_or("", StepId::as_str)
    }
}

/// `done already: …` and its like.
fn ended(ending: Ending, summary: &str) -> String {
    let prefix = match ending {
        Ending::Applied => "",
        Ending::AlreadyDone => "done already",
        Ending::NotApplicable => "no longer needed",
        Ending::Skipped => "left out",
    };
    match (prefix, first_line(summary)) {
        (prefix, summary) if summary.is_empty() => prefix.to_owned(),
        ("", summary) => summary,
        (prefix, summary) => format!("{prefix}: {summary}"),
    }
}

/// What was told of a run so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    host: String,
    log: Option<String>,
    /// The last step that is done.
    reached: Option<StepId>,
    rows: Vec<Row>,
    failures: Vec<(Option<StepId>, StepError)>,
    warnings: usize,
}

impl Tally {
    pub(crate) fn add(&mut self, stamped: &Stamped) {
        self.host.clone_from(&stamped.host);
        match &stamped.event {
            Event::RunStarted { log, .. } => self.log = log.clone(),
            Event::StepEnded { ending, .. } if *ending != Ending::Skipped => {
                self.reached = stamped.step;
            }
            Event::Warning { .. } => self.warnings += 1,
            Event::StepFailed { what, why, hint, .. } => {
                self.failures.push((stamped.step, StepError::new(what, why, hint)));
            }
            _ => {}
        }
        self.rows.extend(Row::of(stamped));
    }

    /// The report at the end of a run: table, total, and what to do after a failure. One
    /// that came to no step has nothing to report: its result or its error tells by itself.
    pub(crate) fn closing(
        &self,
        exit: u8,
        seconds: f64,
        resume: Option<&str>,
        style: Style,
    ) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let mut text = String::from("\n");
        let mut rows: Vec<Vec<String>> = self.rows.iter().map(|row| cells(row, style)).collect();
        rows.push(vec![String::new(), style.strong("total"), style.strong(&duration(seconds))]);
        text.push_str(&table(&["", "step", "time", "result"], &rows, style));
        text.push('\n');
        let log = self.log.as_deref().map(Path::new);
        for (step, error) in &self.failures {
            text.push_str(&block(*step, error, resume, log, style));
        }
        text.push_str(&self.verdict(exit, resume, style));
        text
    }

    fn verdict(&self, exit: u8, resume: Option<&str>, style: Style) -> String {
        let host = &self.host;
        if exit == Exit::Done as u8 {
            let warnings = match self.warnings {
                0 => String::new(),
                1 => ", with one warning above".to_owned(),
                count => format!(", with {count} warnings above"),
            };
            let done = match self.reached {
                Some(StepId::Check) => format!("the checks of {host} passed"),
                // Stopped before the installed system was booted.
                Some(step) if step <= StepId::Install => format!("{host} is done up to {step}"),
                _ => format!("{host} is done"),
            };
            return format!("{}\n", style.good(&format!("{done}{warnings}.")));
        }
        if !self.failures.is_empty() {
            return String::new();
        }
        let ended = if exit == Exit::Interrupted as u8 { "was interrupted" } else { "is not done" };
        let mut text = format!("{}\n", style.warning(&format!("{host} {ended}.")));
        if let Some(resume) = resume {
            text.push_str(&format!("Go on with: {}\n", style.strong(resume)));
        }
        text
    }
}

fn cells(row: &Row, style: Style) -> Vec<String> {
    let name = match row.mark {
        Mark::Failed => style.bad(row.name()),
        Mark::Done => row.name().to_owned(),
        Mark::Still => style.dim(row.name()),
    };
    vec![row.mark.show(style), name, row.time(), row.text.clone()]
}

/// The block that explains `error`: what failed, why, what to do, where the log is,
/// and the command that resumes.
pub(crate) fn block(
    step: Option<StepId>,
    error: &StepError,
    resume: Option<&str>,
    log: Option<&Path>,
    style: Style,
) -> String {
    let columns = style.columns.unwrap_or(READABLE).max(20);
    let step = step.map(|step| format!("{step}: ")).unwrap_or_default();
    let heading = wrap(&format!("{step}{}", clean(&error.what)), columns - 2).join("\n  ");
    let mut text = format!("{} {}\n\n", style.bad("✗"), style.strong(&heading));
    let why = clean(&error.why);
    // Where no log keeps the rest, all of it is shown.
    let why = if log.is_some() { ends(&why) } else { why };
    section(&mut text, "why", &why, columns, style);
    section(&mut text, "next", &clean(&error.hint), columns, style);
    if let Some(log) = log {
        // Paths and commands stay whole, to be copied.
        section(&mut text, "log", &clean_line(&log.display().to_string()), usize::MAX, style);
    }
    if let Some(resume) = resume {
        section(&mut text, "resume", &clean_line(resume), usize::MAX, style);
    }
    text.push('\n');
    text
}

fn section(text: &mut String, label: &str, body: &str, columns: usize, style: Style) {
    let mut label = style.dim(&format!("{label:<LABEL$}"));
    for line in wrap(body.trim_matches('\n'), columns.saturating_sub(LABEL + 2)) {
        text.push_str(format!("  {label}{line}").trim_end());
        text.push('\n');
        label = " ".repeat(LABEL);
    }
}

/// The first and the last lines of `text`, with a word about those that are missing:
/// causes come first, and what a program said last comes last.
fn ends(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let Some(hidden @ 1..) = lines.len().checked_sub(WHY_LINES) else { return lines.join("\n") };
    let (first, last) = (&lines[..FIRST_LINES], &lines[FIRST_LINES + hidden..]);
    let missing = format!("({hidden} more lines are in the log)");
    [first, &[missing.as_str()], last].concat().join("\n")
}

/// Tells an error that ended a command outside a run, on standard error.
pub(crate) fn report_error(
    error: &StepError,
    resume: Option<&str>,
    log: Option<&Path>,
    style: Style,
) {
    let text = block(None, error, resume, log, style);
    // Nobody is left to tell when standard error is closed.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_tells_what_why_next_log_and_resume() {
        let why = (1..=32).map(|n| format!("line {n}\n")).collect::<String>();
        let error = StepError::new(
            "copying the system to guppy failed",
            why,
            "Check the network between the machines, then run the same command again: what was copied stays.",
        );
        let text = block(
            Some(StepId::Copy),
            &error,
            Some("landfall bootstrap guppy root@192.0.2.10"),
            Some(Path::new("/home/ann/.local/state/landfall/guppy/0b5/log")),
            Style { color: false, columns: Some(60) },
        );
        insta::assert_snapshot!(text);
    }

    #[test]
    fn an_error_without_a_cause_has_no_empty_part() {
        let error = StepError::new("no such host", "", "Name one of: guppy.");
        let text = block(None, &error, None, None, Style::PLAIN);
        assert_eq!(text, "✗ no such host\n\n  next   Name one of: guppy.\n\n");
    }
}
