//! Passphrases that are hard to carry from a file to a keyboard: each opens its volume at
//! boot, typed on the console.

use std::io::Write;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::journey::course::Journey;
use crate::journey::operator::{Operator, USER};
use crate::journey::proof::{self, Proof};
use crate::journey::repos::{HOST, Repos};
use crate::journey::scenario::{Act, SERIAL, Scenario, Share, disk, disk_path, words};
use crate::run::quiet;
use crate::vm::{Bus, Disk};

/// The volumes beside the root's, each on a disk of its own. None is a part of another's name.
const VOLUMES: [&str; 4] = ["printable", "umlauts", "longest", "printed"];

/// The volume of the root.
const ROOT: &str = "crypted";

/// The operator's encrypted file with a passphrase, below the home.
const ENCRYPTED: &str = "passphrases.yaml";

pub fn scenarios() -> Vec<Scenario> {
    let disks = VOLUMES.iter().map(|name| small_disk(name));
    vec![Scenario {
        name: "odd-passphrases",
        share: Share::InTurn,
        shows: "all printable ASCII, spaces at both ends, UTF-8 and 512 bytes, typed at the boot; \
                then another passphrase for the root's volume",
        disks: [disk(SERIAL, "8G", Bus::Virtio)].into_iter().chain(disks).collect(),
        edits: vec![small_volumes],
        flags: words("--strategy direct"),
        acts: vec![Act::Do(install), Act::Do(change)],
        holds: vec![proof::BOOT_ID, proof::GENERATION, ALL_OPEN, CHANGED, proof::UNITS],
        ..Scenario::staged()
    }]
}

fn small_disk(volume: &str) -> Disk {
    disk(&format!("lf-{volume}"), "128M", Bus::Virtio)
}

/// The passphrase of a volume. None of them opens another one.
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
fn small_volumes(repos: &Repos, _: &Operator) -> Result<()> {
    let disks: String = VOLUMES.iter().map(|name| layout(name)).collect();
    repos.edit(&format!("hosts/nixos/{HOST}/disks.nix"), |text| {
        let body = text.trim_end().strip_suffix('}').context("disks.nix ends without }")?;
        Ok(format!("{body}{disks}}}\n"))
    })
}

fn layout(volume: &str) -> String {
    let device = disk_path(&small_disk(volume));
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

/// One passphrase comes out of an encrypted file, one from a command, the others from files.
fn install(journey: &Journey) -> Result<()> {
    let operator = &journey.operator;
    let mut landfall = journey.bootstrap_command()?;
    for volume in VOLUMES {
        journey.target.answer_for(volume, &passphrase(volume));
        match volume {
            "umlauts" => {
                encrypt(operator, volume)?;
                let place = format!("{volume}={}:{volume}", operator.path(ENCRYPTED).display());
                landfall.args(["--luks-passphrase-secret", &place]);
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
    let status = landfall.status()?;
    ensure!(status.success(), "landfall bootstrap ended with {status}");
    Ok(())
}

/// The root's passphrase from its change on.
const ANOTHER: &str = " Mein \"zweites\" Paßwort, $5 & 'mehr' ";

fn change(journey: &Journey) -> Result<()> {
    let operator = &journey.operator;
    let old = operator.secret_file("passphrase", &journey.known.passphrase)?;
    let new = operator.secret_file("another", &format!("{ANOTHER}\n"))?;
    let password = operator.secret_file("sudo-password", &journey.known.password)?;
    let mut landfall = journey.landfall()?;
    landfall.args(["passphrase", HOST, "--yes", "--volume", ROOT, "-i"]).arg(operator.ssh_key());
    landfall.arg("--sudo-password-file").arg(password);
    landfall.arg("--old-passphrase-file").arg(old).arg("--new-passphrase-file").arg(new);
    let status = landfall.status()?;
    ensure!(status.success(), "landfall passphrase ended with {status}");
    journey.target.answer_for(ROOT, ANOTHER);
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

/// Each volume is mounted, and was opened by somebody who typed at the one boot.
const ALL_OPEN: Proof = Proof::new("all volumes", |journey: &Journey| {
    let installed = journey.installed()?;
    for volume in VOLUMES {
        let look = format!("findmnt -no SOURCE /{volume}");
        let source = installed.run(&journey.operator, USER, &look)?;
        ensure!(source == format!("/dev/mapper/{volume}"), "/{volume} is {source}");
    }
    let lengths = VOLUMES.map(|volume| passphrase(volume).len().to_string()).join(", ");
    Ok(format!("typed {} times, {lengths} bytes and the root's", journey.target.typed()))
});

/// At the next boot the new passphrase opens the root's volume; the old one does not.
const CHANGED: Proof = Proof::new("another one", |journey: &Journey| {
    journey.reboot()?;
    let opens = |passphrase: &str| {
        let test = "cryptsetup open --test-passphrase --key-file - \
                    /dev/disk/by-partlabel/disk-main-luks && echo opens || echo does not";
        let words = passphrase.replace('\'', r"'\''");
        journey.as_root(&format!("printf %s '{words}' | {{ {test}; }}"))
    };
    let (old, new) = (opens(&journey.known.passphrase)?, opens(ANOTHER)?);
    ensure!(old == "does not" && new == "opens", "the old one {old}, the new one {new}");
    let source = journey.installed()?.run(&journey.operator, USER, "findmnt -no SOURCE /")?;
    ensure!(source.starts_with("/dev/mapper/crypted"), "the root is {source}");
    let typed = journey.target.typed();
    Ok(format!("the new one opened {ROOT} at the next boot, the old one does not; {typed} typed"))
});
