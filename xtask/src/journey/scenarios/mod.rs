//! All journeys: a file for each subject, with its list and what only these journeys do.

mod basic;
pub(crate) mod comparison;
mod config_shapes;
mod connection;
mod customized_image;
mod data_disk;
mod disks;
mod home_secrets;
mod man_in_the_middle;
mod passphrases;
mod refused_disks;
mod reinstall;
mod remote_unlock;
mod repo_edits;
mod rerun;
mod sabotage;

use anyhow::{Context, Result};

use super::scenario::Scenario;

pub(crate) use sabotage::{Sabotage, sabotaged};

/// Lists every journey that there is.
pub(crate) fn all() -> Vec<Scenario> {
    [
        basic::scenarios(),
        disks::scenarios(),
        vec![data_disk::scenario()],
        passphrases::scenarios(),
        remote_unlock::scenarios(),
        config_shapes::scenarios(),
        home_secrets::scenarios(),
        connection::scenarios(),
        sabotage::scenarios(),
        rerun::scenarios(),
        reinstall::scenarios(),
        man_in_the_middle::scenarios(),
        customized_image::scenarios(),
    ]
    .concat()
}

/// Finds the journey of this name.
pub(crate) fn named(name: &str) -> Result<Scenario> {
    let all = all();
    let names: Vec<&str> = all.iter().map(|scenario| scenario.name).collect();
    let missing = format!("there is no journey \"{name}\"; there are {}", names.join(", "));
    all.into_iter().find(|scenario| scenario.name == name).context(missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_journey_has_a_name_of_its_own() {
        let all = all();
        let names: BTreeSet<&str> = all.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), all.len());
        assert_eq!(named("staged").map(|found| found.name).ok(), Some("staged"));
        let error = named("no-such").err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("staged"), "{error}");
    }
}
