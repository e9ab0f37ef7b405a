//! A host that is installed anew: both keys open its secrets until the new system is
//! proven, then the old one goes; also when the run is killed on the way.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::journey::{HOST, Journey, run};
use landfall::secret::age::HostKeyPair;
use serde_json::Value;

/// The identity of the current run's host key, in a file for sops.
fn identity(journey: &Journey, name: &str) -> PathBuf {
    let private = journey.run_dir().join("keys/ssh_host_ed25519_key");
    let key = HostKeyPair::parse(&fs::read_to_string(private).unwrap()).unwrap();
    let path = journey.root.path().join("tmp").join(name);
    fs::write(&path, key.identity().unwrap().key_file().expose()).unwrap();
    path
}

fn recipient(identity: &Path) -> String {
    let text = fs::read_to_string(identity).unwrap();
    text.lines().next().unwrap().trim_start_matches("# public key: ").to_owned()
}

/// A second installation, up to the disks, and the identities of both.
fn again() -> Option<(Journey, PathBuf, PathBuf)> {
    let journey = Journey::new()?;
    run(&mut journey.bootstrap()).succeeds();
    journey.git(&journey.config(), &["push", "-q"]);
    let old = identity(&journey, "old");
    run(journey.landfall().args(["abandon", HOST, "--yes"])).succeeds();
    run(&mut journey.bootstrap()).ends(0, &["both open its secrets", &recipient(&old)]);
    let new = identity(&journey, "new");
    Some((journey, old, new))
}

fn rules(journey: &Journey) -> String {
    fs::read_to_string(journey.secrets().join(".sops.yaml")).unwrap()
}

/// The part of the host's file that changes with its data key alone.
fn values(journey: &Journey) -> String {
    let text = fs::read_to_string(journey.host_secrets()).unwrap();
    text.lines().find(|line| line.starts_with("sample:")).unwrap().to_owned()
}

fn fact(journey: &Journey, step: &str, name: &str) -> Value {
    journey.steps()[step]["evidence"]["facts"][name].clone()
}

#[test]
fn both_keys_open_the_secrets_until_the_old_one_is_retired() {
    let Some((journey, old, new)) = again() else { return };
    journey.sops(&old).succeeds();
    journey.sops(&new).succeeds();
    let meanwhile = rules(&journey);
    assert!(meanwhile.contains(&recipient(&old)) && meanwhile.contains(&recipient(&new)));
    // It waits for the proof of the new system.
    let mut args = journey.args("plan");
    args.retain(|word| word != "--yes");
    let plan = run(journey.landfall().args(args).arg("--json"));
    let plan = crate::common::journey::steps_of(&plan.stdout);
    assert_eq!(plan["retire"]["state"], "ready", "{}", plan["retire"]);
    run(journey.landfall().args(journey.args("bootstrap")).args(["--only", "retire"]))
        .ends(1, &["the previous key of guppy stays", "was not booted and verified"]);
    journey.sops(&old).succeeds();

    let journey = journey.installed();
    let before = values(&journey);
    for boundary in ["before", "started", "applied", "finished"] {
        let mut bootstrap = journey.only(&["publish", "retire"]);
        let point = format!("retire:{boundary}");
        let ran = run(bootstrap.arg("--no-repos").env("LANDFALL_ABORT_AT", &point));
        assert!(ran.code.is_none() && ran.text.contains(&point), "{}", ran.text);
    }
    let ran = run(journey.only(&["publish", "retire"]).arg("--no-repos"));
    ran.ends(0, &["publish   done already", "retire    done already", "the previous key is out"]);
    retired(&journey, &old, &new, &meanwhile);
    assert_ne!(values(&journey), before, "the data key is the same");
}

#[track_caller]
fn retired(journey: &Journey, old: &Path, new: &Path, meanwhile: &str) {
    assert_ne!(journey.sops(old).code, Some(0), "the old key opens the file");
    journey.sops(new).succeeds();
    journey.sops(&journey.operator_key()).succeeds();
    // The entry of the host has the new key, and nothing else of the rules differs.
    let rules = rules(journey);
    let temporary = |line: &&str| line.contains("guppy-next");
    let expected: Vec<String> = meanwhile
        .lines()
        .filter(|line| !temporary(line))
        .map(|line| line.replace(&recipient(old), &recipient(new)))
        .collect();
    assert_eq!(rules.lines().collect::<Vec<_>>(), expected);

    let (config, secrets) = (journey.config(), journey.secrets());
    for (name, dir) in [("nix-config", &config), ("nix-secrets", &secrets)] {
        assert_eq!(journey.git(dir, &["status", "--porcelain"]), "");
        assert_eq!(journey.git(dir, &["rev-parse", "HEAD"]), journey.remote_main(name));
    }
    let head = journey.remote_main("nix-secrets");
    assert_eq!(fact(journey, "retire", "revision"), Value::from(head.as_str()));
    assert!(fs::read_to_string(config.join("flake.lock")).unwrap().contains(&head));
    let log = journey.git(&secrets, &["log", "--format=%s"]);
    let once = log.lines().filter(|line| line.contains("previous key")).count();
    assert_eq!(once, 1, "{log}");
}

#[test]
fn the_name_for_the_new_key_is_nobody_elses() {
    let Some((journey, old, given_up)) = again() else { return };
    // A second attempt: the key of the first goes, the host's own stays.
    run(journey.landfall().args(["abandon", HOST, "--yes"]))
        .ends(0, &["landfall abandon guppy --undo takes back"]);
    run(&mut journey.bootstrap()).succeeds();
    let new = identity(&journey, "third");
    assert_ne!(journey.sops(&given_up).code, Some(0));
    journey.sops(&old).succeeds();
    journey.sops(&new).succeeds();

    // A host that happens to be called so keeps its key.
    run(journey.landfall().args(["abandon", HOST, "--yes"])).succeeds();
    let other = landfall::secret::age::Identity::generate().recipient();
    let text = rules(&journey).replace(&recipient(&new), other.as_str());
    fs::write(journey.secrets().join(".sops.yaml"), text).unwrap();
    journey.git(&journey.secrets(), &["commit", "-q", "-am", "Another host"]);
    journey.git(&journey.secrets(), &["push", "-q"]);
    let before = journey.remote_main("nix-secrets");
    let words = ["have a key of guppy-next already", other.as_str(), "remove-host guppy-next"];
    run(&mut journey.bootstrap()).ends(2, &words);
    // The journal has the refusal, and that key in it, by now.
    run(&mut journey.bootstrap()).ends(2, &words);
    assert_eq!(journey.remote_main("nix-secrets"), before);
}

#[test]
fn a_host_that_is_new_has_nothing_to_retire() {
    let Some(journey) = Journey::new() else { return };
    run(&mut journey.bootstrap()).succeeds();
    let before = journey.seen();
    let journey = journey.installed();
    let ran = run(journey.only(&["retire"]).arg("--no-repos"));
    ran.ends(0, &["guppy has no previous key to retire"]);
    assert_eq!(journey.seen(), before);
}

#[test]
fn a_reinstall_without_a_push_retires_the_key_in_the_checkout() {
    let Some((journey, old, new)) = again() else { return };
    let remote = journey.remote_main("nix-secrets");
    let journey = journey.installed();
    run(journey.only(&["retire"]).args(["--no-repos", "--no-push"])).succeeds();
    assert_eq!(journey.remote_main("nix-secrets"), remote);
    assert_ne!(journey.sops(&old).code, Some(0));
    journey.sops(&new).succeeds();
}
