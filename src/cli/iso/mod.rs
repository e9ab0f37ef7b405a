//! `landfall iso`: the installer image of the config, and the drive that it goes to.

pub mod flash;

use std::path::{Path, PathBuf};
use std::sync::mpsc;

use super::{Cli, IsoBuildArgs, NixOptions};
use crate::config::Place;
use crate::error::{Exit, StepError};
use crate::facts::repository::flake_in;
use crate::image::{customize, host_keys, wifi};
use crate::init::operator_keys;
use crate::nix::flake_ref::encode;
use crate::nix::{Nix, report_to};
use crate::run::event::Events;
use crate::run::run_dir::StateDir;
use crate::secret::age::HostKey as HostKeyPair;
use crate::ssh::HostKey;
use crate::steps::identity::run_keys::read_given;
use crate::ui::prompt::prompter;
use crate::ui::{Screen, Ui, say};

pub use flash::{IsoFlashArgs, flash};

pub fn build(cli: &Cli, args: &IsoBuildArgs) -> Result<Exit, StepError> {
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
        &wifi::Wanted {
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
        &customize::Custom { host_key, authorized_keys, networks },
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
fn built(cli: &Cli, attr: Option<&str>, nix: &NixOptions) -> Result<PathBuf, StepError> {
    let place = Place::find(cli.directory.as_deref(), cli.settings.as_deref())?;
    let mut wanted = place.iso()?;
    if let Some(attr) = attr {
        attr.clone_into(&mut wanted.attr);
    }
    let (sender, receiver) = mpsc::channel();
    // Standard output is for the path alone: $(landfall iso build) is a file.
    let ui = Ui::start_beside(cli.log_format, cli.color, receiver);
    let events = Events::new("iso", sender);
    let base = format!("git+file://{}", encode(&place.repo));
    let installable = format!("{}#{}", flake_in(&base, &wanted.dir), wanted.attr);
    let built =
        Nix::find(nix.to_nix()).and_then(|nix| nix.build(&[&installable], &mut report_to(&events)));
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
