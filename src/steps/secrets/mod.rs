//! Step 3: the secrets open with a key that no machine has yet.
//!
//! The recipient goes into the rules, the host's files are re-encrypted, the new
//! identity proves that it opens everything the host needs, and the push makes it
//! final. A host whose secrets cannot be opened is found here, with every disk
//! still untouched.

pub(crate) mod home_manager;
pub(crate) mod stored;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::context::Context;
use super::shared_edit::{Edit, SharedRepo, require_clean};
use crate::config::{HostName, SecretPlace, SecretsRepo};
use crate::error::{Exit, StepError};
use crate::facts::SecretFact;
use crate::git::Repo;
use crate::git::short;
use crate::run::facts::{StepFacts, TextLines};
use crate::run::journal;
use crate::run::run_dir::RunDir;
use crate::run::step::{Disposition, Effect, Evidence, Machine, Status, StepId};
use crate::secret::age::{HostKeyPair, Recipient};
use crate::sops::change as sops_plan;
use crate::sops::change::repo;
use crate::sops::change::stored_value;
use crate::sops::change::transaction::is_left_over;
use crate::sops::change::{Change, EditSettings, Gain, Grants, SopsError};
use crate::sops::file::format::Format;
use crate::sops::inside::Inside;
use crate::sops::proof::{self, Need};
use crate::sops::rules::Rules;
use crate::sops::rules::hosts;
use crate::sops::rules::hosts::Who;
use crate::sops::rules::patch::unified_diff;
use crate::steps::Step;
use crate::steps::hardware::{self, as_paths};
use crate::steps::identity;
use crate::steps::identity::IdentityOutput;
use crate::ui::prompt::Question;

pub(crate) struct Secrets;

/// Why a configuration has no use for the steps about secrets.
pub(crate) const NO_SECRETS: &str = "the configuration has no secrets repository";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SecretsOutput {
    /// The commit in which the host's secrets are as it needs them.
    pub(crate) revision: String,
    /// What they open with.
    recipient: Option<String>,
    /// The host's recipient until now, which step 16 takes out.
    pub(crate) retires: Option<String>,
}

/// What is about to be edited, for a process that has to take it up or back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SecretsIntention {
    pub(crate) recipient: Option<String>,
    /// The checkout of the secrets.
    pub(crate) repository: Option<PathBuf>,
    /// The files that change, from its root.
    #[serde(default)]
    files: TextLines,
    /// The recipient, where it was in no rule before.
    pub(crate) adds: Option<String>,
    /// The branch to push to; none where nothing is pushed.
    pub(crate) branch: Option<String>,
}

impl StepFacts for SecretsOutput {
    const STEP: StepId = StepId::Secrets;
}

impl StepFacts for SecretsIntention {
    const STEP: StepId = StepId::Secrets;
}

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

    fn disposition(&self, cx: &Context) -> Result<Disposition, StepError> {
        if cx.config.secrets.is_none() {
            return Ok(Disposition::no_use(NO_SECRETS));
        }
        Ok(Disposition::Run)
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
            if !plan(cx, &secrets, &recipient)?.is_empty()
                || !stored::missing(cx, &secrets, &cx.keys().pair()?, &mut |_| ())?.is_empty()
            {
                return Ok(Status::Ready);
            }
            if let Some(home) = home_manager::of(cx)?
                && !home.is_made(cx, &secrets)?
            {
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
            let summary =
                format!("{proven} secrets open with the new key, commit {}", short(&revision));
            let output = SecretsOutput {
                revision,
                retires: previous(cx, &secrets, &recipient)?,
                recipient: Some(recipient.to_string()),
            };
            Ok(Status::Done(Evidence::of(summary, &output)?))
        })
    }

    fn confirm(&self, cx: &mut Context) -> Result<Disposition, StepError> {
        let Planned { diff, files, gains } = planned(cx, &cx.keys().pair()?)?;
        if files.is_empty() {
            return Ok(Disposition::Run);
        }
        let missing = grants(cx)?.missing(gains);
        if !missing.is_empty() {
            let question = Question::new(GRANT_QUESTION, "--grant RECIPIENT")
                .details(missing.iter().map(ToString::to_string));
            if !cx.prompter.is_interactive() || !cx.prompter.confirm(&question)? {
                return Err(SopsError::Ungranted(missing).into());
            }
            cx.memory.answers.granted.extend(missing);
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
            return Ok(Disposition::Run);
        }
        Err(StepError::new(
            "the secrets were left as they are",
            "it was not confirmed",
            "Without them the host cannot start as configured; --no-secrets installs it without.",
        )
        .exit(Exit::Person))
    }

    fn intention(&self, cx: &Context) -> Result<Evidence, StepError> {
        let pair = cx.keys().pair()?;
        let recipient = pair.recipient()?;
        let Planned { diff, files, .. } = planned(cx, &pair)?;
        let adds =
            diff.lines().any(|line| line.starts_with('+') && line.contains(recipient.as_str()));
        let intention = SecretsIntention {
            recipient: Some(recipient.to_string()),
            repository: Some(secrets_repo(cx)?.dir.clone()),
            files: TextLines(files.iter().map(|file| file.display().to_string()).collect()),
            adds: adds.then(|| recipient.to_string()),
            branch: place(cx)?.branch()?,
        };
        Ok(Evidence::of(format!("lets {recipient} open the secrets"), &intention)?)
    }

    fn apply(&self, cx: &mut Context) -> Result<(), StepError> {
        let head = Repo::open(cx.config.repo()?)?.head()?;
        publish(cx)?;
        if Repo::open(cx.config.repo()?)?.head()? != head {
            // The secrets lie in the configuration, and it came along.
            cx.forget_facts();
        }
        Ok(())
    }
}

fn publish(cx: &Context) -> Result<(), StepError> {
    let place = place(cx)?;
    let pair = cx.keys().pair()?;
    let published = place
        .edit(|root| {
            let secrets = secrets_in(cx, &place, root)?;
            let grants = grants(cx)?;
            make(cx, &secrets, &pair, &grants, &mut |warning| cx.events.warn(warning))?;
            if let Some(old) = previous(cx, &secrets, &pair.recipient()?)? {
                cx.events.note(format!(
                    "{} has the key {old} until now: both open its secrets, until the last step \
                     takes the old one out",
                    cx.config.host
                ));
            }
            // Nothing is shared with others before the new key has proven itself.
            prove(cx, &secrets)?;
            let paths = Repo::open(root)?.dirty()?;
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

pub(crate) fn secrets_repo(cx: &Context) -> Result<&SecretsRepo, StepError> {
    cx.config.secrets.as_ref().ok_or_else(|| {
        StepError::new("there is no secrets repository", "", "Set `secrets` in landfall.toml.")
    })
}

/// The repository of the secrets, for edits that are shared.
pub(crate) fn place(cx: &Context) -> Result<SharedRepo<'_>, StepError> {
    let place = SharedRepo::of(cx, &secrets_repo(cx)?.dir)?;
    Ok(match cx.config.secrets_apart() {
        true => place,
        // What is built is what is checked out, with its secrets.
        false => place.with_own(hardware::own_commits(cx)).must_follow(),
    })
}

/// The secrets as they lie in a working tree of their repository.
pub(crate) fn secrets_in(
    cx: &Context,
    place: &SharedRepo<'_>,
    root: &Path,
) -> Result<SecretsRepo, StepError> {
    let config = secrets_repo(cx)?;
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let dir = real(&config.dir);
    let below = dir.strip_prefix(real(place.repo().root())).unwrap_or(Path::new(""));
    Ok(SecretsRepo { dir: root.join(below), ..config.clone() })
}

/// What the step would change now.
struct Planned {
    /// The change of the rules.
    diff: String,
    /// From the repository's root.
    files: Vec<PathBuf>,
    /// Whom the rules let open files that they cannot open so far.
    gains: Vec<Gain>,
}

fn planned(cx: &Context, pair: &HostKeyPair) -> Result<Planned, StepError> {
    let place = place(cx)?;
    place.look(&place.base()?, |root| {
        let secrets = secrets_in(cx, &place, root)?;
        let rules = rules_file(&secrets)?;
        let read = || std::fs::read_to_string(&rules).unwrap_or_default();
        let before = read();
        // This tree is thrown away.
        let rehearsal = Grants::rehearsal();
        make(cx, &secrets, pair, &rehearsal, &mut |_| ())?;
        let diff = unified_diff(&secrets.sops_config.display().to_string(), &before, &read());
        Ok(Planned { diff, files: Repo::open(root)?.dirty()?, gains: rehearsal.noted() })
    })
}

const GRANT_QUESTION: &str = "Let these recipients, who are not of this run, open these files?";

/// Who may gain access: those of `--grant`, those that were agreed to, and this run's keys.
pub(crate) fn grants(cx: &Context) -> Result<Grants, StepError> {
    let mut recipients = cx.config.grants.clone();
    if cx.keys().has_private() {
        recipients.push(cx.keys().pair()?.recipient()?.to_string());
    }
    recipients.extend(cx.keys().user_age().map(|key| key.recipient().to_string()));
    Ok(Grants::of(recipients).and(cx.memory.answers.granted.iter().cloned()))
}

/// The file of the rules in a tree, which a link must not lead out of.
pub(crate) fn rules_file(secrets: &SecretsRepo) -> Result<PathBuf, StepError> {
    let spelled = secrets.dir.join(&secrets.sops_config);
    Ok(Inside::of(&secrets.dir).real(&spelled).map_err(SopsError::from)?.unwrap_or(spelled))
}

/// Makes the edit in a private tree: the recipient, and what is to be stored.
fn make(
    cx: &Context,
    secrets: &SecretsRepo,
    pair: &HostKeyPair,
    grants: &Grants,
    warn: &mut dyn FnMut(String),
) -> Result<(), StepError> {
    let recipient = pair.recipient()?;
    let change = plan(cx, secrets, &recipient)?;
    change.warnings.iter().cloned().for_each(&mut *warn);
    sops_plan::commit(&change, grants)?;
    if let Some(home) = home_manager::of(cx)? {
        home.make(cx, secrets, grants, warn)?;
    }
    let old = previous(cx, secrets, &recipient)?;
    let never: Vec<&str> =
        [Some(recipient.as_str()), old.as_deref()].into_iter().flatten().collect();
    for (SecretPlace { file, key }, value) in stored::missing(cx, secrets, pair, warn)? {
        let key: Vec<&str> = key.iter().map(String::as_str).collect();
        let rules = secrets.dir.join(&secrets.sops_config);
        let dir = &secrets.dir;
        stored_value::write(dir, &rules, &file, &key, &value, &never, cx.operator(), grants)?;
    }
    Ok(())
}

/// The name under which a host that is installed anew has its new key while the old
/// one is in use: both open the secrets until the new system is proven.
pub(crate) fn name_meanwhile(host: &HostName) -> String {
    format!("{host}-next")
}

/// The change that gives `recipient` what the host needs; writes nothing.
fn plan(cx: &Context, secrets: &SecretsRepo, recipient: &Recipient) -> Result<Change, StepError> {
    let host = &cx.config.host;
    let name = match previous(cx, secrets, recipient)? {
        Some(_) => free_name_meanwhile(cx, secrets, recipient)?,
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

/// That name, where it is nobody else's: a run of this host that was given up may have
/// left its key there, which is replaced.
fn free_name_meanwhile(
    cx: &Context,
    secrets: &SecretsRepo,
    recipient: &Recipient,
) -> Result<String, StepError> {
    let name = name_meanwhile(&cx.config.host);
    let known = recipient_of(secrets, &name)?.filter(|known| known != recipient.as_str());
    match known {
        Some(known) if !of_an_earlier_run(cx, &known) => Err(StepError::new(
            format!("the rules have a key of {name} already"),
            format!(
                "{known} is not of a run of {}, which needs that name for a while",
                cx.config.host
            ),
            format!(
                "Rename it in .sops.yaml, or take it out where nothing needs it: landfall secrets \
                 remove-host {name}"
            ),
        )
        .exit(Exit::Usage)),
        _ => Ok(name),
    }
}

/// Whether a run of this host that is remembered made this recipient.
fn of_an_earlier_run(cx: &Context, recipient: &str) -> bool {
    let made = |journal: &PathBuf| {
        let lines = journal::read(journal).ok()?;
        // Its proof alone: errors that are told there name other recipients.
        journal::output::<IdentityOutput>(&lines.lines).ok()??.recipient
    };
    let journals = RunDir::journals_beside(&cx.dir);
    journals.iter().filter_map(made).any(|known| known == recipient)
}

/// The recipient that the rules know as the host's, where it is another one.
pub(crate) fn previous(
    cx: &Context,
    secrets: &SecretsRepo,
    recipient: &Recipient,
) -> Result<Option<String>, StepError> {
    let known = recipient_of(secrets, cx.config.host.as_str())?;
    Ok(known.filter(|known| known != recipient.as_str()))
}

/// The recipient that the rules have under this name.
pub(crate) fn recipient_of(secrets: &SecretsRepo, name: &str) -> Result<Option<String>, StepError> {
    let path = rules_file(secrets)?;
    let text = std::fs::read_to_string(&path)
        .map_err(|source| SopsError::Read { path: path.clone(), source })?;
    let rules = Rules::parse(&text)
        .map_err(|source| SopsError::Rules { path, source: Box::new(source) })?;
    // A name that could mean several is refused by the edit, with the places.
    Ok(hosts::find(&rules, &Who::named(name)).ok().map(|entry| entry.recipient))
}

/// Everything that the secrets step will need, tried without changing anything:
/// the rules can be edited, and the operator's identity opens the files.
pub(crate) fn preflight(cx: &Context) -> Result<(), StepError> {
    let keys = cx.keys();
    if !keys.is_prepared() && cx.config.host_key.is_none() {
        identity::stored(cx)?;
    }
    let pair = match keys.public() {
        Some(_) if keys.has_private() => keys.pair()?,
        // Any key shows whether the edit is possible.
        _ => HostKeyPair::generate("preflight")?,
    };
    let gains = planned(cx, &pair)?.gains;
    let missing = grants(cx)?.missing(gains);
    if missing.is_empty() {
        return Ok(());
    }
    let error = SopsError::Ungranted(missing);
    if cx.memory.check_alone || !cx.prompter.is_interactive() {
        return Err(error.into());
    }
    // It is asked about with the other questions.
    cx.events.warn(error.to_string());
    Ok(())
}

/// The encrypted files that the host's configuration reads, in the secrets repository.
pub(crate) fn files(cx: &Context, secrets: &SecretsRepo) -> Result<Vec<PathBuf>, StepError> {
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
pub(crate) fn in_checkout(sops_file: &str, secrets: &SecretsRepo) -> Result<PathBuf, StepError> {
    Ok(repo::in_checkout(Path::new(sops_file), &secrets.dir)?)
}

/// Opens every secret of the host with the host's key alone; returns how many.
pub(crate) fn prove(cx: &Context, secrets: &SecretsRepo) -> Result<usize, StepError> {
    let identity = cx.keys().pair()?.identity()?;
    let needs = cx.facts()?.full.secrets.iter().map(|secret| need(secret, secrets));
    let needs: Vec<Need> = needs.collect::<Result<_, _>>()?;
    proof::prove(&identity, &needs)?;
    let of_user = home_manager::of(cx)?.map_or(Ok(0), |home| home.prove(cx, secrets))?;
    Ok(needs.len() + of_user)
}

/// A secret as a proof looks for it, in a tree.
pub(crate) fn need(secret: &SecretFact, secrets: &SecretsRepo) -> Result<Need, StepError> {
    Ok(Need {
        name: secret.name.clone(),
        file: in_checkout(&secret.sops_file, secrets)?,
        format: Format::of_name(&secret.format).unwrap_or(Format::Binary),
        key: key_path(secret),
    })
}

/// The place of a secret in its file, as sops-nix reads `key`: slashes go deeper,
/// and nothing means the whole file.
pub(crate) fn key_path(secret: &SecretFact) -> Vec<String> {
    let whole = secret.key.is_empty() || secret.format == "binary";
    if whole { Vec::new() } else { secret.key.split('/').map(ToOwned::to_owned).collect() }
}

/// The files of this run's edit that a killed process left half taken over.
pub(crate) fn left_by_this_run(cx: &Context, repo: &Repo) -> Result<Vec<PathBuf>, StepError> {
    let intended = cx.intended::<SecretsIntention>()?;
    let ours: Vec<PathBuf> =
        intended.map(|it| it.files.0.iter().map(PathBuf::from).collect()).unwrap_or_default();
    Ok(repo.dirty()?.into_iter().filter(|path| ours.contains(path)).collect())
}

/// Uncommitted changes of somebody else would be committed or lost with ours.
pub(crate) fn clean(cx: &Context, repo: &Repo) -> Result<(), StepError> {
    let ours = left_by_this_run(cx, repo)?;
    require_clean(repo, |path| ours.iter().any(|file| file == path) || is_left_over(path))
}
