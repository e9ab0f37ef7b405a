//! Step 3: the secrets open with a key that no machine has yet.
//!
//! The recipient goes into the rules, the host's files are re-encrypted, the new
//! identity proves that it opens everything the host needs, and the push makes it
//! final. A host whose secrets cannot be opened is found here, with every disk
//! still untouched.

use std::path::{Path, PathBuf};

use crate::age::{HostKey, Recipient};
use crate::config::{Push, SecretsRepo};
use crate::context::Context;
use crate::error::{Exit, StepError};
use crate::git::Repo;
use crate::journal;
use crate::prompt::Question;
use crate::sops::format::Format;
use crate::sops::identities::{Identities, Places};
use crate::sops::plan::{self as sops_plan, Change, EditSettings};
use crate::sops::proof::{self, Need};
use crate::step::{Consent, Effect, Evidence, Machine, Status, Step, StepId};
use crate::steps::hardware::as_paths;
use crate::steps::lock::short;
use crate::steps::remote::Destination;

pub struct Secrets;

impl Step for Secrets {
    fn id(&self) -> StepId {
        StepId::Secrets
    }

    fn effects(&self, _cx: &Context) -> &'static [Effect] {
        &[
            Effect {
                machine: Machine::Source,
                change: "adds the host's recipient to .sops.yaml and re-encrypts its files",
                reversible: true,
            },
            Effect {
                machine: Machine::Source,
                change: "commits and pushes them: who has the host's key reads that history for ever",
                reversible: false,
            },
        ]
    }

    fn observe(&self, cx: &Context) -> Result<Status, StepError> {
        if let Some(status) = cx.over_since_installed(StepId::Secrets) {
            return Ok(status);
        }
        if cx.keys().public().is_none() {
            return Ok(Status::Ready);
        }
        let config = secrets_repo(cx)?;
        let recipient = cx.keys().pair()?.recipient()?;
        let change = plan(cx, &recipient)?;
        let repo = Repo::open(&config.dir)?;
        if !change.is_empty() || !ours_dirty(cx, &repo)?.is_empty() {
            return Ok(Status::Ready);
        }
        // Not HEAD: where the secrets lie in the configuration, later commits are not theirs.
        let mut paths = files(cx, config)?;
        paths.push(config.dir.join(&config.sops_config));
        let revision = repo.last_change(&as_paths(&paths))?;
        if cx.config.push != Push::No && !Destination::of(&repo, &cx.config.push)?.has(&revision)? {
            return Ok(Status::Ready);
        }
        let proven = prove(cx)?;
        Ok(Status::Done(
            Evidence::new(format!(
                "{proven} secrets open with the new key, commit {}",
                short(&revision)
            ))
            .with("revision", revision)
            .with("recipient", recipient.as_str()),
        ))
    }

    fn confirm(&self, cx: &mut Context) -> Result<Consent, StepError> {
        let recipient = cx.keys().pair()?.recipient()?;
        let change = plan(cx, &recipient)?;
        if change.is_empty() {
            return Ok(Consent::Given);
        }
        let mut question =
            Question::new("Re-encrypt, commit and push these?", "--no-secrets").answered_by_yes();
        for line in change.diff.lines() {
            question = question.detail(line);
        }
        for file in change.files() {
            question = question.detail(format!("re-encrypts {}", file.display()));
        }
        if cx.prompter.confirm(&question)? {
            return Ok(Consent::Given);
        }
        Err(StepError::new(
            "the secrets were left as they are",
            "it was not confirmed",
            "Without them the host cannot start as configured; --no-secrets installs it without.",
        )
        .exit(Exit::Person))
    }

    fn intention(&self, cx: &Context) -> Result<Evidence, StepError> {
        let recipient = cx.keys().pair()?.recipient()?;
        let files: Vec<String> =
            plan(cx, &recipient)?.files().map(|file| file.display().to_string()).collect();
        Ok(Evidence::new(format!("adds {recipient}"))
            .with("recipient", recipient.as_str())
            .with("files", files.join("\n")))
    }

    fn apply(&self, cx: &mut Context) -> Result<(), StepError> {
        let config = secrets_repo(cx)?.clone();
        let recipient = cx.keys().pair()?.recipient()?;
        let change = plan(cx, &recipient)?;
        if !change.is_empty() {
            for warning in &change.warnings {
                cx.events.warn(warning.clone());
            }
            if let Some(old) = &change.old_recipient {
                cx.events.warn(format!(
                    "{old} was the host's recipient until now. It still opens what git remembers; \
                     landfall secrets rotate closes the files of today to it."
                ));
            }
            sops_plan::commit(&change)?;
        }
        // Nothing is shared with others before the new key has proven itself.
        prove(cx)?;
        let repo = Repo::open(&config.dir)?;
        let touched = ours_dirty(cx, &repo)?;
        if !touched.is_empty() {
            let message = format!("{}: recipient of the new host", cx.config.host);
            repo.commit_paths(&as_paths(&touched), &message)?;
        }
        if cx.config.push != Push::No {
            Destination::of(&repo, &cx.config.push)?
                .push()
                .map_err(|error| error.doing("the re-encrypted secrets could not be pushed"))?;
        }
        Ok(())
    }
}

pub fn secrets_repo(cx: &Context) -> Result<&SecretsRepo, StepError> {
    cx.config.secrets.as_ref().ok_or_else(|| {
        StepError::new("there is no secrets repository", "", "Set `secrets` in landfall.toml.")
    })
}

/// The change that gives `recipient` what the host needs; writes nothing.
fn plan(cx: &Context, recipient: &Recipient) -> Result<Change, StepError> {
    let config = secrets_repo(cx)?;
    let files = files(cx, config)?;
    let settings = EditSettings { allow_dirty: true, ..EditSettings::default() };
    Ok(sops_plan::plan_add_host(
        &config.dir,
        &config.dir.join(&config.sops_config),
        cx.config.host.as_str(),
        recipient,
        &files,
        &settings,
        &Identities::of_operator(&Places::of_process()),
    )?)
}

/// Everything that the secrets step will need, tried without changing anything:
/// the rules can be edited, and the operator's identity opens the files.
pub fn preflight(cx: &Context) -> Result<(), StepError> {
    let keys = cx.keys();
    let recipient = match keys.public() {
        Some(_) if keys.has_private() => keys.pair()?.recipient()?,
        // Any recipient shows whether the edit is possible.
        _ => HostKey::generate("preflight")?.recipient()?,
    };
    plan(cx, &recipient).map(|_| ())
}

/// The encrypted files that the host's configuration reads, in the secrets repository.
fn files(cx: &Context, config: &SecretsRepo) -> Result<Vec<PathBuf>, StepError> {
    let mut files: Vec<PathBuf> = Vec::new();
    for secret in &cx.facts()?.full.secrets {
        let path = in_checkout(&secret.sops_file, config)?;
        if !files.contains(&path) {
            files.push(path);
        }
    }
    Ok(files)
}

/// The file in the checkout behind a path below a flake source in the store.
fn in_checkout(sops_file: &str, config: &SecretsRepo) -> Result<PathBuf, StepError> {
    let relative: PathBuf = Path::new(sops_file)
        .strip_prefix("/nix/store")
        .map(|path| path.components().skip(1).collect())
        .unwrap_or_default();
    let path = config.dir.join(&relative);
    if relative.as_os_str().is_empty() || !path.is_file() {
        return Err(StepError::new(
            format!("the secrets file {sops_file} is not in {}", config.dir.display()),
            "the configuration reads it from elsewhere",
            "Set `secrets` in landfall.toml to the checkout that holds it.",
        )
        .exit(Exit::Usage));
    }
    Ok(path)
}

/// Opens every secret of the host with the host's key alone; returns how many.
fn prove(cx: &Context) -> Result<usize, StepError> {
    let config = secrets_repo(cx)?;
    let identity = cx.keys().pair()?.identity()?;
    let mut needs = Vec::new();
    for secret in &cx.facts()?.full.secrets {
        needs.push(Need {
            name: secret.name.clone(),
            file: in_checkout(&secret.sops_file, config)?,
            format: Format::of_name(&secret.format).unwrap_or(Format::Binary),
            key: key_path(secret),
        });
    }
    proof::prove(&identity, &needs)?;
    Ok(needs.len())
}

/// The place of a secret in its file, as sops-nix reads `key`: slashes go deeper,
/// and nothing means the whole file.
fn key_path(secret: &crate::facts::SecretFact) -> Vec<String> {
    let whole = secret.key.is_empty() || secret.format == "binary";
    if whole { Vec::new() } else { secret.key.split('/').map(ToOwned::to_owned).collect() }
}

/// What this step has changed and not committed: the rules, the host's files, and
/// the other files of the same rules, which the intention names.
fn ours_dirty(cx: &Context, repo: &Repo) -> Result<Vec<PathBuf>, StepError> {
    let config = secrets_repo(cx)?;
    let mut ours = files(cx, config)?;
    ours.push(config.dir.join(&config.sops_config));
    let intended = journal::intention(cx.journal.lines(), StepId::Secrets);
    if let Some(files) = intended.and_then(|intention| intention.fact("files")) {
        ours.extend(files.lines().map(PathBuf::from));
    }
    let dirty = repo.dirty()?;
    Ok(dirty.into_iter().filter(|path| ours.contains(&repo.root().join(path))).collect())
}

/// The files that an interrupted run of this step re-encrypted and did not commit.
pub fn left_by_this_run(cx: &Context, repo: &Repo) -> Result<Vec<PathBuf>, StepError> {
    let started = journal::intention(cx.journal.lines(), StepId::Secrets).is_some();
    if started { ours_dirty(cx, repo) } else { Ok(Vec::new()) }
}

/// Uncommitted changes of somebody else would be committed or lost with ours.
pub fn clean(cx: &Context, repo: &Repo) -> Result<(), StepError> {
    let ours = left_by_this_run(cx, repo)?;
    let dirty: Vec<PathBuf> =
        repo.dirty()?.into_iter().filter(|path| !ours.contains(path)).collect();
    if dirty.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = dirty.iter().map(|path| path.display().to_string()).collect();
    Err(StepError::new(
        format!("{} has changes that are not committed", repo.root().display()),
        list.join("\n"),
        "Commit them, or put them away with git stash -u.",
    )
    .exit(Exit::Usage))
}
