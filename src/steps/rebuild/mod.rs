//! Step 14: the full configuration takes over, and proves itself: the system that runs
//! is the closure that was built, its secrets are decrypted, its units run.
//!
//! By `boot` and a reboot, unless told otherwise: from a minimal system to a full one a
//! live switch can be refused, and only a boot proves that the machine will boot.

pub(crate) mod switch;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::connect::sudo;
use super::context::Context;
use super::reboot::{next_boot, wait};
use crate::config::build_on::Builder;
use crate::config::choices::Activation;
use crate::error::StepError;
use crate::git::Repo;
use crate::git::short;
use crate::nix::StorePath;
use crate::run::facts::StepFacts;
use crate::run::step::{Disposition, Effect, Evidence, Machine, Status, StepId};
use crate::ssh::Session;
use crate::steps::Step;
use crate::steps::build::{
    BuildOutput, first_system, full_derivation, full_system, realise_here, realise_on_target,
};
use crate::steps::copy::{sources_to, to_store};
use crate::steps::retire;
use crate::target::Phase;
use crate::ui::prompt::Question;
use switch::switch;

pub(crate) struct Rebuild;

const ACTIVATE_DEADLINE: Duration = Duration::from_secs(10 * 60);
/// How long units may take to settle after the boot.
const SETTLE_DEADLINE: Duration = Duration::from_secs(5 * 60);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RebuildOutput {
    /// The full system.
    pub(crate) system: StorePath,
    /// The commit that it is of.
    revision: Option<String>,
    generation: Option<String>,
    activated: Option<Activated>,
    boot_id: Option<String>,
}

/// How the system that runs came to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Activated {
    Boot,
    Switch,
}

impl StepFacts for RebuildOutput {
    const STEP: StepId = StepId::Rebuild;
}

/// Prints a line for each argument that does not exist.
const MISSING: &str = r#"for path in "$@"; do [ -e "$path" ] || printf '%s\n' "$path"; done"#;

impl Step for Rebuild {
    fn id(&self) -> StepId {
        StepId::Rebuild
    }

    fn effects(&self, cx: &Context) -> &'static [Effect] {
        const VERIFIES: Effect = Effect {
            machine: Machine::Target,
            change: "nothing: generation, secrets and units are verified",
            reversible: true,
        };
        const COPIES: Effect = Effect {
            machine: Machine::Target,
            change: "copies the full configuration and the sources of its inputs",
            reversible: true,
        };
        const BUILDS: Effect = Effect {
            machine: Machine::Target,
            change: "builds the full configuration there, with the sources of its inputs",
            reversible: true,
        };
        const BOOTS: Effect = Effect {
            machine: Machine::Target,
            change: "makes the full configuration the system profile, and reboots into it",
            reversible: true,
        };
        const SWITCHES: Effect = Effect {
            machine: Machine::Target,
            change: "makes the full configuration the system profile, and switches to it",
            reversible: true,
        };
        let live = cx.config.activate == Activation::Switch;
        match (cx.staged(), cx.target_builds(), live) {
            (false, ..) => &[VERIFIES],
            (true, false, false) => &[COPIES, BOOTS],
            (true, false, true) => &[COPIES, SWITCHES],
            (true, true, false) => &[BUILDS, BOOTS],
            (true, true, true) => &[BUILDS, SWITCHES],
        }
    }

    fn confirm(&self, cx: &mut Context) -> Result<Disposition, StepError> {
        if cx.connection.phase == Phase::Installed {
            // The password for sudo is asked for before the long work.
            sudo::ensure(cx).map_err(|error| needs_root(cx, error))?;
        }
        if !cx.staged() {
            return Ok(Disposition::Run);
        }
        let (text, how) = match cx.config.activate {
            Activation::Boot => ("Boot the full configuration at the end?", "with a reboot"),
            Activation::Switch => ("Switch to the full configuration at the end?", "live"),
        };
        let question = Question::new(text, "--yes")
            .detail(format!("The minimal system that is installed first is replaced by it, {how}."))
            .answered_by_yes();
        if cx.prompter.confirm(&question)? {
            return Ok(Disposition::Run);
        }
        Ok(Disposition::declined(by_hand(cx)?))
    }

    fn observe(&self, cx: &Context) -> Result<Status, StepError> {
        if cx.connection.phase != Phase::Installed {
            return Ok(Status::Ready);
        }
        let Some(full) = current_full(cx)? else { return Ok(Status::Ready) };
        if !runs(cx, &full)? {
            return Ok(Status::Ready);
        }
        verify(cx, &full).map(Status::Done)
    }

    fn apply(&self, cx: &mut Context) -> Result<(), StepError> {
        let (full, revision) = build_if_moved(cx)?;
        let produced = RebuildOutput {
            system: full.clone(),
            revision: Some(revision),
            generation: None,
            activated: None,
            boot_id: None,
        };
        cx.produce("", &produced)?;
        if runs(cx, &full)? {
            return Ok(()); // it was built anew, and is the same
        }
        sudo::ensure(cx).map_err(|error| needs_root(cx, error))?;
        let current = cx.target()?.facts.current_system.as_deref() == Some(full.as_ref());
        if cx.config.activate == Activation::Switch {
            bring(cx, &full)?;
            set_profile(cx, &full)?;
            return switch(cx, &full);
        }
        if !current {
            bring(cx, &full)?;
            set_profile(cx, &full)?;
            make_bootable(cx, &full)?;
        }
        let old_boot = cx.target()?.facts.boot_id.clone();
        let config = cx.facts()?.full.clone();
        next_boot::again(cx);
        wait::reboot(cx)?;
        wait::wait(cx, &config, &old_boot)
    }
}

/// Whether the target runs `full`: booted, or switched to where that was asked for.
fn runs(cx: &Context, full: &StorePath) -> Result<bool, StepError> {
    let facts = &cx.target()?.facts;
    let is_full = |system: &Option<String>| system.as_deref() == Some(full.as_ref());
    let switched = cx.config.activate == Activation::Switch
        || cx.finished_output::<RebuildOutput>()?.is_some_and(|before| {
            before.system == *full && before.activated == Some(Activated::Switch)
        });
    Ok(is_full(&facts.current_system) && (switched || is_full(&facts.booted_system)))
}

/// The full system of the commit that is checked out; none when it is not built yet.
fn current_full(cx: &Context) -> Result<Option<StorePath>, StepError> {
    let repo = Repo::open(cx.config.repo()?)?;
    let is_current = |revision: Option<&str>| match revision {
        Some(revision) => retire::still_at(cx, &repo, revision),
        None => Ok(false),
    };
    let built = cx.known_output::<BuildOutput>()?;
    if is_current(built.as_ref().map(|built| built.revision.as_str()))? {
        return Ok(Some(full_system(cx)?));
    }
    let rebuilt = cx.known_output::<RebuildOutput>()?;
    let current = is_current(rebuilt.as_ref().and_then(|rebuilt| rebuilt.revision.as_deref()))?;
    Ok(rebuilt.filter(|_| current).map(|rebuilt| rebuilt.system))
}

/// The configuration may have been mended since it was built: then it is built anew.
fn build_if_moved(cx: &Context) -> Result<(StorePath, String), StepError> {
    let head = Repo::open(cx.config.repo()?)?.head()?;
    if let Some(full) = current_full(cx)? {
        return Ok((full, head));
    }
    cx.events.note(format!("the configuration moved on to {}: building it anew", short(&head)));
    let full = full_derivation(cx, &head)?;
    match cx.builder()? {
        Builder::Target => {} // with `bring`
        builder => realise_here(cx, builder, &[&full])
            .map_err(|error| error.doing("the full configuration could not be built"))?,
    }
    Ok((full.out, head))
}

/// Copies the closure, or has it built there, and copies the sources of all inputs.
fn bring(cx: &Context, full: &StorePath) -> Result<(), StepError> {
    let revision = Repo::open(cx.config.repo()?)?.head()?;
    if cx.target_builds() {
        realise_on_target(cx, &[&full_derivation(cx, &revision)?], None)
            .map_err(|error| error.doing("the full configuration could not be built there"))?;
    } else {
        to_store(cx, &cx.target()?.session, None, std::slice::from_ref(full)).map_err(|error| {
            error.doing("the full configuration could not be copied to the target")
        })?;
    }
    sources_to(cx, &revision, None)
}

fn set_profile(cx: &Context, full: &StorePath) -> Result<(), StepError> {
    let set = ["nix-env", "--profile", "/nix/var/nix/profiles/system", "--set", full.as_ref()];
    cx.target()?
        .session
        .root(&set)
        .deadline(ACTIVATE_DEADLINE)
        .run()
        .map_err(|error| StepError::from(error).doing("the system profile could not be set"))?;
    Ok(())
}

fn make_bootable(cx: &Context, full: &StorePath) -> Result<(), StepError> {
    let session = &cx.target()?.session;
    let program = format!("{full}/bin/switch-to-configuration");
    session
        .root(&[&program, "boot"])
        .deadline(ACTIVATE_DEADLINE)
        .run()
        .map_err(|error| StepError::from(error).doing("the boot loader could not be updated"))?;
    session.root(&["sync"]).run()?;
    Ok(())
}

/// What must hold on the machine that booted the full configuration.
fn verify(cx: &Context, full: &StorePath) -> Result<Evidence, StepError> {
    settle(cx)?;
    let secrets = verify_secrets(cx)?;
    let units = verify_units(cx)?;
    let link = cx.target()?.session.run(&["readlink", "/nix/var/nix/profiles/system"]).read()?;
    let generation = link.trim_start_matches("system-").trim_end_matches("-link").to_owned();
    let booted = cx.target()?.facts.booted_system.as_deref() == Some(full.as_ref());
    let mut summary =
        format!("generation {generation} {}", if booted { "booted" } else { "active" });
    if secrets > 0 {
        summary.push_str(&format!(", {secrets} secrets decrypted"));
    }
    if units > 0 {
        summary.push_str(&format!(", {units} required units up"));
    }
    let head = Repo::open(cx.config.repo()?)?.head()?;
    let output = RebuildOutput {
        system: full.clone(),
        revision: Some(head),
        generation: Some(generation),
        activated: Some(if booted { Activated::Boot } else { Activated::Switch }),
        boot_id: Some(cx.target()?.facts.boot_id.clone()),
    };
    Ok(Evidence::of(summary, &output)?)
}

fn settle(cx: &Context) -> Result<(), StepError> {
    let argv = ["systemctl", "is-system-running", "--wait"];
    // Its exit status tells of failed units; those are looked at by themselves.
    cx.target()?.session.run(&argv).deadline(SETTLE_DEADLINE).output()?;
    Ok(())
}

/// A decrypted secret is there under its name; one that did not decrypt is not.
fn verify_secrets(cx: &Context) -> Result<usize, StepError> {
    if cx.config.no_secrets {
        return Ok(0);
    }
    let secrets = &cx.facts()?.full.secrets;
    let paths: Vec<&str> = secrets.iter().map(|secret| secret.path.as_str()).collect();
    let session = &cx.target()?.session;
    // A folder of secrets may be closed to the user.
    let look = if session.can_be_root() { Session::root_script } else { Session::script };
    let missing = look(session, MISSING, &paths).read()?;
    if missing.is_empty() {
        return Ok(paths.len());
    }
    Err(StepError::new(
        "secrets were not decrypted on the target",
        missing.lines().map(|path| format!("{path} is not there")).collect::<Vec<_>>().join("\n"),
        "See what the activation said: landfall ssh HOST -- journalctl -b, then mend the configuration or the secrets.",
    ))
}

fn verify_units(cx: &Context) -> Result<usize, StepError> {
    let session = &cx.target()?.session;
    let mut down = Vec::new();
    for unit in &cx.config.require_units {
        let state = session.run(&["systemctl", "is-active", "--", unit]).output()?.text();
        if state != "active" {
            down.push(format!("{unit} is {state}"));
        }
    }
    let failed = session.run(&["systemctl", "list-units", "--failed", "--plain", "--no-legend"]);
    for line in failed.output()?.text().lines() {
        let unit = line.split_whitespace().next().unwrap_or_default();
        if !cx.config.require_units.iter().any(|required| required == unit) {
            cx.events.warn(format!("{unit} failed on the target"));
        }
    }
    if down.is_empty() {
        return Ok(cx.config.require_units.len());
    }
    Err(StepError::new(
        "required units are not up",
        down.join("\n"),
        "See landfall ssh HOST -- journalctl -b -u UNIT, mend the configuration, commit, and run the same command again.",
    ))
}

/// The full configuration asks for a password before it lets anyone become root.
fn needs_root(cx: &Context, error: StepError) -> StepError {
    let host = &cx.config.host;
    let Ok(repo) = cx.config.repo() else { return error };
    let place = super::repos::place(cx, repo);
    let mut error = error.doing(format!(
        "{host} runs another system than the configuration, and nobody there is root"
    ));
    error.hint.push_str(&format!(
        " Or by hand: bring the change there (git pull in ~/{place}), then landfall ssh {host} -- \
         sudo nixos-rebuild boot --flake ~/{place}#{host}, reboot it, and run the same command \
         again."
    ));
    error
}

/// The commands with which a person does the rebuild.
fn by_hand(cx: &Context) -> Result<String, StepError> {
    let host = &cx.config.host;
    let place = super::repos::place(cx, cx.config.repo()?);
    let minimal = match first_system(cx) {
        Ok(path) => format!("{} stays", path.name()),
        Err(_) => "the minimal system stays".to_owned(),
    };
    Ok(format!(
        "declined: {minimal}. By hand, on {host}: sudo nixos-rebuild boot --flake ~/{place}#{host} && sudo reboot"
    ))
}
