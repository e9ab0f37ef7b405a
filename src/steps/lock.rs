//! Step 4: flake.lock follows the secrets that were just pushed, and nothing else moves.

use std::path::Path;

use crate::context::Context;
use crate::error::StepError;
use crate::step::{Effect, Evidence, Machine, Status, Step, StepId};
use crate::steps::secrets;

pub struct Lock;

impl Step for Lock {
    fn id(&self) -> StepId {
        StepId::Lock
    }

    fn effects(&self) -> &'static [Effect] {
        &[Effect {
            machine: Machine::Source,
            change: "moves the secrets input in flake.lock to the pushed revision",
            reversible: true,
        }]
    }

    fn observe(&self, cx: &Context) -> Result<Status, StepError> {
        if let Some(status) = cx.over_since_installed(StepId::Lock) {
            return Ok(status);
        }
        let Some(pushed) = cx.finished(StepId::Secrets).and_then(|e| e.fact("revision")) else {
            return Ok(Status::Ready);
        };
        let locked = locked(cx, &cx.config.repo)?.unwrap_or_default();
        if !leads_on(cx, pushed, &locked)? {
            return Ok(Status::Ready);
        }
        let summary = format!("{} {}", input(cx), short(&locked));
        Ok(Status::Done(Evidence::new(summary).with("revision", locked)))
    }

    fn apply(&self, cx: &mut Context) -> Result<(), StepError> {
        let pushed = cx.fact(StepId::Secrets, "revision")?.to_owned();
        lock_in(cx, &cx.config.repo, &pushed)
    }
}

/// Moves the secrets input of the flake at `root` to the commit `pushed`, or to a later
/// one that opens with the host's key just as well.
pub fn lock_in(cx: &Context, root: &Path, pushed: &str) -> Result<(), StepError> {
    let input = input(cx);
    cx.nix()?.flake_update_input(root, &input)?;
    // What somebody has pushed since is known here from now on.
    secrets::place(cx)?.base()?;
    let locked = locked(cx, root)?.unwrap_or_default();
    if leads_on(cx, pushed, &locked)? {
        return Ok(());
    }
    Err(StepError::new(
        format!("the input {input} does not lead to the revision that was pushed"),
        format!("pushed {}, locked {}", short(pushed), short(&locked)),
        format!(
            "Does the URL of {input} in flake.nix name the branch and the remote that the checkout pushes to?"
        ),
    ))
}

/// Whether `locked` is the commit `pushed`, or one that others made on it and that the
/// host's key opens too.
fn leads_on(cx: &Context, pushed: &str, locked: &str) -> Result<bool, StepError> {
    if locked == pushed {
        return Ok(true);
    }
    let place = secrets::place(cx)?;
    if locked.is_empty() || !place.repo().is_ancestor(pushed, locked)? {
        return Ok(false);
    }
    place.look(locked, |root| {
        secrets::prove(cx, &secrets::secrets_in(cx, &place, root)?)?;
        Ok(true)
    })
}

/// The revision of the secrets in the flake.lock at `root`, read as it lies there.
fn locked(cx: &Context, root: &Path) -> Result<Option<String>, StepError> {
    let flake = cx.nix()?.flake_metadata(&root.display().to_string())?;
    Ok(flake.inputs.get(&input(cx)).and_then(|input| input.revision()).map(ToOwned::to_owned))
}

pub fn input(cx: &Context) -> String {
    cx.config.secrets.as_ref().and_then(|s| s.input.clone()).unwrap_or_default()
}

/// A revision as people quote it.
pub fn short(revision: &str) -> &str {
    revision.get(..8).unwrap_or(revision)
}
