//! known_hosts files as OpenSSH writes and reads them.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use common::sshd::keygen;
use landfall::known_hosts::{forge_keys, replace};

/// Whether the real ssh-keygen finds `name` with this key in the file.
fn finds(file: &Path, name: &str, base64: &str) -> bool {
    let output = Command::new("ssh-keygen").args(["-F", name, "-f"]).arg(file).output().unwrap();
    String::from_utf8(output.stdout).unwrap().contains(base64)
}

#[test]
fn the_old_key_goes_also_where_it_is_hashed() {
    let dir = tempfile::tempdir().unwrap();
    let old = keygen(dir.path(), "old", "ed25519").public;
    let new = keygen(dir.path(), "new", "ed25519").public;
    let file = dir.path().join("known_hosts");
    let lines: String = ["guppy", "[guppy]:2222", "10.0.0.1", "10.0.0.10"]
        .map(|name| old.known_hosts_line(name) + "\n")
        .concat();
    fs::write(&file, lines).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let hashed = Command::new("ssh-keygen").args(["-q", "-H", "-f"]).arg(&file).output().unwrap();
    assert!(hashed.status.success());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let before = fs::read(&file).unwrap();

    let done = replace(&file, &["Guppy", "10.0.0.1"], &new).unwrap();
    assert_eq!((done.removed, done.added), (2, true));
    assert_eq!(fs::read(done.backup.unwrap()).unwrap(), before);
    for (name, key) in
        [("guppy", &new), ("10.0.0.1", &new), ("10.0.0.10", &old), ("[guppy]:2222", &old)]
    {
        assert!(finds(&file, name, key.base64()), "{name}");
    }
    assert!(!finds(&file, "guppy", old.base64()));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);

    let after = fs::read(&file).unwrap();
    let again = replace(&file, &["guppy", "10.0.0.1"], &new).unwrap();
    assert_eq!((again.removed, again.added, again.backup), (0, false, None));
    assert_eq!(fs::read(&file).unwrap(), after);
}

#[test]
fn a_missing_file_is_made_and_a_link_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let key = keygen(dir.path(), "key", "ed25519").public;
    let file = dir.path().join("ssh/known_hosts");
    replace(&file, &["guppy"], &key).unwrap();
    assert!(finds(&file, "guppy", key.base64()));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    replace(&link, &["other"], &key).unwrap();
    assert!(link.is_symlink());
    assert!(finds(&file, "other", key.base64()));
}

#[test]
fn forges_are_known_by_their_keys() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("known_hosts");
    let keys = forge_keys();
    assert_eq!(keys.len(), 4);
    for (host, key) in keys {
        replace(&file, &[host], &key).unwrap();
        assert!(finds(&file, host, key.base64()));
    }
}
