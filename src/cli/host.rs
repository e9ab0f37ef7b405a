//! `landfall host add`: one more host in an existing configuration.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Cli;
use super::init;
use super::init::{InitError, Layout};
use crate::config::ConfigRepo;
use crate::error::{Exit, StepError};
use crate::exec::quote;
use crate::git::Repo;
use crate::init::HostSecrets;
use crate::init::add_host::{HostDisk, NewHost, secrets_file};
use crate::init::operator_keys;
use crate::init::templates::Firmware;
use crate::secret::password;
use crate::ui::say;

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum HostCommand {
    /// Write a host into the configuration, with its secrets file and its rule
    #[command(
        after_help = "Example:\n  landfall host add molly --disk /dev/disk/by-id/nvme-CT1000_2317"
    )]
    Add(HostAddArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct HostAddArgs {
    /// Name of the new host
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// Layout of the host's disk
    #[arg(long, value_enum, value_name = "LAYOUT", default_value_t = Layout::BtrfsLuks)]
    pub(crate) layout: Layout,

    /// What starts the host
    #[arg(long, value_enum, value_name = "FIRMWARE", default_value_t = Firmware::Uefi)]
    pub(crate) firmware: Firmware,

    /// Disk of the host, best by its name in /dev/disk/by-id
    #[arg(long, value_name = "DEVICE", default_value = "/dev/vda")]
    pub(crate) disk: String,

    /// The user's password in the first line of a file [default: one is made up]
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
}

pub(crate) fn run(command: &HostCommand, cli: &Cli) -> Result<Exit, StepError> {
    let HostCommand::Add(args) = command;
    add(args, cli)
}

fn add(args: &HostAddArgs, cli: &Cli) -> Result<Exit, StepError> {
    init::check_names(&args.name, &args.disk)?;
    let place = ConfigRepo::find(cli.directory.as_deref(), cli.settings.as_deref())?;
    let secrets = place.secrets()?.filter(|secrets| secrets.input.is_some());
    let secrets = secrets.ok_or_else(|| no_secrets(&place.dir.display().to_string()))?;
    let disk = HostDisk { layout: args.layout.name(), firmware: args.firmware, device: &args.disk };
    let host = NewHost::plan(&args.name, disk, &place.dir, &secrets)?;
    for dir in [&place.dir, &secrets.dir] {
        Repo::open(dir)?.committer()?;
    }
    let home = std::env::home_dir().filter(|home| home.is_absolute()).ok_or(InitError::NoHome)?;
    let (password, kept) = match &args.password_file {
        Some(file) => (init::read_password(file)?, None),
        None => {
            let (password, path) = init::make_password(&host.user, host.name, &home)?;
            (password, Some(path))
        }
    };
    let hash = password::hash(&password).map_err(|error| InitError::Hash(error.to_string()))?;
    let identity = operator_keys::identity_path(&home);
    host.write(&HostSecrets {
        password_hash: &hash,
        sample: &password::generate(),
        identity: identity.is_file().then_some(identity.as_path()),
    })?;
    report(&host, kept);
    Ok(Exit::Done)
}

/// What was made, and the commands that come next.
fn report(host: &NewHost<'_>, password: Option<PathBuf>) {
    let (name, user) = (host.name, &host.user);
    let (config, secrets) = (host.config, &host.secrets.dir);
    say(format!("{}  its configuration", config.join("hosts/nixos").join(name).display()));
    say(format!("{}  its secrets, encrypted", secrets.join(secrets_file(name)).display()));
    if let Some(path) = password {
        say(format!("{}  the password made up for {user}", path.display()));
    }
    let quoted = |path: &std::path::Path| quote(&path.to_string_lossy());
    say(format!(
        "\nNext:\n  git -C {} push\n  git -C {} push\n  landfall check {name} root@ADDRESS\n  \
         landfall bootstrap {name} root@ADDRESS",
        quoted(secrets),
        quoted(config)
    ));
}

fn no_secrets(repo: &str) -> StepError {
    StepError::new(
        format!("{repo} has no secrets in a repository of their own"),
        "a host is added to a configuration that `landfall init` wrote, with nix-secrets beside it",
        "In another configuration a host needs: an entry in nixosConfigurations, a disk layout, \
         an import of its hardware file, and what its sops.secrets name. landfall check NAME \
         tells what is missing.",
    )
    .exit(Exit::Usage)
}
