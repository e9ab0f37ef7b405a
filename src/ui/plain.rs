//! One line for each thing that happens: for pipes, files and dumb terminals.
//!
//! No colour unless asked for, no carriage return, and progress only now and then.

use std::collections::HashMap;
use std::io::{self, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::View;
use super::clean::for_people;
use super::progress::{Tracker, since};
use super::report::{Mark, Row, Tally};
use super::style::Style;
use super::text::{duration, limit};
use crate::run::event::{Event, Stamped};
use crate::run::step::StepId;

/// Progress is told at most this often,
const SECONDS_BETWEEN: f64 = 5.0;
/// and then only when it came this far, or when
const SHARE_BETWEEN: f64 = 0.1;
/// so much time went by that a reader may doubt that it goes on.
const SECONDS_OF_DOUBT: f64 = 30.0;

/// The plain view.
#[derive(Debug)]
pub struct Plain<W> {
    out: W,
    zone: TimeZone,
    style: Style,
    resume: Option<String>,
    tally: Tally,
    works: HashMap<Option<StepId>, Work>,
}

/// Long work of one step, and what was told of it.
#[derive(Debug)]
struct Work {
    tracker: Tracker,
    told: Timestamp,
    share: f64,
}

impl<W: Write> Plain<W> {
    pub fn new(out: W, zone: TimeZone, style: Style, resume: Option<String>) -> Self {
        Self { out, zone, style, resume, tally: Tally::default(), works: HashMap::new() }
    }

    fn line(&mut self, stamped: &Stamped, text: &str) -> io::Result<()> {
        let time = stamped.time.to_zoned(self.zone.clone()).strftime("%H:%M:%S").to_string();
        let who = stamped.step.map_or("run", StepId::as_str);
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            writeln!(self.out, "{} {who:<9} {}", self.style.dim(&time), line.trim_end())?;
        }
        self.out.flush()
    }

    /// The figures, when it is time to tell them again.
    fn progress(
        &mut self,
        stamped: &Stamped,
        progress: &crate::run::event::Progress,
    ) -> Option<String> {
        let work = self.works.entry(stamped.step).or_insert_with(|| Work {
            tracker: Tracker::new(stamped.step),
            told: stamped.time,
            share: 0.0,
        });
        work.tracker.update(stamped.time, progress);
        let waited = since(work.told, stamped.time);
        let share = work.tracker.share().unwrap_or(0.0);
        let far = (share - work.share).abs() >= SHARE_BETWEEN;
        if waited < SECONDS_BETWEEN || !(far || waited >= SECONDS_OF_DOUBT) {
            return None;
        }
        work.told = stamped.time;
        work.share = share;
        let parts = [work.tracker.label(), work.tracker.figures()];
        Some(parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": "))
    }

    fn ended(&mut self, stamped: &Stamped, row: &Row) -> io::Result<()> {
        self.works.remove(&stamped.step);
        let time = duration(row.seconds);
        let head = match row.mark {
            Mark::Done => self.style.good(&format!("done in {time}")),
            Mark::Still => return self.line(stamped, &row.text),
            Mark::Failed => self.style.bad(&format!("failed after {time}")),
        };
        let tail = if row.text.is_empty() { String::new() } else { format!(": {}", row.text) };
        self.line_styled(stamped, &head, &tail)
    }

    /// A line whose head is coloured already.
    fn line_styled(&mut self, stamped: &Stamped, head: &str, tail: &str) -> io::Result<()> {
        let time = stamped.time.to_zoned(self.zone.clone()).strftime("%H:%M:%S").to_string();
        let who = stamped.step.map_or("run", StepId::as_str);
        writeln!(self.out, "{} {who:<9} {head}{tail}", self.style.dim(&time))?;
        self.out.flush()
    }
}

impl<W: Write + Send> View for Plain<W> {
    fn show(&mut self, stamped: &Stamped) -> io::Result<()> {
        let stamped = &for_people(stamped);
        self.tally.add(stamped);
        match &stamped.event {
            Event::RunStarted { run, strategy, target, log, resumed } => {
                let verb = if *resumed { "goes on" } else { "begins" };
                let host = &stamped.host;
                let log = log.as_ref().map(|log| format!("\nlog {log}")).unwrap_or_default();
                let to = if target.is_empty() { String::new() } else { format!(" to {target}") };
                self.line(stamped, &format!("{host} {verb}: {strategy}{to}, run {run}{log}"))
            }
            Event::Phase { phase } => self.line(stamped, &format!("the target is {phase}")),
            Event::StepStarted { title } => self.line(stamped, title),
            Event::StepEnded { .. } | Event::StepFailed { .. } => {
                Row::of(stamped).map_or(Ok(()), |row| self.ended(stamped, &row))
            }
            Event::Progress { progress } => match self.progress(stamped, progress) {
                Some(text) => self.line(stamped, &text),
                None => Ok(()),
            },
            Event::Note { text } => self.line(stamped, text),
            Event::Warning { text } => {
                let head = self.style.warning("warning: ");
                self.line_styled(stamped, &head, &text.replace('\n', " "))
            }
            Event::Waiting { what, deadline_seconds } => {
                let most = limit(*deadline_seconds);
                self.line(stamped, &format!("waiting for {what}, at most {most}"))
            }
            Event::Arrived { what } => self.line(stamped, what),
            Event::RunEnded { exit, seconds } => {
                let text = self.tally.closing(*exit, *seconds, self.resume.as_deref(), self.style);
                self.out.write_all(text.as_bytes())?;
                self.out.flush()
            }
        }
    }
}
