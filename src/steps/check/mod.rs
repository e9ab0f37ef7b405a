//! Step 1: everything that could fail later is tried now, and nothing is changed.
//!
//! All problems are told at once, each with what to do, so that one round of
//! mending is enough.

pub(crate) mod boot_files;
mod configuration;
pub(crate) mod firmware;
mod keys;
mod systems;
mod target;

use super::context::Context;
use super::disks::passphrases;
use super::identity::run_keys;
use super::shared_edit::{SharedRepo, require_clean};
use crate::config::Push;
use crate::error::{Exit, StepError};
use crate::facts::HostFacts;
use crate::git::Repo;
use crate::run::step::{Effect, Evidence, Machine, Status, StepId};
use crate::steps::Step;
use crate::steps::{hardware, lock, secrets};
use crate::target::Phase;

pub(crate) struct Check;

impl Step for Check {
    fn id(&self) -> StepId {
        StepId::Check
    }

    fn effects(&self, _cx: &Context) -> &'static [Effect] {
        &[Effect { machine: Machine::Both, change: "nothing", reversible: true }]
    }

    fn is_groundwork(&self) -> bool {
        true
    }

    fn lasts(&self) -> bool {
        false
    }

    fn observe(&self, cx: &Context) -> Result<Status, StepError> {
        Ok(match cx.produced(StepId::Check) {
            Some(evidence) => Status::Done(evidence.clone()),
            None => Status::Ready,
        })
    }

    fn apply(&self, cx: &mut Context) -> Result<(), StepError> {
        // Without nix nothing else can be said.
        cx.nix()?;
        let mut findings = Findings::default();
        if cx.config.host_system().is_some() {
            findings.take(config_repo(cx));
        }
        findings.take(given_key(cx));
        findings.take(passphrases::disk_keys(cx).map(|_| ()));
        // Without an evaluation there is nothing further to say of the configuration.
        if findings.take(cx.facts().map(|_| ())) {
            configuration::check(cx, &mut findings);
            secrets_repo(cx, &mut findings);
            target::check(cx, &mut findings);
            // A passphrase that was made up has to find a place.
            if findings.problems.is_empty() && !cx.memory.answers.made.is_empty() {
                findings.take(secrets::preflight(cx));
            }
        }
        let evidence = findings.verdict(cx)?;
        cx.produce_evidence(StepId::Check, evidence);
        Ok(())
    }
}

/// What was found, good and bad.
#[derive(Default)]
pub(crate) struct Findings {
    passed: usize,
    problems: Vec<StepError>,
}

impl Findings {
    /// Notes how a check went; true when it passed.
    pub(crate) fn take(&mut self, result: Result<(), StepError>) -> bool {
        let passed = result.is_ok();
        match result {
            Ok(()) => self.passed += 1,
            Err(problem) => self.problems.push(problem),
        }
        passed
    }

    fn verdict(self, cx: &Context) -> Result<Evidence, StepError> {
        match self.problems.as_slice() {
            [] => {
                let phase = cx.connection.phase;
                Ok(Evidence::new(format!("{} checks passed, target: {phase}", self.passed)))
            }
            [only] => Err(only.clone()),
            several => Err(together(several)),
        }
    }
}

/// Several problems as one error; it ends as the first of them would.
fn together(problems: &[StepError]) -> StepError {
    let mut why = String::new();
    for (index, problem) in problems.iter().enumerate() {
        why.push_str(&format!("{}. {}\n", index + 1, problem.what));
        for line in problem.why.lines() {
            why.push_str(&format!("   {line}\n"));
        }
        why.push_str(&format!("   → {}\n", problem.hint));
    }
    StepError::new(
        format!("{} things stand in the way", problems.len()),
        why.trim_end().to_owned(),
        "Mend them, then run the same command again; nothing was changed.",
    )
    .exit(problems[0].exit)
}

/// A host key that is given must be usable, and that of the run where there is one:
/// its recipient may be in the secrets already.
fn given_key(cx: &Context) -> Result<(), StepError> {
    let Some(path) = &cx.config.host_key else { return Ok(()) };
    let given = run_keys::read_given(path)?.fingerprint();
    match cx.keys().public().map(|key| key.fingerprint()) {
        Some(ours) if ours != given => Err(StepError::new(
            "the run was begun with another host key",
            format!("it has {ours}, {} is {given}", path.display()),
            format!("Leave --host-key out, or forget the run: landfall abandon {}", cx.config.host),
        )
        .exit(Exit::Usage)),
        _ => Ok(()),
    }
}

fn config_repo(cx: &Context) -> Result<(), StepError> {
    let repo = Repo::open(cx.config.repo()?)?;
    clean(cx, &repo)?;
    repo.committer()?;
    pushable(cx, &repo)
}

/// Files that are not committed would be missing from what is installed, or would
/// make it something that no commit describes.
fn clean(cx: &Context, repo: &Repo) -> Result<(), StepError> {
    // Secrets that lie in the configuration itself.
    let inside = cx.config.secrets.as_ref().is_some_and(|secrets| secrets.input.is_none());
    let secrets = if inside { secrets::left_by_this_run(cx, repo)? } else { Vec::new() };
    require_clean(repo, |path| {
        hardware::left_by_this_run(cx, path) || secrets.iter().any(|ours| ours == path)
    })
}

fn pushable(cx: &Context, repo: &Repo) -> Result<(), StepError> {
    SharedRepo::of(cx, repo.root())?.with_own(hardware::own_commits(cx)).check()
}

fn secrets_repo(cx: &Context, findings: &mut Findings) {
    let Some(config) = &cx.config.secrets else {
        systems::run(cx, &[(systems::Looks::Both, no_secrets)], findings);
        return;
    };
    if cx.connection.phase == Phase::Installed && cx.finished(StepId::Secrets).is_some() {
        return;
    }
    let edited = Repo::open(&config.dir).map_err(StepError::from).and_then(|repo| {
        secrets::clean(cx, &repo)?;
        pushable(cx, &repo)
    });
    // What cannot be pushed is no place to try the edit.
    let usable = edited.is_ok();
    if config.input.is_some() {
        findings.take(edited);
    }
    if usable && cx.config.secrets_apart() && cx.config.push != Push::No {
        findings.take(lock::follows(cx));
    }
    if usable {
        findings.take(secrets::preflight(cx));
    }
}

fn no_secrets(cx: &Context, facts: &HostFacts) -> Result<(), StepError> {
    let needed = facts.secrets.len();
    if needed == 0 || cx.config.no_secrets {
        return Ok(());
    }
    Err(StepError::new(
        format!("{} needs {needed} secrets, and their repository was not found", cx.config.host),
        "there is no flake input with `secret` in its name and no .sops.yaml",
        "Set `secrets = \"../nix-secrets\"` in landfall.toml; --no-secrets installs without.",
    )
    .exit(Exit::Usage))
}
