//! Secrets of known value, and a search for them wherever they must not be: arguments
//! and environment of every process, logs, journal, git, nix store, temporary files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::journey::{Journey, PASSPHRASE, PASSWORD, Ran, files_below, run};
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
        let pair = landfall::secret::age::HostKeyPair::parse(&key).unwrap();
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
    // The standard library's search is compiled for speed, whatever the tests are.
    String::from_utf8_lossy(bytes).contains(canary)
}

#[track_caller]
fn absent(bytes: &[u8], canaries: &[Canary], place: &str) {
    let text = String::from_utf8_lossy(bytes);
    for canary in canaries {
        assert!(!text.contains(&canary.text), "the {} is in {place}", canary.name);
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
    let (ran, traced) = run_traced(&journey);
    let canaries = canaries(&journey);
    assert_eq!(canaries.len(), 7);
    absent(ran.text.as_bytes(), &canaries, "what was printed");
    match traced {
        Some(calls) => absent(&calls, &canaries, "arguments or environment of a process"),
        None => {
            crate::common::skipped("arguments and environments are not looked at without strace")
        }
    }

    let mut files = files_below(journey.root.path());
    files.retain(|file| !may_hold(file));
    assert!(files.iter().any(|file| file.ends_with("log")));
    assert!(files.iter().any(|file| file.ends_with("journal.jsonl")));
    for path in store_paths(&journey) {
        files.extend(files_below(&path));
    }
    for file in &files {
        absent(&fs::read(file).unwrap(), &canaries, &file.display().to_string());
    }
    let remotes = ["nix-config", "nix-secrets"].map(|name| journey.remote(name));
    for repo in [journey.config(), journey.secrets()].iter().chain(&remotes) {
        absent(&objects(&journey, repo), &canaries, &repo.display().to_string());
    }
}

/// A run up to the build, and all that was given to the processes it started, where
/// that can be seen.
fn run_traced(journey: &Journey) -> (Ran, Option<Vec<u8>>) {
    let mut bootstrap = journey.bootstrap();
    if !in_path("strace") {
        let ran = run(&mut bootstrap);
        ran.succeeds();
        return (ran, None);
    }
    let trace = journey.root.path().join("trace");
    let mut strace = journey.command("strace");
    // With the filter, only what is looked at is slowed down.
    strace
        .args(["-f", "--seccomp-bpf", "-qq", "-v", "-s", "100000", "-e", "trace=execve", "-o"])
        .arg(&trace);
    strace.arg(bootstrap.get_program()).args(bootstrap.get_args());
    let ran = run(&mut strace);
    ran.succeeds();
    // strace escapes quotes in strings.
    let calls = fs::read_to_string(&trace).unwrap().replace("\\\"", "\"").into_bytes();
    for seen in ["/nix\", [", "/git\", [", "/ssh\", [", "/sops\", [", "HOME="] {
        assert!(holds(&calls, seen), "{seen} was not seen");
    }
    fs::remove_file(trace).unwrap();
    (ran, Some(calls))
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
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
    // An initrd is compressed: nothing would be found in it.
    let ours = |path: &&str| {
        ["source", "sops", "etc", "users", "system", "secrets"]
            .iter()
            .any(|word| path.contains(word))
    };
    let paths: Vec<PathBuf> =
        closure.lines().filter(ours).map(PathBuf::from).filter(|path| path.is_dir()).collect();
    assert!(paths.len() >= 2, "{closure}");
    paths
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
