//! Host keys of the installer images that this operator customized: a machine that presents
//! one of them runs that image, or a copy of it.
//!
//! The file `installers` in the state directory has a line for each image: the public key in
//! the format of a `.pub` file, with the image's name as its comment. Lines are only appended.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use crate::run::run_dir::StateDir;
use crate::ssh::HostKey;

fn file(state: &StateDir) -> PathBuf {
    state.path().join("installers")
}

/// Appends the public key of an image and syncs the file; control characters in `name`, the
/// image's name for people, are dropped.
pub fn record(state: &StateDir, key: &HostKey, name: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(file(state))?;
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    file.write_all(format!("{key} {name}\n").as_bytes())?;
    file.sync_all()
}

/// Returns the name of the image that has `key`; `None` also where the file cannot be read.
pub(crate) fn image_with(state: &StateDir, key: &HostKey) -> Option<String> {
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
    fn an_image_is_recognised_by_its_key() {
        let key: HostKey =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
                .parse()
                .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(dir.path()).unwrap();
        assert_eq!(image_with(&state, &key), None);
        record(&state, &key, "the stick\nin my drawer").unwrap();
        assert_eq!(image_with(&state, &key).as_deref(), Some("the stickin my drawer"));
        assert_eq!(state.hosts().unwrap().len(), 0);
    }
}
