//! What `bootstrap`, `plan` and `check` share: a context with its run's folder,
//! journal and log, and the user interface around it.

use std::path::PathBuf;
use std::sync::mpsc;

use uuid::Uuid;

use super::{askpass, left_over};
use crate::cli::Cli;
use crate::cli::args::into_config::{config_repo, host_config};
use crate::cli::args::{ConnectionArgs, JourneyArgs};
use crate::config::Config;
use crate::error::{Exit, StepError};
use crate::journey::changes;
use crate::run::event::{Event, Events};
use crate::run::journal;
use crate::run::journal::{Entry, Journal, RunIdentity};
use crate::run::run_dir::StateDir;
use crate::secret::private_temp_dir;
use crate::steps::connect;
use crate::steps::context::Context;
use crate::target::Phase;
use crate::ui::Ui;
use crate::ui::prompt;

/// A run that is open: its context, and the interface that shows it.
pub struct Run {
    pub cx: Context,
    pub ui: Ui,
    /// Removed at the end, when the run was opened only to look.
    _passing: Option<tempfile::TempDir>,
}

/// What a run is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Journey,
    /// To look only: where there is no run, none is left behind.
    Look,
    /// The same, with the result on standard output and events beside it.
    Print,
}

/// Opens the current run of the host, or a new one, and connects to the target.
pub fn open(
    cli: &Cli,
    journey: &JourneyArgs,
    yes: bool,
    purpose: Purpose,
) -> Result<Run, StepError> {
    let config = host_config(&config_repo(cli, journey)?, journey)?;
    if purpose == Purpose::Journey && config.target.is_none() {
        return Err(StepError::new(
            "the target is not named",
            "",
            format!("landfall bootstrap {} TARGET, with TARGET as [user@]host[:port]", config.host),
        )
        .exit(Exit::Usage));
    }
    open_config(cli, config, &journey.connection, yes, purpose)
}

/// The same for a configuration that was put together already.
pub fn open_config(
    cli: &Cli,
    config: Config,
    connection: &ConnectionArgs,
    yes: bool,
    purpose: Purpose,
) -> Result<Run, StepError> {
    let state = StateDir::open()?;
    left_over::end(&state.host(config.host.as_str())?)?;
    let mut passing = None;
    let (dir, resumed) = match state.host(config.host.as_str())?.current()? {
        Some(dir) => (dir, true),
        None if purpose == Purpose::Journey => {
            (state.host(config.host.as_str())?.new_run(Uuid::new_v4())?, false)
        }
        None => {
            let folder = passing.insert(passing_folder()?);
            let state = StateDir::at(folder.path())?.host(config.host.as_str())?;
            (state.new_run(Uuid::new_v4())?, false)
        }
    };
    crate::run::log::start(&dir, cli.verbose)?;
    let mut journal = Journal::open(&dir.journal())?;
    let identity = match journal::identity(journal.lines()) {
        Some(identity) => as_begun(identity, &config)?,
        None => begin(&mut journal, &config, dir.id())?,
    };
    let resume = resume_command(&config, yes);
    let (sender, receiver) = mpsc::channel();
    let ui = match purpose {
        Purpose::Print => Ui::start_beside(cli.log_format, cli.color, receiver),
        Purpose::Journey | Purpose::Look => {
            Ui::start(cli.log_format, cli.color, Some(resume), receiver)
        }
    };
    let events = Events::new(config.host.as_str(), sender);
    let prompter = prompt::prompter(yes, ui.screen());
    let path: PathBuf = dir.path().to_owned();
    let mut cx = Context::new(config, identity, path, journal, events, prompter);
    askpass::start(&mut cx, connection)?;
    cx.events.emit(Event::RunStarted {
        run: cx.run.run.to_string(),
        strategy: cx.config.strategy.to_string(),
        target: cx.config.target.as_ref().map(ToString::to_string).unwrap_or_default(),
        log: passing.is_none().then(|| dir.log().display().to_string()),
        resumed,
    });
    if let Err(error) = connect::establish(&mut cx) {
        ui.finish();
        return Err(error);
    }
    if purpose == Purpose::Journey && is_another_machine(&cx) {
        cx.events.note("the last run is complete, and an installer answers: a new run begins");
        state.host(cx.config.host.as_str())?.forget_current()?;
        let config = cx.config.clone();
        drop(cx);
        ui.finish();
        return open_config(cli, config, connection, yes, purpose);
    }
    if let Err(error) = look_back(&mut cx, purpose) {
        ui.finish();
        return Err(error);
    }
    Ok(Run { cx, ui, _passing: passing })
}

/// Whether the run can go on here, and what changed meanwhile.
fn look_back(cx: &mut Context, purpose: Purpose) -> Result<(), StepError> {
    if purpose != Purpose::Print {
        changes::same_machine(cx)?;
    }
    if purpose == Purpose::Journey { changes::note_changes(cx) } else { Ok(()) }
}

/// A complete run has nothing to say to a machine that waits to be installed.
fn is_another_machine(cx: &Context) -> bool {
    cx.phase == Phase::Installer && journal::completed(cx.journal.lines())
}

fn passing_folder() -> Result<tempfile::TempDir, StepError> {
    private_temp_dir(&std::env::temp_dir()).map_err(|error| {
        StepError::new(
            "a temporary folder could not be made",
            error.to_string(),
            "Make room in the folder for temporary files, or set TMPDIR.",
        )
    })
}

fn begin(journal: &mut Journal, config: &Config, id: Uuid) -> Result<RunIdentity, StepError> {
    let identity = RunIdentity {
        run: id,
        host: config.host.to_string(),
        strategy: config.strategy.to_string(),
        target: config.target.as_ref().map(ToString::to_string).unwrap_or_default(),
    };
    journal.append(Entry::Run(identity.clone()))?;
    Ok(identity)
}

/// What was built and proven for one strategy means something else in the other.
fn as_begun(begun: &RunIdentity, config: &Config) -> Result<RunIdentity, StepError> {
    let strategy = config.strategy.to_string();
    if begun.strategy == strategy {
        return Ok(begun.clone());
    }
    let hint = if begun.strategy == "install" {
        format!("Go on with landfall install, or forget the run: landfall abandon {}", begun.host)
    } else {
        format!(
            "Go on with landfall bootstrap --strategy {}, or forget the run: landfall abandon {}",
            begun.strategy, begun.host
        )
    };
    Err(StepError::new(
        format!("the run of {} was begun as {}, not as {strategy}", begun.host, begun.strategy),
        "",
        hint,
    )
    .exit(Exit::Usage))
}

/// The command that goes on with the run. Flags that are not secrets are part of
/// it as they were given.
fn resume_command(config: &Config, yes: bool) -> String {
    let mut words: Vec<String> = std::env::args().collect();
    if let Some(program) = words.first_mut() {
        *program = "landfall".into();
    }
    let goes_on = words.iter().any(|word| word == "bootstrap" || word == "install");
    if goes_on {
        return words.iter().map(|word| crate::exec::quote(word)).collect::<Vec<_>>().join(" ");
    }
    let target = config.target.as_ref().map(ToString::to_string).unwrap_or("TARGET".into());
    let yes = if yes { " --yes" } else { "" };
    format!("landfall bootstrap {} {target}{yes}", config.host)
}
