//! What a resumed run finds changed: the machine, the settings, the configuration.
//!
//! A run is one host with one key on one set of disks. A machine with other disks ends it.
//! Whatever else changed since is named, and each step sees by itself whether that
//! concerns it.

use std::collections::BTreeMap;

use crate::error::{Exit, StepError};
use crate::git::Repo;
use crate::git::short;
use crate::run::facts::Words;
use crate::run::journal;
use crate::run::journal::Entry;
use crate::steps::context::Context;
use crate::steps::disks::DisksIntention;
use crate::steps::hardware::HardwareOutput;
use crate::steps::retire::RetireOutput;
use crate::target::Phase;

/// Ends the run when the target has not the disks that this run began to erase.
pub(crate) fn same_machine(cx: &Context) -> Result<(), StepError> {
    let Some(target) =
        cx.connection.target.as_ref().filter(|_| cx.connection.phase == Phase::Installer)
    else {
        return Ok(()); // an installed system proves itself by its host key
    };
    let Some(begun) = cx.intended::<DisksIntention>()? else { return Ok(()) };
    let there: Vec<String> = target.facts.disks.iter().map(|disk| disk.stable_name()).collect();
    let Words(mut missing) = begun.disks;
    missing.retain(|name| !there.contains(name));
    if missing.is_empty() {
        return Ok(());
    }
    let host = &cx.config.host;
    Err(StepError::new(
        format!("this is not the machine on which the run of {host} began"),
        format!("its disk was {}; here are {}", missing.join(", "), there.join(", ")),
        format!(
            "Go on with that machine. Was its disk replaced, or is this one to be {host} now? \
             Then begin anew: landfall abandon {host}"
        ),
    )
    .exit(Exit::Person))
}

/// Says what is not as it was when the run was last worked on, and remembers it.
pub(crate) fn note_changes(cx: &mut Context) -> Result<(), StepError> {
    let mut now = cx.config.settings();
    if let Some(host) = cx.config.host_system() {
        now.insert("nix-config".into(), Repo::open(&host.dir)?.head()?);
    }
    let Some(before) = journal::settings(cx.memory.journal.lines()).cloned() else {
        return Ok(cx.memory.journal.append(Entry::Settings { settings: now })?);
    };
    if before == now {
        return Ok(());
    }
    for line in changes(&before, &now) {
        cx.events.note(line);
    }
    // The commits of the run itself are no change that somebody made.
    let head = now.get("nix-config");
    let by_run = cx.finished_output::<HardwareOutput>()?.and_then(|output| output.revision);
    let by_retire = cx.finished_output::<RetireOutput>()?.and_then(|output| output.config);
    let was = before.get("nix-config");
    if let (Some(head), Some(was)) = (head, was)
        && head != was
        && by_run.as_ref() != Some(head)
        && by_retire.as_ref() != Some(head)
    {
        let since = by_run.as_deref().unwrap_or(was);
        cx.events.note(format!("nix-config moved on: {} → {}", short(since), short(head)));
    }
    Ok(cx.memory.journal.append(Entry::Settings { settings: now })?)
}

/// A line for each setting that has another value.
fn changes(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let shown = |value: Option<&String>| match value.map(String::as_str) {
        None | Some("") => "nothing".to_owned(),
        Some(text) => text.to_owned(),
    };
    let settings = now.iter().filter(|(name, _)| *name != "nix-config");
    settings
        .filter(|(name, value)| before.get(*name).map_or("", String::as_str) != value.as_str())
        .map(|(name, value)| {
            let (was, is) = (shown(before.get(name)), shown(Some(value)));
            format!("changed since the last run: {name}, {was} → {is}")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_named_with_both_values() {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let before = map(&[("user", "alice"), ("push", "main"), ("nix-config", "a")]);
        let now = map(&[("user", "bob"), ("push", "main"), ("units", ""), ("nix-config", "b")]);
        assert_eq!(changes(&before, &now), ["changed since the last run: user, alice → bob"]);
    }
}
