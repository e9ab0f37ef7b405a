//! Step 3: the secrets open with a key that no machine has yet.
//!
//! The recipient goes into the rules, the host's files are re-encrypted, the new
//! identity proves that it opens everything the host needs, and the push makes it
//! final. A host whose secrets cannot be opened is found here, with every disk
//! still untouched.

use std::path::{Path, PathBuf};

use crate::age::{HostKey, Recipient};
use crate::config::{HostName, SecretsRepo};
use crate::context::Context;
use crate::error::{Exit, StepError};
use crate::git::Repo;
use crate::journal;
use crate::prompt::Question;
use crate::sops::format::Format;
use crate::sops::host::{self, Who};
use crate::sops::plan::{self as sops_plan, Change, EditSettings, SopsError};
use crate::sops::proof::{self, Need};
use crate::sops::repo;
use crate::sops::rules::Rules;
use crate::sops::transaction::is_left_over;
use crate::step::{Consent, Effect, Evidence, Machine, Status, Step, StepId};
use crate::steps::hardware::{self, as_paths};
use crate::steps::lock::short;
use crate::steps::remote::{Edit, Place};

pub struct Secrets;

impl Step for Secrets {
    fn id(&self) -> StepId {
        StepId::Secrets
    }

    fn effects(&self) -> &'static [Effect] {
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
        let recipient = cx.keys().pair()?.recipient()?;
        let place = place(cx)?;
        let base = place.base()?;
        place.look(&base, |root| {
            let secrets = secrets_in(cx, &place, root)?;
            if !plan(cx, &secrets, &recipient)?.is_empty() {
                return Ok(Status::Ready);
            }
            // Not the tip: later commits need not be about this host's secrets.
            let mut paths = files(cx, &secrets)?;
            paths.push(secrets.dir.join(&secrets.sops_config));
            let revision = Repo::open(root)?.last_change(&as_paths(&paths))?;
            if !place.is_published(&revision)? || !place.has_followed(&base)? {
                return Ok(Status::Ready);
            }
            let proven = prove(cx, &secrets)?;
            let mut evidence = Evidence::new(format!(
                "{proven} secrets open with the new key, commit {}",
                short(&revision)
            ));
            if let Some(old) = previous(cx, &secrets, &recipient)? {
                evidence = evidence.with(RETIRES, old);
            }
            Ok(Status::Done(
                evidence.with("revision", revision).with("recipient", recipient.as_str()),
            ))
        })
    }

    fn confirm(&self, cx: &mut Context) -> Result<Consent, StepError> {
        let recipient = cx.keys().pair()?.recipient()?;
        let (diff, files) = planned(cx, |change, files| (change.diff.clone(), files), &recipient)?;
        if files.is_empty() {
            return Ok(Consent::Given);
        }
        let mut question =
            Question::new("Re-encrypt, commit and push these?", "--no-secrets").answered_by_yes();
        for line in diff.lines() {
            question = question.detail(line);
        }
        for file in files.iter().filter(|file| !file.ends_with(".sops.yaml")) {
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
        let files = planned(cx, |_, files| files, &recipient)?;
        let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        Ok(Evidence::new(format!("adds {recipient}"))
            .with("recipient", recipient.as_str())
            .with("files", files.join("\n")))
    }

    fn apply(&self, cx: &mut Context) -> Result<(), StepError> {
        let head = Repo::open(&cx.config.repo)?.head()?;
        publish(cx)?;
        if Repo::open(&cx.config.repo)?.head()? != head {
            // The secrets lie in the configuration, and it came along.
            cx.forget_facts();
        }
        Ok(())
    }
}

fn publish(cx: &Context) -> Result<(), StepError> {
    let place = place(cx)?;
    let recipient = cx.keys().pair()?.recipient()?;
    let published = place
        .edit(|root| {
            let secrets = secrets_in(cx, &place, root)?;
            let change = plan(cx, &secrets, &recipient)?;
            for warning in &change.warnings {
                cx.events.warn(warning.clone());
            }
            sops_plan::commit(&change)?;
            // Nothing is shared with others before the new key has proven itself.
            prove(cx, &secrets)?;
            let paths = paths_of(&change, root);
            let message = format!("{}: recipient of the new host", cx.config.host);
            Ok((!paths.is_empty()).then_some(Edit { paths, message }))
        })
        .map_err(|error| match error.exit {
            Exit::Failed => error.doing("the re-encrypted secrets could not be pushed"),
            _ => error,
        })?;
    published.tell(cx, place.repo());
    Ok(())
}

/// The fact that names the host's recipient until now, which step 16 takes out.
pub const RETIRES: &str = "retires";

/// The repository of the secrets, for edits that are shared.
pub fn place(cx: &Context) -> Result<Place<'_>, StepError> {
    let place = Place::of(cx, &secrets_repo(cx)?.dir)?;
    Ok(match cx.config.secrets_apart() {
        true => place,
        // What is built is what is checked out, with its secrets.
        false => place.with_own(hardware::own_commits(cx)).must_follow(),
    })
}

/// The secrets as they lie in a working tree of their repository.
pub fn secrets_in(cx: &Context, place: &Place<'_>, root: &Path) -> Result<SecretsRepo, StepError> {
    let config = secrets_repo(cx)?;
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let dir = real(&config.dir);
    let below = dir.strip_prefix(real(place.repo().root())).unwrap_or(Path::new(""));
    Ok(SecretsRepo { dir: root.join(below), ..config.clone() })
}

/// What the step would change now, and the files of it, from the repository's root.
fn planned<T>(
    cx: &Context,
    tell: impl FnOnce(&Change, Vec<PathBuf>) -> T,
    recipient: &Recipient,
) -> Result<T, StepError> {
    let place = place(cx)?;
    place.look(&place.base()?, |root| {
        let change = plan(cx, &secrets_in(cx, &place, root)?, recipient)?;
        let files = paths_of(&change, root);
        Ok(tell(&change, files))
    })
}

/// The files of a change, from the root of the tree in which it is made.
pub fn paths_of(change: &Change, root: &Path) -> Vec<PathBuf> {
    change.paths().map(|path| path.strip_prefix(root).unwrap_or(path).to_owned()).collect()
}

pub fn secrets_repo(cx: &Context) -> Result<&SecretsRepo, StepError> {
    cx.config.secrets.as_ref().ok_or_else(|| {
        StepError::new("there is no secrets repository", "", "Set `secrets` in landfall.toml.")
    })
}

/// The name under which a host that is installed anew has its new key while the old
/// one is in use: both open the secrets until the new system is proven.
pub fn name_meanwhile(host: &HostName) -> String {
    format!("{host}-next")
}

/// The change that gives `recipient` what the host needs; writes nothing.
fn plan(cx: &Context, secrets: &SecretsRepo, recipient: &Recipient) -> Result<Change, StepError> {
    let host = &cx.config.host;
    let name = match previous(cx, secrets, recipient)? {
        Some(_) => name_meanwhile(host),
        None => host.to_string(),
    };
    Ok(sops_plan::plan_add_host(
        &secrets.dir,
        &secrets.dir.join(&secrets.sops_config),
        &name,
        recipient,
        &files(cx, secrets)?,
        &EditSettings { allow_dirty: true, ..EditSettings::default() },
        cx.operator(),
    )?)
}

/// The recipient that the rules know as the host's, where it is another one.
pub fn previous(
    cx: &Context,
    secrets: &SecretsRepo,
    recipient: &Recipient,
) -> Result<Option<String>, StepError> {
    let known = recipient_of(secrets, cx.config.host.as_str())?;
    Ok(known.filter(|known| known != recipient.as_str()))
}

/// The recipient that the rules have under this name.
pub fn recipient_of(secrets: &SecretsRepo, name: &str) -> Result<Option<String>, StepError> {
    let path = secrets.dir.join(&secrets.sops_config);
    let text = std::fs::read_to_string(&path)
        .map_err(|source| SopsError::Read { path: path.clone(), source })?;
    let rules = Rules::parse(&text)
        .map_err(|source| SopsError::Rules { path, source: Box::new(source) })?;
    // A name that could mean several is refused by the edit, with the places.
    Ok(host::find(&rules, &Who::named(name)).ok().map(|entry| entry.recipient))
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
    planned(cx, |_, _| (), &recipient)
}

/// The encrypted files that the host's configuration reads, in the secrets repository.
pub fn files(cx: &Context, secrets: &SecretsRepo) -> Result<Vec<PathBuf>, StepError> {
    let mut files: Vec<PathBuf> = Vec::new();
    for secret in &cx.facts()?.full.secrets {
        let path = in_checkout(&secret.sops_file, secrets)?;
        if !files.contains(&path) {
            files.push(path);
        }
    }
    Ok(files)
}

/// The file in the checkout behind a path in the store.
fn in_checkout(sops_file: &str, secrets: &SecretsRepo) -> Result<PathBuf, StepError> {
    Ok(repo::in_checkout(Path::new(sops_file), &secrets.dir)?)
}

/// Opens every secret of the host with the host's key alone; returns how many.
pub fn prove(cx: &Context, secrets: &SecretsRepo) -> Result<usize, StepError> {
    let identity = cx.keys().pair()?.identity()?;
    let mut needs = Vec::new();
    for secret in &cx.facts()?.full.secrets {
        needs.push(Need {
            name: secret.name.clone(),
            file: in_checkout(&secret.sops_file, secrets)?,
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

/// The files of this run's edit that a killed process left half taken over.
pub fn left_by_this_run(cx: &Context, repo: &Repo) -> Result<Vec<PathBuf>, StepError> {
    let intended = journal::intention(cx.journal.lines(), StepId::Secrets);
    let ours: Vec<PathBuf> = intended
        .and_then(|intention| intention.fact("files"))
        .map(|files| files.lines().map(PathBuf::from).collect())
        .unwrap_or_default();
    Ok(repo.dirty()?.into_iter().filter(|path| ours.contains(path)).collect())
}

/// Uncommitted changes of somebody else would be committed or lost with ours.
pub fn clean(cx: &Context, repo: &Repo) -> Result<(), StepError> {
    let ours = left_by_this_run(cx, repo)?;
    let dirty: Vec<PathBuf> = repo
        .dirty()?
        .into_iter()
        .filter(|path| !ours.contains(path) && !is_left_over(path))
        .collect();
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
