//! Layouts of disks in the shapes of disko's examples: each file that its scripts read is
//! brought by landfall or refused by name, and nothing else is asked for.

use std::collections::BTreeMap;

use crate::common::layouts::{facts_of, nothing_is_left_out};
use landfall::facts::SecretKind;
use serde_json::{Map, Value, json};

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

type Words = Vec<&'static str>;
/// A layout by its name, the files that are brought for it, the volumes that are typed at
/// boot, and those that are refused.
type Example = (&'static str, Value, Words, Words, Words);

fn examples() -> Vec<Example> {
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
        assert_eq!(secret.installed, std::slice::from_ref(&secret.path));
    }
    assert_eq!(facts[0].unknown_contents, ["stratis"]);
}
