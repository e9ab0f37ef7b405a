//! The crash matrix of the steps before the disks: landfall ends at every boundary of
//! every step, and in the middle of some, and the next run comes to the same end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::common::journey::{Journey, run};

/// The steps that change something before the disks; `installer` is only looked at.
const STEPS: [&str; 6] = ["check", "identity", "secrets", "lock", "hardware", "build"];

/// One crash after the other, each one step further than the last, and then the end.
fn crashes_at(boundary: &str) {
    let Some(journey) = Journey::new() else { return };
    for step in STEPS {
        let point = format!("{step}:{boundary}");
        let ran = run(journey.bootstrap().env("LANDFALL_ABORT_AT", &point));
        // Ended by a signal, as a crash would.
        assert_eq!(ran.code, None, "{point}: {}", ran.text);
        assert!(ran.text.contains(&point), "{point}: {}", ran.text);
        let state = &journey.steps()[step]["state"];
        let expected = match boundary {
            "before" => "ready",
            "finished" => "done",
            // It was begun, and nobody is at it any more.
            _ => "failed",
        };
        assert_eq!(state, expected, "{point}");
    }
    run(&mut journey.bootstrap()).succeeds();
    same_end(&journey);
}

/// What an undisturbed run leaves, and nothing twice.
#[track_caller]
fn same_end(journey: &Journey) {
    let steps = journey.steps();
    for step in STEPS {
        assert_eq!(steps[step]["state"], "done", "{step}: {}", steps[step]);
    }
    let recipient = steps["identity"]["evidence"]["facts"]["recipient"].as_str().unwrap();
    let (config, secrets) = (journey.config(), journey.secrets());
    for dir in [&config, &secrets] {
        assert_eq!(journey.git(dir, &["status", "--porcelain"]), "");
        // The first commit of init (and the locks of nix-config), and the run's.
        let commits = if dir == &config { "3" } else { "2" };
        assert_eq!(journey.git(dir, &["rev-list", "--count", "HEAD"]), commits);
    }
    let head = journey.git(&secrets, &["rev-parse", "HEAD"]);
    assert_eq!(journey.git(&journey.remote("nix-secrets"), &["rev-parse", "main"]), head);
    let locked = fs::read_to_string(config.join("flake.lock")).unwrap();
    assert!(locked.contains(&head), "{locked}");
    let rules = fs::read_to_string(secrets.join(".sops.yaml")).unwrap();
    assert_eq!(rules.matches("age1").count(), 2, "{rules}");
    assert_eq!(rules.matches(recipient).count(), 1, "{rules}");
    let file = fs::read_to_string(journey.host_secrets()).unwrap();
    assert_eq!(file.matches("recipient: age1").count(), 2, "{file}");
    let runs = fs::read_dir(journey.state().join("guppy")).unwrap().count();
    assert_eq!(runs, 3, "one run, the link to it, and the lock of the host");
}

#[test]
fn crashes_before_the_intention_is_written_change_nothing_in_the_end() {
    crashes_at("before");
}

#[test]
fn crashes_after_the_intention_change_nothing_in_the_end() {
    crashes_at("started");
}

#[test]
fn crashes_after_the_change_change_nothing_in_the_end() {
    crashes_at("applied");
}

#[test]
fn crashes_after_the_proof_change_nothing_in_the_end() {
    crashes_at("finished");
}

fn hook(dir: &Path, name: &str, words: &str) {
    let path = dir.join(name);
    fs::create_dir_all(dir).unwrap();
    fs::write(&path, format!("#!/bin/sh\necho '{words}' >&2\nexit 1\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_remote_that_refuses_the_push_is_found_before_the_lock_and_the_disks() {
    let Some(journey) = Journey::new() else { return };
    let hooks = journey.remote("nix-secrets").join("hooks");
    hook(&hooks, "pre-receive", "the office is closed");
    // Its hooks run only when something is really pushed.
    journey.check().succeeds();
    let remote = journey.git(&journey.remote("nix-secrets"), &["rev-parse", "main"]);
    let lock = fs::read(journey.config().join("flake.lock")).unwrap();
    let ran = run(&mut journey.bootstrap());
    ran.ends(1, &["could not be pushed", "the office is closed", "resume landfall -C"]);
    let steps = journey.steps();
    assert_eq!(steps["secrets"]["state"], "failed");
    assert_eq!(steps["lock"]["state"], "ready");
    assert_eq!(fs::read(journey.config().join("flake.lock")).unwrap(), lock);
    assert_eq!(journey.git(&journey.remote("nix-secrets"), &["rev-parse", "main"]), remote);
    fs::remove_file(hooks.join("pre-receive")).unwrap();
    run(&mut journey.bootstrap()).succeeds();
    same_end(&journey);
}

#[test]
fn a_commit_that_a_hook_refused_is_made_by_the_next_run() {
    let Some(journey) = Journey::new() else { return };
    for (dir, step) in [(journey.secrets(), "secrets"), (journey.config(), "hardware")] {
        let hooks = dir.join(".git/hooks");
        hook(&hooks, "pre-commit", "no commits today");
        run(&mut journey.bootstrap()).ends(1, &["no commits today"]);
        assert_eq!(journey.steps()[step]["state"], "failed");
        // The secrets are edited elsewhere, the hardware file where it is evaluated.
        let left = journey.git(&dir, &["status", "--porcelain"]);
        assert_eq!(left.is_empty(), step == "secrets", "{left}");
        fs::remove_file(hooks.join("pre-commit")).unwrap();
    }
    run(&mut journey.bootstrap()).succeeds();
    same_end(&journey);
}

#[test]
fn another_report_of_the_hardware_reopens_the_build() {
    let Some(journey) = Journey::new() else { return };
    run(&mut journey.bootstrap()).succeeds();
    let before = journey.steps()["build"]["evidence"]["facts"]["system"].clone();
    let hardware = fs::read_to_string(journey.hardware_file()).unwrap();
    journey.target.reports(hardware.replace("virtio_blk", "nvme").trim_end());
    run(&mut journey.bootstrap()).succeeds();
    assert!(fs::read_to_string(journey.hardware_file()).unwrap().contains("nvme"));
    assert_eq!(journey.git(&journey.config(), &["status", "--porcelain"]), "");
    assert_ne!(journey.steps()["build"]["evidence"]["facts"]["system"], before);
}

#[test]
fn a_journal_that_is_not_understood_is_refused_by_name() {
    let Some(journey) = Journey::new() else { return };
    run(&mut journey.bootstrap()).succeeds();
    let system = journey.steps()["build"]["evidence"]["facts"]["system"].clone();
    let path = journey.run_dir().join("journal.jsonl");
    let journal = fs::read_to_string(&path).unwrap();
    let (known, unknown) = (format!("\"system\":{system}"), "\"system\":\"elsewhere\"");
    assert!(journal.contains(&known), "{journal}");
    fs::write(&path, journal.replace(&known, unknown)).unwrap();
    let why = "what the journal says of the step build is not understood";
    run(&mut journey.bootstrap()).ends(1, &[why, "landfall abandon HOST"]);
}
