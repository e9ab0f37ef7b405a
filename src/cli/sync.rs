//! `landfall sync`: an installed host gets the repositories, and with `--boot` or
//! `--switch` the system that they describe.
//!
//! The last steps of the journey, on a host that is long done.

use clap::Args;

use super::Cli;
use super::args::{ConnectionArgs, HostAndTargetArgs, JourneyArgs, NixArgs};
use super::session::visit;
use crate::config::choices::Activation;
use crate::error::{Exit, StepError};
use crate::git::Repo;
use crate::journey;
use crate::journey::Selection;
use crate::journey::engine;
use crate::run::step::{Disposition, StepId};
use crate::steps::connect::sudo;
use crate::steps::context::Context;

#[derive(Debug, Clone, Args)]
pub(crate) struct SyncArgs {
    #[command(flatten)]
    pub(crate) machine: HostAndTargetArgs,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,

    /// Also build the configuration, make it the next boot, and reboot into it
    #[arg(long, group = "activation")]
    pub(crate) boot: bool,

    /// Also build the configuration, and switch to it on the running machine
    #[arg(long, group = "activation")]
    pub(crate) switch: bool,

    /// Leave the repositories there as they are
    #[arg(long, requires = "activation")]
    pub(crate) no_repos: bool,

    /// The user who logs in, and who owns the repositories there
    #[arg(long, env = "LANDFALL_USER")]
    pub(crate) user: Option<String>,

    /// A unit that must be up at the end; other failed units are reported
    #[arg(long, value_name = "UNIT")]
    pub(crate) require_unit: Vec<String>,

    /// Ask nothing; what needs an answer and has no flag ends with exit code 3
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,

    #[command(flatten)]
    pub(crate) nix: NixArgs,
}

pub(crate) fn run(cli: &Cli, args: &SyncArgs) -> Result<Exit, StepError> {
    visit::within(cli, &as_journey(args), "sync", args.yes, |visit| {
        visit.connect()?;
        if args.boot || args.switch {
            // Asked for before the long work.
            sudo::ensure(visit.cx)?;
        }
        say_what_stays(visit.cx)?;
        let steps = steps(visit.cx, args);
        engine::run(visit.cx, &steps)
    })
}

/// The journey of which this is the end.
fn as_journey(args: &SyncArgs) -> JourneyArgs {
    let mut journey = visit::journey_to(&args.machine, &args.connection);
    journey.activate = if args.switch { Activation::Switch } else { Activation::Boot };
    journey.no_repos = args.no_repos;
    journey.user.clone_from(&args.user);
    journey.require_unit.clone_from(&args.require_unit);
    journey.nix = args.nix.clone();
    journey
}

/// The steps that a sync has, all of them asked for by the command itself.
fn steps(cx: &mut Context, args: &SyncArgs) -> Vec<journey::Planned> {
    let mut steps = journey::steps(&cx.config, &Selection::default());
    steps.retain(|planned| match planned.step.id() {
        StepId::Login | StepId::Repos => !args.no_repos,
        StepId::Rebuild => args.boot || args.switch,
        _ => false,
    });
    let asked_for = steps.iter().map(|planned| (planned.step.id(), Disposition::Run));
    cx.memory.answers.confirmed.extend(asked_for);
    steps
}

/// Commits go over, and nothing else: what is not committed is named.
fn say_what_stays(cx: &Context) -> Result<(), StepError> {
    let dirty = Repo::open(cx.config.repo()?)?.dirty()?;
    if !dirty.is_empty() {
        let files: Vec<String> = dirty.iter().map(|path| path.display().to_string()).collect();
        cx.events.warn(format!("not committed, and so left out: {}", files.join(", ")));
    }
    Ok(())
}
