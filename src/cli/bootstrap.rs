//! `landfall bootstrap`: the whole journey.

use clap::Args;

use super::Cli;
use super::args::JourneyArgs;
use super::plan;
use super::plan::{PlanArgs, PlanFormat};
use super::session::open_run;
use crate::cli::session::open_run::Purpose;
use crate::config::Push;
use crate::error::{Exit, StepError};
use crate::journey;
use crate::journey::Selection;
use crate::journey::engine;
use crate::run::journal;
use crate::run::step::StepId;
use crate::steps::context::Context;
use crate::steps::shared_edit;

#[derive(Debug, Clone, Args)]
pub(crate) struct BootstrapArgs {
    #[command(flatten)]
    pub(crate) journey: JourneyArgs,

    /// Ask nothing; what needs an answer and has no flag ends the run with exit code 3
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,

    /// Show the plan, do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Run only these steps
    #[arg(long, value_name = "STEP", num_args = 1.., conflicts_with_all = ["skip", "until"])]
    pub(crate) only: Vec<StepId>,

    /// Leave these steps out
    #[arg(long, value_name = "STEP", num_args = 1..)]
    pub(crate) skip: Vec<StepId>,

    /// Stop after this step
    #[arg(long, value_name = "STEP")]
    pub(crate) until: Option<StepId>,

    /// Stop before the machine is rebooted
    #[arg(long)]
    pub(crate) no_reboot: bool,
}

pub(crate) fn run(cli: &Cli, args: &BootstrapArgs) -> Result<Exit, StepError> {
    let selection = selection(args)?;
    if args.dry_run {
        let args =
            PlanArgs { journey: args.journey.clone(), format: PlanFormat::Text, json: false };
        return plan::show(cli, &args, &selection);
    }
    open_run::within(cli, &args.journey, args.yes, Purpose::Journey, |cx| travel(cx, &selection))
}

fn selection(args: &BootstrapArgs) -> Result<Selection, StepError> {
    let before_reboot = args.no_reboot.then_some(StepId::Install);
    let until = [args.until, before_reboot].into_iter().flatten().min();
    Selection::new(args.only.clone(), args.skip.clone(), until)
}

/// Goes through the selected steps of an open run.
pub(crate) fn travel(cx: &mut Context, selection: &Selection) -> Result<Exit, StepError> {
    let steps = journey::steps(&cx.config, selection);
    let exit = engine::run(cx, &steps)?;
    if exit != Exit::Done {
        return Ok(exit);
    }
    if journal::completed(cx.memory.journal.lines()) {
        // The installed host has it; what is not kept cannot leak.
        cx.keys().forget_private()?;
    }
    if let Some(kept) = keys_left(cx) {
        cx.events.warn(kept);
    }
    if cx.config.push == Push::No {
        say_what_to_push(cx)?;
    }
    Ok(exit)
}

/// Says that private keys stay here, where the run is not complete.
fn keys_left(cx: &Context) -> Option<String> {
    let kept = cx.keys().private_files();
    let dir = kept.first()?.parent()?;
    Some(format!(
        "this run is not complete: private keys of {host} are on this machine, in {}. The whole \
         journey deletes them at its end; landfall abandon {host} does so now",
        dir.display(),
        host = cx.config.host,
    ))
}

/// Who pushes nothing has to know what the rest of the world waits for.
fn say_what_to_push(cx: &Context) -> Result<(), StepError> {
    let commands = shared_edit::left_to_push(cx)?;
    if commands.is_empty() {
        return Ok(());
    }
    let mut text = "nothing was pushed; when it is time:".to_owned();
    for command in &commands {
        text.push_str(&format!("\n  {command}"));
    }
    if commands.len() > 1 {
        let host = &cx.config.host;
        text.push_str(&format!(
            "\nUntil then flake.lock names the older secrets, which {host} cannot open: a rebuild \
             on {host} itself has to wait for it."
        ));
    }
    cx.events.note(text);
    Ok(())
}
