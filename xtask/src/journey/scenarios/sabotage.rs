//! Something is done to the journey that must end it, for the reason that was planted.

use anyhow::Result;
use clap::ValueEnum;

use crate::journey::course::Journey;
use crate::journey::operator::Operator;
use crate::journey::repos::{Repos, SECRETS};
use crate::journey::scenario::{Act, Ends, Scenario, words};

const FAILING_UNIT: &str = "sabotage";
const UNTOUCHED: &str = "the disk is untouched";

/// What can be done, as `cargo xtask demo --sabotage` takes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Sabotage {
    /// One character of an encrypted secret is changed
    Secret,
    /// The full configuration has a required unit that fails
    Unit,
    /// The installer is expected under another host key
    HostKey,
    /// The remote of the secrets refuses every push
    Push,
}

pub fn scenarios() -> Vec<Scenario> {
    Sabotage::value_variants().iter().map(|kind| sabotaged(*kind, Scenario::staged())).collect()
}

/// A journey with this done to it.
pub fn sabotaged(sabotage: Sabotage, mut scenario: Scenario) -> Scenario {
    let (name, shows, says) = match sabotage {
        Sabotage::Secret => {
            scenario.edits.push(corrupt_sample);
            ("corrupted-secret", "a corrupted secret", vec![r"guppy\.yaml", UNTOUCHED])
        }
        Sabotage::Unit => {
            scenario.edits.push(add_failing_unit);
            scenario.flags.extend(words(&format!("--require-unit {FAILING_UNIT}.service")));
            ("failing-unit", "a required unit that fails", vec![r"sabotage\.service"])
        }
        Sabotage::HostKey => {
            scenario.expects = Some("SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
            ("other-host-key", "another host key", vec!["SHA256:AAAAAAAA", UNTOUCHED])
        }
        Sabotage::Push => {
            scenario.acts.insert(0, Act::Do(refuse_pushes));
            ("refused-push", "a refused push", vec!["this branch is protected", UNTOUCHED])
        }
    };
    Scenario { name, shows, ends: Ends::Saying(says), ..scenario }
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
