//! Step 6: the hardware file is on the source, seen by git, and committed with
//! the locks; everything later evaluates that commit.

pub mod facter;
pub mod generated;
pub(crate) mod in_flake;
pub(crate) mod report;
mod review;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::context::{Context, not_done};
use crate::config::choices::HardwareSource;
use crate::error::{Exit, StepError};
use crate::git::Repo;
use crate::run::facts::StepFacts;
use crate::run::journal;
use crate::run::step::{Disposition, Effect, Evidence, Machine, Status, StepId};
use crate::steps::Step;
use crate::target::Phase;
use report::Backend;

use crate::git::short;

pub(crate) struct Hardware;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HardwareOutput {
    /// The commit that has the file and the locks; none where nothing is committed.
    pub(crate) revision: Option<String>,
    /// The hardware file.
    #[serde(default)]
    file: PathBuf,
    /// What was written to it, where that alone tells.
    sha256: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HardwareIntention {
    /// The file that is written; none where the one that is there is kept.
    writes: Option<PathBuf>,
}

impl StepFacts for HardwareOutput {
    const STEP: StepId = StepId::Hardware;
}

impl StepFacts for HardwareIntention {
    const STEP: StepId = StepId::Hardware;
}

/// The commit that has the hardware file and the locks.
pub(crate) fn committed(cx: &Context) -> Result<String, StepError> {
    cx.output::<HardwareOutput>()?.revision.ok_or_else(|| not_done(StepId::Hardware))
}

impl Step for Hardware {
    fn id(&self) -> StepId {
        StepId::Hardware
    }

    fn effects(&self, _cx: &Context) -> &'static [Effect] {
        &[
            Effect {
                machine: Machine::Target,
                change: "reads the hardware with nixos-generate-config or nixos-facter",
                reversible: true,
            },
            Effect {
                machine: Machine::Source,
                change: "writes the hardware file and commits it with the locks",
                reversible: true,
            },
        ]
    }

    fn disposition(&self, cx: &Context) -> Result<Disposition, StepError> {
        if cx.config.host_system().is_none() && cx.config.hardware.is_none() {
            return Ok(Disposition::no_use("not asked for: --generate-hardware-config"));
        }
        Ok(Disposition::Run)
    }

    fn observe(&self, cx: &Context) -> Result<Status, StepError> {
        if cx.config.host_system().is_none() {
            return in_flake::observe(cx);
        }
        if let Some(status) = cx.over_since_installed(StepId::Hardware) {
            return Ok(status);
        }
        let repo = Repo::open(cx.config.repo()?)?;
        let uncommitted: Vec<PathBuf> =
            repo.dirty()?.into_iter().filter(|path| committed_here(cx, path)).collect();
        if !uncommitted.is_empty() || !locked(cx) {
            return Ok(Status::Ready);
        }
        let path = hardware_file(cx)?;
        if !repo.is_tracked(&path)? {
            return Ok(Status::Ready);
        }
        let written = std::fs::read_to_string(repo.root().join(&path)).unwrap_or_default();
        if !keeps(cx, &repo)? && !is_report(cx, &written)? {
            return Ok(Status::Ready);
        }
        let revision = repo.head()?;
        let summary = format!("{} in commit {}", path.display(), short(&revision));
        let output = HardwareOutput { revision: Some(revision), file: path, sha256: None };
        Ok(Status::Done(Evidence::of(summary, &output)?))
    }

    fn confirm(&self, cx: &mut Context) -> Result<Disposition, StepError> {
        // What the installer will report is asked about when there is one.
        if cx.connection.phase == Phase::Installer && is_reported(cx)? {
            let report = report_once(cx)?;
            review::agree(cx, &report)?;
        }
        Ok(Disposition::Run)
    }

    fn intention(&self, cx: &Context) -> Result<Evidence, StepError> {
        if cx.config.host_system().is_none() {
            return Ok(Evidence::new("writes the hardware file"));
        }
        let repo = Repo::open(cx.config.repo()?)?;
        let path = hardware_file(cx)?;
        if keeps(cx, &repo)? {
            return Ok(Evidence::new(format!("keeps {}", path.display())));
        }
        let summary = format!("writes {}", path.display());
        Ok(Evidence::of(summary, &HardwareIntention { writes: Some(path) })?)
    }

    fn apply(&self, cx: &mut Context) -> Result<(), StepError> {
        if cx.config.host_system().is_none() {
            return in_flake::apply(cx);
        }
        let repo = Repo::open(cx.config.repo()?)?;
        let path = hardware_file(cx)?;
        if !keeps(cx, &repo)? {
            let report = agreed_report(cx)?;
            report::write(&repo.root().join(&path), &report)?;
            repo.intent_to_add(&[path.as_path()])?;
        }
        let changed: Vec<PathBuf> =
            repo.dirty()?.into_iter().filter(|path| committed_here(cx, path)).collect();
        if !changed.is_empty() {
            repo.commit_paths(&as_paths(&changed), &message(cx, &changed))?;
        }
        Ok(())
    }
}

/// The paths that this step commits: the hardware file and the locks.
pub(crate) fn committed_here(cx: &Context, path: &std::path::Path) -> bool {
    let Some(host) = cx.config.host_system() else { return false };
    let installer_lock = host.installer.as_ref().map(|flake| flake.dir.join("flake.lock"));
    Some(path) == host.hardware_file.as_deref()
        || path == std::path::Path::new("flake.lock")
        || Some(path) == installer_lock.as_deref()
}

/// Whether an earlier process of this run may have left this path changed.
pub(crate) fn left_by_this_run(cx: &Context, path: &std::path::Path) -> bool {
    let began = [StepId::Lock, StepId::Hardware]
        .iter()
        .any(|step| journal::intention(cx.memory.journal.lines(), *step).is_some());
    began && committed_here(cx, path)
}

/// The paths that local commits of this run may have changed: such commits stand
/// beside what others pushed meanwhile, until the publish step brings them there.
pub(crate) fn own_commits(cx: &Context) -> impl Fn(&std::path::Path) -> bool {
    |path| left_by_this_run(cx, path)
}

pub(crate) fn message(cx: &Context, changed: &[PathBuf]) -> String {
    let host = &cx.config.host;
    let hardware = changed.iter().any(|path| Some(path.as_path()) == cx.config.hardware_file());
    if hardware {
        format!("{host}: hardware configuration, locked secrets")
    } else {
        format!("{host}: lock the secrets")
    }
}

/// Whether the lock step has done its part, where there is one.
fn locked(cx: &Context) -> bool {
    !cx.config.secrets_apart()
        || cx.config.push == crate::config::Push::No
        || cx.finished(StepId::Lock).is_some()
}

pub(crate) fn hardware_file(cx: &Context) -> Result<PathBuf, StepError> {
    cx.config.hardware_file().map(PathBuf::from).ok_or_else(|| {
        StepError::new(
            format!("where the hardware file of {} belongs is not clear", cx.config.host),
            "no module of the host imports a ./hardware-configuration.nix or ./hardware.nix",
            "Import it in the host's module, or set `hardware = \"hosts/{host}/hardware-configuration.nix\"` in landfall.toml.",
        )
        .exit(Exit::Usage)
    })
}

/// Whether the file that is there is used as it is.
fn keeps(cx: &Context, repo: &Repo) -> Result<bool, StepError> {
    Ok(match cx.config.hardware {
        Some(HardwareSource::Keep) => true,
        Some(HardwareSource::GenerateConfig | HardwareSource::Facter) => false,
        // A file that this very run meant to write is compared with a fresh report.
        None => !written_by_this_run(cx)? && repo.is_tracked(&hardware_file(cx)?)?,
    })
}

fn written_by_this_run(cx: &Context) -> Result<bool, StepError> {
    Ok(cx.intended::<HardwareIntention>()?.is_some_and(|intention| intention.writes.is_some()))
}

/// Whether the file holds what the target reports. nixos-facter need not say the same
/// twice: its report is taken once per process.
fn is_report(cx: &Context, written: &str) -> Result<bool, StepError> {
    match &cx.memory.hardware_report {
        Some(report) => Ok(report == written),
        None => Ok(written == report(cx)?),
    }
}

/// Whether the hardware file will be what the target reports.
fn is_reported(cx: &Context) -> Result<bool, StepError> {
    match cx.config.host_system() {
        Some(host) => Ok(!keeps(cx, &Repo::open(&host.dir)?)?),
        None => Ok(true),
    }
}

/// The hardware as the target reports it.
fn report(cx: &Context) -> Result<String, StepError> {
    in_flake::backend(cx).report(&cx.target()?.session)
}

/// The report that this process has, or a fresh one.
fn report_once(cx: &mut Context) -> Result<String, StepError> {
    let report = match cx.memory.hardware_report.take() {
        Some(report) => report,
        None => report(cx)?,
    };
    cx.memory.hardware_report = Some(report.clone());
    Ok(report)
}

/// The report that is written now. The machine may be another than when it was asked about,
/// and so may be what it says: that counts which is agreed to here.
fn agreed_report(cx: &mut Context) -> Result<String, StepError> {
    if in_flake::backend(cx) == Backend::GenerateConfig {
        cx.memory.hardware_report = None;
    }
    let report = report_once(cx)?;
    review::agree(cx, &report)?;
    Ok(report)
}

/// How a kept file differs from what the target reports; none when it does not. A report
/// that will be taken over is looked at too: it must not need a person where there is none.
pub(crate) fn difference(cx: &mut Context) -> Result<Option<String>, StepError> {
    if cx.config.host_system().is_none() {
        return Ok(None);
    }
    let repo = Repo::open(cx.config.repo()?)?;
    let path = hardware_file(cx)?;
    let tracked = repo.is_tracked(&path)?;
    let reported = is_reported(cx)?;
    if !tracked && !reported {
        return Ok(None);
    }
    let kept = std::fs::read_to_string(repo.root().join(&path)).unwrap_or_default();
    let fresh = report_once(cx)?;
    if tracked && kept.trim() == fresh.trim() {
        return Ok(None);
    }
    if reported {
        return review::foresee(cx, &fresh).map(|()| None);
    }
    Ok(Some(review::unified(&kept, &fresh, "kept", 1).join("\n") + "\n"))
}

pub(crate) fn as_paths(paths: &[PathBuf]) -> Vec<&std::path::Path> {
    paths.iter().map(PathBuf::as_path).collect()
}
