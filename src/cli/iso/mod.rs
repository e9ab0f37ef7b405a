//! `landfall iso`: the installer image of the config, and the drive that it goes to.

pub(crate) mod flash;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use clap::{Args, Subcommand};

use super::Cli;
use super::args::NixArgs;
use crate::cli::args::into_config::nix_options;
use crate::config::ConfigRepo;
use crate::error::{Exit, StepError};
use crate::facts::repository::flake_in;
use crate::image::{customize, host_keys, wifi};
use crate::init::operator_keys;
use crate::nix::flake_ref::percent_encode;
use crate::nix::{Nix, report_to};
use crate::run::event::Events;
use crate::run::run_dir::StateDir;
use crate::secret::age::HostKeyPair;
use crate::ssh::HostKey;
use crate::steps::identity::run_keys::read_given;
use crate::ui::prompt::prompter;
use crate::ui::{Screen, Ui, say};

pub(crate) use flash::{IsoFlashArgs, flash};

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum IsoCommand {
    /// Build the installer image of the config
    #[command(
        after_help = "Examples:\n  landfall iso build\n  landfall iso build --customize -o stick.iso\n  landfall iso build --customize -o stick.iso --wifi home"
    )]
    Build(IsoBuildArgs),

    /// Write the image to a removable drive, and read it back
    #[command(
        after_help = "Example:\n  landfall iso flash /dev/disk/by-id/usb-SanDisk_Ultra_Fit_4C53-0:0"
    )]
    Flash(crate::cli::iso::IsoFlashArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct IsoBuildArgs {
    /// Attribute of the installer flake that is the image
    #[arg(long, value_name = "ATTR")]
    pub(crate) attr: Option<String>,

    /// Copy the image here [default: it stays in the nix store, and its path is printed]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Give the copy an SSH host key of its own, by which later runs know it, and more
    #[arg(long, requires = "output")]
    pub(crate) customize: bool,

    /// The host key for --customize [default: a new one for each copy]
    #[arg(long, value_name = "FILE", requires = "customize")]
    pub(crate) host_key: Option<PathBuf>,

    /// Public SSH keys for --customize that may log in as root too; repeatable
    #[arg(long, value_name = "FILE", requires = "customize")]
    pub(crate) ssh_key: Vec<PathBuf>,

    /// Wi-Fi network that the copy joins, by its name; its passphrase is asked for; repeatable
    #[arg(long, value_name = "NAME", requires = "customize")]
    pub(crate) wifi: Vec<OsString>,

    /// The same, for a network that does not show its name
    #[arg(long, value_name = "NAME", requires = "customize")]
    pub(crate) wifi_hidden: Vec<OsString>,

    /// File with the passphrase of the Wi-Fi networks, or of network NAME
    #[arg(long, value_name = "[NAME=]FILE", requires = "customize")]
    pub(crate) wifi_passphrase_file: Vec<OsString>,

    /// Any other Wi-Fi network (open, with user names, with an address of its own): a file as
    /// in /etc/NetworkManager/system-connections; repeatable
    #[arg(long, value_name = "FILE", requires = "customize")]
    pub(crate) wifi_connection: Vec<PathBuf>,

    /// Customize a copy of this image, which was built before
    #[arg(long, value_name = "FILE", requires = "customize", conflicts_with = "attr")]
    pub(crate) image: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) nix: NixArgs,
}

pub(crate) fn build(cli: &Cli, args: &IsoBuildArgs) -> Result<Exit, StepError> {
    if let Some(output) = args.output.as_deref().filter(|_| args.customize) {
        return customize(cli, args, output);
    }
    let image = built(cli, args.attr.as_deref(), &args.nix)?;
    match &args.output {
        Some(output) => {
            copy(&image, output)?;
            say(output.display());
        }
        None => say(image.display()),
    }
    Ok(Exit::Done)
}

/// A copy with a key of its own; its public half is remembered, so that a run trusts it.
fn customize(cli: &Cli, args: &IsoBuildArgs, output: &Path) -> Result<Exit, StepError> {
    let host_key = match &args.host_key {
        Some(file) => read_given(file)?,
        None => HostKeyPair::generate("root@installer")?,
    };
    let mut authorized_keys = String::new();
    for file in &args.ssh_key {
        authorized_keys += &operator_keys::authorized_keys(file)?;
    }
    let networks = wifi::profiles(
        &wifi::WifiFlags {
            names: &args.wifi,
            hidden: &args.wifi_hidden,
            passphrase_files: &args.wifi_passphrase_file,
            connections: &args.wifi_connection,
        },
        prompter(false, Screen::still()).as_ref(),
    )?;
    let joins: Vec<String> = networks.iter().map(|network| network.name.clone()).collect();
    customize::check_output(output)?;
    let state = StateDir::open()?;
    let image = match &args.image {
        Some(image) => image.clone(),
        None => built(cli, args.attr.as_deref(), &args.nix)?,
    };
    let public = host_key.public_openssh()?.parse::<HostKey>()?;
    let fingerprint = host_key.fingerprint();
    customize::customize(
        &image,
        output,
        &customize::Customization { host_key, authorized_keys, networks },
    )?;
    let name = std::path::absolute(output).unwrap_or_else(|_| output.to_owned());
    host_keys::record(&state, &public, &name.display().to_string()).map_err(|error| {
        StepError::new(
            "the image's host key could not be remembered",
            error.to_string(),
            format!("The image is whole: name its key with --installer-fingerprint {fingerprint}"),
        )
    })?;
    say(output.display());
    say(format!("host key {fingerprint}"));
    for name in joins {
        say(format!("joins the Wi-Fi network “{name}”"));
    }
    Ok(Exit::Done)
}

/// The image in the nix store, built where it is not there yet.
fn built(cli: &Cli, attr: Option<&str>, nix: &NixArgs) -> Result<PathBuf, StepError> {
    let place = ConfigRepo::find(cli.directory.as_deref(), cli.settings.as_deref())?;
    let mut wanted = place.iso()?;
    if let Some(attr) = attr {
        attr.clone_into(&mut wanted.attr);
    }
    let (sender, receiver) = mpsc::channel();
    // Standard output is for the path alone: $(landfall iso build) is a file.
    let ui = Ui::start_beside(cli.log_format, cli.color, receiver);
    let events = Events::new("iso", sender);
    let base = format!("git+file://{}", percent_encode(&place.dir));
    let installable = format!("{}#{}", flake_in(&base, &wanted.dir), wanted.attr);
    let built = Nix::find(nix_options(nix))
        .and_then(|nix| nix.build(&[&installable], &mut report_to(&events)));
    ui.finish();
    let paths = built
        .map_err(|error| StepError::from(error).doing("the installer image could not be built"))?;
    let image = paths.first().map(|path| image_in(path.as_ref())).transpose()?.flatten();
    image.ok_or_else(|| {
        StepError::new(
            "the build holds no .iso file",
            format!("{} is not an installer image", wanted.attr),
            "Name the image's attribute with --attr, or `iso` in landfall.toml.",
        )
        .exit(Exit::Usage)
    })
}

fn image_in(path: &str) -> Result<Option<PathBuf>, StepError> {
    let failed = |error: std::io::Error| {
        StepError::new("the image cannot be read", error.to_string(), "Is the nix store mounted?")
    };
    let folder = Path::new(path).join("iso");
    if !folder.is_dir() {
        return Ok(None);
    }
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file.extension().is_some_and(|ext| ext == "iso") {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

fn copy(image: &Path, output: &Path) -> Result<(), StepError> {
    std::fs::copy(image, output).map(|_| ()).map_err(|error| {
        StepError::new(
            format!("{} could not be written", output.display()),
            error.to_string(),
            "Choose another place with -o FILE.",
        )
    })
}
