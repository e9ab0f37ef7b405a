//! Runs that are given up: what they leave, and what `--undo` takes back.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::journey::{HOST, Journey, run};
use landfall::run::journal::{Entry, Journal};
use landfall::secret::age::HostKeyPair;

fn abandon(journey: &Journey, flags: &[&str]) -> crate::common::journey::Ran {
    run(journey.landfall().args(["abandon", HOST]).args(flags))
}

/// The identity of the current run's host key, in a file for sops.
fn identity(journey: &Journey, name: &str) -> PathBuf {
    let private = journey.run_dir().join("keys/ssh_host_ed25519_key");
    let key = HostKeyPair::parse(&fs::read_to_string(private).unwrap()).unwrap();
    let path = journey.root.path().join("tmp").join(name);
    fs::write(&path, key.identity().unwrap().key_file().expose()).unwrap();
    path
}

fn sample(journey: &Journey) -> String {
    let text = fs::read_to_string(journey.host_secrets()).unwrap();
    text.lines().find(|line| line.starts_with("sample:")).unwrap().to_owned()
}

fn rules(journey: &Journey) -> String {
    fs::read_to_string(journey.secrets().join(".sops.yaml")).unwrap()
}

/// What an undo leaves, whatever way it took.
#[track_caller]
fn taken_back(journey: &Journey, key: &Path, rules_before: &str) {
    assert_ne!(journey.sops(key).code, Some(0), "the key still opens the secrets");
    journey.sops(&journey.operator_key()).succeeds();
    assert_eq!(rules(journey), rules_before);
    assert_eq!(journey.git(&journey.config(), &["diff", "@{upstream}", "HEAD"]), "");
    for dir in [journey.config(), journey.secrets()] {
        assert_eq!(journey.git(&dir, &["status", "--porcelain"]), "");
        assert_eq!(journey.git(&dir, &["worktree", "list"]).lines().count(), 1);
    }
    let state = journey.state().join(HOST);
    assert!(!state.join("current").exists());
    let keys = crate::common::journey::files_below(&state);
    assert!(!keys.iter().any(|file| file.ends_with("ssh_host_ed25519_key")), "{keys:?}");
}

#[test]
fn an_undo_takes_back_the_recipient_the_commits_and_the_keys() {
    let Some(journey) = Journey::new() else { return };
    abandon(&journey, &["--undo"]).ends(2, &["there is no unfinished run of guppy"]);
    let (before, plain) = (rules(&journey), sample(&journey));
    run(&mut journey.bootstrap()).succeeds();
    let key = identity(&journey, "key");
    journey.sops(&key).succeeds();

    // Another configuration is not taken for the run's.
    let other = journey.root.path().join("elsewhere/nix-config");
    for name in ["nix-config", "nix-secrets"] {
        let (from, to) = (journey.remote(name), other.with_file_name(name));
        let (from, to) = (from.display().to_string(), to.display().to_string());
        journey.git(journey.root.path(), &["clone", "-q", &from, &to]);
    }
    let mut elsewhere = journey.command(assert_cmd::cargo::cargo_bin!("landfall"));
    elsewhere.arg("-C").arg(&other).args(["abandon", HOST, "--undo", "--yes"]);
    run(&mut elsewhere).ends(2, &["the run worked with the secrets in", "landfall -C DIR"]);
    assert!(journey.run_dir().exists());

    let seen = journey.seen();
    let words = ["is taken out", "are reverted", "--yes"];
    abandon(&journey, &["--undo"]).ends(3, &words);
    assert_eq!(journey.seen(), seen);
    let ran = abandon(&journey, &["--undo", "--yes"]);
    ran.ends(0, &["reverted", "data keys rotated", "stays readable in git's history", "Forgotten"]);
    taken_back(&journey, &key, &before);
    assert_ne!(sample(&journey), plain, "the data key is the same");
    let head = journey.git(&journey.secrets(), &["rev-parse", "HEAD"]);
    assert_eq!(journey.remote_main("nix-secrets"), head);
    abandon(&journey, &["--undo", "--yes"]).ends(2, &["there is no unfinished run"]);
    // Nothing of it is in the way of the next run.
    run(&mut journey.bootstrap()).succeeds();
}

/// Ends landfall as a crash would, from a hook of the git that it started.
const KILL: &str = r#"pid=$$
while [ "$(cat /proc/$pid/comm)" != landfall ]; do pid=$(cut -d' ' -f4 /proc/$pid/stat); done
kill -9 "$pid"
sleep 1"#;

#[test]
fn an_undo_that_was_cut_off_is_finished_by_the_next() {
    let Some(journey) = Journey::new() else { return };
    let before = rules(&journey);
    run(&mut journey.bootstrap()).succeeds();
    let key = identity(&journey, "key");
    journey.somebody_pushes("nix-secrets", "theirs", "x\n");
    let hooks = journey.remote("nix-secrets").join("hooks");
    let hook = |name: &str, body: &str| {
        use std::os::unix::fs::PermissionsExt;
        fs::write(hooks.join(name), format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(hooks.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    };
    hook("pre-receive", "echo 'the office is closed' >&2; exit 1");
    let ran = abandon(&journey, &["--undo", "--yes"]);
    ran.ends(1, &["could not be taken back", "the office is closed"]);
    journey.sops(&key).succeeds();
    assert!(journey.run_dir().join("keys/ssh_host_ed25519_key").exists());

    hook("pre-receive", "exit 0");
    hook("post-receive", KILL);
    let ran = abandon(&journey, &["--undo", "--yes"]);
    assert_eq!(ran.code, None, "{}", ran.text);
    fs::remove_file(hooks.join("post-receive")).unwrap();
    abandon(&journey, &["--undo", "--yes"]).succeeds();
    taken_back(&journey, &key, &before);
    let log = journey.git(&journey.secrets(), &["log", "--format=%s"]);
    assert_eq!(log.lines().filter(|line| line.contains("taken back")).count(), 1, "{log}");
    let reverts = journey.git(&journey.config(), &["log", "--format=%s", "--grep=^Revert"]);
    assert_eq!(reverts.lines().count(), 1, "{reverts}");
}

#[test]
fn an_undo_of_a_run_that_pushed_nothing_pushes_nothing() {
    let Some(journey) = Journey::new() else { return };
    let before = rules(&journey);
    run(journey.bootstrap().arg("--no-push")).succeeds();
    let key = identity(&journey, "key");
    let remote = journey.remote_main("nix-secrets");
    abandon(&journey, &["--undo", "--yes"]).succeeds();
    assert_eq!(journey.remote_main("nix-secrets"), remote);
    taken_back(&journey, &key, &before);
}

#[test]
fn an_undone_reinstall_leaves_the_host_its_old_key() {
    let Some(journey) = Journey::new() else { return };
    run(&mut journey.bootstrap()).succeeds();
    journey.git(&journey.config(), &["push", "-q"]);
    let (old, before) = (identity(&journey, "old"), rules(&journey));
    let ran = abandon(&journey, &["--yes"]);
    ran.ends(0, &["secrets remove-host takes it out", "git revert takes them back"]);
    run(&mut journey.bootstrap()).succeeds();
    let new = identity(&journey, "new");
    // Others have changed the rules since: nothing of theirs may go.
    let theirs = format!("{}# theirs\n", rules(&journey));
    journey.somebody_pushes("nix-secrets", ".sops.yaml", &theirs);
    abandon(&journey, &["--undo", "--yes"]).succeeds();
    taken_back(&journey, &new, &format!("{before}# theirs\n"));
    journey.sops(&old).succeeds();
}

#[test]
fn a_complete_run_is_not_taken_back() {
    let Some(journey) = Journey::new() else { return };
    run(&mut journey.bootstrap()).succeeds();
    let mut journal = Journal::open(&journey.run_dir().join("journal.jsonl")).unwrap();
    journal.append(Entry::Completed).unwrap();
    drop(journal);
    let seen = journey.seen();
    let ran = abandon(&journey, &["--undo", "--yes"]);
    ran.ends(2, &["the machine runs with its key", "landfall secrets remove-host guppy"]);
    assert_eq!(journey.seen(), seen);
}
