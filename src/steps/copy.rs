//! Step 9: the closure goes into the store on the new disks, which takes over
//! from the installer's memory as the place for large things.

use crate::context::Context;
use crate::error::StepError;
use crate::nix::{NixError, StorePath, report_to};
use crate::ssh::Session;
use crate::step::{Effect, Evidence, Machine, Status, Step, StepId};
use crate::steps::build::first_system;

pub struct Copy;

/// Where disko mounts the new system.
pub const ROOT: &str = "/mnt";

impl Step for Copy {
    fn id(&self) -> StepId {
        StepId::Copy
    }

    fn effects(&self, _cx: &Context) -> &'static [Effect] {
        &[Effect {
            machine: Machine::Target,
            change: "copies the closure into the store on the new disks",
            reversible: true,
        }]
    }

    fn observe(&self, cx: &Context) -> Result<Status, StepError> {
        if let Some(status) = cx.over_since_installed(StepId::Copy) {
            return Ok(status);
        }
        if cx.finished(StepId::Build).is_none() || cx.target.is_none() {
            return Ok(Status::Ready);
        }
        let system = first_system(cx)?;
        let session = &cx.target()?.session;
        let store = session.nix_store_url(Some(ROOT));
        if !cx.nix()?.is_valid_in(&store, &system, &session.nix_ssh_opts())? {
            return Ok(Status::Ready);
        }
        Ok(Status::Done(Evidence::new(system.name()).with("system", system.to_string())))
    }

    fn apply(&self, cx: &mut Context) -> Result<(), StepError> {
        let system = first_system(cx)?;
        to_store(cx, &cx.target()?.session, Some(ROOT), &[system])
            .map_err(|error| error.doing("the system could not be copied to the target"))
    }
}

/// Copies the closures of `paths` into the target's store, or the one below `root`
/// there. What the target's own substituters have, it takes from them.
pub fn to_store(
    cx: &Context,
    session: &Session,
    root: Option<&str>,
    paths: &[StorePath],
) -> Result<(), StepError> {
    let copied: Result<(), NixError> = cx.nix()?.copy(
        &session.nix_store_url(root),
        paths,
        &session.nix_ssh_opts(),
        true,
        &mut report_to(&cx.events),
    );
    Ok(copied?)
}
