//! Layouts of disks as values, what disko's scripts read of them, and what landfall brings.

use std::collections::BTreeSet;
use std::process::Command;

use landfall::facts::{EXPRESSION, HostFacts};
use serde_json::Value;

use super::have;

/// The facts of one system for each layout, in a single evaluation; none without nix.
pub fn facts_of(layouts: &[Value]) -> Option<Vec<HostFacts>> {
    if !have("nix-instantiate") {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let (file, expression) = (dir.path().join("layouts"), dir.path().join("facts.nix"));
    std::fs::write(&file, serde_json::to_string(layouts).unwrap()).unwrap();
    std::fs::write(&expression, EXPRESSION).unwrap();
    let text = format!(
        r#"map (devices: import {} {{ config = {{
          boot.initrd = {{ }};
          networking.hostName = "guppy";
          nixpkgs.hostPlatform.system = "x86_64-linux";
          system.build = {{ }};
          disko.devices = devices;
          fileSystems = {{ }};
          services.openssh.enable = true;
          users.users.root = {{ }};
        }}; }}) (builtins.fromJSON (builtins.readFile {}))"#,
        expression.display(),
        file.display()
    );
    let mut nix = Command::new("nix-instantiate");
    let output = nix.args(["--eval", "--strict", "--json", "-E", &text]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// What the scripts of a layout read and ask for, as disko writes them.
#[derive(Debug, Default)]
struct Reads {
    files: BTreeSet<String>,
    /// Volumes whose passphrase is asked for.
    asks: BTreeSet<String>,
    /// Those of them, and of the others, that disks have which stay.
    kept: BTreeSet<String>,
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name)?.as_str().map(ToOwned::to_owned)
}

fn children(content: &Value) -> Vec<&Value> {
    let mut found: Vec<&Value> = content.get("content").into_iter().collect();
    for name in ["partitions", "lvs"] {
        match content.get(name) {
            Some(Value::Object(set)) => found.extend(set.values().filter_map(|v| v.get("content"))),
            Some(Value::Array(list)) => found.extend(list.iter().filter_map(|v| v.get("content"))),
            _ => {}
        }
    }
    if let Some(Value::Object(datasets)) = content.get("datasets") {
        found.extend(datasets.values());
    }
    found.retain(|child| child.is_object());
    found
}

impl Reads {
    fn of(devices: &Value) -> Self {
        let mut reads = Self::default();
        let kept = kept(devices);
        for (kind, group) in devices.as_object().unwrap() {
            for (name, part) in group.as_object().unwrap() {
                let before = (reads.files.clone(), reads.asks.clone());
                match kind.as_str() {
                    "zpool" => reads.pool(name, part),
                    "bcachefs_filesystems" => reads.files.extend(text(part, "passwordFile")),
                    _ => {}
                }
                reads.content(part);
                if kept.contains(&(kind.clone(), name.clone())) {
                    let files: Vec<String> = reads.files.difference(&before.0).cloned().collect();
                    reads.kept.extend(files);
                }
            }
        }
        reads
    }

    fn content(&mut self, content: &Value) {
        if content["type"] == "luks" {
            self.luks(content);
        }
        for child in children(content) {
            self.content(child);
        }
    }

    fn luks(&mut self, luks: &Value) {
        let name = text(luks, "name").unwrap();
        let key = luks["settings"].get("keyFile").and_then(Value::as_str);
        let (password, old) = (text(luks, "passwordFile"), text(luks, "keyFile"));
        let nothing = key.is_none() && password.is_none() && old.is_none();
        let asks = luks.get("askPassword").and_then(Value::as_bool).unwrap_or(nothing);
        if asks {
            self.asks.insert(name);
        }
        match key {
            Some(key) => drop(self.files.insert(key.to_owned())),
            None if asks => {}
            None => self.files.extend(password.or(old)),
        }
        for file in luks["additionalKeyFiles"].as_array().into_iter().flatten() {
            self.files.insert(file.as_str().unwrap().to_owned());
        }
    }

    fn pool(&mut self, name: &str, pool: &Value) {
        self.zfs(name, &pool["rootFsOptions"]);
        for (dataset, value) in pool["datasets"].as_object().into_iter().flatten() {
            self.zfs(&format!("{name}/{dataset}"), &value["options"]);
        }
    }

    fn zfs(&mut self, name: &str, options: &Value) {
        let location = text(options, "keylocation");
        match location.as_deref() {
            Some("prompt") => drop(self.asks.insert(name.to_owned())),
            None if options.get("keyformat").is_some() => drop(self.asks.insert(name.to_owned())),
            Some(url) => self.files.extend(url.strip_prefix("file://").map(ToOwned::to_owned)),
            None => {}
        }
    }
}

/// What lies on a disk that stays, and what is made of such a disk's partitions.
fn kept(devices: &Value) -> BTreeSet<(String, String)> {
    fn members(content: &Value, found: &mut Vec<(String, String)>) {
        for (kind, field, group) in [
            ("mdraid", "name", "mdadm"),
            ("lvm_pv", "vg", "lvm_vg"),
            ("zfs", "pool", "zpool"),
            ("bcachefs", "filesystem", "bcachefs_filesystems"),
        ] {
            if content["type"] == kind {
                found.push((group.to_owned(), text(content, field).unwrap()));
            }
        }
        children(content).into_iter().for_each(|child| members(child, found));
    }
    let disks = devices["disk"].as_object().into_iter().flatten();
    let mut open: Vec<(String, String)> = disks
        .filter(|(_, disk)| disk["destroy"] == false)
        .map(|(name, _)| ("disk".to_owned(), name.clone()))
        .collect();
    let mut kept = BTreeSet::new();
    while let Some((kind, name)) = open.pop() {
        if !devices[&kind][&name].is_object() || !kept.insert((kind.clone(), name.clone())) {
            continue;
        }
        members(&devices[&kind][&name], &mut open);
    }
    kept
}

/// Each file that is read is brought or refused, and what is asked for is refused.
pub fn nothing_is_left_out(layout: &Value, facts: &HostFacts) -> Result<(), String> {
    let reads = Reads::of(layout);
    let brought = facts.disk_secrets();
    let refused: Vec<String> = facts
        .unreadable()
        .into_iter()
        .map(|it| format!("{} {} {}", it.what, it.why, it.hint))
        .collect();
    for file in reads.files.iter().filter(|file| !file.starts_with("/dev/")) {
        let there = brought.iter().any(|secret| secret.path == *file);
        if !there && !refused.iter().any(|words| words.contains(file.as_str())) {
            // Where the script would ask first, it comes to no file.
            if reads.asks.is_empty() {
                return Err(format!("nothing brings {file}"));
            }
        }
    }
    for volume in &reads.asks {
        if !refused.iter().any(|words| words.contains(volume.as_str())) {
            return Err(format!("{volume} is asked for"));
        }
    }
    for secret in &brought {
        if !reads.files.contains(&secret.path) {
            return Err(format!("{} is brought, and nothing reads it", secret.path));
        }
        let stays = reads.asks.is_empty() && reads.kept.contains(&secret.path);
        if stays && !secret.kept {
            return Err(format!("{} opens what stays", secret.path));
        }
    }
    Ok(())
}
