//! Public host keys: parsing, fingerprints, and lines of known_hosts.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Advice, Exit};

/// A public host key, as in a `.pub` file or in known_hosts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostKey {
    algorithm: String,
    base64: String,
}

/// Why a line is not a host key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no SSH public key: {0}")]
pub struct HostKeyError(&'static str);

impl Advice for HostKeyError {
    fn hint(&self) -> String {
        "Give the line of the host's /etc/ssh/ssh_host_ed25519_key.pub.".into()
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

impl HostKey {
    pub(crate) fn new(algorithm: &str, base64: &str) -> Result<Self, HostKeyError> {
        let blob = STANDARD.decode(base64).map_err(|_| HostKeyError("the key is not base64"))?;
        // RFC 4253, 6.6: the blob begins with the algorithm's name as a string.
        let named = blob
            .split_first_chunk()
            .map(|(length, rest)| (u32::from_be_bytes(*length) as usize, rest))
            .and_then(|(length, rest)| rest.get(..length));
        if named != Some(algorithm.as_bytes()) {
            return Err(HostKeyError("its algorithm is not the one that its line names"));
        }
        Ok(Self { algorithm: algorithm.to_owned(), base64: base64.to_owned() })
    }

    /// Returns the name of the key's algorithm, as `ssh-ed25519`.
    pub(crate) fn algorithm(&self) -> &str {
        &self.algorithm
    }

    pub fn base64(&self) -> &str {
        &self.base64
    }

    /// Returns the fingerprint as OpenSSH shows it: `SHA256:` and unpadded base64.
    pub fn fingerprint(&self) -> String {
        let blob = STANDARD.decode(&self.base64).unwrap_or_default();
        format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(blob)))
    }

    /// Returns the known_hosts line for `host` with this key.
    pub fn known_hosts_line(&self, host: &str) -> String {
        format!("{host} {self}")
    }

    /// Returns the value of `HostKeyAlgorithms` with which a server presents exactly this key.
    pub(crate) fn negotiation(&self) -> &str {
        // RSA keys sign with SHA-2; the name `ssh-rsa` stands for signatures with SHA-1.
        if self.algorithm == "ssh-rsa" { "rsa-sha2-512,rsa-sha2-256" } else { &self.algorithm }
    }
}

/// Shows `algorithm base64`, without a comment.
impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm, self.base64)
    }
}

/// Parses a line of a `.pub` file (`algorithm base64 [comment]`) or of known_hosts (`hosts
/// algorithm base64 [comment]`). Refuses known_hosts markers.
impl FromStr for HostKey {
    type Err = HostKeyError;

    fn from_str(line: &str) -> Result<Self, HostKeyError> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words[..] {
            [marker, ..] if marker.starts_with('@') => {
                Err(HostKeyError("it is marked as an authority's or as revoked"))
            }
            [algorithm, base64, ..] if base64.starts_with("AAAA") => Self::new(algorithm, base64),
            [_, algorithm, base64, ..] => Self::new(algorithm, base64),
            _ => Err(HostKeyError("a word is missing")),
        }
    }
}

impl TryFrom<String> for HostKey {
    type Error = HostKeyError;

    fn try_from(line: String) -> Result<Self, HostKeyError> {
        line.parse()
    }
}

impl From<HostKey> for String {
    fn from(key: HostKey) -> Self {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GITHUB: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";

    #[test]
    fn fingerprint_is_the_one_that_openssh_shows() {
        let key: HostKey = GITHUB.parse().unwrap();
        assert_eq!(key.fingerprint(), "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU");
        assert_eq!(key.to_string(), GITHUB);
    }

    #[test]
    fn pub_and_known_hosts_lines_give_the_same_key() {
        let key: HostKey = GITHUB.parse().unwrap();
        assert_eq!(format!("{GITHUB} root@host\n").parse(), Ok(key.clone()));
        assert_eq!(format!("github.com,1.2.3.4 {GITHUB}").parse(), Ok(key.clone()));
        assert_eq!(key.known_hosts_line("[h]:2222").parse(), Ok(key));
    }

    #[test]
    fn other_lines_are_refused() {
        for line in [
            "".to_owned(),
            "ssh-ed25519".into(),
            "ssh-ed25519 AAAA".into(),
            GITHUB.replace("ssh-ed25519", "ssh-rsa"),
            format!("@revoked * {GITHUB}"),
            format!("@cert-authority * {GITHUB}"),
            "ssh-ed25519 AAAA!".into(),
            "# github.com".into(),
        ] {
            assert!(line.parse::<HostKey>().is_err(), "{line}");
        }
    }

    #[test]
    fn is_written_and_read_as_a_line() {
        let key: HostKey = GITHUB.parse().unwrap();
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(json, format!("{GITHUB:?}"));
        assert_eq!(serde_json::from_str::<HostKey>(&json).unwrap(), key);
    }
}
