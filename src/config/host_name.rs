//! The name of a host.

use std::fmt;
use std::str::FromStr;

use super::ConfigError;

/// The name of a host, as `networking.hostName` allows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostName(String);

impl HostName {
    pub fn as_str(&self) -> &str {
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
        }
    }
}
