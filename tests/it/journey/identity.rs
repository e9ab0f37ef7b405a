//! Identities that outlive a run: host keys and passphrases that nix-secrets keeps.

use std::fs;
use std::path::Path;

use crate::common::journey::{HOST, Journey, files_below, run};
use landfall::secret::age::HostKeyPair;
use serde_json::Value;

const STORED: &str = "identities/guppy.yaml";

fn fact(journey: &Journey, step: &str, name: &str) -> String {
    journey.steps()[step]["evidence"]["facts"][name].as_str().unwrap_or_default().to_owned()
}

fn setting(journey: &Journey, line: &str) {
    fs::write(journey.config().join("landfall.toml"), format!("{line}\n")).unwrap();
    journey.commit_config("A setting");
    journey.git(&journey.config(), &["push", "-q"]);
}

/// A file of the secrets, opened by real sops with the operator's identity.
fn open(journey: &Journey, file: &str) -> Value {
    let mut sops = journey.command("sops");
    sops.args(["decrypt", "--output-type", "json"]).arg(journey.secrets().join(file));
    serde_json::from_str(&run(&mut sops).succeeds().stdout).unwrap()
}

fn recipients(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().filter_map(|line| line.split_once("recipient: "));
    lines.map(|(_, recipient)| recipient.to_owned()).collect()
}

#[test]
fn a_stored_host_key_survives_a_reinstall() {
    let Some(journey) = Journey::new() else { return };
    setting(&journey, "host_key = \"stored\"");
    run(&mut journey.bootstrap()).succeeds();
    let fingerprint = fact(&journey, "identity", "fingerprint");

    // Real sops gives the very key back, to the operator and to nobody else.
    let kept = open(&journey, STORED);
    let text = kept["ssh_host_ed25519_key"].as_str().unwrap();
    let key = HostKeyPair::parse(text).unwrap();
    assert_eq!(key.fingerprint(), fingerprint);
    let operator = fs::read_to_string(journey.operator_key()).unwrap();
    let stored = journey.secrets().join(STORED);
    let [only] = &recipients(&stored)[..] else { panic!("{:?}", recipients(&stored)) };
    assert!(operator.contains(only), "{only}");
    in_the_clear_nowhere(&journey, text);
    let rules = fs::read_to_string(journey.secrets().join(".sops.yaml")).unwrap();
    run(&mut journey.bootstrap()).ends(0, &["secrets   done already"]);

    run(journey.landfall().args(["abandon", HOST, "--yes"])).succeeds();
    let before = journey.remote_main("nix-secrets");
    run(&mut journey.bootstrap()).ends(0, &["the host keeps its key", &fingerprint]);
    assert_eq!(fact(&journey, "identity", "fingerprint"), fingerprint);
    assert_eq!(journey.remote_main("nix-secrets"), before, "something was re-encrypted");
    assert_eq!(fs::read_to_string(journey.secrets().join(".sops.yaml")).unwrap(), rules);
}

/// The private key is in one file of the source, and that is private.
fn in_the_clear_nowhere(journey: &Journey, text: &str) {
    let line = text.lines().nth(2).unwrap();
    let holds = |file: &std::path::PathBuf| {
        fs::read(file).unwrap().windows(line.len()).any(|part| part == line.as_bytes())
    };
    let found: Vec<_> = files_below(journey.root.path()).into_iter().filter(holds).collect();
    assert_eq!(found, [journey.run_dir().join("keys/ssh_host_ed25519_key")]);
}

#[test]
fn a_stored_key_that_cannot_be_used_or_kept_is_found_by_check() {
    let Some(journey) = Journey::new() else { return };
    let secrets = journey.secrets();
    // A rule that would give it to a host.
    let rules = secrets.join(".sops.yaml");
    let text = fs::read_to_string(&rules).unwrap();
    let host = landfall::secret::age::Identity::generate().recipient();
    let with_host = text.replacen("keys:\n", &format!("keys:\n  - &host_eel {host}\n"), 1).replacen(
        "creation_rules:\n",
        "creation_rules:\n  - path_regex: ^identities/guppy\\.yaml$\n    key_groups:\n      - age:\n          - *user_alice\n          - *host_eel\n",
        1,
    );
    fs::write(&rules, &with_host).unwrap();
    journey.git(&secrets, &["commit", "-q", "-am", "A rule"]);
    journey.git(&secrets, &["push", "-q"]);
    let store = |args: &mut Vec<String>| args.push("--host-key-store".into());
    journey.refuses(2, &["holds for hosts too", "Give it a rule of its own"], store);
    fs::write(&rules, text).unwrap();
    journey.git(&secrets, &["commit", "-q", "-am", "No rule"]);

    // Something else in its place.
    fs::create_dir_all(secrets.join("identities")).unwrap();
    fs::write(secrets.join(STORED), "ssh_host_ed25519_key: plain\n").unwrap();
    journey.git(&secrets, &["add", "identities"]);
    journey.git(&secrets, &["commit", "-q", "-m", "Not encrypted"]);
    journey.git(&secrets, &["push", "-q"]);
    journey.check_refuses(2, &[STORED], |_| ());
    setting(&journey, "host_key = \"everywhere\"");
    journey.check_refuses(2, &["landfall.toml", "everywhere", "stored"], |_| ());
}

#[test]
fn a_passphrase_is_made_stored_and_read_again() {
    let Some(journey) = Journey::new() else { return };
    let from = |place: &str| {
        let place = place.to_owned();
        move |args: &mut Vec<String>| {
            let at = args.iter().position(|word| word == "--luks-passphrase-file").unwrap();
            args.splice(at..at + 2, ["--luks-passphrase-secret".to_owned(), place.clone()]);
        }
    };
    journey.check_refuses(2, &["names no file and key"], from("identities/guppy.yaml"));
    // One that the host itself could read is no secret from whoever has its disk.
    journey.check_refuses(2, &["holds for hosts too"], from("sops/guppy.yaml:luks"));
    let bootstrap = |place: &str| {
        let mut args = journey.args("bootstrap");
        from(place)(&mut args);
        let mut command = journey.landfall();
        command.args(args).args(["--until", "build"]);
        command
    };
    run(&mut bootstrap("crypted=identities/guppy.yaml:luks/crypted")).succeeds();
    let made = open(&journey, STORED)["luks"]["crypted"].as_str().unwrap().to_owned();
    assert!(made.len() >= 20, "{made}");
    let head = journey.remote_main("nix-secrets");
    run(&mut bootstrap("crypted=identities/guppy.yaml:luks/crypted"))
        .ends(0, &["secrets   done already"]);
    assert_eq!(journey.remote_main("nix-secrets"), head);
    let log = fs::read_to_string(journey.run_dir().join("log")).unwrap();
    assert!(!log.contains(&made));
    let kept = files_below(journey.root.path());
    let holds = |file: &&std::path::PathBuf| {
        fs::read(file).unwrap().windows(made.len()).any(|part| part == made.as_bytes())
    };
    assert_eq!(kept.iter().find(holds), None);
}
