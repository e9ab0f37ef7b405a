//! What `landfall init` writes, and what it refuses.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use predicates::prelude::*;
use predicates::str::contains;

use super::{FLAGS, Home, PASSWORD, read};
use crate::common::have;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// What the login of an installed system does with the hash.
fn opens(hash: &str, password: &str) -> bool {
    let script = "print crypt($ARGV[0], $ARGV[1])";
    read(Command::new("perl").args(["-e", script, password, hash])) == hash
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

#[test]
fn two_repositories_with_working_secrets() {
    if !have("sops") {
        return;
    }
    let home = Home::new();
    let flags = [
        "--password-file",
        "password",
        "--remote",
        "git@forge.example:anna/nix-config.git",
        "--secrets-remote",
        "git@forge.example:anna/nix-secrets.git",
    ];
    home.init(&[&FLAGS[..], &flags].concat())
        .success()
        .stdout(contains("landfall bootstrap ray root@ADDRESS"));

    for repo in ["nix-config", "nix-secrets"] {
        let path = format!("src/{repo}");
        assert_eq!(home.git(&path, &["status", "--porcelain"]), "");
        assert_eq!(home.git(&path, &["rev-list", "--count", "main"]), "1");
        let origin = format!("git@forge.example:anna/{repo}.git");
        assert_eq!(home.git(&path, &["remote", "get-url", "origin"]), origin);
    }
    let flake = fs::read_to_string(home.path("src/nix-config/flake.nix")).unwrap();
    let input = "\"git+ssh://git@forge.example/anna/nix-secrets.git?ref=main&shallow=1\"";
    assert!(flake.contains(input), "{flake}");
    let key = fs::read_to_string(home.path(".ssh/id_ed25519.pub")).unwrap();
    let keys = home.path("src/nix-config/hosts/common/users/authorized_keys");
    assert!(fs::read_to_string(keys).unwrap().ends_with(&key));

    assert!(opens(&home.secret("[\"passwords\"][\"anna\"]"), PASSWORD));
    assert!(home.secret("[\"sample\"]").len() >= 20);
    assert_eq!(mode(&home.path(".config/sops/age/keys.txt")), 0o600);
}

#[test]
fn no_secret_is_left_in_the_clear() {
    if !have("sops") {
        return;
    }
    let home = Home::new();
    home.init(&[&FLAGS[..], &["--password-file", "password"]].concat()).success();
    let identity = fs::read_to_string(home.path(".config/sops/age/keys.txt")).unwrap();
    let identity = identity.lines().last().unwrap().to_owned();
    let hash = home.secret("[\"passwords\"][\"anna\"]");
    let sample = home.secret("[\"sample\"]");
    let canaries = [PASSWORD, &identity, &hash, &sample];
    for file in files_below(&home.path("src")) {
        let bytes = fs::read(&file).unwrap();
        for canary in canaries {
            let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
            assert!(!found, "{}", file.display());
        }
    }
    // Objects are compressed, so git has to look into them.
    for repo in ["nix-config", "nix-secrets"] {
        let path = format!("src/{repo}");
        for canary in canaries {
            let found = home.git(&path, &["log", "--all", "--oneline", "-S", canary]);
            assert_eq!(found, "", "{canary} in {repo}");
        }
    }
    assert_eq!(
        home.git("src/nix-config", &["log", "--oneline", "-S", "networking.hostName"])
            .lines()
            .count(),
        1
    );
}

#[test]
fn a_password_is_made_up_and_kept() {
    if !have("sops") {
        return;
    }
    let home = Home::new();
    home.init(&FLAGS).success().stdout(contains("password-anna@ray"));
    let path = home.path(".local/state/landfall/password-anna@ray");
    assert_eq!(mode(&path), 0o600);
    let password = fs::read_to_string(path).unwrap();
    assert!(opens(&home.secret("[\"passwords\"][\"anna\"]"), password.trim_end()));
}

#[test]
fn an_identity_that_is_there_is_used() {
    if !have("sops") {
        return;
    }
    let home = Home::new();
    home.init(&FLAGS).success().stdout(contains("your new age identity"));
    let before = fs::read(home.path(".config/sops/age/keys.txt")).unwrap();
    let again = ["other", "--yes", "--host", "eel", "--user", "anna"];
    home.init(&again).success().stdout(contains("your new age identity").not());
    assert_eq!(fs::read(home.path(".config/sops/age/keys.txt")).unwrap(), before);
}

#[test]
fn given_recipients_need_no_identity_here() {
    if !have("sops") {
        return;
    }
    let home = Home::new();
    home.init(&FLAGS).success();
    let identity = fs::read_to_string(home.path(".config/sops/age/keys.txt")).unwrap();
    let recipient = identity.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
    let elsewhere = Home::new();
    elsewhere.init(&[&FLAGS[..], &["--age-recipient", recipient]].concat()).success();
    assert!(!elsewhere.path(".config").exists());
    let rules = fs::read_to_string(elsewhere.path("src/nix-secrets/.sops.yaml")).unwrap();
    assert!(rules.contains(&format!("- &user_anna {recipient}\n")), "{rules}");
}

#[test]
fn nothing_is_overwritten() {
    let home = Home::new();
    fs::create_dir_all(home.path("src/nix-secrets")).unwrap();
    fs::write(home.path("src/nix-secrets/mine"), "mine").unwrap();
    home.init(&FLAGS).code(2).stderr(contains("nix-secrets already exists"));
    assert!(!home.path("src/nix-config").exists());
    assert!(!home.path(".config").exists());
    assert_eq!(fs::read_to_string(home.path("src/nix-secrets/mine")).unwrap(), "mine");
}

#[test]
fn what_is_missing_is_named_and_nothing_is_written() {
    let home = Home::new();
    let before = home.entries();
    home.init(&["src", "--yes", "--user", "anna"]).code(3).stderr(contains("--host"));
    for (flag, value) in [
        ("--ssh-key", ".ssh/id_ed25519"),
        ("--ssh-key", "nowhere.pub"),
        ("--age-recipient", "age1mistyped"),
        ("--password-file", "nowhere"),
        ("--remote", "not-a-remote"),
        ("--disk", "sda"),
    ] {
        home.init(&[&FLAGS[..], &[flag, value]].concat()).code(2).stderr(contains(value));
    }
    home.init(&["src", "--yes", "--host", "Ray.lan", "--user", "anna"]).code(2);
    home.init(&["src", "--yes", "--host", "ray", "--user", "root"]).code(2);
    assert_eq!(home.entries(), before);
}

#[test]
fn a_git_without_a_name_is_found_first() {
    if !have("sops") {
        return;
    }
    let home = Home::new();
    fs::write(home.path(".gitconfig"), "[user]\nuseConfigOnly = true\n").unwrap();
    home.init(&FLAGS).code(2).stderr(contains("git config --global user.name"));
    assert!(!home.path("src").exists());
    assert!(!home.path(".config").exists());
}
