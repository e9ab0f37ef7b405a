//! `landfall bootstrap`: the whole journey.

use std::time::Instant;

use crate::cli::{BootstrapArgs, Cli, PlanArgs, PlanFormat};
use crate::commands::run::Purpose;
use crate::commands::{plan, run};
use crate::engine;
use crate::error::{Exit, StepError};
use crate::event::Event;
use crate::journal;
use crate::journey::{self, Selection};

pub fn run(cli: &Cli, args: &BootstrapArgs) -> Result<Exit, StepError> {
    let selection = Selection::of(args)?;
    if args.dry_run {
        let args =
            PlanArgs { journey: args.journey.clone(), format: PlanFormat::Text, json: false };
        return plan::show(cli, &args, &selection);
    }
    travel(run::open(cli, &args.journey, args.yes, Purpose::Journey)?, &selection)
}

/// Goes through the selected steps of an open run.
pub fn travel(mut run: run::Run, selection: &Selection) -> Result<Exit, StepError> {
    let started = Instant::now();
    let steps = journey::steps(&run.cx.config, selection);
    let result = engine::run(&mut run.cx, &steps);
    let whole = journal::completed(run.cx.journal.lines());
    if result.is_ok() && whole {
        // The installed host has it; what is not kept cannot leak.
        run.cx.keys().forget_private()?;
    }
    let exit = match &result {
        Ok(()) => Exit::Done,
        Err(failure) => failure.error.exit,
    };
    let seconds = started.elapsed().as_secs_f64();
    run.cx.events.emit(Event::RunEnded { exit: exit as u8, seconds });
    run.ui.finish();
    Ok(exit)
}
