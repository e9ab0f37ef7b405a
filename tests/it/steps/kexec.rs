//! A target that runs something else: what may replace it, and what may not.
//!
//! No kernel is started here; that takes a virtual machine.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::common::installer::SERIAL;
use crate::common::journey::{Journey, run};
use crate::common::plain_flake::Plain;
use crate::common::{PERSON, USAGE};
use rustix::process::{Pid, Signal, kill_process};
use sha2::{Digest, Sha256};

const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn a_running_system_is_ended_only_by_an_image_that_was_named_and_is_one() {
    let Some(journey) = Journey::new() else { return };
    journey.target.runs("debian", "");
    let words = ["does not run a NixOS installer", "it runs debian", "--kexec URL|FILE"];
    journey.check_refuses(PERSON, &words, |_| ());
    journey.check_refuses(PERSON, &words[..2], |args| args.push("--no-kexec".into()));
    let with = |image: &str| {
        let image = image.to_owned();
        move |args: &mut Vec<String>| args.extend(["--kexec".into(), image.clone()])
    };
    let words = ["is not fetched without a hash", "--kexec-sha256"];
    journey.check_refuses(USAGE, &words, with("http://192.0.2.1/image.tar.gz"));
    let text = journey.home().join("passphrase");
    journey.check_refuses(USAGE, &["cannot be read", "--kexec"], with(text.to_str().unwrap()));
}

/// What the target runs in place of an installer's kernel: it looks like one afterwards.
/// `away` is for tests in which nobody answers until they remove it.
const RUN: &str = r#"#!/bin/sh
echo "$*" > "$target/kexec-arguments"
printf 'ID=nixos\nVARIANT_ID=installer\n' > "$target/os-release"
echo another-boot > "$target/boot_id"
touch "$target/away"
"#;

/// A tarball of files with these names.
fn tarball(dir: &Path, name: &str, files: &[&str]) -> PathBuf {
    let content = dir.join(format!("{name}-content"));
    for file in files {
        let path = content.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, RUN).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = dir.join(name);
    let mut tar = Command::new("tar");
    run(tar.arg("-C").arg(&content).arg("-czf").arg(&path).arg("kexec")).succeeds();
    path
}

/// Serves a file to whoever asks, for as long as the test runs; gives its address.
fn served(file: &Path) -> String {
    let body = std::fs::read(file).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    format!("http://127.0.0.1:{port}/image.tar.gz")
}

#[test]
fn an_image_from_an_address_is_the_one_whose_hash_was_given() {
    let Some(journey) = Journey::new() else { return };
    journey.target.runs("debian", "");
    // Whatever else this machine is, the image was taken where the target is looked at.
    journey.target.has_memory_mib(100);
    let image = tarball(journey.root.path(), "good", &["kexec/run", "kexec/kexec"]);
    let hash = Sha256::digest(std::fs::read(&image).unwrap());
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let other = format!("{}{}", if hash.starts_with('0') { "1" } else { "0" }, &hash[1..]);
    let address = served(&image);
    let with = |hash: &str| {
        let words = ["--kexec", &address, "--kexec-sha256", hash].map(str::to_owned);
        move |args: &mut Vec<String>| args.extend(words.clone())
    };
    journey.check_refuses(
        USAGE,
        &["the running system cannot be replaced by the installer"],
        with(&hash),
    );
    journey.check_refuses(1, &["could not be fetched", "hash mismatch"], with(&other));
    let words = ["--kexec-sha256", "64 hexadecimal"];
    journey.check_refuses(USAGE, &words, with("no hash at all"));
    // That of a file is looked at as well.
    let file = image.display().to_string();
    let words = ["is not the kexec image that was meant", &other];
    journey.check_refuses(USAGE, &words, |args| {
        args.extend(["--kexec", &file, "--kexec-sha256", &other].map(str::to_owned));
    });
}

#[test]
fn a_tarball_that_brings_no_keys_is_no_image() {
    let Some(journey) = Journey::new() else { return };
    journey.target.runs("debian", "");
    let plain = tarball(journey.root.path(), "plain", &["kexec/kexec-boot"]);
    let words = ["is not a kexec image that landfall can start", "nobody could log in"];
    journey.check_refuses(USAGE, &words, |args| {
        args.extend(["--kexec".into(), plain.display().to_string()]);
    });
}

/// Another port that leads to `port` while it `is_open`; it counts who comes this way.
fn forwarded(port: u16, is_open: impl Fn() -> bool + Send + 'static) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let own = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for here in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::Relaxed);
            if !is_open() {
                continue;
            }
            let there = TcpStream::connect(("127.0.0.1", port)).unwrap();
            for (mut from, mut to) in [
                (here.try_clone().unwrap(), there.try_clone().unwrap()),
                (there.try_clone().unwrap(), here.try_clone().unwrap()),
            ] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    (own, count)
}

#[test]
fn the_image_is_started_as_the_flags_say_and_answers_where_they_say() {
    let Some(plain) = Plain::new() else { return };
    plain.target.runs("debian", "");
    plain.target.takes_kexec();
    let image = tarball(plain.root.path(), "good", &["kexec/run", "kexec/kexec"]);
    let (port, came) = forwarded(plain.target.sshd.port, || true);
    let (target, image) = (plain.target_word(), image.display().to_string());
    let install = |words: &[&str]| {
        // Unattended, the machine is known by its disks.
        let fixed = [".#guppy", &target, "--phases", "kexec", "--kexec", &image, "--erase", SERIAL];
        plain.install(&[&fixed[..], words].concat())
    };
    let port = port.to_string();
    install(&["--kexec-extra-flags", "--reset-vga --no-sync", "--post-kexec-ssh-port", &port])
        .ends(0, &["the installer is up", "sha256"]);
    assert_eq!(plain.told("kexec-arguments"), "--kexec-extra-flags --reset-vga --no-sync\n");
    assert!(came.load(Ordering::Relaxed) > 0, "nobody came to the other port");
    assert!(plain.target.file("root/landfall-kexec/kexec/kexec").exists());

    plain.anew();
    plain.target.runs("debian", "");
    std::fs::write(plain.target.file("boot_id"), "a boot of Debian\n").unwrap();
    install(&["--no-kexec"]).ends(USAGE, &["cannot be used with"]);
    install(&[]).ends(0, &["the installer is up"]);
    assert_eq!(plain.told("kexec-arguments"), "\n");
}

/// Starts a command whose output goes to a file, and waits until it says so.
fn until_it_says(mut command: Command, log: &Path, words: &str) -> Child {
    let file = std::fs::File::create(log).unwrap();
    command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
    let child = command.spawn().unwrap();
    let until = Instant::now() + DEADLINE;
    let said = || std::fs::read_to_string(log).unwrap();
    while !said().contains(words) {
        assert!(Instant::now() < until, "{}", said());
        std::thread::sleep(Duration::from_millis(50));
    }
    child
}

#[test]
fn a_run_that_was_killed_while_the_installer_starts_waits_for_it_again() {
    let Some(plain) = Plain::new() else { return };
    plain.target.runs("debian", "");
    plain.target.takes_kexec();
    let image = tarball(plain.root.path(), "good", &["kexec/run", "kexec/kexec"]);
    let (away, log) = (plain.target.file("away"), plain.root.path().join("said"));
    let (gate, image) = (away.clone(), image.display().to_string());
    let (port, _) = forwarded(plain.target.sshd.port, move || !gate.exists());
    let target = format!("root@127.0.0.1:{port}");
    let install = || {
        let words = [".#guppy", &target, "--phases", "kexec", "--kexec", &image, "--erase", SERIAL];
        until_it_says(plain.install_command(&words), &log, "waiting for the installer to start")
    };
    let mut killed = install();
    killed.kill().unwrap();
    killed.wait().unwrap();
    let mut interrupted = install();
    let pid = Pid::from_raw(i32::try_from(interrupted.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(interrupted.wait().unwrap().code(), Some(130));
    let mut again = install();
    std::fs::remove_file(&away).unwrap();
    let status = again.wait().unwrap();
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(status.success(), "{said}");
    assert!(said.contains("the target is installer"), "{said}");
}
