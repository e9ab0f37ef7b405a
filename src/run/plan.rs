//! The ordered, printable plan of a run: what each step changes, where, and where
//! it stands. `plan`, `status` and a dry run show the same thing.
//!
//! A plan is filled from the configuration and from what the steps observe, or
//! from a journal alone; it is data, and running it is the engine's work.

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::step::{Effect, Evidence, Machine, Status, StepId};

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Done,
    Ready,
    Blocked,
    #[serde(rename = "superseded")]
    NotApplicable,
    Running,
    Failed,
    Skipped,
}

impl State {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Ready => "ready",
            Self::Blocked => "blocked",
            Self::NotApplicable => "superseded",
            Self::Running => "running",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanStep {
    pub(crate) id: StepId,
    pub(crate) title: &'static str,
    pub(crate) machine: Machine,
    pub(crate) reversible: bool,
    /// What it changes, in the words of its effects, and details of that; for people, not in the JSON form.
    #[serde(skip)]
    pub(crate) effects: Vec<String>,
    pub state: State,
    pub(crate) started: Option<Timestamp>,
    pub seconds: Option<f64>,
    pub(crate) evidence: Option<Evidence>,
    /// Why it is blocked, superseded, failed or skipped.
    pub(crate) reason: Option<String>,
}

impl PlanStep {
    /// A step with the effects that it declares, not looked at yet.
    pub fn new(id: StepId, effects: &[Effect]) -> Self {
        Self {
            id,
            title: id.title(),
            machine: machine(id, effects),
            reversible: effects.iter().all(|effect| effect.reversible),
            effects: effects.iter().map(|effect| effect.change.to_owned()).collect(),
            state: State::Ready,
            started: None,
            seconds: None,
            evidence: None,
            reason: None,
        }
    }

    /// A step as the journey usually has it, for when its configuration is not at hand.
    pub(super) fn usual(id: StepId) -> Self {
        let reversible = !matches!(id, StepId::Installer | StepId::Disks);
        Self { reversible, ..Self::new(id, &[]) }
    }

    /// The step with more to tell people than its effects.
    #[must_use]
    pub(crate) fn with_details(mut self, details: Vec<String>) -> Self {
        self.effects.extend(details);
        self
    }

    /// A step that flags or the configuration leave out.
    #[must_use]
    pub fn skipped(mut self, reason: impl Into<String>) -> Self {
        self.state = State::Skipped;
        self.reason = Some(reason.into());
        self
    }

    /// The step as it was observed.
    #[must_use]
    pub fn observed(mut self, status: &Status) -> Self {
        let (state, reason) = match status {
            Status::Done(evidence) => {
                self.evidence = Some(evidence.clone());
                (State::Done, None)
            }
            Status::Ready => (State::Ready, None),
            Status::Blocked(error) => (State::Blocked, Some(error.to_string())),
            Status::NotApplicable(by) => (State::NotApplicable, Some(by.clone())),
        };
        self.state = state;
        self.reason = reason;
        self
    }
}

/// Where the effects happen; a step that changes nothing belongs where it looks.
fn machine(id: StepId, effects: &[Effect]) -> Machine {
    let mut machines = effects.iter().map(|effect| effect.machine);
    match machines.next() {
        Some(first) if machines.all(|machine| machine == first) => first,
        Some(_) => Machine::Both,
        None => usual_machine(id),
    }
}

/// Where a step acts in the journey of the design.
fn usual_machine(id: StepId) -> Machine {
    match id {
        StepId::Identity
        | StepId::Secrets
        | StepId::Lock
        | StepId::Build
        | StepId::Publish
        | StepId::Retire => Machine::Source,
        StepId::Installer
        | StepId::Disks
        | StepId::Install
        | StepId::Reboot
        | StepId::Login
        | StepId::Rebuild => Machine::Target,
        StepId::Check | StepId::Hardware | StepId::Copy | StepId::Repos => Machine::Both,
    }
}

/// The plan of one host's run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    pub(crate) host: String,
    pub(crate) run: Option<Uuid>,
    pub strategy: Option<String>,
    /// The target's phase, where it is known.
    pub phase: Option<String>,
    /// For people, not in the JSON form.
    #[serde(skip)]
    pub target: Option<String>,
    pub steps: Vec<PlanStep>,
}

impl Plan {
    pub fn new(host: impl Into<String>, steps: Vec<PlanStep>) -> Self {
        Self { host: host.into(), run: None, strategy: None, phase: None, target: None, steps }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EFFECTS: [Effect; 2] = [
        Effect { machine: Machine::Target, change: "erases the disks", reversible: false },
        Effect { machine: Machine::Target, change: "mounts them at /mnt", reversible: true },
    ];

    #[test]
    fn a_step_is_as_reversible_as_its_worst_effect_and_is_where_they_are() {
        let step = PlanStep::new(StepId::Disks, &EFFECTS);
        assert!(!step.reversible);
        assert_eq!(step.machine, Machine::Target);
        assert_eq!(step.effects, ["erases the disks", "mounts them at /mnt"]);
        let mixed = [Effect { machine: Machine::Source, ..EFFECTS[1] }, EFFECTS[1]];
        assert_eq!(PlanStep::new(StepId::Copy, &mixed).machine, Machine::Both);
        assert!(PlanStep::new(StepId::Login, &[]).reversible);
    }

    #[test]
    fn the_json_form_has_exactly_the_keys_of_the_contract() {
        let mut plan = Plan::new("guppy", vec![PlanStep::new(StepId::Disks, &EFFECTS)]);
        plan.target = Some("root@192.0.2.10".into());
        let json = serde_json::to_value(&plan).unwrap();
        let keys = |value: &serde_json::Value| {
            value.as_object().unwrap().keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(keys(&json), ["host", "phase", "run", "steps", "strategy"]);
        let step = &json["steps"][0];
        assert_eq!(
            keys(step),
            [
                "evidence",
                "id",
                "machine",
                "reason",
                "reversible",
                "seconds",
                "started",
                "state",
                "title"
            ]
        );
        assert_eq!(step["state"], "ready");
        assert_eq!(step["reversible"], false);
        assert!(step["started"].is_null());
    }
}
