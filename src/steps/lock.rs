//! Step 4: flake.lock follows the secrets that were just pushed, and nothing else moves.

use crate::context::Context;
use crate::error::StepError;
use crate::step::{Effect, Evidence, Machine, Status, Step, StepId};

pub struct Lock;

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

    fn observe(&self, cx: &Context) -> Result<Status, StepError> {
        if let Some(status) = cx.over_since_installed(StepId::Lock) {
            return Ok(status);
        }
        let Some(pushed) = cx.finished(StepId::Secrets).and_then(|e| e.fact("revision")) else {
            return Ok(Status::Ready);
        };
        let locked = locked(cx)?;
        if locked.as_deref() != Some(pushed) {
            return Ok(Status::Ready);
        }
        let summary = format!("{} {}", input(cx), short(pushed));
        Ok(Status::Done(Evidence::new(summary).with("revision", pushed)))
    }

    fn apply(&self, cx: &mut Context) -> Result<(), StepError> {
        let pushed = cx.fact(StepId::Secrets, "revision")?.to_owned();
        let input = input(cx);
        cx.nix()?.flake_update_input(&cx.config.repo, &input)?;
        let locked = locked(cx)?;
        if locked.as_deref() == Some(&pushed) {
            return Ok(());
        }
        Err(StepError::new(
            format!("the input {input} does not lead to the revision that was pushed"),
            format!(
                "pushed {}, locked {}",
                short(&pushed),
                locked.as_deref().map_or("nothing", short)
            ),
            format!(
                "Does the URL of {input} in flake.nix name the branch and the remote that the checkout pushes to?"
            ),
        ))
    }
}

/// The revision of the secrets in flake.lock, read as it lies there.
fn locked(cx: &Context) -> Result<Option<String>, StepError> {
    let flake = cx.nix()?.flake_metadata(&cx.config.repo.display().to_string())?;
    Ok(flake.inputs.get(&input(cx)).and_then(|input| input.revision()).map(ToOwned::to_owned))
}

fn input(cx: &Context) -> String {
    cx.config.secrets.as_ref().and_then(|s| s.input.clone()).unwrap_or_default()
}

/// A revision as people quote it.
pub fn short(revision: &str) -> &str {
    revision.get(..8).unwrap_or(revision)
}
