//! What needs the configuration of a host: the files that it reads, evaluated by real nix
//! from repositories as `landfall init` writes them.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::journey::{HOST, Journey, Ran, run};
use crate::common::replace;
use crate::common::sshd::{KeyPair, keygen};

/// `landfall secrets …` in a folder.
fn secrets(journey: &Journey, dir: &Path, args: &[&str]) -> Ran {
    let mut command: Command = journey.command(assert_cmd::cargo::cargo_bin!("landfall"));
    run(command.current_dir(dir).arg("secrets").args(args))
}

fn commit(journey: &Journey, dir: &Path) {
    journey.git(dir, &["add", "--all"]);
    journey.git(dir, &["commit", "-q", "--allow-empty", "-m", "state"]);
}

/// Adds the host by what its configuration needs, and proves it; all of it in `dir`.
fn added_and_proven(journey: &Journey, dir: &Path, key: &KeyPair, repo: &Path) {
    let public = key.private.with_extension("pub").display().to_string();
    let private = key.private.display().to_string();
    let add = ["add-host", HOST, "--key", &public, "--yes"];
    let added = secrets(journey, dir, &add);
    added.ends(0, &[&format!("re-encrypted: sops/{HOST}.yaml")]);
    commit(journey, repo);
    secrets(journey, dir, &add).ends(0, &["Nothing to do"]);
    secrets(journey, dir, &["verify", HOST]).ends(0, &["1 file(s) are encrypted to", HOST]);
    let proven = secrets(journey, dir, &["verify", HOST, "--key", &private]);
    proven.ends(0, &["opened by landfall and by sops"]);
    let other = keygen(journey.root.path(), "other", "ed25519").private.display().to_string();
    secrets(journey, dir, &["verify", HOST, "--key", &other]).ends(1, &["does not open"]);
}

#[test]
fn in_the_secrets_repository_the_configuration_beside_it_is_found() {
    let Some(journey) = Journey::new() else { return };
    let key = keygen(journey.root.path(), "host", "ed25519");
    let dir = journey.secrets();
    added_and_proven(&journey, &dir, &key, &dir);

    // Without it, what is missing is said, and where to name it.
    fs::rename(journey.config(), journey.root.path().join("elsewhere")).unwrap();
    let ran = secrets(&journey, &dir, &["verify", HOST]);
    ran.ends(2, &["has no nixosConfigurations.guppy", "lies elsewhere", "landfall -C"]);
    fs::remove_file(dir.join("flake.nix")).unwrap();
    commit(&journey, &dir);
    let ran = secrets(&journey, &dir, &["verify", HOST]);
    ran.ends(2, &["the configuration that reads", "was not found", "landfall -C"]);
    assert!(!ran.text.contains("landfall init"), "{}", ran.text);

    // The rules are a guess then, and a guess is nobody's to confirm.
    let other = keygen(journey.root.path(), "next", "ed25519");
    let public = other.private.with_extension("pub").display().to_string();
    let before = journey.git(&dir, &["status", "--porcelain"]);
    let guess = secrets(&journey, &dir, &["add-host", HOST, "--key", &public, "--yes"]);
    guess.ends(3, &["guess", "--rule REGEX"]);
    assert_eq!(journey.git(&dir, &["status", "--porcelain"]), before);
}

#[test]
fn in_the_configuration_the_secrets_beside_it_are_found() {
    let Some(journey) = Journey::new() else { return };
    let key = keygen(journey.root.path(), "host", "ed25519");
    added_and_proven(&journey, &journey.config().join("hosts"), &key, &journey.secrets());
}

#[test]
fn a_folder_that_nix_copies_by_itself_leads_to_the_checkout() {
    let Some(journey) = Journey::new() else { return };
    let (config, old) = (journey.config(), journey.secrets());
    fs::rename(old.join(".sops.yaml"), config.join(".sops.yaml")).unwrap();
    fs::rename(old.join("sops"), config.join("sops")).unwrap();
    fs::remove_dir_all(old).unwrap();
    let flake = config.join("flake.nix");
    let text = fs::read_to_string(&flake).unwrap();
    let kept: Vec<&str> = text.lines().filter(|line| !line.contains("nix-secrets")).collect();
    fs::write(&flake, kept.join("\n") + "\n").unwrap();
    replace(
        &config.join("hosts/common/core/sops.nix"),
        "${inputs.nix-secrets}/sops/${config",
        "${../../../sops}/${config",
    );
    commit(&journey, &config);
    let flake = format!("git+file://{}", config.display());
    run(journey.command("nix").args(["flake", "lock", &flake])).succeeds();
    commit(&journey, &config);
    let key = keygen(journey.root.path(), "host", "ed25519");
    added_and_proven(&journey, &config, &key, &config);
}
