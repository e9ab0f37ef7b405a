//! `landfall status`: runs and their steps, from the journals; no machine is asked.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;

use crate::error::{Exit, StepError};
use crate::run::journal;
use crate::run::journal::Line;
use crate::run::plan::{Plan, State};
use crate::run::run_dir::{HostState, RunDir, StateDir, StateError};
use crate::ui;
use crate::ui::text::duration;
use crate::ui::{Style, table};

/// Shows runs and their steps, with times.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example: landfall status guppy --json")]
pub struct StatusArgs {
    /// Only this host, with every step of its current run.
    pub host: Option<String>,
    /// Prints JSON: one object for HOST, else a list of them.
    #[arg(long)]
    pub json: bool,
}

/// A run as its journal tells it.
struct Run {
    plan: Plan,
    current: bool,
    completed: bool,
    began: Option<Timestamp>,
}

pub fn run(
    args: &StatusArgs,
    state: &StateDir,
    style: Style,
    out: &mut dyn Write,
) -> Result<Exit, StepError> {
    match &args.host {
        Some(host) => one_host(&state.host(host)?, args.json, style, out)?,
        None => all_hosts(state, args.json, style, out)?,
    }
    Ok(Exit::Done)
}

fn one_host(
    host: &HostState,
    json: bool,
    style: Style,
    out: &mut dyn Write,
) -> Result<(), StepError> {
    let mut runs = runs(host)?;
    let shown = runs.iter().position(|run| run.current).or(runs.len().checked_sub(1));
    let Some(shown) = shown else {
        return Err(StateError::NoRun { host: host.name().to_owned() }.into());
    };
    let run = runs.remove(shown);
    if json {
        return print_json(out, &run.plan);
    }
    let mut text = run.plan.text(style);
    if !runs.is_empty() {
        text.push_str(&format!("\n{}\n", style.strong("Other runs")));
        text.push_str(&listing(&runs, style));
    }
    print(out, &text)
}

fn all_hosts(
    state: &StateDir,
    json: bool,
    style: Style,
    out: &mut dyn Write,
) -> Result<(), StepError> {
    let mut all = Vec::new();
    for host in state.hosts()? {
        all.extend(runs(&host)?);
    }
    if json {
        return print_json(out, &all.iter().map(|run| &run.plan).collect::<Vec<_>>());
    }
    if all.is_empty() {
        return print(out, "No runs yet. `landfall bootstrap HOST TARGET` begins one.\n");
    }
    print(out, &listing(&all, style))
}

/// The runs of `host`, oldest first.
fn runs(host: &HostState) -> Result<Vec<Run>, StepError> {
    let current = host.current()?;
    let mut runs = Vec::new();
    for dir in host.runs()? {
        // A run that ended before its first line has nothing to tell.
        if dir.journal().exists() {
            runs.push(read(host, &dir, current.as_ref() == Some(&dir))?);
        }
    }
    runs.sort_by_key(|run| run.began);
    Ok(runs)
}

fn read(host: &HostState, dir: &RunDir, current: bool) -> Result<Run, StepError> {
    let path = dir.journal();
    let lines = journal::read(&path)?;
    let mut plan = Plan::from_journal(host.name(), &lines, is_held(&path));
    plan.run = Some(dir.id());
    Ok(Run {
        plan,
        current,
        completed: journal::completed(&lines),
        began: lines.first().map(|line: &Line| line.time),
    })
}

/// Whether a landfall that works on the run holds its journal.
fn is_held(path: &Path) -> bool {
    // The lock, when it is got, is given back as soon as the file is closed.
    File::open(path).is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared).is_err())
}

fn listing(runs: &[Run], style: Style) -> String {
    let rows: Vec<Vec<String>> = runs.iter().map(|run| cells(run, style)).collect();
    table(&["host", "state", "began", "took", "strategy", "target", "run"], &rows, style)
}

fn cells(run: &Run, style: Style) -> Vec<String> {
    let plan = &run.plan;
    let began = run
        .began
        .map(|time| time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string());
    let seconds: f64 = plan.steps.iter().filter_map(|step| step.seconds).sum();
    vec![
        plan.host.clone(),
        summary(run, style),
        began.unwrap_or_default(),
        duration(seconds),
        plan.strategy.clone().unwrap_or_default(),
        plan.target.clone().unwrap_or_default(),
        plan.run.map(|run| run.to_string()).unwrap_or_default(),
    ]
}

/// Where a run stands, in a few words.
fn summary(run: &Run, style: Style) -> String {
    let in_state = |state| run.plan.steps.iter().find(|step| step.state == state);
    if run.completed {
        style.good("done")
    } else if let Some(step) = in_state(State::Running) {
        style.active(&format!("running {}", step.id))
    } else if !run.current {
        style.dim("abandoned")
    } else if let Some(step) = in_state(State::Failed) {
        style.bad(&format!("failed in {}", step.id))
    } else {
        style.warning("unfinished")
    }
}

fn print_json(out: &mut dyn Write, value: &impl Serialize) -> Result<(), StepError> {
    let text = ui::json(value).map_err(|error| {
        StepError::new("the state cannot be printed", error.to_string(), "Report this as a bug.")
    })?;
    print(out, &format!("{text}\n"))
}

/// Writes to `out`; a reader that closed its end early (`| head`) is no error.
fn print(out: &mut dyn Write, text: &str) -> Result<(), StepError> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(StepError::new(
            "the output cannot be written",
            error.to_string(),
            "Write it to a place that has room.",
        )),
        _ => Ok(()),
    }
}
