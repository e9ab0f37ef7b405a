//! Random layouts of disks: each file that disko's scripts read is brought by landfall or
//! refused by name, and nothing else is asked for.

use crate::common::layouts::{facts_of, nothing_is_left_out};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value, json};

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
