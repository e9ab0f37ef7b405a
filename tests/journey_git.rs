//! Remotes that others push to while a run is at work, and runs that push nothing or
//! to another branch.

mod common;

use std::fs;
use std::path::Path;

use common::journey::{HOST, Journey, run};
use serde_json::Value;

fn fact(journey: &Journey, step: &str, name: &str) -> String {
    journey.steps()[step]["evidence"]["facts"][name].as_str().unwrap_or_default().to_owned()
}

/// Another person sets a value in the host's secrets, with the operator's key.
fn somebody_sets(journey: &Journey, value: &str) {
    let dir = journey.others("nix-secrets");
    journey.git(&dir, &["pull", "-q", "--ff-only"]);
    let mut sops = journey.command("sops");
    sops.current_dir(&dir).args(["set", &format!("sops/{HOST}.yaml"), "[\"theirs\"]"]);
    run(sops.arg(format!("\"{value}\""))).succeeds();
    journey.git(&dir, &["commit", "-q", "-am", "Theirs"]);
    journey.git(&dir, &["push", "-q"]);
}

/// What the host's file in the remote's newest commit says, opened with the operator's key.
fn in_remote(journey: &Journey) -> Value {
    let text = journey.git(&journey.remote("nix-secrets"), &["show", "main:sops/guppy.yaml"]);
    let file = journey.root.path().join("tmp/remote.yaml");
    fs::write(&file, text + "\n").unwrap();
    let mut sops = journey.command("sops");
    let opened = run(sops.args(["decrypt", "--output-type", "json"]).arg(&file));
    fs::remove_file(&file).unwrap();
    serde_json::from_str(&opened.succeeds().stdout).unwrap()
}

fn is_ancestor(journey: &Journey, dir: &Path, old: &str, new: &str) -> bool {
    let mut git = journey.command("git");
    run(git.arg("-C").arg(dir).args(["merge-base", "--is-ancestor", old, new])).code == Some(0)
}

#[test]
fn secrets_are_edited_on_what_others_pushed_and_the_checkout_follows() {
    let Some(journey) = Journey::new() else { return };
    somebody_sets(&journey, "newest");
    journey.somebody_pushes("nix-config", "theirs", "x\n");
    let theirs = journey.remote_main("nix-secrets");
    let config = journey.remote_main("nix-config");
    run(&mut journey.bootstrap()).ends(0, &["others had pushed to", "nix-secrets"]);

    let dir = journey.secrets();
    let head = journey.git(&dir, &["rev-parse", "HEAD"]);
    assert_eq!(journey.remote_main("nix-secrets"), head);
    assert_eq!(journey.git(&dir, &["rev-parse", "HEAD~1"]), theirs);
    assert_eq!(journey.git(&dir, &["status", "--porcelain"]), "");
    assert_eq!(journey.git(&dir, &["worktree", "list"]).lines().count(), 1);
    assert_eq!(in_remote(&journey)["theirs"], "newest");
    assert_eq!(fact(&journey, "lock", "revision"), head);
    // The hardware is committed on what was checked out, and nothing of it is pushed yet.
    assert_eq!(journey.remote_main("nix-config"), config);
    assert!(!is_ancestor(&journey, &journey.config(), &config, "HEAD"));

    // The run's own commit beside theirs keeps no later process from going on.
    let ran = run(&mut journey.bootstrap());
    ran.ends(0, &["secrets   done already", "hardware  done already", "build     done already"]);
}

#[test]
fn a_push_in_between_is_built_upon_and_a_changed_checkout_is_left() {
    let Some(journey) = Journey::new() else { return };
    let dir = journey.others("nix-secrets");
    let once = format!(
        "[ -e {0}/once ] && exit 0\n: > {0}/once\ncd {0}\necho x > theirs\ngit add theirs\n\
         git commit -q -m Theirs\ngit push -q",
        dir.display()
    );
    journey.hook(&journey.secrets(), "pre-push", &once);
    // An uncommitted file appears in the checkout meanwhile: it stays as it is.
    let stray = journey.secrets().join("stray");
    journey.hook(&journey.secrets(), "pre-commit", &format!("echo mine > {}", stray.display()));
    let before = journey.git(&journey.secrets(), &["rev-parse", "HEAD"]);
    let ran = run(&mut journey.bootstrap());
    ran.ends(0, &["the checkout", "stays as it is", "changes that are not committed"]);
    assert_eq!(journey.git(&journey.secrets(), &["rev-parse", "HEAD"]), before);
    assert_eq!(fs::read_to_string(&stray).unwrap(), "mine\n");
    let pushed = journey.remote_main("nix-secrets");
    assert_eq!(fact(&journey, "lock", "revision"), pushed);
    let log = journey.git(&journey.remote("nix-secrets"), &["log", "--format=%s", "main"]);
    assert_eq!(
        log.lines().take(2).collect::<Vec<_>>(),
        ["guppy: recipient of the new host", "Theirs"]
    );
}

#[test]
fn a_remote_that_is_never_quiet_is_given_up() {
    let Some(journey) = Journey::new() else { return };
    let dir = journey.others("nix-secrets");
    let always =
        format!("cd {}\ngit commit -q --allow-empty -m Theirs\ngit push -q", dir.display());
    journey.hook(&journey.secrets(), "pre-push", &always);
    let ran = run(&mut journey.bootstrap());
    ran.ends(1, &["could not be pushed", "5 times somebody else pushed in between"]);
    assert_eq!(journey.git(&journey.secrets(), &["status", "--porcelain"]), "");
    assert_eq!(journey.git(&journey.secrets(), &["worktree", "list"]).lines().count(), 1);
    fs::remove_file(journey.secrets().join(".git/hooks/pre-push")).unwrap();
    run(&mut journey.bootstrap()).succeeds();
}

#[test]
fn the_hardware_commit_is_brought_onto_what_others_pushed() {
    let Some(journey) = Journey::new() else { return };
    journey.somebody_pushes("nix-config", "theirs", "no part of any system\n");
    run(&mut journey.bootstrap()).succeeds();
    let local = journey.git(&journey.config(), &["rev-parse", "HEAD"]);
    let journey = journey.installed();
    let ran = run(&mut journey.only(&["publish"]));
    ran.ends(
        0,
        &["a clean clone gives the running system", "was made again on theirs", "pull --rebase"],
    );
    let pushed = journey.remote_main("nix-config");
    assert_eq!(fact(&journey, "publish", "revision"), pushed);
    assert_eq!(journey.git(&journey.config(), &["rev-parse", "HEAD"]), local);
    let changed =
        journey.git(&journey.remote("nix-config"), &["diff", "--name-only", "main~1", "main"]);
    let hardware = format!("hosts/nixos/{HOST}/hardware-configuration.nix");
    assert_eq!(changed.lines().collect::<Vec<_>>(), ["flake.lock", &hardware]);
    run(&mut journey.only(&["publish"])).ends(0, &["publish   done already"]);
    // What the run advises works: the same change is not made twice.
    journey.git(&journey.config(), &["pull", "-q", "--rebase"]);
    assert_eq!(journey.git(&journey.config(), &["rev-parse", "HEAD"]), pushed);
}

#[test]
fn a_config_that_others_changed_meanwhile_is_published_and_said_to_differ() {
    let Some(journey) = Journey::new() else { return };
    run(&mut journey.bootstrap()).succeeds();
    let dir = journey.others("nix-config");
    let host = dir.join(format!("hosts/nixos/{HOST}/default.nix"));
    let module = fs::read_to_string(&host).unwrap();
    let at = module.rfind('}').unwrap();
    let text = format!("{}  environment.etc.theirs.text = \"x\";\n}}\n", &module[..at]);
    journey.somebody_pushes("nix-config", &format!("hosts/nixos/{HOST}/default.nix"), &text);
    let journey = journey.installed();
    let ran = run(&mut journey.only(&["publish"]));
    ran.ends(0, &["what others pushed meanwhile changes guppy", "nixos-rebuild boot --flake"]);

    // Both have written the hardware file: nobody can tell which is right.
    let path = format!("hosts/nixos/{HOST}/hardware-configuration.nix");
    let hardware = fs::read_to_string(journey.hardware_file()).unwrap();
    let other = journey.others("nix-config");
    journey.git(&other, &["pull", "-q", "--ff-only"]);
    journey.git(&other, &["reset", "-q", "--hard", "HEAD~1"]);
    journey.git(&other, &["push", "-q", "--force"]);
    journey.somebody_pushes("nix-config", &path, &hardware.replace("virtio_blk", "nvme"));
    let before = journey.remote_main("nix-config");
    run(&mut journey.only(&["publish"])).ends(1, &["otherwise in the remote", "checkout --theirs"]);
    assert_eq!(journey.remote_main("nix-config"), before);
}
