//! What `bootstrap`, `install`, `plan` and `check` share: a context with its run's folder,
//! journal and log, and the user interface around it.

use std::path::PathBuf;
use std::sync::mpsc;

use uuid::Uuid;

use super::run::Run;
use super::{askpass, left_over};
use crate::cli::Cli;
use crate::cli::args::into_config::{config_repo, host_config};
use crate::cli::args::{ConnectionArgs, JourneyArgs};
use crate::config::{Config, INSTALL};
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

/// What a run is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Journey,
    /// To look only: where there is no run, none is left behind.
    Look,
    /// The same, with the result on standard output and events beside it.
    Print,
}

/// How a command opens its run.
struct Opening<'a> {
    cli: &'a Cli,
    connection: &'a ConnectionArgs,
    yes: bool,
    purpose: Purpose,
}

/// What comes of looking at the target.
enum Entered {
    /// The run can be worked on.
    Run,
    /// It is complete, and the machine waits to be installed: another run begins.
    AnotherMachine,
}

/// Opens the current run of the host, or a new one, connects to the target, does `work`,
/// and ends the run.
pub(crate) fn within(
    cli: &Cli,
    journey: &JourneyArgs,
    yes: bool,
    purpose: Purpose,
    work: impl FnOnce(&mut Context) -> Result<Exit, StepError>,
) -> Result<Exit, StepError> {
    let config = host_config(&config_repo(cli, journey)?, journey)?;
    if purpose == Purpose::Journey && config.target.is_none() {
        return Err(StepError::new(
            "the target is not named",
            "",
            format!("landfall bootstrap {} TARGET, with TARGET as [user@]host[:port]", config.host),
        )
        .exit(Exit::Usage));
    }
    within_config(cli, config, &journey.connection, yes, purpose, work)
}

/// Does the same for a configuration that is assembled already.
pub(crate) fn within_config(
    cli: &Cli,
    config: Config,
    connection: &ConnectionArgs,
    yes: bool,
    purpose: Purpose,
    work: impl FnOnce(&mut Context) -> Result<Exit, StepError>,
) -> Result<Exit, StepError> {
    let opening = Opening { cli, connection, yes, purpose };
    let mut run = opening.begin(config)?;
    let result = match opening.enter(&mut run.cx) {
        Ok(Entered::Run) => work(&mut run.cx),
        Ok(Entered::AnotherMachine) => {
            // Where it answers is where the next run begins.
            let target = run.cx.connection.address.clone();
            let config = Config { target, ..run.cx.config.clone() };
            run.finish(Ok(Exit::Done))?;
            return within_config(cli, config, connection, yes, purpose, work);
        }
        Err(error) => Err(error),
    };
    run.finish(result)
}

impl Opening<'_> {
    /// Makes what a run needs on the source, and tells that it begins.
    fn begin(&self, config: Config) -> Result<Run, StepError> {
        let state = StateDir::open()?;
        let host = state.host(config.host.as_str())?;
        left_over::end(&host)?;
        // Two that begin at one moment must not both find no run; who only looks begins none.
        let lock = (self.purpose == Purpose::Journey).then(|| host.lock()).transpose()?;
        let mut passing = None;
        let (dir, resumed) = match host.current()? {
            Some(dir) => (dir, true),
            None if self.purpose == Purpose::Journey => (host.new_run(Uuid::new_v4())?, false),
            None => {
                let folder = passing.insert(passing_folder()?);
                let state = StateDir::at(folder.path())?.host(config.host.as_str())?;
                (state.new_run(Uuid::new_v4())?, false)
            }
        };
        crate::run::log::start(&dir, self.cli.verbose)?;
        let mut journal = Journal::open(&dir.journal())?;
        // From here on the journal's own lock keeps others away.
        drop(lock);
        let identity = match journal::identity(journal.lines()) {
            Some(identity) => as_begun(identity, &config)?,
            None => begin(&mut journal, &config, dir.id())?,
        };
        let (sender, receiver) = mpsc::channel();
        let (format, color) = (self.cli.log_format, self.cli.color);
        let ui = match self.purpose {
            Purpose::Print => Ui::start_beside(format, color, receiver),
            Purpose::Journey | Purpose::Look => {
                Ui::start(format, color, Some(resume_command(&config, self.yes)), receiver)
            }
        };
        let events = Events::new(config.host.as_str(), sender);
        let prompter = prompt::prompter(self.yes, ui.screen());
        let path: PathBuf = dir.path().to_owned();
        let cx = Context::new(config, identity, path, journal, events, prompter);
        cx.events.emit(Event::RunStarted {
            run: cx.run.run.to_string(),
            strategy: cx.config.strategy(),
            target: cx.connection.address.as_ref().map(ToString::to_string).unwrap_or_default(),
            log: passing.is_none().then(|| dir.log().display().to_string()),
            resumed,
        });
        Ok(Run::new(cx, ui, passing))
    }

    /// Connects to the target, and looks whether the run is about it.
    fn enter(&self, cx: &mut Context) -> Result<Entered, StepError> {
        askpass::start(cx, self.connection)?;
        connect::establish(cx)?;
        if self.purpose == Purpose::Journey && is_another_machine(cx) {
            cx.events.note("the last run is complete, and an installer answers: a new run begins");
            StateDir::open()?.host(cx.config.host.as_str())?.forget_current()?;
            return Ok(Entered::AnotherMachine);
        }
        look_back(cx, self.purpose)?;
        Ok(Entered::Run)
    }
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
    cx.connection.phase == Phase::Installer && journal::completed(cx.memory.journal.lines())
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
        strategy: config.strategy(),
        target: config.target.as_ref().map(ToString::to_string).unwrap_or_default(),
    };
    journal.append(Entry::Run(identity.clone()))?;
    Ok(identity)
}

/// What was built and proven for one strategy means something else in the other.
fn as_begun(begun: &RunIdentity, config: &Config) -> Result<RunIdentity, StepError> {
    let strategy = config.strategy();
    if begun.strategy == strategy {
        return Ok(begun.clone());
    }
    let hint = if begun.strategy == INSTALL {
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
