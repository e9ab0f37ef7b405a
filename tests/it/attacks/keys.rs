//! Keys where others could get them: in folders that are shared, after a crash, in a core
//! dump, on a source that the run has left.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::git::git;
use crate::common::journey::{Ran, files_below, mode, run};
use crate::common::secrets;
use landfall::run::journal::{Entry, Journal};
use landfall::run::run_dir::{RunDir, StateDir};
use landfall::secret::age::HostKeyPair;
use tempfile::TempDir;
use uuid::Uuid;

fn landfall(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("landfall"));
    command.env_remove("XDG_STATE_HOME").env("HOME", home).args(args);
    command
}

#[test]
fn a_key_goes_into_no_file_that_somebody_has_prepared() {
    let home = tempfile::tempdir().unwrap();
    let shared = home.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).unwrap();
    let key = HostKeyPair::generate("root@guppy").unwrap();
    let private = home.path().join("host");
    fs::write(&private, key.private_openssh().unwrap().expose()).unwrap();

    // Names are made of the process id, which is easy to guess.
    let prepared: Vec<PathBuf> = (1..4000)
        .map(|next| shared.join(format!("out.tmp-{}", std::process::id() + next)))
        .collect();
    for file in &prepared {
        fs::write(file, "").unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o666)).unwrap();
    }
    let inodes: Vec<u64> = prepared.iter().map(|file| file.metadata().unwrap().ino()).collect();
    let out = shared.join("out");
    let to = |out: &Path| {
        let mut command = landfall(home.path(), &["keys", "to-age"]);
        run(command.arg(&private).arg("--private-key").arg(out))
    };
    to(&out).succeeds();
    assert!(!inodes.contains(&out.metadata().unwrap().ino()), "the key is in a prepared file");
    assert_eq!(mode(&out), 0o600);
    assert!(prepared.iter().all(|file| fs::read(file).unwrap().is_empty()));
    assert_eq!(fs::read_dir(&shared).unwrap().count(), prepared.len() + 1);

    // And through no link, not even one that leads nowhere yet.
    let elsewhere = home.path().join("elsewhere");
    let link = shared.join("link");
    std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
    to(&link).ends(2, &["exists already"]);
    assert!(!elsewhere.exists());
}

#[test]
fn a_landfall_that_is_killed_while_sops_runs_leaves_no_identity() {
    let Some(home) = secrets::Home::new() else { return };
    let sops = home.path("bin/sops");
    fs::write(&sops, "#!/bin/sh\n[ -s \"$SOPS_AGE_KEY_FILE\" ] && kill -9 $PPID\nsleep 1\n")
        .unwrap();
    for dir in ["tmp", "run"] {
        fs::create_dir(home.path(dir)).unwrap();
    }
    let mut rotate = home.command(&["secrets", "rotate", "--yes"]);
    rotate.env("TMPDIR", home.path("tmp")).env("XDG_RUNTIME_DIR", home.path("run"));
    assert_eq!(home.ran(&mut rotate).code, None, "it was not killed");
    let own = home.path(".config/sops/age/keys.txt");
    for file in files_below(home.dir.path()).into_iter().filter(|file| *file != own) {
        let text = fs::read(&file).unwrap();
        let found = String::from_utf8_lossy(&text).contains("AGE-SECRET-KEY-1");
        assert!(!found, "an identity is in {}", file.display());
    }
}

/// A home with runs, and keys in their folders.
struct Runs(TempDir);

const KEY: &str = "keys/ssh_host_ed25519_key";
const PUBLIC: &str = "keys/ssh_host_ed25519_key.pub";
/// What killed processes leave: this landfall's, an older one's, and packed extra files.
const LEFT: [&str; 3] =
    ["keys/.landfall-Ab12Cd", "keys/ssh_host_ed25519_key.tmp-4711", ".tmpAb12Cd"];

impl Runs {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn begun(&self, host: &str, id: u128) -> (RunDir, Journal) {
        let state = StateDir::at(self.0.path().join(".local/state/landfall")).unwrap();
        let run = state.host(host).unwrap().new_run(Uuid::from_u128(id)).unwrap();
        fs::create_dir(run.path().join("keys")).unwrap();
        for file in [KEY, PUBLIC].iter().chain(&LEFT) {
            fs::write(run.path().join(file), "a key").unwrap();
        }
        let journal = Journal::open(&run.journal()).unwrap();
        (run, journal)
    }

    fn run(&self, args: &[&str]) -> Ran {
        run(&mut landfall(self.0.path(), args))
    }
}

fn has(run: &RunDir, file: &str) -> bool {
    run.path().join(file).exists()
}

#[test]
fn every_command_sweeps_away_what_a_crash_left_of_keys() {
    let runs = Runs::new();
    let (given_up, journal) = runs.begun("guppy", 1);
    drop(journal);
    let (current, journal) = runs.begun("guppy", 2);
    drop(journal);
    let (complete, mut journal) = runs.begun("tetra", 3);
    journal.append(Entry::Completed).unwrap();
    drop(journal);
    let (busy, _held) = runs.begun("molly", 4);
    runs.run(&["man"]).succeeds();
    for run in [&given_up, &current, &complete] {
        assert!(LEFT.iter().all(|file| !has(run, file)), "{run:?}");
        assert!(has(run, PUBLIC));
    }
    assert!(!has(&given_up, KEY) && !has(&complete, KEY));
    assert!(has(&current, KEY), "an unfinished run needs its key");
    assert!(LEFT.iter().all(|file| has(&busy, file)), "somebody works on this run");
}

#[test]
fn status_says_which_private_keys_are_still_here() {
    let runs = Runs::new();
    let (current, journal) = runs.begun("guppy", 1);
    drop(journal);
    let dir = current.path().join("keys").display().to_string();
    let words = [dir.as_str(), "private keys are on this machine", "landfall abandon guppy"];
    runs.run(&["status"]).ends(0, &words);
    runs.run(&["status", "guppy"]).ends(0, &words);
    let json: serde_json::Value =
        serde_json::from_str(&runs.run(&["status", "guppy", "--json"]).stdout).unwrap();
    assert!(json["private_keys"][0].as_str().unwrap().ends_with(KEY), "{json}");
    runs.run(&["abandon", "guppy", "--yes"]).succeeds();
    assert!(!has(&current, KEY));
    assert!(!runs.run(&["status"]).text.contains("private keys"));
}

#[test]
fn a_crash_leaves_no_core_dump() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("config");
    fs::create_dir(&config).unwrap();
    git(&config, &["init", "-q"]);
    fs::write(config.join("flake.nix"), "{ outputs = _: { }; }\n").unwrap();
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let target = format!("root@{}", silent.local_addr().unwrap());
    let dir = config.display().to_string();
    let mut command = landfall(home.path(), &["-C", &dir, "bootstrap", "guppy", &target, "--yes"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let limits = format!("/proc/{}/limits", child.id());
    let off = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        line.split_whitespace().skip(4).take(2).all(|limit| limit == "0")
    };
    let is_off = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        off(&fs::read_to_string(&limits).unwrap())
    });
    let _ = child.kill();
    let _ = child.wait();
    assert!(is_off);
}
