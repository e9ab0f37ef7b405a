//! What a step works with: the configuration, the run's memory, the machines.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use super::disks::passphrases;
use crate::config::build_on::Builder;
use crate::config::choices::ChangedLayout;
use crate::config::{Config, SecretPlace};
use crate::error::StepError;
use crate::facts::Facts;
use crate::facts::flake;
use crate::nix::Nix;
use crate::run::event::Events;
use crate::run::facts::StepFacts;
use crate::run::journal;
use crate::run::journal::{Journal, RunIdentity};
use crate::run::step::{Disposition, Evidence, Status, StepId};
use crate::secret::Secret;
use crate::sops::access::Gain;
use crate::sops::proof::identities::{Identities, Places};
use crate::ssh::Endpoint;
use crate::steps::identity::run_keys::RunKeys;
use crate::target::{Phase, Target};
use crate::ui::prompt::Prompter;

/// Everything that a step may look at and use.
///
/// Its three parts differ in who may change them: the inputs nobody, the memory each step
/// by what it does, the connection whoever finds the machine somewhere else. The inputs are
/// read as fields of the context itself (`cx.config`), and no step can write to them.
#[derive(Debug)]
pub(crate) struct Context {
    inputs: Inputs,
    pub(crate) memory: Memory,
    pub(crate) connection: Connection,
    /// Where it is told what happens, in the name of the step that is at work.
    pub(crate) events: Events,
}

/// What a run is given, and what is found once on the source.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) config: Config,
    pub(crate) run: RunIdentity,
    /// The run's private folder (mode 0700).
    pub(crate) dir: PathBuf,
    pub(crate) prompter: Arc<dyn Prompter>,
    nix: OnceCell<Nix>,
    operator: OnceCell<Identities>,
}

/// What a run knows of what was done, asked and found.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) journal: Journal,
    pub(crate) answers: Answers,
    /// Nothing comes after the check: what would be asked about later is a finding.
    pub(crate) check_alone: bool,
    /// What the target reported of its hardware in this process.
    pub(crate) hardware_report: Option<String>,
    /// What steps made in this process that cannot be observed without it: the
    /// paths that were built, the checks that passed.
    produced: BTreeMap<StepId, Evidence>,
    facts: OnceCell<Facts>,
    builder: OnceCell<Builder>,
    disk_keys: RefCell<BTreeMap<String, Secret>>,
}

/// The way to the target, and what was found at its end.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Where it answers: as it was named, until it is found elsewhere.
    pub(crate) address: Option<Endpoint>,
    pub(crate) phase: Phase,
    pub(crate) target: Option<Target>,
}

/// What a person, or a flag, has answered in this process. Never written down.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// Whether each step that was asked about may run.
    pub(crate) confirmed: BTreeMap<StepId, Disposition>,
    /// Passphrases by the file in which disko reads them.
    pub(crate) passphrases: BTreeMap<String, Secret>,
    /// Passphrases that were made up, and where they are to be kept.
    pub(crate) made: Vec<(SecretPlace, Secret)>,
    /// What happens to disks whose layout changed after they were formatted.
    pub(crate) changed_layout: Option<ChangedLayout>,
    /// The report of the hardware that was agreed to, by its hash.
    pub(crate) hardware: Option<String>,
    /// Whether the disks of the layout may be erased.
    pub(crate) erasure: bool,
    /// What recipients may gain in the secrets.
    pub(crate) granted: Vec<Gain>,
    /// Passwords for sudo on the target, by user.
    pub(crate) sudo: BTreeMap<String, Secret>,
}

impl Deref for Context {
    type Target = Inputs;

    fn deref(&self) -> &Inputs {
        &self.inputs
    }
}

impl Memory {
    fn of(journal: Journal) -> Self {
        Self {
            journal,
            answers: Answers::default(),
            check_alone: false,
            hardware_report: None,
            produced: BTreeMap::new(),
            facts: OnceCell::new(),
            builder: OnceCell::new(),
            disk_keys: RefCell::default(),
        }
    }
}

impl Context {
    pub(crate) fn new(
        config: Config,
        run: RunIdentity,
        dir: PathBuf,
        journal: Journal,
        events: Events,
        prompter: Arc<dyn Prompter>,
    ) -> Self {
        let address = config.target.clone();
        let (nix, operator) = (OnceCell::new(), OnceCell::new());
        Self {
            inputs: Inputs { config, run, dir, prompter, nix, operator },
            memory: Memory::of(journal),
            connection: Connection { address, phase: Phase::Unknown, target: None },
            events,
        }
    }

    /// The connected target, or an error that says how to name it.
    pub(crate) fn target(&self) -> Result<&Target, StepError> {
        self.connection.target.as_ref().ok_or_else(|| {
            StepError::new(
                "there is no connection to the target",
                "",
                "Name the target: landfall bootstrap HOST TARGET",
            )
        })
    }

    /// The host's evaluated configuration; the first call takes some seconds.
    pub(crate) fn facts(&self) -> Result<&Facts, StepError> {
        if let Some(facts) = self.memory.facts.get() {
            return Ok(facts);
        }
        let facts = flake::evaluate(&self.config, self.nix()?, &self.dir)?;
        Ok(self.memory.facts.get_or_init(|| facts))
    }

    /// What was evaluated holds no longer: the configuration has moved on.
    pub(crate) fn forget_facts(&mut self) {
        self.memory.facts.take();
    }

    /// The operator's identities; the first call may ask for them by a command.
    pub(crate) fn operator(&self) -> &Identities {
        self.operator.get_or_init(|| Identities::of_operator(&Places::of_process()))
    }

    /// Nix on the source, looked for when it is first needed.
    pub(crate) fn nix(&self) -> Result<&Nix, StepError> {
        if let Some(nix) = self.nix.get() {
            return Ok(nix);
        }
        let nix = Nix::find(self.config.nix.clone())?;
        Ok(self.nix.get_or_init(|| nix))
    }

    /// Where the systems of this run are built.
    pub(crate) fn builder(&self) -> Result<&Builder, StepError> {
        if let Some(builder) = self.memory.builder.get() {
            return Ok(builder);
        }
        let system = &self.facts()?.full.system;
        let builder = self.config.build_on.builder(system, &self.nix()?.build_settings()?);
        Ok(self.memory.builder.get_or_init(|| builder))
    }

    /// Whether the target builds for itself; not so where it cannot be told.
    pub(crate) fn target_builds(&self) -> bool {
        matches!(self.builder(), Ok(Builder::Target))
    }

    pub(crate) fn keys(&self) -> RunKeys {
        RunKeys::in_dir(&self.dir)
    }

    pub(crate) fn staged(&self) -> bool {
        self.config.is_staged()
    }

    /// With what evidence the journal says that `step` was finished.
    pub(crate) fn finished(&self, step: StepId) -> Option<&Evidence> {
        journal::finished(self.memory.journal.lines(), step)
    }

    /// The bytes of a key of `--disk-encryption-keys`, read when they are first needed.
    pub(crate) fn disk_key(&self, remote: &str) -> Result<Secret, StepError> {
        let mut read = self.memory.disk_keys.borrow_mut();
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

    /// What `step` made in this process alone.
    pub(crate) fn produced(&self, step: StepId) -> Option<&Evidence> {
        self.memory.produced.get(&step)
    }

    /// What `step` made in this process, else what the journal says of it.
    pub(crate) fn evidence(&self, step: StepId) -> Option<&Evidence> {
        self.produced(step).or_else(|| self.finished(step))
    }

    /// What a step has left, in this process or an earlier one.
    pub(crate) fn output<T: StepFacts>(&self) -> Result<T, StepError> {
        self.known_output()?.ok_or_else(|| not_done(T::STEP))
    }

    /// What a step has left so far; none where it was not done.
    pub(crate) fn known_output<T: StepFacts>(&self) -> Result<Option<T>, StepError> {
        Ok(self.evidence(T::STEP).map_or(Ok(None), Evidence::read)?)
    }

    /// What the journal says that a step left when it was finished.
    pub(crate) fn finished_output<T: StepFacts>(&self) -> Result<Option<T>, StepError> {
        Ok(journal::output(self.memory.journal.lines())?)
    }

    /// What the journal says that a step last meant to do.
    pub(crate) fn intended<T: StepFacts>(&self) -> Result<Option<T>, StepError> {
        Ok(journal::intended(self.memory.journal.lines())?)
    }

    /// Remembers what a step made in this process.
    pub(crate) fn produce<T: StepFacts>(
        &mut self,
        summary: impl Into<String>,
        output: &T,
    ) -> Result<(), StepError> {
        self.produce_evidence(T::STEP, Evidence::of(summary, output)?);
        Ok(())
    }

    /// The same for a step that leaves nothing but its proof.
    pub(crate) fn produce_evidence(&mut self, step: StepId, evidence: Evidence) {
        self.memory.produced.insert(step, evidence);
    }

    /// The status of a step of the installer's phase, once that phase is over:
    /// it is done if the journal says so, and never runs again in any case.
    pub(crate) fn over_since_installed(&self, step: StepId) -> Option<Status> {
        let over = match self.connection.phase {
            Phase::Installed => true,
            // The machine is between two systems: what was installed is installed.
            Phase::Unknown => {
                self.finished(StepId::Install).is_some() && self.connection.target.is_none()
            }
            Phase::Installer | Phase::Foreign => false,
        };
        over.then(|| match self.finished(step) {
            Some(evidence) => Status::Done(evidence.clone()),
            None => Status::NotApplicable("the installed system answers already".into()),
        })
    }

    /// The user who does the last part of the journey.
    pub(crate) fn primary_user(&self) -> Result<String, StepError> {
        if let Some(user) = &self.config.user {
            return Ok(user.clone());
        }
        if self.config.host_system().is_none() {
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
}

/// The error of a step that needs what another one leaves.
pub(crate) fn not_done(step: StepId) -> StepError {
    StepError::new(
        format!("the step {step} has not been done"),
        "what it leaves is not in the journal",
        "Run the whole journey: landfall bootstrap HOST TARGET",
    )
}
