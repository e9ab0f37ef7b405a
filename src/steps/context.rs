//! What a step works with: the configuration, the run's memory, the machines.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disks::passphrases;
use crate::config::build_on::Builder;
use crate::config::choices::ChangedLayout;
use crate::config::{Config, SecretPlace, Strategy};
use crate::error::StepError;
use crate::facts::Facts;
use crate::facts::flake;
use crate::nix::Nix;
use crate::run::event::Events;
use crate::run::journal;
use crate::run::journal::{Journal, RunIdentity};
use crate::run::step::{Consent, Evidence, Status, StepId};
use crate::secret::Secret;
use crate::sops::proof::identities::{Identities, Places};
use crate::steps::identity::run_keys::RunKeys;
use crate::target::{Phase, Target};
use crate::ui::prompt::Prompter;

/// Everything that a step may look at and use.
#[derive(Debug)]
pub struct Context {
    pub config: Config,
    pub run: RunIdentity,
    /// The run's private folder (mode 0700).
    pub dir: PathBuf,
    pub journal: Journal,
    pub events: Events,
    pub prompter: Arc<dyn Prompter>,
    pub phase: Phase,
    pub target: Option<Target>,
    /// What steps made in this process that cannot be observed without it: the
    /// paths that were built, the checks that passed.
    pub produced: BTreeMap<StepId, Evidence>,
    pub answers: Answers,
    /// What the target reported of its hardware in this process.
    pub hardware_report: Option<String>,
    facts: OnceCell<Facts>,
    disk_keys: RefCell<BTreeMap<String, Secret>>,
    builder: OnceCell<Builder>,
    operator: OnceCell<Identities>,
}

/// What a person, or a flag, has answered in this process. Never written down.
#[derive(Debug, Default)]
pub struct Answers {
    /// Whether each step that was asked about may run.
    pub consents: BTreeMap<StepId, Consent>,
    /// Passphrases by LUKS volume.
    pub passphrases: BTreeMap<String, Secret>,
    /// Passphrases that were made up, and where they are to be kept.
    pub made: Vec<(SecretPlace, Secret)>,
    /// What happens to disks whose layout changed after they were formatted.
    pub changed_layout: Option<ChangedLayout>,
    /// The report of the hardware that was agreed to, by its hash.
    pub hardware: Option<String>,
    /// Whether the disks of the layout may be erased.
    pub erasure: bool,
    /// Passwords for sudo on the target, by user.
    pub sudo: BTreeMap<String, Secret>,
}

impl Context {
    pub fn new(
        config: Config,
        run: RunIdentity,
        dir: PathBuf,
        journal: Journal,
        events: Events,
        prompter: Arc<dyn Prompter>,
    ) -> Self {
        Self {
            config,
            run,
            dir,
            journal,
            events,
            prompter,
            phase: Phase::Unknown,
            target: None,
            produced: BTreeMap::new(),
            answers: Answers::default(),
            hardware_report: None,
            facts: OnceCell::new(),
            disk_keys: RefCell::default(),
            builder: OnceCell::new(),
            operator: OnceCell::new(),
        }
    }

    /// The connected target, or an error that says how to name it.
    pub fn target(&self) -> Result<&Target, StepError> {
        self.target.as_ref().ok_or_else(|| {
            StepError::new(
                "there is no connection to the target",
                "",
                "Name the target: landfall bootstrap HOST TARGET",
            )
        })
    }

    /// The host's evaluated configuration; the first call takes some seconds.
    pub fn facts(&self) -> Result<&Facts, StepError> {
        if let Some(facts) = self.facts.get() {
            return Ok(facts);
        }
        let facts = flake::evaluate(&self.config, &self.dir)?;
        Ok(self.facts.get_or_init(|| facts))
    }

    /// What was evaluated holds no longer: the configuration has moved on.
    pub fn forget_facts(&mut self) {
        self.facts.take();
    }

    /// The operator's identities; the first call may ask for them by a command.
    pub fn operator(&self) -> &Identities {
        self.operator.get_or_init(|| Identities::of_operator(&Places::of_process()))
    }

    pub fn nix(&self) -> Result<Nix, StepError> {
        Ok(Nix::find(self.config.nix.clone())?)
    }

    /// Where the systems of this run are built.
    pub fn builder(&self) -> Result<&Builder, StepError> {
        if let Some(builder) = self.builder.get() {
            return Ok(builder);
        }
        let system = &self.facts()?.full.system;
        let builder = self.config.build_on.builder(system, &self.nix()?.build_settings()?);
        Ok(self.builder.get_or_init(|| builder))
    }

    /// Whether the target builds for itself; not so where it cannot be told.
    pub fn target_builds(&self) -> bool {
        matches!(self.builder(), Ok(Builder::Target))
    }

    pub fn keys(&self) -> RunKeys {
        RunKeys::in_dir(&self.dir)
    }

    pub fn staged(&self) -> bool {
        self.config.strategy == Strategy::Staged
    }

    /// With what evidence the journal says that `step` was finished.
    pub fn finished(&self, step: StepId) -> Option<&Evidence> {
        journal::finished(self.journal.lines(), step)
    }

    /// The bytes of a key of `--disk-encryption-keys`, read when they are first needed.
    pub fn disk_key(&self, remote: &str) -> Result<Secret, StepError> {
        let mut read = self.disk_keys.borrow_mut();
        if let Some(bytes) = read.get(remote) {
            return Ok(bytes.clone());
        }
        let keys = &self.config.installation.disk_keys;
        let key = keys.iter().find(|key| key.remote == remote).ok_or_else(|| {
            StepError::new(format!("no key was given for {remote}"), "", "This is a bug.")
        })?;
        let bytes = passphrases::read_key(key)?;
        read.insert(remote.to_owned(), bytes.clone());
        Ok(bytes)
    }

    /// What `step` made in this process, else what the journal says of it.
    pub fn evidence(&self, step: StepId) -> Option<&Evidence> {
        self.produced.get(&step).or_else(|| self.finished(step))
    }

    /// A fact that `step` proved.
    pub fn fact(&self, step: StepId, name: &str) -> Result<&str, StepError> {
        self.evidence(step).and_then(|evidence| evidence.fact(name)).ok_or_else(|| {
            StepError::new(
                format!("the step {step} has not been done"),
                format!("its {name} is not in the journal"),
                "Run the whole journey: landfall bootstrap HOST TARGET",
            )
        })
    }

    /// The status of a step of the installer's phase, once that phase is over:
    /// it is done if the journal says so, and never runs again in any case.
    pub fn over_since_installed(&self, step: StepId) -> Option<Status> {
        let over = match self.phase {
            Phase::Installed => true,
            // The machine is between two systems: what was installed is installed.
            Phase::Unknown => self.finished(StepId::Install).is_some() && self.target.is_none(),
            Phase::Installer | Phase::Foreign => false,
        };
        over.then(|| match self.finished(step) {
            Some(evidence) => Status::Done(evidence.clone()),
            None => Status::Superseded("the installed system answers already".into()),
        })
    }

    /// The user who does the last part of the journey.
    pub fn primary_user(&self) -> Result<String, StepError> {
        if let Some(user) = &self.config.user {
            return Ok(user.clone());
        }
        if self.config.strategy == Strategy::Install {
            return Ok(self.facts()?.full.login().to_owned());
        }
        let users = &self.facts()?.full.users;
        self.facts()?.full.primary_user().map(|user| user.name.clone()).ok_or_else(|| {
            let names: Vec<&str> = users.iter().map(|user| user.name.as_str()).collect();
            StepError::new(
                "the primary user is not clear",
                format!("the configuration has the normal users: {}", names.join(", ")),
                "Name one with --user USER, or `user = \"USER\"` in landfall.toml.",
            )
            .exit(crate::error::Exit::Usage)
        })
    }

    /// A file or folder of the config repository.
    pub fn in_repo(&self, path: impl AsRef<Path>) -> PathBuf {
        self.config.repo.join(path)
    }
}
