//! Values that must not be seen: passphrases, private keys, data keys.
//!
//! A [`Secret`] has no `Display`, no `Serialize` and a `Debug` that shows nothing,
//! so it cannot be printed, logged, put in a journal or passed as an argument.
//! Every secret is also remembered (in wiped memory) so that [`scrub`] can take
//! it out of what child processes print before that is stored or shown.

pub mod age;
pub mod password;

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Shorter values are not scrubbed: they would hit ordinary words.
const SHORTEST_SCRUBBED: usize = 6;

static KNOWN: Mutex<Vec<Zeroizing<String>>> = Mutex::new(Vec::new());

/// A secret byte string, wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes over `bytes` and remembers each of its lines for [`scrub`].
    pub fn new(bytes: Vec<u8>) -> Self {
        if let Ok(text) = std::str::from_utf8(&bytes) {
            remember(text);
        }
        Self(Zeroizing::new(bytes))
    }

    /// The secret itself; the name makes each use easy to find.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The secret as text, where it is text.
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

fn remember(text: &str) {
    let mut known = lock_known();
    for line in text.lines().map(str::trim) {
        let marker = line.starts_with("-----") || line.starts_with('#');
        if line.len() >= SHORTEST_SCRUBBED && !marker && !known.iter().any(|k| **k == line) {
            known.push(Zeroizing::new(line.to_owned()));
        }
    }
}

fn lock_known() -> std::sync::MutexGuard<'static, Vec<Zeroizing<String>>> {
    KNOWN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// `text` with every known secret replaced by `[secret]`.
pub fn scrub(text: &str) -> String {
    let known = lock_known();
    let mut clean = text.to_owned();
    for secret in known.iter() {
        if clean.contains(secret.as_str()) {
            clean = clean.replace(secret.as_str(), "[secret]");
        }
    }
    clean
}

/// Writes `bytes` to a new file of mode 0600 and syncs it to disk.
///
/// The file appears whole or not at all: it is written beside its place and renamed.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let path = &std::path::absolute(path)?;
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".tmp-{}", std::process::id()));
    let temporary = dir.join(name);
    let written = create_private(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    });
    if written.is_err() {
        // The original error matters more than a left-over that the next run replaces.
        let _ = std::fs::remove_file(&temporary);
    }
    written?;
    File::open(dir)?.sync_all()
}

fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Makes a folder of mode 0700, with its parents.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
}

/// Makes a folder of mode 0700 below `base`, removed when it is dropped.
pub fn private_temp_dir(base: &Path) -> io::Result<tempfile::TempDir> {
    use std::os::unix::fs::PermissionsExt;
    tempfile::Builder::new()
        .prefix("landfall-")
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir_in(base)
}

/// Hashes bytes with SHA-256, in lower-case hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn debug_shows_nothing() {
        let secret = Secret::from("correct horse".to_owned());
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    #[test]
    fn scrub_takes_out_each_line_of_a_known_secret() {
        let _kept = Secret::from("first-line-of-it\nsecond-line-of-it\n".to_owned());
        assert_eq!(scrub("a second-line-of-it b"), "a [secret] b");
        assert_eq!(scrub("first-line-of-it"), "[secret]");
    }

    #[test]
    fn private_files_are_0600_and_replace_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "old").unwrap();
        write_private(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
