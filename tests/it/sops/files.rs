//! Files of every format, encrypted by real sops, given other recipients here,
//! and opened by real sops again.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use crate::common::secrets::sops;
use landfall::secret::age::{HostKeyPair, Identity};
use landfall::sops::file::format::Format;
use landfall::sops::file::rekey::{Rekeyed, rekey};
use landfall::sops::file::{EncryptedFile, FileError};
use landfall::sops::proof::identities::{Identities, Places};

struct World {
    sops: PathBuf,
    dir: tempfile::TempDir,
    operator: Identity,
    host: HostKeyPair,
}

impl World {
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let operator = Identity::generate();
        std::fs::write(dir.path().join("operator"), operator.key_file().expose()).unwrap();
        let host = HostKeyPair::generate("root@blank").unwrap();
        std::fs::write(dir.path().join("host"), host.identity().unwrap().key_file().expose())
            .unwrap();
        Some(Self { sops: sops()?, dir, operator, host })
    }

    fn run(&self, key_file: &str, args: &[&str]) -> Result<Vec<u8>, String> {
        let output = Command::new(&self.sops)
            .args(["--config", "/dev/null"])
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .env("HOME", self.dir.path())
            .env("SOPS_AGE_KEY_FILE", self.dir.path().join(key_file))
            .output()
            .unwrap();
        if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    fn encrypt(&self, format: Format, plain: &[u8], extra: &[&str]) -> String {
        std::fs::write(self.dir.path().join("plain"), plain).unwrap();
        let recipient = self.operator.recipient().to_string();
        let mut args = vec![
            "encrypt",
            "--age",
            &recipient,
            "--input-type",
            format.name(),
            "--output-type",
            format.name(),
        ];
        args.extend(extra);
        args.push("plain");
        String::from_utf8(self.run("operator", &args).unwrap()).unwrap()
    }

    fn decrypt(&self, key_file: &str, format: Format, text: &str) -> Result<Vec<u8>, String> {
        std::fs::write(self.dir.path().join("encrypted"), text).unwrap();
        self.run(
            key_file,
            &[
                "decrypt",
                "--input-type",
                format.name(),
                "--output-type",
                format.name(),
                "encrypted",
            ],
        )
    }

    fn identities(&self) -> Identities {
        Identities::only(self.operator.clone())
    }
}

const YAML: &str = "# head\na: b\nn: 12\nf: 1.5\nbig: 1e30\nt: true\ne: \"\"\nnul:\nlist:\n  # in the list\n  - x\n  - y: z\n    é: ü\nmulti: |\n  two\n  lines\nplain_unencrypted: 16\nsaid_unencrypted: yes it is\nflag_unencrypted: true\nempty: {}\nnone: []\n";
const JSON: &str = "{\"a\":\"b\",\"n\":1,\"f\":1.5,\"l\":[\"x\",{\"y\":null}],\"u_unencrypted\":1e3,\"t_unencrypted\":\"é\\n\",\"\u{e9}/\\\"\":\"t\\ta\"}";
const DOTENV: &str = "# comment\nA=b\nB=x\\ny\n\nC=\nD_unencrypted=a=b\n";
const INI: &str =
    "top = 1\n; com\n[s]\na = b\n# k\nc = \"d e\"\nu_unencrypted = plain\n[t]\nx:y=z\n";

fn samples() -> Vec<(Format, Vec<u8>)> {
    vec![
        (Format::Yaml, YAML.into()),
        (Format::Yaml, format!("{YAML}---\nsecond: doc\n").into()),
        (Format::Json, JSON.into()),
        (Format::Dotenv, DOTENV.into()),
        (Format::Ini, INI.into()),
        (Format::Binary, vec![0x41, 0x0a, 0x22, 0x5c, 0x0d, 0x42]),
    ]
}

/// Lines that are not part of the recipients' section.
fn outside(text: &str) -> Vec<&str> {
    let mut inside = false;
    text.lines()
        .filter(|line| {
            inside |= line.contains("BEGIN AGE");
            let kept = !inside && !line.contains("recipient") && !line.contains("enc: |");
            inside &= !line.contains("END AGE");
            kept
        })
        .collect()
}

#[test]
fn every_format_is_rewrapped_and_opens_in_real_sops() {
    let Some(world) = World::new() else { return };
    let operator = world.operator.recipient().to_string();
    let host = world.host.recipient().unwrap().to_string();
    for (format, plain) in samples() {
        let before = world.encrypt(format, &plain, &[]);
        let opened = world.decrypt("operator", format, &before).unwrap();
        let recipients = [operator.as_str(), host.as_str()];
        let Rekeyed::Changed(after) =
            rekey(&before, format, &recipients, &world.identities()).unwrap()
        else {
            panic!("{format:?} was not changed")
        };
        assert_eq!(world.decrypt("host", format, &after).unwrap(), opened, "{format:?}");
        assert_eq!(world.decrypt("operator", format, &after).unwrap(), opened, "{format:?}");
        assert_eq!(
            rekey(&after, format, &recipients, &Identities::default()).unwrap(),
            Rekeyed::UpToDate
        );
        // The host alone can take itself out again, and then cannot open it any more.
        let by_host = Identities::only(world.host.identity().unwrap());
        let Rekeyed::Changed(back) = rekey(&after, format, &[&operator], &by_host).unwrap() else {
            panic!()
        };
        assert!(world.decrypt("host", format, &back).is_err(), "{format:?}");
        assert_eq!(world.decrypt("operator", format, &back).unwrap(), opened);
        assert_eq!(outside(&before), outside(&back), "{format:?}");
    }
}

#[test]
fn the_layout_of_sops_itself_is_kept_to_the_byte() {
    let Some(world) = World::new() else { return };
    let host = world.host.recipient().unwrap().to_string();
    let operator = world.operator.recipient().to_string();
    for (format, plain) in samples().into_iter().filter(|(format, _)| *format != Format::Ini) {
        let before = world.encrypt(format, &plain, &[]);
        let Rekeyed::Changed(after) =
            rekey(&before, format, &[&operator, &host], &world.identities()).unwrap()
        else {
            panic!()
        };
        // sops writes the file anew in its own layout: ours must be the same.
        std::fs::write(world.dir.path().join("own"), &after).unwrap();
        std::fs::write(
            world.dir.path().join("rules.yaml"),
            format!("creation_rules:\n  - key_groups:\n      - age: [{operator}, {host}]\n"),
        )
        .unwrap();
        let file = EncryptedFile::parse(&after, format).unwrap();
        assert_eq!(
            file.metadata.recipients().collect::<Vec<_>>(),
            [operator.as_str(), host.as_str()]
        );
        let output = Command::new(&world.sops)
            .args([
                "--config",
                "rules.yaml",
                "set",
                "--input-type",
                format.name(),
                "--output-type",
                format.name(),
                "own",
                "[\"zz\"]",
                "\"1\"",
            ])
            .current_dir(world.dir.path())
            .env_clear()
            .env("HOME", world.dir.path())
            .env("SOPS_AGE_KEY_FILE", world.dir.path().join("operator"))
            .output()
            .unwrap();
        if format == Format::Binary {
            continue;
        }
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let rewritten = std::fs::read_to_string(world.dir.path().join("own")).unwrap();
        let section = |text: &str| {
            text.lines()
                .filter(|line| !line.contains("ENC[") && !line.contains("lastmodified"))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(section(&after), section(&rewritten), "{format:?}");
    }
}

#[test]
fn selections_of_encrypted_values_are_understood() {
    let Some(world) = World::new() else { return };
    let host = world.host.recipient().unwrap().to_string();
    let plain = b"a: b\nsecret: c\nmap:\n  secret: d\n  other: 7\n";
    for extra in [
        &["--encrypted-regex", "^secret$"][..],
        &["--unencrypted-regex", "^a$"],
        &["--encrypted-suffix", "ret"],
        &["--unencrypted-suffix", "a"],
    ] {
        let text = world.encrypt(Format::Yaml, plain, extra);
        let rekeyed = rekey(&text, Format::Yaml, &[&host], &world.identities());
        let Ok(Rekeyed::Changed(after)) = rekeyed else { panic!("{extra:?}: {rekeyed:?}\n{text}") };
        assert_eq!(
            world.decrypt("host", Format::Yaml, &after),
            world.decrypt("operator", Format::Yaml, &text)
        );
    }
    let rule = format!(
        "creation_rules:\n  - age: {}\n    mac_only_encrypted: true\n    encrypted_regex: ^secret$\n",
        world.operator.recipient()
    );
    std::fs::write(world.dir.path().join("rules.yaml"), rule).unwrap();
    std::fs::write(world.dir.path().join("plain.yaml"), plain).unwrap();
    let text = world.run("operator", &["--config", "rules.yaml", "encrypt", "plain.yaml"]).unwrap();
    let text = String::from_utf8(text).unwrap();
    let edited = text.replace("a: b", "a: changed by hand");
    let Rekeyed::Changed(after) =
        rekey(&edited, Format::Yaml, &[&host], &world.identities()).unwrap()
    else {
        panic!()
    };
    assert!(world.decrypt("host", Format::Yaml, &after).is_ok());
}

#[test]
fn tampered_files_are_refused_before_they_are_rewrapped() {
    let Some(world) = World::new() else { return };
    let host = world.host.recipient().unwrap().to_string();
    let text = world.encrypt(Format::Yaml, b"a: b\nc: d\nplain_unencrypted: x\n", &[]);
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    let try_rekey =
        |text: &str| rekey(text, Format::Yaml, &[&host], &world.identities()).unwrap_err();

    let swapped = text.replace(&line("a:"), &line("c:").replacen('c', "a", 1));
    assert!(matches!(try_rekey(&swapped), FileError::Tampered { path } if path == "a"));
    let dropped = text.replace(&format!("{}\n", line("c:")), "");
    assert!(matches!(try_rekey(&dropped), FileError::Mac));
    let edited = text.replace("plain_unencrypted: x", "plain_unencrypted: y");
    assert!(matches!(try_rekey(&edited), FileError::Mac));
    let added = text.replace(&line("a:"), &format!("{}\nnew: plain", line("a:")));
    assert!(matches!(try_rekey(&added), FileError::Plaintext { path } if path == "new"));
    let no_mac =
        text.lines().filter(|line| !line.contains(" mac: ")).collect::<Vec<_>>().join("\n");
    assert!(matches!(try_rekey(&no_mac), FileError::NoMac));
    let older = text.replace("lastmodified: \"20", "lastmodified: \"19");
    assert!(matches!(try_rekey(&older), FileError::Mac));
    for broken in [swapped, dropped, edited, added, no_mac, older] {
        assert!(
            world.decrypt("operator", Format::Yaml, &broken).is_err(),
            "sops takes what landfall refuses"
        );
    }
}

#[test]
fn what_is_no_encrypted_file_is_named() {
    let identities = Identities::default();
    let try_rekey = |text: &str, format| rekey(text, format, &["age1x"], &identities).unwrap_err();
    assert!(matches!(try_rekey("", Format::Yaml), FileError::Empty));
    assert!(matches!(try_rekey("\n", Format::Json), FileError::Empty));
    for (text, format) in [
        ("a: b\n", Format::Yaml),
        ("{\"a\": 1}", Format::Json),
        ("A=b\n", Format::Dotenv),
        ("[a]\nb = c\n", Format::Ini),
        ("PK\u{3}\u{4}", Format::Binary),
    ] {
        assert!(matches!(try_rekey(text, format), FileError::NotEncrypted), "{format:?}");
    }
}

#[test]
fn ssh_recipients_and_an_operator_with_only_an_ssh_key() {
    let Some(world) = World::new() else { return };
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".ssh")).unwrap();
    let ssh = HostKeyPair::generate("op").unwrap();
    std::fs::write(home.path().join(".ssh/id_ed25519"), ssh.private_openssh().unwrap().expose())
        .unwrap();
    let identities =
        Identities::of_operator(&Places::of(vec![("HOME".into(), OsString::from(home.path()))]));
    let host = world.host.recipient().unwrap().to_string();
    let public = ssh.public_openssh().unwrap();
    let derived = ssh.recipient().unwrap().to_string();
    for recipient in [public.as_str(), derived.as_str()] {
        let text = world.encrypt(Format::Yaml, b"a: b\n", &[]);
        let Rekeyed::Changed(text) =
            rekey(&text, Format::Yaml, &[recipient], &world.identities()).unwrap()
        else {
            panic!()
        };
        let Rekeyed::Changed(text) = rekey(&text, Format::Yaml, &[&host], &identities).unwrap()
        else {
            panic!()
        };
        assert_eq!(world.decrypt("host", Format::Yaml, &text).unwrap(), b"a: b\n");
    }
}

#[test]
fn foreign_layouts_are_kept() {
    let Some(world) = World::new() else { return };
    let host = world.host.recipient().unwrap().to_string();
    let operator = world.operator.recipient().to_string();
    let text = world.encrypt(Format::Yaml, b"a: b\n", &[]);
    let halved = |line: &str| {
        let depth = line.len() - line.trim_start().len();
        let less = if depth >= 8 { 4 } else { depth / 2 };
        format!("{}\n", &line[less..])
    };
    let two_columns: String = text.lines().map(halved).collect();
    let armor = EncryptedFile::parse(&text, Format::Yaml).unwrap().metadata.age[0].enc.clone();
    let start = text.find("        - recipient").unwrap();
    let end = text.find("    lastmodified").unwrap();
    let quoted = format!(
        "{}        - enc: {}\n          recipient: {operator}\n{}",
        &text[..start],
        serde_json::json!(armor),
        &text[end..]
    );
    let flow = format!(
        "{} [{{\"recipient\": \"{operator}\", \"enc\": {}}}]\n{}",
        &text[..start - 1],
        serde_json::json!(armor),
        &text[end..]
    );
    for text in [
        two_columns,
        quoted,
        flow,
        text.replace('\n', "\r\n"),
        format!("\u{feff}{text}"),
        text.trim_end().to_owned(),
        format!("{text}# the end\n"),
    ] {
        let rekeyed = rekey(&text, Format::Yaml, &[&operator, &host], &world.identities());
        let Ok(Rekeyed::Changed(after)) = rekeyed else { panic!("{rekeyed:?}\n{text}") };
        assert_eq!(outside(&text).len(), outside(&after).len(), "{text}\n{after}");
        assert!(
            world.decrypt("host", Format::Yaml, &after).unwrap().starts_with(b"a: b\n"),
            "{after}"
        );
    }
    let text = world.encrypt(Format::Json, b"{\"a\":\"b\"}", &[]);
    for text in [text.replace('\t', "  "), text.replace(['\t', '\n'], "")] {
        let Rekeyed::Changed(after) =
            rekey(&text, Format::Json, &[&operator, &host], &world.identities()).unwrap()
        else {
            panic!()
        };
        assert!(world.decrypt("host", Format::Json, &after).is_ok());
        assert_eq!(text.contains('\n'), after.contains('\n'));
    }
}

#[test]
fn a_value_is_read_by_its_path() {
    let Some(world) = World::new() else { return };
    let text = world.encrypt(Format::Yaml, b"users:\n  me:\n    password: hash\n", &[]);
    let file = EncryptedFile::parse(&text, Format::Yaml).unwrap();
    let key = world.identities();
    let Rekeyed::Changed(_) =
        rekey(&text, Format::Yaml, &[&world.host.recipient().unwrap().to_string()], &key).unwrap()
    else {
        panic!()
    };
    assert!(file.has_path(&["users", "me"]).unwrap());
    assert!(!file.has_path(&["users", "you"]).unwrap());
}
