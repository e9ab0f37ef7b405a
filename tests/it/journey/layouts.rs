//! Repositories of another shape, and runs that are gone on with otherwise than they
//! were begun.

use std::fs;

use crate::common::journey::{HOST, Journey, run};
use crate::common::replace;
use crate::common::sshd::keygen;

/// Moves the secrets into the configuration, as most people have them.
fn with_secrets_inside(journey: &Journey) {
    let (config, secrets) = (journey.config(), journey.secrets());
    fs::rename(secrets.join(".sops.yaml"), config.join(".sops.yaml")).unwrap();
    fs::rename(secrets.join("sops"), config.join("sops")).unwrap();
    fs::remove_dir_all(secrets).unwrap();
    let flake = config.join("flake.nix");
    let text = fs::read_to_string(&flake).unwrap();
    let kept: Vec<&str> = text.lines().filter(|line| !line.contains("nix-secrets")).collect();
    fs::write(&flake, kept.join("\n") + "\n").unwrap();
    replace(
        &config.join("hosts/common/core/sops.nix"),
        "\"${inputs.nix-secrets}/sops/${config.networking.hostName}.yaml\"",
        "../../../sops + \"/${config.networking.hostName}.yaml\"",
    );
    journey.commit_config("Secrets beside the hosts");
    let flake = format!("git+file://{}", config.display());
    run(journey.command("nix").args(["flake", "lock", &flake])).succeeds();
    journey.commit_config("Lock");
    journey.git(&config, &["push", "-q"]);
}

#[test]
fn secrets_in_the_configuration_itself_and_no_installer_flake() {
    let Some(journey) = Journey::new() else { return };
    with_secrets_inside(&journey);
    fs::remove_dir_all(journey.config().join("nixos-installer")).unwrap();
    journey.commit_config("No installer");
    run(&mut journey.bootstrap()).succeeds();
    let steps = journey.steps();
    for step in ["identity", "secrets", "hardware", "build"] {
        assert_eq!(steps[step]["state"], "done", "{step}: {}", steps[step]);
    }
    assert!(steps["build"]["evidence"]["facts"]["full"].is_null(), "direct builds one system");
    let dir = journey.config();
    assert_eq!(journey.git(&dir, &["status", "--porcelain"]), "");
    let head = journey.git(&dir, &["rev-parse", "HEAD~1"]);
    assert_eq!(steps["secrets"]["evidence"]["facts"]["revision"], *head);
    assert_eq!(journey.git(&journey.remote("nix-config"), &["rev-parse", "main"]), head);
    let changed = journey.git(&dir, &["diff", "--name-only", "HEAD~2", "HEAD~1"]);
    assert_eq!(changed.lines().collect::<Vec<_>>(), [".sops.yaml", "sops/guppy.yaml"]);

    let before = journey.git(&dir, &["rev-parse", "HEAD"]);
    run(&mut journey.bootstrap()).succeeds();
    assert_eq!(journey.git(&dir, &["rev-parse", "HEAD"]), before);
}

#[test]
fn without_secrets_their_repository_is_left_alone() {
    let Some(journey) = Journey::new() else { return };
    let head = |journey: &Journey| journey.git(&journey.secrets(), &["rev-parse", "HEAD"]);
    let before = head(&journey);
    run(journey.bootstrap().arg("--no-secrets")).succeeds();
    assert_eq!(head(&journey), before);
    let steps = journey.steps();
    assert_eq!(steps["secrets"]["evidence"], serde_json::Value::Null);
    assert_eq!(steps["build"]["state"], "done");
}

#[test]
fn a_hardware_file_that_is_tracked_is_kept_and_the_difference_shown() {
    let Some(journey) = Journey::new() else { return };
    let kept = "{ lib, ... }: { nixpkgs.hostPlatform = lib.mkDefault \"x86_64-linux\"; }\n";
    fs::write(journey.hardware_file(), kept).unwrap();
    journey.commit_config("The hardware");
    let ran = run(&mut journey.bootstrap());
    ran.succeeds();
    for words in ["the hardware file is kept", "virtio_blk", "--hardware generate-config"] {
        assert!(ran.text.contains(words), "no {words:?} in:\n{}", ran.text);
    }
    assert_eq!(fs::read_to_string(journey.hardware_file()).unwrap(), kept);
    run(journey.bootstrap().args(["--hardware", "generate-config"])).succeeds();
    assert!(fs::read_to_string(journey.hardware_file()).unwrap().contains("virtio_blk"));
}

#[test]
fn a_run_is_not_gone_on_with_as_another_one() {
    let Some(journey) = Journey::new() else { return };
    run(&mut journey.bootstrap()).succeeds();
    let before = journey.seen();
    let words = ["begun as staged", "--strategy staged", &format!("landfall abandon {HOST}")];
    run(journey.bootstrap().args(["--strategy", "direct"])).ends(2, &words);
    let other = keygen(journey.root.path(), "other", "ed25519");
    let words = ["another host key", &format!("landfall abandon {HOST}")];
    run(journey.bootstrap().arg("--host-key").arg(&other.private)).ends(2, &words);
    assert_eq!(journey.seen(), before);

    // Forgotten, it can be begun anew; what is there already is used.
    run(journey.landfall().args(["abandon", HOST, "--yes"])).ends(0, &[HOST]);
    let secrets = journey.git(&journey.secrets(), &["rev-parse", "HEAD"]);
    run(journey.bootstrap().args(["--strategy", "direct"])).succeeds();
    assert_ne!(journey.git(&journey.secrets(), &["rev-parse", "HEAD"]), secrets);
}
