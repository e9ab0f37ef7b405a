//! What somebody pushed to the secrets is found by `check` and by an unattended run: a key in
//! a rule, and a link that leads elsewhere. Neither gets anything by it.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use crate::common::journey::{HOST, Journey, run};
use landfall::secret::age::Identity;

/// Every file and link below `dir` with its content and time of change, but what git and the
/// run's own memory keep of themselves.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>, i64)> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            if path.ends_with(".git") || path.ends_with(".cache") || path.ends_with(".local") {
                continue;
            }
            if metadata.is_dir() {
                folders.push(path);
            } else if metadata.is_symlink() {
                found.push((
                    path.clone(),
                    fs::read_link(path).unwrap().into_os_string().into_encoded_bytes(),
                    0,
                ));
            } else if metadata.is_file() {
                found.push((path.clone(), fs::read(&path).unwrap(), metadata.mtime()));
            }
        }
    }
    found.sort();
    found
}

/// Lets another person commit and push a change of the secrets.
fn push(journey: &Journey, change: impl Fn(&Path)) {
    let others = journey.others("nix-secrets");
    journey.git(&others, &["pull", "-q", "--rebase"]);
    change(&others);
    journey.git(&others, &["add", "--all"]);
    journey.git(&others, &["commit", "-q", "-m", "A change"]);
    journey.git(&others, &["push", "-q"]);
}

#[test]
fn a_key_that_was_pushed_into_the_rules_waits_for_a_person() {
    let Some(journey) = Journey::new() else { return };
    let intruder = Identity::generate().recipient();
    push(&journey, |dir| {
        let rules = dir.join(".sops.yaml");
        let text = fs::read_to_string(&rules).unwrap();
        let at = text.find("      - age:\n").unwrap() + "      - age:\n".len();
        fs::write(&rules, format!("{}          - {intruder}\n{}", &text[..at], &text[at..]))
            .unwrap();
    });
    let before = contents(&journey.home());
    let words = ["cannot open so far", intruder.as_str(), "--grant"];
    journey.check().ends(3, &words);
    assert_eq!(contents(&journey.home()), before);
    run(&mut journey.bootstrap()).ends(3, &words);
    let tip = |file: &str| {
        journey.git(&journey.remote("nix-secrets"), &["show", &format!("main:{file}")])
    };
    assert!(!tip(&format!("sops/{HOST}.yaml")).contains(intruder.as_str()));

    journey.check_with(|words| words.extend(["--grant".into(), intruder.to_string()])).succeeds();
    let granted = ["--grant", intruder.as_str(), "--until", "secrets"];
    run(journey.landfall().args(journey.args("bootstrap")).args(granted)).succeeds();
    assert!(tip(&format!("sops/{HOST}.yaml")).contains(intruder.as_str()));
}

#[test]
fn a_rule_for_the_host_key_that_is_to_be_kept_waits_for_a_person() {
    let Some(journey) = Journey::new() else { return };
    fs::write(journey.config().join("landfall.toml"), "host_key = \"stored\"\n").unwrap();
    journey.commit_config("Keep the host key");
    let intruder = Identity::generate().recipient();
    let operator = fs::read_to_string(journey.operator_key()).unwrap();
    let operator = operator.lines().find_map(|line| Identity::parse(line).ok()).unwrap();
    push(&journey, |dir| {
        let rules = dir.join(".sops.yaml");
        let text = fs::read_to_string(&rules).unwrap();
        let rule = format!(
            "creation_rules:\n  - path_regex: ^identities/\n    age: {},{intruder}\n",
            operator.recipient()
        );
        fs::write(&rules, text.replacen("creation_rules:\n", &rule, 1)).unwrap();
    });
    let words = [&format!("identities/{HOST}.yaml: {intruder}"), "--grant"];
    journey.check().ends(3, &words);
    run(&mut journey.bootstrap()).ends(3, &words);
    let files = ["ls-tree", "-r", "--name-only", "main"];
    let files = journey.git(&journey.remote("nix-secrets"), &files);
    assert!(!files.contains("identities"), "{files}");
}

#[test]
fn a_link_that_was_pushed_changes_nothing_elsewhere() {
    let Some(journey) = Journey::new() else { return };
    let elsewhere = journey.home().join("other.yaml");
    fs::copy(journey.host_secrets(), &elsewhere).unwrap();
    let host_file = format!("sops/{HOST}.yaml");
    push(&journey, |dir| {
        fs::remove_file(dir.join(&host_file)).unwrap();
        symlink(&elsewhere, dir.join(&host_file)).unwrap();
    });
    let before = contents(&journey.home());
    journey.check().ends(2, &[&host_file, "leads out of the repository"]);
    run(&mut journey.bootstrap()).ends(2, &["leads out of the repository"]);
    assert_eq!(contents(&journey.home()), before);

    // One that means the checkout, by its path or by a way around, means the same file of
    // the newest commit.
    for target in
        [journey.secrets().join("real.yaml"), PathBuf::from("../../../src/nix-secrets/real.yaml")]
    {
        push(&journey, |dir| {
            if !dir.join("real.yaml").exists() {
                fs::copy(&elsewhere, dir.join("real.yaml")).unwrap();
            }
            fs::remove_file(dir.join(&host_file)).unwrap();
            symlink(&target, dir.join(&host_file)).unwrap();
        });
        let before = contents(journey.root.path());
        let ran = journey.check();
        ran.succeeds();
        let changed = contents(journey.root.path());
        let secret = |all: &[(PathBuf, Vec<u8>, i64)]| -> Vec<_> {
            all.iter()
                .filter(|(path, ..)| path.extension().is_some_and(|e| e == "yaml"))
                .cloned()
                .collect()
        };
        assert_eq!(secret(&changed), secret(&before), "{}", ran.text);
    }
}
