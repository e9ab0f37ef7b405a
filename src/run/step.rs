//! The vocabulary of the journey: steps, what they change, and where they stand.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::facts;
use super::facts::{FactsError, StepFacts};
use crate::error::StepError;

/// The steps of the journey, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepId {
    Check,
    Identity,
    Secrets,
    Lock,
    Installer,
    Hardware,
    Build,
    Disks,
    Copy,
    Install,
    Reboot,
    Login,
    Repos,
    Rebuild,
    Publish,
    Retire,
}

impl StepId {
    pub const ALL: [Self; 16] = [
        Self::Check,
        Self::Identity,
        Self::Secrets,
        Self::Lock,
        Self::Installer,
        Self::Hardware,
        Self::Build,
        Self::Disks,
        Self::Copy,
        Self::Install,
        Self::Reboot,
        Self::Login,
        Self::Repos,
        Self::Rebuild,
        Self::Publish,
        Self::Retire,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Identity => "identity",
            Self::Secrets => "secrets",
            Self::Lock => "lock",
            Self::Installer => "installer",
            Self::Hardware => "hardware",
            Self::Build => "build",
            Self::Disks => "disks",
            Self::Copy => "copy",
            Self::Install => "install",
            Self::Reboot => "reboot",
            Self::Login => "login",
            Self::Repos => "repos",
            Self::Rebuild => "rebuild",
            Self::Publish => "publish",
            Self::Retire => "retire",
        }
    }

    /// What the step does, for plans and reports; at most 44 characters.
    pub fn title(self) -> &'static str {
        match self {
            Self::Check => "try everything that could fail later",
            Self::Identity => "make or restore the host's keys",
            Self::Secrets => "re-encrypt the secrets for the host",
            Self::Lock => "lock the new secrets revision",
            Self::Installer => "be in the installer",
            Self::Hardware => "detect and commit the hardware",
            Self::Build => "build the system",
            Self::Disks => "partition, encrypt and format the disks",
            Self::Copy => "copy the system to the new disks",
            Self::Install => "install keys, system and boot loader",
            Self::Reboot => "boot the installed system",
            Self::Login => "log in as the primary user",
            Self::Repos => "copy the repositories",
            Self::Rebuild => "boot and verify the full configuration",
            Self::Publish => "push, and verify a clean clone",
            Self::Retire => "retire the previous identity",
        }
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no step {word:?}; the steps are {}", StepId::ALL.map(StepId::as_str).join(", "))]
pub struct UnknownStep {
    word: String,
}

impl FromStr for StepId {
    type Err = UnknownStep;

    fn from_str(text: &str) -> Result<Self, UnknownStep> {
        let known = Self::ALL.into_iter().find(|id| id.as_str() == text);
        known.ok_or_else(|| UnknownStep { word: text.to_owned() })
    }
}

/// Where an effect happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Machine {
    Source,
    Target,
    Both,
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Source => "source",
            Self::Target => "target",
            Self::Both => "both",
        })
    }
}

/// One thing that a step changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effect {
    pub machine: Machine,
    /// What changes, as "writes …", "erases …".
    pub change: &'static str,
    pub reversible: bool,
}

/// Proof that a step is done: a line for people, facts for programs. Never a secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    pub(crate) summary: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) facts: BTreeMap<String, String>,
}

impl Evidence {
    pub fn new(summary: impl Into<String>) -> Self {
        Self { summary: summary.into(), facts: BTreeMap::new() }
    }

    /// The same with one more fact, as it is written by hand.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }

    /// Proof in the form of the step that it is of.
    pub(crate) fn of<T: StepFacts>(
        summary: impl Into<String>,
        facts: &T,
    ) -> Result<Self, FactsError> {
        Ok(Self { summary: summary.into(), facts: facts::write(facts)? })
    }

    /// The facts in the form of their step; none where it left none.
    pub(crate) fn read<T: StepFacts>(&self) -> Result<Option<T>, FactsError> {
        facts::read(&self.facts)
    }
}

/// Where a step stands, as observed on the machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    Done(Evidence),
    Ready,
    /// Cannot run, and running the steps before it will not help.
    Blocked(StepError),
    /// Made meaningless by a later phase, or by what there is; never runs.
    NotApplicable(String),
}

/// Whether a step runs in this journey; where not, why, and who decided it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Disposition {
    Run,
    Skip { reason: String, by: Decider },
}

/// Who decides that a step does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decider {
    /// Flags that select steps: then the journey is not whole.
    Selection,
    /// The configuration, which has no use for it.
    Configuration,
    /// A person who was asked.
    Person,
}

impl Disposition {
    pub(crate) fn not_selected(reason: impl Into<String>) -> Self {
        Self::Skip { reason: reason.into(), by: Decider::Selection }
    }

    pub(crate) fn no_use(reason: impl Into<String>) -> Self {
        Self::Skip { reason: reason.into(), by: Decider::Configuration }
    }

    /// A person wants to do without the step; the text says what that means.
    pub(crate) fn declined(meaning: impl Into<String>) -> Self {
        Self::Skip { reason: meaning.into(), by: Decider::Person }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_parse_back_and_keep_the_order_of_the_journey() {
        for id in StepId::ALL {
            assert_eq!(id.as_str().parse(), Ok(id));
            assert!(id.title().len() <= 44, "{id}");
        }
        assert!(StepId::ALL.is_sorted());
        assert!("reboots".parse::<StepId>().unwrap_err().to_string().contains("reboot,"));
    }
}
