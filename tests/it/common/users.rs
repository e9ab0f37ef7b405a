//! A machine on which another user than root logs in, with real sudo and doas.
//!
//! The sshd and what runs in its sessions see an /etc of their own; the host's stays.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use landfall::secret::Secret;
use landfall::ssh::Endpoint;
use tempfile::TempDir;

use super::sshd::{Sshd, is_root, keygen};
use super::{have, skipped};

/// The user, with an id that no other has here.
pub const LOGIN: &str = "lander";
const ID: u32 = 47_311;
pub const PASSWORD: &str = "it's 100% \"my\" $password";

/// The files that say what the user may do there.
#[derive(Default)]
pub struct Rules<'a> {
    pub sudoers: &'a str,
    pub doas: &'a str,
    /// The user's password; [`PASSWORD`] where none is named.
    pub password: &'a str,
    /// More lines for sshd_config.
    pub sshd: &'a str,
}

/// An sshd at which [`LOGIN`] may log in with the server's `user_key`; none, and said so,
/// where that cannot be had.
pub fn machine(rules: &Rules) -> Option<Sshd> {
    if !is_root() {
        skipped("a machine with other users needs root");
        return None;
    }
    if !["sudo", "doas", "unshare"].into_iter().all(have) {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
    make_etc(&dir, rules);
    let home = dir.path().join("home");
    fs::create_dir(&home).unwrap();
    chown(&home, Some(ID), Some(ID)).unwrap();
    let key = keygen(dir.path(), "host", "ed25519");
    Some(Sshd::start_with(dir, &[key], rules.sshd))
}

/// How the user logs in with the key.
pub fn endpoint(server: &Sshd) -> Endpoint {
    server.endpoint().with_user(LOGIN)
}

/// Gives the sshd in `dir` a root with [`PASSWORD`].
pub fn root_with_password(dir: &TempDir) {
    make_etc(dir, &Rules::default());
    let shadow = dir.path().join("etc/shadow");
    let text = fs::read_to_string(&shadow).unwrap();
    let hash = landfall::secret::password::hash(&Secret::from(PASSWORD.to_owned())).unwrap();
    let root = format!("root:{}:20000:0:99999:7:::", hash.expose_str().unwrap());
    let others = text.lines().filter(|line| !line.starts_with("root:"));
    let lines: Vec<&str> = others.chain([root.as_str()]).collect();
    fs::write(shadow, lines.join("\n") + "\n").unwrap();
}

fn make_etc(dir: &TempDir, rules: &Rules) {
    let etc = dir.path().join("etc");
    let copied = Command::new("cp").args(["-a", "/etc"]).arg(&etc).status().unwrap();
    assert!(copied.success());
    let home = dir.path().join("home");
    let add = |name: &str, line: String| {
        let path = etc.join(name);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{text}{line}\n")).unwrap();
    };
    add("passwd", format!("{LOGIN}:x:{ID}:{ID}::{}:/bin/sh", home.display()));
    add("group", format!("{LOGIN}:x:{ID}:"));
    let password = if rules.password.is_empty() { PASSWORD } else { rules.password };
    let hash = landfall::secret::password::hash(&Secret::from(password.to_owned())).unwrap();
    add("shadow", format!("{LOGIN}:{}:20000:0:99999:7:::", hash.expose_str().unwrap()));
    let kept = "PATH NIX_REMOTE NIX_CONF_DIR NIX_USER_CONF_FILES NIX_CACHE_HOME";
    let defaults = format!("Defaults lecture = never\nDefaults env_keep += \"{kept}\"\n");
    write(&etc.join("sudoers"), &format!("{defaults}root ALL=(ALL:ALL) ALL\n{}\n", rules.sudoers));
    write(&etc.join("doas.conf"), &format!("{}\n", rules.doas));
}

fn write(path: &Path, text: &str) {
    let _ = fs::remove_file(path);
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o440)).unwrap();
}
