//! Step 16: after a reinstall, what the previous key of the host could open is closed.
//!
//! Until here both keys are in the rules, so that a run that fails leaves a machine
//! that can be gone back to. Now that the new system is proven, the old recipient
//! goes, the files that it opened get new data keys, and the lock follows. What git's
//! history holds stays readable to the old key.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::context::Context;
use super::shared_edit::{Edit, SharedRepo};
use crate::config::{Push, SecretsRepo};
use crate::error::StepError;
use crate::git::Repo;
use crate::git::short;
use crate::run::facts::StepFacts;
use crate::run::journal;
use crate::run::step::{Disposition, Effect, Evidence, Machine, Status, StepId};
use crate::sops::change;
use crate::sops::change::EditSettings;
use crate::sops::listing::Listing;
use crate::sops::rules::edit;
use crate::sops::rules::hosts::Who;
use crate::steps::Step;
use crate::steps::hardware;
use crate::steps::lock;
use crate::steps::repos::Repos;
use crate::steps::secrets::{self, NO_SECRETS, SecretsOutput};
use crate::ui::prompt::Question;

pub(crate) struct Retire;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct RetireOutput {
    /// The recipient that went.
    retired: Option<String>,
    /// The commit of the secrets in which it is out.
    revision: Option<String>,
    /// The commit of nix-config that locks it, where the lock followed.
    pub(crate) config: Option<String>,
}

/// Which recipient is about to go.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RetireIntention {
    retired: String,
}

impl StepFacts for RetireOutput {
    const STEP: StepId = StepId::Retire;
}

impl StepFacts for RetireIntention {
    const STEP: StepId = StepId::Retire;
}

impl Step for Retire {
    fn id(&self) -> StepId {
        StepId::Retire
    }

    fn effects(&self, _cx: &Context) -> &'static [Effect] {
        &[Effect {
            machine: Machine::Source,
            change: "after a reinstall: takes the previous key out, rotates data keys, pushes",
            reversible: false,
        }]
    }

    fn disposition(&self, cx: &Context) -> Result<Disposition, StepError> {
        if cx.config.secrets.is_none() {
            return Ok(Disposition::no_use(NO_SECRETS));
        }
        Ok(Disposition::Run)
    }

    fn observe(&self, cx: &Context) -> Result<Status, StepError> {
        let Some(old) = previous(cx)? else {
            let reason = format!("{} has no previous key to retire", cx.config.host);
            return Ok(Status::NotApplicable(reason));
        };
        let Some(evidence) = cx.evidence(StepId::Retire) else { return Ok(Status::Ready) };
        let output = evidence.read::<RetireOutput>()?.unwrap_or_default();
        if output.retired.as_ref() != Some(&old) {
            return Ok(Status::Ready);
        }
        let place = secrets::place(cx)?;
        let named = place
            .look(&place.base()?, |root| named_in(&secrets::secrets_in(cx, &place, root)?, &old))?;
        Ok(if named.is_empty() { Status::Done(evidence.clone()) } else { Status::Ready })
    }

    fn confirm(&self, cx: &mut Context) -> Result<Disposition, StepError> {
        let Some(old) = previous(cx)? else { return Ok(Disposition::Run) };
        let host = &cx.config.host;
        let question = Question::new(
            format!("Retire the previous key of {host} at the end?"),
            "--skip retire",
        )
        .detail(format!("{old} goes from the rules, and its files get new data keys."))
        .answered_by_yes();
        Ok(match cx.prompter.confirm(&question)? {
            true => Disposition::Run,
            false => {
                Disposition::declined(format!("declined; {old} opens the secrets from now on too"))
            }
        })
    }

    fn intention(&self, cx: &Context) -> Result<Evidence, StepError> {
        let retired = previous(cx)?.unwrap_or_default();
        Ok(Evidence::of(format!("takes out {retired}"), &RetireIntention { retired })?)
    }

    fn apply(&self, cx: &mut Context) -> Result<(), StepError> {
        let Some(old) = previous(cx)? else { return Ok(()) };
        if cx.finished(StepId::Rebuild).is_none() {
            return Err(not_proven(cx, &old));
        }
        let revision = take_out(cx, &old)?;
        let summary =
            format!("the previous key is out, data keys rotated, commit {}", short(&revision));
        let mut output = RetireOutput { retired: Some(old), ..RetireOutput::default() };
        if cx.config.secrets_apart() && cx.config.push != Push::No {
            output.config = Some(move_lock(cx, &revision)?);
            cx.events.note(format!(
                "what runs has its secrets as they were encrypted before: landfall sync {0} --boot \
                 (or --switch) brings {0} those of now",
                cx.config.host
            ));
        }
        if cx.config.copy_repos
            && cx.finished(StepId::Repos).is_some()
            && cx.connection.target.is_some()
        {
            // What is checked out on the machine follows.
            Repos.apply(cx)?;
        }
        output.revision = Some(revision);
        cx.produce(summary, &output)
    }
}

/// Whether what is checked out is `since` or, on it, the commit of this step, which
/// moves a lock and nothing that runs.
pub(crate) fn still_at(cx: &Context, repo: &Repo, since: &str) -> Result<bool, StepError> {
    if repo.head()? == since {
        return Ok(true);
    }
    let began = journal::intention(cx.memory.journal.lines(), StepId::Retire).is_some();
    Ok(began
        && repo.rev("HEAD~1").is_ok_and(|parent| parent == since)
        && repo.subject("HEAD")? == message(cx))
}

fn message(cx: &Context) -> String {
    format!("{}: lock the secrets without its previous key", cx.config.host)
}

/// The recipient that the host had before: as the secrets step found it, else as the
/// rules have it now.
fn previous(cx: &Context) -> Result<Option<String>, StepError> {
    if cx.finished(StepId::Secrets).is_some() {
        return Ok(cx.finished_output::<SecretsOutput>()?.and_then(|secrets| secrets.retires));
    }
    let place = secrets::place(cx)?;
    let known = place.look(&place.base()?, |root| {
        secrets::recipient_of(&secrets::secrets_in(cx, &place, root)?, cx.config.host.as_str())
    })?;
    let ours = match cx.keys().has_private() {
        true => Some(cx.keys().pair()?.recipient()?.to_string()),
        false => None,
    };
    Ok(known.filter(|known| Some(known) != ours.as_ref()))
}

/// Takes `old` out of the rules and files of the secrets; gives the commit in which it
/// is out.
fn take_out(cx: &Context, old: &str) -> Result<String, StepError> {
    let place = secrets::place(cx)?;
    let published = place
        .edit(|root| {
            let secrets = secrets::secrets_in(cx, &place, root)?;
            replace(cx, &secrets, old)?;
            secrets::prove(cx, &secrets)?;
            if let Some(file) = named_in(&secrets, old)?.first() {
                return Err(still_named(old, file));
            }
            let paths = Repo::open(root)?.dirty()?;
            let message = format!("{}: the previous key is out", cx.config.host);
            Ok((!paths.is_empty()).then_some(Edit { paths, message }))
        })
        .map_err(|error| error.doing("the previous key could not be retired"))?;
    published.tell(cx, place.repo());
    Ok(published.revision)
}

/// The entry of the host gets the key of this run, in place of the one that goes.
fn replace(cx: &Context, secrets: &SecretsRepo, old: &str) -> Result<(), StepError> {
    let host = cx.config.host.as_str();
    let new = cx.keys().pair()?.recipient()?;
    let rotated = named_in(secrets, old)?;
    let path = secrets::rules_file(secrets)?;
    let settings = EditSettings { allow_dirty: true, ..EditSettings::default() };

    let mut text = read(&path)?;
    let meanwhile = secrets::name_meanwhile(&cx.config.host);
    if secrets::recipient_of(secrets, &meanwhile)?.as_deref() == Some(new.as_str()) {
        text = edit::remove(&text, &Who::named(&meanwhile), &[])?.text;
    }
    if secrets::recipient_of(secrets, host)?.as_deref() == Some(old) {
        text = edit::replace(&text, &Who::named(host), new.as_str())?.text;
    }
    // In a private tree, which goes when anything fails.
    std::fs::write(&path, text).map_err(|error| unwritten(&path, &error))?;
    let files = secrets::files(cx, secrets)?;
    let config = secrets.dir.join(&secrets.sops_config);
    let change =
        change::plan_add_host(&secrets.dir, &config, host, &new, &files, &settings, cx.operator())?;
    let grants = secrets::grants(cx)?;
    change::commit(&change, &grants)?;
    let files: Vec<PathBuf> = rotated.into_iter().filter(|file| *file != path).collect();
    if !files.is_empty() {
        let change = change::plan_rotate(&secrets.dir, &config, &files, &settings, cx.operator())?;
        change::commit(&change, &grants)?;
    }
    Ok(())
}

/// The files, `.sops.yaml` among them, in which a recipient is named.
pub(crate) fn named_in(secrets: &SecretsRepo, recipient: &str) -> Result<Vec<PathBuf>, StepError> {
    let config = secrets.dir.join(&secrets.sops_config);
    let dir = config.parent().unwrap_or(&secrets.dir);
    let mut named = Vec::new();
    let listed = Listing::of(&secrets.dir, dir)?.files.into_iter().map(|file| file.path);
    for path in listed {
        // What is no text names nobody.
        if std::fs::read_to_string(&path).is_ok_and(|text| text.contains(recipient)) {
            named.push(path);
        }
    }
    Ok(named)
}

/// Moves the lock of nix-config to the commit in which the old key is out.
fn move_lock(cx: &Context, revision: &str) -> Result<String, StepError> {
    // Where nix-config was not pushed, this commit of it is not either.
    let kept = Push::No;
    let push = if cx.finished(StepId::Publish).is_some() { &cx.config.push } else { &kept };
    let place =
        SharedRepo::at(cx.config.repo()?, push, &cx.dir)?.with_own(hardware::own_commits(cx));
    let published = place.edit(|root| {
        lock::lock_in(cx, root, revision)?;
        let paths = Repo::open(root)?.dirty()?;
        Ok((!paths.is_empty()).then(|| Edit { paths, message: message(cx) }))
    })?;
    published.tell(cx, place.repo());
    Ok(published.revision)
}

fn read(path: &Path) -> Result<String, StepError> {
    std::fs::read_to_string(path).map_err(|error| unwritten(path, &error))
}

pub(crate) fn unwritten(path: &Path, error: &std::io::Error) -> StepError {
    StepError::new(
        format!("{} could not be edited", path.display()),
        error.to_string(),
        "Make room on the disk that holds your state folder.",
    )
}

pub(crate) fn still_named(old: &str, file: &Path) -> StepError {
    StepError::new(
        format!("{old} is still named in {}", file.display()),
        "it stands there as somebody else's too, or the file falls to no rule",
        "Take it out by hand, commit and push that; then run the same command again.",
    )
}

fn not_proven(cx: &Context, old: &str) -> StepError {
    let host = &cx.config.host;
    StepError::new(
        format!("the previous key of {host} stays"),
        format!("the full configuration was not booted and verified, so {old} may be needed"),
        "Let the rebuild step run with the same command; --skip retire leaves the key for good.",
    )
}
