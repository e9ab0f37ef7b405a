//! Random trees: encrypted by real sops, wrapped for another key here, opened by
//! real sops with the same plaintext. And no text makes the file parser panic.

use std::cell::Cell;
use std::process::Command;

use crate::common::secrets::sops;
use landfall::secret::age::Identity;
use landfall::sops::file::format::Format;
use landfall::sops::file::rekey::{Rekeyed, rekey};
use landfall::sops::file::{EncryptedFile, FileError};
use landfall::sops::proof::identities::Identities;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value};

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-zA-Z][a-zA-Z0-9_-]{0,8}",
        1 => "[a-z]{1,4}_unencrypted",
        1 => "[a-zé ./:#-]{1,6}x",
        1 => Just("y".to_owned()),
        1 => Just("123".to_owned()),
    ]
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => "\\PC{0,20}".prop_map(Value::from),
        1 => "[a-z \n\t:#'\"-]{0,12}".prop_map(Value::from),
        1 => any::<i32>().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => (-1000.0f64..1000.0).prop_map(|number| Value::from((number * 8.0).round() / 8.0)),
        1 => Just(Value::Null),
        1 => Just(Value::from("")),
    ]
}

fn tree() -> impl Strategy<Value = Value> {
    let node = leaf().prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(key(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    prop::collection::btree_map(key(), node, 1..5)
        .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>()))
}

/// Names and values of one line each, for dotenv and INI.
fn lines() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::btree_map("[A-Z][A-Z0-9_]{0,6}", "[a-zA-Z0-9 =:,./é-]{0,16}", 1..6).prop_map(
        |map| map.into_iter().map(|(key, value)| (key, value.trim().to_owned())).collect(),
    )
}

fn sample() -> impl Strategy<Value = (Format, Vec<u8>)> {
    prop_oneof![
        3 => tree().prop_map(|tree| (Format::Yaml, tree.to_string().into_bytes())),
        2 => tree().prop_map(|tree| (Format::Json, tree.to_string().into_bytes())),
        1 => lines().prop_map(|lines| (Format::Dotenv, lines.iter().map(|(k, v)| format!("{k}={v}\n")).collect::<String>().into_bytes())),
        1 => lines().prop_map(|lines| (Format::Ini, format!("[s]\n{}", lines.iter().map(|(k, v)| format!("{k} = {v}\n")).collect::<String>()).into_bytes())),
        1 => prop::collection::vec(any::<u8>(), 0..64).prop_map(|bytes| (Format::Binary, bytes)),
    ]
}

#[test]
fn random_files_open_in_real_sops_with_the_same_plaintext() {
    let Some(sops) = sops() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (operator, host) = (Identity::generate(), Identity::generate());
    std::fs::write(dir.path().join("operator"), operator.text().expose()).unwrap();
    std::fs::write(dir.path().join("host"), host.text().expose()).unwrap();
    let run = |key_file: &str, args: &[&str]| {
        let output = Command::new(&sops)
            .args(["--config", "/dev/null"])
            .args(args)
            .current_dir(dir.path())
            .env_clear()
            .env("HOME", dir.path())
            .env("SOPS_AGE_KEY_FILE", dir.path().join(key_file))
            .output()
            .unwrap();
        output.status.success().then_some(output.stdout)
    };
    let (native, left) = (Cell::new(0), Cell::new(0));
    let mut runner =
        TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
    let result = runner.run(&sample(), |(format, plain)| {
        std::fs::write(dir.path().join("plain"), &plain).unwrap();
        let recipient = operator.recipient().to_string();
        let types = ["--input-type", format.name(), "--output-type", format.name()];
        let Some(encrypted) =
            run("operator", &[&["encrypt", "--age", &recipient], &types[..], &["plain"]].concat())
        else {
            return Ok(()); // sops itself does not take it
        };
        let text = String::from_utf8(encrypted.clone()).unwrap();
        std::fs::write(dir.path().join("file"), &encrypted).unwrap();
        let Some(opened) = run("operator", &[&["decrypt"], &types[..], &["file"]].concat()) else {
            return Ok(()); // nor opens what it wrote
        };
        match rekey(
            &text,
            format,
            &[host.recipient().as_str()],
            &Identities::only(operator.clone()),
        ) {
            Ok(Rekeyed::Changed(after)) => {
                native.set(native.get() + 1);
                std::fs::write(dir.path().join("file"), after).unwrap();
                let again = run("host", &[&["decrypt"], &types[..], &["file"]].concat());
                prop_assert_eq!(again, Some(opened));
            }
            Err(FileError::NeedsSops(_)) => left.set(left.get() + 1),
            other => prop_assert!(false, "{:?}: {:?}\n{}", format, other, text),
        }
        Ok(())
    });
    let (native, left) = (native.get(), left.get());
    println!("{native} wrapped here, {left} left to sops");
    result.unwrap();
    assert!(native > left * 4, "{native} wrapped here, {left} left to sops");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_file_parser_panic(text in "(sops:\n  age:\n    - enc: |\n|\"sops\"|\\{|\\}|\\[|sops_mac=|sops_age__list_0__map_enc=|\\[sops\\]\n|mac|: |ENC\\[AES256_GCM,data:|\n|-|&a|\\*a|[a-z é]|\\PC){0,24}") {
        let nobody = Identities::default();
        for format in [Format::Yaml, Format::Json, Format::Dotenv, Format::Ini, Format::Binary] {
            let _ = rekey(&text, format, &["age17044m9wgakla6pzftf4srtl3h5mcsr85jysgt5fg23zpnta8sfdqhzn452"], &nobody);
            if let Ok(file) = EncryptedFile::parse(&text, format) {
                let _ = file.has_path(&["a"]);
                let _ = file.with_recipients(&[]);
            }
        }
    }
}
