//! Passphrases that are hard to carry from a file to a keyboard: each opens its volume at
//! boot, typed on the console.

use std::io::Write;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::journey::actions::succeed;
use crate::journey::claims::{self, Claim};
use crate::journey::fixture::{Journey, shell_word};
use crate::journey::operator::Operator;
use crate::journey::repos::{HOST, Repos};
use crate::journey::scenario::{Action, Scenario};
use crate::journey::setup::{SERIAL, Setup, words};
use crate::process::quiet;
use crate::vm::{Bus, Disk};

/// The volumes beside the root's, each on a disk of its own. None is a part of another's name.
const VOLUMES: [&str; 4] = ["printable", "umlauts", "longest", "printed"];

/// The volume of the root.
const ROOT: &str = "crypted";

/// The operator's encrypted file with a passphrase, below the home.
const ENCRYPTED: &str = "passphrases.yaml";

/// Lists the journeys of this subject.
pub(crate) fn scenarios() -> Vec<Scenario> {
    let first = Disk::blank(SERIAL, "8G", Bus::Virtio);
    let small = VOLUMES.iter().map(|name| small_disk(name));
    vec![Scenario {
        name: "odd-passphrases",
        shows: "all printable ASCII, spaces at both ends, UTF-8 and 512 bytes, typed at the boot; \
                then another passphrase for the root's volume",
        setup: Setup {
            disks: [first].into_iter().chain(small).collect(),
            edits: vec![add_volumes],
            flags: words("--strategy direct"),
            ..Setup::staged()
        },
        actions: vec![Action::Do(bootstrap), Action::Do(change_passphrase)],
        claims: vec![claims::BOOT_ID, claims::GENERATION, ALL_VOLUMES, CHANGED, claims::UNITS],
        ..Scenario::staged()
    }]
}

/// Describes the disk of a volume.
fn small_disk(volume: &str) -> Disk {
    Disk::blank(&format!("lf-{volume}"), "128M", Bus::Virtio)
}

/// Returns the passphrase of a volume. None of them opens another one.
fn passphrase(volume: &str) -> String {
    let printable: String = (' '..='~').collect();
    match volume {
        "printable" => format!(" {printable} "),
        "umlauts" => " Über 9 € für Øyvinds Łódź, ключ 🔑 und 鍵 ".to_owned(),
        "longest" => printable.chars().rev().cycle().take(512).collect(),
        other => format!("\\n $(echo {other}) `id` -e 100% \\"),
    }
}

/// Gives the layout a disk for each of the volumes.
fn add_volumes(repos: &Repos, _: &Operator) -> Result<()> {
    let disks: String = VOLUMES.iter().map(|name| layout(name)).collect();
    repos.add_to_disks(&disks)
}

/// Writes the layout of a volume's disk.
fn layout(volume: &str) -> String {
    let device = small_disk(volume).by_id();
    format!(
        r#"
  disko.devices.disk.{volume} = {{
    type = "disk";
    device = "{device}";
    content = {{
      type = "gpt";
      partitions.luks = {{
        size = "100%";
        content = {{
          type = "luks";
          name = "{volume}";
          passwordFile = "/tmp/{volume}-passphrase";
          # One boot opens many of them.
          extraFormatArgs = [ "--pbkdf" "pbkdf2" "--pbkdf-force-iterations" "1000" ];
          content = {{
            type = "filesystem";
            format = "ext4";
            mountpoint = "/{volume}";
          }};
        }};
      }};
    }};
  }};
"#
    )
}

/// Runs landfall, which takes one passphrase out of an encrypted file, one from a command, the
/// others from files.
fn bootstrap(journey: &Journey) -> Result<()> {
    let operator = &journey.operator;
    let mut landfall = journey.bootstrap_command()?;
    for volume in VOLUMES {
        journey.target.set_passphrase(volume, &passphrase(volume));
        match volume {
            "umlauts" => {
                encrypt(operator, volume)?;
                let secret = format!("{volume}={}:{volume}", operator.path(ENCRYPTED).display());
                landfall.args(["--luks-passphrase-secret", &secret]);
            }
            "printed" => {
                let file = operator.secret_file(volume, &format!("{}\n\n", passphrase(volume)))?;
                let command = format!("{volume}=cat {}", file.display());
                landfall.args(["--luks-passphrase-command", &command]);
            }
            _ => {
                let file = operator.secret_file(volume, &passphrase(volume))?;
                let given = format!("{volume}={}", file.display());
                landfall.args(["--luks-passphrase-file", &given]);
            }
        }
    }
    succeed("landfall bootstrap", &mut landfall)
}

/// The root's passphrase from its change on.
const ANOTHER: &str = " Mein \"zweites\" Paßwort, $5 & 'mehr' ";

fn change_passphrase(journey: &Journey) -> Result<()> {
    let operator = &journey.operator;
    let old = journey.passphrase_file()?;
    let new = operator.secret_file("another", &format!("{ANOTHER}\n"))?;
    let mut landfall = journey.landfall()?;
    landfall.args(["passphrase", HOST, "--yes", "--volume", ROOT, "-i"]).arg(operator.ssh_key());
    landfall.arg("--sudo-password-file").arg(journey.sudo_password_file()?);
    landfall.arg("--old-passphrase-file").arg(old).arg("--new-passphrase-file").arg(new);
    succeed("landfall passphrase", &mut landfall)?;
    journey.target.set_passphrase(ROOT, ANOTHER);
    Ok(())
}

/// Puts a passphrase into a file that only the operator can read.
fn encrypt(operator: &Operator, name: &str) -> Result<()> {
    let keys = operator.path(".config/sops/age/keys.txt");
    let keys = std::fs::read_to_string(&keys)
        .with_context(|| format!("cannot read {}", keys.display()))?;
    let recipient = keys
        .split_whitespace()
        .find(|word| word.starts_with("age1"))
        .context("the operator's key file names no recipient")?;
    let mut sops = operator
        .command("sops")
        .args(["encrypt", "--age", recipient, "--input-type", "json", "--output-type", "yaml"])
        .arg("--output")
        .arg(operator.path(ENCRYPTED))
        .arg("/dev/stdin")
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot start sops")?;
    let text = serde_json::json!({ name: passphrase(name) }).to_string();
    sops.stdin.take().context("sops takes no input")?.write_all(text.as_bytes())?;
    ensure!(sops.wait()?.success(), "sops could not encrypt a passphrase");
    quiet(operator.command("sops").arg("decrypt").arg(operator.path(ENCRYPTED)))
}

/// Shows that each volume is mounted, which somebody has opened who typed at the one boot.
const ALL_VOLUMES: Claim = Claim::new("all volumes", |journey| {
    for volume in VOLUMES {
        let source = journey.as_user(&format!("findmnt -no SOURCE /{volume}"))?;
        ensure!(source == format!("/dev/mapper/{volume}"), "/{volume} is {source}");
    }
    let lengths = VOLUMES.map(|volume| passphrase(volume).len().to_string()).join(", ");
    Ok(format!(
        "typed {} times, {lengths} bytes and the root's",
        journey.target.passphrases_typed()
    ))
});

/// Shows that at the next boot the new passphrase opens the root's volume; the old one does not.
const CHANGED: Claim = Claim::new("another one", |journey| {
    journey.reboot()?;
    let opens = |passphrase: &str| {
        let test = "cryptsetup open --test-passphrase --key-file - \
                    /dev/disk/by-partlabel/disk-main-luks && echo opens || echo does not";
        journey.as_root(&format!("printf %s {} | {{ {test}; }}", shell_word(passphrase)))
    };
    let (old, new) = (opens(&journey.secrets.passphrase)?, opens(ANOTHER)?);
    ensure!(old == "does not" && new == "opens", "the old one {old}, the new one {new}");
    let source = journey.as_user("findmnt -no SOURCE /")?;
    ensure!(source.starts_with("/dev/mapper/crypted"), "the root is {source}");
    let typed = journey.target.passphrases_typed();
    Ok(format!("the new one opened {ROOT} at the next boot, the old one does not; {typed} typed"))
});
