//! known_hosts files as OpenSSH writes and reads them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::common::sshd::keygen;
use landfall::ssh::known_hosts::{FORGES, remove_others, replace};
use landfall::ssh::{Endpoint, known_hosts_name, user_known_hosts};

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
fn forges_are_known_by_all_their_keys() {
    let dir = tempfile::tempdir().unwrap();
    for forge in FORGES {
        for (key, listed) in forge.host_keys().iter().zip(forge.keys) {
            let file = dir.path().join("known_hosts");
            fs::write(&file, key.known_hosts_line(forge.hosts[0])).unwrap();
            assert!(finds(&file, forge.hosts[0], key.base64()));
            let shown = Command::new("ssh-keygen").arg("-lf").arg(&file).output().unwrap();
            let shown = String::from_utf8(shown.stdout).unwrap();
            assert!(shown.contains(listed.fingerprint), "{shown}");
        }
    }
}

/// Names that are nearly the machine's, in all the ways in which a line can hold one.
const OTHERS: [&str; 9] = [
    "10.0.0.10",
    "110.0.0.1",
    "[10.0.0.1]:2222",
    "[10.0.0.1]:22",
    "guppy.lan",
    "guppy-2",
    "aguppy",
    "fe80::1",
    "[fe80::1]:22222",
];

#[test]
fn only_the_names_of_the_machine_lose_their_key() {
    let dir = tempfile::tempdir().unwrap();
    let old = keygen(dir.path(), "old", "ed25519").public;
    let rsa = keygen(dir.path(), "rsa", "rsa").public;
    let new = keygen(dir.path(), "new", "ed25519").public;
    let ours = ["guppy", "10.0.0.1", "[fe80::1]:2222"];
    let mut text = String::from("# the machines of the house\n\n");
    for name in OTHERS.iter().chain(&ours) {
        text += &format!("{}\n{}\n", old.known_hosts_line(name), rsa.known_hosts_line(name));
    }
    text += &format!("10.0.0.10,guppy,aguppy {rsa} shared\n@cert-authority *.lan,guppy {old}\n");
    text += &format!("@revoked guppy {rsa}\n10.0.0.* {old} a pattern\n  guppy {old} indented");
    for hashed in [false, true] {
        let file = dir.path().join(format!("known_hosts-{hashed}"));
        fs::write(&file, &text).unwrap();
        if hashed {
            let done = Command::new("ssh-keygen").args(["-q", "-H", "-f"]).arg(&file).output();
            assert!(done.unwrap().status.success());
        }
        let before = fs::read_to_string(&file).unwrap();
        let done = replace(&file, &ours, &new).unwrap();
        assert_eq!((done.removed, done.added), (8, true));
        for name in ours {
            assert!(finds(&file, name, new.base64()), "{name}");
        }
        // What is left under the name of the machine is marked, or a pattern's.
        assert_eq!(plain_keys(&file, "guppy"), [new.base64()]);
        assert_eq!(plain_keys(&file, "[fe80::1]:2222"), [new.base64()]);
        for name in OTHERS {
            for key in [&old, &rsa] {
                assert!(finds(&file, name, key.base64()), "{name}");
            }
        }
        let after = fs::read_to_string(&file).unwrap();
        let kept: Vec<&str> = after.lines().filter(|line| before.contains(line)).collect();
        let order: Vec<usize> = kept.iter().map(|line| before.find(line).unwrap()).collect();
        assert!(order.is_sorted(), "{after}");
        for line in before.lines().filter(|line| line.starts_with(['#', '@']) || line.contains('*'))
        {
            assert!(after.contains(line), "{line}");
        }
    }
}

/// The keys of lines without a mark that the real ssh-keygen finds for `name`.
fn plain_keys(file: &Path, name: &str) -> Vec<String> {
    let output = Command::new("ssh-keygen").args(["-F", name, "-f"]).arg(file).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with(['#', '@']));
    lines.map(|line| line.split_whitespace().nth(2).unwrap().to_owned()).collect()
}

#[test]
fn other_files_only_lose_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let old = keygen(dir.path(), "old", "ed25519").public;
    let new = keygen(dir.path(), "new", "ed25519").public;
    let file = dir.path().join("known_hosts2");
    remove_others(&file, &["guppy"], &new).unwrap();
    assert!(!file.exists());
    fs::write(&file, old.known_hosts_line("guppy,other") + "\n").unwrap();
    let done = remove_others(&file, &["guppy"], &new).unwrap();
    assert_eq!((done.removed, done.added), (1, false));
    assert_eq!(fs::read_to_string(&file).unwrap(), old.known_hosts_line("other") + "\n");
}

#[test]
fn a_backup_takes_the_place_of_what_was_there_and_follows_no_link() {
    let dir = tempfile::tempdir().unwrap();
    let old = keygen(dir.path(), "old", "ed25519").public;
    let new = keygen(dir.path(), "new", "ed25519").public;
    let (file, precious) = (dir.path().join("known_hosts"), dir.path().join("precious"));
    let before = old.known_hosts_line("guppy");
    fs::write(&file, &before).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&precious, "mine").unwrap();
    std::os::unix::fs::symlink(&precious, dir.path().join("known_hosts.old")).unwrap();
    let backup = replace(&file, &["guppy"], &new).unwrap().backup.unwrap();
    assert_eq!(fs::read_to_string(&backup).unwrap(), before);
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(&precious).unwrap(), "mine");
}

#[test]
fn the_name_is_the_one_that_ssh_looks_up_and_the_file_is_below_home() {
    let endpoint: Endpoint = "Guppy.Example:2222".parse().unwrap();
    assert_eq!(known_hosts_name(&endpoint).unwrap(), "[guppy.example]:2222");
    let home = std::env::home_dir().unwrap();
    assert_eq!(user_known_hosts(&endpoint).unwrap(), [home.join(".ssh/known_hosts")]);
}
