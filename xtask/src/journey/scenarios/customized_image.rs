//! Copies of the image that were given something: started by UEFI and by BIOS, from the CD
//! drive and from a stick that `iso flash` has written.

use std::fs::File;
use std::io::Read;

use anyhow::{Context, Result, ensure};

use crate::journey::claims::Claim;
use crate::journey::command_result::CommandResult;
use crate::journey::fixture::Journey;
use crate::journey::image::{self, GUEST_KEY, WIFI, WIFI_PASSPHRASE};
use crate::journey::repos::HOST;
use crate::journey::scenario::{Action, Scenario};
use crate::journey::setup::{SERIAL, Setup};
use crate::process::tail;
use crate::vm::{Firmware, STICK_SERIAL};

/// As the names of the disks in the installer go: the stick is the only one on SCSI.
const STICK: &str = "/dev/sda";
const KEYFILE: &str = "/etc/NetworkManager/system-connections/wifi-1.nmconnection";

/// What is said of a host key that nobody has named.
const TRUSTED: [&str; 2] = ["the host key is that of the image", "stick.iso"];

const HOST_KEY: Claim = Claim::new("host key", host_key);
const GUEST: Claim = Claim::new("guest", guest);
const STARTED: Claim = Claim::new("started", started);
const NETWORK: Claim = Claim::new("wi-fi", network);
const NEXT_BOOT: Claim = Claim::new("next boot", next_boot);
const INTACT_STICK: Claim = Claim::new("stick", intact_stick);

/// Lists the journeys of this subject.
pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "customized-image",
            shows: "a copy of the image with host key, guest and Wi-Fi, by UEFI; up to the disks",
            ..customized(Setup::staged())
        },
        Scenario {
            name: "customized-image-by-bios",
            shows: "the same, by BIOS",
            ..customized(Setup { firmware: Firmware::Bios, ..Setup::staged() })
        },
        Scenario {
            name: "customized-stick",
            shows: "the same on a stick that iso flash wrote, by UEFI; the stick is not erased",
            ..on_stick(Setup::staged())
        },
        Scenario {
            name: "customized-stick-by-bios",
            shows: "the same on a stick, by BIOS",
            // A BIOS tries one hard disk alone, and to it a stick is one.
            ..on_stick(Setup { firmware: Firmware::Bios, medium_first: true, ..Setup::staged() })
        },
    ]
}

/// Describes a journey up to the disks, from a customized image.
fn customized(setup: Setup) -> Scenario {
    Scenario {
        setup: Setup { customized_image: true, ..setup },
        actions: vec![Action::Do(trust_the_image)],
        claims: vec![HOST_KEY, GUEST, STARTED, NETWORK, NEXT_BOOT],
        ..Scenario::staged()
    }
}

/// Describes a journey up to the disks, from a customized image on a stick.
fn on_stick(setup: Setup) -> Scenario {
    let setup = Setup { customized_image: true, on_stick: true, ..setup };
    Scenario {
        setup,
        actions: vec![Action::Do(refuse_the_stick), Action::Do(trust_the_image)],
        claims: vec![HOST_KEY, GUEST, STARTED, NETWORK, NEXT_BOOT, INTACT_STICK],
        ..Scenario::staged()
    }
}

/// Runs landfall up to the disks. Nothing is said of the installer's host key, and nothing is
/// asked.
fn trust_the_image(journey: &Journey) -> Result<()> {
    let mut landfall = journey.bootstrap_command()?;
    let result = CommandResult::of(landfall.args(["--until", "build"]))?;
    println!("{}", tail(&result.text));
    // A run that has met the machine before does not say it again.
    result.must_be(Some(0), if journey.setup.on_stick { &[] } else { &TRUSTED })
}

/// Names the drive that the installer was started from as a disk for a system, which is refused
/// whoever names it; it is not offered where another disk is missing.
fn refuse_the_stick(journey: &Journey) -> Result<()> {
    for command in ["check", "bootstrap"] {
        let result = with_disk(journey, command, STICK)?;
        let says = ["is in use: /iso is mounted from it", "the installer's own medium"];
        result.must_be(Some(2), &says)?;
        result.must_be(Some(2), if command == "check" { &TRUSTED } else { &[] })?;
    }
    let result = with_disk(journey, "check", "/dev/no-such-disk")?;
    result.must_be(Some(2), &["The target has", SERIAL])?;
    let hint = result.text.split("The target has").nth(1).unwrap_or_default();
    ensure!(!hint.contains(STICK_SERIAL), "the stick is offered:\n{}", result.text);
    println!("{STICK}, which the installer was started from, is refused as a disk");
    Ok(())
}

/// Runs a command that would install on this device.
fn with_disk(journey: &Journey, command: &str, device: &str) -> Result<CommandResult> {
    let mut landfall = journey.landfall()?;
    landfall.args([command, HOST, "root@127.0.0.1", "-p", &journey.target.port.to_string()]);
    landfall.arg("-i").arg(journey.operator.ssh_key());
    landfall.args(["--disk", &format!("main={device}"), "--erase", STICK_SERIAL]);
    landfall.arg("--luks-passphrase-file").arg(journey.passphrase_file()?).arg("--yes");
    CommandResult::of(&mut landfall)
}

/// Shows that the key that the console shows, and that answers, is that of the copy.
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

/// Shows that the guest may log in.
fn guest(journey: &Journey) -> Result<String> {
    let guest = journey.operator.path(GUEST_KEY);
    let name = journey.installer.run_with_key(&journey.operator, "root", "id -un", &guest)?;
    ensure!(name == "root", "the guest is {name}");
    Ok("the guest's key lets in as root".to_string())
}

/// Shows that the installer was started by this firmware and from this drive.
fn started(journey: &Journey) -> Result<String> {
    let look = "test -d /sys/firmware/efi && echo UEFI || echo BIOS; findmnt -no SOURCE /iso";
    let found = journey.on_installer(look)?;
    let (firmware, drive) = found.split_once('\n').context("no image at /iso")?;
    let wanted = match journey.setup.firmware {
        Firmware::Uefi => "UEFI",
        Firmware::Bios => "BIOS",
    };
    let expected = if journey.setup.on_stick { STICK } else { "/dev/sr0" };
    ensure!(firmware == wanted && drive.starts_with(expected), "by {firmware} from {drive}");
    Ok(format!("by {firmware} from {drive}"))
}

/// Shows that the network is where NetworkManager looks for it, as it wants it to be.
fn network(journey: &Journey) -> Result<String> {
    let look = format!("stat -c '%a %U' {KEYFILE} && cat {KEYFILE}");
    let found = journey.on_installer(&look)?;
    let ssid: String = WIFI.bytes().map(|byte| format!("{byte};")).collect();
    let passphrase = WIFI_PASSPHRASE.trim().replace('\\', "\\\\");
    ensure!(found.starts_with("600 root\n"), "{KEYFILE} is {found}");
    for line in [format!("ssid={ssid}"), format!("psk=\\s{passphrase}\\s")] {
        ensure!(found.lines().any(|it| it == line), "there is no {line} in {found}");
    }
    Ok(format!("{KEYFILE}, mode 600, root's"))
}

/// Shows that the installer that is started again has the same host key, and joins the same
/// network.
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

/// Shows that after all the stick begins with the copy, byte for byte.
fn intact_stick(journey: &Journey) -> Result<String> {
    let copy = std::fs::read(journey.operator.path(image::CUSTOMIZED_IMAGE))?;
    let mut kept = vec![0; copy.len()];
    File::open(journey.operator.path(image::STICK))?.read_exact(&mut kept)?;
    ensure!(copy == kept, "the stick has changed");
    Ok(format!("{} bytes, as iso flash wrote them", copy.len()))
}
