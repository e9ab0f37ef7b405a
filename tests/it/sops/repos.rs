//! Repositories as people have them: configs in folders, files that only speak of sops, keys
//! under many names, operators whose identity only sops can use.

use std::os::unix::fs::symlink;
use std::process::Command;

use crate::common::secrets::{CONFIG, Home, SHARED};
use landfall::secret::age::{HostKeyPair, Identity};

fn add<'a>(what: &'a str, name: &'a str) -> Vec<&'a str> {
    vec!["secrets", "add-host", "new", "--yes", "--key", "../host.pub", what, name]
}

const REMOVE: [&str; 4] = ["secrets", "remove-host", "new", "--yes"];

/// Adds the host, takes it out again, and wants the rules as they were, byte for byte.
fn there_and_back(home: &Home, what: &str, name: &str, files: &[&str]) {
    let before = home.read(".sops.yaml");
    home.ok(&add(what, name));
    files.iter().for_each(|file| drop(home.opened_by_host(file).unwrap()));
    home.commit();
    home.ok(&REMOVE);
    assert_eq!(home.read(".sops.yaml"), before);
    files.iter().for_each(|file| drop(home.opened_by_host(file).unwrap_err()));
}

#[test]
fn a_nested_config_owns_the_files_below_it() {
    let (laptop, files) = (Identity::generate(), ["s/web.yaml", "home/s/mine.yaml"]);
    let rule = "creation_rules:\n  - path_regex: s/.+\\.yaml\n    key_groups:\n      - age:\n          - OPERATOR\n";
    let Some(home) = Home::with(rule, &files.map(|file| (file, SHARED))) else { return };
    let nested = home
        .read(".sops.yaml")
        .replace("      - age:\n", &format!("      - age:\n          - {}\n", laptop.recipient()));
    home.write("home/.sops.yaml", &nested);
    home.commit();
    home.ok(&add("--rule", "s/.+\\.yaml"));
    home.opened_by_host("s/web.yaml").unwrap();
    home.opened_by_host("home/s/mine.yaml").unwrap_err();
    home.commit();
    home.ok(&["secrets", "updatekeys", "--check"]);
    home.refused(&add("--file", "home/s/mine.yaml"), 2, &["home/.sops.yaml", "nearer"]);
    let there = home.ran(
        home.command(&["secrets", "updatekeys", "--yes", "--grant", laptop.recipient().as_str()])
            .current_dir(home.path("secrets/home")),
    );
    assert_eq!(there.code, Some(0), "{}", there.err);
    assert!(home.opens("home/s/mine.yaml", &laptop));
}

#[test]
fn a_new_rule_keeps_the_readers_of_what_it_takes_over_or_is_refused() {
    let pike = Identity::generate();
    let rules = |second: &str| {
        format!(
            "creation_rules:\n  - path_regex: ^s/[^/]+\\.yaml$\n    key_groups:\n      - age:\n          - OPERATOR\n          - {0}\n  - path_regex: ^t/.*\n    key_groups:\n      - age:\n          - OPERATOR\n{second}",
            pike.recipient()
        )
    };
    let Some(home) = Home::with(&rules(""), &[("s/a.yaml", SHARED), ("t/a.yaml", SHARED)]) else {
        return;
    };
    home.ok(&["secrets", "updatekeys", "--yes", "--grant", pike.recipient().as_str()]);
    home.commit();
    home.ok(&add("--rule", "s/.*\\.yaml$"));
    assert!(home.opens("s/a.yaml", &pike));
    home.opened_by_host("s/a.yaml").unwrap();
    home.git(&["checkout", "-q", "."]);
    home.refused(&add("--rule", "a\\.yaml$"), 2, &["take", "over", "^t/.*"]);
}

#[test]
fn files_that_only_speak_of_sops_are_none_of_its() {
    let rule = "creation_rules:\n  - path_regex: .*\n    age: OPERATOR\n";
    for (name, text) in [
        ("flake.lock", "{\"nodes\": {\"root\": {\"inputs\": {\"sops\": \"sops\"}}, \"sops\": {}}}"),
        ("flake.nix", "{ tools = [ \"sops\" \"age\" ]; mac = \"lastmodified\"; }\n"),
        ("README.md", "# Secrets\n\n[sops](https://example.org) has a mac\n"),
        (
            "docs.md",
            "Like this:\n\nsops:\n    lastmodified: x\n    mac: ENC[AES256_GCM,data:x]\n  bad\n",
        ),
        ("ci.yaml", "on: push\nsops:\n  version: 3.11\n  machine: x\n"),
        ("half.yaml", "sops: mac\n{{ template }}\n"),
        ("plain.ini", "[sops]\nname = mac\n"),
        (".env", "SOPS=mac\n"),
    ] {
        let Some(home) = Home::with(rule, &[("secrets.yaml", SHARED)]) else { return };
        home.write(name, text);
        home.commit();
        home.ok(&["secrets", "updatekeys", "--check"]);
        assert!(home.ok(&["secrets", "verify", "--all"]).starts_with("1 file(s)"), "{name}");
        home.ok(&["secrets", "rotate", "--yes"]);
        home.ok(&[
            "secrets",
            "add-host",
            "new",
            "--yes",
            "--allow-dirty",
            "--key",
            "../host.pub",
            "--rule",
            ".*",
        ]);
        assert_eq!(home.read(name), text);
    }
    // One that was encrypted and is broken is not passed over.
    let Some(home) = Home::with(rule, &[("secrets.yaml", SHARED)]) else { return };
    let text = home.read("secrets.yaml");
    home.write("secrets.yaml", &format!("<<<<<<< ours\n{text}"));
    home.commit();
    assert_ne!(home.run(&["secrets", "updatekeys", "--check"]).code, Some(0));
}

#[test]
fn a_rule_for_everything_that_has_the_host_is_right() {
    let Some(home) = Home::with("creation_rules: []\n", &[]) else { return };
    let rule =
        format!("creation_rules:\n  - age: {},{}\n", home.operator.recipient(), home.recipient());
    home.write(".sops.yaml", &rule);
    home.encrypt("s.yaml", SHARED.as_bytes(), &[]);
    home.commit();
    home.ok(&["secrets", "updatekeys", "--yes", "--grant", &home.recipient()]);
    home.commit();
    assert!(home.ok(&add("--file", "s.yaml")).contains("Nothing to do"));
    // A config that a program writes is no obstacle where it is right.
    home.write(".sops.yaml", &format!("# This file is generated: do not edit\n{rule}"));
    home.commit();
    assert!(home.ok(&add("--file", "s.yaml")).contains("Nothing to do"));
    home.refused(&REMOVE, 2, &[]);
}

#[test]
fn the_layout_that_the_config_asks_for_is_kept_by_every_command() {
    let config = "stores:\n  yaml:\n    indent: 2\n".to_owned() + CONFIG;
    let Some(home) = Home::with(&config, &[("shared.yaml", SHARED)]) else { return };
    // As sops writes it with this setting.
    home.ok(&["secrets", "rotate", "--yes"]);
    home.commit();
    let keeps = |args: &[&str]| {
        home.ok(args);
        let text = home.read("shared.yaml");
        assert!(text.contains("\n  me: ENC") && text.contains("\n  mac: "), "{args:?}: {text}");
        home.commit();
    };
    keeps(&add("--file", "shared.yaml"));
    keeps(&[
        "secrets",
        "user-key",
        "me@new",
        "--yes",
        "--file",
        "shared.yaml",
        "--path",
        "users/key",
    ]);
    keeps(&["secrets", "rotate", "--yes"]);
    keeps(&REMOVE);
}

#[test]
fn a_host_is_found_by_a_name_with_the_kind_of_its_key() {
    for anchor in ["new_ssh", "system_new_age", "host-new", "new-host-key"] {
        let config = format!(
            "keys:\n  - &me OPERATOR\n  - &{anchor} HOST\n  - &pike_ssh OPERATOR\ncreation_rules:\n  - path_regex: ^shared\\.yaml$\n    key_groups:\n      - age:\n          - *me\n          - *{anchor}\n"
        );
        let Some(home) = Home::with(CONFIG, &[("shared.yaml", SHARED)]) else { return };
        let config = config.replace("OPERATOR", home.operator.recipient().as_str());
        let rules = config.replace("HOST", &home.recipient());
        home.write(".sops.yaml", &rules);
        home.commit();
        home.ok(&add("--file", "shared.yaml"));
        assert_eq!(home.read(".sops.yaml"), rules);
        home.commit();
        let other = HostKeyPair::generate("root@new").unwrap();
        std::fs::write(home.path("host.pub"), other.public_openssh().unwrap()).unwrap();
        home.ok(&add("--file", "shared.yaml"));
        let replaced = config.replace("HOST", other.recipient().unwrap().as_str());
        assert_eq!(home.read(".sops.yaml"), replaced, "{anchor}");
        home.commit();
        home.ok(&REMOVE);
        assert!(!home.read(".sops.yaml").contains(anchor));
    }
}

#[test]
fn the_key_of_somebody_else_is_named_as_theirs() {
    let pike = HostKeyPair::generate("root@pike").unwrap();
    let config = format!(
        "keys:\n  - &users:\n    - &me OPERATOR\n  - &hosts:\n    - &pike {}\ncreation_rules:\n  - path_regex: ^shared\\.yaml$\n    key_groups:\n      - age:\n          - *me\n",
        pike.recipient().unwrap()
    );
    let Some(home) = Home::with(&config, &[("shared.yaml", SHARED)]) else { return };
    std::fs::write(home.path("me.txt"), format!("{}\n", home.operator.recipient())).unwrap();
    std::fs::write(home.path("pike.pub"), pike.public_openssh().unwrap()).unwrap();
    std::fs::write(home.path("pike"), pike.private_openssh().unwrap().expose()).unwrap();
    let with = |key: &'static str| {
        ["secrets", "add-host", "new", "--yes", "--key", key, "--file", "shared.yaml"]
    };
    home.refused(&with("../me.txt"), 2, &["me's, a person"]);
    home.refused(&with("../pike.pub"), 2, &["as pike's"]);
    home.ok(&add("--file", "shared.yaml"));
    home.commit();
    // Its key would prove nothing of the host.
    let remove = [&REMOVE[..], &["--key", "../pike"]].concat();
    home.refused(&remove, 2, &["../pike is not the key of new", "pike's"]);
    home.ok(&REMOVE);
}

#[test]
fn lists_and_texts_inside_a_rule_are_shared_openly() {
    let pike = Identity::generate().recipient();
    for first in [
        "key_groups:\n      - age: &all\n          - OPERATOR\n          - PIKE",
        "age: &all OPERATOR,PIKE",
    ] {
        let second =
            if first.starts_with("age") { "age: *all" } else { "key_groups:\n      - age: *all" };
        let config = format!(
            "creation_rules:\n  - path_regex: ^a\\.yaml$\n    {first}\n  - path_regex: ^b\\.yaml$\n    {second}\n"
        );
        let config = config.replace("PIKE", pike.as_str());
        let Some(home) = Home::with(&config, &[("a.yaml", SHARED), ("b.yaml", SHARED)]) else {
            return;
        };
        home.ok(&["secrets", "updatekeys", "--yes", "--grant", pike.as_str()]);
        home.commit();
        let said = home.ok(&[&add("--rule", "^a\\.yaml$")[..], &["--dry-run"]].concat());
        assert!(said.contains("files of path_regex: ^b\\.yaml$ too"), "{said}");
        there_and_back(&home, "--rule", "^a\\.yaml$", &["a.yaml", "b.yaml"]);
    }
    let one = "creation_rules:\n  - path_regex: ^a\\.yaml$\n    age: &me OPERATOR\n  - path_regex: ^b\\.yaml$\n    key_groups:\n      - age:\n          - *me\n";
    let Some(home) = Home::with(one, &[("a.yaml", SHARED), ("b.yaml", SHARED)]) else { return };
    there_and_back(&home, "--rule", "^a\\.yaml$", &["a.yaml"]);
}

#[test]
fn what_was_made_for_a_host_goes_with_it_and_nothing_else() {
    for config in [
        "creation_rules:\n  - path_regex: ^other$\n    age: OPERATOR\n",
        "creation_rules:\n  - path_regex: ^other$\n    age: OPERATOR",
        "# nothing yet\n",
        "keys: []\ncreation_rules: []\n",
        "creation_rules:\n",
        "creation_rules:\n  # all\n  - age: OPERATOR\n",
    ] {
        let Some(home) = Home::with(config, &[("s.yaml", SHARED)]) else { return };
        there_and_back(&home, "--file", "s.yaml", &["s.yaml"]);
        home.decrypt("s.yaml", &home.operator).unwrap();
    }
    // A rule of one file with the readers of the next one may look like it.
    let own = "keys:\n  - &me OPERATOR\ncreation_rules:\n  # for everybody\n  - path_regex: ^s\\.yaml$\n    key_groups:\n      - age:\n          - *me\n  - path_regex: hosts/new/.*\n    key_groups:\n      - age:\n          - *me\n  - path_regex: .*\n    key_groups:\n      - age:\n          - *me\n";
    let Some(home) = Home::with(own, &[("s.yaml", SHARED)]) else { return };
    there_and_back(&home, "--rule", "^s\\.yaml$", &["s.yaml"]);
    home.git(&["checkout", "-q", "."]);
}

#[test]
fn names_and_hints_are_about_what_was_typed() {
    let Some(home) = Home::new() else { return };
    let spaced = [&add("--file", "shared.yaml")[..], &["--anchor", "a b"]].concat();
    let said = home.refused(&spaced, 2, &["a b", "--anchor"]).err;
    assert!(!said.contains("Correct .sops.yaml"), "{said}");
    let empty =
        ["secrets", "add-host", "", "--yes", "--key", "../host.pub", "--file", "shared.yaml"];
    let said = home.refused(&empty, 2, &["cannot be a name"]).err;
    assert!(!said.contains("Correct .sops.yaml"), "{said}");
    let said = home.refused(&REMOVE, 2, &["no key of new", "--old-recipient"]).err;
    assert!(!said.contains("Add it"), "{said}");
}

#[test]
fn agenix_is_called_by_its_name() {
    let Some(home) = Home::new() else { return };
    home.git(&["rm", "-q", "-r", "--cached", "."]);
    for (file, _) in home.contents() {
        std::fs::remove_file(file).unwrap();
    }
    home.write("secrets.nix", "{ \"a.age\".publicKeys = [ ]; }\n");
    home.write("a.age", "age-encryption.org/v1\n");
    home.commit();
    home.refused(&add("--file", "a.age"), 2, &["agenix"]);
}

#[test]
fn rules_behind_a_link_are_committed_by_what_they_are() {
    let Some(home) = Home::new() else { return };
    std::fs::create_dir(home.path("secrets/etc")).unwrap();
    std::fs::rename(home.path("secrets/.sops.yaml"), home.path("secrets/etc/rules.yaml")).unwrap();
    symlink("etc/rules.yaml", home.path("secrets/.sops.yaml")).unwrap();
    home.commit();
    let said = home.ok(&add("--file", "shared.yaml"));
    assert!(said.ends_with("-- etc/rules.yaml shared.yaml\n"), "{said}");
    assert!(home.path("secrets/.sops.yaml").is_symlink());
    home.commit();
    home.ok(&["secrets", "verify", "--all"]);
}

#[test]
fn an_operator_with_pgp_alone_is_served_by_sops() {
    if !crate::common::have("gpg") {
        return;
    }
    let Some(home) = Home::new() else { return };
    let gnupg = home.path("gnupg");
    std::fs::create_dir(&gnupg).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&gnupg, private).unwrap();
    let with_pgp = |program: &str, args: &[&str]| {
        let mut command = Command::new(crate::common::secrets::program(program));
        let run = command.args(args).env("GNUPGHOME", &gnupg).env("HOME", home.path("none"));
        let run = run.current_dir(home.path("secrets")).output().unwrap();
        assert!(run.status.success(), "{program}: {}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap()
    };
    with_pgp(
        "gpg",
        &[
            "--batch",
            "-q",
            "--passphrase",
            "",
            "--quick-gen-key",
            "me@example.org",
            "default",
            "default",
            "never",
        ],
    );
    let listed = with_pgp("gpg", &["--batch", "-q", "--with-colons", "--list-secret-keys"]);
    let fingerprint = listed.lines().find_map(|line| line.strip_prefix("fpr:")).unwrap();
    let pike = Identity::generate().recipient();
    home.write(
        ".sops.yaml",
        &format!(
            "creation_rules:\n  - path_regex: ^shared\\.yaml$\n    age: {pike}\n    pgp: {}\n",
            fingerprint.trim_matches(':')
        ),
    );
    home.write("shared.yaml", SHARED);
    with_pgp("sops", &["encrypt", "--in-place", "shared.yaml"]);
    home.commit();
    std::fs::rename(home.path(".config"), home.path("elsewhere")).unwrap();
    let ok = |args: &[&str]| {
        let ran = home.ran(home.command(args).env("GNUPGHOME", &gnupg));
        assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.err);
        ran.out
    };
    ok(&["secrets", "verify", "--all"]);
    ok(&add("--file", "shared.yaml"));
    home.opened_by_host("shared.yaml").unwrap();
    home.commit();
    let said = ok(&REMOVE);
    assert!(said.contains("Not shown for 1 file(s)"), "{said}");
    home.opened_by_host("shared.yaml").unwrap_err();
    home.commit();
    ok(&["secrets", "user-key", "me@pike", "--yes", "--file", "shared.yaml", "--path", "keys/x"]);
}

#[test]
fn values_that_only_sops_reads_are_no_false_alarm() {
    for value in ["ratio: 1.5", "day: 2001-01-01", "<<: {b: 1}"] {
        let Some(home) = Home::new() else { return };
        let plain = format!("kind: Secret\n{value}\nstringData:\n  p: x\n");
        home.encrypt("shared.yaml", plain.as_bytes(), &["--encrypted-regex", "^stringData$"]);
        home.commit();
        home.ok(&add("--file", "shared.yaml"));
        home.commit();
        std::fs::write(home.path("host"), home.host.private_openssh().unwrap().expose()).unwrap();
        home.ok(&[&REMOVE[..], &["--key", "../host"]].concat());
        home.opened_by_host("shared.yaml").unwrap_err();
    }
}
