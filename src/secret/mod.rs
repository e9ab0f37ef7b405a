//! Values that must not be seen: passphrases, private keys, data keys.
//!
//! A [`Secret`] has no `Display`, no `Serialize` and a `Debug` that shows nothing,
//! so it cannot be printed, logged, put in a journal or passed as an argument.
//! Every secret is also remembered (in wiped memory) so that [`scrub`] can take
//! it out of what child processes print before that is stored or shown.

pub mod age;
pub mod password;
mod private_file;

use std::fmt;
use std::sync::Mutex;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub(crate) use private_file::{
    MemoryFile, PASSING_PREFIX, create_private_dir, private_temp_dir, write_new_private,
    write_private,
};

/// Shorter values are not scrubbed: they would hit ordinary words.
const SHORTEST_SCRUBBED: usize = 6;

static KNOWN: Mutex<Vec<Zeroizing<String>>> = Mutex::new(Vec::new());

/// A secret byte string, wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes over `bytes` and remembers each of its lines for [`scrub`].
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
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
pub(crate) fn scrub(text: &str) -> String {
    let known = lock_known();
    let mut clean = text.to_owned();
    for secret in known.iter() {
        if clean.contains(secret.as_str()) {
            clean = clean.replace(secret.as_str(), "[secret]");
        }
    }
    clean
}

/// Keeps this process, and what it starts, from leaving its memory in a core dump.
pub fn forbid_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    // A limit can always be lowered; where it cannot, the run is no less safe than before.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

/// Hashes bytes with SHA-256, in lower-case hexadecimal.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
