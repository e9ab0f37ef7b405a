//! The name of a host.

use std::fmt;
use std::str::FromStr;

use super::ConfigError;

/// The name of a host, as `networking.hostName` allows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HostName(String);

impl HostName {
    /// Reads a name for a host that landfall makes: one that names the host in known_hosts
    /// and in DNS as well, which know neither capitals nor `_`.
    pub(crate) fn of_new_host(text: &str) -> Result<Self, ConfigError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        // The installer flake has its image under the name `iso`.
        if text.chars().all(plain) && text != "iso" {
            text.parse()
        } else {
            Err(ConfigError::HostName(text.to_owned()))
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for HostName {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let valid = (1..=63).contains(&text.len())
            && text.chars().all(inner)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if valid { Ok(Self(text.to_owned())) } else { Err(ConfigError::HostName(text.to_owned())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names() {
        for good in ["guppy", "a", "web-1", "node_2", "A9"] {
            assert!(good.parse::<HostName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "a.b", "a/b", "a b", "../x", &"a".repeat(64)] {
            assert!(bad.parse::<HostName>().is_err(), "{bad}");
            assert!(HostName::of_new_host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_that_landfall_gives_are_known_in_dns_too() {
        for good in ["guppy", "a", "web-1", "9"] {
            assert!(HostName::of_new_host(good).is_ok(), "{good}");
        }
        for bad in ["node_2", "A9", "iso"] {
            assert!(HostName::of_new_host(bad).is_err(), "{bad}");
            assert!(bad.parse::<HostName>().is_ok(), "{bad}");
        }
    }
}
