//! Step 9: the closure comes into the store on the new disks, which takes over
//! from the installer's memory as the place for large things. It is copied there, or
//! built there where the target builds for itself.

use crate::context::Context;
use crate::error::StepError;
use crate::nix::{NixError, StorePath, report_to};
use crate::ssh::Session;
use crate::step::{Effect, Evidence, Machine, Status, Step, StepId};
use crate::steps::build::{
    first_derivation, first_system, nix_for_full, realise_on_target, repo_at,
};

pub struct Copy;

/// Where disko mounts the new system.
pub const ROOT: &str = "/mnt";

impl Step for Copy {
    fn id(&self) -> StepId {
        StepId::Copy
    }

    fn effects(&self, cx: &Context) -> &'static [Effect] {
        const COPIES: Effect = Effect {
            machine: Machine::Target,
            change: "copies the closure into the store on the new disks",
            reversible: true,
        };
        const BUILDS: Effect = Effect {
            machine: Machine::Target,
            change: "builds the system there, into the store on the new disks",
            reversible: true,
        };
        const SOURCES: Effect = Effect {
            machine: Machine::Target,
            change: "copies the sources of the flake's inputs along",
            reversible: true,
        };
        match (cx.target_builds(), with_sources(cx).unwrap_or(false)) {
            (false, false) => &[COPIES],
            (false, true) => &[COPIES, SOURCES],
            (true, false) => &[BUILDS],
            (true, true) => &[BUILDS, SOURCES],
        }
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
        // First what is no proof that the step is done.
        if with_sources(cx)? {
            sources_to(cx, cx.fact(StepId::Hardware, "revision")?, Some(ROOT))?;
        }
        if cx.target_builds() {
            return realise_on_target(cx, &[&first_derivation(cx)?], Some(ROOT));
        }
        let system = first_system(cx)?;
        to_store(cx, &cx.target()?.session, Some(ROOT), &[system])
            .map_err(|error| error.doing("the system could not be copied to the target"))
    }
}

/// Whether the inputs' sources go along now: with the full system, for an owner who has
/// the repositories there. In staged they come with that system, in step 14.
fn with_sources(cx: &Context) -> Result<bool, StepError> {
    Ok(!cx.staged() && super::repos::copied(cx)?)
}

/// Copies the sources of the configuration at a commit and of all its inputs into the
/// target's store: the owner can rebuild there without credentials for the private ones.
pub fn sources_to(cx: &Context, revision: &str, root: Option<&str>) -> Result<(), StepError> {
    let session = &cx.target()?.session;
    let (store, opts) = (session.nix_store_url(root), session.nix_ssh_opts());
    let flake = repo_at(&cx.config.repo, revision);
    nix_for_full(cx)?
        .flake_archive_to(&flake, &store, &opts, &mut report_to(&cx.events))
        .map(|_| ())
        .map_err(|error| {
            StepError::from(error).doing("the sources of the flake's inputs could not be copied")
        })
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
