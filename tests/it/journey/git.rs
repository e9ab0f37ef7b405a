//! Remotes that others push to while a run is at work, and runs that push nothing or
//! to another branch.

use std::fs;
use std::path::Path;

use crate::common::journey::{HOST, Journey, run};
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

#[test]
fn a_lock_that_others_moved_too_is_made_anew_on_theirs() {
    let Some(journey) = Journey::new() else { return };
    run(&mut journey.bootstrap()).succeeds();
    let hardware = fs::read(journey.hardware_file()).unwrap();
    journey.somebody_pushes("nix-secrets", "theirs", "x\n");
    let others = journey.others("nix-config");
    let flake = others.display().to_string();
    run(journey.command("nix").args(["flake", "update", "nix-secrets", "--flake", &flake]))
        .succeeds();
    let lock = fs::read_to_string(others.join("flake.lock")).unwrap();
    journey.somebody_pushes("nix-config", "theirs", "y\n");
    let journey = journey.installed();
    let ran = run(&mut journey.only(&["publish"]));
    ran.ends(0, &["made again on theirs", "changes guppy"]);
    let shown =
        |file: &str| journey.git(&journey.remote("nix-config"), &["show", &format!("main:{file}")]);
    assert_eq!(shown("flake.lock"), lock.trim_end());
    assert!(lock.contains(&journey.remote_main("nix-secrets")));
    let path = format!("hosts/nixos/{HOST}/hardware-configuration.nix");
    assert_eq!(shown(&path).as_bytes(), hardware.trim_ascii_end());
}

#[test]
fn without_a_push_everything_is_installed_and_what_to_push_is_said() {
    let Some(journey) = Journey::new() else { return };
    // Where nothing is pushed, it does not matter what others do.
    journey.somebody_pushes("nix-secrets", "theirs", "x\n");
    let remotes = ["nix-config", "nix-secrets"].map(|name| journey.remote_main(name));
    let lock = fs::read(journey.config().join("flake.lock")).unwrap();
    let ran = run(journey.bootstrap().arg("--no-push"));
    let (config, secrets) = (journey.config(), journey.secrets());
    let push = |dir: &Path| format!("git -C {} push", dir.display());
    let update = format!("nix flake update nix-secrets --flake {}", config.display());
    let commit = format!("git -C {} commit -m 'Lock the secrets' -- flake.lock", config.display());
    let words =
        [&push(&secrets), &update, &commit, &push(&config), "nothing is pushed, so nothing"];
    ran.ends(0, &words.map(AsRef::as_ref));
    assert_eq!(remotes, ["nix-config", "nix-secrets"].map(|name| journey.remote_main(name)));
    assert_eq!(fs::read(config.join("flake.lock")).unwrap(), lock);
    let system = fact(&journey, "build", "full");

    // The advice, followed, ends in the same secrets.
    journey.git(&secrets, &["pull", "-q", "--rebase"]);
    journey.git(&secrets, &["push", "-q"]);
    run(journey.command("nix").args(update.split(' ').skip(1))).succeeds();
    journey.git(&config, &["commit", "-q", "-m", "Lock the secrets", "--", "flake.lock"]);
    journey.git(&config, &["push", "-q"]);
    let attr = format!(
        "git+file://{}#nixosConfigurations.{HOST}.config.system.build.toplevel",
        config.display()
    );
    let evaluated =
        run(journey.command("nix").args(["eval", "--raw", &attr])).succeeds().stdout.clone();
    assert_ne!(evaluated, system, "theirs came along");

    let journey = journey.installed();
    let ran = run(journey.only(&["publish"]).arg("--no-push"));
    ran.ends(0, &["publish left out: left out by --no-push"]);
}

#[test]
fn a_push_branch_is_pushed_to_and_has_to_be_the_one_that_the_flake_follows() {
    let Some(journey) = Journey::new() else { return };
    let branch = |args: &mut Vec<String>| args.extend(["--push-branch", "staging"].map(Into::into));
    let words = ["follows the branch main", "ref=staging", "--push-branch"];
    journey.refuses(2, &words, branch);

    let flake = journey.config().join("flake.nix");
    let text = fs::read_to_string(&flake).unwrap();
    let at = text.find("nix-secrets.git?ref=main").expect("the input of the secrets");
    let (before, after) = text.split_at(at);
    journey.git(&journey.secrets(), &["push", "-q", "origin", "main:staging"]);
    for (text, words) in [
        (after.replacen("?ref=main&shallow=1", "", 1), "names no branch, and the remote's is main"),
        (after.replacen("?ref=main", "?ref=staging", 1), ""),
    ] {
        fs::write(&flake, format!("{before}{text}")).unwrap();
        let config = format!("git+file://{}", journey.config().display());
        run(journey.command("nix").args(["flake", "lock", &config])).succeeds();
        journey.commit_config("Follow another branch");
        journey.git(&journey.config(), &["push", "-q"]);
        if !words.is_empty() {
            journey.check_refuses(2, &[words], branch);
        }
    }
    let mains = ["nix-config", "nix-secrets"].map(|name| journey.remote_main(name));
    run(journey.bootstrap().args(["--push-branch", "staging"])).succeeds();
    let journey = journey.installed();
    run(journey.only(&["publish"]).args(["--push-branch", "staging"])).succeeds();
    assert_eq!(mains, ["nix-config", "nix-secrets"].map(|name| journey.remote_main(name)));
    for (name, step) in [("nix-config", "publish"), ("nix-secrets", "secrets")] {
        let staging = journey.git(&journey.remote(name), &["rev-parse", "staging"]);
        assert_eq!(staging, fact(&journey, step, "revision"), "{name}");
        assert_ne!(staging, journey.remote_main(name));
    }
}
