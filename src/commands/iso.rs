//! `landfall iso`: the installer image of the config, and the drive that it goes to.

use std::path::{Path, PathBuf};
use std::sync::mpsc;

use crate::cli::{Cli, IsoBuildArgs, NixOptions};
use crate::config::Place;
use crate::error::{Exit, StepError};
use crate::event::Events;
use crate::nix::{Nix, report_to};
use crate::remote::encode;
use crate::scratch::flake_in;
use crate::ui::{Ui, say};

mod flash;

pub use flash::{IsoFlashArgs, flash};

pub fn build(cli: &Cli, args: &IsoBuildArgs) -> Result<Exit, StepError> {
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

/// The image in the nix store, built where it is not there yet.
fn built(cli: &Cli, attr: Option<&str>, nix: &NixOptions) -> Result<PathBuf, StepError> {
    let place = Place::find(cli.directory.as_deref(), cli.settings.as_deref())?;
    let mut iso = place.iso()?;
    if let Some(attr) = attr {
        attr.clone_into(&mut iso.attr);
    }
    let (sender, receiver) = mpsc::channel();
    let ui = Ui::start(cli.log_format, cli.color, None, receiver);
    let events = Events::new("iso", sender);
    let base = format!("git+file://{}", encode(&place.repo));
    let installable = format!("{}#{}", flake_in(&base, &iso.dir), iso.attr);
    let built =
        Nix::find(nix.to_nix()).and_then(|nix| nix.build(&[&installable], &mut report_to(&events)));
    ui.finish();
    let paths = built
        .map_err(|error| StepError::from(error).doing("the installer image could not be built"))?;
    let image = paths.first().map(|path| image_in(path.as_ref())).transpose()?.flatten();
    image.ok_or_else(|| {
        StepError::new(
            "the build holds no .iso file",
            format!("{} is not an installer image", iso.attr),
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
