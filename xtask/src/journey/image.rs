//! Copies of the installer's image: given something by `iso build --customize`, written to a
//! removable drive by `iso flash`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::operator::Operator;
use super::repos::Repos;
use crate::process::{output, quiet};

/// Below the operator's home: a key that only a customized image lets in.
pub(crate) const GUEST_KEY: &str = ".ssh/guest";

/// The Wi-Fi network of a customized image; both texts need care in a keyfile.
pub(crate) const WIFI: &str = "Café; #1";
pub(crate) const WIFI_PASSPHRASE: &str = " it's \"$HOME\"; a\\b#c=d ";

/// Below the operator's home: the customized image, and the removable drive.
pub(crate) const CUSTOMIZED_IMAGE: &str = "stick.iso";
pub(crate) const STICK: &str = "stick.img";

/// A removable drive is larger than what is written to it.
const STICK_BYTES: u64 = 4 << 30;

/// Makes a copy of the image with a host key of its own, the key of a guest who may log in,
/// and a Wi-Fi network.
pub(crate) fn customize(operator: &Operator, repos: &Repos, image: &Path) -> Result<PathBuf> {
    let (copy, guest) = (operator.path(CUSTOMIZED_IMAGE), operator.path(GUEST_KEY));
    let mut keygen = Command::new("ssh-keygen");
    quiet(keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "guest", "-f"]).arg(&guest))?;
    let passphrase = operator.secret_file("wifi-passphrase", WIFI_PASSPHRASE)?;
    let mut landfall = operator.landfall()?;
    landfall.arg("-C").arg(&repos.config).args(["iso", "build", "--customize"]);
    landfall.arg("--image").arg(image).arg("-o").arg(&copy);
    landfall.args(["--wifi", WIFI, "--wifi-passphrase-file"]).arg(passphrase);
    quiet(landfall.arg("--ssh-key").arg(guest.with_extension("pub")))?;
    Ok(copy)
}

/// Makes a removable drive and lets `iso flash` write the image to it.
pub(crate) fn flash(operator: &Operator, image: &Path) -> Result<PathBuf> {
    let drive = operator.path(STICK);
    std::fs::File::create_new(&drive)?.set_len(STICK_BYTES)?;
    let device = output(Command::new("losetup").args(["--find", "--show"]).arg(&drive))
        .context("the journey needs a loop device, which root can make")?;
    let mut landfall = operator.landfall()?;
    landfall.args(["iso", "flash", device.trim(), "--yes", "--image"]).arg(image);
    let written = quiet(&mut landfall);
    quiet(Command::new("losetup").arg("--detach").arg(device.trim()))?;
    written.map(|()| drive)
}
