//! A target that runs something else: what may replace it, and what may not.
//!
//! Nothing here starts a kexec; that takes a virtual machine.

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::journey::{Journey, run};
use sha2::{Digest, Sha256};

const USAGE: i32 = 2;
const PERSON: i32 = 3;

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

/// A tarball of files with these names.
fn tarball(dir: &Path, name: &str, files: &[&str]) -> PathBuf {
    let content = dir.join(format!("{name}-content"));
    for file in files {
        let path = content.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "a program\n").unwrap();
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
