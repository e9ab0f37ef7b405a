//! What is wrong with the target is found before anything changes, by `check` and by an
//! unattended `bootstrap` alike.

use std::fs;

use crate::common::installer::{DEVICE, SERIAL, disk};
use crate::common::journey::{HOST, Journey, Ran, files_below, run};
use crate::common::sshd::{free_port, keygen};
use crate::common::users::PASSWORD;
use crate::common::{FAILED, PERSON, USAGE};
use landfall::image::host_keys;
use landfall::run::run_dir::StateDir;
use serde_json::json;

/// Takes a flag and its value away.
fn without(args: &mut Vec<String>, flag: &str) {
    let at = args.iter().position(|word| word == flag).unwrap();
    args.drain(at..at + 2);
}

fn with(args: &mut [String], flag: &str, value: &str) {
    let at = args.iter().position(|word| word == flag).unwrap();
    args[at + 1] = value.to_owned();
}

#[test]
fn a_host_key_that_is_not_the_expected_one_is_never_connected_to() {
    let Some(journey) = Journey::new() else { return };
    let shown = journey.target.sshd.host_key.fingerprint();
    let other = keygen(journey.root.path(), "other", "ed25519").public.fingerprint();
    let words = ["answers with another host key", &shown, &other, "Nothing was sent", "console"];
    journey.refuses(PERSON, &words, |args| with(args, "--installer-fingerprint", &other));

    // Nobody is there to compare it.
    let words = [&shown, "--installer-fingerprint"];
    journey.refuses(PERSON, &words, |args| without(args, "--installer-fingerprint"));
    let log = fs::read_to_string(journey.target.sshd.dir.path().join("log")).unwrap();
    assert!(!log.contains("Accepted publickey"), "{log}");
}

#[test]
fn a_target_that_cannot_be_reached_is_told_apart() {
    let Some(journey) = Journey::new() else { return };
    let closed = format!("root@127.0.0.1:{}", free_port());
    journey.refuses(FAILED, &["127.0.0.1", "refused"], |args| args[2] = closed.clone());
    let unknown = "root@no-such-host.invalid";
    journey.refuses(FAILED, &["no-such-host.invalid"], |args| args[2] = unknown.to_owned());
    let stranger = keygen(journey.root.path(), "stranger", "ed25519");
    let key = stranger.private.display().to_string();
    journey.refuses(FAILED, &["127.0.0.1", "-i"], |args| with(args, "-i", &key));
}

#[test]
fn machines_that_cannot_take_the_system_are_refused() {
    let Some(journey) = Journey::new() else { return };
    let target = &journey.target;
    let refused = |words: &[&str]| journey.check_refuses(USAGE, words, |_| ());

    target.has_memory_mib(512);
    refused(&["too little memory: 512.0 MiB", "more memory"]);
    target.has_memory_mib(4096);

    target.is_bios(true);
    refused(&["systemd-boot", "UEFI"]);
    target.is_bios(false);

    target.has_disks(&[disk(DEVICE, SERIAL, 2)]);
    refused(&["Test Disk LANDFALL-TEST-1, 2.0 GiB is too small", "larger disk"]);

    target.has_disks(&[disk("/dev/other", "OTHER", 32)]);
    refused(&["\"main\"", DEVICE, "does not have", "/dev/other", "OTHER"]);

    target.has_disks(&[]);
    refused(&[DEVICE, "does not have", "no disk at all"]);

    let mut write_protected = disk(DEVICE, SERIAL, 32);
    write_protected["ro"] = json!(true);
    target.has_disks(&[write_protected]);
    refused(&["is read-only", SERIAL]);

    let mut used = disk(DEVICE, SERIAL, 32);
    used["mountpoints"] = json!(["/iso"]);
    target.has_disks(&[used]);
    refused(&["is in use: /iso", SERIAL]);

    target.has_disks(&[disk(DEVICE, SERIAL, 32)]);
    target.is_a("aarch64");
    refused(&["the configuration is for x86_64-linux, the target is aarch64-linux"]);
    target.is_a("x86_64");
    journey.check().succeeds();
}

#[test]
fn each_firmware_wants_a_boot_loader_of_its_kind() {
    let Some(journey) = Journey::new() else { return };
    let target = &journey.target;
    let refused = |words: &[&str]| journey.check_refuses(USAGE, words, |_| ());
    // What would be found after the kexec is told before it.
    target.is_bios(true);
    target.runs("debian", "");
    let words = ["boots by systemd-boot, and the target was not started by UEFI", "it runs debian"];
    journey.check_refuses(USAGE, &words, |_| ());
    target.runs("nixos", "installer");

    let disks = journey.config().join(format!("hosts/nixos/{HOST}/disks.nix"));
    let uefi = fs::read_to_string(&disks).unwrap();
    let layout = "../../common/disks/btrfs-luks-disk.nix";
    let bios = uefi.replace(layout, &format!("{layout} ../../common/disks/bios.nix"));
    let with = |more: &str| {
        let body = bios.replacen("{\n", "{ lib, ... }:\n{\n", 1);
        let body = body.trim_end().strip_suffix('}').unwrap();
        fs::write(&disks, format!("{body}  {more}\n}}\n")).unwrap();
        journey.commit_config("GRUB");
    };
    with("");
    journey.check().succeeds();
    target.is_bios(false);
    refused(&["GRUB would be there for BIOS alone", "efiSupport is false", "systemd-boot"]);
    let untold = "boot.loader.efi.canTouchEfiVariables = lib.mkForce false;";
    with(&format!("boot.loader.grub.efiSupport = true; {untold}"));
    refused(&["the firmware would not find GRUB", "efiInstallAsRemovable"]);
    let removable = "boot.loader.grub = { efiSupport = true; efiInstallAsRemovable = true; };";
    // The lab builds no GRUB for UEFI, and says so by assertions.
    with(&format!("{removable} {untold} assertions = lib.mkForce [ ];"));
    journey.check().succeeds();
    target.is_bios(true);
    journey.check().succeeds();

    with("boot.loader.grub.devices = [ \"/dev/landfall-other\" ];");
    refused(&["/dev/landfall-other, which is no disk of the layout", "has no such disk", "EF02"]);
    let no_room = "disko.devices.disk.main.content.partitions.bios.type = lib.mkForce \"8300\"";
    with(&format!("boot.loader.grub.device = \"{DEVICE}\"; {no_room};"));
    refused(&["GRUB has no place on the disk \"main\"", "EF02"]);
    let no_disk = "boot.loader.grub.devices = [ \"nodev\" ]";
    with(&format!("{no_disk}; {no_room};"));
    refused(&["GRUB would be there for UEFI alone", "names no disk"]);
}

#[test]
fn a_disk_is_erased_only_by_a_name_that_lasts() {
    let Some(journey) = Journey::new() else { return };
    let words = [
        "nothing says that Test Disk LANDFALL-TEST-1, 32.0 GiB may be erased",
        "--erase LANDFALL-TEST-1",
    ];
    journey.refuses(PERSON, &words, |args| without(args, "--erase"));
    let words = ["is a device path", "--erase LANDFALL-TEST-1"];
    journey.refuses(PERSON, &words, |args| with(args, "--erase", DEVICE));
    let words = ["--erase \"OTHER\" is no disk of the layout", SERIAL];
    journey.refuses(USAGE, &words, |args| with(args, "--erase", "OTHER"));
}

#[test]
fn a_system_that_is_no_installer_is_refused_before_anything_is_pushed() {
    let Some(journey) = Journey::new() else { return };
    journey.target.runs("debian", "");
    let words = ["does not run a NixOS installer", "it runs debian", "landfall iso build"];
    journey.refuses(PERSON, &words, |_| ());
    journey.target.runs("nixos", "");
    journey.check_refuses(PERSON, &["does not run a NixOS installer"], |_| ());
}

#[test]
fn several_problems_are_told_at_once() {
    let Some(journey) = Journey::new() else { return };
    journey.target.has_memory_mib(512);
    journey.target.has_disks(&[]);
    let words = ["2 things stand in the way", "1. the target has too little memory", "2. disk"];
    journey.refuses(USAGE, &words, |_| ());
}

#[test]
fn what_the_hardware_tool_prints_must_be_nix() {
    let Some(journey) = Journey::new() else { return };
    journey.target.reports("warning: something is odd\n{ lib, ... }: { }");
    journey.refuses(PERSON, &["nixos-generate-config", "1  warning: something is odd"], |_| ());
    assert!(!journey.hardware_file().exists());
}

/// `landfall check` where the machine's known_hosts holds these lines, with `NAME` for the
/// target's name.
fn check_knowing(journey: &Journey, lines: &str) -> Ran {
    let etc = journey.root.path().join("tmp/etc-ssh");
    let copied = journey.command("cp").arg("-a").arg("/etc/ssh").arg(&etc).status().unwrap();
    assert!(copied.success());
    let name = format!("[127.0.0.1]:{}", journey.target.sshd.port);
    fs::write(etc.join("ssh_known_hosts"), lines.replace("NAME", &name) + "\n").unwrap();
    // ssh finds the operator's own file by the user database, whatever HOME says; the
    // one for all users is covered, for this process alone.
    let mut args = journey.args("check");
    without(&mut args, "--installer-fingerprint");
    let landfall = journey.landfall();
    let mut command = journey.command("unshare");
    command.args(["--mount", "--", "sh", "-c", "mount --bind \"$0\" /etc/ssh && exec \"$@\""]);
    command.arg(&etc).arg(landfall.get_program()).args(landfall.get_args()).args(args);
    let ran = run(&mut command);
    fs::remove_dir_all(etc).unwrap();
    ran
}

#[test]
fn known_hosts_decides_where_no_fingerprint_is_given() {
    let Some(journey) = Journey::new() else { return };
    let shown = &journey.target.sshd.host_key;
    check_knowing(&journey, &format!("NAME {shown}")).succeeds();
    let other = keygen(journey.root.path(), "other", "ed25519").public;
    let both = [&shown.fingerprint()[..], &other.fingerprint()];
    let words = [&["answers with another host key", "known_hosts"], &both[..]].concat();
    check_knowing(&journey, &format!("NAME {other}")).ends(PERSON, &words);
    // A key of another kind is no reason to ask about a new one.
    let rsa = keygen(journey.root.path(), "rsa", "rsa").public;
    let words = ["answers with another host key", &rsa.fingerprint()];
    check_knowing(&journey, &format!("NAME {rsa}")).ends(PERSON, &words);
    let words = ["a host key that is revoked", &shown.fingerprint(), "Nothing was sent"];
    check_knowing(&journey, &format!("@revoked * {shown}")).ends(PERSON, &words);
    let words = ["was not confirmed", "takes certificates of", &other.fingerprint()];
    check_knowing(&journey, &format!("@cert-authority * {other}")).ends(PERSON, &words);
}

#[test]
fn an_image_that_landfall_made_is_known_by_its_key() {
    let Some(journey) = Journey::new() else { return };
    let state = StateDir::at(journey.state()).unwrap();
    let other = keygen(journey.root.path(), "other", "ed25519").public;
    host_keys::record(&state, &other, "another stick").unwrap();
    let no_flag = |args: &mut Vec<String>| without(args, "--installer-fingerprint");
    journey.check_with(no_flag).ends(PERSON, &["was not confirmed"]);
    host_keys::record(&state, &journey.target.sshd.host_key, "the stick").unwrap();
    journey.check_with(no_flag).ends(0, &["the host key is that of the image the stick"]);
}

#[test]
fn another_machine_in_the_place_of_the_installer_learns_nothing() {
    let Some(mut journey) = Journey::new() else { return };
    let mut begun = journey.landfall();
    run(begun.args(journey.args("bootstrap")).args(["--until", "identity"])).succeeds();
    let shown = journey.target.sshd.host_key.fingerprint();
    journey.target.is_replaced();
    let thief = journey.target.sshd.host_key.fingerprint();
    assert_ne!(shown, thief);
    let mut args = journey.args("bootstrap");
    without(&mut args, "--installer-fingerprint");
    let words = ["was not confirmed", &shown, &thief, "Nothing was sent to it"];
    run(journey.landfall().args(args)).ends(PERSON, &words);
    let sshd = &journey.target.sshd;
    assert_eq!(sshd.attempts(), 0, "{}", sshd.log());
}

#[test]
fn a_password_opens_the_installer_and_is_seen_nowhere() {
    let Some(journey) = Journey::new() else { return };
    let mut args = journey.args("bootstrap");
    without(&mut args, "-i");
    args.extend(["--env-password", "--until", "identity"].map(str::to_owned));
    let words = ["--env-password finds no password", "SSHPASS"];
    run(journey.landfall().args(&args)).ends(USAGE, &words);
    let wrong = run(journey.landfall().env("SSHPASS", "not this one").args(&args));
    wrong.ends(FAILED, &["refuses the login", "not right"]);
    let ran = run(journey.landfall().env("SSHPASS", PASSWORD).args(&args));
    ran.succeeds();
    let log = journey.target.sshd.log();
    assert_eq!(log.matches("Accepted password").count(), 1, "{log}");
    assert!(!ran.text.contains(PASSWORD));
    for file in files_below(&journey.state()) {
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        assert!(!text.contains(PASSWORD) && !text.contains("not this one"), "{}", file.display());
    }
}
