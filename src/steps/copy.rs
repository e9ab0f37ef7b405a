//! Step 9: the closure comes into the store on the new disks, which takes over
//! from the installer's memory as the place for large things. It is copied there, or
//! built there where the target builds for itself.

use serde::{Deserialize, Serialize};

use super::context::Context;
use crate::error::{Exit, StepError};
use crate::nix::{NixError, Store, StorePath, Substitutes, report_to};
use crate::run::facts::StepFacts;
use crate::run::step::{Effect, Evidence, Machine, Status, StepId};
use crate::ssh::Session;
use crate::steps::Step;
use crate::steps::build::{
    first_derivation, first_system, nix_for_full, realise_on_target, repo_at,
};
use crate::steps::{disks, hardware};
use crate::target::NEW_ROOT;

pub(crate) struct Copy;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CopyOutput {
    /// What is in the store on the new disks.
    system: StorePath,
}

impl StepFacts for CopyOutput {
    const STEP: StepId = StepId::Copy;
}

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
        if cx.finished(StepId::Build).is_none() || cx.connection.target.is_none() {
            return Ok(Status::Ready);
        }
        // A store that is asked below an empty folder would be made there.
        if !disks::mounted(cx)? {
            return Ok(Status::Ready);
        }
        let system = first_system(cx)?;
        let session = &cx.target()?.session;
        let store = store_url(cx, session, Some(NEW_ROOT));
        if !cx.nix()?.is_valid_in(&store, &system, &session.nix_ssh_opts())? {
            return Ok(Status::Ready);
        }
        Ok(Status::Done(Evidence::of(system.name().to_owned(), &CopyOutput { system })?))
    }

    fn apply(&self, cx: &mut Context) -> Result<(), StepError> {
        disks::require_mounted(cx)?;
        tell_substituters(cx)?;
        // First what is no proof that the step is done.
        if with_sources(cx)? {
            sources_to(cx, &hardware::committed(cx)?, Some(NEW_ROOT))?;
        }
        if cx.target_builds() {
            return realise_on_target(cx, &[&first_derivation(cx)?], Some(NEW_ROOT));
        }
        let system = first_system(cx)?;
        to_store(cx, &cx.target()?.session, Some(NEW_ROOT), &[system])
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
pub(crate) fn sources_to(
    cx: &Context,
    revision: &str,
    root: Option<&str>,
) -> Result<(), StepError> {
    let session = &cx.target()?.session;
    let (store, opts) = (session.nix_store_url(root), session.nix_ssh_opts());
    let flake = repo_at(cx.config.repo()?, revision);
    nix_for_full(cx)?
        .flake_archive_to(&flake, &store, &opts, &mut report_to(&cx.events))
        .map(|_| ())
        .map_err(|error| {
            StepError::from(error).doing("the sources of the flake's inputs could not be copied")
        })
}

/// Copies the closures of `paths` into the target's store, or the one below `root`
/// there. What the target's own substituters have, it takes from them.
pub(crate) fn to_store(
    cx: &Context,
    session: &Session,
    root: Option<&str>,
    paths: &[StorePath],
) -> Result<(), StepError> {
    let transfer = &cx.config.installation.transfer;
    let (uri, ssh_opts) = (store_url(cx, session, root), session.nix_ssh_opts());
    let substitutes =
        if transfer.substitute { Substitutes::ByDestination } else { Substitutes::None };
    let copied: Result<(), NixError> = cx.nix()?.copy(
        transfer.from.as_deref(),
        Store { uri: &uri, ssh_opts: &ssh_opts },
        paths,
        substitutes,
        &mut report_to(&cx.events),
    );
    copied.map_err(|error| {
        let mut error = StepError::from(error);
        if let Some(store) = &transfer.from
            && error.exit != Exit::Interrupted
        {
            error.exit = Exit::Failed;
            error.hint =
                format!("Does {store} hold the whole closure, signed by a key that nix trusts?");
        }
        error
    })
}

/// The target's store, with the settings that the user adds to its URL.
fn store_url(cx: &Context, session: &Session, root: Option<&str>) -> String {
    let mut url = session.nix_store_url(root);
    for (name, value) in &cx.config.installation.transfer.store_settings {
        let separator = if url.contains('?') { '&' } else { '?' };
        url.push_str(&format!("{separator}{name}={value}"));
    }
    url
}

/// Adds lines to root's nix.conf in the installer, each once.
const ADD_TO_CONF: &str = r#"
set -eu
dir=$(eval echo ~root)/.config/nix
mkdir -p "$dir"
touch "$dir/nix.conf"
for line in "$@"; do
  grep -qxF -- "$line" "$dir/nix.conf" || printf '%s\n' "$line" >> "$dir/nix.conf"
done
"#;

/// The installer takes from the configuration's substituters what the source would have
/// to send. An installer whose nix.conf cannot be written does without.
fn tell_substituters(cx: &Context) -> Result<(), StepError> {
    let facts = cx.facts()?.first();
    let transfer = &cx.config.installation.transfer;
    if !transfer.machine_substituters || !transfer.substitute || facts.substituters.is_empty() {
        return Ok(());
    }
    let lines = [
        format!("extra-substituters = {}", facts.substituters.join(" ")),
        format!("extra-trusted-public-keys = {}", facts.trusted_public_keys.join(" ")),
    ];
    let told = cx.target()?.session.root_script(ADD_TO_CONF, &[&lines[0], &lines[1]]).run();
    if let Err(error) = told {
        cx.events.warn(format!("the installer was not told of the substituters: {error}"));
    }
    Ok(())
}
