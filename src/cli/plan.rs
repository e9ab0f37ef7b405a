//! `landfall plan`: what a bootstrap would do now. Nothing is changed.

use clap::{Args, ValueEnum};

use super::Cli;
use super::args::JourneyArgs;
use super::session::open_run;
use crate::cli::session::open_run::Purpose;
use crate::error::{Exit, StepError};
use crate::journey;
use crate::journey::Selection;
use crate::run::plan::Plan;
use crate::ui;
use crate::ui::{Style, say};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanFormat {
    Text,
    Json,
    Mermaid,
    Svg,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) journey: JourneyArgs,

    #[arg(long, value_enum, default_value = "text", conflicts_with = "json")]
    pub(crate) format: PlanFormat,

    /// The same as --format json
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(cli: &Cli, args: &PlanArgs) -> Result<Exit, StepError> {
    show(cli, args, &Selection::default())
}

/// The plan of those steps that are selected.
pub(crate) fn show(cli: &Cli, args: &PlanArgs, selection: &Selection) -> Result<Exit, StepError> {
    let mut text = String::new();
    let exit = open_run::within(cli, &args.journey, true, Purpose::Print, |cx| {
        let steps = journey::steps(&cx.config, selection);
        text = drawn(&journey::plan(cx, &steps), cli, args)?;
        Ok(Exit::Done)
    })?;
    // After everything that was told beside it.
    say(text);
    Ok(exit)
}

fn drawn(plan: &Plan, cli: &Cli, args: &PlanArgs) -> Result<String, StepError> {
    let format = if args.json { PlanFormat::Json } else { args.format };
    Ok(match format {
        PlanFormat::Text => plan.text(Style::stdout(cli.color)),
        PlanFormat::Json => ui::json(plan).map_err(|error| {
            StepError::new("the plan could not be written", error.to_string(), "This is a bug.")
        })?,
        PlanFormat::Mermaid => plan.mermaid(),
        PlanFormat::Svg => plan.svg(),
    })
}
