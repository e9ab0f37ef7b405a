//! Step 15: what the machine runs is in the remote: a clean clone gives it again.

use std::path::Path;

use crate::context::Context;
use crate::error::StepError;
use crate::git::{self, Repo};
use crate::prompt::Question;
use crate::step::{Consent, Effect, Evidence, Machine, Status, Step, StepId};
use crate::steps::build::repo_at;
use crate::steps::lock::short;
use crate::steps::remote::Destination;

pub struct Publish;

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
        let head = repo.head()?;
        let published = evidence.fact("revision") == Some(&head)
            && Destination::of(&repo, &cx.config.push)?.has(&head)?;
        Ok(if published { Status::Done(evidence.clone()) } else { Status::Ready })
    }

    fn apply(&self, cx: &mut Context) -> Result<(), StepError> {
        let repo = Repo::open(&cx.config.repo)?;
        let head = repo.head()?;
        Destination::of(&repo, &cx.config.push)?.push()?;
        let mut evidence =
            Evidence::new(format!("{} pushed", short(&head))).with("revision", &head);
        if let Some(running) = cx.evidence(StepId::Rebuild).and_then(|e| e.fact("system")) {
            let cloned = system_of_clean_clone(cx, &repo, &head)?;
            if cloned != running {
                return Err(StepError::new(
                    "a clean clone gives another system than the one that runs",
                    format!("the clone gives {cloned}\nit runs        {running}"),
                    "Was something left out of the commit? Compare with nix store diff-closures.",
                ));
            }
            evidence.summary.push_str("; a clean clone gives the running system");
            evidence = evidence.with("system", cloned);
        }
        cx.produced.insert(StepId::Publish, evidence);
        Ok(())
    }
}

fn system_of_clean_clone(cx: &Context, repo: &Repo, head: &str) -> Result<String, StepError> {
    let dir = tempfile::Builder::new().prefix("clone-").tempdir_in(&cx.dir).map_err(|error| {
        StepError::new("there is no place for a clone", error.to_string(), "Make room on the disk.")
    })?;
    let clone = dir.path().join("config");
    git::clone(&Destination::of(repo, &cx.config.push)?.url()?, &clone)?;
    let attr = format!("{}.config.system.build.toplevel.outPath", cx.config.attr);
    let flake = repo_at(Path::new(&clone), head);
    cx.nix()?
        .eval_json(&format!("{flake}#{attr}"), None)
        .map_err(|error| StepError::from(error).doing("a clean clone does not evaluate"))
}
