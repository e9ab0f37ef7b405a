//! `landfall iso flash` on loop devices, which are drives as any other to it.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

use crate::common::fake_drive::{FakeDrive, Faults, Gate};
use crate::common::journey::{Ran, run};
use crate::common::skipped;
use rexpect::session::{PtySession, spawn_command};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
const HONEST: Faults =
    Faults { says: 100 * MIB, keeps: 100 * MIB as usize, wraps: false, worn_at: None };

/// A file that the kernel shows as a drive.
struct Loop {
    device: PathBuf,
}

impl Loop {
    /// None, and said so, where there are no loop devices.
    fn new(file: &Path, options: &[&str]) -> Option<Self> {
        let output =
            Command::new("losetup").args(options).args(["--find", "--show"]).arg(file).output();
        let why = match output {
            Ok(output) if output.status.success() => {
                let device = String::from_utf8(output.stdout).unwrap().trim().into();
                return Some(Self { device });
            }
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => format!("losetup: {error}"),
        };
        skipped(&why);
        None
    }

    fn read(&self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        fs::File::open(&self.device).unwrap().read_exact(&mut bytes).unwrap();
        bytes
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).status();
    }
}

/// A folder with a file that begins as a boot image does.
struct Bench {
    dir: TempDir,
    image: Vec<u8>,
}

impl Bench {
    fn new() -> Self {
        Self::with_image(5 * MIB + 2048)
    }

    fn with_image(length: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut image: Vec<u8> = (0..length).map(|n| (n / 3 % 251) as u8).collect();
        image[0x8001..0x8006].copy_from_slice(b"CD001");
        fs::write(dir.path().join("image.iso"), &image).unwrap();
        Self { dir, image }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn drive(&self, size: u64, options: &[&str]) -> Option<Loop> {
        let file = self.path("drive");
        fs::File::create(&file).unwrap().set_len(size).unwrap();
        Loop::new(&file, options)
    }

    fn flash(&self, drive: &Path, more: &[&str]) -> Ran {
        run(self.flash_command(drive).args(more))
    }

    fn flash_command(&self, drive: &Path) -> Command {
        let mut landfall = Command::new(assert_cmd::cargo::cargo_bin!("landfall"));
        landfall.args(["iso", "flash"]).arg(drive).arg("--image").arg(self.path("image.iso"));
        landfall.current_dir(self.dir.path());
        landfall
    }

    /// Writes to a drive that does not do what it says; gives what it kept.
    fn flash_fake(&self, faults: &Faults) -> Option<(Ran, Vec<u8>)> {
        let drive = FakeDrive::new(self.dir.path(), faults, None)?;
        let ran = self.flash(&drive.device, &["--yes"]);
        Some((ran, drive.kept()))
    }

    /// Interrupts the writing where this place of the drive is given what it is to hold.
    fn flash_interrupted(&self, at: u64) -> Option<(Ran, Vec<u8>)> {
        let ((reached, is_there), (go, go_on)) = (channel(), channel());
        let gate = Gate { at, byte: self.image[at as usize], reached, go_on };
        let drive = FakeDrive::new(self.dir.path(), &HONEST, Some(gate))?;
        let mut landfall = self.flash_command(&drive.device);
        landfall.arg("--yes").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let landfall = landfall.spawn().unwrap();
        is_there.recv().unwrap();
        let pid = rustix::process::Pid::from_raw(landfall.id().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        // It is delivered when the kernel lets go of the process.
        go.send(()).unwrap();
        let output = landfall.wait_with_output().unwrap();
        let text = [&output.stdout[..], &output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        Some((Ran { code: output.status.code(), stdout, text }, drive.kept()))
    }
}

#[test]
fn the_image_is_written_and_read_back() {
    let bench = Bench::new();
    let Some(drive) = bench.drive(64 * MIB, &[]) else { return };
    let ran = bench.flash(&drive.device, &["--yes"]);
    ran.ends(0, &[drive.device.to_str().unwrap(), "read back and is the same"]);
    assert!(drive.read(bench.image.len()) == bench.image, "it is not the image");
    bench.flash(&drive.device, &["--yes"]).succeeds();
}

#[test]
fn without_a_person_or_a_yes_nothing_is_written() {
    let bench = Bench::new();
    let Some(drive) = bench.drive(64 * MIB, &[]) else { return };
    bench.flash(&drive.device, &[]).ends(3, &["nobody confirms", "run it in a terminal"]);
    assert!(drive.read(MIB as usize).iter().all(|byte| *byte == 0));
}

/// Answers the question whether the drive may be overwritten; gives what was shown before.
fn asked(bench: &Bench, drive: &Path, answer: &str) -> (PtySession, String) {
    let mut landfall = bench.flash_command(drive);
    landfall.env("TERM", "xterm-256color");
    let mut terminal = spawn_command(landfall, Some(60_000)).unwrap();
    let shown = terminal.exp_string("Overwrite it?").unwrap();
    terminal.exp_string("anything else is a no").unwrap();
    terminal.send(answer).unwrap();
    terminal.send_control('m').unwrap();
    (terminal, shown)
}

#[test]
fn a_person_sees_what_is_on_the_drive_and_types_its_name() {
    let bench = Bench::new();
    let Some(drive) = bench.drive(64 * MIB, &[]) else { return };
    let made = Command::new("mkfs.ext4").args(["-q", "-L", "holidays"]).arg(&drive.device).status();
    if !made.is_ok_and(|status| status.success()) {
        return skipped("mkfs.ext4 does not work here");
    }
    let before = drive.read(MIB as usize);
    let (mut terminal, shown) = asked(&bench, &drive.device, "yes");
    for part in ["64.0 MiB", "image.iso", "ext4", "holidays", "will be lost"] {
        assert!(shown.contains(part), "no {part:?} in:\n{shown}");
    }
    terminal.exp_string("was not confirmed").unwrap();
    terminal.exp_eof().unwrap();
    assert!(drive.read(MIB as usize) == before, "something was written");

    let (mut terminal, _) = asked(&bench, &drive.device, drive.device.to_str().unwrap());
    terminal.exp_string("read back and is the same").unwrap();
    terminal.exp_eof().unwrap();
    assert!(drive.read(bench.image.len()) == bench.image, "it is not the image");
}

#[test]
fn wrong_drives_and_images_are_refused_and_stay_as_they_are() {
    let bench = Bench::new();
    let Some(drive) = bench.drive(4 * MIB, &[]) else { return };
    bench.flash(&drive.device, &["--yes"]).ends(2, &["has 4.0 MiB, the image needs 5.0 MiB"]);
    bench.flash(Path::new("/dev/landfall-no-drive"), &["--yes"]).ends(2, &["is not a drive of"]);
    bench.flash(Path::new("/dev/null"), &["--yes"]).ends(2, &["is not a drive of this machine"]);
    fs::write(bench.path("image.iso"), vec![1; 3 * MIB as usize]).unwrap();
    bench.flash(&drive.device, &["--yes"]).ends(2, &["is no image", "not an ISO 9660 image"]);
    fs::remove_file(bench.path("image.iso")).unwrap();
    bench.flash(&drive.device, &["--yes"]).ends(2, &["image.iso is no image"]);
    assert!(drive.read(4 * MIB as usize).iter().all(|byte| *byte == 0));
}

#[test]
fn whoever_may_not_write_to_the_drive_is_told_so_before_anything_else() {
    let bench = Bench::new();
    let Some(drive) = bench.drive(64 * MIB, &[]) else { return };
    let mut setpriv = Command::new("setpriv");
    setpriv.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    let program = bench.path("landfall");
    fs::copy(assert_cmd::cargo::cargo_bin!("landfall"), &program).unwrap();
    fs::set_permissions(bench.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let ran = run(setpriv.arg(&program).args(["iso", "flash"]).arg(&drive.device).arg("--image=x"));
    ran.ends(2, &["cannot be opened", "with sudo"]);
}

#[test]
fn a_write_protected_drive_is_refused() {
    let bench = Bench::new();
    let Some(drive) = bench.drive(64 * MIB, &["--read-only"]) else { return };
    bench.flash(&drive.device, &["--yes"]).ends(2, &["is write-protected"]);
}

#[test]
fn what_is_mounted_or_held_is_not_overwritten() {
    let bench = Bench::new();
    let Some(drive) = bench.drive(64 * MIB, &[]) else { return };
    let made = Command::new("mkfs.ext4").arg("-q").arg(&drive.device).status();
    if !made.is_ok_and(|status| status.success()) {
        return skipped("mkfs.ext4 does not work here");
    }
    let before = drive.read(MIB as usize);
    let place = bench.path("mounted");
    fs::create_dir(&place).unwrap();
    // A mount that writes counts itself on the disk.
    let mut mount = Command::new("mount");
    let mounted = mount.args(["-o", "ro,noload"]).arg(&drive.device).arg(&place).status().unwrap();
    assert!(mounted.success());
    let ran = bench.flash(&drive.device, &["--yes", "--internal"]);
    let unmounted = Command::new("umount").arg(&place).status().unwrap();
    assert!(unmounted.success());
    ran.ends(2, &["is mounted at", "umount"]);
    assert!(drive.read(MIB as usize) == before, "something was written");
}

#[test]
fn a_drive_that_cannot_keep_what_it_says_is_reported() {
    let bench = Bench::new();
    let small = bench.path("small");
    fs::create_dir(&small).unwrap();
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=16M", "none"]).arg(&small).status();
    if !mounted.is_ok_and(|status| status.success()) {
        return skipped("tmpfs cannot be mounted here");
    }
    let file = small.join("drive");
    // Filled up: what the marks at the end would need is not there.
    fs::write(small.join("full"), vec![0; 16 * MIB as usize - 8192]).unwrap();
    fs::File::create(&file).unwrap().set_len(256 * MIB).unwrap();
    let ran = Loop::new(&file, &[]).map(|drive| bench.flash(&drive.device, &["--yes"]));
    let unmounted = Command::new("umount").arg(&small).status().unwrap();
    assert!(unmounted.success());
    if let Some(ran) = ran {
        ran.ends(1, &["reports a false capacity", "256.0 MiB"]);
    }
}

#[test]
fn a_drive_that_is_smaller_than_it_says_is_found_before_the_image_is_written() {
    let bench = Bench::new();
    for wraps in [true, false] {
        let faults = Faults { says: 500 * MIB, keeps: 64 * MIB as usize, wraps, ..HONEST };
        let Some((ran, kept)) = bench.flash_fake(&faults) else { return };
        ran.ends(1, &["reports a false capacity", "It reports 500.0 MiB", "Use another"]);
        assert!(!kept.windows(5).any(|bytes| bytes == b"CD001"), "the image was written");
    }
}

#[test]
fn a_drive_that_puts_the_image_over_what_it_had_is_found_behind_the_image() {
    let bench = Bench::new();
    // No two of the first marks meet: only the image takes their places.
    let faults = Faults { says: 500 * MIB, keeps: 63 * MIB as usize, wraps: true, ..HONEST };
    let Some((ran, _)) = bench.flash_fake(&faults) else { return };
    ran.ends(1, &["reports a false capacity", "It reports 500.0 MiB"]);
}

#[test]
fn a_drive_that_keeps_another_byte_is_reported_with_its_place() {
    let bench = Bench::new();
    let worn_at = Some(3 * MIB as usize + 5);
    let Some((ran, _)) = bench.flash_fake(&Faults { worn_at, ..HONEST }) else { return };
    let place = format!("first difference is at byte {}", 3 * MIB + 5);
    ran.ends(1, &["did not keep what was written", &place]);
}

#[test]
fn an_honest_drive_of_the_same_kind_holds_the_image_and_nothing_else() {
    let bench = Bench::new();
    let Some((ran, kept)) = bench.flash_fake(&HONEST) else { return };
    ran.ends(0, &["read back and is the same"]);
    assert!(kept.starts_with(&bench.image), "it is not the image");
    assert!(!kept.windows(8).any(|bytes| bytes == b"landfall"), "marks are left");
}

#[test]
fn interrupted_while_writing_it_says_so_and_the_drive_starts_nothing() {
    // Much is still to be written.
    let bench = Bench::with_image(80 * MIB);
    let Some((ran, kept)) = bench.flash_interrupted(4 * MIB) else { return };
    ran.ends(130, &["interrupted", "partly written and not bootable", "Run the same command"]);
    assert!(kept[..MIB as usize].iter().all(|byte| *byte == 0), "firmware finds something");
}

#[test]
fn interrupted_behind_the_last_write_it_says_that_nothing_was_compared() {
    let bench = Bench::new();
    // The beginning of the image goes last.
    let Some((ran, kept)) = bench.flash_interrupted(0x8001) else { return };
    ran.ends(130, &["interrupted", "was not verified", "Run the same command"]);
    assert!(kept.starts_with(&bench.image), "it is not the image");
}
