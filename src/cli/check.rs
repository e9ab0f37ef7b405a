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
use crate::run::event::Event;
use crate::run::step::StepId;

#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub journey: JourneyArgs,

    /// Ask nothing, as bootstrap --yes
    #[arg(long, short = 'y')]
    pub yes: bool,
}

pub fn run(cli: &Cli, args: &CheckArgs) -> Result<Exit, StepError> {
    let started = std::time::Instant::now();
    let mut run = open_run::open(cli, &args.journey, args.yes, Purpose::Look)?;
    let mut steps = journey::steps(&run.cx.config, &Selection::default());
    steps.retain(|planned| planned.step.id() == StepId::Check);
    let result = engine::run(&mut run.cx, &steps);
    let exit = match &result {
        Ok(exit) => *exit,
        Err(error) => error.exit,
    };
    let seconds = started.elapsed().as_secs_f64();
    run.cx.events.emit(Event::RunEnded { exit: exit as u8, seconds });
    run.ui.finish();
    Ok(exit)
}
