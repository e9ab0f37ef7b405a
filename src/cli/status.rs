//! `landfall status`: runs and their steps, from the journals; no machine is asked.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::error::{Exit, StepError};
use crate::run::journal::{self, Line, Readable};
use crate::run::lock;
use crate::run::plan::{Plan, State};
use crate::run::run_dir::{HostState, RunDir, StateDir, StateError};
use crate::steps::identity::run_keys::RunKeys;
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
#[derive(Serialize)]
struct Run {
    #[serde(flatten)]
    plan: Plan,
    /// Why the journal tells no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
    /// Files with private keys of the host that are still on this machine.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    private_keys: Vec<PathBuf>,
    #[serde(skip)]
    current: bool,
    #[serde(skip)]
    completed: bool,
    #[serde(skip)]
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
        return print_json(out, &run);
    }
    let mut text = run.plan.text(style);
    let mut remarks = remarks(std::slice::from_ref(&run), style);
    if !runs.is_empty() {
        remarks.push_str(&format!("\n{}\n", style.strong("Other runs")));
        remarks.push_str(&listing(&runs, style));
    }
    text.push_str(&remarks);
    print(out, &text)
}

fn all_hosts(
    state: &StateDir,
    json: bool,
    style: Style,
    out: &mut dyn Write,
) -> Result<(), StepError> {
    let mut all = Vec::new();
    let mut closed = String::new();
    for host in state.hosts()? {
        match runs(&host) {
            Ok(runs) => all.extend(runs),
            // Whatever became of one host's folder, the others are shown.
            Err(error) => closed.push_str(&remark(host.name(), &error.to_string(), style)),
        }
    }
    if json {
        return print_json(out, &all);
    }
    if all.is_empty() && closed.is_empty() {
        return print(out, "No runs yet. `landfall bootstrap HOST TARGET` begins one.\n");
    }
    print(out, &format!("{}{closed}", listing(&all, style)))
}

/// The runs of `host`, oldest first.
fn runs(host: &HostState) -> Result<Vec<Run>, StepError> {
    let current = host.current()?;
    let mut runs = Vec::new();
    for dir in host.runs()? {
        // A run that ended before its first line has nothing to tell.
        if dir.journal().exists() {
            runs.push(read(host, &dir, current.as_ref() == Some(&dir)));
        }
    }
    runs.sort_by_key(|run| run.began);
    Ok(runs)
}

fn read(host: &HostState, dir: &RunDir, current: bool) -> Run {
    let path = dir.journal();
    let (lines, unreadable) = match journal::read(&path) {
        Ok(Readable { lines, unreadable }) => (lines, unreadable),
        Err(error) => (Vec::new(), Some(error)),
    };
    let mut plan = Plan::from_journal(host.name(), &lines, is_held(&path));
    plan.run = Some(dir.id());
    let began = lines.first().map(|line: &Line| line.time);
    Run {
        plan,
        unreadable: unreadable.map(|error| error.to_string()),
        private_keys: RunKeys::in_dir(dir.path()).private_files(),
        current,
        completed: journal::completed(&lines),
        began: began.or_else(|| dir.written().and_then(|time| Timestamp::try_from(time).ok())),
    }
}

/// Whether a landfall that works on the run holds its journal.
fn is_held(path: &Path) -> bool {
    // The lock, when it is got, is given back as soon as the file is closed.
    File::open(path).is_ok_and(|file| lock::is_held(&file))
}

/// What the table and the plan have no room for.
fn remarks(runs: &[Run], style: Style) -> String {
    let mut text = String::new();
    for run in runs {
        let host = &run.plan.host;
        if let Some(why) = &run.unreadable {
            let next = match run.current {
                true => format!("\nIt cannot be gone on with. Forget it: landfall abandon {host}"),
                false => String::new(),
            };
            text.push_str(&remark(host, &format!("{why}{next}"), style));
        }
        if let Some(dir) = run.private_keys.first().and_then(|file| file.parent()) {
            let next = match run.current {
                true => format!("; landfall abandon {host} deletes them"),
                false => String::new(),
            };
            let kept = format!("private keys are on this machine, in {}{next}", dir.display());
            text.push_str(&remark(host, &kept, style));
        }
    }
    text
}

fn remark(host: &str, text: &str, style: Style) -> String {
    format!("\n{} {text}\n", style.warning(&format!("{host}:")))
}

fn listing(runs: &[Run], style: Style) -> String {
    let rows: Vec<Vec<String>> = runs.iter().map(|run| cells(run, style)).collect();
    let head = ["host", "state", "began", "took", "strategy", "target", "run"];
    table(&head, &rows, style) + &remarks(runs, style)
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
    if run.unreadable.is_some() {
        style.bad("unreadable")
    } else if run.completed {
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
