//! Step 15: what the machine runs is in the remote: a clean clone gives it again.
//!
//! The run's commit was made on what was checked out. Where others pushed meanwhile,
//! its paths are brought onto their newest commit, in a private working tree.

use std::path::{Path, PathBuf};

use super::context::Context;
use super::shared_edit::{Destination, Edit, Place};
use crate::error::StepError;
use crate::git::Repo;
use crate::git::short;
use crate::run::step::{Consent, Effect, Evidence, Machine, Status, StepId};
use crate::steps::Step;
use crate::steps::build::repo_at;
use crate::steps::lock;
use crate::steps::{hardware, retire};
use crate::ui::prompt::Question;

pub struct Publish;

/// The facts that name the commit that was checked out, and the one that the remote has.
const LOCAL: &str = "local";
const REVISION: &str = "revision";

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

    fn confirm(&self, cx: &mut Context) -> Result<Consent, StepError> {
        let repo = Repo::open(&cx.config.repo)?;
        let remote = Destination::of(&repo, &cx.config.push)?.url()?;
        let question = Question::new("Push the hardware configuration at the end?", "--no-push")
            .detail(format!("to {remote}"))
            .answered_by_yes();
        Ok(match cx.prompter.confirm(&question)? {
            true => Consent::Given,
            false => Consent::Declined("declined; push it when you are ready: git push".into()),
        })
    }

    fn observe(&self, cx: &Context) -> Result<Status, StepError> {
        let Some(evidence) = cx.evidence(StepId::Publish) else { return Ok(Status::Ready) };
        let repo = Repo::open(&cx.config.repo)?;
        let fact = |name| evidence.fact(name).unwrap_or_default();
        let published = retire::still_at(cx, &repo, fact(LOCAL))?
            && Destination::of(&repo, &cx.config.push)?.has(fact(REVISION))?;
        Ok(if published { Status::Done(evidence.clone()) } else { Status::Ready })
    }

    fn apply(&self, cx: &mut Context) -> Result<(), StepError> {
        let evidence = publish(cx)?;
        cx.produced.insert(StepId::Publish, evidence);
        Ok(())
    }
}

fn publish(cx: &Context) -> Result<Evidence, StepError> {
    let place = Place::of(cx, &cx.config.repo)?.with_own(hardware::own_commits(cx));
    let head = place.repo().head()?;
    let published = place.edit(|root| carry(cx, place.repo(), &head, root))?;
    let pushed = published.revision;
    let evidence = match cx.evidence(StepId::Rebuild).and_then(|e| e.fact("system")) {
        None => Evidence::new(format!("{} pushed", short(&pushed))),
        Some(running) => {
            let cloned = system_of_clean_clone(cx, place.repo(), &pushed)?;
            compare(cx, running, &cloned, &pushed, pushed == head)?
        }
    };
    if pushed != head {
        tell(cx, place.repo(), published.left.is_some());
    }
    Ok(evidence.with(REVISION, &pushed).with(LOCAL, place.repo().head()?))
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
            lock::lock_in(cx, root, cx.fact(StepId::Lock, "revision")?)?;
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
    running: &str,
    cloned: &str,
    pushed: &str,
    ours: bool,
) -> Result<Evidence, StepError> {
    let summary = format!("{} pushed", short(pushed));
    if cloned == running {
        return Ok(Evidence::new(format!("{summary}; a clean clone gives the running system"))
            .with("system", cloned));
    }
    if ours {
        return Err(StepError::new(
            "a clean clone gives another system than the one that runs",
            format!("the clone gives {cloned}\nit runs        {running}"),
            "Was something left out of the commit? Compare with nix store diff-closures.",
        ));
    }
    let host = &cx.config.host;
    let place = super::repos::place(cx, &cx.config.repo);
    cx.events.warn(format!(
        "what others pushed meanwhile changes {host}: a clean clone gives {cloned}, it runs \
         {running}. To take that over, on {host}: git -C ~/{place} pull --rebase && sudo \
         nixos-rebuild boot --flake ~/{place}#{host}, and reboot"
    ));
    Ok(Evidence::new(format!("{summary}; others' new commits change {host}: rebuild it"))
        .with("system", cloned))
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

fn system_of_clean_clone(cx: &Context, repo: &Repo, head: &str) -> Result<String, StepError> {
    let dir = tempfile::Builder::new().prefix("clone-").tempdir_in(&cx.dir).map_err(|error| {
        StepError::new("there is no place for a clone", error.to_string(), "Make room on the disk.")
    })?;
    let clone: PathBuf = dir.path().join("config");
    repo.clone_remote(&Destination::of(repo, &cx.config.push)?.remote, &clone)?;
    let attr = format!("{}.config.system.build.toplevel.outPath", cx.config.attr);
    let flake = repo_at(&clone, head);
    cx.nix()?
        .eval_json(&format!("{flake}#{attr}"), None)
        .map_err(|error| StepError::from(error).doing("a clean clone does not evaluate"))
}
