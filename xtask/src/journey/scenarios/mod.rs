//! All journeys. A list for each subject.

mod again;
mod anew;
pub mod beside;
mod core;
mod disks;
mod edits;
mod forms;
mod home;
mod image;
mod impostor;
mod matrix;
mod passphrases;
mod reach;
mod sabotage;
mod unlock;

use anyhow::{Context, Result};

use super::scenario::Scenario;

pub use sabotage::{Sabotage, sabotaged};

/// Every journey that there is.
pub fn all() -> Vec<Scenario> {
    [
        core::scenarios(),
        disks::scenarios(),
        passphrases::scenarios(),
        unlock::scenarios(),
        forms::scenarios(),
        home::scenarios(),
        reach::scenarios(),
        sabotage::scenarios(),
        again::scenarios(),
        anew::scenarios(),
        impostor::scenarios(),
        image::scenarios(),
    ]
    .concat()
}

/// The journey of this name.
pub fn named(name: &str) -> Result<Scenario> {
    let all = all();
    let names: Vec<&str> = all.iter().map(|scenario| scenario.name).collect();
    let missing = format!("there is no journey {name:?}; there are {}", names.join(", "));
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
