//! Step 7: everything that will be installed is built before a disk is touched.
//!
//! One nix run builds the first system, the disko scripts and, when staged, the
//! full system too: what cannot be built is found while the disks still hold
//! what they held.

use std::path::Path;

use crate::config::Push;
use crate::context::Context;
use crate::error::{Exit, StepError};
use crate::nix::{Nix, StorePath, report_to};
use crate::remote::encode;
use crate::scratch::flake_in;
use crate::step::{Effect, Evidence, Machine, Status, Step, StepId};

pub struct Build;

/// Names of the facts, in the order in which they are built.
const FIRST: &str = "system";
const FORMAT: &str = "format";
const MOUNT: &str = "mount";
const FULL: &str = "full";

impl Step for Build {
    fn id(&self) -> StepId {
        StepId::Build
    }

    fn effects(&self, _cx: &Context) -> &'static [Effect] {
        &[Effect {
            machine: Machine::Source,
            change: "builds the systems and disko's scripts into the nix store",
            reversible: true,
        }]
    }

    fn observe(&self, cx: &Context) -> Result<Status, StepError> {
        if let Some(status) = cx.over_since_installed(StepId::Build) {
            return Ok(status);
        }
        let (Some(built), Some(hardware)) =
            (cx.evidence(StepId::Build), cx.evidence(StepId::Hardware))
        else {
            return Ok(Status::Ready);
        };
        let nix = cx.nix()?;
        let paths = built.facts.values().filter_map(|path| path.parse::<StorePath>().ok());
        let mut there = built.fact("revision") == hardware.fact("revision");
        for path in paths {
            there = there && nix.is_valid_in("auto", &path, "")?;
        }
        Ok(if there { Status::Done(built.clone()) } else { Status::Ready })
    }

    fn apply(&self, cx: &mut Context) -> Result<(), StepError> {
        let wanted = wanted(cx)?;
        let installables: Vec<&str> = wanted.iter().map(|(_, what)| what.as_str()).collect();
        let nix = nix_for_full(cx)?;
        let paths = nix
            .build(&installables, &mut report_to(&cx.events))
            .map_err(|error| StepError::from(error).doing("the system could not be built"))?;
        let mut evidence =
            Evidence::default().with("revision", cx.fact(StepId::Hardware, "revision")?);
        for ((name, _), path) in wanted.iter().zip(&paths) {
            evidence = evidence.with(name, path.to_string());
        }
        let size = nix.closure_size(&paths[0])?;
        evidence.summary = format!("{}, closure of {}", paths[0].name(), crate::disks::bytes(size));
        evidence = evidence.with("closure_bytes", size.to_string());
        cx.produced.insert(StepId::Build, evidence);
        Ok(())
    }
}

/// What is built, by the name of the fact that will hold its path.
fn wanted(cx: &Context) -> Result<Vec<(&'static str, String)>, StepError> {
    let facts = cx.facts()?;
    let revision = cx.fact(StepId::Hardware, "revision")?;
    let base = repo_at(&cx.config.repo, revision);
    let full = format!("{base}#{}", cx.config.attr);
    let first = match (&cx.config.installer, cx.staged()) {
        (Some(installer), true) => {
            format!("{}#{}", flake_in(&base, &installer.dir), installer.attr)
        }
        _ => full.clone(),
    };
    let build = |system: &str, name: &str| format!("{system}.config.system.build.{name}");
    let script = |names: &[&'static str]| {
        names.iter().copied().find(|name| facts.first().has_build(name)).ok_or_else(|| {
            StepError::new(
                "the configuration has no disko scripts",
                format!("none of {} is in config.system.build", names.join(", ")),
                "Import disko's module (disko.nixosModules.disko) and give the host a layout.",
            )
            .exit(Exit::Usage)
        })
    };
    let mut wanted = vec![
        (FIRST, build(&first, "toplevel")),
        (FORMAT, build(&first, script(&["destroyFormatMount", "diskoScript"])?)),
        (MOUNT, build(&first, script(&["mount", "mountScript"])?)),
    ];
    if cx.staged() {
        wanted.push((FULL, build(&full, "toplevel")));
    }
    Ok(wanted)
}

/// The flake of the repository at a commit; a shallow clone must be named as one.
pub fn repo_at(repo: &Path, revision: &str) -> String {
    let shallow = if repo.join(".git/shallow").exists() { "&shallow=1" } else { "" };
    format!("git+file://{}?rev={revision}{shallow}", encode(repo))
}

/// Nix for the full configuration: where nothing is pushed, the lock cannot name
/// the new secrets, and the checkout's commit stands in for them.
pub fn nix_for_full(cx: &Context) -> Result<Nix, StepError> {
    let nix = cx.nix()?;
    let Some(secrets) = cx.config.secrets.as_ref().filter(|_| cx.config.push == Push::No) else {
        return Ok(nix);
    };
    let Some(input) = &secrets.input else { return Ok(nix) };
    let revision = cx.fact(StepId::Secrets, "revision")?;
    Ok(nix.with_override(input, &repo_at(&secrets.dir, revision)))
}

/// A store path that the build step made.
fn path(cx: &Context, name: &str) -> Result<StorePath, StepError> {
    parse(cx.fact(StepId::Build, name)?)
}

/// A store path that the journal remembers.
pub fn parse(text: &str) -> Result<StorePath, StepError> {
    text.parse().map_err(|why: String| {
        StepError::new(
            "the journal holds no store path",
            why,
            "landfall abandon HOST forgets the run.",
        )
    })
}

/// The system that is installed first.
pub fn first_system(cx: &Context) -> Result<StorePath, StepError> {
    path(cx, FIRST)
}

/// The full system: the first one, unless staged.
pub fn full_system(cx: &Context) -> Result<StorePath, StepError> {
    path(cx, if cx.staged() { FULL } else { FIRST })
}

/// disko's script that erases, formats and mounts, and the one that only mounts.
pub fn disko_scripts(cx: &Context) -> Result<(StorePath, StorePath), StepError> {
    Ok((path(cx, FORMAT)?, path(cx, MOUNT)?))
}
