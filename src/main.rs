//! Parse, run, exit code.

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use landfall::cli::{Cli, Command, IsoCommand};
use landfall::cli::{
    abandon, bootstrap, check, host, init, install, iso, keys, log, passphrase, plan, secrets, ssh,
    status, sync,
};
use landfall::error::{Exit, StepError};
use landfall::run::run_dir::StateDir;
use landfall::ui::{Screen, Style, report_error};

fn main() -> ExitCode {
    if let Some(exit) = landfall::ssh::started_by_ssh() {
        return exit;
    }
    let cli = Cli::parse();
    landfall::exec::signals::install();
    let result = run(&cli);
    let exit = result.unwrap_or_else(|error| {
        report_error(&error, None, None, Style::stderr(cli.color));
        error.exit
    });
    exit.into()
}

fn run(cli: &Cli) -> Result<Exit, StepError> {
    let style = Style::stdout(cli.color);
    let out = &mut std::io::stdout();
    match &cli.command {
        Command::Bootstrap(args) => bootstrap::run(cli, args),
        Command::Install(args) => install::run(cli, args),
        Command::Plan(args) => plan::run(cli, args),
        Command::Check(args) => check::run(cli, args),
        Command::Status(args) => status::run(args, &StateDir::open()?, style, out),
        Command::Log(args) => log::run(args, &StateDir::open()?, out),
        Command::Abandon(args) => abandon::run(cli, args),
        Command::Sync(args) => sync::run(cli, args),
        Command::Passphrase(args) => passphrase::run(cli, args),
        Command::Ssh(args) => ssh::run(cli, args),
        Command::Init(args) => init::run(args, Screen::still()),
        Command::Host(command) => host::run(command, cli),
        Command::Keys(command) => keys::run(command, out),
        Command::Secrets(command) => secrets::run(command, cli, out),
        Command::Iso(IsoCommand::Build(args)) => iso::build(cli, args),
        Command::Iso(IsoCommand::Flash(args)) => iso::flash(cli, args),
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "landfall", out);
            Ok(Exit::Done)
        }
        Command::Man => man(out),
    }
}

fn man(out: &mut impl std::io::Write) -> Result<Exit, StepError> {
    clap_mangen::Man::new(Cli::command()).render(out).map_err(|error| {
        StepError::new(
            "the manual page could not be written",
            error.to_string(),
            "Is the output open?",
        )
    })?;
    Ok(Exit::Done)
}
