//! A valid path in the nix store.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const STORE: &str = "/nix/store/";
/// Length of the hash, in characters of nix's base 32.
const HASH: usize = 32;

/// A path `/nix/store/HASH-NAME`, and nothing below it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StorePath(String);

impl StorePath {
    /// Returns the whole path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name after the hash, as `hello-2.12`.
    pub fn name(&self) -> &str {
        &self.0[STORE.len() + HASH + 1..]
    }

    /// Returns the path of a file below it.
    pub(crate) fn join(&self, relative: &str) -> String {
        format!("{}/{relative}", self.0)
    }
}

/// A text that is not a store path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a store path")]
pub struct StorePathError(String);

impl FromStr for StorePath {
    type Err = StorePathError;

    fn from_str(text: &str) -> Result<Self, StorePathError> {
        let base32 = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-._?=".contains(byte);
        let valid = text.strip_prefix(STORE).map(str::as_bytes).is_some_and(|base| {
            base.len() > HASH + 1
                && base[..HASH].iter().all(base32)
                && base[HASH] == b'-'
                && base[HASH + 1..].iter().all(of_name)
        });
        if valid { Ok(Self(text.to_owned())) } else { Err(StorePathError(text.to_owned())) }
    }
}

impl TryFrom<String> for StorePath {
    type Error = StorePathError;

    fn try_from(text: String) -> Result<Self, StorePathError> {
        text.parse()
    }
}

impl From<StorePath> for String {
    fn from(path: StorePath) -> Self {
        path.0
    }
}

impl AsRef<str> for StorePath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl AsRef<std::ffi::OsStr> for StorePath {
    fn as_ref(&self) -> &std::ffi::OsStr {
        self.0.as_ref()
    }
}

impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_paths_and_nothing_else() {
        let path: StorePath =
            "/nix/store/9plafpzc6wc5hcbvf14v2ylvwccvvgln-top-1.0".parse().unwrap();
        assert_eq!(path.name(), "top-1.0");
        assert_eq!(path.join("init"), format!("{path}/init"));
        for text in [
            "",
            "/nix/store/",
            "/nix/store/short-x",
            "/nix/store/9plafpzc6wc5hcbvf14v2ylvwccvvgln-",
            "/nix/store/9plafpzc6wc5hcbvf14v2ylvwccvvgln-a/b",
            "/nix/store/9plafpzc6wc5hcbvf14v2ylvwccvvgln-a b",
            "/tmp/9plafpzc6wc5hcbvf14v2ylvwccvvgln-top",
        ] {
            assert!(text.parse::<StorePath>().is_err(), "{text}");
        }
    }
}
