//! What is printed at the end of a journey.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::course::{Journey, Outcome};
use super::operator::USER;
use crate::run::interrupted;

/// A step of a run, as far as a report needs it.
#[derive(Clone, Debug, Deserialize)]
pub struct Step {
    pub id: String,
    pub title: String,
    pub state: String,
    pub seconds: Option<f64>,
    /// What proves that it is done, as the plan has it.
    pub evidence: Option<Evidence>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Evidence {
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
}

/// The steps in what `landfall status HOST --json` prints.
pub fn steps(json: &str) -> Result<Vec<Step>> {
    let json: serde_json::Value = serde_json::from_str(json)?;
    let run = if json.is_array() { &json[0] } else { &json };
    serde_json::from_value(run["steps"].clone()).context("status --json tells no steps")
}

/// Two tables, and how long it took.
pub fn print(journey: &Journey, outcome: &Outcome) {
    println!("\n{:<12} {:>8}  step", "state", "seconds");
    for step in &outcome.steps {
        let seconds = step.seconds.map(|seconds| format!("{seconds:.1}")).unwrap_or_default();
        println!("{:<12} {seconds:>8}  {}", step.state, step.title);
    }
    println!("\n{:<14} proof", "claim");
    for claim in &outcome.claims {
        match &claim.found {
            Ok(found) => println!("{:<14} {found}", claim.name),
            Err(error) => println!("{:<14} NOT SHOWN: {error:#}", claim.name),
        }
    }
    println!(
        "\nbootstrap took {:.0} s; with repositories, image and proof {:.0} s",
        outcome.seconds,
        journey.start.elapsed().as_secs_f64()
    );
}

/// Says how to log in, and leaves everything running until Ctrl-C.
pub fn keep(journey: &Journey) {
    let (operator, target) = (&journey.operator, &journey.target);
    println!(
        "\nthe machine runs until Ctrl-C:\n  ssh -i {} -o UserKnownHostsFile={} -p {} {USER}@127.0.0.1",
        operator.ssh_key().display(),
        operator.path(".ssh/known_hosts").display(),
        target.port
    );
    println!(
        "its password is in {}, its console's log {}",
        operator.path("password").display(),
        target.console_log().display()
    );
    while !interrupted() {
        std::thread::sleep(Duration::from_millis(200));
    }
}
