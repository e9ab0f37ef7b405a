//! `landfall sync`: an installed host gets the repositories, and with `--boot` or
//! `--switch` the system that they describe.
//!
//! The last steps of the journey, on a host that is long done: its run tells the host key
//! and the address, where there is one; else the operator's known_hosts does.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use clap::{Args, Parser};
use uuid::Uuid;

use crate::cli::{ActivateArg, Cli, Journey, NixOptions, Reach, StrategyArg, Where};
use crate::commands::answering;
use crate::config::{Config, Place, reached_by};
use crate::context::Context;
use crate::engine;
use crate::error::{Exit, StepError};
use crate::event::{Event, Events};
use crate::git::Repo;
use crate::journal::{self, Entry, Journal, RunIdentity};
use crate::journey::{self, Selection};
use crate::keys::RunKeys;
use crate::machine::Phase;
use crate::phase;
use crate::prompt;
use crate::secret::private_temp_dir;
use crate::ssh::{self, Endpoint, HostKey, Session};
use crate::state::{HostState, RunDir, StateDir};
use crate::step::{Consent, StepId};
use crate::sudo;
use crate::ui::Ui;

/// For the first contact with a machine that should be up.
const CONTACT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Args)]
pub struct SyncArgs {
    #[command(flatten)]
    pub place: Where,

    #[command(flatten)]
    pub reach: Reach,

    /// Also build the configuration, make it the next boot, and reboot into it
    #[arg(long, group = "activation")]
    pub boot: bool,

    /// Also build the configuration, and switch to it on the running machine
    #[arg(long, group = "activation")]
    pub switch: bool,

    /// Leave the repositories there as they are
    #[arg(long, requires = "activation")]
    pub no_repos: bool,

    /// The user who logs in, and who owns the repositories there
    #[arg(long, env = "LANDFALL_USER")]
    pub user: Option<String>,

    /// A unit that must be up at the end; other failed units are reported
    #[arg(long, value_name = "UNIT")]
    pub require_unit: Vec<String>,

    /// Ask nothing; what needs an answer and has no flag ends with exit code 3
    #[arg(long, short = 'y')]
    pub yes: bool,

    #[command(flatten)]
    pub nix: NixOptions,
}

pub fn run(cli: &Cli, args: &SyncArgs) -> Result<Exit, StepError> {
    let started = Instant::now();
    let journey = as_journey(args);
    let place = Place::of_journey(cli, &journey)?;
    let mut config = Config::load(&place, &journey)?;
    let state = StateDir::open()?.host(config.host.as_str())?;
    let known = Known::of(&state)?;
    known.complete(&mut config, &args.reach)?;

    let folder = private_temp_dir(&std::env::temp_dir()).map_err(no_folder)?;
    let passing = StateDir::at(folder.path())?.host(config.host.as_str())?;
    let dir = passing.new_run(Uuid::new_v4())?;
    crate::log::start(known.run.as_ref().map_or(&dir, |run| &run.dir), cli.verbose)?;
    let mut journal = Journal::open(&dir.journal())?;
    let identity = identity(&config, dir.id());
    journal.append(Entry::Run(identity.clone()))?;

    let (sender, receiver) = mpsc::channel();
    let ui = Ui::start(cli.log_format, cli.color, Some(resume_command()), receiver);
    let events = Events::new(config.host.as_str(), sender);
    let prompter = prompt::prompter(args.yes, ui.screen());
    let path = dir.path().to_owned();
    let mut cx = Context::new(config, identity, path, journal, events, prompter);
    answering::start(&mut cx, &args.reach)?;
    let activates = args.boot || args.switch;
    let connected = connect(&mut cx, &known).and_then(|()| {
        // Asked for before the long work.
        if activates { sudo::ensure(&mut cx) } else { Ok(()) }
    });
    if let Err(error) = connected {
        ui.finish();
        return Err(error);
    }
    say_what_stays(&cx)?;
    let steps = steps(&mut cx, args);
    let result = engine::run(&mut cx, &steps);
    let exit = result.as_ref().map_or_else(|failure| failure.error.exit, |()| Exit::Done);
    let seconds = started.elapsed().as_secs_f64();
    cx.events.emit(Event::RunEnded { exit: exit as u8, seconds });
    ui.finish();
    Ok(exit)
}

/// The journey of which this is the end; what it does not do has its defaults.
fn as_journey(args: &SyncArgs) -> Journey {
    #[derive(Parser)]
    struct Defaults {
        #[command(flatten)]
        journey: Journey,
    }
    let mut journey = Defaults::parse_from(["landfall", "HOST"]).journey;
    journey.place = args.place.clone();
    journey.reach = args.reach.clone();
    // The installed system alone is looked at, not what was there before it.
    journey.strategy = Some(StrategyArg::Direct);
    journey.activate = if args.switch { ActivateArg::Switch } else { ActivateArg::Boot };
    journey.no_repos = args.no_repos;
    journey.user.clone_from(&args.user);
    journey.require_unit.clone_from(&args.require_unit);
    journey.nix = args.nix.clone();
    journey
}

fn identity(config: &Config, run: Uuid) -> RunIdentity {
    RunIdentity {
        run,
        host: config.host.to_string(),
        strategy: config.strategy.to_string(),
        target: config.target.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

fn resume_command() -> String {
    let words = std::env::args().skip(1).map(|word| crate::exec::quote(&word));
    std::iter::once("landfall".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// The steps that a sync has, all of them asked for by the command itself.
fn steps(cx: &mut Context, args: &SyncArgs) -> Vec<journey::Planned> {
    let mut steps = journey::steps(&cx.config, &Selection::default());
    steps.retain(|planned| match planned.step.id() {
        StepId::Login | StepId::Repos => !args.no_repos,
        StepId::Rebuild => args.boot || args.switch,
        _ => false,
    });
    let asked_for = steps.iter().map(|planned| (planned.step.id(), Consent::Given));
    cx.answers.consents.extend(asked_for);
    steps
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
            if !dir.journal().exists() {
                continue;
            }
            let lines = journal::read(&dir.journal())?;
            let Some(reboot) = journal::finished(&lines, StepId::Reboot) else { continue };
            let Some(key) = RunKeys::in_dir(dir.path()).public() else { continue };
            let fact = |name: &str| reboot.fact(name).map(str::to_owned);
            let login = journal::finished(&lines, StepId::Login);
            let run = Installation {
                key,
                address: fact("address"),
                user: login.and_then(|login| login.fact("user")).map(str::to_owned),
                _lock: Journal::open(&dir.journal())?,
                dir,
            };
            return Ok(Self { run: Some(run) });
        }
        Ok(Self { run: None })
    }

    /// Says in `config` where the host is and who logs in: as the command line has it, else
    /// as the last run did, else as the settings say.
    fn complete(&self, config: &mut Config, reach: &Reach) -> Result<(), StepError> {
        let run = self.run.as_ref();
        let named = config.target.take();
        let remembered = run.and_then(|run| run.address.as_deref()).map(str::parse::<Endpoint>);
        let mut endpoint = match (named, config.installed_address.take(), remembered) {
            (Some(named), _, _) => named,
            (None, _, Some(address)) => address?,
            (None, Some(configured), None) => configured,
            (None, None, None) => return Err(nowhere(config)),
        };
        config.user = endpoint.user.take().or_else(|| config.user.take());
        if config.user.is_none() {
            config.user = run.and_then(|run| run.user.clone());
        }
        config.target = Some(reached_by(endpoint, reach)?);
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
    let endpoint = cx.config.target.clone().ok_or_else(|| nowhere(&cx.config))?;
    let endpoint = phase::installed_endpoint(cx, &endpoint).with_user(cx.primary_user()?);
    let key = known.host_key(&endpoint)?;
    // Where the steps look for it, as in a run.
    cx.keys().pin(&key)?;
    let session = Session::open(&endpoint, &key, &cx.dir, CONTACT)?;
    let target = phase::examined(cx, session, key)?;
    if target.facts.is_installer() || target.facts.os != "nixos" {
        return Err(not_installed(cx, &target.facts.os));
    }
    cx.config.target = Some(endpoint);
    cx.target = Some(target);
    cx.phase = Phase::Installed;
    cx.events.emit(Event::Phase { phase: cx.phase.to_string() });
    Ok(())
}

/// Commits go over, and nothing else: what is not committed is named.
fn say_what_stays(cx: &Context) -> Result<(), StepError> {
    let dirty = Repo::open(&cx.config.repo)?.dirty()?;
    if !dirty.is_empty() {
        let files: Vec<String> = dirty.iter().map(|path| path.display().to_string()).collect();
        cx.events.warn(format!("not committed, and so left out: {}", files.join(", ")));
    }
    Ok(())
}

fn nowhere(config: &Config) -> StepError {
    StepError::new(
        format!("where {} answers is not known", config.host),
        "no run of it is remembered, and landfall.toml has no installed_address",
        format!("landfall sync {} TARGET, with TARGET as [user@]host[:port]", config.host),
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
