//! The layout of the disks with other devices than it names (`--disk NAME=DEVICE`).
//!
//! The user's files stay as they are: the evaluated system is extended by a module that
//! sets the devices. That is as pure as the flake itself, and goes for the facts and for
//! disko's scripts. What is installed comes from the committed configuration alone, so it
//! must be the same without these devices: nothing would describe it otherwise.

use std::collections::BTreeMap;

use crate::error::{Exit, StepError};

/// The system `sys` with these devices, as a Nix expression. Names and devices hold
/// nothing that needs quoting.
pub(crate) fn extended(devices: &BTreeMap<String, String>) -> String {
    if devices.is_empty() {
        return "sys".into();
    }
    let set: String = devices
        .iter()
        .map(|(name, device)| {
            format!("disko.devices.disk.\"{name}\".device = lib.mkForce \"{device}\"; ")
        })
        .collect();
    format!("(sys.extendModules {{ modules = [ ({{ lib, ... }}: {{ {set}}}) ]; }})")
}

/// The function `facts` of a system, applied to the system with these devices; each disk
/// tells what the layout says. A name that the layout does not have gives `unknownDisks`.
pub(crate) fn facts_with(facts: &str, devices: &BTreeMap<String, String>) -> String {
    if devices.is_empty() {
        return facts.to_owned();
    }
    let names: String = devices.keys().map(|name| format!("\"{name}\" ")).collect();
    format!(
        r#"
sys:
let
  facts = ({facts}) {extended};
  disks = sys.config.disko.devices.disk or {{ }};
  unknown = builtins.filter (name: !(disks ? ${{name}})) [ {names}];
  said = name:
    let found = builtins.tryEval disks.${{name}}.device; in
    if found.success then found.value else "";
  noted = disk:
    if builtins.elem disk.name [ {names}] then disk // {{ in_layout = said disk.name; }} else disk;
in
if unknown != [ ] then
  {{ unknownDisks = unknown; disks = builtins.attrNames disks; }}
else
  facts // {{ disks = map noted facts.disks; }}
"#,
        extended = extended(devices),
    )
}

/// Refuses names that the layout does not have, as [`facts_with`] tells them.
pub(crate) fn check_names(
    facts: &serde_json::Value,
    devices: &BTreeMap<String, String>,
) -> Result<(), StepError> {
    let list = |name: &str| {
        let items = facts.get(name).and_then(|value| value.as_array()).cloned().unwrap_or_default();
        items.iter().filter_map(|item| item.as_str()).collect::<Vec<_>>().join(", ")
    };
    if facts.get("unknownDisks").is_none() {
        return Ok(());
    }
    let unknown = list("unknownDisks");
    let device = devices.values().next().map(String::as_str).unwrap_or("/dev/…");
    let known = list("disks");
    let hint = match known.split(", ").next() {
        Some(first) if !first.is_empty() => {
            format!("Its disks are {known}: --disk {first}={device}")
        }
        _ => "Give the host a disko layout (disko.devices.disk.…).".into(),
    };
    Err(StepError::new(format!("the layout has no disk {unknown}"), "--disk names it", hint)
        .exit(Exit::Usage))
}

/// The systems depend on the devices that `--disk` gave.
pub(crate) fn not_described(devices: &BTreeMap<String, String>) -> StepError {
    StepError::new(
        "the system itself depends on the devices of its disks",
        "with the devices of --disk it is another one than the configuration describes; \
         a boot loader that is installed on a disk (boot.loader.grub.devices) does that",
        format!("Write them into the layout instead:\n{}", to_write(devices)),
    )
    .exit(Exit::Usage)
}

/// What makes the layout agree with the devices that were given.
pub(crate) fn to_write(devices: &BTreeMap<String, String>) -> String {
    let line =
        |(name, device)| format!("disko.devices.disk.{name}.device = lib.mkForce \"{device}\";");
    devices.iter().map(line).collect::<Vec<String>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_devices_nothing_is_extended() {
        let none = BTreeMap::new();
        assert_eq!(extended(&none), "sys");
        assert_eq!(facts_with("sys: 1", &none), "sys: 1");
    }

    #[test]
    fn an_unknown_disk_is_refused_with_those_there_are() {
        let devices = BTreeMap::from([("mian".to_owned(), "/dev/vdb".to_owned())]);
        let facts = serde_json::json!({"unknownDisks": ["mian"], "disks": ["main", "data"]});
        let error = check_names(&facts, &devices).unwrap_err();
        assert!(error.what.contains("mian"), "{error}");
        assert!(error.hint.contains("main, data") && error.hint.contains("/dev/vdb"));
        assert!(check_names(&serde_json::json!({"disks": []}), &devices).is_ok());
    }
}
