//! Step 6 of `landfall install`: the hardware file is in the flake, where nix sees it.
//! Nothing is committed; a flake without a checkout has no hardware step.

use std::path::Path;

use super::HardwareOutput;
use super::report;
use super::report::Backend;
use crate::config::choices::HardwareSource;
use crate::config::source::{FlakeSystem, System};
use crate::error::{Exit, StepError};
use crate::facts::flake;
use crate::git::Repo;
use crate::run::step::{Status, StepId};
use crate::secret::sha256_hex;
use crate::steps::context::Context;

fn file(cx: &Context) -> Result<&Path, StepError> {
    cx.config.hardware_file().ok_or_else(|| {
        StepError::new("no hardware file was asked for", "", "Add --generate-hardware-config.")
            .exit(Exit::Usage)
    })
}

/// Done when the file is what this run wrote.
pub(crate) fn observe(cx: &Context) -> Result<Status, StepError> {
    if let Some(status) = cx.over_since_installed(StepId::Hardware) {
        return Ok(status);
    }
    let file = file(cx)?;
    let now = std::fs::read(file).map(|bytes| sha256_hex(&bytes)).unwrap_or_default();
    let Some(evidence) = cx.evidence(StepId::Hardware) else { return Ok(Status::Ready) };
    let written = evidence.read::<HardwareOutput>()?.and_then(|output| output.sha256);
    let same = written == Some(now);
    Ok(if same { Status::Done(evidence.clone()) } else { Status::Ready })
}

pub(crate) fn apply(cx: &mut Context) -> Result<(), StepError> {
    let path = file(cx)?.to_owned();
    let text = super::agreed_report(cx)?;
    report::write(&path, &text)?;
    show_to_git(&path)?;
    let summary = format!("{} written", path.display());
    let sha256 = Some(sha256_hex(text.as_bytes()));
    cx.produce(summary, &HardwareOutput { revision: None, file: path, sha256 })
}

/// The file has a place in a flake that can be written.
pub(crate) fn check(cx: &Context) -> Result<(), StepError> {
    match &cx.config.system {
        System::Flake(system @ FlakeSystem { hardware_file: Some(file), .. }) => {
            flake::place_in_flake(system, file).map(|_| ())
        }
        _ => Ok(()),
    }
}

/// The report of nixos-facter is where the configuration reads it: else it would be made
/// and left unread.
pub(crate) fn is_read(cx: &Context) -> Result<(), StepError> {
    let writes = cx.config.hardware.is_some_and(|it| it == HardwareSource::Facter);
    let Some(file) = cx.config.hardware_file().filter(|_| writes) else { return Ok(()) };
    let place = match &cx.config.system {
        System::Flake(system) => flake::place_in_flake(system, file)?,
        System::Repository(_) | System::StorePaths { .. } => file.to_owned(),
    };
    let report = cx.facts()?.full.facter_report.as_deref();
    if report.is_some_and(|report| Path::new(report).ends_with(&place)) {
        return Ok(());
    }
    let reads = report.map_or("it is not set".to_owned(), |report| format!("it is {report}"));
    Err(StepError::new(
        format!("the configuration does not read {}", place.display()),
        format!("hardware.facter.reportPath should lead there; {reads}"),
        "Set hardware.facter.reportPath = ./facter.json in the host's configuration, beside the file.",
    )
    .exit(Exit::Usage))
}

pub(crate) fn backend(cx: &Context) -> Backend {
    match (cx.config.hardware, cx.config.hardware_file()) {
        (Some(HardwareSource::Facter), _) => Backend::Facter,
        (Some(HardwareSource::GenerateConfig), _) | (_, None) => Backend::GenerateConfig,
        (_, Some(file)) => Backend::of_file(file),
    }
}

/// A flake in a git repository consists of the files that git knows.
fn show_to_git(path: &Path) -> Result<(), StepError> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    if !dir.ancestors().any(|dir| dir.join(".git").exists()) {
        return Ok(());
    }
    Repo::open(dir).and_then(|repo| repo.intent_to_add_ignored(path)).map_err(|error| {
        StepError::from(error).doing(format!("git could not be told of {}", path.display()))
    })
}
