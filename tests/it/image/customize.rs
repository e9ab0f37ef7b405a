//! `landfall iso build --customize`: a copy of an image with a host key of its own, by
//! which later runs trust the machine that starts from it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::journey::{Journey, Ran, run};
use crate::common::skipped;
use crate::common::sshd::keygen;

const ROOM: &str = "landfall keeps this room for what one copy of an image is given\n";

/// A file with nothing of an image but the room in it.
fn image(dir: &Path) -> PathBuf {
    let path = dir.join("image.iso");
    let mut bytes = vec![7; 10 * 2048];
    bytes.extend_from_slice(ROOM.repeat(1024).as_bytes());
    bytes.extend_from_slice(&[9; 3 * 2048]);
    fs::write(&path, bytes).unwrap();
    path
}

fn customize(journey: &Journey, output: &Path, more: &[&str]) -> Ran {
    let mut landfall = journey.landfall();
    landfall.args(["iso", "build", "--customize", "-o"]).arg(output);
    run(landfall.args(more))
}

/// `landfall check` without a fingerprint for the installer.
fn check(journey: &Journey) -> Ran {
    journey.check_with(|args| {
        let at = args.iter().position(|word| word == "--installer-fingerprint").unwrap();
        args.drain(at..at + 2);
    })
}

#[test]
fn a_run_trusts_the_installer_of_a_customized_image_without_a_question() {
    let Some(journey) = Journey::new() else { return };
    check(&journey).ends(3, &["was not confirmed"]);
    let image = image(journey.root.path()).display().to_string();
    let copy = journey.root.path().join("stick.iso");
    // As if the target had been started from the copy.
    let host_key = journey.target.sshd.dir.path().join("host").display().to_string();
    let user = keygen(journey.root.path(), "guest", "ed25519");
    let guest = user.private.with_extension("pub").display().to_string();
    let fingerprint = journey.target.sshd.host_key.fingerprint();
    customize(&journey, &copy, &["--image", &image, "--host-key", &host_key, "--ssh-key", &guest])
        .ends(0, &["stick.iso", &fingerprint]);

    let given = fs::read(&copy).unwrap();
    let given = String::from_utf8_lossy(&given);
    assert!(given.contains("OPENSSH PRIVATE KEY") && given.contains(user.public.base64()));
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    check(&journey).ends(0, &["the host key is that of the image", "stick.iso"]);
}

#[test]
fn each_copy_has_a_key_of_its_own_and_wrong_use_writes_none() {
    let Some(journey) = Journey::new() else { return };
    let image = image(journey.root.path()).display().to_string();
    let place = |name: &str| journey.root.path().join(name);
    let first = customize(&journey, &place("one.iso"), &["--image", &image]);
    let second = customize(&journey, &place("two.iso"), &["--image", &image]);
    let key = |ran: &Ran| ran.succeeds().stdout.split("SHA256:").nth(1).unwrap().to_owned();
    assert_ne!(key(&first), key(&second));
    let remembered = fs::read_to_string(journey.state().join("installers")).unwrap();
    assert_eq!(remembered.lines().count(), 2, "{remembered}");

    let one = place("one.iso").display().to_string();
    let three = place("three.iso");
    customize(&journey, &three, &["--image", &one]).ends(2, &["is already customized"]);
    fs::write(place("other.iso"), vec![1; 200_000]).unwrap();
    let other = place("other.iso").display().to_string();
    customize(&journey, &three, &["--image", &other])
        .ends(2, &["has no area reserved", "iso/default.nix"]);
    customize(&journey, &three, &["--image", &image, "--ssh-key", &image]).ends(2, &[]);
    customize(&journey, Path::new("/nonexistent/x.iso"), &["--image", &image]).ends(1, &[]);
    run(journey.landfall().args(["iso", "build", "--customize"])).ends(2, &["--output"]);
    run(journey.landfall().args(["iso", "build", "--image", "x"])).ends(2, &["--customize"]);
    assert!(!three.exists());
    let remembered = fs::read_to_string(journey.state().join("installers")).unwrap();
    assert_eq!(remembered.lines().count(), 2, "{remembered}");
}

#[test]
fn the_image_of_the_template_has_the_room() {
    let Some(journey) = Journey::new() else { return };
    let (copy, place) =
        (journey.root.path().join("stick.iso"), journey.root.path().join("mounted"));
    let built = run(journey.landfall().args(["iso", "build"]));
    let image = built.succeeds().stdout.trim().to_owned();
    customize(&journey, &copy, &[]).succeeds();
    let (before, after) = (fs::read(image).unwrap(), fs::read(&copy).unwrap());
    assert_eq!(before.len(), after.len());
    let differ = before.iter().zip(&after).filter(|(a, b)| a != b).count();
    assert!(differ > 0 && differ < 1 << 16, "{differ} bytes differ");

    fs::create_dir(&place).unwrap();
    let mut mount = Command::new("mount");
    if !mount.args(["-o", "loop,ro"]).arg(&copy).arg(&place).status().unwrap().success() {
        return skipped("an image cannot be mounted here");
    }
    let given = fs::read(place.join("landfall/custom"));
    let left = Command::new("umount").arg(&place).status().unwrap();
    assert!(left.success());
    let given = String::from_utf8(given.unwrap()).unwrap();
    assert!(given.starts_with("landfall-custom-1\npart ssh_host_ed25519_key "));
    assert_eq!(given.len(), 1 << 16);
}
