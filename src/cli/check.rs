//! `landfall check`: the first step of the journey alone.

use clap::Args;

use super::Cli;
use super::args::JourneyArgs;
use super::session::open_run;
use crate::cli::session::open_run::Purpose;
use crate::error::{Exit, StepError};
use crate::journey;
use crate::journey::Selection;
use crate::journey::engine;
use crate::run::step::StepId;

#[derive(Debug, Clone, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) journey: JourneyArgs,

    /// Ask nothing, as bootstrap --yes
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
}

pub(crate) fn run(cli: &Cli, args: &CheckArgs) -> Result<Exit, StepError> {
    open_run::within(cli, &args.journey, args.yes, Purpose::Look, |cx| {
        cx.memory.check_alone = true;
        let mut steps = journey::steps(&cx.config, &Selection::default());
        steps.retain(|planned| planned.step.id() == StepId::Check);
        engine::run(cx, &steps)
    })
}
