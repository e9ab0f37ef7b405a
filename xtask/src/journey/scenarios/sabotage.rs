//! Something is done to the journey that must end it, for the reason that was planted.

use anyhow::Result;
use clap::ValueEnum;

use crate::journey::fixture::Journey;
use crate::journey::operator::Operator;
use crate::journey::repos::{Repos, SECRETS};
use crate::journey::scenario::{Action, Ending, Scenario};
use crate::journey::setup::{RepoEdit, Setup, words};

const NO_SUCH_KEY: &str = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const FAILING_UNIT: &str = "sabotage";
/// What is printed of the disk after a failure.
const UNTOUCHED: &str = "the disk is untouched";

/// What can be done, as `cargo xtask demo --sabotage` takes it.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Sabotage {
    /// One character of an encrypted secret is changed
    Secret,
    /// The full configuration has a required unit that fails
    Unit,
    /// The installer is expected under another host key
    HostKey,
    /// The remote of the secrets refuses every push
    Push,
}

/// Lists the journeys of this subject.
pub(crate) fn scenarios() -> Vec<Scenario> {
    Sabotage::value_variants().iter().map(|kind| sabotaged(*kind, Scenario::staged())).collect()
}

/// Does this to a journey, which then must fail.
pub(crate) fn sabotaged(sabotage: Sabotage, scenario: Scenario) -> Scenario {
    match sabotage {
        Sabotage::Secret => Scenario {
            name: "corrupted-secret",
            shows: "a corrupted secret",
            setup: with_edit(corrupt_sample, scenario.setup),
            ending: Ending::Failure { saying: vec![r"guppy\.yaml", UNTOUCHED] },
            ..scenario
        },
        Sabotage::Unit => Scenario {
            name: "failing-unit",
            shows: "a required unit that fails",
            setup: requiring_unit(with_edit(add_failing_unit, scenario.setup)),
            ending: Ending::Failure { saying: vec![r"sabotage\.service"] },
            ..scenario
        },
        Sabotage::HostKey => Scenario {
            name: "other-host-key",
            shows: "another host key",
            setup: Setup { expected_host_key: Some(NO_SUCH_KEY), ..scenario.setup },
            ending: Ending::Failure { saying: vec!["SHA256:AAAAAAAA", UNTOUCHED] },
            ..scenario
        },
        Sabotage::Push => Scenario {
            name: "refused-push",
            shows: "a refused push",
            actions: [vec![Action::Do(refuse_pushes)], scenario.actions].concat(),
            ending: Ending::Failure { saying: vec!["this branch is protected", UNTOUCHED] },
            ..scenario
        },
    }
}

fn with_edit(edit: RepoEdit, mut setup: Setup) -> Setup {
    setup.edits.push(edit);
    setup
}

fn requiring_unit(mut setup: Setup) -> Setup {
    setup.flags.extend(words(&format!("--require-unit {FAILING_UNIT}.service")));
    setup
}

fn corrupt_sample(repos: &Repos, _: &Operator) -> Result<()> {
    repos.corrupt_sample()
}

fn add_failing_unit(repos: &Repos, _: &Operator) -> Result<()> {
    repos.add_to_host(&format!(
        "systemd.services.{FAILING_UNIT} = {{\n    wantedBy = [ \"multi-user.target\" ];\n    \
         serviceConfig.Type = \"oneshot\";\n    script = \"exit 1\";\n  }};"
    ))
}

fn refuse_pushes(journey: &Journey) -> Result<()> {
    journey.forge.refuse_pushes(SECRETS)
}
