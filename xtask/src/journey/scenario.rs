//! A journey as data: what it starts from, what is done, how it must end, and what must hold.
//!
//! Adding a journey is adding an entry in `scenarios/`. What an entry cannot say yet is a
//! function: an edit of the repositories, an action, a claim.

use std::path::PathBuf;

use anyhow::Result;

use super::actions;
use super::claims::{self, Claim};
use super::fixture::Journey;
use super::setup::Setup;

/// How often a journey is made.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Schedule {
    /// In every full test.
    Core,
    /// In turn: a few a day.
    InTurn,
}

/// Something that is done once the installer answers.
#[derive(Clone)]
pub(crate) enum Action {
    /// `landfall bootstrap` runs to its end.
    Bootstrap,
    /// `landfall bootstrap` is killed in the middle of this step.
    BootstrapKilledDuring(String),
    /// nixos-anywhere, which is this program, installs the minimal system.
    NixosAnywhere(PathBuf),
    /// Anything else.
    Do(fn(&Journey) -> Result<()>),
}

impl Action {
    /// Does it.
    pub(crate) fn perform(&self, journey: &Journey) -> Result<()> {
        match self {
            Action::Bootstrap => actions::bootstrap(journey),
            Action::BootstrapKilledDuring(step) => actions::bootstrap_killed_during(journey, step),
            Action::NixosAnywhere(program) => actions::nixos_anywhere(journey, program),
            Action::Do(action) => action(journey),
        }
    }
}

/// How a journey must end.
#[derive(Clone)]
pub(crate) enum Ending {
    /// The actions succeed and the claims hold.
    Success,
    /// It fails, and what is printed matches all of these regular expressions.
    Failure { saying: Vec<&'static str> },
}

/// A journey.
#[derive(Clone)]
pub(crate) struct Scenario {
    /// Its name, as `cargo xtask test --journey` takes it.
    pub(crate) name: &'static str,
    /// What it shows, on a line.
    pub(crate) shows: &'static str,
    pub(crate) schedule: Schedule,
    pub(crate) setup: Setup,
    /// What is done, in this order.
    pub(crate) actions: Vec<Action>,
    pub(crate) ending: Ending,
    /// What must hold after a success.
    pub(crate) claims: Vec<Claim>,
}

impl Scenario {
    /// Describes the main journey: staged, one encrypted disk, secrets. Others differ from it.
    pub(crate) fn staged() -> Scenario {
        Scenario {
            name: "staged",
            shows: "staged, LUKS, secrets",
            schedule: Schedule::InTurn,
            setup: Setup::staged(),
            actions: vec![Action::Bootstrap],
            ending: Ending::Success,
            claims: claims::STAGED.to_vec(),
        }
    }
}
