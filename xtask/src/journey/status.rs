//! What `landfall status HOST --json` tells of a run, as far as a journey needs it.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

/// A step of a run.
#[derive(Clone, Deserialize)]
pub(crate) struct Step {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) state: String,
    pub(crate) seconds: Option<f64>,
    /// What shows that it is done, as the plan has it.
    pub(crate) evidence: Option<Evidence>,
}

/// Facts that a step has found.
#[derive(Clone, Deserialize)]
pub(crate) struct Evidence {
    #[serde(default)]
    pub(crate) facts: BTreeMap<String, String>,
}

/// Reads the steps out of the output; of several runs, those of the first.
pub(crate) fn parse(json: &str) -> Result<Vec<Step>> {
    let json: serde_json::Value = serde_json::from_str(json)?;
    let run = if json.is_array() { &json[0] } else { &json };
    serde_json::from_value(run["steps"].clone()).context("status --json tells no steps")
}
