//! The forms of the journey up to the disks: plans of each, other disks than the layout
//! names, other machines that build, key files of encrypted disks.

use std::fs;

use crate::common::installer::{DEVICE, SERIAL, disk};
use crate::common::journey::{HOST, Journey, Ran, run};

const OTHER_DEVICE: &str = "/dev/landfall-test-2";
const OTHER_SERIAL: &str = "LANDFALL-TEST-2";
/// A source that cannot build for the target.
const ANOTHER_KIND: [&str; 6] =
    ["--option", "system", "aarch64-linux", "--option", "extra-platforms", "armv7l-linux"];

/// `landfall plan`, without a target: as on a blank machine.
fn plan(journey: &Journey, flags: &[&str]) -> String {
    let ran = run(journey.landfall().args(["plan", HOST]).args(flags));
    let text = ran.succeeds().stdout.clone();
    let known = |line: &&str| !line.contains(", run ");
    text.lines().filter(known).map(|line| format!("{line}\n")).collect()
}

/// Puts Nix text before the last brace of the host's module of disks.
fn add_to_disks(journey: &Journey, definitions: &str) {
    let file = journey.config().join(format!("hosts/nixos/{HOST}/disks.nix"));
    let text = fs::read_to_string(&file).unwrap();
    let body = text.trim_end().strip_suffix('}').unwrap();
    fs::write(&file, format!("{body}\n{definitions}\n}}\n")).unwrap();
    journey.commit_config("Other disks");
    journey.git(&journey.config(), &["push", "-q"]);
}

const DATA_DISK: &str = r#"
  disko.devices.disk.data = {
    type = "disk";
    device = "/dev/nowhere";
    content = {
      type = "luks";
      name = "data";
      initrdUnlock = false;
      KEY
      content = {
        type = "filesystem";
        format = "ext4";
        mountpoint = "/data";
      };
    };
  };
  environment.etc.crypttab.text = "data /dev/nowhere /etc/data.key luks\n";
"#;

#[test]
fn plans_of_an_encrypted_host() {
    let Some(journey) = Journey::new() else { return };
    insta::assert_snapshot!("staged", plan(&journey, &[]));
    insta::assert_snapshot!("direct", plan(&journey, &["--strategy", "direct"]));
    let target = plan(&journey, &[&["--strategy", "direct"][..], &ANOTHER_KIND].concat());
    insta::assert_snapshot!("direct_built_on_the_target", target);
    let store = ["--build-on", "ssh-ng://builder.example.org"];
    insta::assert_snapshot!("staged_built_elsewhere", plan(&journey, &store));
    let flags = ["--strategy", "direct", "--no-secrets", "--no-push"];
    insta::assert_snapshot!("direct_without_secrets", plan(&journey, &flags));
}

#[test]
fn plans_of_a_host_that_forgets_and_of_two_disks() {
    let Some(journey) = Journey::with_layout("btrfs-luks-impermanence") else { return };
    let file = journey.config().join("hosts/common/disks/btrfs-luks-impermanence-disk.nix");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\"home\" = subvolume \"/home\";", "")).unwrap();
    let key = "settings.keyFile = \"/persist/data.key\";";
    add_to_disks(&journey, &DATA_DISK.replace("KEY", key));
    let flags = ["--strategy", "direct", "--disk", "data=/dev/disk/by-id/nvme-1"];
    insta::assert_snapshot!("two_disks_and_a_home_that_is_lost", plan(&journey, &flags));
}

/// `landfall bootstrap` up to the build, on the other of the target's two disks.
fn on_the_other_disk(journey: &Journey) -> Ran {
    let args = journey.args("bootstrap").into_iter();
    let args = args.map(|word| if word == SERIAL { OTHER_SERIAL.to_owned() } else { word });
    let disk = format!("main={OTHER_DEVICE}");
    run(journey.landfall().args(args).args(["--until", "build", "--disk", &disk]))
}

#[test]
fn a_disk_by_another_device_than_the_layout_names() {
    let Some(journey) = Journey::new() else { return };
    journey.target.has_disks(&[disk(DEVICE, SERIAL, 32), disk(OTHER_DEVICE, OTHER_SERIAL, 32)]);
    let ran = on_the_other_disk(&journey);
    let said = format!("main: {OTHER_DEVICE}, not {DEVICE}");
    let write = format!("disko.devices.disk.main.device = lib.mkForce \"{OTHER_DEVICE}\";");
    ran.ends(0, &[&said, &write]);

    let built = journey.steps()["build"]["evidence"]["facts"].clone();
    let script = fs::read_to_string(built["format"].as_str().unwrap()).unwrap_or_else(|_| {
        let dir = format!("{}/bin", built["format"].as_str().unwrap());
        let program = fs::read_dir(dir).unwrap().next().unwrap().unwrap().path();
        fs::read_to_string(program).unwrap()
    });
    assert!(script.contains(OTHER_DEVICE) && !script.contains(DEVICE), "{script}");
    // What is installed is what the committed configuration gives by itself.
    let flake = format!(
        "git+file://{}#nixosConfigurations.{HOST}.config.system.build.toplevel.outPath",
        journey.config().display()
    );
    let committed = run(journey.command("nix").args(["eval", "--raw", &flake]));
    assert_eq!(built["full"].as_str(), Some(committed.succeeds().stdout.as_str()));
}

#[test]
fn disks_that_cannot_be_given_are_refused() {
    let Some(journey) = Journey::new() else { return };
    let given = |text: &'static str| {
        move |args: &mut Vec<String>| args.extend(["--disk".to_owned(), text.to_owned()])
    };
    journey.check_refuses(2, &["has no disk mian", "--disk main=/dev/vdb"], given("mian=/dev/vdb"));
    journey.check_refuses(2, &["names no disk and device"], given("main"));
    journey.check_refuses(2, &["names no disk and device"], given("main=vdb"));

    // A system in which the device itself stands would be described by no commit.
    let file = journey.config().join(format!("hosts/nixos/{HOST}/default.nix"));
    let text = fs::read_to_string(&file).unwrap();
    let text = text.replacen("{\n", "{ config, ... }:\n{\n", 1);
    let body = text.trim_end().strip_suffix('}').unwrap();
    let etc = "environment.etc.device.text = config.disko.devices.disk.main.device;";
    fs::write(&file, format!("{body}{etc}\n}}\n")).unwrap();
    journey.commit_config("The device in a file");
    journey.git(&journey.config(), &["push", "-q"]);
    journey.target.has_disks(&[disk(DEVICE, SERIAL, 32), disk(OTHER_DEVICE, OTHER_SERIAL, 32)]);
    let words = ["depends on the devices", "disko.devices.disk.main.device"];
    on_the_other_disk(&journey).ends(2, &words);
}

#[test]
fn a_source_that_cannot_build_leaves_it_to_the_target() {
    let Some(journey) = Journey::new() else { return };
    let auto = |args: &mut Vec<String>| args.extend(ANOTHER_KIND.map(ToOwned::to_owned));
    journey.check_with(auto).ends(0, &["the target builds its systems itself"]);
    journey.check_refuses(2, &["nothing here builds for x86_64-linux", "no builders"], |args| {
        auto(args);
        args.extend(["--build-on", "source"].map(ToOwned::to_owned));
    });
    // A builder in nix's settings is enough.
    let ran = journey.check_with(|args| {
        auto(args);
        args.extend(["--option", "builders", "ssh://b x86_64-linux"].map(ToOwned::to_owned));
    });
    assert!(!ran.succeeds().text.contains("builds its systems itself"), "{}", ran.text);
}

#[test]
fn the_store_of_a_builder_builds() {
    let Some(journey) = Journey::new() else { return };
    let on = |uri: &str| {
        let words = ["--build-on".to_owned(), uri.to_owned()];
        move |args: &mut Vec<String>| args.extend(words.clone())
    };
    journey.check_with(on("builder")).ends(2, &["auto, source, target"]);
    let nobody = "unix:///nix/var/nix/daemon-socket/nobody";
    journey.check_with(on(nobody)).ends(1, &[nobody, "does not answer"]);

    // A store of its own below a folder, with its own builds.
    let store = journey.root.path().join("builder").display().to_string();
    let sandboxed = ["--option", "sandbox", "true", "--option", "sandbox-paths", ""];
    let mut args = journey.args("bootstrap");
    on(&store)(&mut args);
    run(journey.landfall().args(args).args(sandboxed).args(["--until", "build"])).succeeds();
    let built = journey.steps()["build"]["evidence"]["facts"].clone();
    assert_eq!(built["on"].as_str(), Some(store.as_str()));
    let full = built["full"].as_str().unwrap();
    assert!(fs::exists(full).unwrap(), "it was not fetched");
    assert!(fs::exists(format!("{store}{full}")).unwrap(), "it was not built there");
}

#[test]
fn a_disk_whose_key_nothing_makes_is_found_beforehand() {
    let Some(journey) = Journey::new() else { return };
    add_to_disks(&journey, &DATA_DISK.replace("KEY", "passwordFile = \"/tmp/disko-password\";"));
    let words = ["nothing makes /etc/data.key", "additionalKeyFiles = [ \"/etc/data.key\" ]"];
    journey.check_refuses(2, &words, |args| {
        args.extend(["--disk".to_owned(), format!("data={OTHER_DEVICE}")]);
    });
}

/// What impermanence's module makes of its options, for a host whose home is on the root.
const PERSISTENCE: &str = r#"{ lib, ... }:
{
  options.environment.persistence = lib.mkOption { type = lib.types.attrs; };
  config.environment.persistence."/persist" = {
    persistentStoragePath = "/persist";
    directories = [ { directory = "/var/lib"; dirPath = "/var/lib"; } ];
    files = [ { file = "/etc/machine-id"; filePath = "/etc/machine-id"; } ];
    users.alice.directories = [ { directory = "nix-config"; } MORE ];
  };
}
"#;

#[test]
fn repositories_go_where_impermanence_keeps_them() {
    let Some(journey) = Journey::with_layout("btrfs") else { return };
    let layout = journey.config().join("hosts/common/disks/btrfs-disk.nix");
    let text = fs::read_to_string(&layout).unwrap();
    // Another subvolume of that name, mounted elsewhere: the home is on the root.
    fs::write(&layout, text.replace("mountpoint = \"/home\";", "mountpoint = \"/srv\";")).unwrap();
    let host = journey.config().join(format!("hosts/nixos/{HOST}"));
    let module = fs::read_to_string(host.join("default.nix")).unwrap();
    let module = module.replace("./disks.nix", "./disks.nix\n    ./persistence.nix");
    fs::write(host.join("default.nix"), module).unwrap();
    let repos = |more: &str| {
        fs::write(host.join("persistence.nix"), PERSISTENCE.replace("MORE", more)).unwrap();
        journey.commit_config("Persistence");
        let plan = plan(&journey, &["--strategy", "direct"]);
        plan.lines().find(|line| line.contains("repos ")).unwrap().to_owned()
    };
    let lost = repos("");
    assert!(lost.contains("~/nix-secrets would be lost at a boot"), "{lost}");
    let kept = repos("{ directory = \"nix-secrets\"; }");
    assert!(kept.contains("copy the repositories"), "{kept}");
}
