//! Wrong situations, one after another against one machine with odd disks: each is refused
//! for its own reason, and none writes a byte. QEMU counts what is written to each disk, and
//! the images are hashed before and after.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::disks::install_command;
use crate::journey::course::Journey;
use crate::journey::operator::Operator;
use crate::journey::proof::Proof;
use crate::journey::repos::{HOST, Repos};
use crate::journey::scenario::{Act, SERIAL, Scenario, disk};
use crate::vm::Bus;

pub fn scenario() -> Scenario {
    let small = |serial| disk(serial, "1G", Bus::Virtio);
    let large = |serial| disk(serial, "8G", Bus::Virtio);
    Scenario {
        name: "disk-matrix",
        shows: "wrong situations, none of which writes a byte",
        disks: vec![
            large(SERIAL),
            small("small"),
            large("locked"),
            large("array-a"),
            large("array-b"),
            large("group-a"),
            large("group-b"),
            large("used"),
            large("swapped"),
        ],
        edits: vec![odd_hosts],
        acts: vec![Act::Do(odd_disks), Act::Do(refused)],
        holds: vec![UNTOUCHED],
        ..Scenario::staged()
    }
}

/// Hosts whose layout names the disk of that name.
const ODD_HOSTS: [(&str, &str); 8] = [
    ("missing", "/dev/disk/by-id/virtio-nowhere"),
    ("medium", "/dev/sr0"),
    ("small", "/dev/disk/by-id/virtio-small"),
    ("locked", "/dev/disk/by-id/virtio-locked"),
    ("array", "/dev/disk/by-id/virtio-array-a"),
    ("group", "/dev/disk/by-id/virtio-group-a"),
    ("used", "/dev/disk/by-id/virtio-used"),
    ("swapped", "/dev/disk/by-id/virtio-swapped"),
];

/// A hardware file that evaluates; none of these systems is ever started.
const HARDWARE: &str = "{ nixpkgs.hostPlatform = \"x86_64-linux\"; }\n";

fn odd_hosts(repos: &Repos, _: &Operator) -> Result<()> {
    let hosts = repos.config.join("hosts/nixos");
    let layout = |device: &str| {
        format!(
            "{{\n  imports = [ ../../common/disks/btrfs-luks-disk.nix ];\n  \
             disko.devices.disk.main.device = \"{device}\";\n}}\n"
        )
    };
    let twice = "{\n  disko.devices.disk.a = { device = \"/dev/vda\"; content.type = \"gpt\"; };\n  \
                 disko.devices.disk.b = { device = \"/dev/disk/by-id/virtio-landfall-demo\"; content.type = \"gpt\"; };\n}\n";
    let mut all: Vec<(&str, String)> =
        ODD_HOSTS.iter().map(|(host, device)| (*host, layout(device))).collect();
    all.push(("twice", twice.to_string()));
    all.push(("bare", "{ }\n".to_string()));
    for (host, disks) in all {
        let dir = hosts.join(host);
        std::fs::create_dir_all(&dir)?;
        std::fs::write(dir.join("disks.nix"), disks)?;
        std::fs::write(dir.join("hardware-configuration.nix"), HARDWARE)?;
        std::fs::write(dir.join("default.nix"), "{ }\n")?;
    }
    Ok(std::fs::write(hosts.join(HOST).join("hardware-configuration.nix"), HARDWARE)?)
}

/// Gives the disks their odd contents, and waits until nothing writes to them any more.
fn odd_disks(journey: &Journey) -> Result<()> {
    let script = r#"set -e
        modprobe raid1
        disk() { readlink -f "/dev/disk/by-id/virtio-$1"; }
        mdadm --create /dev/md127 --run --assume-clean --level=1 --raid-devices=2 "$(disk array-a)" "$(disk array-b)"
        pvcreate --quiet --yes "$(disk group-a)" "$(disk group-b)"
        vgcreate --quiet shared "$(disk group-a)" "$(disk group-b)"
        mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$(disk used)"
        mkdir -p /data; mount -o ro "$(disk used)" /data
        mkswap "$(disk swapped)" >/dev/null; swapon "$(disk swapped)"
        blockdev --setro "$(disk locked)"
        sync; udevadm settle; sleep 5; sync
        lsblk --output NAME,TYPE,FSTYPE,RO,MOUNTPOINTS"#;
    println!("{}", journey.installer.run(&journey.operator, "root", script)?);
    // An array notes that it is clean some time after its last write.
    std::thread::sleep(Duration::from_secs(10));
    let before = format!("{:?}", journey.target.disks()?);
    Ok(std::fs::write(journey.operator.path("disks-before"), before)?)
}

/// One wrong situation: the host, further words, the exit code, and what is said.
struct Wrong<'a> {
    name: &'a str,
    words: Vec<&'a str>,
    exit: i32,
    says: &'a str,
}

fn refused(journey: &Journey) -> Result<()> {
    let operator = &journey.operator;
    let shown = journey.installer.fingerprint()?;
    let passphrase = operator.secret_file("passphrase", &journey.known.passphrase)?;
    let passphrase = passphrase.to_string_lossy().into_owned();
    let file = |name: &str, text: &str| {
        operator.secret_file(name, text).map(|path| path.to_string_lossy().into_owned())
    };
    let (empty, mangled, broken) =
        (file("empty", "")?, file("mangled", "-n")?, file("broken", "two\nlines")?);
    let pass = ["--luks-passphrase-file", &passphrase];
    let known = ["--installer-fingerprint", &shown];
    let erase = ["--erase", SERIAL];
    let with = |parts: &[&[&str]]| -> Vec<String> {
        parts.concat().into_iter().map(str::to_string).collect()
    };
    let other = ["--installer-fingerprint", "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"];
    let wrong: Vec<(&str, &str, Vec<String>, i32, &str)> = vec![
        // Before the run of this host has verified a key.
        ("an unknown host key", HOST, with(&[&pass, &erase]), 3, "was not confirmed"),
        (
            "a disk that is not there",
            "missing",
            with(&[&known, &pass, &["--erase", "nowhere"]]),
            2,
            "does not have",
        ),
        ("two names of one disk", "twice", with(&[&known, &erase]), 2, "are the same disk"),
        (
            "the installer's own medium",
            "medium",
            with(&[&known, &pass, &["--erase", "sr0"]]),
            2,
            "/dev/sr0",
        ),
        (
            "a disk that is too small",
            "small",
            with(&[&known, &pass, &["--erase", "small"]]),
            2,
            "is too small",
        ),
        (
            "a read-only disk",
            "locked",
            with(&[&known, &pass, &["--erase", "locked"]]),
            2,
            "is read-only",
        ),
        (
            "half of an array",
            "array",
            with(&[&known, &pass, &["--erase", "array-a"]]),
            2,
            "is part of /dev/md127",
        ),
        (
            "half of a volume group",
            "group",
            with(&[&known, &pass, &["--erase", "group-a"]]),
            2,
            "volume group shared",
        ),
        (
            "a mounted disk",
            "used",
            with(&[&known, &pass, &["--erase", "used"]]),
            2,
            "/data is mounted from it",
        ),
        (
            "a disk that is swapped to",
            "swapped",
            with(&[&known, &pass, &["--erase", "swapped"]]),
            2,
            "is in use",
        ),
        ("no --erase", HOST, with(&[&known, &pass]), 3, "may be erased"),
        (
            "--erase by device path",
            HOST,
            with(&[&known, &pass, &["--erase", "/dev/vda"]]),
            3,
            "is a device path",
        ),
        (
            "--erase of another disk",
            HOST,
            with(&[&known, &pass, &["--erase", "used"]]),
            2,
            "is no disk of the layout",
        ),
        (
            "--erase by half a name",
            HOST,
            with(&[&known, &pass, &["--erase", "landfall"]]),
            2,
            "is no disk of the layout",
        ),
        (
            "--disko-mode format, no --erase",
            HOST,
            with(&[&known, &pass, &["--disko-mode", "format"]]),
            3,
            "may be erased",
        ),
        (
            "another host key",
            HOST,
            with(&[&other, &pass, &erase]),
            3,
            "answers with another host key",
        ),
        ("no passphrase", HOST, with(&[&known, &erase]), 3, "--luks-passphrase-file"),
        (
            "an empty passphrase",
            HOST,
            with(&[&known, &erase, &["--luks-passphrase-file", &empty]]),
            2,
            "is empty",
        ),
        (
            "a passphrase that disko would change",
            HOST,
            with(&[&known, &erase, &["--luks-passphrase-file", &mangled]]),
            2,
            "changed by disko",
        ),
        (
            "a passphrase that nobody can type",
            HOST,
            with(&[&known, &erase, &["--luks-passphrase-file", &broken]]),
            2,
            "line break",
        ),
        (
            "a host without a layout",
            "bare",
            with(&[&known, &pass, &erase]),
            2,
            "has no disk layout",
        ),
        (
            "--phases reboot, nothing installed",
            HOST,
            with(&[&known, &["--phases", "reboot"]]),
            2,
            "nothing was installed by this run",
        ),
        (
            "extra files that are not there",
            HOST,
            with(&[&known, &pass, &erase, &["--extra-files", "/no/such"]]),
            2,
            "/no/such",
        ),
        (
            "no check of the host key",
            HOST,
            with(&[&pass, &erase, &["--ssh-option", "StrictHostKeyChecking=no"]]),
            2,
            "changes how the host key is checked",
        ),
    ];
    println!("\n{:<40} exit", "wrong");
    for (name, host, words, exit, says) in &wrong {
        let words = words.iter().map(String::as_str).collect();
        let wrong = Wrong { name, words, exit: *exit, says };
        wrong.check(install_command(journey, host)?)?;
    }
    println!("{} situations were refused", wrong.len());
    Ok(())
}

impl Wrong<'_> {
    fn check(&self, mut landfall: Command) -> Result<()> {
        let ended = landfall.args(&self.words).output()?;
        let text = [ended.stdout, ended.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let code = ended.status.code();
        ensure!(
            code == Some(self.exit) && line.contains(self.says),
            "{}: ended with {code:?}, not {} and {:?}:\n{text}",
            self.name,
            self.exit,
            self.says
        );
        println!("{:<40} {:>4}  {}", self.name, self.exit, self.says);
        Ok(())
    }
}

const UNTOUCHED: Proof = Proof::new("disks", |journey: &Journey| {
    let before = std::fs::read_to_string(journey.operator.path("disks-before"))
        .context("the disks were not looked at before")?;
    let now = journey.target.disks()?;
    ensure!(format!("{now:?}") == before, "before: {before}\nnow: {now:?}");
    let written: u64 = now.iter().map(|disk| disk.written_bytes).sum();
    Ok(format!(
        "{} images have their hashes, and no byte was added to the {written} that were written before",
        now.len()
    ))
});
