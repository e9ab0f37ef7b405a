//! Secrets of known value, and a search for them wherever they must not be: arguments
//! and environment of every process, logs, journal, git, nix store, temporary files.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::journey::{Journey, PASSPHRASE, PASSWORD, files_below, run};
use serde_json::Value;

/// A name for messages, and the bytes to look for.
struct Canary {
    name: &'static str,
    text: String,
}

/// Everything that a run up to the build knows and must keep.
fn canaries(journey: &Journey) -> Vec<Canary> {
    let opened = journey.sops(&journey.operator_key());
    let values: Value = serde_json::from_str(&opened.succeeds().stdout).unwrap();
    let value = |text: &Value| text.as_str().unwrap().to_owned();
    let identity = fs::read_to_string(journey.operator_key()).unwrap();
    let identity = identity.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).unwrap();
    let mut canaries = vec![
        Canary { name: "passphrase", text: PASSPHRASE.into() },
        Canary { name: "password", text: PASSWORD.into() },
        Canary { name: "password hash", text: value(&values["passwords"]["alice"]) },
        Canary { name: "sample secret", text: value(&values["sample"]) },
        Canary { name: "operator's identity", text: identity.into() },
    ];
    let key = journey.state().join("guppy/current/keys/ssh_host_ed25519_key");
    if let Ok(key) = fs::read_to_string(key) {
        let pair = landfall::age::HostKey::parse(&key).unwrap();
        let lines: Vec<&str> = key.lines().filter(|line| !line.starts_with("-----")).collect();
        // The public half stands in the first lines, so its last two.
        canaries.push(Canary { name: "host key", text: lines[lines.len() - 2].into() });
        let identity = pair.identity().unwrap();
        let identity = identity.text().expose_str().unwrap().to_owned();
        canaries.push(Canary { name: "host's identity", text: identity });
    }
    canaries
}

fn holds(bytes: &[u8], canary: &str) -> bool {
    bytes.windows(canary.len()).any(|window| window == canary.as_bytes())
}

#[track_caller]
fn absent(bytes: &[u8], canaries: &[Canary], place: &str) {
    for canary in canaries {
        assert!(!holds(bytes, &canary.text), "the {} is in {place}", canary.name);
    }
}

/// Files that may hold secrets: they are what the operator gave, or the run's keys.
fn may_hold(file: &Path) -> bool {
    let names = ["passphrase", "password", "keys.txt", "ssh_host_ed25519_key"];
    file.file_name().is_some_and(|name| names.iter().any(|allowed| name == *allowed))
}

#[test]
fn no_secret_is_where_it_does_not_belong() {
    let Some(journey) = Journey::new() else { return };
    let ran = run(&mut journey.bootstrap());
    ran.succeeds();
    let canaries = canaries(&journey);
    assert_eq!(canaries.len(), 7);
    absent(ran.text.as_bytes(), &canaries, "what was printed");

    let files: Vec<PathBuf> =
        files_below(journey.root.path()).into_iter().filter(|file| !may_hold(file)).collect();
    assert!(files.iter().any(|file| file.ends_with("log")));
    assert!(files.iter().any(|file| file.ends_with("journal.jsonl")));
    for file in &files {
        absent(&fs::read(file).unwrap(), &canaries, &file.display().to_string());
    }

    for repo in [
        journey.config(),
        journey.secrets(),
        journey.remote("nix-config"),
        journey.remote("nix-secrets"),
    ] {
        absent(&objects(&journey, &repo), &canaries, &repo.display().to_string());
    }
    for path in store_paths(&journey) {
        for file in files_below(&path) {
            absent(&fs::read(&file).unwrap(), &canaries, &file.display().to_string());
        }
    }
}

/// All objects of a repository, unpacked.
fn objects(journey: &Journey, repo: &Path) -> Vec<u8> {
    let mut git = journey.command("git");
    git.arg("-C").arg(repo).args(["cat-file", "--batch-all-objects", "--batch"]);
    let output = git.output().unwrap();
    assert!(output.status.success() && holds(&output.stdout, "commit"));
    output.stdout
}

/// What the build made that no other run has: the systems' own paths and the sources
/// that went into the store, not the programs that they share.
fn store_paths(journey: &Journey) -> Vec<PathBuf> {
    let steps = journey.steps();
    let facts = steps["build"]["evidence"]["facts"].as_object().unwrap();
    let built = ["system", "full"].map(|name| facts[name].as_str().unwrap().to_owned());
    let mut nix = journey.command("nix-store");
    let closure = run(nix.args(["--query", "--requisites"]).args(built)).succeeds().stdout.clone();
    let ours = |path: &&str| {
        ["source", "sops", "etc", "users", "system", "secrets", "initrd-"]
            .iter()
            .any(|word| path.contains(word))
    };
    let paths: Vec<PathBuf> =
        closure.lines().filter(ours).map(PathBuf::from).filter(|path| path.is_dir()).collect();
    assert!(paths.len() >= 2, "{closure}");
    paths
}

#[test]
fn no_process_has_a_secret_among_its_arguments_or_in_its_environment() {
    let Some(journey) = Journey::new() else { return };
    if !common::have("strace") {
        return;
    }
    let trace = journey.root.path().join("trace");
    let bootstrap = journey.bootstrap();
    let mut strace = journey.command("strace");
    strace.args(["-f", "-qq", "-v", "-s", "100000", "-e", "trace=execve", "-o"]).arg(&trace);
    strace.arg(bootstrap.get_program()).args(bootstrap.get_args());
    run(&mut strace).succeeds();
    let canaries = canaries(&journey);
    let trace = unescaped(&trace);
    for program in ["nix", "git", "ssh", "sops"] {
        assert!(holds(&trace, &format!("/{program}\", [")), "{program} was not seen");
    }
    assert!(holds(&trace, "HOME="), "environments were not seen");
    absent(&trace, &canaries, "the arguments or the environment of a process");
}

/// strace's strings as they were.
fn unescaped(file: &Path) -> Vec<u8> {
    fs::read_to_string(file).unwrap().replace("\\\"", "\"").into_bytes()
}

#[test]
fn a_search_that_finds_what_is_there() {
    let Some(journey) = Journey::new() else { return };
    let canaries = canaries(&journey);
    let mut echo = Command::new("printf");
    echo.args(["%s", &canaries[0].text]);
    assert!(holds(run(&mut echo).stdout.as_bytes(), &canaries[0].text));
    let config = journey.config();
    fs::write(config.join("leak"), &canaries[3].text).unwrap();
    journey.commit_config("A leak");
    assert!(holds(&objects(&journey, &config), &canaries[3].text));
}
