//! The live view: steps that run, with time, bar and figures, below what is done.
//!
//! What is over (a step, a note, a warning) scrolls up and stays; what goes on is
//! drawn anew ten times a second. Every live line is cut to the terminal's width.

use std::io::{self, Write};

use jiff::Timestamp;

use super::View;
use super::clean::for_people;
use super::live::{Live, Size};
use super::progress::{Tracker, bar, since};
use super::report::{Row, Tally};
use super::style::Style;
use super::text::{duration, first_line, fit, limit, pad, width, wrap};
use crate::run::event::{Event, Stamped};
use crate::run::step::StepId;

const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const SPINS_PER_SECOND: f64 = 10.0;
/// Columns of the longest step's name.
const NAME: usize = 9;
/// Columns of a duration.
const TIME: usize = 7;
/// With less room than this, what is worked on is not told.
const SHORTEST_LABEL: usize = 12;
/// Mark, name and their gaps.
const INDENT: usize = 2 + NAME + 1;

/// The live view on a terminal whose size `size` tells.
#[derive(Debug)]
pub struct Human<W> {
    live: Live<W>,
    size: fn() -> Size,
    style: Style,
    resume: Option<String>,
    tally: Tally,
    running: Vec<Running>,
    begun: Option<Timestamp>,
}

/// A step that goes on, or what goes on outside any step.
#[derive(Debug)]
struct Running {
    step: Option<StepId>,
    title: String,
    begun: Timestamp,
    tracker: Option<Tracker>,
    waiting: Option<Wait>,
}

#[derive(Debug)]
struct Wait {
    what: String,
    begun: Timestamp,
    deadline: u64,
}

impl<W: Write> Human<W> {
    pub fn new(out: W, size: fn() -> Size, style: Style, resume: Option<String>) -> Self {
        Self {
            live: Live::new(out),
            size,
            style,
            resume,
            tally: Tally::default(),
            running: Vec::new(),
            begun: None,
        }
    }

    fn columns(&self) -> usize {
        (self.size)().columns
    }

    fn draw(&mut self, above: &[String], now: Timestamp) -> io::Result<()> {
        let size = (self.size)();
        let lines = self.frame(now, size.columns);
        self.live.draw(above, &lines, size)
    }

    /// What the live part shows at `now`.
    fn frame(&self, now: Timestamp, columns: usize) -> Vec<String> {
        let mut lines: Vec<String> = self
            .running
            .iter()
            .flat_map(|running| running.lines(now, columns, self.style))
            .collect();
        if let (Some(begun), false) = (self.begun, lines.is_empty()) {
            lines.push(self.style.dim(&format!("  {} in all", seconds_shown(begun, now))));
        }
        lines
    }

    /// The entry of `stamped`'s step, made when the step was not announced.
    fn entry(&mut self, stamped: &Stamped) -> &mut Running {
        let found = self.running.iter().position(|running| running.step == stamped.step);
        let index = found.unwrap_or_else(|| {
            self.running.push(Running {
                step: stamped.step,
                title: stamped.step.map(StepId::title).unwrap_or_default().to_owned(),
                begun: stamped.time,
                tracker: None,
                waiting: None,
            });
            self.running.len() - 1
        });
        &mut self.running[index]
    }

    /// Takes an event in and returns the lines that stay of it.
    fn take(&mut self, stamped: &Stamped) -> Vec<String> {
        let style = self.style;
        match &stamped.event {
            Event::RunStarted { strategy, target, log, resumed, .. } => {
                self.begun = Some(stamped.time);
                let verb = if *resumed { " (resumed)" } else { "" };
                let to = if target.is_empty() { String::new() } else { format!(" → {target}") };
                let head = format!("{}{to}, {strategy}{verb}", stamped.host);
                let log = log.iter().map(|log| style.dim(&format!("log {log}")));
                [style.strong(&head)].into_iter().chain(log).chain([String::new()]).collect()
            }
            Event::Phase { phase } => {
                vec![style.dim(&format!("  the target is {phase}"))]
            }
            Event::StepStarted { title } => {
                let title = first_line(title);
                self.entry(stamped).title = title;
                Vec::new()
            }
            Event::StepEnded { .. } | Event::StepFailed { .. } => {
                self.running.retain(|running| running.step != stamped.step);
                Row::of(stamped).map(|row| self.over(&row)).into_iter().collect()
            }
            Event::Progress { progress } => {
                let step = stamped.step;
                let entry = self.entry(stamped);
                let tracker = entry.tracker.get_or_insert_with(|| Tracker::new(step));
                tracker.update(stamped.time, progress);
                Vec::new()
            }
            Event::Note { text } => self.told(stamped, text, |line| style.dim(line)),
            Event::Warning { text } => {
                self.told(stamped, &format!("warning: {text}"), |line| style.warning(line))
            }
            Event::Waiting { what, deadline_seconds } => {
                let wait = Wait {
                    what: first_line(what),
                    begun: stamped.time,
                    deadline: *deadline_seconds,
                };
                self.entry(stamped).waiting = Some(wait);
                Vec::new()
            }
            Event::Arrived { what } => {
                if let Some(running) =
                    self.running.iter_mut().find(|running| running.step == stamped.step)
                {
                    running.waiting = None;
                }
                self.told(stamped, what, |line| style.dim(line))
            }
            Event::RunEnded { exit, seconds } => {
                self.running.clear();
                let style = Style { columns: Some(self.columns()), ..style };
                let text = self.tally.closing(*exit, *seconds, self.resume.as_deref(), style);
                text.lines().map(str::to_owned).collect()
            }
        }
    }

    /// The line of a step that is over.
    fn over(&self, row: &Row) -> String {
        let time = format!("{:>TIME$}", row.time());
        let line = format!(
            "{} {:<NAME$} {}  {}",
            row.mark.show(self.style),
            row.name(),
            self.style.dim(&time),
            row.text
        );
        fit(&line, self.columns())
    }

    /// A note or warning: whole, broken at the terminal's width.
    fn told(&self, stamped: &Stamped, text: &str, paint: impl Fn(&str) -> String) -> Vec<String> {
        let who = stamped.step.map_or("", StepId::as_str);
        let columns = self.columns().saturating_sub(INDENT).max(20);
        let lines = wrap(text, columns);
        let heads = std::iter::once(who).chain(std::iter::repeat(""));
        let lines = lines.iter().zip(heads);
        lines
            .map(|(line, who)| format!("  {} {}", self.style.dim(&pad(who, NAME)), paint(line)))
            .collect()
    }
}

impl Running {
    /// One line of what it is, and one of how far, where that is known.
    fn lines(&self, now: Timestamp, columns: usize, style: Style) -> Vec<String> {
        let spin = (since(self.begun, now) * SPINS_PER_SECOND) as usize % SPINNER.len();
        let mut lines = vec![format!(
            "{} {:<NAME$} {:>TIME$}  {}",
            style.active(SPINNER[spin]),
            self.step.map_or("", StepId::as_str),
            seconds_shown(self.begun, now),
            self.title
        )];
        let below = " ".repeat(INDENT);
        if let Some(wait) = &self.waiting {
            let most = limit(wait.deadline);
            let waited = seconds_shown(wait.begun, now);
            let tail = format!(", {waited} of at most {most}");
            let room = columns.saturating_sub(INDENT);
            let text = squeeze(&format!("waiting for {}", wait.what), &tail, room);
            lines.push(format!("{below}{}", style.warning(&text)));
        } else if let Some(tracker) = &self.tracker {
            lines.push(format!(
                "{below}{}",
                measured(tracker, columns.saturating_sub(INDENT), style)
            ));
        }
        lines
    }
}

/// `head` and `tail`, of which `head` gives way where it is narrow.
fn squeeze(head: &str, tail: &str, columns: usize) -> String {
    format!("{}{tail}", fit(head, columns.saturating_sub(width(tail))))
}

/// Bar, per cent, figures and label, in this order of importance.
fn measured(tracker: &Tracker, columns: usize, style: Style) -> String {
    let mut parts = Vec::new();
    if let Some(share) = tracker.share() {
        let bar_columns = match columns {
            90.. => 24,
            60..90 => 14,
            40..60 => 8,
            _ => 0,
        };
        let percent = format!("{:>3} %", (share * 100.0).floor());
        parts.push(if bar_columns == 0 {
            percent
        } else {
            format!("{} {percent}", bar(share, bar_columns, style))
        });
    }
    let figures = tracker.figures();
    if !figures.is_empty() {
        parts.push(figures);
    }
    let text = parts.join("  ");
    let room = columns.saturating_sub(width(&text) + 2);
    match fit(&tracker.label(), room) {
        label if label.is_empty() || room < SHORTEST_LABEL => text,
        label if text.is_empty() => style.dim(&label),
        label => format!("{text}  {}", style.dim(&label)),
    }
}

/// Time since `begun` in whole seconds: tenths would flicker.
fn seconds_shown(begun: Timestamp, now: Timestamp) -> String {
    duration(since(begun, now).floor())
}

impl<W: Write + Send> View for Human<W> {
    fn show(&mut self, stamped: &Stamped) -> io::Result<()> {
        let stamped = &for_people(stamped);
        self.tally.add(stamped);
        let above = self.take(stamped);
        // Progress comes in floods; the next tick shows it.
        if above.is_empty() && matches!(stamped.event, Event::Progress { .. }) {
            return Ok(());
        }
        self.draw(&above, stamped.time)
    }

    fn tick(&mut self, now: Timestamp) -> io::Result<()> {
        self.draw(&[], now)
    }

    fn hide(&mut self) -> io::Result<()> {
        self.live.clear((self.size)())
    }
}
