//! The image on the source: found, fetched or built, and looked at.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::config::{Config, ConfigError, KexecImage, Sha256Sum};
use crate::error::{Exit, StepError};
use crate::exec::Cmd;
use crate::nix::report_to;
use crate::steps::build::repo_at;
use crate::steps::context::Context;

/// Slow lines carry some hundred MiB.
const FETCH_DEADLINE: Duration = Duration::from_secs(2 * 60 * 60);
const LIST_DEADLINE: Duration = Duration::from_secs(10 * 60);

/// Where the installer of this architecture is published.
/// Source: the releases of github.com/nix-community/nixos-images.
pub(crate) fn published(system: &str) -> String {
    format!(
        "https://github.com/nix-community/nixos-images/releases/download/nixos-26.05/\
         nixos-kexec-installer-noninteractive-{system}.tar.gz"
    )
}

/// The image that is used, for people.
pub(crate) fn named(config: &Config, system: &str) -> String {
    match &config.kexec.image {
        Some(KexecImage::File(path)) => path.display().to_string(),
        Some(KexecImage::Url(name) | KexecImage::Attr(name)) => name.clone(),
        None => published(system),
    }
}

/// An image on the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) path: PathBuf,
    pub(crate) sha256: Sha256Sum,
    pub(crate) size: u64,
    /// Where it comes from, for people.
    pub(crate) from: String,
}

/// Finds, fetches or builds the image, and looks whether it is one.
pub(crate) fn image(cx: &Context) -> Result<Image, StepError> {
    let given = cx.config.kexec.sha256.as_ref();
    let from = cx.config.kexec.image.clone().unwrap_or_else(|| {
        KexecImage::Url(published(
            &cx.connection.target.as_ref().map_or(String::new(), |t| t.facts.system.clone()),
        ))
    });
    let (path, shown) = match &from {
        KexecImage::File(path) => (path.clone(), path.display().to_string()),
        KexecImage::Url(url) => (fetch(url, given)?, url.clone()),
        KexecImage::Attr(attr) => (build(cx, attr)?, attr.clone()),
    };
    check_tarball(&path)?;
    let unreadable = |error: std::io::Error| not_read(&path, &error.to_string());
    let mut file = std::fs::File::open(&path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut hash).map_err(unreadable)?;
    let sha256 = Sha256Sum::of(&hash.finalize());
    match given {
        Some(given) if *given != sha256 => Err(StepError::new(
            format!("{shown} is not the kexec image that was meant"),
            format!("its SHA-256 is {}, not {}", sha256.as_str(), given.as_str()),
            "Get the image again, or correct --kexec-sha256 (`kexec_sha256` in landfall.toml).",
        )
        .exit(Exit::Usage)),
        _ => Ok(Image { path, sha256, size, from: shown }),
    }
}

/// Fetches over TLS, or with any protocol what has exactly the given hash.
fn fetch(url: &str, sha256: Option<&Sha256Sum>) -> Result<PathBuf, StepError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Fetched {
        store_path: PathBuf,
    }
    if sha256.is_none() && !url.starts_with("https://") {
        return Err(StepError::new(
            format!("{url} is not fetched without a hash"),
            "whoever is on the line could put another system in its place",
            "Give --kexec-sha256 HASH, or an https:// address.",
        )
        .exit(Exit::Usage));
    }
    let mut cmd = Cmd::new("nix")
        .args(["--extra-experimental-features", "nix-command", "store", "prefetch-file", "--json"])
        .args(["--name", "kexec-installer.tar.gz"]);
    if let Some(hash) = sha256 {
        cmd = cmd.args(["--hash-type", "sha256", "--expected-hash", hash.as_str()]);
    }
    let text = cmd.args(["--", url]).deadline(FETCH_DEADLINE).read().map_err(|error| {
        let mut error = StepError::from(error).doing(format!("{url} could not be fetched"));
        error.hint = "Is it reachable from here, and the hash right? --kexec FILE takes a file that you have.".into();
        error
    })?;
    let fetched: Fetched = serde_json::from_str(&text)
        .map_err(|error| not_read(Path::new(url), &error.to_string()))?;
    Ok(fetched.store_path)
}

/// Builds an attribute of the config; the tarball may lie in a folder.
fn build(cx: &Context, attr: &str) -> Result<PathBuf, StepError> {
    let host = cx.config.host_system().ok_or(ConfigError::NoRepository)?;
    let head = crate::git::Repo::open(&host.dir)?.head()?;
    let base = repo_at(&host.dir, &head);
    let flake = match &host.installer {
        Some(installer) => crate::facts::repository::flake_in(&base, &installer.dir),
        None => base,
    };
    let built = cx
        .nix()?
        .build(&[&format!("{flake}#{attr}")], &mut report_to(&cx.events))
        .map_err(|error| StepError::from(error).doing("the kexec image could not be built"))?;
    let path = PathBuf::from(built.first().map(ToString::to_string).unwrap_or_default());
    if !path.is_dir() {
        return Ok(path);
    }
    let entries = std::fs::read_dir(&path).map_err(|error| not_read(&path, &error.to_string()))?;
    let is_tarball = |path: &PathBuf| path.to_string_lossy().contains(".tar");
    let mut found = entries.flatten().map(|entry| entry.path()).filter(is_tarball);
    found.next().ok_or_else(|| not_read(&path, "there is no tarball in it"))
}

/// A tarball of another shape would leave the target without keys, and so out of reach.
fn check_tarball(path: &Path) -> Result<(), StepError> {
    let list = Cmd::new("tar")
        .arg("--list")
        .arg("--file")
        .arg(path)
        .deadline(LIST_DEADLINE)
        .read()
        .map_err(|error| not_read(path, &error.to_string()))?;
    let has = |name: &str| list.lines().any(|line| line.trim_start_matches("./") == name);
    if has("kexec/run") && has("kexec/kexec") {
        return Ok(());
    }
    Err(StepError::new(
        format!("{} is not a kexec image that landfall can start", path.display()),
        "it has no kexec/run and kexec/kexec, which hand over keys and network",
        "Take a tarball of nixos-images (kexec-installer). The kexecTarball of plain nixpkgs \
         carries no keys: nobody could log in.",
    )
    .exit(Exit::Usage))
}

fn not_read(path: &Path, why: &str) -> StepError {
    StepError::new(
        format!("the kexec image {} cannot be read", path.display()),
        why,
        "Check the path that --kexec or `kexec` in landfall.toml names.",
    )
    .exit(Exit::Usage)
}
