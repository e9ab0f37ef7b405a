//! `landfall host add`: a second host beside the one of `landfall init`, up to the disks.

use std::fs;

use crate::common::installer::DEVICE;
use crate::common::journey::{HOST, Journey, PASSWORD, Ran, run};

const NEW: &str = "molly";

fn add(journey: &Journey, more: &[&str]) -> Ran {
    let password = journey.home().join("password");
    let mut landfall = journey.landfall();
    landfall.args(["host", "add", NEW, "--disk", DEVICE, "--password-file"]).arg(password);
    run(landfall.args(more))
}

/// The arguments of a complete, unattended run of the new host.
fn args(journey: &Journey, command: &str) -> Vec<String> {
    let args = journey.args(command).into_iter();
    args.map(|word| if word == HOST { NEW.to_owned() } else { word }).collect()
}

#[test]
fn a_new_host_can_be_checked_and_bootstrapped() {
    let Some(journey) = Journey::new() else { return };
    run(&mut journey.bootstrap()).succeeds();
    journey.git(&journey.config(), &["push", "-q"]);
    let guppy = fs::read_to_string(journey.host_secrets()).unwrap();
    let words = ["hosts/nixos/molly", "sops/molly.yaml", "landfall check molly"];
    add(&journey, &["--firmware", "bios"]).ends(0, &words);

    for dir in [journey.config(), journey.secrets()] {
        assert_eq!(journey.git(&dir, &["status", "--porcelain"]), "");
        let subject = journey.git(&dir, &["log", "-1", "--format=%s"]);
        assert!(subject.ends_with("of molly"), "{subject}");
    }
    // The first host's key is not among those that open the new file.
    let file = fs::read_to_string(journey.secrets().join("sops/molly.yaml")).unwrap();
    assert_eq!(file.matches("recipient: age1").count(), 1, "{file}");
    assert!(!file.contains(PASSWORD));
    assert_eq!(fs::read_to_string(journey.host_secrets()).unwrap(), guppy);
    run(journey.landfall().args(["secrets", "updatekeys", "--check"])).succeeds();

    run(journey.landfall().args(args(&journey, "check"))).ends(2, &["GRUB", "for BIOS alone"]);
    journey.target.is_bios(true);
    run(journey.landfall().args(args(&journey, "check"))).ends(0, &["checks passed"]);
    let mut bootstrap = journey.landfall();
    bootstrap.args(args(&journey, "bootstrap")).args(["--until", "build"]);
    run(&mut bootstrap).ends(0, &["2 secrets open with the new key"]);
    let rules = fs::read_to_string(journey.secrets().join(".sops.yaml")).unwrap();
    assert_eq!(rules.matches("- path_regex").count(), 2, "{rules}");
    assert_eq!(
        rules.matches("*molly").count() + rules.matches("*host_molly").count(),
        1,
        "{rules}"
    );
}

#[test]
fn what_cannot_be_added_changes_nothing() {
    let Some(journey) = Journey::new() else { return };
    let refuses = |words: &[&str], more: &[&str]| {
        let before = journey.seen();
        let mut landfall = journey.landfall();
        run(landfall.args(["host", "add"]).args(more)).ends(2, words);
        assert_eq!(journey.seen(), before);
    };
    refuses(&["hosts/nixos/guppy already exists", "another name"], &[HOST]);
    refuses(&["NAME Molly", "not a host name"], &["Molly"]);
    refuses(&["--disk sda", "not the path of a device"], &[NEW, "--disk", "sda"]);
    let (bios, elsewhere) = ("hosts/common/disks/bios.nix", "hosts/common/disks/legacy.nix");
    journey.git(&journey.config(), &["mv", bios, elsewhere]);
    journey.commit_config("Another name");
    refuses(&["there is no hosts/common/disks/bios.nix"], &[NEW, "--firmware", "bios"]);
    refuses(&["invalid value 'efi'", "uefi, bios"], &[NEW, "--firmware", "efi"]);
    let rules = journey.secrets().join(".sops.yaml");
    let text = fs::read_to_string(&rules).unwrap();
    fs::write(&rules, format!("{text}# mine\n")).unwrap();
    refuses(&[".sops.yaml has uncommitted changes"], &[NEW]);
    fs::write(&rules, text.replace("^sops/guppy\\.yaml$", "^sops/.*$")).unwrap();
    journey.git(&journey.secrets(), &["commit", "-q", "-a", "-m", "Mine"]);
    refuses(&["does not have the layout of", "It needs an entry"], &[NEW]);
    fs::write(&rules, &text).unwrap();
    journey.git(&journey.secrets(), &["commit", "-q", "-a", "-m", "Back"]);
    journey.git(&journey.config(), &["mv", "vars.nix", "variables.nix"]);
    journey.commit_config("Another shape");
    refuses(&["there is no vars.nix"], &[NEW]);
}
