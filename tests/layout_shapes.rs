//! Layouts of disks in every shape that disko takes: each file that its scripts read is
//! brought by landfall or refused by name, and nothing else is asked for.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use landfall::facts::{EXPRESSION, HostFacts, SecretKind};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value, json};

use common::have;

/// The facts of one system for each layout, in a single evaluation; none without nix.
fn facts_of(layouts: &[Value]) -> Option<Vec<HostFacts>> {
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
fn nothing_is_left_out(layout: &Value, facts: &HostFacts) -> Result<(), String> {
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

// Random layouts.

fn leaf() -> BoxedStrategy<Value> {
    let member = |kind: &'static str, field: &'static str| {
        (0..2u8).prop_map(move |n| json!({"type": kind, field: format!("m{n}")}))
    };
    prop_oneof![
        Just(json!({"type": "filesystem", "format": "ext4", "mountpoint": "/"})),
        Just(json!({"type": "swap", "randomEncryption": true})),
        Just(json!({"type": "btrfs", "subvolumes": {"/root": {"mountpoint": "/"}}})),
        Just(Value::Null),
        member("mdraid", "name"),
        member("lvm_pv", "vg"),
        member("zfs", "pool"),
        member("bcachefs", "filesystem"),
    ]
    .boxed()
}

fn file() -> BoxedStrategy<Value> {
    prop_oneof![
        3 => (0..6u8).prop_map(|n| json!(format!("/tmp/secret-{n}.key"))),
        2 => (0..4u8).prop_map(|n| json!(format!("/persist/keys/{n}"))),
        1 => Just(json!("/dev/disk/by-id/usb-key")),
        1 => Just(json!("/nix/store/0-key")),
        1 => Just(json!("/tmp/with space")),
    ]
    .boxed()
}

fn some(strategy: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Option<Value>> {
    prop::option::of(strategy).boxed()
}

/// An object of the fields that there are.
fn object(fields: Vec<(&str, Option<Value>)>) -> Value {
    let there = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(there.collect())
}

fn luks(content: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    let keys = (some(file()), some(file()), some(file()), prop::collection::vec(file(), 0..3));
    let asks = prop::option::weighted(0.1, any::<bool>().prop_map(Value::from));
    let words = (asks, some(any::<bool>().prop_map(Value::from)));
    (any::<u16>(), keys, words, content)
        .prop_map(|(n, (password, settings, old, more), (asks, unlock), content)| {
            object(vec![
                ("type", Some(json!("luks"))),
                ("name", Some(json!(format!("crypt{n}")))),
                ("passwordFile", password),
                ("settings", settings.map(|file| json!({ "keyFile": file }))),
                ("keyFile", old),
                ("additionalKeyFiles", Some(json!(more))),
                ("askPassword", asks),
                ("initrdUnlock", unlock),
                ("content", Some(content)),
            ])
        })
        .boxed()
}

fn content() -> BoxedStrategy<Value> {
    leaf()
        .prop_recursive(4, 16, 3, |inner| {
            let parts = prop::collection::vec(inner.clone(), 0..3);
            prop_oneof![
                luks(inner.boxed()),
                parts.clone().prop_map(|parts| {
                    let named = parts.into_iter().enumerate();
                    let set: Map<String, Value> = named
                        .map(|(n, part)| (format!("p{n}"), json!({ "content": part })))
                        .collect();
                    json!({ "type": "gpt", "partitions": set })
                }),
                parts.prop_map(|parts| {
                    let list: Vec<Value> =
                        parts.into_iter().map(|part| json!({ "content": part })).collect();
                    json!({ "type": "table", "format": "gpt", "partitions": list })
                }),
            ]
        })
        .boxed()
}

fn zfs_options() -> BoxedStrategy<Value> {
    let location = prop_oneof![
        3 => file().prop_map(|file| json!(format!("file://{}", file.as_str().unwrap()))),
        1 => Just(json!("prompt")),
        1 => Just(json!("https://keys.example.org/key")),
    ];
    let format = prop::sample::select(vec!["passphrase", "hex", "raw"]).prop_map(Value::from);
    (some(format), some(location))
        .prop_map(|(format, location)| {
            object(vec![
                ("compression", Some(json!("zstd"))),
                ("keyformat", format),
                ("keylocation", location),
            ])
        })
        .boxed()
}

fn pool() -> BoxedStrategy<Value> {
    let datasets = prop::collection::vec((zfs_options(), some(content())), 0..3);
    (zfs_options(), any::<bool>(), datasets)
        .prop_map(|(options, prompts, datasets)| {
            let dataset = |(n, (options, content)): (usize, (Value, Option<Value>))| {
                let kind = if content.is_some() { "zfs_volume" } else { "zfs_fs" };
                let value = object(vec![
                    ("type", Some(json!(kind))),
                    ("options", Some(options)),
                    ("content", content),
                ]);
                (format!("d{n}"), value)
            };
            let datasets: Map<String, Value> =
                datasets.into_iter().enumerate().map(dataset).collect();
            let hook = prompts.then(|| json!("zfs set keylocation=\"prompt\" m0"));
            object(vec![
                ("type", Some(json!("zpool"))),
                ("rootFsOptions", Some(options)),
                ("postCreateHook", hook),
                ("datasets", Some(Value::Object(datasets))),
            ])
        })
        .boxed()
}

fn group(prefix: &'static str, of: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    prop::collection::vec(of, 0..3)
        .prop_map(move |parts| {
            let parts = parts.into_iter().enumerate();
            Value::Object(parts.map(|(n, part)| (format!("{prefix}{n}"), part)).collect())
        })
        .boxed()
}

fn layouts() -> BoxedStrategy<Value> {
    let disk = (content(), any::<bool>()).prop_map(|(content, destroy)| {
        json!({"type": "disk", "device": "/dev/x", "destroy": destroy, "content": content})
    });
    let md = content().prop_map(|content| json!({"type": "mdadm", "content": content}));
    let vg = prop::collection::vec(content(), 0..3).prop_map(|lvs| {
        let lvs = lvs.into_iter().enumerate();
        let lvs: Map<String, Value> =
            lvs.map(|(n, content)| (format!("l{n}"), json!({ "content": content }))).collect();
        json!({"type": "lvm_vg", "lvs": lvs})
    });
    let fs = some(file()).prop_map(|file| {
        object(vec![("type", Some(json!("bcachefs_filesystem"))), ("passwordFile", file)])
    });
    (
        group("d", disk.boxed()),
        group("m", md.boxed()),
        group("m", vg.boxed()),
        group("m", pool()),
        group("m", fs.boxed()),
    )
        .prop_map(|(disk, mdadm, lvm_vg, zpool, bcachefs_filesystems)| {
            json!({
                "disk": disk, "mdadm": mdadm, "lvm_vg": lvm_vg, "zpool": zpool,
                "bcachefs_filesystems": bcachefs_filesystems,
                "nodev": {"/tmp": {"fsType": "tmpfs"}},
            })
        })
        .boxed()
}

#[test]
fn of_random_layouts_each_file_is_brought_or_refused() {
    let seed: [u8; 32] = rand::random();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let random: Vec<Value> =
        (0..300).map(|_| layouts().new_tree(&mut runner).unwrap().current()).collect();
    let Some(facts) = facts_of(&random) else { return };
    let mut secrets = 0;
    for (layout, facts) in random.iter().zip(&facts) {
        secrets += facts.disk_secrets().len();
        if let Err(problem) = nothing_is_left_out(layout, facts) {
            panic!("{problem}, seed {seed:?}:\n{layout:#}\n{facts:#?}");
        }
    }
    assert!(secrets > 100, "only {secrets} secrets in all these layouts");
}

// The shapes of disko's own examples.

fn ext4(mountpoint: &str) -> Value {
    json!({"type": "filesystem", "format": "ext4", "mountpoint": mountpoint})
}

fn part(content: Value) -> Value {
    json!({ "size": "100%", "content": content })
}

fn gpt(parts: &[(&str, Value)]) -> Value {
    let parts: Map<String, Value> =
        parts.iter().map(|(name, content)| ((*name).to_owned(), part(content.clone()))).collect();
    json!({"type": "gpt", "partitions": parts})
}

fn disks(contents: &[(&str, Value)]) -> Value {
    let disk = |(name, content): &(&str, Value)| {
        (
            (*name).to_owned(),
            json!({"type": "disk", "device": format!("/dev/{name}"), "content": content}),
        )
    };
    Value::Object(contents.iter().map(disk).collect())
}

fn sealed(name: &str, fields: Value, content: Value) -> Value {
    let mut luks = json!({"type": "luks", "name": name, "content": content});
    luks.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    luks
}

/// The layouts, and for each the files that are brought, those that are typed at boot, and
/// what is refused.
fn examples() -> Vec<(&'static str, Value, Vec<&'static str>, Vec<&'static str>, Vec<&'static str>)>
{
    const KEY: &str = "/tmp/secret.key";
    let key = json!({"settings": {"keyFile": KEY}});
    let esp = || json!({"type": "filesystem", "format": "vfat", "mountpoint": "/boot"});
    let one = |content: Value| json!({ "disk": disks(&[("vda", gpt(&[("ESP", esp()), ("root", content)]))]) });
    let member = |kind: &str, field: &str, name: &str| json!({"type": kind, field: name});
    let two =
        |content: &Value| disks(&[("a", gpt(&[("p", content.clone())])), ("b", content.clone())]);
    let plain = |name, layout| (name, layout, vec![], vec![], vec![]);
    let md = member("mdraid", "name", "raid1");
    let pv = member("lvm_pv", "vg", "pool");
    let zfs = member("zfs", "pool", "zroot");
    let bcachefs = member("bcachefs", "filesystem", "both");
    vec![
        plain("a file system", one(ext4("/"))),
        plain(
            "btrfs with subvolumes",
            one(
                json!({"type": "btrfs", "subvolumes": {"/root": {"mountpoint": "/"}, "/home": {}}}),
            ),
        ),
        plain("a partition without content", one(Value::Null)),
        plain(
            "swap, with resuming and with a key of each boot",
            json!({"disk": disks(&[("a", gpt(&[
            ("plain", json!({"type": "swap", "resumeDevice": true})), ("sealed", json!({"type": "swap", "randomEncryption": true}))]))])}),
        ),
        plain(
            "the older table, with partitions in a list",
            json!({"disk": disks(&[("a", json!({
            "type": "table", "format": "msdos", "partitions": [{"name": "boot", "content": esp()}, {"name": "my root", "content": ext4("/")}]}))])}),
        ),
        plain(
            "hybrid, with a boot sector",
            json!({"disk": disks(&[("a", json!({"type": "gpt", "partitions": {
            "TOW-BOOT-FI": {"type": "EF00", "hybrid": {"mbrPartitionType": "0x0c"}, "content": null}, "root": part(ext4("/"))}}))])}),
        ),
        plain(
            "a root in memory",
            json!({"disk": disks(&[("a", gpt(&[("nix", ext4("/nix"))]))]),
            "nodev": {"/": {"fsType": "tmpfs", "mountOptions": ["size=200M"]}}}),
        ),
        plain(
            "mirrored, with its partitions on the array",
            json!({"disk": two(&md),
            "mdadm": {"raid1": {"type": "mdadm", "level": 1, "content": gpt(&[("primary", ext4("/"))])}}}),
        ),
        plain(
            "volumes, mirrored and thin",
            json!({"disk": two(&pv), "lvm_vg": {"pool": {"type": "lvm_vg", "lvs": {
            "thinpool": {"size": "100M", "lvm_type": "thin-pool"}, "root": {"size": "10M", "lvm_type": "thinlv", "pool": "thinpool", "content": ext4("/")},
            "raw": {"size": "10M", "lvm_type": "mirror"}}}}}),
        ),
        plain(
            "ZFS without keys, on a disk as a whole",
            json!({"disk": disks(&[("a", gpt(&[("root", ext4("/"))])), ("b", zfs.clone())]),
            "zpool": {"zroot": {"type": "zpool", "mode": {"topology": {"type": "topology", "vdev": [{"members": ["b"]}]}}, "datasets": {
                "root": {"type": "zfs_fs", "options": {"mountpoint": "none"}}, "swap": {"type": "zfs_volume", "size": "10M", "content": {"type": "swap"}}}}}}),
        ),
        (
            "LUKS with a passphrase",
            one(sealed("crypted", json!({"passwordFile": KEY}), ext4("/"))),
            vec![KEY],
            vec!["crypted"],
            vec![],
        ),
        (
            "LUKS with a passphrase as a key file",
            one(sealed("crypted", key.clone(), ext4("/"))),
            vec![KEY],
            vec!["crypted"],
            vec![],
        ),
        (
            "LUKS below volumes, with another key",
            json!({
            "disk": disks(&[("a", gpt(&[("luks", sealed("crypted", json!({
                "settings": {"keyFile": KEY, "allowDiscards": true}, "additionalKeyFiles": ["/tmp/additional.key"]}), pv.clone()))]))]),
            "lvm_vg": {"pool": {"type": "lvm_vg", "lvs": {"root": {"size": "100%", "content": ext4("/")}}}}}),
            vec!["/tmp/additional.key", KEY],
            vec!["crypted"],
            vec![],
        ),
        (
            "LUKS on an array",
            json!({"disk": two(&md), "mdadm": {"raid1": {"type": "mdadm", "content": sealed("crypted", key.clone(), ext4("/"))}}}),
            vec![KEY],
            vec!["crypted"],
            vec![],
        ),
        (
            "LUKS on two disks of a btrfs",
            json!({"disk": disks(&[
            ("a", gpt(&[("p1", sealed("p1", key.clone(), Value::Null))])), ("b", gpt(&[("p2", sealed("p2", key.clone(), ext4("/")))]))])}),
            vec![KEY],
            vec!["p1", "p2"],
            vec![],
        ),
        (
            "LUKS that asks",
            one(sealed("crypted", json!({}), ext4("/"))),
            vec![],
            vec!["crypted"],
            vec!["crypted"],
        ),
        (
            "arrays on volumes on LUKS, with a part of the key",
            json!({
            "disk": disks(&[("a", gpt(&[("l", sealed("crypted1", key, pv.clone()))])),
                ("b", gpt(&[("l", sealed("crypted2", json!({"settings": {"keyFile": "/tmp/other.key", "keyFileSize": 8, "keyFileOffset": 2}}), pv))]))]),
            "lvm_vg": {"pool": {"type": "lvm_vg", "lvs": {"raid1": {"content": md.clone()}, "raid2": {"content": md}, "zfs1": {"content": zfs.clone()}}}},
            "mdadm": {"raid1": {"type": "mdadm", "content": gpt(&[("bla", ext4("/ext4_on_mdadm_on_lvm"))])}},
            "zpool": {"zroot": {"type": "zpool", "rootFsOptions": {"compression": "lz4"}, "datasets": {
                "testvolume": {"type": "zfs_volume", "size": "10M", "content": ext4("/volume")}}}}}),
            vec!["/tmp/other.key", KEY],
            vec!["crypted1", "crypted2"],
            vec!["crypted2"],
        ),
        (
            "ZFS with keys for the time of formatting alone",
            json!({"disk": two(&zfs), "zpool": {"zroot": {"type": "zpool", "datasets": {
            "sealed": {"type": "zfs_fs", "options": {"encryption": "aes-256-gcm", "keyformat": "passphrase", "keylocation": format!("file://{KEY}")}},
            "sealed/test": {"type": "zfs_fs", "mountpoint": "/zfs"}}}}}),
            vec![KEY],
            vec![],
            vec!["zroot/sealed"],
        ),
        (
            "ZFS with a passphrase that is asked for later",
            json!({"disk": two(&zfs), "zpool": {"zroot": {"type": "zpool",
            "rootFsOptions": {"encryption": "on", "keyformat": "passphrase", "keylocation": format!("file://{KEY}")},
            "postCreateHook": "zfs set keylocation=prompt zroot", "datasets": {"root": {"type": "zfs_fs", "mountpoint": "/"}}}}}),
            vec![KEY],
            vec!["zroot"],
            vec![],
        ),
        (
            "ZFS that asks",
            json!({"disk": two(&zfs), "zpool": {"zroot": {"type": "zpool", "datasets": {
            "root": {"type": "zfs_fs", "options": {"encryption": "aes-256-gcm", "keyformat": "passphrase", "keylocation": "prompt"}}}}}}),
            vec![],
            vec!["zroot/root"],
            vec!["zroot/root"],
        ),
        (
            "bcachefs on several disks",
            json!({"disk": two(&bcachefs), "bcachefs_filesystems": {
            "both": {"type": "bcachefs_filesystem", "passwordFile": KEY, "subvolumes": {"root": {"mountpoint": "/"}}},
            "plain": {"type": "bcachefs_filesystem", "mountpoint": "/home/documents"}}}),
            vec![KEY],
            vec!["both"],
            vec![],
        ),
        (
            "bcachefs that asks",
            json!({"disk": two(&bcachefs), "bcachefs_filesystems": {
            "both": {"type": "bcachefs_filesystem", "extraFormatArgs": ["--encrypted"]}}}),
            vec![],
            vec!["both"],
            vec!["both"],
        ),
    ]
}

#[test]
fn of_the_shapes_of_diskos_examples_each_file_is_brought_or_refused() {
    let examples = examples();
    let layouts: Vec<Value> = examples.iter().map(|(_, layout, ..)| layout.clone()).collect();
    let Some(facts) = facts_of(&layouts) else { return };
    for ((name, layout, files, typed, refused), facts) in examples.iter().zip(&facts) {
        nothing_is_left_out(layout, facts).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        let mut brought: Vec<String> = facts.disk_secrets().into_iter().map(|it| it.path).collect();
        brought.sort();
        assert_eq!(brought, *files, "{name}");
        assert_eq!(facts.typed_at_boot(), *typed, "{name}");
        let unreadable = facts.unreadable();
        assert_eq!(unreadable.len(), refused.len(), "{name}: {unreadable:?}");
        for (volume, found) in refused.iter().zip(&unreadable) {
            assert!(found.what.contains(volume), "{name}: {found:?}");
        }
        assert!(facts.unknown_contents.is_empty(), "{name}: {:?}", facts.unknown_contents);
    }
}

#[test]
fn keys_are_made_as_their_readers_want_them() {
    let options = |format: &str, path: &str| json!({"encryption": "on", "keyformat": format, "keylocation": format!("file://{path}")});
    let layout = json!({
        "disk": {"a": {"device": "/dev/a", "destroy": false, "content": {"type": "zfs", "pool": "tank"}},
            "b": {"device": "/dev/b", "content": {"type": "stratis", "passwordFile": "/tmp/x"}}},
        "zpool": {"tank": {"type": "zpool", "rootFsOptions": options("raw", "/persist/raw"), "datasets": {
            "hex": {"type": "zfs_fs", "options": options("hex", "/persist/hex")},
            "text": {"type": "zfs_fs", "options": options("passphrase", "/persist/text")}}}},
    });
    let Some(facts) = facts_of(&[layout]) else { return };
    let secrets = facts[0].disk_secrets();
    let kinds: BTreeMap<&str, &SecretKind> =
        secrets.iter().map(|secret| (secret.path.as_str(), &secret.kind)).collect();
    assert_eq!(kinds["/persist/raw"], &SecretKind::Raw);
    assert_eq!(kinds["/persist/hex"], &SecretKind::Hex);
    assert_eq!(kinds["/persist/text"], &SecretKind::Hex);
    for secret in &secrets {
        assert!(secret.kept && !secret.typed, "{secret:?}");
        assert_eq!(secret.installed, [secret.path.clone()]);
    }
    assert_eq!(facts[0].unknown_contents, ["stratis"]);
}
