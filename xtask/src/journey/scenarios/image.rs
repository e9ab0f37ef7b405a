//! Copies of the image that were given something: started by UEFI and by BIOS, from the CD
//! drive and from a stick that `iso flash` has written.

use std::fs::File;
use std::io::Read;

use anyhow::{Context, Result, ensure};

use super::again::{Ran, run};
use crate::journey::course::{GUEST_KEY, Journey, WIFI, WIFI_PASSPHRASE};
use crate::journey::proof::Proof;
use crate::journey::repos::HOST;
use crate::journey::scenario::{Act, SERIAL, Scenario};
use crate::run::tail;
use crate::vm::{Firmware, STICK_SERIAL};

/// As the names of the disks in the installer go: the stick is the only one on SCSI.
const STICK: &str = "/dev/sda";
const KEYFILE: &str = "/etc/NetworkManager/system-connections/wifi-1.nmconnection";

/// What is said of a host key that nobody has named.
const TRUSTED: [&str; 2] = ["the host key is that of the image", "stick.iso"];

const HOST_KEY: Proof = Proof::new("host key", host_key);
const GUEST: Proof = Proof::new("guest", guest);
const STARTED: Proof = Proof::new("started", started);
const NETWORK: Proof = Proof::new("wi-fi", network);
const NEXT_BOOT: Proof = Proof::new("next boot", next_boot);
const WHOLE: Proof = Proof::new("stick", stick_is_whole);

pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "customized-image",
            shows: "a copy of the image with host key, guest and Wi-Fi, by UEFI; up to the disks",
            ..customized()
        },
        Scenario {
            name: "customized-image-by-bios",
            shows: "the same, by BIOS",
            firmware: Firmware::Bios,
            ..customized()
        },
        Scenario {
            name: "customized-stick",
            shows: "the same on a stick that iso flash wrote, by UEFI; the stick is not erased",
            ..on_stick()
        },
        Scenario {
            name: "customized-stick-by-bios",
            shows: "the same on a stick, by BIOS",
            firmware: Firmware::Bios,
            // A BIOS tries one hard disk alone, and to it a stick is one.
            medium_first: true,
            ..on_stick()
        },
    ]
}

fn customized() -> Scenario {
    Scenario {
        customized: true,
        acts: vec![Act::Do(is_trusted)],
        holds: vec![HOST_KEY, GUEST, STARTED, NETWORK, NEXT_BOOT],
        ..Scenario::staged()
    }
}

fn on_stick() -> Scenario {
    let mut scenario = Scenario { on_stick: true, ..customized() };
    scenario.acts.insert(0, Act::Do(stick_is_refused));
    scenario.holds.push(WHOLE);
    scenario
}

/// Nothing is said of the installer's host key, and nothing is asked.
fn is_trusted(journey: &Journey) -> Result<()> {
    let mut landfall = journey.bootstrap_command()?;
    let ran = run(landfall.args(["--until", "build"]))?;
    println!("{}", tail(&ran.text));
    // A run that has met the machine before does not say it again.
    ran.ends(Some(0), if journey.scenario.on_stick { &[] } else { &TRUSTED })
}

/// The drive that the installer was started from is no disk for a system, whoever names it,
/// and is not offered where another disk is missing.
fn stick_is_refused(journey: &Journey) -> Result<()> {
    for command in ["check", "bootstrap"] {
        let ran = with_disk(journey, command, STICK)?;
        ran.ends(Some(2), &["is in use: /iso is mounted from it", "the installer's own medium"])?;
        ran.ends(Some(2), if command == "check" { &TRUSTED } else { &[] })?;
    }
    let ran = with_disk(journey, "check", "/dev/no-such-disk")?;
    ran.ends(Some(2), &["The target has", SERIAL])?;
    let hint = ran.text.split("The target has").nth(1).unwrap_or_default();
    ensure!(!hint.contains(STICK_SERIAL), "the stick is offered:\n{}", ran.text);
    println!("{STICK}, which the installer was started from, is refused as a disk");
    Ok(())
}

/// A command that would install on this device.
fn with_disk(journey: &Journey, command: &str, device: &str) -> Result<Ran> {
    let passphrase = journey.operator.secret_file("passphrase", &journey.known.passphrase)?;
    let mut landfall = journey.landfall()?;
    landfall.args([command, HOST, "root@127.0.0.1", "-p", &journey.target.port.to_string()]);
    landfall.arg("-i").arg(journey.operator.ssh_key());
    landfall.args(["--disk", &format!("main={device}"), "--erase", STICK_SERIAL]);
    run(landfall.arg("--luks-passphrase-file").arg(passphrase).arg("--yes"))
}

/// The key that the console shows, and that answers, is that of the copy.
fn host_key(journey: &Journey) -> Result<String> {
    let fingerprint = journey.installer.fingerprint()?;
    let remembered =
        std::fs::read_to_string(journey.operator.path(".local/state/landfall/installers"))?;
    ensure!(
        remembered.contains(journey.installer.key()),
        "{fingerprint} answers, which is not the key of the copy: {remembered}"
    );
    Ok(format!("{fingerprint} on the console, made by `iso build --customize`"))
}

fn guest(journey: &Journey) -> Result<String> {
    let guest = journey.operator.path(GUEST_KEY);
    let name = journey.installer.run_with_key(&journey.operator, "root", "id -un", &guest)?;
    ensure!(name == "root", "the guest is {name}");
    Ok("the guest's key lets in as root".to_string())
}

/// By the firmware and from the drive of the scenario.
fn started(journey: &Journey) -> Result<String> {
    let look = "test -d /sys/firmware/efi && echo UEFI || echo BIOS; findmnt -no SOURCE /iso";
    let found = journey.installer.run(&journey.operator, "root", look)?;
    let (firmware, drive) = found.split_once('\n').context("no image at /iso")?;
    let wanted = match journey.scenario.firmware {
        Firmware::Uefi => "UEFI",
        Firmware::Bios => "BIOS",
    };
    let place = if journey.scenario.on_stick { STICK } else { "/dev/sr0" };
    ensure!(firmware == wanted && drive.starts_with(place), "by {firmware} from {drive}");
    Ok(format!("by {firmware} from {drive}"))
}

/// The network is where NetworkManager looks for it, as it wants it to be.
fn network(journey: &Journey) -> Result<String> {
    let look = format!("stat -c '%a %U' {KEYFILE} && cat {KEYFILE}");
    let found = journey.installer.run(&journey.operator, "root", &look)?;
    let ssid: String = WIFI.bytes().map(|byte| format!("{byte};")).collect();
    let passphrase = WIFI_PASSPHRASE.trim().replace('\\', "\\\\");
    ensure!(found.starts_with("600 root\n"), "{KEYFILE} is {found}");
    for line in [format!("ssid={ssid}"), format!("psk=\\s{passphrase}\\s")] {
        ensure!(found.lines().any(|it| it == line), "there is no {line} in {found}");
    }
    Ok(format!("{KEYFILE}, mode 600, root's"))
}

/// The installer that is started again has the same host key, and joins the same network.
fn next_boot(journey: &Journey) -> Result<String> {
    let (operator, installer) = (&journey.operator, &journey.installer);
    let before = installer.fingerprint()?;
    // The answer may be lost with the connection.
    let _ = installer.run(operator, "root", "systemctl reboot");
    let shown = journey.target.next_installer_fingerprint()?;
    ensure!(shown == before, "the console shows {shown}, before it was {before}");
    // Only under the key that is known from before.
    let boot = installer.boot_id(operator, "root")?;
    ensure!(boot != journey.installer_boot_id, "the boot {boot} still runs");
    network(journey)?;
    Ok("the same host key and network".to_string())
}

/// After all, the stick begins with the copy, byte for byte.
fn stick_is_whole(journey: &Journey) -> Result<String> {
    let copy = std::fs::read(journey.operator.path("stick.iso"))?;
    let mut kept = vec![0; copy.len()];
    File::open(journey.operator.path("stick.img"))?.read_exact(&mut kept)?;
    ensure!(copy == kept, "the stick has changed");
    Ok(format!("{} bytes, as iso flash wrote them", copy.len()))
}
