//! Host keys of the installer images that landfall has made: a machine that shows one of
//! them runs that image, or something that was copied from it.
//!
//! One line for each in `installers` of the state folder: the public key as in a `.pub`
//! file, and as its comment what it was made for.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use crate::run::run_dir::StateDir;
use crate::ssh::HostKey;

fn file(state: &StateDir) -> PathBuf {
    state.path().join("installers")
}

/// Remembers the key of an image; `name` says which one it is.
pub fn record(state: &StateDir, key: &HostKey, name: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(file(state))?;
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    file.write_all(format!("{key} {name}\n").as_bytes())?;
    file.sync_all()
}

/// The name of the image that has `key`.
pub fn recorded(state: &StateDir, key: &HostKey) -> Option<String> {
    let text = std::fs::read_to_string(file(state)).ok()?;
    text.lines().find_map(|line| {
        let known: HostKey = line.parse().ok()?;
        (known == *key).then(|| line.splitn(3, ' ').nth(2).unwrap_or_default().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_known_again_by_its_key() {
        let key: HostKey =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
                .parse()
                .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(dir.path()).unwrap();
        assert_eq!(recorded(&state, &key), None);
        record(&state, &key, "the stick\nin my drawer").unwrap();
        assert_eq!(recorded(&state, &key).as_deref(), Some("the stickin my drawer"));
        assert_eq!(state.hosts().unwrap().len(), 0);
    }
}
