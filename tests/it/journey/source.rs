//! The steps up to the disks, run whole: what each leaves, and that a second run
//! leaves it so.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::common::journey::{HOST, Journey, files_below, mode, run};
use landfall::secret::age::{HostKeyPair, Identity};
use serde_json::Value;

const DONE: [&str; 7] = ["check", "identity", "secrets", "lock", "installer", "hardware", "build"];

fn fact(steps: &BTreeMap<String, Value>, step: &str, name: &str) -> String {
    steps[step]["evidence"]["facts"][name].as_str().unwrap_or_default().to_owned()
}

/// What a run up to the build leaves, told apart from what was there before.
struct Left {
    journey: Journey,
    steps: BTreeMap<String, Value>,
    lock_before: Value,
}

fn left_by_a_run() -> Option<Left> {
    let journey = Journey::new()?;
    let lock_before = lock(&journey);
    run(&mut journey.bootstrap()).succeeds();
    let steps = journey.steps();
    Some(Left { journey, steps, lock_before })
}

fn lock(journey: &Journey) -> Value {
    let text = fs::read_to_string(journey.config().join("flake.lock")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn the_steps_before_the_disks_do_what_they_say() {
    let Some(left) = left_by_a_run() else { return };
    states(&left);
    keys(&left);
    secrets(&left);
    locks(&left);
    hardware(&left);
    build(&left);
    again(&left);
}

fn states(Left { journey, steps, .. }: &Left) {
    for step in DONE {
        assert_eq!(steps[step]["state"], "done", "{step}: {}", steps[step]);
        assert!(steps[step]["evidence"]["summary"].is_string(), "{step}: {}", steps[step]);
        assert!(steps[step]["seconds"].is_f64(), "{step}: {}", steps[step]);
    }
    assert_eq!(steps["disks"]["state"], "ready");
    let before = journey.seen();
    let mut args = journey.args("plan");
    args.retain(|word| word != "--yes");
    let plan = run(journey.landfall().args(args).arg("--json"));
    let planned = crate::common::journey::steps_of(&plan.succeeds().stdout);
    assert_eq!(planned.len(), 16);
    for (step, row) in planned.iter().filter(|(step, _)| *step != "check") {
        let done = DONE.contains(&step.as_str());
        assert_eq!(row["state"] == "done", done, "{step}: {row}");
    }
    assert_eq!(journey.seen(), before);
}

fn keys(Left { journey, steps, .. }: &Left) {
    let run_dir = journey.run_dir();
    for file in files_below(&journey.state()) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    for dir in [journey.state(), run_dir.clone(), run_dir.join("keys")] {
        assert_eq!(mode(&dir), 0o700, "{}", dir.display());
    }
    let private = run_dir.join("keys/ssh_host_ed25519_key");
    let public = fs::read_to_string(private.with_extension("pub")).unwrap();
    let ssh_keygen = |args: &[&str]| {
        run(journey.command("ssh-keygen").args(args).arg(&private)).succeeds().stdout.clone()
    };
    let body = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    assert_eq!(body(ssh_keygen(&["-y", "-f"]).trim()), body(public.trim()));
    let fingerprint = fact(steps, "identity", "fingerprint");
    assert!(ssh_keygen(&["-l", "-f"]).contains(&format!("256 {fingerprint} ")));
}

/// The identity that the host will have, in a file for sops.
fn host_identity(journey: &Journey) -> PathBuf {
    let private = journey.run_dir().join("keys/ssh_host_ed25519_key");
    let key = HostKeyPair::parse(&fs::read_to_string(private).unwrap()).unwrap();
    write_identity(journey, "host", &key.identity().unwrap())
}

fn write_identity(journey: &Journey, name: &str, identity: &Identity) -> PathBuf {
    let path = journey.root.path().join("tmp").join(name);
    fs::write(&path, identity.key_file().expose()).unwrap();
    path
}

fn secrets(Left { journey, steps, .. }: &Left) {
    let opened = journey.sops(&host_identity(journey));
    let values: Value = serde_json::from_str(&opened.succeeds().stdout).unwrap();
    assert!(values["sample"].as_str().is_some_and(|sample| sample.len() >= 20));
    journey.sops(&journey.operator_key()).succeeds();
    let stranger = write_identity(journey, "stranger", &Identity::generate());
    assert_ne!(journey.sops(&stranger).code, Some(0));

    let dir = journey.secrets();
    let recipient = fact(steps, "secrets", "recipient");
    assert_eq!(recipient, fact(steps, "identity", "recipient"));
    let changed = journey.git(&dir, &["diff", "--name-only", "HEAD~1", "HEAD"]);
    assert_eq!(changed.lines().collect::<Vec<_>>(), [".sops.yaml", "sops/guppy.yaml"]);
    let diff = journey.git(&dir, &["diff", "-U0", "HEAD~1", "HEAD", "--", ".sops.yaml"]);
    let added = |line: &&str| line.starts_with('+') && !line.starts_with("+++");
    let gone = |line: &&str| line.starts_with('-') && !line.starts_with("---");
    let lines: Vec<&str> = diff.lines().filter(added).collect();
    assert_eq!(lines.iter().filter(|line| line.contains(&recipient)).count(), 1, "{diff}");
    assert!(lines.iter().any(|line| line.contains("*guppy")), "{diff}");
    assert_eq!(diff.lines().filter(gone).count(), 0, "{diff}");
    clean_and_pushed(journey, "nix-secrets", &dir, 2);
    assert_eq!(journey.git(&dir, &["rev-parse", "HEAD"]), fact(steps, "secrets", "revision"));
}

fn clean_and_pushed(journey: &Journey, name: &str, dir: &Path, commits: usize) {
    assert_eq!(journey.git(dir, &["status", "--porcelain"]), "");
    assert_eq!(journey.git(dir, &["rev-list", "--count", "HEAD"]), commits.to_string());
    let head = journey.git(dir, &["rev-parse", "HEAD"]);
    assert_eq!(journey.git(&journey.remote(name), &["rev-parse", "main"]), head);
}

fn locks(Left { journey, steps, lock_before }: &Left) {
    let lock = lock(journey);
    let (before, after) = (&lock_before["nodes"], &lock["nodes"]);
    assert_eq!(before.as_object().unwrap().len(), after.as_object().unwrap().len());
    for (name, node) in after.as_object().unwrap() {
        assert_eq!(*node == before[name], name != "nix-secrets", "{name}: {node}");
    }
    assert_eq!(after["nix-secrets"]["locked"]["rev"], *fact(steps, "secrets", "revision"));
}

fn hardware(Left { journey, steps, .. }: &Left) {
    let written = fs::read_to_string(journey.hardware_file()).unwrap();
    assert!(written.contains("virtio_blk"), "{written}");
    let dir = journey.config();
    assert_eq!(journey.git(&dir, &["status", "--porcelain"]), "");
    let changed = journey.git(&dir, &["diff", "--name-only", "HEAD~1", "HEAD"]);
    let file = format!("hosts/nixos/{HOST}/hardware-configuration.nix");
    assert_eq!(changed.lines().collect::<Vec<_>>(), ["flake.lock", file.as_str()]);
    assert_eq!(journey.git(&dir, &["rev-parse", "HEAD"]), fact(steps, "hardware", "revision"));
    // Pushed at the end of the journey, when it is known to work.
    let pushed = journey.git(&journey.remote("nix-config"), &["rev-parse", "main"]);
    assert_eq!(pushed, journey.git(&dir, &["rev-parse", "HEAD~1"]));
}

fn build(Left { journey, steps, .. }: &Left) {
    for name in ["system", "full", "format", "mount"] {
        let path = fact(steps, "build", name);
        run(journey.command("nix").args(["path-info", &path])).succeeds();
    }
    assert_ne!(fact(steps, "build", "system"), fact(steps, "build", "full"));
    let revision = fact(steps, "build", "revision");
    let flake = format!("git+file://{}?rev={revision}", journey.config().display());
    let attr = format!("{flake}#nixosConfigurations.{HOST}.config.system.build.toplevel");
    let evaluated = run(journey.command("nix").args(["eval", "--raw", &attr]));
    assert_eq!(evaluated.succeeds().stdout, fact(steps, "build", "full"));
}

fn again(Left { journey, steps, .. }: &Left) {
    let keys = |journey: &Journey| -> BTreeMap<PathBuf, Vec<u8>> {
        let files = files_below(&journey.run_dir().join("keys")).into_iter();
        files.map(|file| (file.clone(), fs::read(file).unwrap())).collect()
    };
    let before = (journey.seen(), keys(journey));
    let ran = run(&mut journey.bootstrap());
    ran.succeeds();
    for step in DONE.iter().filter(|step| **step != "check") {
        let line = format!("{step:<9} done already");
        assert!(ran.text.contains(&line), "no {line:?} in:\n{}", ran.text);
    }
    assert_eq!((journey.seen(), keys(journey)), before);
    for (step, row) in journey.steps() {
        assert_eq!(row["evidence"], steps[&step]["evidence"], "{step}");
    }
    let tmp: Vec<_> = fs::read_dir(journey.root.path().join("tmp")).unwrap().flatten().collect();
    let left: Vec<_> = tmp
        .iter()
        .filter(|e| !["host", "stranger"].map(Into::into).contains(&e.file_name()))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_host_key_that_is_given_is_used() {
    let Some(journey) = Journey::new() else { return };
    let given = crate::common::sshd::keygen(journey.root.path(), "given", "ed25519");
    let mut bootstrap = journey.landfall();
    bootstrap.args(journey.args("bootstrap")).args(["--until", "identity"]);
    run(bootstrap.arg("--host-key").arg(&given.private)).succeeds();
    let kept = journey.run_dir().join("keys/ssh_host_ed25519_key.pub");
    assert_eq!(
        fs::read_to_string(kept).unwrap().parse::<landfall::ssh::HostKey>().unwrap(),
        given.public
    );
}

#[test]
fn without_a_push_the_lock_stays_and_the_new_secrets_are_built_all_the_same() {
    let Some(journey) = Journey::new() else { return };
    let before = lock(&journey);
    run(journey.bootstrap().arg("--no-push")).succeeds();
    assert_eq!(lock(&journey), before);
    let remote = journey.git(&journey.remote("nix-secrets"), &["rev-parse", "main"]);
    assert_eq!(journey.git(&journey.secrets(), &["rev-parse", "HEAD~1"]), remote);
    assert_eq!(journey.steps()["build"]["state"], "done");
    journey.sops(&host_identity(&journey)).succeeds();
}
