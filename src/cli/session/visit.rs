//! The way of a command to a host that is installed, perhaps long ago: its run tells the
//! host key, the address and the user, where there is one; else the operator's known_hosts
//! and the settings do.

use std::sync::mpsc;
use std::time::Duration;

use uuid::Uuid;

use super::run::Run;
use super::{askpass, left_over};
use crate::cli::Cli;
use crate::cli::args::into_config::{config_repo, connection_to, host_config};
use crate::cli::args::{ConnectionArgs, HostAndTargetArgs, JourneyArgs, StrategyArg};
use crate::config::Config;
use crate::error::{Exit, StepError};
use crate::run::event::{Event, Events};
use crate::run::journal;
use crate::run::journal::{Entry, Journal, RunIdentity};
use crate::run::run_dir::{HostState, RunDir, StateDir};
use crate::secret::private_temp_dir;
use crate::ssh;
use crate::ssh::{Endpoint, HostKey, Session};
use crate::steps::connect;
use crate::steps::context::Context;
use crate::steps::identity::run_keys::RunKeys;
use crate::steps::login::LoginOutput;
use crate::steps::reboot::RebootOutput;
use crate::target::Phase;
use crate::ui::Ui;
use crate::ui::prompt;

/// For the first contact with a machine that should be up.
const CONTACT: Duration = Duration::from_secs(30);

/// A command at work on an installed host. It has a run's folder and journal, of which
/// nothing is kept.
pub(crate) struct Visit<'a> {
    pub(crate) cx: &'a mut Context,
    known: &'a Known,
}

impl Visit<'_> {
    /// Connects to exactly the host that is known, and to an installed system alone.
    pub(crate) fn connect(&mut self) -> Result<(), StepError> {
        connect(self.cx, self.known)
    }
}

/// Does `work` on a host, and ends the visit. `command` is how the user calls it, for hints.
pub(crate) fn within(
    cli: &Cli,
    journey: &JourneyArgs,
    command: &'static str,
    yes: bool,
    work: impl FnOnce(&mut Visit<'_>) -> Result<Exit, StepError>,
) -> Result<Exit, StepError> {
    let (mut run, known) = begin(cli, journey, command, yes)?;
    let result = askpass::start(&mut run.cx, &journey.connection)
        .and_then(|()| work(&mut Visit { cx: &mut run.cx, known: &known }));
    run.finish(result)
}

/// Makes everything but the connection.
fn begin(
    cli: &Cli,
    journey: &JourneyArgs,
    command: &'static str,
    yes: bool,
) -> Result<(Run, Known), StepError> {
    let mut config = host_config(&config_repo(cli, journey)?, journey)?;
    let state = StateDir::open()?.host(config.host.as_str())?;
    left_over::end(&state)?;
    let known = Known::of(&state)?;
    known.complete(&mut config, &journey.connection, command)?;

    let folder = private_temp_dir(&std::env::temp_dir()).map_err(no_folder)?;
    let passing = StateDir::at(folder.path())?.host(config.host.as_str())?;
    let dir = passing.new_run(Uuid::new_v4())?;
    crate::run::log::start(known.run.as_ref().map_or(&dir, |run| &run.dir), cli.verbose)?;
    let mut journal = Journal::open(&dir.journal())?;
    let identity = identity(&config, dir.id());
    journal.append(Entry::Run(identity.clone()))?;

    let (sender, receiver) = mpsc::channel();
    let ui = Ui::start(cli.log_format, cli.color, Some(resume_command()), receiver);
    let events = Events::new(config.host.as_str(), sender);
    let prompter = prompt::prompter(yes, ui.screen());
    let path = dir.path().to_owned();
    let cx = Context::new(config, identity, path, journal, events, prompter);
    Ok((Run::new(cx, ui, Some(folder)), known))
}

/// Gives the journey that ended on a host; what is not told has its defaults.
pub(crate) fn journey_to(machine: &HostAndTargetArgs, connection: &ConnectionArgs) -> JourneyArgs {
    JourneyArgs {
        machine: machine.clone(),
        connection: connection.clone(),
        // The installed system alone is looked at, not what was there before it.
        strategy: Some(StrategyArg::Direct),
        ..JourneyArgs::default()
    }
}

fn identity(config: &Config, run: Uuid) -> RunIdentity {
    RunIdentity {
        run,
        host: config.host.to_string(),
        strategy: config.strategy(),
        target: config.target.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

fn resume_command() -> String {
    let words = std::env::args().skip(1).map(|word| crate::exec::quote(&word));
    std::iter::once("landfall".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// What an earlier run of the host tells.
struct Known {
    run: Option<Installation>,
}

/// A run that came as far as the installed system.
struct Installation {
    dir: RunDir,
    key: HostKey,
    address: Option<String>,
    user: Option<String>,
    /// Nobody else works on the host meanwhile.
    _lock: Journal,
}

impl Known {
    fn of(state: &HostState) -> Result<Self, StepError> {
        let mut runs = state.runs()?;
        runs.sort_by_key(|run| std::fs::metadata(run.journal()).and_then(|j| j.modified()).ok());
        if let Some(current) = state.current()? {
            runs.push(current);
        }
        for dir in runs.into_iter().rev() {
            // A run that cannot be read has nothing to tell; `status` names it.
            let Ok(journal) = journal::read(&dir.journal()) else { continue };
            let lines = journal.lines;
            let Some(reboot) = journal::output::<RebootOutput>(&lines)? else { continue };
            let Some(key) = RunKeys::in_dir(dir.path()).public() else { continue };
            let run = Installation {
                key,
                address: reboot.address,
                user: journal::output::<LoginOutput>(&lines)?.and_then(|login| login.user),
                _lock: Journal::open_readable(&dir.journal())?.0,
                dir,
            };
            return Ok(Self { run: Some(run) });
        }
        Ok(Self { run: None })
    }

    /// Says in `config` where the host is and who logs in: as the command line has it, else
    /// as the last run did, else as the settings say.
    fn complete(
        &self,
        config: &mut Config,
        connection: &ConnectionArgs,
        command: &str,
    ) -> Result<(), StepError> {
        let run = self.run.as_ref();
        let named = config.target.take();
        let remembered = run.and_then(|run| run.address.as_deref()).map(str::parse::<Endpoint>);
        let mut endpoint = match (named, config.installed_address.take(), remembered) {
            (Some(named), _, _) => named,
            (None, _, Some(address)) => address?,
            (None, Some(configured), None) => configured,
            (None, None, None) => return Err(nowhere(config, command)),
        };
        config.user = endpoint.user.take().or_else(|| config.user.take());
        if config.user.is_none() {
            config.user = run.and_then(|run| run.user.clone());
        }
        config.target = Some(connection_to(endpoint, connection)?);
        Ok(())
    }

    /// The key that the host must show.
    fn host_key(&self, endpoint: &Endpoint) -> Result<HostKey, StepError> {
        let keys = match &self.run {
            Some(run) => vec![run.key.clone()],
            None => ssh::known_keys(endpoint)?,
        };
        Ok(ssh::identify(endpoint, &keys, CONTACT)?)
    }
}

fn connect(cx: &mut Context, known: &Known) -> Result<(), StepError> {
    let endpoint = cx.connection.address.clone().ok_or_else(|| nowhere(&cx.config, "sync"))?;
    let endpoint = connect::installed_endpoint(cx, &endpoint)?.with_user(cx.primary_user()?);
    let key = known.host_key(&endpoint)?;
    // Where the steps look for it, as in a run.
    cx.keys().pin(&key)?;
    let session = Session::open(&endpoint, &key, &cx.dir, CONTACT)?;
    let target = connect::examined(cx, session, key)?;
    if target.facts.is_installer() || target.facts.os != "nixos" {
        return Err(not_installed(cx, &target.facts.os));
    }
    cx.connection.address = Some(endpoint);
    cx.connection.target = Some(target);
    cx.connection.phase = Phase::Installed;
    cx.events.emit(Event::Phase { phase: cx.connection.phase.to_string() });
    Ok(())
}

fn nowhere(config: &Config, command: &str) -> StepError {
    StepError::new(
        format!("where {} answers is not known", config.host),
        "no run of it is remembered, and landfall.toml has no installed_address",
        format!("landfall {command} {} TARGET, with TARGET as [user@]host[:port]", config.host),
    )
    .exit(Exit::Usage)
}

fn not_installed(cx: &Context, os: &str) -> StepError {
    let host = &cx.config.host;
    let runs = if os == "nixos" { "an installer".to_owned() } else { format!("{os:?}") };
    StepError::new(
        format!("{host} is not installed"),
        format!("the machine runs {runs}"),
        format!("landfall bootstrap {host} TARGET installs it."),
    )
    .exit(Exit::Person)
}

fn no_folder(error: std::io::Error) -> StepError {
    StepError::new(
        "a temporary folder could not be made",
        error.to_string(),
        "Make room in the folder for temporary files, or set TMPDIR.",
    )
}
