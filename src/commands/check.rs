//! `landfall check`: the first step of the journey alone.

use crate::cli::{CheckArgs, Cli};
use crate::commands::run::{self, Purpose};
use crate::error::{Exit, StepError};
use crate::journey::engine;
use crate::journey::{self, Selection};
use crate::run::event::Event;
use crate::run::step::StepId;

pub fn run(cli: &Cli, args: &CheckArgs) -> Result<Exit, StepError> {
    let started = std::time::Instant::now();
    let mut run = run::open(cli, &args.journey, args.yes, Purpose::Look)?;
    let mut steps = journey::steps(&run.cx.config, &Selection::default());
    steps.retain(|planned| planned.step.id() == StepId::Check);
    let result = engine::run(&mut run.cx, &steps);
    let exit = match &result {
        Ok(()) => Exit::Done,
        Err(failure) => failure.error.exit,
    };
    let seconds = started.elapsed().as_secs_f64();
    run.cx.events.emit(Event::RunEnded { exit: exit as u8, seconds });
    run.ui.finish();
    Ok(exit)
}
