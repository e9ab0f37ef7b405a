//! The command line: what can be said, and which file does it.

pub(crate) mod abandon;
pub(crate) mod args;
pub(crate) mod bootstrap;
pub(crate) mod check;
pub(crate) mod host;
pub(crate) mod init;
pub(crate) mod install;
pub(crate) mod iso;
pub(crate) mod keys;
pub mod log;
pub(crate) mod passphrase;
pub(crate) mod plan;
pub(crate) mod secrets;
pub(crate) mod session;
pub(crate) mod ssh;
pub mod status;
pub(crate) mod sync;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use iso::IsoCommand;

use crate::error::{Exit, StepError};
use crate::exec;
use crate::exec::signals;
use crate::run::run_dir::StateDir;
use crate::ui::clean::Cleaned;
use crate::ui::{Screen, Style, report_error, terminal};

/// From a blank machine to your complete NixOS configuration, secrets included.
#[derive(Debug, Parser)]
#[command(name = "landfall", version, max_term_width = 100)]
pub struct Cli {
    /// The nix-config repository to work in
    #[arg(short = 'C', long = "directory", value_name = "DIR", global = true)]
    pub(crate) directory: Option<PathBuf>,

    /// Settings file [default: landfall.toml at the root of nix-config]
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) settings: Option<PathBuf>,

    /// Write everything that nix says into the run's log
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,

    /// How events are printed
    #[arg(long, value_enum, default_value = "auto", value_name = "FORMAT", global = true)]
    pub(crate) log_format: crate::ui::LogFormat,

    /// When to use colour
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN", global = true)]
    pub(crate) color: crate::ui::ColorChoice,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The whole journey; goes on where an earlier run of HOST stopped
    #[command(
        after_help = "Example:\n  landfall bootstrap guppy root@192.168.1.20 --luks-passphrase-file ~/guppy.pass"
    )]
    Bootstrap(bootstrap::BootstrapArgs),

    /// The plan of a bootstrap, nothing done
    #[command(after_help = "Example:\n  landfall plan guppy root@192.168.1.20 --format mermaid")]
    Plan(plan::PlanArgs),

    /// Any flake's system onto a machine: what nixos-anywhere does, with its flags
    #[command(
        after_help = "Example:\n  landfall install .#guppy root@192.168.1.20 --erase WD-WX11A12345"
    )]
    Install(Box<install::InstallArgs>),

    /// Preflight alone: config, repositories, secrets, target, disks
    #[command(after_help = "Example:\n  landfall check guppy root@192.168.1.20")]
    Check(check::CheckArgs),

    /// Runs and their steps, with times
    #[command(after_help = "Example:\n  landfall status guppy --json")]
    Status(status::StatusArgs),

    /// The run's log
    #[command(after_help = "Example:\n  landfall log guppy copy")]
    Log(log::LogArgs),

    /// Forget an unfinished run and say what it left behind
    #[command(after_help = "Examples:\n  landfall abandon guppy\n  landfall abandon guppy --undo")]
    Abandon(abandon::AbandonArgs),

    /// Copy the repositories to an installed host; --boot and --switch also activate
    #[command(
        visible_alias = "rebuild",
        after_help = "Examples:\n  landfall sync guppy\n  landfall sync guppy --switch"
    )]
    Sync(sync::SyncArgs),

    /// Change the passphrase of an encrypted disk of an installed host
    #[command(
        after_help = "Examples:\n  landfall passphrase guppy\n  landfall passphrase guppy --volume crypted --new-passphrase-file ~/new.pass"
    )]
    Passphrase(passphrase::PassphraseArgs),

    /// A session on HOST with the key that the run pinned
    #[command(
        after_help = "Examples:\n  landfall ssh guppy -- systemctl --failed\n  landfall ssh guppy --initrd -- systemctl default"
    )]
    Ssh(ssh::SshArgs),

    /// Write a nix-config and a nix-secrets, ready to use
    #[command(after_help = "Example:\n  landfall init ~/src --host guppy --user anna")]
    Init(init::InitArgs),

    /// The hosts of a configuration
    #[command(subcommand, after_help = "Example:\n  landfall host add molly")]
    Host(host::HostCommand),

    /// What follows from an SSH host key
    #[command(subcommand, after_help = "Example:\n  landfall keys to-age host.pub")]
    Keys(keys::KeysCommand),

    /// Who may read which secret
    #[command(subcommand, after_help = "Example:\n  landfall secrets verify --all")]
    Secrets(secrets::SecretsCommand),

    /// The installer image
    #[command(subcommand, after_help = "Example:\n  landfall iso build")]
    Iso(IsoCommand),

    /// A completion script for a shell
    #[command(
        after_help = "Example:\n  landfall completions fish > ~/.config/fish/completions/landfall.fish"
    )]
    Completions { shell: clap_complete::Shell },

    /// The manual page
    #[command(after_help = "Example:\n  landfall man > landfall.1")]
    Man,
}

/// Runs the command that the user gave, reports what failed, and gives the exit code.
pub fn main(cli: &Cli) -> ExitCode {
    signals::install(terminal::restore);
    session::sweep::sweep();
    let exit = run(cli).unwrap_or_else(|error| {
        let error = if exec::interrupted() { interrupted(error) } else { error };
        report_error(&error, None, None, Style::stderr(cli.color));
        error.exit
    });
    exit.into()
}

/// What fails while the user ends the command says nothing of what it was about.
fn interrupted(error: StepError) -> StepError {
    if error.exit == Exit::Interrupted {
        return error;
    }
    StepError::new("interrupted", "", "Run the same command again to go on.")
        .exit(Exit::Interrupted)
}

fn run(cli: &Cli) -> Result<Exit, StepError> {
    let style = Style::stdout(cli.color);
    let out = &mut Cleaned::new(std::io::stdout());
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
