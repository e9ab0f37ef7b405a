//! Flags that go to nix, ssh and the log, and whether they change what they should.

use std::fs;

use crate::common::installer::SERIAL;
use crate::common::journey::{HOST, Journey, Ran, USER, run};
use crate::common::plain_flake::{PASSPHRASE, Plain};
use crate::common::{FAILED, USAGE};
use serde_json::Value;

/// `landfall install` up to a built system, with its flake changed and these words.
fn built(plain: &Plain, from: &str, to: &str, words: &[&str]) -> Ran {
    let flake = plain.flake().join("flake.nix");
    let text = fs::read_to_string(&flake).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(&flake, text.replacen(from, to, 1)).unwrap();
    let ran = plain.until_reboot(words);
    fs::write(&flake, text).unwrap();
    ran
}

#[test]
fn an_impure_configuration_is_evaluated_when_that_is_asked_for() {
    let Some(plain) = Plain::new() else { return };
    let (pure, impure) =
        ("\"nixos-system-guppy-26.05\"", "\"nixos-system-${builtins.currentSystem}\"");
    built(&plain, pure, impure, &[]).ends(USAGE, &["currentSystem"]);
    assert_eq!(plain.told("ran"), "");
    built(&plain, pure, impure, &["--impure"]).succeeds();
    assert!(plain.told("nixos-install").contains("nixos-system-x86_64-linux"));
}

#[test]
fn a_trace_of_an_evaluation_is_shown_when_that_is_asked_for() {
    let Some(plain) = Plain::new() else { return };
    let (from, to) = (
        "toplevel = make",
        "toplevel = builtins.seq (builtins.foldl' (a: b: if b == 9 then throw \"no such luck\" else a) 0 (builtins.genList (n: n) 10)) make",
    );
    let short = built(&plain, from, to, &[]);
    short.ends(USAGE, &["no such luck"]);
    let long = built(&plain, from, to, &["--show-trace"]);
    long.ends(USAGE, &["no such luck"]);
    let log = |ran: &Ran| ran.text.lines().filter(|line| line.contains("while ")).count();
    assert!(log(&long) > log(&short), "{}\n{}", short.text, long.text);
}

#[test]
fn settings_of_a_flake_are_taken_when_that_is_asked_for() {
    let Some(plain) = Plain::new() else { return };
    let settings = "{\n  nixConfig.max-call-depth = 3;\n";
    built(&plain, "{\n", settings, &["--accept-flake-config"])
        .ends(USAGE, &["max-call-depth exceeded"]);
    assert_eq!(plain.told("ran"), "");
    built(&plain, "{\n", settings, &[]).succeeds();
}

#[test]
fn a_passphrase_comes_from_a_command_to_the_last_byte() {
    let Some(plain) = Plain::new() else { return };
    let target = plain.target_word();
    let install = |command: &str| {
        plain.install(&[
            ".#guppy",
            &target,
            "--stop-after-disko",
            "--erase",
            SERIAL,
            "--luks-passphrase-command",
            command,
        ])
    };
    install("echo; exit 3").ends(USAGE, &["exit 3"]);
    assert_eq!(plain.told("ran"), "");
    install(&format!("printf '%s' '{PASSPHRASE}'")).succeeds();
    assert_eq!(plain.told("to-cryptsetup"), PASSPHRASE);
    plain.anew();
    install("crypted=printf '%s' 'for this one'").succeeds();
    assert_eq!(plain.told("to-cryptsetup"), "for this one");
}

#[test]
fn the_port_and_the_key_of_the_target_are_those_of_the_flags() {
    let Some(plain) = Plain::new() else { return };
    let port = plain.target.sshd.port.to_string();
    let key = plain.target.sshd.user_key.display().to_string();
    let fingerprint = plain.target.sshd.host_key.fingerprint();
    let check = |port: &[&str], key: &[&str]| {
        let mut landfall = plain.command(assert_cmd::cargo::cargo_bin!("landfall"));
        landfall.args(["install", ".#guppy", "root@127.0.0.1", "--yes", "--phases", "install"]);
        landfall.args(["--installer-fingerprint", &fingerprint]).args(port).args(key);
        run(&mut landfall)
    };
    // Nothing is mounted: whoever says so has seen the target.
    for flag in ["-p", "--ssh-port"] {
        check(&[flag, &port], &["-i", &key]).ends(USAGE, &["nothing is mounted at /mnt"]);
    }
    check(&["-p", &port], &["--identity-file", &key]).ends(USAGE, &["nothing is mounted"]);
    let nobody = crate::common::sshd::free_port().to_string();
    check(&["-p", &nobody], &["-i", &key]).ends(FAILED, &["127.0.0.1"]);
    let other = crate::common::sshd::keygen(plain.root.path(), "other", "ed25519").private;
    let other = other.display().to_string();
    check(&["-p", &port], &["-i", &other]).ends(FAILED, &["refuses the login"]);
    check(&["-p", &port], &["-i", "/no/such/key"]).ends(USAGE, &["/no/such/key"]);
}

#[test]
fn the_target_builds_under_both_names() {
    let Some(plain) = Plain::new() else { return };
    // Whether the sandbox of a target lets it build is another matter.
    let build = |words: &[&str]| {
        let ran = plain.until_reboot(words);
        plain.anew();
        ran.text
    };
    for words in [&["--build-on-remote"][..], &["--build-on", "remote"], &["--build-on", "target"]]
    {
        let text = build(words);
        assert!(text.contains("to be built on the target"), "{words:?}: {text}");
    }
    let text = build(&["--build-on", "local"]);
    assert!(text.contains("closure of"), "{text}");
}

#[test]
fn events_are_json_when_that_is_asked_for() {
    let Some(journey) = Journey::new() else { return };
    let check = |words: &[&str]| {
        journey.check_with(|args| args.extend(words.iter().map(|word| (*word).to_owned())))
    };
    let json = check(&["--log-format", "json"]);
    json.succeeds();
    let events: Vec<Value> =
        json.text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    for event in &events {
        for name in ["time", "host", "kind"] {
            assert!(event[name].is_string(), "no {name} in {event}");
        }
        assert_eq!(event["host"], HOST);
    }
    assert!(events.iter().any(|event| event["step"] == "check"), "{}", json.text);
    let plain = check(&["--log-format", "plain"]);
    assert!(plain.succeeds().text.contains("check     done"), "{}", plain.text);
    assert!(!plain.text.contains('{'), "{}", plain.text);
}

#[test]
fn all_that_nix_says_is_in_the_log_when_that_is_asked_for() {
    let Some(plain) = Plain::new() else { return };
    let lines = |words: &[&str]| {
        plain.until_reboot(words).succeeds();
        let count = plain.log("guppy").lines().count();
        plain.anew();
        count
    };
    let (short, long) = (lines(&[]), lines(&["-v"]));
    assert!(long > short, "{short} lines, and {long} with -v");
}

#[test]
fn settings_come_from_the_file_that_is_named() {
    let Some(journey) = Journey::new() else { return };
    let file = journey.root.path().join("elsewhere.toml");
    fs::write(&file, "user = \"nobody-of-this-name\"\n").unwrap();
    let with = |file: &str| {
        journey.check_with(|args| args.extend(["--settings".to_owned(), file.to_owned()]))
    };
    with(&file.display().to_string()).ends(USAGE, &["nobody-of-this-name"]);
    with("/no/such.toml").ends(USAGE, &["/no/such.toml"]);
    fs::write(&file, "usr = \"alice\"\n").unwrap();
    with(&file.display().to_string()).ends(USAGE, &["usr"]);
}

#[test]
fn the_installed_system_is_looked_for_where_the_flag_says() {
    let Some(journey) = Journey::new() else { return };
    run(&mut journey.bootstrap()).succeeds();
    let journey = journey.installed();
    journey.target.is_used_by(USER);
    let port = journey.target.sshd.port;
    let nowhere = crate::common::sshd::free_port();
    let elsewhere = |words: &[&str]| {
        let mut login = journey.only(&["login"]);
        login.arg("--no-repos").args(["-p", &nowhere.to_string()]).args(words);
        run(&mut login)
    };
    elsewhere(&["--installed-address", &format!("127.0.0.1:{port}")])
        .ends(0, &["target: installed"]);
    elsewhere(&[]).ends(FAILED, &["127.0.0.1"]);
}
