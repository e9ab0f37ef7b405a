//! What disko's scripts read lies there while they run, wherever in the layout it is named.

use std::fs;

use crate::common::installer::{DEVICE, SERIAL, disk};
use crate::common::journey::Journey;
use crate::common::plain_flake::{PASSPHRASE, Plain};

const USAGE: i32 = 2;
const PERSON: i32 = 3;
const DATA: &str = "/dev/landfall-test-2";

/// Adds devices to the layout of every system of the flake.
fn with_devices(plain: &Plain, devices: &str) {
    let file = plain.flake().join("flake.nix");
    let text = fs::read_to_string(&file).unwrap();
    let main = "disko.devices.disk.main = {";
    assert!(text.contains(main));
    fs::write(&file, text.replacen(main, &format!("{devices}\n{main}"), 1)).unwrap();
    plain.target.has_disks(&[disk(DEVICE, SERIAL, 32), disk(DATA, "LANDFALL-TEST-2", 64)]);
}

#[test]
fn keys_below_arrays_volumes_and_pools_are_brought() {
    let Some(plain) = Plain::new() else { return };
    with_devices(
        &plain,
        r#"
        disko.devices.mdadm.raid.content = {
          type = "luks"; name = "onmd"; passwordFile = "/media/onmd"; initrdUnlock = false;
        };
        disko.devices.lvm_vg.pool.lvs.data.content = {
          type = "luks"; name = "onlvm"; initrdUnlock = false; settings.keyFile = "/media/lv.key";
        };
        disko.devices.zpool.tank = {
          rootFsOptions = { keyformat = "raw"; keylocation = "file:///media/raw.key"; };
          datasets.home.options = { keyformat = "passphrase"; keylocation = "file:///media/home"; };
          postCreateHook = "";
        };
        disko.devices.zpool.typed = {
          rootFsOptions = { keyformat = "passphrase"; keylocation = "file:///media/typed"; };
          postCreateHook = "zfs set keylocation=prompt typed";
        };
        disko.devices.bcachefs_filesystems.bc.passwordFile = "/media/bc";
        "#,
    );
    fs::write(plain.home("other"), "another passphrase\n").unwrap();
    let other = format!("typed={}", plain.home("other").display());
    plain.until_reboot(&["--luks-passphrase-file", &other]).succeeds();
    let seen = |name: &str| fs::read(plain.target.file(&format!("seen-{name}"))).unwrap();
    for name in ["passphrase", "onmd", "bc"] {
        assert_eq!(seen(name), PASSPHRASE.as_bytes(), "{name}");
    }
    assert_eq!(seen("typed"), b"another passphrase");
    assert_eq!(seen("raw.key").len(), 32);
    assert_eq!(seen("lv.key").len(), 4096);
    assert_eq!(seen("home").len(), 64);
    // What the installed system opens by itself lies there, and nothing else.
    for name in ["raw.key", "lv.key", "home"] {
        assert_eq!(fs::read(plain.new_root(&format!("/media/{name}"))).unwrap(), seen(name));
    }
    for name in ["passphrase", "onmd", "typed", "bc"] {
        assert!(!plain.new_root(&format!("/media/{name}")).exists(), "{name} is on the disk");
        assert!(!plain.target.file(&format!("media/{name}")).exists(), "{name} is left there");
    }
}

#[test]
fn what_cannot_be_brought_is_refused_by_name() {
    for (devices, code, words) in [
        (
            "zpool.tank.rootFsOptions = { keyformat = \"passphrase\"; keylocation = \"prompt\"; };",
            USAGE,
            vec!["encrypted volume tank", "file:///tmp/tank.passphrase", "keylocation=prompt tank"],
        ),
        (
            "lvm_vg.v.lvs.l.content = { type = \"luks\"; name = \"asking\"; };",
            USAGE,
            vec!["encrypted volume asking", "passwordFile = \"/tmp/asking.passphrase\""],
        ),
        (
            "mdadm.m.content = { type = \"luks\"; name = \"both\"; passwordFile = \"/tmp/p\"; askPassword = true; };",
            USAGE,
            vec!["encrypted volume both", "leave askPassword out"],
        ),
        (
            "zpool.tank.rootFsOptions = { keyformat = \"passphrase\"; keylocation = \"file:///tmp/k\"; };",
            USAGE,
            vec!["nothing would open tank at boot", "/tmp/k"],
        ),
        (
            "bcachefs_filesystems.b.extraFormatArgs = [ \"--encrypted\" ];",
            USAGE,
            vec!["encrypted volume b", "passwordFile"],
        ),
        (
            "mdadm.m.content = { type = \"luks\"; name = \"open\"; passwordFile = \"/nix/store/x-key\"; };",
            USAGE,
            vec!["key of open cannot be brought to /nix/store/x-key", "everybody can read"],
        ),
    ] {
        let Some(plain) = Plain::new() else { return };
        with_devices(&plain, &format!("disko.devices.{devices}"));
        plain.until_reboot(&[]).ends(code, &words);
        assert_eq!(plain.told("ran"), "", "{devices}");
    }
}

#[test]
fn a_short_passphrase_is_refused_where_zfs_would() {
    let Some(plain) = Plain::new() else { return };
    let devices = r#"disko.devices.zpool.tank = {
      rootFsOptions = { keyformat = "passphrase"; keylocation = "file:///media/tank"; };
      postCreateHook = "zfs set keylocation=prompt tank";
    };"#;
    with_devices(&plain, devices);
    fs::write(plain.home("passphrase"), "seven77").unwrap();
    plain.until_reboot(&[]).ends(USAGE, &["ZFS refuses the passphrase of tank"]);
    assert_eq!(plain.told("ran"), "");
}

#[test]
fn a_kept_volume_is_opened_with_the_key_that_it_has() {
    let Some(plain) = Plain::new() else { return };
    let devices = format!(
        r#"disko.devices.disk.data = {{ device = "{DATA}"; destroy = false; content = {{
          type = "luks"; name = "data"; initrdUnlock = false; settings.keyFile = "/media/data.key";
        }}; }};"#
    );
    with_devices(&plain, &devices);
    let words = ["key file of data, which stays", "--disk-encryption-keys /media/data.key FILE"];
    plain.until_reboot(&[]).ends(USAGE, &words);
    assert_eq!(plain.told("ran"), "");
    let key: Vec<u8> = (0..=255).collect();
    fs::write(plain.home("data.key"), &key).unwrap();
    let file = plain.home("data.key").display().to_string();
    plain.until_reboot(&["--disk-encryption-keys", "/media/data.key", &file]).succeeds();
    assert_eq!(fs::read(plain.target.file("seen-data.key")).unwrap(), key);
    assert_eq!(fs::read(plain.new_root("/media/data.key")).unwrap(), key);
}

#[test]
fn hooks_and_contents_that_nobody_knows_are_told() {
    let Some(plain) = Plain::new() else { return };
    let devices = r#"
      disko.devices.mdadm.m.content = { type = "stratis"; };
      disko.devices.lvm_vg.v = {
        postCreateHook = "cryptsetup luksAddKey /dev/v/x /tmp/recovery.key < /run/current-system/x";
      };
    "#;
    with_devices(&plain, devices);
    let ran = plain.until_reboot(&[]);
    ran.ends(0, &["\"stratis\"", "names /tmp/recovery.key", "--disk-encryption-keys"]);
    assert!(!ran.text.contains("current-system"), "{}", ran.text);
}

#[test]
fn bootstrap_takes_keys_for_disko_as_install_does() {
    let Some(journey) = Journey::new() else { return };
    let passphrase = journey.home().join("passphrase").display().to_string();
    let instead = |file: &str| {
        let words = ["--disk-encryption-keys", "/tmp/disko-password", file].map(ToOwned::to_owned);
        move |args: &mut Vec<String>| {
            let at = args.iter().position(|word| word == "--luks-passphrase-file").unwrap();
            args.drain(at..at + 2);
            args.extend(words.clone());
        }
    };
    journey.check_with(instead(&passphrase)).succeeds();
    journey.check_with(instead("/no/such")).ends(USAGE, &["/no/such"]);
    let without = |args: &mut Vec<String>| {
        let at = args.iter().position(|word| word == "--luks-passphrase-file").unwrap();
        args.drain(at..at + 2);
    };
    journey.check_with(without).ends(PERSON, &["encrypted volume crypted"]);
}
