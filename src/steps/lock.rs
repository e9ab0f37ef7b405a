//! Step 4: flake.lock follows the secrets that were just pushed, and nothing else moves.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::context::Context;
use super::shared_edit::Destination;
use crate::config::Push;
use crate::error::{Exit, StepError};
use crate::git::short;
use crate::run::facts::StepFacts;
use crate::run::step::{Disposition, Effect, Evidence, Machine, Status, StepId};
use crate::steps::Step;
use crate::steps::secrets;
use crate::steps::secrets::{NO_SECRETS, SecretsOutput};

pub(crate) struct Lock;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LockOutput {
    /// The commit of the secrets that the lock names.
    pub(crate) revision: String,
}

impl StepFacts for LockOutput {
    const STEP: StepId = StepId::Lock;
}

impl Step for Lock {
    fn id(&self) -> StepId {
        StepId::Lock
    }

    fn effects(&self, _cx: &Context) -> &'static [Effect] {
        &[Effect {
            machine: Machine::Source,
            change: "moves the secrets input in flake.lock to the pushed revision",
            reversible: true,
        }]
    }

    fn disposition(&self, cx: &Context) -> Result<Disposition, StepError> {
        if cx.config.secrets.is_none() {
            return Ok(Disposition::no_use(NO_SECRETS));
        }
        if !cx.config.secrets_apart() {
            return Ok(Disposition::no_use("the secrets lie in the configuration itself"));
        }
        if cx.config.push == Push::No {
            return Ok(Disposition::no_use("nothing is pushed, so nothing can be locked"));
        }
        Ok(Disposition::Run)
    }

    fn observe(&self, cx: &Context) -> Result<Status, StepError> {
        if let Some(status) = cx.over_since_installed(StepId::Lock) {
            return Ok(status);
        }
        let Some(secrets) = cx.finished_output::<SecretsOutput>()? else {
            return Ok(Status::Ready);
        };
        let locked = locked(cx, cx.config.repo()?)?.unwrap_or_default();
        if !leads_on(cx, &secrets.revision, &locked)? {
            return Ok(Status::Ready);
        }
        let summary = format!("{} {}", input(cx), short(&locked));
        Ok(Status::Done(Evidence::of(summary, &LockOutput { revision: locked })?))
    }

    fn apply(&self, cx: &mut Context) -> Result<(), StepError> {
        let pushed = cx.output::<SecretsOutput>()?.revision;
        lock_in(cx, cx.config.repo()?, &pushed)
    }
}

/// Moves the secrets input of the flake at `root` to the commit `pushed`, or to a later
/// one that opens with the host's key just as well.
pub(crate) fn lock_in(cx: &Context, root: &Path, pushed: &str) -> Result<(), StepError> {
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

/// Whether the input of the secrets follows what is pushed: found before anything is.
pub(crate) fn follows(cx: &Context) -> Result<(), StepError> {
    let place = secrets::place(cx)?;
    let to = Destination::of(place.repo(), &cx.config.push)?;
    let name = input(cx);
    let flake = cx.nix()?.flake_metadata(&cx.config.repo()?.display().to_string())?;
    let Some(input) = flake.inputs.get(&name) else { return Ok(()) };
    let (followed, why) = match (input.kind(), input.branch()) {
        (Some("path"), _) => (None, format!("the input {name} is a folder, which has no commits")),
        _ if input.is_pinned() => (None, format!("the input {name} names one commit for ever")),
        (_, Some(branch)) => {
            let branch = branch.strip_prefix("refs/heads/").unwrap_or(branch);
            (Some(branch.to_owned()), format!("the input {name} follows the branch {branch}"))
        }
        (_, None) => {
            let branch = place.repo().remote_default(&to.remote)?;
            let why = branch.as_deref().unwrap_or("nothing");
            (branch.clone(), format!("the input {name} names no branch, and the remote's is {why}"))
        }
    };
    if followed.as_deref() == Some(&to.branch) {
        return Ok(());
    }
    Err(StepError::new(
        format!("the flake would not see what is pushed to the branch {} of the secrets", to.branch),
        why,
        format!(
            "Name it in flake.nix: inputs.{name}.url = \"git+…?ref={}\", or push to the branch that it \
             follows (--push-branch). --no-push installs from the checkout.",
            to.branch
        ),
    )
    .exit(Exit::Usage))
}

/// The revision of the secrets in the flake.lock at `root`, read as it lies there.
fn locked(cx: &Context, root: &Path) -> Result<Option<String>, StepError> {
    let flake = cx.nix()?.flake_metadata(&root.display().to_string())?;
    Ok(flake.inputs.get(&input(cx)).and_then(|input| input.revision()).map(ToOwned::to_owned))
}

pub(crate) fn input(cx: &Context) -> String {
    cx.config.secrets.as_ref().and_then(|s| s.input.clone()).unwrap_or_default()
}
