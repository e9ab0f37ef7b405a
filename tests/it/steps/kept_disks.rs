//! A disk of the layout with `destroy = false` stays as it is: nobody has to name it, and
//! nothing but disko's own scripts touches it.

use std::fs;

use crate::common::installer::{DEVICE, SERIAL, disk};
use crate::common::journey::run;
use crate::common::plain_flake::Plain;

const USAGE: i32 = 2;
const DATA: &str = "/dev/landfall-test-2";
const DATA_SERIAL: &str = "LANDFALL-TEST-2";

/// Every system of the flake gets a data disk that stays.
fn with_data_disk(plain: &Plain) {
    let file = plain.flake().join("flake.nix");
    let text = fs::read_to_string(&file).unwrap();
    let main = "disko.devices.disk.main = {";
    let data = format!("disko.devices.disk.data = {{ device = \"{DATA}\"; destroy = false; }};");
    fs::write(file, text.replace(main, &format!("{data}\n          {main}"))).unwrap();
    plain.target.has_disks(&[disk(DEVICE, SERIAL, 32), disk(DATA, DATA_SERIAL, 64)]);
    // What is said to these programs is written down.
    let sfdisk = fs::read_to_string(plain.target.file("bin/sfdisk")).unwrap();
    let body = sfdisk.split_once('\n').unwrap().1;
    plain.target.script("bin/sfdisk", &format!("echo \"sfdisk $*\" >> \"$target/said\"\n{body}"));
    plain.target.script("bin/wipefs", "echo \"wipefs $*\" >> \"$target/said\"");
    plain.target.script("bin/mdadm", "echo \"mdadm $*\" >> \"$target/said\"");
}

#[test]
fn a_kept_disk_is_not_named_not_taken_apart_and_not_marked() {
    let Some(plain) = Plain::new() else { return };
    with_data_disk(&plain);
    let ran = plain.until_reboot(&[]);
    ran.ends(
        0,
        &[&format!(
            "{DATA} (Test Disk {DATA_SERIAL}, 64.0 GiB): disk \"data\" of the layout, which stays"
        )],
    );
    assert_eq!(plain.told("ran"), "destroyFormatMount\n");
    let said = plain.told("said");
    assert!(said.contains(DEVICE), "{said}");
    assert!(!said.contains(DATA), "{said}");

    // The mark of the erased disk alone tells that the run has formatted already.
    plain.until_reboot(&[]).succeeds();
    assert_eq!(plain.told("ran"), "destroyFormatMount\n");

    plain.anew();
    let words = ["--erase", DATA_SERIAL];
    plain.until_reboot(&words).ends(USAGE, &["which the layout keeps", "destroy = true"]);
    assert_eq!(plain.told("ran"), "");
}

#[test]
fn a_kept_disk_must_be_there_and_be_another_one() {
    let Some(plain) = Plain::new() else { return };
    with_data_disk(&plain);
    plain.target.has_disks(&[disk(DEVICE, SERIAL, 32)]);
    plain.until_reboot(&[]).ends(USAGE, &["\"data\"", DATA, "does not have"]);
    let file = plain.flake().join("flake.nix");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace(DATA, DEVICE)).unwrap();
    plain.until_reboot(&[]).ends(USAGE, &["are the same disk"]);
    let kept = text.replace(
        "device = \"/dev/landfall-test-1\";",
        "device = \"/dev/landfall-test-1\"; destroy = false;",
    );
    fs::write(&file, kept).unwrap();
    plain.target.has_disks(&[disk(DEVICE, SERIAL, 32), disk(DATA, DATA_SERIAL, 64)]);
    plain.until_reboot(&[]).ends(USAGE, &["no disk of the layout may be erased"]);
    assert_eq!(plain.told("ran"), "");
}

#[test]
fn a_script_that_is_built_already_tells_what_it_keeps() {
    let Some(plain) = Plain::new() else { return };
    with_data_disk(&plain);
    // As disko writes it: a loop over what is erased, then whatever is made.
    let file = plain.flake().join("flake.nix");
    let text = fs::read_to_string(&file).unwrap();
    let script =
        format!("for dev in {DEVICE};\n        do\n          :\n        done\n        # {DATA}");
    fs::write(&file, text.replace("# /dev/landfall-test-1", &script)).unwrap();
    let build = |name: &str| {
        let flake = plain.flake().display().to_string();
        let what = format!("path:{flake}#nixosConfigurations.old.config.system.build.{name}");
        let mut nix = plain.command("nix");
        nix.args(["--extra-experimental-features", "nix-command flakes", "build"]);
        let ran = run(nix.args(["--no-link", "--print-out-paths", &what]));
        ran.succeeds().stdout.trim().to_owned()
    };
    let (disko, system) = (build("diskoScript"), build("toplevel"));
    let target = plain.target_word();
    let words = ["--store-paths", &disko, &system, &target, "--phases", "disko", "--erase", SERIAL];
    plain.install(&words).succeeds();
    assert_eq!(plain.told("ran"), "diskoScript\n");
    let said = plain.told("said");
    assert!(said.contains(DEVICE) && !said.contains(DATA), "{said}");
}
