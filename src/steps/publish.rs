//! Step 15: what the machine runs is in the remote: a clean clone gives it again.
//!
//! The run's commit was made on what was checked out. Where others pushed meanwhile,
//! its paths are brought onto their newest commit, in a private working tree.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::context::Context;
use super::shared_edit::{Destination, Edit, SharedRepo};
use crate::config::{ConfigError, Push};
use crate::error::StepError;
use crate::git::Repo;
use crate::git::short;
use crate::nix::StorePath;
use crate::run::facts::StepFacts;
use crate::run::step::{Disposition, Effect, Machine, Status, StepId};
use crate::steps::Step;
use crate::steps::build::repo_at;
use crate::steps::lock;
use crate::steps::lock::LockOutput;
use crate::steps::rebuild::RebuildOutput;
use crate::steps::{hardware, retire};
use crate::ui::prompt::Question;

pub(crate) struct Publish;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct PublishOutput {
    /// The commit that the remote has.
    #[serde(default)]
    revision: String,
    /// The one that was checked out.
    #[serde(default)]
    local: String,
    /// What a clean clone gives; none where it was not compared.
    system: Option<StorePath>,
}

impl StepFacts for PublishOutput {
    const STEP: StepId = StepId::Publish;
}

impl Step for Publish {
    fn id(&self) -> StepId {
        StepId::Publish
    }

    fn effects(&self, _cx: &Context) -> &'static [Effect] {
        &[Effect {
            machine: Machine::Source,
            change: "pushes nix-config; a clean clone must give the running system",
            reversible: true,
        }]
    }

    fn disposition(&self, cx: &Context) -> Result<Disposition, StepError> {
        if cx.config.push == Push::No {
            return Ok(Disposition::no_use("left out by --no-push"));
        }
        Ok(Disposition::Run)
    }

    fn confirm(&self, cx: &mut Context) -> Result<Disposition, StepError> {
        let repo = Repo::open(cx.config.repo()?)?;
        let remote = Destination::of(&repo, &cx.config.push)?.url()?;
        let question = Question::new("Push the hardware configuration at the end?", "--no-push")
            .detail(format!("to {remote}"))
            .answered_by_yes();
        Ok(match cx.prompter.confirm(&question)? {
            true => Disposition::Run,
            false => Disposition::declined("declined; push it when you are ready: git push"),
        })
    }

    fn observe(&self, cx: &Context) -> Result<Status, StepError> {
        let Some(evidence) = cx.evidence(StepId::Publish) else { return Ok(Status::Ready) };
        let PublishOutput { revision, local, .. } = evidence.read()?.unwrap_or_default();
        let repo = Repo::open(cx.config.repo()?)?;
        let published = retire::still_at(cx, &repo, &local)?
            && Destination::of(&repo, &cx.config.push)?.has(&revision)?;
        Ok(if published { Status::Done(evidence.clone()) } else { Status::Ready })
    }

    fn apply(&self, cx: &mut Context) -> Result<(), StepError> {
        let (summary, output) = publish(cx)?;
        cx.produce(summary, &output)
    }
}

fn publish(cx: &Context) -> Result<(String, PublishOutput), StepError> {
    let place = SharedRepo::of(cx, cx.config.repo()?)?.with_own(hardware::own_commits(cx));
    let head = place.repo().head()?;
    let published = place.edit(|root| carry(cx, place.repo(), &head, root))?;
    let pushed = published.revision;
    let (summary, system) = match cx.known_output::<RebuildOutput>()? {
        None => (format!("{} pushed", short(&pushed)), None),
        Some(RebuildOutput { system: running, .. }) => {
            let cloned = system_of_clean_clone(cx, place.repo(), &pushed)?;
            (compare(cx, &running, &cloned, &pushed, pushed == head)?, Some(cloned))
        }
    };
    if pushed != head {
        tell(cx, place.repo(), published.left.is_some());
    }
    Ok((summary, PublishOutput { revision: pushed, local: place.repo().head()?, system }))
}

/// Brings what the commits up to `head` changed into the working tree at `root`, where
/// that is another commit: those paths and nothing else.
fn carry(cx: &Context, repo: &Repo, head: &str, root: &Path) -> Result<Option<Edit>, StepError> {
    let theirs = Repo::open(root)?.head()?;
    let Some(fork) = repo.merge_base(head, &theirs)? else { return Ok(None) };
    let mut paths = Vec::new();
    for path in repo.changed(&fork, head)? {
        let at = |revision: &str| repo.show(revision, &path);
        let (before, ours, other) = (at(&fork)?, at(head)?, at(&theirs)?);
        if ours == other {
            continue;
        }
        if other == before {
            write(&root.join(&path), ours.as_deref())?;
        } else if path == Path::new("flake.lock") && cx.config.secrets_apart() {
            lock::lock_in(cx, root, &cx.output::<LockOutput>()?.revision)?;
            if !Repo::open(root)?.dirty()?.contains(&path) {
                continue; // they have locked the same
            }
        } else {
            return Err(conflict(repo, &path));
        }
        paths.push(path);
    }
    let message = hardware::message(cx, &paths);
    Ok((!paths.is_empty()).then_some(Edit { paths, message }))
}

fn write(path: &Path, content: Option<&[u8]>) -> Result<(), StepError> {
    let written = match content {
        Some(bytes) => path
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(path, bytes)),
        None => std::fs::remove_file(path),
    };
    written.map_err(|error| {
        StepError::new(
            format!("{} could not be written", path.display()),
            error.to_string(),
            "Make room on the disk that holds your state folder.",
        )
    })
}

fn conflict(repo: &Repo, path: &Path) -> StepError {
    let (dir, path) = (repo.root().display(), path.display());
    StepError::new(
        format!("{path} was changed by this run, and otherwise in the remote"),
        "which of the two is right cannot be told; the remote was left as it is",
        format!(
            "Bring them together: git -C {dir} pull --rebase; for the hardware of this machine, yours \
             is right: git -C {dir} checkout --theirs {path}. Then run the same command again."
        ),
    )
}

/// What the comparison of the running system with a clean clone means.
fn compare(
    cx: &Context,
    running: &StorePath,
    cloned: &StorePath,
    pushed: &str,
    ours: bool,
) -> Result<String, StepError> {
    let summary = format!("{} pushed", short(pushed));
    if cloned == running {
        return Ok(format!("{summary}; a clean clone gives the running system"));
    }
    if ours {
        return Err(StepError::new(
            "a clean clone gives another system than the one that runs",
            format!("the clone gives {cloned}\nit runs        {running}"),
            "Was something left out of the commit? Compare with nix store diff-closures.",
        ));
    }
    let host = &cx.config.host;
    let place = super::repos::place(cx, cx.config.repo()?);
    cx.events.warn(format!(
        "what others pushed meanwhile changes {host}: a clean clone gives {cloned}, it runs \
         {running}. To take that over, on {host}: git -C ~/{place} pull --rebase && sudo \
         nixos-rebuild boot --flake ~/{place}#{host}, and reboot"
    ));
    Ok(format!("{summary}; others' new commits change {host}: rebuild it"))
}

/// The commit of this run is in the remote under another name.
fn tell(cx: &Context, repo: &Repo, left: bool) {
    let dir = repo.root().display();
    cx.events
        .note(format!("others had pushed to {dir}: the run's commit was made again on theirs"));
    if left {
        cx.events.note(format!(
            "your checkout stays as it is; git -C {dir} pull --rebase brings it there"
        ));
    }
}

fn system_of_clean_clone(cx: &Context, repo: &Repo, head: &str) -> Result<StorePath, StepError> {
    let dir = tempfile::Builder::new().prefix("clone-").tempdir_in(&cx.dir).map_err(|error| {
        StepError::new("there is no place for a clone", error.to_string(), "Make room on the disk.")
    })?;
    let clone: PathBuf = dir.path().join("config");
    repo.clone_remote(&Destination::of(repo, &cx.config.push)?.remote, &clone)?;
    let host = cx.config.host_system().ok_or(ConfigError::NoRepository)?;
    let attr = format!("{}.config.system.build.toplevel.outPath", host.attr);
    let flake = repo_at(&clone, head);
    cx.nix()?
        .eval_json(&format!("{flake}#{attr}"), None)
        .map_err(|error| StepError::from(error).doing("a clean clone does not evaluate"))
}
