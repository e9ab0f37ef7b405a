//! What an abandoned run takes back: its local commits, and what it gave the host's key.
//!
//! Each part looks first and does what is left to do, so that an undo that was cut off
//! is finished by the next. Disks are no part of it, and git's history is not rewritten.

use std::path::{Path, PathBuf};

use super::context::Context;
use super::shared_edit::Edit;
use crate::config::Push;
use crate::error::{Exit, StepError};
use crate::git::Repo;
use crate::git::short;
use crate::run::facts::FactsError;
use crate::run::journal;
use crate::run::journal::{Entry, Line};
use crate::run::step::StepId;
use crate::sops::change;
use crate::sops::change::EditSettings;
use crate::sops::proof;
use crate::sops::rules::edit;
use crate::sops::rules::hosts::Who;
use crate::steps::retire::{named_in, still_named, unwritten};
use crate::steps::secrets::SecretsIntention;
use crate::steps::{hardware, secrets};

/// Where the run pushed to, as it wrote down before it did.
pub(crate) fn pushed_to(lines: &[Line]) -> Result<Push, FactsError> {
    let intended = journal::intended::<SecretsIntention>(lines)?;
    Ok(intended.and_then(|intention| intention.branch).map_or(Push::No, Push::Branch))
}

/// Reverts the run's commits of nix-config that were not pushed, and restores what it
/// left changed; says what was done.
pub(crate) fn config(cx: &Context) -> Result<Vec<String>, StepError> {
    if added(cx.memory.journal.lines())?.is_some() {
        same_repository(cx)?;
    }
    let repo = Repo::open(cx.config.repo()?)?;
    let mut done = Vec::new();
    let changed: Vec<PathBuf> =
        repo.dirty()?.into_iter().filter(|path| hardware::left_by_this_run(cx, path)).collect();
    if !changed.is_empty() {
        let paths: Vec<&Path> = changed.iter().map(PathBuf::as_path).collect();
        repo.restore(&paths)?;
        let names: Vec<String> = changed.iter().map(|path| path.display().to_string()).collect();
        done.push(format!("{} as before", names.join(", ")));
    }
    let Ok(upstream) = repo.rev("@{upstream}") else { return Ok(done) };
    let commits = repo.commits(&upstream, "HEAD")?;
    let reverted = |hash: &str| {
        let words = format!("This reverts commit {hash}");
        commits.iter().any(|(_, message)| message.contains(&words))
    };
    for (hash, message) in &commits {
        let changed = repo.changed(&format!("{hash}~1"), hash)?;
        let ours = message.trim_end() == hardware::message(cx, &changed)
            && changed.iter().all(|path| hardware::left_by_this_run(cx, path));
        if ours && !reverted(hash) {
            repo.revert(hash).map_err(|error| {
                StepError::from(error).doing(format!("the commit {} was not reverted", short(hash)))
            })?;
            done.push(format!("commit {} of {} reverted", short(hash), repo.root().display()));
        }
    }
    Ok(done)
}

/// The recipient that this run was the first to put into the rules.
pub(crate) fn added(lines: &[Line]) -> Result<Option<String>, FactsError> {
    for line in lines {
        if let Entry::Started { step: StepId::Secrets, intention } = &line.entry
            && let Some(recipient) = intention.read::<SecretsIntention>()?.and_then(|it| it.adds)
        {
            return Ok(Some(recipient));
        }
    }
    Ok(None)
}

/// Whether this is the configuration that the run worked with.
fn same_repository(cx: &Context) -> Result<(), StepError> {
    let begun = cx.intended::<SecretsIntention>()?.and_then(|intention| intention.repository);
    let here = &secrets::secrets_repo(cx)?.dir;
    match begun {
        Some(begun) if begun != *here => Err(StepError::new(
            format!("the run worked with the secrets in {}", begun.display()),
            format!("here they are in {}", here.display()),
            "Name the configuration of the run: landfall -C DIR abandon HOST --undo",
        )
        .exit(Exit::Usage)),
        _ => Ok(()),
    }
}

/// Takes the run's recipient out of the rules and files, which get new data keys, and
/// pushes that; says what was done.
pub(crate) fn secrets(cx: &Context) -> Result<Vec<String>, StepError> {
    let Some(recipient) = added(cx.memory.journal.lines())? else { return Ok(Vec::new()) };
    let place = secrets::place(cx)?;
    let published = place
        .edit(|root| {
            take_back(cx, root, &recipient)?;
            let paths = Repo::open(root)?.dirty()?;
            let message = format!("{}: the recipient is taken back", cx.config.host);
            Ok((!paths.is_empty()).then_some(Edit { paths, message }))
        })
        .map_err(|error| error.doing("the recipient could not be taken back"))?;
    published.tell(cx, place.repo());
    let revision = short(&published.revision);
    Ok(vec![format!("{recipient} out of the secrets, their data keys rotated, commit {revision}")])
}

fn take_back(cx: &Context, root: &Path, recipient: &str) -> Result<(), StepError> {
    let place = secrets::place(cx)?;
    let secrets = secrets::secrets_in(cx, &place, root)?;
    let (config, path) = (secrets.dir.join(&secrets.sops_config), secrets::rules_file(&secrets)?);
    let grants = secrets::grants(cx)?;
    let files = named_in(&secrets, recipient)?;
    let files: Vec<PathBuf> = files.into_iter().filter(|file| *file != path).collect();
    let mut text = std::fs::read_to_string(&path).map_err(|error| unwritten(&path, &error))?;
    if !text.contains(recipient) && files.is_empty() {
        return Ok(()); // by an undo that was cut off
    }
    match before_the_run(cx, root, &path, &text, recipient)? {
        Some(before) => text = before,
        None => {
            let meanwhile = secrets::name_meanwhile(&cx.config.host);
            for name in [meanwhile.as_str(), cx.config.host.as_str()] {
                if secrets::recipient_of(&secrets, name)?.as_deref() == Some(recipient) {
                    text = edit::remove(&text, &Who::named(name), &[])?.text;
                }
            }
        }
    }
    std::fs::write(&path, text).map_err(|error| unwritten(&path, &error))?;
    let settings = EditSettings { allow_dirty: true, ..EditSettings::default() };
    if !files.is_empty() {
        for plan in [change::plan_update, change::plan_rotate] {
            let change = plan(&secrets.dir, &config, &files, &settings, cx.operator())?;
            change::commit(&change, &grants)?;
        }
    }
    if let Some(file) = named_in(&secrets, recipient)?.first() {
        return Err(still_named(recipient, file));
    }
    if cx.keys().has_private() {
        proof::prove_shut_out(&cx.keys().pair()?.identity()?, &files)?;
    }
    Ok(())
}

/// The rules as they were before this run, where nobody has changed them since; what the
/// run stored beside them goes with them.
fn before_the_run(
    cx: &Context,
    root: &Path,
    path: &Path,
    now: &str,
    recipient: &str,
) -> Result<Option<String>, StepError> {
    let repo = Repo::open(root)?;
    let Some(commit) = repo.introduced(recipient, path)? else { return Ok(None) };
    let parent = format!("{commit}~1");
    let stored =
        path.with_file_name(crate::steps::identity::run_keys::stored_place(&cx.config.host).file);
    if stored.exists()
        && repo.show(&commit, &stored)?.is_some()
        && repo.show(&parent, &stored)?.is_none()
    {
        std::fs::remove_file(&stored).map_err(|error| unwritten(&stored, &error))?;
    }
    let as_made = repo.show(&commit, path)?.as_deref() == Some(now.as_bytes());
    if !as_made || !now.contains(recipient) {
        return Ok(None);
    }
    Ok(repo.show(&parent, path)?.and_then(|text| String::from_utf8(text).ok()))
}
